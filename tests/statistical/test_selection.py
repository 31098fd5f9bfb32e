"""Failure rates of whole queries against known truth, judged by an exact binomial test at 1e-6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from thresher.sampling import CountedLabels, select_joint, select_precision, select_recall

pytestmark = pytest.mark.statistical

DELTA, TARGET = 0.1, 0.9
Data = tuple[np.ndarray, np.ndarray]


def easy(rng: np.random.Generator, n: int) -> Data:
    truth = rng.random(n) < 0.2
    return 1 / (1 + np.exp(-np.where(truth, 2.0, -2.0) - rng.standard_normal(n))), truth


def skewed(rng: np.random.Generator, n: int) -> Data:
    scores = rng.beta(0.05, 1.0, n)
    return scores, rng.random(n) < scores


def tied(rng: np.random.Generator, n: int) -> Data:
    scores, truth = easy(rng, n)
    order = np.argsort(truth, kind="stable")  # the rows follow the truth: ties must not
    return np.round(4 * scores)[order] / 4, truth[order]


def constant(rng: np.random.Generator, n: int) -> Data:
    return np.full(n, 0.5), np.arange(n) < n // 5


def inverted(rng: np.random.Generator, n: int) -> Data:
    scores, truth = easy(rng, n)
    return 1 - scores, truth


def clumped(rng: np.random.Generator, n: int) -> Data:
    """Near the highest failure rate: an eighth of the positives hides at the very bottom."""
    truth = rng.random(n) < 0.2
    scores = np.where(truth, rng.beta(8, 2, n), rng.beta(1, 8, n))
    hidden = truth & (rng.random(n) < 0.125)
    return np.where(hidden, 1e-6 * rng.random(n), scores), truth


def swapped(rng: np.random.Generator, n: int) -> Data:
    """The best scores are negatives: a pilot there says the opposite of the rest."""
    scores, truth = easy(rng, n)
    top = np.argsort(-scores)[: n // 20]
    truth = truth.copy()
    truth[top] = False
    return scores, truth


PROXIES: list[Callable[[np.random.Generator, int], Data]] = [
    easy, skewed, tied, constant, inverted, clumped, swapped,
]  # fmt: skip


def allowed(trials: int) -> int:
    """Most failures that a failure probability of DELTA explains at the level 1e-6."""
    return int(binom.isf(1e-6, trials, DELTA))


def shares(returned: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    right = np.count_nonzero(returned & truth)
    recall = right / np.count_nonzero(truth) if truth.any() else 1.0
    return recall, right / np.count_nonzero(returned) if returned.any() else 1.0


def run_recall(data: Callable[..., Data], n: int, budget: int, trials: int) -> np.ndarray:
    scores, truth = data(np.random.default_rng(1), n)
    out = []
    for seed in range(trials):
        labels = CountedLabels(lambda rows: truth[rows], budget)
        rng = np.random.default_rng(seed)
        result = select_recall(scores, labels, recall=TARGET, delta=DELTA, rng=rng)
        assert labels.spent <= budget
        out.append(shares(result.returned, truth))
    return np.array(out)


def run_precision(data: Callable[..., Data], n: int, budget: int, trials: int) -> np.ndarray:
    scores, truth = data(np.random.default_rng(1), n)
    out = []
    for seed in range(trials):
        labels = CountedLabels(lambda rows: truth[rows], budget)
        rng = np.random.default_rng(seed)
        result = select_precision(scores, labels, precision=TARGET, delta=DELTA, rng=rng)
        recall, precision = shares(result.returned, truth)
        assert result.precision_bound is not None
        out.append((recall, precision, precision < result.precision_bound - 1e-12))
    return np.array(out)


def run_joint(data: Callable[..., Data], n: int, budget: int, trials: int) -> np.ndarray:
    scores, truth = data(np.random.default_rng(1), n)
    out = []
    for seed in range(trials):
        labels = CountedLabels(lambda rows: truth[rows], budget)
        rng = np.random.default_rng(seed)
        result = select_joint(scores, labels, recall=TARGET, precision=TARGET, delta=DELTA, rng=rng)
        recall, precision = shares(result.returned, truth)
        assert result.precision_bound is not None
        assert result.recall_bound is not None
        assert not result.met or result.precision_bound >= TARGET
        failed = recall < result.recall_bound - 1e-12
        failed |= precision < result.precision_bound - 1e-12
        out.append((recall, precision, failed, labels.spent, result.met))
    return np.array(out)


@pytest.mark.parametrize("proxy", PROXIES)
def test_recall(proxy: Callable[..., Data]) -> None:
    got = run_recall(proxy, 2000, 300, 100)
    assert np.count_nonzero(got[:, 0] < TARGET) <= allowed(len(got))
    if proxy is easy:
        assert got[:, 1].mean() > 0.55  # the whole table would be 0.2
        assert got[:, 0].mean() < 0.999


@pytest.mark.parametrize("proxy", [skewed, inverted, clumped])
def test_recall_with_a_census(proxy: Callable[..., Data]) -> None:
    """Rare positives and many labels: the best rows are labelled first."""
    got = run_recall(proxy, 3000, 1400, 40)
    assert np.count_nonzero(got[:, 0] < TARGET) <= allowed(len(got))


@pytest.mark.parametrize("proxy", PROXIES)
def test_precision(proxy: Callable[..., Data]) -> None:
    got = run_precision(proxy, 2000, 150, 100)
    assert np.count_nonzero(got[:, 1] < TARGET) <= allowed(len(got))
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got))
    if proxy is easy:
        scores, truth = easy(np.random.default_rng(1), 2000)
        best = np.argsort(-scores)[:150]
        assert got[:, 0].mean() > 1.5 * truth[best].sum() / truth.sum()


@pytest.mark.parametrize("proxy", [easy, tied, inverted, clumped])
def test_both(proxy: Callable[..., Data]) -> None:
    got = run_joint(proxy, 2000, 2000, 15)
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got))
    assert got[:, 4].all()
    if proxy is easy:
        assert got[:, 3].mean() < 1200


@pytest.mark.parametrize("proxy", [easy, clumped])
def test_both_with_too_few_labels(proxy: Callable[..., Data]) -> None:
    got = run_joint(proxy, 3000, 300, 20)
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got))
    assert not got[:, 4].all()


@pytest.mark.full
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(("n", "budget"), [(400, 120), (10_000, 500), (10_000, 2000)])
def test_recall_at_length(proxy: Callable[..., Data], n: int, budget: int) -> None:
    got = run_recall(proxy, n, budget, 1000)
    assert np.count_nonzero(got[:, 0] < TARGET) <= allowed(len(got))


@pytest.mark.full
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(("n", "budget"), [(400, 60), (10_000, 300), (10_000, 1000)])
def test_precision_at_length(proxy: Callable[..., Data], n: int, budget: int) -> None:
    got = run_precision(proxy, n, budget, 1000)
    assert np.count_nonzero(got[:, 1] < TARGET) <= allowed(len(got))
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got))


@pytest.mark.full
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("budget", [800, 5000])
def test_both_at_length(proxy: Callable[..., Data], budget: int) -> None:
    got = run_joint(proxy, 5000, budget, 200)
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got))
