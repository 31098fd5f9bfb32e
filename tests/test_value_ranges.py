"""Ranges of expressions over an oracle's answer: none too narrow, by DuckDB itself."""

from __future__ import annotations

import dataclasses

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests_support import Names, declared
from thresher.sql.tokens import Source, tokenize
from thresher.sql.value_ranges import value_range

NAMES = Names(
    good=dataclasses.replace(declared("BOOLEAN", "BIGINT"), value_range=(0.0, 1.0)),
    rate=dataclasses.replace(declared("DOUBLE", "BIGINT"), value_range=(-1.5, 4.0)),
    raw=declared("DOUBLE", "BIGINT"),
    topic=declared("VARCHAR", "BIGINT"),
)


def reach(sql: str) -> tuple[float | None, float | None]:
    source = Source(sql, tokenize(sql))
    return value_range(source, 0, len(source.tokens), NAMES)


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    """Every answer of each oracle, as macros over the number of a row."""
    con = duckdb.connect()
    con.execute("CREATE MACRO good(x) AS CASE x % 3 WHEN 0 THEN false WHEN 1 THEN true END")
    con.execute("CREATE MACRO rate(x) AS CASE WHEN x % 13 < 12 THEN -1.5 + x % 12 / 2 END")
    con.execute("CREATE MACRO raw(x) AS x * 1000.0")
    con.execute("CREATE MACRO topic(x) AS CASE x % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END")
    return con


def seen(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[float | None, float | None]:
    ask = f"SELECT min(v), max(v) FROM (SELECT ({sql})::DOUBLE AS v FROM range(600) AS r(x))"
    found = con.execute(ask).fetchone()
    assert found is not None
    return found


@pytest.mark.parametrize(
    "sql",
    [
        "good(x)::INT",
        "CAST(good(x) AS INTEGER)",
        "good(x)::DOUBLE * 100 - 3",
        "-good(x)::INT",
        "1 - good(x)::INT",
        "(rate(x) > 3)::INT",
        "CAST(rate(x) > 3 AND NOT good(x) AS INT)",
        "CASE WHEN good(x) THEN 1 ELSE 0 END",
        "CASE WHEN good(x) THEN 2.5 END",
        "CASE WHEN good(x) THEN NULL ELSE -4 END",
        "CASE topic(x) WHEN 'a' THEN 1 WHEN 'b' THEN -2.5 END * 2",
        "CASE WHEN good(x) THEN CASE WHEN rate(x) > 2 THEN 7 ELSE 5 END ELSE rate(x) END",
        "if(good(x), 1, 0) + rate(x)",
        "coalesce(rate(x), 9)",
        "ifnull(good(x)::INT, -1)",
        "least(greatest(raw(x), 0), 5)",
        "greatest(0, least(rate(x), 3))",
        "least(rate(x), 3)",
        "rate(x) * rate(x - x) - 2 * (rate(x) + 1)",
        "rate(x)::INT",
        "round(rate(x))",
        "floor(rate(x) / 4)",
        "trunc(rate(x) / -4)",
        "rate(x) * .1 + .2 + .7",
        "topic(x) IN ('a', 'b')",
        "true",
    ],
)
def test_what_is_known_holds_every_value(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    low, high = reach(sql)
    least, most = seen(con, sql)
    assert low is not None
    assert high is not None
    assert least is not None
    assert most is not None
    assert low <= least <= most <= high
    assert high - low <= 2.1 * max(1, most - least) + 40 * ("rate(x - x)" in sql)


@pytest.mark.parametrize(
    "sql",
    [
        "raw(x)",
        "raw(x)::INT + 1",
        "x * good(x)::INT",
        "CASE WHEN good(x) THEN x ELSE 0 END",
        "rate(x) / good(x)::INT",
        "rate(x) / 0",
        "rate(x) // 2",
        "rate(x) % 2",
        "good(x)::VARCHAR",
        "topic(x)",
        "log(rate(x))",
        "rate(x) ->> 'k' = 'v'",
        "coalesce(raw(x), 0)",
        "round(rate(x), 1)",
        "rate(x) +",
        "CASE WHEN good(x) THEN 1",
        "",
    ],
)
def test_nothing_else_is_claimed(sql: str) -> None:
    assert reach(sql) == (None, None)


def test_one_end_may_be_known() -> None:
    assert reach("least(raw(x), 5)") == (None, 5)
    assert reach("greatest(raw(x), 5) + 1") == (6, None)
    assert reach("-greatest(raw(x), 5)") == (None, -5)


VALUES = st.sampled_from(["good(x)::INT", "rate(x)", "2", "0.5", "-3", "(rate(x) > 1)::INT"])
UNARY = ["-({})", "({})::INT", "round({})", "{} / 4"]
BINARY = ["({} + {})", "({} - {})", "({} * {})", "least({}, {})", "greatest({}, {})"]
BINARY += ["coalesce({}, {})", "CASE WHEN good(x) THEN {} ELSE {} END", "if(x > 9, {}, {})"]
EXPRESSIONS = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.builds(str.format, st.sampled_from(BINARY), inner, inner),
        st.builds(
            str.format, st.sampled_from(["-({})", "({})::INT", "round({})", "{} / 4"]), inner
        ),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
@settings(max_examples=150, deadline=None)
def test_whatever_is_written_stays_in_its_range(sql: str) -> None:
    with duckdb.connect() as con:
        con.execute("CREATE MACRO good(x) AS CASE x % 3 WHEN 0 THEN false WHEN 1 THEN true END")
        con.execute("CREATE MACRO rate(x) AS CASE WHEN x % 13 < 12 THEN -1.5 + x % 12 / 2 END")
        least, most = seen(con, sql)
    low, high = reach(sql)
    assert low is None or least is None or low <= least
    assert high is None or most is None or most <= high
