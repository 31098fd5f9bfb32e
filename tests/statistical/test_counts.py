"""Miscoverage of COUNT against known truth, judged by an exact binomial test at 1e-6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from thresher.sampling.counts import count_limits, estimate_count
from thresher.sampling.labels import CountedLabels

pytestmark = pytest.mark.statistical

DELTA = 0.1
Data = tuple[np.ndarray, np.ndarray]


def easy(rng: np.random.Generator, n: int) -> Data:
    truth = rng.random(n) < 0.2
    return 1 / (1 + np.exp(-np.where(truth, 2.0, -2.0) - rng.standard_normal(n))), truth


def skewed(rng: np.random.Generator, n: int) -> Data:
    scores = rng.beta(0.05, 1.0, n)
    return scores, rng.random(n) < scores


def hidden(rng: np.random.Generator, n: int) -> Data:
    """About as many positives as a sample just fails to see stand at the very bottom."""
    scores = np.sort(rng.beta(0.05, 1.0, n))
    truth = rng.random(n) < scores
    truth[: n // 2] = rng.random(n // 2) < 0.02
    return scores, truth


def inverted(rng: np.random.Generator, n: int) -> Data:
    scores, truth = easy(rng, n)
    return 1 - scores, truth


def run(data: Callable[..., Data], n: int, budget: int, trials: int) -> tuple[int, int, float]:
    """Return how often the truth was above and below the limits, and the median width.

    The width is given as a share of that of the exact limits of a typical uniform sample.
    """
    scores, truth = data(np.random.default_rng(1), n)
    total, above, below, widths = int(truth.sum()), 0, 0, []
    for seed in range(trials):
        labels = CountedLabels(lambda rows: truth[rows], budget)
        result = estimate_count(scores, labels, delta=DELTA, rng=np.random.default_rng(seed))
        above += total > result.high
        below += total < result.low
        widths.append(result.high - result.low)
    low, high = count_limits([(n, budget, round(budget * total / n))], DELTA)
    return above, below, float(np.median(widths)) / (high - low)


def judge(data: Callable[..., Data], n: int, budget: int, trials: int, widest: float) -> None:
    above, below, width = run(data, n, budget, trials)
    assert above + below <= binom.isf(1e-6, trials, DELTA)
    assert above <= binom.isf(1e-6, trials, 0.6 * DELTA)
    assert below <= binom.isf(1e-6, trials, 0.4 * DELTA)
    assert width < widest


CASES = [(easy, 0.6), (skewed, 0.75), (hidden, 0.85), (inverted, 0.6)]


@pytest.mark.parametrize(("data", "widest"), CASES)
def test_coverage(data: Callable[..., Data], widest: float) -> None:
    judge(data, 1200, 120, 30, widest)


@pytest.mark.full
@pytest.mark.parametrize(("data", "widest"), CASES)
def test_coverage_in_full(data: Callable[..., Data], widest: float) -> None:
    judge(data, 2000, 200, 300, widest)
