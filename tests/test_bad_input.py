"""Bad input: each gets a PEP 249 error that shows the place and says what to write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thresher
from tests_support import CountingOracle
from thresher.dbapi import Connection

Films = tuple[Connection, np.ndarray, CountingOracle]
BASE = "SELECT id FROM t WHERE is_pos(id) USING score "


def carets(error: thresher.Error) -> str:
    """Return what the carets of an error underline."""
    *_, line, marks = str(error).split("\n")
    start = marks.index("^")
    return line[start : start + marks.count("^")]


@pytest.mark.parametrize(
    ("tail", "message", "place"),
    [
        ("RECALL TARGET 95", r"must be in \(0, 1\], got 95. Write 95% or 0.95.", "95"),
        ("RECALL TARGET 0", r"must be in \(0, 1\], got 0", "0"),
        ("PRECISION TARGET -1", r"must be in \(0, 1\], got -1", "-1"),
        ("RECALL TARGET .9 WITH PROBABILITY 1", r"must be in \[0.5, 1\), got 1", "1"),
        ("RECALL TARGET .9 ORACLE LIMIT 0", "must be at least 1, got 0", "0"),
        ("RECALL TARGET .9 ORACLE LIMIT -5", "must be at least 1, got -5", "-5"),
        ("RECALL TARGET .9 ORACLE LIMIT 1.5", "must be a whole number, got 1.5", "1.5"),
        ("RECALL TARGET .9 RECALL TARGET .8", "RECALL TARGET stands twice", "RECALL TARGET"),
        ("RECALL TARGET .9 ON SHORTFALL PANIC", "FAIL, RETURN or EXACT", "PANIC"),
        ("RECALL TARGET .9 ORDER BY id", "write ORDER BY before USING", "ORDER"),
        ("RECALL TARGET", "needs a value", "RECALL TARGET"),
    ],
)
def test_clauses(films: Films, tail: str, message: str, place: str) -> None:
    with pytest.raises(thresher.ProgrammingError, match=message) as caught:
        films[0].execute(BASE + tail)
    assert carets(caught.value).startswith(place)
    assert caught.value.line == 1
    assert films[2].asked == []


@pytest.mark.parametrize(
    ("sql", "message", "place"),
    [
        ("SELECT id FROM t WHERE is_poz(id) RECALL TARGET .9", "Did you mean 'is_pos'", "is_poz"),
        ("SELECT idd FROM t WHERE is_pos(id) RECALL TARGET .9", '"idd" not found', "idd"),
        ("SELECT id FROM t WHERE is_pos(id) USING scor RECALL TARGET .9", '"scor" not', "scor"),
        ("SELECT id FROM t WHERE is_pos(id, 1) RECALL TARGET .9", "takes 1 argument", "is_pos"),
        ("SET thresher_oracle_limt = 5", "Did you mean 'thresher_oracle_limit'", "thresher_"),
        ("SET thresher_oracle_limit = 'x'", "whole number from 1", "thresher_oracle_limit"),
        ("DROP ORACLE is_poz", "Did you mean 'is_pos'", "is_poz"),
        ("DESCRIBE PROXY p", "there is no proxy p", "p"),
        ("CREATE PROXY p FOR is_poz USING tfidf", "Did you mean 'is_pos'", "is_poz"),
        (
            "CREATE ORACLE length(x BIGINT) RETURNS BOOLEAN USING column "
            "WITH (table = 't', key = 'id', value = 'score')",
            "length is a function of DuckDB",
            "length",
        ),
        ("CREATE ORACLE is_pos(x BIGINT) RETURNS BOOLEAN USING column", "exists|needs", ""),
        (
            "CREATE ORACLE a(x VARCHAR) RETURNS BOOLEAN USING hugingface",
            "Did you mean 'huggingface'",
            "hugingface",
        ),
        (
            "CREATE ORACLE a(x VARCHAR) RETURNS BOOLEAN USING huggingface "
            "WITH (model = '/no/such/folder', prompt = '{x}', yes = 'y', no = 'n')",
            "no model folder '/no/such/folder'",
            "huggingface",
        ),
        (
            "CREATE ORACLE a(x VARCHAR) RETURNS BOOLEAN USING python WITH (functon = 'm:f')",
            "Did you mean 'function'",
            "functon",
        ),
        (
            "CREATE ORACLE a(x BIGINT) RETURNS STRUCT(b INT) USING column "
            "WITH (table = 't', key = 'id', value = 'score')",
            "cannot return STRUCT",
            "column",
        ),
    ],
)
def test_names(films: Films, sql: str, message: str, place: str) -> None:
    with pytest.raises(thresher.DatabaseError, match=message) as caught:
        films[0].execute(sql)
    assert carets(caught.value).startswith(place)
    assert films[2].asked == []


def _late(ids: list[int]) -> list[bool]:
    _late.calls += 1  # type: ignore[attr-defined]
    if _late.calls > 2:  # type: ignore[attr-defined]
        raise RuntimeError("server gone")
    return [True] * len(ids)


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (lambda ids: 1 / 0, thresher.OracleError, "ZeroDivisionError: division by zero"),
        (lambda ids: [True], thresher.DataError, "gave 1 answers for"),
        (lambda ids: ["yes"] * len(ids), thresher.DataError, "expected True or False"),
        (lambda ids: [None] * len(ids), thresher.DataError, "answered None"),
        (lambda ids: True, thresher.DataError, "must return a list"),
    ],
)
def test_oracles_that_misbehave(
    films: Films, function: Callable[..., Any], kind: type[thresher.Error], message: str
) -> None:
    con = films[0]
    con.create_oracle("odd", function, ["BIGINT"])
    with pytest.raises(kind, match=message) as caught:
        con.execute("SELECT id FROM t WHERE odd(id) USING score RECALL TARGET .9 ORACLE LIMIT 100")
    assert carets(caught.value) == "odd(id)"


def test_labels_before_a_failure_are_kept(films: Films) -> None:
    con = films[0]
    _late.calls = 0  # type: ignore[attr-defined]
    con.create_oracle("late", _late, ["BIGINT"], batch_size=20)
    sql = "SELECT id FROM t WHERE late(id) USING score RECALL TARGET .9 ORACLE LIMIT 200"
    with pytest.raises(thresher.OracleError, match="server gone") as caught:
        con.execute(sql)
    kept = con.execute("SELECT count(*) FROM thresher_labels()").fetchall()
    assert kept == [(caught.value.spent,)]
    assert caught.value.spent > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_proxies_that_misbehave(films: Films, bad: float | None) -> None:
    con = films[0]
    con.create_proxy("odd", lambda ids: [bad] * len(ids), oracle="is_pos")
    with pytest.raises(thresher.DataError, match="proxy odd") as caught:
        con.execute("SELECT id FROM t WHERE is_pos(id) USING odd RECALL TARGET .9 ORACLE LIMIT 99")
    assert carets(caught.value) == "odd"


def test_a_score_that_is_nan(films: Films) -> None:
    con = films[0]
    con.execute("UPDATE t SET score = 'nan' WHERE id = 7")
    with pytest.raises(thresher.DataError, match="NaN or infinite on 1 of 2,000 rows") as caught:
        con.execute(BASE + "RECALL TARGET .9")
    assert carets(caught.value) == "score"
    con.execute("UPDATE t SET score = NULL WHERE id = 7")
    assert con.execute(BASE + "RECALL TARGET .9 ORACLE LIMIT 200").certificate is not None


def test_runaway_bills_are_refused(films: Films) -> None:
    con, _, oracle = films
    con.execute("SET thresher_oracle_limit = 100")
    with pytest.raises(thresher.BudgetError, match=r"2,000 labels.*Three ways on"):
        con.execute("SELECT id FROM t WHERE is_pos(id)")
    with pytest.raises(thresher.BudgetError, match="above thresher_oracle_limit") as caught:
        con.execute(BASE + "RECALL TARGET .9 ORACLE LIMIT 500")
    assert carets(caught.value).startswith("ORACLE LIMIT")
    assert oracle.asked == []


def test_a_locked_database(tmp_path: Path) -> None:
    path = tmp_path / "locked.duckdb"
    script = (
        f"import sys, duckdb; con = duckdb.connect({str(path)!r}); "
        "sys.stdout.write('open\\n'); sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(thresher.OperationalError, match="Another process has it open"):
            thresher.connect(path)
        assert not Path(f"{path}.labels").exists()
        holder.communicate()


@pytest.mark.parametrize(
    ("sql", "message", "at"),
    [
        ("SELECT text FROM t WHERE is_pos(id) USING text SEED 1", "text is VARCHAR: USING takes",
         "text SEED"),
        ("SELECT id FROM t WHERE is_pos(id) USING [id, 2]", "is BIGINT[]: USING takes", "[id, 2]"),
        ("SELECT id FROM t WHERE is_pos(id) USING scor", 'column "scor" not found', "scor"),
        ("SELECT id FROM t WHERE is_pos AND id > 2", "call it, as in is_pos(a0)", "is_pos"),
        ("SELECT is_pos(id) FROM t GROUP BY id + 1", "neither grouped by nor inside", ""),
        ("SELECT count(*) FROM t GROUP BY id ORDER BY is_pos(id + 1)", "neither grouped", ""),
    ],
)  # fmt: skip
def test_what_duckdb_refuses_is_said_in_our_words(
    con: Connection, sql: str, message: str, at: str
) -> None:
    con.create_oracle("is_pos", lambda ids: [True for _ in ids], ["BIGINT"], "BOOLEAN")
    con.execute(
        "CREATE TABLE t AS SELECT i AS id, 'x' || i AS text, 0.5 AS score FROM range(9) r(i)"
    )
    with pytest.raises(thresher.ProgrammingError) as caught:
        con.execute(sql)
    assert message in caught.value.message
    assert "__thresher" not in str(caught.value)
    if at:
        assert caught.value.offset is not None
        assert sql[caught.value.offset :].startswith(at)


def test_scores_that_are_all_null_are_no_scores(con: Connection) -> None:
    con.create_oracle("is_pos", lambda ids: [x % 2 == 0 for x in ids], ["BIGINT"], "BOOLEAN")
    con.execute("CREATE TABLE t AS SELECT i AS id FROM range(200) r(i)")
    sql = "SELECT id FROM t WHERE is_pos(id) USING NULL RECALL TARGET 90% ORACLE LIMIT 20 SEED 1"
    assert len(con.execute(sql).fetchall()) >= 90


def test_closed_connection_and_cursor(con: Connection) -> None:
    cursor = con.cursor()
    cursor.close()
    with pytest.raises(thresher.InterfaceError, match="cursor is closed"):
        cursor.execute("SELECT 1")
    con.close()
    with pytest.raises(thresher.InterfaceError, match="connection is closed"):
        con.execute("SELECT 1")


def test_duckdb_errors_are_ours(con: Connection) -> None:
    with pytest.raises(thresher.ProgrammingError, match="no_such"):
        con.execute("SELECT * FROM no_such")
    con.execute("CREATE TABLE k (i INTEGER PRIMARY KEY)")
    con.execute("INSERT INTO k VALUES (1)")
    with pytest.raises(thresher.IntegrityError):
        con.execute("INSERT INTO k VALUES (1)")
