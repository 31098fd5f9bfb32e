"""Forecasts of which rows count, and with what value. No guarantee rests on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from thresher.sampling.measures import Column
from thresher.sampling.ranking import blocks
from thresher.sampling.strata import forecast

__all__ = ["Forecast", "doubted", "first_forecast", "refit"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_CLIP = 1e-6
_TOGETHER = 1 << 14  # rows worked on at once: what they need stays in the cache
_RIDGE = np.array([0.4, 2.0])  # pull of the fitted intercept to 0 and of the slope to 1
_SURE = 50.0  # labels that the scores count for, when a chance near 0 or 1 is doubted
_FEW = 6.0  # labels that the forecast of a mean and of a residual counts for


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """A guess at the values of one column.

    Parameters
    ----------
    chance : ndarray of float64, shape (n,)
        Probability that a row counts; 0 where it cannot.
    mean : ndarray of float64, shape (n,)
        Value if it does, within its bounds; 0 where it cannot count.
    variance : float
        Of the value about `mean`; 0 for a plain argument.
    """

    chance: Floats
    mean: Floats
    variance: float


def first_forecast(
    scores: npt.NDArray[np.floating], low: Floats, high: Floats, column: Column
) -> Forecast:
    """Return the forecast before any label.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Proxy's chance that a row counts.
    low, high : ndarray of float64, shape (n,)
        Bounds of the column's values.
    column : Column
        Its prediction is used where it has one.

    Returns
    -------
    Forecast
    """
    chance, mean = forecast(scores), np.empty(len(low))
    given = None if column.prediction is None else np.asarray(column.prediction, dtype=np.float64)
    square, n_possible = 0.0, 0
    for part in blocks(len(low), _TOGETHER):
        least, most = low[part], high[part]
        possible = ~np.isnan(least)
        bounded = np.isfinite(least) & np.isfinite(most)
        first, last = np.where(bounded, least, 0), np.where(bounded, most, 0)
        middle = 0.5 * (first + last)
        if given is not None:
            middle = np.where(possible & ~np.isnan(given[part]), given[part], middle)
        mean[part] = _within(middle, least, most)
        chance[part] = np.where(possible, np.clip(chance[part], _CLIP, 1 - _CLIP), 0.0)
        square += float(((last - first) ** 2).sum())
        n_possible += int(np.count_nonzero(possible))
    spread = math.sqrt(square / n_possible) / 4 if n_possible else 0.0
    return Forecast(chance, mean, spread**2)


def doubted(forecast: Forecast, n_labels: int) -> Forecast:
    """Return a forecast whose chances are drawn to their mean, the less the more labels it has.

    Draws and bets that trust a chance of 0 or 1 are lost on the first row that belies it.

    Parameters
    ----------
    forecast : Forecast
        As it is.
    n_labels : int
        Labels that it was fitted to.

    Returns
    -------
    Forecast

    Examples
    --------
    >>> sure = Forecast(np.array([0.999, 0.001, 0.999, 0.999]), np.ones(4), 0.0)
    >>> doubted(sure, 50).chance.round(4).tolist()
    [0.9965, 0.0085, 0.9965, 0.9965]
    """
    given = forecast.chance
    n_inside = int(np.count_nonzero(given > 0))
    if not n_inside:
        return forecast
    weight = 1 / (_SURE + n_labels)
    mean = float(np.clip(given.sum() / n_inside, weight, 1 - weight))  # the others are 0
    chance = np.empty(len(given))
    for part in blocks(len(given), _TOGETHER):
        mine = given[part]
        chance[part] = np.where(mine > 0, mine + weight * (mean - mine), 0.0)
    return replace(forecast, chance=chance)


def _within(value: Floats, low: Floats, high: Floats) -> Floats:
    """Bring values within their bounds; 0 where there are none."""
    out = np.fmin(np.fmax(value, low), high)
    return np.where(np.isnan(low), 0.0, out)


def refit(
    first: Forecast, low: Floats, high: Floats, rows: Integers, values: Floats, weights: Floats
) -> Forecast:
    """Return the forecast after some labels.

    Parameters
    ----------
    first : Forecast
        Before them.
    low, high : ndarray of float64, shape (n,)
        Bounds of the column's values.
    rows : ndarray of int64, shape (k,)
        Labelled rows.
    values : ndarray of float64, shape (k,)
        Their values, NaN where they do not count.
    weights : ndarray of float64, shape (k,)
        How many rows each stands for.

    Returns
    -------
    Forecast
    """
    usable = first.chance[rows] > 0
    rows, values, weights = rows[usable], values[usable], weights[usable]
    if not len(rows):
        return first
    weights = weights * (len(weights) / weights.sum())
    counted = ~np.isnan(values)
    shift, slope = _logistic(logit(first.chance[rows]), counted.astype(np.float64), weights)
    chance = np.empty(len(first.chance))
    for part in blocks(len(chance), _TOGETHER):
        given = first.chance[part]
        inside = given > 0
        fitted = expit(shift + slope * logit(np.where(inside, given, 0.5)))
        chance[part] = np.where(inside, np.clip(fitted, _CLIP, 1 - _CLIP), 0.0)
    mean, variance = first.mean, first.variance
    if variance > 0 and counted.any():
        x, y, w = mean[rows[counted]], values[counted], weights[counted]
        mean, variance = _linear(first, x, y, w)
        mean = _within(mean, low, high)
    return doubted(Forecast(chance, mean, variance), len(rows))


def _logistic(x: Floats, y: Floats, w: Floats) -> tuple[float, float]:
    """Fit the log odds as intercept + slope x, drawn towards x itself."""
    design = np.stack([np.ones_like(x), x], axis=1)
    prior = np.array([0.0, 1.0])
    fit = prior.copy()
    for _ in range(25):
        p = expit(design @ fit)
        curvature = design.T @ (design * (w * p * (1 - p))[:, None]) + np.diag(_RIDGE)
        step = np.linalg.solve(curvature, design.T @ (w * (y - p)) - _RIDGE * (fit - prior))
        fit = fit + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-6:
            break
    return float(fit[0]), max(float(fit[1]), 0.02)


def _linear(first: Forecast, x: Floats, y: Floats, w: Floats) -> tuple[Floats, float]:
    """Fit the values on the forecast ones, with less slope the less there is to fit."""
    total = float(w.sum())
    centre_x, centre_y = float(w @ x) / total, float(w @ y) / total
    dx, dy = x - centre_x, y - centre_y
    square = float(w @ dx**2)
    slope = float(w @ (dx * dy)) / (square + _FEW * square / total) if square > 0 else 0.0
    few = _FEW / (_FEW + total)
    left = float(w @ (dy - slope * dx) ** 2) / max(total - 2.0, 1.0)
    variance = max((1 - few) * left + few * min(first.variance, 4 * left + 1e-12), 1e-12)
    return centre_y + slope * (first.mean - centre_x), variance
