"""What may not stand beside an oracle call is refused at its place, with the way on."""

from __future__ import annotations

import numpy as np
import pytest

from tests_support import CountingOracle
from thresher.dbapi import Connection
from thresher.errors import NotSupportedError, ProgrammingError

Films = tuple[Connection, np.ndarray, CountingOracle]


@pytest.mark.parametrize(
    ("sql", "message", "at"),
    [
        ("SELECT list_filter([id], x -> is_pos(x)) FROM t", "of no row", "is_pos"),
        ("SELECT list_transform([id], lambda x: is_pos(x)) FROM t", "unnest(list)", "is_pos"),
        ("SELECT list_reduce([id], (x, y) -> is_pos(y)) FROM t", "is_pos(x) over", "is_pos"),
        ("SELECT [is_pos(x) for x in [id]] FROM t", "a list comprehension", "is_pos"),
        ("SELECT id FROM t WHERE len(list_filter([id], x -> is_pos(x))) > 0", "lambda", "is_pos"),
        ("SELECT rowid FROM t WHERE is_pos(id)", "rowid AS row_id FROM t) AS t", "rowid"),
        ("SELECT id FROM t WHERE t.rowid < 9 AND is_pos(id)", "write row_id", "rowid"),
        ("SELECT id FROM t AS a WHERE is_pos(id) ORDER BY rowid", "FROM t) AS a", "rowid"),
    ],
)
def test_what_a_source_does_not_have_is_refused(
    films: Films, sql: str, message: str, at: str
) -> None:
    with pytest.raises(NotSupportedError) as caught:
        films[0].execute(sql)
    assert message in str(caught.value)
    assert caught.value.offset == sql.index(at)
    assert not films[2].asked


@pytest.mark.parametrize(
    ("sql", "message", "at"),
    [
        ("LIMIT 3 GAP INTERVAL 1 day", "GAP 86400 ON epoch(column)", "INTERVAL"),
        ("LIMIT 3 GAP 1 day", "GAP is a number without day", "day"),
    ],
)
def test_a_gap_is_a_number(films: Films, sql: str, message: str, at: str) -> None:
    sql = f"SELECT id FROM t WHERE is_pos(id) {sql}"
    with pytest.raises(ProgrammingError) as caught:
        films[0].execute(sql)
    assert message in str(caught.value)
    assert caught.value.offset == sql.index(at)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list_transform([id], x -> x + 1), is_pos(id) FROM t WHERE id < 5 ORDER BY id",
        "SELECT a, j -> k, is_pos(id) FROM t, (SELECT '{}'::JSON AS j, 'k' AS k, 1 AS a) AS o "
        "WHERE id < 5 ORDER BY id",
        "SELECT row_id, is_pos(id) FROM (SELECT *, rowid AS row_id FROM t) AS t WHERE row_id < 5 "
        "ORDER BY row_id",
    ],
)
def test_what_looks_alike_works(films: Films, sql: str) -> None:
    con, truth, _ = films
    assert [row[-1] for row in con.execute(sql).fetchall()] == truth[:5].tolist()


def test_a_column_may_be_called_rowid(films: Films) -> None:
    con, truth, _ = films
    con.execute("CREATE TABLE own AS SELECT id AS rowid FROM t")
    found = con.execute("SELECT rowid FROM own WHERE is_pos(rowid) ORDER BY rowid").fetchall()
    assert found == [(i,) for i in np.flatnonzero(truth).tolist()]


@pytest.mark.parametrize("limit", ["2 + 3", "(2 * 4) - 3", "1 + 2 * 2", "5 OFFSET 1 - 1"])
def test_limit_may_be_reckoned(films: Films, limit: str) -> None:
    con, truth, oracle = films
    sql = f"SELECT id FROM t WHERE is_pos(id) ORDER BY id LIMIT {limit}"
    wanted = np.flatnonzero(truth)[:5].tolist()
    assert [row[0] for row in con.execute(sql).fetchall()] == wanted
    assert len(oracle.asked) < 500


@pytest.mark.parametrize("limit", ["10%", "(SELECT 3)", "2 - 3 + 4"])
def test_any_other_limit_is_duckdbs(films: Films, limit: str) -> None:
    con, truth, _ = films
    rows = con.execute(f"SELECT id FROM t WHERE is_pos(id) ORDER BY id LIMIT {limit}").fetchall()
    n = int(truth.sum() * 0.1) if limit == "10%" else 3
    assert [row[0] for row in rows] == np.flatnonzero(truth)[:n].tolist()
