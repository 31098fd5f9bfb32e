"""How likely each row is drawn, and how many draws each group gets. No guarantee rests on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Costs", "DrawPlan", "Spread", "allocate", "of_group", "plan_draws"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_SHARES = (0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)  # of the draws that follow the range
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


def _sums(value: Floats, group: Integers, n_groups: int) -> Floats:
    return np.bincount(group, weights=value, minlength=n_groups).astype(np.float64)


def _tops(value: Floats, group: Integers, n_groups: int) -> Floats:
    if n_groups == 1:
        return np.array([value.max(initial=0.0)])
    out = np.zeros(n_groups)
    np.maximum.at(out, group, value)
    return out


def of_group(value: npt.NDArray[np.generic], group: Integers) -> npt.NDArray[Any]:
    """Return the value of each row's group, or that of the only group, which broadcasts."""
    return value if len(value) == 1 else value[group]


def _normal(value: Floats, group: Integers, n_groups: int) -> Floats:
    """Scale values so that they add up to 1 in every group; uniform where all are 0."""
    total = _sums(value, group, n_groups)
    count = np.maximum(np.bincount(group, minlength=n_groups), 1)
    safe = np.where(total > 0, total, 1.0)
    return np.where(
        of_group(total > 0, group), value / of_group(safe, group), 1 / of_group(count, group)
    )


def plan_draws(
    spreads: list[Spread], group: Integers, n_groups: int, counts: Floats, level: float
) -> DrawPlan:
    """Choose the weights with the least predicted width.

    Parameters
    ----------
    spreads : list of Spread
        One for each measure, for the rows that are not labelled.
    group : ndarray of int64, shape (n,)
        Group of each of those rows.
    n_groups : int
    counts : ndarray of float64, shape (n_groups,)
        Draws that each group is thought to get.
    level : float
        Failure probability of one interval.

    Returns
    -------
    DrawPlan
    """
    wanted, floor = np.zeros(len(group)), np.zeros(len(group))
    for s in spreads:
        top = _tops(s.reach, group, n_groups)
        reach = np.maximum(s.reach, _LEAST_RANGE * of_group(top, group))
        wanted += _normal(s.deviation + 1e-3 * reach, group, n_groups) ** 2
        floor += _normal(reach, group, n_groups) ** 2
    wanted = _normal(np.sqrt(wanted), group, n_groups)
    floor = _normal(np.sqrt(floor), group, n_groups)
    log = math.log(2 / level)
    draws = np.maximum(counts, 1.0)
    half = 0.5 * (wanted + floor)
    units = [_unit(_cost(s, half, group, n_groups, log)) for s in spreads]
    best = np.full(n_groups, np.inf)
    weights = floor.copy()
    for share in _SHARES:
        tried = (1 - share) * wanted + share * floor
        each = [_cost(s, tried, group, n_groups, log) for s in spreads]
        total = _total(each, units)
        cost = (np.sqrt(total.a / draws) + np.sqrt(total.b) / draws) ** 2
        better = cost < best
        best = np.where(better, cost, best)
        weights = np.where(of_group(better, group), tried, weights)
    each = [_cost(s, weights, group, n_groups, log) for s in spreads]
    return DrawPlan(weights, _total(each, units), tuple(each))


def _cost(s: Spread, weights: Floats, group: Integers, n_groups: int, log: float) -> Costs:
    """Predict the squared half width: a variance term, and one for the reach of a single row."""
    slope = np.maximum(s.slope, 1e-9) ** 2
    variance = _sums(s.deviation**2 / weights, group, n_groups)
    edge = _tops(s.reach / weights, group, n_groups)
    return Costs(2 * log * variance / slope, (log * _RANGE_TERM * edge) ** 2 / slope)


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
