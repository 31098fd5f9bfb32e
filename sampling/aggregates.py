"""Aggregates over rows that an oracle decides on: estimates with limits that hold together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from thresher.sampling.error_targets import missing, settle, whole_ends
from thresher.sampling.extremes import ExtremeTarget, settled, walk
from thresher.sampling.group_counts import count_groups
from thresher.sampling.labels import Unanswered
from thresher.sampling.lines import LinearMeasure
from thresher.sampling.measures import (
    AggregateEstimate,
    BettingTest,
    Column,
    CountTest,
    ErrorTarget,
    ExtremeTest,
    Measure,
    MeasureEstimate,
    NormalTest,
    QuantileTest,
)
from thresher.sampling.quantiles import QuantileTarget
from thresher.sampling.sequential import SequentialRun, Target, Watch
from thresher.sampling.tally import count_by_group, tally
from thresher.sampling.value_forecasts import first_forecast
from thresher.sampling.values import ValueLedger, ValueSource

__all__ = [
    "assemble",
    "check_measure",
    "check_shapes",
    "column_bounds",
    "estimate_aggregates",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Tests = tuple[CountTest | BettingTest | QuantileTest | ExtremeTest | NormalTest, ...]
_WALK = 0.5  # of the budget may go into labelling the outermost rows, if nothing else is asked


def estimate_aggregates(
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
    error: ErrorTarget | None = None,
    unanswered: Unanswered | None = None,
    watch: Watch | None = None,
) -> AggregateEstimate:
    """Estimate aggregates over the rows that count, with limits that hold at this sample size.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Proxy's chance that a row counts; NaN: no information. Scores decide how wide the intervals
        are, never whether they hold.
    source : ValueSource
        Sells the values with which rows count.
    columns : sequence of Column
        What is known of the values beforehand.
    measures : sequence of Measure
        What is asked for.
    delta : float
        Failure probability in (0, 1) of all intervals of all groups together.
    rng : numpy.random.Generator
        Source of all random choices.
    groups : ndarray of int64, shape (n,), optional
        Group of each row, in [0, n_groups); one group without it.
    n_groups : int
    known : (ndarray of bool (n,), ndarray of float64 (n, n_columns)), optional
        Which rows are known beforehand, and their values: facts, and no part of any sample.
    error : ErrorTarget, optional
        Stop as soon as every interval keeps it; without it the budget is spent.
    unanswered : callable, optional
        Rows asked by now without an answer, before this call or in it; their values are NaN. The
        limits hold whatever is true of them (W5). Served for counts without an error target.

    watch : callable, optional
        Told of estimates and limits after each purchase of bets on weighted draws, as an array of
        shape (n_measures, 3, n_groups): NaN in groups that are known entirely. The limits of all
        times, and those of the answer, hold together with probability 1 - delta (B2).

    Returns
    -------
    AggregateEstimate
        Of grade ``distribution-free``, or ``exact`` where nothing that is left unknown could change
        an answer.

    Raises
    ------
    ValueError
        If delta, a target or a measure is outside its range, if shapes do not fit, if `unanswered`
        is given with an error target or another measure than counts, if a sum, a
        mean or a ratio is asked for of a column without a range, or if the source returns a value
        outside its bounds.

    Notes
    -----
    Counts with a budget: stratified samples and exact limits (C4 in the guarantees of COUNT). All
    else: bets on weighted draws without replacement (Ville 1939; Waudby-Smith and Ramdas 2024),
    valid at every stopping time. Statements and proofs: the guarantees of aggregates.

    Examples
    --------
    >>> from thresher.sampling import Column, CountedValues, Measure
    >>> rng = np.random.default_rng(1)
    >>> price = rng.uniform(0, 10, 5000)
    >>> sold = rng.random(5000) < 0.3
    >>> source = CountedValues(lambda rows: np.where(sold[rows], price[rows], np.nan), 800)
    >>> answer = estimate_aggregates(
    ...     np.where(sold, 0.8, 0.1), source, [Column(price, price)], [Measure("mean", 0)],
    ...     delta=0.05, rng=rng,
    ... )
    >>> mean = answer.measures[0]
    >>> bool(mean.low[0] <= price[sold].mean() <= mean.high[0]), source.remaining
    (True, 0)
    """
    chance: Floats = np.asarray(scores, dtype=np.float64)
    low, high = column_bounds(columns, len(chance))
    by_group = np.zeros(len(chance), np.int64) if groups is None else np.asarray(groups, np.int64)
    check_shapes(chance, by_group, n_groups, delta, error)
    for measure in measures:
        check_measure(measure, low, high)
    ledger = ValueLedger(source, low, high, known, unanswered)
    places = (by_group, n_groups)
    asked = list(measures)
    if unanswered is not None and (error or any(m.kind != "count" for m in asked)):
        raise ValueError("rows without an answer are served in counts without an error target")
    if ledger.affords_all and (error is None or not ledger.n_unknown):
        ledger.buy(ledger.unknown(), "all")
        return assemble(ledger, asked, places, delta, [], (), "aggregates: exact", error)
    if error is None and all(m.kind == "count" for m in asked):
        counts = count_groups(chance, ledger, asked, by_group, n_groups, delta, rng)
        limits = list(zip(counts.estimate, counts.low, counts.high, strict=True))
        name = "aggregates: counts from stratified samples, exact limits"
        return assemble(ledger, asked, places, delta, limits, counts.tests, name, error)
    run = _run(chance, ledger, columns, asked, places, delta, rng)
    if _only_extremes(asked) and settled(ledger, asked, *places):
        ledger.known[:] = True  # every row that could change the answer is
        return assemble(ledger, asked, places, delta, [], (), "aggregates: exact", error)
    run.watch = watch
    if error is None:
        run.spend()
        name = "aggregates: bets on weighted draws"
    else:
        whole = [m.kind == "count" for m in asked]
        run.until(lambda k, _g, *limits: missing(error, *limits, whole=whole[k]))
        name = "aggregates: bets on weighted draws until the error target"
    tests = tuple(bets.record() for item in run.groups for bets in item.bets)
    limits = [(f[0], f[1], f[2]) for f in run.limits()]
    return assemble(ledger, asked, places, delta, limits, tests, name, error)


def column_bounds(columns: Sequence[Column], n_rows: int) -> tuple[Floats, Floats]:
    """Return the bounds of all columns, shape (n_columns, n) each."""
    low, high = np.empty((len(columns), n_rows)), np.empty((len(columns), n_rows))
    for c, column in enumerate(columns):
        low[c], high[c] = column.low, column.high
        if column.low is column.high:  # a plain value
            continue
        never = np.isnan(low[c]) | np.isnan(high[c])
        low[c, never] = high[c, never] = np.nan
        if (low[c] > high[c]).any():
            raise ValueError(f"column {c} has rows whose low is above their high")
    return low, high


def check_shapes(
    scores: Floats, groups: Integers, n_groups: int, delta: float, error: ErrorTarget | None
) -> None:
    """Refuse arrays that do not fit, and levels and targets outside their range."""
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta must be in (0, 1), got {delta}. Write 0.05 for 95 % confidence.")
    if scores.ndim != 1 or groups.shape != scores.shape:
        raise ValueError(
            f"scores and groups must be of one dimension and equal length, "
            f"got shapes {scores.shape} and {groups.shape}"
        )
    if len(groups) and not (groups.min() >= 0 and groups.max() < n_groups):
        raise ValueError(f"groups must be in [0, {n_groups})")
    if error is not None:
        most = 1.0 if error.relative else math.inf
        if not 0.0 < error.value < most:
            raise ValueError(f"an error target must be in (0, {most:g}), got {error.value}")


def check_measure(measure: Measure, low: Floats, high: Floats, *, ranged: bool = True) -> None:
    """Refuse a measure that is not defined or, where ranges are needed, has no limits."""
    used = [measure.column]
    if measure.kind == "ratio":
        if measure.denominator is None:
            raise ValueError("a ratio needs a denominator")
        used.append(measure.denominator)
    for column in used:
        if not 0 <= column < len(low):
            raise ValueError(f"there is no column {column}")
        unbounded = np.isinf(low[column]) | np.isinf(high[column])
        if ranged and measure.kind in ("sum", "mean", "ratio") and unbounded.any():
            raise ValueError(
                f"column {column} needs a range: a {measure.kind} has no limits where a single "
                f"row could count with any value"
            )
    if measure.kind == "quantile" and not 0.0 < (measure.share or 0.0) <= 1.0:
        raise ValueError(f"a quantile needs a share in (0, 1], got {measure.share}")


def _run(
    scores: Floats,
    ledger: ValueLedger,
    columns: Sequence[Column],
    measures: list[Measure],
    places: tuple[Integers, int],
    delta: float,
    rng: np.random.Generator,
) -> SequentialRun:
    """Return the draws and bets for what is not known."""
    low, high = ledger.low, ledger.high
    forecasts = [
        first_forecast(scores, low[c], high[c], column) for c, column in enumerate(columns)
    ]
    extremes = [m for m in measures if m.kind in ("min", "max")]
    if extremes:
        part = _WALK if _only_extremes(measures) else _WALK / 2
        walk(ledger, extremes, forecasts, *places, int(part * ledger.remaining))
    targets = [_target(m, low, high) for m in measures]
    return SequentialRun(ledger, targets, forecasts, *places, delta, rng)


def _only_extremes(measures: list[Measure]) -> bool:
    return all(m.kind in ("min", "max") for m in measures)


def _target(measure: Measure, low: Floats, high: Floats) -> Target:
    """Return what runs the bets of a measure."""
    if measure.kind == "quantile":
        return QuantileTarget(measure, low, high)
    if measure.kind in ("min", "max"):
        return ExtremeTarget(measure, low, high)
    return LinearMeasure(measure, low, high)


def assemble(
    ledger: ValueLedger,
    measures: list[Measure],
    places: tuple[Integers, int],
    delta: float,
    limits: list[tuple[Floats, Floats, Floats]],
    tests: Tests,
    algorithm: str,
    error: ErrorTarget | None,
) -> AggregateEstimate:
    """Put the limits together, exact where every row of a group is known."""
    found, met, certain = [], True, True
    by_group, n_groups = places
    for k, measure in enumerate(measures):
        whole = _known_entirely(measure, ledger, *places)
        exact = tally(measure, ledger.values, *places)
        failed = np.bincount(by_group[ledger.failed(measure.column)], minlength=n_groups)
        most = exact + failed
        estimate, low, high = limits[k] if limits else (exact, exact, most)
        count = measure.kind == "count"
        if count:  # the truth is a whole number
            low, high = whole_ends(low, high)
            estimate = np.clip(np.round(estimate), low, high)
        ends = (exact, exact, most)
        estimate, low, high = (
            np.where(whole, a, b) for a, b in zip(ends, (estimate, low, high), strict=True)
        )
        if error is not None:
            estimate = settle(error, estimate, low, high, whole=count)
            triples = zip(estimate, low, high, strict=True)
            met = met and not any(missing(error, *map(float, t), whole=count) for t in triples)
        # The limits of an extreme are certain: where they meet, so is the extreme.
        extreme = measure.kind in ("min", "max")
        certain = certain and bool((whole | (extreme & (low == high))).all())
        certain = certain and not failed.any()
        found.append(MeasureEstimate(estimate, low, high, _beyond(measure, k, tests, whole)))
    return AggregateEstimate(
        tuple(found),
        met,
        tuple(ledger.steps),
        () if certain else tests,
        delta,
        algorithm,
        "exact" if certain else "distribution-free",
    )


def _known_entirely(
    measure: Measure, ledger: ValueLedger, groups: Integers, n_groups: int
) -> npt.NDArray[np.bool_]:
    """Return for which groups no row that is not known can count in the measure."""
    possible = ~np.isnan(ledger.low[measure.column])
    if measure.denominator is not None:
        possible |= ~np.isnan(ledger.low[measure.denominator])
    return np.asarray(count_by_group(possible & ~ledger.known, groups, n_groups) == 0)


def _beyond(
    measure: Measure, place: int, tests: Tests, whole: npt.NDArray[np.bool_]
) -> Floats | None:
    """Return the share of the rows that may lie beyond an extreme, in every group."""
    if measure.kind not in ("min", "max"):
        return None
    share = np.where(whole, 0.0, 1.0)
    for test in tests:
        if isinstance(test, ExtremeTest) and test.measure == place and not whole[test.group]:
            share[test.group] = min(1.0, test.n_beyond / test.n_counted)
    return share
