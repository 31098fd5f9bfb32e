"""Calls of one condition: which of them is asked first."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import thresher


class Counted:
    """An oracle that counts the inputs it is asked."""

    def __init__(self, holds: Callable[[int], bool], seconds: float = 0.0) -> None:
        self.holds, self.seconds, self.n_asked = holds, seconds, 0

    def __call__(self, numbers: list[int]) -> list[bool]:
        self.n_asked += len(numbers)
        time.sleep(self.seconds * len(numbers))
        return [self.holds(number) for number in numbers]


def connect(**oracles: Counted) -> thresher.Connection:
    con = thresher.connect(config={"seed": 1})
    con.execute(
        "CREATE TABLE t AS SELECT id, (id * 7919 % 1000) / 1000 AS s FROM range(4000) r(id)"
    )
    for name, oracle in oracles.items():
        con.create_oracle(name, oracle, args=["BIGINT"], returns="BOOLEAN")
    return con


@pytest.mark.parametrize(
    ("condition", "first"), [("often(id) AND rare(id)", "rare"), ("rare(id) OR often(id)", "often")]
)
def test_the_call_that_decides_most_comes_first(condition: str, first: str) -> None:
    oracles = {"often": Counted(lambda n: n % 10 < 9), "rare": Counted(lambda n: n % 10 < 1)}
    with connect(**oracles) as con:
        cursor = con.execute(
            f"SELECT id FROM t WHERE {condition} USING s RECALL TARGET 90% ORACLE LIMIT 1000"
        )
        assert cursor.certificate is not None
        other = next(name for name in oracles if name != first)
        assert oracles[first].n_asked > 2 * oracles[other].n_asked


def test_the_cheap_call_comes_first_once_prices_are_known() -> None:
    dear = Counted(lambda n: n % 2 == 0, seconds=0.004)
    cheap = Counted(lambda n: n % 3 == 0, seconds=0.00001)
    with connect(dear=dear, cheap=cheap) as con:
        for name in ("dear", "cheap"):
            con.execute(f"SELECT id FROM t WHERE {name}(id) AND id < 40")
        asked = dear.n_asked
        con.execute(
            "SELECT id FROM t WHERE dear(id) AND cheap(id) USING s RECALL TARGET 90% "
            "ORACLE LIMIT 600"
        )
        assert cheap.n_asked - 40 > 2 * (dear.n_asked - asked)


def test_a_repeated_query_asks_nothing_and_answers_alike() -> None:
    oracles = {"often": Counted(lambda n: n % 10 < 9), "rare": Counted(lambda n: n % 10 < 2)}
    sql = "SELECT id FROM t WHERE often(id) AND rare(id) USING s RECALL TARGET 90% ORACLE LIMIT 700"
    with connect(**oracles) as con:
        first = con.execute(sql).fetchall()
        asked = [oracle.n_asked for oracle in oracles.values()]
        con.execute("SELECT id FROM t WHERE rare(id) AND id < 500")  # prices have moved since
        asked[1] = oracles["rare"].n_asked
        assert con.execute(sql).fetchall() == first
        assert [oracle.n_asked for oracle in oracles.values()] == asked


def test_order_never_changes_the_answer_of_an_exact_query() -> None:
    oracles = {"a": Counted(lambda n: n % 2 == 0), "b": Counted(lambda n: n % 3 == 0)}
    with connect(**oracles) as con:
        found = con.execute(
            "SELECT id FROM t WHERE id < 900 AND (a(id) OR NOT b(id)) AND (b(id) OR a(id + 1))"
        ).fetchall()
    wanted = [
        (n,) for n in range(900) if (n % 2 == 0 or n % 3 > 0) and (n % 3 == 0 or (n + 1) % 2 == 0)
    ]
    assert sorted(found) == wanted
