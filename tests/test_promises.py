"""Promises besides recall and precision: accuracy, assumptions, budgets, audits."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

import thresher

N = 3000
NAMES = np.array(["art", "law", "news", "sport"])
WORDS = {
    "art": ["paint", "colour", "gallery"],
    "law": ["court", "judge", "appeal"],
    "news": ["minister", "vote", "election"],
    "sport": ["goal", "match", "team"],
}


@dataclass
class World:
    connection: thresher.Connection
    truth: np.ndarray
    score: np.ndarray
    topic: np.ndarray
    asked: list[int] = field(default_factory=list)

    def run(self, sql: str) -> tuple[np.ndarray, thresher.Certificate]:
        """Return the ids and the certificate."""
        cursor = self.connection.execute(sql)
        ids = np.array([row[0] for row in cursor.fetchall()], dtype=int)
        assert cursor.certificate is not None
        return ids, cursor.certificate


@pytest.fixture
def world() -> Iterator[World]:
    rng = np.random.default_rng(2)
    logit = rng.normal(-2, 3, N)
    score = 1 / (1 + np.exp(-logit))
    truth = rng.random(N) < score
    topic = NAMES[rng.integers(0, 4, N)]
    sure = rng.random(N)
    guess = np.where(rng.random(N) < 0.5 + 0.5 * sure, topic, NAMES[rng.integers(0, 4, N)])
    text = [
        f"{WORDS[t][rng.integers(3)]} {WORDS[t][rng.integers(3)]} {i}" for i, t in enumerate(topic)
    ]
    with thresher.connect(config={"seed": 6}) as connection:
        made = World(connection, truth, score, topic)

        def is_pos(ids: list[int]) -> list[bool]:
            made.asked.extend(ids)
            return [bool(truth[i]) for i in ids]

        connection.create_oracle("is_pos", is_pos, args=["BIGINT"], returns="BOOLEAN")
        connection.create_oracle(
            "topic", lambda t: [str(topic[int(s.split()[-1])]) for s in t], ["VARCHAR"], "VARCHAR"
        )
        connection.create_oracle(
            "far", lambda ids: [float(1 - score[i]) for i in ids], ["BIGINT"], "DOUBLE"
        )
        table = {"id": np.arange(N), "score": score, "text": text, "guess": guess, "sure": sure}
        connection.connection.register("source", pa.table(table))
        connection.execute("CREATE TABLE t AS SELECT * FROM source")
        yield made


ASK = "SELECT id FROM t WHERE is_pos(id) USING score"


def test_an_accuracy_target_over_a_condition(world: World) -> None:
    ids, certificate = world.run(f"{ASK} ACCURACY TARGET 92%")
    label = np.zeros(N, dtype=bool)
    label[ids] = True
    assert (label == world.truth).mean() >= 0.92
    assert certificate.met
    assert certificate.bounds.accuracy == pytest.approx(0.92, abs=0.05)
    assert len(set(world.asked)) == certificate.n_labels < N / 2
    assert "agree with the oracle" in certificate.statement


def test_labels_of_many_classes_by_a_given_guess(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT id, topic(text) AS topic FROM t ORDER BY id USING guess, sure ACCURACY TARGET 85% "
        "WITH PROBABILITY 99.9%"
    )
    rows = cursor.fetchall()
    assert [row[0] for row in rows] == list(range(N))
    assert np.mean([row[1] == t for row, t in zip(rows, world.topic, strict=True)]) >= 0.85
    assert cursor.certificate is not None
    assert cursor.certificate.n_labels < 0.7 * N


def test_labels_of_many_classes_by_trained_proxies(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT text, topic(text) AS topic FROM t ACCURACY TARGET 95%"
    )
    rows = cursor.fetchall()
    truth = [world.topic[int(row[0].split()[-1])] for row in rows]
    assert np.mean([row[1] == t for row, t in zip(rows, truth, strict=True)]) >= 0.95
    assert cursor.certificate is not None
    assert cursor.certificate.n_labels < N / 2
    assert cursor.certificate.proxies[0].name == "tfidf"


def test_accuracy_out_of_reach(world: World) -> None:
    sql = f"{ASK} ACCURACY TARGET 99.9% ORACLE LIMIT 300"
    with pytest.raises(thresher.ShortfallError, match="cannot be certified with 300 labels"):
        world.run(sql)
    ids, certificate = world.run(f"{sql} ON SHORTFALL RETURN")
    label = np.zeros(N, dtype=bool)
    label[ids] = True
    assert not certificate.met
    assert certificate.bounds.accuracy is not None
    assert (label == world.truth).mean() >= certificate.bounds.accuracy
    assert len(set(world.asked)) == 300


@pytest.mark.parametrize(
    ("assuming", "target", "grade"),
    [
        ("CALIBRATION WITHIN 3", "RECALL", None),
        ("PROXY QUALITY", "RECALL", "proxy quality"),
        ("PROXY QUALITY WITHIN 0.3", "PRECISION", "proxy quality"),
        ("CORE SET CLOSURE", "RECALL", None),
        ("CORE SET CLOSURE OF 200", "RECALL", "core set closure"),
        ("CORE SET CLOSURE", "PRECISION", None),
        ("NORMALITY", "RECALL", "asymptotic"),
        ("NORMALITY", "PRECISION", "asymptotic"),
    ],
)
def test_assumptions(world: World, assuming: str, target: str, grade: str | None) -> None:
    ids, certificate = world.run(f"{ASK} {target} TARGET 80% ORACLE LIMIT 400 ASSUMING {assuming}")
    found = world.truth[ids]
    share = found.sum() / world.truth.sum() if target == "RECALL" else found.mean()
    assert share >= 0.8
    assert len(set(world.asked)) <= 400
    assert grade is None or certificate.grade in (grade, "distribution-free")
    if certificate.grade == "distribution-free":
        assert certificate.assumption is None
    else:
        assert certificate.assumption is not None
        assert certificate.assumption in certificate.statement
        assert certificate.assumption in certificate.summary


def test_near_neighbours_within_a_radius(world: World) -> None:
    ids, certificate = world.run(
        "SELECT id FROM t WHERE far(id) <= 0.3 USING -(1 - score) RECALL TARGET 90% "
        "ORACLE LIMIT 300 ASSUMING PROXY QUALITY"
    )
    near = 1 - world.score <= 0.3
    assert near[ids].sum() >= 0.9 * near.sum()
    assert "within 0.3" in str(certificate.assumption)


@pytest.mark.parametrize(
    "tail",
    [
        "RECALL TARGET .9 PRECISION TARGET .9 ASSUMING CALIBRATION",
        "PRECISION TARGET .9 ASSUMING CALIBRATION",
        "ACCURACY TARGET .9 ASSUMING NORMALITY",
        "RECALL TARGET .9 ASSUMING NORMALITY BUDGET 3 SECONDS",
        "ACCURACY TARGET .9 BUDGET 3 SECONDS",
        "ASSUMING NORMALITY",
        "ACCURACY TARGET .9 ON SHORTFALL EXACT",
    ],
)
def test_what_does_not_go_together_is_refused_before_a_label(world: World, tail: str) -> None:
    with pytest.raises(thresher.Error) as caught:
        world.run(f"{ASK} {tail}")
    assert caught.value.offset is not None
    assert len(world.asked) == 0


def slow(world: World, pause: float = 0.002) -> None:
    def answer(ids: list[int]) -> list[bool]:
        time.sleep(pause * len(ids))
        return [bool(world.truth[i]) for i in ids]

    world.connection.create_oracle("slow", answer, args=["BIGINT"], returns="BOOLEAN")


@pytest.mark.parametrize(
    "targets", ["RECALL TARGET .8", "PRECISION TARGET .8", "RECALL TARGET .8 PRECISION TARGET .8"]
)
def test_a_budget_in_seconds(world: World, targets: str) -> None:
    slow(world)
    ids, certificate = world.run(
        f"SELECT id FROM t WHERE slow(id) USING score {targets} BUDGET 1 SECONDS"
    )
    found = world.truth[ids]
    assert found.sum() / world.truth.sum() >= (certificate.bounds.recall or 0)
    assert found.mean() >= (certificate.bounds.precision or 0)
    assert 0 < certificate.n_labels < N
    assert certificate.elapsed_s < 10


def test_a_budget_in_dollars(world: World) -> None:
    world.connection.create_oracle(
        "dear", lambda ids: [bool(world.truth[i]) for i in ids], ["BIGINT"], "BOOLEAN"
    )
    ids, certificate = world.run(
        "SELECT id FROM t WHERE dear(id) USING score RECALL TARGET .8 BUDGET 1 USD, 400 CALLS"
    )
    assert world.truth[ids].sum() >= 0.8 * world.truth.sum()
    assert certificate.n_labels == 400
    assert certificate.cost_usd == 0


def test_an_interrupted_query_answers_if_it_was_told_to(world: World) -> None:
    slow(world, 0.004)
    world.connection.execute("SET thresher_on_interrupt = 'ANSWER'")
    # A shell starts processes in the background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    try:
        ids, certificate = world.run(
            "SELECT id FROM t WHERE slow(id) USING score RECALL TARGET .8 ORACLE LIMIT 2000"
        )
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert certificate.note is not None
    assert certificate.note.startswith("interrupted")
    assert 0 < certificate.n_labels < 2000
    assert world.truth[ids].sum() >= 0.8 * world.truth.sum()


def test_one_delta_for_a_session(world: World) -> None:
    connection = world.connection
    connection.execute("SET thresher_session_probability = 0.9")
    deltas = []
    for limit in (300, 400, 500):
        _, certificate = world.run(f"{ASK} RECALL TARGET .8 ORACLE LIMIT {limit}")
        deltas.append(certificate.delta)
        assert certificate.session is not None
        assert f"statement {len(deltas)} of the session" in certificate.session
    assert deltas == pytest.approx([0.05, 0.1 / 6, 0.1 / 12])
    _, certificate = world.run("SELECT id FROM t WHERE is_pos(id) AND id < 100")  # spends nothing
    assert certificate.grade == "exact"
    _, certificate = world.run(f"{ASK} RECALL TARGET .8 WITH PROBABILITY 99% ORACLE LIMIT 600")
    assert certificate.delta == pytest.approx(0.01)
    with pytest.raises(thresher.ProgrammingError, match=r"only 0\.015 is left") as caught:
        world.run(f"{ASK} RECALL TARGET .8 WITH PROBABILITY 90% ORACLE LIMIT 700")
    assert caught.value.offset is not None
    connection.execute("RESET thresher_session_probability")
    _, certificate = world.run(f"{ASK} RECALL TARGET .8 WITH PROBABILITY 90% ORACLE LIMIT 800")
    assert certificate.session is None


def test_a_certificate_is_verified_from_its_log(world: World) -> None:
    for targets in ("RECALL TARGET .8 ORACLE LIMIT 300", "PRECISION TARGET .9 ORACLE LIMIT 200",
                    "RECALL TARGET .8 PRECISION TARGET .8", "ACCURACY TARGET .9"):  # fmt: skip
        _, certificate = world.run(f"{ASK} {targets}")
        checked = certificate.verify()
        assert checked.ok, str(checked)


def test_an_audit_supports_a_true_promise_and_refutes_a_false_one(world: World) -> None:
    _, certificate = world.run(f"{ASK} RECALL TARGET .7 ORACLE LIMIT 500")
    before = set(world.asked)
    rows = world.connection.execute(
        f"AUDIT CERTIFICATE '{certificate.id}' ORACLE LIMIT 500"
    ).fetchall()
    fresh = set(world.asked) - before
    assert len(fresh) == 500
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


@pytest.mark.parametrize("always", [True, False])
def test_an_oracle_with_one_answer_only(world: World, *, always: bool) -> None:
    asked: list[int] = []

    def answer(ids: list[int]) -> list[bool]:
        asked.extend(ids)
        return [always] * len(ids)

    world.connection.create_oracle("same", answer, args=["BIGINT"], returns="BOOLEAN")
    ids, certificate = world.run("SELECT id FROM t WHERE same(id) USING score ACCURACY TARGET 95%")
    assert len(ids) == (N if always else 0)
    assert certificate.met
    assert len(asked) < 400


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
    limits = {row[0]: row[4:6] for row in rows}
    assert limits["recall"][0] <= human[inside].sum() / human.sum() <= limits["recall"][1]
    assert limits["precision"][0] <= human[inside].mean() <= limits["precision"][1]
    with pytest.raises(thresher.ProgrammingError, match="needs a BOOLEAN column label"):
        world.connection.execute(f"AUDIT CERTIFICATE '{certificate.id}' AGAINST t")


def test_an_audit_of_nothing(world: World) -> None:
    with pytest.raises(thresher.ProgrammingError, match="there is no certificate abc") as caught:
        world.connection.execute("AUDIT CERTIFICATE abc")
    assert caught.value.offset == len("AUDIT CERTIFICATE ")
    with pytest.raises(thresher.ProgrammingError, match="does not belong into an audit"):
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
    table = pa.table({"id": best})
    again = thresher.audit(world.connection, ASK, table, key="id", limit=800, seed=3, recall=0.9)
    assert again[1].claim == "recall"
    with pytest.raises(thresher.ProgrammingError, match="has no targets"):
        world.connection.audit(f"{ASK} RECALL TARGET .9", table, key="id")
    with pytest.raises(thresher.ProgrammingError, match="calls a declared oracle"):
        world.connection.audit("SELECT 1", table, key="id")


def test_label_logs_are_kept(world: World) -> None:
    _, certificate = world.run(f"{ASK} RECALL TARGET .8 ORACLE LIMIT 300")
    log = world.connection.label_log(certificate.id)
    assert log.equals(certificate.log)
    assert world.connection.verify(certificate.id).ok
    rows = world.connection.execute(
        f"SELECT count(*), count(DISTINCT row) FROM thresher_label_log('{certificate.id}')"
    ).fetchall()
    assert rows == [(300, 300)]
    with pytest.raises(thresher.ProgrammingError, match="there is no certificate"):
        world.connection.verify("nothing")
