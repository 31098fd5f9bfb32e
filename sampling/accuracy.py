"""A label for every row, from the proxy or from the oracle, with an accuracy target."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from thresher.sampling.accuracy_plan import (
    CutPlan,
    RiskModel,
    least_sample,
    plan_cut,
    plan_limit,
)
from thresher.sampling.bounds import Share, marked_upper
from thresher.sampling.labelling import CascadeTest, ClassSource, ClassStep, Labelling
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.picture import Picture, draw_pilot, make_buckets, make_pictures
from thresher.sampling.recall import check_level

__all__ = ["select_accuracy"]

Codes = npt.NDArray[np.int64]
_PILOT = 20
_MORE_PILOT, _PILOT_SHARE = 300, 0.03  # of the labels that are forecast
_PROBE_SHARE, _MOST_PROBE = 0.1, 120  # of delta, and labels
_LIMIT_SHARE = 0.05  # of delta, for a bound where the labels might not suffice


def select_accuracy(
    predictions: npt.NDArray[np.integer] | npt.NDArray[np.bool_],
    confidence: npt.NDArray[np.floating],
    labels: ClassSource,
    *,
    accuracy: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.integer] | None = None,
) -> Labelling:
    """Label every row by proxy or oracle with an accuracy target, for as few labels as possible.

    Parameters
    ----------
    predictions : ndarray of int or bool, shape (n_rows,)
        The proxy's class code of each row.
    confidence : ndarray of float, shape (n_rows,)
        How sure the proxy is; any values, higher is surer, NaN is least sure. Classes need not
        share a scale.
    labels : ClassSource
        Sells the oracle's class codes; its `remaining` is a limit that is never passed.
    accuracy : float
        Share of all rows whose label must equal the oracle's, in (0, 1].
    delta : float
        Failure probability, in (0, 1).
    rng : numpy.random.Generator
        Every random choice; it must not depend on the labels.
    known : ndarray of int, shape (n_rows,), optional
        The oracle's codes known before, negative where unknown. They may depend on anything past.

    Returns
    -------
    Labelling
        With `met` the accuracy is at least the target with probability 1 - delta. Otherwise the
        labels did not suffice, and `accuracy_bound` is what can be certified.

    Raises
    ------
    ValueError
        If the target, `delta`, or the shape or type of an array is wrong.

    Notes
    -----
    Finite-sample, for any predictions, confidences and labels (theorems D1 and D2 in the
    guarantees of accuracy). Where a few rows could prove it all, they are sampled first, at a
    tenth of delta. A pilot calibrates the confidence for each predicted class and fixes an order
    of risk; then one uniform sample is drawn, and every row that is riskier than the (c + 1)-th
    safest sampled disagreement is labelled, where c is fixed before the sample. So the
    cut follows the sample without a union over cuts, and sampled rows above it cost nothing.

    Examples
    --------
    >>> from thresher.sampling.labelling import CountedClasses
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 3, 5000)
    >>> confidence = rng.random(5000)
    >>> predictions = np.where(rng.random(5000) < confidence, truth, (truth + 1) % 3)
    >>> labels = CountedClasses(lambda rows: truth[rows], budget=5000)
    >>> answer = select_accuracy(
    ...     predictions, confidence, labels, accuracy=0.9, delta=0.05, rng=rng
    ... )
    >>> answer.met, bool((answer.labels == truth).mean() >= 0.9), labels.spent < 3500
    (True, True, True)
    """
    check_level(delta)
    cascade = _Cascade(predictions, confidence, labels, accuracy, rng, known)
    if cascade.excess > 0 and cascade.ledger.remaining:
        rest = delta - cascade.probe(_PROBE_SHARE * delta)
        if cascade.most_wrong > cascade.allowed:
            cascade.pilot(_PILOT if rest == delta else 0)
            levels = cascade.levels(rest)
            more = int(min(_MORE_PILOT, _PILOT_SHARE * cascade.plan(levels[0]).labels)) - _PILOT
            if more >= _PILOT:
                cascade.pilot(more)
            cascade.certify(rest, *levels)
    return cascade.close()


class _Disagreements:
    """A label source of truth values: whether the oracle's code differs from the proxy's."""

    def __init__(self, predictions: Codes, source: ClassSource) -> None:
        self._predictions, self._source = predictions, source
        self.bought: list[tuple[Codes, Codes]] = []

    @property
    def remaining(self) -> int:
        return self._source.remaining

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        answers = np.asarray(self._source(rows))
        if answers.shape != rows.shape or answers.dtype.kind not in "biu":
            raise ValueError(
                f"{len(rows)} class codes were asked for, an array of {answers.dtype} "
                f"of shape {answers.shape} came back"
            )
        codes = answers.astype(np.int64)
        self.bought.append((rows, codes))
        return np.asarray(codes != self._predictions[rows])


class _Cascade:
    """Rows in order of risk, riskiest first, and what is certified of their disagreements."""

    def __init__(
        self,
        predictions: npt.ArrayLike,
        confidence: npt.ArrayLike,
        labels: ClassSource,
        accuracy: float,
        rng: np.random.Generator,
        known: npt.ArrayLike | None,
    ) -> None:
        self.predictions = _whole_numbers("predictions", predictions)
        shape = self.predictions.shape
        sure = np.asarray(confidence)
        if sure.dtype.kind != "f" or sure.shape != shape:
            raise ValueError(
                f"confidence must be a float array of shape {shape}, "
                f"got {sure.dtype} of shape {sure.shape}"
            )
        self.facts = np.full(shape, -1) if known is None else _whole_numbers("known", known)
        if self.facts.shape != shape:
            raise ValueError(f"known must have shape {shape}, got {self.facts.shape}")
        self.target, self.rng = accuracy, rng
        self.allowed = Share.beyond(accuracy).of(len(self.predictions))
        self.source = _Disagreements(self.predictions, labels)
        self.model = RiskModel(self.predictions, sure.astype(np.float64))
        self.stages: list[str] = []
        self.tests: list[CascadeTest] = []
        self.sampled: Ranks = np.zeros(0, dtype=np.int64)
        self.stage = ""
        self.found_before = 0
        self.end = len(self.predictions)  # disagreements below this rank: at most `allowed`
        wrong = np.where(self.facts < 0, -1, self.facts != self.predictions).astype(np.int8)
        self.ledger = Ledger(self.model.risk(), self.source, rng, wrong)

    @property
    def excess(self) -> int:
        """Unlabelled rows beyond those that may all be wrong."""
        return self.ledger.n_unknown - self.allowed

    def levels(self, delta: float) -> tuple[float, float]:
        """Split delta between the cut and, where the labels might not suffice, a limit."""
        if self.ledger.remaining >= self.excess:
            return delta, 0.0
        return (1 - _LIMIT_SHARE) * delta, _LIMIT_SHARE * delta

    def probe(self, level: float) -> float:
        """See if a few rows are all right, which may be enough; return the level that is spent."""
        ledger = self.ledger
        size = least_sample(0, ledger.n_unknown, self.allowed, level)
        if size > _most_probed(ledger):
            return 0.0
        pool = self._sample(size, "probe")
        cut = _safe_cut(pool, size, self.allowed, level)
        self._record("cut", pool, cut, -1, level)
        if self._found <= cut:
            self.end = 0
        return level

    def plan(self, level: float) -> CutPlan:
        """Plan the sample from the labels so far."""
        return plan_cut(self._pictures(), self.allowed, level)

    def _pictures(self) -> tuple[Picture, ...]:
        return make_pictures(self.ledger, make_buckets(self.ledger))

    def pilot(self, most: int) -> None:
        """Label a pilot and order the rows anew."""
        ledger = self.ledger
        count = min(most, ledger.n_rows // 10, ledger.remaining // 4)
        ledger.buy(draw_pilot(ledger, make_buckets(ledger), count, self.rng), "pilot")
        self.stages += [step.stage for step in ledger.steps]
        wrong = np.empty(ledger.n_rows, dtype=np.int8)
        wrong[ledger.rows] = ledger.label
        rows = np.flatnonzero(wrong >= 0)
        self.model.fit(rows, wrong[rows] > 0)
        self.sampled = self.sampled[:0]
        self.ledger = Ledger(self.model.risk(), self.source, self.rng, wrong)

    def certify(self, delta: float, level: float, spare_level: float) -> None:
        """Cut if the labels are forecast to suffice, else certify what they allow."""
        if self.excess <= 0:
            return
        plan = self.plan(level)
        if plan.labels <= self.ledger.remaining:
            self._cut(plan.sample, level, spare_level)
        else:
            self._limit(delta)

    def _cut(self, size: int, level: float, spare_level: float) -> None:
        """Draw the sample, and label every row above the cut that it sets."""
        pool = self._sample(size)
        cut = _safe_cut(pool, len(self.sampled), self.allowed, level)
        self._record("cut", pool, cut, -1, level)
        self.end = self._rank_of(cut)
        if spare_level:
            self._limit_test(pool, spare_level)
        while (count := min(self.ledger.remaining, self.excess)) > 0:
            ranks = self.ledger.unknown(0, self.end)[:count]
            if not len(ranks):
                return
            self.ledger.buy(ranks, "tail")

    def _limit(self, delta: float) -> None:
        """Certify what the labels allow: limit the disagreements, then label the riskiest rows."""
        left = self.ledger.remaining
        pool = self._sample(plan_limit(self._pictures(), left, delta))
        self._limit_test(pool, delta)
        block = max(1, left // 50)
        while (count := min(self.ledger.remaining, block)) and self.most_wrong > self.allowed:
            self.ledger.buy(self.ledger.unknown()[:count], "tail")

    def _sample(self, size: int, stage: str = "sample") -> int:
        """Label a uniform sample of the unlabelled rows; return how many there were."""
        pool = self.ledger.unknown()
        size = min(size, self.ledger.remaining)
        self.sampled = self.rng.choice(pool, size, replace=False)
        self.stage = stage
        self.ledger.buy(self.sampled, stage)
        self.found_before = self.ledger.n_positive
        return len(pool)

    @property
    def _found(self) -> int:
        return int(np.count_nonzero(self.ledger.label[self.sampled] > 0))

    def _rank_of(self, cut: int) -> int:
        """Return the rank just below the (cut + 1)-th safest sampled disagreement."""
        if cut < 0:
            return self.ledger.n_rows
        found = np.sort(self.sampled[self.ledger.label[self.sampled] > 0])
        return int(found[-1 - cut]) + 1 if cut < len(found) else 0

    def _limit_test(self, pool: int, level: float) -> None:
        bound = marked_upper(pool, len(self.sampled), self._found, level)
        self._record("limit", pool, bound - self._found, bound, level)

    def _record(
        self, kind: Literal["cut", "limit"], pool: int, cut: int, bound: int, level: float
    ) -> None:
        size, found, allowed = len(self.sampled), self._found, self.allowed
        self.tests.append(
            CascadeTest(
                kind, (self.stage,), pool, size, found, allowed, cut, bound, self.target, level
            )
        )

    @property
    def most_wrong(self) -> int:
        """Upper limit of the disagreements among the rows that are still unlabelled."""
        most = self.ledger.n_unknown
        above = int(np.count_nonzero(self.ledger.label[: self.end] < 0))
        for test in self.tests:
            if test.kind == "limit":
                since = self.ledger.n_positive - self.found_before
                most = min(most, max(0, test.cut - since))
            else:
                most = min(most, above + self.allowed)
        return most

    def close(self) -> Labelling:
        """Build the answer: the oracle's code where it is known, else the proxy's."""
        codes, asked = self.predictions.copy(), self.facts >= 0
        codes[asked] = self.facts[asked]
        for rows, answers in self.source.bought:
            codes[rows], asked[rows] = answers, True
        stages = self.stages + [step.stage for step in self.ledger.steps]
        bought = zip(stages, self.source.bought, strict=True)
        met = self.most_wrong <= self.allowed
        bound = 1 - self.most_wrong / max(len(codes), 1)
        return Labelling(
            labels=codes,
            from_oracle=asked,
            steps=tuple(ClassStep(stage, rows, answers) for stage, (rows, answers) in bought),
            met=met,
            accuracy_bound=max(self.target, bound) if met else bound,
            accuracy_estimate=self._estimate(),
            algorithm=self._algorithm(),
            tests=tuple(self.tests),
        )

    def _estimate(self) -> float:
        """Estimate the accuracy: the sample's disagreements cut the hidden ones into even parts."""
        if not self.ledger.n_unknown:
            return 1.0
        if not len(self.sampled):
            return float("nan")
        found = self.sampled[self.ledger.label[self.sampled] > 0]
        first = int(self.ledger.unknown()[0])
        hidden = len(found) * (self.tests[-1].n_rows / len(self.sampled) - 1)
        kept = (np.count_nonzero(found > first) + 1) / (len(found) + 1)
        return float(max(0.0, 1 - kept * hidden / self.ledger.n_rows))

    def _algorithm(self) -> str:
        if not self.tests:
            return "accuracy: certain"
        last = self.tests[-1]
        if last.stages == ("probe",):
            return "accuracy: a probe of a few rows (D1)"
        if any(t.kind == "cut" and t.stages == last.stages for t in self.tests):
            return "accuracy: sample, then all above the cut (D1)"
        return "accuracy: sample, then the riskiest rows (D2)"


def _whole_numbers(name: str, values: npt.ArrayLike) -> Codes:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise ValueError(
            f"{name} must be an integer array of one dimension, got {array.dtype} "
            f"of shape {array.shape}"
        )
    return array.astype(np.int64)


def _most_probed(ledger: Ledger) -> int:
    return min(_MOST_PROBE, ledger.n_rows // 10, ledger.remaining // 4)


def _safe_cut(n_rows: int, n_sample: int, n_allowed: int, level: float) -> int:
    """Return the largest safe cut of theorem D1, -1 if there is none.

    A cut c is safe if c + n_allowed + 1 marked rows would show more than c in the sample with
    probability 1 - level, that is, if the upper limit given c found exceeds c by at most n_allowed.
    """
    low, high = -1, n_sample + 1
    while high - low > 1:
        cut = (low + high) // 2
        if marked_upper(n_rows, n_sample, cut, level) - cut <= n_allowed:
            low = cut
        else:
            high = cut
    return low
