"""What the trials of a measurement come to: cells, p-values and the verdict over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binom

from benchmarks.datasets import Dataset
from benchmarks.journal import Cell, Trial
from benchmarks.methods import METHODS
from benchmarks.trials import exact_interval

Record = Mapping[str, Any]

OURS = "thresher"
FAMILY = 0.05
HALVES = ("tuning", "held-out")


def summarise(cell: Cell, trials: Sequence[Trial], data: Dataset) -> dict[str, Any]:
    """Figures of one cell, as they go into the JSON."""
    method, query = METHODS[cell.query.kind, cell.method], cell.query
    done = [trial.outcome for trial in trials if trial.outcome is not None]
    record: dict[str, Any] = {
        "set": cell.dataset,
        "half": data.half,
        "kind": query.kind,
        "method": cell.method,
        "promise": method.promise,
        "deterministic": method.deterministic,
        "n": query.budget,
        "target": None if query.kind in ("count", "sum", "mean") else query.target,
        "delta": query.delta,
        "trials": len(done),
        "unfinished": len(trials) - len(done),
        "errors": sorted({trial.error for trial in trials if trial.error}),
        "version": method.version,
    }
    if not done:
        return record
    failures = sum(one.failed for one in done)
    low, high = exact_interval(failures, len(done))
    rightly = method.assumes_rightly(data)
    judged = method.promise in ("finite", "asymptotic") and rightly
    labels = [one.n_labels for one in done]
    most = data.n_rows if query.budget is None else query.budget
    return record | {
        "failures": failures,
        "share": failures / len(done),
        "assumption_true": rightly,
        "low": low,
        "high": high,
        "p": p_value(failures, len(done), query.delta) if judged else None,
        "utility": quantiles([one.utility for one in done]),
        "met": sum(one.met for one in done) / len(done),
        "labels": quantiles(labels) | {"max": max(labels)},
        "over": sum(n > most for n in labels),
        "ms": round(1000 * float(np.median([trial.seconds for trial in trials])), 2),
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Mean, median, and the 10 % and 90 % quantiles, to five digits."""
    named = {"q10": 0.1, "median": 0.5, "q90": 0.9}
    found = {name: float(np.quantile(values, q)) for name, q in named.items()}
    return {
        name: float(f"{x:.5g}") for name, x in (found | {"mean": float(np.mean(values))}).items()
    }


def p_value(failures: int, n_trials: int, delta: float) -> float:
    """Chance of so many failures or more if each trial failed with probability delta."""
    return float(binom.sf(failures - 1, n_trials, delta))


def holm(p_values: Iterable[float], level: float = FAMILY) -> int:
    """How many hypotheses Holm's procedure rejects at a family-wise error of `level`."""
    ordered = sorted(p_values)
    for k, p in enumerate(ordered):
        if p > level / (len(ordered) - k):
            return k
    return len(ordered)


def summary(cells: Sequence[Record]) -> list[dict[str, Any]]:
    """One line for each method that promises something, on both halves and on each."""
    found = []
    for method in dict.fromkeys(cell["method"] for cell in cells):
        for half in ("all", *HALVES):
            judged = [
                cell
                for cell in cells
                if cell["method"] == method
                and half in ("all", cell["half"])
                and cell.get("p") is not None
            ]
            if judged:
                found.append({"method": method, "half": half} | _family(judged))
    return found


def _family(judged: Sequence[Record]) -> dict[str, Any]:
    worst = min(judged, key=lambda cell: float(cell["p"]))
    return {
        "promise": judged[0]["promise"],
        "cells": len(judged),
        "trials": sum(cell["trials"] for cell in judged),
        "failures": sum(cell["failures"] for cell in judged),
        "allowed": sum(cell["trials"] * cell["delta"] for cell in judged),
        "above_delta": sum(cell["share"] > cell["delta"] for cell in judged),
        "smallest_p": worst["p"],
        "smallest_p_at": question(worst),
        "bonferroni": min(1.0, worst["p"] * len(judged)),
        "holm_rejects": holm(cell["p"] for cell in judged),
        "unfinished": sum(cell["unfinished"] for cell in judged),
        "over": sum(cell["over"] for cell in judged),
    }


def question(cell: Record) -> str:
    """A cell's question in words."""
    words = [cell["set"], cell["kind"]]
    words += [f"n = {cell['n']:,}"] if cell["n"] else []
    words += [f"target {cell['target']:g}"] if cell["target"] else []
    return ", ".join([*words, f"delta {cell['delta']:g}"])


def verdict(lines: Sequence[Record]) -> str:
    """What the whole run says of thresher's promises, a sentence or two for each of its methods."""
    ours = [line for line in lines if is_ours(line["method"]) and line["half"] == "all"]
    return "\n\n".join(map(_sentence, ours)) or "thresher: nothing was measured."


def is_ours(method: str) -> bool:
    """Whether a method is thresher's, under its plain name or with a grade."""
    return method.startswith(OURS)


def _sentence(line: Record) -> str:
    kept = "no cell fails more often than delta allows"
    if line["holm_rejects"]:
        kept = f"**{line['holm_rejects']} cells fail more often than delta allows**"
    text = (
        f"{line['method']}: {kept} (Holm, family-wise {FAMILY:g}). {line['failures']:,} failures "
        f"in {line['trials']:,} trials of {line['cells']:,} cells, where delta allows "
        f"{line['allowed']:,.0f}; smallest p-value {line['smallest_p']:.2g} at "
        f"{line['smallest_p_at']}, {line['bonferroni']:.2g} after Bonferroni."
    )
    if line["unfinished"] or line["over"]:
        text += f" **{line['unfinished']} trials raised or were cut, "
        text += f"{line['over']} bought too many labels.**"
    return text
