"""Walks against walks that see every label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.sampling import Walk


def greedy(
    order: list[int], truth: np.ndarray, wanted: int, places: np.ndarray | None, gap: float
) -> list[int]:
    """Rows taken where every label is known."""
    taken: list[int] = []
    for row in order:
        far = places is None or (
            np.isfinite(places[row]) and all(abs(places[row] - places[t]) >= gap for t in taken)
        )
        if len(taken) < wanted and truth[row] and far:
            taken.append(row)
    return taken


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], np.ndarray, np.ndarray, int, np.ndarray | None]:
    n = draw(st.integers(0, 30))
    order = draw(st.permutations(range(n)))
    truth = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
    seen = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
    known = np.where(seen, truth, -1).astype(np.int8)
    places = None
    if draw(st.booleans()):
        some = st.one_of(
            st.integers(0, 12).map(lambda i: i / 10), st.sampled_from([np.nan, np.inf, -np.inf])
        )
        places = np.array(draw(st.lists(some, min_size=n, max_size=n)), dtype=np.float64)
    return order, truth, known, draw(st.integers(0, 8)), places


@given(cases(), st.integers(1, 9), st.sampled_from([0.1, 0.2, 0.3, 1.0]))
def test_a_walk_takes_the_rows_that_it_would_take_if_all_were_labelled(
    case: tuple[list[int], np.ndarray, np.ndarray, int, np.ndarray | None], size: int, gap: float
) -> None:
    order, truth, known, wanted, places = case
    walk = Walk(np.array(order, dtype=np.int64), known, wanted, places, gap)
    asked: list[int] = []
    while len(rows := walk.batch(size)):
        assert len(rows) <= size
        assert (walk.known[rows] < 0).all()
        asked += rows.tolist()
        walk.learn(rows, truth[rows])
    assert len(asked) == len(set(asked))
    assert walk.found.tolist() == greedy(order, truth, wanted, places, gap)
    assert walk.complete or walk.exhausted
    if walk.complete and size == 1 and len(asked):
        last = order.index(int(walk.found[-1]))
        assert all(order.index(row) <= last for row in asked)


def test_rows_too_near_to_one_that_was_taken_are_never_labelled() -> None:
    n, truth = 1000, np.ones(1000, dtype=np.bool_)
    walk = Walk(np.arange(n), np.full(n, -1, dtype=np.int8), 10, np.arange(n) / 1.0, 100.0)
    n_asked = 0
    while len(rows := walk.batch(50)):
        n_asked += len(rows)
        walk.learn(rows, truth[rows])
    assert walk.found.tolist() == list(range(0, 1000, 100))
    assert n_asked == 10


def test_another_order_keeps_what_was_taken() -> None:
    walk = Walk(np.arange(6), np.array([1, -1, -1, -1, -1, 1], dtype=np.int8), 3)
    assert walk.found.tolist() == [0]
    walk.reorder(np.arange(6)[::-1])
    assert walk.found.tolist() == [0, 5]
    rows = walk.batch(1)
    assert rows.tolist() == [4]
    walk.learn(rows, np.array([True]))
    assert walk.found.tolist() == [0, 5, 4]
    assert walk.complete
    assert not len(walk.batch(3))


@pytest.mark.parametrize(
    ("wanted", "gap", "places"), [(-1, 1.0, None), (1, 0.0, np.zeros(2)), (1, -1.0, np.zeros(2))]
)
def test_wrong_numbers_are_refused(wanted: int, gap: float, places: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="must be"):
        Walk(np.arange(2), np.full(2, -1, dtype=np.int8), wanted, places, gap)
