"""What sums, means and ratios must lie between, whatever the unknown rows are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from thresher.sampling.measures import Measure

__all__ = ["CertainRange"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_EPS = float(np.finfo(np.float64).eps)


class CertainRange:
    """The certain range of one measure, given which rows are not known.

    Parameters
    ----------
    measure : Measure
        A count, a sum, a mean or a ratio.
    corners : sequence of (ndarray of float64 (n,), ndarray of float64 (n,))
        Points (u, v) whose convex hull holds what a row can contribute.
    ends : (ndarray of float64 (n,), ndarray of float64 (n,))
        Bounds of the value above the line of a row that counts; 0 where it cannot.

    Notes
    -----
    Sums are moved outward by what adding up in any order may lose, so that a truth at an end is
    not shut out by rounding. The end of a mean is a value as it stands, and whole numbers lose
    nothing: these are not moved.

    Examples
    --------
    >>> x, one = np.array([0.0, 2.0, 7.0]), np.ones(3)
    >>> corners = [(0 * x, 0 * x), (x, one)]
    >>> CertainRange(Measure("mean", 0), corners, (x, x)).given(np.array([1, 2]), 0.0, 1.0)
    (0.0, 7.0)
    """

    def __init__(
        self,
        measure: Measure,
        corners: list[tuple[Floats, Floats]],
        ends: tuple[Floats, Floats],
    ) -> None:
        least, most = ends
        self._measure, self._corners, self._n_rows = measure, corners, len(least)
        self._sloped = [(u, v) for u, v in corners if v.any()]
        self._whole = np.array_equal(least, most) and np.array_equal(least, np.rint(least))
        self._negative = -2 * float(least.sum(where=least < 0, initial=0.0))
        self._values = -math.inf, math.inf  # a mean of known rows lies within them
        if measure.kind == "mean":
            counts = corners[-1][1] > 0
            self._values = (
                float(least[counts].min(initial=math.inf)),
                float(most[counts].max(initial=-math.inf)),
            )

    def given(self, rows: Integers, known_u: float, known_v: float) -> tuple[float, float]:
        """Return the range if only `rows` are not known; `known_u`, `known_v` are of the others."""
        kind = self._measure.kind
        if kind in ("count", "sum"):
            (least, _), (most, _) = self._corners
            least, most = least[rows], most[rows]
            room = [self._lost(rows, known_u, end) for end in (least, most)]
            return known_u + float(least.sum()) - room[0], known_u + float(most.sum()) + room[1]
        pairs = self._sloped
        if len(rows) < self._n_rows:
            pairs = [(u[rows], v[rows]) for u, v in pairs]
        if kind == "mean":  # v is 1 or 0, and u is 0 with it
            return self._range([u[v > 0] for u, v in pairs], rows, known_u, known_v)
        if any((v < 0).any() or ((v == 0) & (u != 0)).any() for u, v in pairs) or known_v < 0:
            return -math.inf, math.inf  # not an average with weights v
        if kind == "ratio" and not self._measure.together:
            return -math.inf, math.inf
        return self._range([u[v > 0] / v[v > 0] for u, v in pairs], rows, known_u, known_v)

    def _range(
        self, ends: list[Floats], rows: Integers, known_u: float, known_v: float
    ) -> tuple[float, float]:
        """Return the range of averages of these values and of the known rows."""
        if known_v > 0:
            ends.append(self._known(rows, known_u, known_v))
        ends = [e for e in ends if len(e)]
        if not ends:
            return (math.nan, math.nan) if not len(rows) else (-math.inf, math.inf)
        return min(float(e.min()) for e in ends), max(float(e.max()) for e in ends)

    def _known(self, rows: Integers, known_u: float, known_v: float) -> Floats:
        """Return what the mean or the ratio of the known rows lies between."""
        ratio = known_u / known_v
        room = self._lost(rows, known_u, np.zeros(0)) / known_v
        if self._measure.kind == "ratio":  # v is added up as well
            room += self._n_rows * _EPS * abs(ratio)
        return np.clip(ratio + np.array([-room, room]), *self._values)

    def _lost(self, rows: Integers, known_u: float, ends: Floats) -> float:
        """Bound what rounding may take from the sum of the known rows and of `ends`."""
        nothing_known = len(rows) == self._n_rows
        size = 0.0 if self._whole or nothing_known else abs(known_u) + self._negative
        if not np.array_equal(ends, np.rint(ends)):
            size += float(np.abs(ends).sum())
        return self._n_rows * _EPS * size
