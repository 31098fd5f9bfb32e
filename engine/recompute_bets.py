"""Fortunes of a certificate's bets, worked out again with numpy alone.

Nothing here is shared with `thresher.sampling`. The theorems are those of
docs/guarantees-aggregates.md: B2 (a null is refuted when a fortune reaches 2 / level), B3 (one line
for a sum, two segments for a mean or a ratio) and B4 (between two nulls that the same fortune
refutes at the same time every null is refuted).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bets", "Line", "least_overlooked", "standing"]

Floats = npt.NDArray[np.float64]
_CUTS = 1000
_HALVINGS = 60
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

    def payoffs(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return A and B of every draw if it had brought u and v."""
        b = (v - self.control_v) * self.scale + self.offset_v
        return (u - self.control_u) * self.scale + self.offset_u, b

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

    def lines(
        self, low: float, high: float, values: tuple[Floats, Floats] | None = None
    ) -> list[Line]:
        """Return the lines of the nulls in [low, high]; `values` stand for u and v."""
        a, b = self.payoffs(*((self.u, self.v) if values is None else values))
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

    def least_factor(self, low: float, high: float, corners: list[tuple[Floats, Floats]]) -> float:
        """Return the least that a fortune against a null in [low, high] could be multiplied by.

        `corners` are points (u, v), shape (k,) each, whose hull holds what a drawn row could bring.
        """
        least = math.inf
        for corner in corners:
            for line in self.lines(low, high, corner):
                for p in (line.low, line.high):
                    for bets in (line.up, -line.down):
                        least = min(least, float(line.factors(p, bets).min(initial=1.0)))
        return least


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
