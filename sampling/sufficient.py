"""How many labels our procedures are forecast to need, before any is bought. No guarantee."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from thresher.sampling.accuracy_plan import plan_cut
from thresher.sampling.bounds import Share
from thresher.sampling.joint_plan import best_sample, make_tails
from thresher.sampling.ledger import Ledger
from thresher.sampling.limits import required_labels
from thresher.sampling.picture import Buckets, Picture, make_buckets, make_pictures
from thresher.sampling.precision_plan import plan_head
from thresher.sampling.recall import check_level
from thresher.sampling.recall_plan import plan_sample

__all__ = ["LabelForecast", "sufficient_labels"]

Floats = npt.NDArray[np.float64]
Kind = Literal["recall", "precision", "joint", "accuracy"]
_THINNED = 1 << 17  # rows that are looked at
_LEVELS = (0.6, 0.2)  # of delta: the first look at recall and at the head of a joint query
_ODDS = (1.0, 0.5, 2.0)  # of a positive, over those that the scores state
_PILOTS = {"joint": 40, "accuracy": 20}


@dataclass(frozen=True, slots=True)
class LabelForecast:
    """What a query is forecast to cost before any label is bought.

    Parameters
    ----------
    least : int
        Labels below which no method could do it, if there are as many positives (disagreements,
        for ``accuracy``) as the scores suggest.
    expected : int
        Labels that our procedure is forecast to buy; a forecast, with no guarantee.
    candidates : int
        Rows that could be labelled.
    low, high : int
        Least and most labels forecast where the odds of a positive are half or twice those that the
        scores state, and as far as planning trusts them: a feeling for how much it may be off.
    """

    least: int
    expected: int
    candidates: int
    low: int
    high: int


def sufficient_labels(
    kind: Kind,
    scores: npt.NDArray[np.floating],
    *,
    delta: float,
    target: float,
    precision: float = 1.0,
    share: float = 0.5,
    known: npt.NDArray[np.integer] | None = None,
) -> LabelForecast:
    """Forecast the labels that our procedure needs, from the scores alone.

    Parameters
    ----------
    kind : {"recall", "precision", "joint", "accuracy"}
    scores : ndarray of float, shape (n_rows,)
        Proxy scores, higher for more likely positive; for ``accuracy`` the proxy's confidence.
    delta : float
        Failure probability, in (0, 1).
    target : float
        Target of the kind; for ``joint`` the recall target.
    precision : float
        ``joint``: precision target.
    share : float
        ``recall``: share of the rows that the answer is to leave out. ``precision``: share of the
        positives that it is to hold.
    known : ndarray of int, shape (n_rows,), optional
        Labels known before: 1, 0, or -1 unknown; for ``accuracy`` 1 where proxy and oracle
        disagree and 0 where they agree.

    Returns
    -------
    LabelForecast
        `expected` is the number of candidates where no fewer labels are forecast to do.

    Raises
    ------
    ValueError
        If a target or delta is out of range, or the scores are no float array.

    Notes
    -----
    Buys nothing and takes some 100 ms for a million rows, of which every eighth is looked at. The
    scores are read as in planning: recalibrated on the known labels, by three pictures that trust
    them to different degrees.

    Examples
    --------
    >>> scores = np.random.default_rng(0).beta(0.2, 2, 20_000)
    >>> forecast = sufficient_labels("joint", scores, delta=0.05, target=0.9, precision=0.9)
    >>> forecast.least < forecast.expected < forecast.candidates
    True
    """
    Share.beyond(target)
    check_level(delta)
    read = _as_risk if kind == "accuracy" else _as_it_is
    found = []
    for odds in _ODDS:
        outline = _Outline(np.asarray(scores), known, partial(_tilted, read=read, odds=odds))
        if not outline.n_unknown:
            return LabelForecast(0, 0, 0, 0, 0)
        found.append(_forecast(outline, kind, target, precision, share, delta))
    least, labels = found[0][0], [max(found[0][0], n) for _, several in found for n in several]
    return LabelForecast(least, labels[0], outline.n_unknown, min(labels), max(labels))


def _forecast(
    outline: _Outline, kind: Kind, target: float, precision: float, share: float, delta: float
) -> tuple[int, list[int]]:
    """Forecast the least labels, and those expected: from all pictures, then from each alone."""
    rows, buckets = outline.n_unknown, outline.buckets()
    pictures = make_pictures(outline, buckets)
    positives = round(float(np.mean([p.total for p in pictures])))
    if kind == "accuracy":
        # Proved for a table that the proxy gets right, and for one with as many errors as forecast.
        hidden = round(float(np.mean([p.positives[-1] for p in pictures])))
        least = required_labels(
            kind, n_rows=outline.n_rows, delta=delta, target=target, n_wrong=hidden
        )
    elif kind == "precision":
        held = min(rows, share * positives / target) / rows
        least = required_labels(kind, n_rows=rows, delta=delta, target=target, share=held)
    else:
        least = required_labels(
            kind, n_rows=rows, delta=delta, target=target, n_positive=positives, share=share,
            precision=precision,
        )  # fmt: skip
    expect = _expectation(outline, buckets, kind, target, precision, share, delta)
    found = [expect(pictures), *(expect((picture,)) for picture in pictures)]
    return min(least, rows), [round(min(float(rows), n + _PILOTS.get(kind, 0))) for n in found]


def _expectation(
    outline: _Outline,
    buckets: Buckets,
    kind: Kind,
    target: float,
    precision: float,
    share: float,
    delta: float,
) -> Callable[[tuple[Picture, ...]], float]:
    """Return what forecasts labels from some pictures."""
    wrong = Share.beyond(target)

    def expect(pictures: tuple[Picture, ...]) -> float:
        if kind == "accuracy":
            return float(plan_cut(pictures, wrong.of(outline.n_rows), delta).labels)
        if kind == "joint":
            return _joint(outline, buckets, pictures, target, precision, delta)
        if kind == "recall":
            return _recall(pictures, target, delta, share)
        return _precision(pictures, wrong, delta, share)

    return expect


def _as_it_is(scores: Floats) -> Floats:
    return scores


def _tilted(scores: Floats, read: Callable[[Floats], Floats], odds: float) -> Floats:
    """Read scores as if the odds of every probability were `odds` times as high."""
    value = read(scores)
    inside = np.nanmin(value, initial=1.0) >= 0 and np.nanmax(value, initial=0.0) <= 1
    return value * odds / (1 + (odds - 1) * value) if inside else value


def _as_risk(confidence: Floats) -> Floats:
    """Turn a confidence into a score of disagreement, a probability if it is one."""
    inside = np.nanmin(confidence, initial=1.0) >= 0 and np.nanmax(confidence, initial=0.0) <= 1
    risk = 1 - confidence if inside else -confidence
    return np.where(np.isnan(risk), np.inf, risk)


def _joint(
    outline: _Outline,
    buckets: Buckets,
    pictures: tuple[Picture, ...],
    recall: float,
    precision: float,
    delta: float,
) -> float:
    look, head = (part * delta for part in _LEVELS)
    none = np.zeros(0, dtype=np.int64)
    middle = pictures[len(pictures) // 2 :][:1]
    tails = make_tails(outline, buckets, middle, none, 1 - precision, head)
    return best_sample(tails, outline.n_positive, 1 - recall, look)[0]


def _recall(pictures: tuple[Picture, ...], recall: float, delta: float, share: float) -> float:
    """Search the labels with which enough rows are forecast to be left out."""
    middle = pictures[len(pictures) // 2]
    rows = float(middle.rows[-1])

    def enough(labels: float) -> bool:
        plan = plan_sample((middle,), int(labels), 1 - recall, delta)
        return recall * middle.total / max(plan.precision, 1e-12) <= (1 - share) * rows

    return _search(rows, enough)


def _precision(pictures: tuple[Picture, ...], wrong: Share, delta: float, share: float) -> float:
    """Search the labels that certify a head with a share of the positives."""
    rate = wrong.per_billion * 1e-9

    def enough(labels: float) -> bool:
        end = plan_head(pictures, int(labels), rate, 0.7 * delta).end
        held = np.mean([float(p.above(end)[1]) + p.known for p in pictures])
        total = float(np.mean([p.total for p in pictures]))
        best = np.mean([float(p.above(p.rank_of_rows(labels))[1]) + p.known for p in pictures])
        return max(float(held), float(best)) >= share * total

    return _search(float(pictures[0].rows[-1]), enough)


def _search(rows: float, enough: Callable[[float], bool]) -> float:
    """Return the first of growing numbers of labels that is enough, or all rows."""
    sizes = np.append(np.geomspace(20, max(rows, 21), 25)[:-1], rows)
    low, high = -1, len(sizes) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(float(sizes[middle])) else (middle, high)
    return float(sizes[high])


class _Outline(Ledger):
    """A ranked table as its planning picture needs it: every few rows stand for all of them."""

    def __init__(
        self,
        scores: npt.NDArray[np.floating],
        known: npt.NDArray[np.integer] | None,
        read: Callable[[Floats], Floats],
    ) -> None:
        if scores.ndim != 1 or scores.dtype.kind != "f":
            raise ValueError(f"scores must be a float array of one dimension, got {scores.dtype}")
        self.n_rows, self.n_positive = len(scores), 0
        kept = read(scores[:: max(1, -(-self.n_rows // _THINNED))].astype(np.float64))
        kept = np.sort(np.where(np.isnan(kept), -np.inf, kept))
        finite = kept[np.isfinite(kept)]
        low, high = (finite[0], finite[-1]) if len(finite) else (0.0, 0.0)
        self._kept = np.clip(kept, low, high)
        self.label = np.full(self.n_rows, -1, dtype=np.int8)
        self.n_unknown = self.n_rows
        if known is not None:
            facts = np.flatnonzero(known >= 0)
            self._learn(read(scores[facts].astype(np.float64)), known[facts] > 0)

    def _learn(self, scores: Floats, positive: npt.NDArray[np.bool_]) -> None:
        """Label about the ranks that have these scores, each rank once."""
        value = np.clip(np.where(np.isnan(scores), -np.inf, scores), self._kept[0], self._kept[-1])
        above = len(self._kept) - np.searchsorted(self._kept, value, side="right")
        order = np.argsort(above, kind="stable")
        steps = np.arange(len(scores))
        ranks = above[order] * self.n_rows // len(self._kept)
        ranks = np.maximum.accumulate(ranks - steps) + steps
        ranks = np.minimum(ranks, self.n_rows - len(scores) + steps)
        self.label[ranks] = positive[order]
        self.n_unknown -= len(scores)
        self.n_positive = int(positive.sum())

    def buckets(self) -> Buckets:
        """Return buckets of all ranks, with the score quantiles of the rows kept."""
        small = make_buckets(_Kept(self._kept))
        edges = small.edges * self.n_rows // len(self._kept)
        return Buckets(edges, small.logits, small.level, small.slopes)


class _Kept(Ledger):
    """The rows kept, best first."""

    def __init__(self, ascending: Floats) -> None:
        self.scores, self.n_rows = ascending[::-1], len(ascending)
        self.rows = np.arange(self.n_rows, dtype=np.uint32)
