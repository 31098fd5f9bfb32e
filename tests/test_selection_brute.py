"""Whole queries on tiny populations: every label pattern, every random choice, exact failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations, permutations, product
from math import comb, factorial

import numpy as np
import pytest

from thresher.sampling import (
    CountedLabels,
    Selection,
    select_joint,
    select_precision,
    select_recall,
)


class EveryChoice:
    """Stands in for a generator: replays a script of choices and records how many there were."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.options, self.ranked = script, [], False

    def _next(self, options: int) -> int:
        if len(self.options) == len(self.script):
            self.script.append(0)
        self.options.append(options)
        return self.script[len(self.options) - 1]

    def choice(self, pool: np.ndarray, size: int, *, replace: bool) -> np.ndarray:
        assert not replace
        index = self._next(comb(len(pool), size))
        for i, places in enumerate(combinations(range(len(pool)), size)):
            if i == index:
                return pool[list(places)]
        raise AssertionError(index)

    def permutation(self, pool: int | np.ndarray) -> np.ndarray:
        if isinstance(pool, int):  # the order of ties: the scores here have none
            return np.arange(pool)
        index = self._next(factorial(len(pool)))
        for i, places in enumerate(permutations(range(len(pool)))):
            if i == index:
                return pool[list(places)]
        raise AssertionError(index)


def outcomes(run: Callable[[EveryChoice], Selection]) -> Iterator[tuple[Fraction, Selection]]:
    """Yield every outcome of a query with its probability."""
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


def judge(
    select: Callable[..., Selection],
    n_rows: int,
    budget: int,
    delta: float,
    targets: dict[str, float],
    known: np.ndarray | None = None,
) -> int:
    """Check the failure probability at every label pattern; count the answers that leave out."""
    scores = np.linspace(0.9, 0.1, n_rows)
    selective = 0
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
            selective += not result.vacuous
        assert total == 1
        assert failed <= Fraction(repr(delta)), (pattern, float(failed))
    return selective


@pytest.mark.parametrize(("target", "delta"), [(0.5, 0.3), (0.4, 0.5), (0.8, 0.6)])
@pytest.mark.parametrize(
    ("n_rows", "budget"), [(5, 2), (5, 3), pytest.param(6, 4, marks=pytest.mark.full)]
)
def test_recall_of_every_population_of_a_few(
    target: float, delta: float, n_rows: int, budget: int
) -> None:
    selective = judge(select_recall, n_rows, budget, delta, {"recall": target})
    assert selective > 0 or budget == 2 or delta == 0.3


@pytest.mark.parametrize("target", [0.4, 0.6])
def test_recall_beside_known_rows(target: float) -> None:
    known = np.array([True, False, True, False, False])
    assert judge(select_recall, 5, 2, 0.5, {"recall": target}, known) > 0


@pytest.mark.parametrize(("target", "delta"), [(0.5, 0.3), (0.6, 0.5), (0.8, 0.6)])
def test_precision_of_every_population_of_five(target: float, delta: float) -> None:
    judge(select_precision, 5, 4, delta, {"precision": target})


@pytest.mark.parametrize(
    ("n_rows", "budget"),
    [(3, 2), *(pytest.param(4, b, marks=pytest.mark.full) for b in (2, 3))],
)
def test_both_of_every_population_of_a_few(n_rows: int, budget: int) -> None:
    judge(select_joint, n_rows, budget, 0.5, {"recall": 0.5, "precision": 0.5})


@pytest.mark.full
@pytest.mark.parametrize("budget", [3, 5, 6])
def test_recall_of_every_population_of_eight(budget: int) -> None:
    judge(select_recall, 8, budget, 0.4, {"recall": 0.6})
