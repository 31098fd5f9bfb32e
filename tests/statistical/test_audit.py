"""Miscoverage of audits against known truth, judged by an exact binomial test at 1e-6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from thresher.sampling import CountedLabels, audit_selection, human_agreement, human_mean

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
    scores, truth = easy(rng, n)
    truth[np.argsort(scores)[: n // 2]] = rng.random(n // 2) < 0.02
    return scores, truth


def judge(data: Callable[..., Data], n: int, budget: int, trials: int, widest: float) -> None:
    """Audit the rows with the best scores, with and without strata, again and again."""
    scores, truth = data(np.random.default_rng(1), n)
    returned = scores > np.quantile(scores, 0.8)
    right = int((truth & returned).sum())
    true = {"precision": right / returned.sum(), "recall": right / truth.sum()}
    for given in (None, scores):
        failed, widths, false = 0, [], 0
        for seed in range(trials):
            audit = audit_selection(
                returned,
                CountedLabels(lambda rows: truth[rows], budget),
                delta=DELTA,
                rng=np.random.default_rng(seed),
                recall=min(1.0, true["recall"] + 0.001),
                scores=given,
            )
            failed += any(not lim.low <= true[name] <= lim.high for name, lim in audit.limits)
            false += audit.claims[0].verdict == "supported"  # the claim is a little too good
            widths.append(audit["recall"].high - audit["recall"].low)
        assert failed <= binom.isf(1e-6, trials, DELTA)
        assert false <= binom.isf(1e-6, trials, DELTA)
        assert np.median(widths) < widest


CASES = [(easy, 0.3), (skewed, 0.7), (hidden, 0.5)]


@pytest.mark.parametrize(("data", "widest"), CASES)
def test_coverage(data: Callable[..., Data], widest: float) -> None:
    judge(data, 2000, 500, 20, widest)


@pytest.mark.full
@pytest.mark.parametrize(("data", "widest"), CASES)
def test_coverage_in_full(data: Callable[..., Data], widest: float) -> None:
    judge(data, 2000, 500, 300, widest)


def people(trials: int) -> None:
    rng = np.random.default_rng(5)
    n = 3000
    truth = rng.random(n) < 0.2
    oracle = (truth ^ (rng.random(n) < 0.05)).astype(np.int8)
    returned = (oracle == 1) ^ (rng.random(n) < 0.02)
    value = np.clip(0.3 * truth + 0.5 * rng.random(n), 0, 1)
    predicted = value + 0.05 * rng.standard_normal(n)
    right = (truth & returned).sum()
    failed, failed_mean, widths = 0, 0, []
    for seed in range(trials):
        own = np.random.default_rng(seed)
        asked = own.choice(n, 600, replace=False)
        human = np.full(n, -1, dtype=np.int8)
        human[asked] = truth[asked]
        found = human_agreement(returned, oracle, human, delta=DELTA)
        failed += not (
            found.precision.low <= right / returned.sum() <= found.precision.high
            and found.recall.low <= right / truth.sum() <= found.recall.high
            and found.positives.low <= truth.sum() <= found.positives.high
        )
        given = np.full(n, np.nan)
        given[asked] = value[asked]
        mean = human_mean(predicted, given, value_range=(0.0, 1.0), delta=DELTA, rng=own)
        failed_mean += not mean.low <= value.mean() <= mean.high
        widths.append((found.recall.high - found.recall.low, mean.high - mean.low))
    assert failed <= binom.isf(1e-6, trials, DELTA)
    assert failed_mean <= binom.isf(1e-6, trials, DELTA)
    recall, mean_width = np.median(widths, axis=0)
    assert recall < 0.35
    assert mean_width < 0.03


def test_people() -> None:
    people(20)


@pytest.mark.full
def test_people_in_full() -> None:
    people(300)
