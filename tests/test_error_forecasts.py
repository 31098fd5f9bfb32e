"""Forecasts of the labels that an error target takes, held against what is bought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit, logit

from thresher.sampling import (
    Column,
    CountedValues,
    ErrorTarget,
    LabelForecast,
    Measure,
    estimate_aggregates,
)
from thresher.sampling.error_forecasts import forecast_error_labels

Floats = npt.NDArray[np.float64]
N_ROWS = 10_000


@dataclass
class World:
    """Rows with scores, their truths and values, and what is asked of them."""

    scores: Floats
    truth: npt.NDArray[np.bool_]
    value: Floats
    measure: Measure
    error: ErrorTarget
    ends: tuple[float, float] | None = None
    n_groups: int = 1

    def __post_init__(self) -> None:
        self.groups = np.random.default_rng(5).integers(0, self.n_groups, len(self.scores))
        low, high = (self.value, self.value) if self.ends is None else self.ends
        self.column = Column(low, high)

    def forecast(self, known: npt.NDArray[np.integer] | None = None) -> LabelForecast:
        found = forecast_error_labels(
            self.scores, [self.column], [self.measure], delta=0.05, error=self.error,
            rng=np.random.default_rng(0), groups=self.groups, n_groups=self.n_groups, known=known,
        )  # fmt: skip
        assert found is not None
        return found

    def bought(self, seed: int) -> int:
        values = np.where(self.truth, self.value, np.nan)
        source = CountedValues(lambda rows: values[rows], len(values))
        estimate_aggregates(
            self.scores, source, [self.column], [self.measure], delta=0.05, error=self.error,
            rng=np.random.default_rng(seed), groups=self.groups, n_groups=self.n_groups,
        )  # fmt: skip
        return source.spent


def world(name: str, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.02, 1.5, N_ROWS) if name == "rare" else rng.beta(0.3, 2, N_ROWS)
    value, measure, ends, n_groups = np.ones(N_ROWS), Measure("count", 0), None, 1
    error, chance = ErrorTarget(0.15 if name == "rare" else 0.1, relative=True), scores
    odds = logit(np.clip(scores, 1e-6, 1 - 1e-6))
    match name:
        case "weak":
            chance = expit(0.4 * odds - 0.8)
        case "useless":
            scores, chance = rng.random(N_ROWS), np.full(N_ROWS, 0.2)
        case "sum" | "mean":
            value, measure = rng.gamma(2, 10, N_ROWS), Measure(name, 0)
        case "values of the oracle":
            value, measure = np.clip(rng.normal(40, 20, N_ROWS), 0, 100), Measure("sum", 0)
            ends = (0.0, 100.0)
        case "groups" | "many groups":
            n_groups = 4 if name == "groups" else 25
            error = ErrorTarget(0.25 if name == "groups" else 0.5, relative=True)
        case "absolute":
            error = ErrorTarget(0.015 * N_ROWS, relative=False)
    truth = rng.random(N_ROWS) < chance
    return World(scores, truth, value, measure, error, ends, n_groups)


CALIBRATED = (
    "calibrated", "rare", "sum", "mean", "values of the oracle", "groups", "many groups",
    "absolute",
)  # fmt: skip


@pytest.mark.statistical
@pytest.mark.parametrize("name", CALIBRATED)
def test_scores_that_are_probabilities_forecast_within_a_factor_of_two(name: str) -> None:
    one = world(name)
    found, bought = one.forecast(), one.bought(1)
    assert 0.5 < found.expected / bought < 2, (found, bought)
    assert found.low <= found.expected <= found.high <= N_ROWS


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["weak", "useless"])
def test_known_labels_mend_what_the_scores_say_wrong(name: str) -> None:
    one = world(name)
    known = np.full(N_ROWS, -1)
    rows = np.random.default_rng(3).choice(N_ROWS, 200, replace=False)
    known[rows] = one.truth[rows]
    found, bought = one.forecast(known), one.bought(1)
    assert 0.5 < found.expected / bought < 2, (found, bought)
    if name == "useless":
        assert one.forecast().expected < 0.5 * bought  # what it would have been without them


def test_nothing_is_forecast_for_extremes_and_mixed_distances() -> None:
    one = world("sum")
    asked = {"delta": 0.05, "rng": np.random.default_rng(0)}
    relative, absolute = ErrorTarget(0.1, relative=True), ErrorTarget(5.0, relative=False)
    for measures, error in (
        ([Measure("max", 0)], relative),
        ([Measure("sum", 0), Measure("mean", 0)], absolute),
    ):
        assert (
            forecast_error_labels(one.scores, [one.column], measures, error=error, **asked) is None
        )


def test_where_all_is_known_no_label_is_forecast() -> None:
    one = world("calibrated")
    assert one.forecast(one.truth.astype(np.int8)).expected == 0
