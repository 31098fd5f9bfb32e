"""Ranking, the ledger's counts, and the permutations that samples are prefixes of."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from thresher.sampling import CountedLabels
from thresher.sampling.ledger import Ledger
from thresher.sampling.permutation import Permutation
from thresher.sampling.ranking import rank_rows


def ledger_of(label: np.ndarray) -> Ledger:
    """A ledger whose ranks are the rows, with some labels known."""
    labels = CountedLabels(lambda rows: rows % 3 == 0, len(label))
    return Ledger(np.linspace(1, 0, len(label)), labels, np.random.default_rng(0), known=label)


def some_known(n: int, share: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < share, rng.integers(0, 2, n), -1).astype(np.int8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ranking(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    scores = np.array([0.1, np.nan, 0.9, -0.0, 0.0, np.inf, -np.inf, 1.5, -3.0], dtype=dtype)
    order = rank_rows(scores, rng)
    assert order[:4].tolist() == [5, 7, 2, 0]
    assert sorted(order[4:6]) == [3, 4]
    assert order[6:].tolist() == [8, 6, 1]


def test_distinct_scores_of_64_bits_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    fine = 1 - 2.0 ** -rng.uniform(30, 52, 200_000)  # equal in all but the last bits
    ranked = fine[rank_rows(fine, rng)]
    assert (np.diff(ranked) <= 0).all()
    assert np.isfinite(ranked).all()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 64, 65, 2**16 - 1, 2**16 + 1, 200_001])
def test_ranks_are_a_permutation_of_the_rows(n: int) -> None:
    for scores in (np.zeros(n, np.float32), np.random.default_rng(n).random(n, dtype=np.float32)):
        order = rank_rows(scores, np.random.default_rng(1))
        assert order.dtype == np.uint32
        assert (np.bincount(order, minlength=n) == 1).all()
        assert (np.diff(scores[order]) <= 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_do_not_follow_the_rows(dtype: type[np.floating]) -> None:
    orders = [rank_rows(np.zeros(2000, dtype), np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()
    for order in orders:
        assert abs(np.corrcoef(order, np.arange(2000))[0, 1]) < 0.1


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(allow_infinity=True, allow_nan=True, width=32), max_size=40),
    st.integers(0, 9),
    st.sampled_from([np.float32, np.float64]),
)
def test_ranking_is_a_sorted_permutation(
    values: list[float], seed: int, dtype: type[np.floating]
) -> None:
    scores = np.array(values, dtype=dtype)
    order = rank_rows(scores, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(values)))
    ranked = scores[order]
    seen = ranked[~np.isnan(ranked)]
    assert (seen[:-1] >= seen[1:]).all()
    assert np.isnan(ranked[len(seen) :]).all()


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 13_000),
    share=st.floats(0, 1),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    count=st.integers(0, 9000),
    seed=st.integers(0, 99),
)
def test_counts_and_ends_agree_with_a_list(
    n: int, share: float, low: float, high: float, count: int, seed: int
) -> None:
    label = some_known(n, share, seed)
    ledger = ledger_of(label)
    if ledger.n_unknown:
        bought = np.random.default_rng(seed).choice(ledger.unknown(), ledger.n_unknown // 2, False)
        ledger.buy(bought, "some")
    free = np.flatnonzero(ledger.label < 0)
    start, end = sorted((int(low * n), int(high * n)))
    inside = free[(free >= start) & (free < end)]
    assert ledger.n_unknown == len(free)
    assert ledger.n_positive == np.count_nonzero(ledger.label > 0)
    assert ledger.unknown(start, end).tolist() == inside.tolist()
    assert ledger.count(start, end) == len(inside)
    assert ledger.first(count, start).tolist() == free[free >= start][:count].tolist()
    assert ledger.last(count, end).tolist() == free[free < end][::-1][:count].tolist()


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 5000),
    share=st.floats(0, 0.99),
    parts=st.lists(st.integers(0, 900), max_size=8),
    seed=st.integers(0, 99),
)
def test_a_permutation_does_not_depend_on_how_it_is_taken(
    n: int, share: float, parts: list[int], seed: int
) -> None:
    label = some_known(n, share, seed)
    whole = ledger_of(label)
    once = Permutation(whole, np.random.default_rng(seed)).take(whole.n_unknown)
    assert sorted(once) == whole.unknown().tolist()
    ledger = ledger_of(label)
    order, taken = Permutation(ledger, np.random.default_rng(seed)), []
    for part in parts:
        ranks = order.take(min(part, ledger.n_unknown))
        ledger.buy(ranks, "sample")
        taken += ranks.tolist()
    assert taken == once[: len(taken)].tolist()


def test_what_was_labelled_before_is_left_out_and_the_rest_keeps_its_order() -> None:
    label = np.full(3000, -1, np.int8)
    whole = Permutation(ledger_of(label), np.random.default_rng(4)).take(700).tolist()
    label[whole[100:300]] = 1
    rest = Permutation(ledger_of(label), np.random.default_rng(4)).take(400).tolist()
    assert rest == (whole[:100] + whole[300:])[:400]


@pytest.mark.parametrize("n", [6, 900])
def test_every_order_is_equally_likely(n: int) -> None:
    """Prefixes of three among four unlabelled ranks: listed at once, or found by rejection."""
    label = np.zeros(n, np.int8)
    free = np.linspace(1, n - 1, 4).astype(int)
    label[free] = -1
    seen = dict.fromkeys(permutations(free.tolist(), 3), 0)
    trials = 24_000 if n < 10 else 6_000
    rng = np.random.default_rng(0)
    ledger = ledger_of(label)
    for _ in range(trials):
        seen[tuple(Permutation(ledger, rng).take(3).tolist())] += 1
    expected = trials / len(seen)
    statistic = sum((count - expected) ** 2 for count in seen.values()) / expected
    assert statistic < chi2.isf(1e-6, len(seen) - 1)


def test_a_permutation_taken_by_rejection_is_uniform() -> None:
    """Pairs of neighbours from 30 ranks, all of them unlabelled at first."""
    ledger = ledger_of(np.full(30, -1, np.int8))
    rng, pairs = np.random.default_rng(2), np.zeros((30, 30))
    for _ in range(4000):
        order = Permutation(ledger, rng).take(12)
        pairs[order[:-1], order[1:]] += 1
    assert np.trace(pairs) == 0
    off = pairs[~np.eye(30, dtype=bool)]
    expected = off.mean()
    assert ((off - expected) ** 2).sum() / expected < chi2.isf(1e-6, len(off) - 1)


def test_more_than_is_left_is_refused() -> None:
    with pytest.raises(ValueError, match="asked for 4 of 3 unlabelled rows"):
        Permutation(ledger_of(np.full(3, -1, np.int8)), np.random.default_rng(0)).take(4)
