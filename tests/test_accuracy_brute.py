"""Accuracy on tiny populations: every pattern of disagreements, every sample, exact failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, islice, product
from math import comb, prod

import numpy as np
import pytest

import thresher.sampling.accuracy as module
from thresher.sampling.accuracy import _safe_cut, select_accuracy
from thresher.sampling.accuracy_plan import CutPlan
from thresher.sampling.bounds import Share, marked_upper
from thresher.sampling.labelling import CountedClasses, Labelling


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


def answers(run: Callable[[EverySample], Labelling]) -> Iterator[tuple[Fraction, Labelling]]:
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
            right = Fraction(int((answer.labels == truth).sum()), n_rows)
            false = right < Fraction(answer.accuracy_bound) - Fraction(1, 10**9)
            false |= answer.met and right < Fraction(repr(accuracy))
            total, failed = total + chance, failed + chance * false
            certain = 1 - np.count_nonzero(~answer.from_oracle) / n_rows
            risky += answer.accuracy_bound > certain + 1e-9
            probed += "probe" in answer.algorithm
            count += 1
        assert total == 1
        worst = max(worst, failed)
    return Verdict(worst, count, risky, probed)


def plan_of(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    """Replace the planner, which may be anything."""
    monkeypatch.setattr(module, "plan_cut", lambda *_: CutPlan(0.0, sample))
    monkeypatch.setattr(module, "plan_limit", lambda *_: sample)
    monkeypatch.setattr(module, "make_pictures", lambda *_: ())
    monkeypatch.setattr(module, "make_buckets", lambda *_: None)  # no pilot of so few rows
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
    monkeypatch.setattr(module, "_PROBE_SHARE", 0.5)


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
