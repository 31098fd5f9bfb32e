"""COUNT: properties of the estimate, edge cases, and the plan of its strata."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.sampling.bounds import marked_upper
from thresher.sampling.buehler import _distinct
from thresher.sampling.counts import CountEstimate, count_limits, estimate_count
from thresher.sampling.labels import CountedLabels
from thresher.sampling.strata import forecast, plan_strata


def count(
    scores: np.ndarray,
    truth: np.ndarray,
    budget: int,
    *,
    delta: float = 0.05,
    seed: int = 0,
    known: np.ndarray | None = None,
) -> CountEstimate:
    """Run a query and check what holds for every answer."""
    labels = CountedLabels(lambda rows: truth[rows], budget)
    result = estimate_count(
        scores, labels, delta=delta, rng=np.random.default_rng(seed), known=known
    )
    facts = np.full(len(truth), -1) if known is None else known
    rows = [row for step in result.steps for row in step.rows.tolist()]
    assert labels.spent == len(rows) <= budget
    assert len(set(rows)) == len(rows)
    assert (facts[rows] < 0).all()
    for step in result.steps:
        assert step.answers.tolist() == truth[step.rows].tolist()
    found = int(sum(step.answers.sum() for step in result.steps))
    positive, unknown = int((facts > 0).sum()), int((facts < 0).sum())
    assert result.n_known_positive == positive
    assert positive + found <= result.low <= result.estimate <= result.high
    assert result.high <= positive + unknown - (len(rows) - found)
    if result.strata:
        assert sum(s.n_rows for s in result.strata) == unknown
        assert sum(s.n_sample for s in result.strata) == len(rows) == budget
        assert [s.n_sample for s in result.strata] == [len(s.rows) for s in result.steps]
        assert [s.n_found for s in result.strata] == [int(s.answers.sum()) for s in result.steps]
        assert [s.stage for s in result.strata] == [s.stage for s in result.steps]
        again = count_limits([(s.n_rows, s.n_sample, s.n_found) for s in result.strata], delta)
        assert (result.low, result.high) == (positive + again[0], positive + again[1])
    assert result.grade == "distribution-free"
    assert result.n_rows == len(truth)
    return result


@st.composite
def populations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    n = draw(st.integers(0, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = rng.random(n) < draw(st.sampled_from([0.0, 0.03, 0.3, 0.7, 1.0]))
    kind = draw(st.sampled_from(["good", "constant", "wild", "missing"]))
    scores = np.clip(0.2 + 0.5 * truth + 0.2 * rng.standard_normal(n), 0, 1)
    if kind == "constant":
        scores = np.full(n, 0.3)
    elif kind == "wild":
        scores = 1e300 * rng.standard_normal(n)
    elif kind == "missing":
        scores[rng.random(n) < 0.5] = np.nan
    facts = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.2, 1.0])), truth, -1)
    return scores, truth, facts.astype(np.int8), draw(st.integers(0, 130))


@given(case=populations(), delta=st.sampled_from([0.01, 0.1, 0.6]))
@settings(max_examples=60, deadline=None)
def test_properties(case: tuple[np.ndarray, np.ndarray, np.ndarray, int], delta: float) -> None:
    scores, truth, facts, budget = case
    result = count(scores, truth, budget, delta=delta, known=facts)
    if budget >= (facts < 0).sum():
        assert result.low == result.high == truth.sum()
        assert result.algorithm == "count: exact"


def test_no_rows() -> None:
    result = count(np.zeros(0), np.zeros(0, dtype=bool), 5)
    assert (result.low, result.estimate, result.high, result.steps) == (0, 0, 0, ())


def test_known_covers_everything() -> None:
    truth = np.arange(50) < 7
    result = count(np.linspace(0, 1, 50), truth, 10, known=truth.astype(np.int8))
    assert (result.low, result.high, result.n_known_positive, result.steps) == (7, 7, 7, ())


def test_without_labels_everything_is_possible() -> None:
    truth, known = np.arange(50) < 7, np.full(50, -1, dtype=np.int8)
    known[0] = 1
    result = count(np.full(50, 0.5), truth, 0, known=known)
    assert (result.low, result.high, result.algorithm) == (1, 50, "count: no labels")


def test_one_label() -> None:
    result = count(np.linspace(0, 1, 50), np.ones(50, dtype=bool), 1)
    assert (result.low, result.high) == (1, 50)


@pytest.mark.parametrize("value", [0.5, np.nan, 1e9, -np.inf])
def test_scores_that_say_nothing_give_one_uniform_sample(value: float) -> None:
    truth = np.arange(4000) < 400
    result = count(np.full(4000, value), truth, 300)
    (stratum,) = result.strata
    assert (stratum.n_rows, stratum.n_sample) == (4000, 300)
    assert result.low <= 400 <= result.high
    assert result.high == marked_upper(4000, 300, stratum.n_found, 0.6 * 0.05)


@pytest.mark.parametrize("all_positive", [False, True])
def test_one_class_only(all_positive: bool) -> None:
    truth = np.full(3000, all_positive)
    scores = np.random.default_rng(3).random(3000)
    result = count(scores, truth, 400)
    assert result.low <= truth.sum() <= result.high
    assert result.high - result.low < 60


def test_strata_depend_on_the_scores_alone() -> None:
    scores = np.random.default_rng(1).beta(0.2, 1, 3000)
    truth = scores > 0.5
    one, two = count(scores, truth, 200), count(scores, ~truth, 200)
    assert [s.rows.tolist() for s in one.steps] == [s.rows.tolist() for s in two.steps]
    assert count(scores, truth, 200, seed=0).steps[0].rows.tolist() == one.steps[0].rows.tolist()


def test_a_good_proxy_narrows_the_interval() -> None:
    rng = np.random.default_rng(2)
    scores = rng.beta(0.1, 2, 10_000)
    truth = rng.random(10_000) < scores
    good = count(scores, truth, 600)
    plain = count(np.full(10_000, 0.5), truth, 600)
    assert good.low <= truth.sum() <= good.high
    assert good.high - good.low < 0.65 * (plain.high - plain.low)


def test_common_class_is_about_as_wide_as_a_normal_interval() -> None:
    rng = np.random.default_rng(4)
    scores = rng.beta(1, 2, 10_000)
    truth = rng.random(10_000) < scores
    result = count(scores, truth, 1000)
    shares = [(s.n_rows, s.n_sample, s.n_found / s.n_sample) for s in result.strata]
    variance = sum(n * (n - m) / m * p * (1 - p) for n, m, p in shares)
    assert result.low <= truth.sum() <= result.high
    assert result.high - result.low < 1.15 * 2 * 1.96 * np.sqrt(variance)


def test_a_smaller_delta_widens() -> None:
    strata = [(300, 60, 40), (2000, 140, 3)]
    widths = [np.subtract(*count_limits(strata, d)[::-1]) for d in (0.3, 0.1, 0.01, 0.001)]
    assert widths == sorted(widths)
    assert len(set(widths)) == 4


def test_limits_of_three_strata_beat_separate_limits() -> None:
    strata = [(300, 60, 40), (1000, 140, 30), (9000, 300, 2)]
    low, high = count_limits(strata, 0.05)
    above = sum(marked_upper(n, m, x, 0.03 / 3) for n, m, x in strata)
    below = sum(n - marked_upper(n, m, m - x, 0.02 / 3) for n, m, x in strata)
    assert below < low <= high < above
    assert high - low < 0.85 * (above - below)


def test_a_census_adds_exactly() -> None:
    low, high = count_limits([(1000, 100, 0)], 0.05)
    assert count_limits([(100, 100, 80), (1000, 100, 0)], 0.05) == (80 + low, 80 + high)
    assert count_limits([(9, 9, 4), (5, 5, 0)], 0.05) == (4, 4)
    assert count_limits([], 0.05) == (0, 0)


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, float("nan"), 5.0])
def test_delta_outside_its_range_is_refused(delta: float) -> None:
    labels = CountedLabels(lambda rows: rows >= 0, 5)
    with pytest.raises(ValueError, match="delta must be in"):
        estimate_count(np.zeros(9), labels, delta=delta, rng=np.random.default_rng(0))
    assert labels.spent == 0


def test_impossible_counts_are_refused() -> None:
    for strata in ([(5, 6, 0)], [(5, 3, 4)], [(5, 3, -1)]):
        with pytest.raises(ValueError, match="no sample has"):
            count_limits(strata, 0.05)
    with pytest.raises(ValueError, match="at most three"):
        count_limits([(5, 3, 1)] * 4, 0.05)


@given(
    n=st.integers(2, 3000),
    share=st.floats(0, 1, exclude_max=True),
    shape=st.sampled_from([0.02, 0.3, 1.0]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_plans_spend_the_budget(n: int, share: float, shape: float, seed: int) -> None:
    budget = max(1, int(share * n))
    chance = -np.sort(-np.random.default_rng(seed).beta(shape, 1, n))
    plan = plan_strata(np.clip(chance, 1e-6, 1 - 1e-6), budget, 2.0)
    sizes = np.diff(plan.edges)
    assert (plan.edges[0], plan.edges[-1]) == (0, n)
    assert 1 <= len(sizes) == len(plan.samples) <= 3
    assert (sizes > 0).all()
    assert sum(plan.samples) == budget
    assert all(1 <= m <= size for m, size in zip(plan.samples, sizes, strict=True))


def test_a_plan_may_label_the_top_whole() -> None:
    chance = np.concatenate([np.full(300, 0.5), np.full(9700, 1e-4)])
    plan = plan_strata(chance, 2000, 2.0)
    assert plan.samples[0] == plan.edges[1]


def test_forecast_reads_probabilities_and_keeps_order() -> None:
    assert forecast(np.array([0.9, 0.2, np.nan])).tolist() == pytest.approx([0.9, 0.2, 0.55])
    other = forecast(np.array([30.0, -np.inf, np.inf, 2.0], dtype=np.float32))
    assert ((other > 0) & (other < 1)).all()
    assert (np.diff(other[[1, 3, 0, 2]]) >= 0).all()
    assert forecast(np.full(3, np.nan)).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("high", [2, 1000, 2**32, 2**33])
def test_distinct_pairs_are_those_of_numpy(high: int) -> None:
    pairs = np.random.default_rng(high).integers(-high, high, size=(300, 2))
    pairs[::7] = pairs[1]
    distinct, place = _distinct(pairs)
    wanted, where = np.unique(pairs, axis=0, return_inverse=True)
    assert np.array_equal(distinct, wanted)
    assert np.array_equal(place, where.ravel())
    assert len(_distinct(pairs[:0])[1]) == 0
