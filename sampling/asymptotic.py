"""Aggregates whose limits hold in the limit of many labels, by normal approximation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from thresher.sampling.aggregates import assemble, check_measure, check_shapes, column_bounds
from thresher.sampling.asymptotic_limits import (
    Interval,
    count_interval,
    linear_interval,
    quantile_interval,
)
from thresher.sampling.group_counts import Part, plan_parts
from thresher.sampling.lines import LinearMeasure
from thresher.sampling.measures import AggregateEstimate, Column, Measure, NormalTest
from thresher.sampling.value_forecasts import Forecast, first_forecast
from thresher.sampling.values import ValueLedger, ValueSource

__all__ = ["estimate_aggregates_normal"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_MANY = 8  # groups; with more, two strata in each
_ASSUMPTION = (
    "the estimates are normal about the truth with the deviation seen in the samples, as they are "
    "in the limit of many labels"
)


def estimate_aggregates_normal(
    scores: npt.NDArray[np.floating],
    source: ValueSource,
    columns: Sequence[Column],
    measures: Sequence[Measure],
    *,
    delta: float,
    rng: np.random.Generator,
    groups: Integers | None = None,
    n_groups: int = 1,
    known: tuple[npt.NDArray[np.bool_], Floats] | None = None,
) -> AggregateEstimate:
    """Estimate aggregates over the rows that count, with limits by normal approximation.

    Parameters
    ----------
    scores, source, columns, delta, rng, groups, n_groups, known
        As in `estimate_aggregates`. A column needs no range, not even for a sum.
    measures : sequence of Measure
        What is asked for; neither ``min`` nor ``max``, which no normal law describes.

    Returns
    -------
    AggregateEstimate
        Of grade ``asymptotic``, or ``exact`` where every row could be labelled.

    Raises
    ------
    ValueError
        If delta, a target or a measure is outside its range, if shapes do not fit, if an extreme
        is asked for, or if the source returns a value outside its bounds.

    Notes
    -----
    **Nothing is proved at finite samples**; what was measured is in the guarantees that rest on
    assumptions. Uniform samples of up to four strata of neighbouring scores. Counts: the variance
    of each stratum at (x + 1) / (n + 2) (Agresti and Coull 1998). Sums: a regression estimator in
    each stratum on what the proxy forecasts (Cochran 1977), its variance with one further row at
    the harmful end of its range, or of the values seen where none is declared. Means and ratios:
    the same inverted (Fieller 1954). Quantiles: Woodruff (1952). Every interval has the level
    delta over their number.

    Examples
    --------
    >>> from thresher.sampling import Column, CountedValues, Measure
    >>> rng = np.random.default_rng(1)
    >>> cars = rng.poisson(4.0, 5000).astype(float)
    >>> source = CountedValues(lambda rows: cars[rows], 400)
    >>> answer = estimate_aggregates_normal(
    ...     np.ones(5000), source, [Column(-np.inf, np.inf)], [Measure("mean", 0)],
    ...     delta=0.05, rng=rng,
    ... )
    >>> mean = answer.measures[0]
    >>> answer.grade, bool(mean.low[0] <= cars.mean() <= mean.high[0]), source.remaining
    ('asymptotic', True, 0)
    """
    chance: Floats = np.asarray(scores, dtype=np.float64)
    low, high = column_bounds(columns, len(chance))
    by_group = np.zeros(len(chance), np.int64) if groups is None else np.asarray(groups, np.int64)
    check_shapes(chance, by_group, n_groups, delta, None)
    for measure in measures:
        check_measure(measure, low, high, ranged=False)
        if measure.kind in ("min", "max"):
            raise ValueError(
                f"a {measure.kind} has no normal limits: estimate_aggregates gives what it can be "
                "at finite samples"
            )
    ledger, asked = ValueLedger(source, low, high, known), list(measures)
    if ledger.affords_all:
        ledger.buy(ledger.unknown(), "all")
        places = (by_group, n_groups)
        return assemble(ledger, asked, places, delta, [], (), "aggregates: exact", None)
    return _Sampled(chance, ledger, columns, asked, (by_group, n_groups), delta).answer(rng)


class _Sampled:
    """Limits from stratified samples, measure by measure and group by group."""

    def __init__(
        self,
        scores: Floats,
        ledger: ValueLedger,
        columns: Sequence[Column],
        measures: list[Measure],
        places: tuple[Integers, int],
        delta: float,
    ) -> None:
        self.scores, self.ledger, self.columns = scores, ledger, columns
        self.measures, self.places, self.delta = measures, places, delta
        groups, n_groups = places
        self.sizes = np.bincount(groups[ledger.unknown()], minlength=n_groups)
        self.level = delta / max(1, len(measures) * int(np.count_nonzero(self.sizes)))

    def answer(self, rng: np.random.Generator) -> AggregateEstimate:
        """Buy the samples and put the limits together."""
        ledger, n_groups = self.ledger, self.places[1]
        before = ledger.known.copy()
        parts = self._draw(rng)
        forecasts = [
            first_forecast(self.scores, ledger.low[c], ledger.high[c], column)
            for c, column in enumerate(self.columns)
        ]
        limits, tests = [], []
        for k, measure in enumerate(self.measures):
            found = np.full((3, n_groups), np.nan)
            for g, interval in self._intervals(measure, parts, before, forecasts).items():
                found[:, g] = interval
                values = ledger.values[measure.column]
                strata = tuple(p.stratum(self.scores, values) for p in parts[g])
                tests.append(NormalTest(k, g, strata, self.level))
            limits.append((found[0], found[1], found[2]))
        name = "aggregates: stratified samples, normal limits"
        answer = assemble(
            ledger, self.measures, self.places, self.delta, limits, tuple(tests), name, None
        )
        if answer.grade == "exact":
            return answer
        return replace(answer, grade="asymptotic", assumption=_ASSUMPTION)

    def _draw(self, rng: np.random.Generator) -> dict[int, list[Part]]:
        """Buy the samples of all groups; the parts of each."""
        averages = [m.kind in ("mean", "ratio", "quantile") for m in self.measures]
        given = np.atleast_1d((self.ledger.low < self.ledger.high).any(axis=1))
        varied = [
            a or (given[m.column] and m.kind == "sum")
            for m, a in zip(self.measures, averages, strict=True)
        ]
        parts = plan_parts(
            self.scores, self.ledger, self.places[0], self.sizes, self.level, rng,
            4 if np.count_nonzero(self.sizes) <= _MANY else 2,
            balance=1 - float(np.mean(varied)) / 2,
            averages=float(np.mean(averages)),
        )  # fmt: skip
        for stage in sorted({p.stage for p in parts}):
            self.ledger.buy(np.concatenate([p.drawn for p in parts if p.stage == stage]), stage)
        by_group: dict[int, list[Part]] = {}
        for part in parts:
            by_group.setdefault(part.group, []).append(part)
        return by_group

    def _intervals(
        self,
        measure: Measure,
        parts: dict[int, list[Part]],
        before: npt.NDArray[np.bool_],
        forecasts: list[Forecast],
    ) -> dict[int, Interval]:
        """Return the interval of one measure in every group with rows that were not known."""
        z = -float(ndtri(self.level / 2))
        if measure.kind == "quantile":
            known = self._known_values(measure.column, before)
            return {g: self._quantile(measure, parts[g], known[g], z) for g in parts}
        groups, n_groups = self.places
        values, labelled = self.ledger.values, self.ledger.known
        exact = LinearMeasure(measure, self.ledger.low, self.ledger.high)
        sums = exact.known(values.T[before], groups[before], n_groups)
        if measure.kind == "count":
            return {
                g: count_interval(_found(parts[g], values[measure.column]), float(sums[0][g]), z)
                for g in parts
            }
        linear = LinearMeasure(measure, *self._seen_bounds())
        linear.prepare(forecasts)
        now = exact.known(values.T[labelled], groups[labelled], n_groups)
        out = {}
        for g, mine in parts.items():
            certain = exact.certain.given(self._left(mine), float(now[0][g]), float(now[1][g]))
            facts = (float(sums[0][g]), float(sums[1][g]))
            out[g] = _within(linear_interval(linear, mine, values, facts, z), certain)
        return out

    def _quantile(self, measure: Measure, parts: list[Part], known: Floats, z: float) -> Interval:
        """Return the interval of a quantile in one group."""
        ledger, column = self.ledger, measure.column
        bounds, values = (ledger.low[column], ledger.high[column]), ledger.values[column]
        seen = [known, *(values[p.drawn] for p in parts)]
        ends = np.concatenate([*seen, *(b[self._left(parts)] for b in bounds)])
        ends = ends[~np.isnan(ends)]
        certain = (float(ends.min()), float(ends.max())) if len(ends) else (np.nan, np.nan)
        return _within(quantile_interval(measure, parts, bounds, values, known, z), certain)

    def _left(self, parts: list[Part]) -> Integers:
        """Return the rows of a group that are still not known."""
        rows = np.concatenate([p.members for p in parts])
        return np.asarray(rows[~self.ledger.known[rows]])

    def _known_values(self, column: int, before: npt.NDArray[np.bool_]) -> list[Floats]:
        """Return the values that were known before, ascending, of every group."""
        groups, n_groups = self.places
        rows = np.flatnonzero(before & ~np.isnan(self.ledger.values[column]))
        rows = rows[np.lexsort((self.ledger.values[column, rows], groups[rows]))]
        ends = np.cumsum(np.bincount(groups[rows], minlength=n_groups))
        return np.split(self.ledger.values[column, rows], ends[:-1])

    def _seen_bounds(self) -> tuple[Floats, Floats]:
        """Return the bounds of all columns, those that are infinite by the values seen."""
        low, high = self.ledger.low.copy(), self.ledger.high.copy()
        for c, values in enumerate(self.ledger.values):
            seen = values[~np.isnan(values)]
            least, most = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
            low[c, np.isneginf(low[c])] = least
            high[c, np.isposinf(high[c])] = most
        return low, high


def _found(parts: list[Part], values: Floats) -> list[tuple[int, int, int]]:
    """Return rows, labelled rows, and those of them that count, of every stratum."""
    return [
        (len(p.members), len(p.drawn), int(np.count_nonzero(~np.isnan(values[p.drawn]))))
        for p in parts
    ]


def _within(interval: Interval, certain: tuple[float, float]) -> Interval:
    """Intersect limits with what is certain; an estimate that says nothing is put midway."""
    least, most = certain
    estimate, low, high = (min(max(end, least), most) for end in interval)
    if np.isnan(interval[0]):
        estimate = 0.5 * (least + most) if np.isfinite([least, most]).all() else np.nan
    return estimate, low, high
