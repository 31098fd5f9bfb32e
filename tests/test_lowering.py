"""Lowered queries give what DuckDB gives for the original query."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests_support import Names, declared
from thresher.errors import NotSupportedError
from thresher.plan import Leaf, SelectionQuery
from thresher.sql import lowering, matching, parse, split
from thresher.sql.sources import base_source, leaf_materialise_sql, temp_source

FOLDER = Path(__file__).parent / "sql"


# DuckDB has macros of the same names.
NAMES = Names(
    is_good=declared("BOOLEAN", "VARCHAR"),
    stars=declared("BIGINT", "VARCHAR", "BIGINT"),
    same=declared("BOOLEAN", "VARCHAR", "VARCHAR"),
)
SETUP = """
CREATE MACRO is_good(x) AS contains(CAST(x AS VARCHAR), 'good');
CREATE MACRO id_of(key) AS CAST('0x' || key[1:2] AS INTEGER) * 100 // 256;
CREATE MACRO stars(x, k) AS CAST((strlen(CAST(x AS VARCHAR)) * 7 + k * 3) % 6 AS BIGINT);
CREATE TABLE reviews AS SELECT i AS id,
    CASE WHEN i % 7 = 3 THEN NULL WHEN i % 3 = 0 THEN 'good film' WHEN i % 5 = 1 THEN 'GOOD film'
         WHEN i % 2 = 0 THEN 'bad film' ELSE 'mixed: good, bad' END AS text,
    CASE WHEN i % 11 = 5 THEN NULL ELSE i * 5 % 9 END AS n,
    i * 37 % 100 / 100.0 AS score,
    CASE i % 4 WHEN 0 THEN [] WHEN 1 THEN ['x'] WHEN 2 THEN ['y', 'x', 'q'] END AS tags,
    {'a': i % 6, 'b': 'z'} AS box,
    DATE '2024-01-01' + CAST(i % 13 AS INTEGER) AS day,
    json_object('lang', CASE WHEN i % 2 = 0 THEN 'en' ELSE 'good' END) AS meta
    FROM range(24) AS r(i);
DELETE FROM reviews WHERE id IN (4, 9);
CREATE TABLE sales AS SELECT i * 3 % 19 AS review, i * 7 % 20 + 0.5 AS price,
    CASE WHEN i % 4 = 1 THEN NULL WHEN i % 3 = 0 THEN 'good mug' ELSE 'cap' END AS item
    FROM range(17) AS r(i);
CREATE TABLE notes AS SELECT i * 2 AS id, CASE WHEN i % 2 = 0 THEN 'good' END AS note
    FROM range(15) AS r(i);
CREATE VIEW latest AS SELECT id, text FROM reviews WHERE id > 10;
CREATE SCHEMA other;
CREATE TABLE other.reviews AS SELECT id + 100 AS id, text FROM reviews;
CREATE TABLE ids AS SELECT id FROM notes;
CREATE TABLE folders AS SELECT text, CASE WHEN n % 2 = 0 THEN 'a' ELSE 'b' END AS kind FROM reviews;
COPY reviews TO 'reviews.parquet';
"""


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with pytest.MonkeyPatch.context() as patch, duckdb.connect() as connection:
        patch.chdir(tmp_path_factory.mktemp("lowering"))
        connection.execute("SET threads = 2")
        connection.execute(SETUP)
        yield connection


class Lowered:
    """Answers a bound query by its lowered statements, with the macros as oracles."""

    def __init__(self, con: duckdb.DuckDBPyConnection, query: SelectionQuery) -> None:
        self.con, self.query = con, query
        self.sources = [self.source(i, leaf) for i, leaf in enumerate(query.leaves)]
        self.rows = [leaf.row for leaf in query.leaves]

    def source(self, i: int, leaf: Leaf) -> str:
        stored = "SELECT count(*) FROM duckdb_tables() WHERE table_name = ? AND NOT temporary"
        count = self.con.execute(stored, [leaf.table[-1] if leaf.table else ""]).fetchone()
        if count is not None and count[0] and not leaf.columns:
            return base_source(leaf)
        if leaf.lateral:
            return temp_source(leaf, f"leaf_{i}")
        self.con.execute(f"DROP TABLE IF EXISTS leaf_{i}")
        self.con.execute(leaf_materialise_sql(self.query, leaf, f"leaf_{i}"))
        return temp_source(leaf, f"leaf_{i}")

    def make(self, name: str, sql: str) -> None:
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")

    def label(self, sample: str = "population") -> None:
        """Ask the macros for every call of every row, into the table `labelled`."""
        self.make("inputs", lowering.inputs_sql(self.query, self.sources, sample))
        values = [f"{c.oracle}({', '.join(c.inputs)}) AS {c.value}" for c in self.query.calls]
        self.make("labelled", f"SELECT *, {', '.join(values)} FROM inputs")

    def answer(self) -> duckdb.DuckDBPyRelation:
        self.make("population", lowering.population_sql(self.query, self.sources))
        self.label()
        keys = ", ".join(self.rows)
        self.make("truths", lowering.formula_sql(self.query, "labelled", self.rows))
        self.make("keep", f"SELECT {keys} FROM truths WHERE truth = 1")
        return self.con.sql(lowering.answer_sql(self.query, self.sources, "keep"))

    def count(self, table: str) -> int:
        row = self.con.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])


def shapes() -> list[tuple[str, bool]]:
    text = (FOLDER / "shapes.sql").read_text()
    found = []
    start = 0
    for fragment in split(text):
        ordered = "\n-- ordered\n" in text[start : fragment.offset]
        found.append((fragment.text, ordered))
        start = fragment.offset + len(fragment.text)
    return found


@pytest.mark.parametrize(("sql", "ordered"), shapes(), ids=lambda value: str(value)[:60])
def test_lowered_query_gives_the_result_of_the_original(
    con: duckdb.DuckDBPyConnection, sql: str, ordered: bool
) -> None:
    wanted = con.execute(sql)
    names, rows = [column[0] for column in wanted.description or ()], wanted.fetchall()
    query = parse(sql, NAMES)
    assert isinstance(query, SelectionQuery)
    lowered = Lowered(con, query)
    relation = lowered.answer()
    found = relation.fetchall()
    assert relation.columns == names
    if not ordered:
        rows, found = sorted(map(repr, rows)), sorted(map(repr, found))
    assert found == rows
    assert lowered.count("inputs") == lowered.count("population")
    again = con.sql(lowering.answer_sql(query, lowered.sources, "keep")).fetchall()
    assert not query.answer.by_row or repr(again) == repr(relation.fetchall())
    check_bits(lowered, found, ordered=ordered)


def check_bits(lowered: Lowered, wanted: list[object], *, ordered: bool) -> None:
    """Rows to return are the same where they are given as bits."""
    query = lowered.query
    if len(query.leaves) > 1 or lowering.kept_columns(query)[1]:
        return
    row = lowered.rows[0]
    lowered.make(
        "bits",
        f"SELECT {row} >> 6 AS {lowering.BLOCK}, bit_or(CAST(1 AS UBIGINT) << "
        f"CAST({row} & 63 AS UBIGINT)) AS {lowering.BITS} FROM keep GROUP BY ALL",
    )
    sql = lowering.answer_sql(query, lowered.sources, "bits", bits=True)
    found = lowered.con.sql(sql)
    rows = found.fetchall()
    assert (
        found.columns
        == lowered.con.sql(lowering.answer_sql(query, lowered.sources, "keep")).columns
    )
    assert (rows if ordered else sorted(map(repr, rows))) == wanted


NUMBERS = st.sampled_from(
    ["n", "id", "3", "stars(text, n)", "stars(text, id)", "len(tags)", "score", "box.a", "-2"]
)
ARITHMETIC = st.sampled_from([" + ", " - ", " * ", " % ", " & ", "+", "-", " // ", " | "])
COMPARISONS = st.sampled_from([" = ", " < ", ">", " <> ", " >= ", "!=", " IS DISTINCT FROM "])
BOOLEANS = st.sampled_from(
    ["is_good(text)", "is_good(tags[1])", "n > 4", "n IS NULL", "TRUE", "tags[1] = 'x'", "id < 9"]
)


@st.composite
def numbers(draw: st.DrawFn) -> str:
    terms = [draw(NUMBERS) for _ in range(draw(st.integers(1, 3)))]
    text = terms[0]
    for term in terms[1:]:
        whole = "CAST(" + text + " AS BIGINT)" if draw(st.booleans()) else text
        text = whole + draw(ARITHMETIC).replace("+", " + ").replace("-", " - ") + term
    return f"({text})" if draw(st.booleans()) else text


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    left, low, high = draw(numbers()), draw(numbers()), draw(numbers())
    return draw(
        st.sampled_from(
            [
                f"{left}{draw(COMPARISONS)}{low}",
                f"{left} BETWEEN {low} AND {high}",
                f"{left} NOT BETWEEN {low} AND {high}",
                f"{left} IN ({low}, {high})",
                f"{left} NOT IN (1, {high})",
                f"{left} IS NOT NULL",
                f"{left} = {low} IS TRUE",
                f"{left}::VARCHAR LIKE '%' || '1' || '%'",
                f"CASE WHEN {left} < 3 THEN {low} ELSE 2 END = {high}",
                f"coalesce({left}, {low}) > 3",
            ]
        )
    )


def connected(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from([" AND ", " OR "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"NOT {text}"),
        st.tuples(BOOLEANS, st.sampled_from([" IS FALSE", " IS NOT TRUE", " = NOT id > 3"])).map(
            "".join
        ),
    )


CONDITIONS = st.recursive(st.one_of(BOOLEANS, comparisons()), connected, max_leaves=6)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(condition=CONDITIONS, split_at=st.integers(0, 100))
def test_random_conditions_hold_for_the_same_rows_as_in_duckdb(
    con: duckdb.DuckDBPyConnection, condition: str, split_at: int
) -> None:
    sql = f"SELECT id FROM reviews WHERE {condition}"
    try:
        wanted = con.execute(sql).fetchall()
    except duckdb.Error:
        assume(False)
    try:
        query = parse(sql, NAMES)
    except NotSupportedError:
        assume(False)
    assume(isinstance(query, SelectionQuery))
    lowered = Lowered(con, query)
    assert lowered.answer().fetchall() == wanted, query
    check_known(lowered, split_at)


def check_known(lowered: Lowered, split_at: int) -> None:
    """Whatever part of the answers is stored, what it decides is the truth."""
    con, query = lowered.con, lowered.query
    for i, call in enumerate(query.calls):
        lowered.make(
            f"store_{i}",
            f"SELECT DISTINCT ON (key) {call.key} AS key, {call.value} AS value FROM labelled "
            f"WHERE {call.key} IS NOT NULL AND {call.value} IS NOT NULL "
            f"AND id_of({call.key}) >= {split_at}",
        )
    rows = lowered.rows[0]
    for stores in (None, [f"store_{i}" for i in range(len(query.calls))]):
        lowered.make("known", lowering.population_sql(query, lowered.sources, stores))
        wrong = con.execute(
            f"SELECT known.*, truth FROM known JOIN truths USING ({rows}) WHERE "
            "__thresher_known IS NOT NULL AND __thresher_known <> coalesce(truth, FALSE)::TINYINT"
        ).fetchall()
        assert wrong == [], query
        assert lowered.count("known") == lowered.count("truths")
    check_nulls(lowered)
    if split_at == 0:
        left = con.execute("SELECT count(*) FROM known WHERE __thresher_known IS NULL").fetchone()
        assert left == (0,), query


def check_nulls(lowered: Lowered) -> None:
    """Rows with a NULL input, listed apart, and the others, read without inputs, are all rows."""
    con, query, sources = lowered.con, lowered.query, lowered.sources
    whole = con.execute(lowering.population_sql(query, sources)).fetchall()
    apart: dict[int, tuple[object, ...]] = {}
    for null_inputs in (False, True):
        sql = lowering.population_sql(query, sources, null_inputs=null_inputs)
        for row in con.execute(sql).fetchall():
            apart[row[0]] = row
    assert [apart[row[0]] for row in whole] == whole


@pytest.mark.parametrize("split_at", [0, 50, 100])
@pytest.mark.parametrize(
    "where", ["stars(text, n) - 1", "abs(stars(text, n))", "is_good(text) OR n - 3", "NOT n - 1"]
)
def test_numbers_as_conditions_are_known_as_in_where(
    con: duckdb.DuckDBPyConnection, where: str, split_at: int
) -> None:
    sql = f"SELECT id FROM reviews WHERE {where} AND (is_good(text) OR id < 12)"
    lowered = Lowered(con, bind(sql))
    assert lowered.answer().fetchall() == con.execute(sql).fetchall()
    check_known(lowered, split_at)


def bind(sql: str) -> SelectionQuery:
    query = parse(sql, NAMES)
    assert isinstance(query, SelectionQuery)
    return query


def test_population_computes_no_key_without_stores() -> None:
    query = bind("SELECT * FROM reviews WHERE is_good(text) AND n > 2 USING score")
    sources = [base_source(leaf) for leaf in query.leaves]
    plain = lowering.population_sql(query, sources)
    assert "sha256" not in plain
    assert "JOIN" not in plain
    assert "sha256" in lowering.population_sql(query, sources, ["store"])
    assert "sha256" not in lowering.population_sql(query, sources, [None])


def test_scores_of_using_are_doubles_in_the_population(con: duckdb.DuckDBPyConnection) -> None:
    query = bind("SELECT * FROM reviews WHERE is_good(text) USING n, score * 2 + id")
    lowered = Lowered(con, query)
    relation = con.sql(lowering.population_sql(query, lowered.sources))
    assert relation.columns == [
        "__thresher_r0",
        "__thresher_known",
        "__thresher_s0",
        "__thresher_s1",
    ]
    assert [str(kind) for kind in relation.types] == ["BIGINT", "TINYINT", "DOUBLE", "DOUBLE"]


def test_keys_are_sha256_of_arguments_with_their_lengths(con: duckdb.DuckDBPyConnection) -> None:
    query = bind(
        "SELECT * FROM (VALUES ('né', 7), (NULL, 1)) AS v(text, k) WHERE stars(text, k) > 1"
    )
    lowered = Lowered(con, query)
    lowered.answer()
    found = con.execute(f"SELECT {query.calls[0].key} FROM inputs").fetchall()
    wanted = hashlib.sha256("3:né1:7".encode()).hexdigest()
    assert sorted(found, key=str) == [(wanted,), (None,)]


@given(
    pairs=st.lists(
        st.tuples(st.text("ab:1'\\", max_size=4), st.text("ab:1'\\", max_size=4)), min_size=2
    )
)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_keys_of_different_arguments_differ(
    con: duckdb.DuckDBPyConnection, pairs: list[tuple[str, str]]
) -> None:
    query = bind("SELECT * FROM pairs WHERE same(a, b)")
    con.execute("CREATE OR REPLACE TEMP TABLE pairs (a VARCHAR, b VARCHAR)")
    con.executemany("INSERT INTO pairs VALUES (?, ?)", pairs)
    source = "(SELECT *, rowid AS __thresher_r0 FROM pairs) AS pairs"
    con.execute("CREATE OR REPLACE TEMP TABLE sample AS SELECT rowid AS __thresher_r0 FROM pairs")
    keys = con.execute(lowering.inputs_sql(query, [source], "sample")).fetchall()
    assert len({row[-1] for row in keys}) == len(set(pairs))


@pytest.mark.parametrize(
    "where", ["is_good(text)", "n > 2 AND (is_good(text) OR stars(text, n) = 3)"]
)
def test_rows_with_equal_inputs_are_found(con: duckdb.DuckDBPyConnection, where: str) -> None:
    query = bind(f"SELECT * FROM reviews WHERE {where}")
    lowered = Lowered(con, query)
    lowered.answer()
    asked = []
    for i, call in enumerate(query.calls):
        known = " AND ".join(f"{name} IS NOT NULL" for name in call.inputs)
        inputs = ", ".join(call.inputs)
        lowered.make(f"asked_{i}", f"SELECT {inputs} FROM inputs WHERE {known} LIMIT 2")
        asked.append(f"asked_{i}")
    found = con.execute(matching.matches_sql(query, lowered.sources, asked)).fetchall()
    tests = [
        f"({', '.join(call.inputs)}) IN (SELECT {', '.join(call.inputs)} FROM asked_{i})"
        for i, call in enumerate(query.calls)
    ]
    wanted = con.execute(
        f"SELECT {lowered.rows[0]} FROM inputs WHERE {' OR '.join(tests)}"
    ).fetchall()
    assert found
    assert sorted(found) == sorted(wanted)


def test_a_macro_that_aggregates_is_answered_without_the_order_of_rows(
    con: duckdb.DuckDBPyConnection,
) -> None:
    con.execute("CREATE OR REPLACE TEMP MACRO total(x) AS sum(x)")
    wanted = con.execute("SELECT total(id) FROM reviews WHERE is_good(text)").fetchall()
    query = bind("SELECT total(id) FROM reviews WHERE is_good(text)")
    lowered = Lowered(con, query)
    with pytest.raises(duckdb.BinderException, match="must appear in the GROUP BY clause"):
        lowered.answer()
    sql = lowering.answer_sql(query, lowered.sources, "keep", by_row=False)
    assert "ORDER BY" not in sql
    assert con.execute(sql).fetchall() == wanted
    same = lowering.answer_sql(query, lowered.sources, "keep", by_row=True)
    assert same == lowering.answer_sql(query, lowered.sources, "keep")


def pairs() -> list[tuple[str, dict[str, str]]]:
    """Statements in tests/sql/lowered.sql with what they are lowered to, by name."""
    found: list[tuple[str, dict[str, str]]] = []
    for block in (FOLDER / "lowered.sql").read_text().split("\n\n"):
        pieces = re.split(r"^-- (\w+)$", block, flags=re.MULTILINE)
        if len(pieces) > 1:
            named = dict(zip(pieces[1::2], map(str.strip, pieces[2::2]), strict=True))
            found.append((named.pop("input"), named))
    return found


@pytest.mark.parametrize(("sql", "wanted"), pairs(), ids=lambda value: str(value)[:60])
def test_lowered_text(sql: str, wanted: dict[str, str]) -> None:
    query = bind(sql)
    sources = [
        base_source(leaf) if leaf.table else temp_source(leaf, f"leaf_{i}")
        for i, leaf in enumerate(query.leaves)
    ]
    found = {
        "formula": query.formula,
        "population": lowering.population_sql(query, sources),
        "inputs": lowering.inputs_sql(query, sources, "sample"),
        "truths": lowering.formula_sql(query, "labelled", [leaf.row for leaf in query.leaves]),
        "answer": lowering.answer_sql(query, sources, "keep"),
        "bits": lowering.answer_sql(query, sources, "keep", bits=True),
    }
    for name, text in wanted.items():
        assert found[name] == " ".join(text.split()), name
