"""Quick forecasts of the exact tests, for planning only. No guarantee rests on them.

The hypergeometric distribution is replaced by Wise's binomial one (Biometrika 41, 1954, 317-329),
whose distribution function is an incomplete beta function.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv, ndtri

from thresher.sampling.bounds import SPLIT

__all__ = [
    "DEVIATES",
    "WEIGHTS",
    "forecast_fixed_cut",
    "forecast_found",
    "forecast_least_sample",
    "forecast_ratio_cut",
    "forecast_upper",
    "order_statistic",
]

Floats = npt.NDArray[np.float64]

# Seven points of a normal variate and their weights: the spread of a count before it is seen.
DEVIATES = np.array([-1.6, -1.0, -0.5, 0.0, 0.5, 1.0, 1.6])
WEIGHTS = np.array([0.08, 0.17, 0.17, 0.16, 0.17, 0.17, 0.08])
# Whole counts as far as they matter, then ever coarser ones.
_COUNTS = np.concatenate([np.arange(100.0), np.geomspace(100, 1e9, 1000)])
# Normal deviates of the quantiles .1, .3, .5, .7, .9.
_ORDER = np.array([-1.2816, -0.5244, 0.0, 0.5244, 1.2816])


def order_statistic(cut: Floats, positives: npt.ArrayLike, found: Floats) -> Floats:
    """Return five quantiles of how many positives lie below the cut: shape (..., 5)."""
    shape = np.maximum(cut, 0.0)[..., None] + 1
    # Wilson and Hilferty's cube for the gamma variate that counts positives up to the cut.
    gamma = shape * np.maximum(1 - 1 / (9 * shape) + _ORDER / (3 * np.sqrt(shape)), 0.0) ** 3
    spacing = (np.asarray(positives, dtype=np.float64) + 1) / (found + 1)
    return np.asarray(gamma * spacing[..., None])


def forecast_upper(rows: Floats, sample: Floats, found: Floats, level: float) -> Floats:
    """Approximate `marked_upper`; the arguments broadcast."""
    few = np.maximum(sample - found, 1e-9)
    rate = betaincinv(found + 1, few, 1 - level)
    upper = (rate * (2 * rows - sample + 1) + found) / 2
    return np.asarray(np.clip(upper, found, np.maximum(rows - sample + found, found)))


def forecast_ratio_cut(
    rows: Floats, sample: Floats, found: Floats, known: Floats, wrong: float, level: float
) -> Floats:
    """Approximate `ratio_cut`; the arguments broadcast."""
    rows, sample, found, known = np.broadcast_arrays(rows, sample, found, known)
    upper = forecast_upper(rows, sample, found, SPLIT * level)
    missed = np.floor(wrong * (known + upper))
    low, high = np.full(found.shape, -1.0), np.array(found, dtype=np.float64)
    for _ in range(int(np.ceil(np.log2(found.max(initial=1.0) + 2)))):
        cut = np.floor((low + high) / 2)
        rate = (found - cut / 2) / np.maximum(upper - (cut + missed) / 2, 1e-9)
        chance = betainc(missed + 1, np.maximum(cut, 0) + 1, np.clip(1 - rate, 0, 1))
        safe = (chance <= (1 - SPLIT) * level) | (cut <= low)
        low, high = np.where(safe, np.maximum(cut, low), low), np.where(safe, high, cut)
    return np.where(upper - found <= missed, found, np.where(found > 0, low, -1.0))


def forecast_fixed_cut(
    rows: Floats, sample: Floats, known: Floats, wrong: float, level: float
) -> Floats:
    """Approximate `fixed_cut`; the arguments broadcast."""
    rows, sample, known = np.broadcast_arrays(rows, sample, known)
    low, high = np.full(rows.shape, -1.0), np.maximum(sample, 1.0)
    for _ in range(int(np.ceil(np.log2(high.max(initial=1.0) + 2)))):
        cut = np.floor((low + high) / 2)
        first = np.floor((wrong * known + np.maximum(cut, 0)) / (1 - wrong)) + 1
        rate = (sample - cut / 2) / np.maximum(rows - (first - 1) / 2, 1e-9)
        beyond = np.maximum(first - cut, 1)
        chance = betainc(beyond, np.maximum(cut, 0) + 1, np.clip(1 - rate, 0, 1))
        safe = (chance <= level) | (first > rows) | (cut <= low)
        low, high = np.where(safe, np.maximum(cut, low), low), np.where(safe, high, cut)
    return np.asarray(low)


def forecast_least_sample(
    rows: Floats, cut: Floats, known: Floats, wrong: float, level: float
) -> Floats:
    """Approximate the least sample for which `fixed_cut` allows `cut`; the arguments broadcast."""
    first = np.floor((wrong * known + cut) / (1 - wrong)) + 1
    rate = 1 - betaincinv(np.maximum(first - cut, 1), cut + 1, level)
    sample = np.ceil(rate * np.maximum(rows - (first - 1) / 2, 0.0) + cut / 2)
    return np.where(first > rows, 0.0, np.minimum(sample, rows))


@lru_cache(maxsize=64)
def _poisson_limits(level: float) -> Floats:
    """Upper Poisson limits of the counts in `_COUNTS`, by Wilson and Hilferty's cube."""
    shape = _COUNTS + 1
    root = 1 - 1 / (9 * shape) + ndtri(1 - level) / (3 * np.sqrt(shape))
    return np.asarray(shape * np.maximum(root, 0.0) ** 3)


def forecast_found(limit: Floats, level: float) -> Floats:
    """Return the largest count whose upper Poisson limit is within `limit`; -1 where none is."""
    place = np.searchsorted(_poisson_limits(level), limit, side="right") - 1
    return np.where(place >= 0, _COUNTS[np.maximum(place, 0)], -1.0)
