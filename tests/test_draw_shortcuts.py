"""Shortcuts over many rows: few draws in order, the farthest points of a cloud, sums in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.sampling import Column, CountedValues, Measure, estimate_aggregates, line_bets
from thresher.sampling.draws import GroupDraws
from thresher.sampling.farthest import Farthest, outer_points
from thresher.sampling.layout import Layout, compact
from thresher.sampling.measures import AggregateEstimate
from thresher.sampling.quantiles import QuantileBets, QuantileTarget
from thresher.sampling.value_forecasts import Forecast

FAN = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, -3.0], [0.0, -2.0]])  # 180 degrees


@pytest.mark.parametrize("n_values", [2, 40, 10**6])
def test_few_draws_in_order_are_the_first_of_all(n_values: int) -> None:
    n, weights = 5000, np.random.default_rng(2).integers(1, n_values, 5000, endpoint=True) / 7
    rows = np.arange(n) * 3
    whole = GroupDraws(rows.copy(), weights.copy(), np.random.default_rng(5))
    some = GroupDraws(rows.copy(), weights.copy(), np.random.default_rng(5), 30)
    for count in (10, 60, 900, 4000):
        some.reserve(count)
        k = some.n_ordered
        assert some.take(count) == whole.take(count)
        assert some.taken <= k
        assert np.array_equal(some.rows[:k], whole.rows[:k])
        assert np.array_equal(np.sort(some.rows), rows)
        assert np.array_equal(some.weights, weights[some.rows // 3])
        np.testing.assert_allclose(some.totals, whole.totals[: k + 1], rtol=1e-12)
        assert some.scale_after(7.0) == pytest.approx(whole.scale_after(7.0), rel=1e-12)
    assert not some.reserve(30)


def test_equal_times_are_drawn_in_the_order_of_the_rows() -> None:
    class Equal(np.random.Generator):
        def exponential(self, scale: object = 1.0, size: object = None) -> np.ndarray:
            return np.ones(size)  # type: ignore[call-overload]

    draws = GroupDraws(np.arange(1000), np.ones(1000), Equal(np.random.PCG64(1)), 10)
    assert draws.n_ordered == 1000
    assert np.array_equal(draws.rows, np.arange(1000))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from(["cloud", "curve", "line", "few", "one"]),
    turns=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5),
    sizes=st.tuples(*[st.sampled_from([1.0, 1e-170, 1e-300, 1e140])] * 2),
)
def test_the_farthest_point_is_that_of_all_points(
    seed: int, shape: str, turns: list[float], sizes: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    n = 9000
    t = rng.random(n)
    points = {
        "cloud": rng.normal(size=(2, n)),
        "curve": np.stack([np.sin(3 * t), 5 * np.cos(3 * t)]),
        "line": np.stack([t, 2 - 3 * t]),
        "few": rng.integers(-2, 3, (2, n)).astype(float),
        "one": np.full((2, n), 0.5),
    }[shape] * np.array(sizes)[:, None]
    kept = [outer_points(part, FAN[[0, 2, -1]]) for part in np.array_split(points, 4, axis=1)]
    above, below = (np.hstack(side) for side in zip(*kept, strict=True))
    up, down = Farthest(above, FAN), Farthest(below, -FAN)
    for turn in turns:
        angle = np.pi * (0.5 - turn)
        one, two = float(np.cos(angle)), float(np.sin(angle))
        values = one * points[0] + two * points[1]
        near = 1e-12 * np.abs(values).max()
        assert up.reach(one, two) == pytest.approx(values.max(), rel=1e-12, abs=near)
        assert -down.reach(-one, -two) == pytest.approx(values.min(), rel=1e-12, abs=near)


def test_clouds_and_lines_leave_few_points() -> None:
    rng = np.random.default_rng(1)
    cloud = outer_points(rng.normal(size=(2, 10_000)), FAN[[0, 2, -1]])
    line = outer_points(np.stack([np.linspace(0, 1, 10_000)] * 2), FAN[[0, 2, -1]])
    assert max(side.shape[1] for side in cloud) < 5000
    assert max(side.shape[1] for side in line) < 10


def test_sums_and_tops_by_group_go_across_blocks() -> None:
    rng = np.random.default_rng(4)
    group = np.sort(rng.choice([0, 2, 3, 7], 50_000, p=[0.01, 0.9, 0.08, 0.01]))
    value, layout = rng.random(50_000), Layout(group, 9)
    wanted = np.bincount(group, weights=value, minlength=9)
    np.testing.assert_allclose(layout.sums(value), wanted, rtol=1e-12)
    tops = [value[group == g].max(initial=0.0) for g in range(9)]
    assert layout.tops(value).tolist() == tops
    assert [layout.of(g) for g in (1, 2)] == [
        slice(sum(group < 1), sum(group < 1)), slice(sum(group < 2), sum(group < 3)),
    ]  # fmt: skip
    for rows in (np.array([4, 2, 3, 5]), np.array([4, 5, 4, 7]), np.zeros(0, dtype=np.int64)):
        assert compact(rows) is rows


@pytest.mark.parametrize("plain", [True, False])
def test_what_rows_reach_beside_nodes_is_what_a_look_at_each_says(plain: bool) -> None:
    rng = np.random.default_rng(6)
    n, q = 700, 0.3
    x = rng.integers(0, 40, n) / 4
    low, high = (x, x) if plain else (np.zeros(n), np.full(n, 10.0))
    target = QuantileTarget(Measure("quantile", 0, share=q), low[None], high[None])
    g = rng.random(n)
    target.prepare([Forecast(g, x, 0.0 if plain else 1.0)])
    target.known(np.zeros((0, 1)), np.zeros(0, dtype=np.int64), 1)
    bets = target.start((0, 0), np.arange(n), (0.0, 0.0), (0.0, 0.0), 0.05)
    weights = rng.random(n) + 0.1
    draws = GroupDraws(np.arange(n), weights, rng, 20)
    bets.begin(draws)
    _check_ends(bets, draws, g[draws.rows], x[draws.rows], q)


def _check_ends(
    bets: QuantileBets, draws: GroupDraws, g: np.ndarray, x: np.ndarray, q: float
) -> None:
    sides = bets._sides(g)
    for j, node in enumerate(bets.nodes):
        for k, below in enumerate((x <= node, x < node)):
            assert bets._rest[k, j] == pytest.approx(g @ (below - q), abs=1e-9)
            for end, sign in enumerate((1.0, -1.0)):
                pay = np.where(below, sides[0][end], sides[1][end]) / draws.weights
                assert bets._ends[k, end, j] == (sign * pay).max(initial=0.0)


def _estimates(measure: Measure, n_groups: int) -> AggregateEstimate:
    rng = np.random.default_rng(8)
    n = 6000
    x, hit = rng.random(n) * 7, rng.random(n) < 0.3
    return estimate_aggregates(
        np.where(hit, 0.7, 0.2) + 0.2 * rng.random(n),
        CountedValues(lambda rows: np.where(hit[rows], x[rows], np.nan), 400),
        [Column(0.0, 7.0, x)] if measure.kind == "sum" else [Column(x, x)],
        [measure],
        delta=0.05,
        rng=np.random.default_rng(9),
        groups=rng.integers(0, n_groups, n),
        n_groups=n_groups,
    )


@pytest.mark.parametrize("kind", ["mean", "sum"])
@pytest.mark.parametrize("n_groups", [1, 3])
def test_estimates_do_not_hang_on_how_many_draws_are_in_order(
    kind: str, n_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Measure(kind, 0)  # type: ignore[arg-type]
    whole = _estimates(measure, n_groups)
    monkeypatch.setattr("thresher.sampling.sequential._FIRST_ORDERED", -10_000)
    monkeypatch.setattr(line_bets, "_TOGETHER", 1000)
    monkeypatch.setattr("thresher.sampling.farthest._FEW", 3)
    some = _estimates(measure, n_groups)
    for one, other in zip(whole.steps, some.steps, strict=True):
        assert np.array_equal(one.rows, other.rows)
    np.testing.assert_allclose(some.measures[0].low, whole.measures[0].low, rtol=1e-7)
    np.testing.assert_allclose(some.measures[0].high, whole.measures[0].high, rtol=1e-7)
