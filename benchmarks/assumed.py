"""What the grades that rest on assumptions reach, and how they fail where those are false.

.venv/bin/python -P benchmarks/assumed.py [--trials 100] [--out benchmarks/results/assumed.json]

A set whose name ends in ``_h15`` has 15 % of its positives, chosen at random once, moved to the
bottom of the ranking: their scores are below all others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    # At the end: the folders of the checkout must not hide packages of the same name.
    sys.path.append(str(ROOT))

from benchmarks.datasets import DatasetUnavailableError, load  # noqa: E402
from benchmarks.provenance import machine  # noqa: E402
from thresher.sampling import CountedLabels, select_precision, select_recall  # noqa: E402
from thresher.sampling.calibrated import select_recall_calibrated  # noqa: E402
from thresher.sampling.core_set import (  # noqa: E402
    select_precision_core_set,
    select_recall_core_set,
)
from thresher.sampling.normality import (  # noqa: E402
    select_precision_normal,
    select_recall_normal,
)
from thresher.sampling.proxy_quality import (  # noqa: E402
    select_precision_proxy_quality,
    select_recall_proxy_quality,
)
from thresher.sampling.selection import Selection  # noqa: E402

TARGET, DELTA, SEED, HIDDEN_SEED = 0.9, 0.05, 20_260_401, 15
SETS = ("onto", "tacred", "imagenet", "dress", "beta01_2", "onto_h15", "tacred_h15", "imagenet_h15")
LABELS = {"recall": (500, 1000), "precision": (1000,)}

Data = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]
Select = Callable[..., Selection]


def data_of(name: str) -> Data:
    """Scores and labels of a set, with positives hidden if its name says so."""
    if name.endswith("_h15"):
        return hide(data_of(name.removesuffix("_h15")), 0.15)
    if name == "beta01_2":
        rng = np.random.default_rng(HIDDEN_SEED)
        scores = rng.beta(0.01, 2, 200_000)
        return scores, rng.random(len(scores)) < scores
    found = load(name)
    return found.scores, found.labels


def hide(data: Data, share: float) -> Data:
    """Move a share of the positives below every other row."""
    scores, labels = data[0].copy(), data[1]
    rng = np.random.default_rng(HIDDEN_SEED)
    positive = np.flatnonzero(labels)
    chosen = rng.choice(positive, round(share * len(positive)), replace=False)
    scores[chosen] = float(scores.min()) * rng.random(len(chosen))
    return scores, labels


def core_of(data: Data) -> int:
    """Count the best-ranked positives up to the first whose prefix is too impure."""
    positive = data[1][np.argsort(-data[0], kind="stable")]
    places = np.flatnonzero(positive)
    bad = np.flatnonzero(np.arange(1, len(places) + 1) < TARGET * (places + 1))
    return int(bad[0]) if len(bad) else len(places)


def methods(kind: str, data: Data) -> Iterator[tuple[str, Select, dict[str, Any]]]:
    """Name every way to answer, with what is declared: counts as they truly are."""
    if kind == "recall":
        yield "distribution-free", select_recall, {}
        yield "calibrated tail", select_recall_calibrated, {"within": 10.0}
        yield "proxy quality (PQA .2)", select_recall_proxy_quality, {"sigma": 0.2}
        yield "proxy quality (PQE)", select_recall_proxy_quality, {}
        n_positive = int(data[1].sum())
        yield "core set closure (CSC)", select_recall_core_set, {"n_positive": n_positive}
        yield "core set closure (CSE)", select_recall_core_set, {}
        yield "asymptotic", select_recall_normal, {}
    else:
        yield "distribution-free", select_precision, {}
        yield "proxy quality (PQA .2)", select_precision_proxy_quality, {"sigma": 0.2}
        yield "proxy quality (PQE)", select_precision_proxy_quality, {}
        yield "core set closure (CSC)", select_precision_core_set, {"n_core": core_of(data)}
        yield "core set closure (CSE)", select_precision_core_set, {}
        yield "asymptotic", select_precision_normal, {}


def run_cell(
    kind: str,
    data: Data,
    budget: int,
    select: Select,
    declared: Mapping[str, Any],
    n_trials: int,
    cap_s: float,
) -> dict[str, Any]:
    """Repeat one query with seeds 0, 1, ... until the trials or the seconds are spent."""
    scores, truth = data
    found: list[tuple[float, float, int, bool, bool, float]] = []
    begin = time.process_time()
    while len(found) < n_trials and time.process_time() - begin < cap_s:
        labels = CountedLabels(lambda rows: truth[rows], budget)
        rng = np.random.default_rng([SEED, len(found)])
        answer = select(scores, labels, delta=DELTA, rng=rng, **{kind: TARGET}, **declared)
        right = int(np.count_nonzero(answer.returned & truth))
        size = int(np.count_nonzero(answer.returned))
        recall, precision = right / int(truth.sum()), right / size if size else 1.0
        refuted = "refuted" in answer.algorithm
        leans = answer.assumption is not None
        free = np.nan if answer.free_recall is None else answer.free_recall
        found.append((recall, precision, labels.spent, refuted, leans, free))
    recalls, precisions, spent, refuted_, leans_, frees = (
        np.array(column, dtype=np.float64) for column in zip(*found, strict=True)
    )
    failures = int(np.count_nonzero((recalls if kind == "recall" else precisions) < TARGET - 1e-9))
    interval = binomtest(failures, len(found)).proportion_ci(0.95, method="exact")
    known = frees[~np.isnan(frees)]
    return {
        "trials": len(found),
        "recall_mean": float(recalls.mean()),
        "recall_median": float(np.median(recalls)),
        "precision_mean": float(precisions.mean()),
        "precision_median": float(np.median(precisions)),
        "labels_mean": float(spent.mean()),
        "failures": failures,
        "failure_low": float(interval.low),
        "failure_high": float(interval.high),
        "refuted": int(refuted_.sum()),
        "leant": int(leans_.sum()),
        "free_recall_mean": float(known.mean()) if len(known) else None,
        "free_recall_false": int(np.count_nonzero(frees > recalls + 1e-9)),
    }


def line(cell: Mapping[str, Any]) -> str:
    """One line of the table."""
    other = "precision" if cell["kind"] == "recall" else "recall"
    text = f"{cell['set']:13s} {cell['kind']:9s} {cell['labels']:5d} {cell['method']:23s} "
    text += f"{other} {cell[other + '_mean']:.3f} / {cell[other + '_median']:.3f}, "
    text += f"failed {cell['failures']} of {cell['trials']}"
    if cell["refuted"]:
        text += f", refuted {cell['refuted']}"
    if cell["free_recall_mean"] is not None:
        text += f", free recall {cell['free_recall_mean']:.3f}"
    return text


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--cap", type=float, default=8.0, help="CPU seconds a cell may take")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    out = ROOT / "benchmarks" / "results" / "assumed.json"
    parser.add_argument("--out", type=Path, default=out)
    arguments = parser.parse_args(words)
    ran_on, cells = machine(), []
    for name in arguments.sets:
        try:
            data = data_of(name)
        except DatasetUnavailableError as reason:
            print(f"skipped {name}: {reason}", flush=True)
            continue
        for kind, budgets in LABELS.items():
            for budget in budgets:
                for method, select, declared in methods(kind, data):
                    head = {"set": name, "kind": kind, "labels": budget, "method": method}
                    most = arguments.trials, arguments.cap
                    cells.append(head | run_cell(kind, data, budget, select, declared, *most))
                    print(line(cells[-1]), flush=True)
    settings = {"target": TARGET, "delta": DELTA, "seed": SEED, "trials": arguments.trials}
    run = {"machine": ran_on, "settings": settings, "cells": cells}
    arguments.out.write_text(json.dumps(run, indent=1) + "\n")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
