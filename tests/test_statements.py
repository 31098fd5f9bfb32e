"""Splitting scripts, telling our statements from DuckDB's, declarations and settings."""

from __future__ import annotations

import datetime
import decimal
import uuid
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests_support import Names, declared
from thresher.errors import NotSupportedError, ProgrammingError
from thresher.plan import (
    CreateOracle,
    CreateProxy,
    Describe,
    Drop,
    Explain,
    Passthrough,
    Place,
    ResetSetting,
    SelectionQuery,
    SetSetting,
    Show,
    ShowSetting,
)
from thresher.sql import parse, split
from thresher.sql.parameters import literal

NAMES = Names(
    is_pos=declared("BOOLEAN", "VARCHAR"),
    known_settings=["oracle_limit", "on_shortfall", "probability"],
)

# Splitting

STATEMENTS = [
    "SELECT 1",
    "SELECT ';'",
    "SELECT 'it''s; '';'",
    "SELECT E'a\\';b'",
    'SELECT 1 AS "a;""b"',
    "SELECT $$;$$",
    "SELECT $tag$ $$;$$ ' $tag$",
    "SELECT $é$;$é$",
    "SELECT 1 -- ; '\n + 1",
    "SELECT /* ; /* nested; */ ' */ 2",
    "SELECT 1 AS a$b",
    "CREATE TABLE IF NOT EXISTS t (a INTEGER)",
    "SELECT 5 - -3, 4*-2, 1::VARCHAR || ';'",
    "SELECT {'a;': [1, 2]}",
]
BETWEEN = ["", " ", "\n", "-- note; 'x\n", "/* a; /* b */ */", "\t/* ' */ "]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STATEMENTS), st.sampled_from(BETWEEN)), max_size=6),
    st.sampled_from(["", ";", ";;", "; -- end"]),
)
def test_script_splits_as_in_duckdb(pieces: list[tuple[str, str]], end: str) -> None:
    script = ";".join(between + sql + between for sql, between in pieces) + end
    found = split(script)
    assert [fragment.text for fragment in found] == [sql for sql, _ in pieces]
    assert len(found) == len(duckdb.extract_statements(script))
    for fragment in found:
        assert script[fragment.offset :].startswith(fragment.text)


@settings(deadline=None)
@given(st.text("ab'\"$;-/*\\\n E", max_size=40))
def test_any_text_splits_into_pieces_of_itself(script: str) -> None:
    last = 0
    for fragment in split(script):
        assert fragment.offset >= last
        last = fragment.offset + len(fragment.text)
        assert script[fragment.offset : last] == fragment.text
        assert fragment.text.strip()


@pytest.mark.parametrize("script", ["", "  ", ";;", "-- only", "/* only; */ ; -- this"])
def test_empty_statements_are_dropped(script: str) -> None:
    assert split(script) == []


@pytest.mark.parametrize("script", ["SELECT 'a; b", 'SELECT "a; b', "SELECT 1 /* a; b"])
def test_text_that_never_ends_is_one_statement(script: str) -> None:
    assert [fragment.text for fragment in split(script)] == [script]
    assert parse(script + " RECALL TARGET 0.9", NAMES) == Passthrough(script + " RECALL TARGET 0.9")


# What is DuckDB's

PASSED = [
    "SELECT 1",
    "SELECT * FROM t WHERE x LIKE 'RECALL TARGET 0.9'",
    "SELECT recall, target FROM t ORDER BY recall",
    "SELECT * FROM recall target",
    "SELECT * FROM oracle LIMIT 5",
    "SELECT * FROM t oracle LIMIT 5",
    "SELECT a oracle LIMIT 5",
    "SELECT * FROM (SELECT * FROM t oracle LIMIT 5)",
    "SELECT * FROM t ORDER BY oracle LIMIT 5",
    "SELECT * FROM t WHERE NOT oracle LIMIT 5",
    "SELECT * FROM t WHERE x > seed - 1",
    "SELECT seed -1, confidence -1 FROM t",
    "SELECT x % seed - 1 FROM t",
    "SELECT t.seed FROM t WHERE t.confidence > 0.5 AND t.target < 3",
    "SELECT * FROM t JOIN u USING (id)",
    "SELECT * FROM t JOIN u AS v USING (id) WHERE x > 3",
    "SELECT * FROM t LEFT JOIN shortfall ON shortfall.id = t.id",
    "SELECT * FROM t JOIN u ON shortfall",
    "SELECT * FROM t USING SAMPLE 10%",
    "SELECT * FROM t WHERE x > 3 USING SAMPLE reservoir(10 ROWS) REPEATABLE (7)",
    "SELECT * FROM t TABLESAMPLE 10% REPEATABLE (42)",
    "PIVOT t ON year USING sum(x)",
    "WITH c AS (SELECT 1) PIVOT c ON year USING sum(x) GROUP BY country",
    "WITH RECURSIVE c(a) USING KEY (a) AS (SELECT 1 UNION SELECT 2) SELECT * FROM c",
    "SELECT * FROM t USING SAMPLE system(10%)",
    "SELECT * FROM t USING SAMPLE (10 PERCENT)",
    "SELECT d AT TIME ZONE 'UTC' FROM t",
    "SELECT * FROM t AT (VERSION => 3)",
    "WITH probability AS (SELECT 1) SELECT * FROM probability",
    "SELECT * FROM unnest([1]) WITH ORDINALITY",
    "SELECT quantile_cont(x, 0.5) WITHIN GROUP (ORDER BY x) FROM t",
    "CREATE TABLE oracle (target DOUBLE, seed INTEGER)",
    "CREATE TABLE t (recall DOUBLE DEFAULT 0.9)",
    "INSERT INTO t SELECT recall, target FROM u",
    "DROP TABLE oracle",
    "CREATE TABLE is_pos (x INTEGER)",
    "CREATE MACRO is_pos(x) AS x > 1",
    "INSERT INTO is_pos(x) VALUES (1)",
    "SELECT other.is_pos(x) FROM t",
    "SELECT is_pos FROM t",
    "SELECT 'is_pos(x)' FROM t",
    "SHOW TABLES",
    "SHOW oracle",
    "DESCRIBE oracle",
    "DESCRIBE SELECT 1",
    "SUMMARIZE oracle",
    "SET threads = 2",
    "RESET threads",
    "SET VARIABLE thresher_x = 1",
    "PRAGMA version",
    "COPY t TO 'x.csv' (SEED 7)",
    "EXPLAIN SELECT 1",
    "EXPLAIN (FORMAT html) SELECT seed FROM t",
    "EXPLAIN ANALYZE SELECT recall FROM t",
    "COMMENT ON TABLE t IS 'RECALL TARGET 0.9'",
    "this is not SQL, oracle ( target",
    "oracle",
    "",
    ";",
]


@pytest.mark.parametrize("sql", PASSED)
def test_what_is_not_ours_is_passed_on(sql: str) -> None:
    assert parse(sql, NAMES) == Passthrough(sql)


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("CREATE VIEW v AS SELECT * FROM t WHERE is_pos(a) PRECISION TARGET 0.9", "CREATE VIEW"),
        ("CREATE VIEW v AS SELECT * FROM t WHERE f(a) PRECISION TARGET ?", "PRECISION TARGET"),
        ("CREATE MACRO m() AS TABLE SELECT * FROM t WHERE is_pos(a)", "CREATE MACRO"),
        ("UPDATE t SET b = is_pos(a)", "is_pos"),
        ("DELETE FROM t WHERE is_pos(a)", "is_pos"),
        ("(SELECT * FROM t WHERE is_pos(a)) RECALL TARGET 0.9", "(SELECT"),
        (
            "SELECT * FROM t WHERE is_pos(a) UNION SELECT * FROM t RECALL TARGET 0.9",
            "RECALL TARGET",
        ),
        (
            "SELECT * FROM t WHERE is_pos(a) UNION SELECT * FROM u WHERE is_pos(b) ORDER BY 1 "
            "RECALL TARGET 0.9",
            "RECALL TARGET",
        ),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a FROM r WHERE is_pos(a)) FROM r",
            "r AS",
        ),
        (
            "WITH c AS (SELECT 1) SELECT * FROM (WITH c AS (FROM t WHERE is_pos(a)) FROM c)",
            "c AS (FROM t",
        ),
    ],
)
def test_clauses_and_calls_in_other_statements_are_refused(sql: str, word: str) -> None:
    with pytest.raises((NotSupportedError, ProgrammingError)) as caught:
        parse(sql, NAMES, [0.9] if "?" in sql else None)
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(word)


def test_a_call_makes_a_statement_ours_without_clauses() -> None:
    query = parse("SELECT * FROM t WHERE Is_Pos(a);", NAMES)
    assert isinstance(query, SelectionQuery)
    assert query.calls[0].oracle == "is_pos"
    assert query.tail.recall is None


def test_explain_wraps_the_query() -> None:
    made = parse("EXPLAIN ANALYZE SELECT * FROM t WHERE is_pos(a) SEED 4", NAMES)
    assert isinstance(made, Explain)
    assert made.analyze
    assert made.query.tail.seed == 4
    assert made.query.canonical == "SELECT * FROM t WHERE is_pos(a) SEED 4"
    made = parse("EXPLAIN FROM t WHERE is_pos(a)", NAMES)
    assert isinstance(made, Explain)
    assert not made.analyze
    with pytest.raises(ProgrammingError, match="not yaml"):
        parse("EXPLAIN (FORMAT yaml) SELECT * FROM t WHERE is_pos(a)", NAMES)


# Declarations


def test_create_oracle() -> None:
    sql = """CREATE OR REPLACE TEMPORARY ORACLE Is_Neg(text VARCHAR, "Pic ture" STRUCT(a INT, b
        DECIMAL(10, 2)[]),) RETURNS DECIMAL(4,2) USING HuggingFace WITH (model = 'it''s',
        prompt = E'a\\n''b', raw = $$x 'y'$$, "Batch" = 1_000, rate = -.5, fine = TRUE, none = null,
        labels = ['a', 'b'], share = 90%,)"""
    made = parse(sql, NAMES)
    assert isinstance(made, CreateOracle)
    assert made.name == "is_neg"
    assert made.replace
    assert made.temporary
    kind = "STRUCT(a INT, b\nDECIMAL(10, 2)[])"
    assert made.arguments == (("text", "VARCHAR"), ("Pic ture", kind))
    assert made.returns == "DECIMAL(4,2)"
    assert made.provider == "huggingface"
    assert made.options == {
        "model": "it's",
        "prompt": "a\n'b",
        "raw": "x 'y'",
        "batch": 1000,
        "rate": -0.5,
        "fine": True,
        "none": None,
        "labels": ["a", "b"],
        "share": 0.9,
    }
    assert made.sql == sql
    assert made.places["provider"] == Place(sql.index("HuggingFace"), len("HuggingFace"))
    assert made.places["option rate"] == Place(sql.index("rate"), len("rate = -.5"))


def test_create_proxy() -> None:
    made = parse("CREATE PROXY fast FOR is_pos USING tfidf", NAMES)
    assert isinstance(made, CreateProxy)
    assert (made.name, made.oracle, made.provider, made.options) == ("fast", "is_pos", "tfidf", {})
    assert set(made.places) == {"name", "oracle", "provider"}
    made = parse("CREATE OR REPLACE TEMP PROXY f FOR o USING p WITH (a = ?)", NAMES, [["x"]])
    assert isinstance(made, CreateProxy)
    assert made.options == {"a": ["x"]}


def test_other_declarations() -> None:
    sql = "DROP ORACLE IF EXISTS Is_Pos"
    assert parse(sql, NAMES) == Drop(sql, "oracle", "is_pos", True, Place(22, 6))
    sql = 'DROP PROXY "My Proxy"'
    assert parse(sql, NAMES) == Drop(sql, "proxy", "My Proxy", False, Place(11, 10))
    sql = "show CERTIFICATES;"
    assert parse(sql, NAMES) == Show(sql, "certificates")
    sql = "DESCRIBE ORACLE is_pos"
    assert parse(sql, NAMES) == Describe(sql, "oracle", "is_pos", Place(16, 6))


@pytest.mark.parametrize(
    ("sql", "name", "value"),
    [
        ("SET thresher_oracle_limit = 5_000", "oracle_limit", 5000),
        ("SET SESSION Thresher_Oracle_Limit TO 5", "oracle_limit", 5),
        ("SET GLOBAL thresher_probability = 95%", "probability", 0.95),
        ("SET thresher_on_shortfall = RETURN", "on_shortfall", "RETURN"),
        ("SET thresher_on_shortfall = 'exact'", "on_shortfall", "exact"),
        ("SET thresher_oracle_limit = NULL", "oracle_limit", None),
        ("SET thresher_probability = false", "probability", False),
        ("SET thresher_oracle_limit = ?", "oracle_limit", 7),
    ],
)
def test_set(sql: str, name: str, value: object) -> None:
    made = parse(sql, NAMES, [7] if "?" in sql else None)
    assert isinstance(made, SetSetting)
    assert (made.name, made.value) == (name, value)


def test_reset_and_show_of_a_setting() -> None:
    sql = "RESET thresher_oracle_limit"
    assert parse(sql, NAMES) == ResetSetting(sql, "oracle_limit", Place(6, 21))
    sql = "SHOW thresher_oracle_limit"
    assert parse(sql, NAMES) == ShowSetting(sql, "oracle_limit", Place(5, 21))


@pytest.mark.parametrize(
    ("sql", "message", "at"),
    [
        ("CREATE ORACLE f(x) RETURNS BOOLEAN USING p", "a name and a type", "x)"),
        ("CREATE ORACLE f(x INT, X INT) RETURNS INT USING p", "stands twice", "X INT)"),
        ("CREATE ORACLE f RETURNS BOOLEAN USING p", "arguments in parentheses", "RETURNS"),
        ("CREATE ORACLE f(x INT) USING p", "expected RETURNS", "USING"),
        ("CREATE ORACLE f(x INT) RETURNS USING p", "expected a type", "USING"),
        ("CREATE ORACLE f(x INT) RETURNS BOOLEAN", "expected USING", ""),
        ("CREATE ORACLE s.f(x INT) RETURNS BOOLEAN USING p", "without a schema", ".f"),
        ("CREATE ORACLE f(x INT) RETURNS INT USING p WITH (a 1)", "key = value", "a 1"),
        ("CREATE ORACLE f(x INT) RETURNS INT USING p WITH (a = b)", "in quotes, as in 'b'", "b)"),
        (
            "CREATE ORACLE f(x INT) RETURNS INT USING p WITH (a = [1, ''])",
            "or numbers only",
            "[1, '']",
        ),
        ("CREATE ORACLE f(x INT) RETURNS INT USING p WITH (a = 1, A = 2)", "twice", "A = 2"),
        ("CREATE ORACLE f(x INT) RETURNS INT USING p WITH a = 1", "in parentheses", "a = 1"),
        ("CREATE ORACLE f(x INT) RETURNS INT USING p OPTIONS (a = 1)", "unexpected", "OPTIONS"),
        ("CREATE PROXY f USING p", "expected FOR", "USING"),
        ("DROP ORACLE f CASCADE", "unexpected CASCADE", "CASCADE"),
        ("SET thresher_oracle_limt = 5", "Did you mean 'thresher_oracle_limit'", "thresher"),
        ("SET thresher_zzz = 5", "Settings: thresher_on_shortfall", "thresher"),
        ("SET thresher_oracle_limit 5", "expected = and a value, got 5", "5"),
        ("SET thresher_oracle_limit =", "expected = and a value, got the end", ""),
        ("SHOW thresher_nothing", "there is no setting", "thresher"),
    ],
)
def test_wrong_declarations_show_the_place(sql: str, message: str, at: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        parse(sql, NAMES)
    assert message in str(caught.value)
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(at)


# Parameters

VALUES = [
    None,
    True,
    False,
    0,
    -5,
    2**70,
    0.1,
    -1e300,
    float("inf"),
    float("-inf"),
    "",
    "it's; $$ -- /* ?",
    "null \0 byte",
    b"",
    b"\x00'\\\xff",
    decimal.Decimal("1.50"),
    decimal.Decimal("-0.001"),
    decimal.Decimal("12345678901234567890123456789012345678"),
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 23, 59, 59, 123456),
    datetime.time(1, 2, 3, 4),
    datetime.timedelta(days=-3, microseconds=7),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    [1, 2, None],
    ["a", "b'"],
    [],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_literal_is_the_value_that_duckdb_binds(value: object) -> None:
    bound = duckdb.execute("SELECT ?", [value]).fetchone()
    written = duckdb.execute(f"SELECT {literal(value)}").fetchone()
    assert bound == written


def test_more_literals() -> None:
    row = duckdb.execute(f"SELECT {literal(float('nan'))}, {literal(np.int64(3))}").fetchone()
    assert row is not None
    assert np.isnan(row[0])
    assert row[1] == 3
    zone = datetime.timezone(datetime.timedelta(hours=2))
    moment = datetime.datetime(2024, 1, 1, tzinfo=zone)
    row = duckdb.execute(f"SELECT epoch({literal(moment)})").fetchone()
    assert row == (moment.timestamp(),)
    assert literal(decimal.Decimal("1E+3")) == "'1000'::DECIMAL(4, 0)"
    assert literal(Path("it's")) == "'it''s'"
    with pytest.raises(ValueError, match="a object cannot be passed"):
        literal(object())


def test_a_path_is_an_option() -> None:
    made = parse(
        "CREATE ORACLE f(x INT) RETURNS INT USING p WITH (a = $a)", NAMES, {"a": Path("b/c")}
    )
    assert isinstance(made, CreateOracle)
    assert made.options == {"a": "b/c"}
    assert made.sql.endswith("(a = 'b/c')")  # the catalog reads it again, without parameters


def test_parameters_are_bound_in_condition_and_clauses() -> None:
    sql = "SELECT ? AS a FROM t WHERE n>?AND is_pos(?) RECALL TARGET ? ORACLE LIMIT ? SEED ?"
    query = parse(sql, NAMES, (1, -2, "it's", 0.9, 100, np.int64(3)))
    assert isinstance(query, SelectionQuery)
    assert query.answer.select == "SELECT 1 AS a"
    assert query.plain == "n>(-2)"
    assert query.calls[0].arguments == ("CAST(('it''s') AS VARCHAR)",)
    assert (query.tail.recall, query.tail.oracle_limit, query.tail.seed) == (0.9, 100, 3)
    query = parse("FROM t WHERE is_pos($2) AND n = $1 AND m = $1", NAMES, [1, "x"])
    assert isinstance(query, SelectionQuery)
    assert query.plain == "n = 1 AND m = 1"
    query = parse("FROM t WHERE is_pos($a) SEED $b", NAMES, {"a": "x", "b": 4})
    assert isinstance(query, SelectionQuery)
    assert query.tail.seed == 4


@pytest.mark.parametrize(
    ("where", "parameters", "message"),
    [
        ("n = ?", None, "needs value 1, none are given"),
        ("n = ? AND m = ?", [1], "needs value 2, 1 is given"),
        ("n = ?", [1, 2], "1 parameters stand in the statement, 2 are given"),
        ("n = $2", [1, 2], "not used: 1"),
        ("n = $x", {"y": 1}, "no value is given for parameter $x"),
        ("n = $x", {"x": 1, "y": 1}, "not used: y"),
        ("n = $x", [1], "needs a mapping"),
        ("n = ?", {"x": 1}, "needs a sequence"),
        ("n = ? AND m = $1", [1, 2], "not mixed"),
        ("n = ?", [object()], "cannot be passed"),
        ("n = 1", [1], "0 parameters stand"),
    ],
)
def test_wrong_parameters(where: str, parameters: list[object], message: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        parse(f"SELECT * FROM t WHERE is_pos(a) AND {where}", NAMES, parameters)
    assert message in str(caught.value)
