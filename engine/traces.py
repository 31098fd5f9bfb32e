"""What a query leaves for pictures of it: its scores in bins, and its spending over time.

No promise rests on any of this, and it is no part of a certificate's identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LabelBin", "ScoreTrace", "SpendPoint", "Spending", "Trace", "trace_scores"]

_BINS = 64  # of the histogram
_COUNTED = 1 << 18  # rows that it is made from at most: every few rows of more
_RANKS = 129  # of the sketch
_LABEL_BINS, _LEAST = 10, 12  # bins of labelled rows each way, and least rows of each
_POINTS = 128  # of the spending, at most
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelBin:
    """Labelled rows with scores in [low, high], their mean, and how many of them are positive."""

    low: float
    high: float
    mean: float
    n_rows: int
    n_positive: int


@dataclass(frozen=True, slots=True)
class ScoreTrace:
    """The scores that rows were chosen by.

    Parameters
    ----------
    low, high : float
        Ends of the histogram.
    counts : tuple of int
        Rows in each of 64 bins of equal width, of those that were counted.
    n_counted, n_missing : int
        Rows that were looked at (every few rows of a large population), and those of them without
        a finite score.
    positive, negative : tuple of int
        Labelled rows in each bin, whatever they were labelled for.
    sketch : tuple of (float, float)
        Share of the rows that score at least so much, and the score; from the best down.
    bins : tuple of LabelBin
        Rows that this query drew after its proxies were fitted, in bins of like scores; none of
        them are among those that a proxy has learnt from.
    of : str
        What a positive label says: ``positive``, ``agrees`` or ``counts``.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    n_counted: int
    n_missing: int
    positive: tuple[int, ...]
    negative: tuple[int, ...]
    sketch: tuple[tuple[float, float], ...]
    bins: tuple[LabelBin, ...]
    of: str = "positive"


@dataclass(frozen=True, slots=True)
class SpendPoint:
    """Where a run stood: its stage, seconds since it began, labels bought, dollars for all."""

    stage: str
    elapsed_s: float
    n_labels: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Trace:
    """What a query leaves for pictures of it.

    Parameters
    ----------
    scores : ScoreTrace or None
        None where no row was chosen by a score.
    spending : tuple of SpendPoint
        In order; at most 128.
    """

    scores: ScoreTrace | None
    spending: tuple[SpendPoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Trace:
        """Return what `to_dict` wrote."""
        scores = found["scores"]
        if scores is not None:
            several = ("counts", "positive", "negative")
            scores = ScoreTrace(
                **{
                    **scores,
                    **{name: tuple(scores[name]) for name in several},
                    "sketch": tuple((share, score) for share, score in scores["sketch"]),
                    "bins": tuple(LabelBin(**one) for one in scores["bins"]),
                }
            )
        return cls(scores, tuple(SpendPoint(**one) for one in found["spending"]))


class Spending:
    """Keeps the points of a run's spending: never more than 128, whatever it buys.

    Examples
    --------
    >>> spending = Spending()
    >>> for second in range(1000):
    ...     spending.note("sample", float(second), second, 0.0)
    >>> len(spending.points) <= 128, spending.points[-1].n_labels
    (True, 999)
    """

    def __init__(self) -> None:
        self._points: list[SpendPoint] = []

    @property
    def points(self) -> tuple[SpendPoint, ...]:
        """In order."""
        return tuple(self._points)

    def note(self, stage: str, elapsed_s: float, n_labels: int, cost_usd: float) -> None:
        """Keep where a run stands; where it has not moved, only the time of the last point."""
        point = SpendPoint(stage, round(elapsed_s, 4), n_labels, cost_usd)
        points = self._points
        if len(points) > 1 and all((p.stage, p.n_labels) == (stage, n_labels) for p in points[-2:]):
            points.pop()
        points.append(point)
        if len(points) > _POINTS:
            self._points = [*points[:-1:2], point]


def trace_scores(
    scores: npt.NDArray[np.floating],
    labelled: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], bool]],
    of: str = "positive",
) -> ScoreTrace | None:
    """Put scores, and the labels of rows that they chose, into bins.

    Parameters
    ----------
    scores : ndarray of float, shape (n_rows,)
    labelled : iterable of (rows, positive, drawn)
        Positions, whether they are positive, and whether they were drawn after proxies were fitted.
    of : str
        What a positive label says.

    Returns
    -------
    ScoreTrace or None
        None where no score is finite, or they lie further apart than a number can say.

    Notes
    -----
    Takes some 10 ms however many rows there are: at most 262,144 of them are looked at.

    Examples
    --------
    >>> rows = np.arange(100)
    >>> found = trace_scores(rows / 100, [(rows, rows > 60, True)])
    >>> sum(found.counts), sum(found.positive), found.bins[-1].n_positive
    (100, 39, 20)
    """
    looked = scores[:: max(1, -(-len(scores) // _COUNTED))]
    finite = np.sort(looked[np.isfinite(looked)])
    if not len(finite):
        return None
    low, high = float(finite[0]), float(finite[-1])
    low, high = (min(low, 0.0), max(high, 1.0)) if low >= 0 and high <= 1 else (low, high)
    high = high if high > low else low + max(1.0, abs(low))
    if not math.isfinite(high - low):
        return None  # no bin is that wide
    parts = [(scores[rows].astype(np.float64), truth, drawn) for rows, truth, drawn in labelled]
    every = [(value, truth) for value, truth, _ in parts]
    drawn = [(value, truth) for value, truth, new in parts if new]
    value, truth = _together(every)
    shares = np.unique(np.concatenate([np.geomspace(1e-6, 1, _RANKS // 2), np.linspace(0, 1, 65)]))
    at = finite[np.round((1 - shares) * (len(finite) - 1)).astype(np.int64)]
    return ScoreTrace(
        low=low,
        high=high,
        counts=_histogram(finite.astype(np.float64), low, high),
        n_counted=len(looked),
        n_missing=len(looked) - len(finite),
        positive=_histogram(value[truth], low, high),
        negative=_histogram(value[~truth], low, high),
        sketch=tuple(zip(_rounded(shares), _rounded(at.astype(np.float64)), strict=True)),
        bins=tuple(_bins(*_together(drawn))),
        of=of,
    )


def _rounded(values: Floats) -> list[float]:
    """Seven digits are enough for pictures."""
    return [float(f"{value:.7g}") for value in values]


def _histogram(values: Floats, low: float, high: float) -> tuple[int, ...]:
    place = np.clip((values - low) / (high - low) * _BINS, 0, _BINS - 1)
    return tuple(np.bincount(place.astype(np.int64), minlength=_BINS).tolist())


def _together(
    parts: Sequence[tuple[Floats, npt.NDArray[np.bool_]]],
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Join scores and truths of labelled rows; those without a finite score are left out."""
    value = np.concatenate([np.zeros(0), *(value for value, _ in parts)])
    truth = np.concatenate([np.zeros(0, dtype=np.bool_), *(truth for _, truth in parts)])
    there = np.isfinite(value)
    return value[there], truth[there]


def _bins(value: Floats, truth: npt.NDArray[np.bool_]) -> list[LabelBin]:
    """Cut labelled rows where their number and where their score says so; equal ones never."""
    if len(value) < _LEAST:
        return []
    order = np.argsort(value, kind="stable")
    value, truth = value[order], truth[order]
    by_number = value[np.arange(1, _LABEL_BINS) * len(value) // _LABEL_BINS]
    by_score = np.linspace(value[0], value[-1], _LABEL_BINS + 1)[1:-1]
    ends = np.searchsorted(value, np.unique(np.concatenate([by_number, by_score])), side="right")
    found, start = [], 0
    for end in [*ends.tolist(), len(value)]:
        if end - start < _LEAST or (end < len(value) and len(value) - end < _LEAST):
            continue
        mean = float(value[start:end].mean())
        low, high, mean = _rounded(np.array([value[start], value[end - 1], mean]))
        found.append(LabelBin(low, high, mean, end - start, int(truth[start:end].sum())))
        start = end
    return found
