"""Where proxy and oracle disagree: class codes sold as truth values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.labelling import ClassSource, OutOfClassesError
from thresher.sampling.labels import OutOfLabelsError

__all__ = ["Codes", "Disagreements", "whole_numbers"]

Codes = npt.NDArray[np.int64]


class Disagreements:
    """A label source of truth values: whether the oracle's code differs from the proxy's.

    Parameters
    ----------
    predictions : ndarray of int64, shape (n_rows,)
        The proxy's class codes.
    facts : ndarray of int64, shape (n_rows,)
        The oracle's codes known before, negative where unknown.
    source : ClassSource
        Sells the oracle's codes.
    interruptible : bool
        Whether what a source gave before it stopped is kept.

    Attributes
    ----------
    codes : ndarray of int64, shape (n_rows,)
        The oracle's code where it is known, else the proxy's.
    known : ndarray of bool, shape (n_rows,)
        Whether it is the oracle's.
    """

    def __init__(
        self, predictions: Codes, facts: Codes, source: ClassSource, *, interruptible: bool
    ) -> None:
        self._predictions, self._source, self._interruptible = predictions, source, interruptible
        self.known = facts >= 0
        self.codes = np.where(self.known, facts, predictions)

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain."""
        return self._source.remaining

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Ask for the codes of rows, keep them, and return where they differ."""
        try:
            answers = np.asarray(self._source(rows))
        except (OutOfClassesError, OutOfLabelsError) as stop:
            if not self._interruptible:
                raise
            codes = stop.codes if isinstance(stop, OutOfClassesError) else stop.answers
            raise OutOfLabelsError(self._keep(rows[: len(codes)], codes)) from stop
        return self._keep(rows, answers)

    def _keep(
        self, rows: npt.NDArray[np.int64], answers: npt.NDArray[np.generic]
    ) -> npt.NDArray[np.bool_]:
        if answers.shape != rows.shape or answers.dtype.kind not in "biu":
            raise ValueError(
                f"{len(rows)} class codes were asked for, an array of {answers.dtype} "
                f"of shape {answers.shape} came back"
            )
        self.codes[rows], self.known[rows] = answers.astype(np.int64), True
        return np.asarray(self.codes[rows] != self._predictions[rows])


def whole_numbers(name: str, values: npt.ArrayLike) -> Codes:
    """Return class codes as int64.

    Raises
    ------
    ValueError
        If they are not whole numbers in one dimension.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise ValueError(
            f"{name} must be an integer array of one dimension, got {array.dtype} "
            f"of shape {array.shape}"
        )
    return array.astype(np.int64)
