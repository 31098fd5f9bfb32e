"""Exact limits of a share of positives that two samples tell of: recall is one such share.

One group of rows holds the positives that count for the share (those returned), the other the
positives that count against it (those missed). Both were sampled apart.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from thresher.sampling.outcomes import DROP, Outcomes, Sample, stratum_box

__all__ = ["Group", "share_lower", "share_of"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BOX = 0.04  # share of the level for the ranges to which both numbers are confined
_SPLITS = 300  # most cells that the search is cut into
_CLOSE = 1e-4  # it ends when the limit is known to this share of itself
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one side of the share.

    Parameters
    ----------
    n_known : int
        Rows known to be positive before the sample.
    n_rows, n_sample, n_found : int
        Rows unlabelled before the sample, the size of a uniform sample of them without
        replacement, and the positives in it.
    """

    n_known: int
    n_rows: int
    n_sample: int
    n_found: int

    @property
    def least(self) -> int:
        """Positives that the group holds for certain."""
        return self.n_known + self.n_found

    @property
    def most(self) -> int:
        """Positives that the group can hold at most."""
        return self.n_known + self.n_rows - self.n_sample + self.n_found


def share_of(own: int, other: int, empty: int) -> Fraction:
    """Return own / (own + other), `empty` if there is nothing."""
    return Fraction(own, own + other) if own + other else Fraction(empty)


def share_lower(own: Group, other: Group, level: float, empty: int) -> Fraction:
    """Return an exact lower limit of the share of one group in the positives of both.

    Parameters
    ----------
    own, other : Group
        The groups, sampled independently, with sizes that do not depend on the labels.
    level : float
        Probability in [0, 1) with which the limit may be too high; 0 gives the certain limit.
    empty : {0, 1}
        What the share is where there is no positive at all.

    Returns
    -------
    Fraction
        At most the true share, except with probability at most `level`, whatever the truth.

    Notes
    -----
    The outcomes are ordered by the upper limit of other / own that combines the Wilson limits of
    the two groups (Donner and Zou 2012). The pairs of numbers within wide exact limits of each
    (Berger and Boos 1994) that give an outcome as low as the observed one more than the level are
    a confidence set (Buehler 1957); the limit is the least share in it, found by branch and bound.
    Statement and proof: U2 in the guarantees of audits.

    Examples
    --------
    >>> returned, rest = Group(0, 500, 100, 90), Group(0, 9500, 900, 2)
    >>> round(float(share_lower(returned, rest, 0.05, empty=1)), 3)
    0.879
    """
    if level <= 0.0:
        return share_of(own.least, other.most, empty)
    test = _Test(own, other, level)
    first, last = test.negatives
    if not test.accepts(first, test.positives[0]):  # no pair is left: any limit holds
        return share_of(own.n_known + own.n_rows - first, other.n_known + test.positives[0], empty)
    last = test.most_negatives(first, last)
    ends = {first: test.most_positives(first), last: test.most_positives(last)}

    def share(negatives: int, of: int) -> Fraction:
        return share_of(own.n_known + own.n_rows - negatives, other.n_known + ends[of], empty)

    def bound(low: int, high: int) -> Fraction:
        """The least share for any number of negatives in a cell: more of either lowers it."""
        return share(high, low) if high - low > 1 else min(share(low, low), share(high, high))

    cells = [(bound(first, last), first, last)]
    for _ in range(_SPLITS):
        limit, low, high = cells[0]
        if high - low <= 1 or share(high, high) - limit <= _CLOSE * limit:
            break
        heapq.heappop(cells)
        middle = (low + high) // 2
        ends[middle] = test.most_positives(middle, ends[high], ends[low])
        heapq.heappush(cells, (bound(low, middle), low, middle))
        heapq.heappush(cells, (bound(middle, high), middle, high))
    return cells[0][0]


class _Test:
    """The confidence set of (negatives of own, positives of other) at the observed outcome."""

    def __init__(self, own: Group, other: Group, level: float) -> None:
        self.level = (1 - _BOX) * level
        wrong = Sample(own.n_rows, own.n_sample, own.n_sample - own.n_found)
        right = Sample(other.n_rows, other.n_sample, other.n_found)
        self.negatives = stratum_box(wrong, _BOX * level / 2)
        self.positives = stratum_box(right, _BOX * level / 2)
        self.wrong = Outcomes(wrong, self.negatives, self.level)
        self.right = Outcomes(right, self.positives, self.level)
        self.region = _region(own, other, -float(ndtri(self.level)))

    def chance(self, negatives: int, positives: int) -> float:
        """Return the probability of an outcome in the region."""
        y, p = self.wrong.chances(negatives)
        x, q = self.right.chances(positives)
        below = np.append(0.0, np.cumsum(q))
        inside = np.clip(self.region[y : y + len(p)] - x, 0, len(q))
        return float(p @ below[inside])

    def accepts(self, negatives: int, positives: int) -> bool:
        """Return whether the pair is in the confidence set, rounding and dropped tails included."""
        chance = self.chance(negatives, positives)
        return chance * (1 + 1e-9) + 16 * DROP * self.level > self.level

    def most_negatives(self, low: int, high: int) -> int:
        """Return the most negatives of own that any pair of the set has; `low` is accepted."""
        high += 1
        while high - low > 1:
            middle = (low + high) // 2
            accepted = self.accepts(middle, self.positives[0])
            low, high = (middle, high) if accepted else (low, middle)
        return low

    def most_positives(self, negatives: int, low: int = -1, high: int = -1) -> int:
        """Return the most positives of other among the pairs with these negatives of own."""
        low = max(low, self.positives[0])
        high = (self.positives[1] if high < 0 else high) + 1
        while high - low > 1:
            middle = (low + high) // 2
            accepted = self.accepts(negatives, middle)
            low, high = (middle, high) if accepted else (low, middle)
        return low


def _gap(group: Group, z: float, share: Floats) -> Floats:
    """Return how far the upper Wilson limit of a number of rows lies above its estimate."""
    if not group.n_sample:
        return np.full(len(share), float(group.n_rows))
    q = z * z * (1 - group.n_sample / group.n_rows) / group.n_sample
    upper = (share + q / 2 + np.sqrt(q * share * (1 - share) + q * q / 4)) / (1 + q)
    return np.asarray(group.n_rows * (upper - share))


def _statistic(own: Floats, own_gap: Floats, other: Floats, other_gap: Floats) -> Floats:
    """Return the upper limit of other / own; beyond all of them where own may be nothing."""
    square = own**2 - own_gap**2
    product = own * other
    root = np.sqrt(np.maximum(product**2 - square * (other**2 - other_gap**2), 0.0))
    scale = 1 + own + own_gap + other + other_gap
    beyond = 1e15 + 1e12 * (own_gap - own + other) / scale
    some = (own > own_gap) & (square > 1e-12 * scale**2)
    return np.where(some, np.minimum((product + root) / np.where(some, square, 1.0), 1e15), beyond)


def _region(own: Group, other: Group, z: float) -> Integers:
    """Return, for each number of sampled negatives of own, how many outcomes of other are inside.

    The region is the smallest set that holds all outcomes with at most the observed statistic, and
    with each outcome all that are smaller in either number.
    """
    y, x = np.arange(own.n_sample + 1), np.arange(other.n_sample + 1)
    wrong = y / max(own.n_sample, 1)
    right = x / max(other.n_sample, 1)
    e_own, d_own = own.n_known + own.n_rows * (1 - wrong), _gap(own, z, wrong)
    e_other, d_other = other.n_known + other.n_rows * right, _gap(other, z, right)
    seen, at = own.n_sample - own.n_found, other.n_found
    limit = float(_statistic(e_own[[seen]], d_own[[seen]], e_other[[at]], d_other[[at]])[0])
    limit += 1e-9 * abs(limit)
    inside = np.zeros(len(y), dtype=np.int64)
    for start in range(0, len(y), _CHUNK):
        rows = slice(start, start + _CHUNK)
        value = _statistic(e_own[rows, None], d_own[rows, None], e_other, d_other)
        held = value <= limit
        inside[rows] = np.where(held.any(1), len(x) - held[:, ::-1].argmax(1), 0)
    return np.maximum.accumulate(inside[::-1])[::-1]
