"""Seeded repeats of one method on one data set, and what they come to."""

from __future__ import annotations

import multiprocessing
import signal
import time
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import numpy as np
from scipy.stats import binomtest

from benchmarks.baselines import METHODS, CountingOracle, Mask, Query, Rows
from benchmarks.datasets import Dataset

CHUNK_S = 5.0
CHUNK_TRIALS = 10
# A share computed from counts may fall below 0.9 by rounding alone.
ROUNDING = 1e-9
DETERMINISTIC = frozenset({"top-n"})


class TrialCutError(Exception):
    """A single trial ran past its limit."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one query over one data set."""

    dataset: str
    method: str
    query: Query

    @property
    def key(self) -> str:
        return f"{self.dataset}/{self.query.kind}/{self.query.budget}/{self.method}"


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: quality of its answer, rows asked, CPU seconds; `error` if it did not finish."""

    recall: float
    precision: float
    n_calls: int
    seconds: float
    error: str = ""


def quality(returned: Rows, labels: Mask) -> tuple[float, float]:
    """Recall and precision of the rows returned (1 where nothing could be wrong)."""
    hits = int(labels[returned].sum())
    positives = int(labels.sum())
    return (hits / positives if positives else 1.0, hits / len(returned) if len(returned) else 1.0)


def failed(trial: Trial, query: Query) -> bool:
    """Whether the answer misses a target that was asked for."""
    low_recall = trial.recall < query.target - ROUNDING
    low_precision = trial.precision < query.target - ROUNDING
    return (query.kind != "precision" and low_recall) or (query.kind != "recall" and low_precision)


def exact_interval(failures: int, n_trials: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share."""
    interval = binomtest(failures, n_trials).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TrialCutError` after so many seconds, where the platform has alarms."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def cut(_signum: int, _frame: FrameType | None) -> None:
        raise TrialCutError

    before = signal.signal(signal.SIGALRM, cut)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_trial(cell: Cell, data: Dataset, index: int, seed: int, limit_s: float) -> Trial:
    """Run one seeded trial; the seed depends on the cell and the index alone."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(cell.key.encode()), index])
    own_seed = int(sequence.generate_state(1)[0])
    oracle = CountingOracle(data.labels)
    error = ""
    returned: Rows = np.empty(0, dtype=np.int64)
    begin = time.process_time()
    try:
        with time_limit(limit_s), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            returned = METHODS[cell.method](data.scores, oracle, cell.query, own_seed)
    except TrialCutError:
        error = f"cut after {limit_s:.0f} s"
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    seconds = time.process_time() - begin
    recall, precision = quality(returned, data.labels)
    return Trial(recall, precision, oracle.n_calls, seconds, error)


_DATA: dict[str, Dataset] = {}


def _adopt(data: Mapping[str, Dataset]) -> None:
    _DATA.update(data)


def _chunk(cell: Cell, first: int, n_trials: int, seed: int, limit_s: float) -> list[Trial]:
    done: list[Trial] = []
    begin = time.perf_counter()
    while len(done) < n_trials and time.perf_counter() - begin < CHUNK_S:
        done.append(run_trial(cell, _DATA[cell.dataset], first + len(done), seed, limit_s))
    return done


def run_cells(
    cells: Sequence[Cell],
    data: Mapping[str, Dataset],
    *,
    n_trials: int,
    cap_s: float,
    seed: int,
    n_workers: int,
    finished: Callable[[Cell, list[Trial]], None],
) -> dict[Cell, list[Trial]]:
    """Run all cells in turns of a few trials each, so that none waits for a slow one.

    A cell stops at `n_trials`, or when its trials have taken `cap_s` CPU seconds; a single trial is
    cut after three times that by the clock. `finished` is told of each cell that is done.
    """
    results: dict[Cell, list[Trial]] = {cell: [] for cell in cells}
    turns = deque(cells)
    running: dict[Future[list[Trial]], Cell] = {}
    with ProcessPoolExecutor(
        n_workers, multiprocessing.get_context(), initializer=_adopt, initargs=(dict(data),)
    ) as pool:
        while turns or running:
            while turns and len(running) < n_workers:
                cell = turns.popleft()
                first = len(results[cell])
                left = _wanted(cell, n_trials) - first
                job = pool.submit(_chunk, cell, first, min(left, CHUNK_TRIALS), seed, 3 * cap_s)
                running[job] = cell
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(job)
                results[cell] += job.result()
                spent = sum(trial.seconds for trial in results[cell])
                if len(results[cell]) < _wanted(cell, n_trials) and spent < cap_s:
                    turns.append(cell)
                else:
                    finished(cell, results[cell])
    return results


def _wanted(cell: Cell, n_trials: int) -> int:
    return 1 if cell.method in DETERMINISTIC else n_trials


def summarise(cell: Cell, trials: Sequence[Trial], data: Dataset) -> dict[str, object]:
    """Figures of one cell, as they go into the JSON."""
    done = [trial for trial in trials if not trial.error]
    record: dict[str, object] = {
        "dataset": cell.dataset,
        "kind": cell.query.kind,
        "method": cell.method,
        "budget": cell.query.budget,
        "n_rows": data.n_rows,
        "trials": len(done),
        "deterministic": cell.method in DETERMINISTIC,
        "unfinished": len(trials) - len(done),
        "errors": sorted({trial.error for trial in trials if trial.error}),
    }
    if not done:
        return record
    n_failed = sum(failed(trial, cell.query) for trial in done)
    low, high = exact_interval(n_failed, len(done))
    calls = [trial.n_calls for trial in done]
    record |= {
        "failures": n_failed,
        "failure_share": n_failed / len(done),
        "failure_low": low,
        "failure_high": high,
        "precision": _spread([trial.precision for trial in done]),
        "recall": _spread([trial.recall for trial in done]),
        "calls": _spread(calls),
        "over_budget": sum(n > (cell.query.budget or data.n_rows) for n in calls)
        if cell.query.kind != "both"
        else 0,
        "seconds_median": float(np.median([trial.seconds for trial in done])),
    }
    return record


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "mean": float(np.mean(values)),
        "q10": float(np.quantile(values, 0.1)),
        "q90": float(np.quantile(values, 0.9)),
        "max": float(np.max(values)),
    }
