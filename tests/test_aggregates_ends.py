"""Aggregates whose truth is an end of what is possible, and counts as whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.sampling.aggregates import estimate_aggregates
from thresher.sampling.asymptotic import estimate_aggregates_normal
from thresher.sampling.error_targets import missing, settle, whole_ends
from thresher.sampling.measures import AggregateEstimate, Column, ErrorTarget, Measure
from thresher.sampling.sequential import _in_turn
from thresher.sampling.tally import tally
from thresher.sampling.values import CountedValues

N = 2000
LINEAR = [
    Measure("count", 0),
    Measure("sum", 0),
    Measure("mean", 0),
    Measure("ratio", 0, denominator=1, together=True),
]


def tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: which rows count, and the values; the truth is an end of their range."""
    rng = np.random.default_rng(2)
    counts = rng.random(N) < 0.3
    price = np.minimum(np.round(rng.gamma(2.0, 20.0, N), 2), 98.99)
    flag = rng.integers(0, 2, N).astype(float)
    every, none = np.ones(N, dtype=bool), np.zeros(N, dtype=bool)
    return {
        "no flag": (counts, np.where(counts, 0.0, flag)),
        "every flag": (counts, np.where(counts, 1.0, flag)),
        "dearest": (counts, np.where(counts, 98.99, price)),
        "cheapest": (counts, np.where(counts, 0.07, np.maximum(price, 0.07))),
        "one value": (counts, np.full(N, 0.1)),
        "all count": (every, price),
        "none counts": (none, price),
        "all count, negative": (every, -price),
    }


TABLES = tables()


def ask(
    name: str, measure: Measure, seed: int, known: float = 0.0, error: ErrorTarget | None = None
) -> tuple[AggregateEstimate, np.ndarray]:
    counts, x = TABLES[name]
    values = np.where(counts[:, None], np.stack([x, np.full(N, 2.0)], axis=1), np.nan)
    rng = np.random.default_rng(seed)
    facts = rng.random(N) < known
    answer = estimate_aggregates(
        np.clip(0.2 + 0.5 * counts + 0.2 * rng.standard_normal(N), 0, 1),
        CountedValues(lambda rows: values[rows], 150),
        [Column(x, x), Column(2.0, 2.0)],
        [measure],
        delta=0.001,
        rng=rng,
        known=(facts, np.where(facts[:, None], values, np.nan)),
        error=error,
    )
    return answer, values


@pytest.mark.parametrize("known", [0.0, 0.2])
@pytest.mark.parametrize("measure", LINEAR, ids=lambda m: m.kind)
@pytest.mark.parametrize("name", TABLES)
def test_a_truth_at_an_end_is_not_shut_out_by_rounding(
    name: str, measure: Measure, known: float
) -> None:
    for seed in range(5):
        answer, values = ask(name, measure, seed, known)
        (found,) = answer.measures
        truth = tally(measure, values.T, np.zeros(N, dtype=np.int64), 1)[0]
        added = values[~np.isnan(values[:, 0]), 0]  # the same in another order
        again = {"sum": added.sum(), "mean": added.mean() if len(added) else truth}
        for one in (truth, again.get(measure.kind, truth)):
            assert np.isnan(one) or found.low[0] <= _nearest(one, name) <= found.high[0]
        assert not np.signbit(found.low[0]) or found.low[0] < 0


def _nearest(truth: float, name: str) -> float:
    """Take what adding up has lost off a mean of equal values."""
    given = {"dearest": (98.99, 98.99 / 2), "cheapest": (0.07, 0.07 / 2), "one value": (0.1, 0.05)}
    near = [v for v in given.get(name, ()) if abs(truth - v) <= 1e-9 * v]
    return near[0] if near else truth


@pytest.mark.parametrize(
    ("name", "low", "high"), [("no flag", 0.0, None), ("dearest", None, 98.99)]
)
def test_an_end_that_never_moved_is_the_value_itself(
    name: str, low: float | None, high: float | None
) -> None:
    (found,) = ask(name, Measure("mean", 0), 1)[0].measures
    assert low is None or found.low[0] == low
    assert high is None or found.high[0] == high


TARGETS = st.one_of(
    st.floats(0.005, 0.5).map(lambda e: ErrorTarget(e, relative=True)),
    st.floats(0.4, 20).map(lambda e: ErrorTarget(e, relative=False)),
)


@given(error=TARGETS, low=st.integers(0, 300), width=st.integers(0, 40), start=st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_a_count_is_met_by_a_whole_number_or_not_at_all(
    error: ErrorTarget, low: int, width: int, start: float
) -> None:
    high = low + width
    estimate = float(np.rint(low + start * width))

    def away(count: float, end: int) -> float:
        if error.relative and not end:
            return np.inf if count else 0.0
        return abs(count - end) / (end if error.relative else 1)

    def keeps(count: float) -> bool:
        return all(not away(count, end) > error.value * (1 + 1e-12) for end in (low, high))

    met = missing(error, estimate, low, high, whole=True) == 0
    found = settle(error, *(np.array([float(a)]) for a in (estimate, low, high)), whole=True)[0]
    assert found == np.rint(found)
    assert low <= found <= high
    if met and width:
        assert keeps(found)
    strict = error.value * (1 - 1e-12)
    sure = [c for c in range(low, high + 1) if keeps(c)]
    assert met or all(  # none keeps it, unless by the last digit
        max(abs(c - end) / (max(end, 1) if error.relative else 1) for end in (low, high)) > strict
        for c in sure
    )


def test_an_interval_without_a_whole_number_is_widened() -> None:
    low, high = whole_ends([3.2, 3.0, -0.0], [3.8, 3.0, 2.9])
    assert (low.tolist(), high.tolist()) == ([3.0, 3.0, 0.0], [4.0, 3.0, 2.0])


@pytest.mark.parametrize("within", [0.03, 0.1])
def test_counts_until_an_error_target_are_whole(within: float) -> None:
    rng = np.random.default_rng(4)
    counts = rng.random(300) < 0.3
    scores = np.clip(0.2 + 0.5 * counts + 0.2 * rng.standard_normal(300), 0, 1)
    met = 0
    for seed in range(12):
        answer = estimate_aggregates(
            scores,
            CountedValues(lambda rows: np.where(counts[rows], 1.0, np.nan), 290),
            [Column(1.0, 1.0)],
            [Measure("count", 0)],
            delta=0.05,
            rng=np.random.default_rng(seed),
            error=ErrorTarget(within, relative=True),
        )
        (found,) = answer.measures
        assert found.estimate[0] == np.rint(found.estimate[0])
        if answer.met:
            met += 1
            for end in (found.low[0], found.high[0]):
                assert abs(found.estimate[0] - end) <= within * end * (1 + 1e-12)
    assert met


def test_what_nothing_unknown_can_change_is_exact_under_any_limits() -> None:
    """The second column is not asked for: the rows that are left can count in it alone."""
    x = np.where(np.arange(100) < 40, 1.0, np.nan)
    values = np.stack([x, np.ones(100)], axis=1)
    known = np.arange(100) < 40
    for procedure in (estimate_aggregates, estimate_aggregates_normal):
        answer = procedure(
            np.full(100, 0.5),
            CountedValues(lambda rows: values[rows], 10),
            [Column(x, x), Column(1.0, 1.0)],
            [Measure("mean", 0)],
            delta=0.05,
            rng=np.random.default_rng(0),
            known=(known, np.where(known[:, None], values, np.nan)),
        )
        assert (answer.grade, answer.tests, answer.assumption) == ("exact", (), None)
        assert answer.measures[0].low[0] == answer.measures[0].high[0] == 1.0


def test_a_group_that_no_label_would_serve_lets_the_others_meet_a_relative_error() -> None:
    rng = np.random.default_rng(8)
    groups = np.arange(8000) % 4
    truth = rng.random(8000) < np.array([0.0, 0.0, 0.5, 0.8])[groups]
    for seed in range(5):
        found = estimate_aggregates(
            np.full(8000, 0.4),
            CountedValues(lambda rows: np.where(truth[rows], 1.0, np.nan), 3000),
            [Column(np.ones(8000), np.ones(8000))],
            [Measure("count", 0)],
            delta=0.1,
            rng=np.random.default_rng(seed),
            groups=groups,
            n_groups=4,
            error=(error := ErrorTarget(0.15, relative=True)),
        )
        (one,) = found.measures
        limits = zip(one.estimate.tolist(), one.low.tolist(), one.high.tolist(), strict=True)
        kept = [missing(error, *limit, whole=True) == 0 for limit in limits]
        assert not found.met
        assert kept[2:] == [True, True]
        assert (one.low[:2] == 0).all()
        assert one.high[:2].max() < 100  # what was left of the budget went there


def test_groups_wait_only_where_the_budget_does_not_serve_all() -> None:
    left = np.array([100, 5, 300, 50])
    wanted = np.array([100.0, 5.0, 40.0, 0.0])
    assert _in_turn(wanted, left, 145).tolist() == wanted.tolist()
    assert _in_turn(wanted, left, 144).tolist() == [0.0, 5.0, 40.0, 0.0]
    every = left.astype(np.float64)
    assert _in_turn(every, left, 1).tolist() == every.tolist()
