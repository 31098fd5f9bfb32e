"""Aggregates at equal labels: width and coverage of thresher, the CLT and PPI++.

`python -P benchmarks/aggregates.py --trials 40 --out benchmarks/results/aggregates.json` prints a
table and writes all figures. A width counts only beside its coverage: the intervals of the CLT and
of PPI++ are asymptotic.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from benchmarks.datasets import SHUFFLE_SEED, DatasetUnavailableError, data_folder  # noqa: E402
from benchmarks.provenance import machine  # noqa: E402
from thresher.sampling import (  # noqa: E402
    AggregateEstimate,
    Column,
    CountedValues,
    ErrorTarget,
    Measure,
    estimate_aggregates,
    estimate_aggregates_normal,
)

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
DELTA = 0.05
SIZES = (300, 1000, 3000)
TRAINING_ROWS = 150


@dataclass(frozen=True, slots=True)
class Task:
    """One aggregate over one table.

    `value` is NaN where a row does not count; `low` and `high` are what is known of it beforehand;
    `prediction` is the proxy's of the value (of 1 or 0 for a count), for PPI++ and for columns
    that the oracle gives; `unit` is what widths are shown as a percentage of.
    """

    name: str
    kind: str
    scores: Floats
    value: Floats
    low: Floats | float
    high: Floats | float
    prediction: Floats | None
    unit: float

    @property
    def truth(self) -> float:
        counted = self.value[~np.isnan(self.value)]
        if self.kind == "count":
            return float(len(counted))
        return float(counted.sum() if self.kind == "sum" else counted.mean())

    @property
    def oracle_valued(self) -> bool:
        return bool(np.any(np.asarray(self.low) != np.asarray(self.high)))


def _table(file: str) -> Any:
    path = data_folder() / file
    if not path.is_file():
        raise DatasetUnavailableError(f"no {file} in {data_folder()} (set THRESHER_DATA)")
    return pq.read_table(path)


def counts(name: str) -> list[Task]:
    table = _table(f"supg_{name}.parquet")
    label = table["label"].to_numpy(zero_copy_only=False).astype(bool)
    scores = table["proxy_score"].to_numpy().astype(np.float64)
    value = np.where(label, 1.0, np.nan)
    return [Task(name, "count", scores, value, 1.0, 1.0, None, float(label.sum()))]


def _plain(
    name: str, scores: Floats, label: npt.NDArray[np.bool_], x: Floats, span: float
) -> list[Task]:
    value = np.where(label, x, np.nan)
    total = float(x[label].sum())
    return [
        Task(name, "mean", scores, value, x, x, None, span),
        Task(name, "sum", scores, value, x, x, None, total),
    ]


def spam_length() -> list[Task]:
    """Length of the body of spam; proxy: logistic regression on words, trained on 150 rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    table = _table("spamassassin_emails.parquet")
    bodies = table["body"].to_pylist()
    label = table["is_spam"].to_numpy(zero_copy_only=False).astype(bool)
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(label))
    trained, rest = order[:TRAINING_ROWS], order[TRAINING_ROWS:]
    words = TfidfVectorizer(max_features=2000, sublinear_tf=True).fit_transform(bodies)
    head = LogisticRegression(max_iter=1000).fit(words[trained], label[trained])
    scores = head.predict_proba(words)[rest, 1]
    x = np.array([float(len(body)) for body in bodies])[rest]
    return _plain("spam_len", scores, label[rest], x, 2000.0)


def shirt_pixels() -> list[Task]:
    """Mean pixel of the pictures that the oracle takes for shirts."""
    table = _table("fashion_mnist_test_scored.parquet")
    label = np.array(table["oracle_class"].to_pylist()) == "Shirt"
    x = np.array([np.mean(list(p)) for p in table["pixels"].to_pylist()])
    return _plain("shirt_px", table["proxy_p_Shirt"].to_numpy().astype(float), label, x, 255.0)


def movie_logit() -> list[Task]:
    """Mean logit that SmolLM2 gives to movie snippets, clipped to [-6, 6]: an oracle's value."""
    table = _table("movie_smollm2_vader.parquet")
    held = ~table["in_proxy_train"].to_numpy(zero_copy_only=False).astype(bool)
    value = np.clip(table["smollm2_logit"].to_numpy(), -6.0, 6.0)[held]
    tasks = []
    for proxy in ("proxy_minilm_lr300", "vader"):
        raw = table[proxy].to_numpy().astype(float)[held]
        raw = np.log(np.clip(raw, 1e-3, 1) / np.clip(1 - raw, 1e-3, 1)) if raw.min() >= 0 else raw
        fitted = (raw - raw.mean()) / raw.std()
        name = f"movie_{proxy.split('_')[1] if '_' in proxy else proxy}"
        tasks.append(_ranged(name, value, fitted, -6.0, 6.0))
    return [*tasks, _ranged("movie_none", value, None, -6.0, 6.0)]


def _ranged(name: str, value: Floats, prediction: Floats | None, low: float, high: float) -> Task:
    return Task(name, "mean", np.ones(len(value)), value, low, high, prediction, high - low)


def synthetic() -> list[Task]:
    """An oracle's value in [0, 10] with a prediction of a given R^2, and without one."""
    tasks = []
    for share in (0.0, 0.5, 0.9):
        rng = np.random.default_rng(7)
        known, noise = rng.standard_normal((2, 20_000))
        value = np.clip(5 + 1.2 * (math.sqrt(share) * known + math.sqrt(1 - share) * noise), 0, 10)
        prediction = 5 + 1.2 * math.sqrt(share) * known if share else None
        tasks.append(_ranged(f"synthetic_R2_{share}", value, prediction, 0.0, 10.0))
    return tasks


LOADERS: dict[str, Callable[[], list[Task]]] = {
    "onto": lambda: counts("onto"),
    "tacred": lambda: counts("tacred"),
    "spam_len": spam_length,
    "shirt_px": shirt_pixels,
    "movies": movie_logit,
    "synthetic": synthetic,
}


def thresher(task: Task, n: int, rng: np.random.Generator) -> Interval:
    return _estimated(task, n, rng, estimate_aggregates)


def asymptotic(task: Task, n: int, rng: np.random.Generator) -> Interval:
    """What ``ASSUMING NORMALITY`` gives."""
    return _estimated(task, n, rng, estimate_aggregates_normal)


def _estimated(
    task: Task, n: int, rng: np.random.Generator, procedure: Callable[..., AggregateEstimate]
) -> Interval:
    source = CountedValues(lambda rows: task.value[rows], n)
    prediction = task.prediction if task.oracle_valued else None
    answer = procedure(
        task.scores,
        source,
        [Column(task.low, task.high, prediction)],
        [Measure(task.kind, 0)],  # type: ignore[arg-type]
        delta=DELTA,
        rng=rng,
    ).measures[0]
    return float(answer.low[0]), float(answer.high[0])


def uniform_clt(task: Task, n: int, rng: np.random.Generator) -> Interval:
    """A uniform sample, the normal interval with the finite population factor."""
    total = len(task.value)
    value = task.value[rng.choice(total, n, replace=False)]
    y = (~np.isnan(value)).astype(float)
    u = y if task.kind == "count" else np.nan_to_num(value)
    scale = 1.959964 * math.sqrt((1 - n / total) / n)
    if task.kind == "mean":
        middle = u.sum() / max(y.sum(), 1.0)
        half = scale * float(np.std(u - middle * y, ddof=1)) / max(float(y.mean()), 1e-12)
        return middle - half, middle + half
    middle, half = total * u.mean(), total * scale * float(np.std(u, ddof=1))
    return middle - half, middle + half


def ppi(task: Task, n: int, rng: np.random.Generator) -> Interval:
    """PPI++ of `ppi-python`: `ppi_mean_ci`, power tuning on, on a uniform sample.

    Counts and sums are the mean of what a row contributes, times the rows. A mean over the rows
    that count is no mean of the package; only a mean over all rows is.
    """
    from ppi_py import ppi_mean_ci

    total = len(task.value)
    rows = rng.choice(total, n, replace=False)
    rest = np.setdiff1d(np.arange(total), rows)
    value = np.nan_to_num(task.value)
    if task.oracle_valued:
        guess = task.prediction
    else:
        guess = task.scores * np.broadcast_to(task.low, task.value.shape)
    if guess is None or (task.kind == "mean" and np.isnan(task.value).any()):
        return math.nan, math.nan
    low, high = ppi_mean_ci(value[rows], guess[rows], guess[rest], alpha=DELTA)
    factor = 1.0 if task.kind == "mean" else float(total)
    return float(low[0]) * factor, float(high[0]) * factor


METHODS = {
    "thresher": thresher,
    "asymptotic": asymptotic,
    "uniform CLT": uniform_clt,
    "PPI++": ppi,
}


def measure(task: Task, n: int, trials: int, method: str) -> dict[str, Any]:
    """Coverage, median width and milliseconds of one method."""
    start = time.perf_counter()
    found = [METHODS[method](task, n, np.random.default_rng(seed)) for seed in range(trials)]
    low, high = np.array(found).T
    held = (low <= task.truth) & (task.truth <= high)
    return {
        "task": task.name,
        "aggregate": task.kind,
        "labels": n,
        "method": method,
        "trials": trials,
        "coverage": float(held.mean()) if not np.isnan(low).any() else None,
        "width_percent": float(100 * np.median(high - low) / task.unit),
        "milliseconds": 1000 * (time.perf_counter() - start) / trials,
    }


SEQUENTIAL = {"onto": (0.3, 0.15), "tacred": (0.3, 0.15)}


def until(task: Task, share: float, trials: int) -> dict[str, Any]:
    """Labels that an error target of a share of the count takes."""
    spent, held, rounds = [], 0, []
    for seed in range(trials):
        source = CountedValues(lambda rows: task.value[rows], len(task.value))
        answer = estimate_aggregates(
            task.scores,
            source,
            [Column(task.low, task.high)],
            [Measure("count", 0)],
            delta=DELTA,
            rng=np.random.default_rng(seed),
            error=ErrorTarget(share * task.truth, relative=False),
        )
        spent.append(source.spent)
        rounds.append(len(answer.steps))
        held += bool(answer.measures[0].low[0] <= task.truth <= answer.measures[0].high[0])
    return {
        "task": task.name,
        "error": share,
        "trials": trials,
        "median_labels": float(np.median(spent)),
        "p90_labels": float(np.quantile(spent, 0.9)),
        "median_rounds": float(np.median(rounds)),
        "coverage": held / trials,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--only", nargs="*", default=list(LOADERS), choices=list(LOADERS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--labels", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cells, stops = [], []
    for name in options.only:
        try:
            tasks = LOADERS[name]()
        except DatasetUnavailableError as why:
            print(f"{name}: skipped, {why}")
            continue
        for task in tasks:
            for n in options.labels:
                for method in options.methods:
                    if n >= len(task.value):
                        continue
                    cell = measure(task, n, options.trials, method)
                    cells.append(cell)
                    shown = "-" if cell["coverage"] is None else f"{cell['coverage']:.3f}"
                    print(
                        f"{task.name:18} {task.kind:6} {n:5} {method:12} coverage {shown:6} "
                        f"width {cell['width_percent']:8.2f} %  {cell['milliseconds']:7.1f} ms",
                        flush=True,
                    )
            for share in SEQUENTIAL.get(task.name, ()) if "thresher" in options.methods else ():
                stops.append(until(task, share, max(10, options.trials // 4)))
                print(stops[-1], flush=True)
    if options.out:
        report = {"machine": machine(), "delta": DELTA, "cells": cells, "until": stops}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
