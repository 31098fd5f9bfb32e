"""Sums, means and ratios: every value m is the null sum (u - m v) = 0, tested draw by draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.sampling.certain_ranges import CertainRange
from thresher.sampling.draw_plan import Spread
from thresher.sampling.layout import Layout, Rows, compact
from thresher.sampling.line_bets import LinearTest
from thresher.sampling.measures import Measure
from thresher.sampling.value_forecasts import Forecast

__all__ = ["Controls", "LinearMeasure"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_NEAR = 1.2  # a row's reach counts nulls this many scatters away from the forecast
_LEAST_WIDE = 0.1  # of the scatter: no guess of a half width is smaller, however sure it is


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """Forecasts of u and v for every row, and the moments of what they miss; shape (n,) each."""

    u: Floats
    v: Floats
    uu: Floats
    uv: Floats
    vv: Floats


class LinearMeasure:
    """What u and v can be for every row, for one measure.

    Parameters
    ----------
    measure : Measure
        A count, a sum, a mean or a ratio.
    low, high : ndarray of float64, shape (n_columns, n)
        Bounds of the value of a row if it counts; NaN where it never does.
    """

    def __init__(self, measure: Measure, low: Floats, high: Floats) -> None:
        self.measure = measure
        self.is_sum = measure.kind in ("count", "sum")
        one = np.where(np.isnan(low[measure.column]), 0.0, 1.0)
        least, most = (np.where(one > 0, a[measure.column], 0.0) for a in (low, high))
        if measure.kind == "count":
            least, most = one, one
        self.corners = self._corners(least, most, one, low, high)
        self.certain = CertainRange(measure, self.corners, (least, most))
        self._forecasts: list[Forecast]
        self._all: Controls | None = None

    def _corners(
        self, least: Floats, most: Floats, one: Floats, low: Floats, high: Floats
    ) -> list[tuple[Floats, Floats]]:
        """Return points (u, v) whose convex hull holds what a row can contribute."""
        zero, measure = np.zeros_like(one), self.measure
        if self.is_sum:
            return [(np.minimum(least, 0.0), zero), (np.maximum(most, 0.0), zero)]
        if measure.kind == "mean":
            ends = [(least, one)] if np.array_equal(least, most) else [(least, one), (most, one)]
            return [(zero, zero), *ends]
        below, above = (np.nan_to_num(a[measure.denominator]) for a in (low, high))
        if not measure.together:
            least, most = np.minimum(least, 0.0), np.maximum(most, 0.0)
            below, above = np.minimum(below, 0.0), np.maximum(above, 0.0)
        both = ~np.isnan(low[measure.denominator]) & (one > 0)
        if measure.together:  # a row that cannot count in one of them counts in neither
            least, most, below, above = (
                np.where(both, a, 0.0) for a in (least, most, below, above)
            )
        pairs = [(least, below), (most, above), (least, above), (most, below)]
        if measure.together and np.array_equal(least, most) and np.array_equal(below, above):
            pairs = pairs[:1]
        return [(zero, zero), *pairs] if measure.together else pairs

    def contributions(self, values: Floats) -> tuple[Floats, Floats]:
        """Return u and v of rows with these values, shape (k, n_columns)."""
        value = values[:, self.measure.column]
        counted = ~np.isnan(value)
        if self.measure.kind == "count":
            return counted.astype(np.float64), np.zeros(len(value))
        u = np.where(counted, value, 0.0)
        if self.measure.kind == "sum":
            return u, np.zeros(len(value))
        if self.measure.kind == "mean":
            return u, counted.astype(np.float64)
        return u, np.nan_to_num(values[:, self.measure.denominator])

    def prepare(self, forecasts: list[Forecast]) -> None:
        """Use these forecasts from now on."""
        self._forecasts, self._all = forecasts, None

    @property
    def now(self) -> Controls:
        """The controls of all rows."""
        if self._all is None:
            self._all = self.controls(slice(None))
        return self._all

    def _means(self, at: Rows) -> tuple[Floats, Floats]:
        """Return the forecasts of u and v for some rows."""
        over = self._forecasts[self.measure.column]
        chance = over.chance[at]
        u = chance if self.measure.kind == "count" else chance * over.mean[at]
        if self.is_sum:
            return u, np.zeros(len(u))
        if self.measure.kind == "mean":
            return u, chance
        under = self._forecasts[self.measure.denominator or 0]
        return u, under.chance[at] * under.mean[at]

    def controls(self, at: Rows) -> Controls:
        """Return the controls of some rows."""
        over = self._forecasts[self.measure.column]
        u, v = self._means(at)
        g, s2 = over.chance[at], over.variance
        binary = g * (1 - g)
        if self.measure.kind == "count":
            return Controls(u, v, binary, v, v)
        x = over.mean[at]
        crossed = binary * x
        uu = crossed * x
        if s2:
            uu += g * s2
        if self.is_sum:
            return Controls(u, v, uu, v, v)
        if self.measure.kind == "mean":
            return Controls(u, v, uu, crossed, binary)
        under = self._forecasts[self.measure.denominator or 0]
        h, y, t2 = under.chance[at], under.mean[at], under.variance
        vv = h * t2 + h * (1 - h) * y**2
        return Controls(u, v, uu, crossed * y if self.measure.together else 0 * g, vv)

    def spread(self, rows: Integers, layout: Layout, known: tuple[Floats, Floats]) -> Spread:
        """Return what the measure would like of the draws among `rows`, laid out by group.

        `known` holds u and v of the labelled rows, summed by group.
        """
        n_groups = layout.n_groups
        centre, slope = np.zeros(n_groups), np.ones(n_groups)
        if not self.is_sum:
            top, slope = known[0].copy(), known[1].copy()
            for block in layout.blocks():
                u, v = self._means(compact(rows[block.part]))
                block.add(top, u)
                block.add(slope, v)
            centre = top / np.where(slope == 0, 1.0, slope)
        deviation, reach = np.empty(len(rows)), np.zeros(len(rows))
        scatter = self._scatter(rows, layout, centre, deviation)
        for block in layout.blocks():
            at = compact(rows[block.part])
            u, v = self._means(at)
            m, wide, mine = block.each(centre), block.each(scatter), reach[block.part]
            for one, two in self.corners:
                away = one[at] - u
                if not self.is_sum:
                    beside = two[at] - v
                    away -= m * beside
                np.abs(away, out=away)
                if not self.is_sum:
                    away += wide * np.abs(beside, out=beside)
                np.maximum(mine, away, out=mine)
        return Spread(centre, np.abs(slope), deviation, reach)

    def _scatter(
        self, rows: Integers, layout: Layout, centre: Floats, deviation: Floats | None = None
    ) -> Floats:
        """Return how far the values of each group lie from its centre, 0 for a sum.

        Written to `deviation` is that of each row's contribution about its control.
        """
        top, under = np.zeros(layout.n_groups), np.zeros(layout.n_groups)
        for block in layout.blocks():
            now = self.controls(compact(rows[block.part]))
            square = now.uu
            if not self.is_sum:
                m = block.each(centre)
                square = square - 2 * m * now.uv + m**2 * now.vv
                block.add(top, (now.u - m * now.v) ** 2 + square)
                block.add(under, np.abs(now.v))
            if deviation is not None:
                np.sqrt(np.maximum(square, 0.0), out=deviation[block.part])
        return np.asarray(_NEAR * np.sqrt(np.maximum(top, 0.0) / np.maximum(under, 1e-300)))

    def shapes(self, at: Rows, now: Controls, weights: Floats) -> Floats:
        """Return how far rows can be from their controls, by weight: shape (2, n_corners, k)."""
        shapes = np.empty((2, len(self.corners), len(weights)))
        for corner, (one, two) in enumerate(self.corners):
            np.subtract(one[at], now.u, out=shapes[0, corner])
            np.subtract(two[at], now.v, out=shapes[1, corner])
        return np.divide(shapes, weights, out=shapes)

    def known(self, values: Floats, group: Integers, n_groups: int) -> tuple[Floats, Floats]:
        """Return u and v of rows with these values, summed by group."""
        u, v = self.contributions(values)
        sums = [np.bincount(group, weights=a, minlength=n_groups) for a in (u, v)]
        return sums[0].astype(np.float64), sums[1].astype(np.float64)

    def start(
        self,
        place: tuple[int, int],
        rows: Integers,
        known: tuple[float, float],
        guess: tuple[float, float],
        level: float,
    ) -> LinearTest:
        """Return the bets for one group whose unknown rows are `rows`."""
        if not self.is_sum:
            layout = Layout(np.zeros_like(rows), 1)
            scatter = self._scatter(rows, layout, np.array([guess[0]]))
            guess = guess[0], max(guess[1], _LEAST_WIDE * float(scatter[0]))
        return LinearTest(self, place, known, self.certain.given(rows, *known), guess, level)
