"""Fixtures that every test file may use."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import thresher
from thresher.dbapi import Connection

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As where a shell has begun the tests in the background: the processes that they start, and
    # interrupt, would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
