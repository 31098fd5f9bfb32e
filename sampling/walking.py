"""The first positive rows of an order, with as few labels as the order allows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Walk"]

_WINDOW = 256  # rows that are looked through at first for the next one that can count


class Walk:
    """Takes the positive rows of an order one after the other, until there are enough.

    Parameters
    ----------
    order : ndarray of int64, shape (n_rows,)
        A permutation of all rows.
    known : ndarray of int8, shape (n_rows,)
        1 positive, 0 negative, -1 unknown.
    wanted : int
        Rows to find, at least 0.
    places : ndarray of float, shape (n_rows,), optional
        Where each row lies. A row whose place is not finite is never taken.
    gap : float
        Least distance between the places of two rows that are taken, above 0; of no effect
        without `places`.

    Attributes
    ----------
    known : ndarray of int8, shape (n_rows,)
        What is known by now.

    Notes
    -----
    A row is taken where it is known to be positive, lies at least `gap` from every row taken before
    it, and no row that stands before it and could still be taken is unknown. So as long as the
    order stays, the rows taken are those that the same walk takes where every row is labelled,
    whatever is asked for when: whether a row is taken hangs on the rows before it alone, and each
    of those that matters was known. A row too near to one that was taken needs no label.

    Examples
    --------
    >>> truth = np.array([False, True, True, False, True])
    >>> order, unknown = np.array([1, 2, 3, 4, 0]), np.full(5, -1, dtype=np.int8)
    >>> walk = Walk(order, unknown, wanted=2, places=np.arange(5.0), gap=2.0)
    >>> while len(rows := walk.batch(1)):
    ...     walk.learn(rows, truth[rows])
    >>> walk.found.tolist(), walk.complete, int((walk.known >= 0).sum())
    ([1, 4], True, 3)
    """

    def __init__(
        self,
        order: npt.NDArray[np.int64],
        known: npt.NDArray[np.int8],
        wanted: int,
        places: npt.NDArray[np.float64] | None = None,
        gap: float = 0.0,
    ) -> None:
        if wanted < 0:
            raise ValueError(f"wanted must be at least 0, got {wanted}")
        if places is not None and not gap > 0.0:
            raise ValueError(f"gap must be above 0, got {gap}")
        self.known, self._wanted = known.copy(), wanted
        self._places, self._gap = places, gap
        self._alive: npt.NDArray[np.bool_] = self.known != 0
        if places is not None:
            self._alive &= np.isfinite(places)
            self._by_place = np.argsort(places, kind="stable")
            self._sorted = places[self._by_place]
        self._taken: list[int] = []
        self.reorder(order)

    @property
    def found(self) -> npt.NDArray[np.int64]:
        """Rows taken so far, in the order in which they were."""
        return np.array(self._taken, dtype=np.int64)

    @property
    def complete(self) -> bool:
        """Whether enough rows were taken."""
        return len(self._taken) >= self._wanted

    @property
    def exhausted(self) -> bool:
        """Whether no row is left that could be taken."""
        return not self._alive.any()

    def reorder(self, order: npt.NDArray[np.int64]) -> None:
        """Go on in another order; what was taken stays."""
        self._order, self._at = np.asarray(order, dtype=np.int64), 0
        self._advance()

    def batch(self, size: int) -> npt.NDArray[np.int64]:
        """Return the rows to label next: unknown ones among the next `size` that can be taken.

        With `places` these rows lie apart from each other as well, so that none of them can make
        the label of another useless. Empty where enough rows were taken, or none is left.
        """
        if self.complete:
            return np.empty(0, dtype=np.int64)
        alive, at, rows = self._alive, self._at, []
        if self._places is None:
            ahead = self._order[at:]
            rows_ahead = ahead[alive[ahead]][:size]
            return rows_ahead[self.known[rows_ahead] < 0]
        alive = alive.copy()
        for _ in range(size):
            at = self._next(alive, at)
            if at == len(self._order):
                break
            rows.append(int(self._order[at]))
            self._block(alive, rows[-1])
        chosen = np.array(rows, dtype=np.int64)
        return chosen[self.known[chosen] < 0]

    def learn(self, rows: npt.NDArray[np.int64], truth: npt.NDArray[np.bool_]) -> None:
        """Take the labels of some rows."""
        self.known[rows] = truth
        self._alive[rows[~truth]] = False
        self._advance()

    def _advance(self) -> None:
        """Take the known positives that stand before the first open row."""
        while not self.complete:
            at = self._next(self._alive, self._at)
            self._at = at
            if at == len(self._order) or self.known[self._order[at]] < 0:
                return
            self._taken.append(int(self._order[at]))
            self._block(self._alive, self._taken[-1])

    def _next(self, alive: npt.NDArray[np.bool_], at: int) -> int:
        """Return the position of the first row from `at` on that is alive."""
        size = _WINDOW
        while at < len(self._order):
            hits = np.flatnonzero(alive[self._order[at : at + size]])
            if len(hits):
                return at + int(hits[0])
            at, size = at + size, 2 * size
        return len(self._order)

    def _block(self, alive: npt.NDArray[np.bool_], row: int) -> None:
        """Leave out a row, and all that lie too near to it."""
        alive[row] = False
        if self._places is None:
            return
        place = self._places[row]
        # One step of floating point wider, then exactly: the bounds are rounded, too.
        low = np.nextafter(place - self._gap, -np.inf)
        high = np.nextafter(place + self._gap, np.inf)
        first = int(np.searchsorted(self._sorted, low, side="left"))
        last = int(np.searchsorted(self._sorted, high, side="right"))
        near = self._by_place[first:last]
        alive[near[np.abs(self._places[near] - place) < self._gap]] = False
