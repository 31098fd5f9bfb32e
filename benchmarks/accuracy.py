"""Labels bought for an accuracy target: thresher beside BARGAIN_A of `bargain` 0.1.3.

.venv/bin/python -P benchmarks/accuracy.py [--trials 100] [--out benchmarks/results/accuracy.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    # At the end: the folders of the checkout must not hide packages of the same name.
    sys.path.append(str(ROOT))

from benchmarks.datasets import SHUFFLE_SEED, data_folder  # noqa: E402
from benchmarks.provenance import machine  # noqa: E402
from benchmarks.trials import exact_interval  # noqa: E402

TARGETS = (0.9, 0.95, 0.8)
DELTA = 0.05
HOSTILE_ROWS = 5000
ROUNDING = 1e-9

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Table:
    """Predictions and truth as class codes, and the proxy's confidence: each of shape (N,)."""

    predictions: Codes
    confidence: npt.NDArray[np.float64]
    truth: Codes
    origin: str

    def shuffled(self) -> Table:
        """Return the rows in an order that does not follow the file's."""
        order = np.random.default_rng(SHUFFLE_SEED).permutation(len(self.truth))
        return Table(
            self.predictions[order].astype(np.int64),
            np.ascontiguousarray(self.confidence[order], dtype=np.float64),
            self.truth[order].astype(np.int64),
            self.origin,
        )


def _columns(file: str, *names: str) -> list[Any]:
    table = pq.read_table(data_folder() / file, columns=list(names) or None)
    chosen = names or [n for n in table.column_names if "proxy_p_" in n or n == "oracle_class"]
    return [table[name].to_numpy() for name in chosen] + ([] if names else [chosen])


def _fashion() -> Table:
    *columns, names = _columns("fashion_mnist_test_scored.parquet")
    values = dict(zip(names, columns, strict=True))
    oracle = values.pop("oracle_class")
    classes = [name.removeprefix("proxy_p_") for name in values]
    shares = np.stack(list(values.values()), axis=1)
    codes = {name: code for code, name in enumerate(classes)}
    truth = np.array([codes[name] for name in oracle])
    return Table(
        shares.argmax(1),
        shares.max(1),
        truth,
        "Fashion-MNIST, 10 classes; oracle: small CNN, proxy: linear",
    )


def _binary(file: str, truth: str, score: str, half: float, origin: str) -> Table:
    labels, scores, trained = _columns(file, truth, score, "in_proxy_train")
    keep = ~trained.astype(bool)
    scores = scores[keep].astype(np.float64)
    says = scores > half
    confidence = np.maximum(scores, 1 - scores) if half else np.abs(scores)
    return Table(says, confidence, labels[keep].astype(bool), origin)


def _hostile(name: str) -> Table:
    """Five classes; the proxy is right with a chance equal to its confidence, except as named."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    n = HOSTILE_ROWS
    truth, confidence = rng.integers(0, 5, n), rng.beta(5, 1, n)
    right = rng.random(n) < confidence
    if name == "inverted":
        confidence = 1 - confidence
    elif name == "constant":
        confidence = np.full(n, 0.5)
    elif name == "clump":
        right &= confidence < np.quantile(confidence, 0.92)
    elif name == "all right":
        right[:] = True
    elif name == "all wrong":
        right[:] = False
    elif name == "ties":
        confidence = np.round(3 * confidence) / 3
    return Table(np.where(right, truth, (truth + 1) % 5), confidence, truth, f"synthetic: {name}")


HOSTILE = ("inverted", "constant", "clump", "all right", "all wrong", "ties")
LOADERS: dict[str, Callable[[], Table]] = {
    "fashion": _fashion,
    "sms": lambda: _binary(
        "sms_spam.parquet", "is_spam", "proxy_tfidf200", 0.5, "UCI SMS spam; TF-IDF proxy"
    ),
    "movie": lambda: _binary(
        "movie_smollm2_vader.parquet",
        "oracle_positive",
        "vader",
        0.0,
        "movie snippets; oracle: SmolLM2, proxy: VADER",
    ),
    "routing": lambda: _binary(
        "routing_gsm8k_mmlu_mixtral_gpt4.parquet",
        "weak_correct",
        "router_p_weak_correct",
        0.5,
        "is Mixtral right on GSM8K and MMLU; proxy: router",
    ),
} | {name: lambda name=name: _hostile(name) for name in HOSTILE}  # type: ignore[misc]


class Asked:
    """The oracle's codes, with a record of which rows were asked (a row is paid for once)."""

    def __init__(self, truth: Codes) -> None:
        self._truth = truth
        self.rows = np.zeros(len(truth), dtype=np.bool_)

    def __call__(self, rows: Codes) -> Codes:
        self.rows[rows] = True
        return self._truth[rows]


def thresher(table: Table, oracle: Asked, target: float, seed: int) -> Codes:
    """Labels of `select_accuracy`."""
    from thresher.sampling.accuracy import select_accuracy
    from thresher.sampling.labelling import CountedClasses

    labels = CountedClasses(oracle, len(table.truth))
    rng = np.random.default_rng(seed)
    return select_accuracy(
        table.predictions, table.confidence, labels, accuracy=target, delta=DELTA, rng=rng
    ).labels


def bargain(table: Table, oracle: Asked, target: float, seed: int) -> Codes:
    """Labels of BARGAIN_A with its defaults (M = 20), its model calls replaced by look-ups."""
    import BARGAIN

    class Proxy(BARGAIN.Proxy):  # type: ignore[misc]
        def get_preds_and_scores(self, rows: Any, _records: Any) -> tuple[Any, Any]:
            rows = np.asarray(rows, dtype=np.int64)
            return table.predictions[rows], table.confidence[rows]

    class Oracle(BARGAIN.Oracle):  # type: ignore[misc]
        def get_pred(self, records: Any, _rows: Any = None) -> Any:
            return oracle(np.asarray(records, dtype=np.int64))

        def is_answer_correct(self, rows: Any, _records: Any, predictions: Any) -> Any:
            return oracle(np.asarray(rows, dtype=np.int64)) == predictions

    process = BARGAIN.BARGAIN_A(
        Proxy(verbose=False),
        Oracle(verbose=False),
        target=target,
        delta=DELTA,
        verbose=False,
        seed=seed % 2**32,
    )
    return np.asarray(process.process(np.arange(len(table.truth))), dtype=np.int64)


METHODS = {"thresher": thresher, "bargain": bargain}


def run_cell(name: str, table: Table, target: float, method: str, trials: int, cap_s: float) -> Any:
    """Run the seeded trials of one cell, as many as fit into its time, and sum them up."""
    bought, failed, begin = [], 0, time.perf_counter()
    for trial in range(trials):
        key = [zlib.crc32(f"{name}/{target}/{method}".encode()), trial]
        oracle = Asked(table.truth)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seed = int(np.random.SeedSequence(key).generate_state(1)[0])
            labels = METHODS[method](table, oracle, target, seed)
        bought.append(int(oracle.rows.sum()))
        failed += float((labels == table.truth).mean()) < target - ROUNDING
        if time.perf_counter() - begin > cap_s:
            break
    low, high = exact_interval(failed, len(bought))
    return {
        "dataset": name,
        "target": target,
        "method": method,
        "trials": len(bought),
        "labels_mean": float(np.mean(bought)),
        "labels_median": float(np.median(bought)),
        "labels_q10": float(np.quantile(bought, 0.1)),
        "labels_q90": float(np.quantile(bought, 0.9)),
        "failures": failed,
        "failure_low": low,
        "failure_high": high,
        "ms_a_trial": round(1e3 * (time.perf_counter() - begin) / len(bought), 1),
    }


def compare(names: list[str], trials: int, cap_s: float) -> dict[str, Any]:
    """Run all cells and print a table."""
    tables, cells = {}, []
    header = f"{'data':10} {'target':>6} {'rows':>6} {'wrong':>6}"
    sys.stdout.write(header + "".join(f"   {m}: mean, median, failures" for m in METHODS) + "\n")
    for name in names:
        try:
            table = LOADERS[name]().shuffled()
        except FileNotFoundError as missing:
            sys.stdout.write(f"{name}: left out, {missing}\n")
            continue
        wrong = int((table.predictions != table.truth).sum())
        tables[name] = {"rows": len(table.truth), "wrong": wrong, "origin": table.origin}
        for target in TARGETS:
            line = f"{name:10} {target:6.2f} {len(table.truth):6d} {wrong:6d}"
            for method in METHODS:
                cell = run_cell(name, table, target, method, trials, cap_s)
                cells.append(cell)
                line += f"   {cell['labels_mean']:8.0f} {cell['labels_median']:8.0f}"
                line += f" {cell['failures']:4d}/{cell['trials']}"
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return {"machine": machine(), "delta": DELTA, "tables": tables, "cells": cells}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--cap", type=float, default=60.0, help="seconds a cell may take")
    parser.add_argument("--data", nargs="*", choices=sorted(LOADERS), default=list(LOADERS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = compare(options.data, options.trials, options.cap)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
