"""Exact hypergeometric bounds and order-statistic cuts: all that the guarantees rest on.

Every decision here is taken with a distribution function that is rounded upwards, and every share
of a target is an integer computation, so no rounding can turn a failing test into a passing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

__all__ = [
    "RatioCut",
    "Share",
    "fixed_cut",
    "hypergeometric_cdf",
    "marked_upper",
    "ratio_cut",
]

SPLIT = 0.05  # share of a level that test A spends on the number of positives
_UNIT = 10**9
_BLOCK = 64

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """The share of rows that may be wrong under a target, as an exact fraction.

    Parameters
    ----------
    per_billion : int
        ``1 - target`` in units of 1e-9, rounded down, in [0, 1e9).

    Notes
    -----
    A target is read as the decimal number that was written: ``0.9`` is nine tenths although the
    nearest binary number is a little larger. More than nine decimals round the target up, which is
    the safe side.
    """

    per_billion: int

    @classmethod
    def beyond(cls, target: float) -> Share:
        """Return the share that a recall or precision `target` in (0, 1] leaves to be wrong."""
        if not 0.0 < target <= 1.0:
            raise ValueError(f"target must be in (0, 1], got {target}. Write 0.9 for 90 %.")
        return cls(int((1 - Fraction(repr(float(target)))) * _UNIT // 1))

    def of(self, count: int) -> int:
        """Return the largest number of wrong rows among `count`."""
        return self.per_billion * count // _UNIT

    def allows(self, wrong: int, count: int) -> bool:
        """Return whether `wrong` rows among `count` keep the target."""
        return wrong * _UNIT <= self.per_billion * count

    def room(self, wrong: int, count: int) -> int:
        """Return how many wrong rows can join `count` rows, `wrong` of them wrong already."""
        return max(0, (self.per_billion * count - wrong * _UNIT) // (_UNIT - self.per_billion))


def _log_pmf(x: Floats, n_rows: Floats, n_marked: Floats, n_sample: Floats) -> Floats:
    return np.asarray(
        gammaln(n_marked + 1)
        + gammaln(n_rows - n_marked + 1)
        + gammaln(n_sample + 1)
        + gammaln(n_rows - n_sample + 1)
        - gammaln(n_rows + 1)
        - gammaln(x + 1)
        - gammaln(n_marked - x + 1)
        - gammaln(n_sample - x + 1)
        - gammaln(n_rows - n_marked - n_sample + x + 1)
    )


def _lower_tail(x: Floats, n_rows: Floats, n_marked: Floats, n_sample: Floats) -> Floats:
    """Sum the pmf at x, x - 1, ... for x in the support and not above the mode."""
    term = np.exp(_log_pmf(x, n_rows, n_marked, n_sample))
    total = term.copy()
    active = np.flatnonzero(term > 0)
    back = np.arange(_BLOCK, dtype=np.float64)
    while active.size:
        j = x[active, None] - back
        marked, sample = n_marked[active, None], n_sample[active, None]
        spare = n_rows[active, None] - marked - sample
        # The first factor that is 0 marks the end of the support: the product stays 0 beyond it.
        ratio = np.maximum(j, 0) * (spare + j) / ((marked - j + 1) * (sample - j + 1))
        block = term[active, None] * np.cumprod(ratio, axis=1)
        total[active] += block.sum(axis=1)
        term[active] = block[:, -1]
        x = x - _BLOCK
        active = active[term[active] > 1e-17 * total[active]]
    return total


def _slack(n_rows: Floats) -> Floats:
    """Bound the relative error of a tail sum: the nine log-gammas add up to at most 4 ln n!."""
    return np.asarray(1e-9 + 64 * np.finfo(np.float64).eps * gammaln(n_rows + 2))


def _cdf(
    x: npt.ArrayLike, n_rows: npt.ArrayLike, n_marked: npt.ArrayLike, n_sample: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Return P(X <= x) and the same rounded up past every numerical error."""
    parts = (np.asarray(a, dtype=np.float64) for a in (x, n_rows, n_marked, n_sample))
    at, rows, marked, sample = (np.atleast_1d(a) for a in np.broadcast_arrays(*parts))
    low, high = np.maximum(0, sample - (rows - marked)), np.minimum(sample, marked)
    value = np.where(at >= high, 1.0, 0.0)
    above = value.copy()
    inside = (at >= low) & (at < high)
    # Summing towards the mode could start from an underflowed term and give 0 where 1 is right.
    upper = inside & (at >= (sample + 1) * (marked + 1) / (rows + 2) - 1)
    lower = inside & ~upper
    if lower.any():
        tail = _lower_tail(at[lower], rows[lower], marked[lower], sample[lower])
        value[lower], above[lower] = tail, tail * (1 + _slack(rows[lower]))
    if upper.any():
        # marked - X counts the marked rows outside the sample, which is hypergeometric as well.
        tail = _lower_tail(
            (marked - at - 1)[upper], rows[upper], marked[upper], (rows - sample)[upper]
        )
        value[upper], above[upper] = 1 - tail, 1 - tail * (1 - _slack(rows[upper])) + 1e-15
    return np.clip(value, 0.0, 1.0), np.clip(above, 0.0, 1.0)


def hypergeometric_cdf(
    x: npt.ArrayLike, n_rows: npt.ArrayLike, n_marked: npt.ArrayLike, n_sample: npt.ArrayLike
) -> Floats:
    """Return the probability that a sample without replacement holds at most x marked rows.

    Parameters
    ----------
    x : array_like of int
        Count of marked rows in the sample; any integer.
    n_rows, n_marked, n_sample : array_like of int
        Population, marked rows in it, and sample size; all broadcast together.

    Returns
    -------
    ndarray of float64
        In [0, 1], of the broadcast shape (at least one-dimensional).

    Notes
    -----
    The side away from the mode is summed from its largest term by the ratio of neighbours, so a
    tail never starts from an underflowed term. Relative error of a tail: below
    ``1e-9 + 64 eps ln(n_rows!)``, most of it from the log-gamma function at the first term.

    Examples
    --------
    >>> hypergeometric_cdf(0, 10, 5, 2).round(6).tolist()
    [0.222222]
    """
    return _cdf(x, n_rows, n_marked, n_sample)[0]


def marked_upper(n_rows: int, n_sample: int, n_found: int, level: float) -> int:
    """Return the exact upper confidence limit of the number of marked rows.

    Parameters
    ----------
    n_rows, n_sample : int
        Population, and the size of a uniform sample of it without replacement.
    n_found : int
        Marked rows in the sample, in [0, n_sample].
    level : float
        Probability in (0, 1) with which the limit may be too small.

    Returns
    -------
    int
        The largest T with ``P(Hypergeometric(n_rows, T, n_sample) <= n_found) > level``. The true
        number is above it with probability at most `level`, whatever it is.

    Examples
    --------
    >>> marked_upper(1000, 100, 0, 0.05)
    28
    """
    if n_sample >= n_rows:
        return n_found
    low, high = n_found, n_rows - n_sample + n_found + 1
    while high - low > 1:
        tried = np.unique(np.linspace(low, high, 34).astype(np.int64)[1:-1])
        tried = tried[(tried > low) & (tried < high)]
        rejected = np.flatnonzero(_cdf(n_found, n_rows, tried, n_sample)[1] <= level)
        # The probability falls in T: all beyond the first rejected T are rejected too.
        first = int(rejected[0]) if rejected.size else tried.size
        high = int(tried[first]) if first < tried.size else high
        low = int(tried[first - 1]) if first > 0 else low
    return low


@dataclass(frozen=True, slots=True)
class RatioCut:
    """A cut of test A.

    Parameters
    ----------
    cut : int
        How many of the lowest sampled positives may lie below the cut: the answer starts at the
        (cut + 1)-th lowest. Equal to the number found: no unlabelled row need be returned.
        -1: no row may be left out.
    bound : int
        Upper confidence limit of the positives among the rows that were sampled from.
    """

    cut: int
    bound: int


def ratio_cut(
    n_rows: int, n_sample: int, n_found: int, n_known: int, share: Share, level: float
) -> RatioCut:
    """Choose the cut from the number of sampled positives (test A, theorem T1).

    Parameters
    ----------
    n_rows, n_sample : int
        Rows that were sampled from, and the size of the uniform sample without replacement.
    n_found : int
        Positives in the sample.
    n_known : int
        Positives known before the sample was drawn; they are all returned.
    share : Share
        Share of all positives that may be missed.
    level : float
        Failure probability in (0, 1).

    Returns
    -------
    RatioCut
        The deepest safe cut.

    Notes
    -----
    With p positives among the `n_rows`, returning all rows from the (c + 1)-th lowest sampled
    positive upwards misses more than J(p) = share of (known + p) with probability
    ``P(Hypergeometric(p, c + J(p) + 1, found) <= c)`` given the count found. The cut is safe for
    every p up to an upper limit that is itself exact at ``SPLIT * level``. J is constant on
    plateaus of p and the last p of each is the worst, so every plateau is checked. Proof: T1 in
    the guarantees.
    """
    if n_sample >= n_rows:
        return RatioCut(n_found, n_found)
    bound = marked_upper(n_rows, n_sample, n_found, SPLIT * level)
    if bound - n_found <= share.of(n_known + bound):
        return RatioCut(n_found, bound)
    if n_found == 0:
        return RatioCut(-1, bound)
    rest = (1 - SPLIT) * level
    least, most = share.of(n_known + n_found), share.of(n_known + bound)
    cut = _deepest(n_found, bound, most, rest)
    while cut >= 0 and not _safe(cut, least, most, n_known, n_found, bound, share, rest):
        cut -= 1
    return RatioCut(cut, bound)


def _deepest(n_found: int, n_positive: int, n_missed: int, level: float) -> int:
    """Return the largest cut in [-1, n_found) that is safe for this one number of positives."""
    low, high = -1, n_found
    while high - low > 1:
        tried = np.unique(np.linspace(low, high, 34).astype(np.int64)[1:-1])
        tried = tried[(tried > low) & (tried < high)]
        lowest = tried + n_missed + 1
        chance = _cdf(tried, n_positive, np.minimum(lowest, n_positive), n_found)[1]
        unsafe = np.flatnonzero((chance > level) & (lowest <= n_positive))
        first = int(unsafe[0]) if unsafe.size else tried.size
        high = int(tried[first]) if first < tried.size else high
        low = int(tried[first - 1]) if first > 0 else low
    return low


def _safe(
    cut: int,
    least: int,
    most: int,
    n_known: int,
    n_found: int,
    bound: int,
    share: Share,
    level: float,
) -> bool:
    """Check one cut on every plateau of J from `least` to `most`.

    A run of plateaus is judged by its fewest misses and its largest p together, which is worse
    than any of its members; only runs that fail so are split.
    """
    first, last = np.array([least]), np.array([most])
    while first.size:
        end = (_UNIT * (last + 1) - 1) // max(share.per_billion, 1) - n_known
        worst = np.where(last < most, np.clip(end, n_found, bound), bound)
        lowest = cut + first + 1
        chance = _cdf(cut, worst, np.minimum(lowest, worst), n_found)[1]
        bad = (chance > level) & (lowest <= worst)
        if (bad & (first == last)).any():
            return False
        pairs = [
            np.unique(np.linspace(a, b + 1, 33).astype(np.int64))
            for a, b in zip(first[bad], last[bad], strict=True)
        ]
        first = np.concatenate([p[:-1] for p in pairs]) if pairs else np.empty(0, np.int64)
        last = np.concatenate([p[1:] - 1 for p in pairs]) if pairs else first
    return True


def fixed_cut(n_rows: int, n_sample: int, n_known: int, share: Share, level: float) -> int:
    """Choose the cut before the sample is drawn (test B, theorem T2).

    Parameters
    ----------
    n_rows, n_sample, n_known, share, level
        As in `ratio_cut`.

    Returns
    -------
    int
        The largest c such that every c' <= c is safe, at most `n_sample`; -1: no row may be left
        out. With at most c positives in the sample no unlabelled row need be returned.

    Notes
    -----
    A cut c' is safe if ``P(Hypergeometric(n_rows, p, n_sample) <= c') <= level`` for the smallest p
    with ``p - J(p) > c'``. All smaller cuts must be safe too: they stand for the populations with
    too few positives for c itself. Proof: T2 in the guarantees.
    """
    if n_sample >= n_rows:
        return n_sample
    start, width = 0, 16
    while start <= n_sample:
        tried = np.arange(start, min(start + width, n_sample + 1))
        first = (share.per_billion * n_known + _UNIT * tried) // (_UNIT - share.per_billion) + 1
        real = first <= n_rows
        chance = _cdf(tried, n_rows, np.minimum(first, n_rows), n_sample)[1]
        unsafe = np.flatnonzero((chance > level) & real)
        if unsafe.size:
            return start + int(unsafe[0]) - 1
        if not real.all():
            return n_sample
        start, width = start + width, 2 * width
    return n_sample
