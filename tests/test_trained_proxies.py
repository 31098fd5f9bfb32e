"""Proxies that outlive the query that trained them: what they save, who may use them, drift."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

import thresher
from thresher.drift import histogram_of, ranked, shift_of
from thresher.errors import DataError, Error
from thresher.forgetting import Unwanted, drop_labels
from thresher.labels import LabelStore
from thresher.stored_proxies import (
    Check,
    TrainedRecord,
    checks_of,
    find_trained,
    keep_check,
    keep_trained,
    last_trained,
    shelved,
)
from thresher.trained import Trained

BOTH = "RECALL TARGET 90% PRECISION TARGET 90%"
RECALL = "RECALL TARGET 90% ORACLE LIMIT 500"
KIND = ["lovely", "warm", "friendly", "tasty", "quick", "clean", "bright", "gentle"]
DULL = ["table", "door", "street", "letter", "window", "paper", "number", "summer", "bottle"]
COLUMNS = ["i", "text", "good"]
N_ROWS = 1200
MORE = N_ROWS + 100  # the same statement over as many rows would be the same run again


@functools.cache
def texts(n_rows: int, seed: int, *, swapped: bool = False) -> list[tuple[int, str, bool]]:
    """Texts of eight words; good ones, a tenth of them, have two or three words of a kind."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_rows):
        good = bool(rng.random() < 0.1)
        n_kind = rng.integers(2, 4) if good != swapped else rng.integers(0, 2)
        words = [*rng.choice(KIND, n_kind), *rng.choice(DULL, 8 - n_kind)]
        rows.append((i, f"{' '.join(rng.permutation(words))} {seed}.{i}", good))
    return rows


def filled(con: thresher.Connection, rows: list[tuple[int, str, bool]]) -> None:
    con.connection.register("given", pa.table(list(zip(*rows, strict=True)), names=COLUMNS))
    con.connection.execute("CREATE TABLE notes AS SELECT * FROM given")
    con.connection.unregister("given")


def opened(
    path: Path | None, rows: list[tuple[int, str, bool]], version: str = "1"
) -> thresher.Connection:
    """A connection with some rows, and an oracle that knows them."""
    con = thresher.connect(labels=path)
    filled(con, rows)
    truth = {text: good for _, text, good in rows}
    con.create_oracle(
        "good", lambda found: [truth[t] for t in found], args={"text": "VARCHAR"}, version=version
    )
    return con


def asked(con: thresher.Connection, tail: str, condition: str = "good(text)") -> thresher.Cursor:
    cursor = con.execute(f"SELECT i FROM notes WHERE {condition} {tail} SEED 3")
    found = {row[0] for row in cursor.fetchall()}
    cursor.found = found  # type: ignore[attr-defined]
    return cursor


def n_labels(con: thresher.Connection, tail: str, condition: str = "good(text)") -> int:
    certificate = asked(con, tail, condition).certificate
    assert certificate is not None
    assert certificate.met
    return certificate.n_labels


@pytest.fixture(scope="module")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label store that one query over other rows has left."""
    path = tmp_path_factory.mktemp("store") / "notes.labels"
    with opened(path, texts(N_ROWS, 1)) as con:
        assert n_labels(con, BOTH) > 0
    return path


@pytest.fixture
def store_path(trained_store: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    path = tmp_path / "copy.labels"
    source = LabelStore(trained_store)
    with source.file.using() as db:
        db.execute("VACUUM INTO ?", (str(path),))
    source.close()
    return path


@pytest.mark.parametrize(
    "tail",
    [
        BOTH,
        "LIMIT 60",
        pytest.param(RECALL, id="recall"),
    ],
)
def test_new_rows_take_fewer_labels_since_the_proxy_was_kept(store_path: Path, tail: str) -> None:
    rows = texts(MORE, 2)
    with opened(None, rows) as con:
        without = asked(con, tail)
    with opened(store_path, rows) as con:
        kept = asked(con, tail)
        assert kept.certificate is not None
        assert without.certificate is not None
        (report,) = kept.certificate.trained
        assert "tfidf of an earlier query, trained on" in str(kept.certificate)
        assert not report.declared
        assert report.n_labels >= 50
        assert not report.weaker
        assert kept.certificate.verify().ok
        stages = {s.stage: s.n_rows for s in kept.certificate.stages}
        assert stages.get("fit", 0) <= 150
        if tail.startswith("RECALL") and "PRECISION" not in tail:
            assert kept.certificate.n_labels <= without.certificate.n_labels
            assert len(kept.found) < len(without.found)  # type: ignore[attr-defined]
        else:
            assert kept.certificate.n_labels < without.certificate.n_labels


QUERY = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_trained_proxies import MORE, asked, opened, texts
with opened(Path(sys.argv[1]), texts(MORE, int(sys.argv[3]))) as con:
    certificate = asked(con, "LIMIT 60").certificate
    print(certificate.n_labels, len(certificate.trained))
"""


def test_another_process_uses_what_one_has_trained(store_path: Path) -> None:
    def run(seed: int) -> list[int]:
        found = subprocess.run(
            [sys.executable, "-P", "-c", QUERY, str(store_path), str(Path(__file__).parent),
             str(seed)],
            capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return [int(word) for word in found.stdout.split()]

    labels, n_trained = run(2)
    assert n_trained == 1
    with opened(None, texts(MORE, 2)) as con:
        assert labels < n_labels(con, "LIMIT 60")


def test_others_are_not_reused(store_path: Path) -> None:
    rows = texts(600, 5)
    tail = "LIMIT 20"

    def trained(con: thresher.Connection, condition: str = "good(text)") -> int:
        certificate = asked(con, tail, condition).certificate
        assert certificate is not None
        return len(certificate.trained)

    with opened(store_path, rows) as con:
        assert trained(con) == 1
        assert trained(con, "NOT good(text)") == 0
        con.execute("SET thresher_reuse_labels = false")
        assert trained(con) == 0
        con.execute("SET thresher_reuse_labels = true")
        assert trained(con, "good(lower(text || ''))") == 1
        con.execute("DROP PROXY good_tfidf")
        assert trained(con, "good(lower(text))") == 0
    with opened(store_path, rows, version="2") as con:
        assert trained(con) == 0


@pytest.mark.parametrize(
    "query",
    [
        "SELECT i, good(text) FROM notes ACCURACY TARGET 95%",
        "SELECT count(*) FROM notes WHERE good(text) ORACLE LIMIT 300",
    ],
)
def test_labels_and_counts_begin_with_it_too(store_path: Path, query: str) -> None:
    with opened(store_path, texts(900, 6)) as con:
        cursor = con.execute(f"{query} SEED 3")
        cursor.fetchall()
        assert cursor.certificate is not None
        assert len(cursor.certificate.trained) == 1
        assert cursor.certificate.verify().ok


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("SELECT i FROM notes WHERE i < 0 AND good(text) LIMIT 3", []),
        (f"SELECT i FROM notes WHERE i < 0 AND good(text) {BOTH}", []),
        ("SELECT i, good(text) FROM notes WHERE i < 0 ACCURACY TARGET 90%", []),
        ("SELECT count(*) FROM notes WHERE i < 0 AND good(text) ERROR WITHIN 10%", [(0, 0, 0)]),
    ],
)
def test_of_no_rows_there_is_nothing_to_score(
    store_path: Path, query: str, found: list[object]
) -> None:
    with opened(store_path, texts(50, 2)) as con:
        cursor = con.execute(query)
        assert cursor.fetchall() == found
        assert cursor.certificate is not None
        assert cursor.certificate.n_labels == 0
        assert cursor.certificate.met


def test_a_query_that_is_repeated_begins_with_what_was_there_at_first(tmp_path: Path) -> None:
    path = tmp_path / "notes.labels"
    rows = texts(900, 7)
    with opened(path, rows) as con:
        first = asked(con, RECALL)
        again = asked(con, RECALL)
        assert first.certificate is not None
        assert again.certificate is not None
        assert again.certificate.n_labels == 0
        assert again.certificate.trained == ()
        assert again.found == first.found  # type: ignore[attr-defined]
        later = asked(con, RECALL.replace("500", "300"))
        assert later.certificate is not None
        assert len(later.certificate.trained) == 1


def test_a_repeated_query_whose_proxy_is_gone_draws_other_rows(store_path: Path) -> None:
    rows = texts(900, 7)
    with opened(store_path, rows) as con:
        first = asked(con, RECALL).certificate
        con.execute("DROP PROXY good_tfidf")
        again = asked(con, RECALL).certificate
        assert first is not None
        assert again is not None
        assert len(first.trained) == 1
        assert again.trained == ()

        def sampled(certificate: thresher.Certificate) -> set[int]:
            log = certificate.log
            assert log is not None
            return {r["row"] for r in log.to_pylist() if r["stage"].startswith("sample")}

        assert sampled(first) != sampled(again)


def test_rows_that_have_changed_are_told_of(store_path: Path) -> None:
    with opened(store_path, texts(MORE, 2, swapped=True)) as con:
        cursor = asked(con, RECALL)
        certificate = cursor.certificate
        assert certificate is not None
        (report,) = certificate.trained
        assert report.weaker
        assert report.shifted
        assert "It has drifted" in str(certificate)
        assert certificate.met
        assert certificate.verify().ok
        table = con.execute("SHOW PROXIES").fetchall()
        assert table[0][:3] == ("good_tfidf", "good", "tfidf")
        told = con.execute("DESCRIBE PROXY good_tfidf").fetchall()
        assert "trained on" in dict(told)
    store = LabelStore(store_path)
    assert [check.drifted for check in checks_of(store.file, report.sha256)] == [True]
    store.close()


FROM = "CREATE PROXY p FOR good USING tfidf TRAINED FROM"


def test_a_proxy_is_trained_when_it_is_declared_and_serves_later_connections(
    tmp_path: Path,
) -> None:
    path = tmp_path / "notes.db"
    rows = texts(MORE, 2)

    def open_file() -> thresher.Connection:
        return thresher.connect(path, labels=None)

    with open_file() as con:
        filled(con, rows)
        con.execute(
            "CREATE ORACLE good(text VARCHAR) RETURNS BOOLEAN USING column "
            "WITH (table = 'notes', key = 'text', value = 'good')"
        )
        con.execute(f"{FROM} (SELECT text, good FROM notes WHERE i < 600)")
        row = con.execute("SHOW PROXIES").fetchall()
        assert row[0][:4] == ("p", "good", "tfidf", "600 labels")
    with open_file() as con:
        told = dict(con.execute("DESCRIBE PROXY p").fetchall())
        assert told["trained from"] == "(SELECT text, good FROM notes WHERE i < 600)"
        assert "cross-validated" in told["auc"]
        plan = "\n".join(
            r[0]
            for r in con.execute(f"EXPLAIN SELECT i FROM notes WHERE good(text) {BOTH}").fetchall()
        )
        assert "p, trained when it was declared" in plan
        assert "trained on 600 labels before" in " ".join(plan.split())
        certificate = asked(con, RECALL, "i >= 600 AND good(text)").certificate
        assert certificate is not None
        assert next(s.stage for s in certificate.stages) != "fit"
        assert certificate.trained[0].declared
        assert certificate.trained[0].auc_here is not None
        assert con.execute("SHOW PROXIES").fetchall()[0][5].startswith("none: AUC")
        con.execute("CREATE OR REPLACE PROXY p FOR good USING tfidf")
        assert con.execute("SHOW PROXIES").fetchall()[0][3] is None
        con.execute(f"{FROM.replace('CREATE', 'CREATE OR REPLACE TEMP')} (SELECT text FROM notes)")
        assert con.execute("SHOW PROXIES").fetchall()[0][3].endswith(" labels")
        con.execute("DROP PROXY p")
        con.execute("DROP PROXY p")
        assert con.execute("SHOW PROXIES").fetchall() == []


@pytest.mark.parametrize(
    ("relation", "told"),
    [
        ("(SELECT i, text, good FROM notes)", "needs the columns (text, label)"),
        ("(SELECT text, false FROM notes)", "0 of them true: a proxy needs at least 5"),
        ("(SELECT text FROM notes)", "0 rows have a label"),
        ("nowhere", "nowhere does not exist"),
        ("", "in brackets, or the name of a table, got the end"),
        ("notes WITH (a = 1)", "unexpected WITH"),
    ],
)
def test_what_nothing_can_be_trained_from_is_refused(relation: str, told: str) -> None:
    with opened(None, texts(50, 1)) as con:
        with pytest.raises(Error) as caught:
            con.execute(f"{FROM} {relation}")
        assert told in str(caught.value)
        assert con.execute("SHOW PROXIES").fetchall() == []
        with pytest.raises(Error, match="tfidf and embedding are trained"):
            con.execute(
                "CREATE PROXY k FOR good USING keywords WITH (words = ['a']) TRAINED FROM notes"
            )


# What is kept


def record(question: str, body: bytes, name: str = "p", version: str = "v1") -> TrainedRecord:
    sha = f"{hash((question, body)) & (2**64 - 1):064x}"
    return TrainedRecord(question, "x", name, {"good": version}, 100, 0.9, sha, body)


def test_three_of_a_question_are_kept_and_found_as_they_were_at_a_time() -> None:
    store = LabelStore(None)
    for i in range(5):
        keep_trained(store.file, record("q", bytes([i])))
        keep_trained(store.file, record("q", bytes([i])))
    with store.file.using() as db:
        seqs = [row[0] for row in db.execute("SELECT seq FROM trained_proxies ORDER BY seq")]
        assert last_trained(db) == seqs[-1]
        assert db.execute("SELECT count(*) FROM trained_proxies").fetchone() == (3,)
    assert find_trained(store.file, "q", "x", seqs[1]) == (record("q", b"\3").sha256, b"\3")
    assert find_trained(store.file, "q", "x", seqs[0] - 1) is None
    assert find_trained(store.file, "other", "x", 9) is None


def test_what_is_too_much_goes_the_least_used_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thresher.stored_proxies._MOST_BYTES", 2500)
    store = LabelStore(None)
    for question in "ab":
        keep_trained(store.file, record(question, bytes(1000)))
    assert find_trained(store.file, "a", "x", 9) is not None
    keep_trained(store.file, record("c", bytes(1000)))
    assert [find_trained(store.file, q, "x", 9) is not None for q in "abc"] == [True, False, True]


def test_gc_drops_the_proxies_of_versions_without_labels() -> None:
    store = LabelStore(None)
    for version, name in (("v1", "old"), ("v2", "new")):
        keep_trained(store.file, record(version, b"1", name, version))
        store.put(version, "good", [f"{1:064x}"], [True], [None], 0.0)
        keep_check(store.file, Check(record(version, b"1").sha256, "c", 5, 0.5, 0.1, False))
    drop_labels(store, Unwanted(version="v1"))
    assert [one.name for one in shelved(store.file)] == ["new"]
    assert checks_of(store.file, record("v1", b"1").sha256) == []
    assert len(checks_of(store.file, record("v2", b"1").sha256)) == 1


def test_the_checks_of_a_proxy_stay_few() -> None:
    store = LabelStore(None)
    for i in range(60):
        keep_check(store.file, Check("sha", f"run {i // 2}", 5, None, 0.0, False))
    runs = [check.run for check in checks_of(store.file, "sha")]
    assert runs == [f"run {i}" for i in range(29, 9, -1)]


def test_what_is_kept_is_plain_arrays_and_nothing_else_is_read() -> None:
    scores = np.linspace(0, 1, 50)
    rows = np.arange(10, dtype=np.uint64)
    learnt = {"words": np.arange(5, dtype=np.int32), "intercept": np.array([0.5])}
    found = ranked(scores, scores > 0.5)
    trained = Trained(
        learnt, 10, 4, 0.9, 0.3, 0.01, found, histogram_of(scores), rows,
        np.zeros(10, dtype=np.float32),
    )  # fmt: skip
    packed = trained.pack()
    again = Trained.unpack(packed)
    assert again.pack() == packed
    assert again.quality == found
    assert again.learnt["words"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="cannot be read"):
        Trained.unpack(packed[:40])
    import io

    evil = io.BytesIO()
    np.savez(evil, allow_pickle=True, facts=np.array([object()]))
    with pytest.raises(DataError, match="cannot be read"):
        Trained.unpack(evil.getvalue())


# Drift


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.booleans(), st.integers(1, 3)), min_size=2, max_size=12
    )
)
def test_an_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool, int]]) -> None:
    scores, truth, weights = (np.array(part) for part in zip(*rows, strict=True))
    found = ranked(scores.astype(float), truth, weights.astype(float))
    pairs = [
        (w * v, 1.0 if s > r else 0.5 if s == r else 0.0)
        for s, t, w in rows for r, u, v in rows if t and not u
    ]  # fmt: skip
    if not pairs:
        assert found is None
        return
    assert found is not None
    total = sum(weight for weight, _ in pairs)
    assert found.auc == pytest.approx(sum(weight * won for weight, won in pairs) / total)
    assert found.error >= 0


def test_chance_is_seldom_called_drift() -> None:
    rng = np.random.default_rng(4)
    n_trials, n_weaker, n_shifted = 400, 0, 0
    for _ in range(n_trials):
        truth = rng.random(900) < 0.2
        scores = rng.normal(truth * 1.5)
        then = ranked(scores[:450], truth[:450])
        now = ranked(scores[450:], truth[450:])
        assert then is not None
        assert now is not None
        n_weaker += now.is_below(then)
        n_shifted += shift_of(histogram_of(scores[:450]), scores[450:])[1]
    assert binom.sf(n_weaker - 1, n_trials, 0.02) > 1e-6
    assert binom.sf(n_shifted - 1, n_trials, 0.001) > 1e-6


def near_perfect(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    truth = rng.random(n_rows) < 0.4
    return np.where(truth, 0.9993, 4.5e-4) + rng.normal(0, 1e-6, n_rows)


def two_values(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    return np.where(rng.random(n_rows) < 0.4, 0.9993069, 4.52e-4)


def five_values(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    return rng.choice([0.0, 0.1, 0.2, 0.5, 1.0], n_rows, p=[0.5, 0.2, 0.15, 0.1, 0.05])


def one_value(_rng: np.random.Generator, n_rows: int) -> np.ndarray:
    return np.full(n_rows, 0.3)


def half_zero(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    return np.where(rng.random(n_rows) < 0.5, 0.0, rng.beta(0.3, 2, n_rows))


SPREAD = [near_perfect, two_values, five_values, one_value, half_zero]


@pytest.mark.parametrize("drawn", SPREAD)
def test_ties_are_seldom_called_drift(
    drawn: Callable[[np.random.Generator, int], np.ndarray],
) -> None:
    rng = np.random.default_rng(5)
    n_trials, n_shifted = 800, 0
    for trial in range(n_trials):
        n_then, n_now = [(1000, 1000), (200, 2000), (100, 100), (2000, 50)][trial % 4]
        then, now = drawn(rng, n_then), drawn(rng, n_now) + rng.normal(0, 1e-8, n_now)
        n_shifted += shift_of(histogram_of(then), now)[1]
    assert binom.sf(n_shifted - 1, n_trials, 0.001) > 1e-6


@pytest.mark.parametrize("drawn", SPREAD)
def test_rounding_is_no_drift_and_what_matters_is(
    drawn: Callable[[np.random.Generator, int], np.ndarray],
) -> None:
    rng = np.random.default_rng(6)
    scores = drawn(rng, 2000)
    then = histogram_of(scores)
    for noise in (1e-9, 1e-8, 1e-7):
        assert shift_of(then, scores + rng.normal(0, noise, 2000))[0] < 0.01
    assert shift_of(then, scores.astype(np.float32).astype(np.float64))[0] < 0.01
    for end in (0.0, 1.0):  # all of a sudden most rows look alike
        moved = np.where(rng.random(2000) < 0.8, np.quantile(scores, end) + 0.2 * end, scores)
        assert shift_of(then, moved)[1] or (drawn is one_value and end == 0.0)
    assert shift_of(then, rng.random(2000))[1]


@pytest.mark.parametrize("twice", [False, True])
def test_a_sure_proxy_over_the_same_rows_has_not_drifted(
    twice: bool,
) -> None:
    rng = np.random.default_rng(7)
    truth = rng.random(6000) < 0.4
    often = twice & (rng.random(6000) < 0.5)
    numbers = np.where(often, rng.integers(20, size=6000), np.arange(6000))
    rows = [f"a {'joy' if t else 'bore'}, part {n}" for t, n in zip(truth, numbers, strict=True)]

    def sure(batch: list[str]) -> list[bool]:
        return ["joy" in text for text in batch]

    with thresher.connect() as con:
        con.connection.register("given", pa.table({"text": rows}))
        con.connection.execute("CREATE TABLE films AS SELECT * FROM given")
        con.create_oracle("sure", sure, args=["VARCHAR"], version="1")
        con.execute("SELECT * FROM films WHERE sure(text) PRECISION TARGET 95% SEED 1")
        cursor = con.execute("SELECT * FROM films WHERE sure(text) RECALL TARGET 90% SEED 2")
        certificate = cursor.certificate
        assert certificate is not None
        (report,) = certificate.trained
        assert not report.shifted
        assert report.shift < 0.1
        assert "drifted" not in str(certificate)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_scores_that_are_all_equal_have_a_histogram(value: float) -> None:
    same = np.full(100, value)
    assert shift_of(histogram_of(same), same) == (pytest.approx(0.0), False)
    assert shift_of(histogram_of(same), same + 0.1)[1]
    assert shift_of(histogram_of(np.zeros(0)), same) == (0.0, False)


# Validity


@pytest.mark.statistical
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("useless", marks=pytest.mark.full),
        pytest.param("inverted", marks=pytest.mark.full),
        pytest.param("constant", marks=pytest.mark.full),
        "learnt from the sample",
    ],
)
def test_a_bad_proxy_costs_labels_and_never_the_promise(how: str) -> None:
    delta, n_trials, n_rows = 0.2, 10, 500
    rng = np.random.default_rng(11)
    n_failed = n_vacuous = 0
    for trial in range(n_trials):
        rows = texts(n_rows, 100 + trial)
        with opened(None, rows) as con:
            labels = {
                "useless": "random() < 0.5", "inverted": "NOT good", "constant": "i % 2 = 0",
                "learnt from the sample": "good",
            }  # fmt: skip
            con.execute(f"SELECT setseed({rng.random()})")
            con.execute(f"CREATE TABLE lesson AS SELECT text, {labels[how]} AS label FROM notes")
            tail = "RECALL TARGET 80% WITH PROBABILITY 80% ORACLE LIMIT 200"
            if how == "learnt from the sample":
                asked(con, f"USING length(text) {tail}")  # labels of its sample and no others
                con.execute(f"{FROM} (SELECT text FROM notes)")
            else:
                taken = "text" if how != "constant" else "'same'"
                con.execute(f"{FROM} (SELECT {taken} AS text, label FROM lesson)")
            cursor = con.execute(f"SELECT i FROM notes WHERE good(text) USING p {tail} SEED 3")
            found = {row[0] for row in cursor.fetchall()}
            good = {i for i, _, is_good in rows if is_good}
            n_failed += len(found & good) < 0.8 * len(good)
            n_vacuous += len(found) > 0.97 * n_rows
    assert binom.sf(n_failed - 1, n_trials, delta) > 1e-6
    if how == "learnt from the sample":
        assert n_vacuous < n_trials / 2


DATA = os.environ.get("THRESHER_DATA", "")


@pytest.mark.skipif(
    not Path(DATA, "sms_spam.parquet").is_file(), reason="THRESHER_DATA names no folder with data"
)
def test_real_messages_that_are_new_take_fewer_labels(tmp_path: Path) -> None:
    table = f"'{DATA}/sms_spam.parquet'"

    def opened_file(path: Path | None) -> thresher.Connection:
        con = thresher.connect(labels=path)
        distinct = f"SELECT DISTINCT ON (text) id, text, is_spam FROM {table} ORDER BY text, id"
        con.execute(f"CREATE TABLE sms AS FROM ({distinct}) ORDER BY hash(text)")
        con.execute(
            "CREATE ORACLE spam(text VARCHAR) RETURNS BOOLEAN USING column "
            "WITH (table = 'sms', key = 'text', value = 'is_spam')"
        )
        return con

    def labels(con: thresher.Connection, part: int, tail: str = "ACCURACY TARGET 97%") -> int:
        query = f"SELECT id FROM sms WHERE hash(text) % 2 = {part} AND spam(text) {tail}"
        cursor = con.execute(f"{query} SEED 5")
        cursor.fetchall()
        assert cursor.certificate is not None
        return cursor.certificate.n_labels

    with opened_file(None) as con:
        without = labels(con, 1)
    with opened_file(tmp_path / "sms.labels") as con:
        labels(con, 0, BOTH)
    with opened_file(tmp_path / "sms.labels") as con:
        assert labels(con, 1) < 0.7 * without
