"""Labels of earlier queries are found by the inputs themselves as they are by their hashes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

import thresher
from thresher.population import Population
from thresher.seen_inputs import SeenInputs

TABLE = """
CREATE TABLE t AS SELECT
    range AS id, CASE WHEN range % 17 > 0 THEN 'item ' || range % 700 END AS text,
    range % 90 AS n, (range * 7919 % 1000) / 1000 AS score, range % 3 AS part
FROM range(1500)
"""
FIRST = "SELECT id FROM t WHERE good(text) USING score ORACLE LIMIT 300 RECALL TARGET 0.8 SEED 1"
SECOND = [
    "SELECT id FROM t WHERE good(text) USING score ORACLE LIMIT 200 PRECISION TARGET 0.8 SEED 2",
    "SELECT id FROM t WHERE (good(text) OR odd(n)) AND id > 9 USING score ORACLE LIMIT 400 "
    "RECALL TARGET 0.8 SEED 2",
    "SELECT count(*), avg(n) FROM t WHERE good(text) USING score ORACLE LIMIT 200 SEED 2",
    "SELECT part, count(*) FROM t WHERE good(text) GROUP BY part ORACLE LIMIT 200 SEED 2",
    "SELECT a.id, b.id FROM t AS a JOIN t AS b ON a.n = b.id WHERE good(a.text) AND b.id < 30 "
    "ORACLE LIMIT 100 RECALL TARGET 0.5 SEED 2",
]


def good(texts: Sequence[str]) -> list[bool]:
    return [text[-1] in "147" for text in texts]


def odd(numbers: Sequence[int]) -> list[bool]:
    return [number % 2 == 1 for number in numbers]


def connect() -> thresher.Connection:
    con = thresher.connect(labels=None)
    con.execute(TABLE)
    con.create_oracle("good", good, args=["VARCHAR"], returns="BOOLEAN")
    con.create_oracle("odd", odd, args=["BIGINT"], returns="BOOLEAN")
    con.execute(FIRST)
    return con


@pytest.mark.parametrize("sql", SECOND)
def test_facts_are_the_same_by_inputs_and_by_hashes(
    sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, used = [], []
    inside = Population._learn_of
    monkeypatch.setattr(
        Population, "_learn_of", lambda self, *given: (used.append(1), inside(self, *given))
    )
    for forgotten in (False, True):
        with connect() as con:
            if forgotten:
                con._store.seen = SeenInputs()
            before = len(used)
            cursor = con.execute(sql)
            certificate = cursor.certificate
            assert certificate is not None
            assert len(used) - before == (not forgotten)
            log = con.label_log(certificate.id).to_pylist()
            found.append((cursor.fetchall(), log, certificate.n_labels, certificate.id))
    assert found[0][:3] == found[1][:3]


def test_inputs_are_found_by_version_type_and_key() -> None:
    seen, text = SeenInputs(), [pa.string()]
    seen.add("v", pa.array(["a", None, "b", "a"]), pa.table({"x": ["1", None, "2", "1"]}))
    seen.add("v", pa.array(["b", "c"]), pa.table({"y": ["2", "3"]}))
    seen.add("v", pa.array(["b"]), pa.table({"y": [2]}))
    assert seen.find("v", text, pa.array(["a", "c"])).to_pydict() == {"0": ["1", "3"]}
    assert seen.find("v", [pa.int64()], pa.array(["b"])).to_pydict() == {"0": [2]}
    assert seen.find("v", text, pa.array(["a", "d"])) is None
    assert seen.find("w", text, pa.array(["a"])) is None
    assert seen.find("v", [pa.int64()], pa.array(["a"])) is None


@pytest.mark.parametrize(
    "values", [pa.array([["a, b"]]), pa.array([{"x": 1}]), pa.array([b"1"]), pa.array([0.5])]
)
def test_types_whose_texts_may_be_alike_are_left_to_hashes(values: pa.Array) -> None:
    seen = SeenInputs()
    seen.add("v", pa.array(["k"]), pa.table({"x": values}))
    found = seen.find("v", [values.type], pa.array(["k"]))
    assert (found is None) == (not pa.types.is_floating(values.type))


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thresher.seen_inputs._MOST_KEYS", 3)
    seen, text = SeenInputs(), [pa.string()]
    seen.add("v", pa.array(["a", "b"]), pa.table({"x": ["1", "2"]}))
    seen.add("v", pa.array(["c", "d"]), pa.table({"x": ["3", "4"]}))
    seen.add("v", pa.array(["e"]), pa.table({"x": ["5"]}))
    assert seen.find("v", text, pa.array(["c"])) is None
    assert seen.find("v", text, pa.array(["a", "b", "e"])).num_rows == 3
    monkeypatch.setattr("thresher.seen_inputs._MOST_BYTES", 100)
    seen = SeenInputs()
    seen.add("v", pa.array(["a"]), pa.table({"x": ["long" * 99]}))
    seen.add("v", pa.array(["a"]), pa.table({"x": ["1"]}))
    assert seen.find("v", text, pa.array(["a"])).to_pydict() == {"0": ["1"]}
