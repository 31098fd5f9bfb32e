"""The tests of a certificate worked out again, with scipy and plain Python.

Nothing here is shared with `thresher.sampling`: a defect there cannot hide behind itself. The tests
are those of docs/guarantees.md (T1, T2, T4) and docs/guarantees-counts.md (C2).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import floor

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, ndtri
from scipy.stats import hypergeom

__all__ = [
    "CountCheck",
    "allowed",
    "fixed_cut",
    "hits",
    "is_upper_limit",
    "ratio_cut",
    "upper_limit",
]

COUNTED = 0.05  # share of the level that T1 spends on the number of positives
_DESIGNS = 8  # samples that core set closure may draw
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Stratum = tuple[int, int, int]


def allowed(target: float, count: int) -> int:
    """Return how many of `count` rows may be wrong under a target, read as a decimal number."""
    return floor((1 - Fraction(repr(float(target)))) * count)


def _loose(level: float, n_rows: int) -> float:
    """Raise a level by what log-gamma functions of `n_rows` may be off."""
    return level * (1 + 1e-9 + 1e-13 * n_rows)


def upper_limit(n_rows: int, n_sample: int, n_found: int, level: float) -> int:
    """Return the largest T with P(Hypergeometric(n_rows, T, n_sample) <= n_found) > level.

    Examples
    --------
    >>> upper_limit(1000, 100, 0, 0.05)
    28
    """
    low, high = n_found, n_rows - n_sample + n_found + 1
    while high - low > 1:
        middle = (low + high) // 2
        above = hypergeom.cdf(n_found, n_rows, middle, n_sample) > level
        low, high = (middle, high) if above else (low, middle)
    return low


def is_upper_limit(n_rows: int, n_sample: int, n_found: int, level: float, limit: int) -> bool:
    """Return whether `limit` is at least the exact upper limit, rounding aside."""
    if limit >= n_rows - n_sample + n_found:
        return True
    chance = hypergeom.cdf(n_found, n_rows, limit + 1, n_sample)
    return limit >= n_found and bool(chance <= _loose(level, n_rows))


def _ratio_is_safe(
    cut: int, n_found: int, n_known: int, bound: int, target: float, level: float
) -> bool:
    """Return whether one cut passes test A for every number of positives up to `bound`.

    Runs of p with one J are judged by their last p, and groups of runs by the fewest J with the
    last p of all, which is worse than any of them; groups that fail so are halved.
    """
    share = 1 - Fraction(repr(float(target)))
    level = _loose((1 - COUNTED) * level, bound)
    first, last = allowed(target, n_known + n_found), allowed(target, n_known + bound)
    groups = [(first, last)]
    while groups:
        ends = [
            bound if b >= last else min(bound, max(n_found, -(-(b + 1) // share) - 1 - n_known))
            for _, b in groups
        ]
        lowest = np.array([max(0, cut + a + 1) for a, _ in groups], dtype=np.int64)
        most = np.array(ends, dtype=np.int64)
        chance = hypergeom.cdf(cut, most, np.minimum(lowest, most), n_found)
        bad = (chance > level) & (lowest <= most)
        split = []
        for (a, b), fails in zip(groups, bad, strict=True):
            if fails and a == b:
                return False
            if fails:
                split += [(a, (a + b) // 2), ((a + b) // 2 + 1, b)]
        groups = split
    return True


def ratio_cut(n_found: int, n_known: int, bound: int, target: float, level: float) -> int:
    """Return the deepest cut that test A allows, -1 for none (T1).

    Parameters
    ----------
    n_found, n_known : int
        Positives in the sample, and known before it.
    bound : int
        Upper limit of the positives among the rows sampled from.
    target : float
        Recall target.
    level : float
        Level of the whole test.
    """
    if bound - n_found <= allowed(target, n_known + bound):
        return n_found
    low, high = -1, n_found  # the safe cuts are the smallest ones (Lemma 1)
    while high - low > 1:
        middle = (low + high) // 2
        safe = _ratio_is_safe(middle, n_found, n_known, bound, target, level)
        low, high = (middle, high) if safe else (low, middle)
    return low


def fixed_cut(n_rows: int, n_sample: int, n_known: int, target: float, level: float) -> int:
    """Return the deepest cut that test B allows, -1 for none: it and all smaller ones pass (T2)."""
    keep = Fraction(repr(float(target)))
    for start in range(0, n_sample + 1, 64):
        cuts = np.arange(start, min(start + 64, n_sample + 1))
        # The smallest p with p - J(p) >= c + 1, that is with keep p > c + (1 - keep) known.
        first = np.array([floor(((1 - keep) * n_known + int(c)) / keep) + 1 for c in cuts])
        first = np.maximum(first, 0)  # with a discounted `n_known` below 0
        chance = hypergeom.cdf(cuts, n_rows, np.minimum(first, n_rows), n_sample)
        unsafe = np.flatnonzero((chance > _loose(level, n_rows)) & (first <= n_rows))
        if unsafe.size:
            return start + int(unsafe[0]) - 1
    return n_sample


def hits(n_rows: int, n_core: int, n_sample: int, level: float) -> bool:
    """Return whether a sample can be of a design that hits `n_core` rows but for a chance `level`.

    The design is one to eight independent samples of the least size that suffices; `n_sample` are
    their distinct rows, within six standard deviations of what is expected.

    Examples
    --------
    >>> hits(10_000, 30, 949, 0.05), hits(10_000, 30, 900, 0.05)
    (True, False)
    """
    for count in range(1, _DESIGNS + 1):
        low, high = 0, n_rows
        while high - low > 1:
            middle = (low + high) // 2
            miss = float(hypergeom.cdf(0, n_rows, n_core, middle)) ** count
            low, high = (low, middle) if miss <= _loose(level, n_rows) else (middle, high)
        least, most = (high, n_rows) if count == 1 else _distinct(n_rows, high, count)
        if max(high, least) <= n_sample <= most:
            return True
    return False


def _distinct(n_rows: int, size: int, count: int) -> tuple[float, float]:
    """Return what the distinct rows of some samples lie between, within six deviations."""
    one = 1 - size / n_rows
    two = one * max(0, n_rows - size - 1) / max(1, n_rows - 1)
    missed = n_rows * one**count
    variance = missed + n_rows * (n_rows - 1) * two**count - missed**2
    room = 6 * max(variance, 0.0) ** 0.5 + 1e-6
    return n_rows - missed - room, min(n_rows - missed + room, count * size)


def _chances(n_rows: int, n_marked: int, n_sample: int) -> Floats:
    """Return P(X = x) for x = 0 .. n_sample."""
    x = np.arange(max(0, n_sample + n_marked - n_rows), min(n_sample, n_marked) + 1.0)
    logs = [
        gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)
        for a, b in ((n_marked, x), (n_rows - n_marked, n_sample - x), (n_rows, n_sample))
    ]
    out = np.zeros(n_sample + 1)
    out[x.astype(np.int64)] = np.exp(logs[0] + logs[1] - logs[2])
    return out


class CountCheck:
    """The test of a total over two or three sampled strata at the observed outcome (C2).

    Parameters
    ----------
    strata : sequence of (n_rows, n_sample, n_found)
        The strata that were sampled, the one with the most unlabelled rows first.
    level : float
        Level of the limit.
    boxed : float
        Level of the range of each stratum but the first.
    """

    def __init__(self, strata: Sequence[Stratum], level: float, boxed: float) -> None:
        self.strata, self.level = strata, level
        self.z = -float(ndtri(level))
        self.boxes = [(strata[0][2], strata[0][0] - strata[0][1] + strata[0][2])]
        for rows, sample, found in strata[1:]:
            low = rows - upper_limit(rows, sample, sample - found, boxed / 2)
            self.boxes.append((low, upper_limit(rows, sample, found, boxed / 2)))
        self.inside = self._region()
        self._known: dict[tuple[int, int], tuple[slice, Floats]] = {}

    def _parts(self, stratum: Stratum, x: Integers) -> tuple[Floats, Floats]:
        """Estimate and squared distance to the upper Wilson limit, for outcomes x."""
        rows, sample, _ = stratum
        p = x / sample
        q = self.z**2 * (1 - sample / rows) / sample
        upper = (p + q / 2 + np.sqrt(q * p * (1 - p) + q * q / 4)) / (1 + q)
        return rows * p, (rows * (upper - p)) ** 2

    def _region(self) -> npt.NDArray[np.int64]:
        """How many outcomes of the first stratum are in the region, for each outcome of the rest.

        The statistic does not fall in any outcome (L3), so they are the smallest ones.
        """
        parts = [self._parts(s, np.arange(s[1] + 1)) for s in self.strata]
        seen = [self._parts(s, np.array([s[2]])) for s in self.strata]
        limit = sum(float(e[0]) for e, _ in seen) + sum(float(d[0]) for _, d in seen) ** 0.5
        limit *= 1 + 1e-12
        (e, d), rest = parts[0], parts[1:]
        shape = tuple(len(p[0]) for p in rest)
        e_rest, d_rest = np.zeros(shape), np.zeros(shape)
        for axis, (a, b) in enumerate(rest):
            along = [-1 if i == axis else 1 for i in range(len(rest))]
            e_rest, d_rest = e_rest + a.reshape(along), d_rest + b.reshape(along)
        low = np.zeros(shape, dtype=np.int64)
        high = np.full(shape, len(e), dtype=np.int64)
        while (low < high).any():
            middle = np.minimum((low + high) // 2, len(e) - 1)
            found = (e[middle] + e_rest + np.sqrt(d[middle] + d_rest) <= limit) & (low < high)
            low, high = (
                np.where(found, middle + 1, low),
                np.where(found | (low >= high), high, middle),
            )
        return low

    def chance(self, marked: Sequence[int]) -> float:
        """Return the probability of an outcome in the region, given the positives of each."""
        rest = [self._kept(i, t) for i, t in enumerate(marked[1:], 1)]
        value = self._below(marked[0])[self.inside[tuple(places for places, _ in rest)]]
        for _, chances in rest[::-1]:
            value = value @ chances
        return float(value)

    def _kept(self, stratum: int, marked: int) -> tuple[slice, Floats]:
        """Return which outcomes of a stratum have a chance, and their chances."""
        if (stratum, marked) not in self._known:
            p = _chances(self.strata[stratum][0], marked, self.strata[stratum][1])
            places = np.flatnonzero(p > 1e-15)
            kept = slice(int(places[0]), int(places[-1]) + 1)
            self._known[stratum, marked] = kept, p[kept]
        return self._known[stratum, marked]

    def _below(self, marked: int) -> Floats:
        """Return P(X < i) for the first stratum."""
        if (0, marked) not in self._known:
            p = _chances(self.strata[0][0], marked, self.strata[0][1])
            self._known[0, marked] = slice(None), np.append(0.0, np.cumsum(p))
        return self._known[0, marked][1]

    def worst(self, total: int, allowance: int) -> tuple[float, bool]:
        """Return the highest chance found over the ranges at one total.

        Returns
        -------
        chance : float
            0 if no T in the ranges has this total.
        complete : bool
            Whether every T was tried; else a grid, then finer ones around its worst place.
        """
        spans = [np.arange(a, b + 1) for a, b in self.boxes[1:]]
        complete = int(np.prod([len(s) for s in spans])) <= allowance
        rounds = 1 if complete else 4
        best, place = 0.0, None
        sides = [len(s) - 1 for s in spans]
        for _ in range(rounds):
            grids = spans if complete else self._grids(spans, place, sides)
            for rest in product(*grids):
                first = total - int(sum(rest))
                if self.boxes[0][0] <= first <= self.boxes[0][1]:
                    value = self.chance((first, *(int(t) for t in rest)))
                    if value > best:
                        best, place = value, rest
            sides = [max(1, side // 8) for side in sides]
        return best, complete

    @staticmethod
    def _grids(
        spans: list[Integers], place: tuple[int, ...] | None, sides: list[int]
    ) -> list[Integers]:
        """Return about twenty values each way: over all, or around a place."""
        grids = []
        for i, span in enumerate(spans):
            low, high = int(span[0]), int(span[-1])
            if place is not None:
                low, high = max(low, place[i] - sides[i]), min(high, place[i] + sides[i])
            grids.append(np.unique(np.linspace(low, high, 20).astype(np.int64)))
        return grids
