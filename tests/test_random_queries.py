"""Queries composed at random: with labels for every row the answer is DuckDB's own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import thresher

TABLES = (
    "CREATE TABLE items AS SELECT id::INTEGER AS id, "
    "CASE WHEN id % 7 > 0 THEN (id * 7919 % 101)::BIGINT END AS n, "
    "CASE WHEN id % 11 > 0 THEN (id * 37 % 64) / 8 END AS price, "
    "CASE id % 5 WHEN 0 THEN 'a' WHEN 1 THEN 'b' WHEN 2 THEN 'é🙂' WHEN 3 THEN '' END AS kind, "
    '(id % 4)::VARCHAR AS "select", id % 3 AS "Größe ""x""" FROM range(120) AS r(id)',
    "INSERT INTO items SELECT * FROM items WHERE id < 20",
    "CREATE TABLE kinds AS FROM (VALUES ('a', true), ('b', false), ('é🙂', NULL), ('zz', true)) "
    "AS v(kind, good)",
    "CREATE TABLE nothing AS FROM items LIMIT 0",
)
MACROS = (
    "CREATE MACRO is_odd(x) AS x % 2 = 1",
    "CREATE MACRO rest(x) AS (x % 9)::INTEGER",
    "CREATE MACRO word(x) AS CASE WHEN x = '' THEN 'none' WHEN x = 'a' THEN 'yes' "
    "WHEN x > '' THEN 'no' END",
    "CREATE MACRO alike(a, b) AS (a + b) % 3 = 0",
)
ATOMS = [
    "is_odd(n)", "is_odd(id + 1)", "word(kind) = 'yes'", "word(kind) <> 'no'", "rest(n) >= 4",
    "rest(n) BETWEEN 2 AND 5", "rest(id) IN (1, 2, 7)", "rest(n) = rest(id)", "alike(id, n)",
    "is_odd(n) IS NULL", "word(kind) LIKE '%e%'",
    "(CASE WHEN is_odd(n) THEN rest(id) ELSE 0 END) > 3",
    "coalesce(is_odd(n), TRUE)", "word(\"select\") IN ('no')", "rest(\"Größe \"\"x\"\"\") < 2",
]  # fmt: skip
PLAIN = ["kind = 'a'", "price > 3", "n IS NULL", "id % 4 = 1", "\"select\" = '2'", "TRUE"]
SOURCES = [
    "items",
    "nothing",
    "items JOIN kinds USING (kind)",
    "items LEFT JOIN kinds USING (kind)",
    "(SELECT * FROM items WHERE id > 50) AS items",
    "(SELECT DISTINCT * FROM items) AS items",
    "items SEMI JOIN kinds USING (kind)",
    "items, (VALUES (1), (2)) AS v(k)",
]
LISTS = [
    ("*", ""),
    ("id, n", ""),
    ('"select", "Größe ""x""" AS size, price * 2', ""),
    ("DISTINCT kind", ""),
    ("kind, count(*), sum(n), avg(price), max(id)", "GROUP BY kind"),
    ("count(*), min(n), list(id ORDER BY id)[1]", ""),
    ("kind, count(DISTINCT n) AS c", "GROUP BY kind HAVING count(*) > 2"),
    ("id, row_number() OVER (PARTITION BY kind ORDER BY id, n) AS place", ""),
]


@st.composite
def formulas(draw: st.DrawFn, depth: int = 3) -> str:
    """A condition with at least one oracle call."""
    if depth == 0:
        return draw(st.sampled_from(ATOMS))
    shape = draw(st.integers(0, 5))
    left = draw(formulas(depth - 1))
    if shape == 0:
        return left
    if shape == 1:
        return f"NOT ({left})"
    right = draw(st.one_of(st.sampled_from(PLAIN), formulas(depth - 1)))
    if shape == 2:
        return f"({left} OR {right})"
    if shape == 3:
        return f"({left}) IS NOT TRUE OR {right}" if depth == 3 else f"(({left}) IS TRUE)"
    return f"{left} AND {right}" if depth == 3 else f"({left} AND {right})"


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, str]:
    """A query, and clauses that let it label every row."""
    columns, grouping = draw(st.sampled_from(LISTS))
    source, formula = draw(st.sampled_from(SOURCES)), draw(formulas())
    plain = draw(st.sampled_from(["", *(f"{sql} AND " for sql in PLAIN)]))
    sql = f"SELECT {columns} FROM {source} WHERE {plain}({formula}) {grouping}".strip()
    targets = ["ORACLE LIMIT 9999"] if "count(" in columns or "GROUP" in grouping else []
    if not targets:
        targets = [
            "",
            "RECALL TARGET 90% ORACLE LIMIT 9999",
            "PRECISION TARGET .8 ORACLE LIMIT 9999",
        ]
    return sql, draw(st.sampled_from(["", *targets]))


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[thresher.Connection, thresher.Connection]]:
    with thresher.connect() as plain, thresher.connect(config={"seed": 1}) as ours:
        for connection in (plain, ours):
            for sql in TABLES:
                connection.execute(sql)
        for sql in MACROS:
            plain.execute(sql)
        ours.create_oracle("is_odd", lambda n: [x % 2 == 1 for x in n], ["BIGINT"], "BOOLEAN")
        ours.create_oracle("rest", lambda n: [x % 9 for x in n], ["BIGINT"], "INTEGER")
        ours.create_oracle(
            "word",
            lambda w: [{"": "none", "a": "yes"}.get(x, "no") for x in w],
            ["VARCHAR"],
            "VARCHAR",
        )
        ours.create_oracle(
            "alike",
            lambda a, b: [(x + y) % 3 == 0 for x, y in zip(a, b, strict=True)],
            ["BIGINT", "BIGINT"],
            "BOOLEAN",
        )
        yield plain, ours


def rows(found: list[tuple[object, ...]], kept: list[int]) -> Counter[tuple[object, ...]]:
    """The rows as a bag; sums of doubles are rounded, their order is not fixed."""
    return Counter(
        tuple(
            float(f"{value:.9g}") if isinstance(value, float) and math.isfinite(value) else value
            for value in (row[i] for i in kept)
        )
        for row in found
    )


def answer(con: thresher.Connection, sql: str) -> thresher.Cursor | thresher.NotSupportedError:
    """Run a query; a refusal is an answer too."""
    try:
        return con.execute(sql)
    except thresher.NotSupportedError as refusal:
        return refusal


def compare(both: tuple[thresher.Connection, thresher.Connection], sql: str, clauses: str) -> bool:
    """Hold an answer against DuckDB's; False where a refusal left nothing to compare."""
    plain, ours = both
    wanted = plain.execute(sql)
    found = answer(ours, f"{sql} {clauses}")
    if isinstance(found, thresher.NotSupportedError):
        assert found.offset is not None, sql  # a refusal shows the place
        return False
    assert wanted.description is not None
    assert found.description is not None
    limits = [column[0].endswith(("_low", "_high")) for column in found.description]
    kept = [i for i, limit in enumerate(limits) if not limit]
    assert len(kept) == len(wanted.description)
    assert rows(found.fetchall(), kept) == rows(wanted.fetchall(), list(range(len(kept))))
    assert {certificate.grade for certificate in found.certificates} == {"exact"}
    return True


def test_the_answer_is_duckdbs_own(
    both: tuple[thresher.Connection, thresher.Connection],
) -> None:
    compared = []

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(queries())
    def holds(query: tuple[str, str]) -> None:
        compared.append(compare(both, *query))

    holds()
    assert sum(compared) > 0.8 * len(compared)  # refusals are the exception


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(queries(), st.sampled_from(["(", "cte", "in", "union"]))
def test_so_it_is_of_blocks_inside_a_statement(
    both: tuple[thresher.Connection, thresher.Connection], query: tuple[str, str], how: str
) -> None:
    sql, _ = query
    if how == "(":
        sql = f"SELECT count(*) AS c FROM ({sql})"
    elif how == "cte":
        sql = f"WITH q AS ({sql}) SELECT count(*) AS c FROM q, kinds"
    elif how == "union":
        sql = f"({sql}) UNION ALL ({sql})"
    else:
        sql = f"SELECT id FROM items WHERE (SELECT count(*) FROM ({sql})) > 3"
    compare(both, sql, "")


@pytest.mark.full
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(queries())
def test_so_it_is_of_thousands(
    both: tuple[thresher.Connection, thresher.Connection], query: tuple[str, str]
) -> None:
    compare(both, *query)
