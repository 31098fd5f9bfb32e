"""BUDGET and thresher_session_budget: nothing is lost, and nothing is paid for twice."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

import thresher
from tests_support import make_table
from thresher.budgets import SessionBudget, Spent, parse_budget, written
from thresher.dbapi import Connection
from thresher.errors import BudgetError, ProgrammingError
from thresher.oracles import Answers

BATCH = 20
RECALL = "SELECT id FROM t WHERE judge(id) USING score RECALL TARGET 80%"
EXACT = "SELECT id FROM t WHERE judge(id)"


class Priced:
    """A model that counts its tokens and its price, and every input it was asked."""

    counts_tokens, batch_size, version = True, BATCH, "a" * 64

    def __init__(self, truth: np.ndarray) -> None:
        self.truth, self.asked, self.tokens = truth, [], (7, 3)

    def answer(self, batch: pa.Table) -> Answers:
        ids = batch.column(0).to_pylist()
        self.asked += ids
        n_in, n_out = (len(ids) * n for n in self.tokens)
        return Answers(
            pa.array([bool(self.truth[i]) for i in ids]), None, 0.01 * len(ids), (n_in, n_out)
        )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Connection, Priced]]:
    table, truth = make_table(1500, seed=3)
    con = thresher.connect(config={"seed": 5})
    con.connection.register("rows", table)
    con.execute("CREATE TABLE t AS SELECT * FROM rows")
    con.create_oracle("judge", lambda ids: [True for _ in ids], args=["BIGINT"])
    model = Priced(truth)
    bound = con._session.models.bound("judge")
    monkeypatch.setattr(bound, "oracle", model)
    monkeypatch.setattr(bound, "counts_tokens", True)
    monkeypatch.setattr(con._session.models, "bound", lambda name: bound)
    yield con, model
    con.close()


def spent(con: Connection) -> Spent:
    budget = con._session.executor._budget
    assert budget is not None
    return budget.spent


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("10 USD", ((10.0, "USD"),)),
        (" 5_000 calls ,.5 usd", ((5000.0, "CALLS"), (0.5, "USD"))),
        ("1e6 TOKENS, 600 SECONDS", ((1e6, "TOKENS"), (600.0, "SECONDS"))),
    ],
)
def test_budgets_are_read(text: str, amounts: object) -> None:
    assert parse_budget(text) == amounts
    assert parse_budget(written(parse_budget(text))) == amounts


@pytest.mark.parametrize(
    "text", ["", "10", "USD", "10 EUR", "0 USD", "-1 USD", "1.5 CALLS", "1 USD, 2 USD", "1e999 USD"]
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ProgrammingError):
        thresher.connect(config={"session_budget": text or ","})


def test_seconds_count_once_and_calls_add_up() -> None:
    budget = SessionBudget(parse_budget("2 CALLS, 1 SECONDS"))
    with budget.timed(), budget.timed():
        time.sleep(0.02)
        assert 0.02 <= budget.spent.seconds < 0.5
    stopped = budget.spent.seconds
    assert 0.02 <= stopped < 0.5
    assert budget.spent.seconds == stopped
    budget.pay(Spent(calls=3))
    assert budget.left[0] == (0.0, "CALLS")
    assert budget.exhausted == "2 CALLS"


@pytest.mark.parametrize(
    ("budget", "unit", "amount", "per_batch"),
    [
        ("2000 TOKENS", "TOKENS", 2000, 10 * BATCH),
        ("2 USD", "USD", 2.0, 0.01 * BATCH),
        ("1 USD, 1e9 TOKENS", "USD", 1.0, 0.01 * BATCH),
        ("5 USD, 1500 TOKENS", "TOKENS", 1500, 10 * BATCH),
    ],
)
def test_a_query_stops_at_the_first_budget_that_is_spent(
    made: tuple[Connection, Priced], budget: str, unit: str, amount: float, per_batch: float
) -> None:
    con, model = made
    certificate = con.execute(f"{RECALL} BUDGET {budget}").certificate
    assert certificate is not None
    assert certificate.verify()
    took = {"TOKENS": 10 * len(model.asked), "USD": 0.01 * len(model.asked)}[unit]
    assert 0.5 * amount <= took < amount + per_batch
    assert certificate.n_tokens == 10 * len(model.asked)
    assert len(set(model.asked)) == len(model.asked)
    assert unit in str(certificate.note) or certificate.bounds.recall is not None


def test_a_stopped_query_goes_on_and_pays_nothing_twice(made: tuple[Connection, Priced]) -> None:
    con, model = made
    first = con.execute(f"{RECALL} BUDGET 1000 TOKENS").certificate
    n_first = len(model.asked)
    second = con.execute(f"{RECALL} BUDGET 4000 TOKENS").certificate
    assert first is not None
    assert second is not None
    assert second.n_reused >= n_first
    assert len(set(model.asked)) == len(model.asked)


def test_a_budget_of_tokens_needs_an_oracle_that_counts_them() -> None:
    con = thresher.connect()
    asked: list[int] = []
    con.create_oracle("f", lambda ids: asked.extend(ids) or [True for _ in ids], args=["BIGINT"])
    sql = "SELECT i FROM range(500) r(i) WHERE f(i) USING i RECALL TARGET 80%"
    with pytest.raises(ProgrammingError, match="oracle f does not say how many tokens") as caught:
        con.execute(f"{sql} BUDGET 100 TOKENS")
    assert caught.value.offset == len(sql) + 1
    con.execute("SET thresher_session_budget = '100 TOKENS'")
    with pytest.raises(ProgrammingError, match="thresher_session_budget cannot be kept"):
        con.execute(sql)
    assert not asked
    con.close()


def test_a_model_that_stops_counting_keeps_its_labels(made: tuple[Connection, Priced]) -> None:
    con, model = made
    answer = model.answer

    def uncounted(batch: pa.Table) -> Answers:
        found = answer(batch)
        return Answers(found.values, None, found.cost_usd)

    model.answer = uncounted  # type: ignore[method-assign]
    with pytest.raises(thresher.OracleError, match="did not say how many tokens") as caught:
        con.execute(f"{RECALL} BUDGET 1000 TOKENS")
    assert caught.value.spent == len(model.asked) > 0
    asked = len(model.asked)
    with pytest.raises(thresher.OracleError, match="did not say how many tokens"):
        con.execute(f"{RECALL} BUDGET 2000 TOKENS ON ORACLE ERROR WORST CASE")
    assert len(model.asked) <= asked + BATCH
    asked = len(model.asked)
    con.execute(f"{RECALL} ORACLE LIMIT 200")
    assert len(set(model.asked)) == len(model.asked) > asked


def test_a_session_spends_its_budget_over_all_its_statements(
    made: tuple[Connection, Priced],
) -> None:
    con, model = made
    con.execute("SET thresher_session_budget = '300 CALLS, 100 USD'")
    plan = "\n".join(row[0] for row in con.execute(f"EXPLAIN {RECALL}").fetchall())
    assert "300 CALLS, 100 USD left of 300 CALLS, 100 USD" in " ".join(plan.split())
    first = con.execute("SELECT id FROM t WHERE judge(id) AND id < 90").certificate
    assert first is not None
    assert first.budget == "210 CALLS, 99.1 USD left of 300 CALLS, 100 USD"
    assert "210 CALLS" in str(first)
    second = con.execute(f"{RECALL} ORACLE LIMIT 400").certificate
    assert second is not None
    assert second.verify()
    assert 250 <= len(model.asked) <= 300
    assert spent(con).calls == len(model.asked)


def test_an_exact_answer_fails_once_the_session_has_spent_its_budget(
    made: tuple[Connection, Priced],
) -> None:
    con, model = made
    con.execute("SET thresher_session_budget = '130 CALLS'")
    with pytest.raises(BudgetError, match="is spent before the answer was complete") as caught:
        con.execute(f"{EXACT} AND id < 200")
    assert len(model.asked) == 130 == caught.value.spent  # not one above it
    assert caught.value.offset is not None
    with pytest.raises(BudgetError, match="the budget of this session is spent") as caught:
        con.execute(f"{EXACT} AND id < 200")
    assert caught.value.spent == 0
    assert len(model.asked) == 130
    with pytest.raises(BudgetError, match="SET thresher_session_budget anew"):
        con.execute(f"{RECALL} SEED 8")
    known = f"SELECT id FROM t WHERE judge(id) AND id IN {tuple(model.asked)}"
    assert len(con.execute(known).fetchall()) == model.truth[model.asked].sum()  # all reused
    con.execute("SET thresher_session_budget = '130 CALLS'")  # begins anew
    assert len(con.execute(f"{EXACT} AND id < 200").fetchall()) == model.truth[:200].sum()
    assert sorted(model.asked) == list(range(200))


def test_dollars_of_a_session_end_within_a_batch(made: tuple[Connection, Priced]) -> None:
    con, model = made
    con.execute("SET thresher_session_budget = '1 USD'")
    with pytest.raises(BudgetError):
        con.execute(f"{EXACT} AND id < 700")
    assert 100 <= len(model.asked) <= 100 + BATCH
    con.execute("RESET thresher_session_budget")
    con.execute(f"{EXACT} AND id < 700")
    assert sorted(model.asked) == list(range(700))


def test_what_a_failed_statement_bought_stays_spent(made: tuple[Connection, Priced]) -> None:
    con, model = made
    con.execute("SET thresher_session_budget = '1000 CALLS'")
    answer, calls = model.answer, []

    def breaks(batch: pa.Table) -> Answers:
        calls.append(batch)
        if len(calls) == 3:
            raise RuntimeError("no power")
        return answer(batch)

    model.answer = breaks  # type: ignore[method-assign]
    with pytest.raises(thresher.OracleError):
        con.execute(f"{EXACT} AND id < 100")
    assert spent(con).calls == 2 * BATCH == len(model.asked)
    con.execute(f"{EXACT} AND id < 100")
    assert spent(con).calls == 100
    assert sorted(model.asked) == list(range(100))


def test_seconds_of_a_session_end_a_slow_query() -> None:
    con = thresher.connect(config={"session_budget": "0.6 SECONDS"})

    def slow(ids: list[int]) -> list[bool]:
        time.sleep(0.15)
        return [i % 2 == 0 for i in ids]

    con.create_oracle("slow", slow, args=["BIGINT"], batch_size=4)
    began = time.perf_counter()
    with pytest.raises(BudgetError, match=r"0\.6 SECONDS"):
        con.execute("SELECT i FROM range(900) r(i) WHERE slow(i)")
    assert time.perf_counter() - began < 20
    assert len(con.execute("FROM thresher_labels()").fetchall()) >= 4
    con.close()


def test_calls_in_the_select_list_are_within_the_budget_of_the_session(
    made: tuple[Connection, Priced],
) -> None:
    con, model = made
    con.execute("SET thresher_session_budget = '50 CALLS'")
    with pytest.raises(BudgetError, match="is spent before the answer was complete"):
        con.execute("SELECT judge(id) FROM t WHERE id < 80")
    assert len(model.asked) == 50
    con.execute("SET thresher_session_budget = '30 CALLS'")
    assert len(con.execute("SELECT judge(id) FROM t WHERE id < 80").fetchall()) == 80


@pytest.mark.parametrize("budget", ["60 CALLS", "0.6 USD", "600 TOKENS"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) AS n FROM t WHERE judge(id) USING score ORACLE LIMIT 500",
        "SELECT id FROM t WHERE judge(id) USING score ACCURACY TARGET 95%",
        "SELECT id FROM t WHERE judge(id) USING score PRECISION TARGET 90% RECALL TARGET 90%",
        "SELECT id FROM t WHERE judge(id) USING score PRECISION TARGET 90%",
        "SELECT id FROM t WHERE judge(id) LIMIT 200",
    ],
)
def test_every_kind_of_query_answers_by_what_the_session_had_left(
    made: tuple[Connection, Priced], sql: str, budget: str
) -> None:
    con, model = made
    con.execute(f"SET thresher_session_budget = '{budget}'")
    certificate = con.execute(sql).certificate
    assert certificate is not None
    assert certificate.verify()
    assert 20 <= len(model.asked) <= (60 if "CALLS" in budget else 60 + BATCH)
    assert len(set(model.asked)) == len(model.asked)


@pytest.mark.parametrize("budget", ["0.7 USD", "700 TOKENS", "0.7 USD, 1e9 TOKENS"])
@pytest.mark.parametrize(
    ("sql", "way"),
    [
        ("SELECT id FROM t WHERE judge(id) AND id < 300", "add a target"),
        ("SELECT id, judge(id) AS j FROM t WHERE id < 300", "select the rows first"),
        (
            "SELECT id, judge(id + 1) AS j FROM t WHERE judge(id) AND id < 400 USING score "
            "RECALL TARGET 80%",
            "select the rows first",
        ),
    ],
)
def test_what_must_be_complete_ends_within_a_batch_of_its_budget_and_goes_on(
    made: tuple[Connection, Priced], sql: str, way: str, budget: str
) -> None:
    con, model = made
    with pytest.raises(BudgetError, match=f"BUDGET .* is spent before.*{way}") as caught:
        con.execute(f"{sql} BUDGET {budget}")
    assert 70 <= len(model.asked) == caught.value.spent <= 70 + BATCH
    assert caught.value.offset is not None
    n_labels = con.execute("SELECT count(*) FROM thresher_labels()").fetchone()
    assert n_labels == (len(model.asked),)
    certificate = con.execute(f"{sql} BUDGET 1000 USD").certificate
    assert certificate is not None
    assert certificate.verify()
    assert len(set(model.asked)) == len(model.asked) > 90


def test_seconds_end_an_exact_query() -> None:
    con = thresher.connect()

    def slow(ids: list[int]) -> list[bool]:
        time.sleep(0.1)
        return [i % 2 == 0 for i in ids]

    con.create_oracle("slow", slow, args=["BIGINT"], batch_size=4)
    sql = "SELECT i FROM range(24) r(i) WHERE slow(i)"
    with pytest.raises(BudgetError, match=r"BUDGET 0\.25 SECONDS is spent"):
        con.execute(f"{sql} BUDGET .25 SECONDS")
    assert 4 <= len(con.execute("FROM thresher_labels()").fetchall()) <= 16
    assert len(con.execute(f"{sql} BUDGET 60 SECONDS").fetchall()) == 12
    con.close()
