"""The label store: nothing paid for is lost, nothing is paid for twice."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thresher
from thresher import label_batches, store_file, stored_labels
from thresher.errors import OperationalError
from thresher.label_batches import exported_labels, shown_labels
from thresher.labels import LabelStore, Pace
from thresher.oracles import Usage

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
    prices = pa.Table.from_batches(shown_labels(store.file, store.last())).column("cost_usd")
    assert sum(prices.to_pylist()) == pytest.approx(1.0)


def test_a_run_keeps_its_seed_and_its_facts(store: LabelStore) -> None:
    store.put("v", "o", [KEY_A], [True], [None], 0.0)
    first = store.begin("query", 7, {"v": 0.5})
    store.put("v", "o", [KEY_B], [True], [None], 0.0)
    again = store.begin("query", 8, {"v": 2.0})
    assert again == first
    assert first.seed == 7
    assert store.facts("v", again.known_until).hex_keys().to_pylist() == [KEY_A]
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


def test_what_labels_cost_is_queryable(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "t.duckdb.labels")
    store.put("v1", "dear", [KEY_A, KEY_B], [True, False], [None, None], 0.5, 2.0, (300, 8))
    store.put("v1", "dear", [KEY_B, KEY_C], [True, True], [None, None], 0.25, 1.0)
    store.put("v2", "free", [KEY_A], ["x"], [None], 0.0, 0.5)
    store.put("v3", "shared", [KEY_A, KEY_B, KEY_C], [1, 2, 3], [None] * 3, 0.1, 1.0, (9, 3), 2)
    store.put_scores("v4", "small", 40, Usage(41, (400, 41), 0.02), 1.5)
    store.put_scores("v4", "small", 10, Usage(10, None, 0.03), 0.5)
    assert store.score_pace("v4") == Pace(50, 2.0, 0.05, 40, 400, 41)
    assert store.score_pace("v1") is None
    store.close()
    with thresher.connect(str(tmp_path / "t.duckdb")) as con:
        spend = con.execute(
            "SELECT oracle, version, kind, n_labels, n_requests, seconds, cost_usd, n_tokens_in, "
            "n_tokens_out, last_bought_at >= first_bought_at FROM thresher_spend() "
            "ORDER BY cost_usd DESC"
        ).fetchall()
        kinds = con.execute("DESCRIBE FROM thresher_spend()").fetchall()
    # A label that was bought twice was paid for twice, although it is stored once.
    assert spend == [
        ("dear", "v1", "oracle", 4, 4, 3.0, 0.75, 300, 8, True),
        ("shared", "v3", "oracle", 3, 2, 1.0, 0.1, 9, 3, True),
        ("small", "v4", "proxy", 50, 51, 2.0, 0.05, 400, 41, True),
        ("free", "v2", "oracle", 1, 1, 0.5, 0.0, None, None, True),
    ]
    assert [kind[1] for kind in kinds] == [
        *("VARCHAR", "VARCHAR", "VARCHAR", "BIGINT", "BIGINT", "DOUBLE", "DOUBLE", "BIGINT"),
        "BIGINT",
        *("TIMESTAMP", "TIMESTAMP"),
    ]


def test_an_empty_store_has_cost_nothing() -> None:
    with thresher.connect() as con:
        assert con.execute("FROM thresher_spend()").fetchall() == []


ANSWERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)


@settings(deadline=None, max_examples=60)
@given(
    stored=st.lists(ANSWERS, max_size=30),
    others=st.integers(0, 40),
    span=st.integers(1, 9),
    wanted=st.lists(st.integers(0, 40), unique=True),
    mixed=st.booleans(),
)
def test_labels_are_found_however_they_are_read(
    stored: list[int | float | str], others: int, span: int, wanted: list[int], mixed: bool
) -> None:
    """Through the index or in order, by one span or many, alone or among other versions."""
    if not mixed:
        stored = [answer for answer in stored if isinstance(answer, int)]
    keys = [hashlib.sha256(b"%d" % i).hexdigest() for i in range(41)]
    store = LabelStore(None)
    store.put("other", "o", keys[:others], [-1] * others, [None] * others, 0.0)
    store.put("v", "o", keys[: len(stored)], stored, [None] * len(stored), 0.0)
    asked = [keys[i] for i in wanted]
    expected = {keys[i]: (stored[i], others + 1 + i) for i in wanted if i < len(stored)}
    for probe in (1, 10, 10**6):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(stored_labels, "_PROBE", probe)
            patched.setattr(stored_labels, "_SEQS", span)
            assert store.get("v", asked) == expected
            half = others + len(stored) // 2
            facts = store.facts("v", half)
        known = dict(zip(facts.hex_keys().to_pylist(), facts.answers, strict=True))
        assert known == dict(zip(keys, stored[: len(stored) // 2], strict=False))
        assert sorted(facts.seqs.tolist()) == list(range(others + 1, half + 1))
    store.close()


def test_a_label_that_is_asked_for_comes_at_its_place(store: LabelStore) -> None:
    keys = [f"{i:064x}" for i in range(400)]
    store.put("v", "o", keys[::2], list(range(0, 400, 2)), [None] * 200, 0.0)
    for asked in (keys[::-1], keys[:6]):  # in order, and through the index
        found = store.find("v", asked)
        assert [int(asked[place], 16) for place in found.places] == found.answers
        assert found.places.tolist() == sorted(found.places.tolist())
        assert len(found.seqs) == len(asked) // 2


def test_a_repeated_query_takes_every_label_from_the_store(tmp_path: Path) -> None:
    asked: list[int] = []

    def pos(numbers: list[int]) -> list[bool]:
        asked.extend(numbers)
        return [number % 3 == 0 for number in numbers]

    with thresher.connect(str(tmp_path / "t.duckdb"), config={"oracle_limit": 10**6}) as con:
        con.create_oracle("pos", pos, args=["BIGINT"], version="1", batch_size=5000)
        # Inputs repeat, and some are NULL: each distinct one is asked once.
        con.execute("CREATE TABLE t AS SELECT i, nullif(i % 9000, 7) AS n FROM range(20000) r(i)")
        expected = [i for i in range(20000) if i % 9000 != 7 and i % 9000 % 3 == 0]
        for condition, n_bought in (("pos(n)", 8999), ("pos(n)", 0), ("pos(n) AND i >= 0", 0)):
            cursor = con.execute(f"SELECT i FROM t WHERE {condition} ORDER BY i")
            assert [row[0] for row in cursor.fetchall()] == expected
            assert cursor.certificate is not None
            assert cursor.certificate.n_labels == n_bought
    assert sorted(asked) == [i for i in range(9000) if i != 7]


@settings(deadline=None, max_examples=40)
@given(
    parts=st.lists(
        st.lists(st.tuples(ANSWERS, st.none() | st.floats(0, 1)), min_size=1, max_size=6),
        max_size=5,
    ),
    span=st.integers(1, 9),
)
def test_labels_in_batches_are_those_in_the_store(
    parts: list[list[tuple[int | float | str, float | None]]], span: int
) -> None:
    store = LabelStore(None)
    expected = []
    for number, part in enumerate(parts):
        keys = [hashlib.sha256(b"%d %d" % (number, i)).hexdigest() for i in range(len(part))]
        store.put(f"v{number % 2}", "o", keys, *zip(*part, strict=True), 0.1 * number)
        each = 0.1 * number / len(part)
        version = f"v{number % 2}"
        expected += [("o", version, k, *row, each) for k, row in zip(keys, part, strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(label_batches, "_SEQS", span)
        shown = [row for b in shown_labels(store.file, store.last()) for row in b.to_pylist()]
        exported = [row for b in exported_labels(store.file, store.last()) for row in b.to_pylist()]
    with store.file.using() as db:
        cast = db.execute("SELECT CAST(answer AS TEXT) FROM labels ORDER BY seq").fetchall()
    store.close()
    texts = [row[0] for row in cast]
    names = ("oracle", "version", "input_sha256", "answer", "confidence", "cost_usd")
    found = [tuple(row[name] for name in names) for row in shown]
    assert found == [(*row[:3], text, *row[4:]) for row, text in zip(expected, texts, strict=True)]
    for row, (_, _, key, answer, *_) in zip(exported, expected, strict=True):
        there = [name for name in row if name.startswith("answer_") and row[name] is not None]
        answers = [row[name] for name in there]
        assert [(type(x), x) for x in answers] == [(type(answer), answer)]
        assert row["input_sha256"].hex() == key


def test_thresher_labels_is_read_anew_by_every_scan(tmp_path: Path) -> None:
    with thresher.connect(labels=tmp_path / "s") as con:
        con.create_oracle("is_even", lambda ids: [i % 2 == 0 for i in ids], args=["BIGINT"])
        con.execute("SELECT i FROM range(20) r(i) WHERE is_even(i)").fetchall()
        counted = con.execute(
            "SELECT count(*), min(a.answer), max(b.answer), count(DISTINCT a.bought_at) "
            "FROM thresher_labels() a JOIN thresher_labels() b USING (input_sha256)"
        ).fetchall()
        kinds = [row[1] for row in con.execute("DESCRIBE FROM thresher_labels()").fetchall()]
    assert counted == [(20, "false", "true", 1)]
    assert kinds == [*["VARCHAR"] * 4, "DOUBLE", "DOUBLE", "TIMESTAMP"]


@pytest.mark.parametrize("form", [0, 1])
def test_a_file_of_the_first_form_is_brought_up(tmp_path: Path, form: int) -> None:
    path = tmp_path / "old.labels"
    with sqlite3.connect(path) as db:
        db.executescript(store_file._TABLES)
        db.execute("DROP TABLE imports")
        db.execute(f"PRAGMA user_version = {form}")
        db.execute("INSERT INTO oracles VALUES (1, 'v', 'o')")
        db.execute("INSERT INTO paces VALUES (1, 1, 2.0, 0.5)")
        db.execute("INSERT INTO runs VALUES ('run', 7, 0, 1.0)")
        db.execute(
            "INSERT INTO labels VALUES (1, 1, ?, 'yes', NULL, 0.5, 1e9)", (bytes.fromhex(KEY_A),)
        )
    db.close()
    for _ in range(2):
        store = LabelStore(path)
        store.put("v", "o", [KEY_B], ["no"], [None], 0.25, 1.0, (10, 1))
        assert store.get("v", [KEY_A])[KEY_A] == ("yes", 1)
        assert store.begin("run", 1, {}).seed == 7
        store.close()
    store = LabelStore(path)
    assert store.pace("v") == Pace(3, 4.0, 1.0, n_counted=2, n_tokens_in=20, n_tokens_out=2)
    store.close()


def test_answers_are_shown_as_duckdb_writes_them() -> None:
    with thresher.connect() as con:
        kinds = {"BOOLEAN": [True, False], "BIGINT": [1, 0], "VARCHAR": ["true", "1"]}
        for kind, (one, other) in kinds.items():
            name = f"says_{kind}"
            con.create_oracle(
                name, lambda n, a=one, b=other: [a if i else b for i in n], ["BIGINT"], kind
            )
            wanted = f"'{one}'" if isinstance(one, str) else one
            con.execute(f"SELECT i FROM range(2) r(i) WHERE {name}(i) = {wanted}").fetchall()
            shown = con.execute(
                f"SELECT DISTINCT answer FROM thresher_labels() WHERE oracle ILIKE '{name}' "
                "ORDER BY ALL"
            ).fetchall()
            assert (
                shown
                == con.execute(
                    "SELECT a::VARCHAR FROM (VALUES (?), (?)) v(a) ORDER BY ALL", [one, other]
                ).fetchall()
            )
