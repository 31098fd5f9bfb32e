"""Labellings with an accuracy target: inputs, budgets, ties, what the tests say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from thresher.sampling.accuracy import _safe_cut, select_accuracy
from thresher.sampling.accuracy_plan import RiskModel, _least_samples
from thresher.sampling.bounds import Share
from thresher.sampling.labelling import CountedClasses, Labelling


def run(
    predictions: np.ndarray,
    confidence: np.ndarray,
    truth: np.ndarray,
    *,
    budget: int | None = None,
    accuracy: float = 0.9,
    delta: float = 0.1,
    seed: int = 0,
    known: np.ndarray | None = None,
) -> tuple[Labelling, CountedClasses]:
    labels = CountedClasses(lambda rows: truth[rows], len(truth) if budget is None else budget)
    rng = np.random.default_rng(seed)
    answer = select_accuracy(
        predictions, confidence, labels, accuracy=accuracy, delta=delta, rng=rng, known=known
    )
    check(answer, predictions, truth, labels, known)
    return answer, labels


def check(
    answer: Labelling,
    predictions: np.ndarray,
    truth: np.ndarray,
    labels: CountedClasses,
    known: np.ndarray | None,
) -> None:
    """Check all that holds for certain."""
    asked = answer.from_oracle
    assert labels.remaining >= 0
    assert np.array_equal(answer.labels[asked], truth[asked])
    assert np.array_equal(answer.labels[~asked], np.asarray(predictions)[~asked])
    bought = [row for step in answer.steps for row in step.rows]
    assert len(set(bought)) == len(bought) == labels.spent
    facts = np.zeros(len(truth), dtype=bool) if known is None else np.asarray(known) >= 0
    assert not facts[bought].any()
    facts[bought] = True
    assert np.array_equal(asked, facts)
    for step in answer.steps:
        assert np.array_equal(step.answers, truth[step.rows])
    assert 0.0 <= answer.accuracy_bound <= 1.0
    for test in answer.tests:
        recompute(test, len(truth))


def recompute(test: object, n_rows: int) -> None:
    """Check a test with scipy, from its integers alone."""
    rows, size, level = test.n_rows, test.n_sample, test.level  # type: ignore[attr-defined]
    allowed, cut = test.n_allowed, test.cut  # type: ignore[attr-defined]
    assert allowed == Share.beyond(test.target).of(n_rows)  # type: ignore[attr-defined]
    if test.kind == "limit":  # type: ignore[attr-defined]
        found, bound = test.n_found, test.bound  # type: ignore[attr-defined]
        assert cut == bound - found
        assert hypergeom.cdf(found, rows, bound, size) > level * (1 - 1e-6)
        if bound < rows - size + found:
            assert hypergeom.cdf(found, rows, bound + 1, size) <= level * (1 + 1e-6)
        return
    if rows - size <= allowed:
        assert cut == size
        return
    if cut >= 0:
        assert hypergeom.cdf(cut, rows, cut + allowed + 1, size) <= level
    if cut < size:
        assert hypergeom.cdf(cut + 1, rows, cut + allowed + 2, size) > level * (1 - 1e-6)


def calibrated(n: int, classes: int = 3, seed: int = 7) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    confidence = rng.beta(4, 1, n)
    right = rng.random(n) < confidence
    return np.where(right, truth, (truth + 1) % classes), confidence, truth


def test_few_labels_for_a_good_proxy() -> None:
    predictions, confidence, truth = calibrated(5000)
    answer, labels = run(predictions, confidence, truth)
    assert answer.met
    assert answer.accuracy_bound >= 0.9
    assert labels.spent < 0.5 * 5000
    assert (answer.labels == truth).mean() >= 0.9
    assert abs(answer.accuracy_estimate - (answer.labels == truth).mean()) < 0.03
    assert answer.grade == "distribution-free"


def test_a_proxy_that_is_always_right_costs_next_to_nothing() -> None:
    truth = np.arange(20_000) % 10
    answer, labels = run(truth, np.linspace(0.2, 1.0, 20_000), truth)
    assert answer.met
    assert labels.spent <= 60
    assert [step.stage for step in answer.steps] == ["probe"]
    assert answer.accuracy_estimate == 1.0


def test_a_proxy_that_is_always_wrong_is_found_out() -> None:
    truth = np.arange(2000) % 10
    answer, labels = run(truth + 1, np.linspace(0.2, 1.0, 2000), truth)
    assert answer.met
    assert 1800 <= labels.spent <= 2000
    assert (answer.labels == truth).mean() >= 0.9


def test_classes_are_calibrated_apart() -> None:
    """One class is always right at low confidence, another wrong at high: a threshold each."""
    rng = np.random.default_rng(5)
    predictions = rng.integers(0, 2, 10_000)
    confidence = np.where(predictions == 0, 0.6, 0.9) + 0.1 * rng.random(10_000)
    truth = np.where(predictions == 1, np.where(rng.random(10_000) < 0.4, 2, 1), 0)
    spent = [run(predictions, confidence, truth, seed=s)[1].spent for s in range(5)]
    assert np.mean(spent) < 6500  # down to one threshold for both it would be 7,500


@pytest.mark.parametrize("budget", [0, 1, 7, 60, 400, 1200, 2399])
def test_a_limit_is_never_passed_and_the_bound_says_what_is_left(budget: int) -> None:
    predictions, confidence, truth = calibrated(3000)
    answer, labels = run(predictions, confidence, truth, budget=budget, accuracy=0.95, delta=1e-3)
    assert labels.spent <= budget
    assert answer.met == (answer.accuracy_bound >= 0.95)
    assert (answer.labels == truth).mean() >= answer.accuracy_bound
    if budget >= 60:
        assert answer.accuracy_bound > 0.5
    if budget == 400:
        assert [test.kind for test in answer.tests] == ["limit"]
        assert labels.spent == budget


def test_bounds_grow_with_the_limit() -> None:
    predictions, confidence, truth = calibrated(3000)
    bounds = [
        np.mean(
            [
                run(predictions, confidence, truth, budget=b, accuracy=0.97, seed=s)[
                    0
                ].accuracy_bound
                for s in range(5)
            ]
        )
        for b in (50, 200, 800, 2000)
    ]
    assert bounds == sorted(bounds)


def test_rows_that_may_all_be_wrong_cost_nothing() -> None:
    predictions, confidence, truth = calibrated(100)
    known = np.where(np.arange(100) < 90, truth, -1)
    answer, labels = run(predictions, confidence, truth, known=known)
    assert answer.met
    assert labels.spent == 0
    assert answer.accuracy_bound == 0.9
    assert np.isnan(answer.accuracy_estimate)


def test_every_row_known() -> None:
    predictions, confidence, truth = calibrated(50)
    answer, _ = run(predictions, confidence, truth, known=truth, accuracy=1.0)
    assert answer.met
    assert answer.accuracy_bound == answer.accuracy_estimate == 1.0


@pytest.mark.parametrize("n", [0, 1, 2, 5, 11])
def test_tiny_tables(n: int) -> None:
    predictions, confidence, truth = calibrated(n)
    answer, _ = run(predictions, confidence, truth, accuracy=1.0, delta=0.01)
    assert answer.met
    assert answer.labels.tolist() == truth.tolist()


@pytest.mark.parametrize(
    "confidence",
    [
        np.full(600, 0.5),
        np.full(600, np.nan),
        np.where(np.arange(600) % 2, np.nan, 0.7),
        np.where(np.arange(600) % 2, np.inf, -np.inf),
        np.repeat([1e300, -1e300, 0.0], 200),
        np.linspace(0, 1, 600).astype(np.float32),
    ],
)
def test_ties_and_odd_values(confidence: np.ndarray) -> None:
    predictions, _, truth = calibrated(600)
    answer, _ = run(predictions, confidence, truth, accuracy=0.85)
    assert answer.met


def test_many_classes() -> None:
    rng = np.random.default_rng(2)
    truth = rng.zipf(1.3, 4000) % 500
    predictions = np.where(rng.random(4000) < 0.9, truth, rng.integers(0, 500, 4000))
    assert run(predictions, rng.random(4000), truth)[0].met


def test_truth_values_are_classes() -> None:
    predictions, confidence, truth = calibrated(800, classes=2)
    two = run(predictions == 1, confidence, (truth == 1).astype(np.int64))[0]
    assert two.labels.dtype == np.int64
    assert set(two.labels.tolist()) == {0, 1}


def test_codes_need_not_be_small_or_positive() -> None:
    predictions, confidence, truth = calibrated(800)
    big = np.array([10**15, 3, 2**62])
    assert run(big[predictions], confidence, big[truth])[0].met
    assert run(np.where(confidence < 0.5, -7, predictions), confidence, truth)[0].met


def test_the_scale_of_confidences_does_not_matter_beyond_the_unit_interval() -> None:
    predictions, confidence, truth = calibrated(1500)
    one = run(predictions, 10 * confidence + 3, truth)[0]
    two = run(predictions, np.exp(5 * confidence), truth)[0]
    assert np.array_equal(one.labels, two.labels)
    assert np.array_equal(one.from_oracle, two.from_oracle)


def test_the_same_seed_gives_the_same_answer() -> None:
    data = calibrated(1500)
    one, two = run(*data, seed=4)[0], run(*data, seed=4)[0]
    assert np.array_equal(one.from_oracle, two.from_oracle)
    assert one.tests == two.tests


def test_bad_input() -> None:
    predictions, confidence, truth = calibrated(20)
    with pytest.raises(ValueError, match=r"target must be in \(0, 1\], got 90"):
        run(predictions, confidence, truth, accuracy=90)
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got 1"):
        run(predictions, confidence, truth, delta=1.0)
    with pytest.raises(ValueError, match="predictions must be an integer array"):
        run(predictions.astype(float), confidence, truth)
    with pytest.raises(ValueError, match=r"confidence must be a float array of shape \(20,\)"):
        run(predictions, confidence[:5], truth)
    with pytest.raises(ValueError, match=r"known must have shape \(20,\), got \(5,\)"):
        run(predictions, confidence, truth, known=truth[:5])


def test_answers_must_be_class_codes() -> None:
    predictions, confidence, truth = calibrated(200)
    with pytest.raises(ValueError, match="class codes must be integers"):
        run(predictions, confidence, truth.astype(float))

    class Short:
        remaining = 200

        def __call__(self, rows: np.ndarray) -> np.ndarray:
            return truth[rows[:1]]

    with pytest.raises(ValueError, match="class codes were asked for"):
        select_accuracy(
            predictions,
            confidence,
            Short(),
            accuracy=0.95,
            delta=0.1,
            rng=np.random.default_rng(0),
        )


def test_counted_classes_keep_count() -> None:
    labels = CountedClasses(lambda rows: rows, 3)
    assert labels(np.arange(2)).tolist() == [0, 1]
    with pytest.raises(ValueError, match="asked for 2 labels, 1 remain"):
        labels(np.arange(2))
    with pytest.raises(ValueError, match="budget must be at least 0"):
        CountedClasses(lambda rows: rows, -1)


COUNTS = st.tuples(
    st.integers(1, 400), st.integers(0, 400), st.integers(0, 400), st.floats(1e-4, 0.5)
)


@settings(deadline=None)
@given(COUNTS)
def test_the_cut_is_monotone(counts: tuple[int, int, int, float]) -> None:
    rows, sample, allowed, level = counts
    sample = min(sample, rows)
    cut = _safe_cut(rows, sample, allowed, level)
    assert -1 <= cut <= sample
    assert _safe_cut(rows, min(sample + 1, rows), allowed, level) >= cut
    assert _safe_cut(rows, sample, allowed + 1, level) >= cut
    assert _safe_cut(rows, sample, allowed, level / 2) <= cut


@settings(deadline=None)
@given(COUNTS)
def test_the_cut_is_the_largest_safe_one(counts: tuple[int, int, int, float]) -> None:
    rows, sample, allowed, level = counts
    sample = min(sample, rows)
    cut = _safe_cut(rows, sample, allowed, level)
    if rows - sample <= allowed:
        assert cut == sample
        return
    for tried in range(max(cut, 0), min(cut + 2, sample + 1)):
        chance = hypergeom.cdf(tried, rows, tried + allowed + 1, sample)
        if tried <= cut:
            assert chance <= level
        else:
            assert chance > level * (1 - 1e-6)


@settings(deadline=None)
@given(st.integers(5, 500), st.integers(0, 100), st.floats(0.01, 0.3))
def test_the_planned_sample_is_the_smallest_for_its_cut(
    rows: int, allowed: int, level: float
) -> None:
    cuts = np.array([0, 1, 5])
    cuts = cuts[cuts + allowed + 1 < rows]
    if not len(cuts):
        return
    for cut, size in zip(cuts, _least_samples(cuts, rows, allowed, level), strict=True):
        assert _safe_cut(rows, int(size), allowed, level * (1 + 1e-6)) >= cut
        assert _safe_cut(rows, int(size) - 1, allowed, level * (1 - 1e-6)) < cut


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_table_any_limit(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 60))
    codes = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    predictions, truth = np.array(data.draw(codes), int), np.array(data.draw(codes), int)
    values = st.sampled_from([0.0, 0.1, 0.5, 0.99, 1.0, 7.0, -1.0, np.inf, np.nan])
    confidence = np.array(data.draw(st.lists(values, min_size=n, max_size=n)), float)
    facts = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    answer, labels = run(
        predictions,
        confidence,
        truth,
        budget=data.draw(st.integers(0, 70)),
        accuracy=data.draw(st.sampled_from([0.5, 0.8, 0.9, 0.99, 1.0])),
        delta=data.draw(st.sampled_from([0.01, 0.1, 0.5])),
        seed=data.draw(st.integers(0, 10)),
        known=np.where(facts, truth, -1),
    )
    if labels.remaining:
        assert answer.met or labels.spent == 0


def test_the_model_learns_a_class_and_a_clump() -> None:
    rng = np.random.default_rng(1)
    predictions, confidence = rng.integers(0, 3, 6000), rng.random(6000)
    risk = np.where(predictions == 2, 0.7, 0.1)
    risk = np.where(confidence > 0.95, 0.9, risk)  # surest, and mostly wrong
    model = RiskModel(predictions, confidence)
    rows = rng.choice(6000, 1500, replace=False)
    model.fit(rows, rng.random(1500) < risk[rows])
    fitted = model.risk()
    middle = (confidence > 0.3) & (confidence < 0.7)
    assert fitted[(predictions == 2) & middle].mean() > 0.55
    assert fitted[(predictions == 0) & middle].mean() < 0.2
    assert fitted[confidence > 0.98].mean() > 0.6
