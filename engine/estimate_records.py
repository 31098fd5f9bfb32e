"""What an estimate leaves for whoever checks it: its labels with their values, and its records.

Every label of an estimate stands in the log once for each column of values, under a stage that
names its group. A record has one interval's bets, strata or nodes, and the numbers of the
population that no label shows: how many rows could count, how many of them are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thresher.certificate import Interval
from thresher.plan import Aggregate, Estimation
from thresher.recounts import FACTS, NO_ANSWER, value_stage
from thresher.sampling import MeasureEstimate, ValueStep
from thresher.sampling.tally import count_by_group
from thresher.targets import ErrorTarget

__all__ = ["Evidence", "at_zero", "widest_limits"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_NAMED = 5  # intervals in one message


@dataclass(frozen=True, slots=True)
class _Values:
    """A step of the label log whose answers are numbers."""

    stage: str
    rows: Integers
    answers: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The rows and the labels behind estimates.

    Parameters
    ----------
    estimation : Estimation
        What is estimated.
    codes : ndarray of int64, shape (n_rows,)
        Group of every row.
    known : ndarray of bool, shape (n_rows,)
        Rows that were known before the first of `steps`.
    values : ndarray of float64, shape (n_rows, n_measured)
        What the known rows count with; NaN where they do not count.
    plain : sequence of (ndarray of float64, shape (n_rows,), or None)
        Values that no oracle gives, for each `Measured`; NaN where a row never counts.
    steps : sequence of ValueStep
        Labels bought for the estimates, in order.
    failed : ndarray of int64, shape (k,)
        Rows that were asked and have no answer.
    """

    estimation: Estimation
    codes: Integers
    known: npt.NDArray[np.bool_]
    values: Floats
    plain: Sequence[Floats | None]
    steps: Sequence[ValueStep]
    failed: Integers

    def logged(self) -> Iterator[_Values]:
        """Write the values of known rows, then what was bought, as steps of the label log.

        Rows without an answer follow, in each column that they may count in.
        """
        facts = np.flatnonzero(self.known & ~np.isnan(self.values).all(axis=1))
        for step in (ValueStep(FACTS, facts, self.values[facts]), *self.steps):
            yield from self._by_group(step)
        nothing = np.full((len(self.failed), self.values.shape[1]), np.nan)
        for one in self._by_group(ValueStep(NO_ANSWER, self.failed, nothing)):
            column = int(one.stage.rpartition("[")[2].removesuffix("]"))
            counts = self._possible(column)[one.rows]
            yield _Values(one.stage, one.rows[counts], one.answers[counts])

    def _by_group(self, step: ValueStep) -> Iterator[_Values]:
        """Write one step: the rows of each group, once for each column."""
        grouped = bool(self.estimation.groups)
        of = self.codes[step.rows]
        for group in np.unique(of):
            mine = of == group
            for i in range(step.values.shape[1]):
                stage = value_stage(step.stage, int(group) if grouped else None, i)
                yield _Values(stage, step.rows[mine], step.values[mine, i])

    def records(
        self,
        found: Sequence[MeasureEstimate],
        groups: Integers,
        sampled: Sequence[int],
        tests: Sequence[object] | None,
    ) -> tuple[dict[str, Any], ...]:
        """Return a record for every interval, in the order of the certificate's intervals.

        Parameters
        ----------
        found : sequence of MeasureEstimate
            One for each aggregate.
        groups : ndarray of int64
            Groups that the certificate has intervals for.
        sampled : sequence of int
            Aggregates that labels were needed for, in the order of the measures of `tests`.
        tests : sequence, optional
            Records of the sampling, such as `thresher.sampling.BettingTest`; None where nothing was
            sampled.

        Returns
        -------
        tuple of dict
            Plain values; a number that is not finite is None.
        """
        plain = [_plain_fields(test) for test in tests or ()]
        of_place = {(sampled[t["measure"]], t["group"]): t for t in plain}
        labelled = self.known.copy()
        for step in self.steps:
            labelled[step.rows] = True
        aggregates, records = self.estimation.aggregates, []
        pools = [self._pool(a, one, labelled) for a, one in zip(aggregates, found, strict=True)]
        for place, group in enumerate(groups.tolist()):
            for number, aggregate in enumerate(aggregates):
                test = of_place.get((number, group))
                kind = {"kind": "Tally" if number in sampled else "Plain", "level": 0.0}
                records.append(
                    {
                        **(kind if test is None else test),
                        "interval": place * len(aggregates) + number,
                        "group": group,
                        **self._described(aggregate, exact=tests is None),
                        **{name: counts[group] for name, counts in pools[number].items()},
                    }
                )
        return tuple(records)

    def _described(self, aggregate: Aggregate, *, exact: bool) -> dict[str, Any]:
        """Say what is aggregated, and what is declared of it; estimates are not interpolated."""
        numbers = [aggregate.column, aggregate.denominator]
        return {
            "aggregate": aggregate.kind,
            "column": aggregate.column,
            "denominator": aggregate.denominator,
            "share": aggregate.share,
            "interpolated": aggregate.interpolated and exact,
            "factor": aggregate.scale,
            "ranges": [None if i is None else self._range(i, aggregate) for i in numbers],
        }

    def _range(self, number: int, aggregate: Aggregate) -> list[float | None] | str:
        """Return the declared range of a value, or that a plain column decides on it."""
        measured = self.estimation.measured[number]
        if aggregate.kind == "count":
            return [1.0, 1.0] if self._possible(number).all() else "plain"
        return "plain" if measured.plain is not None else [measured.low, measured.high]

    def _pool(
        self, aggregate: Aggregate, one: MeasureEstimate, labelled: npt.NDArray[np.bool_]
    ) -> dict[str, list[int]]:
        """Count by group the rows that were open, those left that can count, and beyond."""
        n_groups = len(one.estimate)
        anywhere = np.zeros(len(self.codes), dtype=np.bool_)
        for i in range(len(self.plain)):
            anywhere |= self._possible(i)
        here = self._possible(aggregate.column)
        if aggregate.denominator is not None:
            here = here | self._possible(aggregate.denominator)
        chosen = {"n_rows": ~self.known & (anywhere | labelled), "n_left": ~labelled & here}
        counts = {
            name: count_by_group(rows, self.codes, n_groups).tolist()
            for name, rows in chosen.items()
        }
        if aggregate.kind in ("min", "max"):
            counts["n_farther"] = self._farther(aggregate, one, labelled)
        return counts

    def _possible(self, number: int) -> npt.NDArray[np.bool_]:
        """Return which rows can count in a column."""
        plain = self.plain[number]
        return np.ones(len(self.codes), dtype=np.bool_) if plain is None else ~np.isnan(plain)

    def _farther(
        self, aggregate: Aggregate, one: MeasureEstimate, labelled: npt.NDArray[np.bool_]
    ) -> list[int]:
        """Count by group the rows left that could lie beyond an extreme that was found."""
        rows = np.flatnonzero(~labelled & self._possible(aggregate.column))
        sign = 1.0 if aggregate.kind == "max" else -1.0
        measured, plain = self.estimation.measured[aggregate.column], self.plain[aggregate.column]
        end = measured.high if sign > 0 else measured.low
        far = np.full(len(rows), np.inf if end is None else sign * end)
        if plain is not None:
            far = sign * plain[rows]
        found = one.low if sign * aggregate.scale > 0 else one.high
        best = sign * found / (aggregate.scale or 1.0)
        near = 1e-12 * np.where(np.isfinite(best), np.abs(best), 0.0)
        beyond = ~(far <= (best + near)[self.codes[rows]])  # true for no best
        counts = np.bincount(self.codes[rows[beyond]], minlength=len(best))
        return [int(count) for count in counts]


def widest_limits(intervals: Sequence[Interval], error: ErrorTarget) -> str:
    """Name the interval that is farthest from an error target, and write its limits.

    Parameters
    ----------
    intervals : sequence of Interval
        At least one.
    error : ErrorTarget
        Says whether widths are shares or absolute.

    Returns
    -------
    str
        Such as ``n of drama: [88, 120]``.
    """

    def width(interval: Interval) -> float:
        if interval.low is None or interval.high is None:
            return np.inf
        nearest = min(abs(interval.low), abs(interval.high)) if error.relative else 1.0
        return (interval.high - interval.low) / max(nearest, 1e-300)

    return _written(max(intervals, key=width))


def at_zero(intervals: Sequence[Interval], error: ErrorTarget) -> str:
    """Name the intervals that no relative error suits, since 0 lies in them; empty if none.

    Parameters
    ----------
    intervals : sequence of Interval
    error : ErrorTarget
        An absolute one suits any interval that is narrow enough.

    Returns
    -------
    str
        Such as ``n of drama: [0, 34] and 2 more``.
    """
    found = [
        _written(one)
        for one in intervals
        if error.relative
        and one.low is not None
        and one.high is not None
        and one.low <= 0.0 <= one.high
        and one.low < one.high
    ]
    more = len(found) - _NAMED
    return ", ".join(found[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _written(one: Interval) -> str:
    group = f" of {', '.join(one.group)}" if one.group else ""
    low = "-inf" if one.low is None else f"{one.low:,.6g}"
    high = "inf" if one.high is None else f"{one.high:,.6g}"
    return f"{one.name}{group}: [{low}, {high}]"


def _plain_fields(test: object) -> dict[str, Any]:
    """Return a test as plain values, for the certificate."""
    fields: Mapping[str, object] = asdict(test)  # type: ignore[call-overload]
    return {"kind": type(test).__name__, **{k: _plain(v) for k, v in fields.items()}}


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.item() if isinstance(value, np.generic) else value
