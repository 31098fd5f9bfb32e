"""Calls of oracles in DuckDB's other forms, and names that come near an oracle's or a proxy's."""

from __future__ import annotations

import pytest

from thresher.dbapi import Connection
from thresher.errors import NotSupportedError, ProgrammingError


@pytest.fixture
def notes(con: Connection) -> Connection:
    con.execute(
        "CREATE TABLE t AS SELECT i AS id, CASE WHEN i % 3 = 0 THEN 'good' ELSE 'bad' END || i AS "
        "text, i / 100 AS score, [i, i + 1] AS xs FROM range(60) r(i)"
    )
    con.create_oracle("is_good", _is_good, {"text": "VARCHAR"})
    con.create_oracle("longer", _longer, {"text": "VARCHAR", "than": "BIGINT"})
    con.create_proxy("cheap", lambda texts: [0.5] * len(texts), "is_good")
    return con


def _is_good(texts: list[str]) -> list[bool]:
    return ["good" in text.lower() for text in texts]


def _longer(texts: list[str], than: list[int]) -> list[bool]:
    return [len(text) > n for text, n in zip(texts, than, strict=True)]


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("text.is_good()", "text LIKE '%good%'"),
        ("t.text.is_good()", "text LIKE '%good%'"),
        ('"text".is_good()', "text LIKE '%good%'"),
        ("NOT upper(text).is_good()", "text NOT LIKE '%good%'"),
        ("text.upper().is_good()", "text LIKE '%good%'"),
        ("(text || 'x').is_good() = true", "text LIKE '%good%'"),
        ("[text][1].is_good()", "text LIKE '%good%'"),
        ("'good'.is_good()", "true"),
        ("main.is_good(text)", "text LIKE '%good%'"),
        ("memory.main.is_good(text)", "text LIKE '%good%'"),
        ("id > 9 AND text.longer(4)", "id > 9 AND length(text) > 4"),
        ("longer(than := 4, text := text)", "length(text) > 4"),
        ("longer(text, than => 4)", "length(text) > 4"),
        ("longer(text := text, than := 4) OR text.is_good()", "length(text)>4 OR text LIKE 'g%'"),
    ],
)
def test_other_forms_of_a_call_mean_the_same(notes: Connection, written: str, plain: str) -> None:
    found = notes.execute(f"SELECT id FROM t WHERE {written} ORDER BY id").fetchall()
    assert found == notes.execute(f"SELECT id FROM t WHERE {plain} ORDER BY id").fetchall()


def test_parameters_keep_their_order_where_arguments_are_moved(notes: Connection) -> None:
    sql = "SELECT count(*) FROM t WHERE id > ? AND longer(than := ?, text := text)"
    found = notes.execute(sql, [20, 4]).fetchall()
    assert (
        found
        == notes.execute("SELECT count(*) FROM t WHERE id > 20 AND length(text) > 4").fetchall()
    )


def test_a_table_may_have_the_name_of_an_oracle(notes: Connection) -> None:
    notes.execute("CREATE TABLE main.is_good(id INTEGER)")
    notes.execute("INSERT INTO main.is_good(id) VALUES (3)")
    sql = "SELECT id FROM t WHERE text.is_good() AND id IN (SELECT id FROM main.is_good)"
    assert notes.execute(sql).fetchall() == [(3,)]


@pytest.mark.parametrize(
    ("sql", "message", "at"),
    [
        ("CREATE MACRO m(x) AS is_good(x)", "a macro cannot call the oracle is_good", "is_good(x)"),
        ("CREATE OR REPLACE TEMP MACRO m(x) AS x AND is_good(x)", "Write is_good(x)", "is_good"),
        ("CREATE FUNCTION m(x) AS x.is_good()", "itself into the query", "is_good"),
        ("CREATE MACRO m() AS TABLE FROM t WHERE is_good(text)", "CREATE TABLE name AS", "CREATE"),
    ],
)
def test_a_macro_over_an_oracle_is_refused(
    notes: Connection, sql: str, message: str, at: str
) -> None:
    with pytest.raises(NotSupportedError) as caught:
        notes.execute(sql)
    assert message in str(caught.value)
    assert caught.value.offset == sql.index(at)


@pytest.mark.parametrize(
    ("sql", "message", "at"),
    [
        ("SELECT id FROM t WHERE is_god(text)", "Did you mean the oracle is_good?", "is_god"),
        (
            "SELECT id FROM t WHERE isgood(text) AND is_good(text)",
            "Did you mean the oracle is_good?",
            "isgood",
        ),
        ("FROM query('SELECT is_good(1)')", "is_good is an oracle, no function", "is_good"),
        (
            "SELECT id FROM t WHERE is_good(text) USING cheep RECALL TARGET 90%",
            "there is no column cheep. Did you mean the proxy cheap?",
            "cheep",
        ),
        (
            "SELECT id FROM t WHERE is_good(text) USING scor RECALL TARGET 90%",
            'Candidate bindings: "score"',
            "scor",
        ),
        ("SELECT lenght(text) FROM t", 'Did you mean "length"', "lenght"),
    ],
)
def test_a_name_that_duckdb_does_not_know_may_be_meant_for_a_declared_one(
    notes: Connection, sql: str, message: str, at: str
) -> None:
    with pytest.raises(ProgrammingError) as caught:
        notes.execute(sql)
    assert message in str(caught.value)
    assert caught.value.offset == sql.index(at)
