"""The declared calibration of a proxy: what it says of a tail, and plans that lean on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share
from thresher.sampling.forecasts import (
    DEVIATES,
    WEIGHTS,
    forecast_fixed_cut,
    forecast_ratio_cut,
    order_statistic,
)
from thresher.sampling.ledger import Ledger
from thresher.sampling.picture import Picture
from thresher.sampling.recall_plan import RecallTest

__all__ = ["CalibratedTail", "TailPlan", "plan_tail"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_SPENT = (0.1, 0.3, 0.5, 0.7)  # shares of the misses allowed that a tail may use up
_CENSUS = np.array([0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9])
_SAMPLED = np.array([1.0, 0.8, 0.6, 0.4, 0.2])
_HASTE = 0.1  # forecast precision that sampling without a census must add
_SLACK = 1e-9  # sums of scores are rounded up by this much


class CalibratedTail:
    """The assumption that beyond any rank positives are at most `within` x the scores' sum there.

    Parameters
    ----------
    ledger : Ledger
        Scores in [0, 1]; a row without a score counts as 1.
    within : float
        Positive factor.

    Attributes
    ----------
    most : ndarray of int64, shape (n_rows + 1,)
        Most positives at ranks r and beyond, labelled or not, rounded up.
    """

    def __init__(self, ledger: Ledger, within: float) -> None:
        self.ledger = ledger
        value = ledger.scores[ledger.rows].astype(np.float64)
        value[np.isnan(value)] = 1.0
        sums = np.append(np.cumsum(value[::-1])[::-1], 0.0)
        rows = ledger.n_rows - np.arange(ledger.n_rows + 1)
        self.most = np.floor(
            np.minimum(within * sums * (1 + _SLACK) + _SLACK, rows.astype(np.float64))
        ).astype(np.int64)

    def _room(self) -> Integers:
        """Return the most positives beyond each rank less those known: shape (n_rows + 1,)."""
        known = np.append(np.cumsum((self.ledger.label > 0)[::-1], dtype=np.int64)[::-1], 0)
        return np.asarray(self.most - known)

    @property
    def contradicted(self) -> bool:
        """Whether the labels known now prove the assumption false."""
        return bool((self._room() < 0).any())

    def hidden(self, rank: int) -> int:
        """Return the most unlabelled positives at `rank` and beyond; negative if contradicted."""
        label = self.ledger.label[rank:]
        room = int(self.most[rank]) - int(np.count_nonzero(label > 0))
        return min(room, int(np.count_nonzero(label < 0)))

    def sure_cut(self, share: Share) -> int:
        """Return the first rank from which the labels known now allow all rows to be left out."""
        unknown = np.append(np.cumsum((self.ledger.label < 0)[::-1], dtype=np.int64)[::-1], 0)
        hidden = np.maximum(np.minimum(self._room(), unknown), 0)
        return int(np.argmax(hidden <= share.room(0, self.ledger.n_positive)))

    def rank_of(self, positives: float) -> int:
        """Return the first rank beyond which there are at most that many positives."""
        return int(np.searchsorted(-self.most, -positives))


@dataclass(frozen=True, slots=True)
class TailPlan:
    """Label the best `census` rows, sample the others of ranks [0, end), leave the rest out.

    A sample of 0 stands for labelling the best rows until the labels are spent.
    """

    precision: float
    census: int
    end: int
    sample: int
    test: RecallTest


@dataclass(frozen=True, slots=True)
class _Choices:
    """Plans side by side: arrays of shape (plans,); `lost` positives count as missed."""

    census: Floats
    end: Floats
    lost: Floats
    sample: Floats


def plan_tail(
    pictures: Sequence[Picture],
    tail: CalibratedTail,
    left: int,
    recall: float,
    level: float,
    *,
    census: bool = True,
) -> TailPlan:
    """Choose the census, where the tail begins, the sample and the test."""
    wrong = max(1 - recall, 1e-12)
    total = float(np.mean([p.total for p in pictures]))
    ends = np.unique([tail.rank_of(spent * wrong * total / recall) for spent in _SPENT])
    lost = np.array([max(0, tail.hidden(end)) for end in ends.tolist()], dtype=np.float64)
    top, place, rest = (
        a.ravel()
        for a in np.meshgrid(
            _CENSUS if census else _CENSUS[:1], np.arange(len(ends)), _SAMPLED, indexing="ij"
        )
    )
    count = np.floor(top * left)
    plans = _Choices(count, ends[place], lost[place], np.floor(rest * (left - count)))
    counted = count > 0
    best = _plan_verified(pictures, tail, left, recall)
    tests: tuple[RecallTest, ...] = ("ratio", "fixed")
    for test in tests:
        scores = [_forecast(p, plans, left, wrong, level, test) for p in pictures]
        score = np.mean(scores, axis=0)
        # Sampling at once is forecast too hopefully; a census is planned again.
        k = int(np.argmax(score - np.where(counted, 0.0, _HASTE + 0.2 * (1 - score))))
        if score[k] > best.precision + 1e-3:
            sizes = int(count[k]), int(plans.end[k]), int(plans.sample[k])
            best = TailPlan(float(score[k]), *sizes, test)
    return best


def _plan_verified(
    pictures: Sequence[Picture], tail: CalibratedTail, left: int, recall: float
) -> TailPlan:
    """Forecast labelling the best rows: the positives found pay for those lost in the tail."""
    precision, ends = [], []
    for picture in pictures:
        verified = float(picture.rank_of_rows(left))
        rows, found = (float(a) for a in picture.above(verified))
        end = tail.rank_of((1 - recall) / recall * (picture.known + found))
        rows_in, positives_in = (float(a) for a in picture.above(end))
        wrong = max(0.0, (rows_in - positives_in) - (rows - found)) if end > verified else 0.0
        right = picture.known + positives_in
        precision.append(right / max(right + wrong, 1e-9))
        ends.append(end)
    return TailPlan(float(np.mean(precision)), 0, int(np.median(ends)), 0, "ratio")


def _forecast(
    picture: Picture, plans: _Choices, left: int, wrong: float, level: float, test: RecallTest
) -> Floats:
    """Forecast the precision of each plan."""
    top = picture.rank_of_rows(plans.census)
    rows_top, found_top = picture.above(top)
    end = np.maximum(plans.end, top)
    rows_end, found_end = picture.above(end)
    rows, hidden = np.maximum(rows_end - rows_top, 1.0), found_end - found_top
    rate = np.minimum(0.999, plans.sample / rows)
    mean = (rate * hidden)[:, None]
    spread = np.sqrt(np.maximum(mean * (1 - rate)[:, None], 1e-9))
    found = np.maximum(0.0, np.round(mean + DEVIATES * spread))
    known = picture.known + found_top - plans.lost * (1 - wrong) / wrong
    if test == "fixed":
        fixed = forecast_fixed_cut(rows, plans.sample, np.maximum(known, 0.0), wrong, level)
        cut = np.broadcast_to(np.where(known >= 0, fixed, -1.0)[:, None], found.shape)
    else:
        least = np.maximum(known[:, None], -found)
        cut = forecast_ratio_cut(rows[:, None], plans.sample[:, None], found, least, wrong, level)
        cut = np.where(known[:, None] + found >= 0, cut, -1.0)
    below = order_statistic(cut, hidden[:, None], found)
    stop = picture.rank_of_positives(found_end[:, None, None] - below)
    stop = np.clip(stop, top[:, None, None], end[:, None, None])
    stop[cut < 0] = picture.edges[-1]
    stop = np.where((cut >= found)[..., None], top[:, None, None], stop)
    rows_in, positives_in = picture.above(stop)
    spare = ((left - plans.census - plans.sample) / (1 - rate))[:, None, None]
    start = picture.rank_of_rows(np.maximum(rows_in - spare, rows_top[:, None, None]))
    rows_left, positives_left = picture.above(start)
    negatives = rows_left - positives_left - (rows_top - found_top)[:, None, None]
    negatives = np.maximum((1 - rate)[:, None, None] * negatives, 0.0)
    right = picture.known + positives_in
    return np.asarray((right / np.maximum(right + negatives, 1e-9)).mean(2) @ WEIGHTS)
