"""Labels that are dropped: which go, what stays, and what can still be checked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import thresher
from thresher.forgetting import Dropped, Unwanted, drop_labels, find_unwanted
from thresher.labels import LabelStore

KEYS = [f"{number:064x}" for number in range(400)]


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    store = LabelStore(tmp_path / "x.labels")
    store.put("aaa1", "film", KEYS[:100], ["text " * 20] * 100, [None] * 100, 5.0)
    store.put("aab2", "film", KEYS[:50], [True] * 50, [None] * 50, 1.0)
    store.put("ccc3", "book", KEYS, [1] * 400, [None] * 400, 0.0)
    with store.file.writing() as db:
        old = time.time() - 10 * 86_400
        db.execute("UPDATE labels SET bought_at = ? WHERE seq <= 40 OR seq > 540", (old,))
    return store


@pytest.mark.parametrize(
    ("unwanted", "dropped"),
    [
        (Unwanted(), []),
        (Unwanted(oracle="book"), [("book", 400, 0)]),
        (Unwanted(oracle="film"), [("film", 100, 0), ("film", 50, 0)]),
        (Unwanted(version="aa"), [("film", 100, 0), ("film", 50, 0)]),
        (Unwanted(version="aab"), [("film", 50, 0)]),
        (Unwanted(superseded=True), [("film", 100, 0)]),
        (Unwanted(older_than_days=9), [("film", 40, 60), ("book", 10, 390)]),
        (Unwanted(oracle="film", older_than_days=9), [("film", 40, 60)]),
        (Unwanted(older_than_days=11), []),
        (Unwanted(oracle="book", superseded=True), []),
        (Unwanted(oracle="' OR 1 --"), []),
    ],
)
def test_what_meets_every_condition_goes(
    store: LabelStore, unwanted: Unwanted, dropped: list[tuple[str, int, int]]
) -> None:
    would = find_unwanted(store, unwanted)
    assert [(one.oracle, one.n_labels, one.n_kept) for one in would] == dropped
    spent = store.spend()
    assert drop_labels(store, unwanted) == would
    n_kept = sum(len(store.get(version, KEYS)) for version in ("aaa1", "aab2", "ccc3"))
    assert n_kept == 550 - sum(one[1] for one in dropped)
    assert [row[:6] for row in store.spend()] == [row[:6] for row in spent]
    store.close()


def test_what_goes_is_priced(store: LabelStore) -> None:
    found = find_unwanted(store, Unwanted(version="aaa1", older_than_days=9))
    assert found == [Dropped("film", "aaa1", 40, 60, pytest.approx(2.0))]
    store.close()


def test_its_room_is_given_back(store: LabelStore) -> None:
    assert store.path is not None
    with store.file.using() as db:
        db.execute("PRAGMA wal_checkpoint (TRUNCATE)")
    before = store.path.stat().st_size
    drop_labels(store, Unwanted(oracle="book"))
    assert store.path.stat().st_size < before
    with store.file.using() as db:
        assert db.execute("PRAGMA freelist_count").fetchone() == (0,)
    store.close()


def test_sequence_numbers_are_never_used_again(store: LabelStore) -> None:
    """Else a new label would pass for a fact of a run that began before it."""
    run = store.begin("query", 1, {})
    drop_labels(store, Unwanted(oracle="book"))
    drop_labels(store, Unwanted(oracle="film"))
    assert store.last() == 0
    store.put("ccc3", "book", KEYS[:1], [1], [None], 0.0)
    assert store.last() > run.known_until
    assert store.facts("ccc3", run.known_until).answers == []
    store.close()


def test_a_query_draws_the_same_rows_again_and_its_certificate_holds(tmp_path: Path) -> None:
    asked: list[int] = []

    def small(numbers: list[int]) -> list[bool]:
        asked.extend(numbers)
        return [number % 100 < 70 for number in numbers]

    statement = (
        "SELECT i FROM range(3000) r(i) WHERE is_small(i) USING (i % 100) / 100.0 "
        "RECALL TARGET 80% ORACLE LIMIT 300 SEED 7"
    )
    with thresher.connect(labels=tmp_path / "s") as con:
        con.create_oracle("is_small", small, args=["BIGINT"], version="1")
        cursor = con.execute(statement)
        found, certificate = cursor.fetchall(), cursor.certificate
        assert certificate is not None
        first, other = list(asked), LabelStore(tmp_path / "s")
        assert drop_labels(other, Unwanted(oracle="is_small"))[0].n_labels == len(first)
        other.close()
        assert con.execute("SELECT count(*) FROM thresher_labels()").fetchall() == [(0,)]
        assert con.verify(certificate.id).ok
        assert con.label_log(certificate.id).num_rows >= len(first)
        asked.clear()
        assert con.execute(statement).fetchall() == found
        assert asked == first
