"""Planning of a labelling with an accuracy target. Costs no delta, and no guarantee rests on it.

Rows are ordered by the chance that proxy and oracle disagree, estimated from the confidence and
the labels so far, for each predicted class by itself as far as its labels go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri

from thresher.sampling.bounds import hypergeometric_cdf
from thresher.sampling.forecasts import forecast_upper, order_statistic
from thresher.sampling.picture import Picture

__all__ = ["CutPlan", "RiskModel", "least_sample", "plan_cut", "plan_limit"]

Floats = npt.NDArray[np.float64]
_CLIP = 1e-4
_KNOTS = np.array([0.5, 0.8, 0.95])  # confidence ranks where the slope may change
_MOST_CLASSES = 40
_CLASS_SPREAD = (1.0, 0.5)  # of a class's intercept and slope about those of all
_KNOT_SPREAD = 1.0
_ALLOWANCES = np.concatenate([np.arange(10), np.geomspace(10, 3000, 32)]).astype(np.int64)
_SHARES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


class RiskModel:
    """A logistic model of disagreement in the confidence, its rank and the predicted class.

    Parameters
    ----------
    predictions : ndarray of int64, shape (n,)
        Class codes of the proxy.
    confidence : ndarray of float64, shape (n,)
        Higher is surer; NaN counts as least sure.
    """

    def __init__(
        self, predictions: npt.NDArray[np.int64], confidence: npt.NDArray[np.float64]
    ) -> None:
        rank = _mid_ranks(confidence)
        classes, self._class, counts = np.unique(
            predictions, return_inverse=True, return_counts=True
        )
        # The largest of the shares of k classes is at least 1 / k; anything else is a mere order.
        lowest = np.nanmin(confidence, initial=1.0)
        bounded = lowest >= 1 / max(2, len(classes)) and np.nanmax(confidence, initial=0.0) <= 1
        if bounded:
            sure = np.clip(np.nan_to_num(confidence, nan=0.0), _CLIP, 1 - _CLIP)
            self._x, self._mean, self._spread = -logit(sure), (0.0, 1.0), (1.0, 0.5)
        else:
            self._x, self._mean, self._spread = -ndtri(rank), (-1.0, 1.0), (1.5, 0.7)
        self._bends = np.maximum(rank[:, None] - _KNOTS, 0.0) / (1 - _KNOTS)
        if len(classes) > _MOST_CLASSES:  # the rare ones share one place
            place = np.full(len(classes), _MOST_CLASSES - 1)
            place[np.argsort(-counts)[: _MOST_CLASSES - 1]] = np.arange(_MOST_CLASSES - 1)
            self._class = place[self._class]
        self._n_classes = min(len(classes), _MOST_CLASSES)
        self._weights = np.zeros(2 + len(_KNOTS) + 2 * self._n_classes)
        self._weights[:2] = self._mean

    def fit(self, rows: npt.NDArray[np.int64], wrong: npt.NDArray[np.bool_]) -> None:
        """Fit the weights to labelled rows: the mode under normal priors, by Newton's method."""
        design = self._design(rows)
        centre = np.zeros(design.shape[1])
        centre[:2] = self._mean
        counts = (1, 1, len(_KNOTS), self._n_classes, self._n_classes)
        spread = np.repeat([*self._spread, _KNOT_SPREAD, *_CLASS_SPREAD], counts)
        precision = np.diag(spread**-2)
        weights = centre.copy()
        for _ in range(30):
            p = expit(design @ weights)
            gradient = design.T @ (wrong - p) - precision @ (weights - centre)
            curvature = (design * (p * (1 - p))[:, None]).T @ design + precision
            step = np.linalg.solve(curvature, gradient)
            size = float(np.abs(step).max())
            weights = weights + step * min(1.0, 2.0 / max(size, 1e-12))
            if size < 1e-6:
                break
        self._weights = weights

    def risk(self) -> Floats:
        """Return the estimated chance of disagreement of every row."""
        parts = np.split(self._weights, [2, 2 + len(_KNOTS), 2 + len(_KNOTS) + self._n_classes])
        level = parts[0][0] + parts[2][self._class]
        slope = parts[0][1] + parts[3][self._class]
        return np.asarray(expit(level + slope * self._x + self._bends @ parts[1]))

    def _design(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Return the features of some rows: shape (k, n_weights)."""
        x = self._x[rows, None]
        own = self._class[rows, None] == np.arange(self._n_classes)
        return np.hstack([np.ones_like(x), x, self._bends[rows], own, own * x])


def _mid_ranks(confidence: Floats) -> Floats:
    """Return the rank of each confidence in (0, 1), equal values alike, NaN lowest."""
    value = np.where(np.isnan(confidence), -np.inf, confidence)
    _, place, counts = np.unique(value, return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    return np.asarray(((upper - 0.5 * counts) / max(len(value), 1))[place])


@dataclass(frozen=True, slots=True)
class CutPlan:
    """Sample `sample` rows, then label the rows above the cut; `labels` are forecast in all."""

    labels: float
    sample: int


def _least_samples(cuts: npt.NDArray[np.int64], rows: int, allowed: int, level: float) -> Floats:
    """Return for each cut the smallest sample that makes it safe."""
    low, high = cuts.astype(np.float64), np.full(len(cuts), float(rows - allowed))
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        safe = hypergeometric_cdf(cuts, rows, cuts + allowed + 1, middle) <= level
        low, high = np.where(safe, low, middle), np.where(safe, middle, high)
    return high


def least_sample(cut: int, rows: int, allowed: int, level: float) -> int:
    """Return the smallest sample that makes a cut safe."""
    if cut + allowed + 1 >= rows:
        return max(0, rows - allowed)
    return int(_least_samples(np.array([cut]), rows, allowed, level)[0])


def plan_cut(pictures: Sequence[Picture], allowed: int, level: float) -> CutPlan:
    """Choose the sample that makes sample and tail together cheapest, averaged over pictures."""
    rows = int(pictures[0].rows[-1])
    cuts = np.unique(_ALLOWANCES[_ALLOWANCES + allowed + 1 < rows])
    if not len(cuts):
        return CutPlan(float(rows - allowed), rows - allowed)
    sample = _least_samples(cuts, rows, allowed, level)
    rate = sample / rows
    below = order_statistic(cuts.astype(np.float64), 1 / rate - 1, np.zeros(len(cuts)))
    cost = np.zeros(len(cuts))
    for picture in pictures:
        end = picture.rank_of_positives(np.maximum(picture.positives[-1] - below, 0.0))
        tail = np.where(below >= picture.positives[-1], 0.0, picture.above(end)[0])
        cost += (1 - rate) * tail.mean(axis=1) / len(pictures)
    cost = np.minimum(cost + sample, rows - allowed)
    best = int(np.argmin(cost))
    return CutPlan(float(cost[best]), int(sample[best]))


def plan_limit(pictures: Sequence[Picture], left: int, level: float) -> int:
    """Choose the sample of `left` labels that leaves the smallest limit of disagreements."""
    sample = np.ceil(_SHARES * left)
    limit = np.zeros(len(sample))
    for picture in pictures:
        rows, hidden = picture.rows[-1], picture.positives[-1]
        rate = sample / rows
        upper = forecast_upper(np.full(1, rows), sample, rate * hidden, level)
        tail = picture.rank_of_rows((left - sample) / np.maximum(1 - rate, 1e-9))
        limit += upper - rate * hidden - (1 - rate) * picture.above(tail)[1]
    return int(sample[int(np.argmin(limit))])
