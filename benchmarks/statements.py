"""Time from the text of a statement to its plan, and what plain SQL pays on its way through."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLANNED_MS, PASSED_MS = 20.0, 1.0  # goals
REPEATS = 200
PLAIN = "SELECT kind, count(*) FROM t WHERE id % 3 = 1 GROUP BY kind ORDER BY kind"
OURS = {
    "selection": "SELECT r.id, text FROM reviews AS r JOIN films AS f USING (film) WHERE "
    "length(text) > 20 AND (is_pos(text) OR stars > 3) ORDER BY r.id LIMIT 10 USING stars / 5 "
    "RECALL TARGET 90% PRECISION TARGET 90% WITH PROBABILITY 95% ORACLE LIMIT 1000 SEED 7",
    "estimates": "SELECT genre, count(*) AS n, avg(price) FROM films WHERE is_pos(review) GROUP BY "
    "genre ORDER BY n DESC USING score ERROR WITHIN 5% ORACLE LIMIT 2000",
    "nested": "WITH good AS (SELECT film, text FROM reviews WHERE is_pos(text) USING stars RECALL "
    "TARGET 90% ORACLE LIMIT 500) SELECT title, count(*) FROM good JOIN films USING (film) WHERE "
    "film IN (SELECT film FROM films WHERE is_pos(review)) GROUP BY title",
    "of_another_system": "SELECT AVG(score) FROM sentiment WHERE is_pos(text) ERROR_TARGET 10% "
    "CONFIDENCE 95%",
}


def _median_ms(run: Callable[[], object]) -> float:
    """Median time of a call in milliseconds."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return 1000.0 * statistics.median(times)


def measure() -> dict[str, Any]:
    """Time `OURS` from text to bound plan, and `PLAIN` through thresher beside DuckDB alone."""
    import thresher
    from thresher.sql import parse, split

    with thresher.connect() as con:
        con.execute("CREATE TABLE truth AS SELECT 'a' AS text, true AS is_pos")
        con.execute(
            "CREATE ORACLE is_pos(text VARCHAR) RETURNS BOOLEAN USING column "
            "WITH (table = 'truth', key = 'text', value = 'is_pos')"
        )
        con.execute("CREATE TABLE t AS SELECT id, id % 7 AS kind FROM range(1000) AS r(id)")
        catalog = con._session.catalog

        def plan(sql: str) -> list[object]:
            return [parse(fragment.text, catalog) for fragment in split(sql)]

        planned = {name: _median_ms(lambda sql=sql: plan(sql)) for name, sql in OURS.items()}
        ours, theirs = [], []
        for _ in range(5):  # in turns, so that both meet the same machine
            ours.append(_median_ms(lambda: con.execute(PLAIN).fetchall()))
            theirs.append(_median_ms(lambda: con.connection.execute(PLAIN).fetchall()))
    passed, alone = statistics.median(ours), statistics.median(theirs)
    return {
        "plan_ms": planned,
        "plain_ms": passed,
        "duckdb_ms": alone,
        "overhead_ms": passed - alone,
        "goals_ms": {"plan": PLANNED_MS, "overhead": PASSED_MS},
    }


def run(out: Path) -> dict[str, Any]:
    """Measure all of it and write `statements.json`."""
    from benchmarks.provenance import machine

    figures = {"machine": machine(), **measure()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "statements.json").write_text(json.dumps(figures, indent=1) + "\n")
    slowest = max(figures["plan_ms"].values())
    print(
        f"text to plan: at most {slowest:.2f} ms (goal {PLANNED_MS:g}); plain SQL "
        f"{figures['plain_ms']:.2f} ms, DuckDB alone {figures['duckdb_ms']:.2f} ms: "
        f"{figures['overhead_ms']:.2f} ms more (goal {PASSED_MS:g})",
        flush=True,
    )
    return figures
