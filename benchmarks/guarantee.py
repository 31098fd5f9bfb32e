"""Measure the guarantee: failures against delta and utility beside the peers, over a grid.

.venv/bin/python -P benchmarks/guarantee.py [--grid short|full] [--trials 1000] [--minutes 480]

Every few trials are written down as they end, so a run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ in ("__main__", "__mp_main__"):
    # At the end: the folders of the checkout must not hide packages of the same name.
    sys.path.append(str(ROOT))

from benchmarks import grid, guarantee_figures, guarantee_picture, guarantee_report, hostile  # noqa: E402
from benchmarks.baselines import CountingOracle  # noqa: E402
from benchmarks.datasets import Dataset, DatasetUnavailableError  # noqa: E402
from benchmarks.journal import Cell, Journal, Trial  # noqa: E402
from benchmarks.methods import KINDS, METHODS  # noqa: E402
from benchmarks.provenance import machine  # noqa: E402
from benchmarks.trials import TrialCutError, time_limit  # noqa: E402

SEED = 20_260_102
CHUNK_S, CHUNK_TRIALS = 5.0, 50
# All cells reach the first number before any goes on to the next: a short run covers the grid.
ROUNDS = (20, 100, 300)
LONGEST = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a run stops: trials and CPU seconds of a cell, and the clock (`time.monotonic`)."""

    n_trials: int
    cap_s: float
    deadline: float = float("inf")

    def wanted(self, cell: Cell, n_trials: int) -> int:
        """Trials of a cell in a round of `n_trials`."""
        most = min(n_trials, self.n_trials)
        return 1 if METHODS[cell.query.kind, cell.method].deterministic else most

    def lacks(self, cell: Cell, done: Sequence[Trial], n_trials: int) -> bool:
        """Whether the cell has neither the trials of the round nor used up its time."""
        spent = sum(trial.seconds for trial in done)
        return len(done) < self.wanted(cell, n_trials) and spent < self.cap_s


def run_trial(cell: Cell, data: Dataset, index: int, base: int, limit_s: float) -> Trial:
    """Run one seeded trial; an exception is recorded and ends nothing."""
    oracle = CountingOracle(data.labels)
    method = METHODS[cell.query.kind, cell.method]
    outcome, error = None, ""
    begin = time.process_time()
    try:
        with time_limit(limit_s), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = method(data, oracle, cell.query, cell.seed(base, index))
    except TrialCutError:
        error = f"cut after {limit_s:.0f} s"
    except Exception as problem:  # whatever a method does, the other cells go on
        error = f"{type(problem).__name__}: {problem}"
    return Trial(outcome, time.process_time() - begin, error)


_DATA: dict[str, Dataset] = {}


def _adopt(data: Mapping[str, Dataset], niceness: int) -> None:
    _DATA.update(data)
    if hasattr(os, "nice"):
        os.nice(niceness)


def _chunk(cell: Cell, first: int, n_trials: int, base: int, limit_s: float) -> list[Trial]:
    done: list[Trial] = []
    begin = time.perf_counter()
    while len(done) < n_trials and time.perf_counter() - begin < CHUNK_S:
        done.append(run_trial(cell, _DATA[cell.dataset], first + len(done), base, limit_s))
    return done


class Run:
    """One pass over the cells with a journal: what is there already is not run again."""

    def __init__(
        self, cells: Sequence[Cell], data: Mapping[str, Dataset], journal: Journal, base: int
    ) -> None:
        self.cells, self.data, self.journal, self.base = cells, data, journal, base
        self.stamps = {cell: cell.stamp(data[cell.dataset], base) for cell in cells}

    def trials(self, cell: Cell) -> list[Trial]:
        """What the journal holds of the cell for the code and data of now."""
        return self.journal.trials(cell, self.stamps[cell])

    def go(self, cells: Sequence[Cell], limits: Limits, n_workers: int, niceness: int) -> bool:
        """Run the cells in rounds of ever more trials; return whether all was done in time."""
        fork = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
        with ProcessPoolExecutor(
            n_workers,
            multiprocessing.get_context(fork),
            initializer=_adopt,
            initargs=(dict(self.data), niceness),
        ) as pool:
            for n_trials in (*(n for n in ROUNDS if n < limits.n_trials), limits.n_trials):
                self._round(pool, cells, limits, n_trials, n_workers)
                left = sum(limits.lacks(c, self.trials(c), n_trials) for c in cells)
                done = f"{len(cells) - left} of {len(cells)} cells"
                print(f"up to {n_trials} trials: {done} done", flush=True)
                if left:
                    return False
        return True

    def _round(
        self,
        pool: ProcessPoolExecutor,
        cells: Sequence[Cell],
        limits: Limits,
        n_trials: int,
        n_workers: int,
    ) -> None:
        turns = deque(c for c in cells if limits.lacks(c, self.trials(c), n_trials))
        running: dict[Future[list[Trial]], tuple[Cell, int]] = {}
        while turns or running:
            while turns and len(running) < n_workers and time.monotonic() < limits.deadline:
                cell = turns.popleft()
                first = len(self.trials(cell))
                count = min(limits.wanted(cell, n_trials) - first, CHUNK_TRIALS)
                longest = LONGEST * limits.cap_s
                job = pool.submit(_chunk, cell, first, count, self.base, longest)
                running[job] = cell, first
            if not running:
                return
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                cell, first = running.pop(job)
                self.journal.append(cell, self.stamps[cell], first, job.result())
                if limits.lacks(cell, self.trials(cell), n_trials):
                    turns.append(cell)


def load_all(names: Sequence[str]) -> dict[str, Dataset]:
    """The sets that can be had; a line for each that cannot."""
    found = {}
    for name in names:
        try:
            found[name] = grid.load(name)
        except DatasetUnavailableError as reason:
            print(f"skipped {name}: {reason}", flush=True)
    return found


def describe(data: Dataset) -> dict[str, Any]:
    """A data set as it goes into the JSON."""
    return {
        "name": data.name,
        "half": data.half,
        "synthetic": data.name in hostile.NAMES,
        "n_rows": data.n_rows,
        "n_positive": data.n_positive,
        "budgets": grid.budgets_of(data),
        "fingerprint": data.fingerprint,
        "origin": data.origin,
    }


def figures(run: Run, settings: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """All that the run comes to, as it goes into the JSON."""
    cells = [
        guarantee_figures.summarise(cell, trials, run.data[cell.dataset])
        for cell in run.cells
        if (trials := run.trials(cell))
    ]
    return {
        "machine": dict(provenance),
        "settings": dict(settings),
        "kinds": {
            name: {"heading": kind.heading, "figure": kind.figure} for name, kind in KINDS.items()
        },
        "datasets": [describe(one) for one in run.data.values()],
        "summary": guarantee_figures.summary(cells),
        "cells": cells,
    }


def write(result: Mapping[str, Any], out: Path) -> None:
    """Write `guarantee.json` (a line a cell), `.md` and `.png`."""
    out.mkdir(parents=True, exist_ok=True)
    head = json.dumps({k: v for k, v in result.items() if k != "cells"}, indent=1)
    cells = ",\n  ".join(json.dumps(cell, separators=(",", ":")) for cell in result["cells"])
    text = f'{head[:-2]},\n "cells": [\n  {cells}\n ]\n}}\n'
    (out / "guarantee.json").write_text(text)
    (out / "guarantee.md").write_text(guarantee_report.markdown(result))
    guarantee_picture.draw(result, out / "guarantee.png")
    print(f"wrote guarantee.json, guarantee.md and guarantee.png into {out}", flush=True)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--grid", choices=grid.SIZES, default="full", help="which questions (full)")
    parser.add_argument("--trials", type=int, default=1000, help="trials a cell (1000)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--cap", type=float, default=40.0, help="CPU seconds a cell may take (40)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--nice", type=int, default=10, help="niceness of the workers (10)")
    parser.add_argument("--data", nargs="+", choices=grid.SETS, default=list(grid.SETS))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    names = sorted({name for _, name in METHODS})
    parser.add_argument("--methods", nargs="+", choices=names, default=names)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    journal = ROOT / "build" / "guarantee" / "trials.jsonl"
    parser.add_argument("--journal", type=Path, default=journal, help="where trials are kept")
    parser.add_argument("--report", action="store_true", help="run nothing: write what is there")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(words)
    begin = time.monotonic()
    provenance = machine()
    data = load_all(arguments.data)
    if not data:
        print("no data set can be had here: nothing to measure", flush=True)
        return
    cells = [cell for one in data.values() for cell in grid.cells_of(one, arguments.grid)]
    run = Run(cells, data, Journal(arguments.journal), arguments.seed)
    chosen = [
        cell
        for cell in cells
        if cell.query.kind in arguments.kinds and cell.method in arguments.methods
    ]
    limits = Limits(arguments.trials, arguments.cap, begin + 60 * arguments.minutes)
    if not arguments.report:
        print(f"{len(chosen)} cells over {len(data)} data sets", flush=True)
        run.go(chosen, limits, arguments.workers, arguments.nice)
    left = sum(limits.lacks(cell, run.trials(cell), arguments.trials) for cell in cells)
    settings = {
        "grid": arguments.grid,
        "trials": arguments.trials,
        "cap_s": arguments.cap,
        "seed": arguments.seed,
        "target": grid.TARGET,
        "delta": grid.DELTA,
        "cells_left": left,
    }
    result = figures(run, settings, provenance)
    write(result, arguments.out)
    print(guarantee_figures.verdict(result["summary"]), flush=True)
    if left:
        print(f"{left} cells lack trials: the same command goes on from here", flush=True)


if __name__ == "__main__":
    main()
