"""Time and memory of one recall query over a million rows, beside DuckDB's own sort of the scores.

The oracle is a Python function that looks its answer up, so what is measured is all that the
engine adds. The selections alone are measured over ten million scores, beside numpy's argsort.
`run.py` calls `run`; as a script the module is its own child process for the memory.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GOAL = 2.0
STATUS = Path("/proc/self/status")
REPEATS = 5
SEED = 7
QUERY = (
    f"SELECT id FROM t WHERE is_pos(id) USING score ORACLE LIMIT 1000 RECALL TARGET 0.9 SEED {SEED}"
)
SORT = "CREATE OR REPLACE TABLE s AS SELECT id, score FROM t ORDER BY score"
SELECTIONS = {  # targets and labels; without a limit `joint` may label every row
    "recall": ({"recall": 0.9}, 10_000),
    "precision": ({"precision": 0.9}, 10_000),
    "joint": ({"recall": 0.9, "precision": 0.9}, 10_000),
    "joint_unlimited": ({"recall": 0.9, "precision": 0.9}, None),
}


def table(n_rows: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Scores, float64 (n_rows,), and the truth: each row is positive as often as its score says."""
    rng = np.random.default_rng(SEED)
    scores = rng.beta(0.1, 1.0, n_rows)
    return scores, rng.random(n_rows) < scores


def build(path: Path, n_rows: int) -> None:
    """Write `t (id BIGINT, text VARCHAR, score DOUBLE)` into a DuckDB file."""
    import duckdb
    import pyarrow as pa

    scores, _ = table(n_rows)
    rows = pa.table({"id": np.arange(n_rows), "score": scores})
    with duckdb.connect(str(path)) as con:
        con.register("rows", rows)
        con.execute(
            "CREATE TABLE t AS SELECT id, 'review number ' || id || ', some forty letters long' "
            "AS text, score FROM rows"
        )
        con.execute("CHECKPOINT")


def oracle(truth: npt.NDArray[np.bool_]) -> Callable[[Sequence[int]], list[bool]]:
    """The Python function behind `is_pos`."""

    def is_pos(ids: Sequence[int]) -> list[bool]:
        found: list[bool] = truth[np.asarray(ids, dtype=np.int64)].tolist()
        return found

    return is_pos


def connect(path: Path, truth: npt.NDArray[np.bool_]) -> Any:
    """Open the file with the oracle in place and labels in memory, so that no repeat is free."""
    import thresher

    con = thresher.connect(str(path), labels=None)
    con.create_oracle("is_pos", oracle(truth), args=["BIGINT"], returns="BOOLEAN")
    return con


def time_thresher(con: Any) -> tuple[float, int, int]:
    """Seconds from `execute` to the last Arrow row; rows returned; labels bought."""
    begin = time.perf_counter()
    cursor = con.execute(QUERY)
    answer = cursor.fetch_arrow_table()
    seconds = time.perf_counter() - begin
    return seconds, answer.num_rows, cursor.certificate.n_labels


def time_sort(con: Any) -> float:
    """Seconds of DuckDB's own statement on the same connection."""
    begin = time.perf_counter()
    con.connection.execute(SORT)
    return time.perf_counter() - begin


def measure(path: Path, n_rows: int) -> dict[str, Any]:
    """Interleave the two, each repeat on a fresh connection and in alternating order."""
    _, truth = table(n_rows)
    ours: list[float] = []
    theirs: list[float] = []
    n_returned = n_labels = 0
    for repeat in range(REPEATS):
        con = connect(path, truth)
        if repeat % 2:
            theirs.append(time_sort(con))
        seconds, n_returned, n_labels = time_thresher(con)
        ours.append(seconds)
        if not repeat % 2:
            theirs.append(time_sort(con))
        con.close()
    return {
        "thresher_s": ours,
        "duckdb_sort_s": theirs,
        "thresher_median_s": statistics.median(ours),
        "duckdb_sort_median_s": statistics.median(theirs),
        "ratio": statistics.median(ours) / statistics.median(theirs),
        "n_returned": n_returned,
        "n_labels": n_labels,
    }


def child(what: str, path: Path, n_rows: int) -> dict[str, float]:
    """Run one of the two once and say by how much the peak grew, in MB."""
    _, truth = table(n_rows)
    con = connect(path, truth)
    con.connection.execute("SELECT 1").fetchall()
    if what == "traced":
        tracemalloc.start()
        time_thresher(con)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return {"mb": peak / 2**20}
    before = _start_peak_mb()
    if what == "thresher":
        time_thresher(con)
    else:
        time_sort(con)
    return {"mb": _peak_mb() - before}


def _start_peak_mb() -> float:
    """Forget earlier peaks where the system can, and return the memory held now, in MB."""
    if not STATUS.exists():
        return _peak_mb()
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mb("VmRSS")


def _peak_mb() -> float:
    # Not ru_maxrss on Linux: a child process starts with its parent's peak there.
    if STATUS.exists():
        return _status_mb("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def _status_mb(field: str) -> float:
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**10


def memory(path: Path, n_rows: int) -> dict[str, float]:
    """Peak growth of each, every one in a process of its own."""
    grown = {}
    for what, name in (
        ("thresher", "thresher_peak_growth_mb"),
        ("sort", "duckdb_sort_peak_growth_mb"),
        ("traced", "thresher_python_peak_mb"),
    ):
        words = [sys.executable, "-P", __file__, what, str(path), str(n_rows)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        grown[name] = json.loads(done.stdout)["mb"]
    return grown


def select(
    name: str, scores: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]
) -> tuple[float, int]:
    """Run one of the selections; seconds, and labels bought."""
    from thresher import sampling

    targets, limit = SELECTIONS[name]
    labels = sampling.CountedLabels(lambda rows: truth[rows], limit or len(scores))
    rng = np.random.default_rng(SEED)
    function = getattr(sampling, f"select_{name.split('_')[0]}")
    begin = time.perf_counter()
    function(scores, labels, delta=0.05, rng=rng, **targets)
    return time.perf_counter() - begin, labels.spent


def selections(n_rows: int) -> dict[str, Any]:
    """Interleave the selections with argsort; the peak of each, in float32 arrays of the rows."""
    scores, truth = table(n_rows)
    single = scores.astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in ("argsort", *SELECTIONS)}
    n_labels = {}
    for repeat in range(REPEATS):
        for name in list(times)[:: -1 if repeat % 2 else 1]:
            if name == "argsort":
                begin = time.perf_counter()
                np.argsort(single)
                times[name].append(time.perf_counter() - begin)
            else:
                seconds, n_labels[name] = select(name, single, truth)
                times[name].append(seconds)
    median = {name: statistics.median(each) for name, each in times.items()}
    words = [sys.executable, "-P", __file__, "selection"]
    peaks = {}
    for name in SELECTIONS:
        done = subprocess.run(
            [*words, name, str(n_rows)], capture_output=True, text=True, check=True
        )
        peaks[name] = json.loads(done.stdout)["mb"] * 2**20 / (4 * n_rows)
    return {
        "n_rows": n_rows,
        "argsort_median_s": median.pop("argsort"),
        "median_s": median,
        "ratio": {name: median[name] / statistics.median(times["argsort"]) for name in median},
        "peak_in_float32_arrays": peaks,
        "n_labels": n_labels,
        "times_s": times,
    }


def selection_peak(name: str, n_rows: int) -> dict[str, float]:
    """Run one selection once and say by how much the peak grew above scores and truth, in MB."""
    scores, truth = table(n_rows)
    single = scores.astype(np.float32)
    del scores
    select(name, single[:5000].copy(), truth[:5000])  # what is loaded on first use is no array
    before = _start_peak_mb()
    select(name, single, truth)
    return {"mb": _peak_mb() - before}


def import_time() -> dict[str, Any]:
    """Seconds that `import thresher`, and a first `connect` too, add to a bare interpreter."""

    def spent(code: str) -> float:
        times = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-P", "-c", code], check=True)
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    bare, imported = spent("pass"), spent("import thresher")
    connected = spent("import thresher; thresher.connect().close()")
    return {
        "bare_python_s": bare,
        "import_s": imported - bare,
        "import_and_connect_s": connected - bare,
    }


def run(out: Path, n_rows: int = 1_000_000) -> dict[str, Any]:
    """Measure all of it and write `speed.json`."""
    # Here, since the child process does not find the package.
    from benchmarks.provenance import machine

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speed.duckdb"
        build(path, n_rows)
        figures: dict[str, Any] = {
            "machine": machine(),
            "n_rows": n_rows,
            "query": QUERY,
            "sort": SORT,
        }
        figures |= measure(path, n_rows)
        figures |= memory(path, n_rows)
    figures["selection_10m"] = at_scale = selections(10 * n_rows)
    figures |= import_time()
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(
        f"recall query over {n_rows:,} rows: {figures['thresher_median_s']:.2f} s, DuckDB's sort "
        f"{figures['duckdb_sort_median_s']:.2f} s, ratio {figures['ratio']:.2f} (goal {GOAL:g}); "
        f"peak {figures['thresher_peak_growth_mb']:.0f} MB against "
        f"{figures['duckdb_sort_peak_growth_mb']:.0f} MB; "
        f"import thresher {figures['import_s']:.2f} s, "
        f"with a first connect {figures['import_and_connect_s']:.2f} s",
        flush=True,
    )
    ratios = ", ".join(
        f"{name} {ratio:.2f} ({at_scale['peak_in_float32_arrays'][name]:.1f} arrays)"
        for name, ratio in at_scale["ratio"].items()
    )
    print(f"selection over {at_scale['n_rows']:,} scores against argsort: {ratios}", flush=True)
    return figures


if __name__ == "__main__":
    what, where, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    grown = selection_peak(where, size) if what == "selection" else child(what, Path(where), size)
    print(json.dumps(grown))
