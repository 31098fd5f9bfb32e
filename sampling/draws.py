"""Weighted draws without replacement, group by group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Batch", "GroupDraws"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_ROOM = 1.1  # draws looked for, against those that are wanted
_MORE = 4  # what is put in order grows so many times


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
        The rows that are not labelled; put in another order in place, with their weights.
    weights : ndarray of float64, shape (n,)
        Positive.
    rng : numpy.random.Generator
        Source of the draws.
    count : int, optional
        Draws that will do for now; all rows without it.

    Attributes
    ----------
    rows, weights : ndarray, shape (n,)
        The first `n_ordered` rows in the order of their draws, then all others.
    n_ordered : int
    totals : ndarray of float64, shape (n_ordered + 1,)
        Sum of the weights of the rows that are left before each draw.
    taken : int
        Rows that have been drawn.

    Notes
    -----
    The order of independent exponential variates with rates `weights` is that of successive draws:
    given the first t, the next is row i of the rest with chance weight_i / (sum over the rest), by
    the lack of memory of the exponential distribution (Efraimidis and Spirakis 2006). Only the
    smallest variates are sorted: the order of the others shows in no draw.
    """

    def __init__(
        self,
        rows: Integers,
        weights: Floats,
        rng: np.random.Generator,
        count: int | None = None,
    ) -> None:
        self.rows, self.weights = rows, weights
        self.taken = self.n_ordered = 0
        self._times = rng.exponential(size=len(rows))
        self._times /= weights
        self._sort(len(rows) if count is None else count)

    def _sort(self, count: int) -> None:
        """Put at least `count` more rows in order."""
        start = self.n_ordered
        times, rows, weights = self._times[start:], self.rows[start:], self.weights[start:]
        front = _front(times, weights, count)
        out, into = _displaced(front, len(times))
        for value in (times, rows, weights):
            first = value[front]
            value[into] = value[out]
            value[: len(front)] = first
        self.n_ordered = start + len(front)
        ordered, rest = np.split(self.weights, [self.n_ordered])
        # Summed from the end, so that what is left does not suffer from cancellation.
        self.totals = np.cumsum(np.append(rest.sum(), ordered[::-1]))[::-1]
        self._squares = float(rest @ rest)

    def reserve(self, count: int) -> bool:
        """Put `count` more rows in order than are drawn; return whether they were not."""
        short = min(self.taken + count, len(self.rows)) > self.n_ordered
        if short:
            self._sort(max(count, (_MORE - 1) * self.n_ordered))
        return short

    @property
    def left(self) -> int:
        """Rows that have not been drawn."""
        return len(self.rows) - self.taken

    def squares_after(self, start: int) -> float:
        """Return the sum of the squared weights of the rows that are left before a draw."""
        rest = self.weights[start : self.n_ordered]
        return self._squares + float(rest @ rest)

    def scale_after(self, count: float) -> float:
        """Forecast the sum of the weights of the rows that are left after `count` more draws."""
        return self.scale_from(self.taken, count) if self.left else 0.0

    def scale_from(self, start: int, count: float) -> float:
        """Forecast that sum for `count` draws from place `start`, where a row is left, on."""
        now = float(self.totals[start])
        left = len(self.rows) - start
        return max(now - count * self.squares_after(start) / now, now / (1 + left))

    def take(self, count: int) -> slice:
        """Draw `count` more rows, which must be in order, and return their places."""
        start = self.taken
        self.taken = min(start + count, len(self.rows))
        return slice(start, self.taken)


def _front(times: Floats, weights: Floats, count: int) -> Integers:
    """Return where the smallest times are, at least `count` of them, in ascending order."""
    count = min(count, len(times))
    if _MORE * count >= len(times):
        return _ascending(times)
    # About as many as the rates of all rows add up to have come by the time 1.
    last = (_ROOM * count + 50) / float(weights.sum())
    front = np.flatnonzero(times <= last)
    if len(front) < count:
        front = np.flatnonzero(times <= np.partition(times, count - 1)[count - 1])
    return front[_ascending(times[front])]


def _displaced(front: Integers, size: int) -> tuple[Integers, Integers]:
    """Return which of the first places are not in `front`, and as many that are behind them."""
    if len(front) == size:
        return front[:0], front[:0]
    stays = np.ones(len(front), dtype=np.bool_)
    stays[front[front < len(front)]] = False
    return np.flatnonzero(stays), front[front >= len(front)]


def _ascending(times: Floats) -> Integers:
    """Sort as a stable sort does: it takes longer, and equal times hardly ever come."""
    order = np.argsort(times)
    found = times[order]
    if (found[1:] > found[:-1]).all():
        return order
    return np.argsort(times, kind="stable")
