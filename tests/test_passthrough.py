"""Plain SQL reaches DuckDB byte for byte; broken SQL gives PEP 249 errors and never hangs."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import thresher
from thresher.plan import Passthrough
from thresher.sql import parse, split

FOLDER = Path(__file__).parent / "sql"
# Words of clauses, used as names wherever DuckDB takes a name.
WORDS = re.findall(
    r"\w+",
    """
    recall precision accuracy target error within probability confidence oracle budget assuming
    calibration seed gap shortfall proxy proxies certificate calls seconds usd tokens audit against
    error_target recall_target fnr fpr thresher
    """,
)
SHAPES = """
SELECT {a} FROM {b}
SELECT {a}, {b} + 1 AS {c} FROM {c} WHERE {a} > 0.9 AND {b} = '{c} TARGET 90%'
SELECT {a}.{b} FROM {c} {a} JOIN {b} USING ({c}) WHERE {a}.{c} IS NOT NULL
SELECT count({a}) FILTER (WHERE {b}) OVER (PARTITION BY {c} ORDER BY {a} ROWS 3 PRECEDING) FROM t
WITH {a} AS (SELECT 1 AS {b}), {c} AS (FROM {a}) SELECT * FROM {c} ORDER BY {b} LIMIT 5
FROM {a} SELECT {b} WHERE {c} LIMIT 3 OFFSET 2
SELECT * EXCLUDE ({a}) REPLACE ({b} + 1 AS {b}) FROM {c}
SELECT {{'{a}': {b}, '{c}': 0.5}}, [{a}, {b}], MAP {{'{a}': 1}} FROM t
SELECT {a} FROM t GROUP BY ALL HAVING sum({b}) > 3 ORDER BY {c} DESC NULLS LAST
SELECT list_transform({a}, {b} -> {b} + 1), {c}::DOUBLE, CAST({a} AS VARCHAR) FROM t
SELECT * FROM (VALUES (1, 2), (3, 4)) AS {a}({b}, {c})
SELECT * FROM t TABLESAMPLE 10% REPEATABLE (42) WHERE {a} BETWEEN {b} AND {c}
SELECT CASE WHEN {a} THEN {b} ELSE {c} END FROM t UNION ALL BY NAME SELECT {a} FROM {b}
SELECT $$ {a} TARGET 0.9 ORACLE LIMIT 3 $$, E'{b}\\n', "{c} TARGET" FROM t -- {a} TARGET 0.9
SELECT /* {a} TARGET 90% /* nested */ SEED 4 */ {b} FROM {c}
SELECT * FROM {a} ASOF JOIN {b} ON {a}.x >= {b}.x, LATERAL (SELECT {c}) AS l
SELECT {a}[1:2], {b}.{c}, -{a} % {b}, {a} ** 2 FROM t QUALIFY row_number() OVER () = 1
CREATE TABLE {a} ({b} DOUBLE DEFAULT 0.9, {c} INTEGER CHECK ({c} > 0))
CREATE OR REPLACE TEMP VIEW {a} AS SELECT {b} FROM {c} WHERE {a} LIKE '%x%'
CREATE MACRO {a}({b}, {c} := 0.9) AS {b} + {c}
INSERT INTO {a} ({b}) VALUES (0.9), (1) ON CONFLICT DO NOTHING RETURNING {b}
UPDATE {a} SET {b} = {c} + 0.5 WHERE {a}.{b} IN (SELECT {c} FROM {b})
DELETE FROM {a} USING {b} WHERE {a}.x = {b}.x
COPY {a} TO 'out.csv' (HEADER, DELIMITER ';')
COPY (SELECT {a} FROM {b}) TO 'out.parquet' (FORMAT parquet)
PIVOT {a} ON {b} USING sum({c}) GROUP BY x
UNPIVOT {a} ON {b}, {c} INTO NAME n VALUE v
ALTER TABLE {a} RENAME COLUMN {b} TO {c}
PREPARE {a} AS SELECT {b} FROM t WHERE x > ?
EXPLAIN SELECT {a} FROM {b}
EXPLAIN ANALYZE SELECT {a} FROM {b} WHERE {c} > 0.9
DESCRIBE {a}
SUMMARIZE SELECT {a}, {b} FROM {c}
ATTACH 'x.duckdb' AS {a} (READ_ONLY)
SET VARIABLE {a} = 3
COMMENT ON COLUMN {a}.{b} IS 'PRECISION TARGET 0.9'
CREATE INDEX {a} ON {b} ({c})
CREATE SEQUENCE {a} START 5
CREATE TYPE {a} AS ENUM ('RECALL', 'TARGET')
MERGE INTO {a} USING {b} ON {a}.x = {b}.x WHEN MATCHED THEN UPDATE SET x = {c}
""".strip().splitlines()


@pytest.fixture(scope="module")
def con() -> Iterator[thresher.Connection]:
    with thresher.connect(config={"seed": 1}) as connection:
        connection.execute("CREATE TABLE t AS SELECT id, id / 50 AS s FROM range(50) r(id)")
        connection.create_oracle("is_odd", lambda n: [x % 2 == 1 for x in n], ["BIGINT"], "BOOLEAN")
        yield connection


def parsed(con: thresher.Connection, sql: str) -> list[object]:
    return [parse(fragment.text, con._session.catalog) for fragment in split(sql)]


def corpus() -> list[str]:
    """Every shape with words of clauses as names; what DuckDB itself cannot read is left out."""
    rng, found = random.Random(4), []
    for shape in SHAPES:
        for _ in range(12):
            a, b, c = rng.sample(WORDS, 3)
            sql = shape.format(a=a, b=b, c=c)
            try:
                duckdb.extract_statements(sql)
            except duckdb.ParserException:
                continue
            found.append(sql)
    return found


def test_words_of_clauses_are_names_in_plain_sql(con: thresher.Connection) -> None:
    statements = corpus()
    assert len(statements) > 12 * len(SHAPES) * 0.9
    for sql in statements:
        assert parsed(con, sql) == [Passthrough(split(sql)[0].text)], sql


def test_white_space_and_comments_stay(con: thresher.Connection) -> None:
    sql = (
        "SELECT  recall ,\n\t'RECALL TARGET 0.9' /* SEED 3 */ FROM\n t -- ORACLE LIMIT 5\n  WHERE x"
    )
    assert parsed(con, sql) == [Passthrough(sql)]


@pytest.mark.parametrize("suite", ["tpch", "tpcds"])
def test_benchmark_queries_pass(con: thresher.Connection, suite: str) -> None:
    beneath = duckdb.connect()
    try:
        beneath.execute(f"LOAD {suite}")
    except duckdb.Error:
        pytest.skip(f"DuckDB's extension {suite} is not installed")
    queries = [row[0] for row in beneath.execute(f"SELECT query FROM {suite}_queries()").fetchall()]
    assert len(queries) in (22, 99)
    for sql in queries:
        assert parsed(con, sql) == [Passthrough(split(sql)[0].text)]


OURS = [
    part.strip()
    for name in ("shapes.sql", "nested.sql", "estimates.sql", "labels.sql", "lowered.sql")
    for part in re.split(r";|^-- \w+$", (FOLDER / name).read_text(), flags=re.MULTILINE)
    if part.strip() and len(part) < 400
]
SOUP = re.findall(
    r"\S+",
    """
    SELECT FROM WHERE GROUP BY ORDER LIMIT HAVING UNION ALL WITH AS AND OR NOT IN EXISTS JOIN ON
    USING RECALL PRECISION ACCURACY TARGET ERROR WITHIN PROBABILITY ORACLE BUDGET SECONDS USD
    ASSUMING CALIBRATION SHORTFALL SEED GAP EXPLAIN CREATE TABLE INSERT INTO PREPARE EXECUTE CASE
    WHEN THEN ELSE END NULL TRUE ( ) , . ; * + - / % = < > <> :: := => [ ] { } ? $1 $x -> ->>
    is_odd is_odd(id) is_odd( t id s 0.9 90% 5 'x' "q" count(*) sum(id) -- /* */ ' " $$ é 🙂 \x00
    """,
)
LINES = st.one_of(
    st.lists(st.sampled_from(SOUP), max_size=40).map(" ".join),
    st.tuples(
        st.sampled_from(OURS), st.integers(0, 400), st.integers(0, 30), st.sampled_from(SOUP)
    ).map(lambda cut: f"{cut[0][: cut[1]]} {cut[3]} {cut[0][cut[1] + cut[2] :]}"),
    st.text(max_size=60),
)
LONGEST_S = 5.0


def check_survives(con: thresher.Connection, sql: str) -> None:
    """Splitting and parsing end soon, with statements or an error of PEP 249."""
    began = time.process_time()
    error = failure(lambda: parsed(con, sql))
    assert time.process_time() - began < LONGEST_S
    if error is not None:
        assert error.message
        assert error.offset is None or 0 <= error.offset <= len(sql)


def failure(run: Callable[[], object]) -> thresher.Error | None:
    """Return the error of a call, None if it has none; other exceptions go through."""
    try:
        run()
    except thresher.Error as error:
        return error
    return None


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(LINES)
def test_whatever_is_written_gives_statements_or_an_error(
    con: thresher.Connection, sql: str
) -> None:
    check_survives(con, sql)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(SOUP), max_size=25))
def test_whatever_is_run_gives_rows_or_an_error(con: thresher.Connection, words: list[str]) -> None:
    sql = "SELECT id FROM t WHERE is_odd(id) " + " ".join(words)
    error = failure(lambda: con.execute(sql))
    assert error is None or error.message
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(50,)]


@pytest.mark.full
def test_ten_minutes_of_nonsense(con: thresher.Connection) -> None:
    end = time.monotonic() + 600
    while time.monotonic() < end:

        @settings(
            max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(LINES)
        def survives(sql: str) -> None:
            check_survives(con, sql)

        survives()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t WHERE " + "(" * 3000 + "is_odd(id)" + ")" * 3000,
        "SELECT * FROM t WHERE " + "NOT " * 3000 + "is_odd(id)",
        "SELECT * FROM t WHERE is_odd(id)" + " AND is_odd(id)" * 3000,
        "SELECT * FROM " + "(SELECT * FROM " * 300 + "t WHERE is_odd(id)" + ")" * 300,
        "SELECT * FROM t WHERE is_odd(id) AND x IN (" + ", ".join(map(str, range(50_000))) + ")",
        "SELECT '" + "x" * 3_000_000 + " RECALL TARGET 0.9'",
        "-- " + "RECALL TARGET " * 100_000,
    ],
)
def test_long_and_deep_statements_end(con: thresher.Connection, sql: str) -> None:
    check_survives(con, sql)
