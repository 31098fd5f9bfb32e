"""Rows that were sent: put in order by their runs, read without DuckDB, found by hashes."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher import fed_rows as module
from thresher.fed_population import FedPopulation
from thresher.fed_rows import fed_rows
from thresher.labels import LabelStore
from thresher.population import Population
from thresher.session import Session
from thresher.settings import Settings
from thresher.shell.planning import Part, bound_part
from thresher.sql.shipping import Shipped

CHUNK = 1 << module._CHUNK_BITS
QUERY = "SELECT * FROM t WHERE good(x) USING s RECALL TARGET 90%"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    made = Session(duckdb.connect(), LabelStore(None), Settings(), None, Path.cwd())
    made.execute(
        "CREATE ORACLE good(x VARCHAR) RETURNS BOOLEAN USING python WITH (function = 'math:sqrt')"
    )
    yield made
    made.store.close()
    made.connection.close()


def sent(session: Session, sql: str = QUERY) -> Shipped:
    return bound_part(session, Part("answer", sql)).sent


def table(texts: pa.Array, scores: Any) -> pa.Table:
    return pa.table({"__thresher_f0": texts, "__thresher_f1": scores})


def by_chunks(n_rows: int, share: float, threads: int, seed: int) -> npt.NDArray[np.int64]:
    """Numbers of rows as threads send them, each the next chunk, WHERE leaving a share of them."""
    rng = np.random.default_rng(seed)
    kept = np.flatnonzero(rng.random(n_rows) < share)
    thread = rng.integers(threads, size=n_rows // CHUNK + 1)[kept // CHUNK]
    return kept[np.argsort(thread, kind="stable")]


@given(
    n_rows=st.integers(0, 5 * CHUNK),
    share=st.sampled_from([0.0002, 0.1, 1.0]),
    threads=st.integers(1, 4),
    seed=st.integers(0, 9),
    mixed=st.booleans(),
)
def test_rows_are_put_in_order(
    session: Session, n_rows: int, share: float, threads: int, seed: int, mixed: bool
) -> None:
    numbers = by_chunks(n_rows, share, threads, seed)
    if mixed:  # as no DuckDB sends them
        np.random.default_rng(seed).shuffle(numbers)
    n = len(numbers)
    given = table(pa.array(["x"] * n, pa.string()), numbers * 0.5)
    cuts = np.sort(np.random.default_rng(seed).integers(n + 1, size=3))
    rows = fed_rows(sent(session), np.split(numbers, cuts), given)
    order = np.argsort(numbers)
    assert np.array_equal(rows.keys[0], numbers[order])
    assert np.array_equal(rows.numbers(np.arange(n)), np.arange(n)) == (rows.sent is None)
    if rows.places is None:
        assert np.array_equal(order, np.arange(n))
    else:
        assert np.array_equal(rows.places.of(np.arange(n)), order)
        assert mixed or len(rows.places.starts) <= n_rows // CHUNK + 1
    assert np.array_equal(rows.in_order(rows.table.column("__thresher_f1")), numbers[order] * 0.5)
    assert np.array_equal(rows.in_order(rows.table.column("__thresher_n")), numbers[order])


@pytest.mark.parametrize("condition", ["good(x)", "NOT good(x)", "good(x) IS NULL", "good(x) OR 1"])
@pytest.mark.parametrize(
    "scores", [pa.array(np.linspace(1, 0, 5)), pa.array([1, None, 3, 4, 5.0]), pa.array(range(5))]
)
def test_what_is_read_is_what_duckdb_reads(
    session: Session, scores: pa.Array, condition: str
) -> None:
    shipped = sent(session, QUERY.replace("good(x)", condition))
    numbers, texts = np.array([3, 4, 7, 0, 1]), pa.array(["a", "b", None, "d", "e"])
    rows = fed_rows(shipped, [numbers], table(texts, scores))
    with FedPopulation(session.connection, shipped, shipped.query, rows) as found:
        known = Population._run_population(found, [None])
        order = np.argsort(known.column("__thresher_n").to_numpy())
        decided = known.column("__thresher_known").to_pandas().fillna(-1).to_numpy()[order]
        assert np.array_equal(found.known, decided)
        assert np.array_equal(found._keys[0], np.sort(numbers))
        expected = np.asarray(scores.to_numpy(zero_copy_only=False), np.float64)
        np.testing.assert_array_equal(found.scores[0], expected[np.argsort(numbers)])


VALUES = {
    "texts": pa.array(["", "a", "é", "a", "A", None, "b" * 40, "b" * 41]),
    "doubles": pa.array([0.0, -0.0, float("nan"), -float("nan"), 1.0, None, 2.0, 1.0]),
    "decimals": pa.array([Decimal("1.50"), Decimal("1.5"), Decimal(2), None] * 2),
    "lists": pa.array([[1, None], [1], [], None, [1, None], [2], [1], []], pa.list_(pa.int64())),
    "structs": pa.array([{"a": 1}, {"a": None}, None, {"a": 2}] * 2),
    "intervals": pa.array(
        [(1, 0, 0), (0, 30, 0), (0, 0, 5000), None] * 2, pa.month_day_nano_interval()
    ),
}


@pytest.mark.parametrize("kind", VALUES)
def test_rows_with_the_same_inputs_are_found_as_by_a_join(session: Session, kind: str) -> None:
    shipped, values = sent(session), VALUES[kind]
    numbers = np.array([4, 5, 6, 7, 0, 1, 2, 3])
    rows = fed_rows(shipped, [numbers], table(values, np.linspace(0, 1, 8)))
    (call,) = shipped.query.calls
    with FedPopulation(session.connection, shipped, shipped.query, rows) as found:
        for one in (values.slice(i, 1) for i in range(8) if values[i].is_valid):
            asked = pa.table({call.inputs[0]: one})
            matched = found.matching([asked])
            assert found._hashed
            assert len(matched)
            np.testing.assert_array_equal(matched, Population.matching(found, [asked]))
        other = pa.table({call.inputs[0]: pa.array(["1"])})
        if kind != "texts":
            assert not found._hashed_alike(call.arguments, other)
