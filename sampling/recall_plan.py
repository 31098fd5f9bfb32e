"""Planning of a recall query with a budget: how many labels go where. Costs no delta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share, fixed_cut
from thresher.sampling.forecasts import (
    DEVIATES,
    WEIGHTS,
    forecast_fixed_cut,
    forecast_least_sample,
    forecast_ratio_cut,
    order_statistic,
)
from thresher.sampling.picture import Picture, expected

__all__ = [
    "RecallPlan",
    "RecallTest",
    "least_sample",
    "plan_after_census",
    "plan_census",
    "plan_sample",
]

Floats = npt.NDArray[np.float64]
RecallTest = Literal["ratio", "fixed"]

_VERIFIED = np.array([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8])
_CENSUS = np.array([0.1, 0.2, 0.3, 0.36, 0.42, 0.48, 0.54, 0.6, 0.66, 0.72])
_MORE_CENSUS = np.array([0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35])
_CUTS = np.arange(7.0)
_MARGIN = 1.01  # a census finds fewer positives than forecast, now and then
_SAMPLED = np.array([1.0, 0.92, 0.85, 0.77, 0.7, 0.6])


@dataclass(frozen=True, slots=True)
class RecallPlan:
    """Labels for the census and the sample, the test, and the precision that is forecast.

    `cut` is the cut that test B is meant to allow; -1 where the sample is not sized for one.
    """

    precision: float
    census: int
    sample: int
    test: RecallTest
    cut: int = -1


def _forecast(
    picture: Picture,
    census: Floats,
    sample: Floats,
    left: int,
    wrong: float,
    level: float,
    test: RecallTest,
    fixed: Floats | None = None,
) -> Floats:
    """Forecast the precision of plans that leave the other labels to verify above the cut."""
    top = picture.rank_of_rows(census)
    rows_top, found_top = picture.above(top)
    known = picture.known + found_top
    rows = np.maximum(picture.rows[-1] - rows_top, 1.0)
    hidden = np.maximum(picture.positives[-1] - found_top, 0.0)
    rate = np.minimum(0.999, sample / rows)
    mean = (rate * hidden)[:, None]
    spread = np.sqrt(np.maximum(mean * (1 - rate)[:, None], 1e-9))
    found = np.maximum(0.0, np.round(mean + DEVIATES * spread))
    if test == "fixed":
        if fixed is None:
            fixed = forecast_fixed_cut(rows, sample, known, wrong, level)
        cut = fixed[:, None]
        cut = np.broadcast_to(cut, found.shape)
    else:
        cut = forecast_ratio_cut(
            rows[:, None], sample[:, None], found, known[:, None], wrong, level
        )
    below = order_statistic(cut, hidden[:, None], found)
    end = np.maximum(picture.rank_of_positives(picture.positives[-1] - below), top[:, None, None])
    end[cut < 0] = picture.edges[-1]
    end = np.where((cut >= found)[..., None], top[:, None, None], end)
    rows_in, positives_in = picture.above(end)
    spare = ((left - census - sample) / (1 - rate))[:, None, None]
    start = picture.rank_of_rows(np.maximum(rows_in - spare, rows_top[:, None, None]))
    rows_left, positives_left = picture.above(start)
    negatives = rows_left - positives_left - (rows_top - found_top)[:, None, None]
    negatives = np.maximum((1 - rate)[:, None, None] * negatives, 0.0)
    right = picture.known + positives_in
    return np.asarray((right / np.maximum(right + negatives, 1e-9)).mean(2) @ WEIGHTS)


def _mean_forecast(
    pictures: Sequence[Picture],
    census: Floats,
    sample: Floats,
    left: int,
    wrong: float,
    level: float,
    test: RecallTest,
) -> Floats:
    scores = [_forecast(p, census, sample, left, wrong, level, test) for p in pictures]
    return expected(pictures, scores)


def plan_sample(pictures: Sequence[Picture], left: int, wrong: float, level: float) -> RecallPlan:
    """Plan to sample at once and to verify with a share of the labels."""
    sample = np.floor((1 - _VERIFIED) * left)
    tests: tuple[RecallTest, ...] = ("ratio",)
    # Test B reads only the positives known now: it pays where they are a good part of all.
    if max(p.known / (p.total + 1e-9) for p in pictures) > 0.3:
        tests = ("ratio", "fixed")
    best = RecallPlan(-1.0, 0, 0, "ratio")
    for test in tests:
        score = _mean_forecast(pictures, np.zeros_like(sample), sample, left, wrong, level, test)
        top = float(score.max())
        # The curve is flat near its top and falls off where too little is sampled.
        choice = int(np.flatnonzero(score >= top - 0.04 * top * (1 - top))[0])
        if top > best.precision + (0.02 if test == "fixed" else 0.0):
            best = RecallPlan(top, 0, int(sample[choice]), test)
    return best


def _fixed_plans(
    pictures: Sequence[Picture], census: Floats, left: int, wrong: float, level: float
) -> RecallPlan:
    """Choose a census and a cut of test B, which is sampled for with no label to spare."""
    count, cut = (a.ravel() for a in np.meshgrid(census, _CUTS, indexing="ij"))
    scores, sizes = [], []
    for picture in pictures:
        rows_top, found_top = picture.above(picture.rank_of_rows(count))
        rows = np.maximum(picture.rows[-1] - rows_top, 1.0)
        known = picture.known + found_top
        least = forecast_least_sample(rows, cut, known, wrong, level)
        size = np.minimum(np.ceil(_MARGIN * least), left - count)
        enough = np.where(size >= least, cut, -1.0)
        scores.append(_forecast(picture, count, size, left, wrong, level, "fixed", enough))
        sizes.append(size)
    score, size = expected(pictures, scores), expected(pictures, sizes)
    choice = int(np.argmax(score))
    return RecallPlan(
        float(score[choice]), int(count[choice]), int(size[choice]), "fixed", int(cut[choice])
    )


def plan_census(
    pictures: Sequence[Picture], left: int, wrong: float, level: float, *, again: bool = False
) -> RecallPlan:
    """Plan to label the best rows first, then to sample the rest with test B."""
    count = np.floor((_MORE_CENSUS if again else _CENSUS) * left)
    return _fixed_plans(pictures, count, left, wrong, level)


def plan_after_census(
    pictures: Sequence[Picture], left: int, wrong: float, level: float
) -> RecallPlan:
    """Plan the sample and the test once the census is over."""
    fixed = _fixed_plans(pictures, np.zeros(1), left, wrong, level)
    sample = np.floor(_SAMPLED * left)
    score = _mean_forecast(pictures, np.zeros_like(sample), sample, left, wrong, level, "ratio")
    score = score - 1e-3 * np.arange(len(score))
    choice = int(np.argmax(score))
    if score[choice] > fixed.precision + 0.02:
        return RecallPlan(float(score[choice]), 0, int(sample[choice]), "ratio")
    return fixed


def least_sample(n_rows: int, n_known: int, cut: int, share: Share, level: float) -> int:
    """Return the smallest sample for which test B allows the planned cut."""
    low, high = 0, n_rows
    while low < high:
        middle = (low + high) // 2
        if fixed_cut(n_rows, middle, n_known, share, level) >= cut:
            high = middle
        else:
            low = middle + 1
    return low
