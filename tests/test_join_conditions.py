"""Oracle calls in ON: of inner joins they mean what they mean in WHERE; others are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import thresher
from thresher.errors import NotSupportedError, ProgrammingError

TABLES = (
    "CREATE TABLE a AS SELECT i AS id, i % 7 AS k, i * 3 % 11 AS x FROM range(30) AS r(i)",
    "CREATE TABLE b AS SELECT i AS id, i % 5 AS k, i * 5 % 13 AS y FROM range(20) AS r(i)",
    "CREATE TABLE c AS SELECT i AS id, NULLIF(i % 4, 3) AS z FROM range(10) AS r(i)",
)


@pytest.fixture(scope="module")
def plain() -> Iterator[thresher.Connection]:
    with thresher.connect() as connection:
        for sql in TABLES:
            connection.execute(sql)
        connection.execute("CREATE MACRO near(x, y) AS abs(x - y) < 2")
        yield connection


@pytest.fixture(scope="module")
def ours() -> Iterator[thresher.Connection]:
    with thresher.connect(config={"seed": 1, "reuse_labels": False}) as connection:
        for sql in TABLES:
            connection.execute(sql)
        connection.create_oracle(
            "near",
            lambda x, y: [abs(p - q) < 2 for p, q in zip(x, y, strict=True)],
            ["BIGINT", "BIGINT"],
            "BOOLEAN",
        )
        yield connection


@pytest.mark.parametrize(
    "rest",
    [
        "a JOIN b ON near(a.x, b.y)",
        "a INNER JOIN b ON a.k = b.k AND near(a.x, b.y)",
        "a JOIN b ON (a.k = b.k OR a.k = 2) AND (near(a.x, b.y) OR a.id = 3)",
        "a JOIN b ON ((a.k = b.k) AND near(a.x, b.y)) WHERE a.id < 9 OR b.id = 4",
        "a JOIN b ON NOT near(a.x, b.y) WHERE a.id < 5 AND near(a.id, b.id)",
        "a JOIN b USING (k) JOIN c ON near(a.x, c.z)",
        "a JOIN b ON near(a.x, b.y) JOIN c ON near(b.y, c.z) AND c.id = a.k",
        "c LEFT JOIN b ON b.id = c.id + 5 JOIN a ON near(a.x, b.y)",
        "a JOIN c ON near(a.x, c.z) LEFT JOIN b ON b.id = a.id",
        "a JOIN c ON near(a.x, c.z) SEMI JOIN b ON b.id = a.id",
        "a, b JOIN c ON near(b.y, c.z) WHERE a.id = b.id",
        "a JOIN (b JOIN c ON near(b.y, c.z)) ON a.id = b.id",
        "a CROSS JOIN (b JOIN c ON near(b.y, c.z) AND b.id = c.id) WHERE a.id < 4",
        "a JOIN LATERAL (SELECT a.id + 1 AS d) AS l ON near(a.x, l.d)",
        "a JOIN b ON left(a.id::VARCHAR, 1) = left(b.id::VARCHAR, 1) AND near(a.x, b.y)",
        "(SELECT * FROM a JOIN b USING (id) JOIN c ON near(x, z)) AS s JOIN b ON near(s.x, b.y)",
        "a JOIN b ON near(a.x, b.y) CROSS JOIN (b AS d RIGHT JOIN c ON d.id = c.id + 7)",
    ],
)
def test_the_answer_is_duckdbs_own(
    plain: thresher.Connection, ours: thresher.Connection, rest: str
) -> None:
    sql = f"SELECT * FROM {rest} ORDER BY ALL"
    wanted = plain.execute(sql).fetchall()
    assert ours.execute(sql).fetchall() == wanted
    assert wanted


@pytest.mark.parametrize(
    ("rest", "word"),
    [
        ("a LEFT JOIN b ON near(a.x, b.y)", "LEFT"),
        ("a FULL OUTER JOIN b ON a.id = b.id AND near(a.x, b.y)", "FULL"),
        ("a SEMI JOIN b ON near(a.x, b.y)", "SEMI"),
        ("a ANTI JOIN b ON near(a.x, b.y)", "ANTI"),
        ("a JOIN b ON near(a.x, b.y) RIGHT JOIN c ON c.id = a.id", "RIGHT"),
        ("c LEFT JOIN (a JOIN b ON near(a.x, b.y)) ON c.id = a.id", "LEFT"),
        ("(a JOIN b ON near(a.x, b.y)) RIGHT JOIN c ON c.id = a.id", "RIGHT"),
    ],
)
def test_joins_that_keep_what_finds_no_match_are_refused(
    ours: thresher.Connection, rest: str, word: str
) -> None:
    sql = f"SELECT * FROM {rest}"
    with pytest.raises(NotSupportedError, match=f"rows of a {word} JOIN find no match") as caught:
        ours.execute(sql)
    assert caught.value.offset == sql.index("near(")
    assert caught.value.spent == 0


def test_the_way_on_that_the_refusal_names_works(
    plain: thresher.Connection, ours: thresher.Connection
) -> None:
    wanted = plain.execute(
        "SELECT a.id, b.id FROM a LEFT JOIN b ON near(a.x, b.y) AND a.k = b.k ORDER BY ALL"
    ).fetchall()
    found = ours.execute(
        "WITH pairs AS (SELECT a.id, b.id AS other FROM a JOIN b ON near(a.x, b.y) AND a.k = b.k) "
        "SELECT a.id, other FROM a LEFT JOIN pairs USING (id) ORDER BY ALL"
    ).fetchall()
    assert found == wanted


def test_a_join_has_a_target_over_its_pairs(ours: thresher.Connection) -> None:
    sql = (
        "SELECT a.id, b.id FROM a JOIN b ON near(a.x, b.y) USING -abs(a.x - b.y) "
        "RECALL TARGET 90% ORACLE LIMIT 200"
    )
    cursor = ours.execute(sql)
    assert cursor.certificate is not None
    assert cursor.certificate.n_rows == 600
    assert cursor.certificate.met
    assert "FROM a CROSS JOIN b WHERE near(a.x, b.y) USING" in cursor.certificate.canonical
    assert ours.execute(f"AUDIT CERTIFICATE '{cursor.certificate.id}'").fetchall()


@pytest.mark.parametrize(
    ("sql", "message", "place"),
    [
        ("SELECT 1 FROM a JOIN b ON near(a.x, b.y) WHERE", "WHERE needs a condition", "WHERE"),
        ("SELECT 1 FROM a JOIN b ON near(a.x, b.y) AND", "not complete", "AND"),
        ("SELECT 1 FROM a JOIN b ON near(a.x, b.y) WHERE a.id = 3 4", "unexpected 4", "4"),
    ],
)
def test_mistakes_are_shown_where_they_stand(
    ours: thresher.Connection, sql: str, message: str, place: str
) -> None:
    with pytest.raises(ProgrammingError, match=message) as caught:
        ours.execute(sql)
    assert caught.value.offset == sql.rindex(place)
