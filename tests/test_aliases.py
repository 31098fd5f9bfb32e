"""Aliases of the SELECT list in WHERE and in arguments of oracles, against DuckDB's answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import thresher
from thresher.errors import ProgrammingError

SETUP = (
    "CREATE TABLE t AS SELECT i AS id, i % 7 AS n, 'row ' || i AS text FROM range(60) r(i)",
    "CREATE TABLE u AS SELECT i AS id, i % 4 AS m FROM range(0, 60, 3) r(i)",
)
Pair = tuple[thresher.Connection, thresher.Connection]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """The same tables twice: with a macro, and with an oracle that says the same."""
    with thresher.connect() as plain, thresher.connect() as ours:
        for connection in (plain, ours):
            for sql in SETUP:
                connection.execute(sql)
        plain.execute("CREATE MACRO small(x) AS x < 4")
        ours.create_oracle("small", lambda n: [x < 4 for x in n], {"x": "BIGINT"})
        yield plain, ours


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n + 1 AS k FROM t WHERE small(k)",
        "SELECT id, n + 1 AS k FROM t WHERE small(n) AND k > 2",
        "SELECT id, n + 1 AS k FROM t WHERE (k > 2 OR id = 3) AND NOT small(k)",
        "SELECT small(n) AS s, id FROM t WHERE s AND id > 9",
        "SELECT id, small(n) AS s FROM t WHERE NOT s",
        "SELECT n + 1 AS k, small(k) AS s FROM t",
        "SELECT id AS n, n AS k FROM t WHERE small(n)",  # a column comes before an alias
        "SELECT id + 1 AS a, a * 2 AS b FROM t WHERE b < 40 AND small(n)",
        "SELECT t.id AS k, m FROM t JOIN u ON t.id = u.id WHERE k > 9 AND small(m + n)",
        "SELECT 'a' || 'b' AS w, id AS \"My K\" FROM t WHERE \"my k\" < 9 AND small(n) AND w > ''",
        "WITH c AS (SELECT id AS i, n FROM t) SELECT i * 2 AS d FROM c WHERE d > 7 AND small(n)",
        "SELECT k: n * 1, id FROM t WHERE small(k) AND k <> 2",
        "SELECT n::VARCHAR AS v, count(*) AS c FROM t WHERE small(n) AND v <> '1' GROUP BY v",
        "SELECT id AS k FROM t WHERE k IN (SELECT id FROM u) AND small(n)",
    ],
)
def test_an_alias_stands_for_its_expression(pair: Pair, sql: str) -> None:
    plain, ours = pair
    wanted = plain.execute(f"{sql} ORDER BY ALL")
    found = ours.execute(f"{sql} ORDER BY ALL")
    assert [c[0] for c in found.description or ()] == [c[0] for c in wanted.description or ()]
    assert found.fetchall() == wanted.fetchall()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) AS c FROM t WHERE small(n) AND c > 3",
        "SELECT row_number() OVER () AS c FROM t WHERE small(n) AND c > 3",
        "SELECT d + 1 AS c, c + 1 AS d FROM t WHERE small(n) AND c > 3",
    ],
)
def test_what_is_of_no_single_row_stays_wrong(pair: Pair, sql: str) -> None:
    with pytest.raises(ProgrammingError, match=r"not found|cannot be referenced"):
        pair[1].execute(sql)
