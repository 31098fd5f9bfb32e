"""DESCRIBE and SUMMARIZE of queries that call oracles."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tests_support import CountingOracle
from thresher.dbapi import Connection
from thresher.errors import NotSupportedError, ProgrammingError

Films = tuple[Connection, np.ndarray, CountingOracle]


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        (
            "SELECT id, is_pos(id) AS p, text FROM t",
            [("id", "BIGINT"), ("p", "BOOLEAN"), ("text", "VARCHAR")],
        ),
        ("SELECT id FROM t WHERE is_pos(id) RECALL TARGET 90%", [("id", "BIGINT")]),
        ("FROM (SELECT year FROM t WHERE is_pos(id))", [("year", "BIGINT")]),
        (
            "SELECT count(*) AS n FROM t WHERE is_pos(id) ERROR WITHIN 10%",
            [("n", "BIGINT"), ("n_low", "BIGINT"), ("n_high", "BIGINT")],
        ),
        (
            "WITH p AS (SELECT * FROM t WHERE is_pos(id)) SELECT avg(score) AS m FROM p",
            [("m", "DOUBLE")],
        ),
    ],
)
@pytest.mark.parametrize("verb", ["DESCRIBE", "desc"])
def test_describe_gives_names_and_types_without_a_label(
    films: Films, verb: str, sql: str, columns: list[tuple[str, str]]
) -> None:
    con, _, oracle = films
    cursor = con.execute(f"{verb} {sql}")
    assert [row[:2] for row in cursor.fetchall()] == columns
    assert not oracle.asked
    assert cursor.certificate is None


def test_describe_shows_a_mistake_at_its_place(films: Films) -> None:
    sql = "DESCRIBE SELECT idd FROM t WHERE is_pos(id)"
    with pytest.raises(ProgrammingError, match="idd") as caught:
        films[0].execute(sql)
    assert caught.value.offset == sql.index("idd")


def test_summarize_is_over_the_rows_that_come_back(films: Films) -> None:
    con, truth, oracle = films
    found = con.execute("SUMMARIZE SELECT id, year FROM t WHERE is_pos(id)").fetchall()
    assert len(oracle.asked) == 2000
    con.connection.register("positive", pa.table({"id": np.flatnonzero(truth)}))
    plain = "SUMMARIZE SELECT id, year FROM t JOIN positive USING (id)"
    wanted = con.execute(plain).fetchall()
    exact = [0, 1, 2, 3, 5, 10]  # the rest is approximate, and hangs on the order of rows
    assert [[row[i] for i in exact] for row in found] == [[row[i] for i in exact] for row in wanted]


def test_summaries_in_brackets_are_of_the_rows_that_come_back(films: Films) -> None:
    con, _, _ = films
    ask = "SELECT column_name, min, max, count FROM ({} SELECT id FROM t WHERE is_pos(id)) AS s"
    positive = np.flatnonzero(films[1])
    found = con.execute(ask.format("SUMMARIZE")).fetchall()
    assert found == [("id", str(positive[0]), str(positive[-1]), len(positive))]


@pytest.mark.parametrize("word", ["DESCRIBE", "desc", "SHOW"])
def test_a_description_in_brackets_names_the_statement_that_works(films: Films, word: str) -> None:
    con, _, oracle = films
    sql = f"SELECT column_name FROM ({word} SELECT id FROM t WHERE is_pos(id) RECALL TARGET .9)"
    with pytest.raises(NotSupportedError, match="statement of its own") as caught:
        con.execute(sql)
    assert caught.value.offset == sql.index(word)
    assert not oracle.asked
