"""COUNT: how many rows are positive, with an exact interval from a stratified sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from thresher.sampling.bounds import marked_upper
from thresher.sampling.buehler import total_upper
from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.outcomes import Sample, stratum_box
from thresher.sampling.selection import Step
from thresher.sampling.strata import StrataPlan, forecast, plan_strata

__all__ = [
    "TWO_TRUTHS",
    "CountEstimate",
    "Stratum",
    "count_limits",
    "estimate_count",
    "worst_limits",
]

_ABOVE = 0.6  # share of the level that the upper limit spends: it is the wider side
_BOX = 0.02  # share of the level for the ranges in which the nuisance is searched
TWO_TRUTHS = 1 + _BOX
"""What limits of two truths, one on either side, fail with in units of their level."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """A range of ranks and its sample.

    Parameters
    ----------
    stage : str
        Stage of the step that labelled it: ``census`` where every row was labelled.
    highest, lowest : float
        Scores of its first and last row; nan for a row without a score.
    n_rows, n_sample, n_found : int
        Rows that were unlabelled before, how many of them were labelled (a uniform sample without
        replacement), and the positives among those.
    n_failed : int
        Rows of the sample that have no answer: none of `n_found`.
    """

    stage: str
    highest: float
    lowest: float
    n_rows: int
    n_sample: int
    n_found: int
    n_failed: int = 0


@dataclass(frozen=True, slots=True)
class CountEstimate:
    """The answer to a COUNT.

    Parameters
    ----------
    estimate : int
        Point estimate, not guaranteed; within [low, high].
    low, high : int
        Limits that hold together with probability at least 1 - delta, at this sample size, for
        every population and every proxy.
    n_rows : int
        Rows counted over.
    n_known_positive : int
        Positives known before the query.
    strata : tuple of Stratum
        Best scores first; none where every row was labelled or none could be.
    steps : tuple of Step
        Every label bought, in order.
    delta : float
        Failure probability of the two limits together.
    algorithm : str
        What was done.
    grade : str
        ``distribution-free``: nothing is assumed of the data or of the proxy.
    """

    estimate: int
    low: int
    high: int
    n_rows: int
    n_known_positive: int
    strata: tuple[Stratum, ...]
    steps: tuple[Step, ...]
    delta: float
    algorithm: str
    grade: Literal["distribution-free"] = "distribution-free"


def count_limits(strata: Sequence[tuple[int, int, int]], delta: float) -> tuple[int, int]:
    """Return exact limits of the positives in strata that were sampled apart.

    Parameters
    ----------
    strata : sequence of (n_rows, n_sample, n_found)
        Rows of a stratum, rows of a uniform sample of it without replacement, and positives in
        the sample. At most three have ``n_sample < n_rows``. All samples are independent, and
        their sizes do not depend on their labels.
    delta : float
        Failure probability in (0, 1) of both limits together.

    Returns
    -------
    low, high : int

    Raises
    ------
    ValueError
        For counts that no sample can have, more than three sampled strata, or a delta outside
        (0, 1).

    Notes
    -----
    One sampled stratum: the exact hypergeometric limits. Two or three: Buehler (1957) limits of a
    statistic that adds the strata's deviations in quadrature, with the strata's shares of the
    total as nuisance, maximised over a box (Berger and Boos 1994) by a search that is a proof.

    Examples
    --------
    >>> count_limits([(100, 100, 80), (1000, 100, 0)], 0.05)
    (80, 112)
    >>> count_limits([(100, 50, 40), (1000, 100, 0)], 0.05)
    (69, 108)
    """
    _check(strata, delta)
    certain = sum(x for rows, sample, x in strata if sample == rows)
    open_ = [Sample(*s) for s in strata if s[1] < s[0]]
    if not open_:
        return certain, certain
    if len(open_) == 1 or any(s.n_sample == 0 for s in open_):
        low, high = _separate(open_, delta)
        return certain + low, certain + high
    open_.sort(key=lambda s: s.n_sample - s.n_rows)
    boxed = _BOX * delta / (len(open_) - 1)
    boxes = [open_[0].certain, *(stratum_box(s, boxed) for s in open_[1:])]
    above, below = _ABOVE * (1 - _BOX) * delta, (1 - _ABOVE) * (1 - _BOX) * delta
    high = total_upper(open_, boxes, above, -float(ndtri(above)))
    mirrored = [(s.n_rows - b[1], s.n_rows - b[0]) for s, b in zip(open_, boxes, strict=True)]
    negatives = total_upper([s.negated() for s in open_], mirrored, below, -float(ndtri(below)))
    low = sum(s.n_rows for s in open_) - negatives
    return certain + low, certain + max(low, high)  # a wider interval holds as well


def worst_limits(strata: Sequence[Stratum], level: float) -> tuple[int, int]:
    """Return limits of the positives that hold whatever is true of rows without an answer.

    Parameters
    ----------
    strata : sequence of Stratum
        As `count_limits` takes them.
    level : float
        That of `count_limits`, in (0, 1); both limits fail with at most `TWO_TRUTHS` times as much.

    Returns
    -------
    low, high : int

    Notes
    -----
    The lower limit is that of the truth in which no row without an answer is positive, the upper
    one that of the truth in which all are, each with ranges of its own (W5 in the guarantees).

    Examples
    --------
    >>> worst_limits([Stratum("stratum 1", 0.9, 0.1, 1000, 100, 30)], 0.05)
    (214, 391)
    >>> worst_limits([Stratum("stratum 1", 0.9, 0.1, 1000, 100, 30, n_failed=2)], 0.05)
    (214, 412)
    """
    counts = [(s.n_rows, s.n_sample, s.n_found) for s in strata]
    if not any(s.n_failed for s in strata):
        return count_limits(counts, level)
    most = [(s.n_rows, s.n_sample, s.n_found + s.n_failed) for s in strata]
    return count_limits(counts, level)[0], count_limits(most, level)[1]


def _check(strata: Sequence[tuple[int, int, int]], delta: float) -> None:
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta must be in (0, 1), got {delta}. Write 0.05 for 95 % confidence.")
    for rows, sample, found in strata:
        if not 0 <= found <= sample <= rows:
            raise ValueError(f"no sample has {found} positives in {sample} of {rows} rows")
    sampled = sum(sample < rows for rows, sample, _ in strata)
    if sampled > 3:
        raise ValueError(f"at most three strata may be sampled, got {sampled}")


def _separate(samples: list[Sample], delta: float) -> tuple[int, int]:
    """Return the sum of each stratum's own limits, at an equal share of the level."""
    low, high = 0, 0
    above, below = _ABOVE * delta / len(samples), (1 - _ABOVE) * delta / len(samples)
    for s in samples:
        high += marked_upper(s.n_rows, s.n_sample, s.n_found, above)
        low += s.n_rows - marked_upper(s.n_rows, s.n_sample, s.n_sample - s.n_found, below)
    return low, high


def estimate_count(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
) -> CountEstimate:
    """Estimate how many rows are positive, with limits that hold at this sample size.

    Parameters
    ----------
    scores : ndarray of float32 or float64, shape (n,)
        Proxy scores, higher for rows that are more likely positive; NaN: no information. They
        decide how wide the interval is, never whether it holds.
    labels : LabelSource
        All that it can label for certain is spent, or less where every row becomes known.
    delta : float
        Failure probability in (0, 1) of the two limits together.
    rng : numpy.random.Generator
        Source of all random choices.
    known : ndarray of int8, shape (n,), optional
        -1 unknown, 0 negative, 1 positive: labels that are known before. They are counted as they
        stand and are no part of any sample.

    Returns
    -------
    CountEstimate

    Raises
    ------
    ValueError
        If delta is outside (0, 1), or if shapes or types are wrong.

    Notes
    -----
    Strata and sample sizes are fixed before the first label, from the scores alone; each stratum is
    sampled uniformly without replacement. Statement and proof: C1 to C4 in the guarantees of COUNT.

    Examples
    --------
    >>> from thresher.sampling import CountedLabels
    >>> truth = np.arange(1000) < 300
    >>> labels = CountedLabels(lambda rows: truth[rows], budget=200)
    >>> scores = np.where(truth, 0.9, 0.1)
    >>> count = estimate_count(scores, labels, delta=0.05, rng=np.random.default_rng(1))
    >>> count.low <= 300 <= count.high, labels.remaining
    (True, 0)
    """
    _check([], delta)
    ledger = Ledger(scores, labels, rng, known)
    n_known, ranks, budget = ledger.n_positive, ledger.unknown(), ledger.remaining
    strata: list[Stratum] = []
    algorithm = "count: stratified sample, exact limits"
    if ledger.affords_all:
        ledger.buy_all()
        estimate = low = high = ledger.n_positive
        algorithm = "count: exact"
    else:
        chance = forecast(ledger.scores[ledger.rows[ranks]])
        if budget:
            strata = _sample(
                ledger, ranks, plan_strata(chance, budget, -float(ndtri(delta / 2))), rng
            )
            guess = sum(s.n_rows * s.n_found / s.n_sample for s in strata)
            counts = [(s.n_rows, s.n_sample, s.n_found) for s in strata]
        else:
            guess, counts = float(chance.sum()), [(len(ranks), 0, 0)]
            algorithm = "count: no labels"
        low, high = count_limits(counts, delta)
        estimate = n_known + min(max(round(guess), low), high)
        low, high = n_known + low, n_known + high
    return CountEstimate(
        estimate=estimate,
        low=low,
        high=high,
        n_rows=ledger.n_rows,
        n_known_positive=n_known,
        strata=tuple(strata),
        steps=tuple(ledger.steps),
        delta=delta,
        algorithm=algorithm,
    )


def _sample(
    ledger: Ledger, ranks: Ranks, plan: StrataPlan, rng: np.random.Generator
) -> list[Stratum]:
    """Label the samples of a plan, stratum by stratum."""
    strata = []
    for i, count in enumerate(plan.samples):
        members = ranks[plan.edges[i] : plan.edges[i + 1]]
        census = count == len(members)
        stage = "census" if census else f"stratum {i + 1}"
        drawn = members if census else np.sort(rng.choice(members, count, replace=False))
        found = int(ledger.buy(drawn, stage).sum())
        ends = ledger.scores[ledger.rows[members[[0, -1]]]]
        strata.append(Stratum(stage, float(ends[0]), float(ends[1]), len(members), count, found))
    return strata
