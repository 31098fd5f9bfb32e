"""Selection with a recall target and a budget of labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share
from thresher.sampling.labels import LabelSource, Unanswered
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.looks import Look, certify_recall, cut_rank, early_looks, take_looks
from thresher.sampling.permutation import Permutation
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
    least_sample,
    plan_after_census,
    plan_census,
    plan_sample,
)
from thresher.sampling.selection import Selection

__all__ = [
    "LAST_LOOK",
    "certify_recall",
    "check_level",
    "cut_rank",
    "estimate_answer",
    "select_recall",
]

_PILOT = (0.015, 0.05)  # shares of the labels; the second where no census follows
_NAMES: dict[RecallTest, str] = {"ratio": "T1", "fixed": "T2"}
LAST_LOOK = 0.8  # share of delta of the last look, if the labels may stop before it


def check_level(delta: float) -> None:
    """Raise ValueError unless `delta` is in (0, 1)."""
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta must be in (0, 1), got {delta}. Write 0.05 for 95 % confidence.")


def estimate_answer(
    ledger: Ledger, sampled: Ranks, end: int, cut: int, rows: int
) -> tuple[float, float]:
    """Estimate recall and precision of returning the unlabelled ranks of [0, end).

    `sampled` is a uniform sample of `rows` rows. Positives are missed below `cut` alone: between
    the last row returned and the cut all is labelled.
    """
    if not len(sampled):
        return float("nan"), float("nan")
    found = ledger.label[sampled] > 0
    n_free, top = ledger.extent(end)
    weight = rows / len(sampled) - 1  # unlabelled rows that each sampled row stands for
    below = weight * float(np.count_nonzero(found & (sampled >= cut)))
    inside = sampled < top
    rate = float(found[inside].mean()) if inside.any() else float("nan")
    right = ledger.n_positive + (rate * n_free if n_free else 0.0)
    returned = ledger.n_positive + n_free
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
    interruptible: bool = False,
    unanswered: Unanswered | None = None,
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
    interruptible : bool, default False
        Whether `labels` may stop at any time, for any reason: by raising `OutOfLabelsError`, or
        because `remaining` falls to 0. The answer then holds what was proved until then.
    unanswered : callable, optional
        Rows that were asked by now and have no answer, before this call or in it. They are
        returned, and recall holds whatever is true of them (W3).

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

    With `interruptible` the sample is tested at a half of its size too, at a quarter, and so on,
    with a fifth of delta for all of these, and wherever the labels end the deepest cut of a
    completed look holds (T7). Before the first look every row that is not known to be negative is
    returned. The same call with the same generator, facts and `remaining` asks for the same rows in
    the same order, and all its answers, wherever it stops, hold together with probability
    1 - delta.

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
    ledger = Ledger(scores, labels, rng, known, interruptible=interruptible, unanswered=unanswered)
    order = Permutation(ledger, rng)
    exhaustive = ledger.affords_all
    if exhaustive and not (interruptible and ledger.n_unknown):
        ledger.buy_all()
        return ledger.close(0, algorithm="exact")
    buckets = make_buckets(ledger)
    last = LAST_LOOK * delta if interruptible else delta
    plan = _prepare(ledger, buckets, recall, last, rng)
    size, rows = min(plan.sample, ledger.remaining), ledger.n_unknown
    early = early_looks(size, delta - last) if interruptible else ()
    looks = (*early, Look(size, last))
    tests, sampled, cut = take_looks(ledger, order, looks, plan.test, recall)
    ledger.verify_above(cut)
    if exhaustive:
        ledger.buy_all()
    if not ledger.n_unknown:
        return ledger.close(0, algorithm="exact", tests=tests)
    estimates = estimate_answer(ledger, sampled, cut, cut, rows)
    how = "census then sample" if plan.census else "sample then verify"
    done = f", {len(tests)} of {len(looks)} looks" if interruptible else ""
    return ledger.close(
        cut,
        algorithm=f"recall: {how} ({_NAMES[plan.test]}){done}",
        recall_bound=recall,
        recall_estimate=estimates[0],
        precision_estimate=estimates[1],
        tests=tests,
    )


def _prepare(
    ledger: Ledger, buckets: Buckets, recall: float, delta: float, rng: np.random.Generator
) -> RecallPlan:
    """Label a pilot, plan, and label the census if there is one; the sample is yet to be drawn."""
    wrong, budget = 1 - recall, ledger.remaining
    for share in _PILOT:
        if budget >= 40:
            pilot = int(np.clip(share * budget, 10, 150))
            ledger.buy(draw_pilot(ledger, buckets, pilot, rng), "pilot")
        pictures = make_pictures(ledger, buckets)
        plan = plan_sample(pictures, ledger.remaining, wrong, delta)
        census = plan_census(pictures, ledger.remaining, wrong, delta)
        if census.precision > max(plan.precision, 0.1):
            return _take_census(ledger, buckets, census, wrong, delta)
    return plan


def _take_census(
    ledger: Ledger, buckets: Buckets, census: RecallPlan, wrong: float, delta: float
) -> RecallPlan:
    """Label the best rows in at most three steps, and plan again after each."""
    bought = 0
    pictures: tuple[Picture, ...]
    for share in (0.6, 0.6, 1.0):
        count = min(max(1, int(share * census.census)), ledger.remaining)
        if bought and (spare := ledger.remaining - _least(ledger, 0, wrong, delta)) > 0:
            count = min(count, spare)  # test B stays within reach even if no positive is found
        bought += len(ledger.buy(ledger.first(count), "census"))
        pictures = make_pictures(ledger, buckets)
        plan = plan_after_census(pictures, ledger.remaining, wrong, delta)
        census = plan_census(pictures, ledger.remaining, wrong, delta, again=True)
        if census.precision <= plan.precision:
            break
    if plan.cut >= 0:
        plan = replace(plan, sample=_least(ledger, plan.cut, wrong, delta))
    return replace(plan, census=bought)


def _least(ledger: Ledger, cut: int, wrong: float, delta: float) -> int:
    """Return the smallest sample for which test B allows a cut, with all that is known now."""
    return least_sample(ledger.n_unknown, ledger.n_positive, cut, Share.beyond(1 - wrong), delta)
