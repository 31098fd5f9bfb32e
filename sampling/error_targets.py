"""Error targets: whether an interval keeps one, and the estimate that does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.measures import ErrorTarget

__all__ = ["missing", "settle", "whole_ends"]

Floats = npt.NDArray[np.float64]
_WHOLE = 1e-6  # a limit of a count may miss a whole number by rounding


def missing(
    error: ErrorTarget, estimate: float, low: float, high: float, *, whole: bool = False
) -> float:
    """Return 0 if an interval keeps the target, else the half width that it should have.

    Parameters
    ----------
    error : ErrorTarget
    estimate, low, high : float
        An estimate and its limits.
    whole : bool
        Whether the measure is a whole number: then so must be the estimate that keeps the target.

    Examples
    --------
    >>> share = ErrorTarget(0.03, relative=True)
    >>> missing(share, 90.0, 88.0, 93.0), missing(share, 90.0, 88.0, 93.0, whole=True) > 0
    (0.0, True)
    """
    if whole:
        low, high = (float(end) for end in whole_ends(low, high))
    if not high > low:  # also where the measure is not defined
        return 0.0
    least, most = _keeping(error, low, high, whole=whole)
    if least <= most:
        return 0.0
    return error.value * max(abs(estimate), 1e-300) if error.relative else error.value


def settle(
    error: ErrorTarget, estimate: Floats, low: Floats, high: Floats, *, whole: bool
) -> Floats:
    """Move estimates to where they keep the target for every value of the interval, if they can.

    Parameters
    ----------
    error : ErrorTarget
    estimate, low, high : ndarray of float64, shape (n_groups,)
        Estimates and their limits.
    whole : bool
        Whether the measure is a whole number, as `whole_ends` leaves it.

    Returns
    -------
    ndarray of float64, shape (n_groups,)

    Examples
    --------
    >>> ends = np.array([88.0]), np.array([93.0])
    >>> settle(ErrorTarget(3.0, relative=False), np.array([88.0]), *ends, whole=True).tolist()
    [90.0]
    """
    least, most = _keeping(error, low, high, whole=whole)
    moved = np.minimum(np.maximum(estimate, least), most)
    return np.where(least <= most, moved, estimate)


def whole_ends(low: npt.ArrayLike, high: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the first and the last whole number of each interval."""
    first = np.ceil(np.asarray(low) - _WHOLE) + 0.0  # no -0
    last = np.floor(np.asarray(high) + _WHOLE)
    # An interval without one has lost the truth; a wider one holds as well.
    return np.asarray(np.minimum(first, last)), np.asarray(np.maximum(first, last))


def _keeping(
    error: ErrorTarget, low: npt.ArrayLike, high: npt.ArrayLike, *, whole: bool
) -> tuple[Floats, Floats]:
    """Return the least and the largest estimate that keep the target for every value between."""
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    least, most = high - error.value, low + error.value
    if error.relative:
        shrink, grow = 1 - error.value, 1 + error.value
        least = np.where(high > 0, shrink * high, grow * high)
        most = np.where(low > 0, grow * low, shrink * low)
    return (np.ceil(least), np.floor(most)) if whole else (least, most)
