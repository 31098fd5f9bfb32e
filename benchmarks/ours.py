"""Thresher's own methods: every sort of question that it answers, with every grade."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks import hostile
from benchmarks.baselines import CountingOracle, Query, Rows
from benchmarks.datasets import Dataset
from benchmarks.judging import (
    Entry,
    Method,
    Outcome,
    has_calibrated_tail,
    has_positives,
    has_probabilities,
    judge_interval,
    judge_selection,
    limit_of,
)
from benchmarks.trials import ROUNDING, quality
from benchmarks.versions import version_of
from thresher.sampling.accuracy import select_accuracy
from thresher.sampling.aggregates import estimate_aggregates
from thresher.sampling.audit import audit_selection
from thresher.sampling.calibrated import select_recall_calibrated
from thresher.sampling.core_set import select_precision_core_set, select_recall_core_set
from thresher.sampling.counts import estimate_count
from thresher.sampling.joint import select_joint
from thresher.sampling.labelling import CountedClasses
from thresher.sampling.labels import CountedLabels
from thresher.sampling.measures import Column, Measure
from thresher.sampling.normality import select_precision_normal, select_recall_normal
from thresher.sampling.precision import select_precision
from thresher.sampling.proxy_quality import (
    select_precision_proxy_quality,
    select_recall_proxy_quality,
)
from thresher.sampling.recall import select_recall
from thresher.sampling.selection import Selection
from thresher.sampling.values import CountedValues

SELECTIONS = {
    "recall": "recall",
    "precision": "precision",
    "both": "joint",
    "both-limited": "joint",
}


def thresher_selection(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Ask thresher for rows."""
    labels = CountedLabels(oracle, data.n_rows if query.budget is None else query.budget)
    rng = np.random.default_rng(seed)
    target, delta = query.target, query.delta
    if query.kind == "recall":
        answer = select_recall(data.scores, labels, recall=target, delta=delta, rng=rng)
    elif query.kind == "precision":
        answer = select_precision(data.scores, labels, precision=target, delta=delta, rng=rng)
    else:
        answer = select_joint(
            data.scores, labels, recall=target, precision=target, delta=delta, rng=rng
        )
    return judge_selection(answer, data, query, oracle.n_calls)


def graded(
    select: Callable[..., Selection], **declared: float
) -> Callable[[Dataset, CountingOracle, Query, int], Outcome]:
    """Ask one of thresher's selections by name of the target, as `thresher_selection` does."""

    def run(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
        labels = CountedLabels(oracle, limit_of(query))
        rng = np.random.default_rng(seed)
        targets: dict[str, float] = {query.kind: query.target}
        answer = select(data.scores, labels, delta=query.delta, rng=rng, **targets, **declared)
        return judge_selection(answer, data, query, oracle.n_calls)

    return run


def core_set_declared(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Core set closure with the true number of positives declared."""
    run = graded(select_recall_core_set, n_positive=data.n_positive)
    return run(data, oracle, query, seed)


def thresher_count(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Ask thresher for a COUNT."""
    labels = CountedLabels(oracle, limit_of(query))
    rng = np.random.default_rng(seed)
    answer = estimate_count(data.scores, labels, delta=query.delta, rng=rng)
    return judge_interval(answer.low, answer.high, data, oracle.n_calls)


def thresher_audit(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Ask thresher to audit an answer: as many of the best-scored rows as there are positives."""
    best = np.argsort(-data.scores, kind="stable")[: max(data.n_positive, 1)]
    returned = np.zeros(data.n_rows, dtype=np.bool_)
    returned[best] = True
    audit = audit_selection(
        returned,
        CountedLabels(oracle, limit_of(query)),
        delta=query.delta,
        rng=np.random.default_rng(seed),
        recall=query.target,
        precision=query.target,
        scores=data.scores,
    )
    found = (audit["recall"], audit["precision"])
    failed = any(
        not limits.low - ROUNDING <= truth <= limits.high + ROUNDING
        for limits, truth in zip(found, quality(best, data.labels), strict=True)
    )
    return Outcome(failed, True, found[0].high - found[0].low, oracle.n_calls)


def thresher_aggregate(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Ask thresher for the sum or the mean of the values of the positive rows."""
    values = hostile.values(data.name, data.n_rows)

    def answer_of(rows: Rows) -> npt.NDArray[np.float64]:
        return np.where(oracle(rows), values[rows], np.nan)

    source = CountedValues(answer_of, limit_of(query))
    measure = Measure("sum" if query.kind == "sum" else "mean", 0)
    answer = estimate_aggregates(
        data.scores,
        source,
        [Column(0.0, hostile.MOST_VALUE)],
        [measure],
        delta=query.delta,
        rng=np.random.default_rng(seed),
    ).measures[0]
    counted = values[data.labels]
    truth = float(counted.sum() if query.kind == "sum" else counted.mean())
    low, high = float(answer.low[0]), float(answer.high[0])
    slack = ROUNDING * max(abs(truth), 1.0)
    failed = not low - slack <= truth <= high + slack
    width = (high - low) / truth if truth else high - low
    return Outcome(failed, True, width, oracle.n_calls)


def thresher_accuracy(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Ask thresher for a label of every row; the proxy says positive from a score of one half."""
    scores = np.nan_to_num(data.scores, nan=0.5)

    def answer_of(rows: Rows) -> npt.NDArray[np.int64]:
        return oracle(rows).astype(np.int64)

    answer = select_accuracy(
        (scores >= 0.5).astype(np.int64),
        np.abs(scores - 0.5),
        CountedClasses(answer_of, data.n_rows if query.budget is None else query.budget),
        accuracy=query.target,
        delta=query.delta,
        rng=np.random.default_rng(seed),
    )
    accuracy = float((answer.labels == data.labels).mean())
    least = max(query.target if answer.met else 0.0, answer.accuracy_bound)
    failed = accuracy < least - ROUNDING
    return Outcome(failed, answer.met, float(oracle.n_calls), oracle.n_calls)


def entries() -> list[Method]:
    """All of thresher's methods."""
    found: list[Method] = [
        Entry("thresher", kind, "finite", _own(module), thresher_selection)
        for kind, module in SELECTIONS.items()
    ]
    found += [
        Entry("thresher", "count", "finite", _own("counts"), thresher_count),
        Entry("thresher", "audit", "finite", _own("audit"), thresher_audit),
        Entry("thresher", "accuracy", "finite", _own("accuracy"), thresher_accuracy),
        Entry("thresher", "sum", "finite", _own("aggregates"), thresher_aggregate),
        Entry(
            "thresher",
            "mean",
            "finite",
            _own("aggregates"),
            thresher_aggregate,
            domain=has_positives,
        ),
        Entry(
            "thresher-calibrated",
            "recall",
            "finite",
            _own("calibrated"),
            graded(select_recall_calibrated),
            domain=has_probabilities,
            assumption=has_calibrated_tail,
        ),
    ]
    closure, proxy, normal = _own("core_set"), _own("proxy_quality"), _own("normality")
    found.append(
        Entry("thresher-core-set-declared", "recall", "finite", closure, core_set_declared)
    )
    for kind, core_set, by_error, by_normal in (
        ("recall", select_recall_core_set, select_recall_proxy_quality, select_recall_normal),
        (
            "precision",
            select_precision_core_set,
            select_precision_proxy_quality,
            select_precision_normal,
        ),
    ):
        found += [
            Entry("thresher-core-set", kind, "finite", closure, graded(core_set)),
            Entry(
                "thresher-proxy-quality",
                kind,
                "model",
                proxy,
                graded(by_error),
                domain=has_probabilities,
            ),
            Entry(
                "thresher-normal",
                kind,
                "asymptotic",
                normal,
                graded(by_normal),
                domain=has_probabilities,
            ),
        ]
    return found


def _own(module: str) -> str:
    return version_of([f"thresher.sampling.{module}"])
