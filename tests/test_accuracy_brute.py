"""Accuracy on tiny populations: every pattern of disagreements, every sample, exact failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, islice, product
from math import comb, perm, prod
from typing import TypeVar

import numpy as np
import pytest

import thresher.sampling.accuracy as module
from thresher.sampling.accuracy import _looks, _safe_cut, select_accuracy
from thresher.sampling.accuracy_plan import CutPlan, least_sample
from thresher.sampling.bounds import Share, marked_upper
from thresher.sampling.labelling import CountedClasses, Labelling, OutOfClassesError
from thresher.sampling.ledger import Ledger
from thresher.sampling.looks import Look

Answer = TypeVar("Answer")


class EverySample:
    """Stands in for a generator: replays a script of samples and records how many there were."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.options = script, []

    def choice(self, pool: np.ndarray, size: int, *, replace: bool) -> np.ndarray:
        assert not replace
        if len(self.options) == len(self.script):
            self.script.append(0)
        self.options.append(comb(len(pool), size))
        index = self.script[len(self.options) - 1]
        places = next(islice(combinations(range(len(pool)), size), index, None))
        return pool[list(places)]

    def integers(self, _high: int, size: int) -> np.ndarray:  # the order of ties: there are none
        return np.ones(size, dtype=np.int64)


def answers(run: Callable[[EverySample], Answer]) -> Iterator[tuple[Fraction, Answer]]:
    """Yield the answer to every choice of samples with its probability."""
    script: list[int] = []
    while True:
        rng = EverySample(script)
        answer = run(rng)
        yield Fraction(1, prod(rng.options)), answer
        del script[len(rng.options) :]
        while script and script[-1] + 1 == rng.options[len(script) - 1]:
            script.pop()
        if not script:
            return
        script[-1] += 1


@dataclass(frozen=True)
class Verdict:
    """Over all patterns: the worst chance of a false claim, and answers that rest on a bound."""

    worst: Fraction
    answers: int
    at_risk: int
    probed: int


def judge(
    n_rows: int, budget: int, delta: float, accuracy: float, known: np.ndarray | None = None
) -> Verdict:
    """Work out at every pattern of disagreements the probability that a claim is false."""
    predictions, confidence = np.zeros(n_rows, dtype=np.int64), np.linspace(0.9, 0.1, n_rows)
    worst, count, risky, probed = Fraction(0), 0, 0, 0
    for pattern in product((0, 1), repeat=n_rows):
        truth = np.array(pattern)
        facts = None if known is None else np.where(known, truth, -1)

        def run(
            rng: EverySample, truth: np.ndarray = truth, facts: np.ndarray | None = facts
        ) -> Labelling:
            labels = CountedClasses(lambda rows: truth[rows], budget)
            return select_accuracy(
                predictions,
                confidence,
                labels,
                accuracy=accuracy,
                delta=delta,
                rng=rng,  # type: ignore[arg-type]
                known=facts,
            )

        total, failed = Fraction(0), Fraction(0)
        for chance, answer in answers(run):
            false = false_claim(answer, truth, accuracy)
            total, failed = total + chance, failed + chance * false
            risky += rests_on_a_bound(answer)
            probed += "probe" in answer.algorithm
            count += 1
        assert total == 1
        worst = max(worst, failed)
    return Verdict(worst, count, risky, probed)


def false_claim(answer: Labelling, truth: np.ndarray, accuracy: float) -> bool:
    """Return whether an answer is less accurate than it says."""
    right = Fraction(int((answer.labels == truth).sum()), len(truth))
    false = right < Fraction(answer.accuracy_bound) - Fraction(1, 10**9)
    return false or (answer.met and right < Fraction(repr(accuracy)))


def rests_on_a_bound(answer: Labelling) -> bool:
    """Return whether more is claimed than the labelled rows make certain."""
    return answer.accuracy_bound > answer.from_oracle.mean() + 1e-9


def plan_of(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    """Replace the planner, which may be anything."""
    monkeypatch.setattr(module, "plan_cut", lambda *_: CutPlan(0.0, sample))
    monkeypatch.setattr(module, "plan_limit", lambda *_: sample)
    monkeypatch.setattr(module, "make_pictures", lambda *_: ())
    monkeypatch.setattr(module, "make_buckets", lambda *_: None)  # no pilot of so few rows
    monkeypatch.setattr(module, "draw_pilot", lambda *_: np.zeros(0, dtype=np.int64))
    monkeypatch.setattr(module, "least_sample", lru_cache(least_sample))
    monkeypatch.setattr(module, "_safe_cut", lru_cache(_safe_cut))
    monkeypatch.setattr(module, "marked_upper", lru_cache(marked_upper))


# Sample, accuracy, delta, rows, budget; share of the answers that rest on a bound.
CASES = [
    (3, 0.7, 0.3, 6, 6, 0.1),
    pytest.param(2, 0.5, 0.3, 6, 6, 0.3, marks=pytest.mark.full),
    (3, 0.6, 0.5, 6, 4, 0.3),
    (2, 0.75, 0.5, 6, 4, 0.1),
    pytest.param(5, 1.0, 0.3, 6, 6, 0.05, marks=pytest.mark.full),
    pytest.param(4, 0.75, 0.4, 8, 5, 0.2, marks=pytest.mark.full),
    pytest.param(4, 0.7, 0.3, 8, 8, 0.2, marks=pytest.mark.full),
    pytest.param(5, 0.8, 0.5, 8, 8, 0.4, marks=pytest.mark.full),
]


@pytest.mark.parametrize(("sample", "accuracy", "delta", "n_rows", "budget", "share"), CASES)
def test_every_population(
    monkeypatch: pytest.MonkeyPatch,
    sample: int,
    accuracy: float,
    delta: float,
    n_rows: int,
    budget: int,
    share: float,
) -> None:
    plan_of(monkeypatch, sample)
    verdict = judge(n_rows, budget, delta, accuracy)
    assert verdict.worst <= Fraction(repr(delta)), float(verdict.worst)
    assert verdict.at_risk >= share * verdict.answers, verdict


@pytest.mark.parametrize(("sample", "budget"), [(2, 2), (2, 4)])
def test_beside_known_rows(monkeypatch: pytest.MonkeyPatch, sample: int, budget: int) -> None:
    plan_of(monkeypatch, sample)
    known = np.array([True, False, False, True, False, False])
    verdict = judge(6, budget, 0.5, 0.7, known)
    assert 0 < verdict.worst <= Fraction("0.5")


@pytest.mark.parametrize(
    ("budget", "accuracy", "delta"),
    [(4, 0.7, 0.3), pytest.param(6, 0.7, 0.5, marks=pytest.mark.full)],
)
def test_as_it_is_planned(budget: int, accuracy: float, delta: float) -> None:
    verdict = judge(5, budget, delta, accuracy)
    assert verdict.worst <= Fraction(repr(delta))


def test_short_labels_are_judged_by_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    plan_of(monkeypatch, 3)
    monkeypatch.setattr(module, "plan_cut", lambda *_: CutPlan(np.inf, 1))
    verdict = judge(6, 4, 0.3, 0.9)
    assert Fraction(1, 20) < verdict.worst <= Fraction("0.3")
    assert verdict.at_risk > 0.3 * verdict.answers


@pytest.mark.parametrize(("size", "accuracy", "delta"), [(2, 0.6, 0.5), (2, 0.8, 0.9)])
def test_a_probe_before_the_sample(
    monkeypatch: pytest.MonkeyPatch, size: int, accuracy: float, delta: float
) -> None:
    """All of delta in two parts: a probe of some rows, then a sample of the rest."""
    plan_of(monkeypatch, 1)
    probe_of(monkeypatch, size)
    verdict = judge(5, 5, delta, accuracy)
    assert Fraction(1, 20) < verdict.worst <= Fraction(repr(delta)), float(verdict.worst)
    assert verdict.at_risk >= 0.03 * verdict.answers
    assert verdict.probed > 0.01 * verdict.answers


def probe_of(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let the probe have some rows and half of delta, however small the table."""
    monkeypatch.setattr(module, "_most_probed", lambda _: size)
    monkeypatch.setattr(module, "least_sample", lambda *_: size)
    monkeypatch.setattr(module, "PROBE_SHARE", 0.5)


def cut_failure(n_rows: int, sample: int, allowed: int, cut: int) -> Fraction:
    """Return the worst chance, over all patterns, that a cut leaves more than `allowed` wrong.

    Rows are numbered from the safest; patterns and samples are bit masks.
    """
    samples = [sum(1 << i for i in s) for s in combinations(range(n_rows), sample)]
    worst = 0
    for pattern in range(1 << n_rows):
        failed = 0
        for drawn in samples:
            left, seen = 0, 0
            for row in range(n_rows):
                if pattern >> row & 1:
                    if drawn >> row & 1:
                        seen += 1
                        if seen > cut:
                            break
                    else:
                        left += 1
            failed += left > allowed
        worst = max(worst, failed)
    return Fraction(worst, len(samples))


@pytest.mark.parametrize(
    ("n_rows", "sample", "allowed"), [(8, 4, 1), (8, 5, 2), (9, 4, 3), (9, 6, 0)]
)
def test_the_worst_failure_of_every_cut_is_the_closed_form(
    n_rows: int, sample: int, allowed: int
) -> None:
    for cut in range(sample + 1):
        marked = cut + allowed + 1
        if marked > n_rows - sample + cut:
            continue
        exact = Fraction(
            sum(comb(marked, x) * comb(n_rows - marked, sample - x) for x in range(cut + 1)),
            comb(n_rows, sample),
        )
        assert cut_failure(n_rows, sample, allowed, cut) == exact
        for level in (0.1, 0.3, 0.6):
            safe = _safe_cut(n_rows, sample, allowed, level) >= cut
            assert safe == (exact <= Fraction(repr(level)))


WRONG = {
    "a cut too deep": ("_safe_cut", lambda *a: min(_safe_cut(*a) + 1, a[1])),
    "level x 3": ("marked_upper", lambda r, s, f, a: marked_upper(r, s, f, min(3 * a, 0.999))),
    "T - 1": ("marked_upper", lambda r, s, f, a: max(f, marked_upper(r, s, f, a) - 1)),
    "one wrong row more": (
        "Share",
        type(
            "Loose",
            (),
            {
                "beyond": staticmethod(
                    lambda a: type("L", (), {"of": lambda _, n: Share.beyond(a).of(n) + 1})()
                )
            },
        ),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_cut_would_be_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plan_of(monkeypatch, 3)
    monkeypatch.setattr(module, *WRONG[name])
    assert judge(6, 6, 0.3, 0.7).worst > Fraction("0.3")


# Wherever the labels stop.


class Stopping(CountedClasses):
    """Stops after so many labels: by an exception, or by having none left."""

    def __init__(self, truth: np.ndarray, stop: int, budget: int, *, silent: bool) -> None:
        super().__init__(lambda rows: truth[rows], budget)
        self._stop, self._silent = stop, silent

    @property
    def remaining(self) -> int:
        over = self._silent and self.spent >= self._stop
        return 0 if over else super().remaining

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        left = self._stop - self.spent
        if len(rows) <= left or self._silent:
            return super().__call__(rows)
        raise OutOfClassesError(super().__call__(rows[:left]))


class EveryOrder:
    """Stands in for a permutation: every next row is one of those left, as the script says."""

    def __init__(self, ledger: Ledger, rng: EverySample) -> None:
        self._left, self._rng = ledger.unknown(), rng

    def take(self, count: int) -> np.ndarray:
        taken = np.zeros(count, dtype=np.int64)
        for i in range(count):
            taken[i] = self._rng.choice(self._left, 1, replace=False)[0]
            self._left = self._left[self._left != taken[i]]
        return taken


def worst_stop(
    n_rows: int,
    budget: int,
    delta: float,
    accuracy: float,
    known: np.ndarray | None = None,
    *,
    silent: bool = False,
) -> Verdict:
    """Work out the chance that a claim is false at any of the places where labels may stop.

    No rule of stopping, even one that knows all labels, fails more often than that.
    """
    predictions, confidence = np.zeros(n_rows, dtype=np.int64), np.linspace(0.9, 0.1, n_rows)
    worst, count, risky, probed = Fraction(0), 0, 0, 0
    for pattern in product((0, 1), repeat=n_rows):
        truth = np.array(pattern)
        facts = None if known is None else np.where(known, truth, -1)

        def run(
            rng: EverySample, truth: np.ndarray = truth, facts: np.ndarray | None = facts
        ) -> list[Labelling]:
            found = []
            for stop in range(budget, 0 if silent else -1, -1):  # silent at 0: another plan
                again = rng if stop == budget else EverySample(list(rng.script))
                labels = Stopping(truth, stop, budget, silent=silent)
                found.append(
                    select_accuracy(
                        predictions,
                        confidence,
                        labels,
                        accuracy=accuracy,
                        delta=delta,
                        rng=again,  # type: ignore[arg-type]
                        known=facts,
                        interruptible=True,
                    )
                )
                assert again.options == rng.options[: len(again.options)]
                assert labels.spent == sum(len(step.rows) for step in found[-1].steps) <= stop
            return found

        failed = Fraction(0)
        for chance, found in answers(run):
            failed += chance * any(false_claim(one, truth, accuracy) for one in found)
            risky += any(rests_on_a_bound(one) for one in found[1:])
            probed += any(test.stages[0] == "probe 1" for test in found[0].tests)
            count += 1
        worst = max(worst, failed)
    return Verdict(worst, count, risky, probed)


class GivenOrder:
    """Stands in for the model of risk, which may be anything."""

    def __init__(self, _predictions: np.ndarray, confidence: np.ndarray) -> None:
        self._confidence = confidence

    def fit(self, _rows: np.ndarray, _wrong: np.ndarray) -> None:
        pass

    def risk(self) -> np.ndarray:
        return 1 - self._confidence


def looks_of(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    """Looks from the first label on, batches of one label, and every permutation."""
    plan_of(monkeypatch, sample)
    monkeypatch.setattr("thresher.sampling.looks._LEAST", 1)
    monkeypatch.setattr("thresher.sampling.ledger._LEAST_BATCH", 1)
    monkeypatch.setattr(module, "Permutation", EveryOrder)
    monkeypatch.setattr(module, "RiskModel", GivenOrder)
    monkeypatch.setattr(module, "_LAST_LOOK", {"cut": 0.5, "limit": 0.5})


# Sample, accuracy, delta, rows, budget, share of the levels for limits; how many answers rest on
# a bound before all labels are spent.
STOPPED = [
    (2, 0.75, 0.8, 4, 4, 0.3, 0.8),
    (2, 0.75, 0.5, 4, 4, 0.5, 0.4),
    (2, 0.4, 0.6, 5, 5, 0.5, 0.2),
    pytest.param(3, 0.8, 0.8, 5, 4, 0.5, 0.7, marks=pytest.mark.full),
    pytest.param(3, 0.4, 0.8, 5, 4, 0.5, 0.1, marks=pytest.mark.full),
]


@pytest.mark.parametrize(
    ("sample", "accuracy", "delta", "n_rows", "budget", "looks", "share"), STOPPED
)
def test_every_population_wherever_the_labels_stop(
    monkeypatch: pytest.MonkeyPatch,
    sample: int,
    accuracy: float,
    delta: float,
    n_rows: int,
    budget: int,
    looks: float,
    share: float,
) -> None:
    looks_of(monkeypatch, sample)
    monkeypatch.setattr(module, "LOOKS_SHARE", looks)
    verdict = worst_stop(n_rows, budget, delta, accuracy)
    assert 0 < verdict.worst <= Fraction(repr(delta)), float(verdict.worst)
    assert verdict.at_risk >= share * verdict.answers, verdict


def test_labels_that_run_out_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    looks_of(monkeypatch, 2)
    verdict = worst_stop(4, 4, 0.5, 0.75, silent=True)
    assert 0 < verdict.worst <= Fraction("0.5")
    assert verdict.at_risk > 0


def test_limits_alone_wherever_the_labels_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    looks_of(monkeypatch, 2)
    monkeypatch.setattr(module, "plan_cut", lambda *_: CutPlan(np.inf, 1))
    verdict = worst_stop(5, 4, 0.8, 0.9)
    assert 0 < verdict.worst <= Fraction("0.8")
    assert verdict.at_risk > 0.2 * verdict.answers


def test_beside_known_rows_wherever_the_labels_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    looks_of(monkeypatch, 2)
    monkeypatch.setattr(module, "LOOKS_SHARE", 0.5)
    verdict = worst_stop(5, 4, 0.7, 0.8, np.array([True, False, False, False, False]))
    assert 0 < verdict.worst <= Fraction("0.7")
    assert verdict.at_risk > 0.4 * verdict.answers


@pytest.mark.parametrize("size", [1, 2])
def test_a_probe_wherever_the_labels_stop(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    looks_of(monkeypatch, 2)
    probe_of(monkeypatch, size)
    verdict = worst_stop(4, 4, 0.8, 0.5)
    assert verdict.worst <= Fraction("0.8")
    assert verdict.worst > 0 or size == 1
    assert verdict.probed == verdict.answers


@pytest.mark.parametrize(
    ("kind", "sample", "accuracy", "delta"), [("cut", 2, 0.75, 0.26), ("limit", 3, 0.9, 0.51)]
)
def test_a_level_spent_at_every_look_would_be_found(
    monkeypatch: pytest.MonkeyPatch, kind: str, sample: int, accuracy: float, delta: float
) -> None:
    looks_of(monkeypatch, sample)
    monkeypatch.setattr(module, "LOOKS_SHARE", 0.0)
    if kind == "limit":
        monkeypatch.setattr(module, "plan_cut", lambda *_: CutPlan(np.inf, 1))
    looks = tuple(Look(size, delta) for size in range(1, sample + 1))
    monkeypatch.setattr(module, "_looks", lambda *_: looks)
    assert worst_stop(4, 4, delta, accuracy).worst > Fraction(repr(delta))


@pytest.mark.parametrize("kind", ["cut", "limit"])
def test_a_limit_one_too_low_would_be_found(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    looks_of(monkeypatch, 2)
    monkeypatch.setattr(module, "marked_upper", WRONG["T - 1"][1])
    if kind == "limit":
        monkeypatch.setattr(module, "plan_cut", lambda *_: CutPlan(np.inf, 1))
    assert worst_stop(4, 4, 0.5, 0.75).worst > Fraction("0.5")


# The levels of all looks together, exactly, at sizes that no list of samples reaches.


def chance_of_any_failure(
    n_rows: int, n_wrong: int, looks: Sequence[Look], allowed: int, level: float
) -> float:
    """Return the chance that the limit of any look, or the cut after the last, is false.

    Only the wrong rows matter: all ways to spread them over the parts of the permutation that are
    new at each look, and the rest that no look reaches, are listed with their weights.
    """
    sizes = np.diff([0, *(look.size for look in looks), n_rows])
    limits = [
        [marked_upper(n_rows, look.size, k, look.level) for k in range(look.size + 1)]
        for look in looks
    ]
    cut = _safe_cut(n_rows, looks[-1].size, allowed, level)
    total = failed = 0.0
    for parts in product(range(len(sizes)), repeat=n_wrong):  # of the wrong rows, safest first
        taken = np.bincount(parts, minlength=len(sizes)) if n_wrong else np.zeros(len(sizes), int)
        weight = prod(float(perm(int(s), int(t))) for s, t in zip(sizes, taken, strict=True))
        if not weight:
            continue
        seen = np.cumsum(taken)
        false = any(n_wrong > limits[i][seen[i]] for i in range(len(looks)))
        found = [i for i, part in enumerate(parts) if part < len(looks)]
        last = 0 if cut < 0 else n_wrong if cut >= len(found) else found[cut]
        false |= last - sum(i < last for i in found) > allowed
        total += weight
        failed += weight * false
    return failed / total


@pytest.mark.parametrize("allowed", [0, 1, 3])
@pytest.mark.parametrize("delta", [0.3, 0.6])
def test_looks_and_cut_fail_no_more_than_their_levels(
    monkeypatch: pytest.MonkeyPatch, allowed: int, delta: float
) -> None:
    monkeypatch.setattr("thresher.sampling.looks._LEAST", 3)
    monkeypatch.setattr(module, "_LAST_LOOK", {"cut": 0.5})
    looks = _looks(12, 0.5 * delta, "cut")
    assert [look.size for look in looks] == [3, 6, 12]
    worst = max(chance_of_any_failure(18, n, looks, allowed, 0.5 * delta) for n in range(8))
    assert worst <= delta
    spendthrift = [Look(look.size, delta) for look in looks]
    loose = max(chance_of_any_failure(18, n, spendthrift, allowed, delta) for n in range(8))
    assert loose > worst
    if delta == 0.3:
        assert worst > 0.15 * delta
        assert loose > delta
