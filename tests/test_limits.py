"""Limits that no method passes: closed forms, all designs on tiny tables, monotonicity."""

from __future__ import annotations

from itertools import combinations
from math import comb, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from thresher.sampling.accuracy import select_accuracy
from thresher.sampling.bounds import Share
from thresher.sampling.joint import select_joint
from thresher.sampling.labelling import CountedClasses
from thresher.sampling.labels import CountedLabels
from thresher.sampling.limits import _chance, _spread, excludable_rows, required_labels
from thresher.sampling.sufficient import LabelForecast, sufficient_labels


def fewest(n_rows: int, hidden: int, delta: float) -> int:
    """Return by counting the fewest labels that miss `hidden` rows with chance delta at most."""
    return next(
        n for n in range(n_rows + 1) if comb(n_rows - n, hidden) <= delta * comb(n_rows, hidden)
    )


def best_design(n_rows: int, n_labels: int, hidden: int) -> float:
    """Return the least worst chance of missing a set, over every random choice of labels.

    A design gives each set of labels a probability: a linear programme minimises the largest
    chance over all sets of hidden rows.
    """
    designs = list(combinations(range(n_rows), n_labels))
    sets = list(combinations(range(n_rows), hidden))
    misses = np.array([[not set(a) & set(d) for d in designs] for a in sets], dtype=float)
    return minimax(misses)


def minimax(losses: np.ndarray) -> float:
    """Return the value of the game in which a column is chosen at random and a row knows how."""
    rows, columns = losses.shape
    result = linprog(
        np.append(np.zeros(columns), 1.0),
        A_ub=np.hstack([losses, -np.ones((rows, 1))]),
        b_ub=np.zeros(rows),
        A_eq=np.append(np.ones(columns), 0.0)[None],
        b_eq=[1.0],
        method="highs",
    )
    return float(result.fun)


@pytest.mark.parametrize("n_rows", [3, 5, 7])
def test_no_design_beats_the_chance_of_a_uniform_sample(n_rows: int) -> None:
    for n_labels in range(n_rows + 1):
        for hidden in range(1, n_rows + 1):
            best = best_design(n_rows, n_labels, hidden)
            assert best == pytest.approx(_chance(n_rows, hidden, n_labels), abs=1e-9)


@pytest.mark.parametrize(("negatives", "n_labels", "left_out"), [(6, 1, 2), (6, 0, 3), (7, 2, 2)])
@pytest.mark.parametrize("known", [0, 4])
def test_no_random_method_beats_hidden_positives_spread_at_random(
    negatives: int, n_labels: int, left_out: int, known: int
) -> None:
    """Over every random choice of rows to label and of rows to leave out, at once."""
    share = Share.beyond(0.6)
    rows = set(range(negatives))
    plans = [
        (set(label), set(out))
        for label in combinations(range(negatives), n_labels)
        for out in combinations(sorted(rows - set(label)), left_out)
    ]
    truths = [set(a) for u in range(1, negatives + 1) for a in combinations(range(negatives), u)]
    losses = np.array(
        [
            [not a & label and len(a & out) > share.of(known + len(a)) for label, out in plans]
            for a in truths
        ],
        dtype=float,
    )
    value = minimax(losses)
    if value == 0.0:
        assert _spread(left_out, n_labels, negatives, known, share, 1e-6)
        return
    assert not _spread(left_out, n_labels, negatives, known, share, value * (1 - 1e-6))
    assert _spread(left_out, n_labels, negatives, known, share, value * (1 + 1e-6))


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("n_rows", [1, 9, 40])
def test_closed_forms(n_rows: int, delta: float) -> None:
    for positive in (0, 3, 17):
        hidden = floor(0.2 * positive + 1e-9) + 1
        if hidden <= n_rows:
            labels = required_labels(
                "recall", n_rows=n_rows, n_positive=positive, target=0.8, delta=delta
            )
            assert labels == fewest(n_rows, hidden, delta)
    allowed = floor(0.2 * n_rows + 1e-9)
    for kind in ("precision", "accuracy"):
        labels = required_labels(kind, n_rows=n_rows, target=0.8, delta=delta)
        assert labels == fewest(n_rows, allowed + 1, delta)
    labels = required_labels("count", n_rows=n_rows, error=0, delta=delta)
    assert labels == fewest(n_rows, 1, 2 * delta)


def test_the_rate_of_recall() -> None:
    labels = required_labels("recall", n_rows=10**6, n_positive=50, target=0.9, delta=0.05)
    assert labels / 10**6 == pytest.approx(1 - 0.05 ** (1 / 6), rel=1e-4)


def test_every_wrong_row_beyond_the_allowed_ones_costs_a_label() -> None:
    labels = required_labels("accuracy", n_rows=1000, target=0.9, delta=0.05, n_wrong=400)
    assert labels == 300


def test_fewer_rows_than_could_hide_a_failure_cost_nothing() -> None:
    asked = {"n_rows": 1000, "n_positive": 50, "target": 0.9, "delta": 0.05}
    assert required_labels("recall", share=0.005, **asked) == 0
    assert required_labels("recall", share=0.006, **asked) == 1
    assert excludable_rows(0, **asked) == 5


def test_fifty_positives_in_fifty_thousand_rows() -> None:
    asked = {"n_rows": 50_000, "n_positive": 50, "target": 0.9, "delta": 0.05}
    ranking, all_methods = (excludable_rows(1000, methods=m, **asked) for m in ("ranking", "any"))
    assert ranking / 50_000 == pytest.approx(0.051, abs=5e-4)
    assert ranking < all_methods < 0.15 * 50_000


COUNTS = st.tuples(st.integers(1, 3000), st.integers(0, 500), st.sampled_from([0.5, 0.8, 0.9, 1.0]))


@settings(deadline=None, max_examples=60)
@given(COUNTS, st.integers(0, 3000), st.floats(0.001, 0.4))
def test_the_two_are_inverse(counts: tuple[int, int, float], n_labels: int, delta: float) -> None:
    n_rows, positive, target = counts
    asked = {"n_rows": n_rows, "n_positive": positive, "target": target, "delta": delta}
    most = excludable_rows(n_labels, **asked)
    assert min(n_labels, n_rows) <= most <= n_rows
    assert required_labels("recall", share=most / n_rows, **asked) <= n_labels
    if most < n_rows:
        assert required_labels("recall", share=(most + 1) / n_rows, **asked) > n_labels
    assert excludable_rows(n_labels + 1, **asked) >= min(n_rows, most + 1)


@settings(deadline=None, max_examples=60)
@given(COUNTS, st.integers(0, 500), st.floats(0.001, 0.2))
def test_monotone(counts: tuple[int, int, float], n_labels: int, delta: float) -> None:
    n_rows, positive, target = counts
    asked = {"n_rows": n_rows, "n_positive": positive, "target": target}
    base = required_labels("recall", delta=delta, **asked)
    assert required_labels("recall", delta=2 * delta, **asked) <= base
    assert required_labels("recall", delta=delta, share=0.5, **asked) <= base
    assert required_labels("recall", delta=delta, **asked | {"n_positive": positive + 40}) <= base
    assert required_labels("recall", delta=delta, **asked | {"n_rows": n_rows + 10}) >= base or (
        base == 0
    )
    for methods in ("ranking", "any"):
        few = excludable_rows(n_labels, delta=delta, methods=methods, **asked)
        more = excludable_rows(n_labels, delta=2 * delta, methods=methods, **asked)
        assert few <= more


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="share must be"):
        required_labels("recall", n_rows=10, delta=0.1, share=1.5)
    with pytest.raises(ValueError, match="numbers of rows"):
        required_labels("count", n_rows=10, delta=0.1, error=-1)
    with pytest.raises(ValueError, match="numbers of rows"):
        excludable_rows(-1, n_rows=10, n_positive=1, target=0.9, delta=0.1)
    with pytest.raises(ValueError, match="target must be"):
        required_labels("recall", n_rows=10, delta=0.1, target=90)
    with pytest.raises(ValueError, match="delta must be"):
        required_labels("recall", n_rows=10, delta=0.0, target=0.9)
    with pytest.raises(ValueError, match="scores must be a float array"):
        sufficient_labels("joint", np.arange(5), delta=0.1, target=0.9)


@pytest.mark.parametrize("kind", ["recall", "precision", "joint", "accuracy"])
@pytest.mark.parametrize(
    "scores",
    [
        np.zeros(0),
        np.array([0.3]),
        np.full(500, 0.5),
        np.full(40, np.nan),
        np.array([np.inf, -np.inf, np.nan, 0.0] * 30),
        np.linspace(-1e300, 1e300, 200),
        np.random.default_rng(0).beta(0.2, 2, 200_000).astype(np.float32),
    ],
)
def test_forecasts_of_any_scores(kind: str, scores: np.ndarray) -> None:
    got = sufficient_labels(kind, scores, delta=0.05, target=0.9, precision=0.9)  # type: ignore[arg-type]
    assert 0 <= got.least <= got.expected <= got.candidates == len(scores)


def test_known_rows_are_no_candidates() -> None:
    scores = np.random.default_rng(0).beta(0.2, 2, 5000)
    known = np.where(scores > 0.5, 1, -1)
    got = sufficient_labels("joint", scores, delta=0.05, target=0.9, precision=0.9, known=known)
    assert got.candidates == np.count_nonzero(known < 0)
    without = sufficient_labels("joint", scores, delta=0.05, target=0.9, precision=0.9)
    assert got.expected < without.expected
    everything = sufficient_labels(
        "joint", scores, delta=0.05, target=0.9, known=np.ones(5000, int)
    )
    assert everything == LabelForecast(0, 0, 0, 0, 0)


def test_the_forecast_of_a_calibrated_proxy_is_near_what_is_bought() -> None:
    rng = np.random.default_rng(3)
    scores = rng.beta(0.3, 1, 10_000)
    truth = rng.random(10_000) < scores
    bought = []
    for seed in range(6):
        labels = CountedLabels(lambda rows: truth[rows], 10_000)
        select_joint(
            scores, labels, recall=0.9, precision=0.9, delta=0.05, rng=np.random.default_rng(seed)
        )
        bought.append(labels.spent)
    got = sufficient_labels("joint", scores, delta=0.05, target=0.9, precision=0.9)
    assert got.least < min(bought)
    assert 0.5 < got.expected / np.mean(bought) < 2


def test_the_forecast_of_accuracy_is_near_what_is_bought() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.beta(5, 1, 10_000)
    truth = (rng.random(10_000) > confidence).astype(np.int64)
    bought = []
    for seed in range(6):
        labels = CountedClasses(lambda rows: truth[rows], 10_000)
        select_accuracy(
            np.zeros(10_000, np.int64),
            confidence,
            labels,
            accuracy=0.9,
            delta=0.05,
            rng=np.random.default_rng(seed),
        )
        bought.append(labels.spent)
    got = sufficient_labels("accuracy", confidence, delta=0.05, target=0.9)
    assert got.least < min(bought)
    assert 0.5 < got.expected / np.mean(bought) < 2
