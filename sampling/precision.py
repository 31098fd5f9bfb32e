"""Selection with a precision target and a budget of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share
from thresher.sampling.head import Head
from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger
from thresher.sampling.permutation import Permutation
from thresher.sampling.picture import Buckets, Picture, expected, make_buckets, make_pictures
from thresher.sampling.precision_plan import band_positives, plan_head
from thresher.sampling.recall import check_level
from thresher.sampling.selection import Selection

__all__ = ["FIRST_LOOK", "SECOND_LOOK", "select_precision"]

FIRST_LOOK, SECOND_LOOK = 0.7, 0.3  # shares of delta of the two looks
_SOON = 8  # where labels suffice for every row but may stop, plan for one part in so many
_WORTHWHILE = 0.02  # forecast density from which a row is added although it may be wrong


def select_precision(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    precision: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
    interruptible: bool = False,
) -> Selection:
    """Return rows of which a share is positive, and as many positives as the labels allow.

    Parameters
    ----------
    scores, labels, delta, rng, known, interruptible
        As in `select_recall`.
    precision : float
        Share of the returned rows that must be positive, in (0, 1].

    Returns
    -------
    Selection
        Always with `met`: where no unlabelled row can be certified, the known positives alone are
        returned. An empty answer has precision 1.

    Raises
    ------
    ValueError
        If a target, `delta` or the shape of an array is wrong.

    Notes
    -----
    Precision is at least the target with probability 1 - delta at any sample size, for any scores
    and any labels (theorems T4 and T5 in the guarantees). Labelling the best rows and returning
    the positives among them is one of the plans, and the one to beat.

    With `interruptible` the sample of a head is tested at a half of its size too, at a quarter, and
    so on, until the head is certified, with a fifth of its level for all of these. Wherever the
    labels end, the known positives and the head, if a completed look certifies it, are returned
    (T7).
    """
    Share.beyond(precision)
    check_level(delta)
    ledger = Ledger(scores, labels, rng, known, interruptible=interruptible)
    if ledger.affords_all and not (interruptible and ledger.n_unknown):
        ledger.buy_all()
        return ledger.close(0, algorithm="exact")
    if not ledger.remaining:
        return ledger.close(0, algorithm="precision: known positives")
    head, buckets = Head(ledger, precision), make_buckets(ledger)
    _pilot(ledger, rng)
    _certify(ledger, head, buckets, delta, rng)
    _spend(ledger, head)
    if not ledger.n_unknown:
        return ledger.close(0, algorithm="exact", tests=head.tests)
    return _close(ledger, head, buckets)


def _pilot(ledger: Ledger, rng: np.random.Generator) -> None:
    """Label a few of the best rows, deeper while positives are dense there."""
    budget = ledger.remaining
    low, high = 0, min(budget, ledger.n_rows)
    count = max(15, int(0.03 * budget))
    bought = 0
    while True:
        count = min(count, ledger.count(low, high), max(0, budget // 4 - bought))
        ranks = Permutation(ledger, rng, low, high).take(count)
        answers = ledger.buy(ranks, "pilot")
        bought += count
        last = answers[ranks[: len(answers)] >= (low + high) // 2] if low == 0 else answers
        dense = (last.sum() + 0.5) / (len(last) + 1) >= 0.25
        if high >= ledger.n_rows or bought >= budget // 4 or not dense:
            return
        low, high = high, min(2 * high, ledger.n_rows)
        count = max(12, int(0.015 * budget))


def _certify(
    ledger: Ledger, head: Head, buckets: Buckets, delta: float, rng: np.random.Generator
) -> None:
    """Take one or two looks at a head of the ranking."""
    wrong, left = 1 - head.target, ledger.remaining
    if ledger.affords_all:
        left //= _SOON  # a plan for all labels would certify no head and be of no use until then
    plan = plan_head(make_pictures(ledger, buckets), left, wrong, FIRST_LOOK * delta)
    if not plan.end:
        return
    head.look(plan.end, plan.sample, FIRST_LOOK * delta, rng)
    if not ledger.remaining:
        return
    pictures = make_pictures(ledger, buckets)
    band = band_positives(pictures, head.end, ledger.remaining)
    if head.gap > 0.9 * band:  # verified positives below the head would not certify it
        plan = plan_head(pictures, ledger.remaining, wrong, SECOND_LOOK * delta, head.end)
        if plan.end:
            head.look(plan.end, plan.sample, SECOND_LOOK * delta, rng)
        else:
            head.shrink(0)


def _spend(ledger: Ledger, head: Head) -> None:
    """Verify below the head once it is certified, and the bottom of the head until it is."""
    block = max(1, ledger.remaining // 50)
    while (count := ledger.remaining) and not head.certified:
        head.verify(ledger.last(min(block, count), head.end))
    ledger.verify_below(head.end)  # no rows of the head: they do not lower its limit
    while count := ledger.remaining:  # all below is labelled
        head.verify(ledger.last(count, head.end))


def _close(ledger: Ledger, head: Head, buckets: Buckets) -> Selection:
    """Return the head if it is certified, and rows that may be added even if all are wrong."""
    pictures = make_pictures(ledger, buckets)
    end, bound = 0, 1.0
    if head.certified:
        end, n_free, limit = head.end, head.n_free, head.limit or 0
        below = ledger.count(end, max(end, _worthwhile(pictures)))
        extra = min(below, head.share.room(limit, ledger.n_positive + n_free))
        if extra:
            end = int(ledger.first(extra, end)[-1]) + 1
        returned = ledger.n_positive + n_free + extra
        bound = max(head.target, 1.0 - (limit + extra) / returned) if n_free + extra else 1.0
    right = ledger.n_positive + float(expected(pictures, [p.above(end)[1] for p in pictures]))
    total = float(expected(pictures, [p.total for p in pictures]))
    returned = ledger.n_positive + ledger.count(0, end)
    return ledger.close(
        end,
        algorithm=f"precision: {'certified head (T4)' if head.tests else 'best rows labelled'}",
        precision_bound=bound,
        recall_estimate=right / total if total > 0 else float("nan"),
        precision_estimate=right / returned if returned else float("nan"),
        tests=head.tests,
    )


def _worthwhile(pictures: Sequence[Picture]) -> int:
    """Return the rank below which a row is forecast positive less often than one time in fifty."""
    density = expected(pictures, [p.density for p in pictures])
    return int(pictures[0].edges[int(np.searchsorted(-density, -_WORTHWHILE, side="right"))])
