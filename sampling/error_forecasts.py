"""How many labels an error target is forecast to take: our own draws on made-up truths.

Nothing is bought, and no guarantee rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from thresher.sampling.aggregates import check_measure, column_bounds, estimate_aggregates
from thresher.sampling.measures import Column, ErrorTarget, Measure
from thresher.sampling.sufficient import LabelForecast
from thresher.sampling.value_forecasts import Forecast, first_forecast, refit
from thresher.sampling.values import CountedValues

__all__ = ["forecast_error_labels"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_ROWS = 4_000  # rows of a made-up population, and four times as many where that is too few
_CROWDED = 0.6  # share of them that is labelled from which on they are too few
_LEARNT = 40  # known labels from which on the scores are recalibrated
_ODDS = (1.0, 0.5, 2.0)  # of a row that counts, over those forecast
_ODDS_LEARNT = (1.0, 0.6, 1.7)
_SCATTER = 1.15  # of single runs
_GROUPS = 4  # more are represented by so many
_REPEATS = 2  # of the first of them


def forecast_error_labels(
    scores: npt.NDArray[np.floating],
    columns: Sequence[Column],
    measures: Sequence[Measure],
    *,
    delta: float,
    error: ErrorTarget,
    rng: np.random.Generator,
    groups: Integers | None = None,
    n_groups: int = 1,
    known: npt.NDArray[np.integer] | None = None,
) -> LabelForecast | None:
    """Forecast the labels that `estimate_aggregates` buys until an error target is met.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Proxy's chance that a row counts.
    columns, measures, delta, error, groups, n_groups
        As in `estimate_aggregates`.
    rng : numpy.random.Generator
        Makes up the truths.
    known : ndarray of int, shape (n,), optional
        Which rows are known to count (1), known not to (0), or not known (-1).

    Returns
    -------
    LabelForecast or None
        `low` and `high` are the ends over truths with other odds and, while too few labels are
        known to recalibrate the scores, over one in which the scores say nothing; `least` is 0.
        None where nothing can be forecast: for extremes, and for an absolute error of totals and
        averages together.

    Notes
    -----
    Truths are drawn from the scores as chances, values of an oracle about its prediction or over
    its range, and the sampler that will run is run on a few thousand rows. What it buys there is
    carried over as if rows were drawn uniformly: n / (1 - n / N) does not change with N (Cochran
    1977, section 4.6, the relative error of a mean).

    Examples
    --------
    >>> rng, one = np.random.default_rng(0), np.ones(20_000)
    >>> found = forecast_error_labels(
    ...     rng.beta(1, 2, 20_000), [Column(one, one)], [Measure("count", 0)],
    ...     delta=0.05, error=ErrorTarget(0.1, relative=True), rng=rng,
    ... )
    >>> found.low <= found.expected <= found.high < 20_000
    True
    """
    low, high = column_bounds(columns, len(scores))
    for measure in measures:
        check_measure(measure, low, high)
    totals = [m.kind in ("count", "sum") for m in measures]
    mixed = not error.relative and any(totals) and not all(totals)
    if mixed or any(m.kind in ("min", "max") for m in measures):
        return None
    codes = np.zeros(len(scores), np.int64) if groups is None else np.asarray(groups, np.int64)
    facts = np.full(len(scores), -1) if known is None else np.asarray(known)
    if n_groups > _GROUPS:
        return _of_some_groups(
            scores, columns, measures, codes, delta=delta, error=error, rng=rng, known=known
        )
    made = _Made(
        low, high, codes, n_groups, facts,
        [first_forecast(scores, low[c], high[c], column) for c, column in enumerate(columns)],
        list(columns), list(measures), delta, error, shrinks=bool(totals) and all(totals),
    )  # fmt: skip
    n_unknown = int(np.count_nonzero(facts < 0))
    if not n_unknown:
        return LabelForecast(0, 0, 0, 0, 0)
    learnt, chance = made.recalibrated()
    worlds = [_tilted(chance, odds) for odds in (_ODDS_LEARNT if learnt else _ODDS)]
    if not learnt:
        worlds.append(np.where(chance > 0, chance[chance > 0].mean(), 0.0))
    worlds[:0] = worlds[:1] * (_REPEATS - 1)
    rows = _ROWS
    labels = [made.labels(worlds[0], rows, rng)]
    if labels[0] > _CROWDED * n_unknown and n_unknown > _ROWS:
        rows *= 4
        labels = [made.labels(worlds[0], rows, rng)]
    labels += [made.labels(world, rows, rng) for world in worlds[1:]]
    expected = float(np.mean(labels[:_REPEATS]))
    return LabelForecast(
        0,
        round(expected),
        n_unknown,
        round(min(labels) / _SCATTER),
        min(n_unknown, round(max(labels) * _SCATTER)),
    )


def _of_some_groups(
    scores: npt.NDArray[np.floating],
    columns: Sequence[Column],
    measures: Sequence[Measure],
    groups: Integers,
    *,
    delta: float,
    error: ErrorTarget,
    rng: np.random.Generator,
    known: npt.NDArray[np.integer] | None,
) -> LabelForecast | None:
    """Forecast for groups of typical sizes, which stand for all: each is drawn from by itself."""
    open_ = np.ones(len(groups), np.bool_) if known is None else np.asarray(known) < 0
    sizes = np.bincount(groups[open_])
    there = np.flatnonzero(sizes)
    by_size = there[np.argsort(sizes[there], kind="stable")]
    places = (np.arange(_GROUPS) + 0.5) * len(there) / _GROUPS
    chosen = np.unique(by_size[places.astype(np.int64)]) if len(there) else there
    rows = np.flatnonzero(np.isin(groups, chosen))
    part = len(chosen) / max(1, len(there))
    found = forecast_error_labels(
        np.asarray(scores)[rows],
        [_restricted(column, rows, len(groups)) for column in columns],
        measures,
        delta=delta * part,
        error=error,
        rng=rng,
        groups=np.searchsorted(chosen, groups[rows]),
        n_groups=len(chosen),
        known=None if known is None else np.asarray(known)[rows],
    )
    if found is None:
        return None
    n_unknown = int(np.count_nonzero(open_))
    expected, low, high = (
        min(n_unknown, round(n / max(part, 1e-9))) for n in (found.expected, found.low, found.high)
    )
    return LabelForecast(0, expected, n_unknown, low, high)


def _restricted(column: Column, rows: Integers, n_rows: int) -> Column:
    """Return a column over some rows."""
    low, high = (np.broadcast_to(end, n_rows)[rows] for end in (column.low, column.high))
    given = column.prediction
    return Column(low, high, None if given is None else given[rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A population of which truths are made up."""

    low: Floats
    high: Floats
    groups: Integers
    n_groups: int
    known: npt.NDArray[np.integer]
    forecasts: list[Forecast]
    columns: list[Column]
    measures: list[Measure]
    delta: float
    error: ErrorTarget
    shrinks: bool  # whether the error is in units of totals

    def recalibrated(self) -> tuple[bool, Floats]:
        """Return the chance that each row counts, fitted to the known labels if they are enough."""
        first = max(self.forecasts, key=lambda one: int(np.count_nonzero(one.chance)))
        rows = np.flatnonzero((self.known >= 0) & (first.chance > 0))
        if len(rows) < _LEARNT:
            return False, first.chance
        truth = np.where(self.known[rows] > 0, 1.0, np.nan)
        one = np.ones(len(self.known))
        plain = Forecast(first.chance, one, 0.0)
        return True, refit(plain, one, one, rows, truth, np.ones(len(rows))).chance

    def labels(self, chance: Floats, most: int, rng: np.random.Generator) -> float:
        """Run the sampler on made-up truths of at most so many rows; what it would buy of all."""
        n_rows = len(chance)
        rows = np.arange(n_rows)
        if n_rows > most:
            rows = np.sort(rng.choice(n_rows, most, replace=False))
        truth = rng.random(len(rows)) < chance[rows]
        facts = self.known[rows]
        truth = np.where(facts >= 0, facts > 0, truth)
        values = np.stack([self._values(c, rows, truth, rng) for c in range(len(self.columns))])
        codes = np.unique(self.groups[rows], return_inverse=True)[1]
        n_groups = int(codes.max(initial=0)) + 1
        share = len(rows) / n_rows
        within = self.error.value * (share if self.shrinks and not self.error.relative else 1.0)
        source = CountedValues(lambda asked: values[:, asked].T, len(rows))
        estimate_aggregates(
            self._scores[rows],
            source,
            [self._column(c, rows) for c in range(len(self.columns))],
            self.measures,
            delta=self.delta * n_groups / max(self.n_groups, n_groups),
            rng=rng,
            groups=codes,
            n_groups=n_groups,
            known=(facts >= 0, values.T),
            error=ErrorTarget(within, self.error.relative),
        )
        n_here = int(np.count_nonzero(facts < 0))
        bought = len(rows) - source.remaining
        return _carried(bought, n_here, int(np.count_nonzero(self.known < 0)))

    @property
    def _scores(self) -> Floats:
        """Return what the sampler is told: the first forecast, whatever is true."""
        return max((one.chance for one in self.forecasts), key=np.count_nonzero)

    def _values(
        self, c: int, rows: Integers, truth: npt.NDArray[np.bool_], rng: np.random.Generator
    ) -> Floats:
        low, high, one = self.low[c, rows], self.high[c, rows], self.forecasts[c]
        value = low
        if not np.array_equal(low, high, equal_nan=True):
            drawn = one.mean[rows] + rng.normal(0.0, np.sqrt(one.variance) or 1.0, len(rows))
            value = np.fmin(np.fmax(drawn, low), high)
        return np.where(truth & ~np.isnan(low), value, np.nan)

    def _column(self, c: int, rows: Integers) -> Column:
        return _restricted(self.columns[c], rows, len(self.known))


def _tilted(chance: Floats, odds: float) -> Floats:
    inside = chance > 0
    return np.where(inside, expit(logit(np.where(inside, chance, 0.5)) + np.log(odds)), 0.0)


def _carried(bought: int, n_here: int, n_rows: int) -> float:
    """Carry labels of a smaller population over to one of `n_rows`."""
    if bought >= n_here:
        return float(n_rows)
    endless = bought / (1 - bought / n_here)
    return endless / (1 + endless / n_rows)
