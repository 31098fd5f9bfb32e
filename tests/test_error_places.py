"""Errors of DuckDB keep their place in the statement, or in the script, that the user wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import duckdb
import pytest

import thresher
import thresher.aio
from thresher.calls import Place
from thresher.error_places import found_place


@pytest.fixture
def con() -> Iterator[thresher.Connection]:
    with thresher.connect() as made:
        made.execute(
            "CREATE TABLE films AS SELECT range AS id, 'film ' || range AS text FROM range(9)"
        )
        made.create_oracle("rating", len, args={"text": "VARCHAR"}, returns="DOUBLE")
        made.create_oracle("is_good", lambda text: text > "film 5", args={"text": "VARCHAR"})
        yield made


def underlined(error: thresher.Error) -> str:
    """Return what the carets stand under."""
    assert error.sql is not None
    assert error.offset is not None
    return error.sql[error.offset : error.offset + error.length]


@pytest.mark.parametrize(
    ("sql", "wrong", "line", "column"),
    [
        ("FROM t1", "t1", 1, 6),
        ("SELECT nope", "nope", 1, 8),
        ("SELECT a FROM (SELECT 1 b)", "a", 1, 8),
        ("SELECT b.a, a FROM (SELECT 1 a) AS b, (SELECT 2 a)", "a", 1, 13),
        ("SELECT foo(1)", "foo", 1, 8),
        ("SELEC 1", "SELEC", 1, 1),
        ("SELECT 1 FROM range(3) WHERE", None, None, None),
        ("SELECT id,\n  nope\nFROM films", "nope", 2, 3),
        ("-- FROM t1\nSELECT 't1' /* t1 */ FROM t1", "t1", 2, 27),
        ("SELECT\t'\u65e5\u672c',\tnope", "nope", 1, 14),
        ("INSERT INTO films VALUES (1)", "films", 1, 13),
        ("ALTER TABLE films DROP COLUMN nope", "nope", 1, 31),
        ("SELECT 1,\r\n nope", "nope", 2, 2),
        ("SELECT " + "1, " * 60 + "nope", "nope", 1, 188),
        ("SELECT id; FROM films", "id", 1, 8),
        ("SELECT 1;\nSELECT\n nope", "nope", 3, 2),
        ("SELECT 1; SELEC 1", "SELEC", 1, 11),
        ("CREATE TABLE films (a INT)", "films", 1, 14),
        ("INSERT INTO nowhere VALUES (1)", "nowhere", 1, 13),
        ("INSERT INTO films (nope) VALUES (1) RETURNING id", "nope", 1, 20),
        ("UPDATE films SET nope = 1", "nope", 1, 18),
        ("SELECT\n 'abc'::INT", "'abc'", 2, 2),
        ("SELECT text::INT FROM films", "text::INT", 1, 8),
        ("SELECT CAST(text AS INT) FROM films", "text", 1, 13),
    ],
)
def test_errors_of_plain_sql_have_a_place(
    con: thresher.Connection, sql: str, wrong: str | None, line: int | None, column: int | None
) -> None:
    with pytest.raises(thresher.DatabaseError) as caught:
        con.execute(sql)
    error = caught.value
    assert (error.line, error.column) == (line, column)
    if wrong is not None:
        assert underlined(error) == wrong
        assert str(error).count("LINE ") == 1
        assert str(error).endswith("^" * len(wrong))
        assert "LINE" not in error.message


def test_what_duckdb_points_at_goes_before_a_name(con: thresher.Connection) -> None:
    sql = "SELECT id AS nope FROM films JOIN (SELECT 1 AS one) ON nope.x = 1"
    with pytest.raises(duckdb.Error) as plain:
        con.connection.execute(sql)
    with pytest.raises(thresher.ProgrammingError) as caught:
        con.execute(sql)
    assert caught.value.column == str(plain.value).rsplit("\n", 1)[1].index("^") + 1 - len(
        "LINE 1: "
    )
    assert caught.value.column == sql.index("nope.x") + 1


def test_with_parameters_and_in_a_transaction(con: thresher.Connection) -> None:
    con.execute("BEGIN")
    con.execute("INSERT INTO films VALUES (100, 'new')")
    with pytest.raises(thresher.ProgrammingError) as caught:
        con.execute("SELECT id FROM films WHERE id = ? AND\n nope = ?", [1, 2])
    assert (caught.value.line, caught.value.column) == (2, 2)
    con.execute("COMMIT")
    assert con.execute("SELECT count(*) FROM films").fetchall() == [(10,)]


def test_of_a_candidate_nothing_is_shown(con: thresher.Connection) -> None:
    con.execute("CREATE TABLE filmy (id INT)")
    sql = "INSERT INTO film SELECT id FROM films"
    with pytest.raises(thresher.ProgrammingError) as caught:
        con.execute(sql)
    assert "Did you mean" in str(caught.value)
    assert underlined(caught.value) == "film"


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        ("rating(text) = 'abc'", "'abc'"),
        ("is_good(text) AND id = 'it''s'", "'it''s'"),
        ("is_good(text) USING text::INT", "text::INT"),
        ("is_good(text) USING CAST(text AS INT)", "text"),
    ],
)
def test_a_value_that_cannot_be_converted_in_a_query_of_ours(
    con: thresher.Connection, condition: str, wrong: str
) -> None:
    sql = f"SELECT 1;\nSELECT id FROM films\nWHERE {condition} RECALL TARGET 90%"
    with pytest.raises(thresher.DataError, match="Could not convert string") as caught:
        con.execute(sql)
    assert underlined(caught.value) == wrong
    assert (caught.value.line, caught.value.column) == (3, sql.split("\n")[2].rindex(wrong) + 1)


def test_where_the_value_may_be_of_several_places_none_is_shown(con: thresher.Connection) -> None:
    sql = "SELECT id FROM films WHERE id = 'abc' AND is_good(text) OR id = 'abc' RECALL TARGET 90%"
    with pytest.raises(thresher.DataError) as caught:
        con.execute(sql)
    assert caught.value.line is None


def test_an_excerpt_of_another_text_points_nowhere() -> None:
    text = "wrong\n\nLINE 1: SELECT CAST(x AS INTEGER)\n               ^"
    assert found_place(text, "SELECT x::INT") is None
    assert found_place(text, "SELECT CAST(x AS INTEGER)") == Place(7, 4)
    assert found_place(text.replace("LINE 1", "LINE 2"), "SELECT x::INT") is None


def test_it_is_the_same_awaited() -> None:
    async def run() -> thresher.Error:
        async with await thresher.aio.connect() as con:
            with pytest.raises(thresher.ProgrammingError) as caught:
                await con.execute("SELECT 1;\nFROM t1")
        return caught.value

    error = asyncio.run(run())
    assert (error.line, error.column) == (2, 6)
