"""Queries over millions of rows in this process, beside DuckDB's own copy of the same columns.

The oracle is a Python function that reads its answer off the text, so what is measured is all that
the engine adds where no model takes time.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.shell import build

GOAL = 3.0
REPEATS = 3
TABLES = {"long": (1_000_000, 100), "short": (10_000_000, 20)}  # rows, bytes of text
COPY = "CREATE OR REPLACE TEMP TABLE copied AS SELECT * FROM t"
_MADE = "CREATE OR REPLACE TEMP TABLE answer AS SELECT * FROM t WHERE tenth(text) USING score "
_BOTH = "RECALL TARGET 90% PRECISION TARGET 90%"
QUERIES = {
    "recall": _MADE + "RECALL TARGET 90% ORACLE LIMIT 1000 SEED 7",
    "precision_with_labels": _MADE + "PRECISION TARGET 80% ORACLE LIMIT 1000 SEED 7",
    "precision": _MADE + "PRECISION TARGET 90% ORACLE LIMIT 1000 SEED 7",
    "both": f"{_MADE}{_BOTH} SEED 7",
    "count": "SELECT count(*) FROM t WHERE tenth(text) USING score ORACLE LIMIT 1000 SEED 7",
    "avg": "SELECT avg(id % 7) FROM t WHERE tenth(text) USING score ORACLE LIMIT 1000 SEED 7",
}
"""Each over a label store of its own, but for what follows `recall` over its labels."""
ONCE = ("avg",)  # in the first repeat alone: it takes longest


def tenth(texts: Sequence[str]) -> list[bool]:
    """Return whether each text is of a row whose number ends in 0."""
    return [text[7] == "0" for text in texts]


def spent(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds that a call takes: on the clock, and of all processors."""
    begin, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - begin, time.process_time() - used


def connect(path: Path) -> Any:
    """Open the table with the oracle, and an empty label store in memory; the columns are read."""
    import thresher

    con = thresher.connect(str(path), labels=None)
    con.create_oracle("tenth", tenth, args=["VARCHAR"], returns="BOOLEAN")
    con.execute("SELECT max(id), max(text), max(score) FROM t").fetchall()
    return con


def measure(path: Path, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Time the copy and every query in turn, each repeat in other connections."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ("copy", *QUERIES)}
    for repeat in range(repeats):
        con = connect(path)
        for name, sql in QUERIES.items():
            if repeat and name in ONCE:
                continue
            if name != "precision_with_labels":
                con.close()
                con = connect(path)
            times["copy"].append(spent(lambda con=con: con.execute(COPY)))
            con.execute("DROP TABLE copied")
            times[name].append(spent(lambda con=con, sql=sql: con.execute(sql)))
        con.close()
    return times


def figures_of(path: Path, n_rows: int, width: int, repeats: int = REPEATS) -> dict[str, Any]:
    """Build one table, and compare the queries over it with its copy."""
    import duckdb

    with duckdb.connect(str(path)) as con:
        build(con, n_rows, width)
    times = measure(path, repeats)
    wall, processor = (
        {name: statistics.median(each[i] for each in times[name]) for name in times} for i in (0, 1)
    )
    return {
        "n_rows": n_rows,
        "bytes_of_text": width,
        "median_s": wall,
        "median_processor_s": processor,
        "ratio": {name: wall[name] / wall["copy"] for name in QUERIES},
        "ratio_processor": {name: processor[name] / processor["copy"] for name in QUERIES},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (2**20 if sys.platform == "darwin" else 2**10),
        "times_s": times,
    }


def run(out: Path, share: float = 1.0) -> dict[str, Any]:
    """Measure both tables, of a share of their rows, and write `scale.json`."""
    from benchmarks.provenance import machine

    figures: dict[str, Any] = {"machine": machine(), "queries": QUERIES, "copy": COPY}
    with tempfile.TemporaryDirectory() as folder:
        for name, (n_rows, width) in TABLES.items():
            n_rows = int(share * n_rows)
            part = figures[name] = figures_of(Path(folder) / f"{name}.duckdb", n_rows, width)
            said = ", ".join(
                f"{query} {part['median_s'][query]:.2f} s ({ratio:.1f} times the copy)"
                for query, ratio in part["ratio"].items()
            )
            print(f"{n_rows:,} rows of {width} bytes: {said}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / "scale.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures
