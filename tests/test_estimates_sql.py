"""Answers of all kinds against DuckDB's own, statement by statement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import thresher

FOLDER = Path(__file__).parent / "sql"


def statements(name: str) -> list[str]:
    text = re.sub(r"^--.*$", "", (FOLDER / name).read_text(), flags=re.MULTILINE)
    return [part.strip() for part in text.split(";") if part.strip()]


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[thresher.Connection, thresher.Connection]]:
    """The same tables twice: beneath with macros, and with oracles."""
    with thresher.connect() as plain, thresher.connect(config={"seed": 1}) as ours:
        for connection in (plain, ours):
            connection.execute(
                "CREATE TABLE items AS SELECT id::INTEGER AS id, "
                "CASE WHEN id % 17 > 0 THEN (id * 7919 % 101)::BIGINT END AS n, "
                "CASE WHEN id % 11 > 0 THEN (id * 37 % 64) / 8 END AS price, "
                "CASE id % 5 WHEN 0 THEN 'a' WHEN 1 THEN 'b' WHEN 2 THEN 'c' WHEN 3 THEN 'd' END "
                "AS kind FROM range(300) AS r(id)"
            )
            connection.execute(
                "CREATE TABLE kinds AS FROM (VALUES ('a', true), ('b', false), ('c', true)) "
                "AS v(kind, good)"
            )
            connection.execute("CREATE MACRO total(x) AS sum(x)")
            connection.execute("CREATE MACRO place_of(x) AS rank() OVER (ORDER BY x DESC)")
            connection.execute("CREATE MACRO twice(x) AS unnest([x, -x])")
            connection.execute("CREATE MACRO mirrored(x) AS twice(x) + 1")
        plain.execute("CREATE MACRO is_odd(x) AS x % 2 = 1")
        plain.execute("CREATE MACRO rest(x) AS (x % 9)::INTEGER")
        plain.execute(
            "CREATE MACRO word(x) AS CASE x % 3 WHEN 0 THEN 'fizz' WHEN 1 THEN 'no' "
            "WHEN 2 THEN 'no' END"
        )
        ours.create_oracle("is_odd", lambda n: [x % 2 == 1 for x in n], ["BIGINT"], "BOOLEAN")
        ours.create_oracle("rest", lambda n: [x % 9 for x in n], ["BIGINT"], "INTEGER")
        ours.create_oracle(
            "word", lambda n: ["fizz" if x % 3 == 0 else "no" for x in n], ["BIGINT"], "VARCHAR"
        )
        yield plain, ours


@pytest.mark.parametrize("sql", statements("estimates.sql"))
def test_estimates_of_everything_are_what_duckdb_answers(
    world: tuple[thresher.Connection, thresher.Connection], sql: str
) -> None:
    plain, ours = world
    wanted = plain.execute(sql).fetchall()
    cursor = ours.execute(f"{sql} ORACLE LIMIT 9000")
    names = [column[0] for column in cursor.description or ()]
    rows = cursor.fetchall()
    kept = [i for i, name in enumerate(names) if not name.endswith(("_low", "_high"))]
    assert [tuple(row[i] for i in kept) for row in rows] == [
        tuple(pytest.approx(value) if isinstance(value, float) else value for value in row)
        for row in wanted
    ]
    for i, name in enumerate(names):
        for end in ("_low", "_high"):
            if f"{name}{end}" in names:
                other = names.index(f"{name}{end}")
                assert [row[other] for row in rows] == [row[i] for row in rows]
    assert cursor.certificate is not None
    assert cursor.certificate.grade == "exact"


@pytest.mark.parametrize("sql", statements("values.sql"))
def test_an_estimate_in_the_place_of_a_value_is_one_column(
    world: tuple[thresher.Connection, thresher.Connection], sql: str
) -> None:
    plain, ours = world
    wanted = plain.execute(sql.replace("{}", ""))
    found = ours.execute(sql.replace("{}", "ORACLE LIMIT 9000"))
    assert [c[0] for c in found.description or ()] == [c[0] for c in wanted.description or ()]
    assert found.fetchall() == wanted.fetchall()


def test_an_estimate_in_from_keeps_its_limits(
    world: tuple[thresher.Connection, thresher.Connection],
) -> None:
    _, ours = world
    estimate = "SELECT count(*) AS c FROM items WHERE is_odd(n) ORACLE LIMIT 9000"
    for sql in (
        f"FROM ({estimate})",
        f"SELECT * FROM kinds, ({estimate})",
        f"SELECT * FROM kinds JOIN ({estimate}) ON true",
        f"WITH e AS ({estimate}) FROM e",
        f"SELECT 1 AS c, 2 AS c_low, 3 AS c_high UNION ALL ({estimate})",
        f"SELECT (SELECT c_low FROM ({estimate})) AS c, 0 AS c_low, 0 AS c_high",
    ):
        names = [column[0] for column in ours.execute(sql).description or ()]
        assert names[-3:] == ["c", "c_low", "c_high"]


def test_a_table_made_of_values_holds_the_estimate_alone(
    world: tuple[thresher.Connection, thresher.Connection],
) -> None:
    _, ours = world
    estimate = "(SELECT count(*) FROM items WHERE is_odd(n) ORACLE LIMIT 9000)"
    ours.execute("CREATE TEMP TABLE counts(what VARCHAR, c BIGINT)")
    ours.execute(f"INSERT INTO counts VALUES ('odd', {estimate})")
    ours.execute(f"UPDATE counts SET c = c - {estimate}")
    assert ours.execute("FROM counts").fetchall() == [("odd", 0)]


@pytest.mark.parametrize("sql", statements("labels.sql"))
def test_labels_of_everything_are_what_duckdb_answers(
    world: tuple[thresher.Connection, thresher.Connection], sql: str
) -> None:
    plain, ours = world
    cursor = ours.execute(f"{sql} ACCURACY TARGET 100% WITH PROBABILITY 99.9999%")
    wanted = plain.execute(sql)
    assert cursor.fetchall() == wanted.fetchall()
    assert cursor.certificate is not None
    assert cursor.certificate.grade == "exact"


@pytest.mark.parametrize("name", ["outputs.sql", "limits.sql"])
def test_rows_and_what_they_show_are_what_duckdb_answers(
    world: tuple[thresher.Connection, thresher.Connection], name: str
) -> None:
    plain, ours = world
    for sql in statements(name):
        wanted = plain.execute(sql)
        names = [column[0] for column in wanted.description or ()]
        cursor = ours.execute(sql)
        assert cursor.fetchall() == wanted.fetchall(), sql
        shown = [column[0] for column in cursor.description or ()]
        called = ("word", "rest", "is_odd")  # DuckDB shows what a macro stands for
        assert [a for a in shown if not a.startswith(called)] == [
            name for a, name in zip(shown, names, strict=True) if not a.startswith(called)
        ], sql
        assert cursor.certificate is not None
        assert cursor.certificate.grade == "exact", sql
        assert cursor.certificate.verify(), (sql, str(cursor.certificate.verify()))
