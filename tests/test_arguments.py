"""Arrays and generators that do not fit: every procedure says which value is wrong, and the fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from thresher import sampling
from thresher.sampling import Column, CountedLabels, CountedValues, Measure

N = 600
SCORES = np.random.default_rng(3).random(N)
TRUTH = np.random.default_rng(4).random(N) < SCORES
Call = Callable[..., object]


def labels() -> CountedLabels:
    return CountedLabels(lambda rows: TRUTH[rows], budget=100)


class Numbers:
    remaining = 50

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return SCORES[rows]


def of_scores(name: str, **more: Any) -> Call:
    function = getattr(sampling, name)
    return lambda **given: function(SCORES, labels(), delta=0.05, **more, **given)


CALLS: dict[str, Call] = {
    "recall": of_scores("select_recall", recall=0.8),
    "precision": of_scores("select_precision", precision=0.8),
    "joint": of_scores("select_joint", recall=0.8, precision=0.8),
    "calibrated": of_scores("select_recall_calibrated", recall=0.8),
    "core set": of_scores("select_recall_core_set", recall=0.8),
    "core set, precision": of_scores("select_precision_core_set", precision=0.8),
    "normal": of_scores("select_recall_normal", recall=0.8),
    "count": of_scores("estimate_count"),
    "audit": lambda **given: sampling.audit_selection(
        SCORES > 0.5, labels(), delta=0.05, recall=0.8, **given
    ),
    "audit of a count": lambda **given: sampling.audit_count(
        10, 20, SCORES, labels(), delta=0.05, **given
    ),
}
WRONG_KNOWN = [
    (TRUTH, r"known must be an integer array .* got bool\. Write np\.where"),
    (np.full(N, -1.0), "known must be an integer array .* got float64"),
    (np.where(TRUTH, 7, -1), r"known must hold 1, 0 and -1 \(unknown\) only, got 7 at row"),
    (np.full(N, -2, dtype=np.int8), "got -2 at row 0"),
    (np.full(N - 1, -1, dtype=np.int8), r"known must have shape \(600,\), got \(599,\)"),
]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("known", "message"), WRONG_KNOWN)
def test_wrong_labels_known_before(name: str, known: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CALLS[name](rng=np.random.default_rng(0), known=known)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("rng", [0, None, np.random.RandomState(1)])
def test_a_seed_is_no_generator(name: str, rng: object) -> None:
    with pytest.raises(ValueError, match=r"rng must be a numpy.random.Generator, got .* Write np"):
        CALLS[name](rng=rng)


def test_an_audit_of_a_mean_needs_a_generator() -> None:
    with pytest.raises(ValueError, match=r"Write np\.random\.default_rng\(5\)"):
        sampling.audit_mean(
            0.1, 0.9, Numbers(), n_rows=N, value_range=(0.0, 1.0), delta=0.05, rng=5
        )  # type: ignore[arg-type]


def test_labels_known_before_may_be_a_list() -> None:
    known = [1, *[-1] * (N - 1)]
    found = sampling.select_recall(
        SCORES, labels(), recall=0.8, delta=0.05, rng=np.random.default_rng(0), known=known
    )  # type: ignore[arg-type]
    assert found.returned[0]


def test_a_measure_of_no_kind() -> None:
    with pytest.raises(ValueError, match=r'got \'avg\'\. Write "mean"\.'):
        Measure("avg", 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count, sum, mean, ratio, quantile, min, max, got 'mode'"):
        Measure("mode", 0)  # type: ignore[arg-type]


def test_the_arrays_of_a_column_are_of_one_length() -> None:
    Column(0.0, np.ones(3), np.zeros(3))
    for column in (
        (np.zeros(3), np.ones(4)),
        (0.0, 1.0, np.ones((2, 2))),
        (np.zeros(3), 1.0, np.ones(2)),
    ):
        with pytest.raises(ValueError, match="one value a row, got shapes low"):
            Column(*column)


def test_a_column_of_another_length_than_the_scores() -> None:
    source = CountedValues(lambda rows: SCORES[rows], 50)
    with pytest.raises(ValueError, match="shape"):
        sampling.estimate_aggregates(
            SCORES, source, [Column(np.zeros(7), np.ones(7))], [Measure("mean", 0)],
            delta=0.05, rng=np.random.default_rng(0),
        )  # fmt: skip
