"""Queries through the DuckDB extension, beside DuckDB's own copy of the same columns.

The oracle is a Python function that reads its answer off the text, so what is measured is the way
of the rows to the worker and back, and all that the engine does in between.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GOAL, WARM_S = 3.0, 2.0
REPEATS = 3
JUDGE = "def tenth(texts):\n    return [text[7] == '0' for text in texts]\n"
ORACLE = (
    "CREATE ORACLE tenth(text VARCHAR) RETURNS BOOLEAN USING python "
    "WITH (function = 'thresher_judge:tenth', batch_size = 1000)"
)
COPY = "CREATE OR REPLACE TEMP TABLE copied AS SELECT id, text, score FROM t"
QUERIES = {
    "recall": "RECALL TARGET 90% ORACLE LIMIT 1000",
    "precision": "PRECISION TARGET 90% ORACLE LIMIT 1000",
    "exact_labels_known": "AND id < 1000",
}


def build(con: Any, n_rows: int, width: int) -> None:
    """Make `t (id BIGINT, text VARCHAR, score DOUBLE)`: every tenth row is positive."""
    con.execute("SELECT setseed(0.5)")
    con.execute(
        f"CREATE TABLE t AS SELECT id, rpad(printf('%08d', id), {width}, ' some words') AS text, "
        f"((id % 10 = 0)::INT + random()) / 2 AS score FROM range({n_rows}) AS r(id)"
    )
    con.execute("CHECKPOINT")


@contextmanager
def place() -> Iterator[Path]:
    """A folder with the oracle's module, and a worker of its own."""
    before, environment = Path.cwd(), dict(os.environ)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o700)
        (folder / "thresher_judge.py").write_text(JUDGE)
        os.environ |= {
            "THRESHER_SOCKET": str(folder / "w.sock"),
            "THRESHER_IDLE": "2",
            "THRESHER_PYTHON": sys.executable,
        }
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)


def seconds(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure(folder: Path, n_rows: int, width: int) -> dict[str, Any]:
    """Interleave DuckDB's copy with the queries; each answer goes into a table too."""
    import duckdb

    from thresher.shell.launcher import load

    path = folder / f"{width}.duckdb"
    with duckdb.connect(str(path), config={"allow_unsigned_extensions": "true"}) as con:
        build(con, n_rows, width)
        load(con)
        con.execute(f"FROM thresh($${ORACLE}$$)")
        asked = {
            name: "CREATE OR REPLACE TEMP TABLE answer AS FROM thresh($$ SELECT * FROM t "
            f"WHERE tenth(text) {'' if 'AND' in tail else 'USING score '}{tail} SEED 7 $$)"
            for name, tail in QUERIES.items()
        }
        cold = seconds(lambda: con.execute(asked["exact_labels_known"]))
        times: dict[str, list[float]] = {name: [] for name in ("copy", *asked)}
        n_returned = {}
        for _ in range(REPEATS):
            times["copy"].append(seconds(lambda: con.execute(COPY)))
            for name, sql in asked.items():
                times[name].append(seconds(lambda sql=sql: con.execute(sql)))
                found = con.execute("SELECT count(*) FROM answer").fetchone()
                n_returned[name] = found[0] if found else 0
    median = {name: statistics.median(each) for name, each in times.items()}
    return {
        "n_rows": n_rows,
        "bytes_of_text": width,
        "with_start_of_worker_s": cold,
        "median_s": median,
        "ratio": {name: median[name] / median["copy"] for name in QUERIES},
        "n_returned": n_returned,
        "times_s": times,
    }


def run(out: Path, n_rows: int = 10_000_000) -> dict[str, Any]:
    """Measure both tables and write `shell.json`."""
    from benchmarks.provenance import machine

    with place() as folder:
        figures = {
            "machine": machine(),
            "queries": QUERIES,
            "copy": COPY,
            "short": measure(folder, n_rows, 20),
            "long": measure(folder, max(n_rows // 10, 1), 100),
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / "shell.json").write_text(json.dumps(figures, indent=1) + "\n")
    for name in ("short", "long"):
        part = figures[name]
        spent = ", ".join(
            f"{query} {part['median_s'][query]:.2f} s ({ratio:.1f} times the copy)"
            for query, ratio in part["ratio"].items()
        )
        print(f"{part['n_rows']:,} rows of {part['bytes_of_text']} bytes: {spent}", flush=True)
    return figures
