"""Compare thresher with its peers at equal labels, then its speed and its coverage.

.venv/bin/python -P benchmarks/run.py [--trials 500] [--only selection] [--quick] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ in ("__main__", "__mp_main__"):
    # At the end: the folders of the checkout must not hide packages of the same name.
    sys.path.append(str(ROOT))

from benchmarks import (  # noqa: E402
    coverage,
    fitting,
    http_client,
    images,
    picture,
    report,
    scale,
    shell,
    speed,
    statements,
    store,
)
from benchmarks.baselines import METHODS, Query  # noqa: E402
from benchmarks.datasets import LOADERS, Dataset, DatasetUnavailableError, load  # noqa: E402
from benchmarks.oracles import run as run_oracles  # noqa: E402
from benchmarks.provenance import machine  # noqa: E402
from benchmarks.trials import Cell, Trial, run_cells, summarise  # noqa: E402

PARTS = (
    "selection",
    "oracles",
    "speed",
    "statements",
    "store",
    "coverage",
    "fitting",
    "images",
    "scale",
    "shell",
    "http",
)
KINDS = ("recall", "precision", "both")
SHARES = (0.05, 0.2)
MOST_LABELS = 10_000
TARGET, DELTA, SEED = 0.9, 0.05, 20_260_101
NOTES = (
    "`bargain` is the package as published, its model calls replaced by look-ups.",
    "The PyPI package `supg` 0.0.1 holds an empty module and nothing to run: `supg` below is a "
    "restatement of the algorithm in `baselines.py`. Its promise is asymptotic.",
    "`top-n` labels the n best-scored rows and returns the positives among them. It promises "
    "nothing of its recall.",
)


def budgets_of(data: Dataset) -> list[int]:
    """Labels allowed: 5 % and 20 % of the rows, at most 10,000."""
    return [min(int(share * data.n_rows), MOST_LABELS) for share in SHARES]


def plan(data: Sequence[Dataset], methods: Sequence[str]) -> list[Cell]:
    """All cells; with both targets only SUPG takes a budget, and top-n has no answer."""
    cells = []
    for one in data:
        for kind in KINDS:
            for method in methods:
                if kind == "both" and method == "top-n":
                    continue
                free = kind == "both" and method != "supg"
                cells += [
                    Cell(one.name, method, Query(kind, budget, TARGET, DELTA))
                    for budget in ([None] if free else budgets_of(one))
                ]
    return cells


def load_all(names: Sequence[str]) -> list[Dataset]:
    """The data sets that can be had; a line for each that cannot."""
    found = []
    for name in names:
        try:
            found.append(load(name))
        except DatasetUnavailableError as reason:
            print(f"skipped {name}: {reason}", flush=True)
    return found


def selection(arguments: argparse.Namespace) -> None:
    """Run the comparison and write its JSON, its tables and its picture."""
    data = load_all(arguments.data)
    if not data:
        print("no data set can be had here: nothing to compare", flush=True)
        return
    begin = time.perf_counter()
    # Before the trials: what runs is what was there at the start.
    ran_on = machine()
    by_name = {one.name: one for one in data}
    settings = settings_of(arguments)
    kept = kept_cells(arguments, settings)
    cells = plan(data, arguments.methods)

    def finished(cell: Cell, trials: Sequence[Trial]) -> None:
        print(progress(summarise(cell, trials, by_name[cell.dataset])), flush=True)

    results = run_cells(
        cells,
        by_name,
        n_trials=arguments.trials,
        cap_s=arguments.cap,
        seed=arguments.seed,
        n_workers=arguments.workers,
        finished=finished,
    )
    stamp = {"commit": ran_on["commit"], "date": ran_on["date"]}
    run = {
        "elapsed_s": round(time.perf_counter() - begin, 1),
        "machine": ran_on,
        "settings": settings,
        "notes": [*NOTES, *notes_on(kept)],
        "datasets": [describe(one) for one in data],
        "cells": [
            *(summarise(cell, results[cell], by_name[cell.dataset]) | stamp for cell in cells),
            *(record for record in kept if record["dataset"] in by_name),
        ],
    }
    write(run, arguments.out)


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What decides a cell's figures, apart from the code."""
    return {
        "trials": arguments.trials,
        "cap_s": arguments.cap,
        "seed": arguments.seed,
        "target": TARGET,
        "delta": DELTA,
        "shares": list(SHARES),
        "methods": list(METHODS),
        "kinds": list(KINDS),
    }


def kept_cells(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """With `--methods`, the cells of the others from the run that lies in `--out`."""
    if set(arguments.methods) == set(METHODS):
        return []
    path = arguments.out / "selection.json"
    if not path.is_file():
        raise SystemExit(f"--methods keeps the other methods' cells, but there is no {path}")
    earlier = json.loads(path.read_text())
    if earlier["settings"] != settings:
        raise SystemExit(f"{path} was made with other settings: run all methods, or use its own")
    return [record for record in earlier["cells"] if record["method"] not in arguments.methods]


def notes_on(kept: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which cells are older than the run."""
    older = sorted({(record["method"], record["date"]) for record in kept})
    return [f"The cells of {method} are from {date}, same seeds." for method, date in older]


def describe(data: Dataset) -> dict[str, Any]:
    """A data set as it goes into the JSON."""
    return {
        "name": data.name,
        "n_rows": data.n_rows,
        "n_positive": data.n_positive,
        "auc": data.auc,
        "origin": data.origin,
        "budgets": budgets_of(data),
    }


def progress(record: Mapping[str, Any]) -> str:
    """One line for the terminal."""
    head = f"{record['dataset']:9s} {record['kind']:9s} {record['budget'] or '':>6} "
    head += f"{record['method']:9s}"
    figure = report.quality_of(record)
    if figure is None:
        return f"{head} nothing finished: {'; '.join(record['errors'])}"
    return (
        f"{head} {report.QUALITY[record['kind']]} {figure:g}, "
        f"{record['failures']} of {record['trials']} failed, {record['seconds_median']:.3f} s each"
    )


def write(run: Mapping[str, Any], out: Path) -> None:
    """Write `selection.json`, `.md` and `.png`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "selection.json").write_text(json.dumps(run, indent=1) + "\n")
    (out / "selection.md").write_text(report.markdown(run))
    picture.draw(run, out / "selection.png")
    print(f"wrote selection.json, selection.md and selection.png into {out}", flush=True)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="run one part only")
    parser.add_argument("--trials", type=int, help="trials a cell (500; 20 with --quick)")
    parser.add_argument("--quick", action="store_true", help="few trials, smaller tables")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--data", nargs="+", choices=list(LOADERS), default=list(LOADERS))
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=list(METHODS),
        default=list(METHODS),
        help="run these again and keep the others' cells from --out",
    )
    parser.add_argument("--cap", type=float, default=60.0, help="CPU seconds a cell may take")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    arguments = parser.parse_args(words)
    if arguments.trials is None:
        arguments.trials = 20 if arguments.quick else 500
    return arguments


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(words)
    if arguments.only in (None, "selection"):
        selection(arguments)
    if arguments.only in (None, "speed"):
        speed.run(arguments.out, n_rows=100_000 if arguments.quick else 1_000_000)
    if arguments.only in (None, "statements"):
        statements.run(arguments.out)
    if arguments.only in (None, "store"):
        store.run(arguments.out, n_labels=100_000 if arguments.quick else 1_000_000)
    if arguments.only in (None, "coverage"):
        coverage.run(arguments.out, share=0.1 if arguments.quick else 1.0)
    if arguments.only in (None, "oracles"):
        run_oracles(arguments.out, share=0.5 if arguments.quick else 1.0)
    if arguments.only in (None, "fitting"):
        fitting.run(arguments.out, n_seeds=2 if arguments.quick else 30)
    if arguments.only in (None, "images"):
        few = {"n_seeds": 2, "n_files": 400, "n_live": 0} if arguments.quick else {}
        images.run(arguments.out, **few)
    if arguments.only in (None, "scale"):
        scale.run(arguments.out.resolve(), 0.02 if arguments.quick else 1.0)
    if arguments.only in (None, "shell"):
        shell.run(arguments.out.resolve(), n_rows=200_000 if arguments.quick else 10_000_000)
    if arguments.only in (None, "http"):
        http_client.run(arguments.out, n_rows=400 if arguments.quick else 3200)


if __name__ == "__main__":
    main()
