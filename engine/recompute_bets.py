"""Fortunes of a certificate's bets, worked out again with numpy alone.

Nothing here is shared with `thresher.sampling`. The theorems are those of
docs/guarantees-aggregates.md: B2 (a null is refuted when a fortune reaches 2 / level), B3 (one line
for a sum, two segments for a mean or a ratio) and B4 (between two nulls that the same fortune
refutes at the same time every null is refuted).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["Bets", "Line", "least_overlooked", "standing"]

Floats = npt.NDArray[np.float64]
Stages = npt.NDArray[np.object_]
_CUTS = 1000
_HALVINGS = 60
_ROUNDING = 1e-9  # a factor may be less than 0 by this much
_NEAR = 1e-10  # of the range: a cut that is shorter ends the search


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Payoffs x + p y of successive draws for the nulls p in [low, high], and the bets on them.

    Parameters
    ----------
    x, y : ndarray of float64, shape (k,)
    up, down : ndarray of float64, shape (k,)
        Bets of at least 0 on payoffs above 0, and on payoffs below 0.
    low, high : float
        Ends of the line.
    """

    x: Floats
    y: Floats
    up: Floats
    down: Floats
    low: float
    high: float

    def factors(self, p: float, bets: Floats) -> Floats:
        """Return what each draw multiplies one fortune against p by."""
        return np.asarray(1 + bets * (self.x + p * self.y))

    def gains(self, p: float, bets: Floats) -> Floats:
        """Return the logarithms of one fortune after each draw, -inf once it is lost."""
        factor = self.factors(p, bets)
        lost = np.flatnonzero(factor <= 0)
        end = int(lost[0]) if len(lost) else len(factor)
        out = np.full(len(factor), -np.inf)
        out[:end] = np.cumsum(np.log(factor[:end]))
        return out

    def before(self, draw: int) -> Line:
        """Return the same line before a draw."""
        first = slice(draw)
        x, y, up, down = (a[first] for a in (self.x, self.y, self.up, self.down))
        return Line(x, y, up, down, self.low, self.high)

    def mirrored(self) -> Line:
        """Return the same line with its ends exchanged: null -p in the place of p."""
        return Line(self.x, -self.y, self.up, self.down, -self.high, -self.low)

    def extent(self, p: float, reach: float) -> float:
        """Return the last null from p on with which one fortune at one time refutes all between.

        p itself where no fortune against it has reached `reach`, infinity where nothing stands.
        """
        best = p
        for bets in (self.up, -self.down):
            path = self.gains(p, bets)
            t = int(path.argmax()) if len(path) else 0
            if not len(path) or path[t] < reach:
                continue
            good, bad = p, self.high
            if self._refutes(bad, bets, t, reach):
                return math.inf
            for _ in range(_HALVINGS):
                middle = 0.5 * (good + bad)
                refuted = self._refutes(middle, bets, t, reach)
                good, bad = (middle, bad) if refuted else (good, middle)
            best = max(best, good)
        return best

    def _refutes(self, p: float, bets: Floats, t: int, reach: float) -> bool:
        factor = 1 + bets[: t + 1] * (self.x[: t + 1] + p * self.y[: t + 1])
        return bool((factor > 0).all() and np.log(factor).sum() >= reach)


def standing(line: Line, level: float) -> tuple[float, float] | None:
    """Return the shortest interval that holds the nulls of a line that stand; None if none does.

    Parameters
    ----------
    line : Line
    level : float
        A null is refuted when a fortune has reached 2 / level.

    Examples
    --------
    >>> a = np.full(200, 0.5)  # payoffs of the mean of values that are all 0.5
    >>> line = Line(a, -np.ones(200), np.full(200, 0.5), np.full(200, 0.5), 0.0, 1.0)
    >>> low, high = standing(line, 0.05)
    >>> 0.4 < low < 0.5 < high < 0.6
    True
    """
    reach = math.log(2 / level)
    low = _first(line, reach)
    if low is None:
        return None
    last = _first(line.mirrored(), reach)
    return None if last is None else (low, max(low, -last))


def _first(line: Line, reach: float) -> float | None:
    """Return the first null from the low end on that stands."""
    p = line.low
    for _ in range(_CUTS):
        end = line.extent(p, reach)
        if end == math.inf:
            return None
        if end - p <= _NEAR * (line.high - line.low):
            return end
        p = end
    return p


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """The bets on one sum, mean or ratio, with what the log says of the rows drawn.

    Parameters
    ----------
    u, v : ndarray of float64, shape (k,)
        What each draw adds above and below the line.
    scale, offset_u, offset_v, control_u, control_v : ndarray of float64, shape (k,)
        As recorded: the payoff of a draw is (u - control) scale + offset.
    bets : ndarray of float64, shape (k, 4)
        As recorded: up and down for nulls below `centre`, then for nulls above it.
    centre, spread, level : float
    is_sum : bool
        Whether nulls are sums: one line, and payoffs below the line of 1.
    """

    u: Floats
    v: Floats
    scale: Floats
    offset_u: Floats
    offset_v: Floats
    control_u: Floats
    control_v: Floats
    bets: Floats
    centre: float
    spread: float
    level: float
    is_sum: bool

    def payoffs(self) -> tuple[Floats, Floats]:
        """Return A and B of every draw."""
        b = (self.v - self.control_v) * self.scale + self.offset_v
        return (self.u - self.control_u) * self.scale + self.offset_u, b

    def place(self, null: float) -> float:
        """Return where a null lies on the segments."""
        if self.is_sum:
            return null
        if math.isinf(null):
            return math.copysign(1.0, null)
        return (null - self.centre) / (self.spread + abs(null - self.centre))

    def null(self, place: float) -> float:
        """Return the null at a place of the segments."""
        if self.is_sum:
            return place
        rest = 1.0 - abs(place)
        if rest <= 1e-12:
            return math.copysign(math.inf, place)
        return self.centre + self.spread * place / rest

    def lines(self, low: float, high: float) -> list[Line]:
        """Return the lines of the nulls in [low, high]."""
        a, b = self.payoffs()
        p, q = self.place(low), self.place(high)
        if self.is_sum:
            return [Line(a, -b, self.bets[:, 2], self.bets[:, 3], p, q)]
        x, steep = a - self.centre * b, self.spread * b
        lines = []
        if p <= 0:
            lines.append(Line(x, x - steep, self.bets[:, 0], self.bets[:, 1], p, min(q, 0.0)))
        if q >= 0:
            lines.append(Line(x, -x - steep, self.bets[:, 2], self.bets[:, 3], max(p, 0.0), q))
        return lines

    def limits(self, low: float, high: float) -> tuple[float, float] | None:
        """Return the hull of the nulls in [low, high] that stand; None if all are refuted."""
        spans = [standing(line, self.level) for line in self.lines(low, high)]
        ends = [end for span in spans if span for end in span]
        return (self.null(min(ends)), self.null(max(ends))) if ends else None

    def first_loss(
        self, low: float, high: float, corners: list[tuple[Floats, Floats]], stage: Stages
    ) -> int | None:
        """Return the first draw with which a null that still stood could have lost its fortune.

        Parameters
        ----------
        low, high : float
            Every null in here stands at first.
        corners : list of (ndarray of float64, ndarray of float64), shape (k,) each
            Points (u, v) whose hull holds what each drawn row could have brought.
        stage : ndarray of str, shape (k,)
            Draws of one stage have one set of weights: each of its rows could have been drawn
            before its turn.
        """
        found: list[int] = []
        for line in self.lines(low, high) if len(self.u) else []:
            lost = self._first_loss(line, corners, stage)
            found += [] if lost is None else [lost]
        return min(found, default=None)

    def _first_loss(
        self, line: Line, corners: list[tuple[Floats, Floats]], stage: Stages
    ) -> int | None:
        """Find the draw for one line, narrowing it only as far as is needed."""

        def losses(span: tuple[float, float], start: int) -> int | None:
            least = np.ones(len(self.u))
            for p in span:
                down, up = self._extremes(p, corners, stage)
                np.minimum(least, 1 + line.up * down, out=least)
                np.minimum(least, 1 - line.down * up, out=least)
            places = np.flatnonzero(least[start:] < -_ROUNDING)
            return start + int(places[0]) if len(places) else None

        span, start = (line.low, line.high), 0
        while (lost := losses(span, start)) is not None:
            stood = standing(line.before(lost), self.level)
            if stood is None:
                return None
            if losses(stood, lost) == lost:
                return lost
            span, start = stood, lost
        return None

    def _extremes(
        self, p: float, corners: list[tuple[Floats, Floats]], stage: Stages
    ) -> tuple[Floats, Floats]:
        """Return the least and the largest payoff of every draw for the null at a place."""
        one, two = 1.0, -p
        if not self.is_sum:
            one = 1 - abs(p)
            two = -one * self.centre - self.spread * p
        fixed = one * self.offset_u + two * self.offset_v
        least, most = np.full(len(fixed), np.inf), np.full(len(fixed), -np.inf)
        starts = np.flatnonzero(np.append(True, stage[1:] != stage[:-1]))
        for first, last in pairwise([*starts.tolist(), len(fixed)]):
            part = slice(first, last)
            scale = np.maximum(self.scale[part], 1.0)
            with np.errstate(divide="ignore"):
                shrunk = np.cumsum(np.log1p(-1 / scale))
            # Sum of the weights of the rest, in units of that at the beginning of the stage.
            left = np.maximum(np.exp(np.append(0.0, shrunk)[:-1]), 1e-200)
            for u, v in corners:
                gap = one * (u - self.control_u)[part] + two * (v - self.control_v)[part]
                each = (gap * scale / left)[::-1]
                lowest = np.minimum.accumulate(each)[::-1] * left
                highest = np.maximum.accumulate(each)[::-1] * left
                least[part] = np.minimum(least[part], lowest)
                most[part] = np.maximum(most[part], highest)
        return least + fixed, most + fixed


def least_overlooked(n_rows: int, n_draws: int, level: float) -> int:
    """Return the fewest rows that may all have been missed, whatever the weights of the draws.

    Parameters
    ----------
    n_rows : int
        Rows that could be drawn.
    n_draws : int
        Rows drawn.
    level : float
        Probability that all of one more row than this are missed.

    Notes
    -----
    E1 of the guarantees of aggregates asks that (1 - w)^n be at most the level, w being the share
    of the D + 1 smallest weights: never more than (D + 1) / N. The n draws may have begun anywhere.

    Examples
    --------
    >>> least_overlooked(1000, 100, 0.05)
    29
    """
    if n_draws >= n_rows:
        return 0
    before = np.arange(n_draws)
    share = -np.expm1(np.log(level) / (n_draws - before))
    least = np.ceil(share * (n_rows - before) - 1e-9) - 1
    return int(least.min(initial=n_rows))
