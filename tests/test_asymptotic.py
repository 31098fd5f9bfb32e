"""Aggregates with normal limits: the formulas by hand, what always holds, edge cases."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from thresher.sampling import (
    AggregateEstimate,
    Column,
    CountedValues,
    Measure,
    estimate_aggregates,
    estimate_aggregates_normal,
)
from thresher.sampling.asymptotic_limits import count_interval, linear_interval, quantile_interval
from thresher.sampling.group_counts import Part
from thresher.sampling.lines import LinearMeasure
from thresher.sampling.measures import NormalTest
from thresher.sampling.tally import tally
from thresher.sampling.value_forecasts import first_forecast

ALL = [
    Measure("count", 0),
    Measure("sum", 0),
    Measure("sum", 1),
    Measure("mean", 0),
    Measure("mean", 1),
    Measure("ratio", 1, denominator=0, together=True),
    Measure("quantile", 0, share=0.5),
    Measure("quantile", 1, share=0.3),
]


class Data:
    """A table: column 0 is plain, column 1 is the oracle's, without a range if `unbounded`."""

    def __init__(
        self, n: int, seed: int, rate: float = 0.3, n_groups: int = 1, *, unbounded: bool = False
    ) -> None:
        rng = np.random.default_rng(seed)
        self.counts = rng.random(n) < rate
        self.scores = np.clip(0.2 + 0.5 * self.counts + 0.15 * rng.standard_normal(n), 0, 1)
        self.x = np.round(rng.gamma(2.0, 2.0, n), 1)
        given = np.clip(5 + 1.5 * rng.standard_normal(n), 1, 9)
        prediction = given + 0.5 * rng.standard_normal(n)
        self.values = np.where(self.counts[:, None], np.stack([self.x, given], axis=1), np.nan)
        ends = (-np.inf, np.inf) if unbounded else (1.0, 9.0)
        self.columns = [Column(self.x, self.x), Column(*ends, prediction)]
        self.n_groups = n_groups
        self.groups = rng.integers(0, n_groups, n) if n else np.zeros(0, dtype=np.int64)

    def ask(
        self,
        measures: list[Measure],
        budget: int,
        *,
        seed: int = 0,
        known: np.ndarray | None = None,
        scores: np.ndarray | None = None,
    ) -> tuple[AggregateEstimate, int]:
        source = CountedValues(lambda rows: self.values[rows], budget)
        answer = estimate_aggregates_normal(
            self.scores if scores is None else scores,
            source,
            self.columns,
            measures,
            delta=0.1,
            rng=np.random.default_rng(seed),
            groups=self.groups,
            n_groups=self.n_groups,
            known=None if known is None else (known, self.values),
        )
        return answer, source.spent

    def truth(self, measure: Measure) -> np.ndarray:
        return tally(measure, self.values.T, self.groups, self.n_groups)


@given(
    n=st.integers(0, 90),
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([0.0, 0.05, 0.4, 1.0]),
    n_groups=st.sampled_from([1, 3, 10]),
    budget=st.integers(0, 100),
    facts=st.sampled_from([0.0, 0.3, 1.0]),
    kind=st.sampled_from(["good", "constant", "wild", "missing"]),
    unbounded=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_properties(
    n: int,
    seed: int,
    rate: float,
    n_groups: int,
    budget: int,
    facts: float,
    kind: str,
    unbounded: bool,
) -> None:
    data = Data(n, seed, rate, n_groups, unbounded=unbounded)
    rng = np.random.default_rng(seed)
    scores = {
        "good": data.scores,
        "constant": np.full(n, 0.3),
        "wild": 1e200 * rng.standard_normal(n),
        "missing": np.where(rng.random(n) < 0.5, np.nan, data.scores),
    }[kind]
    known = rng.random(n) < facts
    answer, spent = data.ask(ALL, budget, seed=seed, known=known, scores=scores)
    rows = [row for step in answer.steps for row in step.rows.tolist()]
    assert len(rows) == spent == len(set(rows)) == min(budget, int((~known).sum()))
    assert not known[rows].any()
    assert (answer.grade == "exact") == (spent == (~known).sum())
    assert (answer.assumption is None) == (answer.grade == "exact")
    for measure, found in zip(ALL, answer.measures, strict=True):
        if answer.grade == "exact":
            np.testing.assert_allclose(found.estimate, data.truth(measure))
            np.testing.assert_array_equal(found.low, found.high)
        defined = ~np.isnan(found.estimate)
        assert (found.low[defined] <= found.estimate[defined] + 1e-9).all()
        assert (found.estimate[defined] <= found.high[defined] + 1e-9).all()
        seen = np.zeros(n, dtype=np.bool_)
        seen[rows] = True
        whole = np.bincount(data.groups[~(seen | known)], minlength=n_groups) == 0
        np.testing.assert_allclose(found.estimate[whole], data.truth(measure)[whole])
    intervals = [(t.measure, t.group) for t in answer.tests]
    assert len(set(intervals)) == len(intervals)
    assert sum(t.level for t in answer.tests) <= 0.1 + 1e-12


def test_a_count_by_hand() -> None:
    estimate, low, high = count_interval([(1000, 100, 20), (500, 500, 50)], 7.0, 1.96)
    share = 21 / 102
    half = 1.96 * np.sqrt(1000**2 * 0.9 * share * (1 - share) / 100)
    assert estimate == pytest.approx(7 + 200 + 50)
    assert (low, high) == pytest.approx((estimate - half, estimate + half))
    assert count_interval([(100, 10, 0)], 0.0, 12.0)[1:] == (0.0, 90.0)
    assert count_interval([(100, 0, 0)], 3.0, 2.0) == (53.0, 3.0, 103.0)


def _sample(n_rows: int, drawn: np.ndarray) -> Part:
    return Part(0, "stratum 1", np.arange(n_rows), drawn)


def _linear(
    measure: Measure, low: np.ndarray, high: np.ndarray, scores: np.ndarray
) -> LinearMeasure:
    linear = LinearMeasure(measure, low[None], high[None])
    linear.prepare([first_forecast(scores, low, high, Column(low, high))])
    return linear


def test_a_sum_is_right_on_average_over_all_samples() -> None:
    rng = np.random.default_rng(0)
    x = rng.gamma(2.0, 1.0, 9)
    values = np.where(rng.random(9) < 0.6, x, np.nan)[None]
    flat = np.full(9, 4.0)  # a forecast that tells no row from another leaves nothing to regress on
    linear = _linear(Measure("sum", 0), flat * 0, flat, np.full(9, 0.5))
    found = [
        linear_interval(linear, [_sample(9, np.array(rows))], values, (0.5, 0.0), 1.0)[0]
        for rows in combinations(range(9), 4)
    ]
    assert np.mean(found) == pytest.approx(0.5 + np.nansum(values))


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_by_the_definition(seed: int) -> None:
    """Fieller's set with one further row at its harmful end, on a fine grid."""
    rng = np.random.default_rng(seed)
    n, n_rows, z = 40, 400, 1.9
    x = rng.uniform(1, 5, n_rows)
    values = np.where(rng.random(n_rows) < 0.4, x, np.nan)[None]
    linear = _linear(Measure("mean", 0), x, x, np.full(n_rows, 0.4))
    linear.prepare([first_forecast(np.full(n_rows, 0.4), x, x, Column(x, x))])
    linear.now.u[:] = 0.0  # no regression
    drawn = rng.choice(n_rows, n, replace=False)
    estimate, low, high = linear_interval(linear, [_sample(n_rows, drawn)], values, (30.0, 9.0), z)
    counted = ~np.isnan(values[0, drawn])
    u, v = np.nan_to_num(values[0, drawn]), counted.astype(float)
    top, under = 30 + n_rows * u.mean(), 9 + n_rows * v.mean()
    assert estimate == pytest.approx(top / under)

    def kept(m: float, side: float) -> bool:
        d, worst = u - m * v, np.maximum(side * (x[drawn] - m), 0) * side
        mean = (d.sum() + worst.mean()) / (n + 1)
        square = ((d - mean) ** 2).sum() + ((worst - mean) ** 2).mean()
        variance = n_rows**2 * (1 - n / n_rows) / n * square / n
        return bool(abs(top - m * under) <= z * np.sqrt(variance))

    for side, end in ((-1.0, low), (1.0, high)):
        assert kept(end - side * 1e-6, side)
        assert not kept(end + side * 1e-6, side)


def test_a_ratio_whose_denominator_may_be_zero_has_no_end() -> None:
    rng = np.random.default_rng(2)
    above, below = rng.normal(5, 1, (2, 300))
    below -= 5
    bounds = [np.full(300, -20.0), np.full(300, 20.0)]
    linear = LinearMeasure(Measure("ratio", 0, denominator=1), *(np.stack([b, b]) for b in bounds))
    linear.prepare([first_forecast(np.ones(300), *bounds, Column(-20.0, 20.0))] * 2)
    values = np.stack([above, below])
    part = _sample(300, np.arange(50))
    assert linear_interval(linear, [part], values, (0.0, 0.0), 2.0)[1:] == (-np.inf, np.inf)
    shifted = values + np.array([[0.0], [-5.0]])
    _, low, high = linear_interval(linear, [part], shifted, (0.0, 0.0), 2.0)
    assert -2 < low < shifted[0].mean() / shifted[1].mean() < high < -0.5


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_a_quantile_by_the_definition(share: float) -> None:
    """Woodruff's set with one further row at its harmful end, node by node."""
    rng = np.random.default_rng(3)
    n_rows, z = 500, 1.7
    x = np.round(rng.gamma(2.0, 3.0, n_rows), 1)
    values = np.where(rng.random(n_rows) < 0.5, x, np.nan)
    drawn = rng.choice(n_rows, 60, replace=False)
    known = np.sort(rng.gamma(2.0, 3.0, 5))
    found = quantile_interval(
        Measure("quantile", 0, share=share), [_sample(n_rows, drawn)], (x, x), values, known, z
    )
    at = values[drawn]
    nodes = np.unique(np.concatenate([known, at[~np.isnan(at)]]))

    def ends(t: float) -> tuple[float, float, float]:
        d = np.where(np.isnan(at), 0.0, (at <= t) - share)
        total = ((known <= t) - share).sum() + n_rows * d.mean()
        out = [total]
        for worst in (np.where(x[drawn] <= t, 1 - share, 0), np.where(x[drawn] > t, -share, 0)):
            mean = (d.sum() + worst.mean()) / 61
            square = ((d - mean) ** 2).sum() + ((worst - mean) ** 2).mean()
            out.append(z * np.sqrt(n_rows**2 * (1 - 60 / n_rows) / 60 * square / 60))
        return out[0], out[0] + out[1], out[0] - out[2]

    curves = np.array([ends(t) for t in nodes])
    first = [nodes[c >= -1e-7][0] if (c >= -1e-7).any() else np.inf for c in curves.T]
    assert found[0] == first[0]
    assert found[1] in (first[1], -np.inf)
    assert found[2] == first[2] or share == 1.0
    assert found[1] <= found[0] <= found[2]


@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), kind=st.sampled_from(["sum", "mean"]))
@settings(max_examples=40, deadline=None)
def test_surer_limits_are_wider(seed: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    x, scores = rng.gamma(2.0, 1.0, 120), rng.random(120)
    values = np.where(rng.random(120) < scores, x, np.nan)[None]
    linear = _linear(Measure(kind, 0), x, x, scores)  # type: ignore[arg-type]
    part = _sample(120, rng.choice(120, n, replace=False))
    narrow, wide = (
        linear_interval(linear, [part], values, (0.0, 0.0), norm.isf(level))
        for level in (0.1, 0.01)
    )
    assert wide[1] <= narrow[1] + 1e-9
    assert narrow[2] <= wide[2] + 1e-9


def test_a_sample_without_a_hit_leaves_room() -> None:
    values = np.full((2000, 1), np.nan)
    values[:3] = 5.0
    x = np.full(2000, 5.0)
    for kind, least in (("count", 3.0), ("sum", 15.0)):
        source = CountedValues(lambda rows: values[rows], 200)
        answer = estimate_aggregates_normal(
            np.linspace(0.1, 0.2, 2000), source, [Column(x, x)], [Measure(kind, 0)],  # type: ignore[arg-type]
            delta=0.1, rng=np.random.default_rng(1),
        ).measures[0]  # fmt: skip
        assert answer.estimate[0] == answer.low[0] == 0.0
        assert least < answer.high[0] < 200 * least


def test_the_records_hold_the_strata() -> None:
    data = Data(3000, 1, n_groups=2)
    answer, spent = data.ask(ALL, 400)
    assert answer.algorithm == "aggregates: stratified samples, normal limits"
    for test in answer.tests:
        assert isinstance(test, NormalTest)
        assert test.level == pytest.approx(0.1 / (2 * len(ALL)))
        assert sum(s.n_rows for s in test.strata) == (data.groups == test.group).sum()
        assert 1 <= len(test.strata) <= 4
    one = [t for t in answer.tests if t.measure == 0]
    assert sum(s.n_sample for t in one for s in t.strata) == spent == 400


def test_a_prediction_narrows() -> None:
    data = Data(5000, 2, unbounded=True)
    widths = []
    for column in (data.columns[1], Column(-np.inf, np.inf)):
        data.columns[1] = column
        found = data.ask([Measure("mean", 1)], 600)[0].measures[0]
        widths.append(float(found.high[0] - found.low[0]))
    assert widths[0] < 0.75 * widths[1]


def test_narrower_than_limits_that_hold_at_finite_samples() -> None:
    rng = np.random.default_rng(4)
    value = np.clip(5 + 1.2 * rng.standard_normal(5000), 0, 10)
    prediction = value + 0.4 * rng.standard_normal(5000)
    widths = []
    for procedure in (estimate_aggregates_normal, estimate_aggregates):
        found = procedure(
            np.ones(5000), CountedValues(lambda rows: value[rows], 300),
            [Column(0.0, 10.0, prediction)], [Measure("mean", 0)],
            delta=0.05, rng=np.random.default_rng(0),
        ).measures[0]  # fmt: skip
        assert found.low[0] <= value.mean() <= found.high[0]
        widths.append(float(found.high[0] - found.low[0]))
    assert widths[0] < 0.8 * widths[1]


def test_the_same_seed_gives_the_same_answer() -> None:
    data = Data(2000, 3, n_groups=2)
    one, two = (data.ask(ALL, 200, seed=5)[0] for _ in range(2))
    for a, b in zip(one.measures, two.measures, strict=True):
        np.testing.assert_array_equal(a.low, b.low)
        np.testing.assert_array_equal(a.high, b.high)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (Measure("min", 0), "a min has no normal limits: estimate_aggregates gives"),
        (Measure("max", 0), "a max has no normal limits"),
        (Measure("quantile", 0, share=0.0), "a quantile needs a share"),
        (Measure("ratio", 0), "a ratio needs a denominator"),
        (Measure("sum", 5), "there is no column 5"),
    ],
)
def test_what_is_refused(measure: Measure, message: str) -> None:
    data = Data(100, 0)
    with pytest.raises(ValueError, match=message):
        data.ask([measure], 10)


def test_a_level_outside_its_range_is_refused() -> None:
    source = CountedValues(lambda rows: np.ones(len(rows)), 2)
    with pytest.raises(ValueError, match="delta must be in"):
        estimate_aggregates_normal(
            np.ones(5), source, [Column(1.0, 1.0)], [Measure("count", 0)],
            delta=5.0, rng=np.random.default_rng(0),
        )  # fmt: skip
