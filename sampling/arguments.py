"""Checks of what every procedure takes: what is known, and the generator."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["check_known", "check_rng"]

_NO_GENERATORS = (int, float, str, np.integer, np.random.SeedSequence, np.random.RandomState)


def check_known(known: npt.ArrayLike, n_rows: int) -> npt.NDArray[np.integer]:
    """Return labels known before as an array, or raise ValueError.

    Parameters
    ----------
    known : array_like of int, shape (n_rows,)
        1 positive, 0 negative, -1 unknown.
    n_rows : int
        Rows of the population.

    Raises
    ------
    ValueError
        If the shape, the type or a value is another: a mask or a class is never read as a label.

    Examples
    --------
    >>> check_known([1, -1, 7], 3)
    Traceback (most recent call last):
    ValueError: known must hold 1, 0 and -1 (unknown) only, got 7 at row 2
    """
    array = np.asarray(known)
    if array.shape != (n_rows,):
        raise ValueError(f"known must have shape ({n_rows},), got {array.shape}")
    if array.dtype.kind != "i" and n_rows:
        raise ValueError(
            f"known must be an integer array with 1, 0 and -1 (unknown), got {array.dtype}. "
            "Write np.where(is_known, is_positive, -1)."
        )
    if n_rows and (array.min() < -1 or array.max() > 1):
        row = int(np.argmax((array < -1) | (array > 1)))
        raise ValueError(
            f"known must hold 1, 0 and -1 (unknown) only, got {array[row]} at row {row}"
        )
    return array


def check_rng(rng: object) -> None:
    """Raise ValueError for what is often taken for a generator: a seed, or numpy's old generator.

    Examples
    --------
    >>> check_rng(0)
    Traceback (most recent call last):
    ValueError: rng must be a numpy.random.Generator, got 0. Write np.random.default_rng(0).
    """
    if rng is None or isinstance(rng, _NO_GENERATORS):
        seed = rng if isinstance(rng, int | np.integer) else "seed"
        raise ValueError(
            f"rng must be a numpy.random.Generator, got {rng!r}. "
            f"Write np.random.default_rng({seed})."
        )
