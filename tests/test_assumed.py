"""Selectors whose promise rests on a declared assumption: arguments, facts, budgets, laws."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from thresher.sampling import CountedLabels, Selection
from thresher.sampling.bounds import Share
from thresher.sampling.calibrated import select_recall_calibrated
from thresher.sampling.calibrated_plan import CalibratedTail
from thresher.sampling.core_set import (
    core_set_design,
    select_precision_core_set,
    select_recall_core_set,
)
from thresher.sampling.ledger import Ledger
from thresher.sampling.normality import (
    select_joint_normal,
    select_precision_normal,
    select_recall_normal,
)
from thresher.sampling.poisson_binomial import ERROR, count_law
from thresher.sampling.proxy_quality import (
    select_precision_proxy_quality,
    select_recall_proxy_quality,
)
from thresher.sampling.within import CountedDistances, embedding_distance, select_within

Select = Callable[..., Selection]
RECALL, PRECISION = {"recall": 0.8}, {"precision": 0.8}
BOTH = RECALL | PRECISION

CALLS: list[tuple[Select, dict[str, Any]]] = [
    (select_recall_calibrated, RECALL),
    (select_recall_calibrated, RECALL | {"within": 0.5}),
    (select_recall_core_set, RECALL),
    (select_recall_core_set, RECALL | {"n_positive": 20}),
    (select_precision_core_set, PRECISION),
    (select_precision_core_set, PRECISION | {"n_core": 20}),
    (select_recall_proxy_quality, RECALL),
    (select_recall_proxy_quality, RECALL | {"sigma": 0.2}),
    (select_precision_proxy_quality, PRECISION),
    (select_precision_proxy_quality, PRECISION | {"sigma": 0.0}),
    (select_recall_normal, RECALL),
    (select_precision_normal, PRECISION),
    (select_joint_normal, BOTH),
]
GRADES = {
    "calibrated": "calibrated tail",
    "core_set": "core set closure",
    "proxy_quality": "proxy quality",
    "normal": "asymptotic",
}


def ask(
    select: Select,
    scores: np.ndarray,
    truth: np.ndarray,
    budget: int,
    known: np.ndarray | None = None,
    seed: int = 0,
    **extra: Any,
) -> tuple[Selection, CountedLabels]:
    labels = CountedLabels(lambda rows: truth[rows], budget)
    rng = np.random.default_rng(seed)
    answer = select(scores, labels, **({"delta": 0.1, "rng": rng, "known": known} | extra))
    return answer, labels


def check(select: Select, answer: Selection, truth: np.ndarray, known: np.ndarray | None) -> None:
    """What every answer keeps, whatever was assumed."""
    label = np.full(len(truth), -1) if known is None else known.astype(np.int64)
    for step in answer.steps:
        assert (label[step.rows] < 0).all()
        assert (truth[step.rows] == step.answers).all()
        label[step.rows] = step.answers
    assert answer.returned[label > 0].all()
    assert not answer.returned[label == 0].any()
    assert (answer.assumption is None) == (answer.grade in ("exact", "distribution-free"))
    if answer.assumption is not None:
        assert answer.grade == next(g for word, g in GRADES.items() if word in select.__name__)
    if answer.free_recall is not None:
        assert 0 <= answer.free_recall <= 1
        assert answer.assumption is not None


@pytest.mark.parametrize(("select", "targets"), CALLS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_facts_and_budgets_are_kept(
    select: Select, targets: dict[str, Any], data: st.DataObject
) -> None:
    n = data.draw(st.integers(30, 400))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scores = rng.beta(0.3, 1, n)
    truth = rng.random(n) < data.draw(st.sampled_from([scores, 1 - scores, np.full(n, 0.02)]))
    if data.draw(st.booleans()):
        scores = np.round(scores, 1)  # ties
    if data.draw(st.booleans()):
        scores[rng.random(n) < 0.1] = np.nan
    known = None
    if data.draw(st.booleans()):
        known = np.where(rng.random(n) < 0.2, truth, -1).astype(np.int8)
    budget = data.draw(st.integers(1, n + 5))
    answer, labels = ask(select, scores, truth, budget, known, **targets)
    assert labels.spent <= budget
    check(select, answer, truth, known)
    asks = "sigma" not in targets and select is not select_joint_normal
    if asks and budget >= n:
        assert answer.grade == "exact"
        assert (answer.returned == truth).all()


@pytest.mark.parametrize(("select", "targets"), CALLS)
def test_the_order_of_the_rows_does_not_matter(select: Select, targets: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    scores = rng.beta(0.2, 1, 3000)
    truth = rng.random(3000) < scores
    order = rng.permutation(3000)
    one, _ = ask(select, scores, truth, 600, **targets)
    two, _ = ask(select, scores[order], truth[order], 600, **targets)
    assert (one.returned[order] == two.returned).all()
    assert one.grade == two.grade


@pytest.mark.parametrize(("select", "targets"), CALLS)
def test_wrong_arguments_are_refused(select: Select, targets: dict[str, Any]) -> None:
    scores, truth = np.linspace(0, 1, 50), np.arange(50) > 40
    for wrong in (0.0, 1.2):
        with pytest.raises(ValueError, match=r"target must be in \(0, 1\]"):
            ask(select, scores, truth, 5, **(targets | dict.fromkeys(BOTH & targets.keys(), wrong)))
    with pytest.raises(ValueError, match="delta must be in"):
        ask(select, scores, truth, 5, **(targets | {"delta": 0.0}))
    if "core_set" not in select.__name__:
        with pytest.raises(ValueError, match=r"scores in \[0, 1\].* got -1 to 3.*[Rr]escale"):
            ask(select, 4 * scores - 1, truth, 5, **targets)


def test_wrong_parameters_are_refused() -> None:
    scores, truth = np.linspace(0, 1, 50), np.arange(50) > 40
    for select, extra, message in [
        (select_recall_calibrated, {"within": 0.0}, "within must be above 0"),
        (select_recall_core_set, {"n_positive": 51}, r"n_positive must be in \[0, 50\]"),
        (select_recall_proxy_quality, {"sigma": -1.0}, "sigma must be a finite number"),
    ]:
        with pytest.raises(ValueError, match=message):
            ask(select, scores, truth, 5, recall=0.9, **extra)
    with pytest.raises(ValueError, match=r"n_core must be in \[0, 50\]"):
        ask(select_precision_core_set, scores, truth, 5, precision=0.9, n_core=-1)
    with pytest.raises(ValueError, match="at least one label is needed"):
        ask(select_recall_proxy_quality, scores, truth, 0, recall=0.9)
    with pytest.raises(ValueError, match=r"n_core must be in \[1, 5\]"):
        core_set_design(5, 6, 0.1)


# ---------------------------------------------------------------- calibrated tail


def tail_of(scores: np.ndarray, known: np.ndarray, within: float) -> CalibratedTail:
    labels = CountedLabels(lambda rows: rows < 0, 0)
    return CalibratedTail(Ledger(scores, labels, np.random.default_rng(0), known), within)


@given(st.integers(0, 10**6), st.floats(0.1, 20), st.floats(0.3, 0.95))
@settings(max_examples=60, deadline=None)
def test_the_sure_cut_by_hand(seed: int, within: float, target: float) -> None:
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.random(30))
    known = rng.integers(-1, 2, 30).astype(np.int8)
    tail, share = tail_of(scores, known, within), Share.beyond(target)
    cut, found = tail.sure_cut(share), int((known > 0).sum())
    for rank in (cut, cut - 1):
        most = int(within * scores[rank:].sum() * (1 + 1e-9) + 1e-9)
        most = min(most, 30 - rank) - int((known[rank:] > 0).sum())
        hidden = max(0, min(most, int((known[rank:] < 0).sum())))
        if rank >= 0:
            assert share.allows(hidden, found + hidden) == (rank == cut)


def test_known_positives_refute() -> None:
    scores = np.concatenate([np.full(500, 0.9), np.full(500, 1e-6)])
    truth = np.ones(1000, dtype=bool)
    known = np.where(np.arange(1000) % 2, 1, -1).astype(np.int8)
    answer, _ = ask(select_recall_calibrated, scores, truth, 100, known, recall=0.9)
    assert answer.grade == "distribution-free"
    assert answer.algorithm.endswith("calibration refuted by known positives")
    assert answer.assumption is answer.free_recall is None


def test_a_sample_refutes() -> None:
    rng = np.random.default_rng(3)
    scores = np.concatenate([rng.beta(5, 1, 300), 1e-7 * rng.random(20_000)])
    truth = np.arange(20_300) < 290
    truth[rng.choice(np.arange(300, 20_300), 1000, replace=False)] = True
    seen = [
        ask(select_recall_calibrated, scores, truth, 1000, seed=seed, recall=0.9)[0]
        for seed in range(8)
    ]
    assert all(answer.grade == "distribution-free" for answer in seen)
    assert any("refuted by the sample beyond rank" in answer.algorithm for answer in seen)


def test_a_leaning_answer_says_so() -> None:
    rng = np.random.default_rng(0)
    scores = rng.beta(0.01, 1.0, 20_000)
    truth = rng.random(20_000) < scores
    answer, _ = ask(select_recall_calibrated, scores, truth, 500, recall=0.9, within=4.0)
    assert answer.assumption == (
        "beyond any rank the positives are at most 4 times the sum of the proxy scores there"
    )
    assert answer.free_recall is not None
    assert 0 < answer.free_recall < 0.9
    assert answer.returned.sum() < 3000


def test_where_nothing_is_gained_nothing_is_assumed() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(5000) < 0.5
    scores = np.clip(0.5 + 0.3 * (truth - 0.5) + 0.2 * rng.standard_normal(5000), 0, 1)
    answer, _ = ask(select_recall_calibrated, scores, truth, 500, recall=0.9)
    assert answer.grade == "distribution-free"
    assert "refuted" not in answer.algorithm


# ---------------------------------------------------------------- proxy quality


def law_by_convolution(chances: np.ndarray) -> np.ndarray:
    law = np.ones(1)
    for p in chances:
        law = np.convolve(law, [1 - p, p])
    return law


@given(st.lists(st.floats(0, 1), max_size=60))
@settings(deadline=None)
def test_a_count_against_its_convolution(chances: list[float]) -> None:
    p = np.array(chances)
    got = count_law(p).cdf(np.arange(-1, len(p) + 1))
    assert np.abs(got[1:] - np.cumsum(law_by_convolution(p))).max() < ERROR
    assert got[0] == 0


@pytest.mark.parametrize("p", [1e-5, 0.003, 0.0999, 0.1001, 0.3, 0.5, 0.97, 1 - 1e-5])
@pytest.mark.parametrize("n", [1500, 200_000])
def test_a_count_of_equal_chances(n: int, p: float) -> None:
    law = count_law(np.full(n, p))
    counts = law.first + np.arange(len(law.chances))
    assert np.abs(law.cdf(counts) - binom.cdf(counts, n, p)).max() < ERROR
    assert law.at_least(law.first) == pytest.approx(1, abs=ERROR)


def test_a_count_of_unequal_chances() -> None:
    rng = np.random.default_rng(0)
    for p in (rng.random(3000), rng.beta(0.05, 1, 3000), rng.beta(5, 0.1, 3000)):
        law = count_law(p)
        exact = np.cumsum(law_by_convolution(p))
        assert np.abs(law.cdf(np.arange(len(exact))) - exact).max() < ERROR


def returned_under(sigma: float, delta: float, target: float, kind: str) -> int:
    scores = np.random.default_rng(1).beta(0.4, 1, 800)
    select = select_recall_proxy_quality if kind == "recall" else select_precision_proxy_quality
    no_labels = CountedLabels(lambda rows: rows < 0, 0)
    rng = np.random.default_rng(0)
    answer = select(scores, no_labels, delta=delta, rng=rng, sigma=sigma, **{kind: target})
    order = np.argsort(-scores)
    assert not (np.diff(answer.returned[order].astype(int)) > 0).any()  # a prefix
    return int(answer.returned.sum())


@given(st.floats(0.05, 0.5), st.floats(0.02, 0.5), st.floats(0.3, 0.95))
@settings(max_examples=30, deadline=None)
def test_proxy_quality_is_monotone(sigma: float, delta: float, target: float) -> None:
    more = returned_under(sigma, delta, target, "recall")
    assert more >= returned_under(sigma, min(0.9, 1.5 * delta), target, "recall")
    assert more <= returned_under(sigma, delta, target + 0.04, "recall")
    more = returned_under(sigma, delta, target, "precision")
    assert more >= returned_under(sigma, delta, target + 0.04, "precision")


def test_proxy_quality_by_brute_force() -> None:
    """The smallest prefix that keeps a recall target, from all outcomes of eight rows."""
    from itertools import product

    from scipy.special import ndtr

    scores, sigma, target, delta = np.linspace(0.9, 0.2, 8), 0.3, 0.7, 0.2
    chance = ndtr((0.5 - (1 - scores)) / sigma)
    kept = np.zeros(9)
    for outcome in product((0, 1), repeat=8):
        y = np.array(outcome)
        weight = np.prod(np.where(y, chance, 1 - chance))
        for end in range(9):
            kept[end] += weight * (10 * y[:end].sum() >= 7 * y.sum())
    best = int(np.flatnonzero(kept >= 1 - delta)[0])
    answer, labels = ask(
        select_recall_proxy_quality, scores, scores > 2, 0, recall=target, delta=delta, sigma=sigma
    )
    assert int(answer.returned.sum()) == best
    assert labels.spent == 0
    assert answer.assumption is not None
    assert "standard deviation 0.3, independently" in answer.assumption


# ---------------------------------------------------------------- near neighbours


def neighbours(
    method: str | None, seed: int = 0, budget: int = 800, **extra: Any
) -> tuple[Selection, np.ndarray, CountedDistances]:
    rng = np.random.default_rng(seed)
    oracle = rng.gamma(2.0, 0.4, 4000)
    proxy = oracle + rng.normal(0, 0.05, 4000)
    source = CountedDistances(lambda rows: oracle[rows], budget)
    asked = {"radius": 0.4, "delta": 0.1, "method": method} | extra
    answer = select_within(proxy, source, rng=np.random.default_rng(seed), **asked)
    return answer, oracle <= 0.4, source


@pytest.mark.parametrize("kind", ["recall", "precision"])
@pytest.mark.parametrize(
    ("method", "extra"),
    [
        (None, {}),
        ("proxy quality", {}),
        ("proxy quality", {"sigma": 0.05}),
        ("core set closure", {}),
    ],
)
def test_near_neighbours(method: str | None, extra: dict[str, Any], kind: str) -> None:
    kept = 0
    for seed in range(10):
        answer, near, source = neighbours(method, seed, **{kind: 0.8}, **extra)
        right = np.count_nonzero(answer.returned & near)
        size = near.sum() if kind == "recall" else answer.returned.sum()
        kept += right >= 0.8 * size
        assert source.spent <= 800
        assert not (extra and source.spent)
    assert kept >= 8


def test_near_neighbours_need_one_target_and_fitting_parameters() -> None:
    for extra, message in [
        ({}, "exactly one of recall and precision"),
        ({"recall": 0.9, "precision": 0.9}, "exactly one of recall and precision"),
        ({"recall": 0.9, "sigma": 0.1}, "sigma goes with"),
        ({"recall": 0.9, "n_core": 1}, "n_core goes with"),
    ]:
        with pytest.raises(ValueError, match=message):
            neighbours(None, **extra)
    with pytest.raises(ValueError, match="method must be"):
        neighbours("magic", recall=0.9)
    with pytest.raises(ValueError, match="1 missing"):
        select_within(
            np.arange(5.0), CountedDistances(lambda rows: np.append(np.nan, rows[1:]), 5),
            radius=1, recall=0.9, delta=0.1, rng=np.random.default_rng(0),
        )  # fmt: skip


def test_distances_of_embeddings() -> None:
    rng = np.random.default_rng(0)
    vectors, query = rng.standard_normal((40_000, 5)).astype(np.float32), rng.standard_normal(5)
    vectors[7] = 0
    got = embedding_distance(vectors, query)
    cosine = (
        vectors @ query / np.linalg.norm(query) / np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
    )
    assert np.isnan(got[7])
    assert np.abs(np.delete(got - (1 - cosine), 7)).max() < 1e-5
    with pytest.raises(ValueError, match="needs embeddings of 2 dimensions"):
        embedding_distance(np.arange(3.0), [1.0])
    with pytest.raises(ValueError, match="metric must be"):
        embedding_distance(np.eye(2), [1.0, 0.0], "euclid")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="budget must be"):
        CountedDistances(lambda rows: rows, -1)
    with pytest.raises(ValueError, match="asked for 2 distances, 1 remain"):
        CountedDistances(lambda rows: rows, 1)(np.arange(2))


# ---------------------------------------------------------------- normality


def baselines() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "baselines.py"
    spec = importlib.util.spec_from_file_location("supg_restated", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["supg_restated"] = module
    spec.loader.exec_module(module)
    return module


class Draws(np.random.Generator):
    """A generator that spends nothing on the order of ties, so that the draws are SUPG's."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._supg = np.random.default_rng(seed)

    def choice(self, *args: Any, **how: Any) -> Any:
        return self._supg.choice(*args, **how)

    def integers(self, high: int, size: int) -> Any:  # type: ignore[override]
        return np.zeros(size, dtype=np.int64)

    def permutation(self, count: int) -> Any:  # type: ignore[override]
        return np.arange(count)


@pytest.mark.parametrize("kind", ["recall", "precision"])
def test_the_normal_selectors_cut_where_supg_does(kind: str) -> None:
    """Beside SUPG's rows there are only verified positives, and only known negatives are gone."""
    supg = baselines()
    rng = np.random.default_rng(2)
    scores = rng.beta(0.1, 1, 8000)
    truth = rng.random(8000) < scores
    select = select_recall_normal if kind == "recall" else select_precision_normal
    cut_short = 0
    for seed in range(6):
        query = supg.Query(kind, 900, 0.9, 0.05)
        theirs = np.zeros(8000, dtype=bool)
        theirs[supg.supg(scores, supg.CountingOracle(truth), query, seed)] = True
        ours, _ = ask(select, scores, truth, 900, rng=Draws(seed), delta=0.05, **{kind: 0.9})
        bought = np.zeros(8000, dtype=bool)
        bought[np.concatenate([step.rows for step in ours.steps])] = True
        assert (theirs & ~ours.returned <= bought & ~truth).all()
        assert (ours.returned & ~theirs <= bought & truth).all()
        cut_short += not theirs.all()
    assert cut_short >= 4


def test_a_joint_normal_answer_is_labelled_or_not_met() -> None:
    rng = np.random.default_rng(2)
    scores = rng.beta(0.1, 1, 8000)
    truth = rng.random(8000) < scores
    rich, _ = ask(select_joint_normal, scores, truth, 5000, **BOTH)
    assert rich.met
    assert (truth[rich.returned]).all()
    poor, _ = ask(select_joint_normal, scores, truth, 300, **BOTH)
    assert not poor.met
    assert poor.precision_bound is None
