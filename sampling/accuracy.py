"""A label for every row, from the proxy or from the oracle, with an accuracy target."""

from __future__ import annotations

from collections.abc import Sequence
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
from thresher.sampling.disagreements import Disagreements, whole_numbers
from thresher.sampling.labelling import CascadeTest, ClassSource, ClassStep, Labelling
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.looks import Look, early_looks
from thresher.sampling.permutation import Permutation
from thresher.sampling.picture import Picture, draw_pilot, make_buckets, make_pictures
from thresher.sampling.recall import check_level
from thresher.sampling.selection import Step

__all__ = ["LIMIT_SHARE", "LOOKS_SHARE", "PROBE_SHARE", "select_accuracy"]

_PILOT = 20
_MORE_PILOT, _PILOT_SHARE = 300, 0.03  # of the labels that are forecast
PROBE_SHARE, _MOST_PROBE = 0.1, 120  # of delta, and labels
LIMIT_SHARE = 0.05  # of delta, for a bound where the labels might not suffice
LOOKS_SHARE = 0.2  # of delta, for bounds beside the cut where labels may stop
_BLOCKS = 50  # in which the riskiest rows are labelled
_LAST_LOOK = {"cut": 0.5, "limit": 0.8}  # share that the last bound has of that of all bounds


def select_accuracy(
    predictions: npt.NDArray[np.integer] | npt.NDArray[np.bool_],
    confidence: npt.NDArray[np.floating],
    labels: ClassSource,
    *,
    accuracy: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.integer] | None = None,
    interruptible: bool = False,
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
    interruptible : bool, default False
        Whether `labels` may stop at any time, for any reason: by raising `OutOfClassesError`, or
        because `remaining` falls to 0. `accuracy_bound` then is what was proved until then.

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

    With `interruptible` the disagreements are also limited from a half of each sample, a quarter,
    and so on, and each one found later lowers the limits. Wherever the labels end,
    `accuracy_bound` is what the completed looks say (D4). The same call with the same generator,
    facts and `remaining` asks for the same rows in the same order, and all its answers, wherever it
    stops, hold together with probability 1 - delta.

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
    cascade = _Cascade(
        predictions, confidence, labels, accuracy, rng, known, interruptible=interruptible
    )
    if cascade.excess > 0 and cascade.ledger.remaining:
        rest = delta - cascade.probe(PROBE_SHARE * delta)
        if cascade.goes_on:
            cascade.pilot(_PILOT if rest == delta else 0)
            levels = cascade.levels(rest)
            more = int(min(_MORE_PILOT, _PILOT_SHARE * cascade.plan(levels[0]).labels)) - _PILOT
            if more >= _PILOT:
                cascade.pilot(more)
            cascade.certify(rest, *levels)
    return cascade.close()


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
        *,
        interruptible: bool,
    ) -> None:
        self.predictions = whole_numbers("predictions", predictions)
        shape = self.predictions.shape
        sure = np.asarray(confidence)
        if sure.dtype.kind != "f" or sure.shape != shape:
            raise ValueError(
                f"confidence must be a float array of shape {shape}, "
                f"got {sure.dtype} of shape {sure.shape}"
            )
        facts = np.full(shape, -1) if known is None else whole_numbers("known", known)
        if facts.shape != shape:
            raise ValueError(f"known must have shape {shape}, got {facts.shape}")
        self.target, self.allowed = accuracy, Share.beyond(accuracy).of(len(facts))
        self.rng, self.interruptible = rng, interruptible
        self.source = Disagreements(self.predictions, facts, labels, interruptible=interruptible)
        self.model = RiskModel(self.predictions, sure.astype(np.float64))
        self.steps: list[Step] = []
        self.tests: list[CascadeTest] = []
        self.sampled: Ranks = np.zeros(0, dtype=np.int64)
        self.pool = 0  # unlabelled rows when the sample was begun
        self.drawn: tuple[str, ...] = ()
        self.end = self.most = len(self.predictions)
        wrong = np.where(facts < 0, -1, facts != self.predictions).astype(np.int8)
        self.ledger = self._ranked(wrong)

    def _ranked(self, wrong: npt.NDArray[np.int8]) -> Ledger:
        """Order the rows by their risk."""
        stops = self.interruptible
        return Ledger(self.model.risk(), self.source, self.rng, wrong, interruptible=stops)

    @property
    def excess(self) -> int:
        """Unlabelled rows beyond those that may all be wrong."""
        return self.ledger.n_unknown - self.allowed

    @property
    def goes_on(self) -> bool:
        """Whether the target is not certified yet, and labels are left."""
        return self.most_wrong > self.allowed and self.ledger.remaining > 0

    def levels(self, delta: float) -> tuple[float, float]:
        """Split delta between the cut and, where the labels might not suffice, limits."""
        if self.interruptible:
            return (1 - LOOKS_SHARE) * delta, LOOKS_SHARE * delta
        if self.ledger.remaining >= self.excess:
            return delta, 0.0
        return (1 - LIMIT_SHARE) * delta, LIMIT_SHARE * delta

    def probe(self, level: float) -> float:
        """See if a few rows are all right, which may be enough; return the level that is spent."""
        last = _LAST_LOOK["limit"] * level if self.interruptible else level
        size = least_sample(0, self.ledger.n_unknown, self.allowed, last)
        if size > _most_probed(self.ledger):
            return 0.0
        if self.interruptible:
            self._watch(_looks(size, level, "limit"), "probe")
            return level
        self._sample(size, "probe")
        if self._found <= self._cut_test(level):
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
        self.steps += ledger.steps
        wrong = np.empty(ledger.n_rows, dtype=np.int8)
        wrong[ledger.rows] = ledger.label
        rows = np.flatnonzero(wrong >= 0)
        self.model.fit(rows, wrong[rows] > 0)
        self.sampled = self.sampled[:0]
        self.ledger = self._ranked(wrong)
        self.ledger.stopped = ledger.stopped

    def certify(self, delta: float, level: float, spare_level: float) -> None:
        """Cut if the labels are forecast to suffice, else certify what they allow."""
        if self.excess <= 0 or not self.ledger.remaining:
            return
        plan = self.plan(level)
        if plan.labels <= self.ledger.remaining:
            self._cut(plan.sample, level, spare_level)
        else:
            self._limit(delta)

    def _cut(self, size: int, level: float, spare_level: float) -> None:
        """Draw the sample, and label every row above the cut that it sets."""
        if self.interruptible:
            if self._watch(_looks(size, spare_level, "cut"), "look"):
                self.end = self._rank_of(self._cut_test(level))
            self._label_riskiest(self.ledger.remaining)
            return
        self._sample(size)
        self.end = self._rank_of(self._cut_test(level))
        if spare_level:
            self._limit_test(spare_level)
        while (count := min(self.ledger.remaining, self.excess)) > 0:
            ranks = self.ledger.unknown(0, self.end)[:count]
            if not len(ranks):
                return
            self.ledger.buy(ranks, "tail")

    def _limit(self, delta: float) -> None:
        """Certify what the labels allow: limit the disagreements, then label the riskiest rows."""
        left = self.ledger.remaining
        if self.interruptible:
            size = plan_limit(self._pictures(), left, _LAST_LOOK["limit"] * delta)
            self._watch(_looks(size, delta, "limit"), "look")
        else:
            self._sample(plan_limit(self._pictures(), left, delta))
            self._limit_test(delta)
        self._label_riskiest(left)

    def _label_riskiest(self, left: int) -> None:
        """Label the riskiest rows until the target is certified or the labels are spent."""
        block = max(1, left // _BLOCKS)
        while (count := min(self.ledger.remaining, block)) and self.most_wrong > self.allowed:
            self.ledger.buy(self.ledger.unknown(0, self.end)[:count], "tail")

    def _sample(self, size: int, stage: str = "sample") -> None:
        """Label a uniform sample of the unlabelled rows."""
        free = self.ledger.unknown()
        size = min(size, self.ledger.remaining)
        self.pool, self.drawn = len(free), (stage,)
        self.sampled = self.rng.choice(free, size, replace=False)
        self.ledger.buy(self.sampled, stage)

    def _watch(self, looks: Sequence[Look], stage: str) -> bool:
        """Take looks at a growing uniform sample until one certifies (D4); whether all were."""
        ledger, order = self.ledger, Permutation(self.ledger, self.rng)
        self.pool, self.drawn, self.sampled = ledger.n_unknown, (), self.sampled[:0]
        for number, look in enumerate(looks, 1):
            count = look.size - len(self.sampled)
            if count > ledger.remaining:
                return False
            ranks = order.take(count)
            self.drawn = (*self.drawn, f"{stage} {number}")
            bought = len(ledger.buy(ranks, self.drawn[-1]))
            self.sampled = np.concatenate([self.sampled, ranks[:bought]])
            if bought < count:  # no test may use a size that was not fixed before
                return False
            self._limit_test(look.level)
            if self.most_wrong <= self.allowed:
                return False
        return True

    @property
    def _found(self) -> int:
        return int(np.count_nonzero(self.ledger.label[self.sampled] > 0))

    def _rank_of(self, cut: int) -> int:
        """Return the rank just below the (cut + 1)-th safest sampled disagreement."""
        if cut < 0:
            return self.ledger.n_rows
        found = np.sort(self.sampled[self.ledger.label[self.sampled] > 0])
        return int(found[-1 - cut]) + 1 if cut < len(found) else 0

    def _cut_test(self, level: float) -> int:
        """Fix how many sampled disagreements may lie below the cut (D1)."""
        cut = _safe_cut(self.pool, len(self.sampled), self.allowed, level)
        self._record("cut", cut, -1, level)
        return cut

    def _limit_test(self, level: float) -> None:
        """Limit the disagreements among the rows sampled from, and so among all rows (D2)."""
        found = self._found
        bound = marked_upper(self.pool, len(self.sampled), found, level)
        self._record("limit", bound - found, bound, level)
        self.most = min(self.most, self.ledger.n_positive + bound - found)

    def _record(self, kind: Literal["cut", "limit"], cut: int, bound: int, level: float) -> None:
        counts = self.pool, len(self.sampled), self._found, self.allowed
        self.tests.append(CascadeTest(kind, self.drawn, *counts, cut, bound, self.target, level))

    @property
    def most_wrong(self) -> int:
        """Upper limit of the disagreements among the rows that are still unlabelled."""
        ledger = self.ledger
        above = int(np.count_nonzero(ledger.label[: self.end] < 0))
        return min(ledger.n_unknown, above + self.allowed, max(0, self.most - ledger.n_positive))

    def close(self) -> Labelling:
        """Build the answer: the oracle's code where it is known, else the proxy's."""
        codes, steps = self.source.codes, [*self.steps, *self.ledger.steps]
        met = self.most_wrong <= self.allowed
        bound = 1 - self.most_wrong / max(len(codes), 1)
        return Labelling(
            labels=codes,
            from_oracle=self.source.known,
            steps=tuple(ClassStep(s.stage, s.rows, codes[s.rows]) for s in steps),
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
        hidden = len(found) * (self.pool / len(self.sampled) - 1)
        kept = (np.count_nonzero(found > first) + 1) / (len(found) + 1)
        return float(max(0.0, 1 - kept * hidden / self.ledger.n_rows))

    def _algorithm(self) -> str:
        looks = ""
        if self.interruptible and self.excess > 0:
            looks = f", {sum(test.kind == 'limit' for test in self.tests)} looks"
        if not self.tests:
            return f"accuracy: {'stopped' if looks else 'certain'}{looks}"
        last = self.tests[-1]
        theorem = "D2" if last.kind == "limit" else "D1"
        if last.stages[0].startswith("probe"):
            return f"accuracy: a probe of a few rows ({theorem}){looks}"
        if any(t.kind == "cut" and t.stages == last.stages for t in self.tests):
            return f"accuracy: sample, then all above the cut (D1){looks}"
        return f"accuracy: sample, then the riskiest rows (D2){looks}"


def _looks(size: int, level: float, kind: Literal["cut", "limit"]) -> tuple[Look, ...]:
    """Fix the looks at a sample, and the levels of their limits."""
    last = _LAST_LOOK[kind] * level
    return (*early_looks(size, level - last), Look(size, last))


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
