"""Tokens of local models: as their tokenizers count them, in labels, scores, budgets and prices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thresher
from thresher.errors import OracleError, ProgrammingError
from thresher.oracles import Argument, Oracle, Signature, remembered_scores
from thresher.oracles.context import Context
from thresher.oracles.registry import create_oracle

pytest.importorskip("transformers")

TEXTS = ["a fine film", "dull", "a long and empty film that goes nowhere", "a fine film"]


def make(model: Path, task: str, returns: str = "DOUBLE", **options: object) -> Oracle:
    given = {"model": str(model), "task": task, "dtype": "float32", "device": "cpu", **options}
    signature = Signature((Argument("text", "VARCHAR"),), returns)
    return create_oracle("huggingface", "o", signature, given, Context())


def n_tokens(model: Path, texts: list[str], **how: object) -> int:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    return sum(len(tokenizer(text, **how)["input_ids"]) for text in texts)


def about(oracle: Oracle) -> float:
    model: Any = oracle
    return float(model.about_tokens(pa.table({"text": TEXTS})))


def asked(oracle: Oracle) -> tuple[int, int] | None:
    return oracle.answer(pa.table({"text": TEXTS})).tokens


def test_prompts_are_counted_whole_for_each_row(tiny_llama: Path) -> None:
    oracle = make(tiny_llama, "causal-lm", prompt="Is it good? {text}\nIt is:", yes=" g", no=" b")
    texts = [f"Is it good? {text}\nIt is:" for text in TEXTS]
    tokens = asked(oracle)
    assert tokens is not None
    shared = tokens[0] - n_tokens(tiny_llama, texts)
    assert 0 <= shared <= 2 * len(TEXTS)  # the tokens that all answers begin with
    assert tokens[1] == 0
    assert asked(oracle) == tokens


def test_classified_texts_are_counted(classifier: Callable[..., Path]) -> None:
    model = classifier("ham", "spam")
    oracle = make(model, "text-classification", label="spam")
    assert about(oracle) == n_tokens(model, TEXTS) / len(TEXTS)
    assert asked(oracle) == (n_tokens(model, TEXTS), 0)


def test_every_hypothesis_is_read(classifier: Callable[..., Path]) -> None:
    model = classifier("entailment", "neutral", "contradiction")
    oracle = make(model, "zero-shot", labels=["good", "bad", "dull"], label="good")
    reckoned = about(oracle)
    tokens = asked(oracle)
    pairs = [
        n_tokens(model, [text], text_pair=f"This example is {label}.")
        for text in TEXTS
        for label in ("good", "bad", "dull")
    ]
    assert tokens == (sum(pairs), 0)
    assert reckoned == pytest.approx(sum(pairs) / len(TEXTS), rel=0.2)


def test_what_is_written_counts_too(tiny_llama: Path) -> None:
    oracle: Any = make(
        tiny_llama, "text-generation", "VARCHAR", prompt="Say: {text}", chat=False, max_new_tokens=6
    )
    try:
        tokens = asked(oracle)
    except OracleError:  # a random model hardly comes to an end
        tokens = oracle._loaded.tokens.settled()
    assert tokens is not None
    distinct = [f"Say: {text}" for text in dict.fromkeys(TEXTS)]
    assert tokens[0] == n_tokens(tiny_llama, distinct)
    assert 1 <= tokens[1] <= 6 * len(distinct)


def declared(con: thresher.Connection, model: Path) -> None:
    con.execute(
        "CREATE TABLE t AS SELECT i AS id, 'text number ' || i AS text FROM range(120) r(i)"
    )
    for what, rest in (
        ("ORACLE judge(text VARCHAR) RETURNS BOOLEAN", ""),
        ("PROXY small FOR judge", "x"),
    ):
        con.execute(
            f"CREATE {what} USING huggingface WITH (model = '{model}', dtype = 'float32', "
            f"prompt = 'Good? {rest} {{text}}', yes = ' g', no = ' b', batch_tokens = 256)"
        )


def test_tokens_are_in_spend_certificate_forecast_and_budget(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remembered_scores._store.cache_clear()
    with thresher.connect(config={"reuse_labels": False}) as con:
        declared(con, tiny_llama)
        sql = "SELECT id FROM t WHERE judge(text) USING small RECALL TARGET 80% ORACLE LIMIT 60"
        before = [row[0] for row in con.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall()]
        outlook = json.loads("".join(before))["blocks"][0]["outlook"]
        certificate = con.execute(sql).certificate
        assert certificate is not None
        assert certificate.proxy_cost is not None
        assert certificate.n_tokens is not None
        assert certificate.proxy_cost.n_tokens is not None
        each = certificate.n_tokens / certificate.n_labels
        assert 8 < each < 40
        assert outlook["about_tokens_per_label"]["judge"] == pytest.approx(each, rel=0.15)
        assert outlook["tokens_measured_on"] == {"judge": 0}
        (score,) = outlook["proxy_scores"]
        assert score["tokens"] * 120 == pytest.approx(certificate.proxy_cost.n_tokens, rel=0.15)
        assert 0.9 < certificate.proxy_cost.n_tokens / 120 / each < 1.4
        spend = con.execute("SELECT kind, n_tokens_in FROM thresher_spend()").fetchall()
        assert spend == [
            ("oracle", certificate.n_tokens), ("proxy", certificate.proxy_cost.n_tokens)
        ]  # fmt: skip
        plan = " ".join(row[0] for row in con.execute(f"EXPLAIN {sql}").fetchall())
        measured = f"about {each:,.0f} for each label of judge, as measured on"
        assert measured in " ".join(plan.split())
        stopped = con.execute(
            f"{sql.replace(' ORACLE LIMIT 60', '')} BUDGET {int(25 * each)} TOKENS"
        ).certificate
        assert stopped is not None
        assert stopped.n_tokens is not None
        assert stopped.proxy_cost is None  # remembered
        assert 0 < stopped.n_tokens < 60 * each
        assert "BUDGET" in str(stopped.note)
    remembered_scores._store.cache_clear()


def test_images_are_no_tokens(tiny_vit: Path) -> None:
    with thresher.connect() as con:
        con.execute(
            "CREATE ORACLE seen(photo BLOB) RETURNS VARCHAR USING huggingface WITH "
            f"(task = 'image-classification', model = '{tiny_vit}')"
        )
        with pytest.raises(ProgrammingError, match="does not say how many tokens"):
            con.execute(
                "SELECT p FROM (SELECT 'x'::BLOB AS p) v WHERE seen(p) = 'a' USING 1 "
                "RECALL TARGET 80% BUDGET 10 TOKENS"
            )
