"""Aggregates on tiny populations, over every sequence of draws with its exact chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from thresher.sampling.draws import Batch, GroupDraws
from thresher.sampling.extremes import ExtremeTarget
from thresher.sampling.lines import LinearMeasure
from thresher.sampling.measures import BettingTest, Column, Measure
from thresher.sampling.quantiles import QuantileTarget
from thresher.sampling.sequential import Bets, Target
from thresher.sampling.tally import tally
from thresher.sampling.value_forecasts import Forecast

X = np.array([0.0, 1.0, 1.0, 3.0, 8.0])
BELOW = np.array([2.0, 1.0, 3.0, 1.0, 4.0])
N = len(X)
WEIGHTS = np.array([0.3, 0.1, 0.15, 0.25, 0.2])
CHANCE = np.array([0.1, 0.9, 0.4, 0.2, 0.7])
PLAIN = Column(X, X)
RANGED = Column(0.0, 8.0, X[::-1])
PATTERNS = [np.array(y) for y in product([False, True], repeat=N) if any(y)]


def two_columns(y: np.ndarray) -> np.ndarray:
    """Values of both columns, shape (2, N), NaN where a row does not count."""
    return np.where(y, np.stack([X, BELOW]), np.nan)


def the_truth(measure: Measure, y: np.ndarray) -> float:
    return float(tally(measure, two_columns(y), np.zeros(N, dtype=np.int64), 1)[0])


class FixedDraws(GroupDraws):
    """Draws in an order that is given."""

    def __init__(self, order: np.ndarray) -> None:
        self.rows, self.weights = order, WEIGHTS[order]
        self.totals = np.append(np.cumsum(self.weights[::-1])[::-1], 0.0)
        self.taken, self.n_ordered, self._squares = 0, len(order), 0.0


def orders(count: int) -> Iterator[tuple[np.ndarray, float]]:
    """Every sequence of draws, the rest in any order, with its chance."""
    for first in permutations(range(N), count):
        chance, left = 1.0, WEIGHTS.sum()
        for row in first:
            chance *= WEIGHTS[row] / left
            left -= WEIGHTS[row]
        rest = [row for row in range(N) if row not in first]
        yield np.array([*first, *rest], dtype=np.int64), chance


def make(measure: Measure, column: Column) -> Target:
    low, high = (
        np.stack([np.broadcast_to(np.asarray(b, dtype=float), N), BELOW])
        for b in (column.low, column.high)
    )
    if measure.kind == "quantile":
        return QuantileTarget(measure, low, high)
    if measure.kind in ("min", "max"):
        return ExtremeTarget(measure, low, high)
    return LinearMeasure(measure, low, high)


def play(
    measure: Measure,
    column: Column,
    y: np.ndarray,
    count: int,
    level: float,
    after: Callable[[Bets], None] = lambda bets: None,
) -> Iterator[tuple[Bets, float]]:
    """The bets after every sequence of draws; the forecasts are wrong, two rows end the pilot."""
    value = two_columns(y)
    prediction = X if column.prediction is None else column.prediction
    forecast = Forecast(CHANCE, prediction, 0.0 if column.prediction is None else 4.0)
    other = Forecast(1 - CHANCE, prediction, forecast.variance)
    for order, chance in orders(count):
        target = make(measure, column)
        under = Forecast(CHANCE, BELOW, 0.0)
        target.prepare([forecast, under])
        sums = target.known(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), 1)
        known = (float(sums[0][0]), float(sums[1][0]))
        bets = target.start((0, 0), np.arange(N), known, (2.0, 1.0), level)
        draws = FixedDraws(order)
        bets.begin(draws)
        for t in range(count):
            if t == 2:  # new forecasts for the rows that are left
                target.prepare([other, under])
                left = FixedDraws(order[2:])
                bets.begin(left)
                draws = left
            part = draws.take(1)
            rows = draws.rows[part]
            batch = Batch(rows, draws.weights[part], draws.totals[part], value[:, rows].T)
            bets.absorb(batch, part.start, float(count - t))
            after(bets)
        yield bets, chance


LINEAR = [
    (Measure("count", 0), PLAIN),
    (Measure("sum", 0), PLAIN),
    (Measure("sum", 0), RANGED),
    (Measure("mean", 0), PLAIN),
    (Measure("mean", 0), RANGED),
    (Measure("ratio", 0, denominator=1), PLAIN),
    (Measure("ratio", 0, denominator=1, together=True), RANGED),
]
ORDERED = [
    (Measure("quantile", 0, share=0.5), PLAIN),
    (Measure("quantile", 0, share=0.8), RANGED),
    (Measure("max", 0), PLAIN),
    (Measure("min", 0), RANGED),
]


def fortunes(test: BettingTest, y: np.ndarray, measure: Measure, null: float) -> list[float]:
    """The last value of each fortune against the null, from the record and the labels alone."""
    value = np.where(y, X, 0.0)[test.rows]
    u = y[test.rows].astype(float) if measure.kind == "count" else value
    below = np.where(y, BELOW, 0.0)[test.rows]
    v = {"mean": y[test.rows].astype(float), "ratio": below}.get(measure.kind, 0 * value)
    a = (u - test.control_u) * test.scale + test.offset_u
    b = (v - test.control_v) * test.scale + test.offset_v
    is_sum = measure.kind in ("count", "sum")
    z = a - null * (1.0 if is_sum else b)
    if not is_sum:
        z *= test.spread / (test.spread + abs(null - test.centre))
    pairs = (2, 3) if is_sum else ((0, 1) if null < test.centre else (2, 3))
    return [
        float(np.prod(1 + s * test.bets[:, k] * z)) for k, s in zip(pairs, (1, -1), strict=True)
    ]


@pytest.mark.parametrize(("measure", "column"), LINEAR)
def test_fortunes_are_fair_under_the_truth(measure: Measure, column: Column) -> None:
    """Their mean over all sequences of draws is 1, the one thing that Ville's inequality needs."""
    for y in PATTERNS[2::9]:
        truth = the_truth(measure, y)
        mean, spread = np.zeros(2), 0.0
        for bets, chance in play(measure, column, y, 3, 1e-9):
            found = fortunes(bets.record(), y, measure, truth)
            assert min(found) >= 0
            spread = max(spread, abs(found[0] - 1))
            mean += chance * np.array(found)
        np.testing.assert_allclose(mean, 1.0, atol=1e-9)
        assert spread > 0  # something was at stake


def test_a_control_that_is_not_taken_back_is_not_fair() -> None:
    measure, y = Measure("sum", 0), PATTERNS[11]
    mean = 0.0
    for bets, chance in play(measure, PLAIN, y, 3, 1e-9):
        test = bets.record()
        wrong = replace(test, control_u=test.control_u + 1)
        mean += chance * fortunes(wrong, y, measure, X[y].sum())[1]
    assert mean > 1.0001


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("column", [PLAIN, RANGED])
def test_quantile_fortunes_do_not_grow_under_the_truth(share: float, column: Column) -> None:
    measure = Measure("quantile", 0, share=share)
    for y in PATTERNS[2::9]:
        truth = np.sort(X[y])[int(np.ceil(share * y.sum() - 1e-9)) - 1]
        mean = np.zeros(2)
        for bets, chance in play(measure, column, y, 3, 1e-9):
            upper = int(np.searchsorted(bets.nodes, truth))
            lower = int(np.searchsorted(bets.nodes, truth, "right")) - 1
            mean += chance * np.exp([bets._log[0][upper], bets._log[1][lower]])
        assert (mean <= 1 + 1e-9).all()
        assert (mean > 0.05).all()  # and they are not thrown away


@pytest.mark.parametrize(("measure", "column"), LINEAR + ORDERED)
def test_no_population_is_missed_more_often_than_the_level(
    measure: Measure, column: Column
) -> None:
    _judge(measure, column, PATTERNS[4::13])


@pytest.mark.full
@pytest.mark.parametrize(("measure", "column"), LINEAR + ORDERED)
def test_no_population_is_missed_at_all_sizes(measure: Measure, column: Column) -> None:
    _judge(measure, column, PATTERNS)


def _judge(
    measure: Measure, column: Column, patterns: list[np.ndarray], level: float = 0.95
) -> None:
    for y in patterns:
        truth, missed, out = the_truth(measure, y), 0.0, [False]

        look = _looking(measure, y, truth, out)
        for _, chance in play(measure, column, y, 3, level, look):
            missed += chance * out[0]
            out[0] = False
        assert missed <= level + 1e-12


def _looking(
    measure: Measure, y: np.ndarray, truth: float, out: list[bool]
) -> Callable[[Bets], None]:
    """Return what notes that the limits have ever left out the truth."""

    def look(bets: Bets) -> None:
        _, low, high = bets.limits()
        out[0] |= not low <= truth <= high
        if measure.kind in ("min", "max"):
            test, sign = bets.record(), 1 if measure.kind == "max" else -1
            beyond = np.count_nonzero(sign * X[y] > bets._best) / y.sum()
            out[0] |= beyond > test.n_beyond / test.n_counted + 1e-9

    return look
