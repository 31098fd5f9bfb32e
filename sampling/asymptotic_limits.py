"""Limits from stratified samples by a normal approximation: sums, ratios (Fieller), quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.sampling.group_counts import Part
from thresher.sampling.lines import LinearMeasure
from thresher.sampling.measures import Measure

__all__ = ["Interval", "count_interval", "linear_interval", "quantile_interval"]

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float, float]
_FEW = 6.0  # rows that count, before a fitted slope is believed by half
_GRID = 9  # nulls that are tried at once
_ZOOMS = 12
_ROUNDING = 1e-9


def count_interval(strata: Sequence[tuple[int, int, int]], n_known: float, z: float) -> Interval:
    """Return estimate and limits of a count.

    Parameters
    ----------
    strata : sequence of (n_rows, n_sample, n_found)
    n_known : float
        Rows known to count.
    z : float
        Normal deviate.

    Notes
    -----
    The variance of a stratum is taken at the share (x + 1) / (n + 2), so that a sample without a
    single row that counts still has one (after Agresti and Coull 1998).

    Examples
    --------
    >>> [round(end, 1) for end in count_interval([(1000, 100, 0)], 0.0, 1.96)]
    [0.0, 0.0, 18.3]
    """
    least = n_known + float(sum(x for _, _, x in strata))
    most = least + float(sum(n_rows - n_sample for n_rows, n_sample, _ in strata))
    if not all(n_sample for _, n_sample, _ in strata):
        return 0.5 * (least + most), least, most
    estimate, variance = n_known, 0.0
    for n_rows, n_sample, n_found in strata:
        estimate += n_rows * n_found / n_sample
        share = (n_found + 1) / (n_sample + 2)
        left = 1 - n_sample / n_rows
        variance += n_rows**2 * left * share * (1 - share) / n_sample
    half = z * math.sqrt(variance)
    return estimate, max(estimate - half, least), min(estimate + half, most)


@dataclass(frozen=True, slots=True, eq=False)
class _Adjusted:
    """The sample of one stratum, less what the forecast says of it.

    `u`, `v` and the corners are (n,): a contribution less its regression on the forecast, which
    has mean 0 over the stratum. `scale` turns the variance within into that of the total.
    """

    n_rows: int
    u: Floats
    v: Floats
    corners: tuple[tuple[Floats, Floats], ...]
    scale: float

    def variances(self, a: Floats, b: Floats, side: float) -> Floats:
        """Variance of the estimated total of a u - b v, for each null (a, b).

        It includes one further row, at the end of its range that is harmful on this side: the mean
        over the sampled rows of what they could have contributed at the most.
        """
        if not self.scale:
            return np.zeros(len(a))
        seen = np.multiply.outer(a, self.u) - np.multiply.outer(b, self.v)
        ends = [np.multiply.outer(a, one) - np.multiply.outer(b, two) for one, two in self.corners]
        worst = side * np.max([side * end for end in ends], axis=0)
        centre = seen.mean(axis=1, keepdims=True)
        first = (worst - centre).mean(axis=1)
        squares = ((seen - centre) ** 2).sum(axis=1) + ((worst - centre) ** 2).mean(axis=1)
        n = len(self.u)
        return np.asarray(self.scale * (squares - first**2 / (n + 1)) / n)


def _adjust(part: Part, linear: LinearMeasure, values: Floats) -> _Adjusted:
    """Regress the contributions of a stratum's sample on their forecasts."""
    rows, n_rows = part.drawn, len(part.members)
    u, v = linear.contributions(values[:, rows].T)
    scale = n_rows**2 * (1 - len(rows) / n_rows) / len(rows)
    corners = [(one[rows], two[rows]) for one, two in linear.corners]
    if not scale:
        return _Adjusted(n_rows, u, v, tuple(corners), 0.0)
    less = []
    for y, forecast in ((u, linear.now.u), (v, linear.now.v)):
        x = forecast[rows]
        away = x - x.mean()
        square, n_hits = float(away @ away), float(np.count_nonzero(y))
        flat = square <= _ROUNDING * float(x @ x)
        slope = 0.0 if flat else float(away @ y) / square
        less.append(slope * n_hits / (n_hits + _FEW) * (x - forecast[part.members].mean()))
    return _Adjusted(
        n_rows,
        u - less[0],
        v - less[1],
        tuple((one - less[0], two - less[1]) for one, two in corners),
        scale,
    )


def linear_interval(
    linear: LinearMeasure,
    parts: Sequence[Part],
    values: Floats,
    known: tuple[float, float],
    z: float,
) -> Interval:
    """Return estimate and limits of a sum, a mean or a ratio in one group.

    Parameters
    ----------
    linear : LinearMeasure
        With finite corners, prepared with forecasts.
    parts : sequence of Part
        All strata of the group.
    values : ndarray of float64, shape (n_columns, n)
        NaN where a row does not count.
    known : (float, float)
        Contributions of the rows known before, above and below the line, summed.
    z : float
        Normal deviate.

    Notes
    -----
    A mean or a ratio is the m at which sum (u - m v) = 0 (Fieller 1954): the limits are the outer
    ends of the m at which its estimate is less than z deviations from 0, infinite if these have
    no end.
    """
    if not all(len(part.drawn) for part in parts):
        return math.nan, -math.inf, math.inf
    strata = [_adjust(part, linear, values) for part in parts]
    top = known[0] + sum(s.n_rows * float(s.u.mean()) for s in strata)
    under = known[1] + sum(s.n_rows * float(s.v.mean()) for s in strata)

    sign = 1.0 if linear.is_sum else math.copysign(1.0, under)

    def deviation(a: Floats, b: Floats, side: float) -> Floats:
        total = np.sum([s.variances(sign * a, sign * b, side) for s in strata], axis=0)
        return np.asarray(z * np.sqrt(np.maximum(total, 0.0)))

    if linear.is_sum:
        one, zero = np.ones(1), np.zeros(1)
        below, above = (float(deviation(one, zero, side)[0]) for side in (-1.0, 1.0))
        return top, top - below, top + above
    if under == 0.0 or (under < 0 and linear.measure.kind == "mean"):
        return math.nan, -math.inf, math.inf
    middle = top / under
    below, above = (_fieller(middle, abs(under), side, deviation) for side in (-1.0, 1.0))
    return middle, below, above


def _fieller(
    middle: float,
    under: float,
    side: float,
    deviation: Callable[[Floats, Floats, float], Floats],
) -> float:
    """Return the last m on one side that is not refused.

    Nulls are written m = middle + side step t / (1 - t), t in [0, 1], and scaled by 1 - t, so that
    infinity is no special case.
    """
    one, at = np.ones(1), np.array([middle])
    step = max(float(deviation(one, at, side)[0]) / under, 1e-9 * (1 + abs(middle)))
    first, last = 0.0, 1.0
    for _ in range(_ZOOMS):
        t = np.linspace(first, last, _GRID)
        away = side * step * t
        kept = np.abs(away * under) <= deviation(1 - t, (1 - t) * middle + away, side)
        k = int(np.flatnonzero(kept)[-1]) if kept.any() else 0
        if k == _GRID - 1:
            break
        first, last = float(t[k]), float(t[k + 1])
    if last == 1.0:
        return side * math.inf
    return middle + side * step * last / (1 - last)


def quantile_interval(
    measure: Measure,
    parts: Sequence[Part],
    bounds: tuple[Floats, Floats],
    values: Floats,
    known: Floats,
    z: float,
) -> Interval:
    """Return estimate and limits of a quantile in one group.

    Parameters
    ----------
    measure : Measure
    parts : sequence of Part
        All strata of the group.
    bounds : tuple of ndarray of float64, shape (n,)
        Of the value of a row if it counts; NaN where it never does.
    values : ndarray of float64, shape (n,)
        NaN where a row does not count.
    known : ndarray of float64, shape (k,)
        Values of the rows known before, ascending.
    z : float
        Normal deviate.

    Notes
    -----
    Woodruff (1952): the values at which the estimate of sum v (1[x <= t] - q) is less than z
    deviations from 0.
    """
    q = float(measure.share or 0.0)
    found = [values[p.drawn][~np.isnan(values[p.drawn])] for p in parts]
    nodes = np.unique(np.concatenate([known, *found]))
    if not len(nodes) or not all(len(part.drawn) for part in parts):
        return math.nan, -math.inf, math.inf
    nodes = np.append(np.nextafter(nodes[0], -np.inf), nodes)
    total = np.searchsorted(known, nodes, "right") - q * len(known)
    variances = np.zeros((2, len(nodes)))
    for part, counted in zip(parts, found, strict=True):
        mean, variance = _signs_of(part, np.sort(counted), bounds, nodes, q)
        total = total + len(part.members) * mean
        variances += variance
    below_it, above_it = z * np.sqrt(variances)
    slack = _ROUNDING * sum(len(p.members) for p in parts)
    at_least = np.flatnonzero(total + above_it >= -slack)
    at_most = np.flatnonzero(total - below_it >= slack)
    low = nodes[at_least[0]] if len(at_least) and at_least[0] else -math.inf
    high = nodes[at_most[0]] if len(at_most) else math.inf
    middle = np.flatnonzero(total >= -slack)
    return float(nodes[middle[0] if len(middle) else -1]), float(low), float(high)


def _signs_of(
    part: Part, counted: Floats, bounds: tuple[Floats, Floats], nodes: Floats, q: float
) -> tuple[Floats, Floats]:
    """Return the mean of v (1[x <= node] - q) in a stratum's sample, and the variance of its total.

    The variance has two rows: with one further row above the node, and with one at or below.
    """
    n_rows, n = len(part.members), len(part.drawn)
    below = np.searchsorted(counted, nodes, "right").astype(np.float64)
    above = len(counted) - below
    centre = ((1 - q) * below - q * above) / n
    squares = below * (1 - q - centre) ** 2 + above * (q + centre) ** 2
    squares += (n - len(counted)) * centre**2
    scale, variances = n_rows**2 * (1 - n / n_rows) / n, []
    for share, end in zip(_open_ends(bounds, part, nodes), (-q, 1 - q), strict=True):
        first = share * end - centre
        more = share * (end - centre) ** 2 + (1 - share) * centre**2
        variances.append(scale * (squares + more - first**2 / (n + 1)) / n)
    return centre, np.array(variances)


def _open_ends(bounds: tuple[Floats, Floats], part: Part, nodes: Floats) -> tuple[Floats, Floats]:
    """Return which share of the sampled rows could lie above each node, and which at or below."""
    low, high = (np.sort(b[part.drawn][~np.isnan(b[part.drawn])]) for b in bounds)
    above = len(high) - np.searchsorted(high, nodes, "right")
    return above / len(part.drawn), np.searchsorted(low, nodes, "right") / len(part.drawn)
