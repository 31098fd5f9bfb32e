"""What a labelling returns: a class code for every row, and what is certified of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from thresher.sampling.selection import Grade

__all__ = [
    "CascadeTest",
    "ClassSource",
    "ClassStep",
    "CountedClasses",
    "Labelling",
    "OutOfClassesError",
]


class OutOfClassesError(Exception):
    """Raised by a source of class codes that stops: at a deadline, or when it is interrupted.

    Parameters
    ----------
    codes : array_like of int, shape (k,)
        Class codes of the first k of the rows that were asked for, so that none is lost.

    Notes
    -----
    A labelling with ``interruptible=True`` keeps the codes, asks for no more and returns what is
    proved so far. Otherwise the exception passes through. Where the classes are false and true,
    `OutOfLabelsError` serves as well.
    """

    def __init__(self, codes: npt.ArrayLike = ()) -> None:
        given = np.asarray(codes)
        self.codes = given if given.size else np.zeros(0, dtype=np.int64)
        super().__init__(f"the source of classes stopped; it gave {self.codes.size} more codes")


class ClassSource(Protocol):
    """Sells the oracle's class codes of rows, up to a budget."""

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain; it never promises too much.

        In an interruptible labelling it may fall to 0 at any time.
        """

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Label distinct, unlabelled rows, at most `remaining` of them, in the order given.

        Raises
        ------
        OutOfClassesError
            If the source stops; with the codes of the rows labelled before it did.
        """


class CountedClasses:
    """A source of class codes over a plain function, which counts every row asked for.

    Parameters
    ----------
    oracle : callable
        Maps row positions, int64 of shape (k,), to class codes of shape (k,).
    budget : int
        Rows that may be labelled, at least 0.

    Attributes
    ----------
    spent : int
        Rows labelled so far.

    Examples
    --------
    >>> codes = np.array([3, 0, 7])
    >>> labels = CountedClasses(lambda rows: codes[rows], budget=2)
    >>> labels(np.array([2, 1])).tolist(), labels.remaining
    ([7, 0], 0)
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

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Label `rows` and return their class codes, int64 of shape (k,).

        Raises
        ------
        ValueError
            If more rows are asked for than remain, or if an answer is no whole number: a missing
            answer is never read as a class.
        """
        if len(rows) > self.remaining:
            raise ValueError(f"asked for {len(rows)} labels, {self.remaining} remain")
        self.spent += len(rows)
        answers = np.asarray(self._oracle(rows))
        if answers.dtype.kind not in "biu":
            raise ValueError(f"class codes must be integers, got an array of {answers.dtype}")
        return answers.astype(np.int64)


@dataclass(frozen=True, slots=True)
class ClassStep:
    """Labels bought at once.

    Parameters
    ----------
    stage : {"probe", "pilot", "sample", "tail"}
        Why. The rows of ``probe`` and those of ``sample`` are each one uniform sample of the rows
        unlabelled before it. Where labels may stop they are bought in parts, ``probe 1``,
        ``probe 2``, ... and ``look 1``, ``look 2``, ...
    rows : ndarray of int64, shape (k,)
        Positions in the arrays that were given.
    answers : ndarray of int64, shape (k,)
        The oracle's class codes.
    """

    stage: str
    rows: npt.NDArray[np.int64]
    answers: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CascadeTest:
    """One exact test of a labelling, with all its integers.

    Parameters
    ----------
    kind : {"cut", "limit"}
        The cut of theorem D1, or the limit of theorem D2.
    stages : tuple of str
        The stages whose rows are the sample.
    n_rows, n_sample : int
        Rows sampled from, and the size of the uniform sample without replacement.
    n_found : int
        Sampled rows on which proxy and oracle disagree.
    n_allowed : int
        Disagreements that the target leaves among all rows.
    cut : int
        ``cut``: sampled disagreements that may lie below the cut, -1 for none safe. It is the
        largest c with ``P(Hypergeometric(n_rows, c + n_allowed + 1, n_sample) <= c) <= level``.
        ``limit``: the bound on the disagreements that the sample left unlabelled.
    bound : int
        ``limit``: upper limit of the disagreements among `n_rows`; -1 for ``cut``.
    target, level : float
        Accuracy target, and the failure probability of this test.
    """

    kind: Literal["cut", "limit"]
    stages: tuple[str, ...]
    n_rows: int
    n_sample: int
    n_found: int
    n_allowed: int
    cut: int
    bound: int
    target: float
    level: float


@dataclass(frozen=True, slots=True)
class Labelling:
    """A class code for every row.

    Parameters
    ----------
    labels : ndarray of int64, shape (n_rows,)
        The oracle's code where it is known, else the proxy's.
    from_oracle : ndarray of bool, shape (n_rows,)
        Whether the code is the oracle's, bought now or known before.
    steps : tuple of ClassStep
        Every label bought, in order; labels known before are not among them.
    met : bool
        Whether the target is certified.
    accuracy_bound : float
        Lower confidence limit of the accuracy at 1 - delta, whether the target is met or not.
    accuracy_estimate : float
        Point estimate, not guaranteed; nan where no sample was drawn and rows are unlabelled.
    algorithm : str
        What was done.
    tests : tuple of CascadeTest
        The exact tests that the guarantee rests on.
    grade : Grade
        What the promise rests on.
    """

    labels: npt.NDArray[np.int64]
    from_oracle: npt.NDArray[np.bool_]
    steps: tuple[ClassStep, ...]
    met: bool
    accuracy_bound: float
    accuracy_estimate: float
    algorithm: str
    tests: tuple[CascadeTest, ...]
    grade: Grade = "distribution-free"
