"""The planning picture: what it counts, and how much it holds while it does."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.sampling import CountedLabels
from thresher.sampling.ledger import Ledger
from thresher.sampling.picture import make_buckets, make_pictures


def labelled(n: int, seed: int, share: float) -> Ledger:
    """A ledger of falling scores of which a share is labelled."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    known = np.where(rng.random(n) < share, truth, -1).astype(np.int8)
    labels = CountedLabels(lambda rows: truth[rows], budget=0)
    return Ledger(np.linspace(1, 0, n), labels, rng, known)


def check_rows(ledger: Ledger, end: int) -> None:
    """Unlabelled rows above every edge agree with a plain count; none is left below `end`."""
    buckets = make_buckets(ledger, end=end)
    free = np.append(0, np.cumsum(ledger.label < 0))
    expected = free[np.minimum(buckets.edges, end)]
    for picture in make_pictures(ledger, buckets):
        assert np.array_equal(picture.rows, expected)
        assert picture.known == ledger.n_positive
        assert np.all(np.diff(picture.density) <= 1e-12)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 300), st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_rows_of_a_picture_are_counted(n: int, seed: int, share: float, end: float) -> None:
    check_rows(labelled(n, seed, share), max(1, round(end * n)))


@pytest.mark.parametrize("end", [200_000, 131_072, 70_001, 100])
def test_rows_of_a_picture_are_counted_over_many_blocks(end: int) -> None:
    check_rows(labelled(200_000, 1, 0.4), end)


def test_a_bucket_of_labels_has_nearly_their_density() -> None:
    ledger = labelled(400_000, 2, 1.0)
    ledger.label[::50] = -1
    for picture in make_pictures(ledger, make_buckets(ledger)):
        assert np.all(np.abs(picture.density[-20:] - 0.3) < 0.03)


def test_memory_does_not_grow_with_the_labels() -> None:
    ledger = labelled(2_000_000, 3, 0.9)
    buckets = make_buckets(ledger)
    tracemalloc.start()
    make_pictures(ledger, buckets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20
