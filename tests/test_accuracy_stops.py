"""Labellings whose labels stop: what every answer keeps, and what it takes to go on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from thresher.sampling import CountedClasses, Labelling, OutOfClassesError, OutOfLabelsError
from thresher.sampling.accuracy import select_accuracy
from thresher.sampling.bounds import Share

N = 3000


class Stopping(CountedClasses):
    """Gives so many codes and then stops, in the middle of what it is asked for."""

    def __init__(self, truth: np.ndarray, stop: int, budget: int) -> None:
        super().__init__(lambda rows: truth[rows], budget)
        self.stop, self.stopped = stop, False
        self.asked: list[int] = []

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        assert not self.stopped, "asked again after it had stopped"
        left = self.stop - self.spent
        self.asked += rows[:left].tolist()
        if len(rows) <= left:
            return super().__call__(rows)
        self.stopped = True
        raise OutOfClassesError(super().__call__(rows[:left]))


def data(n: int, seed: int, quality: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predictions, confidences and the truth, of three classes."""
    rng = np.random.default_rng(seed)
    truth, confidence = rng.integers(0, 3, n), rng.beta(quality, 1, n)
    right = rng.random(n) < confidence
    return np.where(right, truth, (truth + 1) % 3), confidence, truth


def run(
    world: tuple[np.ndarray, np.ndarray, np.ndarray],
    labels: CountedClasses,
    *,
    accuracy: float = 0.95,
    delta: float = 0.1,
    seed: int = 5,
    known: np.ndarray | None = None,
) -> Labelling:
    predictions, confidence, truth = world
    answer = select_accuracy(
        predictions,
        confidence,
        labels,
        accuracy=accuracy,
        delta=delta,
        rng=np.random.default_rng(seed),
        known=known,
        interruptible=True,
    )
    check(answer, predictions, truth, labels, delta, known)
    return answer


def check(
    answer: Labelling,
    predictions: np.ndarray,
    truth: np.ndarray,
    labels: CountedClasses,
    delta: float,
    known: np.ndarray | None,
) -> None:
    """Check all that holds for certain."""
    facts = np.zeros(len(truth), bool) if known is None else known >= 0
    n_asked: dict[str, int] = {}
    for step in answer.steps:
        assert not facts[step.rows].any()
        assert np.array_equal(step.answers, truth[step.rows])
        facts = facts.copy()
        facts[step.rows] = True
        n_asked[step.stage] = n_asked.get(step.stage, 0) + len(step.rows)
    assert sum(n_asked.values()) == labels.spent
    assert np.array_equal(answer.from_oracle, facts)
    assert np.array_equal(answer.labels, np.where(facts, truth, predictions))
    assert answer.accuracy_bound >= facts.mean() - 1e-9 if len(truth) else True
    assert sum(test.level for test in answer.tests) <= delta * (1 + 1e-12)
    for test in answer.tests:  # a test rests on whole stages, of the sizes it names
        assert sum(n_asked[stage] for stage in test.stages) == test.n_sample
        recompute(test, len(truth))


def recompute(test: object, n_rows: int) -> None:
    """Check a limit with scipy, from its integers alone."""
    rows, size, level = test.n_rows, test.n_sample, test.level  # type: ignore[attr-defined]
    found, bound = test.n_found, test.bound  # type: ignore[attr-defined]
    assert test.n_allowed == Share.beyond(test.target).of(n_rows)  # type: ignore[attr-defined]
    if test.kind == "limit":  # type: ignore[attr-defined]
        assert hypergeom.cdf(found, rows, bound, size) > level * (1 - 1e-6)
        if bound < rows - size + found:
            assert hypergeom.cdf(found, rows, bound + 1, size) <= level * (1 + 1e-6)


@pytest.mark.parametrize("budget", [N, 500])
def test_wherever_it_stops_the_same_rows_are_asked_and_the_bound_holds(budget: int) -> None:
    world, bounds = data(N, 1), []
    full: list[int] = []
    for stop in (budget, 0, 1, 9, 30, 70, 120, 200, 333, 480, 700, 1100, 1800):
        labels = Stopping(world[2], stop, budget)
        answer = run(world, labels)
        full = full or labels.asked
        assert labels.asked == full[:stop]
        assert (answer.labels == world[2]).mean() >= answer.accuracy_bound
        assert answer.met == (answer.accuracy_bound >= 0.95)
        bounds.append(answer.accuracy_bound)
    assert bounds[1:] == sorted(bounds[1:])  # what is proved is not lost again
    assert bounds[0] >= bounds[-1]
    assert bounds[7] > 0.6  # 200 labels of 3,000 rows prove something


def test_a_source_that_never_stops_certifies_the_target() -> None:
    world = data(N, 2)
    labels = CountedClasses(lambda rows: world[2][rows], N)
    answer = run(world, labels, accuracy=0.9)
    assert answer.met
    assert (answer.labels == world[2]).mean() >= 0.9
    plain = CountedClasses(lambda rows: world[2][rows], N)
    select_accuracy(*world[:2], plain, accuracy=0.9, delta=0.1, rng=np.random.default_rng(5))
    assert labels.spent < 1.25 * plain.spent  # what it costs that labels may stop
    assert "(D1)" in answer.algorithm
    assert answer.algorithm.endswith("looks")


def test_a_proxy_that_is_always_right_is_seen_early() -> None:
    truth = np.arange(20_000) % 10
    world = truth, np.linspace(0.2, 1.0, 20_000), truth
    labels = CountedClasses(lambda rows: truth[rows], 20_000)
    answer = run(world, labels, accuracy=0.9)
    assert answer.met
    assert labels.spent <= 70
    assert {step.stage.split()[0] for step in answer.steps} == {"probe"}
    half = run(world, Stopping(truth, 40, 20_000), accuracy=0.9)
    assert 0.7 < half.accuracy_bound < 0.9


def test_disagreements_found_in_a_look_that_is_cut_short_count() -> None:
    world = data(N, 3, quality=1.5)
    bounds = []
    for stop in range(300, 1100, 20):
        answer = run(world, Stopping(world[2], stop, N), accuracy=0.9)
        bounds.append(answer.accuracy_bound)
    assert bounds == sorted(bounds)
    assert len(set(bounds)) > 20  # not only at the few looks


def test_labels_may_run_out_without_a_word() -> None:
    class Fading(CountedClasses):
        """Promises much and then has nothing left."""

        @property
        def remaining(self) -> int:
            return N if self.spent < 400 else 0

    world = data(N, 4)
    labels = Fading(lambda rows: world[2][rows], N)
    answer = run(world, labels)
    assert 400 <= labels.spent < 600
    assert not answer.met
    assert answer.accuracy_bound > 0.6


def test_without_leave_to_stop_the_signal_passes_through() -> None:
    predictions, confidence, truth = data(300, 5)
    for error in (OutOfClassesError([1, 2]), OutOfLabelsError([True])):

        def ask(_rows: np.ndarray, error: Exception = error) -> np.ndarray:
            raise error

        with pytest.raises(type(error)) as caught:
            select_accuracy(
                predictions,
                confidence,
                CountedClasses(ask, 300),
                accuracy=0.9,
                delta=0.1,
                rng=np.random.default_rng(0),
            )
        assert caught.value is error
    assert OutOfClassesError([1, 2]).codes.tolist() == [1, 2]
    assert "it gave 2 more codes" in str(OutOfClassesError([1, 2]))


def test_truth_values_may_come_with_the_signal() -> None:
    predictions, confidence, truth = data(300, 6)
    truth, predictions = truth == 1, predictions == 1

    class Truths(CountedClasses):
        def __call__(self, rows: np.ndarray) -> np.ndarray:
            if self.spent + len(rows) <= 50:
                return super().__call__(rows)
            left = 50 - self.spent
            raise OutOfLabelsError(super().__call__(rows[:left]) == 1)

    labels = Truths(lambda rows: truth[rows], 300)
    answer = run((predictions, confidence, truth.astype(int)), labels)
    assert labels.spent == np.count_nonzero(answer.from_oracle) == 50


@pytest.mark.parametrize("codes", [np.zeros(400, int), np.zeros(2), np.zeros((1, 1), int)])
def test_codes_that_come_with_the_signal_are_checked(codes: np.ndarray) -> None:
    predictions, confidence, _ = data(300, 7)

    def ask(_rows: np.ndarray) -> np.ndarray:
        raise OutOfClassesError(codes)

    with pytest.raises(ValueError, match="class codes were asked for"):
        select_accuracy(
            predictions,
            confidence,
            CountedClasses(ask, 300),
            accuracy=0.9,
            delta=0.1,
            rng=np.random.default_rng(0),
            interruptible=True,
        )


def test_nothing_is_said_before_the_first_look() -> None:
    world = data(N, 8)
    answer = run(world, Stopping(world[2], 5, N))
    assert not answer.tests
    assert answer.accuracy_bound == pytest.approx(5 / N)
    assert answer.algorithm == "accuracy: stopped, 0 looks"
    known = np.where(np.arange(N) < 2900, world[2], -1)
    answer = run(world, Stopping(world[2], 0, N), known=known)
    assert answer.met
    assert answer.algorithm == "accuracy: certain"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_table_any_stop(draw: st.DataObject) -> None:
    n = draw.draw(st.integers(0, 150))
    rng = np.random.default_rng(draw.draw(st.integers(0, 999)))
    truth = rng.integers(0, 4, n)
    wrong = rng.random(n) < draw.draw(st.floats(0, 1))
    values = np.array([0.0, 0.1, 0.5, 0.99, 1.0, 7.0, -1.0, np.inf, np.nan])
    world = np.where(wrong, truth + 1, truth), rng.choice(values, n), truth
    facts = rng.random(n) < draw.draw(st.floats(0, 1))
    stop, budget = draw.draw(st.integers(0, 160)), draw.draw(st.integers(0, 160))
    accuracy = draw.draw(st.sampled_from([0.5, 0.8, 0.9, 0.99, 1.0]))
    delta = draw.draw(st.sampled_from([0.01, 0.1, 0.5]))
    labels = Stopping(truth, stop, budget)
    answer = run(world, labels, accuracy=accuracy, delta=delta, known=np.where(facts, truth, -1))
    assert labels.spent <= min(stop, budget)
    assert answer.met == (answer.accuracy_bound >= accuracy - 1e-12)
    if labels.remaining and not labels.stopped:
        assert answer.met or labels.spent == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), stop=st.integers(0, 900), delta=st.floats(0.01, 0.2))
def test_a_smaller_delta_never_proves_more_of_the_same_labels(
    seed: int, stop: int, delta: float
) -> None:
    """The plan is held fixed, so that the same rows are drawn."""
    world = data(1000, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thresher.sampling.accuracy.least_sample", lambda *_: 90)
        patch.setattr(
            "thresher.sampling.accuracy._Cascade.plan",
            lambda *_: type("Plan", (), {"labels": 0.0, "sample": 300})(),
        )
        bounds = [
            run(world, Stopping(world[2], stop, 1000), accuracy=1.0, delta=d).accuracy_bound
            for d in (delta, 2 * delta, 4 * delta)
        ]
    assert bounds == sorted(bounds)


def test_the_scale_of_confidences_does_not_matter_beyond_the_unit_interval() -> None:
    predictions, confidence, truth = data(1500, 9)
    one, two = (
        run((predictions, value, truth), Stopping(truth, 400, 1500))
        for value in (10 * confidence + 3, np.exp(5 * confidence))
    )
    assert np.array_equal(one.from_oracle, two.from_oracle)
    assert one.tests == two.tests
