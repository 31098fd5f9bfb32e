"""Four queries at once in one store, killed at any moment: nothing committed is paid again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BATCH = 20
_KILLED = """
import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from pathlib import Path

import pandas  # all that a query loads, before the processes part
import thresher
import thresher.auditing
import thresher.oracles.function
import thresher.session

folder, n_rounds, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(20260101)


class Sink:
    def __init__(self, path):
        self.path, self.n_labels = path, 0

    def update(self, event):
        if event.n_labels != self.n_labels:
            self.n_labels = event.n_labels
            self.path.write_text(str(event.n_labels))

    def close(self):
        pass


def query(store, process, phase, started):
    asked = os.open(store + f".{process}.{phase}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sink = Sink(Path(store + f".{process}.{phase}.committed"))

    def small(numbers):
        if not os.fstat(asked).st_size:
            os.write(started, b"1")
        os.write(asked, b"".join(b"%9d" % number for number in numbers))
        time.sleep(0.01)
        return [number % 100 < 70 for number in numbers]

    with thresher.connect(labels=store, config={"progress": sink}) as con:
        con.create_oracle(
            f"is_small{process}", small, args=["BIGINT"], version=str(process), batch_size=batch
        )
        found = con.execute(
            f"SELECT i FROM range({process * 10000}, {process * 10000 + 2000}) r(i) WHERE "
            f"is_small{process}(i) USING (i % 100) / 100.0 "
            "RECALL TARGET 80% ORACLE LIMIT 300 SEED 7"
        ).fetchall()
    Path(store + f".{process}.{phase}.found").write_text(json.dumps(found))


def run(store, phase, seconds):
    gate, started = os.pipe()
    children = []
    for process in range(4):
        child = os.fork()
        if child == 0:
            failed = 1
            try:
                query(store, process, phase, started)
                failed = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(failed)
        children.append(child)
    for _ in children:
        if phase != "again":
            os.read(gate, 1)
    began = time.monotonic()
    if seconds:
        for child in children:
            time.sleep(rng.uniform(0, seconds / 4))
            os.kill(child, signal.SIGKILL)
    codes = [os.waitpid(child, 0)[1] for child in children]
    os.close(gate)
    os.close(started)
    assert seconds or codes == [0] * 4
    return time.monotonic() - began


def asked(store, process, phase):
    return (Path(store + f".{process}.{phase}").stat().st_size) // 9


whole = str(folder / "whole")
seconds = run(whole, "whole", 0)
for number in range(n_rounds):
    store = str(folder / f"store{number}")
    run(store, "killed", seconds)
    db = sqlite3.connect(store)
    clean = db.execute("PRAGMA integrity_check").fetchall()
    kept = dict(db.execute(
        "SELECT name, count(*) FROM labels JOIN oracles ON oracles.id = oracle GROUP BY name"
    ).fetchall())
    db.close()
    run(store, "again", 0)
    for process in range(4):
        committed = Path(store + f".{process}.killed.committed")
        print(json.dumps({
            "clean": clean,
            "committed": int(committed.read_text() or 0) if committed.exists() else 0,
            "kept": kept.get(f"is_small{process}", 0),
            "asked": asked(store, process, "killed"),
            "again": asked(store, process, "again"),
            "whole": asked(whole, process, "whole"),
            "same": Path(store + f".{process}.again.found").read_text()
            == Path(whole + f".{process}.whole.found").read_text(),
        }))
"""


def killed(folder: Path, n_rounds: int) -> list[dict[str, int]]:
    """Kill four queries in each round, and let them run again to their end."""
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-W",
            "ignore",
            "-c",
            _KILLED,
            str(folder),
            str(n_rounds),
            str(BATCH),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "n_rounds", [pytest.param(2, id="2"), pytest.param(50, id="50", marks=pytest.mark.full)]
)
def test_a_killed_query_goes_on_where_it_stopped(tmp_path: Path, n_rounds: int) -> None:
    rounds = killed(tmp_path, n_rounds)
    assert len(rounds) == 4 * n_rounds
    for one in rounds:
        assert one["clean"] == [["ok"]]
        assert one["committed"] <= one["kept"] <= one["asked"] <= one["kept"] + BATCH
        assert one["asked"] + one["again"] == one["whole"] + (one["asked"] - one["kept"])
        assert one["same"]
    assert any(0 < one["kept"] < one["whole"] for one in rounds), "some were in the midst of it"
