"""What can be measured: kinds of question, and for each kind the methods that answer it.

The harness knows a method by the protocol `Method` alone. A new kind is a line in `KINDS`; a new
method is a value in `METHODS`. A method runs once on a data set and judges its own answer by the
whole truth, so the harness need not know what an answer looks like.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks import baselines, clairvoyant
from benchmarks.baselines import CountingOracle, Query, Rows
from benchmarks.datasets import Dataset
from benchmarks.trials import ROUNDING, quality
from benchmarks.versions import version_of
from thresher.sampling.counts import count_limits, estimate_count
from thresher.sampling.joint import select_joint
from thresher.sampling.labels import CountedLabels
from thresher.sampling.precision import select_precision
from thresher.sampling.recall import select_recall
from thresher.sampling.selection import Selection

# Raise it when trials are judged or seeded in another way: older trials are then run again.
REVISION = 1

Promise = Literal["finite", "asymptotic", "none", "knows the labels"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of question, and the figure by which answers that hold are compared."""

    name: str
    heading: str
    figure: str
    fewer_is_better: bool = False
    share: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer, judged by the whole truth.

    `failed`: a statement that the answer makes is false. `met`: the answer says that the targets
    are certified. `utility` is the kind's figure.
    """

    failed: bool
    met: bool
    utility: float
    n_labels: int


class Method(Protocol):
    """One way to answer one kind of question."""

    @property
    def name(self) -> str:
        """As it stands in tables; thresher's own is ``thresher``."""

    @property
    def kind(self) -> str:
        """A name in `KINDS`."""

    @property
    def promise(self) -> Promise:
        """What is promised: only the first two are judged against delta."""

    @property
    def deterministic(self) -> bool:
        """Whether one trial says everything."""

    @property
    def version(self) -> str:
        """Hash of the code that decides its answers."""

    def __call__(self, data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
        """Answer, and judge the answer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A method made of a function."""

    name: str
    kind: str
    promise: Promise
    version: str
    run: Callable[[Dataset, CountingOracle, Query, int], Outcome]
    deterministic: bool = False

    def __call__(self, data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
        return self.run(data, oracle, query, seed)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("recall", "Recall target", "precision of the answer"),
        Kind("precision", "Precision target", "recall of the answer"),
        Kind(
            "both",
            "Recall and precision target, no limit",
            "labels bought",
            fewer_is_better=True,
            share=False,
        ),
        Kind(
            "both-limited",
            "Recall and precision target, labels limited",
            "precision of the answer",
        ),
        Kind(
            "count",
            "COUNT",
            "width of the interval over the count",
            fewer_is_better=True,
        ),
    )
}


def judge_selection(answer: Selection, data: Dataset, query: Query, n_labels: int) -> Outcome:
    """Judge by what the answer itself promises: the targets if `met`, and its bounds always."""
    recall, precision = quality(np.flatnonzero(answer.returned), data.labels)
    asked_recall = query.target if query.kind != "precision" and answer.met else 0.0
    asked_precision = query.target if query.kind != "recall" and answer.met else 0.0
    least_recall = max(asked_recall, answer.recall_bound or 0.0)
    least_precision = max(asked_precision, answer.precision_bound or 0.0)
    failed = recall < least_recall - ROUNDING or precision < least_precision - ROUNDING
    utility = {"recall": precision, "precision": recall, "both": float(n_labels)}.get(
        query.kind, precision
    )
    return Outcome(failed, answer.met, utility, n_labels)


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


def judge_rows(returned: Rows, data: Dataset, query: Query, n_labels: int) -> Outcome:
    """Judge rows by the targets: that they meet them is all that a peer says."""
    recall, precision = quality(returned, data.labels)
    failed = (query.kind != "precision" and recall < query.target - ROUNDING) or (
        query.kind != "recall" and precision < query.target - ROUNDING
    )
    utility = {"recall": precision, "precision": recall}.get(query.kind, float(n_labels))
    return Outcome(failed, True, utility, n_labels)


def peer(name: str) -> Callable[[Dataset, CountingOracle, Query, int], Outcome]:
    """Run a peer of `baselines` and judge the rows that it returns."""

    def run(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
        returned = baselines.METHODS[name](data.scores, oracle, query, seed)
        return judge_rows(returned, data, query, oracle.n_calls)

    return run


def judge_interval(low: float, high: float, data: Dataset, n_labels: int) -> Outcome:
    """Judge an interval for the number of positives; its width is taken as a share of them."""
    truth = data.n_positive
    failed = not low - ROUNDING <= truth <= high + ROUNDING
    return Outcome(failed, True, (high - low) / max(truth, 1), n_labels)


def limit_of(query: Query) -> int:
    """Labels allowed, where a kind cannot do without a limit."""
    if query.budget is None:
        raise ValueError(f"a question of kind {query.kind} needs a budget")
    return query.budget


def _uniform_sample(
    data: Dataset, oracle: CountingOracle, query: Query, seed: int
) -> tuple[Rows, npt.NDArray[np.bool_]]:
    rows = np.random.default_rng(seed).choice(data.n_rows, limit_of(query), replace=False)
    return rows, oracle(rows)


def thresher_count(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Ask thresher for a COUNT."""
    labels = CountedLabels(oracle, limit_of(query))
    rng = np.random.default_rng(seed)
    answer = estimate_count(data.scores, labels, delta=query.delta, rng=rng)
    return judge_interval(answer.low, answer.high, data, oracle.n_calls)


def uniform_count(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Exact hypergeometric limits of a uniform sample: no proxy."""
    _, answers = _uniform_sample(data, oracle, query, seed)
    limits = count_limits([(data.n_rows, len(answers), int(answers.sum()))], query.delta)
    return judge_interval(*limits, data, oracle.n_calls)


def ppi_count(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """PPI++ of the package `ppi-python`: a mean by a uniform sample and the proxy, asymptotic."""
    ppi = importlib.import_module("ppi_py")
    rows, answers = _uniform_sample(data, oracle, query, seed)
    scores = np.nan_to_num(data.scores, nan=0.0)
    rest = np.delete(scores, rows)
    # Over the rows that were not sampled: the answers of the others are known.
    low, high = ppi.ppi_mean_ci(answers.astype(np.float64), scores[rows], rest, alpha=query.delta)
    found, n_rest = int(answers.sum()), len(rest)
    ends = [found + n_rest * min(max(float(np.squeeze(end)), 0.0), 1.0) for end in (low, high)]
    return judge_interval(ends[0], ends[1], data, oracle.n_calls)


def best_possible(data: Dataset, _oracle: CountingOracle, query: Query, _seed: int) -> Outcome:
    """What whoever knew every label would plan for; nothing is bought and nothing can fail."""
    utility = clairvoyant.plan(data, query)
    return Outcome(False, True, utility, 0)


def _entries() -> list[Method]:
    theirs = version_of(["benchmarks.baselines"], ["bargain"])
    seer = version_of(["benchmarks.clairvoyant"])
    entries: list[Method] = [
        Entry("thresher", "recall", "finite", _own("recall"), thresher_selection),
        Entry("thresher", "precision", "finite", _own("precision"), thresher_selection),
        Entry("thresher", "both", "finite", _own("joint"), thresher_selection),
        Entry("thresher", "both-limited", "finite", _own("joint"), thresher_selection),
        Entry("thresher", "count", "finite", _own("counts"), thresher_count),
        Entry("uniform", "count", "finite", _own("counts"), uniform_count),
    ]
    for kind in ("recall", "precision", "both"):
        if importlib.util.find_spec("BARGAIN") is not None:
            entries.append(Entry("bargain", kind, "finite", theirs, peer("bargain")))
        entries.append(Entry("supg", kind, "asymptotic", theirs, peer("supg")))
        if kind != "both":
            entries.append(Entry("top-n", kind, "none", theirs, peer("top-n"), deterministic=True))
        entries.append(
            Entry("clairvoyant", kind, "knows the labels", seer, best_possible, deterministic=True)
        )
    if importlib.util.find_spec("ppi_py") is not None:
        version = version_of([], ["ppi-python"])
        entries.append(Entry("ppi++", "count", "asymptotic", version, ppi_count))
    return entries


def _own(module: str) -> str:
    return version_of([f"thresher.sampling.{module}"])


METHODS: dict[tuple[str, str], Method] = {(one.kind, one.name): one for one in _entries()}


def is_better(kind: str, one: float, other: float) -> bool:
    """Whether one figure is better than the other, both rounded as they are shown."""
    one, other = shown(kind, one), shown(kind, other)
    if math.isnan(one) or math.isnan(other):
        return False
    return one < other if KINDS[kind].fewer_is_better else one > other


def shown(kind: str, figure: float) -> float:
    """Round a figure as tables show it."""
    return round(figure, 3) if KINDS[kind].share else round(figure)
