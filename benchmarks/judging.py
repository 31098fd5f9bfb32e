"""How an answer is judged by the whole truth, and what a method has to be for the harness."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from benchmarks.baselines import CountingOracle, Query, Rows
from benchmarks.datasets import Dataset
from benchmarks.trials import ROUNDING, quality
from benchmarks.versions import code
from thresher.sampling.selection import Selection

Promise = Literal["finite", "asymptotic", "model", "none", "knows the labels"]


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
        """What is promised: only the first two are judged against delta; a model is never true."""

    @property
    def deterministic(self) -> bool:
        """Whether one trial says everything."""

    @property
    def version(self) -> str:
        """Hash of the code that decides its answers."""

    def takes(self, data: Dataset) -> bool:
        """Whether it can be asked about this set at all."""

    def assumes_rightly(self, data: Dataset) -> bool:
        """Whether what its promise rests on is true of this set; only then is it held to it."""

    def __call__(self, data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
        """Answer, and judge the answer."""


def always(_data: Dataset) -> bool:
    """Nothing is assumed."""
    return True


@dataclass(frozen=True, slots=True)
class Entry:
    """A method made of functions; `reached` is the version of the code that `run` reaches."""

    name: str
    kind: str
    promise: Promise
    reached: str
    run: Callable[[Dataset, CountingOracle, Query, int], Outcome]
    deterministic: bool = False
    domain: Callable[[Dataset], bool] = always
    assumption: Callable[[Dataset], bool] = always

    @property
    def version(self) -> str:
        own = code(textwrap.dedent(inspect.getsource(self.run)))
        return hashlib.sha256(f"{self.reached}\0{own}".encode()).hexdigest()[:16]

    def takes(self, data: Dataset) -> bool:
        return self.domain(data)

    def assumes_rightly(self, data: Dataset) -> bool:
        return self.assumption(data)

    def __call__(self, data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
        return self.run(data, oracle, query, seed)


def limit_of(query: Query) -> int:
    """Labels allowed, where a kind cannot do without a limit."""
    if query.budget is None:
        raise ValueError(f"a question of kind {query.kind} needs a budget")
    return query.budget


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


def judge_rows(returned: Rows, data: Dataset, query: Query, n_labels: int) -> Outcome:
    """Judge rows by the targets: that they meet them is all that a peer says."""
    recall, precision = quality(returned, data.labels)
    failed = (query.kind != "precision" and recall < query.target - ROUNDING) or (
        query.kind != "recall" and precision < query.target - ROUNDING
    )
    utility = {"recall": precision, "precision": recall}.get(query.kind, float(n_labels))
    return Outcome(failed, True, utility, n_labels)


def judge_interval(low: float, high: float, data: Dataset, n_labels: int) -> Outcome:
    """Judge an interval for the number of positives; its width is taken as a share of them."""
    truth = data.n_positive
    failed = not low - ROUNDING <= truth <= high + ROUNDING
    return Outcome(failed, True, (high - low) / max(truth, 1), n_labels)


def has_scores(data: Dataset) -> bool:
    """Whether no score is missing: to the peers NaN is no number."""
    return not bool(np.isnan(data.scores).any())


def has_probabilities(data: Dataset) -> bool:
    """Whether every score is in [0, 1] or missing."""
    there = data.scores[~np.isnan(data.scores)]
    return bool(((there >= 0) & (there <= 1)).all())


def has_calibrated_tail(data: Dataset, within: float = 10.0) -> bool:
    """Whether beyond any rank the positives are at most `within` times the sum of the scores.

    Among ties the positives are taken as last, and a missing score counts as 1 at the very end.
    """
    key = np.where(np.isnan(data.scores), -np.inf, data.scores)
    from_below = np.lexsort((~data.labels, key))
    mass = np.cumsum(np.nan_to_num(data.scores, nan=1.0)[from_below])
    return bool((np.cumsum(data.labels[from_below]) <= within * mass + ROUNDING).all())


def has_positives(data: Dataset) -> bool:
    """Whether a mean over the positives is defined."""
    return data.n_positive > 0
