"""What scores cost that a server gives, and how often it was asked for labels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_server import Behaviour, ChatServer, Reply, Request, said, serve

import thresher
from thresher.errors import BudgetError, OracleError
from thresher.oracles import remembered_scores

__all__ = ["serve"]

Serve = Callable[[Behaviour], ChatServer]
N = 120
RECALL = "SELECT id FROM t WHERE judge(text) USING small RECALL TARGET 80% ORACLE LIMIT 100"
COUNTED = (
    "CREATE ORACLE counted(text VARCHAR) RETURNS BOOLEAN USING openai WITH (url = '{url}', "
    "model = 'm', prompt = 'Good? {{text}}')"
)
SMALL = (
    "CREATE OR REPLACE PROXY small FOR counted USING openai WITH (url = '{url}', model = 'm', "
    "prompt = 'Good? {{text}}', concurrency = 5)"
)
EACH = 110 * 2 / 1e6  # dollars of a request


def behave(request: Request) -> Reply:
    """Say yes where "good" stands, and be about as sure as it is long; groups as they ask."""
    if not request.body.get("logprobs"):
        lines = [json.loads(x) for x in request.text.split("\n") if x.startswith('{"id"')]
        found = {x["id"]: "yes" if "good" in x["request"] else "no" for x in lines}
        yes = "yes" if "good" in request.text else "no"
        return said(json.dumps(found)) if found else said(yes)
    p = 0.7 if "good" in request.text else 0.2
    top = [{"token": "yes", "logprob": math.log(p)}, {"token": "no", "logprob": math.log(0.9 - p)}]
    return said("yes", logprobs={"content": [{"token": "yes", "top_logprobs": top}]})


@pytest.fixture
def made(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[thresher.Connection, ChatServer]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remembered_scores._store.cache_clear()
    server = serve(behave)
    with thresher.connect(config={"seed": 5, "reuse_labels": False}) as con:
        con.execute(
            "CREATE TABLE t AS SELECT i AS id, (CASE WHEN i % 5 = 0 THEN 'good ' ELSE 'bad ' END) "
            f"|| i AS text FROM range({N}) r(i)"
        )
        con.create_oracle("judge", lambda texts: ["good" in t for t in texts], ["VARCHAR"])
        con.execute(
            f"CREATE PROXY small FOR judge USING openai WITH (url = '{server.url}', model = 'm', "
            "prompt = 'Good? {a0}', usd_per_mtok = 2, concurrency = 5)"
        )
        yield con, server
    remembered_scores._store.cache_clear()


def test_scores_are_counted_apart_from_labels_and_cost_nothing_twice(
    made: tuple[thresher.Connection, ChatServer],
) -> None:
    con, server = made
    plan = " ".join(" ".join(r[0] for r in con.execute(f"EXPLAIN {RECALL}").fetchall()).split())
    assert f"proxy cost small scores {N} inputs that have no score yet, about" in plan
    assert not server.requests
    certificate = con.execute(f"{RECALL}").certificate
    assert certificate is not None
    assert certificate.verify()
    cost = certificate.proxy_cost
    assert cost is not None
    assert (cost.n_inputs, cost.n_requests, cost.n_tokens) == (N, N, 110 * N)
    assert cost.cost_usd == pytest.approx(N * EACH)
    assert certificate.cost_usd == 0
    assert f"${N * EACH:.4f}, {N} inputs scored, {110 * N:,} tokens" in str(certificate)
    assert f"${N * EACH:.4f} for proxy scores" in certificate.summary
    spend = con.execute(
        "SELECT oracle, n_labels, n_requests, n_tokens_in FROM thresher_spend() "
        "WHERE kind = 'proxy'"
    ).fetchall()
    assert spend == [("small", N, N, 100 * N)]
    again = con.execute(RECALL.replace("100", "90")).certificate
    assert again is not None
    assert again.proxy_cost is None
    assert len(server.requests) == N
    plan = "\n".join(row[0] for row in con.execute(f"EXPLAIN {RECALL}").fetchall())
    assert "small costs nothing: every input has a score" in plan
    con.execute(f"INSERT INTO t SELECT id + {N}, text || ' new' FROM t LIMIT 40")
    found = con.execute(f"EXPLAIN (FORMAT json) {RECALL}").fetchone()
    assert found is not None
    (score,) = json.loads(found[0])["blocks"][0]["outlook"]["proxy_scores"]
    assert (score["n_inputs"], score["counted"], score["n_measured"]) == (40, True, N)
    assert (score["tokens"], score["usd"]) == (110, pytest.approx(EACH))


@pytest.mark.parametrize(
    ("budget", "most"), [(f"{60 * EACH} USD", 60), ("6600 TOKENS", 60), ("1 USD", N)]
)
def test_a_session_ends_in_the_scores_and_answers(
    made: tuple[thresher.Connection, ChatServer], budget: str, most: int
) -> None:
    con, server = made
    con.execute(f"SET thresher_session_budget = '{budget}'")
    sql = RECALL if "TOKENS" not in budget else RECALL.replace("judge(text)", "counted(text)")
    if "TOKENS" in budget:
        con.execute(COUNTED.format(url=server.url))
        con.execute(SMALL.format(url=server.url))
    certificate = con.execute(f"{sql} ON SHORTFALL RETURN").certificate
    assert certificate is not None
    assert certificate.verify()
    paid = [r for r in server.requests if r.body.get("logprobs") or "TOKENS" in budget]
    assert most <= len(paid) <= most + 20  # one batch
    stopped = most < N
    assert (certificate.n_labels <= 20) == stopped  # those that told the pace
    assert ("stopped by thresher_session_budget" in str(certificate.note)) == stopped
    budget_left = con._session.executor._budget
    assert budget_left is not None
    assert bool(budget_left.exhausted) == stopped
    if stopped:
        con.execute("RESET thresher_session_budget")
        con.execute(sql)
        assert len([r for r in server.requests if r.body.get("logprobs")]) == N


def test_a_budget_of_the_statement_counts_scores_too(
    made: tuple[thresher.Connection, ChatServer],
) -> None:
    con, server = made
    certificate = con.execute(f"{RECALL} BUDGET {N * EACH + 1e-9:.9f} USD").certificate
    assert certificate is not None
    assert certificate.n_labels > 0
    assert len(server.requests) == N
    con.execute("CREATE TABLE u AS SELECT id, text || ' again' AS text FROM t")
    sql = RECALL.replace("FROM t", "FROM u")
    note = con.execute(f"{sql} BUDGET {40 * EACH} USD").certificate
    assert note is not None
    assert "stopped by BUDGET" in str(note.note)
    assert 40 <= len(server.requests) - N <= 60


def test_what_must_be_complete_fails_in_the_scores_and_keeps_them(
    made: tuple[thresher.Connection, ChatServer],
) -> None:
    con, server = made
    con.execute(f"SET thresher_session_budget = '{100 * EACH} USD'")
    sql = f"{RECALL} ASSUMING NORMALITY"
    with pytest.raises(BudgetError, match="is spent before the answer was complete"):
        con.execute(sql)
    n_first = len(server.requests)
    assert 100 <= n_first <= 120
    with pytest.raises(BudgetError, match="the budget of this session is spent"):
        con.execute(sql)
    assert len(server.requests) == n_first
    con.execute("RESET thresher_session_budget")
    con.execute(sql)
    assert len(server.requests) == N


def test_a_server_that_counts_no_tokens_breaks_a_budget_of_tokens(
    made: tuple[thresher.Connection, ChatServer],
) -> None:
    con, server = made
    con.execute(COUNTED.format(url=server.url))
    con.execute(SMALL.format(url=server.url))

    def uncounted(request: Request) -> Reply:
        body = behave(request).body
        return Reply(body=body.replace('"usage"', '"was"') if "logprobs" in body else body)

    server.behave = uncounted
    sql = RECALL.replace("judge(text)", "counted(text)")
    with pytest.raises(OracleError, match="proxy small did not say how many tokens"):
        con.execute(f"{sql} BUDGET 9000 TOKENS")
    con.execute(sql)


def test_rows_that_share_a_request_are_calls_of_their_own(serve: Serve) -> None:
    server = serve(behave)
    with thresher.connect() as con:
        con.execute(
            f"CREATE ORACLE judge(text VARCHAR) RETURNS BOOLEAN USING openai WITH (url = "
            f"'{server.url}', model = 'm', prompt = 'Good? {{text}}', rows_per_prompt = 8)"
        )
        con.execute("SET thresher_session_budget = '64 CALLS'")
        sql = "SELECT i FROM range(64) r(i) WHERE judge('good ' || i)"
        certificate = con.execute(sql).certificate
        assert certificate is not None
        assert certificate.budget == "0 CALLS left of 64 CALLS"
        assert certificate.n_labels == 64
        assert certificate.n_requests == len(server.requests) == 8
        assert "requests     8" in str(certificate)
        spend = con.execute("SELECT n_labels, n_requests FROM thresher_spend()").fetchall()
        assert spend == [(64, 8)]
        plan = "\n".join(
            row[0] for row in con.execute(f"EXPLAIN {sql.replace('64', '99')}").fetchall()
        )
        assert "for each label of judge, as measured on 64 labels" in plan
