"""How likely each row is drawn, and how many draws each group gets. No guarantee rests on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.sampling.layout import Block, Layout

__all__ = ["Costs", "DrawPlan", "Spread", "allocate", "plan_draws"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_SHARES = (0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)  # of the draws that follow the range
_HALF = 0.5  # weights by which the units of the measures are taken
_RANGE_TERM = 1 / 3
_LEAST_RANGE = 0.03
_LEAST_COST = 1e-15  # of the largest, so that no price is out of range


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """What one measure would like of the draws.

    Parameters
    ----------
    centre : ndarray of float64, shape (n_groups,)
        Forecast of the measure.
    slope : ndarray of float64, shape (n_groups,)
        Change of a group's total with the measure; 1 for a sum, the count for a mean.
    deviation : ndarray of float64, shape (n,)
        Forecast standard deviation of a row's contribution about its control.
    reach : ndarray of float64, shape (n,)
        How far it can be from its control.
    """

    centre: Floats
    slope: Floats
    deviation: Floats
    reach: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Predicted squared width a / n + b / n^2 after n draws; shape (n_groups,) each."""

    a: Floats
    b: Floats


@dataclass(frozen=True, slots=True, eq=False)
class DrawPlan:
    """Weights of the rows, adding up to 1 in every group, and what the groups cost.

    Parameters
    ----------
    weights : ndarray of float64, shape (n,)
        Chances of the first draw.
    costs : Costs
        Of all measures together, each in units of its own.
    each : tuple of Costs
        Of each measure, in its own square units.
    """

    weights: Floats
    costs: Costs
    each: tuple[Costs, ...]

    def half_width(self, measure: int, draws: Floats) -> Floats:
        """Forecast the half width of a measure after so many draws in every group."""
        cost, n = self.each[measure], np.maximum(draws, 1.0)
        return np.asarray(np.sqrt(cost.a / n) + np.sqrt(cost.b) / n)


class _Ends:
    """Weights that follow the deviations, and weights that follow the range, block by block.

    Both add up to 1 in every group. They are worked out anew where they are needed, which takes
    less than keeping them.
    """

    def __init__(self, spreads: list[Spread], layout: Layout) -> None:
        self._spreads, self._uniform = spreads, 1 / np.maximum(layout.counts, 1)
        self._tops = [_LEAST_RANGE * layout.tops(s.reach) for s in spreads]
        self._totals = np.zeros((len(spreads), 2, layout.n_groups))
        for block in layout.blocks():
            for k, total in enumerate(self._totals):
                for end, value in zip(total, self._raw(k, block), strict=True):
                    block.add(end, value)
        self._all = np.zeros((2, layout.n_groups))
        if len(spreads) > 1:
            for block in layout.blocks():
                for end, value in zip(self._all, self._together(block), strict=True):
                    block.add(end, value)

    def _raw(self, k: int, block: Block) -> tuple[Floats, Floats]:
        s = self._spreads[k]
        reach = np.maximum(s.reach[block.part], block.each(self._tops[k]))
        return s.deviation[block.part] + 1e-3 * reach, reach

    def _one(self, k: int, block: Block) -> list[Floats]:
        """Return the ends of one measure."""
        pairs = zip(self._raw(k, block), self._totals[k], strict=True)
        return [self._normal(value, block, total) for value, total in pairs]

    def _together(self, block: Block) -> list[Floats]:
        """Return the roots of the summed squares of all measures' ends."""
        each = [self._one(k, block) for k in range(len(self._spreads))]
        return [
            np.sqrt(np.sum([end**2 for end in ends], axis=0)) for ends in zip(*each, strict=True)
        ]

    def at(self, block: Block) -> list[Floats]:
        """Return both for the rows of a block."""
        if len(self._spreads) == 1:  # the roots of their squares
            return self._one(0, block)
        pairs = zip(self._together(block), self._all, strict=True)
        return [self._normal(value, block, total) for value, total in pairs]

    def _normal(self, value: Floats, block: Block, total: Floats) -> Floats:
        """Divide by a group's total; uniform where that is 0."""
        totals = block.each(total)
        if (total[block.groups] > 0).all():
            return np.asarray(value / totals)
        safe = np.where(totals > 0, totals, 1.0)
        return np.where(totals > 0, value / safe, block.each(self._uniform))


def plan_draws(spreads: list[Spread], layout: Layout, counts: Floats, level: float) -> DrawPlan:
    """Choose the weights with the least predicted width.

    Parameters
    ----------
    spreads : list of Spread
        One for each measure, for the rows that are not labelled.
    layout : Layout
        Those rows.
    counts : ndarray of float64, shape (n_groups,)
        Draws that each group is thought to get.
    level : float
        Failure probability of one interval.

    Returns
    -------
    DrawPlan
    """
    ends = _Ends(spreads, layout)
    log, draws = math.log(2 / level), np.maximum(counts, 1.0)
    units = [1.0]  # what comes of it hangs on no unit, where there is one
    if len(spreads) > 1:
        units = [_unit(cost) for cost in _costs(spreads, ends, layout, (_HALF,), log)[0]]
    best = np.full(layout.n_groups, np.inf)
    chosen = np.ones(layout.n_groups)
    each = [Costs(np.zeros(layout.n_groups), np.zeros(layout.n_groups)) for _ in spreads]
    costs = _costs(spreads, ends, layout, _SHARES, log)
    for share, tried in zip(_SHARES, costs, strict=True):
        total = _total(tried, units)
        cost = (np.sqrt(total.a / draws) + np.sqrt(total.b) / draws) ** 2
        better = cost < best
        best[better], chosen[better] = cost[better], share
        _take(each, tried, better)
    if np.isinf(best).any():  # no share is better than the range alone
        _take(each, _costs(spreads, ends, layout, (1.0,), log)[0], np.isinf(best))
    weights = np.empty(layout.n_rows)
    for block in layout.blocks():
        (wanted, floor), part = ends.at(block), block.each(chosen)
        weights[block.part] = (1 - part) * wanted + part * floor
    return DrawPlan(weights, _total(each, units), tuple(each))


def _take(costs: list[Costs], others: list[Costs], groups: npt.NDArray[np.bool_]) -> None:
    """Replace the costs of some groups."""
    for cost, other in zip(costs, others, strict=True):
        cost.a[groups], cost.b[groups] = other.a[groups], other.b[groups]


def _costs(
    spreads: list[Spread],
    ends: _Ends,
    layout: Layout,
    shares: tuple[float, ...],
    log: float,
) -> list[list[Costs]]:
    """Predict the squared half widths for each share of the range, of each measure.

    A variance term, and one for the reach of a single row.
    """
    variance = np.zeros((len(shares), len(spreads), layout.n_groups))
    edge = np.zeros_like(variance)
    for block in layout.blocks():
        squares = [s.deviation[block.part] ** 2 for s in spreads]
        first, floor = ends.at(block)
        more = floor - first
        for i, share in enumerate(shares):
            inverse = share * more
            inverse += first
            np.divide(1.0, inverse, out=inverse)
            for k, s in enumerate(spreads):
                block.add(variance[i, k], squares[k] * inverse)
                block.raise_to(edge[i, k], s.reach[block.part] * inverse)
    slopes = [np.maximum(s.slope, 1e-9) ** 2 for s in spreads]
    return [
        [
            Costs(2 * log * a / slope, (log * _RANGE_TERM * b) ** 2 / slope)
            for a, b, slope in zip(variance[i], edge[i], slopes, strict=True)
        ]
        for i in range(len(shares))
    ]


def _unit(cost: Costs) -> float:
    """Return what makes the widths of different measures comparable."""
    return float(cost.a.mean()) or float(cost.b.mean()) or 1.0


def _total(each: list[Costs], units: list[float]) -> Costs:
    pairs = list(zip(each, units, strict=True))
    a = np.sum([c.a / u for c, u in pairs], axis=0)
    return Costs(a, np.sum([c.b / u for c, u in pairs], axis=0))


def allocate(costs: Costs, rows: Integers, budget: int, least: Integers) -> Integers:
    """Deal draws out to groups so that the sum of predicted squared widths is least.

    Parameters
    ----------
    costs : Costs
        Predicted squared widths.
    rows : ndarray of int64, shape (n_groups,)
        Rows that can be drawn.
    budget : int
        Draws to deal out; at most the sum of `rows`.
    least : ndarray of int64, shape (n_groups,)
        Draws that a group must get, as far as the budget goes.

    Returns
    -------
    ndarray of int64, shape (n_groups,)
        Adds up to `budget`.

    Examples
    --------
    >>> costs = Costs(np.array([100.0, 400.0]), np.zeros(2))
    >>> allocate(costs, np.array([1000, 1000]), 300, np.zeros(2, dtype=np.int64)).tolist()
    [100, 200]
    """
    least = np.minimum(least, rows)
    if least.sum() >= budget:
        part = budget / max(int(least.sum()), 1)
        return _whole(least.astype(np.float64) * part, rows, budget)
    if len(rows) == 1:
        return np.array([min(budget, int(rows[0]))])
    unit = max(float(costs.a.max()), float(costs.b.max())) or 1.0
    costs = Costs(*(np.maximum(c / unit, _LEAST_COST) for c in (costs.a, costs.b)))
    ends = np.log(np.maximum(_price(costs, np.array([[1e-3], [1e9]])), 1e-300))
    low, high = float(ends.min()), float(ends.max())
    for _ in range(50):
        middle = 0.5 * (low + high)
        if _draws(costs, rows, least, math.exp(middle)).sum() > budget:
            low = middle
        else:
            high = middle
    return _whole(_draws(costs, rows, least, math.exp(high)), rows, budget)


def _price(costs: Costs, n: Floats) -> Floats:
    """Return by how much one more draw narrows each group."""
    return np.asarray(costs.a / n**2 + 2 * costs.b / n**3)


def _draws(costs: Costs, rows: Integers, least: Integers, price: float) -> Floats:
    """Return the draws at which one more draw narrows each group by the price."""
    n = np.maximum(np.sqrt(costs.a / price), np.cbrt(2 * costs.b / price))
    for _ in range(8):  # Newton in a convex function, from below its root
        n = np.maximum(n, 1e-6)
        slope = 2 * costs.a / n**3 + 6 * costs.b / n**4
        n = n + (_price(costs, n) - price) / np.maximum(slope, 1e-300)
    return np.clip(n, least, rows)


def _whole(draws: Floats, rows: Integers, budget: int) -> Integers:
    """Round draws to whole numbers that add up to the budget."""
    out = np.minimum(np.floor(draws + 1e-9).astype(np.int64), rows)
    order = np.argsort(out - draws, kind="stable")
    while (missing := budget - int(out.sum())) > 0:
        open_ = order[out[order] < rows[order]]
        if not len(open_):
            break
        give = min(missing, len(open_))
        out[open_[:give]] += 1
        if missing > len(open_):
            room = (rows - out)[open_]
            out[open_] += np.minimum(room, (missing - give) // len(open_))
    return out
