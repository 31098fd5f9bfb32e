"""Selections whose labels stop: exact levels of the looks, and what every answer must keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.sampling import (
    CountedLabels,
    OutOfLabelsError,
    Selection,
    select_joint,
    select_precision,
    select_recall,
)
from thresher.sampling.bounds import Share, marked_upper
from thresher.sampling.ledger import Ledger
from thresher.sampling.looks import Look, certify_recall, early_looks, take_looks
from thresher.sampling.permutation import Permutation
from thresher.sampling.recall_plan import RecallTest

SELECT: dict[str, Callable[..., Selection]] = {
    "recall": lambda *a, **k: select_recall(*a, recall=0.9, delta=0.1, **k),
    "precision": lambda *a, **k: select_precision(*a, precision=0.9, delta=0.1, **k),
    "joint": lambda *a, **k: select_joint(*a, recall=0.9, precision=0.9, delta=0.1, **k),
}


class Stopping(CountedLabels):
    """Gives so many labels and then stops, in the middle of what it is asked for."""

    def __init__(self, truth: np.ndarray, stop: int, budget: int) -> None:
        super().__init__(lambda rows: truth[rows], budget)
        self.stop = stop
        self.asked: list[int] = []

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        left = self.stop - self.spent
        self.asked += rows[:left].tolist()
        if len(rows) <= left:
            return super().__call__(rows)
        raise OutOfLabelsError(super().__call__(rows[:left]))


def data(n: int, seed: int, rate: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < rate
    logit = np.where(truth, 1.5, -1.5) + 1.3 * rng.standard_normal(n)
    return (1 / (1 + np.exp(-logit))).astype(np.float32), truth


# The levels, exactly.

certify, upper = cache(certify_recall), cache(marked_upper)  # asked the same over and over
SCHEDULES = [(0.5, 0.5), (0.8, 0.2), (0.2, 0.8)]  # of the last look and of all before it


def schedule(size: int, delta: float, shares: tuple[float, float]) -> tuple[Look, ...]:
    return (*early_looks(size, shares[1] * delta), Look(size, shares[0] * delta))


def chance_of_any_recall_failure(
    n_rows: int, n_positive: int, looks: Sequence[Look], kind: RecallTest, target: float
) -> float:
    """Return the chance that the cut of any look misses too many.

    Only the positives matter: all ways to spread them over the parts of the permutation that are
    new at each look, and the rest that no look reaches, are listed with their weights.
    """
    sizes = np.diff([0, *(look.size for look in looks), n_rows])
    missable = Share.beyond(target).of(n_positive)
    total = any_failure = 0.0
    for parts in product(range(len(sizes)), repeat=n_positive):  # of the positives, bottom first
        part = np.array(parts)
        taken = np.bincount(part, minlength=len(sizes))
        weight = 1.0
        for size, count in zip(sizes, taken, strict=True):
            weight *= float(np.prod(np.arange(size, size - count, -1)))
        if not weight:
            continue
        failed = []
        for i, look in enumerate(looks):
            found = np.flatnonzero(part <= i)
            counts = n_rows, look.size, len(found), 0
            cut = certify(kind, (), counts, target, look.level).cut
            last = 0 if cut < 0 else n_positive if cut >= len(found) else int(found[cut])
            failed.append(np.count_nonzero(part[:last] > i) > missable)
        total += weight
        any_failure += weight * any(failed)
    return any_failure / total


@pytest.mark.parametrize("kind", ["ratio", "fixed"])
@pytest.mark.parametrize("shares", SCHEDULES)
def test_looks_at_recall_fail_no_more_than_their_levels(
    monkeypatch: pytest.MonkeyPatch, kind: RecallTest, shares: tuple[float, float]
) -> None:
    monkeypatch.setattr("thresher.sampling.looks._LEAST", 3)
    delta = 0.4
    looks = schedule(14, delta, shares)
    assert [look.size for look in looks] == [3, 7, 14]
    worst = max(chance_of_any_recall_failure(20, n, looks, kind, 0.6) for n in range(1, 7))
    assert worst <= delta
    if shares == (0.8, 0.2):  # with the others these few rows hardly fail
        assert worst > 0.1 * delta
    spendthrift = [Look(look.size, 0.75) for look in looks]
    loose = max(chance_of_any_recall_failure(20, n, spendthrift, kind, 0.6) for n in (2, 3, 4))
    assert loose > delta


def chance_of_any_wrong_limit(n_rows: int, n_marked: int, looks: Sequence[Look]) -> float:
    """Return the chance that the limit of any look is below the number of marked rows."""
    paths = {(): 1.0}
    done = 0
    for look in looks:
        fresh: dict[tuple[int, ...], float] = {}
        more = look.size - done
        for path, chance in paths.items():
            left, rows = n_marked - sum(path), n_rows - done
            for x in range(max(0, more - (rows - left)), min(more, left) + 1):
                share = comb(left, x) * comb(rows - left, more - x) / comb(rows, more)
                fresh[(*path, x)] = chance * share
        paths, done = fresh, look.size
    return sum(
        chance
        for path, chance in paths.items()
        if any(
            upper(n_rows, look.size, sum(path[: i + 1]), look.level) < n_marked
            for i, look in enumerate(looks)
        )
    )


@pytest.mark.parametrize("shares", SCHEDULES)
def test_looks_at_a_head_fail_no_more_than_their_levels(
    monkeypatch: pytest.MonkeyPatch, shares: tuple[float, float]
) -> None:
    monkeypatch.setattr("thresher.sampling.looks._LEAST", 3)
    delta = 0.3
    looks = schedule(12, delta, shares)
    worst = max(chance_of_any_wrong_limit(25, marked, looks) for marked in range(0, 26, 2))
    assert 0.3 * delta < worst <= delta
    spendthrift = [Look(look.size, delta) for look in looks]
    loose = max(chance_of_any_wrong_limit(25, marked, spendthrift) for marked in (6, 10, 14))
    assert loose > delta


@settings(deadline=None)
@given(size=st.integers(0, 10**9), level=st.floats(1e-9, 0.999))
def test_early_looks_spend_less_than_they_may(size: int, level: float) -> None:
    looks = early_looks(size, level)
    assert sum(look.level for look in looks) <= level
    sizes = [0, *(look.size for look in looks), size + 1]
    assert all(a < b for a, b in pairwise(sizes))
    assert bool(looks) == (size >= 32)


# What every answer must keep.


def check(result: Selection, truth: np.ndarray) -> None:
    label = np.full(len(truth), -1)
    for step in result.steps:
        assert (label[step.rows] < 0).all()
        assert (step.answers == truth[step.rows]).all()
        label[step.rows] = step.answers
    assert result.returned[label == 1].all()
    assert not result.returned[label == 0].any()
    assert (result.grade == "exact") == bool((label >= 0).all())
    n_asked = {step.stage: 0 for step in result.steps}
    for step in result.steps:
        n_asked[step.stage] += len(step.rows)
    for test in result.tests:  # a test rests on whole stages, of the sizes it names
        assert sum(n_asked.get(stage, 0) for stage in test.stages) == test.n_sample
    left_out = ~result.returned & (label < 0)
    if left_out.any() and result.recall_bound is not None:
        assert any(test.kind != "negatives" and test.cut >= 0 for test in result.tests)


@pytest.mark.parametrize("name", SELECT)
def test_wherever_it_stops_the_same_rows_are_asked_and_the_bounds_hold(name: str) -> None:
    scores, truth = data(3000, 1)
    full: list[int] = []
    for stop in (700, 0, 1, 9, 40, 100, 200, 333, 500, 699):
        labels = Stopping(truth, stop, 700)
        result = SELECT[name](scores, labels, rng=np.random.default_rng(5), interruptible=True)
        full = full or labels.asked
        assert labels.asked == full[:stop]
        check(result, truth)
        tp = np.count_nonzero(result.returned & truth)
        if name != "precision":
            assert result.recall_bound is not None
            assert tp / truth.sum() >= result.recall_bound - 1e-12
        if name != "recall":
            assert result.precision_bound is not None
            assert tp >= (result.precision_bound - 1e-12) * result.returned.sum()
        assert result.met == (result.precision_bound >= 0.9 if name == "joint" else True)


@pytest.mark.parametrize("name", SELECT)
def test_a_source_that_never_stops_gives_exact_answers_if_it_affords_all(name: str) -> None:
    scores, truth = data(400, 2)
    labels = CountedLabels(lambda rows: truth[rows], 400)
    result = SELECT[name](scores, labels, rng=np.random.default_rng(0), interruptible=True)
    check(result, truth)
    if name != "joint":
        assert result.grade == "exact"
        assert result.algorithm == "exact"
        assert (result.returned == truth).all()


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(list(SELECT)),
    n=st.integers(0, 150),
    budget=st.integers(0, 160),
    stop=st.integers(0, 160),
    rate=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_any_stop_keeps_the_rules(
    name: str, n: int, budget: int, stop: int, rate: float, seed: int
) -> None:
    scores, truth = data(n, seed, rate)
    labels = Stopping(truth, stop, budget)
    result = SELECT[name](scores, labels, rng=np.random.default_rng(seed), interruptible=True)
    check(result, truth)
    assert labels.spent <= min(stop, budget)


def test_without_leave_to_stop_the_signal_passes_through() -> None:
    scores, truth = data(300, 3)
    for name in SELECT:
        with pytest.raises(OutOfLabelsError, match="answered 7 more rows"):
            SELECT[name](scores, Stopping(truth, 7, 200), rng=np.random.default_rng(0))


def test_answers_that_come_with_the_signal_are_checked() -> None:
    class Generous(CountedLabels):
        def __call__(self, rows: np.ndarray) -> np.ndarray:
            raise OutOfLabelsError(np.zeros(len(rows) + 1, bool))

    scores, truth = data(300, 3)
    labels = Generous(lambda rows: truth[rows], 200)
    with pytest.raises(ValueError, match="truth values were asked for"):
        SELECT["recall"](scores, labels, rng=np.random.default_rng(0), interruptible=True)


def test_a_look_that_is_cut_short_is_no_test() -> None:
    scores, truth = data(2000, 4)
    ledger = Ledger(scores, Stopping(truth, 150, 900), np.random.default_rng(0), interruptible=True)
    order = Permutation(ledger, np.random.default_rng(1))
    looks = (Look(60, 0.02), Look(149, 0.02), Look(300, 0.06))
    tests, sampled, cut = take_looks(ledger, order, looks, "ratio", 0.9)
    assert [test.n_sample for test in tests] == [60, 149]
    assert [test.stages for test in tests] == [("look 1",), ("look 1", "look 2")]
    assert len(sampled) == 149
    assert cut <= 2000
    assert ledger.stopped
    assert len(ledger.steps[-1].rows) == 1
