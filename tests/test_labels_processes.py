"""The label store under many processes: opened at once, written at once, killed at any moment."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from thresher import store_file
from thresher.errors import OperationalError
from thresher.label_batches import shown_labels
from thresher.labels import LabelStore

_EIGHT = """
import os
import sys
import time
import traceback

import pandas  # all that a query loads, before the processes part
import thresher
import thresher.auditing
import thresher.oracles.function
import thresher.session
from thresher.labels import LabelStore

place = sys.argv[1]


def opening(process):
    for number in range(30):
        time.sleep(max(0.0, begin + 0.02 * number - time.time()))
        store = LabelStore(f"{place}{number}")
        store.put("v", "o", [f"{process:064x}"], [True], [None], 0.0)
        store.close()


def sharing(process):
    store = LabelStore(place)
    for first in range(0, 400, 20):
        numbers = [(first + 50 * process + i) % 400 for i in range(20)]
        keys = [f"{number:064x}" for number in numbers]
        store.put("v", "o", keys, numbers, [None] * 20, 0.1)
        assert store.get("v", keys).keys() == set(keys)
    store.close()
    first = 50 * process
    with thresher.connect(labels=place, config={"seed": process}) as con:
        answer = lambda numbers: [number % 2 == 0 for number in numbers]
        con.create_oracle("is_even", answer, args=["BIGINT"], version="1", batch_size=50)
        found = con.execute(
            f"SELECT i FROM range({first}, {first + 200}) r(i) WHERE is_even(i) ORDER BY i"
        ).fetchall()
    assert found == [(i,) for i in range(first, first + 200, 2)]


gate, opener = os.pipe()
for process in range(8):
    if os.fork() == 0:
        failed = 1
        try:
            os.close(opener)
            os.read(gate, 1)
            begin = time.time()
            globals()[sys.argv[2]](process)
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
os.close(opener)
sys.exit(sum(os.wait()[1] != 0 for _ in range(8)))
"""


def eight(place: Path, work: str) -> None:
    """Run one of the works of `_EIGHT` in eight processes that begin together."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", _EIGHT, str(place), work],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_who_meets_another_process_in_a_new_file_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.labels"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr(store_file.time, "sleep", sleep)
    store = LabelStore(path)
    assert len(waited) == 3
    assert max(waited) <= 0.02
    assert store.last() == 0
    store.close()
    other.close()


def test_a_file_that_another_process_never_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.labels"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(store_file, "_BUSY_S", 0.0)
    with pytest.raises(OperationalError, match=r"new\.labels fails: database is locked"):
        LabelStore(path)
    other.close()


def test_eight_processes_open_new_files_at_once(tmp_path: Path) -> None:
    eight(tmp_path / "new", "opening")
    for number in range(30):
        store = LabelStore(tmp_path / f"new{number}")
        assert len(store.facts("v", store.last()).answers) == 8
        store.close()


def test_eight_processes_write_into_one_file_at_once(tmp_path: Path) -> None:
    """They put the same keys and run queries over the same rows; the file is new to all."""
    path = tmp_path / "shared.labels"
    eight(path, "sharing")
    store = LabelStore(path)
    found = store.get("v", [f"{number:064x}" for number in range(400)])
    assert [answer for answer, _ in found.values()] == list(range(400))
    table = pa.Table.from_batches(shown_labels(store.file, store.last()))
    kept = list(
        zip(*(table[name].to_pylist() for name in ("version", "input_sha256")), strict=True)
    )
    assert len(kept) == len(set(kept)) == 400 + 550
    assert [row[2:7] for row in store.spend() if row[1] == "v"] == [
        ("oracle", 8 * 400, 8 * 400, 0.0, pytest.approx(8 * 20 * 0.1))
    ]
    assert len(store.certificates()) == 8
    store.close()
