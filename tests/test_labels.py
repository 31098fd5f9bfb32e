"""The label store: nothing paid for is lost, nothing is paid for twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from thresher.errors import OperationalError
from thresher.labels import LabelStore

KEY_A, KEY_B, KEY_C = ("aa" * 32, "bb" * 32, "cc" * 32)


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "films.duckdb.labels")


def test_answers_of_every_type_come_back_as_they_went_in(store: LabelStore) -> None:
    for version, values in {"text": ["a", "b"], "real": [0.5, -1.0], "whole": [3, 2**60]}.items():
        store.put(version, "o", [KEY_A, KEY_B], values, [None, 0.9], 0.0)
        found = store.get(version, [KEY_B, KEY_A, KEY_C])
        assert [found[KEY_A][0], found[KEY_B][0]] == values
        assert KEY_C not in found


def test_an_answer_is_never_overwritten(store: LabelStore) -> None:
    store.put("v", "o", [KEY_A], [True], [None], 0.0)
    store.put("v", "o", [KEY_A], [False], [None], 0.0)
    assert store.get("v", [KEY_A])[KEY_A][0] == 1


def test_versions_do_not_share_labels(store: LabelStore) -> None:
    store.put("v1", "o", [KEY_A], [True], [None], 0.0)
    assert store.get("v2", [KEY_A]) == {}


def test_more_keys_than_sqlite_takes_variables(store: LabelStore) -> None:
    keys = [f"{i:064x}" for i in range(5000)]
    store.put("v", "o", keys, list(range(5000)), [None] * 5000, 1.0)
    found = store.get("v", keys)
    assert [found[k][0] for k in keys] == list(range(5000))
    assert sum(row[5] for row in store.labels()) == pytest.approx(1.0)


def test_a_run_keeps_its_seed_and_its_facts(store: LabelStore) -> None:
    store.put("v", "o", [KEY_A], [True], [None], 0.0)
    first = store.begin("query", 7, {"v": 0.5})
    store.put("v", "o", [KEY_B], [True], [None], 0.0)
    again = store.begin("query", 8, {"v": 2.0})
    assert again == first
    assert first.seed == 7
    assert store.facts("v", again.known_until)[0] == [KEY_A]
    assert store.begin("another", 1, {}).known_until == store.last() > first.known_until


def test_two_connections_see_each_other(tmp_path: Path) -> None:
    one, two = LabelStore(tmp_path / "s"), LabelStore(tmp_path / "s")
    one.put("v", "o", [KEY_A], [True], [None], 0.0)
    two.put("v", "o", [KEY_B], [False], [None], 0.0)
    assert set(one.get("v", [KEY_A, KEY_B])) == {KEY_A, KEY_B}
    one.close()
    two.close()


def test_a_killed_process_loses_only_what_was_not_committed(tmp_path: Path) -> None:
    path = tmp_path / "killed.labels"
    script = (
        "import sys\n"
        "from thresher.labels import LabelStore\n"
        f"store = LabelStore({str(path)!r})\n"
        f"store.put('v', 'o', [{KEY_A!r}], [True], [None], 0.0)\n"
        "sys.stdout.write('committed\\n'); sys.stdout.flush()\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"committed\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    store = LabelStore(path)
    assert KEY_A in store.get("v", [KEY_A])
    store.close()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match=r"connect\(labels=None\)"):
        LabelStore(tmp_path / "no" / "such" / "folder" / "x.labels")


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_text("this is not SQLite at all, only some words in a file\n" * 40)
    with pytest.raises(OperationalError, match=r"the label store .* fails"):
        LabelStore(path)


def test_the_file_is_in_wal_mode(store: LabelStore) -> None:
    with sqlite3.connect(str(store.path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()
