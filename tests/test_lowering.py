"""Lowered queries give what DuckDB gives for the original query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from thresher.plan import Leaf, SelectionQuery
from thresher.sql import lowering, parse, split

FOLDER = Path(__file__).parent / "sql"


@dataclass(frozen=True)
class Argument:
    name: str
    type: str


@dataclass(frozen=True)
class Signature:
    arguments: tuple[Argument, ...]
    returns: str


@dataclass(frozen=True)
class Declared:
    signature: Signature


class Names:
    """Two oracles, which DuckDB has as macros too."""

    oracles = {
        "is_good": Declared(Signature((Argument("text", "VARCHAR"),), "BOOLEAN")),
        "stars": Declared(
            Signature((Argument("text", "VARCHAR"), Argument("n", "BIGINT")), "BIGINT")
        ),
    }

    def oracle(self, name: str) -> Declared | None:
        return self.oracles.get(name)

    def oracle_names(self) -> list[str]:
        return list(self.oracles)

    def proxy(self, name: str) -> None:
        return None

    def proxy_names(self) -> list[str]:
        return []

    def settings(self) -> list[str]:
        return []


SETUP = """
CREATE MACRO is_good(x) AS contains(CAST(x AS VARCHAR), 'good');
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
            return lowering.base_source(leaf)
        self.con.execute(f"DROP TABLE IF EXISTS leaf_{i}")
        self.con.execute(lowering.leaf_materialise_sql(self.query, leaf, f"leaf_{i}"))
        return lowering.temp_source(leaf, f"leaf_{i}")

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
        self.make("truths", lowering.formula_sql(self.query, "labelled"))
        keys = ", ".join(self.rows)
        self.make("keep", f"SELECT {keys} FROM truths WHERE truth")
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
    query = parse(sql, Names())
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
