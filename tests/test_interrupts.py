"""Statements that are stopped, by cancel(), Ctrl-C or SIGTERM: nothing is lost or paid twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import thresher
from tests_support import make_table
from thresher.dbapi import Connection
from thresher.errors import InterruptedQueryError
from thresher.oracles import Answers
from thresher.transactions import in_transaction, transaction

BATCH = 10
QUERIES = [
    "SELECT id FROM t WHERE slow(id)",
    "SELECT id FROM t WHERE slow(id) USING score RECALL TARGET 80%",
    "SELECT id FROM t WHERE slow(id) USING score RECALL TARGET 80% PRECISION TARGET 80%",
    "SELECT count(*) AS n FROM t WHERE slow(id) USING score ORACLE LIMIT 300",
    "SELECT id FROM t WHERE slow(id) USING score ACCURACY TARGET 95%",
    "SELECT id, slow(id) FROM t",
    "SELECT id FROM t WHERE slow(id) LIMIT 150",
    "CREATE TABLE kept AS SELECT id FROM t WHERE slow(id) USING score RECALL TARGET 80%",
]


class Slow:
    """A function that takes its time and remembers what it was asked; it may act in a batch."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth, self.asked, self.pause = truth, [], 0.0
        self.act: Callable[[int], object] = lambda n: None

    def __call__(self, ids: list[int]) -> list[bool]:
        time.sleep(self.pause)
        self.act(len(self.asked) // BATCH)
        self.asked += ids
        return [bool(self.truth[i]) for i in ids]


@pytest.fixture
def made() -> Iterator[tuple[Connection, Slow]]:
    table, truth = make_table(1000, seed=3)
    con = thresher.connect(config={"seed": 5})
    con.connection.register("rows", table)
    con.execute("CREATE TABLE t AS SELECT * FROM rows")
    slow = Slow(truth)
    con.create_oracle("slow", slow, args=["BIGINT"], batch_size=BATCH)
    yield con, slow
    con.close()


def n_kept(con: Connection) -> int:
    row = con.execute("SELECT count(*) FROM thresher_labels()").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("sql", QUERIES)
def test_a_cancelled_query_ends_after_its_batch_and_goes_on(
    made: tuple[Connection, Slow], sql: str
) -> None:
    con, slow = made
    cursor = con.cursor()
    # From a thread of its own, while the third batch is answered.
    slow.act = lambda n: n == 2 and run_apart(cursor.cancel)
    with pytest.raises(InterruptedQueryError, match="was cancelled") as caught:
        cursor.execute(sql)
    assert len(slow.asked) == 3 * BATCH == n_kept(con) == caught.value.spent
    slow.act = lambda n: None
    con.execute(sql)
    assert len(slow.asked) > 3 * BATCH
    assert len(set(slow.asked)) == len(slow.asked) == n_kept(con)


def run_apart(job: Callable[[], object]) -> None:
    thread = threading.Thread(target=job)
    thread.start()
    thread.join()


def test_to_cancel_where_nothing_runs_concerns_no_statement(made: tuple[Connection, Slow]) -> None:
    con, slow = made
    cursor = con.cursor()
    cursor.cancel()
    con.interrupt()
    assert len(cursor.execute("SELECT id FROM t WHERE slow(id) AND id < 30").fetchall()) >= 0
    assert len(slow.asked) == 30
    cursor.cancel()
    assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_a_query_of_duckdb_is_cancelled_too(made: tuple[Connection, Slow]) -> None:
    con, _ = made
    cursor = con.cursor()
    timer = threading.Timer(0.5, cursor.cancel)
    timer.start()
    began = time.perf_counter()
    with pytest.raises(InterruptedQueryError):
        cursor.execute("SELECT sum(a.range * b.range % 7) FROM range(1000000) a, range(1000000) b")
    timer.join()
    assert time.perf_counter() - began < 20
    assert con.execute("SELECT 42").fetchall() == [(42,)]


ENDLESS = "SELECT count(*) FROM range(9000000) a, range(9000000) b"


class Heard:
    """A connection that says when it has been interrupted."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection, self.once = connection, threading.Event()

    def interrupt(self) -> None:
        self._connection.interrupt()
        self.once.set()


@pytest.mark.parametrize("way", ["Ctrl-C", "cancel"])
def test_an_interrupt_just_before_duckdb_begins_is_heard(
    con: Connection, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    # DuckDB forgets what came before: its flag is cleared when a query begins.
    interrupts, beneath = con._session.interrupts, con._session.connection
    heard = Heard(beneath)
    monkeypatch.setattr(interrupts, "_connection", heard)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def job() -> object:
        signal.raise_signal(signal.SIGINT) if way == "Ctrl-C" else con.interrupt()
        heard.once.wait()
        return beneath.execute(ENDLESS).fetchall()

    try:
        with (
            pytest.raises(KeyboardInterrupt if way == "Ctrl-C" else InterruptedQueryError),
            interrupts.handled(),
        ):
            interrupts.apart(job)
    finally:
        signal.signal(signal.SIGINT, before)
    assert con.execute("SELECT 42").fetchall() == [(42,)]


class Struck:
    """A connection whose user presses Ctrl-C just as a transaction has begun."""

    def __init__(self, connection: object) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, sql: str, *given: object) -> object:
        done = self._connection.execute(sql, *given)  # type: ignore[attr-defined]
        if sql.startswith("BEGIN"):
            signal.raise_signal(signal.SIGINT)
        return done


@pytest.mark.parametrize("where", ["duckdb", "label store"])
def test_ctrl_c_as_a_transaction_begins_leaves_none_open(
    made: tuple[Connection, Slow], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    con, slow = made
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched:
            if where == "duckdb":
                patched.setattr(
                    "thresher.executor.transaction", lambda beneath: transaction(Struck(beneath))
                )
            else:
                patched.setattr(con._store.file, "_db", Struck(con._store.file._db))
            with pytest.raises(KeyboardInterrupt):
                con.execute(QUERIES[0])
    finally:
        signal.signal(signal.SIGINT, before)
    assert not in_transaction(con._session.connection)
    con.execute(QUERIES[0])
    assert len(slow.asked) == n_kept(con) == 1000


def test_ctrl_c_that_duckdb_makes_an_error_of_is_ctrl_c(con: Connection) -> None:
    # So it does where Python is heard in a function that DuckDB has called.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def run() -> None:
        with con._session.interrupts.handled():
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            raise thresher.DatabaseError("KeyboardInterrupt: <EMPTY MESSAGE>")

    try:
        with pytest.raises(KeyboardInterrupt):
            run()
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_interrupts_duckdb_itself_ends_the_statement_and_not_the_program(
    con: Connection,
) -> None:
    timer = threading.Timer(0.3, con._session.connection.interrupt)
    timer.start()
    with pytest.raises(thresher.OperationalError, match="no more than that it was interrupted"):
        con.execute(ENDLESS)
    timer.join()
    assert con.execute("SELECT 42").fetchall() == [(42,)]


def test_the_transaction_of_the_user_lives_on(made: tuple[Connection, Slow]) -> None:
    con, slow = made
    con.execute("BEGIN")
    con.execute("CREATE TABLE mine AS SELECT 1 AS x")
    cursor = con.cursor()
    slow.act = lambda n: n == 1 and run_apart(cursor.cancel)
    with pytest.raises(InterruptedQueryError):
        cursor.execute(QUERIES[0])
    assert con.execute("FROM mine").fetchall() == [(1,)]
    con.execute("ROLLBACK")
    assert n_kept(con) == 2 * BATCH  # labels are paid for
    with pytest.raises(thresher.Error):
        con.execute("FROM mine")


def test_interrupt_lets_a_query_answer_that_can(made: tuple[Connection, Slow]) -> None:
    con, slow = made
    con.execute("SET thresher_on_interrupt = 'ANSWER'")
    slow.act = lambda n: n == 5 and run_apart(con.interrupt)
    certificate = con.execute(QUERIES[1]).certificate
    assert certificate is not None
    assert str(certificate.note).startswith("interrupted")
    assert certificate.verify()
    slow.act = lambda n: n == 8 and (run_apart(con.interrupt), run_apart(con.interrupt))
    with pytest.raises(InterruptedQueryError):
        con.execute(QUERIES[1])
    assert len(set(slow.asked)) == len(slow.asked) == n_kept(con)


@pytest.mark.parametrize("sql", QUERIES[:6])
def test_ctrl_c_inside_a_batch_loses_that_batch_alone(
    made: tuple[Connection, Slow], sql: str
) -> None:
    con, slow = made
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    slow.act = lambda n: n == 3 and signal.raise_signal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            con.execute(sql)
        slow.act = lambda n: None
        assert len(slow.asked) == 3 * BATCH == n_kept(con)
        assert str(caught.value) == (
            f"the statement was stopped. {3 * BATCH} labels were bought and are kept while this "
            "connection is open: run it again to go on from them."
        )
        con.execute(sql)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(set(slow.asked)) == len(slow.asked) == n_kept(con)


def test_ctrl_c_waits_until_answers_are_written_down(
    made: tuple[Connection, Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    con, slow = made
    put = con._store.put
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(*args: object) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)
        put(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(con._store, "put", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            con.execute(QUERIES[0])
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(slow.asked) == BATCH == n_kept(con)


def test_what_a_broken_batch_had_answered_is_kept(
    made: tuple[Connection, Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    con, _ = made

    class Breaking:
        batch_size, version = BATCH, "b" * 64

        def __init__(self) -> None:
            self.paid: list[int] = []

        def answer(self, batch: pa.Table) -> Answers:
            ids = batch.column(0).to_pylist()
            self.paid = [i for i in ids if i % 2]
            raise thresher.OracleError("out of credit")

        def answered(self, batch: pa.Table) -> tuple[list[int], Answers]:
            ids = batch.column(0).to_pylist()
            rows = [row for row, i in enumerate(ids) if i in self.paid]
            return rows, Answers(pa.array([True] * len(rows)), None, 0.5 * len(rows))

    bound = con._session.models.bound("slow")
    monkeypatch.setattr(bound, "oracle", Breaking())
    monkeypatch.setattr(con._session.models, "bound", lambda name: bound)
    with pytest.raises(thresher.OracleError, match="out of credit") as caught:
        con.execute("SELECT id FROM t WHERE slow(id) AND id < 10")
    assert caught.value.spent == 5 == n_kept(con)
    found = con.execute("SELECT sum(cost_usd) FROM thresher_labels()").fetchone()
    assert found == (2.5,)


PLAIN = """
import signal, thresher
batches = []
def judge(ids):
    if len(batches) == 2:
        signal.raise_signal(signal.SIGINT)
    batches.append(ids)
    return [i % 3 == 0 for i in ids]
con = thresher.connect("d.duckdb")
con.create_oracle("judge", judge, args=["BIGINT"], batch_size=10)
con.execute("SELECT 1; SELECT i FROM range(8) r(i) WHERE judge(i); "
    "SELECT i FROM range(400) r(i) WHERE judge(i)")
"""


def test_the_traceback_of_a_script_ends_with_what_became_of_the_labels(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", PLAIN], cwd=tmp_path, capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert ended.stderr.splitlines()[-1] == (
        "KeyboardInterrupt: the statement was stopped. 18 labels were bought and are kept: run it "
        "again to go on from them."
    )


def test_an_interruption_says_what_it_knows(made: tuple[Connection, Slow]) -> None:
    con, slow = made
    con.execute("SET thresher_reuse_labels = false")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    slow.act = lambda n: n == 1 and signal.raise_signal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt, match="SET thresher_reuse_labels = true and run it"):
            con.execute(QUERIES[0])
    finally:
        signal.signal(signal.SIGINT, before)

    def leave(_: object) -> None:
        raise KeyboardInterrupt("of mine")

    slow.act = lambda n: None
    with pytest.raises(KeyboardInterrupt, match=r"^of mine$"):
        con.cursor().execute(QUERIES[0], on_progress=leave)


MODULE = """
import time

def judge(ids):
    time.sleep(0.1)
    with open({log!r}, "a") as log:
        log.write("".join(f"{{i}}\\n" for i in ids))
    return [i % 3 == 0 for i in ids]
"""
SCRIPT = """
CREATE ORACLE judge(i BIGINT) RETURNS BOOLEAN
    USING python WITH (function = 'judging:judge', batch_size = 5);
"""


def start(folder: Path, sql: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "thresher", "query", "--db", "d.duckdb", "--create"]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.Popen(
        [*command, "--no-progress", sql],
        cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell starts processes in the background with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for(log: Path, n_lines: int) -> None:
    until = time.monotonic() + 200
    while not log.exists() or len(log.read_text().splitlines()) < n_lines:
        assert time.monotonic() < until, log
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")],
)
@pytest.mark.parametrize("budget", ["", " USING i RECALL TARGET 90% BUDGET 900 SECONDS"])
def test_a_process_that_is_told_to_end_keeps_its_labels(
    tmp_path: Path, number: signal.Signals, code: int, said: str, budget: str
) -> None:
    if budget and number == signal.SIGINT:
        pytest.skip("Ctrl-C lets it answer")
    log = tmp_path / "asked.log"
    (tmp_path / "judging.py").write_text(MODULE.format(log=str(log)))
    sql = f"{SCRIPT} SELECT i FROM range(400) r(i) WHERE judge(i){budget}"
    child = start(tmp_path, sql)
    wait_for(log, 20)
    child.send_signal(number)
    _, err = child.communicate(timeout=200)
    assert child.returncode == code, err
    assert said in err
    asked = log.read_text().splitlines()
    assert 20 <= len(asked) < 300
    with sqlite3.connect(tmp_path / "d.duckdb.labels") as db:
        (kept,) = db.execute("SELECT count(*) FROM labels").fetchone()
    assert len(asked) - 5 <= kept <= len(asked)
    assert f"{kept:,} labels were bought and are kept" in err
    with thresher.connect(tmp_path / "d.duckdb") as con:  # it was closed in order
        assert con.execute("SELECT count(*) FROM thresher_labels()").fetchone() == (kept,)
