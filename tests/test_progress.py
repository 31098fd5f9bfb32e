"""``execute(..., on_progress=...)``: what is told, when, in which thread, and what it may raise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thresher
from tests_support import CountingOracle, make_table
from thresher import progress
from thresher.dbapi import Connection
from thresher.indicating import Indicating, Indicator
from thresher.progress import Found, ProgressEvent
from thresher.targets import Targets

RECALL = "SELECT id FROM t WHERE judge(id) USING score RECALL TARGET 80% ORACLE LIMIT 200"


@pytest.fixture(autouse=True)
def every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)


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


def test_what_nobody_is_shown_is_not_worked_out(
    made: tuple[Connection, CountingOracle], monkeypatch: pytest.MonkeyPatch
) -> None:
    con, _ = made
    asked = []
    monkeypatch.setattr(Indicating, "of", lambda *given: asked.append(given))
    con.execute(RECALL)
    assert not asked
    con.execute(f"{RECALL} SEED 2", on_progress=lambda event: None)
    assert asked


@pytest.mark.parametrize(
    ("tail", "select"),
    [
        ("RECALL TARGET 80% ORACLE LIMIT 200", "id"),
        ("PRECISION TARGET 90% ORACLE LIMIT 200", "id"),
        ("RECALL TARGET 80% PRECISION TARGET 80%", "id"),
        ("ORACLE LIMIT 300", "count(*)"),
    ],
)
def test_what_is_indicated_comes_near_and_is_no_bound(
    made: tuple[Connection, CountingOracle], tail: str, select: str
) -> None:
    con, oracle = made
    n_positive = int(oracle.truth.sum())
    events: list[ProgressEvent] = []
    cursor = con.execute(
        f"SELECT {select} FROM t WHERE judge(id) USING score {tail}", on_progress=events.append
    )
    last = [event.indication for event in events if event.indication is not None][-1]
    assert last.low <= last.n_positive <= last.high
    if tail.startswith("PRECISION"):  # labels of the best rows say little of the others
        assert last.low <= n_positive <= last.high
    else:
        assert abs(last.n_positive - n_positive) < 0.25 * n_positive
    found = events[-1].found
    assert found is not None
    assert found.low <= last.low
    assert last.high <= found.high
    assert (last.recall is None) == (select != "id")
    if "RECALL" in tail:
        assert last.recall is not None
        assert last.recall >= 0.8
        assert last.n_returned is not None
    if tail.startswith("PRECISION"):
        assert last.precision is not None
        assert last.precision >= 0.9
    assert cursor.certificate is not None


@pytest.mark.statistical
@pytest.mark.parametrize(
    "what",
    [
        "avg(id) FROM t WHERE judge(id) USING score ERROR WITHIN 20%",
        "sum(id), count(*) FROM t WHERE judge(id) USING score ORACLE LIMIT 250",
        "id % 2 AS g, avg(id) FROM t WHERE judge(id) GROUP BY g USING score ORACLE LIMIT 250",
    ],
)
def test_limits_that_are_told_hold_all_together_and_end_as_those_of_the_answer(
    made: tuple[Connection, CountingOracle], what: str
) -> None:
    con, oracle = made
    con.execute("SET thresher_reuse_labels = false")
    select = what.split(" USING")[0].replace("judge(id)", "id IN (SELECT unnest($yes))")
    yes = np.flatnonzero(oracle.truth).tolist()
    exact = con.connection.execute(f"SELECT {select} ORDER BY 1", {"yes": yes}).fetchall()
    truths = [value for row in exact for value in (row[1:] if "GROUP" in what else row)]
    alone = con.execute(f"SELECT {what} SEED 3").fetchall()
    n_missed = 0
    for seed in range(6):
        told: list[progress.Limits] = []
        cursor = con.execute(
            f"SELECT {what} SEED {seed}",
            on_progress=lambda event, told=told: told.append(event.limits),  # type: ignore[misc]
        )
        if seed == 3:
            assert cursor.fetchall() == alone  # to watch changes nothing
        seen = [limits for limits in told if limits is not None]
        assert len(seen) > 2
        assert {limits.probability for limits in seen} == {0.95}
        missed = False
        for limits in seen:
            ordered = sorted(limits.intervals, key=lambda i: i.group)
            for interval, truth in zip(ordered, truths, strict=True):
                missed |= interval.low is not None and interval.low > truth * (1 + 1e-12)
                missed |= interval.high is not None and interval.high < truth * (1 - 1e-12)
        n_missed += missed
        certificate = cursor.certificate
        assert certificate is not None
        for one, last in zip(certificate.intervals, seen[-1].intervals, strict=True):
            assert one.low is not None
            assert last.low is not None
            assert one.low >= last.low - 1e-9  # whole numbers may be rounded inwards
    assert n_missed <= 3  # of 6 at 5 %: more has a chance of 9e-5 at most


def test_time_left_goes_by_the_pace_and_the_budget(
    made: tuple[Connection, CountingOracle],
) -> None:
    con, oracle = made
    events: list[ProgressEvent] = []

    def slow(ids: list[int]) -> list[bool]:
        time.sleep(0.01)
        return [bool(oracle.truth[i]) for i in ids]

    con.create_oracle("slow", slow, args=["BIGINT"], batch_size=10)
    con.execute("SELECT id FROM t WHERE slow(id) AND id < 300", on_progress=events.append)
    left = [event.left_s for event in events if event.left_s is not None]
    assert left[-1] == 0
    assert np.mean(left[:5]) > 2 * np.mean(left[-5:])
    assert 0.1 < max(left) < 10
    events.clear()
    con.execute(f"{RECALL.replace('judge', 'slow')} BUDGET 50 SECONDS", on_progress=events.append)
    assert all(event.left_s is not None and event.left_s <= 50 for event in events)


def test_events_come_a_few_times_a_second(
    made: tuple[Connection, CountingOracle], monkeypatch: pytest.MonkeyPatch
) -> None:
    con, _ = made
    monkeypatch.setattr(progress, "EVERY_S", 0.25)
    events: list[ProgressEvent] = []
    began = time.monotonic()
    con.execute("SELECT id FROM t WHERE judge(id)", on_progress=events.append)
    seconds = time.monotonic() - began
    stages = len({event.stage for event in events})
    assert len(events) <= stages + 1 + seconds / 0.25  # 100 batches were bought
    assert events[-1].stage == "done"
    assert events[-1].n_labels == 1000
    with pytest.raises(AttributeError):
        events[0].n_labels = 1  # type: ignore[misc]


@given(
    n_rows=st.integers(20, 300),
    share=st.floats(0.1, 1.0),
    seed=st.integers(0, 2**32 - 1),
    ties=st.integers(1, 50),
    kind=st.sampled_from(["recall", "precision", "joint"]),
)
def test_what_is_indicated_is_within_what_is_certain(
    n_rows: int, share: float, seed: int, ties: int, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, ties, n_rows) / ties
    scores[rng.random(n_rows) < 0.1] = np.nan
    truth = (rng.random(n_rows) < np.nan_to_num(scores)).astype(np.int8)
    known = np.where(rng.random(n_rows) < share, truth, -1).astype(np.int8)
    targets = Targets(
        recall=None if kind == "precision" else 0.9,
        precision=None if kind == "recall" else 0.8,
        delta=0.05,
    )
    found = Indicator(scores, targets).indicate(known)
    n_labelled, n_true = int((known >= 0).sum()), int((known > 0).sum())
    if n_labelled < 20:
        assert found is None
        return
    assert found is not None
    slack = 1e-9 * n_rows
    assert n_true - slack <= found.low <= found.n_positive <= found.high + slack
    assert found.high <= n_true + n_rows - n_labelled + slack
    if found.n_returned is not None and found.recall is not None and found.precision is not None:
        assert n_true <= found.n_returned <= n_rows
        assert 0 <= found.recall <= 1 + slack
        assert 0 <= found.precision <= 1 + slack
    if n_labelled == n_rows:
        assert found.low == found.n_positive == found.high == truth.sum()
    raised = np.exp(3 * scores) - 7
    assert Indicator(raised, targets).indicate(known) == found
