"""Proxies that are trained inside the query."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from thresher.errors import InterfaceError
from thresher.oracles import Signature, TrainableProxy, embedding
from thresher.oracles.context import Context
from thresher.oracles.features import split_inputs
from thresher.oracles.logistic import FittedScores, cross_entropy, fit_logistic, ranking_auc
from thresher.oracles.options import OptionError
from thresher.oracles.proxies import choose
from thresher.oracles.registry import create_proxy
from thresher.oracles.vectors import VectorStore

GOOD = ["fine", "clever", "lovely", "warm", "funny"]
BAD = ["dull", "empty", "cold", "stale", "loud"]


def reviews(n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts whose words lean to one side, and which side."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    texts = []
    for positive in truth:
        words = [rng.choice(GOOD if (rng.random() < 0.85) == positive else BAD) for _ in range(5)]
        texts.append("a " + " ".join(words) + f" film {rng.integers(1000)}")
    return texts, truth


def tfidf(signature: Signature) -> TrainableProxy:
    found = create_proxy("tfidf", "p", signature, {}, Context())
    assert not hasattr(found, "score")
    return found  # type: ignore[return-value]


def test_tfidf_ranks_unseen_rows(text_signature: Signature) -> None:
    texts, truth = reviews(600)
    proxy = tfidf(text_signature)
    features = proxy.featurise(pa.table({"text": texts}))
    rows = np.random.default_rng(1).permutation(600)[:150]
    fitted = proxy.fit(features, rows, truth[rows], np.random.default_rng(2))
    rest = np.setdiff1d(np.arange(600), rows)
    assert proxy.name == "tfidf"
    assert fitted.scores.dtype == np.float32
    assert fitted.scores.shape == (600,)
    assert ((fitted.scores >= 0) & (fitted.scores <= 1)).all()
    assert roc_auc_score(truth[rest], fitted.scores[rest]) > 0.9
    assert fitted.auc > 0.85
    assert fitted.log_loss < 0.5


def test_the_same_generator_gives_the_same_scores(text_signature: Signature) -> None:
    texts, truth = reviews(200)
    proxy = tfidf(text_signature)
    rows = np.arange(0, 200, 3)
    scores = [
        proxy.fit(
            proxy.featurise(pa.table({"text": texts})), rows, truth[rows], np.random.default_rng(5)
        ).scores
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*scores)


def test_labelled_rows_get_the_score_of_a_model_that_did_not_see_them() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 150)).astype(np.float32)
    truth = rng.random(200) < 0.5
    fitted = fit_logistic(noise, np.arange(200), truth, rng, (0.01,))
    assert 0.3 < fitted.auc < 0.7, "labels would leak: 150 features fit 200 random labels"
    assert fitted.auc == pytest.approx(roc_auc_score(truth, fitted.scores), abs=0.01)
    assert fitted.log_loss == pytest.approx(log_loss(truth, fitted.scores), rel=1e-3)


@pytest.mark.parametrize("truth", [[], [True], [False], [True] * 9, [False] * 9])
def test_a_single_class_gives_the_smoothed_rate(truth: list[bool]) -> None:
    matrix = np.arange(20, dtype=np.float32).reshape(10, 2)
    labels = np.array(truth, dtype=np.bool_)
    fitted = fit_logistic(matrix, np.arange(len(truth)), labels, np.random.default_rng(0), (1.0,))
    rate = (sum(truth) + 1) / (len(truth) + 2)
    np.testing.assert_allclose(fitted.scores, np.full(10, rate), rtol=1e-6)
    assert fitted.auc == 0.5
    assert np.isfinite(fitted.log_loss)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 99))
def test_any_labels_give_finite_scores(truth: list[bool], seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(15, 3)).astype(np.float32)
    labels = np.array(truth, dtype=np.bool_)
    rows = rng.permutation(15)[: len(truth)]
    fitted = fit_logistic(matrix, rows, labels, rng, (1.0, 10.0))
    assert np.isfinite(fitted.scores).all()
    assert ((fitted.scores >= 0) & (fitted.scores <= 1)).all()
    assert 0.0 <= fitted.auc <= 1.0
    assert np.isfinite(fitted.log_loss)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_auc_and_log_loss_agree_with_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([r[0] / 5 for r in rows])
    truth = np.array([r[1] for r in rows])
    if truth.all() or not truth.any():
        assert ranking_auc(scores, truth) == 0.5
    else:
        assert ranking_auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    kept = np.clip(scores, 1e-6, 1 - 1e-6)
    assert cross_entropy(scores, truth) == pytest.approx(log_loss(truth, kept, labels=[0, 1]))


def test_inputs_become_text_and_standardised_numbers() -> None:
    batch = pa.table(
        {
            "title": ["a", None, "c"],
            "body": pa.array(["x", "y", "x"]).dictionary_encode(),
            "year": [2000, None, 2002],
            "seen": [True, False, True],
            "day": [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)],
            "tags": [["a"], [], ["b"]],
        }
    )
    inputs = split_inputs(batch)
    assert inputs.texts == ["a\nx", "\ny", "c\nx"]
    assert inputs.numbers.shape == (3, 3)
    np.testing.assert_allclose(inputs.numbers.mean(axis=0), 0, atol=1e-6)
    assert inputs.numbers[:, 0].tolist() == pytest.approx([-1, 0, 1])
    assert split_inputs(pa.table({"n": [1.0, 1.0]})).numbers.tolist() == [[0.0], [0.0]]


def test_numbers_alone_can_train_a_proxy(text_signature: Signature) -> None:
    numbers = np.arange(100.0)
    proxy = tfidf(text_signature)
    features = proxy.featurise(pa.table({"n": numbers}))
    rows = np.arange(0, 100, 2)
    fitted = proxy.fit(features, rows, rows > 40, np.random.default_rng(0))
    assert fitted.auc > 0.99


def test_soft_labels_teach_more_than_hard_ones() -> None:
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(4000, 30)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(matrix @ rng.normal(size=30)) / 4))
    rows = np.arange(120)
    truth, unseen = chance > 0.5, np.arange(120, 4000)
    strengths = (0.01, 0.1, 1.0)
    aucs = []
    for belief in (None, chance[rows]):
        fitted = fit_logistic(
            matrix, rows, truth[rows], np.random.default_rng(0), strengths, belief
        )
        aucs.append(ranking_auc(fitted.scores[unseen].astype(np.float64), truth[unseen]))
        assert 0.5 < fitted.auc <= 1
    assert aucs[1] > aucs[0] + 0.01


@pytest.mark.parametrize("kind", [pa.list_(pa.uint8()), pa.list_(pa.float32(), 3)])
def test_lists_of_numbers_are_features_place_by_place(kind: pa.DataType) -> None:
    pixels = pa.array([[0, 4, 7], [2, 4, 9], None, [4, 4, 8]], kind)
    inputs = split_inputs(pa.table({"n": [1, 2, 3, 4], "pixels": pa.chunked_array([pixels])}))
    assert inputs.texts is None
    assert inputs.numbers.shape == (4, 4)
    ends = np.sqrt(1.5) / np.sqrt(3)
    np.testing.assert_allclose(inputs.numbers[:, 1], [-ends, 0, 0, ends], rtol=1e-6)
    np.testing.assert_allclose(inputs.numbers[:, 2], 0)
    np.testing.assert_allclose(inputs.numbers[2, 1:], 0)
    uneven = pa.table({"pixels": pa.array([[1, 2], [3]], pa.list_(pa.int64()))})
    assert split_inputs(uneven).numbers.shape == (2, 0)
    assert split_inputs(pa.table({"tags": pa.array([["a"], ["b"]])})).numbers.shape == (2, 0)


@pytest.mark.parametrize("texts", [["", "", ""], ["...", "!", "?"], ["a", "b", "c"], ["only"]])
def test_texts_without_common_words_are_no_error(
    text_signature: Signature, texts: list[str]
) -> None:
    proxy = tfidf(text_signature)
    features = proxy.featurise(pa.table({"text": texts}))
    truth = np.array([True, False, True])[: len(texts)]
    fitted = proxy.fit(features, np.arange(len(texts)), truth, np.random.default_rng(0))
    assert np.isfinite(fitted.scores).all()


def test_features_of_another_proxy_are_refused(text_signature: Signature) -> None:
    with pytest.raises(InterfaceError, match="fit takes what featurise returned"):
        tfidf(text_signature).fit(
            object(), np.zeros(0, np.int64), np.zeros(0, bool), np.random.default_rng(0)
        )


def test_the_choice_is_by_log_loss_then_auc_then_order() -> None:
    def fitted(loss: float, auc: float) -> FittedScores:
        return FittedScores(np.zeros(1, dtype=np.float32), auc, loss)

    assert choose([fitted(0.6, 0.9), fitted(0.5, 0.7), fitted(0.5, 0.8)]) == 2
    assert choose([fitted(0.5, 0.7), fitted(0.5, 0.7)]) == 0
    with pytest.raises(InterfaceError, match="at least one"):
        choose([])


def test_the_environment_can_name_the_encoder_of_the_embedding_proxy(
    monkeypatch: pytest.MonkeyPatch, text_signature: Signature, tiny_bert: Path
) -> None:
    with pytest.raises(OptionError, match="THRESHER_ENCODER"):
        create_proxy("embedding", "p", text_signature, {}, Context())
    monkeypatch.setenv("THRESHER_ENCODER", str(tiny_bert))
    proxy = create_proxy("embedding", "p", text_signature, {}, Context())
    assert not hasattr(proxy, "score")
    assert proxy.name == f"embedding({tiny_bert.name})"


def encoder(folder: Path, signature: Signature, **options: object) -> TrainableProxy:
    given = {"model": str(folder), "dtype": "float32", **options}
    return create_proxy("embedding", "p", signature, given, Context())  # type: ignore[return-value]


def test_an_embedding_is_the_mean_state_of_three_layers(
    tiny_bert: Path, text_signature: Signature
) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from thresher.oracles.options import Options
    from thresher.oracles.runtime import resolve_runtime
    from thresher.oracles.weights import Source

    texts = ["a fine film", "good", "a dull and empty film that goes nowhere " * 9, "x"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model = AutoModel.from_pretrained(tiny_bert)
    expected = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            states = model(input_ids=tokens, output_hidden_states=True).hidden_states
        expected.append(np.concatenate([s[0].mean(0).numpy() for s in states[1:]]))
    source = Source(str(tiny_bert), True)
    runtime = resolve_runtime(Options("proxy p", {"dtype": "float32", "batch_tokens": 40}))
    found = embedding.embed(source, source.version(), runtime, 256, texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_embedding_proxy_learns(tiny_bert: Path, text_signature: Signature) -> None:
    texts, truth = reviews(300)
    proxy = encoder(tiny_bert, text_signature)
    features = proxy.featurise(pa.table({"text": texts, "year": np.arange(300)}))
    rows = np.arange(0, 300, 2)
    fitted = proxy.fit(features, rows, truth[rows], np.random.default_rng(0))
    rest = np.arange(1, 300, 2)
    assert roc_auc_score(truth[rest], fitted.scores[rest]) > 0.7
    assert fitted.auc > 0.7


def test_a_text_is_embedded_once_per_encoder(
    tiny_bert: Path, text_signature: Signature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = embedding.embed

    def counted(*arguments: object) -> np.ndarray:
        asked.append(len(arguments[-1]))  # type: ignore[arg-type]
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(embedding, "embed", counted)
    embedding._store.cache_clear()
    proxy = encoder(tiny_bert, text_signature)
    texts, truth = reviews(40)
    first = proxy.featurise(pa.table({"text": texts}))
    again = encoder(tiny_bert, text_signature).featurise(pa.table({"text": texts}))
    proxy.featurise(pa.table({"text": [*texts, "a new one", "a new one"]}))
    assert asked == [len(set(texts)), 1]
    embedding._store.cache_clear()
    from_disk = proxy.featurise(pa.table({"text": texts}))
    assert len(asked) == 2, "the vectors lie on the disk"
    rows, rng = np.arange(0, 40, 2), np.random.default_rng
    scores = [proxy.fit(f, rows, truth[rows], rng(0)).scores for f in (first, again, from_disk)]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
    assert list((tmp_path / "cache" / "thresher" / "embeddings").rglob("*.npz"))


def test_the_cache_on_disk_can_be_switched_off(
    tiny_bert: Path, text_signature: Signature, tmp_path: Path
) -> None:
    encoder(tiny_bert, text_signature, cache=False).featurise(pa.table({"text": ["a", "b"]}))
    assert not (tmp_path / "cache" / "thresher" / "embeddings").exists()


def test_vectors_that_were_cut_short_are_passed_over(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    store.add(["a", "b"], np.array([[1, 2], [3, 4]], dtype=np.float32))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut short")
    again = VectorStore(tmp_path)
    assert again.missing(["a", "c", "c", "b"]) == ["c"]
    assert again.get(["b", "a", "b"]).tolist() == [[3, 4], [1, 2], [3, 4]]


def test_what_tfidf_has_learnt_scores_other_rows_as_it_scored_its_own(
    text_signature: Signature,
) -> None:
    texts, truth = reviews(600)
    proxy = tfidf(text_signature)
    batch = pa.table({"text": texts, "n": np.arange(600.0)})
    rows = np.arange(200)
    features = proxy.featurise(batch)
    fitted = proxy.fit(features, rows, truth[rows], np.random.default_rng(0))
    learnt = proxy.freeze(features, fitted)
    assert learnt is not None
    assert all(array.dtype != object for array in learnt.values())
    again = proxy.apply(learnt, batch)
    np.testing.assert_allclose(again[200:], fitted.scores[200:], atol=1e-3)
    np.testing.assert_allclose(proxy.apply(learnt, batch.slice(300, 5)), again[300:305])
    assert proxy.apply(learnt, pa.table({"text": ["", "qqq"], "n": [0.0, 1.0]})).shape == (2,)
    assert proxy.apply(learnt, batch.slice(0, 0)).shape == (0,)
    with pytest.raises(InterfaceError, match="trained on 1 numbers"):
        proxy.apply(learnt, pa.table({"text": ["a"]}))
    one_sided = proxy.fit(features, rows, np.ones(200, dtype=bool), np.random.default_rng(0))
    assert proxy.freeze(features, one_sided) is None
