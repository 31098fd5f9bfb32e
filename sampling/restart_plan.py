"""Planning of a second sample for positives that hide at the bottom of the ranking. Costs no delta.

A look may show that the lowest ranks hold more positives than the ranks above them: rows without
a score, or ones that the proxy gets wrong altogether. No recall cut can leave such rows out. They
are labelled instead, all of them, and recall is certified anew from the rows that are left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thresher.sampling.joint_plan import best_sample, make_tails
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.picture import Buckets, expected, make_buckets, make_pictures
from thresher.sampling.recall_plan import RecallTest

__all__ = ["SecondSample", "plan_restart", "plan_second_sample"]

_FOUND = np.array([1, 2, 3, 5, 8, 13, 21])  # sampled positives that a clump is told by
_GAIN = 0.7  # of the labels that would be bought without it: its forecast is a rough one
_CONTRAST = 2.0  # of the density in a clump to that in as many rows above it
_DENSITIES = (np.inf, 0.25, 0.06)  # down to which the best rows are labelled too


@dataclass(frozen=True, slots=True)
class SecondSample:
    """Label the `census` best rows, then sample `size` of the rest; `labels` is the forecast."""

    labels: float
    census: int
    size: int
    test: RecallTest


def plan_second_sample(
    ledger: Ledger,
    buckets: Buckets,
    more: float,
    targets: tuple[float, float],
    levels: tuple[float, float],
) -> SecondSample:
    """Plan a fresh sample of the ranks that `buckets` describe; the best may be labelled before.

    `targets` are the shares that may be missed and be wrong, `levels` those of the sample and of
    the head; `more` positives are forecast below those ranks.
    """
    pictures = make_pictures(ledger, buckets)
    density = expected(pictures, [p.density for p in pictures])
    none = np.zeros(0, dtype=np.int64)
    plans: list[SecondSample] = []
    for low in _DENSITIES:
        stop = int(buckets.edges[np.searchsorted(-density, -low, side="right")])
        count = ledger.count(0, min(stop, buckets.end))
        if plans and not 0 < count < ledger.count(0, buckets.end):
            continue
        after = [p.after_census(count) for p in pictures]
        tails = make_tails(ledger, buckets, after, none, targets[1], levels[1])
        known = float(expected(after, [p.known for p in after])) + more
        labels, size, test = best_sample(tails, known, targets[0], levels[0])
        plans.append(SecondSample(labels + count, count, size, test))
    return min(plans, key=lambda plan: plan.labels)


def _starts(found: Ranks, n_rows: int) -> list[int]:
    """Return where a clump might begin: above each of the lowest positives by their spacing."""
    count = _FOUND[len(found) // 2 >= _FOUND]
    lowest = np.sort(found)[len(found) - count]
    spaced = n_rows - np.ceil((n_rows - lowest) * (1 + 1 / count))
    return sorted({int(start) for start in spaced if start > 0})


def plan_restart(
    ledger: Ledger,
    sampled: Ranks,
    now: float,
    targets: tuple[float, float],
    levels: tuple[float, float],
) -> int | None:
    """Return the rank from which on all should be labelled, if a restart saves labels.

    `now` is what would be bought without one, the rest is as in `plan_second_sample`.
    """
    n_rows, label = ledger.n_rows, ledger.label[sampled]
    least, best = _GAIN * now, None
    for start in _starts(sampled[label > 0], n_rows):
        count, inside = ledger.count(start, n_rows), sampled >= start
        if count >= least or not ledger.count(0, start):
            continue
        density = float(label[inside].mean())
        above = (sampled >= 2 * start - n_rows) & ~inside
        if density <= _CONTRAST * float(label[above].mean() if above.any() else 1.0):
            continue
        buckets = make_buckets(ledger, alike=True, end=start)
        plan = plan_second_sample(ledger, buckets, count * density, targets, levels)
        if count + plan.labels < least:
            least, best = count + plan.labels, start
    return best
