"""Seeded queries over a table whose truth is known: asked, judged, kept as they end, summed up."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from benchmarks.provenance import ROOT, sources_hash

TARGET, DELTA = 0.9, 0.05
KINDS: Mapping[str, tuple[str, ...]] = {
    "recall": ("recall",),
    "precision": ("precision",),
    "both": ("recall", "precision"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A question: what is asked of which oracle with which targets and proxy.

    Parameters
    ----------
    name : str
        What the oracle says yes to.
    kind : str
        One of `KINDS`.
    proxy : str
        Name for the figures.
    condition, using : str
        SQL: the oracle's call, and the proxy.
    limit : int
        Labels allowed with one target; both together choose for themselves.
    """

    name: str
    kind: str
    proxy: str
    condition: str
    using: str
    limit: int

    @property
    def key(self) -> str:
        return f"{self.name}/{self.kind}/{self.proxy}/{self.limit}"

    def sql(self, seed: int) -> str:
        targets = " ".join(f"{kind.upper()} TARGET {TARGET}" for kind in KINDS[self.kind])
        limit = f" ORACLE LIMIT {self.limit}" if len(KINDS[self.kind]) == 1 else ""
        return (
            f"SELECT place FROM items WHERE {self.condition} USING {self.using} {targets}"
            f" WITH PROBABILITY {1 - DELTA}{limit} SEED {seed}"
        )


class Runs:
    """Records of queries by cell and seed, read from a file and appended to it at once.

    Only those count whose stamp is the same: that of the code, and what else the caller names.
    """

    def __init__(self, path: Path, *facts: object) -> None:
        folders = ("engine", "sampling", "sql", "oracles", "benchmarks")
        hashes = [sources_hash(ROOT / folder) for folder in folders[:4]]
        self._path, self._stamp = path, json.dumps([*hashes, *facts])
        self._found: dict[tuple[str, int], dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text().splitlines() if path.is_file() else []:
            entry = json.loads(line) if line.endswith("}") else {"stamp": ""}
            if entry["stamp"] == self._stamp:
                self._found[entry["cell"], entry["seed"]] = entry["record"]

    def has(self, cell: Cell, seed: int) -> bool:
        return (cell.key, seed) in self._found

    def add(self, cell: Cell, seed: int, record: dict[str, Any]) -> None:
        self._found[cell.key, seed] = record
        entry = {"cell": cell.key, "seed": seed, "record": record, "stamp": self._stamp}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def of(self, cell: Cell) -> list[dict[str, Any]]:
        """The records of a cell, in the order of their seeds."""
        held = [(seed, record) for (key, seed), record in self._found.items() if key == cell.key]
        return [record for _, record in sorted(held, key=lambda pair: pair[0])]


def ask(con: Any, cell: Cell, seed: int, truth: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Run one query, whose rows are places in `truth`, and judge it by the whole truth."""
    begun = time.perf_counter()
    cursor = con.execute(cell.sql(seed))
    rows = np.array([row[0] for row in cursor.fetchall()], dtype=np.int64)
    took = time.perf_counter() - begun
    hits, positives = int(truth[rows].sum()), int(truth.sum())
    share = {
        "recall": hits / positives if positives else 1.0,
        "precision": hits / len(rows) if len(rows) else 1.0,
    }
    certificate = cursor.certificate
    return {
        **share,
        "n_returned": len(rows),
        "n_labels": certificate.n_labels,
        "n_fitting": sum(s.n_rows for s in certificate.stages if s.stage == "fit"),
        "met": certificate.met,
        # An answer that says it falls short of a target has not promised it.
        "missed": certificate.met and any(share[kind] < TARGET for kind in KINDS[cell.kind]),
        "seconds": round(took, 3),
    }


def summary(cell: Cell, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians, least and most of a cell's runs, and the test of its misses against delta."""
    missed = sum(record["missed"] for record in records)
    found: dict[str, Any] = {"items": cell.name, "kind": cell.kind, "proxy": cell.proxy}
    found["limit"] = cell.limit if len(KINDS[cell.kind]) == 1 else None
    found["n_seeds"] = len(records)
    for name in ("recall", "precision", "n_labels"):
        values = [record[name] for record in records]
        spread = {"median": float(np.median(values)), "low": min(values), "high": max(values)}
        found[name] = {key: round(value, 4) for key, value in spread.items()}
    for name in ("n_fitting", "seconds"):
        found[f"{name}_median"] = float(np.median([record[name] for record in records]))
    said_short = sum(not record["met"] for record in records)
    return found | {"said_short": said_short, "missed": missed, **test(missed, len(records))}


def test(missed: int, n_runs: int) -> dict[str, float]:
    """The chance of so many misses or more if each had probability delta (exact binomial)."""
    p_value = binomtest(missed, n_runs, DELTA, alternative="greater").pvalue
    return {"missed_share": round(missed / n_runs, 4), "p_value": float(p_value)}


def line(found: Mapping[str, Any]) -> str:
    """A cell for the terminal."""
    labels = found["n_labels"]
    return (
        f"{found['items']:8} {found['kind']:9} {found['proxy']:7} recall"
        f" {found['recall']['median']:.3f}, precision {found['precision']['median']:.3f},"
        f" {labels['median']:,.0f} labels ({labels['low']:,.0f} to {labels['high']:,.0f}),"
        f" missed {found['missed']} of {found['n_seeds']}; {found['seconds_median']:.1f} s"
    )
