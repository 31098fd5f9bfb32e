"""Planning of a query with both targets and as few labels as possible. Costs no delta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from thresher.sampling.forecasts import (
    DEVIATES,
    WEIGHTS,
    forecast_fixed_cut,
    forecast_found,
    forecast_ratio_cut,
    order_statistic,
)
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.picture import Buckets, Picture, expected
from thresher.sampling.recall_plan import RecallTest

__all__ = ["HeadCost", "Tail", "best_sample", "head_curve", "make_tails", "plan_head_below",
           "tail_cost"]  # fmt: skip

Floats = npt.NDArray[np.float64]
_RATES = np.geomspace(0.01, 0.9, 16)
_FEW_RATES = np.geomspace(0.01, 0.9, 11)
_REFINE = np.array([0.72, 0.8, 0.87, 0.94, 1.07, 1.15, 1.24])


@dataclass(frozen=True, slots=True)
class HeadCost:
    """Verify down to rank `end`, then certify [0, end) from `sample` labels."""

    labels: float
    end: int
    sample: int


def _poisson_cdf(count: Floats, mean: Floats) -> Floats:
    """Approximate P(Poisson(mean) <= count) by Wilson and Hilferty's cube; 0 below 0."""
    shape = np.maximum(count, 0.0) + 1
    deviate = 3 * np.sqrt(shape) * (np.cbrt(mean / shape) - 1 + 1 / (9 * shape))
    return np.where(count >= 0, ndtr(-deviate), 0.0)


def _head_labels(
    rows: Floats, positives: Floats, kept: Floats, wrong: float, level: float, rates: Floats
) -> tuple[Floats, Floats]:
    """Forecast labels and sample size to certify heads of `rows` where `kept` positives return."""
    negatives = np.maximum(rows - positives, 0.2)
    allowed = 0.98 * wrong * kept
    best = rows + np.zeros_like(allowed)  # labelling the whole head is always possible
    size = best.copy()
    for rate in rates:
        most = forecast_found(allowed / (1 / rate - 0.5), level)
        chance = _poisson_cdf(most, rate * negatives)
        cost = rate * rows + (1 - chance) * (1 - 0.6 * chance) * rows
        size = np.where(cost < best, rate * rows, size)
        best = np.minimum(cost, best)
    return best, size


def head_curve(picture: Picture, wrong: float, level: float) -> Floats:
    """Forecast the labels that the cheapest head costs for a recall cut at every edge."""
    end = np.unique(np.append(np.arange(0, len(picture.rows), 2), len(picture.rows) - 1))
    rows, positives = picture.rows[end, None], picture.positives[end, None]
    kept = (picture.known + picture.positives)[None, :]
    above = end[:, None] <= np.arange(len(picture.rows))[None, :]
    labels, _ = _head_labels(rows, positives, kept, wrong, level, _FEW_RATES)
    total = np.where(above, labels + picture.rows[None, :] - rows, np.inf)
    return np.asarray(total.min(axis=0))


def plan_head_below(pictures: Sequence[Picture], cut: int, wrong: float, level: float) -> HeadCost:
    """Choose how far to verify upwards from the recall cut and how to certify the rest."""
    edges = pictures[0].edges
    costs, sizes = [], []
    for picture in pictures:
        rows, positives = picture.above(cut)
        kept = np.full(len(edges), picture.known + float(positives))
        cost, size = _head_labels(picture.rows, picture.positives, kept, wrong, level, _RATES)
        costs.append(cost + float(rows) - picture.rows)
        sizes.append(size)
    labels, sample = expected(pictures, costs), expected(pictures, sizes)
    labels[edges > cut] = np.inf
    best = int(np.argmin(labels))
    return HeadCost(float(labels[best]), int(edges[best]), int(np.ceil(sample[best])))


@dataclass(frozen=True, slots=True)
class Tail:
    """The population that the looks sample from, as a picture sees it.

    Parameters
    ----------
    edges, positives : ndarray of float64, shape (b + 1,)
        Bucket edges and positives above each, sampled ones included.
    rows, hidden : float
        All rows and positives in it.
    head : ndarray of float64, shape (b + 1,)
        Labels that the head costs for a cut at each edge.
    weight : float
        Share of this picture in an average.
    """

    edges: Floats
    positives: Floats
    rows: float
    hidden: float
    head: Floats
    weight: float


def make_tails(
    ledger: Ledger,
    buckets: Buckets,
    pictures: Sequence[Picture],
    sampled: Ranks,
    wrong: float,
    level: float,
) -> tuple[Tail, ...]:
    """See the looks' population, of which `sampled` is labelled, in each picture."""
    place, n_buckets = buckets.place(sampled), len(buckets.edges) - 1
    found = np.bincount(place, weights=ledger.label[sampled], minlength=n_buckets)
    above = np.concatenate([[0.0], np.cumsum(found)])
    tails = []
    for picture in pictures:
        positives = picture.positives + above
        rows = picture.rows[-1] + len(sampled)
        head = head_curve(picture, wrong, level)
        total = float(positives[-1])
        tails.append(Tail(picture.edges, positives, float(rows), total, head, picture.weight))
    return tuple(tails)


def tail_cost(
    tails: Sequence[Tail],
    sample: Floats,
    so_far: tuple[int, int],
    known: float,
    wrong: float,
    level: float,
    test: RecallTest,
) -> Floats:
    """Forecast the labels still to buy if the looks reach each total size in `sample`.

    `so_far` is the size of the sample already labelled and the positives in it.
    """
    costs = [_tail_cost(t, sample, so_far, known, wrong, level, test) for t in tails]
    return np.asarray(np.average(costs, axis=0, weights=[t.weight for t in tails]))


def _tail_cost(
    tail: Tail,
    sample: Floats,
    so_far: tuple[int, int],
    known: float,
    wrong: float,
    level: float,
    test: RecallTest,
) -> Floats:
    done, seen = so_far
    more = np.maximum(sample - done, 0.0)
    part = more / max(tail.rows - done, 1.0)
    mean = max(0.0, tail.hidden - seen) * part
    rate = np.minimum(0.9999, sample / tail.rows)
    spread = np.sqrt(np.maximum(mean * (1 - rate), 1e-9))
    found = np.maximum(0.0, np.round(seen + mean[:, None] + DEVIATES * spread[:, None]))
    rows, size, before = np.full(1, tail.rows), sample[:, None], np.full(1, float(known))
    if test == "fixed":
        cut = forecast_fixed_cut(rows, size, before, wrong, level)
        cut = np.broadcast_to(cut, found.shape)
    else:
        cut = forecast_ratio_cut(rows, size, found, before, wrong, level)
    below = order_statistic(cut, tail.hidden, found)
    end = np.interp(np.maximum(tail.hidden - below, 0.0), tail.positives, tail.edges)
    cost = np.interp(end, tail.edges, tail.head)
    cost[cut >= found] = 0.0
    failed = np.broadcast_to((cut < 0)[..., None], cost.shape)
    # A failed look is followed by the next one, not by labelling everything.
    good = np.maximum((~failed).sum(axis=(1, 2)), 1e-9)
    usual = np.where(failed, 0.0, cost).sum(axis=(1, 2)) / good + np.where(good < 1, np.inf, 0.0)
    repair = np.minimum(tail.head[-1], usual + 1.3 * sample)
    if done:
        repair = np.full(len(sample), tail.head[-1])
    cost = np.where(failed, repair[:, None, None], cost)
    return np.asarray(more + (cost.mean(2) @ WEIGHTS) * (1 - part))


def best_sample(
    tails: Sequence[Tail], known: float, wrong: float, level: float
) -> tuple[float, int, RecallTest]:
    """Return the forecast labels, the first look's size and the test that cost least."""
    rows = tails[0].rows
    best: tuple[float, int, RecallTest] = (np.inf, int(rows), "ratio")
    sizes = np.unique(np.geomspace(min(30.0, rows), rows, 22).astype(np.int64)).astype(np.float64)
    tests: tuple[RecallTest, ...] = ("ratio", "fixed")
    for fine in (False, True):
        if fine:
            sizes = np.unique(np.clip(np.floor(best[1] * _REFINE), 1.0, rows))
        for test in tests:
            cost = tail_cost(tails, sizes, (0, 0), known, wrong, level, test)
            place = int(np.argmin(cost))
            if cost[place] < best[0]:
                best = (float(cost[place]), int(sizes[place]), test)
    return best
