"""Two bets against every null of a line, and the nulls that neither has refuted at any time.

A null is a number p; under the true one the payoffs x_t + p y_t have conditional mean 0. One
gambler bets that they are positive, the other that they are negative. A null is refuted when one
of their fortunes has grown by 2 / level (Ville 1939). The logarithm of a fortune is concave in p,
so that the refuted nulls form intervals whose ends Newton's method approaches from outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Payoffs", "Wealth"]

Floats = npt.NDArray[np.float64]
_SLACK = 1e-7  # what rounding may add to the logarithm of a fortune, many times over
_STAKE = 0.98  # share of a fortune that may be lost at once
_ROUNDS = 8
_PRIOR = 5.0  # labels that the forecast of the variance counts for


@dataclass(frozen=True, slots=True)
class Payoffs:
    """Payoffs x + p y of draws in order, and what they could have been.

    Parameters
    ----------
    x, y : ndarray of float64, shape (k,)
        The payoff of null p is x + p y.
    scale : ndarray of float64, shape (k,)
        Sum of the weights of the rows that could have been drawn.
    offset_x, offset_y : ndarray of float64, shape (k,)
        The part of the payoff that does not depend on which row is drawn.
    """

    x: Floats
    y: Floats
    scale: Floats
    offset_x: Floats
    offset_y: Floats


class Wealth:
    """The fortunes of two gamblers as functions of the null, and the nulls still standing.

    Parameters
    ----------
    low, high : float
        Range that holds the true null for certain.
    level : float
        Probability in (0, 1) that the true null is ever refuted.
    """

    def __init__(self, low: float, high: float, level: float) -> None:
        self.low, self.high = low, high
        self.alive = True
        self._log = math.log(2 / level)
        self.x = self.y = self.up = self.down = np.zeros(0)
        self._precision = 0.0  # of the payoffs so far, were they averaged
        self._mean = np.zeros(2)  # sums of x and of y, each draw with its precision
        self.restart(0.0, 0.0, 0.0)

    def restart(self, xx: float, xy: float, yy: float) -> None:
        """Forget the variance of the payoffs, as the draws change.

        The mean squares forecast for (x + p y) / scale are `xx` + 2 p `xy` + p^2 `yy`.
        """
        self._squares = _PRIOR * np.array([xx, 2 * xy, yy])
        self._count = _PRIOR
        self._before = self._precision, self._mean
        self._weight, self._sums = 0.0, np.zeros(2)  # since then, in units of scale^2

    @property
    def estimate(self) -> float:
        """The null at which the payoffs so far are 0 on average, brought within the limits."""
        x, y = self._mean
        if self._precision == 0.0:
            return 0.5 * (self.low + self.high)
        if y >= 0.0:
            return self.low if x < 0.0 else self.high
        return float(min(max(-x / y, self.low), self.high))

    def half_width(self, n_left: float, scale: float, scale_end: float) -> float:
        """Predict the half width after `n_left` further draws."""
        slope = abs(self._mean[1]) / self._precision if self._precision else 1.0
        edge, _ = self._edge(n_left, scale, scale_end)
        return edge / max(slope, 1e-300)

    def _edge(self, n_left: float, scale: float, scale_end: float) -> tuple[float, float]:
        """Return the mean payoff that will just be told from 0, and the variance per scale^2."""
        square = self._square()
        precision = self._precision + n_left / (square * scale * max(scale_end, 1e-3 * scale))
        if not precision:  # nothing was drawn, and nothing will be
            return math.inf, square
        return math.sqrt(2 * self._log / precision), square

    def _square(self) -> float:
        """Return the mean square of a payoff per scale^2, as it seems now."""
        p = self.estimate
        return max(float(self._squares @ [1.0, p, p * p]) / self._count, 1e-300)

    def extend(
        self,
        payoffs: Payoffs,
        extremes: tuple[tuple[float, float], tuple[float, float]],
        n_left: float,
        scale_end: float,
    ) -> None:
        """Bet on the payoffs of further draws, each with what was known before it.

        Parameters
        ----------
        payoffs : Payoffs
            Of k draws.
        extremes : pair of (float, float)
            For the nulls `low` and `high`: least and largest that (payoff - offset) / scale
            could be for any row that could be drawn.
        n_left : float
            Draws still planned, these included.
        scale_end : float
            Scale expected after them.
        """
        k = len(payoffs.x)
        if not k:
            return
        edge, _ = self._edge(n_left, float(payoffs.scale[0]), scale_end)
        relative = 1 / payoffs.scale**2
        p = self.estimate
        squares = relative * (payoffs.x + p * payoffs.y) ** 2
        before = float(self._squares @ [1.0, p, p * p]) + np.cumsum(squares) - squares
        variance = before / (self._count + np.arange(k)) / relative
        variance = np.maximum(variance, 1e-300)
        bet = edge / variance
        least, most = np.zeros(k), np.zeros(k)
        for null, (down, up) in zip((self.low, self.high), extremes, strict=True):
            offset = payoffs.offset_x + null * payoffs.offset_y
            least = np.minimum(least, offset + down * payoffs.scale)
            most = np.maximum(most, offset + up * payoffs.scale)
        tiny = 1e-300
        on_up = np.minimum(bet, _STAKE / np.maximum(-least, tiny))
        on_down = np.minimum(bet, _STAKE / np.maximum(most, tiny))
        self._remember(payoffs, on_up, on_down)

    def _remember(self, payoffs: Payoffs, up: Floats, down: Floats) -> None:
        x, y, relative = payoffs.x, payoffs.y, 1 / payoffs.scale**2
        self._squares += np.array([relative @ x**2, 2 * (relative @ (x * y)), relative @ y**2])
        self._count += len(x)
        self.last_bets = np.stack([up, down], axis=1)
        self._weight += float(relative.sum())
        self._sums += np.array([relative @ x, relative @ y])
        # The variance seen by now, for all draws since the restart: the first ones had a forecast.
        square = self._square()
        self._precision = self._before[0] + self._weight / square
        self._mean = self._before[1] + self._sums / square
        self.x, self.y = np.concatenate([self.x, x]), np.concatenate([self.y, y])
        self.up, self.down = np.concatenate([self.up, up]), np.concatenate([self.down, down])

    def narrow(self) -> None:
        """Drop the nulls at either end that have been refuted at some time."""
        for _ in range(_ROUNDS):
            low, high = self.low, self.high
            for bets in (self.up, -self.down):
                self._cut(bets)
                if not self.alive:
                    return
            span = self.high - self.low
            if self.low - low + high - self.high <= 1e-3 * span:
                return

    def _cut(self, bets: Floats) -> None:
        """Move the ends past what one gambler has refuted."""
        thr = self._log + _SLACK
        paths = [np.cumsum(np.log1p(bets * (self.x + p * self.y))) for p in (self.low, self.high)]
        for end, (this, other) in enumerate((paths, paths[::-1])):
            t = int(this.argmax()) if len(this) else 0
            if not len(this) or this[t] < thr:
                continue
            if other[t] >= thr:
                self.alive = False
                return
            start = self.high if end == 0 else self.low
            moved = self._root(bets[: t + 1], start, thr)
            if end == 0:
                self.low = max(self.low, moved)
            else:
                self.high = min(self.high, moved)

    def _root(self, bets: Floats, start: float, thr: float) -> float:
        """Approach the refuted nulls from a null that stands; no step enters them."""
        x, y, p = self.x[: len(bets)], self.y[: len(bets)], start
        for _ in range(60):
            gain = bets * (x + p * y)
            missing = thr - float(np.log1p(gain).sum())
            slope = float((bets * y / (1 + gain)).sum())
            if missing <= _SLACK or slope == 0.0:
                break
            step = missing / slope
            p += step
            if abs(step) < 1e-7 * (self.high - self.low):
                break
        return p
