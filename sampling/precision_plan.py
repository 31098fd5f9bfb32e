"""Planning of a precision query with a budget. Costs no delta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import pdtr

from thresher.sampling.forecasts import forecast_found
from thresher.sampling.picture import Picture, expected

__all__ = ["HeadPlan", "band_positives", "plan_head"]

Floats = npt.NDArray[np.float64]
_SAMPLED = np.array([0.0, 0.03, 0.06, 0.1, 0.15, 0.22, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9])


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """Certify ranks [0, end) from `sample` labels; (0, 0) labels the best rows and no more."""

    end: int
    sample: int


def band_positives(pictures: Sequence[Picture], end: int, left: int) -> float:
    """Forecast the positives among the next `left` unlabelled rows below rank `end`."""
    values = []
    for picture in pictures:
        rows, above = picture.above(end)
        below = picture.above(picture.rank_of_rows(np.minimum(rows + left, picture.rows[-1])))[1]
        values.append(below - above)
    return float(expected(pictures, values))


def _forecast(picture: Picture, sample: Floats, left: int, wrong: float, level: float) -> Floats:
    """Forecast the share of positives returned, for every sample size and end at an edge."""
    rows, positives = picture.rows[None, :], picture.positives[None, :]
    sample = sample[:, None]
    negatives = np.maximum(rows - positives, 0.3)
    rate = np.minimum(1.0, sample / np.maximum(rows, 1.0))
    spare = np.maximum(left - np.minimum(sample, rows), 0.0)
    band = picture.rank_of_rows(np.minimum(rows + spare, picture.rows[-1]))
    reached = picture.above(band)[1]
    free = rows * (1 - rate)
    allowed = wrong * (picture.known + rate * positives + (reached - positives) + free)
    some = np.maximum(rate, 1e-9)
    most = forecast_found(allowed / (1 / some - 0.5), level)
    chance = np.where(most >= 0, pdtr(np.maximum(most, 0), some * negatives), 0.0)
    chance = np.where((rate >= 1) | (rows <= 0), 1.0, chance)
    top = np.interp(np.maximum(left - sample, 0.0), picture.rows, picture.positives)
    fallback = picture.known + rate * positives + 0.85 * (1 - rate) * top
    full = picture.known + reached
    gain = chance * full + (1 - chance) * np.minimum(fallback, full)
    gain = np.where((sample == 0) & (rows > 0), -1.0, gain)
    return np.asarray(gain / max(picture.total, 1.0))


def plan_head(
    pictures: Sequence[Picture],
    left: int,
    wrong: float,
    level: float,
    largest: int | None = None,
) -> HeadPlan:
    """Choose the head and its sample that return the most positives, on average over pictures."""
    sample = np.floor(_SAMPLED * left)
    gains = [_forecast(p, sample, left, wrong, level) for p in pictures]
    gain = expected(pictures, gains)
    edges = pictures[0].edges
    if largest is not None:
        gain = np.where(edges <= largest, gain, -1.0)
    gain[1:] -= 1e-3  # sampling must earn its keep against labelling the best rows
    row, column = np.unravel_index(int(np.argmax(gain)), gain.shape)
    return HeadPlan(int(edges[column]), int(sample[row]))
