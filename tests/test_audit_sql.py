"""Audits in SQL and in Python: promises tested on fresh rows, answers against people."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import thresher
from tests_support import World, make_world
from thresher import render

N = 3000
ASK = "SELECT id FROM t WHERE is_pos(id) USING score"


@pytest.fixture
def world() -> Iterator[World]:
    with thresher.connect(config={"seed": 6}) as connection:
        made = make_world(connection, np.random.default_rng(2), N)
        connection.connection.register(
            "source", pa.table({"id": np.arange(N), "score": made.score})
        )
        connection.execute("CREATE TABLE t AS SELECT * FROM source")
        yield made


def test_an_audit_supports_a_true_promise_and_refutes_a_false_one(world: World) -> None:
    _, certificate = world.run(f"{ASK} RECALL TARGET .7 ORACLE LIMIT 500")
    before = set(world.asked)
    rows = world.connection.execute(
        f"AUDIT CERTIFICATE '{certificate.id}' ORACLE LIMIT 1800"
    ).fetchall()
    fresh = set(world.asked) - before
    assert len(fresh) == 1800
    found = {row[0]: row for row in rows}
    assert found["recall"][1] == pytest.approx(0.7)
    assert found["recall"][6] == "supported"
    assert found["precision"][6] == "no claim"
    assert found["recall"][4] <= found["recall"][3] <= found["recall"][5]
    world.connection.execute("DELETE FROM t WHERE id = 7")
    with pytest.raises(thresher.DataError, match="have changed since"):
        world.connection.execute(f"AUDIT CERTIFICATE {certificate.id}")


def test_an_audit_of_estimates_and_labels(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT count(*) AS n FROM t WHERE is_pos(id) USING score ORACLE LIMIT 400"
    )
    assert cursor.certificate is not None
    rows = world.connection.execute(f"AUDIT CERTIFICATE '{cursor.certificate.id}'").fetchall()
    assert rows[0][0] == "n"
    assert rows[0][4] <= world.truth.sum() <= rows[0][5]
    assert rows[0][6] != "refuted"
    _, certificate = world.run(f"{ASK} ACCURACY TARGET 80%")
    rows = world.connection.execute(
        f"AUDIT CERTIFICATE '{certificate.id}' ORACLE LIMIT 300"
    ).fetchall()
    assert [row[0] for row in rows] == ["accuracy"]
    assert rows[0][6] == "supported"


def test_an_audit_of_labels_in_the_select_list_is_refused(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT id, is_pos(id) AS p FROM t USING score ACCURACY TARGET 70%"
    )
    assert cursor.certificate is not None
    with pytest.raises(thresher.NotSupportedError, match="labels in the SELECT list"):
        world.connection.execute(f"AUDIT CERTIFICATE '{cursor.certificate.id}'")


def test_an_answer_against_people(world: World) -> None:
    ids, certificate = world.run(f"{ASK} RECALL TARGET .9 ORACLE LIMIT 600")
    rng = np.random.default_rng(1)
    human = world.truth ^ (rng.random(N) < 0.02)
    asked = rng.choice(N, 400, replace=False)
    people = pa.table({"id": asked, "label": human[asked]})
    world.connection.connection.register("people", people)
    before = len(world.asked)
    rows = world.connection.execute(
        f"AUDIT CERTIFICATE '{certificate.id}' AGAINST people WITH PROBABILITY 99%"
    ).fetchall()
    assert len(world.asked) == before
    inside = np.zeros(N, dtype=bool)
    inside[ids] = True
    assert [row[0] for row in rows] == ["recall", "precision"]
    assert [row[7:] for row in rows] == [(400, 0)] * 2
    limits = {row[0]: row[4:6] for row in rows}
    assert limits["recall"][0] <= human[inside].sum() / human.sum() <= limits["recall"][1]
    assert limits["precision"][0] <= human[inside].mean() <= limits["precision"][1]
    again = world.connection.execute(
        f"AUDIT CERTIFICATE '{certificate.id}' AGAINST (SELECT id, label FROM people) "
        "WITH PROBABILITY 99%"
    )
    assert again.fetchall() == rows
    audit = f"AUDIT CERTIFICATE '{certificate.id}' AGAINST"
    for sql, place, message in (
        (f"{audit} t", "AGAINST t", r"needs a BOOLEAN column label .* it has id, score"),
        (f"{audit} (SELECT id, NULL AS label FROM t)", "AGAINST (", "no row of .* is a row"),
        (f"{audit} people SEED 3", "SEED 3", "SEED does not go with AGAINST"),
        (f"{audit} people ORACLE LIMIT 9", "ORACLE LIMIT 9", "LIMIT does not go with AGAINST"),
    ):
        with pytest.raises(thresher.DatabaseError, match=message) as caught:
            world.connection.execute(sql)
        assert caught.value.offset == sql.index(place)


def test_an_audit_of_nothing(world: World) -> None:
    with pytest.raises(thresher.ProgrammingError, match="there is no certificate abc") as caught:
        world.connection.execute("AUDIT CERTIFICATE abc")
    assert caught.value.offset == len("AUDIT CERTIFICATE ")
    with pytest.raises(thresher.ProgrammingError, match="does not belong to an audit"):
        world.connection.execute("AUDIT CERTIFICATE 'abc' RECALL TARGET .9")


def test_an_answer_of_another_system_is_audited(world: World) -> None:
    best = np.argsort(-world.score)[:300]
    found = world.connection.audit(
        ASK, best.tolist(), key="id", recall=0.9, precision=0.5, limit=800, seed=3
    )
    named = {finding.claim: finding for finding in found}
    assert named["recall"].verdict == "refuted"
    assert named["precision"].verdict == "supported"
    share = world.truth[best].sum() / world.truth.sum()
    assert named["recall"].low is not None
    assert named["recall"].low <= share <= (named["recall"].high or 1)
    assert named["recall"].n_labels == 800
    assert named["recall"].n_bought == 800
    table = pa.table({"id": best})
    again = thresher.audit(
        world.connection, ASK, table, key="id", limit=800, seed=3, recall=0.9, precision=0.5
    )
    assert [finding.claim for finding in again] == ["recall", "precision"]
    assert [(f.low, f.high, f.verdict) for f in again] == [
        (f.low, f.high, f.verdict) for f in found
    ]
    assert (again[0].n_labels, again[0].n_bought) == (800, 0)  # the same draws, found in the store
    other = world.connection.audit(ASK, best, key="id", limit=100, seed=4)
    assert (other[0].n_labels, other[0].n_bought) == (100, 100)
    with pytest.raises(thresher.ProgrammingError, match="calls a declared oracle"):
        world.connection.audit("SELECT 1", table, key="id")


def test_a_repeated_audit_buys_nothing_and_another_certificate_draws_afresh(world: World) -> None:
    _, first = world.run(f"{ASK} RECALL TARGET .7 ORACLE LIMIT 500")
    audit = f"AUDIT CERTIFICATE '{first.id}' ORACLE LIMIT 400"
    rows = world.connection.execute(audit).fetchall()
    again = world.connection.execute(audit).fetchall()
    assert [row[7:] for row in rows] == [(400, 400)] * 2
    assert [row[7:] for row in again] == [(400, 0)] * 2
    assert [row[:7] for row in again] == [row[:7] for row in rows]
    # What the audit bought is known to the next answer, whose audit must not draw it again.
    _, second = world.run(f"{ASK} RECALL TARGET .8 ORACLE LIMIT 300")
    before = set(world.asked)
    rows = world.connection.execute(f"AUDIT CERTIFICATE '{second.id}' ORACLE LIMIT 400").fetchall()
    assert [row[7:] for row in rows] == [(400, 400)] * 2
    assert len(set(world.asked) - before) == 400


def test_an_audit_spends_of_the_session(world: World) -> None:
    connection = world.connection
    _, certificate = world.run(f"{ASK} RECALL TARGET .7 ORACLE LIMIT 500")
    audit = f"AUDIT CERTIFICATE '{certificate.id}' ORACLE LIMIT 300"
    loose = connection.execute(f"{audit} WITH PROBABILITY 50%").fetchall()
    connection.execute("SET thresher_session_probability = 0.9")
    tight = connection.execute(f"{audit} WITH PROBABILITY 99%").fetchall()
    assert tight[0][5] - tight[0][4] > 1.5 * (loose[0][5] - loose[0][4])
    connection.audit(ASK, range(0, N, 7), key="id", limit=300, probability=0.95)
    sql = f"{audit} WITH PROBABILITY 95%"
    with pytest.raises(thresher.ProgrammingError, match=r"only 0\.04 is left") as caught:
        connection.execute(sql)
    assert caught.value.offset == sql.index("WITH")
    with pytest.raises(thresher.ProgrammingError, match=r"only 0\.04 is left"):
        connection.audit(ASK, [1], key="id", probability=0.95)
    connection.execute(audit)  # names none: a fourth of 0.04
    _, certificate = world.run(f"{ASK} RECALL TARGET .8 ORACLE LIMIT 700")
    assert certificate.session is not None
    assert certificate.session.startswith("statement 4 of the session")
    assert certificate.delta == pytest.approx(0.03 / 5)


def test_an_exact_audit_spends_nothing(world: World) -> None:
    connection = world.connection
    connection.execute("SET thresher_session_probability = 0.9")
    query = "SELECT id FROM t WHERE is_pos(id) AND id < 100"
    found = connection.audit(query, np.flatnonzero(world.truth[:100]), key="id", limit=100)
    assert [(f.low, f.high) for f in found] == [(1.0, 1.0)] * 2
    _, certificate = world.run(f"{ASK} RECALL TARGET .8 ORACLE LIMIT 700")
    assert certificate.delta == pytest.approx(0.05)


def test_an_audit_of_estimates_keeps_to_the_default_budget(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT count(*) AS n FROM t WHERE is_pos(id) USING score ORACLE LIMIT 400"
    )
    assert cursor.certificate is not None
    world.connection.execute("SET thresher_default_budget = 250")
    sql = f"AUDIT CERTIFICATE '{cursor.certificate.id}'"
    row = world.connection.execute(sql).fetchone()
    assert row is not None
    assert row[7:] == (250, 250)
    with pytest.raises(thresher.NotSupportedError, match="Leave AGAINST out") as caught:
        world.connection.execute(f"{sql} AGAINST t")
    assert caught.value.offset == sql.index(cursor.certificate.id) + 14


def test_an_audit_fits_a_terminal(world: World) -> None:
    _, certificate = world.run(f"{ASK} RECALL TARGET .7 PRECISION TARGET .712 WITH PROBABILITY 90%")
    cursor = world.connection.execute(f"AUDIT CERTIFICATE '{certificate.id}' ORACLE LIMIT 333")
    sink = io.StringIO()
    render.write_box(cursor.fetch_record_batch(), render.console_for(sink))
    text = sink.getvalue()
    assert "n_bought" in text
    assert "2 rows" in text
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) == 8


TARGETS = [
    ("RECALL TARGET .9", r"Leave RECALL TARGET out of the query; claim it with recall=0\.9\."),
    ("PRECISION TARGET .9", r"claim it with precision=0\.9\."),
    ("ACCURACY TARGET .9", "claim recall= and precision= of the rows"),
]


@pytest.mark.parametrize(("tail", "message"), TARGETS)
def test_the_query_of_an_audit_claims_nothing(world: World, tail: str, message: str) -> None:
    sql = f"{ASK} {tail}"
    with pytest.raises(thresher.ProgrammingError, match=message) as caught:
        world.connection.audit(sql, [1], key="id")
    assert caught.value.offset == sql.index(tail)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"recall": 90}, r"recall= must be in \(0, 1\], got 90\. Write recall=0\.9"),
    ({"precision": 0.0}, r"precision= must be in \(0, 1\], got 0\.0\."),
    ({"probability": 1.0}, r"probability= must be in \(0, 1\), got 1\.0"),
    ({"probability": 95}, r"Write probability=0\.95"),
    ({"recall": "90%"}, "got '90%'"),
    ({"limit": 0}, "limit= must be a whole number from 1 up, got 0"),
    ({"limit": 2.5}, r"got 2\.5"),
    ({"seed": -1}, "seed= must be a whole number from 0 up"),
    ({"key": "idd"}, "key='idd' does not tell the rows"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_wrong_arguments_of_an_audit(world: World, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(thresher.ProgrammingError, match=message) as caught:
        world.connection.audit(ASK, [1, 2], **{"key": "id", **wrong})
    assert caught.value.offset is None
    assert not world.asked


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (5, "the answer must be SQL of a relation, a table or a sequence of keys, got a int"),
        ({"id": [1]}, "got a dict"),
        ([1, "a"], "the keys of an answer must be of one type"),
        (np.zeros((2, 2)), "the keys of an answer must be of one type"),
    ],
)
def test_what_is_no_answer(world: World, answer: object, message: str) -> None:
    with pytest.raises(thresher.ProgrammingError, match=message):
        world.connection.audit(ASK, answer, key="id")
    assert not world.asked


def test_keys_that_are_no_rows(world: World) -> None:
    audit = world.connection.audit
    with pytest.raises(thresher.DataError, match=r"2 of the 4 keys .* are no rows .* id = 99999"):
        audit(ASK, [1, 99_999, 2, None], key="id")
    with pytest.raises(thresher.DataError, match=r"1 of the 2 keys .* is no row .* id = 900"):
        audit("SELECT id FROM t WHERE is_pos(id) AND id < 800", [7, 900], key="id")
    with pytest.raises(thresher.ProgrammingError, match="key='id' is no column of the answer"):
        audit(ASK, "(SELECT score FROM t)", key="id")
    with pytest.raises(thresher.ProgrammingError, match="does not tell the rows"):
        audit(ASK, ["a", "b"], key="id")
    assert not world.asked
    found = audit(ASK, [], key="id", recall=0.5, limit=200)
    assert [f.verdict for f in found] == ["refuted", "no claim"]
    assert audit(ASK, "(SELECT id FROM t WHERE score > .5)", key="ID", limit=50)[1].n_labels == 50
