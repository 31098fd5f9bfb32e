"""Audits: exact limits of how good an answer is that is already there, and tests of what it claims.

The answer may come from anywhere. It is given as a mask, fresh rows are drawn from inside and
outside, and nothing is assumed of how it was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from thresher.sampling.arguments import check_known, check_rng
from thresher.sampling.bounds import Share, marked_upper
from thresher.sampling.claims import Audit, Claim, Sampled, check_delta, judge, limits_around
from thresher.sampling.counts import count_limits
from thresher.sampling.labels import LabelSource
from thresher.sampling.ratio import Group, share_lower, share_of
from thresher.sampling.selection import Step
from thresher.sampling.strata import forecast, plan_strata

__all__ = ["audit_selection"]

Bits = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[Fraction, Fraction]

_GUESS = 0.8  # of recall and of precision, where nothing is claimed and there are no scores
_INSIDE = (0.15, 0.7)  # share of the labels for the rows returned: least and most
_RECALL_ONLY, _RECALL = 0.9, 0.7  # share of delta for recall, where precision is not claimed or is
_OUTSIDE = 0.6  # share of delta for the rows not returned, where they are stratified


def audit_selection(
    returned: Bits,
    labels: LabelSource,
    *,
    delta: float,
    rng: np.random.Generator,
    recall: float | None = None,
    precision: float | None = None,
    known: npt.NDArray[np.int8] | None = None,
    scores: npt.NDArray[np.floating] | None = None,
) -> Audit:
    """Draw fresh rows from inside and outside an answer, and limit its precision and recall.

    Parameters
    ----------
    returned : ndarray of bool, shape (n_rows,)
        The answer, of any origin. It must be fixed before the audit begins.
    labels : LabelSource
        Its `remaining` at the start is spent, or less where every row becomes known.
    delta : float
        Failure probability in (0, 1) of all limits and verdicts together.
    rng : numpy.random.Generator
        Every random choice; it must be independent of the labels and of the answer.
    recall, precision : float, optional
        Targets in (0, 1] that the answer is claimed to reach. If only precision is claimed,
        every label goes to the rows returned and recall is not limited.
    known : ndarray of int8, shape (n_rows,), optional
        Labels known before: 1 positive, 0 negative, -1 unknown. They are no part of any sample.
    scores : ndarray of float, shape (n_rows,), optional
        Higher for rows that are more likely positive; NaN: no information. The rows not returned
        are stratified by them. They decide how narrow the limits are, never whether they hold.

    Returns
    -------
    Audit

    Raises
    ------
    ValueError
        If a target, delta or the shape or type of an array is wrong.

    Notes
    -----
    Exact at any sample size (theorems U1 to U3 in the guarantees of audits). An empty answer has
    precision 1, and an answer from a population without positives has recall 1.

    Examples
    --------
    >>> from thresher.sampling import CountedLabels
    >>> truth = np.arange(10_000) < 1000
    >>> labels = CountedLabels(lambda rows: truth[rows], budget=1000)
    >>> audit = audit_selection(
    ...     np.arange(10_000) < 600, labels, delta=0.05, rng=np.random.default_rng(0), recall=0.9
    ... )
    >>> audit.claims[0].verdict
    'refuted'
    """
    check_rng(rng)
    work = _SelectionAudit(returned, labels, known, delta)
    asked = [(n, t) for n, t in (("precision", precision), ("recall", recall)) if t is not None]
    for _, target in asked:
        Share.beyond(target)
    only_precision = recall is None and precision is not None
    chance = None if scores is None else _forecast(scores, len(work.returned))
    budget = labels.remaining  # both sizes are fixed now: no label may move them
    size = work.free_inside if only_precision else work.split(chance, recall, precision)
    size = max(
        min(size, budget, work.free_inside), min(work.free_inside, budget - work.free_outside)
    )
    rest = 0 if only_precision else min(budget - size, work.free_outside)
    inside = work.draw(work.rows(True), size, "inside", rng)
    strata = work.draw_outside(rest, scores, chance, rng)
    if only_precision:
        spent = 0.0
    else:
        spent = _RECALL if precision is not None or recall is None else _RECALL_ONLY
    return work.close(inside, strata, spent, asked)


def _forecast(scores: npt.NDArray[np.floating], n_rows: int) -> Floats:
    if np.shape(scores) != (n_rows,) or np.asarray(scores).dtype.kind != "f":
        raise ValueError(f"scores must be a float array of shape ({n_rows},)")
    return forecast(np.asarray(scores))


class _SelectionAudit:
    """The rows of an audit and what is known of them."""

    def __init__(
        self,
        returned: Bits,
        labels: LabelSource,
        known: npt.NDArray[np.int8] | None,
        delta: float,
    ) -> None:
        self.returned = np.asarray(returned)
        if self.returned.ndim != 1 or self.returned.dtype != np.bool_:
            raise ValueError(
                f"returned must be a bool array of one dimension, got {self.returned.dtype} "
                f"of shape {self.returned.shape}"
            )
        check_delta(delta)
        self.labels, self.delta = labels, delta
        n_rows = len(self.returned)
        self.known: npt.NDArray[np.integer] = (
            np.full(n_rows, -1) if known is None else check_known(known, n_rows)
        )
        self.free_inside = len(self.rows(True))
        self.free_outside = len(self.rows(False))
        self.right = int(np.count_nonzero(self.returned & (self.known > 0)))
        self.missed = int(np.count_nonzero(~self.returned & (self.known > 0)))
        self.n_returned = int(np.count_nonzero(self.returned))
        self.steps: list[Step] = []

    def rows(self, returned: bool) -> Rows:
        """Return the unlabelled rows of one side."""
        return np.flatnonzero((self.returned == returned) & (self.known < 0))

    def split(
        self,
        chance: Floats | None,
        recall: float | None,
        precision: float | None,
    ) -> int:
        """Return how many labels the rows returned get: the variance of the recall is least.

        The recall depends on the ratio of the positives on the two sides, whose relative variance
        is the sum of theirs. Only the width of the limits depends on the forecast.
        """
        inside, outside = self.free_inside, self.free_outside
        share = precision or _GUESS
        right = self.right + share * inside
        missed = right * (1 / (recall or _GUESS) - 1)
        if chance is None:
            rate = min(0.5, max(missed - self.missed, 1.0) / max(outside, 1))
            spread = inside * math.sqrt(share * (1 - share)), outside * math.sqrt(rate * (1 - rate))
        else:
            root = np.sqrt(chance * (1 - chance))
            free = self.known < 0
            spread = (
                float(root[free & self.returned].sum()),
                float(root[free & ~self.returned].sum()),
            )
            right = self.right + float(chance[free & self.returned].sum())
            missed = self.missed + float(chance[free & ~self.returned].sum())
        weight = spread[0] / max(right, 1.0), spread[1] / max(missed, 1.0)
        part = weight[0] / max(weight[0] + weight[1], 1e-12)
        return round(min(max(part, _INSIDE[0]), _INSIDE[1]) * self.labels.remaining)

    def draw(self, pool: Rows, size: int, stage: str, rng: np.random.Generator) -> Sampled:
        """Label a uniform sample of a pool of rows of one side."""
        rows = rng.choice(pool, size, replace=False) if size else pool[:0]
        found = 0
        if size:
            answers = np.asarray(self.labels(rows))
            if answers.shape != rows.shape or answers.dtype != np.bool_:
                raise ValueError(
                    f"{size} truth values were asked for, an array of {answers.dtype} "
                    f"of shape {answers.shape} came back"
                )
            self.steps.append(Step(stage, rows, answers))
            found = int(answers.sum())
        return Sampled(stage, stage == "inside", len(pool), size, found)

    def draw_outside(
        self,
        budget: int,
        scores: npt.NDArray[np.floating] | None,
        chance: Floats | None,
        rng: np.random.Generator,
    ) -> list[Sampled]:
        """Sample the rows not returned: all alike, or in up to three strata of the scores."""
        pool = self.rows(False)
        if scores is None or chance is None or not 0 < budget < len(pool):
            return [self.draw(pool, budget, "outside", rng)]
        value = np.where(np.isnan(scores), -np.inf, scores)[pool]
        order = rng.permutation(len(pool))  # ties are cut at random
        pool = pool[order[np.argsort(-value[order], kind="stable")]]
        plan = plan_strata(chance[pool], budget, -float(ndtri(self.delta / 2)))
        return [
            self.draw(pool[plan.edges[i] : plan.edges[i + 1]], count, f"outside {i + 1}", rng)
            for i, count in enumerate(plan.samples)
        ]

    def close(
        self,
        inside: Sampled,
        strata: Sequence[Sampled],
        spent: float,
        asked: Sequence[tuple[str, float]],
    ) -> Audit:
        """Work out the limits and the verdicts; `spent` is the share of delta for recall."""
        open_ = [s for s in strata if s.n_sample < s.n_rows]
        if len(open_) <= 1:
            algorithm = "audit: two samples, ratio limits (U2)"
            limits = self._by_ratio(inside, strata, spent)
        else:
            algorithm = "audit: stratified outside, separate limits (U3)"
            limits = self._by_strata(inside, strata)
        estimates = self._estimates(inside, strata)
        claims = [
            Claim(name, t, 1.0, judge(limits[name], Fraction(repr(float(t))), Fraction(1)))
            for name, t in asked
        ]
        return Audit(
            tuple(
                (name, limits_around(estimates[name], low, high))
                for name, (low, high) in limits.items()
            ),
            tuple(claims),
            tuple(s for s in (inside, *strata) if s.n_sample),
            tuple(self.steps),
            sum(len(step.rows) for step in self.steps),
            self.delta,
            algorithm,
        )

    def _by_ratio(
        self, inside: Sampled, strata: Sequence[Sampled], spent: float
    ) -> dict[str, Interval]:
        """Limit precision by the sample inside, and recall by both samples as one test."""
        certain = sum(s.n_found for s in strata if s.n_sample == s.n_rows)
        rest = [s for s in strata if s.n_sample < s.n_rows]
        own = Group(self.right, inside.n_rows, inside.n_sample, inside.n_found)
        sizes = (rest[0].n_rows, rest[0].n_sample, rest[0].n_found) if rest else (0, 0, 0)
        other = Group(self.missed + certain, *sizes)
        low, high = _marked(inside, (1 - spent) * self.delta / 2)
        level = spent * self.delta / 2
        return {
            "precision": self._precision(low, high),
            "recall": (share_lower(own, other, level, 1), 1 - share_lower(other, own, level, 0)),
        }

    def _by_strata(self, inside: Sampled, strata: Sequence[Sampled]) -> dict[str, Interval]:
        """Limit both sides apart; precision and recall follow from them."""
        low, high = _marked(inside, (1 - _OUTSIDE) * self.delta / 2)
        counts: list[tuple[int, int, int]] = [(s.n_rows, s.n_sample, s.n_found) for s in strata]
        least, most = count_limits(counts, _OUTSIDE * self.delta)
        recall = (
            share_of(self.right + low, self.missed + most, 1),
            share_of(self.right + high, self.missed + least, 1),
        )
        return {"precision": self._precision(low, high), "recall": recall}

    def _precision(self, low: int, high: int) -> Interval:
        wrong = self.n_returned - self.right
        return share_of(self.right + low, wrong - low, 1), share_of(
            self.right + high, wrong - high, 1
        )

    def _estimates(self, inside: Sampled, strata: Sequence[Sampled]) -> dict[str, float]:
        blind = any(s.n_rows and not s.n_sample for s in (inside, *strata))
        right = self.right + _scaled(inside)
        missed = self.missed + sum(map(_scaled, strata))
        found = right + missed
        seen = inside.n_sample or not inside.n_rows
        of_returned = right / self.n_returned if self.n_returned else 1.0
        of_positives = right / found if found else 1.0
        return {
            "precision": of_returned if seen else float("nan"),
            "recall": float("nan") if blind else of_positives,
        }


def _scaled(sample: Sampled) -> float:
    return sample.n_rows * sample.n_found / sample.n_sample if sample.n_sample else 0.0


def _marked(sample: Sampled, level: float) -> tuple[int, int]:
    """Return exact limits of the positives of one sample's rows, each at `level`."""
    rows, size, found = sample.n_rows, sample.n_sample, sample.n_found
    low = rows - marked_upper(rows, size, size - found, level)
    return low, marked_upper(rows, size, found, level)
