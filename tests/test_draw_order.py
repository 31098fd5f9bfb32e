"""Shortcuts of weighted draws change no draw: one group, equal times, extremes block by block."""

from __future__ import annotations

import numpy as np
import pytest

from thresher.sampling.draw_plan import Spread, plan_draws
from thresher.sampling.draws import _ascending
from thresher.sampling.layout import Layout


@pytest.mark.parametrize("n_values", [1, 5, 10**6])
def test_times_are_sorted_as_a_stable_sort_does(n_values: int) -> None:
    rng = np.random.default_rng(n_values)
    times = rng.integers(n_values, size=3000) / n_values
    assert np.array_equal(_ascending(times), np.argsort(times, kind="stable"))
    some = np.where(rng.random(3000) < 0.01, np.nan, times)
    assert np.array_equal(_ascending(some), np.argsort(some, kind="stable"))
    assert len(_ascending(np.zeros(0))) == 0


@pytest.mark.parametrize("deviation", [0.0, 1.0])
def test_one_group_is_planned_as_one_of_several(deviation: float) -> None:
    rng = np.random.default_rng(3)
    n, group = 2000, np.zeros(2000, dtype=np.int64)
    rows = deviation * rng.random(n), rng.random(n) ** 4
    alone = [Spread(np.array([0.4]), np.array([2.0]), *rows)]
    beside = [Spread(np.array([0.4, 0.0]), np.array([2.0, 1.0]), *rows)]
    one = plan_draws(alone, Layout(group, 1), np.array([50.0]), 0.05)
    two = plan_draws(beside, Layout(group, 2), np.array([50.0, 0.0]), 0.05)
    assert np.array_equal(one.weights, two.weights)
    assert one.each[0].a[0] == two.each[0].a[0]
    assert one.each[0].b[0] == two.each[0].b[0]
