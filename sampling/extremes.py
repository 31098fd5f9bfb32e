"""MIN and MAX: label the outermost rows first; else bound how many rows may lie beyond."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from thresher.sampling.draw_plan import Spread
from thresher.sampling.draws import Batch, GroupDraws
from thresher.sampling.layout import Layout
from thresher.sampling.line_bets import LinearTest
from thresher.sampling.lines import LinearMeasure
from thresher.sampling.measures import ExtremeTest, Measure
from thresher.sampling.value_forecasts import Forecast
from thresher.sampling.values import ValueLedger

__all__ = ["ExtremeBets", "ExtremeTarget", "settled", "walk"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_SURE = 3.0  # rows that count, by the forecast, in a walk that is worth beginning
_PARTS = (0.1, 0.6, 0.15)  # of the level for the first weights, the second, ...


def walk(
    ledger: ValueLedger,
    measures: list[Measure],
    forecasts: list[Forecast],
    groups: Integers,
    n_groups: int,
    budget: int,
) -> None:
    """Label the outermost rows of every group until one of them counts.

    Which rows these are follows from the bounds and from what is known, not from chance: they are
    facts for all that comes after.
    """
    for measure in measures:
        sign = 1.0 if measure.kind == "max" else -1.0
        far = sign * (ledger.high if sign > 0 else ledger.low)[measure.column]
        near = sign * (ledger.low if sign > 0 else ledger.high)[measure.column]
        chance = forecasts[measure.column].chance
        while budget > 0:
            rows = _front(ledger, measure, sign, (far, near), chance, (groups, n_groups), budget)
            if not len(rows):
                break
            ledger.buy(rows, "extremes")
            budget -= len(rows)


def _front(
    ledger: ValueLedger,
    measure: Measure,
    sign: float,
    bounds: tuple[Floats, Floats],
    chance: Floats,
    places: tuple[Integers, int],
    budget: int,
) -> Integers:
    """Return the rows to label next: from the outermost on, one row expected to count."""
    groups, n_groups = places
    far, near = bounds
    best = outermost(ledger, measure, sign, groups, n_groups)
    rows = np.flatnonzero(~ledger.known & (far > best[groups]))
    if not len(rows) or (near[rows] < far[rows]).any():
        return np.zeros(0, dtype=np.int64)  # the order of the values is not known
    rows = rows[np.lexsort((-far[rows], groups[rows]))]
    mass = np.cumsum(chance[rows])
    first = np.searchsorted(groups[rows], np.arange(n_groups))
    before = np.append(0.0, mass)[first][groups[rows]]
    rank = np.arange(len(rows)) - first[groups[rows]]
    ahead = mass - before
    cost = np.bincount(groups[rows], weights=ahead - chance[rows] < _SURE, minlength=n_groups)
    total = 0.0
    allowed = np.zeros(n_groups, dtype=np.bool_)
    for g in np.argsort(cost, kind="stable"):
        total += cost[g]
        allowed[g] = total <= budget
    chosen = allowed[groups[rows]] & ((ahead - chance[rows] < 1.0) | (rank == 0))
    return np.asarray(rows[chosen][:budget])


def settled(ledger: ValueLedger, measures: list[Measure], groups: Integers, n_groups: int) -> bool:
    """Return whether no unknown row can lie beyond the outermost value known in its group."""
    rows = ledger.unknown()
    for measure in measures:
        sign = 1.0 if measure.kind == "max" else -1.0
        far = sign * (ledger.high if sign > 0 else ledger.low)[measure.column, rows]
        best = outermost(ledger, measure, sign, groups, n_groups)
        if (far > best[groups[rows]]).any():
            return False
    return True


def outermost(
    ledger: ValueLedger, measure: Measure, sign: float, groups: Integers, n_groups: int
) -> Floats:
    """Return `sign` times the outermost value known to count in every group, or -inf."""
    value = sign * ledger.values[measure.column]
    counted = ~np.isnan(value)
    best = np.full(n_groups, -np.inf)
    np.maximum.at(best, groups[counted], value[counted])
    return best


class ExtremeTarget:
    """What a minimum or maximum wants of the draws, and its count of rows.

    Parameters
    ----------
    measure : Measure
        A minimum or a maximum.
    low, high : ndarray of float64, shape (n_columns, n)
        Bounds of the value of a row if it counts; NaN where it never does.
    """

    def __init__(self, measure: Measure, low: Floats, high: Floats) -> None:
        self.measure, self.sign = measure, 1.0 if measure.kind == "max" else -1.0
        self.count = LinearMeasure(Measure("count", measure.column), low, high)
        self.far = self.sign * (high if self.sign > 0 else low)[measure.column]
        self._labelled: tuple[Floats, Integers]

    def prepare(self, forecasts: list[Forecast]) -> None:
        """Use these forecasts from now on."""
        self.count.prepare(forecasts)

    def known(self, values: Floats, group: Integers, n_groups: int) -> tuple[Floats, Floats]:
        """Return how many labelled rows count, by group."""
        self._labelled = self.sign * values[:, self.measure.column], group
        return self.count.known(values, group, n_groups)

    def spread(self, rows: Integers, layout: Layout, known: tuple[Floats, Floats]) -> Spread:
        """Return what the measure would like of the draws: no row may be overlooked."""
        spread = self.count.spread(rows, layout, known)
        return Spread(spread.centre, spread.slope, np.zeros(len(rows)), np.ones(len(rows)))

    def start(
        self,
        place: tuple[int, int],
        rows: Integers,
        known: tuple[float, float],
        guess: tuple[float, float],
        level: float,
    ) -> ExtremeBets:
        """Return the record of one group whose unknown rows are `rows`."""
        value, group = self._labelled
        mine = value[(group == place[1]) & ~np.isnan(value)]
        count = self.count.start(place, rows, known, guess, level / 2)
        return ExtremeBets(self, place, rows, float(mine.max(initial=-np.inf)), count, level)


class ExtremeBets:
    """The outermost value found in one group, and how many rows may lie beyond it."""

    def __init__(
        self,
        target: ExtremeTarget,
        place: tuple[int, int],
        rows: Integers,
        best: float,
        count: LinearTest,
        level: float,
    ) -> None:
        self.target, self.place, self.level, self.count = target, place, level, count
        self._rows, self._best = rows, best
        self._drawn = list[Integers]()
        self._n_found = 0
        self._phase, self._planned, self._left = 0, False, 0
        # No more rows than this lie beyond, except with a chance within the level.
        self._overlooked = self._plan_for = len(rows)

    def begin(self, draws: GroupDraws) -> None:
        """Prepare for draws with new weights and the present forecasts."""
        self._draws, self._planned = draws, False
        self.count.begin(draws)

    def follow(self, draws: GroupDraws) -> None:
        """Go on with the same draws, of which more are in order now."""
        self.count.follow(draws)

    def absorb(self, batch: Batch, start: int, n_left: float) -> None:
        """Note what was drawn; before the first draws, fix how many rows they may overlook."""
        if not self._planned:
            self._plan(max(int(n_left), 1))
        self._left -= len(batch.rows)
        if self._left <= 0:
            self._overlooked = min(self._overlooked, self._plan_for)
        value = self.target.sign * batch.values[:, self.target.measure.column]
        found = value[~np.isnan(value)]
        self._n_found += len(found)
        self._best = max(self._best, float(found.max(initial=-np.inf)))
        self._drawn.append(batch.rows)
        self.count.absorb(batch, start, n_left)

    def _plan(self, n_draws: int) -> None:
        """Fix the fewest rows that `n_draws` draws all miss with at most this phase's level."""
        j = self._phase
        self._phase, self._planned, self._left = j + 1, True, n_draws
        part = _PARTS[j] if j < len(_PARTS) else _PARTS[-1] / 2 ** (j - len(_PARTS) + 1)
        weights = np.cumsum(np.sort(self._draws.weights)) / self._draws.totals[0]
        missed = n_draws * np.log1p(-np.minimum(weights * (1 - 1e-9), 1 - 1e-16))
        enough = np.flatnonzero(missed <= math.log(part * self.level / 2))
        self._plan_for = int(enough[0]) if len(enough) else len(weights)

    def _open(self) -> Floats:
        """Return how far out each row that is not labelled could lie."""
        drawn = np.concatenate([np.zeros(0, dtype=np.int64), *self._drawn])
        far = self.target.far[np.setdiff1d(self._rows, drawn, assume_unique=True)]
        return np.asarray(far[~np.isnan(far)], dtype=np.float64)

    def limits(self) -> tuple[float, float, float]:
        """Return the outermost value found, and what the true one lies between for certain."""
        sign, best = self.target.sign, self._best
        outer = max(best, float(self._open().max(initial=-np.inf)))
        found = sign * best if best > -np.inf else math.nan
        low, high = sorted((sign * best, sign * outer))
        return found, low, high

    def half_width(self, n_left: float) -> float:
        """Predict the half width: nothing is certain before every row is labelled."""
        return math.inf if n_left < self._draws.left else 0.0

    def record(self) -> ExtremeTest:
        """Return what the share beyond rests on."""
        n_open = int(np.count_nonzero(self._open() > self._best))
        n_beyond = min(self._overlooked, n_open)
        counted = max(self.count.limits()[1], float(self._n_found + n_beyond), 1.0)
        level = self.level if n_open else 0.0
        return ExtremeTest(*self.place, n_beyond, counted, level, self.count.record())
