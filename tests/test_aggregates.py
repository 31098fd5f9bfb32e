"""Aggregates: what holds for every answer, edge cases, records that can be recomputed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.sampling.aggregates import estimate_aggregates
from thresher.sampling.counts import count_limits
from thresher.sampling.draw_plan import Costs, allocate
from thresher.sampling.measures import (
    AggregateEstimate,
    BettingTest,
    Column,
    CountTest,
    ErrorTarget,
    ExtremeTest,
    Measure,
    QuantileTest,
)
from thresher.sampling.tally import tally
from thresher.sampling.values import CountedValues

ALL = [
    Measure("count", 0),
    Measure("sum", 0),
    Measure("mean", 0),
    Measure("mean", 1),
    Measure("ratio", 0, denominator=1, together=True),
    Measure("quantile", 0, share=0.5),
    Measure("quantile", 1, share=0.3),
    Measure("min", 0),
    Measure("max", 1),
]


class Data:
    """A table: column 0 is plain, column 1 is given by the oracle within [1, 9]."""

    def __init__(self, n: int, seed: int, rate: float = 0.3, n_groups: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.counts = rng.random(n) < rate
        self.scores = np.clip(0.2 + 0.5 * self.counts + 0.15 * rng.standard_normal(n), 0, 1)
        self.x = np.round(rng.gamma(2.0, 2.0, n), 1)
        given = np.clip(5 + 1.5 * rng.standard_normal(n), 1, 9)
        prediction = given + 0.5 * rng.standard_normal(n)
        self.values = np.where(self.counts[:, None], np.stack([self.x, given], axis=1), np.nan)
        self.columns = [Column(self.x, self.x), Column(1.0, 9.0, prediction)]
        self.n_groups = n_groups
        self.groups = rng.integers(0, n_groups, n) if n else np.zeros(0, dtype=np.int64)

    def ask(
        self,
        measures: list[Measure],
        budget: int,
        *,
        delta: float = 0.1,
        seed: int = 0,
        known: np.ndarray | None = None,
        error: ErrorTarget | None = None,
        scores: np.ndarray | None = None,
    ) -> tuple[AggregateEstimate, int]:
        source = CountedValues(lambda rows: self.values[rows], budget)
        answer = estimate_aggregates(
            self.scores if scores is None else scores,
            source,
            self.columns,
            measures,
            delta=delta,
            rng=np.random.default_rng(seed),
            groups=self.groups,
            n_groups=self.n_groups,
            known=None if known is None else (known, self.values),
            error=error,
        )
        return answer, source.spent

    def truth(self, measure: Measure) -> np.ndarray:
        return tally(measure, self.values.T, self.groups, self.n_groups)


def check(data: Data, measures: list[Measure], answer: AggregateEstimate, spent: int) -> None:
    """Check what holds for every answer, lucky or not."""
    rows = [row for step in answer.steps for row in step.rows.tolist()]
    assert len(rows) == spent == len(set(rows))
    for step in answer.steps:
        np.testing.assert_array_equal(step.values, data.values[step.rows])
    for measure, found in zip(measures, answer.measures, strict=True):
        defined = ~np.isnan(found.low) & ~np.isnan(found.estimate)
        assert (found.low[defined] <= found.estimate[defined]).all()
        assert (found.estimate[defined] <= found.high[defined]).all()
        assert (found.beyond is not None) == (measure.kind in ("min", "max"))
        if found.beyond is not None:
            assert ((found.beyond >= 0) & (found.beyond <= 1)).all()


@given(
    n=st.integers(0, 90),
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([0.0, 0.05, 0.4, 1.0]),
    n_groups=st.sampled_from([1, 3]),
    budget=st.integers(0, 100),
    facts=st.sampled_from([0.0, 0.3, 1.0]),
    kind=st.sampled_from(["good", "constant", "wild", "missing"]),
)
@settings(max_examples=40, deadline=None)
def test_properties(
    n: int, seed: int, rate: float, n_groups: int, budget: int, facts: float, kind: str
) -> None:
    data = Data(n, seed, rate, n_groups)
    rng = np.random.default_rng(seed)
    scores = {
        "good": data.scores,
        "constant": np.full(n, 0.3),
        "wild": 1e200 * rng.standard_normal(n),
        "missing": np.where(rng.random(n) < 0.5, np.nan, data.scores),
    }[kind]
    known = rng.random(n) < facts
    answer, spent = data.ask(ALL, budget, known=known, scores=scores)
    assert spent <= budget
    check(data, ALL, answer, spent)
    assert not any(known[step.rows].any() for step in answer.steps)
    if budget >= np.count_nonzero(~known):
        for measure, found in zip(ALL, answer.measures, strict=True):
            np.testing.assert_allclose(found.low, data.truth(measure))
            np.testing.assert_allclose(found.high, data.truth(measure))


@given(seed=st.integers(0, 10**6), budget=st.integers(0, 400), n_groups=st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_counts_by_group_spend_the_budget(seed: int, budget: int, n_groups: int) -> None:
    data = Data(300, seed, 0.2, n_groups)
    answer, spent = data.ask([Measure("count", 0)], budget)
    assert spent == min(budget, 300)
    check(data, [Measure("count", 0)], answer, spent)
    (found,) = answer.measures
    for test in answer.tests:
        assert isinstance(test, CountTest)
        low, high = count_limits(
            [(s.n_rows, s.n_sample, s.n_found) for s in test.strata], test.level
        )
        assert found.low[test.group] == low + test.n_known
        assert found.high[test.group] == high + test.n_known


def test_all_limits_hold_with_a_good_share_of_labels() -> None:
    data = Data(2000, 3, 0.3, 2)
    answer, spent = data.ask(ALL, 900, delta=0.05)
    assert spent == 900
    for measure, found in zip(ALL, answer.measures, strict=True):
        truth = data.truth(measure)
        assert (found.low <= truth).all()
        assert (truth <= found.high).all()
        if measure.kind not in ("min", "max"):
            assert (found.high - found.low < 0.9 * np.abs(truth)).all()
    assert answer.measures[8].beyond is not None
    assert (answer.measures[8].beyond < 0.1).all()


def recompute(test: BettingTest, values: np.ndarray, measure: Measure) -> tuple[float, float]:
    """The largest logarithm of either fortune against a null just outside each limit."""
    columns = values[test.rows].T
    counted = ~np.isnan(columns[measure.column])
    u = np.where(counted, columns[measure.column], 0.0)
    v = counted.astype(float)
    a = (u - test.control_u) * test.scale + test.offset_u
    b = (v - test.control_v) * test.scale + test.offset_v

    def reached(null: float) -> float:
        z = (a - null * b) * test.spread / (test.spread + abs(null - test.centre))
        first = 0 if null < test.centre else 2
        best = 0.0
        for k, sign in ((first, 1), (first + 1, -1)):
            log = np.log(np.maximum(1 + sign * test.bets[:, k] * z, 1e-12))
            best = max(best, float(np.cumsum(log).max()))
        return best

    return reached, (a, b)


def test_an_interval_can_be_recomputed_from_its_record() -> None:
    data = Data(3000, 5)
    measure = Measure("mean", 0)
    answer, _ = data.ask([measure], 600)
    (test,), (found,) = answer.tests, answer.measures
    assert isinstance(test, BettingTest)
    reached, _ = recompute(test, data.values, measure)
    threshold = np.log(2 / test.level)
    low, high = float(found.low[0]), float(found.high[0])
    width = high - low
    for outside in (low - 1e-3 * width, high + 1e-3 * width):
        assert reached(outside) >= threshold
    for inside in np.linspace(low + 1e-3 * width, high - 1e-3 * width, 15):
        assert reached(float(inside)) < threshold


def test_no_refuted_null_hides_one_that_stands() -> None:
    """Between the limits and what is certain, every null on a fine grid is refuted."""
    data = Data(3000, 6)
    answer, _ = data.ask([Measure("mean", 1)], 700)
    (test,), (found,) = answer.tests, answer.measures
    reached, _ = recompute(test, data.values, Measure("mean", 1))
    low, high = float(found.low[0]), float(found.high[0])
    grid = [*np.linspace(1.0, low, 50)[:-1], *np.linspace(high, 9.0, 50)[1:]]
    assert min(reached(float(m)) for m in grid) >= np.log(2 / test.level)


def test_intervals_are_nested_in_delta() -> None:
    data = Data(3000, 8)
    for measure in (Measure("sum", 0), Measure("mean", 1)):
        widths = []
        for delta in (0.5, 0.1, 0.001):
            (found,) = data.ask([measure], 500, delta=delta)[0].measures
            widths.append(float(found.high[0] - found.low[0]))
        assert all(a < b for a, b in pairwise(widths))


def test_more_labels_narrow() -> None:
    data = Data(3000, 9)
    for measure in (Measure("sum", 0), Measure("mean", 0), Measure("quantile", 0, share=0.5)):
        widths = []
        for budget in (200, 800, 2500):
            (found,) = data.ask([measure], budget)[0].measures
            widths.append(float(found.high[0] - found.low[0]))
        assert all(a > b for a, b in pairwise(widths))


def test_the_same_seed_gives_the_same_answer_and_labels() -> None:
    data = Data(1000, 10)
    one, two = (data.ask(ALL, 200, seed=4)[0] for _ in range(2))
    for a, b in zip(one.measures, two.measures, strict=True):
        assert (a.low.tobytes(), a.high.tobytes()) == (b.low.tobytes(), b.high.tobytes())
    assert [s.rows.tolist() for s in one.steps] == [s.rows.tolist() for s in two.steps]


def test_the_order_of_groups_and_empty_groups_do_not_matter() -> None:
    data = Data(600, 11, 0.3, 2)
    data.groups = np.where(data.groups == 1, 4, 0)
    data.n_groups = 6
    answer, spent = data.ask([Measure("count", 0), Measure("mean", 0)], 300)
    assert spent == 300
    count, mean = answer.measures
    assert count.high[[1, 2, 3, 5]].tolist() == [0.0] * 4
    assert np.isnan(mean.estimate[[1, 2, 3, 5]]).all()


def test_a_group_without_labels_has_certain_limits() -> None:
    data = Data(100, 12, 0.5, 40)
    answer, spent = data.ask([Measure("mean", 1)], 5)
    (found,) = answer.measures
    assert spent == 5
    assert ((found.low >= 1) & (found.high <= 9) | np.isnan(found.low)).all()


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("kind", ["count", "sum", "mean"])
def test_an_error_target_is_met(kind: str, relative: bool) -> None:
    data = Data(6000, 13, 0.3, 2)
    measure = Measure(kind, 0)
    truth = data.truth(measure)
    value = 0.2 if relative else 0.2 * float(truth.min())
    answer, spent = data.ask([measure], 6000, error=ErrorTarget(value, relative))
    (found,) = answer.measures
    assert answer.met
    assert 0 < spent < 5000
    for end in (found.low, found.high):
        bound = value * np.abs(end) if relative else value
        assert (np.abs(found.estimate - end) <= bound + 1e-6).all()
    assert all(len(step.rows) >= 25 for step in answer.steps[:-1])


def test_an_error_target_that_is_not_met_says_so() -> None:
    data = Data(3000, 14)
    answer, spent = data.ask([Measure("sum", 0)], 150, error=ErrorTarget(0.01, relative=True))
    assert not answer.met
    assert spent == 150
    check(data, [Measure("sum", 0)], answer, spent)


def test_an_error_target_out_of_reach_of_bets_ends_with_every_label() -> None:
    data = Data(200, 15)
    answer, spent = data.ask([Measure("sum", 0)], 500, error=ErrorTarget(1e-6, relative=True))
    (found,) = answer.measures
    assert answer.met
    assert spent == 200
    assert found.low[0] == found.high[0] == pytest.approx(data.truth(Measure("sum", 0))[0])
    assert (answer.grade, answer.tests) == ("exact", ())


def test_enough_labels_give_exact_answers() -> None:
    data = Data(200, 15)
    answer, spent = data.ask(ALL, 200)
    assert (spent, answer.algorithm, answer.tests) == (200, "aggregates: exact", ())
    assert answer.grade == "exact"


def test_a_maximum_of_plain_values_is_found_from_above() -> None:
    data = Data(2000, 16)
    answer, spent = data.ask([Measure("max", 0)], 300)
    (found,) = answer.measures
    assert found.low[0] == found.high[0] == data.x[data.counts].max()
    assert found.beyond is not None
    assert found.beyond[0] == 0
    assert spent < 60
    assert (answer.grade, answer.tests) == ("exact", ())


def test_a_maximum_of_the_oracles_values_has_a_share_beyond() -> None:
    data = Data(3000, 17)
    answer, _ = data.ask([Measure("max", 1)], 600)
    (found,), (test,) = answer.measures, answer.tests
    assert isinstance(test, ExtremeTest)
    assert found.beyond is not None
    value = data.values[:, 1]
    assert np.nanmean(value[data.counts] > found.estimate[0]) <= found.beyond[0] < 0.05
    assert (found.low[0], found.high[0]) == (found.estimate[0], 9.0)


def test_a_quantile_of_few_values() -> None:
    data = Data(2000, 18)
    data.x = np.round(data.x / 4)
    data.values[:, 0] = np.where(data.counts, data.x, np.nan)
    data.columns[0] = Column(data.x, data.x)
    answer, _ = data.ask([Measure("quantile", 0, share=0.5)], 800)
    (found,), (test,) = answer.measures, answer.tests
    assert isinstance(test, QuantileTest)
    assert found.low[0] in data.x
    assert found.low[0] <= np.quantile(data.x[data.counts], 0.5, method="inverted_cdf")
    assert found.high[0] - found.low[0] <= 1


def test_a_prediction_narrows_the_mean_of_an_oracles_value() -> None:
    rng = np.random.default_rng(21)
    value = np.clip(5 + 1.5 * rng.standard_normal(8000), 0, 10)
    widths = []
    for prediction in (None, value + 0.5 * rng.standard_normal(8000)):
        source = CountedValues(lambda rows: value[rows], 800)
        answer = estimate_aggregates(
            np.ones(8000),
            source,
            [Column(0.0, 10.0, prediction)],
            [Measure("mean", 0)],
            delta=0.01,
            rng=rng,
        )
        (found,) = answer.measures
        assert found.low[0] <= value.mean() <= found.high[0]
        widths.append(float(found.high[0] - found.low[0]))
    assert widths[1] < 0.55 * widths[0]


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_a_column_without_a_range_is_refused(kind: str) -> None:
    source = CountedValues(lambda rows: rows, 5)
    with pytest.raises(ValueError, match="column 0 needs a range"):
        estimate_aggregates(
            np.zeros(9),
            source,
            [Column(-np.inf, np.inf)],
            [Measure(kind, 0)],
            delta=0.1,
            rng=np.random.default_rng(0),
        )
    assert source.spent == 0


def test_a_quantile_needs_no_range() -> None:
    rng = np.random.default_rng(20)
    value = rng.standard_normal(3000)
    source = CountedValues(lambda rows: value[rows], 900)
    answer = estimate_aggregates(
        np.ones(3000),
        source,
        [Column(-np.inf, np.inf)],
        [Measure("quantile", 0, share=0.5)],
        delta=0.1,
        rng=rng,
    )
    (found,) = answer.measures
    assert found.low[0] <= np.quantile(value, 0.5, method="inverted_cdf") <= found.high[0]
    assert found.high[0] - found.low[0] < 1


def test_values_outside_their_range_are_refused() -> None:
    source = CountedValues(lambda rows: np.full(len(rows), 11.0), 5)
    with pytest.raises(ValueError, match=r"outside its range \[0.0, 10.0\]"):
        estimate_aggregates(
            np.zeros(9),
            source,
            [Column(0.0, 10.0)],
            [Measure("mean", 0)],
            delta=0.1,
            rng=np.random.default_rng(0),
        )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"delta": 1.5}, "delta must be in"),
        ({"error": ErrorTarget(2.0, relative=True)}, "an error target must be in"),
        ({"measures": [Measure("quantile", 0, share=1.5)]}, "needs a share"),
        ({"measures": [Measure("ratio", 0)]}, "needs a denominator"),
        ({"measures": [Measure("sum", 7)]}, "there is no column 7"),
        ({"groups": np.full(9, 3)}, "groups must be in"),
        ({"columns": [Column(2.0, 1.0)]}, "low is above"),
    ],
)
def test_bad_requests_are_refused(change: dict[str, object], text: str) -> None:
    request: dict[str, object] = {
        "columns": [Column(1.0, 1.0)],
        "measures": [Measure("count", 0)],
        "delta": 0.1,
    }
    request |= change
    source = CountedValues(lambda rows: rows, 5)
    with pytest.raises(ValueError, match=text):
        estimate_aggregates(np.zeros(9), source, rng=np.random.default_rng(0), **request)  # type: ignore[arg-type]


@given(
    a=st.lists(st.floats(0, 1e6), min_size=1, max_size=8),
    seed=st.integers(0, 10**6),
    share=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_allocations_add_up(a: list[float], seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 500, len(a))
    costs = Costs(np.array(a), rng.random(len(a)) * np.array(a))
    budget = int(share * rows.sum())
    least = rng.integers(0, 5, len(a))
    out = allocate(costs, rows, budget, least)
    assert out.sum() == budget
    assert ((out >= 0) & (out <= rows)).all()
