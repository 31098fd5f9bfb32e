"""Exact bounds: against exact fractions and scipy, and failure probabilities by enumeration."""

from __future__ import annotations

import itertools
from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from thresher.sampling.bounds import (
    Share,
    _cdf,
    fixed_cut,
    hypergeometric_cdf,
    marked_upper,
    ratio_cut,
)

TARGETS = (0.5, 2 / 3, 0.75, 0.8, 0.9, 0.95, 1.0)


def exact_cdf(x: int, n_rows: int, n_marked: int, n_sample: int) -> Fraction:
    ways = sum(
        comb(n_marked, j) * comb(n_rows - n_marked, n_sample - j)
        for j in range(max(0, n_sample - n_rows + n_marked), min(x, n_marked, n_sample) + 1)
    )
    return Fraction(ways, comb(n_rows, n_sample))


def cases(seed: int, count: int, largest: float, spread: float) -> tuple[np.ndarray, ...]:
    """Random (x, n_rows, n_marked, n_sample), from the mode out to the far tails."""
    rng = np.random.default_rng(seed)
    rows = np.exp(rng.uniform(np.log(2), np.log(largest), count)).astype(int)
    marked = (rows * rng.beta(0.4, 0.7, count)).astype(int)
    sample = (rows * rng.beta(0.4, 0.7, count)).astype(int)
    mean = sample * marked / rows
    scale = np.sqrt(np.maximum(mean * (1 - marked / rows) * (1 - sample / rows), 0.1))
    x = np.round(mean + spread * rng.standard_normal(count) * scale).astype(int)
    return x, rows, marked, sample


@pytest.mark.parametrize("spread", [1.0, 4.0, 12.0])
def test_cdf_agrees_with_scipy(spread: float) -> None:
    x, rows, marked, sample = cases(int(spread), 7000, 1e6, spread)
    ours, theirs = (
        hypergeometric_cdf(x, rows, marked, sample),
        hypergeom.cdf(x, rows, marked, sample),
    )
    np.testing.assert_allclose(ours, theirs, rtol=3e-8, atol=1e-280)


def test_cdf_in_tails_where_a_term_underflows() -> None:
    # pmf(0) underflows here: a sum that starts from it would say 0 where the answer is 1.
    assert hypergeometric_cdf(4000, 10**6, 5000, 500_000)[0] == 1.0
    assert hypergeometric_cdf(10, 10**6, 500_000, 500_000)[0] == 0.0
    assert hypergeometric_cdf([-1, 0, 5, 6], 10, 5, 10).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert hypergeometric_cdf(0, 7, 0, 3)[0] == 1.0


def test_rounded_up_cdf_is_never_below_the_exact_one() -> None:
    x, rows, marked, sample = cases(5, 1500, 600, 3.0)
    above = _cdf(x, rows, marked, sample)[1]
    for i, high in enumerate(above):
        exact = exact_cdf(int(x[i]), int(rows[i]), int(marked[i]), int(sample[i]))
        assert Fraction(float(high)) >= exact
        assert high <= float(exact) * (1 + 1e-7) + 1e-7


@pytest.mark.parametrize(
    ("target", "exact"),
    [
        (0.9, Fraction(1, 10)),
        (0.1, Fraction(9, 10)),
        (0.95, Fraction(5, 100)),
        (0.7, Fraction(3, 10)),
        (0.999, Fraction(1, 1000)),
        (1.0, Fraction(0)),
    ],
)
def test_share_reads_the_decimal_that_was_written(target: float, exact: Fraction) -> None:
    share = Share.beyond(target)
    for count in (*range(2000), 10**6, 10**9):
        assert share.of(count) == int(exact * count)


def test_share_rounds_a_long_target_up() -> None:
    share = Share.beyond(2 / 3)
    assert Fraction(share.per_billion, 10**9) <= 1 - Fraction(2 / 3)
    assert share.of(3) == 0  # a third rounded down: the safe side
    for wrong in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="target must be in"):
            Share.beyond(wrong)


@given(target=st.sampled_from(TARGETS), wrong=st.integers(0, 60), count=st.integers(0, 200))
def test_share_arithmetic(target: float, wrong: int, count: int) -> None:
    share = Share.beyond(target)
    rate = Fraction(share.per_billion, 10**9)
    assert share.allows(wrong, count) == (wrong <= rate * count)
    more = share.room(wrong, count)
    if more:
        assert share.allows(wrong + more, count + more)
    assert not share.allows(wrong + more + 1, count + more + 1)


@pytest.mark.parametrize("level", [0.05, 0.3])
def test_marked_upper_by_enumeration(level: float) -> None:
    for rows in range(1, 13):
        for sample in range(rows + 1):
            bounds = [marked_upper(rows, sample, x, level) for x in range(sample + 1)]
            for marked in range(rows + 1):
                chance = sum(
                    Fraction(comb(marked, x) * comb(rows - marked, sample - x), comb(rows, sample))
                    for x in range(min(marked, sample) + 1)
                    if sample - x <= rows - marked and bounds[x] < marked
                )
                assert chance <= Fraction(level)


def test_marked_upper_is_the_definition() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        rows = int(rng.integers(1, 3000))
        sample = int(rng.integers(0, rows))
        found = int(rng.integers(0, max(1, sample // 5) + 1)) if sample else 0
        level = float(rng.choice([0.0025, 0.05, 0.4]))
        bound = marked_upper(rows, sample, found, level)
        assert hypergeom.cdf(found, rows, bound, sample) > level * (1 - 1e-6)
        if bound < rows - sample + found:
            assert hypergeom.cdf(found, rows, bound + 1, sample) <= level * (1 + 1e-6)


def failure(p: int, found: int, cut: int, missed: int) -> Fraction:
    """P(more than `missed` of p positives fall below the cut), given `found` sampled ones."""
    if cut >= found:
        return Fraction(p - found > missed)
    if cut < 0:
        return Fraction(0)
    # t = place from below of the (cut + 1)-th lowest sampled positive.
    ways = sum(
        comb(t - 1, cut) * comb(p - t, found - cut - 1)
        for t in range(1, p + 1)
        if t - 1 - cut > missed
    )
    return Fraction(ways, comb(p, found))


def chance_of_failure(rows: int, sample: int, p: int, missed: int, cuts: list[int]) -> Fraction:
    total = Fraction(0)
    for found in range(max(0, sample - rows + p), min(sample, p) + 1):
        ways = comb(p, found) * comb(rows - p, sample - found)
        total += Fraction(ways, comb(rows, sample)) * failure(p, found, cuts[found], missed)
    return total


@pytest.mark.parametrize(
    ("rows", "level"),
    [
        *product((3, 7, 12), (0.05, 0.2, 0.5)),
        (30, 0.1),
        pytest.param(70, 0.2, marks=pytest.mark.full),
    ],
)
def test_recall_tests_by_exact_failure_probability(rows: int, level: float) -> None:
    some = 0
    for sample in sorted({*range(0, rows + 1, max(1, rows // 12)), rows - 1, rows}):
        for known, target in product((0, 1, 7, 30), (0.5, 0.75, 0.9, 1.0)):
            share = Share.beyond(target)
            ratio = [ratio_cut(rows, sample, x, known, share, level).cut for x in range(sample + 1)]
            fixed = [fixed_cut(rows, sample, known, share, level)] * (sample + 1)
            some += sum(c >= 0 for c in ratio) + (fixed[0] >= 0)
            for p in range(rows + 1):
                missed = int((1 - Fraction(repr(target))) * (known + p))
                for cuts in (ratio, fixed):
                    assert chance_of_failure(rows, sample, p, missed, cuts) <= Fraction(level)
    assert some > 0


@pytest.mark.parametrize("rows", [5, 6, pytest.param(8, marks=pytest.mark.full)])
def test_recall_tests_by_enumerating_labels_and_samples(rows: int) -> None:
    """No lemma at all: every label pattern, every sample, recall counted on the rows."""
    targets, level = (0.4, 0.6, 0.8), 0.4
    bits = np.array(list(product((False, True), repeat=rows)))
    for sample, known, target in product(range(1, rows), (0, 3), targets):
        samples = bits[bits.sum(1) == sample]
        share = Share.beyond(target)
        ratio = [ratio_cut(rows, sample, x, known, share, level).cut for x in range(sample + 1)]
        fixed = [fixed_cut(rows, sample, known, share, level)] * (sample + 1)
        for truth in bits:
            fails = np.zeros(2)
            for drawn in samples:
                seen = np.flatnonzero(truth & drawn)  # ranks, best first
                for which, cuts in enumerate((ratio, fixed)):
                    cut = cuts[len(seen)]
                    end = rows if cut < 0 else 0 if cut >= len(seen) else seen[-1 - cut] + 1
                    kept = known + np.count_nonzero(truth & (drawn | (np.arange(rows) < end)))
                    fails[which] += kept < Fraction(repr(target)) * (known + truth.sum())
            assert (fails <= level * len(samples)).all()


def first_beyond(share: Share, cut: int, known: int) -> int:
    """Return the fewest positives of which more than `cut` may not be left out."""
    return next(p for p in itertools.count() if p - share.of(known + p) > cut)


def test_fixed_cut_needs_every_smaller_cut_to_be_safe() -> None:
    """A cut may pass its own test while a smaller one, which stands for fewer positives, fails."""
    found = 0
    for rows, known, target in product(range(12, 60, 4), (0, 5, 9), (0.5, 0.75)):
        share = Share.beyond(target)
        for sample in range(rows // 2, rows, 3):
            chance = [
                hypergeom.cdf(c, rows, min(rows, first_beyond(share, c, known)), sample)
                for c in range(sample)
                if first_beyond(share, c, known) <= rows
            ]
            cut = fixed_cut(rows, sample, known, share, 0.2)
            assert all(c <= 0.2 * (1 + 1e-6) for c in chance[: cut + 1])
            found += any(c <= 0.2 * (1 - 1e-6) for c in chance[cut + 2 :])
    assert found > 0


counts = st.tuples(st.integers(2, 3000), st.floats(0.01, 0.99), st.floats(0, 1), st.integers(0, 50))


@settings(deadline=None, max_examples=60)
@given(counts=counts, target=st.sampled_from((0.5, 0.8, 0.9)), level=st.floats(0.01, 0.4))
def test_cuts_are_monotone(
    counts: tuple[int, float, float, int], target: float, level: float
) -> None:
    rows, rate, share_found, known = counts
    sample = int(rate * rows)
    found = int(share_found * sample)
    share, stricter = Share.beyond(target), Share.beyond(target + 0.1)
    base = ratio_cut(rows, sample, found, known, share, level)
    assert ratio_cut(rows, sample, found, known, share, level / 2).cut <= base.cut
    assert ratio_cut(rows, sample, found, known, stricter, level).cut <= base.cut
    assert ratio_cut(rows, sample, found, known + 5, share, level).cut >= base.cut
    fixed = fixed_cut(rows, sample, known, share, level)
    assert fixed_cut(rows, sample, known, share, level / 2) <= fixed
    assert fixed_cut(rows, min(rows, sample + 1), known, share, level) >= fixed
    assert marked_upper(rows, sample, found, level / 2) >= marked_upper(rows, sample, found, level)


def test_all_plateaus_are_checked_against_scipy() -> None:
    """The chosen cut passes at every p up to the bound, and the next one fails somewhere."""
    rng = np.random.default_rng(4)
    for _ in range(60):
        rows = int(rng.integers(50, 4000))
        sample = int(rng.integers(rows // 20 + 1, rows))
        found, known = int(rng.integers(1, 1 + sample // 3)), int(rng.integers(0, 40))
        share, level = Share.beyond(float(rng.choice([0.6, 0.8, 0.9, 0.95]))), 0.05
        cut = ratio_cut(rows, sample, found, known, share, level)
        p = np.arange(found, cut.bound + 1)
        missed = np.array([share.of(known + int(q)) for q in p])
        for c, expected in ((cut.cut, True), (cut.cut + 1, False)):
            if c < 0 or c >= found:
                continue
            lowest = c + missed + 1
            real = lowest <= p
            worst = hypergeom.cdf(c, p[real], lowest[real], found).max(initial=0.0)
            assert (worst <= 0.95 * level * (1 + 1e-6)) == expected
