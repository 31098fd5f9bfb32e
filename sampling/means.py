"""Limits of a mean of bounded values from a uniform sample without replacement, by betting."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["mean_limits"]

Floats = npt.NDArray[np.float64]

_STAKE = 0.75  # share of a fortune that may be lost at once
_ROUNDING = 1e-9  # more than the logarithm of a fortune can be off
_STEPS = 60


def mean_limits(
    values: npt.NDArray[np.floating], n_rows: int, low: float, high: float, delta: float
) -> tuple[float, float]:
    """Return limits of the mean of `n_rows` values of which a random sample is known.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        A uniform sample without replacement, in random order.
    n_rows : int
        Values in the population, at least n and at least 1.
    low, high : float
        Range that holds every value of the population for certain.
    delta : float
        Failure probability in (0, 1) of both limits together.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If a value is outside the range or missing, or if there are more values than rows.

    Notes
    -----
    Finite-sample for every population (theorem U4 in the guarantees of audits): bets against each
    mean, without replacement, after Waudby-Smith and Ramdas (2024, section 5). The width adapts to
    the spread of the values.

    Examples
    --------
    >>> sample = np.tile([0.4, 0.6], 200)
    >>> [round(limit, 3) for limit in mean_limits(sample, 10_000, 0.0, 1.0, 0.05)]
    [0.487, 0.513]
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) > n_rows:
        raise ValueError(f"there are {len(sample)} values of {n_rows} rows")
    if not low < high:
        raise ValueError(f"the range must have a width above 0, got [{low}, {high}]")
    if not ((sample >= low) & (sample <= high)).all():
        raise ValueError(f"every value must be within [{low}, {high}]")
    if len(sample) == n_rows:
        mean = math.fsum(sample.tolist()) / n_rows
        return mean, mean
    unit = np.clip((sample - low) / (high - low), 0.0, 1.0)
    bets = _bets(unit, n_rows, delta)
    least = _least(unit, bets, n_rows, math.log(2 / delta))
    most = 1 - _least(1 - unit, bets, n_rows, math.log(2 / delta))
    return low + (high - low) * least, low + (high - low) * most


def _bets(unit: Floats, n_rows: int, delta: float) -> Floats:
    """Return stakes that depend on the values before, and on the sizes, alone."""
    n = len(unit)
    count = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(unit)) / (count + 1)
    squares = np.cumsum((unit - mean) ** 2)
    variance = np.append(0.25, (0.25 + squares[:-1]) / count[1:]) if n else np.zeros(0)
    left = 1 - n / n_rows / 2  # the spread of what is left shrinks as rows are drawn
    return np.sqrt(2 * math.log(2 / delta) / (n * left * np.maximum(variance, 1e-12)))


def _least(unit: Floats, bets: Floats, n_rows: int, needed: float) -> float:
    """Return the largest mean found that a gambler on larger values has refuted."""
    before = np.cumsum(unit) - unit
    left = n_rows - np.arange(len(unit))

    def refuted(mean: float) -> bool:
        expected = (n_rows * mean - before) / left  # of the next value, if this is the mean
        stake = np.minimum(bets, _STAKE / np.maximum(expected, 1e-300))
        fortune = np.cumsum(np.log1p(stake * (unit - expected)))
        return bool(fortune.max(initial=0.0) >= needed + _ROUNDING)

    low = math.fsum(unit.tolist()) / n_rows  # the rest may all be 0
    high = low + 1 - len(unit) / n_rows
    if not refuted(low):
        return low * (1 - 1e-12)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
