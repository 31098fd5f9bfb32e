"""Rows asked without an answer: recall and precision hold whatever is true of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from math import comb

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from thresher.sampling import Selection, bear, select_exact, select_joint, select_recall
from thresher.sampling.bounds import Share
from thresher.sampling.looks import certify_recall, cut_rank

Bits = npt.NDArray[np.bool_]


class Silent:
    """Labels with a budget, of which some rows have none."""

    def __init__(self, truth: Bits, broken: Bits, budget: int) -> None:
        self.truth, self.broken, self.remaining = truth & ~broken, broken, budget
        self.failed: list[int] = []
        self.asked: list[int] = []

    def __call__(self, rows: npt.NDArray[np.int64]) -> Bits:
        self.remaining -= len(rows)
        self.asked += rows.tolist()
        self.failed += rows[self.broken[rows]].tolist()
        return np.asarray(self.truth[rows])

    def unanswered(self) -> npt.NDArray[np.int64]:
        return np.array(sorted(self.failed), dtype=np.int64)


class Few:
    """What the cut is read from: a ledger of a few ranks, in their order."""

    def __init__(self, states: Sequence[int], n_rows: int, sample: Sequence[int]) -> None:
        self.n_rows, self.label = n_rows, np.full(n_rows, -1, dtype=np.int8)
        self.label[list(sample)] = [state == 1 for state in states]
        self._failed = {s for s, state in zip(sample, states, strict=True) if state == 2}

    def failed(self, ranks: npt.NDArray[np.int64]) -> Bits:
        return np.array([rank in self._failed for rank in ranks.tolist()], dtype=np.bool_)


def worst_cuts(
    n_rows: int, size: int, kind: str, n_known: int, target: float, level: float
) -> Iterator[tuple[tuple[int, ...], dict[tuple[int, ...], int]]]:
    """For each sample the cut by its states: 0 negative, 1 positive, 2 without an answer."""
    certify = cache(certify_recall)
    for sample in itertools.combinations(range(n_rows), size):
        cuts = {}
        for states in itertools.product((0, 1, 2), repeat=size):
            ledger = Few(states, n_rows, sample)
            counts = n_rows, size, states.count(1), n_known
            test = certify(kind, ("sample",), counts, target, level, states.count(2))  # type: ignore[arg-type]
            ranks = np.array(sample, dtype=np.int64)
            cuts[states] = cut_rank(ledger, ranks, test.cut, test.cuts)  # type: ignore[arg-type]
        yield sample, cuts


@pytest.mark.parametrize(
    ("kind", "size", "n_known", "target", "level"),
    [
        ("ratio", 4, 0, 0.5, 0.3),
        ("ratio", 5, 1, 0.6, 0.25),
        ("ratio", 5, 3, 0.7, 0.4),
        ("fixed", 5, 0, 0.4, 0.5),
        ("fixed", 5, 2, 0.6, 0.4),
    ],
)
def test_no_choice_of_failing_rows_makes_recall_fail_too_often(
    kind: str, size: int, n_known: int, target: float, level: float
) -> None:
    """W3 over all truths of seven rows; the rows that fail are chosen after truth and sample."""
    n_rows, share = 7, Share.beyond(target)
    truths = np.array(list(itertools.product((0, 1), repeat=n_rows)), dtype=np.int64)
    missed_most = np.array([share.of(n_known + p) for p in truths.sum(axis=1)])
    failures, left_out = np.zeros(len(truths)), 0
    for sample, cuts in worst_cuts(n_rows, size, kind, n_known, target, level):
        left = [r for r in range(n_rows) if r not in sample]
        below = {cut: [r for r in left if r >= cut] for cut in set(cuts.values())}
        missed = {cut: truths[:, rows].sum(axis=1) > missed_most for cut, rows in below.items()}
        left_out += any(below[cut] for states, cut in cuts.items() if 2 in states)
        for number, truth in enumerate(truths[:, sample].tolist()):
            failures[number] += any(
                missed[cuts[states]][number]
                for states in itertools.product(*((bit, 2) for bit in truth))
            )
    assert failures.max() <= level * comb(n_rows, size)
    assert left_out  # rows are left out although some have no answer


@pytest.mark.parametrize("kind", ["ratio", "fixed"])
def test_the_cut_is_the_deepest_of_all_truths(kind: str) -> None:
    """By definition: that of test A or B for each truth of the rows without an answer."""
    n_rows, size, n_known, target, level = 40, 7, 2, 0.6, 0.4
    rng = np.random.default_rng(0)
    for _ in range(200):
        sample = np.sort(rng.choice(n_rows, size, replace=False))
        states = rng.choice(3, size, p=[0.4, 0.35, 0.25]).tolist()
        counts = n_rows, size, states.count(1), n_known
        test = certify_recall(kind, ("s",), counts, target, level, states.count(2))  # type: ignore[arg-type]
        ledger = Few(states, n_rows, sample.tolist())
        found = cut_rank(ledger, sample, test.cut, test.cuts)  # type: ignore[arg-type]
        deepest = 0
        for bits in itertools.product((0, 1), repeat=states.count(2)):
            chosen = iter(bits)
            truth = [next(chosen) if state == 2 else state for state in states]
            counts = n_rows, size, sum(truth), n_known
            one = certify_recall(kind, ("s",), counts, target, level)  # type: ignore[arg-type]
            decided = Few(truth, n_rows, sample.tolist())
            deepest = max(deepest, cut_rank(decided, sample, one.cut))  # type: ignore[arg-type]
        assert found == deepest


def hostile(rng: np.random.Generator, n_rows: int, n_deep: int) -> tuple[npt.NDArray, Bits, Bits]:
    """Scores, truth, and rows that fail: the deep positives are exactly among them."""
    scores = rng.random(n_rows)
    truth = rng.random(n_rows) < np.clip(1.6 * scores - 0.7, 0.0, 1.0)
    truth &= scores > 0.45
    low = np.flatnonzero(scores < 0.4)
    deep = rng.choice(low, n_deep, replace=False)
    truth[deep] = True
    broken = np.zeros(n_rows, dtype=np.bool_)
    broken[deep] = True
    return scores, truth, broken


@pytest.mark.statistical
@pytest.mark.parametrize("both", [False, True])
def test_recall_holds_where_the_deep_positives_fail(both: bool) -> None:
    rng, delta, n_trials = np.random.default_rng(7), 0.1, 40
    n_bad = n_left_out = n_bad_naive = 0
    scores, truth, broken = hostile(rng, 2000, 80)
    for seed in range(n_trials):
        silent = Silent(truth, broken, 800)
        draws = np.random.default_rng(seed)
        if both:
            answer = select_joint(
                scores, silent, recall=0.9, precision=0.7, delta=delta, rng=draws,
                unanswered=silent.unanswered,
            )  # fmt: skip
        else:
            answer = select_recall(
                scores, silent, recall=0.9, delta=delta, rng=draws, unanswered=silent.unanswered
            )
            naive = Silent(truth, broken, 800)
            again = np.random.default_rng(seed)
            plain = select_recall(scores, naive, recall=0.9, delta=delta, rng=again)
            n_bad_naive += (plain.returned & truth).sum() < 0.9 * truth.sum()
        assert answer.returned[silent.unanswered()].all()
        recall = (answer.returned & truth).sum() / truth.sum()
        # Of precision the worst is that every row that fails is negative.
        precision = (answer.returned & truth & ~broken).sum() / answer.returned.sum()
        bad = recall < 0.9 - 1e-12
        if both:
            assert answer.precision_bound is not None
            bad |= precision < answer.precision_bound - 1e-12
            assert answer.met == (answer.precision_bound >= 0.7)
        n_bad += bad
        n_left_out += not answer.vacuous
    assert binom.sf(n_bad - 1, n_trials, delta) > 1e-6
    assert n_left_out > n_trials // 2  # rows are left out all the same
    if not both:  # the rows were no easy ones: to take them for negative fails
        assert binom.sf(n_bad_naive - 1, n_trials, delta) < 1e-6


@pytest.mark.parametrize("interruptible", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_no_row_that_fails_leaves_the_answers_as_they_are(interruptible: bool, both: bool) -> None:
    rng = np.random.default_rng(1)
    scores, truth, _ = hostile(rng, 1000, 5)
    none = np.zeros(1000, dtype=np.bool_)

    def ask(silent: Silent, **more: object) -> Selection:
        draws = np.random.default_rng(2)
        if both:
            return select_joint(
                scores, silent, recall=0.8, precision=0.8, delta=0.1, rng=draws,
                interruptible=interruptible, **more,  # type: ignore[arg-type]
            )  # fmt: skip
        return select_recall(
            scores, silent, recall=0.8, delta=0.1, rng=draws, interruptible=interruptible, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    one, two = Silent(truth, none, 400), Silent(truth, none, 400)
    plain, borne = ask(one), ask(two, unanswered=two.unanswered)
    assert one.asked == two.asked
    assert np.array_equal(plain.returned, borne.returned)
    assert plain.tests == borne.tests
    assert (plain.met, plain.recall_bound) == (borne.met, borne.recall_bound)
    assert plain.precision_bound == borne.precision_bound


def test_once_every_row_was_asked_no_choice_of_rows_is_better() -> None:
    """W1 for both targets: over all numbers of positives and of rows that fail."""
    for n_positive, n_failed in itertools.product(range(12), range(1, 6)):
        n_rows = n_positive + n_failed + 2
        truth = np.arange(n_rows) < n_positive
        broken = np.arange(n_rows) >= n_rows - n_failed
        found = select_exact(np.zeros(n_rows), Silent(truth, broken, n_rows))
        for recall, precision in itertools.product((0.5, 0.75, 0.9), repeat=2):
            answer = bear(found, np.flatnonzero(broken), recall=recall, precision=precision)
            worst = [1.0, 1.0]
            for bits in itertools.product((False, True), repeat=n_failed):
                whole = truth.copy()
                whole[broken] = bits
                hits = int((whole & answer.returned).sum())
                worst[0] = min(worst[0], hits / whole.sum() if whole.any() else 1.0)
                n_back = int(answer.returned.sum())
                worst[1] = min(worst[1], hits / n_back if n_back else 1.0)
            assert answer.recall_bound == pytest.approx(worst[0])
            assert answer.precision_bound == pytest.approx(worst[1])
            possible = any(
                n_positive >= recall * (n_positive + n_failed - back) - 1e-9
                and n_positive >= precision * (n_positive + back) - 1e-9
                for back in range(n_failed + 1)
            )
            assert answer.met == possible


def test_a_recall_target_alone_takes_every_row_without_an_answer() -> None:
    truth, broken = np.arange(30) < 12, np.arange(30) >= 27
    silent = Silent(truth, broken, 30)
    answer = select_recall(
        np.zeros(30), silent, recall=0.9, delta=0.1, rng=np.random.default_rng(0),
        unanswered=silent.unanswered,
    )  # fmt: skip
    assert answer.returned.tolist() == (truth | broken).tolist()
    assert (answer.recall_bound, answer.precision_bound) == (1.0, 12 / 15)
    assert answer.grade == "distribution-free"
    assert bear(answer, np.zeros(0, dtype=np.int64), recall=0.9, precision=None) is answer
