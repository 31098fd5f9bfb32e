"""A slice of the benchmark's grid, hostile and real, judged by an exact binomial test at 1e-6."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

pytestmark = pytest.mark.statistical

FOLDER = Path(__file__).resolve().parent.parent.parent / "benchmarks"
SURELY = 1e-6
SEED = 5


def module(name: str) -> ModuleType:
    """Load a module of the folder `benchmarks` from its path and nowhere else."""
    if "benchmarks" not in sys.modules:
        spec = importlib.util.spec_from_loader("benchmarks", loader=None, is_package=True)
        assert spec is not None
        package = importlib.util.module_from_spec(spec)
        package.__path__ = [str(FOLDER)]
        sys.modules["benchmarks"] = package
    return importlib.import_module(f"benchmarks.{name}")


baselines = module("baselines")
datasets = module("datasets")
grid = module("grid")
guarantee = module("guarantee")
hostile = module("hostile")
journal = module("journal")
methods = module("methods")

UNLIMITED = ("both", "accuracy")


def measure(data: Any, kind: str, n: int | None, delta: float, trials: int) -> list[Any]:
    """Outcomes of one cell; none may raise or pass its limit."""
    cell = journal.Cell(data.name, "thresher", baselines.Query(kind, n, 0.9, delta))
    outcomes = []
    for index in range(trials):
        trial = guarantee.run_trial(cell, data, index, SEED, 60.0)
        assert trial.error == ""
        assert trial.outcome.n_labels <= (data.n_rows if n is None else n)
        outcomes.append(trial.outcome)
    return outcomes


def check(outcomes: list[Any], delta: float) -> None:
    failures = sum(one.failed for one in outcomes)
    assert failures <= binom.isf(SURELY, len(outcomes), delta)


@pytest.mark.parametrize(
    ("kind", "trials"),
    [
        ("recall", 10),
        ("precision", 10),
        ("both", 1),
        ("both-limited", 1),
        ("count", 2),
        ("accuracy", 3),
        ("sum", 5),
        ("mean", 5),
        ("audit", 3),
    ],
)
def test_hostile_populations(kind: str, trials: int) -> None:
    delta, pooled = 0.2, []
    for name in hostile.RECIPES:
        data = hostile.make(name, 1000)
        if not methods.METHODS[kind, "thresher"].takes(data):
            continue
        n = None if kind in UNLIMITED else (data.budgets or (150,))[0]
        outcomes = measure(data, kind, n, delta, trials)
        check(outcomes, delta)
        pooled += outcomes
    check(pooled, delta)


@pytest.mark.parametrize(("kind", "n", "least"), [("recall", 300, 0.3), ("precision", 300, 0.8)])
def test_answers_on_ties_are_not_vacuous(kind: str, n: int, least: float) -> None:
    outcomes = measure(hostile.make("ties", 2000), kind, n, 0.2, 10)
    assert np.mean([one.utility for one in outcomes]) > least  # the whole table would be 0.1


@pytest.mark.full
@pytest.mark.parametrize("kind", list(methods.KINDS))
@pytest.mark.parametrize("name", sorted(grid.CORE))
def test_one_set_of_each_sort(name: str, kind: str) -> None:
    try:
        data = grid.load(name)
    except datasets.DatasetUnavailableError as reason:
        pytest.skip(str(reason))
    n = None if kind in UNLIMITED else grid.budgets_of(data)[-1]
    trials = 200 if kind in ("recall", "precision") else 25
    for delta in (0.05, 0.2):
        check(measure(data, kind, n, delta, trials), delta)
