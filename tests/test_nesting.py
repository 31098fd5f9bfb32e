"""Oracle calls and clauses in CTEs, subqueries, UNION branches, CREATE TABLE AS, INSERT, COPY."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import thresher
from thresher.plan import Composed, SelectionQuery
from thresher.sql import parse

FOLDER = Path(__file__).parent / "sql"


def statements(name: str) -> list[str]:
    text = re.sub(r"^--.*$", "", (FOLDER / name).read_text(), flags=re.MULTILINE)
    return [part.strip() for part in text.split(";") if part.strip()]


TABLES = (
    "CREATE TABLE items AS SELECT id::INTEGER AS id, "
    "CASE WHEN id % 17 > 0 THEN (id * 7919 % 101)::BIGINT END AS n, "
    "CASE WHEN id % 11 > 0 THEN (id * 37 % 64) / 8 END AS price, "
    "CASE id % 5 WHEN 0 THEN 'a' WHEN 1 THEN 'b' WHEN 2 THEN 'c' WHEN 3 THEN 'd' END "
    "AS kind FROM range(300) AS r(id)",
    "CREATE TABLE kinds AS FROM (VALUES ('a', true), ('b', false), ('c', true)) AS v(kind, good)",
)
MACROS = (
    "CREATE MACRO is_odd(x) AS x % 2 = 1",
    "CREATE MACRO word(x) AS CASE x % 3 WHEN 0 THEN 'fizz' ELSE 'no' END",
)
TARGET = "USING n % 2 + (id % 7) / 10 RECALL TARGET 90% ORACLE LIMIT 100 SEED 3"


@pytest.fixture(scope="module")
def plain() -> Iterator[thresher.Connection]:
    with thresher.connect() as connection:
        for sql in (*TABLES, *MACROS):
            connection.execute(sql)
        yield connection


@pytest.fixture
def ours() -> Iterator[thresher.Connection]:
    with thresher.connect(config={"seed": 1}) as connection:
        for sql in TABLES:
            connection.execute(sql)
        connection.create_oracle("is_odd", lambda n: [x % 2 == 1 for x in n], ["BIGINT"], "BOOLEAN")
        connection.create_oracle(
            "word", lambda n: ["no" if x % 3 else "fizz" for x in n], ["BIGINT"], "VARCHAR"
        )
        yield connection


def tables(connection: thresher.Connection) -> list[str]:
    found = connection.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    return sorted(name for (name,) in found)


@pytest.mark.parametrize("sql", statements("nested.sql"))
def test_the_answer_is_duckdbs_own(
    plain: thresher.Connection, ours: thresher.Connection, sql: str
) -> None:
    wanted, found = plain.execute(sql), ours.execute(sql)
    assert found.description is not None
    assert wanted.description is not None
    names = [re.sub(r"\W", "", str(column[0])).lower() for column in found.description]
    assert names == [re.sub(r"\W", "", str(column[0])).lower() for column in wanted.description]
    assert [c[1] for c in found.description] == [c[1] for c in wanted.description]
    assert found.fetchall() == wanted.fetchall()
    assert {certificate.grade for certificate in found.certificates} == {"exact"}
    assert tables(ours) == ["items", "kinds"]


def test_rows_are_kept_by_create_insert_and_copy(ours: thresher.Connection, tmp_path: Path) -> None:
    query = f"SELECT id, n FROM items WHERE is_odd(n) {TARGET}"
    rows = ours.execute(query).fetchall()
    made = ours.execute(f"CREATE TABLE kept AS {query}")
    assert made.certificate is not None
    assert made.certificate.grade == "distribution-free"
    assert ours.execute("FROM kept").fetchall() == rows
    more = ours.execute(f"INSERT INTO kept (id, n) {query} RETURNING id")
    assert more.fetchall() == [(id_,) for id_, _ in rows]
    assert ours.execute(f"INSERT INTO kept {query}").rowcount == len(rows)
    path = tmp_path / "kept.csv"
    ours.execute(f"COPY ({query}) TO '{path}' (HEADER false)")
    assert path.read_text().splitlines() == [f"{id_},{n}" for id_, n in rows]
    gone = ours.execute(f"DELETE FROM kept WHERE id IN (SELECT id FROM ({query}))")
    assert gone.rowcount == 3 * len(rows)
    ours.execute(f"CREATE OR REPLACE TEMP TABLE kept AS ({query})")
    assert ours.execute("FROM temp.kept").fetchall() == rows
    ours.execute("WITH c AS (FROM items) INSERT INTO main.kept SELECT id, n FROM c WHERE is_odd(n)")
    assert ours.execute("SELECT count(*) > 0, bool_and(n % 2 = 1) FROM main.kept").fetchall() == [
        (True, True)
    ]


def test_parts_share_the_failure_probability_unless_they_name_their_own(
    ours: thresher.Connection,
) -> None:
    few = TARGET.replace("100", "20")
    one, two = (f"SELECT id FROM items WHERE is_odd(n) AND kind = '{k}' {few}" for k in "ab")
    cursor = ours.execute(f"({one}) UNION ALL ({two})")
    assert [c.delta for c in cursor.certificates] == [pytest.approx(0.025)] * 2
    assert cursor.certificate is cursor.certificates[-1]
    assert "2 parts of the statement" in str(cursor.certificates[0])
    cursor = ours.execute(f"({one} WITH PROBABILITY .99) UNION ALL ({two})")
    assert [c.delta for c in cursor.certificates] == [pytest.approx(0.01), pytest.approx(0.05)]


def test_labels_of_all_parts_stay_under_one_limit(ours: thresher.Connection) -> None:
    ours.execute("SET thresher_oracle_limit = 100")
    part = "SELECT id FROM items WHERE is_odd(id) AND id {} RECALL TARGET 1 USING n ORACLE LIMIT 60"
    one, two = part.format("< 150"), part.format(">= 150")
    with pytest.raises(thresher.OperationalError, match="thresher_oracle_limit"):
        ours.execute(f"({one}) UNION ALL ({two})")
    ours.execute("SET thresher_oracle_limit = 120")
    certificates = ours.execute(f"({one}) UNION ALL ({two})").certificates
    assert [certificate.n_labels for certificate in certificates] == [60, 60]


@pytest.mark.parametrize(
    ("sql", "message", "at"),
    [
        (
            "SELECT * FROM items AS i WHERE EXISTS (SELECT 1 FROM kinds AS k WHERE k.kind = i.kind "
            "AND is_odd(length(k.kind)))",
            "uses i of the query round it",
            "SELECT 1",
        ),
        ("SELECT nothing FROM (SELECT id FROM items WHERE is_odd(n))", "nothing", "nothing"),
        ("SELECT * FROM (SELECT id, none FROM items WHERE is_odd(n))", "none", "none"),
        (
            "SELECT * FROM (SELECT id FROM items WHERE is_odd(n)) WHERE word(lost) = 'fizz'",
            "lost",
            "lost",
        ),
        ("INSERT INTO kinds SELECT id FROM items WHERE is_odd(n)", "2 columns", ""),
    ],
)
def test_mistakes_show_before_a_label_is_bought(
    ours: thresher.Connection, sql: str, message: str, at: str
) -> None:
    with pytest.raises(thresher.DatabaseError, match=message) as caught:
        ours.execute(sql)
    if at:
        assert caught.value.offset is not None
        assert sql[caught.value.offset :].startswith(at)
    assert caught.value.spent == 0
    assert tables(ours) == ["items", "kinds"]
    assert ours.execute("SELECT count(*) FROM items").fetchall() == [(300,)]


def test_explain_tells_of_each_block_and_buys_nothing(ours: thresher.Connection) -> None:
    sql = f"SELECT kind, count(*) FROM (SELECT * FROM items WHERE is_odd(n) {TARGET}) GROUP BY kind"
    lines = [line for (line,) in ours.execute(f"EXPLAIN {sql}").fetchall()]
    assert lines[0] == "block 1"
    assert "RECALL TARGET 0.9" in f"{lines[1]} {lines[2]}"
    assert lines[-1] == "then       SELECT kind, count(*) FROM (block 1) GROUP BY kind"
    assert any(line.startswith("forecast") for line in lines)
    analyzed = [line for (line,) in ours.execute(f"EXPLAIN ANALYZE {sql}").fetchall()]
    assert any(line.startswith("labels") and "bought" in line for line in analyzed)


def test_an_inner_block_can_be_audited_and_one_over_it_says_why_not(
    ours: thresher.Connection,
) -> None:
    found = ours.execute(
        f"WITH odd AS (SELECT * FROM items WHERE is_odd(n) {TARGET}) SELECT id FROM odd "
        "WHERE word(id) = 'fizz' USING n RECALL TARGET 80% ORACLE LIMIT 40"
    )
    inner, outer = found.certificates
    rows = ours.execute(f"AUDIT CERTIFICATE '{inner.id}' ORACLE LIMIT 100").fetchall()
    assert rows[0][0] == "recall"
    with pytest.raises(thresher.NotSupportedError, match="another block of its statement gave"):
        ours.execute(f"AUDIT CERTIFICATE '{outer.id}' ORACLE LIMIT 100")


def test_a_transaction_of_the_user_stays_open(ours: thresher.Connection) -> None:
    ours.execute("BEGIN")
    ours.execute("INSERT INTO items VALUES (1000, 7, 1, 'new')")
    ours.execute("CREATE TABLE kept AS SELECT id FROM items WHERE is_odd(n) AND kind = 'new'")
    assert ours.execute("FROM kept").fetchall() == [(1000,)]
    ours.execute("ROLLBACK")
    assert tables(ours) == ["items", "kinds"]


def test_only_the_ctes_that_a_block_names_go_with_it(ours: thresher.Connection) -> None:
    sql = (
        "WITH a AS (FROM items), b AS (FROM a WHERE id > 3), c AS (SELECT 1) "
        "SELECT * FROM (SELECT id FROM b WHERE is_odd(n)), c"
    )
    found = parse(sql, ours._session.catalog)
    assert isinstance(found, Composed)
    (block,) = found.blocks
    assert block.query.ctes == "WITH a AS (FROM items), b AS (FROM a WHERE id > 3) "
    assert sql[block.place.offset : block.place.offset + block.place.length] == (
        "SELECT id FROM b WHERE is_odd(n)"
    )
    assert not isinstance(found.outer, SelectionQuery)
