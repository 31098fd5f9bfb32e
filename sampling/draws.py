"""Weighted draws without replacement, group by group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Batch", "GroupDraws"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Draws of one group, in order, with their values.

    Parameters
    ----------
    rows : ndarray of int64, shape (k,)
        Rows drawn.
    weights : ndarray of float64, shape (k,)
        Their weights.
    totals : ndarray of float64, shape (k,)
        Sum of the weights of the rows that were left before each draw.
    values : ndarray of float64, shape (k, n_columns)
        What they count with.
    """

    rows: Integers
    weights: Floats
    totals: Floats
    values: Floats


class GroupDraws:
    """Successive draws from the rows of one group, each with chance proportional to its weight.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        The rows that are not labelled.
    weights : ndarray of float64, shape (n,)
        Positive.
    rng : numpy.random.Generator
        Source of the draws.

    Notes
    -----
    The order of independent exponential variates with rates `weights` is that of successive draws:
    given the first t, the next is row i of the rest with chance weight_i / (sum over the rest), by
    the lack of memory of the exponential distribution (Efraimidis and Spirakis 2006).
    """

    def __init__(self, rows: Integers, weights: Floats, rng: np.random.Generator) -> None:
        order = _ascending(rng.exponential(size=len(rows)) / weights)
        self.rows, self.weights = rows[order], weights[order]
        # Summed from the end, so that what is left does not suffer from cancellation.
        self.totals = np.cumsum(self.weights[::-1])[::-1]
        self.taken = 0

    @property
    def left(self) -> int:
        """Rows that have not been drawn."""
        return len(self.rows) - self.taken

    @property
    def rest(self) -> Integers:
        """The rows that have not been drawn."""
        return self.rows[self.taken :]

    def scale_after(self, count: float) -> float:
        """Forecast the sum of the weights of the rows that are left after `count` more draws."""
        if not self.left:
            return 0.0
        weights = self.weights[self.taken :]
        now = float(self.totals[self.taken])
        return max(now - count * float(weights @ weights) / now, now / (1 + self.left))

    def take(self, count: int) -> slice:
        """Draw `count` more rows and return their places."""
        start = self.taken
        self.taken = min(start + count, len(self.rows))
        return slice(start, self.taken)


def _ascending(times: Floats) -> Integers:
    """Sort as a stable sort does: it takes longer, and equal times hardly ever come."""
    order = np.argsort(times)
    found = times[order]
    if (found[1:] > found[:-1]).all():
        return order
    return np.argsort(times, kind="stable")
