"""``execute(..., on_progress=...)``: what is told, when, in which thread, and what it may raise."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

import thresher
from tests_support import CountingOracle, make_table
from thresher.dbapi import Connection
from thresher.progress import Found, ProgressEvent

RECALL = "SELECT id FROM t WHERE judge(id) USING score RECALL TARGET 80% ORACLE LIMIT 200"


@pytest.fixture
def made() -> Iterator[tuple[Connection, CountingOracle]]:
    table, truth = make_table(1000, seed=3)
    con = thresher.connect(config={"seed": 5})
    con.connection.register("rows", table)
    con.execute("CREATE TABLE t AS SELECT * FROM rows")
    oracle = CountingOracle(truth)
    con.create_oracle("judge", oracle, args=["BIGINT"], batch_size=10)
    yield con, oracle
    con.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t WHERE judge(id)",
        RECALL,
        "SELECT id FROM t WHERE judge(id) USING score RECALL TARGET 80% PRECISION TARGET 80%",
        "SELECT count(*) AS n FROM t WHERE judge(id) USING score ORACLE LIMIT 300",
        "SELECT id FROM t WHERE judge(id) USING score ACCURACY TARGET 95%",
        "SELECT id FROM t WHERE judge(id) LIMIT 30",
    ],
)
def test_every_batch_is_told_and_what_is_told_is_true(
    made: tuple[Connection, CountingOracle], sql: str
) -> None:
    con, oracle = made
    n_positive = int(oracle.truth.sum())
    events: list[tuple[ProgressEvent, int, int]] = []

    def tell(event: ProgressEvent) -> None:
        events.append((event, len(oracle.asked), threading.get_ident()))

    certificate = con.execute(sql, on_progress=tell).certificate
    assert certificate is not None
    assert events[-1][0].stage == "done"
    assert {thread for *_, thread in events} == {threading.get_ident()}
    counts = [event.n_labels for event, *_ in events]
    assert counts == sorted(counts)
    assert np.diff(counts).max() <= 10  # after each batch
    for event, n_asked, _ in events:
        assert event.n_labels == n_asked
        if event.found is not None:
            assert event.found.low <= n_positive <= event.found.high
            assert event.found.n_known <= event.found.n_rows == 1000
    widths = [event.found.high - event.found.low for event, *_ in events if event.found]
    assert widths
    assert widths == sorted(widths, reverse=True)


def test_an_exact_query_ends_with_the_number_of_positive_rows(
    made: tuple[Connection, CountingOracle],
) -> None:
    con, oracle = made
    last: list[Found | None] = []
    rows = con.execute(
        "SELECT id FROM t WHERE judge(id)", on_progress=lambda event: last.append(event.found)
    ).fetchall()
    assert last[-1] == Found(1000, 1000, len(rows))
    assert len({found.n_known for found in last if found}) > 10  # on the way too


def test_to_listen_changes_no_answer(made: tuple[Connection, CountingOracle]) -> None:
    con, _ = made
    con.execute("SET thresher_reuse_labels = false")
    alone = con.execute(RECALL).fetchall()
    assert con.execute(RECALL, on_progress=lambda event: None).fetchall() == alone


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_what_it_raises_ends_the_query_and_nothing_is_lost(
    made: tuple[Connection, CountingOracle], stop: int
) -> None:
    con, oracle = made

    def tell(event: ProgressEvent) -> None:
        if event.n_labels >= 10 * stop:
            raise TimeoutError("enough")

    with pytest.raises(TimeoutError, match="enough"):
        con.execute(RECALL, on_progress=tell)
    assert len(oracle.asked) == 10 * stop
    assert con.execute("SELECT count(*) FROM thresher_labels()").fetchone() == (10 * stop,)
    con.execute(RECALL)  # the listener is gone, and nothing is asked twice
    assert len(set(oracle.asked)) == len(oracle.asked) > 10 * stop


def test_a_listener_may_cancel(made: tuple[Connection, CountingOracle]) -> None:
    con, oracle = made
    cursor = con.cursor()
    with pytest.raises(thresher.OperationalError, match="was cancelled"):
        cursor.execute(RECALL, on_progress=lambda e: e.n_labels >= 30 and cursor.cancel())
    assert len(oracle.asked) == 30
    assert cursor.execute("SELECT 1", on_progress=print).fetchall() == [(1,)]
