"""Whole queries on tiny populations: every label pattern, every random choice, exact failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import combinations, islice, permutations, product
from math import comb, perm
from typing import TypeVar

import numpy as np
import pytest

from thresher.sampling import (
    CountedLabels,
    OutOfLabelsError,
    Selection,
    select_joint,
    select_precision,
    select_recall,
)
from thresher.sampling.bounds import RatioCut, fixed_cut, marked_upper, ratio_cut
from thresher.sampling.head import Head
from thresher.sampling.joint_plan import HeadCost
from thresher.sampling.ledger import Ledger
from thresher.sampling.looks import Look, certify_recall, early_looks
from thresher.sampling.permutation import Permutation
from thresher.sampling.precision_plan import HeadPlan
from thresher.sampling.recall_plan import RecallPlan, RecallTest
from thresher.sampling.restart_plan import SecondSample

T = TypeVar("T")


class EveryChoice:
    """Stands in for a generator: replays a script of choices and records how many there were."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.options = script, []

    def _next(self, options: int) -> int:
        if len(self.options) == len(self.script):
            self.script.append(0)
        self.options.append(options)
        return self.script[len(self.options) - 1]

    def integers(self, high: int, *, size: int) -> np.ndarray:
        """Stand in for seeds: of the order of ties, which the scores here do not have."""
        return np.zeros(size, dtype=np.int64)

    def draw(self, pool: np.ndarray, size: int, *, ordered: bool) -> np.ndarray:
        """Draw without replacement; a set in one order only where the order plays no part."""
        places = permutations if ordered else combinations
        index = self._next(perm(len(pool), size) if ordered else comb(len(pool), size))
        return pool[list(next(islice(places(range(len(pool)), size), index, None)))]


@pytest.fixture(autouse=True)
def every_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have permutations drawn by EveryChoice; test_selection_draws.py tests the real ones."""

    def begin(
        self: Permutation, ledger: Ledger, rng: object, low: int = 0, high: int | None = None
    ) -> None:
        self._ledger, self._rng, self._low = ledger, rng, low  # type: ignore[assignment]
        self._high = ledger.n_rows if high is None else high

    def take(self: Permutation, count: int) -> np.ndarray:
        ledger = self._ledger
        pool = ledger.unknown(self._low, self._high)
        return self._rng.draw(pool, count, ordered=ledger.interruptible)  # type: ignore[attr-defined]

    monkeypatch.setattr(Permutation, "__init__", begin)
    monkeypatch.setattr(Permutation, "take", take)


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


def wrong(
    result: Selection, truth: np.ndarray, recall: float = 0.0, precision: float = 0.0
) -> bool:
    """Whether a bound that the answer claims is false, or a certified target is missed."""
    right = np.count_nonzero(result.returned & truth)
    of_truth = Fraction(int(right), int(truth.sum())) if truth.any() else Fraction(1)
    of_answer = (
        Fraction(int(right), int(result.returned.sum())) if result.returned.any() else Fraction(1)
    )
    low = [(result.recall_bound, of_truth), (result.precision_bound, of_answer)]
    if any(
        bound is not None and share < Fraction(bound) - Fraction(1, 10**9) for bound, share in low
    ):
        return True
    reached = of_truth >= Fraction(repr(recall)) and of_answer >= Fraction(repr(precision))
    return result.met and not reached


@dataclass(frozen=True)
class Verdict:
    """Over all label patterns: outcomes, those that rest on a bound, the worst failure chance."""

    outcomes: int
    at_risk: int
    worst: Fraction


def at_risk(result: Selection, targets: dict[str, float]) -> bool:
    """Whether unlabelled rows were left out, or returned, on the strength of a bound."""
    left_out = result.recall_bound is not None and result.recall_bound < 1
    returned = result.met and not np.isnan(result.cut)
    return ("recall" in targets and left_out) or ("precision" in targets and returned)


def judge(
    select: Callable[..., Selection],
    n_rows: int,
    budget: int,
    delta: float,
    targets: dict[str, float],
    known: np.ndarray | None = None,
) -> Verdict:
    """Work out the failure probability of a query exactly, at every label pattern."""
    scores = np.linspace(0.9, 0.1, n_rows)
    count, risky, worst = 0, 0, Fraction(0)
    for pattern in product((False, True), repeat=n_rows):
        truth = np.array(pattern)
        facts = None if known is None else np.where(known, truth, -1).astype(np.int8)

        def run(
            rng: EveryChoice, truth: np.ndarray = truth, facts: np.ndarray | None = facts
        ) -> Selection:
            labels = CountedLabels(lambda rows: truth[rows], budget)
            return select(scores, labels, delta=delta, rng=rng, known=facts, **targets)

        total, failed = Fraction(0), Fraction(0)
        for chance, result in outcomes(run):
            total += chance
            failed += chance * wrong(result, truth, **targets)
            risky += at_risk(result, targets)
            count += 1
        assert total == 1
        worst = max(worst, failed)
    return Verdict(count, risky, worst)


def keeps(verdict: Verdict, delta: float, share: float) -> None:
    """Check the failure probability, and that a share of the outcomes could have failed."""
    assert verdict.worst <= Fraction(repr(delta)), float(verdict.worst)
    assert verdict.at_risk >= share * verdict.outcomes, verdict


Limit = Callable[..., int]
WRONG: dict[str, Limit] = {
    "T - 1": lambda rows, sample, found, level: max(
        found, marked_upper(rows, sample, found, level) - 1
    ),
    "T - 2": lambda rows, sample, found, level: max(
        found, marked_upper(rows, sample, found, level) - 2
    ),
    "level x 3": lambda rows, sample, found, level: marked_upper(
        rows, sample, found, min(3 * level, 0.999)
    ),
}
HEAD_LIMIT = "thresher.sampling.head.marked_upper"


def triple_recall_level(monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in (ratio_cut, fixed_cut):

        def spendthrift(*arguments: object, cut: Callable[..., object] = cut) -> object:
            return cut(*arguments[:-1], min(3 * arguments[-1], 0.999))  # type: ignore[operator]

        monkeypatch.setattr(f"thresher.sampling.looks.{cut.__name__}", spendthrift)


# Recall: target, delta, rows, budget, share of the outcomes that leave out unlabelled rows.
RECALL = [
    (0.5, 0.3, 5, 3, 0.0),
    (0.4, 0.5, 5, 2, 0.0),
    (0.4, 0.5, 5, 3, 0.1),
    (0.8, 0.6, 5, 3, 0.1),
]


@pytest.mark.parametrize(("target", "delta", "n_rows", "budget", "share"), RECALL)
def test_recall_of_every_population_of_five(
    target: float, delta: float, n_rows: int, budget: int, share: float
) -> None:
    keeps(judge(select_recall, n_rows, budget, delta, {"recall": target}), delta, share)


@pytest.mark.full
@pytest.mark.parametrize(("target", "delta"), [(0.5, 0.3), (0.4, 0.5), (0.8, 0.6)])
def test_recall_of_every_population_of_six(target: float, delta: float) -> None:
    keeps(judge(select_recall, 6, 4, delta, {"recall": target}), delta, 0.0)


@pytest.mark.parametrize("target", [0.4, 0.6])
def test_recall_beside_known_rows(target: float) -> None:
    known = np.array([True, False, True, False, False])
    keeps(judge(select_recall, 5, 2, 0.5, {"recall": target}, known), 0.5, 0.05)


@pytest.mark.parametrize(("target", "delta"), [(0.5, 0.3), (0.4, 0.5)])
def test_a_wrong_cut_would_be_found(
    monkeypatch: pytest.MonkeyPatch, target: float, delta: float
) -> None:
    def too_deep(*arguments: int) -> RatioCut:
        result = ratio_cut(*arguments)  # type: ignore[arg-type]
        return replace(result, cut=min(result.cut + 1, arguments[2]))

    monkeypatch.setattr("thresher.sampling.looks.ratio_cut", too_deep)
    monkeypatch.setattr("thresher.sampling.looks.fixed_cut", lambda *a: fixed_cut(*a) + 1)
    assert judge(select_recall, 5, 3, delta, {"recall": target}).worst > Fraction(repr(delta))


def plan_precision(monkeypatch: pytest.MonkeyPatch, end: int, sample: int) -> None:
    """Replace the planner, which may be anything: real plans of so few rows seldom certify."""

    def plan(
        pictures: object, left: int, wrong: float, level: float, largest: int | None = None
    ) -> HeadPlan:
        return HeadPlan(end if largest is None else min(end, largest), min(sample, left))

    monkeypatch.setattr("thresher.sampling.precision.plan_head", plan)


# Precision: (end, sample) of the head; target, delta, rows, budget; share that return unlabelled
# rows. A budget below 4 leaves no pilot; a sample below the budget a second look or verification.
PRECISION = [
    ((6, 3), 0.7, 0.3, 6, 3, 0.1),
    ((6, 3), 0.6, 0.3, 6, 3, 0.4),
    ((5, 3), 0.8, 0.2, 6, 3, 0.1),
    pytest.param((5, 2), 0.5, 0.4, 5, 3, 0.3, marks=pytest.mark.full),
]


@pytest.mark.parametrize(("plan", "target", "delta", "n_rows", "budget", "share"), PRECISION)
def test_precision_of_every_population_of_a_few(
    monkeypatch: pytest.MonkeyPatch,
    plan: tuple[int, int],
    target: float,
    delta: float,
    n_rows: int,
    budget: int,
    share: float,
) -> None:
    plan_precision(monkeypatch, *plan)
    keeps(judge(select_precision, n_rows, budget, delta, {"precision": target}), delta, share)


@pytest.mark.parametrize("case", PRECISION[2:3])
@pytest.mark.parametrize("limit", WRONG)
def test_a_wrong_limit_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    case: tuple[tuple[int, int], float, float, int, int, float],
) -> None:
    plan, target, delta, n_rows, budget, _ = case
    plan_precision(monkeypatch, *plan)
    monkeypatch.setattr(HEAD_LIMIT, WRONG[limit])
    verdict = judge(select_precision, n_rows, budget, delta, {"precision": target})
    assert verdict.worst > Fraction(repr(delta))


@pytest.mark.parametrize(("budget", "target", "delta"), [(3, 0.4, 0.6), (4, 0.5, 0.6)])
def test_precision_as_it_is_planned(budget: int, target: float, delta: float) -> None:
    keeps(judge(select_precision, 6, budget, delta, {"precision": target}), delta, 0.1)


LEVELS = (0.22, 0.12)  # of two looks at one head


def bad_limit(n_rows: int) -> tuple[Fraction, int]:
    """Return the worst chance that a head of 6 rows and then 5 hides more than its limit says."""
    worst, informative = Fraction(0), 0
    for pattern in product((False, True), repeat=n_rows):
        truth = np.array(pattern)

        def run(rng: EveryChoice, truth: np.ndarray = truth) -> tuple[bool, bool]:
            labels = CountedLabels(lambda rows: truth[rows], n_rows)
            ledger = Ledger(np.linspace(0.9, 0.1, n_rows), labels, rng)
            head, failed, useful = Head(ledger, 0.5), False, False
            for end, count, level in ((n_rows, 2, LEVELS[0]), (n_rows - 1, 1, LEVELS[1])):
                head.look(end, count, level, rng)
                useful |= head.limit < head.n_free
                hidden = np.count_nonzero(~truth[ledger.unknown(0, head.end)])
                failed |= hidden > head.limit
                head.verify(ledger.unknown(0, head.end)[-1:])
                hidden = np.count_nonzero(~truth[ledger.unknown(0, head.end)])
                failed |= hidden > head.limit
            return failed, useful

        failure = Fraction(0)
        for chance, (failed, useful) in outcomes(run):
            failure += chance * failed
            informative += useful
        worst = max(worst, failure)
    return worst, informative


def test_two_looks_at_a_head_by_enumeration() -> None:
    worst, informative = bad_limit(6)
    assert Fraction(1, 20) < worst <= Fraction("0.34")
    assert informative > 100


@pytest.mark.parametrize(
    "limit",
    ["T - 1", *(pytest.param(name, marks=pytest.mark.full) for name in list(WRONG)[1:])],
)
def test_a_wrong_limit_of_a_head_would_be_found(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(HEAD_LIMIT, WRONG[limit])
    assert bad_limit(6)[0] > Fraction("0.34")


def plan_joint(monkeypatch: pytest.MonkeyPatch, size: int, sample: int, test: RecallTest) -> None:
    """Replace the planner: looks from `size` rows on, then a head judged by `sample`."""
    module = "thresher.sampling.joint."
    monkeypatch.setattr(module + "make_tails", lambda *_: (None,))
    monkeypatch.setattr(module + "best_sample", lambda *_: (1.0, size, test))
    monkeypatch.setattr(module + "tail_cost", lambda *_: np.array([np.inf]))
    monkeypatch.setattr(
        module + "plan_head_below", lambda pictures, cut, *_: HeadCost(1.0, cut, sample)
    )


# Both: (size, sample, test); recall, precision, delta; share that rests on a bound. In the second
# recall leaves rows out, in the others unlabelled rows are returned.
BOTH: list[tuple[tuple[int, int, RecallTest], float, float, float, float]] = [
    ((2, 1, "ratio"), 0.8, 0.5, 0.3, 0.5),
    ((2, 1, "ratio"), 0.5, 0.5, 0.6, 0.5),
    ((2, 1, "fixed"), 0.5, 0.5, 0.3, 0.5),
]


@pytest.mark.parametrize(("plan", "recall", "precision", "delta", "share"), BOTH)
def test_both_of_every_population_of_four(
    monkeypatch: pytest.MonkeyPatch,
    plan: tuple[int, int, RecallTest],
    recall: float,
    precision: float,
    delta: float,
    share: float,
) -> None:
    plan_joint(monkeypatch, *plan)
    targets = {"recall": recall, "precision": precision}
    keeps(judge(select_joint, 4, 3, delta, targets), delta, share)


def begin_again(monkeypatch: pytest.MonkeyPatch, size: int, test: RecallTest) -> None:
    """Have each query label its lowest rank after the first look, and sample `size` rows anew."""
    module = "thresher.sampling.joint."
    monkeypatch.setattr(module + "LOOKS", ((1.0, 0.5),))
    monkeypatch.setattr(module + "SECOND_SAMPLE", 0.5)
    monkeypatch.setattr(module + "plan_restart", lambda ledger, *_: ledger.n_rows - 1)
    second = SecondSample(1.0, 0, size, test)
    monkeypatch.setattr(module + "plan_second_sample", lambda *_: second)


@pytest.mark.parametrize(
    ("size", "recall"), [pytest.param(1, 0.4, marks=pytest.mark.full), (2, 0.6)]
)
def test_both_begun_again_of_every_population_of_five(
    monkeypatch: pytest.MonkeyPatch, size: int, recall: float
) -> None:
    plan_joint(monkeypatch, 1, 1, "fixed")
    begin_again(monkeypatch, size, "fixed")
    verdict = judge(select_joint, 5, 5, 0.9, {"recall": recall, "precision": 0.3})
    keeps(verdict, 0.9, 0.05)
    assert verdict.worst > 0  # the second sample decides, and can mislead


@pytest.mark.parametrize("case", [BOTH[0], BOTH[2]])
def test_a_wrong_level_of_both_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[tuple[int, int, RecallTest], float, float, float, float],
) -> None:
    plan, recall, precision, delta, _ = case
    plan_joint(monkeypatch, *plan)
    triple_recall_level(monkeypatch)
    monkeypatch.setattr(HEAD_LIMIT, WRONG["level x 3"])
    targets = {"recall": recall, "precision": precision}
    assert judge(select_joint, 4, 3, delta, targets).worst > Fraction(repr(delta))


@pytest.mark.full
@pytest.mark.parametrize(("n_rows", "budget"), [(3, 2), (4, 2), (4, 3)])
def test_both_as_it_is_planned(n_rows: int, budget: int) -> None:
    targets = {"recall": 0.5, "precision": 0.5}
    keeps(judge(select_joint, n_rows, budget, 0.5, targets), 0.5, 0.0)


@pytest.mark.full
@pytest.mark.parametrize("budget", [3, 5, 6])
def test_recall_of_every_population_of_eight(budget: int) -> None:
    keeps(judge(select_recall, 8, budget, 0.4, {"recall": 0.6}), 0.4, 0.0)


class Stopping(CountedLabels):
    """Stops after so many labels: by an exception, or by having none left."""

    def __init__(self, truth: np.ndarray, stop: int, budget: int, *, silent: bool) -> None:
        super().__init__(lambda rows: truth[rows], budget)
        self._truth, self._stop, self._silent = truth, stop, silent

    @property
    def remaining(self) -> int:
        over = self._silent and self.spent >= self._stop
        return 0 if over else super().remaining

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        left = self._stop - self.spent
        if len(rows) <= left or self._silent:
            return super().__call__(rows)
        raise OutOfLabelsError(super().__call__(rows[:left]))


def worst_stop(
    select: Callable[..., Selection],
    n_rows: int,
    budget: int,
    delta: float,
    targets: dict[str, float],
    *,
    silent: bool = False,
) -> Verdict:
    """Work out the chance that an answer is wrong at any of the places where labels may stop.

    No rule of stopping, even one that knows all labels, fails more often than that.
    """
    scores = np.linspace(0.9, 0.1, n_rows)
    count, risky, worst = 0, 0, Fraction(0)
    for pattern in product((False, True), repeat=n_rows):
        truth = np.array(pattern)

        def run(rng: EveryChoice, truth: np.ndarray = truth) -> tuple[bool, bool]:
            failed = risk = False
            for stop in range(budget, 0 if silent else -1, -1):  # silent at 0: another plan
                again = rng if stop == budget else EveryChoice(list(rng.script))
                labels = Stopping(truth, stop, budget, silent=silent)
                result = select(
                    scores, labels, delta=delta, rng=again, interruptible=True, **targets
                )
                assert again.options == rng.options[: len(again.options)]
                assert labels.spent == sum(len(step.rows) for step in result.steps) <= stop
                failed |= wrong(result, truth, **targets)
                risk |= stop < budget and at_risk(result, targets)
            return failed, risk

        failure = Fraction(0)
        for chance, (failed, risk) in outcomes(run):
            failure += chance * failed
            risky += risk
            count += 1
        worst = max(worst, failure)
    return Verdict(count, risky, worst)


def many_looks(monkeypatch: pytest.MonkeyPatch, last: float) -> None:
    """Looks from the first label on, and batches of one label."""
    monkeypatch.setattr("thresher.sampling.looks._LEAST", 1)
    monkeypatch.setattr("thresher.sampling.ledger._LEAST_BATCH", 1)
    for place in ("recall.LAST_LOOK", "head._LAST_LOOK"):
        monkeypatch.setattr(f"thresher.sampling.{place}", last)
    monkeypatch.setattr("thresher.sampling.joint.EARLY", 1 - last)


def plan_recall(monkeypatch: pytest.MonkeyPatch, sample: int, test: RecallTest) -> None:
    """Replace the planner of a recall query, and leave out what the guarantee does not need."""
    plan = RecallPlan(0.5, 0, sample, test)
    monkeypatch.setattr("thresher.sampling.recall._prepare", lambda *_: plan)
    monkeypatch.setattr("thresher.sampling.recall.make_buckets", lambda _: None)
    monkeypatch.setattr("thresher.sampling.recall.estimate_answer", lambda *_: (0.5, 0.5))
    certify = cache(certify_recall)  # few arguments, asked over and over
    monkeypatch.setattr("thresher.sampling.looks.certify_recall", certify)


def full_levels(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Let each early look spend three times all that they may spend together."""

    def spendthrift(size: int, level: float) -> tuple[Look, ...]:
        return tuple(Look(look.size, min(3 * level, 0.999)) for look in early_looks(size, level))

    for module in modules:
        monkeypatch.setattr(f"thresher.sampling.{module}.early_looks", spendthrift)


# Whole queries: the tests are rarely conclusive of so few rows; the levels are tested in
# tests/test_selection_stops.py on larger populations.
@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(("size", "test"), [(2, "ratio"), (3, "fixed")])
def test_recall_wherever_the_labels_stop(
    monkeypatch: pytest.MonkeyPatch, size: int, test: RecallTest, silent: bool
) -> None:
    many_looks(monkeypatch, 0.5)
    plan_recall(monkeypatch, size, test)
    keeps(worst_stop(select_recall, 4, size, 0.6, {"recall": 0.4}, silent=silent), 0.6, 0.0)


def test_a_level_spent_at_every_look_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    many_looks(monkeypatch, 0.5)
    plan_recall(monkeypatch, 3, "fixed")
    full_levels(monkeypatch, "recall")
    assert worst_stop(select_recall, 4, 3, 0.6, {"recall": 0.4}).worst > Fraction("0.6")


@pytest.mark.full
@pytest.mark.parametrize(("size", "test"), [(2, "ratio"), (3, "ratio"), (4, "fixed")])
def test_recall_of_five_rows_wherever_the_labels_stop(
    monkeypatch: pytest.MonkeyPatch, size: int, test: RecallTest
) -> None:
    many_looks(monkeypatch, 0.5)
    plan_recall(monkeypatch, size, test)
    keeps(worst_stop(select_recall, 5, size, 0.6, {"recall": 0.3}), 0.6, 0.0)


STOPPED_PRECISION = [
    ((4, 2), 0.5, 0.5, 4, 3, 0.1),
    pytest.param((5, 2), 0.5, 0.4, 5, 3, 0.1, marks=pytest.mark.full),
    pytest.param((4, 2), 0.6, 0.5, 5, 3, 0.1, marks=pytest.mark.full),
]


@pytest.mark.parametrize(
    ("plan", "target", "delta", "n_rows", "budget", "share"), STOPPED_PRECISION
)
def test_precision_wherever_the_labels_stop(
    monkeypatch: pytest.MonkeyPatch,
    plan: tuple[int, int],
    target: float,
    delta: float,
    n_rows: int,
    budget: int,
    share: float,
) -> None:
    many_looks(monkeypatch, 0.5)
    plan_precision(monkeypatch, *plan)
    verdict = worst_stop(select_precision, n_rows, budget, delta, {"precision": target})
    keeps(verdict, delta, share)
    assert verdict.worst > 0


@pytest.mark.parametrize(
    ("plan", "recall", "precision", "delta"),
    [
        ((2, 1, "ratio"), 0.5, 0.5, 0.6),
        pytest.param((2, 1, "ratio"), 0.8, 0.5, 0.3, marks=pytest.mark.full),
        pytest.param((2, 1, "fixed"), 0.5, 0.5, 0.3, marks=pytest.mark.full),
    ],
)
def test_both_wherever_the_labels_stop(
    monkeypatch: pytest.MonkeyPatch,
    plan: tuple[int, int, RecallTest],
    recall: float,
    precision: float,
    delta: float,
) -> None:
    many_looks(monkeypatch, 0.5)
    plan_joint(monkeypatch, *plan)
    verdict = worst_stop(select_joint, 4, 3, delta, {"recall": recall, "precision": precision})
    keeps(verdict, delta, 0.1)
