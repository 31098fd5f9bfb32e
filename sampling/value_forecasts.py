"""Forecasts of which rows count, and with what value. No guarantee rests on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from thresher.sampling.measures import Column
from thresher.sampling.strata import forecast

__all__ = ["Forecast", "doubted", "first_forecast", "refit"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_CLIP = 1e-6
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
    possible = ~np.isnan(low)
    chance = np.where(possible, np.clip(forecast(scores), _CLIP, 1 - _CLIP), 0.0)
    bounded = possible & np.isfinite(low) & np.isfinite(high)
    middle = np.where(bounded, 0.5 * (np.where(bounded, low, 0) + np.where(bounded, high, 0)), 0.0)
    width = np.where(bounded, np.where(bounded, high, 0) - np.where(bounded, low, 0), 0.0)
    if column.prediction is not None:
        given = np.asarray(column.prediction, dtype=np.float64)
        middle = np.where(possible & ~np.isnan(given), given, middle)
    middle = _within(middle, low, high)
    spread = float(np.sqrt(np.mean(width[possible] ** 2))) / 4 if possible.any() else 0.0
    return Forecast(chance, middle, spread**2)


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
    inside = forecast.chance > 0
    if not inside.any():
        return forecast
    weight = 1 / (_SURE + n_labels)
    mean = float(np.clip(forecast.chance[inside].mean(), weight, 1 - weight))
    chance = np.where(inside, forecast.chance + weight * (mean - forecast.chance), 0.0)
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
    inside = first.chance > 0
    log_odds = logit(np.where(inside, first.chance, 0.5))
    shift, slope = _logistic(log_odds[rows], counted.astype(np.float64), weights)
    chance = np.where(inside, np.clip(expit(shift + slope * log_odds), _CLIP, 1 - _CLIP), 0.0)
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
