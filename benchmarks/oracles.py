"""Rows a second of each kind of local model, beside a loop by hand and transformers' pipeline.

All run the same model on the same rows in one process, in turn, several times. Real weights are
those that packages carry: SmolLM2-135M-Instruct and all-MiniLM-L6-v2. Where a kind has none (a head
for labels, images, sounds) its weights are random: that changes no time. The pipeline, with its
defaults, runs with as many threads as torch takes and with one; the faster counts.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.append(str(ROOT))

from benchmarks.oracle_kinds import ROWS, Kind, kinds  # noqa: E402
from benchmarks.provenance import machine  # noqa: E402

GOALS = {"loop": 0.9, "pipeline": 1.0}
REPEATS = 5
SLOW = 1.5  # times the pipeline of one thread


def timed(kind: Kind) -> dict[str, Any]:
    """Interleave them, in alternating order, after one run of each.

    All threads on one small batch wait for one another, for minutes on cores that others use: a
    pipeline that was slow with all of them in its first run is not run again.
    """
    ways = {
        "ours": kind.ours,
        "loop": kind.loop,
        "pipeline": kind.pipeline,
        "pipeline_one_thread": partial(one_thread, kind.pipeline),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    first = {name: clocked(way) for name, way in ways.items()}
    if first["pipeline"][0] > SLOW * first["pipeline_one_thread"][0]:
        del ways["pipeline"]
        wall["pipeline"], cpu["pipeline"] = ([seconds] for seconds in first["pipeline"])
    for repeat in range(REPEATS):
        for name in list(ways)[:: -1 if repeat % 2 else 1]:
            seconds = clocked(ways[name])
            wall[name].append(seconds[0])
            cpu[name].append(seconds[1])
    return {
        "kind": kind.name,
        "weights": kind.weights,
        "n_rows": kind.n_rows,
        "rows_per_s": {n: round(kind.n_rows / statistics.median(s), 2) for n, s in wall.items()},
        "against": ratios(wall),
        "cpu_against": ratios(cpu),
        "wall_s": {name: [round(s, 3) for s in seconds] for name, seconds in wall.items()},
        "cpu_s": {name: [round(s, 3) for s in seconds] for name, seconds in cpu.items()},
    }


def clocked(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that it takes, and those of the processor."""
    begin, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - busy


def one_thread(work: Callable[[], Any]) -> Any:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


def ratios(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median time of the others by ours: above 1 where ours is faster."""
    median = {name: statistics.median(each) for name, each in seconds.items()}
    theirs = {
        "loop": median["loop"],
        "pipeline": min(median["pipeline"], median["pipeline_one_thread"]),
    }
    return {name: round(each / median["ours"], 3) for name, each in theirs.items()}


def run(out: Path, share: float = 1.0, only: Sequence[str] = tuple(ROWS)) -> dict[str, Any]:
    """Measure each kind and write `oracles.json` as they end; a line for each.

    Kinds that are not in `only` keep their figures of an earlier run.
    """
    from thresher.errors import OperationalError
    from thresher.oracles.batching import n_threads
    from thresher.oracles.runtime import quiet

    out.mkdir(parents=True, exist_ok=True)
    path = out / "oracles.json"
    earlier = json.loads(path.read_text())["kinds"] if path.is_file() else []
    records = [record for record in earlier if record["kind"] not in only]
    ran_on = machine()
    stamp = {name: ran_on[name] for name in ("date", "commit", "load_average")}
    stamp["threads"] = n_threads()
    figures = {"machine": ran_on, "goals": GOALS, "dtype": "float32", "kinds": records}
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            made = kinds(Path(folder), share)
        except OperationalError as reason:
            print(f"skipped the models: {reason}", flush=True)
            return figures
        for name in filter(only.__contains__, made):
            record = timed(made[name]()) | stamp
            records.append(record)
            print(line(record), flush=True)
            path.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def line(record: Mapping[str, Any]) -> str:
    """What a record says, for the terminal."""
    rates, against, work = record["rows_per_s"], record["against"], record["cpu_against"]
    pipeline = max(rates["pipeline"], rates["pipeline_one_thread"])
    speed = f"{rates['ours']:g} rows/s, loop {rates['loop']:g}, pipeline {pipeline:g}"
    shares = f"{against['loop']:.2f} of the loop (goal {GOALS['loop']:g})"
    shares += f", {against['pipeline']:.2f} of the pipeline"
    in_cpu_time = f"in CPU time {work['loop']:.2f} and {work['pipeline']:.2f}"
    return f"{record['kind']}: {speed}; {shares}; {in_cpu_time}"


if __name__ == "__main__":
    run(ROOT / "benchmarks" / "results", only=sys.argv[1:] or tuple(ROWS))
