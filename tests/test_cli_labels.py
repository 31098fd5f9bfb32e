"""`thresher labels`: export, import and gc as a user meets them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from thresher.cli import main
from thresher.labels import LabelStore

KEYS = [f"{number:064x}" for number in range(30)]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    store = LabelStore(tmp_path / "films.duckdb.labels")
    store.put("1a2b", "is_good", KEYS, [True] * 30, [None] * 30, 3.0)
    store.put("3c4d", "is_good", KEYS[:5], [False] * 5, [None] * 5, 0.5)
    store.close()
    return tmp_path / "films.duckdb"


def labels(*args: str | Path) -> int:
    return main(["labels", *map(str, args)])


def n_labels(db: Path) -> int:
    store = LabelStore(db.with_name(f"{db.name}.labels"))
    count = len(store.get("1a2b", KEYS)) + len(store.get("3c4d", KEYS))
    store.close()
    return count


class Terminal(io.StringIO):
    """Standard input of a person."""

    def isatty(self) -> bool:
        return True


def test_labels_go_from_store_to_store(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = tmp_path / "x.parquet", tmp_path / "other"
    assert labels("export", "--db", db, path) == 0
    assert capsys.readouterr().out == f"35 labels written to {path}\n"
    store = LabelStore(other)
    store.put("3c4d", "is_good", KEYS[:2], [False, True], [None] * 2, 0.0)
    store.close()
    assert labels("import", "--labels", other, path) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        f"33 labels new, 1 already there, 1 in conflict: the answers in {other} stay\n"
    )
    assert labels("import", "--db", db, path) == 0
    assert capsys.readouterr().out == "0 labels new, 35 already there\n"


def test_gc_shows_what_would_go(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert labels("gc", "--db", db, "--superseded", "--dry-run") == 0
    assert capsys.readouterr().out == (
        "is_good 1a2b: 30 labels that cost $3.00, 0 stay\n30 labels would be dropped\n"
    )
    assert n_labels(db) == 35


def test_gc_asks_nobody_where_nobody_is(
    db: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert labels("gc", "--db", db, "--version", "3c") == 0
    assert capsys.readouterr().out.endswith("5 labels dropped\n")
    assert n_labels(db) == 30
    assert labels("gc", "--db", db) == 0
    assert capsys.readouterr().out == "0 labels dropped\n"


@pytest.mark.parametrize(
    ("said", "options", "n_left"),
    [("y\n", [], 5), ("no\n", [], 35), ("", [], 35), ("no\n", ["--yes"], 5)],
)
def test_gc_asks_a_person(
    db: Path, monkeypatch: pytest.MonkeyPatch, said: str, options: list[str], n_left: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    assert labels("gc", "--db", db, "--version", "1a2b", *options) == 0
    assert n_labels(db) == n_left


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["export", "x.parquet"], "one of the arguments --db --labels is required"),
        (["export", "--db", "a", "--labels", "b", "x.parquet"], "not allowed with"),
        (["export", "--db", "absent", "x.parquet"], "there is no label store absent.labels"),
        (["gc", "--labels", "absent"], "there is no label store absent"),
        (["gc", "--labels", "absent", "--older-than", "-1"], "days, 0 or more, got '-1'"),
    ],
)
def test_wrong_usage(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        labels(*args)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_a_failure_is_told(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("no Parquet")
    assert labels("import", "--db", db, tmp_path / "x") == 1
    assert "DataError: " in capsys.readouterr().err
