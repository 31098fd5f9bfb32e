"""Selection with a recall target and a budget of labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share, fixed_cut, ratio_cut
from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.picture import (
    Buckets,
    Picture,
    draw_pilot,
    make_buckets,
    make_pictures,
)
from thresher.sampling.recall_plan import (
    RecallPlan,
    RecallTest,
    plan_after_census,
    plan_census,
    plan_sample,
)
from thresher.sampling.selection import Selection, Test

__all__ = ["certify_recall", "check_level", "cut_rank", "estimate_answer", "select_recall"]

_NAMES: dict[RecallTest, str] = {"ratio": "T1", "fixed": "T2"}


def check_level(delta: float) -> None:
    """Raise ValueError unless `delta` is in (0, 1)."""
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta must be in (0, 1), got {delta}. Write 0.05 for 95 % confidence.")


def cut_rank(ledger: Ledger, sampled: Ranks, cut: int) -> int:
    """Return the rank below which unlabelled rows are left out: n_rows if none may be."""
    if cut < 0:
        return ledger.n_rows
    positive = np.sort(sampled[ledger.label[sampled] > 0])
    return 0 if cut >= len(positive) else int(positive[len(positive) - 1 - cut]) + 1


def certify_recall(
    kind: RecallTest,
    stages: tuple[str, ...],
    counts: tuple[int, int, int, int],
    target: float,
    level: float,
) -> Test:
    """Run test A or B on (n_rows, n_sample, n_found, n_known)."""
    n_rows, n_sample, n_found, n_known = counts
    share = Share.beyond(target)
    if kind == "ratio":
        result = ratio_cut(n_rows, n_sample, n_found, n_known, share, level)
        cut, bound = result.cut, result.bound
    else:
        cut, bound = fixed_cut(n_rows, n_sample, n_known, share, level), -1
    return Test(kind, stages, n_rows, n_sample, n_found, n_known, cut, bound, target, level)


def estimate_answer(
    ledger: Ledger, sampled: Ranks, free: Ranks, cut: int, rows: int
) -> tuple[float, float]:
    """Estimate recall and precision from the uniform sample of `rows` that `sampled` is.

    Positives are missed below `cut` alone: between the last of `free` and the cut all is labelled.
    """
    if not len(sampled):
        return float("nan"), float("nan")
    found = ledger.label[sampled] > 0
    top = int(free[-1]) + 1 if len(free) else 0
    weight = rows / len(sampled) - 1  # unlabelled rows that each sampled row stands for
    below = weight * float(np.count_nonzero(found & (sampled >= cut)))
    inside = sampled < top
    rate = float(found[inside].mean()) if inside.any() else float("nan")
    right = ledger.n_positive + (rate * len(free) if len(free) else 0.0)
    returned = ledger.n_positive + len(free)
    recall = right / (right + below) if right + below > 0 else float("nan")
    return recall, right / returned if returned else float("nan")


def select_recall(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    recall: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
) -> Selection:
    """Return rows that hold a share of all positives, and as few negatives as the labels allow.

    Parameters
    ----------
    scores : ndarray of float32 or float64, shape (n_rows,)
        Proxy score of each row, any value; higher means more likely positive, NaN ranks last.
    labels : LabelSource
        Its `remaining` at the start is the budget.
    recall : float
        Share of the positives to return, in (0, 1].
    delta : float
        Failure probability, in (0, 1).
    rng : numpy.random.Generator
        Every random choice; it must not depend on the labels.
    known : ndarray of int8, shape (n_rows,), optional
        Labels known before: 1 positive, 0 negative, -1 unknown. They may depend on anything past.

    Returns
    -------
    Selection
        Always with `met`; `vacuous` where no row could be left out.

    Raises
    ------
    ValueError
        If a target, `delta` or the shape of an array is wrong.

    Notes
    -----
    Recall is at least the target with probability 1 - delta at any sample size, for any scores
    and any labels (theorems T1 and T2 in the guarantees). A pilot and the scores choose between
    a sample at once and a census of the best rows before it; all of that happens before the
    certifying sample is drawn and costs nothing of delta. What is left of the budget labels rows
    above the cut, which can only remove negatives.

    Examples
    --------
    >>> from thresher.sampling import CountedLabels
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.random(5000)
    >>> truth = scores > 0.6
    >>> labels = CountedLabels(lambda rows: truth[rows], budget=500)
    >>> answer = select_recall(scores, labels, recall=0.9, delta=0.05, rng=rng)
    >>> bool((answer.returned & truth).sum() >= 0.9 * truth.sum()), answer.vacuous
    (True, False)
    """
    Share.beyond(recall)
    check_level(delta)
    ledger = Ledger(scores, labels, rng, known)
    if ledger.affords_all:
        ledger.buy_all()
        return ledger.close(ledger.unknown(), algorithm="exact")
    buckets = make_buckets(ledger)
    budget = ledger.remaining
    if budget >= 40:
        pilot = int(np.clip(0.015 * budget, 10, 150))
        ledger.buy(draw_pilot(ledger, buckets, pilot, rng), "pilot")
    plan = _prepare(ledger, buckets, recall, delta)
    counted = plan.census > 0
    test, sampled, rows = _sample(ledger, plan, recall, delta, rng)
    cut = cut_rank(ledger, sampled, test.cut)
    ledger.verify_above(cut)
    free = ledger.unknown(0, cut)
    estimates = estimate_answer(ledger, sampled, free, cut, rows)
    how = "census then sample" if counted else "sample then verify"
    return ledger.close(
        free,
        algorithm=f"recall: {how} ({_NAMES[plan.test]})",
        recall_bound=recall,
        recall_estimate=estimates[0],
        precision_estimate=estimates[1],
        tests=[test],
    )


def _prepare(ledger: Ledger, buckets: Buckets, recall: float, delta: float) -> RecallPlan:
    """Plan, and label the census if there is one; the plan's sample is still to be drawn."""
    wrong = 1 - recall
    pictures = make_pictures(ledger, buckets)
    plan = plan_sample(pictures, ledger.remaining, wrong, delta)
    census = plan_census(pictures, ledger.remaining, wrong, delta)
    # The forecast of sampling at once is the more hopeful of the two; a census is planned again.
    if census.precision <= plan.precision - 0.2 * (1 - plan.precision) or census.precision < 0.1:
        return plan
    return _take_census(ledger, buckets, census, wrong, delta)


def _take_census(
    ledger: Ledger, buckets: Buckets, census: RecallPlan, wrong: float, delta: float
) -> RecallPlan:
    """Label the best rows in at most three steps, and plan again after each."""
    bought = 0
    pictures: tuple[Picture, ...]
    for share in (0.6, 0.6, 1.0):
        ranks = ledger.unknown()[: max(1, int(share * census.census))]
        ranks = ranks[: ledger.remaining]
        ledger.buy(ranks, "census")
        bought += len(ranks)
        pictures = make_pictures(ledger, buckets)
        plan = plan_after_census(pictures, ledger.remaining, wrong, delta)
        census = plan_census(pictures, ledger.remaining, wrong, delta, again=True)
        if census.precision <= plan.precision:
            break
    return RecallPlan(plan.precision, bought, plan.sample, plan.test)


def _sample(
    ledger: Ledger, plan: RecallPlan, recall: float, delta: float, rng: np.random.Generator
) -> tuple[Test, Ranks, int]:
    """Draw and label the uniform sample, and test it."""
    pool = ledger.unknown()
    known = ledger.n_positive
    size = min(plan.sample, ledger.remaining)
    sampled = rng.choice(pool, size, replace=False)
    found = int(ledger.buy(sampled, "sample").sum())
    counts = (len(pool), size, found, known)
    return certify_recall(plan.test, ("sample",), counts, recall, delta), sampled, len(pool)
