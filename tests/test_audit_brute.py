"""Audits on tiny populations: every truth, every sample, the exact probability of a wrong limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, permutations, product
from math import comb, factorial
from typing import TypeVar

import numpy as np
import pytest
from scipy.stats import hypergeom

from thresher.sampling import CountedLabels, agreement, audit
from thresher.sampling.agreement import human_agreement, human_mean
from thresher.sampling.audit import audit_selection
from thresher.sampling.bounds import marked_upper
from thresher.sampling.claims import Audit
from thresher.sampling.counts import count_limits
from thresher.sampling.means import mean_limits
from thresher.sampling.ratio import Group, share_lower, share_of
from thresher.sampling.strata import StrataPlan

T = TypeVar("T")


class EveryChoice:
    """Stands in for a generator: replays a script of samples and records how many there were."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.options = script, []

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


def chances(n_rows: int, n_sample: int) -> np.ndarray:
    """P(X = x) for every number of marked rows and every x."""
    marked, x = np.arange(n_rows + 1)[:, None], np.arange(n_sample + 1)
    return hypergeom.pmf(x, n_rows, marked, n_sample) if n_rows else np.ones((1, 1))


@pytest.mark.parametrize("empty", [0, 1])
@pytest.mark.parametrize(
    ("own", "other", "known", "level"),
    [
        ((8, 4), (12, 6), (0, 0), 0.1),
        ((8, 4), (12, 6), (2, 1), 0.3),
        ((20, 6), (9, 5), (0, 3), 0.05),
        ((6, 3), (40, 8), (1, 0), 0.2),
        ((12, 12), (15, 5), (0, 0), 0.1),
        ((0, 0), (15, 5), (4, 0), 0.1),
        ((15, 5), (0, 0), (0, 2), 0.1),
        ((15, 0), (12, 4), (1, 0), 0.1),
    ],
)
def test_no_truth_gives_a_false_share_more_often_than_the_level(
    own: tuple[int, int],
    other: tuple[int, int],
    known: tuple[int, int],
    level: float,
    empty: int,
) -> None:
    found = list(product(range(own[1] + 1), range(other[1] + 1)))
    limit = {
        (x, y): share_lower(Group(known[0], *own, x), Group(known[1], *other, y), level, empty)
        for x, y in found
    }
    one, two, worst = chances(*own), chances(*other), 0.0
    for p, q in product(range(own[0] + 1), range(other[0] + 1)):
        true = share_of(known[0] + p, known[1] + q, empty)
        worst = max(worst, sum(one[p, x] * two[q, y] for x, y in found if limit[x, y] > true))
    assert worst <= level + 1e-12
    if own[1] and other[1]:
        assert worst > 0.2 * level  # not vacuous


def test_one_test_of_both_samples_beats_two_limits() -> None:
    gained = []
    for own, other in (
        (Group(0, 500, 100, 90), Group(0, 9500, 900, 2)),
        (Group(0, 5000, 400, 300), Group(0, 95_000, 600, 6)),
        (Group(10, 5000, 400, 300), Group(3, 5000, 600, 100)),
        (Group(0, 300, 120, 100), Group(0, 2000, 300, 12)),
    ):
        for one, two, empty in ((own, other, 1), (other, own, 0)):
            wrong = marked_upper(one.n_rows, one.n_sample, one.n_sample - one.n_found, 0.0125)
            most = marked_upper(two.n_rows, two.n_sample, two.n_found, 0.0125)
            apart = share_of(one.n_known + one.n_rows - wrong, two.n_known + most, empty)
            point = share_of(
                round(one.n_known + one.n_rows * one.n_found / one.n_sample),
                round(two.n_known + two.n_rows * two.n_found / two.n_sample),
                empty,
            )
            together = share_lower(one, two, 0.025, empty)
            gained.append(float((point - together) / (point - apart)))
    assert max(gained) < 1.0
    assert np.mean(gained) < 0.9


def truth_of(returned: np.ndarray, truth: np.ndarray) -> dict[str, Fraction]:
    right = int(np.count_nonzero(returned & truth))
    return {
        "precision": share_of(right, int(returned.sum()) - right, 1),
        "recall": share_of(right, int(truth.sum()) - right, 1),
    }


def is_wrong(result: Audit, true: dict[str, Fraction]) -> bool:
    """Whether a limit is false, or a verdict is."""
    tiny = Fraction(1, 10**12)
    for name, limits in result.limits:
        if not Fraction(limits.low) - tiny <= true[name] <= Fraction(limits.high) + tiny:
            return True
    for claim in result.claims:
        kept = true[claim.name] >= Fraction(repr(claim.low))
        if (claim.verdict == "refuted" and kept) or (claim.verdict == "supported" and not kept):
            return True
    return False


def judge(
    monkeypatch: pytest.MonkeyPatch, returned: np.ndarray, budget: int, delta: float, **more: object
) -> tuple[Fraction, set[str]]:
    """Return the worst failure probability over all truths, and the verdicts that came up."""
    monkeypatch.setattr(audit, "share_lower", lru_cache(maxsize=None)(share_lower))
    n_rows = len(returned)
    known = more.get("known", np.full(n_rows, -1, dtype=np.int8))
    assert isinstance(known, np.ndarray)
    worst, verdicts = Fraction(0), set()
    for pattern in product([False, True], repeat=int((known < 0).sum())):
        truth = known > 0
        truth[known < 0] = pattern
        true, failed = truth_of(returned, truth), Fraction(0)

        def run(rng: EveryChoice, truth: np.ndarray = truth) -> Audit:
            labels = CountedLabels(lambda rows: truth[rows], budget)
            return audit_selection(
                returned, labels, delta=delta, rng=rng, **more,  # type: ignore[arg-type]
            )  # fmt: skip

        for chance, result in outcomes(run):
            failed += chance * is_wrong(result, true)
            verdicts |= {claim.verdict for claim in result.claims}
            assert result.n_labels <= budget
        worst = max(worst, failed)
    return worst, verdicts


@pytest.mark.parametrize("budget", [3, 5])
@pytest.mark.parametrize("claims", [{"recall": 0.6}, {"precision": 0.5, "recall": 0.5}])
def test_every_truth_and_every_sample(
    budget: int, claims: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    worst, verdicts = judge(monkeypatch, np.arange(7) < 3, budget, 0.8, **claims)
    assert worst <= Fraction(8, 10)
    if budget == 5:
        assert worst > 0
        assert "refuted" in verdicts


def test_with_facts_and_a_claim_of_precision_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    known = np.array([1, -1, -1, -1, -1, 0, 1, -1], dtype=np.int8)
    returned = np.arange(8) < 6
    worst, verdicts = judge(monkeypatch, returned, 3, 0.7, known=known, precision=0.5)
    assert 0 < worst <= Fraction(7, 10)
    assert verdicts == {"refuted", "supported", "undecided"}


def test_with_strata_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = StrataPlan((0, 2, 5), (1, 2))
    monkeypatch.setattr(audit, "plan_strata", lambda *_: plan)
    monkeypatch.setattr(audit, "_INSIDE", (0.4, 0.4))
    cached = lru_cache(maxsize=None)(lambda c, delta: count_limits(list(c), delta))
    monkeypatch.setattr(audit, "count_limits", lambda c, delta: cached(tuple(c), delta))
    returned = np.arange(7) < 2
    scores = np.linspace(1, 0, 7)
    worst, verdicts = judge(monkeypatch, returned, 5, 0.5, scores=scores, recall=0.5)
    assert 0 < worst <= Fraction(1, 2)
    assert "refuted" in verdicts


def test_means_of_every_small_population() -> None:
    delta, size, rows = 0.4, 5, 7
    limits = {
        sample: mean_limits(np.array(sample), rows, 0.0, 1.0, delta)
        for sample in product((0.0, 0.5, 1.0), repeat=size)
    }
    worst = [0.0, 0.0]
    for values in product((0.0, 0.5, 1.0), repeat=rows):
        if list(values) != sorted(values):
            continue
        drawn = [limits[order] for order in permutations(values, size)]
        mean = sum(values) / rows
        worst[0] = max(worst[0], float(np.mean([low > mean + 1e-12 for low, _ in drawn])))
        worst[1] = max(worst[1], float(np.mean([high < mean - 1e-12 for _, high in drawn])))
    assert max(worst) <= delta / 2
    assert min(worst) > 0
    width = np.mean([high - low for low, high in limits.values()])
    assert width < 0.9 * (rows - size) / rows + 0.3


@pytest.mark.parametrize(
    ("oracle", "risky"),
    [([1, 1, 1, 0, 0, 0, 0, 0], True), ([1, 1, 0, 1, 0, 0, 0, -1], False)],
)
def test_people_against_every_small_population(
    oracle: list[int], risky: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = lru_cache(maxsize=None)(lambda c, delta: count_limits(list(c), delta))
    monkeypatch.setattr(agreement, "count_limits", lambda c, delta: cached(tuple(c), delta))
    returned = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=np.bool_)
    predicted = np.array(oracle, dtype=np.int8)
    samples, delta = list(combinations(range(8), 5)), 0.9
    worst = Fraction(0)
    for pattern in product([False, True], repeat=8):
        people = np.array(pattern)
        true = truth_of(returned, people)
        failed = 0
        for asked in samples:
            human = np.full(8, -1, dtype=np.int8)
            human[list(asked)] = people[list(asked)]
            found = human_agreement(returned, predicted, human, delta=delta)
            every = (
                (found.precision, true["precision"]),
                (found.recall, true["recall"]),
                (found.positives, Fraction(int(people.sum()))),
            )
            failed += any(not lim.low - 1e-12 <= t <= lim.high + 1e-12 for lim, t in every)
        worst = max(worst, Fraction(failed, len(samples)))
    assert worst <= Fraction(9, 10)
    assert not risky or worst > 0


def test_means_of_people_on_every_small_population(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = lru_cache(maxsize=None)(lambda values, *rest: mean_limits(np.array(values), *rest))
    monkeypatch.setattr(agreement, "mean_limits", lambda v, *rest: cached(tuple(v), *rest))
    predicted = np.array([0.2, 0.9, 0.5, 0.1, 0.8])
    worst, narrow = Fraction(0), 0
    for pattern in product([0.0, 1.0], repeat=5):
        people, failed = np.array(pattern), Fraction(0)
        for asked in combinations(range(5), 4):
            human = np.full(5, np.nan)
            human[list(asked)] = people[list(asked)]
            for chance, limits in outcomes(
                lambda rng, human=human: human_mean(
                    predicted, human, value_range=(0.0, 1.0), delta=0.5, rng=rng
                )
            ):
                wrong = not limits.low - 1e-12 <= people.mean() <= limits.high + 1e-12
                failed += chance * wrong / comb(5, 4)
                narrow += limits.high - limits.low < 0.2
        worst = max(worst, failed)
    assert worst <= Fraction(1, 2)
    assert narrow > 0
