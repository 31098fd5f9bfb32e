"""The other methods: published peers, plain baselines, and the clairvoyant."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks import baselines, clairvoyant
from benchmarks.baselines import CountingOracle, Query, Rows
from benchmarks.datasets import Dataset
from benchmarks.judging import (
    Entry,
    Method,
    Outcome,
    Promise,
    has_scores,
    judge_interval,
    judge_rows,
    limit_of,
)
from benchmarks.versions import version_of
from thresher.sampling.counts import count_limits


def peer(name: str) -> Callable[[Dataset, CountingOracle, Query, int], Outcome]:
    """Run a peer of `baselines` and judge the rows that it returns."""

    def run(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
        returned = baselines.METHODS[name](data.scores, oracle, query, seed)
        return judge_rows(returned, data, query, oracle.n_calls)

    return run


def _uniform_sample(
    data: Dataset, oracle: CountingOracle, query: Query, seed: int
) -> tuple[Rows, npt.NDArray[np.bool_]]:
    rows = np.random.default_rng(seed).choice(data.n_rows, limit_of(query), replace=False)
    return rows, oracle(rows)


def uniform_count(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """Exact hypergeometric limits of a uniform sample: no proxy."""
    _, answers = _uniform_sample(data, oracle, query, seed)
    limits = count_limits([(data.n_rows, len(answers), int(answers.sum()))], query.delta)
    return judge_interval(*limits, data, oracle.n_calls)


def ppi_count(data: Dataset, oracle: CountingOracle, query: Query, seed: int) -> Outcome:
    """PPI++ of the package `ppi-python`: a mean by a uniform sample and the proxy, asymptotic."""
    ppi = importlib.import_module("ppi_py")
    rows, answers = _uniform_sample(data, oracle, query, seed)
    scores = np.nan_to_num(data.scores, nan=0.0)
    rest = np.delete(scores, rows)
    truths = answers.astype(np.float64)
    low, high = ppi.ppi_mean_ci(truths, scores[rows], rest, alpha=query.delta)
    # The interval is for the mean of which the table is a sample; the count is known to be
    # at least what was found, and at most what was not found to be negative.
    found = int(answers.sum())
    least = max(data.n_rows * float(np.squeeze(low)), found)
    most = min(data.n_rows * float(np.squeeze(high)), found + len(rest))
    return judge_interval(least, most, data, oracle.n_calls)


def best_possible(data: Dataset, _oracle: CountingOracle, query: Query, _seed: int) -> Outcome:
    """What whoever knew every label would plan for; nothing is bought and nothing can fail."""
    utility = clairvoyant.plan(data, query)
    return Outcome(False, True, utility, 0)


def entries() -> list[Method]:
    """All peers and baselines whose packages are installed."""
    theirs = version_of(["benchmarks.baselines"], ["bargain"])
    seer = version_of(["benchmarks.clairvoyant"])
    found: list[Method] = [
        Entry(
            "uniform", "count", "finite", version_of(["thresher.sampling.counts"]), uniform_count
        ),
    ]
    for kind in ("recall", "precision", "both"):
        promises: list[tuple[str, Promise]] = [("supg", "asymptotic")]
        if importlib.util.find_spec("BARGAIN") is not None:
            promises.insert(0, ("bargain", "finite"))
        if kind != "both":
            promises.append(("top-n", "none"))
        found += [
            Entry(name, kind, promise, theirs, peer(name), promise == "none", has_scores)
            for name, promise in promises
        ]
        found.append(
            Entry("clairvoyant", kind, "knows the labels", seer, best_possible, deterministic=True)
        )
    if importlib.util.find_spec("ppi_py") is not None:
        version = version_of([], ["ppi-python"])
        found.append(Entry("ppi++", "count", "asymptotic", version, ppi_count, False, has_scores))
    return found
