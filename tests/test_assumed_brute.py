"""Answers that rest on assumptions, on tiny populations: every label pattern, every choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from itertools import combinations, product
from math import comb
from typing import TypeVar

import numpy as np
import pytest

from thresher.sampling import CountedLabels, Selection
from thresher.sampling.bounds import Share
from thresher.sampling.calibrated import (
    _discounted,
    refuting_rank,
    select_recall_calibrated,
)
from thresher.sampling.calibrated_plan import CalibratedTail, TailPlan
from thresher.sampling.core_set import (
    _designs,
    _free_recall,
    core_set_design,
    select_precision_core_set,
    select_recall_core_set,
)
from thresher.sampling.ledger import Ledger
from thresher.sampling.recall import certify_recall
from thresher.sampling.recall_plan import RecallTest

T = TypeVar("T")
CALIBRATED = "thresher.sampling.calibrated."


class EveryChoice:
    """Stands in for a generator: replays a script of choices and records how many there were."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.options = script, []

    def _next(self, options: int) -> int:
        if len(self.options) == len(self.script):
            self.script.append(0)
        self.options.append(options)
        return self.script[len(self.options) - 1]

    def choice(self, pool: np.ndarray | int, size: int, *, replace: bool) -> np.ndarray:
        assert not replace
        pool = np.arange(pool) if isinstance(pool, int) else pool
        index = self._next(comb(len(pool), size))
        for i, places in enumerate(combinations(range(len(pool)), size)):
            if i == index:
                return pool[list(places)]
        raise AssertionError(index)

    def permutation(self, count: int) -> np.ndarray:  # the order of ties: the scores have none
        return np.arange(count)

    def integers(self, high: int, size: int) -> np.ndarray:  # the same
        return np.zeros(size, dtype=np.int64)


def outcomes(run: Callable[[EveryChoice], T]) -> Iterator[tuple[Fraction, T]]:
    """Yield every outcome of a random computation with its probability."""
    script: list[int] = []
    while True:
        rng = EveryChoice(script)
        result = run(rng)
        yield Fraction(1, int(np.prod([1, *rng.options], dtype=object))), result
        del script[len(rng.options) :]
        while script and script[-1] + 1 == rng.options[len(script) - 1]:
            script.pop()
        if not script:
            return
        script[-1] += 1


def recall_of(result: Selection, truth: np.ndarray) -> Fraction:
    if not truth.any():
        return Fraction(1)
    return Fraction(int(np.count_nonzero(result.returned & truth)), int(truth.sum()))


def precision_of(result: Selection, truth: np.ndarray) -> Fraction:
    if not result.returned.any():
        return Fraction(1)
    right = int(np.count_nonzero(result.returned & truth))
    return Fraction(right, int(result.returned.sum()))


def below(value: Fraction, bound: float) -> bool:
    return value < Fraction(bound) - Fraction(1, 10**9)


# ---------------------------------------------------------------- calibrated tail

SCORES = np.array([0.95, 0.8, 0.7, 0.4, 0.2, 0.1])


def keeps_calibration(truth: np.ndarray, within: float, scores: np.ndarray = SCORES) -> bool:
    """Whether the positives beyond every rank are at most `within` times the scores there."""
    order = np.argsort(-scores)
    positives = np.cumsum(truth[order][::-1])
    return bool((positives <= within * np.cumsum(scores[order][::-1]) + 1e-12).all())


def everything(scores: np.ndarray, labels: object, *, known: np.ndarray, **_: object) -> Selection:
    """Stand in for `select_recall`, which other tests judge: return what may be positive."""
    ledger = Ledger(
        scores, CountedLabels(lambda rows: rows > 0, 0), np.random.default_rng(0), known
    )
    return ledger.close(ledger.n_rows, algorithm="everything")


def plan_calibrated(
    monkeypatch: pytest.MonkeyPatch, census: int, end: int, sample: int, test: RecallTest
) -> None:
    """Replace the planner, which may be anything, and test with a third of the labels."""

    def plan(*_: object, census: bool | int = census, **__: object) -> TailPlan:
        return TailPlan(2.0, int(census), end, sample, test)

    monkeypatch.setattr(CALIBRATED + "plan_tail", plan)
    monkeypatch.setattr(CALIBRATED + "_promising", plan)
    monkeypatch.setattr(CALIBRATED + "make_buckets", lambda *_: None)
    monkeypatch.setattr(CALIBRATED + "make_pictures", lambda *_: None)
    monkeypatch.setattr(CALIBRATED + "_REFUTATION_SHARE", 0.34)
    monkeypatch.setattr(CALIBRATED + "select_recall", everything)


def judge_calibrated(
    target: float, delta: float, budget: int, within: float
) -> dict[str, Fraction | int]:
    """Work out failure probabilities exactly, over patterns that keep the assumption and all."""
    worst = {"recall": Fraction(0), "free": Fraction(0), "leant": 0, "informative": 0}
    for pattern in product((False, True), repeat=len(SCORES)):
        truth = np.array(pattern)

        def run(rng: EveryChoice, truth: np.ndarray = truth) -> Selection:
            labels = CountedLabels(lambda rows: truth[rows], budget)
            return select_recall_calibrated(
                SCORES, labels, recall=target, delta=delta, within=within, rng=rng
            )

        failed = free = total = Fraction(0)
        for chance, result in outcomes(run):
            got = recall_of(result, truth)
            total += chance
            failed += chance * (got < Fraction(repr(target)))
            if result.free_recall is not None:
                free += chance * below(got, result.free_recall)
                worst["informative"] += result.free_recall > 0
            worst["leant"] += result.grade == "calibrated tail"
        assert total == 1
        if keeps_calibration(truth, within):
            worst["recall"] = max(worst["recall"], failed)
        worst["free"] = max(worst["free"], free)
    return worst


# (census, end of the head, sample, test), target, delta, budget, within
CASES = [
    ((1, 5, 2, "fixed"), 0.6, 0.5, 4, 1.5),
    ((0, 0, 0, "ratio"), 0.5, 0.4, 3, 1.0),
    ((0, 4, 3, "fixed"), 0.6, 0.3, 4, 1.0),
    pytest.param((0, 4, 2, "ratio"), 0.7, 0.6, 3, 2.0, marks=pytest.mark.full),
    pytest.param((0, 5, 2, "ratio"), 0.5, 0.4, 4, 1.5, marks=pytest.mark.full),
]


@pytest.mark.parametrize(("plan", "target", "delta", "budget", "within"), CASES)
def test_calibrated_recall_of_every_population(
    monkeypatch: pytest.MonkeyPatch,
    plan: tuple[int, int, int, RecallTest],
    target: float,
    delta: float,
    budget: int,
    within: float,
) -> None:
    plan_calibrated(monkeypatch, *plan)
    worst = judge_calibrated(target, delta, budget, within)
    assert worst["recall"] <= Fraction(repr(delta))
    assert worst["free"] <= Fraction(repr(delta))
    assert worst["leant"] > 100
    assert worst["informative"] > 100


def test_a_free_limit_without_its_level_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CALIBRATED + "marked_upper", lambda rows, size, found, level: found)
    plan_calibrated(monkeypatch, 0, 0, 0, "ratio")
    assert judge_calibrated(0.5, 0.4, 3, 1.0)["free"] > Fraction("0.4")


@cache
def chance_of(x: int, rows: int, marked: int, size: int) -> float:
    """Return the hypergeometric probability of x marked rows in the sample."""
    if not 0 <= x <= size:
        return 0.0
    return comb(marked, x) * comb(rows - marked, size - x) / comb(rows, size)


def chance_to_miss(
    counts: tuple[int, int, int, int, int], cut: Callable[[int], int], target: float
) -> float:
    """Return the chance that a cut above a tail misses the target, by sums over the sample.

    `counts`: rows of the head, positives in it, sample, positives known, positives of the tail.
    """
    rows, positives, size, known, tail = counts
    share = Fraction(1) - Fraction(repr(target))
    allowed = share * (known + positives + tail) - tail
    total = 0.0
    for found in range(min(size, positives) + 1):
        weight = chance_of(found, rows, positives, size)
        c = cut(found)
        if c < 0:  # everything is returned, the tail too
            continue
        if c >= found:
            total += weight * (positives - found > allowed)
        elif allowed < 0:
            total += weight
        else:
            marked = c + int(allowed) + 1
            if marked <= positives:
                total += weight * sum(chance_of(x, positives, marked, found) for x in range(c + 1))
    return total


def worst_miss(lost_as: Callable[[int], int], kind: RecallTest) -> tuple[float, int]:
    """Return the greatest chance of a miss over delta, for all counts, and how many leave out."""
    worst, useful = 0.0, 0
    target, delta = 0.7, 0.2
    share = Share.beyond(target)
    for rows, size, known, lost in product((9, 23), (4, 8), (0, 7, 30), (0, 1, 4)):
        discounted = _discounted(known, lost_as(lost), share)
        assert discounted is not None

        def cut(found: int, rows: int = rows, size: int = size, k: int = discounted) -> int:
            counts = (rows, size, found, k)
            return certify_recall(kind, ("sample",), counts, target, delta).cut

        cuts = {found: cut(found) for found in range(size + 1)}
        useful += sum(c >= 0 for c in cuts.values())
        for positives, tail in product(range(rows + 1), range(lost + 1)):
            counts = (rows, positives, size, known, tail)
            worst = max(worst, chance_to_miss(counts, cuts.__getitem__, target) / delta)
    return worst, useful


@pytest.mark.parametrize("kind", ["ratio", "fixed"])
def test_a_cut_above_a_tail_by_exact_sums(kind: RecallTest) -> None:
    worst, useful = worst_miss(lambda lost: lost, kind)
    assert 0.5 < worst <= 1 + 1e-9
    assert useful > 100


@pytest.mark.parametrize("kind", ["ratio", "fixed"])
def test_a_tail_that_is_not_paid_for_would_be_found(kind: RecallTest) -> None:
    assert worst_miss(lambda _: 0, kind)[0] > 1
    assert worst_miss(lambda lost: max(0, lost - 1), kind)[0] > 1


def false_alarm(level: float, size: int, within: float) -> tuple[Fraction, Fraction]:
    """Return the greatest chance to refute a true assumption, and a false one, by enumeration."""
    scores = np.linspace(0.9, 0.02, 7)
    true, false = Fraction(0), Fraction(0)
    for pattern in product((False, True), repeat=len(scores)):
        truth = np.array(pattern)

        def run(rng: EveryChoice, truth: np.ndarray = truth) -> bool:
            ledger = Ledger(scores, CountedLabels(lambda rows: truth[rows], size), rng)
            tail, pool = CalibratedTail(ledger, within), ledger.unknown()
            sampled = rng.choice(pool, size, replace=False)
            ledger.buy(sampled, "refute")
            return refuting_rank(ledger, tail, pool, sampled) is not None

        alarm = sum((chance for chance, refuted in outcomes(run) if refuted), Fraction(0))
        if keeps_calibration(truth, within, scores):
            true = max(true, alarm)
        else:
            false = max(false, alarm)
    return true, false


@pytest.mark.parametrize("level", [0.3, 2.0])
def test_a_true_calibration_is_seldom_refuted(
    monkeypatch: pytest.MonkeyPatch, level: float
) -> None:
    """With levels at which seven rows can speak at all; at 1 % they must not."""
    monkeypatch.setattr(CALIBRATED + "REFUTATION_LEVEL", level)
    monkeypatch.setattr(CALIBRATED + "_N_RANKS", 4)
    true, false = false_alarm(level, 3, 1.0)
    assert true <= Fraction(repr(level))
    assert false > Fraction(1, 2)


def test_seven_rows_refute_nothing_at_one_per_cent() -> None:
    true, _ = false_alarm(0.01, 3, 1.0)
    assert true == 0


# ---------------------------------------------------------------- core set closure

RANKED = np.linspace(0.9, 0.1, 6)


@pytest.fixture
def _one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several samples are too many outcomes to enumerate; their chance is judged alone."""
    monkeypatch.setattr("thresher.sampling.core_set._FEW", 1)
    for name, function in (("_designs", _designs), ("_free_recall", _free_recall)):
        monkeypatch.setattr(f"thresher.sampling.core_set.{name}", cache(function))


def core_of(truth: np.ndarray, target: Fraction) -> int:
    """Count the best-ranked positives up to the first that ends too impure a prefix."""
    places = np.flatnonzero(truth)
    good = [Fraction(i + 1, int(place) + 1) >= target for i, place in enumerate(places)]
    return good.index(False) if False in good else len(good)


def judge_core_set(
    select: Callable[..., Selection],
    budget: int,
    delta: float,
    target: float,
    declared: Callable[[np.ndarray], dict[str, int]],
    known: np.ndarray | None = None,
) -> tuple[Fraction, Fraction, int]:
    """Return the worst chances of a miss and of a false free limit, and how many leave out."""
    kind = "recall" if select is select_recall_core_set else "precision"
    worst, worst_free, useful = Fraction(0), Fraction(0), 0
    for pattern in product((False, True), repeat=len(RANKED)):
        truth = np.array(pattern)
        facts = None if known is None else np.where(known, truth, -1).astype(np.int8)

        def run(
            rng: EveryChoice, truth: np.ndarray = truth, facts: np.ndarray | None = facts
        ) -> Selection:
            labels = CountedLabels(lambda rows: truth[rows], budget)
            extra = {kind: target, **declared(truth)}
            return select(RANKED, labels, delta=delta, rng=rng, known=facts, **extra)

        failed = free = Fraction(0)
        for chance, result in outcomes(run):
            got = recall_of(result, truth) if kind == "recall" else precision_of(result, truth)
            failed += chance * (got < Fraction(repr(target)))
            if result.free_recall is not None:
                free += chance * below(recall_of(result, truth), result.free_recall)
            useful += result.grade == "core set closure"
        worst, worst_free = max(worst, failed), max(worst_free, free)
    return worst, worst_free, useful


@pytest.mark.usefixtures("_one_sample")
@pytest.mark.parametrize(("target", "delta", "budget"), [(0.5, 0.3, 5), (0.7, 0.6, 3)])
def test_core_set_recall_of_every_population(target: float, delta: float, budget: int) -> None:
    for less in (0, 1):
        worst, free, useful = judge_core_set(
            select_recall_core_set,
            budget,
            delta,
            target,
            lambda truth, less=less: {"n_positive": max(0, int(truth.sum()) - less)},
        )
        assert worst <= Fraction(repr(delta))
        assert free <= Fraction(repr(delta))
        assert useful > 100


@pytest.mark.usefixtures("_one_sample")
def test_core_set_recall_beside_known_rows() -> None:
    known = np.array([True, False, False, True, False, False])
    worst, free, useful = judge_core_set(
        select_recall_core_set, 3, 0.4, 0.5, lambda t: {"n_positive": int(t.sum())}, known
    )
    assert worst <= Fraction("0.4")
    assert free <= Fraction("0.4")
    assert useful > 10


@pytest.mark.usefixtures("_one_sample")
def test_free_recall_holds_whatever_was_declared() -> None:
    worst, free, useful = judge_core_set(
        select_recall_core_set, 4, 0.4, 0.5, lambda _: {"n_positive": 5}
    )
    assert worst > Fraction("0.4")  # the declaration is false, and the answer may fail
    assert free <= Fraction("0.4")
    assert useful > 100


@pytest.mark.usefixtures("_one_sample")
@pytest.mark.parametrize(("target", "delta", "budget"), [(0.5, 0.3, 5), (0.7, 0.6, 4)])
def test_core_set_precision_of_every_population(target: float, delta: float, budget: int) -> None:
    worst, _, useful = judge_core_set(
        select_precision_core_set,
        budget,
        delta,
        target,
        lambda truth: {"n_core": core_of(truth, Fraction(repr(target)))},
    )
    assert worst <= Fraction(repr(delta))
    assert useful > 10


@pytest.mark.usefixtures("_one_sample")
@pytest.mark.parametrize("select", [select_recall_core_set, select_precision_core_set])
def test_estimated_core_sets_assume_nothing(select: Callable[..., Selection]) -> None:
    worst, _, useful = judge_core_set(select, 5, 0.4, 0.6, lambda _: {})
    assert worst <= Fraction("0.4")
    assert not useful


def test_a_core_set_is_hit_with_the_chance_that_is_stated() -> None:
    for n_rows, n_core in product((4, 7), (1, 2, 3)):
        for delta in (0.5, 0.2, 0.1):
            design = core_set_design(n_rows, n_core, delta)
            every = list(combinations(range(n_rows), design.size))
            missed = sum(min(rows) >= n_core for rows in every)
            chance = Fraction(missed, len(every)) ** design.n_samples
            assert chance <= Fraction(repr(delta))
            assert float(chance) == pytest.approx(design.miss, rel=1e-5)


def test_one_sample_is_as_good_as_several_up_to_one_row() -> None:
    for n_rows, n_core in ((50, 1), (50, 4), (1000, 7), (1000, 90)):
        designs = _designs(n_rows, n_core, 0.05)
        assert designs[0].n_labels <= min(d.n_labels for d in designs) + 1
