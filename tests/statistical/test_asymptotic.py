"""Miscoverage of normal limits. Nominal miscoverage is not promised: at most 2.5 times of it is
tested, by an exact binomial test at 1e-6 for every interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from thresher.sampling import Column, CountedValues, Measure, estimate_aggregates_normal
from thresher.sampling.tally import tally

pytestmark = pytest.mark.statistical

DELTA, EXCESS = 0.04, 2.5  # of one interval
Data = tuple[np.ndarray, np.ndarray]
MEASURES = [
    Measure("count", 0),
    Measure("sum", 0),
    Measure("mean", 0),
    Measure("sum", 1),
    Measure("mean", 1),
    Measure("ratio", 1, denominator=0, together=True),
    Measure("quantile", 0, share=0.5),
]
WIDEST = 1.0  # of the truth, in the median


def common(rng: np.random.Generator, n: int) -> Data:
    counts = rng.random(n) < 0.3
    return 1 / (1 + np.exp(-np.where(counts, 1.5, -1.5) - rng.standard_normal(n))), counts


def rare(rng: np.random.Generator, n: int) -> Data:
    scores = rng.beta(0.05, 1.0, n)
    return scores, rng.random(n) < scores


def useless(rng: np.random.Generator, n: int) -> Data:
    return rng.random(n), rng.random(n) < 0.25


def clumped(rng: np.random.Generator, n: int) -> Data:
    scores = rng.beta(0.3, 2, n)
    counts = rng.random(n) < 0.8 * scores
    counts[rng.choice(np.argsort(scores)[: n // 2], n // 100, replace=False)] = True
    return scores, counts


def misses(data: Callable[..., Data], n: int, budget: int, trials: int, n_groups: int) -> None:
    """Count the misses of every interval; column 0 is plain, column 1 an oracle's without range."""
    rng = np.random.default_rng(1)
    scores, counts = data(rng, n)
    x = np.minimum(rng.gamma(2.0, 2.0, n) + 3 * counts, 20.0)
    given = np.clip(5 + 2 * rng.standard_normal(n), 0, 10)
    prediction = 5 + 0.8 * (given - 5) + 0.8 * rng.standard_normal(n)
    values = np.where(counts[:, None], np.stack([x, given], axis=1), np.nan)
    groups = rng.integers(0, n_groups, n)
    truth = np.array([tally(m, values.T, groups, n_groups) for m in MEASURES])
    missed, widths = np.zeros(truth.shape), []
    for seed in range(trials):
        answer = estimate_aggregates_normal(
            scores,
            CountedValues(lambda rows: values[rows], budget),
            [Column(x, x), Column(-np.inf, np.inf, prediction)],
            MEASURES,
            delta=DELTA * truth.size,
            rng=np.random.default_rng(seed),
            groups=groups,
            n_groups=n_groups,
        )
        low, high = (
            np.array([getattr(m, end) for m in answer.measures]) for end in ("low", "high")
        )
        missed += (truth < low - 1e-9) | (truth > high + 1e-9)
        widths.append((high - low) / truth)
    assert (missed <= binom.isf(1e-6, trials, EXCESS * DELTA)).all()
    assert missed.sum() > 0  # else nothing was tested
    assert (np.median(widths, axis=0) < WIDEST).all()


@pytest.mark.parametrize("data", [rare, useless])
def test_coverage(data: Callable[..., Data]) -> None:
    misses(data, 1500, 300, 60, 1)


@pytest.mark.full
@pytest.mark.parametrize("data", [common, rare, useless, clumped])
def test_coverage_in_full(data: Callable[..., Data]) -> None:
    misses(data, 3000, 400, 600, 1)


@pytest.mark.full
def test_coverage_of_groups() -> None:
    misses(common, 3000, 900, 300, 3)
