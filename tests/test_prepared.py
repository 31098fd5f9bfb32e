"""PREPARE, EXECUTE and DEALLOCATE of statements with oracle calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import thresher


@pytest.fixture
def con() -> Iterator[thresher.Connection]:
    with thresher.connect(config={"seed": 1}) as connection:
        connection.execute("CREATE TABLE t AS SELECT id, id / 100 AS s FROM range(100) r(id)")
        connection.create_oracle("is_odd", lambda n: [x % 2 == 1 for x in n], ["BIGINT"], "BOOLEAN")
        yield connection


def test_values_go_by_position(con: thresher.Connection) -> None:
    con.execute("PREPARE odd AS SELECT id FROM t WHERE is_odd(id) AND id < ? ORDER BY id")
    assert con.execute("EXECUTE odd(6)").fetchall() == [(1,), (3,), (5,)]
    assert con.execute("execute ODD(2 + 1)").fetchall() == [(1,)]
    assert con.execute("EXECUTE odd(?)", [4]).fetchall() == [(1,), (3,)]


def test_values_go_by_name_and_into_clauses(con: thresher.Connection) -> None:
    con.execute(
        "PREPARE q AS SELECT id FROM t WHERE is_odd(id) AND id < $most USING s "
        "RECALL TARGET $share ORACLE LIMIT $n"
    )
    cursor = con.execute("EXECUTE q(n := 20, share := 0.5, most := 60)")
    assert cursor.certificate is not None
    assert cursor.certificate.targets.recall == 0.5
    assert cursor.certificate.n_rows == 60
    assert cursor.certificate.n_labels <= 20


def test_blocks_inside_a_statement_can_be_prepared(con: thresher.Connection) -> None:
    con.execute("PREPARE n AS SELECT count(*) FROM (SELECT id FROM t WHERE is_odd(id) AND id < $1)")
    assert con.execute("EXECUTE n(10)").fetchall() == [(5,)]


def test_deallocate_forgets_it(con: thresher.Connection) -> None:
    con.execute("PREPARE odd AS SELECT id FROM t WHERE is_odd(id)")
    assert len(con.execute("EXECUTE odd").fetchall()) == 50
    con.execute("DEALLOCATE PREPARE odd")
    with pytest.raises(thresher.DatabaseError, match="odd"):
        con.execute("EXECUTE odd")


def test_duckdbs_own_are_left_to_it(con: thresher.Connection) -> None:
    con.execute("PREPARE plain AS SELECT count(*) FROM t WHERE id < ?")
    assert con.execute("EXECUTE plain(7)").fetchall() == [(7,)]
    con.execute("DEALLOCATE plain")
    with pytest.raises(thresher.DatabaseError):
        con.execute("EXECUTE plain(7)")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("PREPARE q AS SELECT nothing FROM t WHERE is_odd(id) RECAL TARGET 1", "RECALL TARGET"),
        ("PREPARE q AS SELECT id FROM t WHERE is_odd(id, id)", "is_odd takes 1 argument"),
    ],
)
def test_mistakes_show_when_it_is_prepared(
    con: thresher.Connection, sql: str, message: str
) -> None:
    with pytest.raises(thresher.ProgrammingError, match=message):
        con.execute(sql)


def test_a_value_too_few_is_named(con: thresher.Connection) -> None:
    con.execute("PREPARE q AS SELECT id FROM t WHERE is_odd(id) AND id < ? AND s < ?")
    with pytest.raises(thresher.ProgrammingError, match="needs value 2, 1 is given"):
        con.execute("EXECUTE q(5)")


def test_a_declaration_keeps_the_values_of_its_parameters(tmp_path: Path) -> None:
    with thresher.connect(tmp_path / "a.duckdb") as con:
        con.execute("CREATE TABLE truths AS SELECT i, i % 3 = 0 AS yes FROM range(9) r(i)")
        con.execute(
            "CREATE ORACLE is_yes(i BIGINT) RETURNS BOOLEAN USING column "
            "WITH (table = $table, key = $key, value = 'yes')",
            {"table": "truths", "key": "i"},
        )
    with thresher.connect(tmp_path / "a.duckdb") as con:
        assert con.execute("SELECT i FROM truths WHERE is_yes(i)").fetchall() == [(0,), (3,), (6,)]
