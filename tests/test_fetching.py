"""Rows by the row, as dicts, frames and Arrow: all the same, streamed, looked at beforehand."""

from __future__ import annotations

import datetime
import decimal
import gc
import re
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

import thresher
from thresher.dbapi import Connection
from thresher.rows import BATCH

BIG = "SELECT i, 'row ' || i AS name FROM range(300_000) r(i)"
VALUES = """
    1::TINYINT; -1::BIGINT; 18446744073709551615::UBIGINT; 0.5::FLOAT; 1e300; 'é'; ''::BLOB;
    true; DATE '2020-02-29'; DATE '20000-01-01'; DATE '0044-03-15 (BC)'; 'infinity'::DATE;
    TIME '24:00:00'; TIME '10:00:00.5'; 'infinity'::TIMESTAMP;
    TIMESTAMP '2020-01-01 10:00:00.000001';
    TIMESTAMP_S '2020-01-01 00:00:00'; TIMESTAMP_MS '2020-01-01 00:00:00.5';
    TIMESTAMP_NS '2020-01-01 00:00:00.123456789'; INTERVAL '1 month 2 days 3 seconds';
    1.50::DECIMAL(9, 2); 1.5::DECIMAL(38, 10); 170141183460469231731687303715884105727::HUGEINT;
    340282366920938463463374607431768211455::UHUGEINT; '101'::BIT; TIME '10:00:00+02'::TIMETZ;
    '47183823-2574-4bfd-b411-99ed177d3e43'::UUID; 'a'::ENUM('a', 'b'); '{"a": 1}'::JSON; NULL;
    [1, NULL]; [1, 2]::INTEGER[2]; {'a': 1, 'b': ['x']}; MAP {'a': 1}; 'x'::UNION(n INT, t VARCHAR);
    12345678901234567890123456789012345678901234567890::BIGNUM; {'a': 1}::VARIANT;
    {'h': 1::HUGEINT}; [DATE '2020-01-01']; 'NaN'::DOUBLE;
    row(1, 2); (1, 'x'); [row(1, 'a')]; {'a': row(DATE '20000-01-01', [1])}; row(row(NULL), 'b');
    MAP {'a': row(1, true)}; row(1::HUGEINT, '1'::JSON, 'a'::ENUM('a'));
    row({'a': 1.5}, TIME '10:00')
"""
KINDS = [value.strip() for value in VALUES.split(";")]


@pytest.mark.parametrize("value", KINDS)
def test_values_are_those_of_duckdb(value: str) -> None:
    # A connection each: DuckDB streams for the one, and holds all for the other.
    sql = f"SELECT {value} AS x, 7 AS seven FROM range(3)"
    with thresher.connect() as con, duckdb.connect() as theirs:
        expected = theirs.execute(sql).fetchall()
        cursor = con.execute(sql)
        assert repr(cursor.preview(2)[0].num_rows) == "2"
        assert repr(cursor.fetchall()) == repr(expected)
        assert repr(con.execute(sql).description) == repr(theirs.execute(sql).description)
        if re.search("BIT|TIMETZ|UHUGEINT|VARIANT", value):
            return  # RETURNING goes through Arrow, which has no such type
        con.execute("CREATE TABLE t (n INTEGER)")
        returned = con.execute(f"INSERT INTO t VALUES (1) RETURNING n, {value} AS x").fetchall()
        assert repr([row[1] for row in returned]) == repr([expected[0][0]])


def test_frames_are_those_of_duckdb() -> None:
    sql = """
        SELECT i, if(i % 3 = 0, NULL, i) AS n, 'x' || i AS s, i / 7 AS f, DATE '2020-01-01' AS d,
            TIMESTAMP '2020-01-01 10:00:00' AS t, 1.5::DECIMAL(9, 2) AS e, [i] AS l,
            ['a', 'b'][1 + i % 2]::ENUM('a', 'b') AS k, i % 2 = 0 AS b, i::HUGEINT AS h, 5 AS i
        FROM range(1000) r(i)
    """
    with thresher.connect() as con, duckdb.connect() as theirs:
        assert_frame_equal(con.execute(sql).df(), theirs.sql(sql).df())
        plain = "SELECT * EXCLUDE (i_1) FROM (" + sql.replace("5 AS i\n", "5 AS i_1\n") + ")"
        assert con.execute(plain).pl().equals(theirs.sql(plain).pl())
        assert con.execute(sql).to_arrow_table().equals(theirs.sql(sql).to_arrow_table())


def test_every_name_of_a_fetch(con: Connection) -> None:
    sql = "SELECT 1 AS a, 'x' AS b"
    assert con.execute(sql).fetchone() == (1, "x")
    assert con.execute(sql).dicts() == [{"a": 1, "b": "x"}]
    assert isinstance(con.execute(sql).df(), pd.DataFrame)
    assert isinstance(con.execute(sql).fetchdf(), pd.DataFrame)
    assert isinstance(con.execute(sql).pl(), pl.DataFrame)
    for table in ("arrow", "fetch_arrow_table", "to_arrow_table"):
        assert getattr(con.execute(sql), table)().to_pylist() == [{"a": 1, "b": "x"}]
    for reader in ("fetch_record_batch", "to_arrow_reader"):
        assert getattr(con.execute(sql), reader)(100).read_all().num_rows == 1
    with pytest.raises(thresher.InterfaceError, match="two columns are called a: give one an al"):
        con.execute("SELECT 1 AS a, 2 AS a").dicts()
    with pytest.raises(thresher.InterfaceError, match="rows_per_batch must be at least 1, got 0"):
        con.execute(sql).to_arrow_reader(0)


def test_other_libraries_read_a_cursor(con: Connection) -> None:
    sql = "SELECT i AS a, 'x' AS b FROM range(5) r(i)"
    assert pl.DataFrame(con.execute(sql)).height == 5
    assert pa.table(con.execute(sql)).num_rows == 5
    assert pd.DataFrame.from_arrow(con.execute(sql)).shape == (5, 2)
    cursor = con.execute(sql)
    assert duckdb.sql("SELECT sum(a) FROM cursor").fetchall() == [(10,)]
    with pytest.raises(thresher.InterfaceError, match="have been fetched"):
        pa.table(cursor)


def test_forms_follow_one_another_without_losing_a_row(con: Connection) -> None:
    cursor = con.execute(BIG)
    assert cursor.fetchmany(5) == [(i, f"row {i}") for i in range(5)]
    assert cursor.preview(3)[0].column("i").to_pylist() == [5, 6, 7]
    assert cursor.fetchone() == (5, "row 5")
    assert cursor.to_arrow_table().column("i").to_pylist() == list(range(6, 300_000))
    cursor = con.execute(BIG)
    cursor.fetchmany(BATCH + 1)
    assert cursor.df()["i"].tolist() == list(range(BATCH + 1, 300_000))
    assert cursor.fetchall() == []
    cursor = con.execute(BIG)
    assert next(iter(cursor)) == (0, "row 0")
    assert [row[0] for row in con.execute("FROM range(70_000)")] == list(range(70_000))
    sizes = {batch.num_rows for batch in con.execute(BIG).to_arrow_reader(1000)}
    assert max(sizes) == 1000


def test_a_large_result_is_read_as_it_is_asked_for(con: Connection) -> None:
    # 80 GB: it could not be there before its first row.
    cursor = con.execute("SELECT i, i + 1 AS j FROM range(5_000_000_000) r(i)")
    assert cursor.fetchmany(2) == [(0, 1), (1, 2)]
    before = pa.total_allocated_bytes()
    reader = cursor.to_arrow_reader()
    n_rows = sum(batch.num_rows for batch, _ in zip(reader, range(30), strict=False))
    assert n_rows >= 29 * BATCH - 2
    assert pa.total_allocated_bytes() - before < 64 * 2**20
    assert con.execute("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(thresher.OperationalError, match="another statement has run on this conn"):
        reader.read_next_batch()


def test_rows_that_wait_are_kept_while_others_are_asked_for(con: Connection) -> None:
    con.execute("CREATE TABLE seen (i BIGINT)")
    first, second = con.execute(BIG), con.execute(BIG)
    n_rows = 0
    for i, _ in first:
        if i % 100_000 == 0:
            con.execute("INSERT INTO seen VALUES (?)", [i])
        n_rows += 1
    assert n_rows == 300_000
    assert len(second.fetchall()) == 300_000
    assert con.execute("FROM seen").fetchall() == [(0,), (100_000,), (200_000,)]
    third = con.execute("SELECT * FROM seen")
    con.execute("DROP TABLE seen")
    assert len(third.fetchall()) == 3


def test_too_many_rows_are_not_kept(con: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thresher.rows._ASIDE", 1000)
    cursor = con.execute(BIG)
    assert cursor.fetchone() == (0, "row 0")
    con.execute("SELECT 1")
    with pytest.raises(thresher.OperationalError, match="too many to be kept meanwhile"):
        cursor.fetchone()
    assert "gone" in repr(cursor)


def test_a_result_that_nobody_holds_is_not_kept(con: Connection) -> None:
    con.execute("SELECT i FROM range(50_000_000_000) r(i)")
    gc.collect()
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_an_error_further_on_is_one_of_pep_249(con: Connection) -> None:
    wrong = "SELECT CAST(if(i < 2_000_000, '1', 'x') AS INTEGER) AS n FROM range(3_000_000) r(i)"
    con.execute("SET threads = 1")
    cursor = con.execute(wrong)
    assert len(cursor.fetchmany(10)) == 10
    with pytest.raises(thresher.DataError, match="Could not convert string 'x' to INT32"):
        cursor.fetchall()
    with pytest.raises(thresher.OperationalError, match="cannot be read further: Conversion Error"):
        cursor.fetchall()
    assert con.execute("SELECT 1").fetchall() == [(1,)]


LATE = "SELECT CAST(if(i = 2_000_000, 'x', '1') AS INT) AS n FROM range(3_000_000) r(i)"


def late(con: Connection) -> thresher.Cursor:
    """Run a statement that fails late, in one thread: of several DuckDB may not tell the reason."""
    con.execute("SET threads = 1")
    return con.execute(LATE)


@pytest.mark.parametrize("next_one", [
    lambda con: con.execute("SELECT 42"),
    lambda con: con.begin(),
    lambda con: con.commit(),
    lambda con: con.rollback(),
    lambda con: con.register("frame", pa.table({"x": [1]})),
    lambda con: con.unregister("frame"),
    lambda con: con.create_oracle("o", lambda n: [True for _ in n], ["BIGINT"]),
    lambda con: con.connection,
])  # fmt: skip
def test_an_error_of_rows_left_is_told_to_who_fetches_them(
    con: Connection, next_one: Callable[[Connection], object]
) -> None:
    cursor = late(con)
    assert cursor.fetchone() == (1,)
    next_one(con)
    assert con.execute("SELECT 42").fetchall() == [(42,)]
    assert cursor.preview(1)[0].num_rows == 1
    assert len(cursor.fetchmany(100_000)) == 100_000
    with pytest.raises(thresher.DataError, match="Could not convert string 'x' to INT32"):
        cursor.to_arrow_table()
    with pytest.raises(thresher.OperationalError, match="cannot be read further: Conversion Error"):
        cursor.fetchall()
    assert con.execute("SELECT 42").fetchall() == [(42,)]


def test_a_connection_is_closed_with_rows_left(con: Connection) -> None:
    cursor = late(con)
    assert cursor.fetchone() == (1,)
    con.close()
    assert con.closed


@pytest.mark.parametrize("end", ["ROLLBACK", "COMMIT"])
def test_where_no_transaction_was_begun_its_end_reads_nothing(con: Connection, end: str) -> None:
    cursor = con.execute("SELECT i FROM range(5_000_000_000) r(i)")
    before = pa.total_allocated_bytes()
    (con.commit if end == "COMMIT" else con.rollback)()
    assert pa.total_allocated_bytes() == before
    assert cursor.fetchmany(BATCH + 1)[-1] == (BATCH,)


@pytest.mark.parametrize("begin", ["BEGIN", "-- now\nSTART TRANSACTION"])
def test_rows_left_abort_no_transaction(con: Connection, begin: str) -> None:
    con.execute("CREATE TABLE t (i BIGINT)")
    con.execute(begin)
    con.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(thresher.DataError, match="Could not convert string 'x' to INT32"):
        late(con)  # itself, and no statement after it
    con.rollback()
    before = late(con)
    con.execute(begin)
    rows = con.execute(BIG)
    for i, _ in rows:
        if i % 100_000 == 0:
            con.execute("INSERT INTO t VALUES (?)", [i])
    con.commit()
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(3,)]
    with pytest.raises(thresher.DataError):
        before.to_arrow_table()


def test_inside_a_transaction_no_rows_are_read_that_nobody_asked_for(
    con: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thresher.rows._ASIDE", 1000)
    con.execute("CREATE TABLE t (i BIGINT)")
    for end in (con.commit, con.rollback):
        con.begin()
        con.execute("INSERT INTO t VALUES (1)")
        cursor = late(con)
        assert cursor.fetchone() == (1,)
        end()
        with pytest.raises(thresher.OperationalError, match="too many to be kept meanwhile"):
            cursor.fetchone()
    assert con.execute("FROM t").fetchall() == [(1,)]


def test_after_a_transaction_results_are_read_as_they_are_asked_for_again(con: Connection) -> None:
    con.execute("CREATE TABLE t (i INT PRIMARY KEY)")
    con.begin()
    with pytest.raises(thresher.Error):
        con.begin()
    con.commit()
    assert len(late(con).fetchmany(10)) == 10
    con.begin()
    with pytest.raises(thresher.Error):
        con.execute("SELECT CAST('x' AS INT)").fetchall()
    con.rollback()
    assert len(late(con).fetchmany(10)) == 10
    with pytest.raises(thresher.Error, match="no transaction is active"):
        con.execute("COMMIT")
    assert len(late(con).fetchmany(10)) == 10


def test_two_threads_on_one_cursor(con: Connection) -> None:
    cursor = con.execute("SELECT i FROM range(2_000_000) r(i) WHERE i % 10 = 0")
    found: list[int] = []
    refused: list[str] = []

    def fetch() -> None:
        while True:
            try:
                rows = cursor.fetchmany(5_000)
            except thresher.InterfaceError as error:
                refused.append(str(error))
                continue
            if not rows:
                return
            found.extend(i for (i,) in rows)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(0, 2_000_000, 10))
    assert all("thread" in text for text in refused)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_thread_is_refused_while_another_fetches(con: Connection, *, ahead: bool) -> None:
    con.execute("CREATE TABLE t AS FROM range(300_000) r(i)")
    cursor = con.execute("FROM t")
    if ahead:
        con.execute("SELECT 1")
    inside, done = threading.Event(), threading.Event()
    rows = cursor._result()
    made = rows._values.rows

    def slow(batch: pa.RecordBatch) -> list[tuple[int]]:
        inside.set()
        assert done.wait(10)
        return made(batch)

    rows._values.rows = slow  # type: ignore[method-assign]
    found: list[tuple[int]] = []
    thread = threading.Thread(target=lambda: found.extend(cursor.fetchall()))
    thread.start()
    assert inside.wait(10)
    for fetch in (cursor.fetchone, cursor.fetchall, cursor.to_arrow_table, cursor.preview):
        with pytest.raises(thresher.InterfaceError, match="thread"):
            fetch()
    done.set()
    thread.join()
    assert found == [(i,) for i in range(300_000)]


def test_a_negative_number_of_rows_is_refused(con: Connection) -> None:
    cursor = con.execute("SELECT i FROM range(10) r(i)")
    with pytest.raises(thresher.InterfaceError, match="to fetch must be at least 0, got -1"):
        cursor.fetchmany(-1)
    with pytest.raises(thresher.InterfaceError, match="to show must be at least 0, got -2"):
        cursor.preview(-2)
    cursor.arraysize = -3
    with pytest.raises(thresher.InterfaceError, match="to fetch must be at least 0, got -3"):
        cursor.fetchmany()
    assert cursor.fetchmany(0) == []
    assert len(cursor.fetchall()) == 10


def test_reading_is_cancelled(con: Connection) -> None:
    cursor = con.execute(
        "SELECT * FROM range(100_000_000_000) r(i) WHERE i < 200_000 OR i % 5_000_000_000 = 7"
    )
    timer = threading.Timer(0.3, cursor.cancel)
    timer.start()
    with pytest.raises(thresher.InterruptedQueryError, match="was cancelled"):
        cursor.fetchall()
    timer.join()
    assert con.execute("SELECT 42").fetchall() == [(42,)]


def test_who_has_the_connection_beneath_cuts_no_result_off(con: Connection) -> None:
    beneath = con.connection
    cursor = con.execute(BIG)
    beneath.execute("SELECT 1").fetchall()
    assert len(cursor.fetchall()) == 300_000


def test_statements_inside_a_script_run_to_their_end(con: Connection) -> None:
    con.execute("CREATE SEQUENCE s; SELECT nextval('s') FROM range(200_000); SELECT 1")
    assert con.execute("SELECT nextval('s')").fetchall() == [(200_001,)]


def test_uncommitted_rows_and_temporary_tables_are_seen_by_all_cursors(con: Connection) -> None:
    one, other = con.cursor(), con.cursor()
    one.execute("CREATE TEMP TABLE t AS SELECT 1 AS x")
    assert other.execute("FROM t").fetchall() == [(1,)]
    con.begin()
    one.execute("INSERT INTO t VALUES (2)")
    assert other.execute("SELECT count(*) FROM t").fetchall() == [(2,)]
    cursor = con.execute("FROM t")
    con.rollback()
    assert cursor.fetchall() == [(1,), (2,)]
    assert other.execute("FROM t").fetchall() == [(1,)]


def test_preview_takes_nothing_away(films: tuple[Connection, object, object]) -> None:
    con = films[0]
    for sql in ("SELECT id FROM t", "SELECT id FROM t WHERE is_pos(id)", BIG):
        cursor = con.execute(sql)
        table, more = cursor.preview(7)
        assert (table.num_rows, more) == (7, True)
        again, _ = cursor.preview(7)
        assert again.equals(table)
        assert cursor.fetchmany(7) == list(zip(*table.to_pydict().values(), strict=True))
    cursor = con.execute("SELECT 1 AS x")
    assert cursor.preview(1) == (pa.table({"x": pa.array([1], pa.int32())}), False)
    assert cursor.preview(0)[1]
    assert cursor.fetchall() == [(1,)]
    assert cursor.preview()[0].num_rows == 0


def test_a_cursor_shows_its_rows_and_keeps_them(films: tuple[Connection, object, object]) -> None:
    con = films[0]
    cursor = con.cursor()
    assert repr(cursor) == ("<thresher.Cursor: there are no rows: execute() a statement first>")
    cursor.execute("SELECT id FROM t WHERE is_pos(id) ORDER BY id")
    shown = cursor._repr_mimebundle_()
    assert shown == cursor._repr_mimebundle_()
    assert "bigint" in shown["text/plain"]
    assert "20 rows, there are more" in shown["text/plain"]
    assert shown["text/html"].startswith('<div class="thresher">')
    assert len(cursor.fetchall()) > 20
    assert repr(cursor).endswith("...: all rows have been fetched>")
    cursor.execute("SET thresher_seed = 3")
    assert repr(cursor) == "<thresher.Cursor: SET thresher_seed = 3: done>"
    assert cursor._repr_html_() == "<p>&lt;thresher.Cursor: SET thresher_seed = 3: done&gt;</p>"
    assert repr(cursor.execute("DELETE FROM t WHERE id < 9")).endswith("id < 9: 9 rows>")
    with pytest.raises(thresher.ProgrammingError):
        cursor.execute("SELECT * FROM nowhere")
    assert repr(cursor) == "<thresher.Cursor: SELECT * FROM nowhere: failed>"
    assert cursor._repr_html_() == "<p>&lt;thresher.Cursor: SELECT * FROM nowhere: failed&gt;</p>"
    for fetch in (cursor.fetchall, cursor.df, cursor.preview):
        with pytest.raises(thresher.InterfaceError, match=r"SELECT \* FROM nowhere failed. Mend"):
            fetch()
    assert (cursor.description, cursor.rowcount) == (None, -1)
    assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    cursor.close()
    assert "the cursor is closed" in repr(cursor)
    other = con.execute("SELECT 1")
    con.close()
    assert "the connection is closed" in repr(other)


def test_zones_of_time_are_the_session_s(con: Connection) -> None:
    con.execute("SET TimeZone = 'Asia/Tokyo'")
    row = con.execute("SELECT TIMESTAMPTZ '2020-01-01 00:00:00+00' AS t").fetchone()
    assert row is not None
    assert row[0].isoformat() == "2020-01-01T09:00:00+09:00"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # DuckDB's own, of pandas
@pytest.mark.parametrize("form", ["df", "fetchall", "fetchone"])
def test_the_name_of_a_column_is_never_run(con: Connection, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out.csv"
    name = f"tz=UTC'; COPY (SELECT 1) TO '{out}'; SET threads = '1]"
    (tmp_path / "h.csv").write_text(f'"{name}",day\n1,2020-01-01 00:00:00+00\n')
    cursor = con.execute(f"SELECT *, INTERVAL '1 day' AS i FROM '{tmp_path}/h.csv'")
    getattr(cursor, form)()
    assert not out.exists()
    named = name.replace('"', '""')
    cursor = con.execute(f"SELECT {{'{name.replace(chr(39), chr(39) * 2)}': 1}} AS \"{named}\"")
    getattr(cursor, form)()
    assert not out.exists()


NOON = "TIMESTAMPTZ '2020-01-01 12:00:00+00'"


@pytest.mark.parametrize("value", [f"[{NOON}]", f"{{'a': [{NOON}]}}", f"MAP {{1: {NOON}}}"])
def test_zones_inside_other_types_are_the_session_s(con: Connection, value: str) -> None:
    con.execute("SET TimeZone = 'Asia/Tokyo'")
    (row,) = con.execute(f"SELECT {value}").fetchall()
    assert "Asia/Tokyo" in repr(row)


def test_rows_without_names_are_given_in_every_form(con: Connection) -> None:
    con.execute("CREATE TABLE t AS SELECT i % 2 AS k, i, 'x' || i AS s FROM range(6) r(i)")
    sql = "SELECT k, min_by((i, s), i) AS best, row(sum(i), 'x') AS h FROM t GROUP BY k ORDER BY k"
    assert con.execute(sql).fetchall() == [(0, (0, "x0"), (6, "x")), (1, (1, "x1"), (9, "x"))]
    assert con.execute(sql).df().shape == (2, 3)
    plain = "SELECT i, (i, 'a') AS x FROM range(3) r(i)"
    assert_frame_equal(con.execute(plain).df(), duckdb.sql(plain).df())
    assert con.execute(plain).to_arrow_table().equals(duckdb.sql(plain).to_arrow_table())
    con.execute("PREPARE p AS SELECT (?::INT, 'a') AS x")
    assert con.execute("EXECUTE p(7)").fetchall() == [((7, "a"),)]
    con.execute("CREATE TABLE u (n INT)")
    assert con.execute("INSERT INTO u VALUES (1) RETURNING (n, 2)").fetchall() == [((1, 2),)]


def test_parameters_in_each_style(con: Connection) -> None:
    day = datetime.date(2020, 2, 29)
    assert con.execute("SELECT ?, ?", [1, day]).fetchall() == [(1, day)]
    assert con.execute("SELECT $2, $1, $2", (1, "x")).fetchall() == [("x", 1, "x")]
    assert con.execute("SELECT ?2, ?1", (1, "x")).fetchall() == [("x", 1)]
    given = {"a": decimal.Decimal("1.50"), "b": [1, 2]}
    assert con.execute("SELECT $b, $a", given).fetchall() == [([1, 2], given["a"])]
    with pytest.raises(thresher.Error, match=r"(?i)parameter"):
        con.execute("SELECT ?, ?", [1])


def test_executemany_counts_all(con: Connection) -> None:
    con.execute("CREATE TABLE t (i INTEGER, s VARCHAR)")
    rows = ((i, str(i)) for i in range(100))
    con.begin()
    assert con.executemany("INSERT INTO t VALUES (?, ?)", rows).rowcount == 100
    con.commit()
    assert con.executemany("DELETE FROM t WHERE i = $i", [{"i": 1}, {"i": 2}]).rowcount == 2
    assert con.cursor().executemany("DELETE FROM t", []).rowcount == 0
    cursor = con.execute("FROM t")
    assert cursor.executemany("INSERT INTO t VALUES (?, ?)", iter(())).rowcount == 0
    assert cursor.description is None
    cursor.close()
    with pytest.raises(thresher.InterfaceError, match="the cursor is closed"):
        cursor.executemany("DELETE FROM t", [])
    assert con.cursor().lastrowid is None


def test_copies_into_a_file_and_back(con: Connection, tmp_path: Path) -> None:
    con.execute(f"COPY (SELECT 1 AS x) TO '{tmp_path}/x.parquet'")
    assert con.execute(f"FROM '{tmp_path}/x.parquet'").dicts() == [{"x": 1}]
