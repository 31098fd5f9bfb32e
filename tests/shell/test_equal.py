"""Statements through thresh() give what they give in process: rows, names, certificates.

Both sides run the same statements in the same order with the same seed, so that both know the same
labels. What DuckDB does otherwise with a table that comes from a function stands in `named` and
`REFUSED`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from test_lowering import SETUP, shapes
from test_nesting import TABLES, statements
from tests_support_terminal import shell_home

import thresher
from thresher.shell.launcher import load
from thresher.sql import split

JUDGES = """
def is_odd(n): return [x % 2 == 1 for x in n]
def rest(n): return [x % 9 for x in n]
def word(n): return ["no" if x % 3 else "fizz" for x in n]
def is_good(text): return ["good" in t for t in text]
def stars(text, n): return [(len(t.encode()) * 7 + k * 3) % 6 for t, k in zip(text, n)]
def same(a, b): return [x == y for x, y in zip(a, b)]
def long(data): return [len(x) % 2 == 1 for x in data]
def late(when): return [x.year % 2 == 0 for x in when]
def no(flag): return [not x for x in flag]
def many(words): return [len(x) > 1 for x in words]
def mixed(data, when, flag, words):
    return [len(b) + t.day + f > 18 + len(w) for b, t, f, w in zip(data, when, flag, words)]
"""
MACROS = (
    "CREATE MACRO total(x) AS sum(x)",
    "CREATE MACRO place_of(x) AS rank() OVER (ORDER BY x DESC)",
    "CREATE MACRO twice(x) AS unnest([x, -x])",
    "CREATE MACRO mirrored(x) AS twice(x) + 1",
)
ORACLES = {
    "is_odd": "is_odd(n BIGINT) RETURNS BOOLEAN",
    "rest": "rest(n BIGINT) RETURNS INTEGER",
    "word": "word(n BIGINT) RETURNS VARCHAR",
    "is_good": "is_good(text VARCHAR) RETURNS BOOLEAN",
    "stars": "stars(text VARCHAR, n BIGINT) RETURNS BIGINT",
    "same": "same(a VARCHAR, b VARCHAR) RETURNS BOOLEAN",
}
SETS = {  # file: what is put behind its statements, and how many of them are left out by default
    "nested.sql": ("", 4),
    "estimates.sql": (" ORACLE LIMIT 40", 4),
    "values.sql": ("ORACLE LIMIT 9000", 4),
    "labels.sql": (" ACCURACY TARGET 80%", 4),
    "outputs.sql": ("", 6),
    "limits.sql": ("", 6),
}
SAMPLED = (
    "SELECT id FROM items WHERE is_odd(n) USING price RECALL TARGET 80% ORACLE LIMIT 60",
    "SELECT id FROM items WHERE is_odd(n) AND word(n) = 'no' USING n % 2 PRECISION TARGET 80% "
    "ORACLE LIMIT 60",
    "SELECT * FROM items WHERE is_odd(id) USING id % 2 RECALL TARGET 80% PRECISION TARGET 80%",
    "SELECT i.id, j.n, k.good FROM items AS i JOIN items AS j ON i.n = j.id LEFT JOIN kinds AS k "
    "ON k.kind = i.kind WHERE is_odd(i.n + j.n) USING j.n % 2 RECALL TARGET 70% ORACLE LIMIT 50",
    "SELECT k.good, count(*) AS c, avg(i.n) AS a FROM items AS i JOIN kinds AS k USING (kind) "
    "WHERE is_odd(i.n) GROUP BY k.good ORACLE LIMIT 70",
    "SELECT count(*) AS c, sum(rest(n)) AS s FROM items WHERE price > 2 AND is_odd(n) "
    "ERROR WITHIN 60%",
    "SELECT id, word(n) AS w FROM items WHERE is_odd(n) USING id % 2 RECALL TARGET 70% "
    "ORACLE LIMIT 150",
    "WITH o AS (SELECT * FROM items WHERE is_odd(n) USING n % 2 RECALL TARGET 80%) "
    "SELECT kind, count(*) FROM o GROUP BY kind ORDER BY kind ORACLE LIMIT 90",
    "SELECT a.id, b.id FROM (FROM items WHERE id < 12) AS a, (FROM items WHERE id < 9) AS b "
    "WHERE is_odd(a.n * b.id) RECALL TARGET 70% ORACLE LIMIT 40",
)
# DuckDB runs nothing for LIMIT 0; where answers decide the order, the shell asks for those of other
# calls before LIMIT, not behind it. docs/shell.md says so.
DIFFERENTLY = re.compile(r"LIMIT 0\b|ORDER BY (r, id LIMIT 5|rest\(i\.n\), i\.id LIMIT)")
REFUSED = "PIVOT statements without explicit IN clauses are not supported in query()"


@dataclass(frozen=True)
class Answer:
    """What one side gives."""

    names: list[str]
    rows: list[Any]
    certificates: list[str]


class Sides:
    """A connection in process, and a DuckDB with the extension."""

    def __init__(self, database: str = ":memory:") -> None:
        self.ours = thresher.connect(database)
        self.duckdb = duckdb.connect(config={"allow_unsigned_extensions": "true"})
        load(self.duckdb)

    def plain(self, sql: str) -> None:
        """Run DuckDB's own statement on both."""
        self.ours.execute(sql)
        self.duckdb.execute(sql)

    def declare(self, sql: str) -> None:
        """Run a statement of ours on both."""
        self.ours.execute(sql)
        assert self.shell(sql).fetchall() == [("ok",)]

    def shell(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run a statement through thresh()."""
        return self.duckdb.execute(f"FROM thresh($thresh${sql}$thresh$)")

    def in_process(self, sql: str) -> Answer | str:
        """Answer a statement in process; the first line of its error where it has one."""
        try:
            cursor = self.ours.execute(sql)
            rows = cursor.fetchall()
        except thresher.Error as error:
            return str(error).splitlines()[0]
        names = [str(column[0]) for column in cursor.description or ()]
        return Answer(names, rows, [lasting(str(one)) for one in cursor.certificates])

    def through_thresh(self, sql: str) -> Answer | str:
        """Answer a statement through the extension; the first line of its error."""
        try:
            found = self.shell(sql)
            rows = found.fetchall()
        except duckdb.Error as error:
            return str(error).splitlines()[0].partition(": ")[2].removeprefix("Parser Error: ")
        names = [column[0] for column in found.description or ()]
        facts = self.duckdb.execute("FROM thresh_certificate()").fetchall()
        written = "".join(f"{name:<12} {value}\n" for name, value in facts)
        ends = re.split(r"(?=^certificate )", written, flags=re.MULTILINE)
        return Answer(names, rows, [lasting(one) for one in ends if one])

    def close(self) -> None:
        """Close both."""
        self.ours.close()
        self.duckdb.close()


def lasting(certificate: str) -> str:
    """The certificate without what differs from run to run: its id, and seconds."""
    lines = [line.rstrip() for line in certificate.strip().splitlines()]
    kept = [line for line in lines if not line.startswith("certificate ")]
    return re.sub(r"(?m)^(cost .*), [\d.]+ s", r"\1", "\n".join(kept))


def named(names: Sequence[str]) -> list[str]:
    """The names of a table function's columns: DuckDB numbers those that come twice."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name.lower()] = seen.get(name.lower(), -1) + 1
        found.append(f"{name}_{seen[name.lower()]}" if seen[name.lower()] else name)
    return found


def compare(sides: Sides, sql: str, *, ordered: bool = True) -> None:
    """Hold what both sides give for a statement against each other."""
    ours, found = sides.in_process(sql), sides.through_thresh(sql)
    if isinstance(found, str) and found.startswith(REFUSED):
        assert "PIVOT" in sql
        return
    if isinstance(ours, str) or isinstance(found, str):
        assert found == ours, sql
        return
    assert found.names == named(ours.names), sql
    if not ordered:
        key = repr
        ours, found = (Answer(a.names, sorted(a.rows, key=key), a.certificates)
                       for a in (ours, found))  # fmt: skip
    assert repr(found.rows) == repr(ours.rows), sql
    assert ours.certificates, sql
    if not DIFFERENTLY.search(sql):
        assert found.certificates == ours.certificates, sql


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with shell_home(judges=JUDGES) as folder:
        yield folder


@pytest.fixture(scope="module")
def sides(home: Path) -> Iterator[Sides]:
    both = Sides()
    setup = [one.text for one in split(SETUP) if one.text.strip()]
    made = [one for one in setup if "MACRO is_good" not in one and "MACRO stars" not in one]
    for sql in (*TABLES, *MACROS, *made):
        both.plain(sql)
    for name, head in ORACLES.items():
        both.declare(f"CREATE ORACLE {head} USING python WITH (function = 'judges:{name}')")
    both.declare("SET thresher_seed = 1")
    yield both
    both.close()


@pytest.mark.parametrize("name", SETS)
def test_some_statements_of_each_kind(sides: Sides, name: str) -> None:
    tail, step = SETS[name]
    for sql in statements(name)[::step]:
        compare(sides, sql.replace("{}", tail) if "{}" in sql else sql + tail)


@pytest.mark.parametrize("sql", SAMPLED, ids=lambda sql: sql[:40])
def test_sampled_answers(sides: Sides, sql: str) -> None:
    compare(sides, f"{sql} SEED 5")


def test_some_shapes(sides: Sides) -> None:
    for sql, ordered in shapes()[::12]:
        compare(sides, sql, ordered=ordered)


@pytest.mark.full
@pytest.mark.parametrize("name", SETS)
def test_every_statement_of_each_kind(sides: Sides, name: str) -> None:
    tails = {SETS[name][0], *({" ORACLE LIMIT 9000"} if name == "estimates.sql" else ())}
    tails |= {" ACCURACY TARGET 100% WITH PROBABILITY 99.9999%"} if name == "labels.sql" else set()
    for tail in sorted(tails):
        for sql in statements(name):
            compare(sides, sql.replace("{}", tail) if "{}" in sql else sql + tail)


@pytest.mark.full
def test_every_shape(sides: Sides) -> None:
    for sql, ordered in shapes():
        compare(sides, sql, ordered=ordered)
        if "RECALL" not in sql and "LIMIT" not in sql:
            compare(sides, f"{sql} RECALL TARGET 80% ORACLE LIMIT 9", ordered=ordered)


def test_labels_that_lie_in_a_table_of_the_shell_are_sent(home: Path) -> None:
    sides = Sides()
    for sql in (
        *TABLES,
        "CREATE SCHEMA seen",
        "CREATE TABLE seen.truth AS SELECT id, id % 3 = 0 AS good, id % 4 AS n, 'x' AS unused "
        "FROM items",
        "ATTACH ':memory:' AS far",
        "CREATE SCHEMA far.off",
        "CREATE TABLE far.off.levels AS SELECT id, n FROM items",
        'CREATE TABLE "two words" AS SELECT id, kind, id % 2 = 0 AS "is it" FROM items',
    ):
        sides.plain(sql)
    for sql in (
        "CREATE ORACLE good(id BIGINT) RETURNS BOOLEAN "
        "USING column WITH (table = 'seen.truth', key = 'id', value = 'good')",
        "CREATE ORACLE level(id BIGINT) RETURNS BIGINT "
        "USING column WITH (table = 'far.off.levels', key = 'id', value = 'n')",
        "CREATE ORACLE fits(id BIGINT, kind VARCHAR) RETURNS BOOLEAN USING column "
        "WITH (table = '\"two words\"', key = ['id', 'kind'], value = 'is it')",
        "SET thresher_seed = 3",
    ):
        sides.declare(sql)
    for sql in (
        "SELECT id FROM items WHERE good(id)",
        "SELECT id FROM items AS i WHERE good(i.id) USING i.id % 3 = 0 RECALL TARGET 80% "
        "ORACLE LIMIT 50",
        "SELECT kind, avg(level(id)) AS a FROM items WHERE good(id) GROUP BY kind ORACLE LIMIT 90",
        "SELECT id, level(id) AS l FROM items WHERE good(id) AND fits(id, kind) ORDER BY l, id",
        "WITH g AS (SELECT * FROM items WHERE good(id)) SELECT id FROM g WHERE fits(id, kind)",
    ):
        compare(sides, sql)
    sides.close()


VALUES = (
    "CREATE TABLE v AS SELECT i AS id, "
    r"CASE WHEN i % 7 > 0 THEN ('\x00\xFF' || i)::BLOB END AS data, "
    "CASE WHEN i % 5 > 0 THEN TIMESTAMP '2020-01-01 00:00:01.5' + to_days(i * 9::INT) END AS t, "
    "CASE WHEN i % 4 > 0 THEN i % 3 = 0 END AS flag, "
    "CASE i % 6 WHEN 0 THEN NULL WHEN 1 THEN [] WHEN 2 THEN ['x', NULL] ELSE ['y'] END AS words "
    "FROM range(60) AS r(i)"
)
TYPED = {
    "long": ("data BLOB", "data"),
    "late": ("t TIMESTAMP", "t"),
    "no": ("flag BOOLEAN", "flag"),
    "many": ("words VARCHAR[]", "words"),
    "mixed": ("d BLOB, t TIMESTAMP, f BOOLEAN, w VARCHAR[]", "data, t, flag, words"),
}


def test_labels_of_the_shell_are_found_again_in_process(home: Path) -> None:
    with duckdb.connect("v.duckdb", config={"allow_unsigned_extensions": "true"}) as con:
        load(con)
        con.execute(VALUES)
        found = {}
        for name, (takes, columns) in TYPED.items():
            oracle = f"CREATE ORACLE o_{name}({takes}) RETURNS BOOLEAN USING python"
            con.execute(f"FROM thresh($${oracle} WITH (function = 'judges:{name}')$$)")
            query = f"SELECT * FROM v WHERE o_{name}({columns})"
            found[query] = con.execute(f"FROM thresh($${query}$$)").fetchall()
    assert all(0 < len(rows) < 60 for rows in found.values())
    with thresher.connect("v.duckdb") as ours:
        for query, rows in found.items():
            cursor = ours.execute(query)
            assert cursor.fetchall() == rows
            assert cursor.certificate is not None
            assert cursor.certificate.n_labels == 0
