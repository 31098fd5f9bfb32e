"""Answers against people: what a few human labels say of answers whose truth was an oracle.

The oracle has labelled all rows, or many. People have labelled a small random sample of rows, with
the oracle's labels or without. The oracle's labels serve as predictions, the people correct them:
the strata of equal prediction were each sampled at random, and their counts have exact limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from thresher.sampling.claims import Limits, check_delta, limits_around
from thresher.sampling.counts import count_limits
from thresher.sampling.means import mean_limits
from thresher.sampling.ratio import share_of

__all__ = ["Agreement", "human_agreement", "human_mean"]

Labels = npt.NDArray[np.int8]
Bits = npt.NDArray[np.bool_]
Counts = list[tuple[int, int, int]]

_OUTSIDE = 0.6  # share of delta for the rows not returned
UNIFORM = (
    "which rows people labelled was decided by chance alone, uniformly among all rows, or among "
    "the rows returned and the others apart, or among rows with one oracle label on one side"
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an answer compares with what people say.

    Parameters
    ----------
    precision, recall : Limits
        Share of the rows returned that people call positive; share of the rows that people call
        positive that is returned. They hold together with probability at least 1 - delta.
    positives : Limits
        Rows that people call positive, among all rows; holds together with the others.
    n_human : int
        Rows that people labelled.
    n_agree : int
        Rows among them on which oracle and people agree.
    delta : float
        Failure probability of all limits together.
    assumption : str
        How the rows for people must have been chosen. The limits rest on it.
    """

    precision: Limits
    recall: Limits
    positives: Limits
    n_human: int
    n_agree: int
    delta: float
    assumption: str = UNIFORM

    def __str__(self) -> str:
        return "\n".join(
            [
                f"against people, {self.n_human:,} rows labelled by them, "
                f"probability {1 - self.delta:.4g}",
                f"  precision {self.precision}",
                f"  recall {self.recall}",
                f"  positives {self.positives}",
                f"  the oracle agrees with them on {self.n_agree:,}",
                f"  assumed: {self.assumption}",
            ]
        )


def human_agreement(returned: Bits, oracle: Labels, human: Labels, *, delta: float) -> Agreement:
    """Limit the precision and the recall of an answer against human truth.

    Parameters
    ----------
    returned : ndarray of bool, shape (n_rows,)
        The answer.
    oracle : ndarray of int8, shape (n_rows,)
        1 positive, 0 negative, -1 not labelled by the oracle.
    human : ndarray of int8, shape (n_rows,)
        1 positive, 0 negative, -1 not labelled by people.
    delta : float
        Failure probability in (0, 1) of all limits together.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If delta is outside (0, 1), or if shapes or types are wrong.

    Notes
    -----
    Assumption, on which everything rests: given how many rows people labelled in each of the six
    cells (returned or not, by oracle positive, negative or none), the rows were a uniform sample of
    the cell. A uniform sample of all rows does that, and so do samples of the returned rows and of
    the others, or of cells, of any sizes. Rows that people picked, or that were disputed, do not.
    `returned` and `oracle` must not depend on the human labels.

    The limits are exact at any sample size: prediction-powered inference (Angelopoulos et al. 2023)
    with the strata of equal prediction in place of its asymptotic correction. Where the oracle
    agrees with people nearly always they are as narrow as if nearly all rows were human-labelled.
    Proof: U5 in the guarantees of audits.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> people = rng.random(20_000) < 0.1
    >>> oracle = (people ^ (rng.random(20_000) < 0.01)).astype(np.int8)
    >>> human = np.full(20_000, -1, dtype=np.int8)
    >>> asked = rng.choice(20_000, 1000, replace=False)
    >>> human[asked] = people[asked]
    >>> result = human_agreement(oracle == 1, oracle, human, delta=0.05)
    >>> print(result.precision)
    in [0.806, 0.9447], estimated 0.8908
    """
    check_delta(delta)
    answer = np.asarray(returned)
    if answer.ndim != 1 or answer.dtype != np.bool_:
        raise ValueError(f"returned must be a bool array of one dimension, got {answer.dtype}")
    predicted, people = _labels("oracle", oracle, answer), _labels("human", human, answer)
    inside, outside = (_cells(predicted[side], people[side]) for side in (answer, ~answer))
    right = count_limits(inside, (1 - _OUTSIDE) * delta)
    missed = count_limits(outside, _OUTSIDE * delta)
    n_returned = int(answer.sum())
    guess = _guess(inside), _guess(outside)
    precision = [share_of(count, n_returned - count, 1) for count in right]
    recall = share_of(right[0], missed[1], 1), share_of(right[1], missed[0], 1)
    asked = people >= 0
    return Agreement(
        limits_around(guess[0] / n_returned if n_returned else 1.0, precision[0], precision[1]),
        limits_around(guess[0] / sum(guess) if sum(guess) else 1.0, *recall),
        limits_around(sum(guess), Fraction(right[0] + missed[0]), Fraction(right[1] + missed[1])),
        int(asked.sum()),
        int(np.count_nonzero(asked & (people == predicted))),
        delta,
    )


def _labels(name: str, labels: Labels, returned: Bits) -> Labels:
    array = np.asarray(labels)
    if array.shape != returned.shape or array.dtype.kind != "i":
        raise ValueError(
            f"{name} must be an integer array of shape {returned.shape} with 1, 0 and -1, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return np.sign(array).astype(np.int8)


def _cells(oracle: Labels, human: Labels) -> Counts:
    """Return (rows, rows asked, positives among them) for the rows of each oracle label."""
    cells = []
    for value in (1, 0, -1):
        people = human[oracle == value]
        asked = int(np.count_nonzero(people >= 0))
        cells.append((len(people), asked, int(np.count_nonzero(people > 0))))
    return cells


def _guess(cells: Counts) -> float:
    """Estimate the positives; a cell that nobody was asked about counts as the oracle has it."""
    parts = zip(cells, (1.0, 0.0, 0.5), strict=True)
    return sum(rows * (found / asked if asked else prior) for (rows, asked, found), prior in parts)


def human_mean(
    predicted: npt.NDArray[np.floating],
    human: npt.NDArray[np.floating],
    *,
    value_range: tuple[float, float],
    delta: float,
    rng: np.random.Generator,
) -> Limits:
    """Limit the mean of a value over all rows as people would give it.

    Parameters
    ----------
    predicted : ndarray of float, shape (n_rows,)
        The oracle's value of every row.
    human : ndarray of float, shape (n_rows,)
        The value that people gave, NaN for rows that they were not asked about.
    value_range : (float, float)
        Range that holds every human value for certain.
    delta : float
        Failure probability in (0, 1).
    rng : numpy.random.Generator
        Puts the sample in random order.

    Returns
    -------
    Limits

    Raises
    ------
    ValueError
        If delta, a shape or the range is wrong, a prediction is missing, or a human value is
        outside the range.

    Notes
    -----
    Assumption: the rows with a human value are a uniform sample of all rows, and the predictions
    do not depend on the human values. The mean is that of the predictions, known for all rows, plus
    that of the corrections human - predicted, which is limited by bets without replacement: exact
    at any sample size, and the narrower the smaller the corrections are. Proof: U6 in the
    guarantees of audits.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> people = rng.random(10_000)
    >>> oracle = np.clip(people + 0.02 * rng.standard_normal(10_000), 0, 1)
    >>> human = np.where(np.arange(10_000) < 400, people, np.nan)
    >>> limits = human_mean(oracle, human, value_range=(0.0, 1.0), delta=0.05, rng=rng)
    >>> print(limits, round(float(people.mean()), 4))
    in [0.4879, 0.5126], estimated 0.5003 0.4994
    """
    check_delta(delta)
    guess = np.asarray(predicted, dtype=np.float64)
    people = np.asarray(human, dtype=np.float64)
    if guess.ndim != 1 or people.shape != guess.shape or not len(guess):
        raise ValueError(
            f"predicted and human must have one shape (n_rows,), got {guess.shape} and "
            f"{people.shape}"
        )
    low, high = value_range
    if np.isnan(guess).any():
        raise ValueError("every row must have a predicted value")
    guess = np.clip(guess, low, high)
    asked = rng.permutation(np.flatnonzero(~np.isnan(people)))
    if not ((people[asked] >= low) & (people[asked] <= high)).all():
        raise ValueError(f"every human value must be within [{low}, {high}]")
    correction = people[asked] - guess[asked]
    span = float(low - guess.max()), float(high - guess.min())
    least, most = mean_limits(correction, len(guess), *span, delta)
    centre = float(guess.mean())
    estimate = centre + (float(correction.mean()) if len(asked) else 0.0)
    return limits_around(estimate, max(low, centre + least), min(high, centre + most))
