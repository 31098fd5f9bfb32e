"""Fixtures that every test file may use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import thresher
from thresher.dbapi import Connection

sys.path.append(str(Path(__file__).parent))

from tests_support import CountingOracle, make_table


@pytest.fixture
def con() -> Iterator[Connection]:
    with thresher.connect() as connection:
        yield connection


@pytest.fixture
def films(con: Connection) -> tuple[Connection, np.ndarray, CountingOracle]:
    """A connection with table t (2,000 rows) and oracle is_pos over its ids."""
    table, truth = make_table(2000, seed=3)
    con.connection.register("arrow_t", table)
    con.execute("CREATE TABLE t AS SELECT * FROM arrow_t")
    con.connection.unregister("arrow_t")
    oracle = CountingOracle(truth)
    con.create_oracle("is_pos", oracle, args=["BIGINT"], returns="BOOLEAN")
    return con, truth, oracle
