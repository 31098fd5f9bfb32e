"""Frames in the caller's variables are tables of the statement, and of no other."""

# ruff: noqa: F841 - statements use the variables

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import thresher
from thresher.dbapi import Connection
from thresher.sql.names_read import names_read

everywhere = pl.DataFrame({"id": [1, 2, 3], "text": ["good", "bad", "good"]})


@pytest.fixture
def con() -> Connection:
    connection = thresher.connect(config={"seed": 1})
    connection.create_oracle("is_pos", lambda texts: ["good" in t for t in texts], ["VARCHAR"])
    return connection


MADE: dict[str, Callable[[], object]] = {
    "pandas": lambda: pd.DataFrame({"id": range(90), "text": ["good", "bad", "poor"] * 30}),
    "polars": lambda: pl.DataFrame({"id": range(90), "text": ["good", "bad", "poor"] * 30}),
    "lazy": lambda: pl.LazyFrame({"id": range(90), "text": ["good", "bad", "poor"] * 30}),
    "arrow": lambda: pa.table({"id": range(90), "text": ["good", "bad", "poor"] * 30}),
    "batch": lambda: pa.table(MADE["arrow"]()).to_batches()[0],
    "reader": lambda: pa.table(MADE["arrow"]()).to_reader(),
    "dataset": lambda: ds.dataset(pa.table(MADE["arrow"]())),
    "scanner": lambda: ds.dataset(pa.table(MADE["arrow"]())).scanner(),
    "relation": lambda: duckdb.connect().from_arrow(MADE["arrow"]()),
    "cursor": lambda: thresher.connect().execute("SELECT * FROM a", frames={"a": MADE["arrow"]()}),
}


@pytest.mark.parametrize("kind", MADE)
def test_every_kind_of_frame(con: Connection, kind: str) -> None:
    df = MADE[kind]()
    assert con.execute("SELECT count(*), sum(id) FROM df").fetchall() == [(90, 4005)]
    df = MADE[kind]()
    cursor = con.execute("SELECT id FROM df WHERE is_pos(text) AND id < 9 ORDER BY id")
    assert cursor.fetchall() == [(0,), (3,), (6,)]
    assert cursor.certificate is not None
    df = MADE[kind]()
    kept = con.execute("SELECT id FROM df WHERE is_pos(text) USING id RECALL TARGET 90%")
    assert len(kept.fetchall()) >= 27
    df = MADE[kind]()
    told = con.execute("EXPLAIN SELECT id FROM df WHERE is_pos(text) RECALL TARGET 90%").fetchall()
    assert "90 candidates" in str(told).replace(",", "") or "90" in str(told)
    assert not con.execute("SHOW TABLES").fetchall()


def test_where_names_are_read(con: Connection) -> None:
    df = pd.DataFrame({"id": [1, 2], "text": ["good", "bad"]})
    other = pd.DataFrame({"id": [2, 3]})
    odd_Name = df
    for sql, n_rows in (
        ("FROM df", 2),
        ("SELECT * FROM df d JOIN other USING (id)", 1),
        ("SELECT * FROM df, other", 4),
        ("SELECT * FROM df /* a comment */ , -- and another\n other", 4),
        ("SELECT * FROM (df JOIN other USING (id))", 1),
        ('SELECT * FROM "odd_Name"', 2),
        ("SELECT * FROM odd_Name", 2),
        ("SELECT * FROM everywhere", 3),
        ("WITH x AS (SELECT * FROM df) SELECT * FROM x WHERE id IN (FROM other)", 1),
        ("SELECT id FROM df UNION ALL FROM other", 4),
        ("SUMMARIZE df", 2),
        ("DESCRIBE df", 2),
        ("PIVOT df ON text USING count(*)", 2),
        ("SELECT (SELECT count(*) FROM other) AS n", 1),
        ("SELECT * FROM other WHERE id IN (SELECT id FROM df WHERE is_pos(text))", 0),
    ):
        assert len(con.execute(sql).fetchall()) == n_rows, sql
    assert con.execute("SELECT df.id FROM df").fetchall() == [(1,), (2,)]
    con.execute("CREATE TABLE made AS SELECT * FROM df; INSERT INTO made SELECT id, 'x' FROM other")
    assert con.execute("SELECT count(*) FROM made").fetchall() == [(4,)]


def test_frames_are_copied_into_files(con: Connection, tmp_path: Path) -> None:
    df = pd.DataFrame({"id": [1, 2], "text": ["good", "bad"]})
    copy = pl.DataFrame({"id": [7]})
    path = tmp_path / "x.parquet"
    con.execute(f"COPY df TO '{path}'")
    assert con.execute(f"FROM '{path}'").fetchall() == [(1, "good"), (2, "bad")]
    con.execute(f"COPY df (text) TO '{tmp_path / 'x.csv'}' (HEADER); COPY copy TO '{path}'")
    assert (tmp_path / "x.csv").read_text().split() == ["text", "good", "bad"]
    assert con.execute(f"FROM '{path}'").fetchall() == con.execute("FROM copy").fetchall() == [(7,)]
    with pytest.raises(thresher.ProgrammingError, match="path is a PosixPath: a statement can"):
        con.execute("COPY path TO 'x.csv'")
    with pytest.raises(thresher.ProgrammingError, match="Table with name df does not exist"):
        con.execute(f"COPY df FROM '{tmp_path / 'x.csv'}'")
    con.execute("CREATE TABLE df (t TEXT)")
    con.execute(f"COPY df FROM '{tmp_path / 'x.csv'}' (HEADER)")
    assert con.execute("FROM df").fetchall() == [("good",), ("bad",)]


def test_answers_of_people_may_be_a_frame(con: Connection) -> None:
    df = pd.DataFrame({"id": range(90), "text": ["good", "bad", "poor"] * 30})
    con.execute("CREATE TABLE t AS FROM df")
    certificate = con.execute("SELECT id FROM t WHERE is_pos(text) RECALL TARGET 90%").certificate
    assert certificate is not None
    people = df.assign(label=df.text == "good")[["id", "label"]]
    for ours in ("people", "people WITH PROBABILITY 90%", "(SELECT id, label FROM people)"):
        found = con.execute(f"AUDIT CERTIFICATE '{certificate.id}' AGAINST {ours}").dicts()
        assert [(one["claim"], one["estimate"]) for one in found] == [
            ("recall", 1.0),
            ("precision", 1.0),
        ]
    people = "a text"
    with pytest.raises(thresher.ProgrammingError, match="the variable people is a str"):
        con.execute(f"AUDIT CERTIFICATE '{certificate.id}' AGAINST people")


def test_a_table_of_the_database_goes_first(con: Connection) -> None:
    df = pd.DataFrame({"x": [1]})
    assert con.execute("FROM df").fetchall() == [(1,)]
    con.execute("CREATE TABLE df AS SELECT x + 1 AS x FROM df")
    assert con.execute("FROM df").fetchall() == [(2,)]
    assert con.execute("WITH df AS (SELECT 7 AS x) FROM df").fetchall() == [(7,)]
    con.execute("DROP TABLE df; CREATE VIEW df AS SELECT 3 AS x")
    assert con.execute("FROM df").fetchall() == [(3,)]
    con.execute("DROP VIEW df")
    assert con.execute("FROM df").fetchall() == [(1,)]
    con.begin()
    con.execute("CREATE TEMP TABLE df AS SELECT 5 AS x")
    assert con.execute("FROM df").fetchall() == [(5,)]
    con.rollback()
    assert con.execute("FROM df").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "head",
    [
        "CREATE TEMP TABLE",
        "CREATE OR REPLACE TEMPORARY TABLE",
        "create temp table if not exists",
        "/* a copy */ CREATE TEMP TABLE",
        "CREATE VIEW",
        "CREATE OR REPLACE TEMP VIEW",
    ],
)
def test_what_a_frame_would_hide_is_refused_at_its_name(con: Connection, head: str) -> None:
    df = pd.DataFrame({"id": [1, 2], "text": ["good", "bad"]})
    kind = "view" if "VIEW" in head else "temporary table"
    way = "write CREATE TABLE" if kind == "view" else "Leave TEMP out, or .* other = df, and FROM"
    told = rf"name of its .*{kind}.*{way}"
    for name in ("df", '"DF"', "temp.df", 'memory."main".df'):
        at = name.rfind(".") + 1
        for query in ("FROM df", "SELECT id FROM df WHERE is_pos(text)"):
            with pytest.raises(
                thresher.ProgrammingError, match=rf"name of its .*{kind}.*{way}"
            ) as e:
                con.execute(f"{head} {name} AS {query}")
            assert e.value.column == len(head) + 2 + at
            assert str(e.value).endswith(" " * at + "^" * (len(name) - at))
    assert not con.execute("SHOW TABLES").fetchall()
    other = df
    con.execute("CREATE TEMP TABLE df AS SELECT id FROM other WHERE is_pos(text)")
    assert con.execute("FROM df").fetchall() == [(1,)]
    con.execute("CREATE OR REPLACE TEMP TABLE made AS FROM df; DROP TABLE df")
    con.execute("CREATE TEMP TABLE df (text TEXT); DROP TABLE df")
    con.execute("CREATE TABLE df AS SELECT text FROM df")
    assert con.execute("FROM df").fetchall() == [("good",), ("bad",)]


def test_a_frame_belongs_to_its_statement_alone(con: Connection) -> None:
    def inner() -> thresher.Cursor:
        local = pd.DataFrame({"x": range(200_000)})
        alive.append(weakref.ref(local))
        return con.execute("SELECT x FROM local")

    alive: list[weakref.ref[pd.DataFrame]] = []
    cursor = inner()
    assert len(cursor.fetchall()) == 200_000
    gc.collect()
    assert alive[0]() is None
    for sql in ("FROM local", "SELECT * FROM local WHERE is_pos(x::VARCHAR)"):
        with pytest.raises(thresher.ProgrammingError, match="Table with name local does not exist"):
            con.execute(sql)
    waiting = inner()
    con.execute("SELECT 1")
    gc.collect()
    assert alive[1]() is None
    assert len(waiting.fetchall()) == 200_000


def test_a_view_keeps_no_frame(con: Connection) -> None:
    def inner() -> None:
        local = pd.DataFrame({"x": [1]})
        con.execute("CREATE TEMP VIEW v AS SELECT * FROM local")
        con.execute("PREPARE p AS SELECT * FROM local")

    inner()
    with pytest.raises(thresher.Error, match="local"):
        con.execute("FROM v")


def test_what_is_no_frame_is_named(con: Connection) -> None:
    rows = [1, 2]
    series = pd.Series([1])
    for name, kind in (("rows", "list"), ("series", "Series"), ("con", "Connection")):
        with pytest.raises(thresher.ProgrammingError) as caught:
            con.execute(f"SELECT * FROM {name}")
        assert f"there is no table {name}, and the variable {name} is a {kind}" in str(caught.value)
    for name in ("sql", "relation", "self", "duckdb", "pa"):  # variables of the package itself
        with pytest.raises(thresher.ProgrammingError, match=r"does not exist|is a module"):
            con.execute(f"SELECT * FROM {name}")
    assert rows
    assert len(series) == 1


def test_what_is_given_and_no_frame_is_no_variable(con: Connection) -> None:
    zz, number = "a variable", 3
    for name, kind in (("zz", "a list"), ("one", "an int"), ("text", "a str")):
        with pytest.raises(thresher.ProgrammingError) as caught:
            con.execute(f"FROM {name}", frames={"zz": [1, 2], "one": 1, "text": "x"})
        assert f"there is no table {name}, and the frame {name} is {kind}:" in str(caught.value)
    with pytest.raises(thresher.ProgrammingError, match="the variable number is an int:"):
        con.execute("FROM number", frames={"zz": [1, 2]})


def test_settings_of_duckdb_are_respected(con: Connection) -> None:
    df = pd.DataFrame({"x": [1]})

    def inner() -> list[tuple[int, ...]]:
        return con.execute("SELECT * FROM df AS t WHERE x < 5").fetchall()

    def deep(outside: object) -> list[tuple[int, ...]]:
        def called() -> list[tuple[int, ...]]:
            return con.execute("FROM outside").fetchall()

        namespace: dict[str, object] = {"con": con}
        exec("def far():\n    return con.execute('FROM outside').fetchall()", namespace)
        return namespace["far"]()  # type: ignore[operator, no-any-return]

    assert df is not None
    with pytest.raises(thresher.ProgrammingError):
        deep(df)
    con.execute("SET python_scan_all_frames = true")
    assert deep(df) == [(1,)]
    assert inner() == [(1,)]
    con.execute("SET python_enable_replacements = false")
    with pytest.raises(thresher.ProgrammingError):
        con.execute("FROM df")


def test_frames_are_given_by_name(con: Connection) -> None:
    frame = pd.DataFrame({"x": [1]})
    assert con.execute("FROM mine", frames={"mine": frame}).fetchall() == [(1,)]
    assert con.cursor().execute("FROM mine", frames={"mine": frame}).fetchall() == [(1,)]
    con.register("kept", frame)
    assert con.execute("FROM kept").fetchall() == [(1,)]
    con.unregister("kept")
    con.unregister("kept")
    with pytest.raises(thresher.ProgrammingError):
        con.execute("FROM kept")


def test_a_cursor_of_the_same_connection_is_a_frame(con: Connection) -> None:
    cursor = con.execute("SELECT i FROM range(200_000) r(i)")
    assert con.execute("SELECT count(*) FROM cursor").fetchall() == [(200_000,)]
    relation = con.connection.sql("SELECT 5 AS five")
    assert con.execute("FROM relation").fetchall() == [(5,)]


def test_after_a_failure_nothing_is_left(con: Connection) -> None:
    df = pd.DataFrame({"x": ["a"]})
    with pytest.raises(thresher.Error):
        con.execute("SELECT x::INTEGER FROM df")
    con.begin()
    with pytest.raises(thresher.Error):
        con.execute("SELECT x::INTEGER FROM df")
    con.rollback()
    assert not con.execute("SHOW TABLES").fetchall()
    assert con.execute("FROM df").fetchall() == [("a",)]


def test_methods_of_the_connection_see_variables_too(con: Connection) -> None:
    df = pd.DataFrame({"x": [1, 2]})
    con.execute("CREATE TABLE t (x BIGINT)")
    con.executemany("INSERT INTO t SELECT x + ? FROM df", [[0], [10]])
    assert con.execute("FROM t ORDER BY x").fetchall() == [(1,), (2,), (11,), (12,)]
    found = con.execute("EXPLAIN ANALYZE SELECT x FROM df WHERE is_pos(x::VARCHAR)")
    assert found.fetchall()
    con.execute("PREPARE p AS SELECT x FROM df WHERE is_pos(x::VARCHAR) OR x = ?")
    assert con.execute("EXECUTE p(2)").fetchall() == [(2,)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT id, label FROM t", "t"),
        ("SELECT f(label), [label], {'a': label} FROM t WHERE label IN (label, a)", "t"),
        ("SELECT 'FROM a, b', $$FROM c$$, \"FROM d\" FROM t -- FROM e\n/* FROM f, g */", "t"),
        ("SELECT * FROM a, b, LATERAL (SELECT c FROM d), e", "a b d e"),
        ("FROM a SELECT x, y", "a"),
        ("FROM (a), ((b)), (c JOIN d USING (x, y)), e", "a b c d e"),
        ("FROM a x(b, c), range(3) r(i), d.e, 'f.csv', g", "a g"),
        ("FROM x: a, y: b JOIN 'z': c ON f(d, e), g ORDER BY h, i", "a b c g"),
        ("FROM a JOIN b ON a.t::TIMESTAMP WITH TIME ZONE = b.t, c GROUP BY d, e", "a b c"),
        ("SELECT x FROM unnest([1, 2]) WITH ORDINALITY u(x, i), a LIMIT b", "a"),
        ('SELECT "c" FROM "A b", "d""e" WHERE "f" > 1', 'A_b d"e'),
        ("SELECT extract(year FROM a), trim(BOTH b FROM c), x IS NOT DISTINCT FROM d FROM e", "e"),
        ("SELECT CASE WHEN EXISTS (FROM a) THEN b END, (SELECT c FROM d) FROM e", "a d e"),
        ("SELECT a FROM b WHERE p(c) USING s(d), e RECALL TARGET 90% WITH PROBABILITY 95%", "b"),
        ("SELECT * FROM a WHERE p(b) USING SAMPLE 10%, c", "a"),
        ("WITH a AS (FROM b), c(d, e) AS MATERIALIZED (FROM a) SELECT a, e FROM c, f", "b f"),
        ("WITH a AS (FROM a) FROM A", "a"),
        ("WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n FROM a, b) FROM a", "b"),
        ("SELECT * FROM (WITH a AS (SELECT 1) FROM a) JOIN a ON true", "a"),
        ("WITH a AS (SELECT 1) FROM a; FROM a", "a"),
        ("SELECT a FROM b UNION ALL BY NAME FROM c EXCEPT SELECT d, e FROM f", "b c f"),
        ("TABLE a; (TABLE b) UNION TABLE c; CREATE TABLE d AS TABLE e; DROP TABLE f", "a b c e"),
        ("DESCRIBE a; SUMMARIZE b; DESC c; SHOW d; SUMMARIZE TABLE e", "a b c d e"),
        ("SUMMARIZE SELECT a, b FROM c ORDER BY d DESC, e", "c"),
        ("EXPLAIN ANALYZE FROM a", "a"),
        ("PIVOT a ON b, c USING sum(d), max(e) GROUP BY f", "a"),
        ("PIVOT (SELECT a, b FROM c) ON d", "c"),
        ("FROM a PIVOT (sum(b) FOR c IN (d, e)), f UNPIVOT (g FOR h IN (i, j))", "a f"),
        ("WITH a AS (FROM b) UNPIVOT a ON c, d", "b"),
        ("FROM (PIVOT a ON b), c", "a c"),
        ("INSERT INTO a (b, c) SELECT d, e FROM f RETURNING g, h", "f"),
        ("INSERT INTO a VALUES (b, c), (d, e)", ""),
        ("UPDATE a SET b = c, d = e FROM f, g WHERE h", "f g"),
        ("DELETE FROM a USING b, c JOIN d USING (e) WHERE f", "b c d"),
        ("MERGE INTO a USING b ON c WHEN MATCHED THEN UPDATE SET d = e, f = g", "b"),
        ("CREATE VIEW a AS SELECT b, c FROM d", "d"),
        ("CREATE TABLE a (b INTEGER, c VARCHAR)", ""),
        ("COPY a FROM 'b.csv'; COPY (FROM c) TO 'd.csv'", "c"),
        ("COPY a TO 'b.csv'; EXPLAIN COPY b (x, y) TO 'd.csv'; COPY d.e TO 'f'", "a b"),
        ("PREPARE x AS COPY a TO 'b.csv'; COPY a (b) FROM 'c.csv'", "a"),
        ("SELECT a AS copy, b FROM copy; WITH copy AS (FROM b) FROM copy; COPY", "copy b"),
        ("AUDIT CERTIFICATE 'x' AGAINST a WITH PROBABILITY .9; SELECT against b", "a"),
        ("AUDIT CERTIFICATE x AGAINST (SELECT a FROM b); AUDIT CERTIFICATE x AGAINST c.d", "b"),
        ("SELECT a.from, b FROM c; SELECT (d", "c"),
        ("FROM a) , b ( FROM c", "a c"),
        ("", ""),
    ],
)
def test_the_names_that_are_read(sql: str, expected: str) -> None:
    assert {name.replace(" ", "_") for name in names_read(sql)} == set(expected.split())


@pytest.mark.parametrize("where", ["", " -- FROM label", " WHERE 'FROM label, label' <> text"])
def test_a_variable_called_as_a_column_is_left_alone(con: Connection, where: str) -> None:
    con.execute("CREATE TABLE t AS SELECT 1 AS id, 'a' AS text, 2 AS label")
    for label in (
        con.execute("SELECT 5 AS five"),
        pa.table({"x": [1]}).to_reader(),
        pl.scan_csv("/nowhere/there/is.csv"),
    ):
        assert con.execute(f"SELECT id, label FROM t{where}").fetchall() == [(1, 2)]
        if isinstance(label, pa.RecordBatchReader):
            assert label.read_all().num_rows == 1


def test_a_table_of_the_name_leaves_the_variable_unread(con: Connection) -> None:
    con.execute("CREATE TABLE t AS SELECT 7 AS x")
    for t in (pa.table({"x": [1]}).to_reader(), pl.scan_csv("/nowhere/there/is.csv")):
        assert con.execute("FROM t").fetchall() == [(7,)]
        if isinstance(t, pa.RecordBatchReader):
            assert t.read_all().num_rows == 1


def test_a_frame_that_cannot_be_read_is_named(con: Connection) -> None:
    films = pl.scan_csv("/nowhere/there/is.csv")
    with pytest.raises(thresher.OperationalError, match="variable films, a LazyFrame, cannot be"):
        con.execute("FROM films")
    broken = pl.LazyFrame({"x": [1]}).select(pl.col("y"))
    with pytest.raises(thresher.ProgrammingError, match="variable broken, a LazyFrame, cannot be"):
        con.execute("FROM broken")
    with duckdb.connect() as other:
        gone = other.sql("SELECT 1 AS x")
    with pytest.raises(thresher.ProgrammingError, match="variable gone, a DuckDBPyRelation"):
        con.execute("FROM gone")
    assert con.execute("SELECT 1").fetchall() == [(1,)]
