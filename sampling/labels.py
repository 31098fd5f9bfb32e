"""Where labels come from: the protocol of a label source, how one stops, and one with a budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["CountedLabels", "LabelSource", "OutOfLabelsError", "Unanswered"]


Unanswered = Callable[[], npt.NDArray[np.int64]]
"""Says which rows were asked by now and have no answer: distinct positions. A label source gives
False for them, and it may not answer for a row that it has named once."""


class OutOfLabelsError(Exception):
    """Raised by a label source that stops: at a deadline, or when it is interrupted.

    Parameters
    ----------
    answers : array_like of bool, shape (k,)
        Answers for the first k of the rows that were asked for, so that none is lost.

    Notes
    -----
    A selection with ``interruptible=True`` keeps the answers, asks for no more and returns what is
    proved so far. Otherwise the exception passes through.
    """

    def __init__(self, answers: npt.ArrayLike = ()) -> None:
        self.answers = np.asarray(answers, dtype=np.bool_)
        super().__init__(f"the label source stopped; it answered {self.answers.size} more rows")


class LabelSource(Protocol):
    """Sells labels of rows, up to a budget."""

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain; it never promises too much.

        It may fall by less than the rows asked for, where equal inputs are labelled once. In an
        interruptible selection it may fall to 0 at any time.
        """

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Label distinct, unlabelled rows, at most `remaining` of them, in the order given.

        Raises
        ------
        OutOfLabelsError
            If the source stops; with the answers of the rows labelled before it did.
        """


class CountedLabels:
    """A label source over a plain function, which counts every row asked for.

    Parameters
    ----------
    oracle : callable
        Maps row positions, int64 of shape (k,), to truth values of shape (k,).
    budget : int
        Rows that may be labelled, at least 0.

    Attributes
    ----------
    spent : int
        Rows labelled so far.

    Examples
    --------
    >>> truth = np.array([True, False, True])
    >>> labels = CountedLabels(lambda rows: truth[rows], budget=2)
    >>> labels(np.array([2, 1])).tolist(), labels.remaining
    ([True, False], 0)
    """

    def __init__(
        self, oracle: Callable[[npt.NDArray[np.int64]], npt.ArrayLike], budget: int
    ) -> None:
        if budget < 0:
            raise ValueError(f"budget must be at least 0, got {budget}")
        self._oracle, self._budget = oracle, int(budget)
        self.spent = 0

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled."""
        return self._budget - self.spent

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Label `rows` and return their truth values, bool of shape (k,).

        Raises
        ------
        ValueError
            If more rows are asked for than remain, or if an answer is neither a truth value nor
            an integer: a missing answer is never read as false.
        """
        if len(rows) > self.remaining:
            raise ValueError(f"asked for {len(rows)} labels, {self.remaining} remain")
        self.spent += len(rows)
        answers = np.asarray(self._oracle(rows))
        if answers.dtype.kind not in "biu":
            raise ValueError(f"labels must be truth values, got an array of {answers.dtype}")
        return answers.astype(np.bool_)
