"""Few rows of a big table: parts without any are left out, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from thresher.sparse_reads import sparse

SETTING = "dynamic_or_filter_threshold"
N_ROWS = 400_000
JOIN = "SELECT count(*), sum(n) FROM t WHERE rowid IN (SELECT id FROM few)"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t AS SELECT range * 3 AS n FROM range({N_ROWS})")
        connection.execute(
            f"CREATE TABLE few AS SELECT range * {N_ROWS} // 100 AS id FROM range(100)"
        )
        yield connection


def value(con: duckdb.DuckDBPyConnection) -> str:
    found = con.execute(f"SELECT current_setting('{SETTING}')").fetchone()
    assert found is not None
    return str(found[0])


def test_parts_without_a_row_are_left_out_and_the_answer_is_the_same(
    con: duckdb.DuckDBPyConnection,
) -> None:
    before, wanted = value(con), con.execute(JOIN).fetchone()
    with sparse(con, 100, N_ROWS):
        assert con.execute(JOIN).fetchone() == wanted
        plan = con.execute(f"EXPLAIN ANALYZE {JOIN}").fetchone()
        assert plan is not None
        assert "rowid IN" in plan[1]
    assert value(con) == before


@pytest.mark.parametrize(("n_wanted", "n_rows"), [(5000, 10**9), (100, 10_000)])
def test_many_rows_are_read_as_ever(
    con: duckdb.DuckDBPyConnection, n_wanted: int, n_rows: int
) -> None:
    before = value(con)
    with sparse(con, n_wanted, n_rows):
        assert value(con) == before


def test_what_somebody_has_set_stays(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(f"SET {SETTING} = 60")
    with sparse(con, 100, N_ROWS):
        assert value(con) == "60"
    assert value(con) == "60"


def test_one_inside_another(con: duckdb.DuckDBPyConnection) -> None:
    before = value(con)
    with sparse(con, 100, N_ROWS), sparse(con, 100, N_ROWS):
        assert value(con) != before
    assert value(con) == before


def test_a_locked_configuration_stays(con: duckdb.DuckDBPyConnection) -> None:
    before = value(con)
    con.execute("SET lock_configuration = true")
    with sparse(con, 100, N_ROWS):
        assert value(con) == before


def test_it_is_put_back_after_an_error_in_a_transaction(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE once (i INTEGER PRIMARY KEY)")
    before = value(con)
    con.execute("BEGIN")
    with pytest.raises(duckdb.ConstraintException), sparse(con, 100, N_ROWS):
        con.execute("INSERT INTO once VALUES (1), (1)")
    con.execute("ROLLBACK")
    assert value(con) == before
