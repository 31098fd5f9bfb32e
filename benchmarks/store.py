"""Time the label store at a million labels: look-ups, facts, and a query that buys none."""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

GOAL_S = 2.0  # to look up a million keys
REPEATS = 3
SEED = 20_260_101
ASK = "SELECT id FROM t WHERE is_even(id)"
BATCH = 50_000


def keys_of(n_labels: int) -> list[str]:
    """As many keys in hex, in an order that is not that of the index."""
    return [hashlib.sha256(b"%d" % number).hexdigest() for number in range(n_labels)]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it returned."""
    begin = time.perf_counter()
    found = call()
    return time.perf_counter() - begin, found


def computed(call: Callable[[], Any]) -> float:
    """Processor seconds of a call, which say more than a clock where others compute as well."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def lookups(path: Path, n_labels: int) -> dict[str, Any]:
    """Fill a store with labels of each kind, then look all of them up in another order."""
    from thresher.labels import LabelStore

    keys = keys_of(n_labels)
    order = np.random.default_rng(SEED).permutation(n_labels).tolist()
    asked = [keys[number] for number in order]
    kinds: dict[str, list[Any]] = {
        "boolean": [number % 2 == 0 for number in range(n_labels)],
        "text": [f"class {number % 9}" for number in range(n_labels)],
    }
    figures: dict[str, Any] = {}
    for kind, answers in kinds.items():
        place = path / f"{kind}.labels"
        store = LabelStore(place)
        put, _ = timed(lambda a=answers, s=store: fill(s, keys, a))
        finds = [timed(lambda s=store: s.find("v", asked)) for _ in range(REPEATS)]
        facts = [timed(lambda s=store: s.facts("v", s.last())) for _ in range(REPEATS)]
        cpu = [computed(lambda s=store: s.find("v", asked)) for _ in range(REPEATS)]
        found = finds[-1][1]
        if found.answers != [answers[number] for number in order]:
            raise RuntimeError(f"{kind}: the labels found are not those put in")
        shown, n_shown = timed(lambda s=store: scanned(s))
        if n_shown != n_labels:
            raise RuntimeError(f"{kind}: {n_shown} labels came in batches, not {n_labels}")
        few, _ = timed(lambda s=store: s.find("v", asked[:100]))
        store.close()
        figures[kind] = {
            "put_s": put,
            "find_s": statistics.median(each for each, _ in finds),
            "find_cpu_s": statistics.median(cpu),
            "facts_s": statistics.median(each for each, _ in facts),
            "shown_s": shown,
            "find_100_ms": 1000 * few,
            "file_mb": place.stat().st_size / 2**20,
        }
    return figures


def scanned(store: Any) -> int:
    """Read the labels in batches as `thresher_labels()` does, and count them."""
    from thresher.label_batches import shown_labels

    return sum(batch.num_rows for batch in shown_labels(store.file, store.last()))


def fill(store: Any, keys: Sequence[str], answers: Sequence[Any]) -> None:
    """Put labels in, a batch to a transaction."""
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        store.put("v", "o", batch, answers[start : start + BATCH], [None] * len(batch), 0.0)


def queries(path: Path, n_rows: int) -> dict[str, Any]:
    """Time a query that buys every label, the same again, and another over the same inputs."""
    import thresher

    figures: dict[str, Any] = {}
    statements = {"buying": ASK, "again": ASK, "from_facts": f"{ASK} AND id >= 0"}
    with thresher.connect(str(path / "t.duckdb"), config={"oracle_limit": n_rows}) as con:
        con.execute(f"CREATE TABLE t AS SELECT id FROM range({n_rows}) AS r(id)")
        con.create_oracle(
            "is_even",
            lambda ids: [one % 2 == 0 for one in ids],
            args=["BIGINT"],
            version="1",
            batch_size=BATCH,
        )
        for name, statement in statements.items():
            seconds, cursor = timed(lambda sql=statement: con.execute(sql))
            figures[f"{name}_s"] = seconds
            figures[f"{name}_n_labels"] = cursor.certificate.n_labels
    return figures


def run(out: Path, n_labels: int = 1_000_000) -> dict[str, Any]:
    """Measure all of it and write `store.json`."""
    from benchmarks.provenance import machine

    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "machine": machine(),
            "n_labels": n_labels,
            "lookups": lookups(Path(folder), n_labels),
            "queries": queries(Path(folder), n_labels),
            "goal_find_s": GOAL_S,
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / "store.json").write_text(json.dumps(figures, indent=1) + "\n")
    found, asked = figures["lookups"], figures["queries"]
    print(
        f"{n_labels:,} labels: looked up in {found['boolean']['find_s']:.2f} s, "
        f"{found['boolean']['find_cpu_s']:.2f} s of processor time (texts "
        f"{found['text']['find_s']:.2f} s, {found['text']['find_cpu_s']:.2f} s; goal {GOAL_S:g}), "
        f"read in {found['boolean']['facts_s']:.2f} s, shown in "
        f"{found['boolean']['shown_s']:.2f} s; the query again in {asked['again_s']:.1f} s "
        f"with {asked['again_n_labels']} labels bought, another in {asked['from_facts_s']:.1f} s "
        f"with {asked['from_facts_n_labels']}",
        flush=True,
    )
    return figures
