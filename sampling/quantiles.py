"""Quantiles: for every node, is the quantile at most it, is it at least it; bets decide."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from thresher.sampling.draw_plan import Spread
from thresher.sampling.draws import Batch, GroupDraws
from thresher.sampling.layout import Layout
from thresher.sampling.measures import Measure, QuantileTest
from thresher.sampling.ranking import blocks
from thresher.sampling.value_forecasts import Forecast

__all__ = ["QuantileBets", "QuantileTarget"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_NODES = 300
_STAKE = 0.9
_SLACK = 1e-7
_PRIOR = 5.0
_CHUNK = 500
_FIRST = 200
_TOGETHER = 1 << 14  # rows worked on at once: what they need stays in the cache


class QuantileTarget:
    """What rows can contribute to the test of a quantile.

    Parameters
    ----------
    measure : Measure
        A quantile.
    low, high : ndarray of float64, shape (n_columns, n)
        Bounds of the value of a row if it counts; NaN where it never does.
    """

    def __init__(self, measure: Measure, low: Floats, high: Floats) -> None:
        self.measure, self.share = measure, float(measure.share or 0.0)
        self.low, self.high = low[measure.column], high[measure.column]
        possible = ~np.isnan(self.low)
        self.plain = bool((self.low[possible] == self.high[possible]).all())
        self.now: Forecast
        self._labelled: tuple[Floats, Integers]

    def prepare(self, forecasts: list[Forecast]) -> None:
        """Use these forecasts from now on."""
        self.now = forecasts[self.measure.column]

    def known(self, values: Floats, group: Integers, n_groups: int) -> tuple[Floats, Floats]:
        """Return the labelled rows that count, by group, twice."""
        value = values[:, self.measure.column]
        counted = ~np.isnan(value)
        self._labelled = value[counted], group[counted]
        number = np.bincount(group[counted], minlength=n_groups).astype(np.float64)
        return number, number

    def spread(self, rows: Integers, layout: Layout, known: tuple[Floats, Floats]) -> Spread:  # noqa: ARG002 - the values themselves are needed
        """Return what the measure would like of the draws among `rows`, laid out by group."""
        n_groups, q = layout.n_groups, self.share
        g, x = self.now.chance[rows], self.now.mean[rows]
        centre, slope = np.zeros(n_groups), np.ones(n_groups)
        side = np.empty(len(rows))
        for k in np.flatnonzero(layout.counts):
            mine = layout.of(int(k))
            order = np.argsort(x[mine], kind="stable")
            mass = np.cumsum(g[mine][order])
            places = np.searchsorted(mass, mass[-1] * np.clip([q, q - 0.05, q + 0.05], 0, 1))
            at = x[mine][order[np.minimum(places, len(order) - 1)]]
            centre[k] = at[0]
            slope[k] = mass[-1] * 0.1 / max(at[2] - at[1], 1e-9 * (1 + abs(at[0])))
            side[mine] = np.where(x[mine] <= centre[k], 1 - q, -q)
        square = g * (1 - g) * side**2 + (0.0 if self.plain else 0.5) * g * q * (1 - q)
        reach = np.where(g > 0, max(q, 1 - q), 0.0)
        return Spread(centre, slope, np.sqrt(square), reach)

    def start(
        self,
        place: tuple[int, int],
        rows: Integers,
        known: tuple[float, float],  # noqa: ARG002 - the values themselves are needed
        guess: tuple[float, float],  # noqa: ARG002
        level: float,
    ) -> QuantileBets:
        """Return the bets for one group whose unknown rows are `rows`."""
        value, group = self._labelled
        return QuantileBets(self, place, rows, value[group == place[1]], level)

    def nodes(self, rows: Integers, known: Floats) -> tuple[Floats, Floats | None]:
        """Return the nodes to test, and every value the quantile can have if they are few."""
        rows = rows[~np.isnan(self.low[rows])]
        if self.plain:
            values = np.unique(np.concatenate([self.low[rows], known]))
            return self._thin(values, rows, known), values
        spots = [known]
        low, high = self.low[rows].min(initial=np.inf), self.high[rows].max(initial=-np.inf)
        if np.isfinite(low) and np.isfinite(high) and len(rows):
            spots.append(np.linspace(low, high, _NODES // 2))
        if len(rows) and np.ptp(self.now.mean[rows]) > 0:
            spots.append(np.quantile(self.now.mean[rows], np.linspace(0, 1, _NODES // 2)))
        return np.unique(np.concatenate(spots)), None

    def _thin(self, values: Floats, rows: Integers, known: Floats) -> Floats:
        """Keep nodes that are close to each other near the forecast of the quantile."""
        if len(values) <= _NODES:
            return values
        order = np.argsort(self.low[rows])
        sorted_, mass = self.low[rows][order], np.cumsum(self.now.chance[rows][order])
        sorted_ = np.concatenate([sorted_, np.sort(known)]) if not len(sorted_) else sorted_
        away = np.concatenate([np.linspace(-1, 1, _NODES // 3), np.linspace(-1, 1, _NODES) ** 3])
        share = np.clip(self.share + away, 0, 1)
        places = np.searchsorted(mass, share * mass[-1])
        return np.unique(sorted_[np.minimum(places, len(sorted_) - 1)])


class QuantileBets:
    """The bets on one quantile in one group.

    For every node two nulls: the quantile is at most the node, and it is at least the node. The
    payoffs are those of sum v (1[x <= node] - q) and sum v (1[x < node] - q), which are at least 0
    under the first and at most 0 under the second.
    """

    def __init__(
        self,
        target: QuantileTarget,
        place: tuple[int, int],
        rows: Integers,
        known: Floats,
        level: float,
    ) -> None:
        self.target, self.place, self.level = target, place, level
        self.nodes, self.values = target.nodes(rows, known)
        bounds = rows[~np.isnan(target.low[rows])]
        ends = np.concatenate([known, target.low[bounds], target.high[bounds]])
        self.range = (float(ends.min()), float(ends.max())) if len(ends) else (math.nan, math.nan)
        self._waiting = len(self.nodes) == 0
        self._known = [known]
        self._rows = list[Integers]()
        self._reset()

    def _reset(self) -> None:
        """Begin with no fortunes, at the present nodes."""
        k = len(self.nodes)
        self._seen = _signs(np.concatenate(self._known), self.nodes, self.target.share).sum(axis=1)
        self._log, self._passed = np.zeros((2, k)), np.zeros((2, k))
        self._squares, self._count = np.zeros((2, k)), 0.0
        self._precision, self._mean = np.zeros((2, k)), np.zeros((2, k))
        self._restart()

    def _restart(self) -> None:
        """Forget the variance of the payoffs, as the draws change."""
        self._before = self._precision.copy(), self._mean.copy()
        self._weight, self._sums = np.zeros(2), np.zeros_like(self._mean)

    def begin(self, draws: GroupDraws) -> None:
        """Prepare for draws with new weights and the present forecasts."""
        self.follow(draws)
        if self._waiting or not len(draws.rows):
            return
        q, g, w = self.target.share, self._g, draws.weights
        self._look_at_rows(g, w)
        spread = g * (1 - g) if self.target.plain else g
        total = float(draws.totals[0])
        binary = max(q * (1 - q), 1e-3)
        self._squares[:] = _PRIOR * max(binary * float((spread / w).sum()) / total, 1e-12)
        self._count = _PRIOR
        self._restart()

    def _look_at_rows(self, g: Floats, w: Floats) -> None:
        """Note what the rows weigh below every node, and how far payoffs of either side reach."""
        q, n_nodes = self.target.share, len(self.nodes)
        mass, tops = np.zeros((2, n_nodes + 1)), np.zeros((2, 2, 2, n_nodes + 1))
        for part in blocks(len(g), _TOGETHER):
            chance, x = g[part], self._x[part]
            # A row is at most the nodes from `first` on, and below those from `after` on.
            first = np.searchsorted(self.nodes, x)
            after = first + (np.append(self.nodes, np.nan)[first] == x)
            for end, sign in enumerate((1.0, -1.0)):
                sides = [side[end] / w[part] * sign for side in self._sides(chance)]
                for k, place in enumerate((first, after)):
                    for top, side in zip(tops[k, end], sides, strict=True):
                        np.maximum.at(top, place, side)
            for k, place in enumerate((first, after)):
                mass[k] += np.bincount(place, weights=chance, minlength=n_nodes + 1)
        below = np.cumsum(mass, axis=1)
        self._rest = below[:, :-1] - q * below[:, -1:]
        near = np.maximum.accumulate(tops[:, :, 0], axis=2)[..., :-1]
        far = np.maximum.accumulate(tops[:, :, 1, ::-1], axis=2)[..., ::-1][..., 1:]
        self._ends = np.maximum(near, far)

    def _sides(self, g: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Return the largest and the least payoff of rows below a node, and of those above it."""
        q = self.target.share
        if self.target.plain:
            return ((1 - q) * (1 - g), -(1 - q) * g), (q * g, -q * (1 - g))
        return ((1 - q) * (1 - g), -q - (1 - q) * g), (1 - q + q * g, -q + q * g)

    def follow(self, draws: GroupDraws) -> None:
        """Go on with the same draws, of which more are in order now."""
        self._draws = draws
        self._g = self.target.now.chance[draws.rows]
        self._x = self.target.now.mean[draws.rows]

    def absorb(self, batch: Batch, start: int, n_left: float) -> None:
        """Bet on draws that began at place `start` of the order; `n_left` are planned in all."""
        value = batch.values[:, self.target.measure.column]
        if self._waiting:
            self._wait(value)
            return
        for at in range(0, len(value), _CHUNK):
            part = slice(at, min(at + _CHUNK, len(value)))
            for k in (0, 1):
                self._bet(k, batch, part, start + at, n_left - at)
            self._count += part.stop - at
        self._rows.append(batch.rows)
        self._known.append(value[~np.isnan(value)])

    def _wait(self, value: Floats) -> None:
        """Take the first values as nodes: the bets begin with the next weights."""
        counted = value[~np.isnan(value)]
        self._known.append(counted)
        self.nodes = np.unique(np.concatenate(self._known))[:_NODES]
        self._waiting = len(self.nodes) == 0
        self._reset()

    def _bet(self, k: int, batch: Batch, part: slice, start: int, n_left: float) -> None:
        """Bet for one kind of null, at every node at once."""
        q, draws = self.target.share, self._draws
        value, scale = batch.values[part, self.target.measure.column], batch.totals[part]
        places = slice(start, start + len(value))
        side = ("right", "left")[k]
        control = self._g[places] * _signs(self._x[places], self.nodes, q, side)
        signs = np.where(np.isnan(value), 0.0, _signs(value, self.nodes, q, side))
        seen, rest = self._seen[k], self._rest[k]
        fixed = (seen + rest)[:, None] + np.cumsum(signs - control, axis=1) - (signs - control)
        payoff = (signs - control) * (scale / batch.weights[part]) + fixed
        relative = 1 / scale**2
        squares = relative * payoff**2
        before = self._squares[k][:, None] + np.cumsum(squares, axis=1) - squares
        variance = before / (self._count + np.arange(len(value))) / relative
        variance = np.maximum(variance, 1e-200)
        end = draws.scale_from(start, n_left)
        now = variance[:, 0]
        ahead = n_left / (now * end / scale[0])
        edge = np.sqrt(2 * math.log(2 / self.level) / (self._precision[k] + ahead))
        sign, bound = (-1.0, self._ends[k, 0]) if k == 0 else (1.0, self._ends[k, 1])
        worst = np.maximum(bound[:, None] * scale - sign * fixed, 1e-300)
        bet = sign * np.minimum(edge[:, None] / variance, _STAKE / worst)
        path = self._log[k][:, None] + np.cumsum(np.log1p(bet * payoff), axis=1)
        self._log[k] = path[:, -1]
        self._passed[k] = np.maximum(self._passed[k], path.max(axis=1))
        self._seen[k] += signs.sum(axis=1)
        self._rest[k] -= control.sum(axis=1)
        self._squares[k] += squares.sum(axis=1)
        self._weight[k] += float(relative.sum())
        self._sums[k] += payoff @ relative
        # The variance seen by now, for all draws since the restart: the first ones had a forecast.
        square = np.maximum(self._squares[k] / (self._count + len(value)), 1e-200)
        self._precision[k] = self._before[0][k] + self._weight[k] / square
        self._mean[k] = self._before[1][k] + self._sums[k] / square

    def limits(self) -> tuple[float, float, float]:
        """Return the estimate and the limits so far."""
        low, high = self.range
        thr = math.log(2 / self.level) + _SLACK
        below, above = self._passed[0] >= thr, self._passed[1] >= thr
        k = int(np.argmin(np.append(below, False)))
        j = len(self.nodes) - int(np.argmin(np.append(above[::-1], False)))
        if k:
            low = self._next(k - 1, 1)
        if j < len(self.nodes):
            high = self._next(j, -1)
        if low > high:  # only if the truth was refuted; a wider interval holds as well
            low, high = high, low
        return min(max(self._guess(), low), high), low, high

    def _next(self, node: int, step: int) -> float:
        """Return the next value that the quantile can have beyond a refuted node."""
        value = float(self.nodes[node])
        if self.values is None:
            return value
        at = int(np.searchsorted(self.values, value)) + step
        return float(self.values[min(max(at, 0), len(self.values) - 1)])

    def _guess(self) -> float:
        """Return the first node below which the share seems to lie."""
        if not len(self.nodes) or not self._rows:
            return 0.5 * (self.range[0] + self.range[1]) if not len(self.nodes) else self._middle()
        mean = self._mean[0] / self._precision[0]
        return float(self.nodes[min(int(np.argmax(np.append(mean >= 0, True))), len(mean) - 1)])

    def _middle(self) -> float:
        """Return the forecast of the quantile."""
        total = self._seen[0] + (self._rest[0] if hasattr(self, "_rest") else 0.0)
        return float(self.nodes[min(int(np.argmax(np.append(total >= 0, True))), len(total) - 1)])

    def half_width(self, n_left: float) -> float:
        """Predict the half width after `n_left` further draws."""
        draws = self._draws
        if not draws.left:
            return 0.0
        if not self._rows:  # nothing is known of the values yet
            return math.inf if n_left < _FIRST else 0.0
        scale, end = float(draws.totals[draws.taken]), draws.scale_after(n_left)
        variance = self._squares[0] / self._count
        precision = self._precision[0] + n_left / (variance * scale * end)
        edge = np.sqrt(2 * math.log(2 / self.level) / precision)
        inside = np.abs(self._mean[0] / self._precision[0]) <= edge
        if not inside.any():
            return 0.0
        return 0.5 * float(np.ptp(self.nodes[inside]))

    def record(self) -> QuantileTest:
        """Return what the limits rest on."""
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *self._rows])
        return QuantileTest(*self.place, self.nodes, rows, self._passed.T.copy(), self.level)


def _signs(value: Floats, nodes: Floats, share: float, side: str | None = None) -> Floats:
    """Return 1[value <= node] - share, or with < for "left"; shape (nodes, values).

    Without a side: both, shape (2, values, nodes).
    """
    if side is None:
        return np.stack([_signs(value, nodes, share, s).T for s in ("right", "left")])
    below = value <= nodes[:, None] if side == "right" else value < nodes[:, None]
    return np.asarray(below - share, dtype=np.float64)
