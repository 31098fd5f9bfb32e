"""Selection with a recall target under a declared calibration of the proxy's tail."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share, hypergeometric_cdf, marked_upper
from thresher.sampling.calibrated_plan import CalibratedTail, TailPlan, plan_tail
from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.picture import Buckets, draw_pilot, make_buckets, make_pictures
from thresher.sampling.recall import (
    certify_recall,
    check_level,
    cut_rank,
    estimate_answer,
    select_recall,
)
from thresher.sampling.recall_plan import plan_census, plan_sample
from thresher.sampling.selection import Selection, Test

__all__ = ["check_scores", "refuting_rank", "select_recall_calibrated"]

REFUTATION_LEVEL = 0.01
_N_RANKS = 12
_REFUTATION_SHARE = 0.1  # of the budget
_GAIN = 0.05  # forecast precision that the assumption must add
# Where the assumption-free limit is taken, as parts of the planned tail, with shares of delta.
_FREE_RANKS = ((1.0, 0.5), (0.5, 0.2), (0.25, 0.2), (0.0, 0.1))


@dataclass(frozen=True, slots=True)
class _Query:
    scores: npt.NDArray[np.floating]
    labels: LabelSource
    recall: float
    delta: float
    within: float
    rng: np.random.Generator


def check_scores(scores: npt.NDArray[np.floating]) -> None:
    """Raise ValueError unless every score is in [0, 1] or NaN."""
    value = np.asarray(scores)
    if value.dtype.kind != "f":
        return  # the ledger says what is wrong
    if (value < 0).any() or (value > 1).any():
        raise ValueError(
            f"this assumption needs scores in [0, 1], got {np.nanmin(value):g} to "
            f"{np.nanmax(value):g}. Rescale them to probabilities, for instance "
            "1 / (1 + exp(-score)) for log odds or (score - low) / (high - low)."
        )


def select_recall_calibrated(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    recall: float,
    delta: float,
    within: float = 10.0,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
) -> Selection:
    """Return rows that hold a share of all positives, if the proxy's tail is calibrated.

    Parameters
    ----------
    scores : ndarray of float32 or float64, shape (n_rows,)
        Proxy scores in [0, 1], read as probabilities; NaN ranks last and counts as 1 in sums.
    labels, recall, delta, rng, known
        As in `select_recall`.
    within : float
        The declared factor, above 0: beyond any rank the positives are at most `within` times the
        sum of the scores there.

    Returns
    -------
    Selection
        Of grade ``calibrated tail`` where the assumption was leant on, with `assumption` and
        `free_recall`; ``distribution-free`` where it would not have helped, or where labels spoke
        against it: `algorithm` then ends in ``refuted``.

    Raises
    ------
    ValueError
        If a target, `delta`, `within`, a score or the shape of an array is wrong.

    Notes
    -----
    Under the assumption recall is at least the target with probability 1 - delta (theorem T6 in
    the guarantees that rest on assumptions). A tenth of the labels is a uniform sample that tries
    to refute the assumption first. It refuses a true one with probability at most 1 %, but it
    misses many false ones: it is a smoke test and no safeguard. `free_recall` holds with
    probability 1 - delta whether the assumption is true or not. An answer that is not of grade
    ``calibrated tail`` keeps the promise of `select_recall`.

    Examples
    --------
    >>> from thresher.sampling import CountedLabels
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.beta(0.01, 1.0, 20000)
    >>> truth = rng.random(20000) < scores
    >>> labels = CountedLabels(lambda rows: truth[rows], budget=500)
    >>> answer = select_recall_calibrated(scores, labels, recall=0.9, delta=0.05, rng=rng)
    >>> answer.grade, bool((answer.returned & truth).sum() >= 0.9 * truth.sum())
    ('calibrated tail', True)
    """
    Share.beyond(recall)
    check_level(delta)
    if not within > 0:
        raise ValueError(f"within must be above 0, got {within}. Write 10 for ten times.")
    check_scores(scores)
    ledger = Ledger(scores, labels, rng, known)
    if ledger.affords_all:
        ledger.buy_all()
        return ledger.close(0, algorithm="exact")
    query = _Query(ledger.scores, labels, recall, delta, within, rng)
    buckets, budget = make_buckets(ledger), ledger.remaining
    if budget >= 40:
        pilot = int(np.clip(0.015 * budget, 10, 150))
        ledger.buy(draw_pilot(ledger, buckets, pilot, rng), "pilot")
    tail = CalibratedTail(ledger, within)
    if tail.contradicted:
        return _without(ledger, query, "; calibration refuted by known positives")
    plan = _promising(ledger, buckets, tail, query, int(_REFUTATION_SHARE * budget))
    if plan is None:
        return _without(ledger, query, "")
    return _lean(ledger, buckets, tail, query, plan, int(_REFUTATION_SHARE * budget))


def _without(ledger: Ledger, query: _Query, note: str) -> Selection:
    """Go on without the assumption; what is labelled so far is known."""
    known = np.empty(ledger.n_rows, dtype=np.int8)
    known[ledger.rows] = ledger.label
    answer = select_recall(
        query.scores,
        query.labels,
        recall=query.recall,
        delta=query.delta,
        rng=query.rng,
        known=known,
    )
    steps = (*ledger.steps, *answer.steps)
    return replace(answer, steps=steps, algorithm=answer.algorithm + note)


def _promising(
    ledger: Ledger, buckets: Buckets, tail: CalibratedTail, query: _Query, test_labels: int
) -> TailPlan | None:
    """Plan with the assumption, unless it is forecast to add too little."""
    pictures = make_pictures(ledger, buckets)
    wrong, left = 1 - query.recall, ledger.remaining
    plan = plan_tail(pictures, tail, left - test_labels, query.recall, query.delta)
    free = plan_sample(pictures, left, wrong, query.delta).precision
    free = max(free, plan_census(pictures, left, wrong, query.delta).precision)
    return plan if plan.precision > free + _GAIN else None


def refuting_rank(ledger: Ledger, tail: CalibratedTail, pool: Ranks, sampled: Ranks) -> int | None:
    """Return a rank beyond which a uniform sample of `pool` finds too many positives, or None.

    Called after the sample is labelled; `pool` is what was unlabelled before it. Under the
    assumption it returns a rank with probability at most `REFUTATION_LEVEL`.
    """
    n = ledger.n_rows
    ranks = np.unique(np.geomspace(max(4, 0.002 * n), max(4, 0.9 * n), _N_RANKS).astype(np.int64))
    found = sampled[ledger.label[sampled] > 0]
    for rank in ranks[ranks < n].tolist():
        beyond, rows = sampled[sampled >= rank], int(np.count_nonzero(pool >= rank))
        seen = int(np.count_nonzero(found >= rank))
        known = int(np.count_nonzero(ledger.label[rank:] > 0)) - seen
        most = min(int(tail.most[rank]) - known, rows)
        if most < 0:
            return int(rank)
        # P(X >= seen) is the chance of at most len - seen unmarked rows.
        chance = hypergeometric_cdf(len(beyond) - seen, rows, rows - most, len(beyond))[0]
        if seen and chance * (1 + 1e-6) < REFUTATION_LEVEL / _N_RANKS:
            return int(rank)
    return None


class _FreeLimit:
    """Limits of the positives beyond a few ranks, fixed before a uniform sample of `pool`."""

    def __init__(
        self, ledger: Ledger, pool: Ranks, sampled: Ranks, planned: int, delta: float
    ) -> None:
        self._ledger, self._pool = ledger, pool
        self._limits: list[tuple[int, int]] = []
        for part, share in _FREE_RANKS:
            rank = int(part * planned)
            rows = int(np.count_nonzero(pool >= rank))
            beyond = sampled[sampled >= rank]
            found = int(np.count_nonzero(ledger.label[beyond] > 0))
            self._limits.append((rank, marked_upper(rows, len(beyond), found, share * delta)))

    def recall(self, cut: int) -> float:
        """Return a lower limit of the recall when unlabelled rows from `cut` on are left out."""
        positive = self._pool[self._ledger.label[self._pool] > 0]
        missed = self._ledger.count(cut, self._ledger.n_rows)
        for rank, limit in self._limits:
            if rank <= cut:
                missed = min(missed, limit - int(np.count_nonzero(positive >= rank)))
        kept = self._ledger.n_positive
        return kept / (kept + missed) if missed > 0 else 1.0


def _lean(
    ledger: Ledger,
    buckets: Buckets,
    tail: CalibratedTail,
    query: _Query,
    plan: TailPlan,
    test_labels: int,
) -> Selection:
    """Try to refute the assumption, then sample above its tail and verify."""
    pool = ledger.unknown()
    tested = query.rng.choice(pool, test_labels, replace=False)
    ledger.buy(tested, "refute")
    free_limit = _FreeLimit(ledger, pool, tested, plan.end, query.delta)
    against = refuting_rank(ledger, tail, pool, tested)
    if against is not None or tail.contradicted:
        where = "known positives" if against is None else f"the sample beyond rank {against}"
        return _without(ledger, query, f"; calibration refuted by {where}")
    plan = _take_census(ledger, buckets, tail, query)
    tests, sampled, cut = _sample(ledger, tail, plan, query)
    if cut < ledger.n_rows:
        ledger.verify_above(cut)
    else:
        ledger.buy(ledger.first(ledger.remaining), "verify")
    cut = min(cut, tail.sure_cut(Share.beyond(query.recall)))
    if tail.contradicted:  # too late to sample anew: nothing is left out
        return ledger.close(
            ledger.n_rows, algorithm="recall: all rows; calibration refuted by known positives"
        )
    answer = _close(ledger, query, plan, tests, sampled, cut)
    if cut == ledger.n_rows:  # nothing is left out, and nothing assumed
        return answer
    assumption = (
        f"beyond any rank the positives are at most {query.within:g} times the sum of the proxy "
        "scores there"
    )
    return replace(
        answer,
        grade="calibrated tail",
        assumption=assumption,
        free_recall=free_limit.recall(cut),
    )


def _take_census(ledger: Ledger, buckets: Buckets, tail: CalibratedTail, query: _Query) -> TailPlan:
    """Label the best rows in at most three steps, and plan again after each."""
    for share in (0.6, 0.6, 1.0):
        pictures = make_pictures(ledger, buckets)
        plan = plan_tail(pictures, tail, ledger.remaining, query.recall, query.delta)
        if not plan.census:
            return plan
        ledger.buy(ledger.first(max(1, int(share * plan.census))), "census")
    pictures = make_pictures(ledger, buckets)
    return plan_tail(pictures, tail, ledger.remaining, query.recall, query.delta, census=False)


def _sample(
    ledger: Ledger, tail: CalibratedTail, plan: TailPlan, query: _Query
) -> tuple[list[Test], Ranks, int]:
    """Sample above the tail and cut with the tail's worst counted as missed."""
    pool = ledger.unknown(0, plan.end)
    size = min(plan.sample, len(pool), ledger.remaining)
    none = np.zeros(0, dtype=np.int64)
    share = Share.beyond(query.recall)
    known = _discounted(ledger.n_positive, max(0, tail.hidden(plan.end)), share)
    if not size or known is None:
        return [], none, ledger.n_rows
    sampled = query.rng.choice(pool, size, replace=False)
    found = int(ledger.buy(sampled, "sample").sum())
    counts = (len(pool), size, found, known)
    test = certify_recall(plan.test, ("sample",), counts, query.recall, query.delta)
    if size == len(pool) and share.of(known + found) < 0:
        test = replace(test, cut=-1)
    return [test], sampled, cut_rank(ledger, sampled, test.cut)


def _discounted(known: int, lost: int, share: Share) -> int | None:
    """Return K' such that share of (K' + p) pays for `lost` positives missed as well; or None."""
    if not lost:
        return known
    kept = 10**9 - share.per_billion
    return known - -(-lost * kept // share.per_billion) if share.per_billion else None


def _close(
    ledger: Ledger, query: _Query, plan: TailPlan, tests: list[Test], sampled: Ranks, cut: int
) -> Selection:
    """Build the answer."""
    rows = tests[0].n_rows if tests else 0
    recall_estimate, precision_estimate = estimate_answer(ledger, sampled, cut, cut, rows)
    how = f"sample of ranks below {plan.end}" if tests else "best rows verified"
    return ledger.close(
        cut,
        algorithm=f"recall: {how}, calibrated tail (T6)",
        recall_bound=query.recall,
        recall_estimate=recall_estimate,
        precision_estimate=precision_estimate,
        tests=tests,
    )
