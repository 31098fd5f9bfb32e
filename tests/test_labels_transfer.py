"""Labels as Parquet files: all of a label comes over; an import changes no run that had begun."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import thresher
from thresher.errors import DataError, OperationalError, OracleError
from thresher.label_batches import EXPORTED, exported_labels
from thresher.labels import Label, LabelStore
from thresher.labels_transfer import Imported, export_labels, import_labels

KEYS = [f"{number:064x}" for number in range(6)]
KINDS: dict[str, list[Label]] = {
    "truth": [True, False],
    "whole": [3, -(2**60)],
    "real": [0.1, -1.0],
    "text": ["", "a,b\0 ü"],
}
QUERY = """SELECT i FROM t WHERE is_small(i) USING (i % 100) / 100.0
RECALL TARGET 80% ORACLE LIMIT 300 SEED 7"""


def filled(path: Path) -> LabelStore:
    store = LabelStore(path)
    for version, answers in KINDS.items():
        store.put(version, f"{version}s", KEYS[:2], answers, [None, 0.75], 0.5)
    return store


def rows(store: LabelStore) -> list[dict[str, object]]:
    return [row for b in exported_labels(store.file, store.last()) for row in b.to_pylist()]


def test_all_of_a_label_comes_over(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one"), LabelStore(tmp_path / "two")
    path = tmp_path / "labels.parquet"
    assert export_labels(one, path) == 8
    assert import_labels(two, path) == Imported(8, 0, 0)
    assert rows(two) == rows(one)
    for version, answers in KINDS.items():
        found = two.get(version, KEYS)
        assert [answer for answer, _ in found.values()] == answers
    types = [field.type for field in EXPORTED][3:7]
    for row, kind in zip(rows(two)[::2], types, strict=True):
        there = [name for name in row if name.startswith("answer_") and row[name] is not None]
        assert [EXPORTED.field(name).type for name in there] == [kind]
    one.close()
    two.close()


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one"), LabelStore(None)
    path = tmp_path / "labels.parquet"
    export_labels(one, path)
    assert import_labels(one, path) == Imported(0, 8, 0)
    import_labels(two, path)
    before = rows(two), two.last()
    assert import_labels(two, path) == Imported(0, 8, 0)
    assert (rows(two), two.last()) == before
    assert two.spend() == [], "nothing was paid through this store"
    one.close()


def test_an_answer_that_differs_stays_and_is_counted(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one"), LabelStore(None)
    path = tmp_path / "labels.parquet"
    export_labels(one, path)
    two.put("truth", "truths", [KEYS[0], KEYS[2]], [False, True], [None, None], 0.0)
    two.put("text", "texts", [KEYS[0]], [""], [None], 0.0)
    assert import_labels(two, path) == Imported(6, 1, 1)
    assert [two.get("truth", [key])[key][0] for key in KEYS[:3]] == [0, 0, 1]
    one.close()


def test_many_batches_and_columns_of_other_tools(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    duckdb.sql(
        "SELECT 'o' AS oracle, 'v' AS version, unhex(format('{:064x}', i)) AS input_sha256, "
        "NULL::BOOLEAN AS answer_boolean, i::INTEGER AS answer_integer, NULL::DOUBLE AS "
        "answer_real, NULL::VARCHAR AS answer_text, NULL::FLOAT AS confidence, 0 AS cost_usd, "
        "TIMESTAMPTZ '2026-01-02 03:04:05Z' AS bought_at FROM range(120_000) r(i)"
    ).write_parquet(str(path))
    store = LabelStore(None)
    assert import_labels(store, path) == Imported(120_000, 0, 0)
    found = store.find("v", [f"{i:064x}" for i in range(0, 120_000, 3)])
    assert found.answers == list(range(0, 120_000, 3))
    assert rows(store)[0]["bought_at"].isoformat() == "2026-01-02T03:04:05+00:00"  # type: ignore[attr-defined]


def table(**columns: object) -> pa.Table:
    whole = {
        "oracle": ["o"], "version": ["v"], "input_sha256": [bytes(32)], "answer_boolean": [True],
        "answer_integer": [None], "answer_real": [None], "answer_text": [None],
        "confidence": [None], "cost_usd": [0.0], "bought_at": [0],
    }  # fmt: skip
    return pa.table({**whole, **columns})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"answer_boolean": [None]}, "a label has 0 answers, not one"),
        ({"answer_text": ["yes"]}, "a label has 2 answers, not one"),
        ({"version": pa.array([None], pa.string())}, "version is NULL in 1 labels"),
        ({"input_sha256": [b"short"]}, "holds no labels"),
        ({"cost_usd": ["dear"]}, "holds no labels"),
    ],
)
def test_what_is_no_label(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(table(**columns), path)
    store = LabelStore(None)
    with pytest.raises(DataError, match=message):
        import_labels(store, path)
    assert store.last() == 0


def test_what_is_no_file_of_labels(tmp_path: Path) -> None:
    store, path = LabelStore(None), tmp_path / "x"
    with pytest.raises(OperationalError, match=r"cannot read .*x: No such file"):
        import_labels(store, path)
    path.write_text("not Parquet")
    with pytest.raises(DataError, match="is no Parquet file"):
        import_labels(store, path)
    pq.write_table(pa.table({"oracle": ["o"]}), path)
    with pytest.raises(DataError, match="holds no labels: it has no column version"):
        import_labels(store, path)
    with pytest.raises(OperationalError, match=r"cannot write .*No such file"):
        export_labels(store, tmp_path / "absent" / "x.parquet")


class Small:
    """An oracle that remembers what it was asked, and may break off."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.most = 10**9

    def __call__(self, numbers: list[int]) -> list[bool]:
        if len(self.asked) + len(numbers) > self.most:
            raise ValueError("the line went dead")
        self.asked += numbers
        return [number % 100 < 70 for number in numbers]


def connected(path: Path, oracle: Small) -> thresher.Connection:
    con = thresher.connect(labels=path)
    con.execute("CREATE TABLE t AS SELECT i FROM range(3000) r(i)")
    con.create_oracle("is_small", oracle, args=["BIGINT"], version="1", batch_size=20)
    return con


def test_an_import_changes_no_run_that_had_begun(tmp_path: Path) -> None:
    """A query that was cut off goes on with imported labels, as if it had bought them."""
    whole, cut, fresh = Small(), Small(), Small()
    file = tmp_path / "labels.parquet"
    with connected(tmp_path / "whole", whole) as con:
        expected = con.execute(QUERY).fetchall()
        assert con.export_labels(file) == len(whole.asked)
    with connected(tmp_path / "cut", cut) as con:
        cut.most = 100
        with pytest.raises(OracleError, match="the line went dead"):
            con.execute(QUERY)
        cut.most = 10**9
        bought = list(cut.asked)
        assert bought == whole.asked[: len(bought)]
        assert con.import_labels(file) == Imported(len(whole.asked) - len(bought), len(bought), 0)
        cursor = con.execute(QUERY)
        assert cursor.fetchall() == expected
        assert cut.asked == bought, "the rest of the same draws came with the file"
        assert cursor.certificate is not None
        assert cursor.certificate.n_labels == 0
    with connected(tmp_path / "fresh", fresh) as con:
        con.import_labels(file)
        certificate = con.execute(QUERY).certificate
        assert certificate is not None
        assert fresh.asked
        assert not set(fresh.asked) & set(whole.asked), "what was imported is known"


def test_draws_after_an_import_are_not_those_that_chose_it(tmp_path: Path) -> None:
    """The same query with the same seed, in another store, drew the labels that came over."""
    one, two, three = filled(tmp_path / "one"), LabelStore(None), LabelStore(None)
    path = tmp_path / "labels.parquet"
    export_labels(one, path)
    assert two.begin("before", 7, {}).stream == ""
    for store in (two, three):
        import_labels(store, path)
    stream = two.begin("query", 7, {}).stream
    assert len(stream) == 64
    assert three.begin("query", 7, {}).stream == stream, "reproducible from the file"
    assert two.begin("before", 7, {}).stream == ""
    assert import_labels(one, path).n_new == 0
    assert one.begin("query", 7, {}).stream == "", "nothing came from elsewhere"
    one.close()
