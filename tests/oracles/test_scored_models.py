"""Models as proxies: local ones, modules, log-probabilities of servers; scores remembered."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from chat_server import Behaviour, ChatServer, Reply, Request, error, said, serve
from hypothesis import given
from hypothesis import strategies as st

import thresher
from thresher.errors import OracleError
from thresher.oracles import Argument, Signature, Usage, remembered_scores
from thresher.oracles.chat_answers import first_token_odds
from thresher.oracles.context import Context
from thresher.oracles.options import OptionError
from thresher.oracles.registry import create_proxy
from thresher.oracles.remembered_scores import RememberedScores
from thresher.oracles.vectors import VectorStore

__all__ = ["serve"]

Serve = Callable[[Behaviour], ChatServer]
TEXT = Signature((Argument("text", "VARCHAR"),), "BOOLEAN")
KEY = "sk-test-0816-most-secret"


@pytest.fixture(autouse=True)
def forget() -> None:
    remembered_scores._store.cache_clear()


def make(url: str, **options: object) -> RememberedScores:
    given = {"url": url, "model": "tiny", "prompt": "Good? {text}", **options}
    made = create_proxy("openai", "fast", TEXT, given, Context())
    assert isinstance(made, RememberedScores)
    return made


class Counted:
    """A meter that allows so many inputs and counts what they took."""

    def __init__(self, most: int = 10**9) -> None:
        self.most, self.n_inputs, self.refused, self.used = most, 0, False, list[Usage]()

    def before(self, n_inputs: int) -> int:
        allowed = min(n_inputs, self.most - self.n_inputs)
        self.refused = self.refused or not allowed
        return allowed

    def after(self, n_inputs: int, usage: Usage) -> None:
        self.n_inputs += n_inputs
        self.used.append(usage)

    @property
    def cost_usd(self) -> float:
        return sum(used.cost_usd for used in self.used)


def table(texts: list[str]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})


def weighed(**probabilities: float) -> Reply:
    """A reply whose first token has these probabilities; the likeliest is said."""
    top = [{"token": token, "logprob": math.log(p)} for token, p in probabilities.items()]
    best = max(probabilities, key=probabilities.__getitem__)
    return said(best, logprobs={"content": [{"token": best, "top_logprobs": top}]})


def by_length(request: Request) -> Reply:
    n = len(request.text.split("\n")[0]) % 9
    return weighed(Yes=0.05 + 0.1 * n, No=0.9 - 0.1 * n, yes=0.01, maybe=0.04)


def test_the_score_is_the_probability_of_yes(serve: Serve) -> None:
    server = serve(by_length)
    proxy = make(server.url, usd_per_mtok=1.0)
    texts = ["a", "bb", "ccc", "a"]
    n = np.array([len(f"Good? {t}") % 9 for t in texts])
    meter = Counted()
    assert proxy.score(table(texts), meter) == pytest.approx((0.06 + 0.1 * n) / 0.96, abs=1e-6)
    body = server.requests[0].body
    assert (body["logprobs"], body["top_logprobs"], body["temperature"]) == (True, 20, 0)
    assert "response_format" not in body
    assert len(server.requests) == 3
    assert meter.cost_usd == pytest.approx(3 * 110 / 1e6)
    assert [(used.requests, used.tokens) for used in meter.used] == [(3, (300, 30))]
    assert meter.n_inputs == 3


def test_a_meter_ends_the_scores_and_those_that_are_there_are_kept(serve: Serve) -> None:
    server = serve(by_length)
    proxy, texts = make(server.url), [f"text {i}" for i in range(9)]
    meter = Counted(most=4)
    scores = proxy.score(table(texts), meter)
    assert np.isnan(scores[4:]).all()
    assert not np.isnan(scores[:4]).any()
    assert meter.refused
    assert len(server.requests) == 4
    assert proxy.new_inputs(table(texts)) == 5
    about = proxy.about(table(texts))
    assert about is not None
    assert about.requests == 1
    assert (proxy.score(table(texts))[:4] == scores[:4]).all()
    assert proxy.new_inputs(table(texts)) == 0
    assert len(server.requests) == 9


def test_scores_are_remembered_over_objects_and_processes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_scores, "_CHUNK_ROWS", 100)
    server = serve(by_length)
    proxy = make(server.url, usd_per_mtok=1.0)
    texts = [f"text {'x' * i}" for i in range(250)]
    first = proxy.score(table(texts))
    assert len(server.requests) == 250
    assert (make(server.url).score(table(texts)) == first).all()
    remembered_scores._store.cache_clear()  # as in another process
    again = make(server.url, usd_per_mtok=1.0)
    meter = Counted()
    assert (again.score(table([*texts[::-1], "new"]), meter)[:-1] == first[::-1]).all()
    assert len(server.requests) == 251
    assert meter.cost_usd == pytest.approx(110 / 1e6)
    remembered_scores._store.cache_clear()
    make(server.url, cache=False).score(table(texts[:10]))
    assert len(server.requests) == 261
    for options in ({"model": "other"}, {"prompt": "Fine? {text}"}, {"yes": "good"}):
        assert make(server.url, **options).version != proxy.version
    assert make(server.url, rpm=7, concurrency=2).version == proxy.version


def test_scores_before_a_failure_are_kept(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_scores, "_CHUNK_ROWS", 10)
    server = serve(
        lambda request: error(500, "down") if "text 25\n" in request.text else by_length(request)
    )
    texts = [f"text {i}" for i in range(30)]
    with pytest.raises(OracleError, match=r"proxy fast: row \d+ .*text 25.*down"):
        make(server.url, retries=1, concurrency=1).score(table(texts))
    server.behave = by_length
    n_before = len(server.requests)
    remembered_scores._store.cache_clear()
    make(server.url).score(table(texts))
    assert len(server.requests) - n_before == 10


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (said("yes"), "the server gives no log-probabilities of tokens"),
        (said("yes", logprobs={"content": [{"token": "yes", "logprob": -0.1}]}), "no log-prob"),
        (error(422, "Unsupported fields: logprobs"), "422: 'Unsupported fields: logprobs': the"),
        (error(401, "who are you"), "401: 'who are you'"),
    ],
)
def test_a_server_without_log_probabilities_is_refused(
    serve: Serve, reply: Reply, what: str
) -> None:
    server = serve(lambda request: reply)
    with pytest.raises(OracleError) as caught:
        make(server.url, concurrency=1).score(table(["a", "b"]))
    assert what in str(caught.value)
    assert "row 0 of the batch (text = 'a')" in str(caught.value)
    assert len(server.requests) == 1


def test_the_newer_name_of_max_tokens(serve: Serve) -> None:
    server = serve(
        lambda r: (
            error(400, "use max_completion_tokens") if "max_tokens" in r.body else by_length(r)
        )
    )
    make(server.url, concurrency=1).score(table(["a", "b"]))
    assert len(server.requests) == 3


def test_wrong_options() -> None:
    local = "http://127.0.0.1:9/v1"
    with pytest.raises(OptionError, match="is the same as"):
        make(local, yes="No")
    with pytest.raises(OptionError, match="no option 'structured'"):
        make(local, structured="none")
    with pytest.raises(OptionError, match="name of an environment variable"):
        make(local, api_key_env="sk-not a name")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["yes", " Yes", "y", "no", "NO.", "n", "", "maybe", "nope", '"']),
            st.floats(-30, 0),
        ),
        max_size=20,
    )
)
def test_odds_lie_between_0_and_1(listed: list[tuple[str, float]]) -> None:
    top = [{"token": token, "logprob": logprob} for token, logprob in listed]
    odds = first_token_odds([{"token": "x", "top_logprobs": top}], "yes", "no")
    if not top:
        assert odds is None
        return
    yes = sum(math.exp(p) for t, p in listed if t.strip(' ."').lower() in ("yes", "y"))
    no = sum(math.exp(p) for t, p in listed if t.strip(' ."').lower() in ("no", "n"))
    assert odds == pytest.approx(yes / (yes + no) if yes + no else 0.5)


def test_what_the_odds_are_read_from() -> None:
    top = [{"token": "go", "logprob": -1.0}, {"token": "good", "logprob": -1.0}]
    token = {"token": "go", "top_logprobs": top}
    assert first_token_odds([token], "good", "goose") == 1.0, "'go' begins both"
    blank = {"token": " \n", "top_logprobs": [{"token": "no", "logprob": 0.0}]}
    assert first_token_odds([blank, token], "good", "goose") == 1.0
    assert first_token_odds([blank], "good", "goose") is None
    assert first_token_odds([], "good", "goose") is None


def test_a_vector_store_reads_many_files_at_once(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, np.float32)
    texts = [f"t{i}" for i in range(300)]
    for i, text in enumerate(texts):
        store.add([text], np.array([[i / 7]], dtype=np.float32))
    (tmp_path / "broken.npz").write_bytes(b"PK")
    again = VectorStore(tmp_path, np.float32)
    assert not again.missing(texts)
    assert (again.get(texts)[:, 0] == (np.arange(300) / 7).astype(np.float32)).all()
    assert again.missing(["t1", "new", "new"]) == ["new"]


def test_keys_tell_values_apart() -> None:
    calls: list[int] = []

    class Counting:
        version, batch_size = "1", 100

        def score(self, batch: pa.Table) -> np.ndarray:
            calls.append(batch.num_rows)
            return np.arange(batch.num_rows, dtype=np.float64)

        def settled(self) -> Usage:
            return Usage(calls[-1])

    proxy = RememberedScores(Counting(), on_disk=False)
    rows = [("1", 1, b"a"), ("1", 2, b"a"), ("1", 1, b"b"), ('1", 1', 1, b"a"), ("1", 1, b"a")]
    a, b, c = zip(*rows, strict=True)
    assert proxy.score(pa.table({"a": a, "b": b, "c": c})).tolist() == [0, 1, 2, 3, 0]
    assert calls == [4]
    assert len(proxy.score(pa.table({"a": [], "b": [], "c": []}))) == 0


def test_a_local_model_scores_texts_once(tiny_llama: Path) -> None:
    options = {"model": str(tiny_llama), "prompt": "Review: {text}\nSentiment:", "yes": " good"}
    options |= {"no": " bad", "dtype": "float32", "device": "cpu"}
    proxy = create_proxy("huggingface", "p", TEXT, options, Context())
    assert isinstance(proxy, RememberedScores)
    scores = proxy.score(table(["a fine film", "a dull film", "a fine film"]))
    assert scores[0] == scores[2] != scores[1]
    assert ((scores > 0) & (scores < 1)).all()
    remembered_scores._store.cache_clear()
    again = create_proxy("huggingface", "q", TEXT, options, Context())
    again._proxy.score = None  # type: ignore[attr-defined]
    assert (again.score(table(["a dull film", "a fine film"])) == scores[[1, 0]]).all()


def test_a_module_as_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_scorer.py").write_text(
        "import torch\nnet = torch.nn.Flatten(0)\n"
        "def lengths(texts):\n    return torch.tensor([[float(len(t))] for t in texts])\n"
    )
    monkeypatch.chdir(tmp_path)
    options = {"module": "my_scorer:net", "preprocess": "my_scorer:lengths", "output": "value"}
    proxy = create_proxy("pytorch", "p", TEXT, options, Context(base=tmp_path))
    assert proxy.score(table(["a", "ccc"])).tolist() == [1.0, 3.0]
    sys.modules.pop("my_scorer")


def test_a_query_with_a_small_model_as_proxy(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TEST_KEY", KEY)

    def behave(request: Request) -> Reply:
        good = "joy" in request.text
        if "logprobs" in request.body:
            return weighed(yes=0.8 if good else 0.1, no=0.2 if good else 0.9)
        return said(json.dumps({"answer": "yes" if good else "no"}))

    server = serve(behave)
    with thresher.connect(str(tmp_path / "films.duckdb")) as con:
        con.execute(
            "CREATE TABLE films AS SELECT i AS id, CASE WHEN i % 4 = 0 THEN 'a joy ' ELSE 'a bore '"
            " END || i AS text FROM range(200) r(i)"
        )
        shared = f"url = '{server.url}', prompt = 'Good? {{text}}', api_key_env = 'TEST_KEY'"
        con.execute(
            "CREATE ORACLE is_good(text VARCHAR) RETURNS BOOLEAN USING openai"
            f" WITH ({shared}, model = 'large')"
        )
        con.execute(f"CREATE PROXY small FOR is_good USING openai WITH ({shared}, model = 'small')")
        query = (
            "SELECT id FROM films WHERE is_good(text) USING small RECALL TARGET 90%"
            " PRECISION TARGET 90% SEED 1"
        )
        found = con.execute(query)
        ids = [row[0] for row in found.fetchall()]
        assert all(i % 4 == 0 for i in ids)
        assert len(ids) >= 45
        models = [request.body["model"] for request in server.requests]
        assert models.count("small") == 200
        assert found.certificate is not None
        assert models.count("large") == found.certificate.n_labels <= 200
        con.execute(query.replace("SEED 1", "SEED 2"))
        assert [r.body["model"] for r in server.requests].count("small") == 200
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert not [content for content in files if KEY.encode() in content]
