"""Does the promise hold from outside: seeded queries through the DB-API against known truth.

A table of 10,000 rows with a score column; the oracle is a Python function that keeps a record of
what it is asked. Every answer is judged by the whole truth, and the certificate's count of labels
by the oracle's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from benchmarks.provenance import machine

N_ROWS = 10_000
LIMIT = 1000
TARGET, DELTA = 0.9, 0.05
SURELY = 1e-6
QUERIES = (
    ("recall", 200, f"ORACLE LIMIT {LIMIT} RECALL TARGET {TARGET}"),
    ("precision", 200, f"ORACLE LIMIT {LIMIT} PRECISION TARGET {TARGET}"),
    ("both", 50, f"RECALL TARGET {TARGET} PRECISION TARGET {TARGET}"),
)


@dataclass(slots=True)
class Recorder:
    """An oracle that looks its answers up and remembers the inputs of the current query."""

    truth: npt.NDArray[np.bool_]
    asked: set[int] = field(default_factory=set)
    n_asked: int = 0

    def __call__(self, ids: Sequence[int]) -> list[bool]:
        self.asked.update(ids)
        self.n_asked += len(ids)
        found: list[bool] = self.truth[np.asarray(ids, dtype=np.int64)].tolist()
        return found

    def reset(self) -> None:
        self.asked.clear()
        self.n_asked = 0


def table() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Scores in [0, 1], float64 (N,), and truth: about 8 % positive, the proxy's AUC about .9."""
    rng = np.random.default_rng(11)
    truth = rng.random(N_ROWS) < 0.08
    noise = rng.normal(np.where(truth, 1.8, 0.0), 1.0)
    return 1 / (1 + np.exp(-(noise - 2.5))), truth


def verdict(failures: int, n_queries: int) -> dict[str, float | bool]:
    """Chance of so many failures if delta were kept; `kept` unless that is below one in 10^6."""
    chance = float(binomtest(failures, n_queries, DELTA, alternative="greater").pvalue)
    return {"p_value": chance, "kept": chance >= SURELY}


def judge(
    ids: npt.NDArray[np.int64], kind: str, truth: npt.NDArray[np.bool_]
) -> tuple[float, float, bool]:
    """Recall and precision of the ids returned, and whether a target was missed."""
    hits = int(truth[ids].sum())
    recall = hits / int(truth.sum())
    precision = hits / len(ids) if len(ids) else 1.0
    missed = (kind != "precision" and recall < TARGET - 1e-9) or (
        kind != "recall" and precision < TARGET - 1e-9
    )
    return recall, precision, missed


def one_kind(
    con: Any, recorder: Recorder, kind: str, n_queries: int, clauses: str
) -> dict[str, Any]:
    """Run the seeded queries of one kind."""
    limit = N_ROWS if kind == "both" else LIMIT
    failures = over_limit = miscounted = repeated = unmet = 0
    recalls, precisions, calls = [], [], []
    for seed in range(n_queries):
        recorder.reset()
        sql = f"SELECT id FROM t WHERE is_pos(id) USING score {clauses} SEED {seed}"
        cursor = con.execute(sql)
        ids = cursor.fetch_arrow_table()["id"].to_numpy()
        recall, precision, missed = judge(ids, kind, recorder.truth)
        n_labels = cursor.certificate.n_labels
        failures += missed
        over_limit += n_labels > limit
        miscounted += n_labels != len(recorder.asked)
        repeated += recorder.n_asked != len(recorder.asked)
        unmet += not cursor.certificate.met
        recalls.append(recall)
        precisions.append(precision)
        calls.append(n_labels)
    return {
        "kind": kind,
        "queries": n_queries,
        "oracle_limit": limit,
        "failures": failures,
        **verdict(failures, n_queries),
        "targets_not_certified": unmet,
        "over_limit": over_limit,
        "labels_miscounted": miscounted,
        "inputs_asked_twice": repeated,
        "median_recall": float(np.median(recalls)),
        "median_precision": float(np.median(precisions)),
        "median_labels": float(np.median(calls)),
        "most_labels": max(calls),
    }


def run(out: Path, share: float = 1.0) -> dict[str, Any]:
    """Run all kinds (`share` of the queries) and write `coverage.json`."""
    import pyarrow as pa

    import thresher

    scores, truth = table()
    recorder = Recorder(truth)
    con = thresher.connect(":memory:")
    con.connection.register("rows", pa.table({"id": np.arange(N_ROWS), "score": scores}))
    con.connection.execute("CREATE TABLE t AS SELECT * FROM rows")
    con.create_oracle("is_pos", recorder, args=["BIGINT"], returns="BOOLEAN")
    con.execute("SET thresher_reuse_labels = false")
    results = []
    for kind, n_queries, clauses in QUERIES:
        figures = one_kind(con, recorder, kind, max(5, int(share * n_queries)), clauses)
        results.append(figures)
        print(
            f"{kind}: {figures['failures']} of {figures['queries']} missed a target "
            f"(p = {figures['p_value']:.2g}), labels {figures['median_labels']:.0f}, "
            f"miscounted {figures['labels_miscounted']}, over the limit {figures['over_limit']}",
            flush=True,
        )
    con.close()
    report = {
        "machine": machine(),
        "n_rows": N_ROWS,
        "n_positive": int(truth.sum()),
        "target": TARGET,
        "delta": DELTA,
        "results": results,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "coverage.json").write_text(json.dumps(report, indent=1) + "\n")
    return report
