"""Selection with a recall and a precision target, and as few labels as possible."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share
from thresher.sampling.head import Head
from thresher.sampling.joint_plan import best_sample, make_tails, plan_head_below, tail_cost
from thresher.sampling.labels import LabelSource, Unanswered
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.looks import Look, early_looks, take_looks
from thresher.sampling.permutation import Permutation
from thresher.sampling.picture import (
    Buckets,
    Picture,
    draw_pilot,
    expected,
    make_buckets,
    make_pictures,
)
from thresher.sampling.recall import check_level, estimate_answer
from thresher.sampling.recall_plan import RecallTest, plan_sample
from thresher.sampling.restart_plan import plan_restart, plan_second_sample
from thresher.sampling.selection import Selection, Test
from thresher.sampling.unanswered import bear

__all__ = ["EARLY", "HEAD_SHARES", "LOOKS", "RECALL_SHARES", "SECOND_SAMPLE", "select_joint"]

_PILOT = 40
LOOKS = ((1.0, 0.80), (1.9, 0.13), (4.0, 0.04))  # sizes over the first, shares of recall's delta
_HOPELESS = 0.5  # share of the rows from which on a plan is worth another pilot, a uniform one
_EXPLORED = 0.02  # of the labels of such a plan
_FADED = 0.25  # share of the density of a clump at which it ends
SECOND_SAMPLE = 0.03  # share of recall's delta of a second sample
RECALL_SHARES = (0.75, 0.92)
_CENSUS_DENSITIES = (0.5, 0.25, 0.12, 0.06)
_CENSUS_GAIN = 0.88  # a census is forecast too hopefully
_DEEP = 0.02  # share of all positives that a census must bear to lie anywhere
HEAD_SHARES = (0.8, 0.2)  # of the rest of delta
EARLY = 0.1  # share of recall's delta of looks before the first, if the labels may stop


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is fixed before the sample: everything the looks may not depend on."""

    labels: float
    census: int
    looks: tuple[Look, ...]
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
    interruptible: bool = False,
    unanswered: Unanswered | None = None,
) -> Selection:
    """Return rows that meet a recall and a precision target, for as few labels as possible.

    Parameters
    ----------
    scores, labels, delta, rng, known, interruptible
        As in `select_recall`; `labels.remaining` is a limit that is never passed.
    recall, precision : float
        Targets in (0, 1].
    unanswered : callable, optional
        Rows that were asked by now and have no answer. They are returned and count as negative
        (W4); once every row was asked, as many are returned as the precision target bears (W1).

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

    Where the looks show that positives hide at the bottom of the ranking, the lowest ranks are
    labelled and recall is certified anew, from a fresh sample and at a level kept for it.

    With `interruptible` there are looks at a half of the first size too, at a quarter, and so on,
    with a tenth of recall's share of delta, and the head is sampled as in `select_precision`.
    Wherever the labels end, both bounds of the answer hold (T7); `met` is false where they end
    before both targets are certified.
    """
    targets = _Targets(recall, precision, delta)
    Share.beyond(recall)
    Share.beyond(precision)
    check_level(delta)
    ledger = Ledger(scores, labels, rng, known, interruptible=interruptible, unanswered=unanswered)
    order = Permutation(ledger, rng)
    if not ledger.n_unknown:
        return _exactly(ledger, targets)
    buckets = make_buckets(ledger, alike=True)
    plan = _plan(ledger, buckets, targets, rng)
    if plan.test == "ratio" and plan.labels > _HOPELESS * ledger.n_unknown:
        buckets, plan = _explore(ledger, buckets, plan, targets, rng)
    if plan.census and plan.labels <= ledger.remaining:
        ledger.buy(ledger.first(plan.census), "census")
        plan = _best_plan(ledger, buckets, targets, census=False)
    if ledger.affords_all and plan.labels >= ledger.n_unknown:
        if not interruptible:
            ledger.buy_all()
            return _exactly(ledger, targets)
        every = _schedule(ledger, ledger.n_unknown, plan.recall_level, ledger.n_unknown)
        plan = replace(plan, looks=every)
    short = plan.labels > ledger.remaining
    if short:
        plan = _short_plan(ledger, buckets, targets)
    n_pool = ledger.n_unknown
    tests, sampled, cut = _look(ledger, buckets, order, plan, targets)
    if not short:
        looked = _begin_again(ledger, buckets, plan, targets, (tests, sampled, cut, n_pool), rng)
        tests, sampled, cut, n_pool = looked
    head = Head(ledger, precision, cut)
    if not short:
        _certify(ledger, head, buckets, plan.head_level, rng)
    _finish(ledger, head, plan.head_level, rng)
    return _close(ledger, head, (tests, sampled, cut), n_pool, targets)


def _close(
    ledger: Ledger,
    head: Head,
    looked: tuple[list[Test], Ranks, int],
    n_pool: int,
    targets: _Targets,
) -> Selection:
    """Return the known positives and the head, which holds all that is unlabelled above the cut."""
    tests, sampled, cut = looked
    if not ledger.n_unknown and len(ledger.unanswered):
        return _exactly(ledger, targets, tests + head.tests)
    estimates = estimate_answer(ledger, sampled, head.end, cut, n_pool)
    looks = f"{len(tests)} look{'s' * (len(tests) != 1)}"
    how = f" ({'T1' if tests[0].kind == 'ratio' else 'T2'})" if tests else ""
    return ledger.close(
        head.end,
        algorithm=f"joint: {looks}{how}, head certified by {len(head.tests)} (T4)",
        met=head.certified,
        recall_bound=targets.recall,
        precision_bound=head.precision_bound,
        recall_estimate=estimates[0],
        precision_estimate=estimates[1],
        tests=tests + head.tests,
    )


def _exactly(ledger: Ledger, targets: _Targets, tests: list[Test] | None = None) -> Selection:
    """Return the positives once every row was asked, with rows that have no answer as need be."""
    answer = ledger.close(0, algorithm="exact", tests=tests)
    return bear(answer, ledger.unanswered, recall=targets.recall, precision=targets.precision)


def _plan(ledger: Ledger, buckets: Buckets, targets: _Targets, rng: np.random.Generator) -> _Plan:
    """Label a pilot, twice if the query is large, and choose the looks and the split of delta."""
    pilot = min(_PILOT, ledger.n_rows // 10, ledger.remaining // 4)
    ledger.buy(draw_pilot(ledger, buckets, pilot, rng), "pilot")
    first = _best_plan(ledger, buckets, targets, census=False).labels
    more = int(min(300, 0.03 * first, ledger.n_rows // 20, ledger.remaining // 8)) - pilot
    if more >= 20:
        ledger.buy(draw_pilot(ledger, buckets, more, rng), "pilot")
    return _best_plan(ledger, buckets, targets)


def _explore(
    ledger: Ledger, buckets: Buckets, plan: _Plan, targets: _Targets, rng: np.random.Generator
) -> tuple[Buckets, _Plan]:
    """Label rows of all ranks alike, and a clump of positives at the bottom if they show one."""
    count = int(_EXPLORED * min(plan.labels, ledger.remaining))
    ranks = Permutation(ledger, rng).take(count)
    ledger.buy(ranks, "pilot")
    levels = LOOKS[0][1] * plan.recall_level, HEAD_SHARES[0] * plan.head_level
    now, wrong = min(plan.labels, ledger.remaining), (targets.missed, targets.wrong)
    start = plan_restart(ledger, ranks, now, wrong, levels)
    if start is not None:
        buckets = make_buckets(ledger, alike=True, end=_label_clump(ledger, start))
    return buckets, _best_plan(ledger, buckets, targets, census=start is not None)


def _best_plan(
    ledger: Ledger, buckets: Buckets, targets: _Targets, *, census: bool = True
) -> _Plan:
    """Choose the split of delta, then whether to label the best rows before the looks."""
    pictures = make_pictures(ledger, buckets)
    plans = [_price(ledger, buckets, targets, pictures, 0, part) for part in RECALL_SHARES]
    best = min(plans, key=lambda plan: plan.labels)
    density = expected(pictures, [p.density for p in pictures])
    part, without = best.recall_level / targets.delta, best
    for low in _CENSUS_DENSITIES if census else ():
        end = int(buckets.edges[np.searchsorted(-density, -low, side="right")])
        count = ledger.count(0, end)
        if 0 < count < best.labels:
            plan = _price(ledger, buckets, targets, pictures, count, part)
            if plan.labels < min(best.labels, _CENSUS_GAIN * without.labels):
                best = plan
    if best.census and not _sturdy(ledger, buckets, targets, pictures, (best, without)):
        return without
    return best


def _sturdy(
    ledger: Ledger,
    buckets: Buckets,
    targets: _Targets,
    pictures: tuple[Picture, ...],
    plans: tuple[_Plan, _Plan],
) -> bool:
    """Return whether a census still pays if some positives lie deeper than the scores say."""
    deep, costs = [p.with_deep(_DEEP) for p in pictures], []
    for plan in plans:
        after = [p.after_census(plan.census) for p in deep] if plan.census else deep
        level = HEAD_SHARES[0] * plan.head_level
        tails = make_tails(ledger, buckets, after, np.zeros(0, np.int64), targets.wrong, level)
        look = next(x for x in plan.looks if x.level == max(y.level for y in plan.looks))
        size, known = np.array([float(look.size)]), after[0].known
        cost = tail_cost(tails, size, (0, 0), known, targets.missed, look.level, plan.test)
        costs.append(plan.census + float(cost[0]))
    return costs[0] < costs[1]


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
    tails = make_tails(ledger, buckets, pictures, none, targets.wrong, HEAD_SHARES[0] * rest)
    known = pictures[0].known
    share = (1 - EARLY) if ledger.interruptible else 1.0
    first = share * LOOKS[0][1] * level
    labels, size, test = best_sample(tails, known, targets.missed, first)
    looks = _schedule(ledger, size, level, ledger.n_unknown - census)
    return _Plan(labels + census, census, looks, test, level, rest)


def _schedule(
    ledger: Ledger,
    size: int,
    level: float,
    most: int,
    pattern: tuple[tuple[float, float], ...] = LOOKS,
) -> tuple[Look, ...]:
    """Return looks that spend `level`, the main ones from `size` on and none beyond `most`."""
    share = (1 - EARLY) if ledger.interruptible else 1.0
    sizes = [min(most, int(ratio * size)) for ratio, _ in pattern]
    early = early_looks(sizes[0], (1 - share) * level)
    looks = [Look(n, share * part * level) for n, (_, part) in zip(sizes, pattern, strict=True)]
    grows = [look for i, look in enumerate(looks) if look.size not in sizes[:i]]
    return (*(early if ledger.interruptible else ()), *grows)


def _short_plan(ledger: Ledger, buckets: Buckets, targets: _Targets) -> _Plan:
    """Plan one look as a recall query would, and keep labels to certify what precision there is."""
    left = ledger.remaining - _reserve(ledger.remaining)
    first = LOOKS[0][1] * targets.delta
    plan = plan_sample(make_pictures(ledger, buckets), left, targets.missed, first)
    # There is one look only, which spends its own share of delta; the head has all the rest.
    looks = _schedule(ledger, plan.sample, first, plan.sample, ((1.0, 1.0),))
    return _Plan(np.inf, 0, looks, plan.test, targets.delta, targets.delta - first)


def _reserve(remaining: int) -> int:
    """Labels kept to certify the precision of an answer that will fall short."""
    return min(remaining, max(30, remaining // 5))


def _look(
    ledger: Ledger, buckets: Buckets, order: Permutation, plan: _Plan, targets: _Targets
) -> tuple[list[Test], Ranks, int]:
    """Take looks at prefixes of the permutation until another does not pay; keep the best cut."""
    known, n_pool = ledger.n_positive, ledger.n_unknown

    def go_on(sampled: Ranks, cut: int) -> bool:
        return len(sampled) < n_pool and _pays(ledger, buckets, sampled, cut, plan, targets, known)

    return take_looks(ledger, order, plan.looks, plan.test, targets.recall, go_on)


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
    later = [look for look in plan.looks if look.size > len(sampled)]
    if not later:
        return False
    pictures = make_pictures(ledger, buckets)
    head_level = HEAD_SHARES[0] * plan.head_level
    now = plan_head_below(pictures, cut, targets.wrong, head_level).labels
    tails = make_tails(ledger, buckets, pictures, sampled, targets.wrong, head_level)
    so_far = len(sampled), int(np.count_nonzero(ledger.label[sampled] > 0))
    least = min(
        tail_cost(
            tails, np.array([float(x.size)]), so_far, known, targets.missed, x.level, plan.test
        )[0]
        for x in later
    )
    if least > min(0.95 * now, ledger.remaining):
        return False
    wrong = targets.missed, targets.wrong
    levels = SECOND_SAMPLE * plan.recall_level, head_level
    return ledger.interruptible or plan_restart(ledger, sampled, least, wrong, levels) is None


def _label_clump(ledger: Ledger, start: int) -> int:
    """Label all ranks from `start` on, and those above it while positives go on; the new start."""
    ranks = ledger.unknown(start)[::-1]
    step, least, dense = max(16, len(ranks) // 8), 0.0, len(ranks) > 0
    while dense and ledger.remaining:
        answers = ledger.buy(ranks, "clump")
        least = least or _FADED * float(answers.mean())
        start, dense = min(start, int(ranks[-1])), float(answers.mean()) > least
        ranks = ledger.last(step, start)[: ledger.remaining]
        dense &= len(ranks) > 0
    return start


def _begin_again(
    ledger: Ledger,
    buckets: Buckets,
    plan: _Plan,
    targets: _Targets,
    looked: tuple[list[Test], Ranks, int, int],
    rng: np.random.Generator,
) -> tuple[list[Test], Ranks, int, int]:
    """Label a clump of positives at the bottom, if the looks show one, and sample the rest anew.

    Returns the tests, the last sample, the deepest cut and how many rows that sample stands for.
    """
    tests, _, cut, _ = looked
    if ledger.interruptible or not tests:
        return looked
    wrong = targets.missed, targets.wrong
    levels = SECOND_SAMPLE * plan.recall_level, HEAD_SHARES[0] * plan.head_level
    now = plan_head_below(make_pictures(ledger, buckets), cut, targets.wrong, levels[1]).labels
    start = plan_restart(ledger, looked[1], min(now, ledger.remaining), wrong, levels)
    if start is None:
        return looked
    buckets = make_buckets(ledger, alike=True, end=_label_clump(ledger, start))
    second = plan_second_sample(ledger, buckets, 0.0, wrong, levels)
    ledger.buy(ledger.first(min(second.census, ledger.remaining)), "census")
    n_rows = ledger.n_unknown
    looks = (Look(min(second.size, n_rows), levels[0]),)
    order = Permutation(ledger, rng)
    again, sampled, deeper = take_looks(ledger, order, looks, second.test, targets.recall)
    return (tests + again, sampled, min(cut, deeper), n_rows) if again else looked


def _certify(
    ledger: Ledger, head: Head, buckets: Buckets, level: float, rng: np.random.Generator
) -> None:
    """Verify upwards from the cut as far as is planned, and certify the head by up to two looks."""
    for share in HEAD_SHARES:
        sample = 0
        for _ in range(3):
            if head.certified:
                return
            pictures = make_pictures(ledger, buckets)
            plan = plan_head_below(pictures, head.end, 1 - head.target, share * level)
            count = ledger.count(plan.end, head.end)
            sample = min(plan.sample, head.n_free - count)
            if count + sample > ledger.remaining:
                return
            head.verify(ledger.last(count, head.end))
            if ledger.count(plan.end, head.end):
                return  # cut short: what is left above the recall cut must be returned
            head.shrink(plan.end)
            if not count:
                break
        head.look(head.end, sample, share * level, rng)


def _finish(ledger: Ledger, head: Head, level: float, rng: np.random.Generator) -> None:
    """Verify upwards until the head is certified or the labels are spent."""
    left = ledger.remaining
    if left and not head.certified and not ledger.affords_all and head.n_looks < len(HEAD_SHARES):
        head.verify(ledger.last(left - _reserve(left), head.end))
        rest = HEAD_SHARES[1] * level if head.n_looks else level
        head.look(head.end, ledger.remaining, rest, rng)
    block = max(1, head.n_free // 100)
    while not head.certified and head.n_free and (count := ledger.remaining):
        head.verify(ledger.last(min(block, count), head.end))
