"""Aggregates over oracle predicates and oracle values, with limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher import proxy_scores
from thresher.certificate import Certificate, Interval
from thresher.certifying import certify, finite
from thresher.errors import DataError, NotSupportedError, ShortfallError, UnansweredError
from thresher.estimands import Estimands, error_of, group_codes
from thresher.estimate_records import Evidence, at_zero, widest_limits
from thresher.failures import counted_both_ways, logged, unanswered
from thresher.labelling import Labeller
from thresher.plan import Aggregate, Estimation, Measured
from thresher.progress import Limits
from thresher.running import Running
from thresher.sampling import (
    AggregateEstimate,
    Column,
    ErrorTarget,
    Grade,
    Measure,
    MeasureEstimate,
    OutOfLabelsError,
    Step,
    ValueStep,
    estimate_aggregates,
    estimate_aggregates_normal,
)
from thresher.sampling.tally import order_statistic
from thresher.shortfalls import kept

__all__ = ["estimate"]

Floats = npt.NDArray[np.float64]


def estimate(run: Running) -> tuple[pa.Table, Certificate]:
    """Estimate the aggregates of a run, and certify them.

    Returns
    -------
    table : pyarrow.Table
        A row for each group: its columns are those that `Estimation.select` names.
    certificate : Certificate

    Raises
    ------
    ShortfallError
        The error target cannot be met and ON SHORTFALL says FAIL, or says nothing.
    NotSupportedError
        A value of an oracle has no range, which finite-sample limits of its sum need.
    """
    estimation = run.query.estimation
    if estimation is None:
        raise TypeError("a query without estimation has nothing to estimate")
    return _Estimating(run, estimation).estimate()


class _Source:
    """Sells values of rows to the estimators; the labels stay counted in the labeller."""

    def __init__(self, labeller: Labeller) -> None:
        self._labeller = labeller

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain."""
        return self._labeller.remaining

    def __call__(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Label rows and return what they count with."""
        return self._labeller.measure(rows)


class _Estimating:
    """The state of one estimation."""

    def __init__(self, run: Running, estimation: Estimation) -> None:
        self.run, self.estimation, self.population = run, estimation, run.population
        self.estimands = Estimands(estimation, run.population)
        self.codes, self.group_rows = group_codes(run.population.groups, run.population.n_rows)
        self.n_groups = max(1, len(self.group_rows))
        self.values = run.population.values.copy()
        self.negative = np.zeros(run.population.n_rows, dtype=np.bool_)
        self.complete = False

    def estimate(self) -> tuple[pa.Table, Certificate]:
        """Estimate, build the answer and the certificate."""
        run = self.run
        numbers = [i for i, a in enumerate(self.estimation.aggregates) if not self._certain(a)]
        sampled = [self.estimation.aggregates[i] for i in numbers]
        result: AggregateEstimate | None = None
        grade: Grade = "exact"
        met, algorithm = True, "aggregates: no label needed"
        steps: tuple[ValueStep, ...] = ()
        sequential = run.interruptible or run.targets.error is not None
        if sampled and run.n_unknown <= run.labeller.remaining and not sequential:
            algorithm, steps = "exact", self._label_all()
            grade = "distribution-free" if len(run.labeller.failed) else "exact"
        elif sampled:
            result = self._sample(sampled)
            grade, algorithm, steps = result.grade, result.algorithm, result.steps
            met = result.met or run.targets.error is None
        found = self._scaled(() if result is None else result.measures)
        note = counted_both_ways(run, self._policy(result, found))
        rows = self._present()
        table = self._table(found, rows)
        evidence = Evidence(
            self.estimation, self.codes, run.known >= 0, self.values, self.population.plain, steps,
            run.labeller.failed,
        )  # fmt: skip
        certificate = certify(
            run,
            grade=grade,
            met=met,
            note=note,
            assumption=None if result is None else result.assumption,
            n_returned=table.num_rows,
            steps=(*run.fit_steps, *(Step(s.stage, s.rows, _counts(s.values)) for s in steps)),
            logged=(*logged(run, ()), *evidence.logged()),
            algorithm=algorithm,
            tests=evidence.records(found, rows, numbers, None if result is None else result.tests),
            intervals=tuple(self._intervals(found, rows)),
        )
        return table, certificate

    def _label_all(self) -> tuple[ValueStep, ...]:
        """Label every row that can count, so that all aggregates are certain."""
        self.run.enter("label all")
        rows = np.flatnonzero(self.run.known < 0)
        values = self.run.labeller.measure(rows)
        self.values[rows] = values
        self.negative[rows] = ~self.run.labeller(rows)  # known by now: nothing is asked again
        self.negative[self.run.labeller.failed] = False
        self.complete = True
        return (ValueStep("all", rows, values),)

    def _certain(self, aggregate: Aggregate) -> bool:
        """Whether every row's value is known."""
        return self.complete or self.estimands.certain(aggregate)

    def _sample(self, aggregates: Sequence[Aggregate]) -> AggregateEstimate:
        """Buy labels and estimate all aggregates that are not certain."""
        run, population = self.run, self.population
        normal = run.query.tail.assuming is not None  # NORMALITY: the only one for estimates
        if normal:
            self._check_normal(aggregates)
        scores = np.ones(population.n_rows)
        predictions = proxy_scores.predictions(run)
        run.probe()
        if self.estimands.decides:
            scores = np.asarray(proxy_scores.scores(run), dtype=np.float64)
        run.enter("estimate")
        known = run.known >= 0
        fitted = np.flatnonzero(known & (population.known < 0))
        self.values[fitted] = run.labeller.measure(fitted)
        columns = [
            self._column(m, None if m.plain is not None else predictions)
            for m in self.estimation.measured
        ]
        procedure: Callable[..., AggregateEstimate] = estimate_aggregates_normal
        if not normal:
            procedure = partial(
                estimate_aggregates, error=self._error(aggregates), unanswered=unanswered(run),
                watch=self._watch if run.labeller.counts else None,
            )  # fmt: skip
        try:
            return procedure(
                scores,
                _Source(run.labeller),
                columns,
                [self.estimands.measure(a) for a in aggregates],
                delta=run.targets.delta,
                rng=run.rng,
                groups=self.codes if self.estimation.groups else None,
                n_groups=self.n_groups,
                known=(known, self.values),
            )
        except OutOfLabelsError as stop:
            error = UnansweredError("people have not answered what the first rows need.")
            raise run.located(error, "BUDGET") from stop
        except ValueError as error:
            raise DataError(str(error), sql=run.query.sql) from error

    def _check_normal(self, aggregates: Sequence[Aggregate]) -> None:
        """Refuse what has no normal limits."""
        message = None
        extremes = [a.kind for a in aggregates if a.kind in ("min", "max")]
        if extremes:
            message = (
                f"ASSUMING NORMALITY does not serve {extremes[0]}: no normal law describes the "
                "extreme of a sample. Leave ASSUMING out: its limits then hold at finite samples."
            )
        elif self.run.interruptible:
            message = (
                "ASSUMING NORMALITY needs all of its sample, and thresher_on_interrupt = ANSWER "
                "may stop before. Write SET thresher_on_interrupt = RAISE, or leave ASSUMING out."
            )
        if message:
            raise self.run.located(NotSupportedError(message), "ASSUMING")

    def _column(self, measured: Measured, prediction: Floats | None) -> Column:
        column = self.estimands.column(measured, prediction)
        if measured.plain is None and self.run.query.tail.assuming is None:
            low, high = measured.low, measured.high
            self._check_range(
                measured, -np.inf if low is None else low, np.inf if high is None else high
            )
        return column

    def _check_range(self, measured: Measured, low: float, high: float) -> None:
        """Refuse a sum of values without range."""
        kinds = ("sum", "mean", "ratio")
        numbers = {
            number
            for a in self.estimation.aggregates
            if a.kind in kinds
            for number in (a.column, a.denominator)
        }
        free = self.estimation.measured.index(measured) not in numbers
        if free or np.isfinite([low, high]).all():
            return
        text = measured.text
        raise NotSupportedError(
            f"{text} has no declared range, and limits of its sum or mean need one. Write "
            f"least(greatest({text}, a), b) with the least and largest value a and b, or declare "
            "them: CREATE ORACLE ... WITH (minimum = a, maximum = b). Or write ORACLE LIMIT n "
            "ASSUMING NORMALITY for limits without a range, which hold about as said once labels "
            "are many.",
        ).at(self.run.query.sql, measured.place.offset, measured.place.length)

    def _error(self, aggregates: Sequence[Aggregate]) -> ErrorTarget | None:
        error = error_of(self.run.targets, aggregates)
        if error is None and self.run.interruptible:
            return ErrorTarget(1e-300, relative=False)  # limits that hold wherever it stops
        return error

    def _policy(
        self, result: AggregateEstimate | None, found: Sequence[MeasureEstimate]
    ) -> str | None:
        """Say what could not be done, or raise where ON SHORTFALL wants that."""
        run = self.run
        if run.stopped:
            return f"{run.stopped}: the limits hold for the labels bought by then."
        if result is None or result.met or run.targets.error is None:
            return None
        cannot = f"{run.targets} cannot be met with {run.limit:,} labels"
        intervals = self._intervals(found, self._present())
        zero = at_zero(intervals, run.targets.error)
        advice = self._advice(zero)
        policy = run.query.tail.on_shortfall or run.env.settings.get("on_shortfall") or "FAIL"
        if policy == "RETURN":
            return f"{cannot}; the limits shown hold. {advice}"
        widest = widest_limits(intervals, run.targets.error)
        shown = "" if zero else f"; the widest limits that hold are those of {widest}"
        message = f"{cannot}{shown}. {advice} Or write ON SHORTFALL RETURN."
        raise run.located(ShortfallError(message, spent=run.labeller.n_labels), "ERROR WITHIN")

    def _advice(self, zero: str) -> str:
        """Say how an error target may be met, of which these intervals keep 0."""
        bought = kept(self.run)
        if not zero:
            return (
                f"Raise ORACLE LIMIT ({bought}), allow a larger error, or give a better proxy "
                "with USING."
            )
        return (
            f"No relative error can be met where the limits hold 0: {zero}. Raise ORACLE LIMIT "
            f"({bought}); if there is no positive row there, only labels of all rows show it: then "
            "write ERROR WITHIN x ABSOLUTE, in the unit of the aggregate, or leave such rows out "
            "in WHERE."
        )

    def _watch(self, limits: Floats) -> None:
        """Tell whoever watches which limits hold now."""
        found = self._scaled([MeasureEstimate(*one) for one in limits])
        intervals = tuple(self._intervals(found, self._present()))
        self.run.limits = Limits(intervals, 1 - self.run.targets.delta)
        self.run.report()

    def _scaled(self, measures: Sequence[MeasureEstimate]) -> list[MeasureEstimate]:
        """Return estimate and limits of every aggregate, from the sampled ones in their order."""
        sampled = iter(measures)
        found = []
        for aggregate in self.estimation.aggregates:
            one = self._exactly(aggregate) if self._certain(aggregate) else next(sampled)
            ends = (one.low * aggregate.scale, one.high * aggregate.scale)
            low, high = ends if aggregate.scale >= 0 else ends[::-1]
            found.append(MeasureEstimate(one.estimate * aggregate.scale, low, high, one.beyond))
        return found

    def _exactly(self, aggregate: Aggregate) -> MeasureEstimate:
        """Compute an aggregate over plain values."""
        above = self._sums(aggregate.column, aggregate)
        if aggregate.denominator is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                above = above / self._sums(aggregate.denominator, aggregate)
        return MeasureEstimate(above, above, above + self._failed(aggregate))

    def _failed(self, aggregate: Aggregate) -> Floats:
        """Count by group the rows without an answer that may count; 0 where no label matters."""
        failed = self.run.labeller.failed
        if not len(failed) or self.estimands.certain(aggregate):
            return np.zeros(self.n_groups)
        plain = self.population.plain[aggregate.column]
        counts = failed if plain is None else failed[~np.isnan(plain[failed])]
        return np.bincount(self.codes[counts], minlength=self.n_groups).astype(np.float64)

    def _sums(self, number: int, aggregate: Aggregate) -> Floats:
        plain = self.values[:, number] if self.complete else self.population.plain[number]
        if plain is None:
            raise TypeError("a certain aggregate has plain values")
        counted = ~np.isnan(plain)
        values, codes = plain[counted], self.codes[counted]
        ends = np.cumsum(np.bincount(codes, minlength=self.n_groups))
        parts = np.split(values[np.argsort(codes, kind="stable")], ends[:-1])
        return np.array([_aggregate(aggregate, value) for value in parts])

    def _present(self) -> npt.NDArray[np.int64]:
        """Return the groups in which a row may count."""
        if not self.estimation.groups:
            return np.zeros(1, dtype=np.int64)
        gone = (self.run.known == 0) | self.negative
        gone[self.run.labeller.failed] = False
        return np.flatnonzero(np.bincount(self.codes[~gone], minlength=self.n_groups))

    def _table(self, found: Sequence[MeasureEstimate], rows: npt.NDArray[np.int64]) -> pa.Table:
        columns: dict[str, pa.Array | pa.ChunkedArray] = {}
        first = pa.array(self.group_rows[rows]) if self.estimation.groups else None
        for name, _ in self.estimation.groups:
            columns[name] = self.population.groups.column(name).take(first)
        for i, (aggregate, one) in enumerate(zip(self.estimation.aggregates, found, strict=True)):
            for end, value in (("", one.estimate), ("_low", one.low), ("_high", one.high)):
                columns[f"__thresher_a{i}{end}"] = _arrow(value[rows], aggregate)
        return pa.table(columns)

    def _intervals(
        self, found: Sequence[MeasureEstimate], rows: npt.NDArray[np.int64]
    ) -> list[Interval]:
        groups = self.population.groups
        named = [
            tuple(str(groups.column(name)[int(self.group_rows[g])]) for name in groups.column_names)
            for g in (rows if self.estimation.groups else ())
        ] or [()]
        return [
            Interval(
                aggregate.name,
                named[k],
                finite(float(one.estimate[g])),
                finite(float(one.low[g])),
                finite(float(one.high[g])),
                None if one.beyond is None else finite(float(one.beyond[g])),
            )
            for k, g in enumerate(rows.tolist())
            for aggregate, one in zip(self.estimation.aggregates, found, strict=True)
        ]


def _aggregate(aggregate: Aggregate, value: Floats) -> float:
    """Aggregate plain values as DuckDB would; NaN over none."""
    kind = "sum" if aggregate.kind == "ratio" else aggregate.kind
    if not len(value) and aggregate.kind not in ("count", "ratio"):
        return float("nan")
    if kind in ("count", "sum"):
        return float(len(value)) if kind == "count" else float(value.sum())
    match kind:
        case "quantile" if aggregate.interpolated:
            return float(np.quantile(value, aggregate.share or 0.0))
        case "quantile":
            asked = Measure("quantile", 0, share=aggregate.share)
            return order_statistic(asked, np.sort(value))
        case "min":
            return float(value.min())
        case "max":
            return float(value.max())
    return float(value.mean())


def _arrow(value: Floats, aggregate: Aggregate) -> pa.Array:
    """Counts are whole numbers; what is not a number is NULL."""
    missing = np.isnan(value)
    if aggregate.kind == "count" and aggregate.scale == 1 and np.isfinite(value[~missing]).all():
        return pa.array(np.where(missing, 0, value).astype(np.int64), mask=missing)
    return pa.array(value, mask=missing)


def _counts(values: Floats) -> npt.NDArray[np.bool_]:
    """Whether each row counts in any column."""
    return np.asarray((~np.isnan(values)).any(axis=1))
