"""Audits of aggregates: tests of the claim that a count or a mean is within an interval."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from thresher.sampling.arguments import check_rng
from thresher.sampling.claims import (
    Audit,
    Claim,
    Limits,
    Sampled,
    check_delta,
    judge,
    limits_around,
)
from thresher.sampling.counts import estimate_count
from thresher.sampling.labels import LabelSource
from thresher.sampling.means import mean_limits

__all__ = ["NumberSource", "audit_count", "audit_mean"]


class NumberSource(Protocol):
    """Sells the values of rows, up to a budget."""

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain."""

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the values of distinct rows, at most `remaining` of them, in the order given."""


def _check_claim(low: float, high: float) -> None:
    if not low <= high:
        raise ValueError(f"the claimed interval must have low <= high, got [{low}, {high}]")


def audit_count(
    low: float,
    high: float,
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
) -> Audit:
    """Test the claim that the number of positive rows is within [low, high].

    Parameters
    ----------
    low, high : float
        The claim. It must be fixed before the audit begins; the labels that it came from must not
        be those of the audit.
    scores, labels, delta, rng, known
        As in `estimate_count`. Constant scores give one uniform sample.

    Returns
    -------
    Audit
        With the limits of the count, and one verdict.

    Raises
    ------
    ValueError
        If the claim or delta is wrong, or the shape or type of an array.

    Examples
    --------
    >>> from thresher.sampling import CountedLabels
    >>> truth = np.arange(5000) < 700
    >>> labels = CountedLabels(lambda rows: truth[rows], budget=500)
    >>> rng = np.random.default_rng(0)
    >>> audit = audit_count(300, 400, np.zeros(5000), labels, delta=0.05, rng=rng)
    >>> audit.claims[0].verdict
    'refuted'
    """
    _check_claim(low, high)
    count = estimate_count(scores, labels, delta=delta, rng=rng, known=known)
    limits = Fraction(count.low), Fraction(count.high)
    verdict = judge(limits, Fraction(float(low)), Fraction(float(high)))
    strata = tuple(Sampled(s.stage, None, s.n_rows, s.n_sample, s.n_found) for s in count.strata)
    return Audit(
        (("count", Limits(count.estimate, count.low, count.high)),),
        (Claim("count", low, high, verdict),),
        strata,
        count.steps,
        sum(len(step.rows) for step in count.steps),
        delta,
        f"audit: {count.algorithm.removeprefix('count: ')}",
    )


def audit_mean(
    low: float,
    high: float,
    labels: NumberSource,
    *,
    n_rows: int,
    value_range: tuple[float, float],
    delta: float,
    rng: np.random.Generator,
) -> Audit:
    """Test the claim that the mean of a value over all rows is within [low, high].

    Parameters
    ----------
    low, high : float
        The claim; fixed before the audit begins.
    labels : NumberSource
        Its `remaining` at the start is spent, or `n_rows` if it is more.
    n_rows : int
        Rows of the population, at least 1.
    value_range : (float, float)
        Range that holds every value for certain.
    delta : float
        Failure probability in (0, 1).
    rng : numpy.random.Generator
        Source of all random choices.

    Returns
    -------
    Audit
        With the limits of the mean, and one verdict.

    Raises
    ------
    ValueError
        If the claim, delta or the range is wrong, or a value is outside the range.

    Examples
    --------
    >>> class Prices:
    ...     remaining = 300
    ...     def __call__(self, rows):
    ...         return 10.0 + rows % 3
    >>> rng = np.random.default_rng(0)
    >>> audit = audit_mean(
    ...     10.5, 12, Prices(), n_rows=9000, value_range=(0.0, 20.0), delta=0.05, rng=rng
    ... )
    >>> audit.claims[0].verdict
    'supported'
    """
    _check_claim(low, high)
    check_delta(delta)
    check_rng(rng)
    size = min(labels.remaining, n_rows)
    rows = rng.choice(n_rows, size, replace=False)  # in random order, which the bets need
    values = np.asarray(labels(rows), dtype=np.float64) if size else np.zeros(0)
    if values.shape != rows.shape:
        raise ValueError(f"{size} values were asked for, an array of shape {values.shape} came")
    least, most = mean_limits(values, n_rows, *value_range, delta)
    verdict = judge((Fraction(least), Fraction(most)), Fraction(float(low)), Fraction(float(high)))
    estimate = float(values.mean()) if size else float("nan")
    return Audit(
        (("mean", limits_around(estimate, least, most)),),
        (Claim("mean", low, high, verdict),),
        (),
        (),
        size,
        delta,
        "audit: uniform sample, bets without replacement (U4)",
    )
