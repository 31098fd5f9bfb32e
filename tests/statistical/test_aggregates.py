"""Miscoverage of aggregates against known truth, judged by an exact binomial test at 1e-6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from thresher.sampling.aggregates import estimate_aggregates
from thresher.sampling.measures import AggregateEstimate, Column, ErrorTarget, Measure
from thresher.sampling.tally import tally
from thresher.sampling.values import CountedValues

pytestmark = pytest.mark.statistical

DELTA = 0.2
Data = tuple[np.ndarray, np.ndarray]
MEASURES = [
    Measure("count", 0),
    Measure("sum", 0),
    Measure("mean", 0),
    Measure("mean", 1),
    Measure("quantile", 0, share=0.5),
]
WIDEST = {"count": 1.0, "sum": 1.2, "mean": 1.0, "quantile": 1.6}  # of the truth


def common(rng: np.random.Generator, n: int) -> Data:
    counts = rng.random(n) < 0.3
    return 1 / (1 + np.exp(-np.where(counts, 1.5, -1.5) - rng.standard_normal(n))), counts


def rare(rng: np.random.Generator, n: int) -> Data:
    scores = rng.beta(0.05, 1.0, n)
    return scores, rng.random(n) < scores


def useless(rng: np.random.Generator, n: int) -> Data:
    return rng.random(n), rng.random(n) < 0.25


def inverted(rng: np.random.Generator, n: int) -> Data:
    scores, counts = common(rng, n)
    return 1 - scores, counts


class Table:
    """Column 0 is plain and depends on whether a row counts; column 1 is the oracle's."""

    def __init__(
        self, data: Callable[..., Data], n: int, shares: tuple[float, ...] = (1.0,)
    ) -> None:
        rng = np.random.default_rng(1)
        self.scores, self.counts = data(rng, n)
        self.x = np.minimum(rng.gamma(2.0, 2.0, n) + 3 * self.counts, 20.0)
        given = np.clip(5 + 2 * rng.standard_normal(n), 0, 10)
        prediction = 5 + 0.8 * (given - 5) + 0.8 * rng.standard_normal(n)
        self.values = np.where(self.counts[:, None], np.stack([self.x, given], axis=1), np.nan)
        self.columns = [Column(self.x, self.x), Column(0.0, 10.0, prediction)]
        self.groups = rng.choice(len(shares), n, p=np.array(shares) / sum(shares))
        self.n_groups = len(shares)

    def ask(
        self, measures: list[Measure], budget: int, seed: int, error: ErrorTarget | None = None
    ) -> AggregateEstimate:
        return estimate_aggregates(
            self.scores,
            CountedValues(lambda rows: self.values[rows], budget),
            self.columns,
            measures,
            delta=DELTA,
            rng=np.random.default_rng(seed),
            groups=self.groups,
            n_groups=self.n_groups,
            error=error,
        )

    def misses(self, measures: list[Measure], answer: AggregateEstimate) -> bool:
        for measure, found in zip(measures, answer.measures, strict=True):
            truth = tally(measure, self.values.T, self.groups, self.n_groups)
            inside = (found.low <= truth) & (truth <= found.high)
            if not inside[~np.isnan(truth)].all():
                return True
        return False


def judge(
    table: Table,
    measures: list[Measure],
    budget: int,
    trials: int,
    error: ErrorTarget | None = None,
) -> list[AggregateEstimate]:
    answers = [table.ask(measures, budget, seed, error) for seed in range(trials)]
    failures = sum(table.misses(measures, answer) for answer in answers)
    assert failures <= binom.isf(1e-6, trials, DELTA)
    return answers


CASES = [common, rare, useless, inverted]


@pytest.mark.parametrize("data", CASES)
@pytest.mark.parametrize("measure", MEASURES[1:], ids=lambda m: f"{m.kind}{m.column}")
def test_coverage_of_one_measure(data: Callable[..., Data], measure: Measure) -> None:
    table = Table(data, 1500)
    answers = judge(table, [measure], 300, 12)
    truth = tally(measure, table.values.T, table.groups, 1)[0]
    widths = [float(a.measures[0].high[0] - a.measures[0].low[0]) for a in answers]
    if data is not rare:
        assert np.median(widths) < WIDEST[measure.kind] * truth


def test_coverage_of_groups_of_unequal_size() -> None:
    table = Table(common, 2500, (0.7, 0.2, 0.08, 0.015, 0.005))
    judge(table, MEASURES, 500, 20)


@pytest.mark.full
def test_coverage_of_counts_in_groups_of_unequal_size() -> None:
    judge(Table(common, 2500, (0.7, 0.2, 0.08, 0.015, 0.005)), [Measure("count", 0)], 500, 60)


@pytest.mark.parametrize("kind", ["count", "mean"])
def test_coverage_when_stopped(kind: str) -> None:
    table = Table(common, 4000)
    answers = judge(table, [Measure(kind, 0)], 4000, 12, ErrorTarget(0.15, relative=True))
    assert all(answer.met for answer in answers)
    spent = [sum(len(step.rows) for step in answer.steps) for answer in answers]
    assert np.median(spent) < 0.5 * 4000


@pytest.mark.full
@pytest.mark.parametrize("data", CASES)
def test_coverage_in_full(data: Callable[..., Data]) -> None:
    for measure in MEASURES:
        judge(Table(data, 2000), [measure], 400, 200)
    judge(Table(data, 3000, (0.7, 0.2, 0.08, 0.02)), MEASURES, 600, 100)
    judge(Table(data, 3000), [Measure("sum", 0)], 3000, 100, ErrorTarget(0.3, relative=True))
