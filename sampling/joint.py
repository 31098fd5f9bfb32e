"""Selection with a recall and a precision target, and as few labels as possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share
from thresher.sampling.head import Head
from thresher.sampling.joint_plan import best_sample, make_tails, plan_head_below, tail_cost
from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.picture import Buckets, Picture, draw_pilot, make_buckets, make_pictures
from thresher.sampling.recall import certify_recall, check_level, cut_rank, estimate_answer
from thresher.sampling.recall_plan import RecallTest, plan_sample
from thresher.sampling.selection import Selection, Test

__all__ = ["select_joint"]

_PILOT = 40
_LOOKS = ((1.0, 0.80), (1.9, 0.14), (4.0, 0.06))  # sizes over the first, shares of recall's delta
_RECALL_SHARES = (0.75, 0.92)
_CENSUS_DENSITIES = (0.5, 0.25, 0.12, 0.06)
_CENSUS_GAIN = 0.88  # a census is forecast too hopefully
_HEAD_SHARES = (0.8, 0.2)  # of the rest of delta


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is fixed before the sample: everything the looks may not depend on."""

    labels: float
    census: int
    sizes: tuple[int, ...]
    test: RecallTest
    recall_level: float
    head_level: float


@dataclass(frozen=True, slots=True)
class _Targets:
    recall: float
    precision: float
    delta: float

    @property
    def missed(self) -> float:
        return 1 - self.recall

    @property
    def wrong(self) -> float:
        return 1 - self.precision


def select_joint(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    recall: float,
    precision: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
) -> Selection:
    """Return rows that meet a recall and a precision target, for as few labels as possible.

    Parameters
    ----------
    scores, labels, delta, rng, known
        As in `select_recall`; `labels.remaining` is a limit that is never passed.
    recall, precision : float
        Targets in (0, 1].

    Returns
    -------
    Selection
        With probability 1 - delta both `recall_bound` and `precision_bound` hold. Where the labels
        do not suffice for both targets, `met` is false, recall holds all the same, and
        `precision_bound` is what could be certified.

    Raises
    ------
    ValueError
        If a target, `delta` or the shape of an array is wrong.

    Notes
    -----
    Up to three looks at prefixes of one random permutation, with their sizes, levels and test
    fixed before the first (theorem T3), set the recall cut; the rows above it are verified from
    the cut upwards and the head is certified as in `select_precision` (T4). The levels of all
    tests add up to at most delta.
    """
    targets = _Targets(recall, precision, delta)
    Share.beyond(recall)
    Share.beyond(precision)
    check_level(delta)
    ledger = Ledger(scores, labels, rng, known)
    if not ledger.n_unknown:
        return ledger.close(ledger.unknown(), algorithm="exact")
    buckets = make_buckets(ledger)
    plan = _plan(ledger, buckets, targets, rng)
    if plan.census and plan.labels <= ledger.remaining:
        ledger.buy(ledger.unknown()[: plan.census], "census")
        plan = _best_plan(ledger, buckets, targets, census=False)
    if ledger.affords_all and plan.labels >= ledger.n_unknown:
        ledger.buy_all()
        return ledger.close(ledger.unknown(), algorithm="exact")
    short = plan.labels > ledger.remaining
    if short:
        plan = _short_plan(ledger, buckets, targets)
    pool = rng.permutation(ledger.unknown())
    tests, sampled, cut = _look(ledger, buckets, pool, plan, targets)
    head = Head(ledger, precision, cut)
    if not short:
        _certify(ledger, head, buckets, plan.head_level, rng)
    _finish(ledger, head, plan.head_level, rng)
    return _close(ledger, head, sampled, cut, len(pool), tests, targets)


def _close(
    ledger: Ledger,
    head: Head,
    sampled: Ranks,
    cut: int,
    n_pool: int,
    tests: list[Test],
    targets: _Targets,
) -> Selection:
    """Return the known positives and the head, which holds all that is unlabelled above the cut."""
    free = ledger.unknown(0, head.end)
    recall_estimate, precision_estimate = estimate_answer(ledger, sampled, free, cut, n_pool)
    how = "T1" if tests[0].kind == "ratio" else "T2"
    looks = f"{len(tests)} look{'s' * (len(tests) > 1)}"
    return ledger.close(
        free,
        algorithm=f"joint: {looks} ({how}), head certified by {len(head.tests)} (T4)",
        met=head.certified,
        recall_bound=targets.recall,
        precision_bound=head.precision_bound,
        recall_estimate=recall_estimate,
        precision_estimate=precision_estimate,
        tests=tests + head.tests,
    )


def _plan(ledger: Ledger, buckets: Buckets, targets: _Targets, rng: np.random.Generator) -> _Plan:
    """Label a pilot, twice if the query is large, and choose the looks and the split of delta."""
    pilot = min(_PILOT, ledger.n_rows // 10, ledger.remaining // 4)
    ledger.buy(draw_pilot(ledger, buckets, pilot, rng), "pilot")
    first = _best_plan(ledger, buckets, targets, census=False).labels
    more = int(min(300, 0.03 * first, ledger.n_rows // 20, ledger.remaining // 8)) - pilot
    if more >= 20:
        ledger.buy(draw_pilot(ledger, buckets, more, rng), "pilot")
    return _best_plan(ledger, buckets, targets)


def _best_plan(
    ledger: Ledger, buckets: Buckets, targets: _Targets, *, census: bool = True
) -> _Plan:
    """Choose the split of delta, then whether to label the best rows before the looks."""
    pictures = make_pictures(ledger, buckets)
    plans = [_price(ledger, buckets, targets, pictures, 0, part) for part in _RECALL_SHARES]
    best = min(plans, key=lambda plan: plan.labels)
    density = np.mean([p.density for p in pictures], axis=0)
    part, without = best.recall_level / targets.delta, best.labels
    for low in _CENSUS_DENSITIES if census else ():
        end = int(buckets.edges[np.searchsorted(-density, -low, side="right")])
        count = len(ledger.unknown(0, end))
        if 0 < count < best.labels:
            plan = _price(ledger, buckets, targets, pictures, count, part)
            if plan.labels < min(best.labels, _CENSUS_GAIN * without):
                best = plan
    return best


def _price(
    ledger: Ledger,
    buckets: Buckets,
    targets: _Targets,
    pictures: tuple[Picture, ...],
    census: int,
    part: float,
) -> _Plan:
    """Forecast the labels of a plan that gives a part of delta to recall."""
    level, rest = part * targets.delta, (1 - part) * targets.delta
    if census:
        pictures = tuple(p.after_census(census) for p in pictures)
    none = np.zeros(0, dtype=np.int64)
    tails = make_tails(ledger, buckets, pictures, none, targets.wrong, _HEAD_SHARES[0] * rest)
    known = pictures[0].known
    labels, size, test = best_sample(tails, known, targets.missed, _LOOKS[0][1] * level)
    sizes = tuple(min(ledger.n_unknown - census, int(ratio * size)) for ratio, _ in _LOOKS)
    return _Plan(labels + census, census, sizes, test, level, rest)


def _short_plan(ledger: Ledger, buckets: Buckets, targets: _Targets) -> _Plan:
    """Plan one look as a recall query would, and keep labels to certify what precision there is."""
    left = ledger.remaining - _reserve(ledger.remaining)
    first = _LOOKS[0][1] * targets.delta
    plan = plan_sample(make_pictures(ledger, buckets), left, targets.missed, first)
    # There is one look only, which spends its own share of delta; the head has all the rest.
    return _Plan(np.inf, 0, (plan.sample,), plan.test, targets.delta, targets.delta - first)


def _reserve(remaining: int) -> int:
    """Labels kept to certify the precision of an answer that will fall short."""
    return min(remaining, max(30, remaining // 5))


def _look(
    ledger: Ledger, buckets: Buckets, pool: Ranks, plan: _Plan, targets: _Targets
) -> tuple[list[Test], Ranks, int]:
    """Take looks at prefixes of the permutation until another does not pay; keep the best cut."""
    known, cut, done = ledger.n_positive, ledger.n_rows, 0
    tests: list[Test] = []
    for number, size in enumerate(plan.sizes):
        if size - done > ledger.remaining or (tests and size <= done):
            break
        ledger.buy(pool[done:size], f"look {number + 1}")
        done = size
        found = int(np.count_nonzero(ledger.label[pool[:done]] > 0))
        stages = tuple(f"look {i + 1}" for i in range(number + 1))
        level = _LOOKS[number][1] * plan.recall_level
        counts = (len(pool), done, found, known)
        tests.append(certify_recall(plan.test, stages, counts, targets.recall, level))
        cut = min(cut, cut_rank(ledger, pool[:done], tests[-1].cut))
        if done == len(pool) or not _pays(ledger, buckets, pool[:done], cut, plan, targets, known):
            break
    return tests, pool[:done], cut


def _pays(
    ledger: Ledger,
    buckets: Buckets,
    sampled: Ranks,
    cut: int,
    plan: _Plan,
    targets: _Targets,
    known: int,
) -> bool:
    """Return whether any later look is forecast to save labels."""
    sizes = [s for s in plan.sizes if s > len(sampled)]
    if not sizes:
        return False
    pictures = make_pictures(ledger, buckets)
    head_level = _HEAD_SHARES[0] * plan.head_level
    now = plan_head_below(pictures, cut, targets.wrong, head_level).labels
    tails = make_tails(ledger, buckets, pictures, sampled, targets.wrong, head_level)
    so_far = len(sampled), int(np.count_nonzero(ledger.label[sampled] > 0))
    for size, (_, share) in zip(sizes[::-1], _LOOKS[::-1], strict=False):
        level = share * plan.recall_level
        total = np.array([float(size)])
        cost = [
            tail_cost(t, total, so_far, known, targets.missed, level, plan.test)[0] for t in tails
        ]
        if np.mean(cost) <= min(0.95 * now, ledger.remaining):
            return True
    return False


def _certify(
    ledger: Ledger, head: Head, buckets: Buckets, level: float, rng: np.random.Generator
) -> None:
    """Verify upwards from the cut as far as is planned, and certify the head by up to two looks."""
    for share in _HEAD_SHARES:
        sample = 0
        for _ in range(3):
            if head.certified:
                return
            pictures = make_pictures(ledger, buckets)
            plan = plan_head_below(pictures, head.end, 1 - head.target, share * level)
            ranks = ledger.unknown(plan.end, head.end)
            sample = min(plan.sample, head.n_free - len(ranks))
            if len(ranks) + sample > ledger.remaining:
                return
            head.verify(ranks)
            head.shrink(plan.end)
            if not len(ranks):
                break
        head.look(head.end, sample, share * level, rng)


def _finish(ledger: Ledger, head: Head, level: float, rng: np.random.Generator) -> None:
    """Verify upwards until the head is certified or the labels are spent."""
    looks = len(head.tests)
    if not head.certified and not ledger.affords_all and looks < len(_HEAD_SHARES):
        spare = ledger.remaining - _reserve(ledger.remaining)
        if spare:
            head.verify(ledger.unknown(0, head.end)[-spare:][::-1])
        rest = level if not looks else _HEAD_SHARES[1] * level
        head.look(head.end, ledger.remaining, rest, rng)
    block = max(1, head.n_free // 100)
    while not head.certified and (count := ledger.remaining):
        head.verify(ledger.unknown(0, head.end)[-min(block, count) :][::-1])
