"""Bets on a sum, a mean or a ratio in one group, draw by draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from thresher.sampling.betting import Payoffs, Wealth
from thresher.sampling.draws import Batch, GroupDraws
from thresher.sampling.farthest import Farthest, outer_points
from thresher.sampling.layout import compact
from thresher.sampling.measures import BettingTest
from thresher.sampling.ranking import blocks

if TYPE_CHECKING:
    from thresher.sampling.lines import Controls, LinearMeasure

__all__ = ["LinearTest"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Form = tuple[tuple[float, float], tuple[float, float]]  # x and y as combinations of A and B
_BLOCKS = (25, 25, 25, 25, 50, 50, 50, 50)  # bets are bounded anew after so many draws
_LATER = 100
_TOGETHER = 1 << 14  # rows worked on at once: what they need stays in the cache
_WIDE = 4.0  # a bet is halved for a null this many half widths away from the forecast
_EPS = float(np.finfo(np.float64).eps)


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
        moments = self._take_up(draws) / (float(draws.totals[0]) if len(draws.rows) else 1.0)
        for wealth, form in zip(self._wealth, self._forms, strict=True):
            wealth.restart(*_combine(form, moments.tolist()))

    def follow(self, draws: GroupDraws) -> None:
        """Go on with the same draws, of which more are in order now."""
        self._take_up(draws)

    def _take_up(self, draws: GroupDraws) -> Floats:
        """Note the controls of the draws, and return the sums of their moments by weight."""
        linear, n_ordered = self.linear, draws.n_ordered
        rows, weights = draws.rows[:n_ordered], draws.weights[:n_ordered]
        now = linear.controls(rows)
        self._draws, self._control = draws, (now.u, now.v)
        self._shapes = linear.shapes(rows, now, weights)
        moments = _moments(now, weights)
        sums, outer = np.zeros(2), list[tuple[Floats, Floats]]()
        fan = self._fan() if len(draws.rows) > n_ordered else np.zeros((0, 2))
        for part in blocks(len(draws.rows) - n_ordered, _TOGETHER):
            inside = slice(n_ordered + part.start, n_ordered + part.stop)
            at, weights = compact(draws.rows[inside]), draws.weights[inside]
            now = linear.controls(at)
            sums += now.u.sum(), now.v.sum()
            moments += _moments(now, weights)
            if len(fan):
                shapes = linear.shapes(at, now, weights).reshape(2, -1)
                outer.append(outer_points(shapes, fan[[0, len(fan) // 2, -1]]))
        self._rest = [
            np.cumsum(np.append(rest, a[::-1]))[::-1]
            for rest, a in zip(sums, self._control, strict=True)
        ]
        self._far = [
            Farthest(np.hstack(points), side * fan)
            for points, side in zip(zip(*outer, strict=True), (1.0, -1.0), strict=bool(outer))
        ]
        return moments

    def _fan(self) -> Floats:
        """Return directions of payoffs, by u and v, that span those of all nulls that stand."""
        fan = [
            (fx[0] + p * fy[0], fx[1] + p * fy[1])
            for wealth, (fx, fy) in zip(self._wealth, self._forms, strict=True)
            if wealth.alive
            for p in np.linspace(wealth.low, wealth.high, 3).tolist()
        ]
        return np.array(fan).reshape(-1, 2)

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
            end = self._draws.scale_from(start, n_left)
            wealth.extend(payoffs, (ends[0], ends[1]), n_left, end)
            wealth.narrow()
            bets[:, first + 2 * k : first + 2 * k + 2] = wealth.last_bets
        relative = 1 / scale**2
        self._sums += np.array([relative @ a, relative @ b, relative.sum()])
        self._rows.append(batch.rows[part])
        self._parts.append((scale / weights, offset_u, offset_v, control_u, control_v, bets))

    def _extremes(self, form: Form, p: float, start: int, noise: float) -> tuple[float, float]:
        """Return the least and the largest payoff of a row that is left, less what is fixed."""
        one, two = (x + p * y for x, y in zip(*form, strict=True))
        alpha, beta = self._shapes[:, :, start:]
        value = one * alpha
        if two:
            value += two * beta
        least, most = float(value.min(initial=0.0)), float(value.max(initial=0.0))
        if self._far:
            above, below = self._far
            most, least = max(most, above.reach(one, two)), min(least, -below.reach(-one, -two))
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


def _moments(now: Controls, weights: Floats) -> Floats:
    return np.array([float((a / weights).sum()) for a in (now.uu, now.uv, now.vv)])


def _combine(form: Form, moments: list[float]) -> tuple[float, float, float]:
    """Return the moments of x and y, which are linear in u and v."""
    (xa, xb), (ya, yb) = form
    uu, uv, vv = moments
    return (
        xa * xa * uu + 2 * xa * xb * uv + xb * xb * vv,
        xa * ya * uu + (xa * yb + xb * ya) * uv + xb * yb * vv,
        ya * ya * uu + 2 * ya * yb * uv + yb * yb * vv,
    )
