"""Connections: errors, transactions, threads, several on one file, and the one of the process."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import thresher
from tests_support import make_table
from thresher import errors
from thresher.dbapi import Connection
from thresher.labels import LabelStore
from thresher.session import Session

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.Error)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_pickled_with_all_it_says(kind: type[errors.Error]) -> None:
    error = kind("wrong\nhere", sql="SELECT x\nFROM t", offset=14, length=1, spent=7)
    error.add_note("seen twice")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert (again.line, again.column, again.spent) == (2, 6, 7)
        assert again.__notes__ == ["seen twice"]


def test_errors_of_statements_are_pickled(con: Connection) -> None:
    con.create_oracle("is_odd", lambda n: [x % 2 == 1 for x in n], ["BIGINT"])
    for sql in ("SELEC 1", "SELECT 1 RECALL TARGET 95", "SELECT * FROM nope WHERE is_odd(i)"):
        with pytest.raises(thresher.Error) as caught:
            con.execute(sql)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.line) == (str(caught.value), caught.value.line)


def test_exceptions_are_attributes_of_the_connection(con: Connection) -> None:
    for name in (
        "Warning", "Error", "InterfaceError", "DatabaseError", "DataError", "OperationalError",
        "IntegrityError", "InternalError", "ProgrammingError", "NotSupportedError",
    ):  # fmt: skip
        assert getattr(con, name) is getattr(thresher, name)
    con.execute("CREATE TABLE t (i INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    with pytest.raises(con.IntegrityError):
        con.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(con.DataError):
        con.execute("SELECT 'x'::INTEGER")


def test_types_of_a_description(con: Connection) -> None:
    sql = """
        SELECT 1 AS i, 1.5::DECIMAL(9, 2) AS d, 'x' AS s, 'a'::ENUM('a') AS e, ''::BLOB AS b,
            DATE '2020-01-01' AS y, now() AS t, uuid() AS u, INTERVAL 1 DAY AS v, [1] AS l
    """
    found = con.execute(sql).description
    assert found is not None
    assert all(len(column) == 7 for column in found)
    kinds = (thresher.NUMBER, thresher.STRING, thresher.BINARY, thresher.DATETIME, thresher.ROWID)
    told = {column[0]: [column[1] == kind for kind in kinds].index(True) for column in found[:-1]}
    assert told == {"i": 0, "d": 0, "s": 1, "e": 1, "b": 2, "y": 3, "t": 3, "u": 1, "v": 3}
    assert not any(found[-1][1] == kind for kind in kinds)
    assert str(found[1][1]) == "DECIMAL(9,2)"


def test_a_block_ends_with_a_closed_connection(tmp_path: Path) -> None:
    path = tmp_path / "d.duckdb"
    begun = thresher.connect(path)
    with pytest.raises(thresher.DataError), begun:
        begun.execute("CREATE TABLE t AS SELECT 1 AS x; BEGIN; INSERT INTO t VALUES (2), ('x')")
    assert begun.closed
    with thresher.connect(path) as con:
        assert con.execute("FROM t").fetchall() == [(1,)]
        con.begin()
        con.execute("INSERT INTO t VALUES (3)")
        con.commit()
        con.commit()  # nothing was begun
        con.begin()
        with pytest.raises(thresher.OperationalError, match="within a transaction"):
            con.begin()
    with thresher.connect(path) as con:
        assert con.execute("FROM t").fetchall() == [(1,), (3,)]


def test_where_opening_fails_all_that_was_opened_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[LabelStore] = []
    close = LabelStore.close

    def failing(session: Session, *, keep: bool) -> None:
        raise errors.OperationalError(f"declarations cannot be taken ({session}, {keep})")

    def counted(store: LabelStore) -> None:
        closed.append(store)
        close(store)

    monkeypatch.setattr(Session, "take_declarations", failing)
    monkeypatch.setattr(LabelStore, "close", counted)
    with pytest.raises(thresher.OperationalError, match="declarations cannot be taken"):
        thresher.connect(tmp_path / "a.duckdb")
    assert len(closed) == 1
    monkeypatch.undo()
    for name in ("a.duckdb", "a.duckdb.labels"):  # nothing in this process holds them
        (tmp_path / name).unlink(missing_ok=True)
    with thresher.connect(tmp_path / "a.duckdb") as con:
        assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_what_is_closed_says_so(con: Connection) -> None:
    cursor = con.execute("SELECT 1")
    con.close()
    frame = pd.DataFrame({"x": [1]})
    for job in (
        cursor.fetchall, cursor.df, cursor.to_arrow_table, cursor.preview, cursor.cancel,
        con.close, con.commit, con.rollback, con.begin, con.cursor, con.interrupt,
        lambda: cursor.execute("SELECT 1"), lambda: con.execute("SELECT 1"),
        lambda: con.register("x", frame), lambda: con.unregister("x"), lambda: con.connection,
        lambda: con.create_oracle("f", lambda n: n, ["BIGINT"]),
    ):  # fmt: skip
        with pytest.raises(thresher.InterfaceError, match="the connection is closed; open another"):
            job()  # type: ignore[operator]


def test_a_second_thread_is_refused_while_the_first_is_at_work(con: Connection) -> None:
    said: list[str] = []

    def asked(ids: list[int]) -> list[bool]:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        other()  # nor may a function use the connection whose statement calls it
        return [i % 2 == 0 for i in ids]

    def other() -> None:
        for job in (lambda: con.execute("SELECT 1"), con.commit, waiting.fetchall, con.close):
            try:
                job()
            except thresher.InterfaceError as error:
                said.append(str(error))

    waiting = con.execute("SELECT i FROM range(300_000) r(i)")
    con.create_oracle("is_even", asked, ["BIGINT"])
    assert len(con.execute("SELECT i FROM range(10) r(i) WHERE is_even(i)").fetchall()) == 5
    assert len(said) == 6  # the rows that wait are there
    assert {text[:27] for text in said} == {"this connection is at work:"}
    assert "open another with connect()" in said[0]
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_one_thread_after_another_may_use_a_connection(con: Connection) -> None:
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(con.execute, "CREATE TEMP TABLE t AS SELECT 1 AS x").result()
        cursor = other.submit(con.execute, "FROM t").result()
        assert one.submit(cursor.fetchall).result() == [(1,)]


def test_threads_with_a_connection_each_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "d.duckdb"
    table, truth = make_table(600, seed=3)
    with thresher.connect(path) as con:
        con.register("rows", table)
        con.execute("CREATE TABLE t AS SELECT * FROM rows")
    asked: list[int] = []
    lock = threading.Lock()

    def judge(ids: list[int]) -> list[bool]:
        with lock:
            asked.extend(ids)
        return [bool(truth[i]) for i in ids]

    def work(n: int) -> list[tuple[int, ...]]:
        with thresher.connect(path, config={"seed": n}) as mine:
            mine.create_oracle("is_pos", judge, ["BIGINT"], batch_size=20, version="1")
            sql = "SELECT id FROM t WHERE is_pos(id) ORDER BY id"
            found = [mine.execute(sql).fetchall() for _ in range(3)]
            mine.execute(f"CREATE TABLE made_{n} AS SELECT count(*) AS n FROM t WHERE is_pos(id)")
            assert found[0] == found[1] == found[2]
            return found[0]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(work, range(4)))
    assert answers[0] == [(i,) for i in range(600) if truth[i]]
    assert all(answer == answers[0] for answer in answers)
    assert len(asked) <= 4 * 600
    with thresher.connect(path) as con:
        assert con.execute("SELECT count(*) FROM thresher_labels()").fetchall() == [(600,)]
        made = con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'made%'")
        assert made.fetchall() == [(4,)]


def test_the_connection_of_the_process() -> None:
    df = pd.DataFrame({"x": [1, 2]})
    assert thresher.sql("SELECT sum(x) + ? FROM df", [1]).fetchall() == [(4,)]
    assert thresher.sql("FROM y", frames={"y": df}).df().equals(df)
    con = thresher.default_connection()
    with ThreadPoolExecutor(8) as pool:
        assert {
            id(one) for one in pool.map(lambda _: thresher.default_connection(), range(50))
        } == {id(con)}
    con.close()
    assert thresher.default_connection() is not con
    assert thresher.sql("SELECT 1").fetchall() == [(1,)]


def test_sql_is_a_function_and_a_package() -> None:
    script = (
        "import thresher; a = thresher.sql('SELECT 1').fetchall(); import thresher.sql; "
        "from thresher.sql import split; print(a, len(split('SELECT 1; SELECT 2')), "
        "thresher.sql('SELECT 3').fetchall())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[(1,)] 2 [(3,)]\n"


def use(con: Connection, n_rounds: int) -> int:
    """Run five queries a round and return the bytes of Python objects that there are then."""
    frame = pd.DataFrame({"id": range(50)})
    for n in range(n_rounds):
        con.execute("SELECT id FROM t WHERE is_pos(id) USING score RECALL TARGET 80%").fetchall()
        con.execute("SELECT count(*) FROM frame JOIN t USING (id)").df()
        con.execute("SELECT * FROM t").fetchmany(3)
        con.execute("SELECT * FROM range(100_000)").fetchone()
        con.execute(f"CREATE OR REPLACE TEMP TABLE x AS SELECT {n} AS n")
    assert len(frame) == 50
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("n_rounds", [5, pytest.param(40, marks=pytest.mark.full)])
def test_memory_does_not_grow(films: tuple[Connection, object, object], n_rounds: int) -> None:
    con = films[0]
    tracemalloc.start()
    try:
        before = use(con, 5)
        assert use(con, n_rounds) - before < 12_000 * n_rounds  # a batch of rows is 500,000 bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("sql", "parameters", "message"),
    [
        ("SELECT ?", 1, r"got 1\. Write \[1\]"),
        ("SELECT ?", 1.5, r"Write \[1\.5\]"),
        ("SELECT ?", "a", r"Write \['a'\]"),
        ("SELECT ?", {1}, "parameters are a list of values"),
        (None, None, "a statement is a text, got None"),
        (42, None, "a statement is a text, got 42"),
    ],
)
def test_what_is_no_statement_or_no_list_is_told(sql: Any, parameters: Any, message: str) -> None:
    with thresher.connect() as con, pytest.raises(thresher.InterfaceError, match=message):
        con.execute(sql, parameters)
