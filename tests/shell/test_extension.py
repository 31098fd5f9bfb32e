"""Rows of DuckDB through the extension to a worker and back, in one process."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests_support_shell import (
    ANSWER,
    Double,
    double,
    extension,
    feeding,
    numbered,
    open_shell,
    private_folder,
    thresh,
)

from thresher.shell.macros import introduction

ID = "{'i': i}"

# Every type: SQL of two values.
TYPES = {
    "BOOLEAN": ("true", "false"),
    "TINYINT": ("-128", "127"),
    "SMALLINT": ("-32768", "32767"),
    "INTEGER": ("-2147483648", "2147483647"),
    "BIGINT": ("-9223372036854775808", "9223372036854775807"),
    "UTINYINT": ("0", "255"),
    "USMALLINT": ("0", "65535"),
    "UINTEGER": ("0", "4294967295"),
    "UBIGINT": ("0", "18446744073709551615"),
    "FLOAT": ("'-1.5'", "'inf'"),
    "DOUBLE": ("'1e300'", "'-0.0'"),
    "VARCHAR": ("''", "'a text of over twelve bytes: äöü 漢字 🦆'"),
    "BLOB": ("'\\x00\\xFF'", "repeat('x', 40)"),
    "DATE": ("'1969-12-31'", "'2026-11-22'"),
    "TIME": ("'00:00:00'", "'23:59:59.999999'"),
    "TIMESTAMP": ("'1969-12-31 23:59:59.999999'", "'2026-11-22 11:55:00'"),
    "TIMESTAMP_S": ("'1969-12-31 23:59:59'", "'2026-11-22 11:55:00'"),
    "TIMESTAMP_MS": ("'1969-12-31 23:59:59.999'", "'2026-11-22 11:55:00'"),
    "TIMESTAMP_NS": ("'1969-12-31 23:59:59.999999999'", "'2026-11-22 11:55:00'"),
    "TIMESTAMPTZ": ("'1969-12-31 23:59:59.999999+00'", "'2026-11-22 11:55:00+02'"),
    "DECIMAL(4,1)": ("-999.9", "0.1"),
    "DECIMAL(9,4)": ("-99999.9999", "0.0001"),
    "DECIMAL(18,3)": ("-999999999999999.999", "1"),
    "DECIMAL(38,10)": ("'-9999999999999999999999999999.9999999999'", "1"),
    "HUGEINT": (
        "-99999999999999999999999999999999999999",
        "99999999999999999999999999999999999999",
    ),
    "UUID": ("'00000000-0000-0000-0000-000000000001'", "'ffffffff-89ab-cdef-0123-456789abcdef'"),
    "INTERVAL": ("'-14 months -3 days -00:00:00.000001'", "'1 year 2 days 03:04:05.6'"),
    "ENUM('low', 'a word of over twelve bytes')": ("'low'", "'a word of over twelve bytes'"),
}
WRAPPED = {
    "list": "[{0}, NULL, {1}, {0}]",
    "array": "array_value({0}, NULL, {1})",
    "struct": "{{'a': {0}, 'b c': {1}, 'n': NULL::INTEGER}}",
    "map": "MAP {{'k': {0}, 'l': {1}, 'm': NULL}}",
    "list of lists": "[[{0}], NULL, [], [{1}, NULL]]",
    "list of structs": "[{{'a': {0}}}, NULL, {{'a': {1}}}, {{'a': NULL}}]",
    "struct of lists": "{{'a': [{0}, {1}], 'b': {{'c': [NULL, {1}]}}}}",
    "array of arrays": "array_value(array_value({0}, {1}), NULL)",
    "array of lists": "array_value([{0}], NULL, [{1}, {0}])",
}


@pytest.fixture(scope="module")
def path() -> Path:
    return extension()


@pytest.fixture(scope="module")
def shared_worker() -> Iterator[Double]:
    with private_folder() as folder, double(folder) as made:
        yield made


@pytest.fixture(scope="module")
def shared(path: Path, shared_worker: Double) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_shell(path, threads="2") as made:
        made.execute("SET arrow_lossless_conversion = false")
        yield made


@pytest.fixture
def worker(shared_worker: Double) -> Double:
    for kept in (shared_worker.fed, shared_worker.counts, shared_worker.states):
        kept.clear()
    return shared_worker


@pytest.fixture
def con(path: Path, worker: Double) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_shell(path, threads="2") as made:
        yield made


def exported(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, object]]:
    """Rows as DuckDB's own Arrow export has them."""
    return [_as_text(row) for row in con.execute(sql).to_arrow_table().to_pylist()]


def _as_text(value: object) -> object:
    """UUIDs are text."""
    if isinstance(value, dict):
        return {key: _as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    return str(value) if isinstance(value, uuid.UUID) else value


def check(con: duckdb.DuckDBPyConnection, worker: Double, source: str, row: str) -> None:
    """Feed rows; the worker must have got what DuckDB exports, the shell what was kept."""
    kept = con.execute(feeding(source, row, keep="even")).to_arrow_table().to_pylist()
    rows = con.execute(f"FROM ({source})").to_arrow_table().to_pylist()
    assert kept == rows[::2]
    numbers, table = worker.fed[-1]
    assert numbers.tolist() == list(range(len(rows)))
    assert table.to_pylist() == exported(con, f"SELECT unnest({row}) FROM ({source})")


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_with_nulls(
    shared: duckdb.DuckDBPyConnection, worker: Double, kind: str
) -> None:
    one, two = (f"({value})::{kind}" for value in TYPES[kind])
    shared.execute(
        "CREATE OR REPLACE TABLE t AS SELECT i, CASE WHEN i % 5 = 1 THEN NULL "
        f"WHEN i % 2 = 0 THEN {one} ELSE {two} END AS v, "
        f"CASE WHEN i % 2 = 0 THEN {one} ELSE {two} END AS w, "
        f"NULL::{kind} AS nothing FROM range(2500) r(i)"
    )
    row = "{'v': v, 'w': w, 'nothing': nothing, 'same': " + one + "}"
    if kind == "HUGEINT":  # DuckDB exports it as a double
        shared.execute(feeding("FROM t", row))
        sent = worker.fed[-1][1].to_pylist()
        shared.execute("ALTER TABLE t ALTER v TYPE DECIMAL(38, 0)")
        shared.execute("ALTER TABLE t ALTER w TYPE DECIMAL(38, 0)")
        decimals = exported(shared, "SELECT v, w FROM t")
        assert [{"v": each["v"], "w": each["w"]} for each in sent] == decimals
        return
    check(shared, worker, "FROM t", row)


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("kind", ["VARCHAR", "BOOLEAN", "DECIMAL(4,1)", "UUID", "BIGINT"])
def test_nested_types(
    shared: duckdb.DuckDBPyConnection, worker: Double, kind: str, form: str
) -> None:
    one, two = (f"({value})::{kind}" for value in TYPES[kind])
    shared.execute(
        f"CREATE OR REPLACE TABLE t AS SELECT i, {WRAPPED[form].format(one, two)} AS v "
        "FROM range(2100) r(i)"
    )
    shared.execute("UPDATE t SET v = NULL WHERE i % 7 = 3")
    row = "{'v': v, 'constant': " + WRAPPED[form].format(one, two) + "}"
    check(shared, worker, "FROM t ORDER BY i", row)


@pytest.mark.parametrize("rows", [1, 2, 63, 2047, 2048, 2049, 65_535, 65_536, 65_537, 200_000])
def test_any_number_of_rows(shared: duckdb.DuckDBPyConnection, worker: Double, rows: int) -> None:
    shared.execute(
        "CREATE OR REPLACE TABLE t AS SELECT i, "
        "CASE WHEN i % 3 = 0 THEN NULL ELSE 'text ' || i END AS s, "
        f"CASE WHEN i > 70000 THEN NULL ELSE [i, i + 1] END AS l FROM range({rows}) r(i)"
    )
    kept = shared.execute(feeding("FROM t", "{'i': i, 's': s, 'l': l}", keep="even")).fetchall()
    assert [row[0] for row in kept] == list(range(0, rows, 2))
    numbers, table = worker.fed[-1]
    assert table["i"].to_pylist() == numbers.tolist() == list(range(rows))
    assert table.drop(["i"]).equals(
        shared.execute("SELECT s, l FROM t").to_arrow_table().cast(table.drop(["i"]).schema)
    )


def test_no_rows(con: duckdb.DuckDBPyConnection, worker: Double) -> None:
    assert con.execute("SELECT thresh_feed('{}', {'n': n}) FROM range(0) r(n)").fetchone() == (b"",)
    assert worker.fed == []


def test_threads_are_joined(con: duckdb.DuckDBPyConnection, worker: Double) -> None:
    con.execute("CREATE TABLE t AS SELECT i, i::VARCHAR AS s FROM range(300_000) r(i)")
    con.execute("SET preserve_insertion_order = false")
    for _ in range(5):
        con.execute("SELECT thresh_feed('{}', {'i': i, 's': s}) FROM t").fetchall()
        numbers, table = worker.fed.pop()
        assert len(numbers) == 300_000
        assert table["s"].to_pylist() == [str(n) for n in numbers]
        if worker.states[-1] > 1:
            return
    pytest.fail(f"Never more than one thread fed: {worker.states}")


def test_vectors_that_are_not_flat(con: duckdb.DuckDBPyConnection, worker: Double) -> None:
    con.execute(
        "CREATE TABLE t AS SELECT i, 'word ' || i % 3 AS s, [i, i] AS l, {'a': i} AS st, "
        "array_value(i, i + 1) AS ar FROM range(6000) r(i)"
    )
    con.execute("CREATE TABLE u AS SELECT i AS j, 'joined ' || i AS t FROM range(0, 6000, 3) r(i)")
    row = "{'s': s, 'l': l, 'st': st, 'ar': ar, 'c': 'constant', 'n': NULL::INTEGER, 'i': i}"
    check(con, worker, "FROM t WHERE i % 3 = 1", row)
    check(con, worker, "SELECT * FROM t JOIN u ON i = j ORDER BY i", row[:-1] + ", 't': t}")
    check(con, worker, "SELECT * FROM t LEFT JOIN u ON i = j ORDER BY i", row[:-1] + ", 't': t}")
    fed = f"thresh_feed('{{}}', {numbered(row, 'i')})"
    con.execute(f"SELECT {fed} FILTER (i % 7 = 2) FROM t WHERE i % 3 <> 1").fetchall()
    numbers, table = worker.fed[-1]
    assert numbers.tolist() == [i for i in range(6000) if i % 7 == 2 and i % 3 != 1]
    assert table["i"].to_pylist() == numbers.tolist()
    assert table["ar"].to_pylist() == [[i, i + 1] for i in numbers.tolist()]
    assert set(table["c"].to_pylist()) == {"constant"}


def test_lists_in_any_order(con: duckdb.DuckDBPyConnection, worker: Double) -> None:
    con.execute(
        "CREATE TABLE t AS SELECT i, CASE WHEN i % 4 = 0 THEN NULL ELSE "
        "list_transform(range(i % 9), x -> 'element ' || x) END AS l FROM range(2500) r(i)"
    )
    check(con, worker, "FROM t ORDER BY hash(i)", "{'l': l, 'r': list_reverse(l), 's': l[2:4]}")


def test_wide_texts(con: duckdb.DuckDBPyConnection, worker: Double) -> None:
    con.execute(
        "CREATE TABLE t AS SELECT i, repeat(chr((97 + i)::INT), (i * 700_000)::INT) AS s, "
        "[repeat('z', 1_000_000), NULL] AS l FROM range(8) r(i)"
    )
    con.execute(feeding("FROM t", "{'s': s, 'l': l}")).fetchall()
    numbers, table = worker.fed[-1]
    assert table["s"].to_pylist() == [chr(97 + i) * (i * 700_000) for i in range(8)]
    assert {len(value[0]) for value in table["l"].to_pylist()} == {1_000_000}


def test_duplicates_of_a_query_in_one_statement(
    con: duckdb.DuckDBPyConnection, worker: Double
) -> None:
    con.execute("CREATE TABLE t AS SELECT i FROM range(10) r(i)")
    even = feeding("FROM t", "{'i': i}", keep="even")
    sql = f"SELECT count(*) FROM thresh($${even}$$) a JOIN thresh($${even}$$) b ON a.i <= b.i"
    assert con.execute(sql).fetchone() == (15,)
    sql = f"SELECT (SELECT count(*) FROM thresh($${even}$$)) FROM range(3)"
    assert con.execute(sql).fetchall() == [(5,)] * 3


def test_grouped_use_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    refused = "thresh_feed\\(\\) takes all rows of a statement: it cannot be grouped"
    for source in ("range(10)", "(SELECT * FROM range(100000) ORDER BY range)"):
        with pytest.raises(duckdb.InvalidInputException, match=refused):
            con.execute(
                "SELECT range % 2, thresh_feed('{}', {'n': range, 'i': range}) "
                f"FROM {source} GROUP BY 1"
            ).fetchall()


def test_misuse_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.InvalidInputException, match="takes a STRUCT of the columns"):
        con.execute("SELECT thresh_feed('{}', 'text')").fetchall()
    with pytest.raises(duckdb.InvalidInputException, match="begin with the number of a row"):
        con.execute("SELECT thresh_feed('{}', {'n': 'one'})").fetchall()
    same = "nullif(repeat('x', 200), repeat('x', 200 + i % 1))"
    with pytest.raises(duckdb.InvalidInputException, match="ends early: 4294967295 bytes"):  # NULL
        con.execute(f"SELECT thresh_feed({same}, {{'n': i}}) FROM range(9) r(i)").fetchall()
    with pytest.raises(duckdb.InvalidInputException, match="A row that is fed has no number"):
        con.execute("SELECT thresh_feed('{}', {'n': NULL::BIGINT})").fetchall()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("'1'::BIT", "BIT"),
        ("'10:00:00+02'::TIMETZ", "TIMETZ"),
        ("1::UHUGEINT", "UHUGEINT"),
        ("1::UNION(a INT)", "UNION"),
    ],
)
def test_types_that_cannot_be_sent(con: duckdb.DuckDBPyConnection, value: str, kind: str) -> None:
    with pytest.raises(
        duckdb.InvalidInputException,
        match=f"column odd has a type that cannot be sent, {kind}: cast it",
    ):
        con.execute(f"SELECT thresh_feed('{{}}', {{'n': 1::BIGINT, 'odd': [{value}]}})").fetchall()


def test_errors_come_as_they_are(con: duckdb.DuckDBPyConnection) -> None:
    text = 'The recall target is 1.5.\nLINE 1: RECALL TARGET 1.5\n                      ^^^ "é"'
    for at in ("F", "G", "D"):
        with pytest.raises(duckdb.InvalidInputException) as caught:
            con.execute(feeding("FROM range(200000)", "{'i': range}", fail=text, at=at)).fetchall()
        assert text in str(caught.value)
    with pytest.raises(duckdb.Error) as caught:
        con.execute("FROM thresh(?)", [json.dumps({"fail": text, "at": "P"})])
    assert text in str(caught.value)
    assert con.execute("FROM thresh('SELECT 42')").fetchone() == (42,)


def test_plan(con: duckdb.DuckDBPyConnection, worker: Double) -> None:
    assert con.execute("FROM thresh('SELECT 40 + 2', clauses := 'AS answer')").fetchone() == (42,)
    assert con.execute("SELECT thresh_plan('SELECT 1', NULL)").fetchone() == (b"SELECT 1 ",)
    assert con.execute("SELECT thresh_plan(NULL, 'x')").fetchone() == (b"",)
    con.execute("EXPLAIN FROM thresh('SELECT 1')").fetchall()
    assert worker.fed == []


def test_prepared_statements_run_each_time(con: duckdb.DuckDBPyConnection, worker: Double) -> None:
    con.execute("CREATE TABLE t AS SELECT i FROM range(10) r(i)")
    con.execute(f"PREPARE p AS SELECT sum(i) FROM {thresh('FROM t', ID, keep='even')}")
    assert con.execute("EXECUTE p").fetchone() == (20,)
    con.execute("INSERT INTO t VALUES (100), (200)")
    assert con.execute("EXECUTE p").fetchone() == (120,)
    assert worker.counts == [10, 12]


def test_the_users_own_transaction(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TEMP TABLE t AS SELECT i FROM range(4) r(i)")
    con.execute("BEGIN; INSERT INTO t VALUES (-1)")
    query = f"FROM {thresh('FROM t', ID, keep='all')}"
    assert con.execute(query).fetchall() == [(0,), (1,), (2,), (3,), (-1,)]
    con.execute("ROLLBACK")
    assert con.execute(query).fetchall() == [(0,), (1,), (2,), (3,)]
    con.execute("ATTACH ':memory:' AS other; USE other; CREATE TABLE v AS SELECT 7 AS i")
    assert con.execute(f"FROM {thresh('FROM v', ID)}").fetchall() == [(7,)]


def test_around_a_query(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t AS SELECT i FROM range(100000) r(i)")
    query = f"{thresh('FROM t', ID, keep='even')}"
    assert con.execute(f"FROM {query} LIMIT 2").fetchall() == [(0,), (2,)]
    assert con.execute(f"SELECT i FROM {query} WHERE i > 99996").fetchall() == [(99998,)]
    con.execute(f"CREATE TABLE kept AS FROM {query}")
    assert con.execute("SELECT count(*) FROM kept").fetchone() == (50000,)


def test_rows_of_text(con: duckdb.DuckDBPyConnection) -> None:
    odd = "\0 \x01\x1f\x7f\n\r\t \" \\ ' \u2028 \x85 🦆 é" + "漢" * 40
    rows = [["a", None, odd], [], ["", "NULL", "null", "1", "[1]", "{}"], ["x"] * 3000]
    fed = f"thresh_feed($t${json.dumps({'rows': rows})}$t$, {{'n': 1::BIGINT}})"
    assert con.execute(f"SELECT {ANSWER.format(fed=fed)}").fetchone() == (rows,)
    fed = "thresh_feed('{\"rows\": []}', {'n': 1::BIGINT})"
    assert con.execute(f"SELECT {ANSWER.format(fed=fed)}").fetchone() == ([],)


def test_what_a_shell_says_of_itself(path: Path, tmp_path: Path, worker: Double) -> None:
    database = str(tmp_path / "my.duckdb")
    with duckdb.connect(database) as con:
        con.execute("CREATE SCHEMA thresher")
        con.execute("CREATE TABLE thresher.declarations (kind TEXT, name TEXT, sql TEXT)")
        sql = 'CREATE ORACLE "é" (a\n\tTEXT) \\ \x01'
        con.execute(
            "INSERT INTO thresher.declarations VALUES ('oracle', 'o', ?), ('p', 'q', '')", [sql]
        )
        con.execute(
            "CREATE TABLE thresher.trained_proxies AS SELECT 'q' AS name, 'a'::BLOB AS learnt"
        )
        con.execute("UPDATE thresher.trained_proxies SET learnt = '\\x00b'::BLOB")
    with open_shell(path, database) as con:
        said = introduced(con, worker)
        again = introduced(con, worker)
    assert said["declared"]["trained_proxies"] == [{"name": "q", "learnt": "AGI="}]
    assert (said["database"], said["folder"]) == (database, str(Path.cwd()))
    assert said["declared"]["declarations"] == [
        {"kind": "oracle", "name": "o", "sql": sql},
        {"kind": "p", "name": "q", "sql": ""},
    ]
    with open_shell(path) as con:
        other = introduced(con, worker)
    assert other["database"] is None
    assert other["declared"] == {"declarations": [], "trained_proxies": []}
    assert said["shell"] == again["shell"] != other["shell"]


def introduced(con: duckdb.DuckDBPyConnection, worker: Double) -> dict[str, Any]:
    """What the worker is told of a shell."""
    for statement in introduction(Path.cwd()):
        con.execute(statement)
    assert con.execute("SELECT getvariable('thresher_declared')").fetchone() == (None,)
    con.execute("FROM thresh('SELECT 1')")
    protocol, told_version, told = worker.hellos[-1]
    assert (protocol, told_version) == ("2", version("thresher"))
    said: dict[str, Any] = json.loads(told or "")
    return said


def test_a_database_closes_and_leaves_no_log(path: Path, tmp_path: Path, worker: Double) -> None:
    database = tmp_path / "my.duckdb"
    for turn in range(2):
        with open_shell(path, str(database)) as con:
            con.execute(
                f"CREATE OR REPLACE TABLE t AS SELECT i + {turn} AS i FROM range(1000) r(i)"
            )
            con.execute(feeding("FROM t", "{'i': i}")).fetchall()
    assert [found.name for found in tmp_path.iterdir()] == ["my.duckdb"]
    assert len(worker.fed) == 2


def test_a_huge_integer_that_arrow_cannot_hold(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.InvalidInputException, match="cannot be read"):
        con.execute(
            "SELECT thresh_feed('{}', {'n': 0::BIGINT, "
            "'h': 170141183460469231731687303715884105727})"
        ).fetchall()


def test_shells_are_told_apart_where_random_numbers_are_not() -> None:
    names = []
    for _ in range(2):
        with duckdb.connect() as con:
            con.execute("SELECT setseed(0.5)").fetchall()
            said = introduction(Path("/"))[1]
            shell = said[said.index("shell := ") + 9 : said.index(", folder")]
            names.append(con.execute(f"SELECT {shell}").fetchone())
    assert names[0] != names[1]
