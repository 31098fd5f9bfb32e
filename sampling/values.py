"""Where the values of aggregates come from, and the record of what is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from thresher.sampling.labels import Unanswered
from thresher.sampling.measures import ValueStep

__all__ = ["CountedValues", "ValueLedger", "ValueSource"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class ValueSource(Protocol):
    """Sells the values with which rows count, up to a budget."""

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain; it never promises too much."""

    def __call__(self, rows: Integers) -> Floats:
        """Label distinct rows, at most `remaining` of them; shape (k, n_columns).

        An entry is the value with which the row counts in the column (1 for a count of rows), NaN
        where it does not count.
        """


class CountedValues:
    """A value source over a plain function, which counts every row asked for.

    Parameters
    ----------
    oracle : callable
        Maps row positions, int64 of shape (k,), to values of shape (k,) or (k, n_columns).
    budget : int
        Rows that may be labelled, at least 0.

    Attributes
    ----------
    spent : int
        Rows labelled so far.

    Examples
    --------
    >>> price = np.array([3.0, np.nan, 5.0])
    >>> source = CountedValues(lambda rows: price[rows], budget=2)
    >>> source(np.array([2, 1])).tolist(), source.remaining
    ([[5.0], [nan]], 0)
    """

    def __init__(self, oracle: Callable[[Integers], npt.ArrayLike], budget: int) -> None:
        if budget < 0:
            raise ValueError(f"budget must be at least 0, got {budget}")
        self._oracle, self._budget = oracle, int(budget)
        self.spent = 0

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled."""
        return self._budget - self.spent

    def __call__(self, rows: Integers) -> Floats:
        """Label `rows` and return their values, float64 of shape (k, n_columns).

        Raises
        ------
        ValueError
            If more rows are asked for than remain.
        """
        if len(rows) > self.remaining:
            raise ValueError(f"asked for {len(rows)} labels, {self.remaining} remain")
        self.spent += len(rows)
        values = np.asarray(self._oracle(rows), dtype=np.float64)
        return values[:, None] if values.ndim == 1 else values


class ValueLedger:
    """What is known of every row, and the labels that were bought.

    Parameters
    ----------
    source : ValueSource
        Sells the values.
    low, high : ndarray of float64, shape (n_columns, n)
        Bounds of the value of a row if it counts; NaN where it never does.
    known : (ndarray of bool (n,), ndarray of float64 (n, n_columns)), optional
        Which rows are known beforehand, and their values.
    unanswered : callable, optional
        Rows asked by now without an answer, beforehand or since: their values are NaN.
    """

    def __init__(
        self,
        source: ValueSource,
        low: Floats,
        high: Floats,
        known: tuple[npt.NDArray[np.bool_], Floats] | None,
        unanswered: Unanswered | None = None,
    ) -> None:
        n_columns, n_rows = low.shape
        self._source, self.low, self.high = source, low, high
        self._unanswered = unanswered
        self.n_rows, self.n_columns = n_rows, n_columns
        self.values = np.full((n_columns, n_rows), np.nan)
        self.known: npt.NDArray[np.bool_] = np.asarray(np.isnan(low).all(axis=0))
        self.steps: list[ValueStep] = []
        if known is not None:
            mask, values = np.asarray(known[0]), np.asarray(known[1], dtype=np.float64)
            if mask.shape != (n_rows,) or values.shape != (n_rows, n_columns):
                raise ValueError(
                    f"known must have shapes ({n_rows},) and ({n_rows}, {n_columns}), "
                    f"got {mask.shape} and {values.shape}"
                )
            mask = mask.astype(np.bool_)
            self._check(np.flatnonzero(mask), values[mask])
            self.values[:, mask] = values[mask].T
            self.known |= mask

    @property
    def may_fail(self) -> bool:
        """Whether rows may have no answer."""
        return self._unanswered is not None

    def failed(self, column: int) -> Integers:
        """Return the rows without an answer that may count in a column, ascending."""
        if self._unanswered is None:
            return np.zeros(0, dtype=np.int64)
        rows = np.sort(self._unanswered())
        return np.asarray(rows[~np.isnan(self.low[column, rows])], dtype=np.int64)

    @property
    def n_unknown(self) -> int:
        """Rows that are not known."""
        return int(self.n_rows - np.count_nonzero(self.known))

    @property
    def remaining(self) -> int:
        """Unknown rows that can be labelled now."""
        return max(0, min(self._source.remaining, self.n_unknown))

    @property
    def affords_all(self) -> bool:
        """Whether every unknown row can be labelled."""
        return self._source.remaining >= self.n_unknown

    def unknown(self) -> Integers:
        """Return the rows that are not known, ascending."""
        return np.flatnonzero(~self.known)

    def buy(self, rows: Integers, stage: str) -> Floats:
        """Label distinct unknown rows and return their values, shape (k, n_columns)."""
        if not len(rows):
            return np.zeros((0, self.n_columns))
        values = np.asarray(self._source(rows), dtype=np.float64)
        if values.shape != (len(rows), self.n_columns):
            raise ValueError(
                f"values of shape ({len(rows)}, {self.n_columns}) were asked for, "
                f"an array of shape {values.shape} came back"
            )
        self._check(rows, values)
        self.values[:, rows] = values.T
        self.known[rows] = True
        self.steps.append(ValueStep(stage, rows, values))
        return values

    def _check(self, rows: Integers, values: Floats) -> None:
        """Refuse a value outside its bounds: the bets rely on them."""
        counted = ~np.isnan(values)
        low, high = self.low[:, rows].T, self.high[:, rows].T
        wrong = counted & ~((values >= low) & (values <= high))
        if wrong.any():
            k, column = (int(i[0]) for i in np.nonzero(wrong))
            if np.isnan(low[k, column]):
                raise ValueError(f"row {rows[k]} counts in column {column}, but has no bounds")
            raise ValueError(
                f"row {rows[k]} has {values[k, column]} in column {column}, outside its range "
                f"[{low[k, column]}, {high[k, column]}]"
            )
