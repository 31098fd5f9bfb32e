"""Sums, means and ratios: every value m is the null sum (u - m v) = 0, tested draw by draw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.sampling.betting import Payoffs, Wealth
from thresher.sampling.certain_ranges import CertainRange
from thresher.sampling.draw_plan import Spread, of_group
from thresher.sampling.draws import Batch, GroupDraws
from thresher.sampling.measures import BettingTest, Measure
from thresher.sampling.ranking import blocks
from thresher.sampling.value_forecasts import Forecast

__all__ = ["Controls", "LinearMeasure", "LinearTest"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Form = tuple[tuple[float, float], tuple[float, float]]  # x and y as combinations of A and B
_BLOCKS = (25, 25, 25, 25, 50, 50, 50, 50)  # bets are bounded anew after so many draws
_LATER = 100
_NEAR = 1.2  # a row's reach counts nulls this many scatters away from the forecast
_WIDE = 4.0  # a bet is halved for a null this many half widths away from the forecast
_EPS = float(np.finfo(np.float64).eps)
_LEAST_WIDE = 0.1  # and no nearer than this share of the scatter, however sure the forecast is


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
        self.now: Controls

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
        self.now = self._controls(forecasts)

    def _controls(self, forecasts: list[Forecast]) -> Controls:
        over = forecasts[self.measure.column]
        g, x, s2 = over.chance, over.mean, over.variance
        if self.measure.kind == "count":
            x, s2 = np.ones_like(x), 0.0
        binary = g * (1 - g)
        uu = g * s2 + binary * x**2
        if self.is_sum:
            zero = np.zeros_like(g)
            return Controls(g * x, zero, uu, zero, zero)
        if self.measure.kind == "mean":
            return Controls(g * x, g, uu, binary * x, binary)
        under = forecasts[self.measure.denominator or 0]
        h, y, t2 = under.chance, under.mean, under.variance
        vv = h * t2 + h * (1 - h) * y**2
        uv = binary * x * y if self.measure.together else np.zeros_like(g)
        return Controls(g * x, h * y, uu, uv, vv)

    def spread(self, rows: Integers, group: Integers, known: tuple[Floats, Floats]) -> Spread:
        """Return what the measure would like of the draws among `rows`, which are in `group`.

        `known` holds u and v of the labelled rows, summed by group.
        """
        n_groups, now = len(known[0]), self.now
        u, v = now.u[rows], now.v[rows]
        centre, slope = np.zeros(n_groups), np.ones(n_groups)
        if not self.is_sum:
            top = known[0] + np.bincount(group, weights=u, minlength=n_groups)
            slope = known[1] + np.bincount(group, weights=v, minlength=n_groups)
            centre = top / np.where(slope == 0, 1.0, slope)
        m = of_group(centre, group)
        square = now.uu[rows] - 2 * m * now.uv[rows] + m**2 * now.vv[rows]
        scatter = self._scatter(rows, group, m, n_groups)
        reach = np.zeros(len(rows))
        for one, two in self.corners:
            beside = two[rows] - v
            away = np.abs(one[rows] - u - m * beside) + scatter * np.abs(beside)
            np.maximum(reach, away, out=reach)
        return Spread(centre, np.abs(slope), np.sqrt(np.maximum(square, 0.0)), reach)

    def _scatter(self, rows: Integers, group: Integers, m: Floats, n_groups: int) -> Floats:
        """Return how far the values of a row's group lie from their mean: `of_group`."""
        if self.is_sum:
            return np.zeros(len(rows))
        now = self.now
        square = (now.u[rows] - m * now.v[rows]) ** 2 + now.uu[rows] - 2 * m * now.uv[rows]
        square += m**2 * now.vv[rows]
        weight = np.abs(now.v[rows])
        top, under = (np.bincount(group, weights=a, minlength=n_groups) for a in (square, weight))
        scatter = _NEAR * np.sqrt(np.maximum(top, 0.0) / np.maximum(under, 1e-300))
        return np.asarray(of_group(scatter, group), dtype=np.float64)

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
            scatter = self._scatter(rows, np.zeros_like(rows), np.array([guess[0]]), 1)
            guess = guess[0], max(guess[1], _LEAST_WIDE * float(scatter[0]))
        return LinearTest(self, place, known, self.certain.given(rows, *known), guess, level)


class LinearTest:
    """The bets on one measure in one group.

    Parameters
    ----------
    linear : LinearMeasure
        What is measured.
    place : tuple of int
        Positions of the measure and of the group.
    known : tuple of float
        u and v of the labelled rows of the group, summed.
    certain : tuple of float
        What the measure must lie between.
    guess : tuple of float
        Forecast of the measure, and of its half width after all draws.
    level : float
        Failure probability.
    """

    def __init__(
        self,
        linear: LinearMeasure,
        place: tuple[int, int],
        known: tuple[float, float],
        certain: tuple[float, float],
        guess: tuple[float, float],
        level: float,
    ) -> None:
        self.linear, self.place, self.level, self.certain = linear, place, level, certain
        self._seen_u, self._seen_v = known
        low, high = certain
        self.centre, self.spread = 0.0, 1.0
        if not linear.is_sum:
            self.centre = min(max(guess[0], low), high)
            self.spread = max(_WIDE * guess[1], 1e-9 * abs(self.centre), 1e-100)
        self._eps = _EPS * len(linear.corners[0][0])  # of a sum over the rows
        self._sums, self._parts = np.zeros(3), list[tuple[Floats, ...]]()
        self._rows = list[Integers]()
        c, s = self.centre, self.spread
        if linear.is_sum:
            self._wealth = [Wealth(low, high, level)]
            self._forms = [((1.0, 0.0), (0.0, -1.0))]
        else:
            self._wealth = [
                Wealth(self._place_of(low), 0.0, level),
                Wealth(0.0, self._place_of(high), level),
            ]
            self._forms = [((1.0, -c), (1.0, -c - s)), ((1.0, -c), (-1.0, c - s))]
        self._ends = self._wealth[0].low, self._wealth[-1].high

    def _place_of(self, m: float) -> float:
        """Return where on the segment a null lies."""
        if math.isinf(m):
            return math.copysign(1.0, m)
        return (m - self.centre) / (self.spread + abs(m - self.centre))

    def _null_at(self, p: float, side: float) -> float:
        """Return the null at a place of the segments, what rounding may hide towards `side`."""
        rest = 1.0 - abs(p)
        away = p
        if not self.linear.is_sum:
            away = self.spread * p / rest if rest > 1e-12 else math.copysign(math.inf, p)
        # Payoffs are sums over the rows: nulls that are nearer to each other look alike.
        return self.centre + away + side * self._eps * (abs(self.centre) + abs(away))

    def begin(self, draws: GroupDraws) -> None:
        """Prepare for draws with new weights and the present forecasts."""
        rows, w, controls = draws.rows, draws.weights, self.linear.now
        self._draws, self._control = draws, (controls.u[rows], controls.v[rows])
        u, v = self._control
        self._rest = [np.append(np.cumsum(a[::-1])[::-1], 0.0) for a in (u, v)]
        corners = self.linear.corners
        self._shapes = [((one[rows] - u) / w, (two[rows] - v) / w) for one, two in corners]
        total = float(draws.totals[0]) if len(rows) else 1.0
        moments = [
            float((a[rows] / w).sum()) / total for a in (controls.uu, controls.uv, controls.vv)
        ]
        for wealth, form in zip(self._wealth, self._forms, strict=True):
            wealth.restart(*_combine(form, moments))

    def absorb(self, batch: Batch, start: int, n_left: float) -> None:
        """Bet on draws that began at place `start` of the order; `n_left` are planned in all."""
        done = 0
        while done < len(batch.rows):
            n = sum(len(r) for r in self._rows)
            size = _LATER
            for block, end in zip(_BLOCKS, np.cumsum(_BLOCKS), strict=True):
                if n < end:
                    size = block
                    break
            part = slice(done, min(done + size, len(batch.rows)))
            self._absorb(batch, part, start + done, n_left - done)
            done = part.stop

    def _absorb(self, batch: Batch, part: slice, start: int, n_left: float) -> None:
        """Bet on one block of draws."""
        u, v = self.linear.contributions(batch.values[part])
        places = slice(start, start + len(u))
        scale, weights = batch.totals[part], batch.weights[part]
        offset_u = self._seen_u + np.cumsum(u) - u + self._rest[0][places]
        offset_v = self._seen_v + np.cumsum(v) - v + self._rest[1][places]
        control_u, control_v = (c[places] for c in self._control)
        a = (u - control_u) * (scale / weights) + offset_u
        b = (v - control_v) * (scale / weights) + offset_v
        if self.linear.is_sum:
            offset_v = b = np.ones(len(u))
        self._seen_u, self._seen_v = self._seen_u + float(u.sum()), self._seen_v + float(v.sum())
        bets = np.zeros((len(u), 4))
        first = 2 * (len(self._wealth) == 1)
        for k, (wealth, (fx, fy)) in enumerate(zip(self._wealth, self._forms, strict=True)):
            if not wealth.alive:
                continue
            payoffs = Payoffs(
                fx[0] * a + fx[1] * b,
                fy[0] * a + fy[1] * b,
                scale,
                fx[0] * offset_u + fx[1] * offset_v,
                fy[0] * offset_u + fy[1] * offset_v,
            )
            noise = self._noise((fx, fy), (offset_u, offset_v)) / float(scale.min())
            ends = [self._extremes((fx, fy), p, start, noise) for p in (wealth.low, wealth.high)]
            end = self._scale_end(start, n_left)
            wealth.extend(payoffs, (ends[0], ends[1]), n_left, end)
            wealth.narrow()
            bets[:, first + 2 * k : first + 2 * k + 2] = wealth.last_bets
        relative = 1 / scale**2
        self._sums += np.array([relative @ a, relative @ b, relative.sum()])
        self._rows.append(batch.rows[part])
        self._parts.append((scale / weights, offset_u, offset_v, control_u, control_v, bets))

    def _scale_end(self, start: int, n_left: float) -> float:
        draws, now = self._draws, float(self._draws.totals[start])
        rest = draws.weights[start:]
        return max(now - n_left * float(rest @ rest) / now, now / (1 + len(rest)))

    def _extremes(self, form: Form, p: float, start: int, noise: float) -> tuple[float, float]:
        """Return the least and the largest payoff of a row that is left, less what is fixed."""
        one, two = (x + p * y for x, y in zip(*form, strict=True))
        least, most = 0.0, 0.0
        for alpha, beta in self._shapes:
            for part in blocks(len(alpha) - start):
                inside = slice(start + part.start, start + part.stop)
                value = one * alpha[inside]
                if two:
                    value += two * beta[inside]
                least, most = min(least, float(value.min())), max(most, float(value.max()))
        return least - noise, most + noise

    def _noise(self, form: Form, offsets: tuple[Floats, Floats]) -> float:
        """Bound what rounding may add to a payoff."""
        sizes = [float(np.abs(a).max()) for a in offsets]
        terms = [abs(x) * size for xy in form for x, size in zip(xy, sizes, strict=True)]
        return self._eps * sum(terms)

    def limits(self) -> tuple[float, float, float]:
        """Return the estimate and the limits so far."""
        low, high = self._bounds()
        top, under, total = self._sums
        guess = self.centre
        if total > 0:
            guess = top / total if self.linear.is_sum else (top / under if under else guess)
        elif self.linear.is_sum:
            guess = self._seen_u + (self._rest[0][0] if hasattr(self, "_rest") else 0.0)
        return min(max(guess, low), high), low, high

    def _bounds(self) -> tuple[float, float]:
        """Return the least and the last null that stand; an end that never moved is as certain."""
        alive = [w for w in self._wealth if w.alive] or self._wealth
        low, high = self.certain
        if alive[0].low != self._ends[0]:
            low = max(low, self._null_at(alive[0].low, -1.0))
        if alive[-1].high != self._ends[1]:
            high = min(high, self._null_at(alive[-1].high, 1.0))
        return low, high

    def half_width(self, n_left: float) -> float:
        """Predict the half width after `n_left` further draws."""
        draws = self._draws
        if not draws.left:
            return 0.0
        scale, end = float(draws.totals[draws.taken]), draws.scale_after(n_left)
        widths = []
        for wealth in self._wealth:
            if wealth.alive:
                p = wealth.estimate
                half = wealth.half_width(n_left, scale, end)
                stretch = 1.0 if self.linear.is_sum else self.spread / max(1 - abs(p), 1e-9) ** 2
                widths.append(half * stretch)
        return min(widths, default=0.0)

    def record(self) -> BettingTest:
        """Return what is needed to recompute the interval."""
        empty = (*[np.zeros(0)] * 5, np.zeros((0, 4)))
        scale, *fixed, bets = (np.concatenate(a) for a in zip(empty, *self._parts, strict=True))
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *self._rows])
        return BettingTest(
            *self.place,
            rows,
            scale,
            *(fixed[0], fixed[1], fixed[2], fixed[3]),
            bets,
            self.centre,
            self.spread,
            self.level,
            self.certain,
        )


def _combine(form: Form, moments: list[float]) -> tuple[float, float, float]:
    """Return the moments of x and y, which are linear in u and v."""
    (xa, xb), (ya, yb) = form
    uu, uv, vv = moments
    return (
        xa * xa * uu + 2 * xa * xb * uv + xb * xb * vv,
        xa * ya * uu + (xa * yb + xb * ya) * uv + xb * yb * vv,
        ya * ya * uu + 2 * ya * yb * uv + yb * yb * vv,
    )
