"""Promises besides recall and precision: accuracy, assumptions, budgets, a session's."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

import thresher
from tests_support import World, make_world

N = 3000
NAMES = np.array(["art", "law", "news", "sport"])
WORDS = {
    "art": ["paint", "colour", "gallery"],
    "law": ["court", "judge", "appeal"],
    "news": ["minister", "vote", "election"],
    "sport": ["goal", "match", "team"],
}


@pytest.fixture
def world() -> Iterator[World]:
    rng = np.random.default_rng(2)
    with thresher.connect(config={"seed": 6}) as connection:
        made = make_world(connection, rng, N)
        topic = made.topic = NAMES[rng.integers(0, 4, N)]
        sure = rng.random(N)
        guess = np.where(rng.random(N) < 0.5 + 0.5 * sure, topic, NAMES[rng.integers(0, 4, N)])
        text = [
            f"{WORDS[t][rng.integers(3)]} {WORDS[t][rng.integers(3)]} {i}"
            for i, t in enumerate(topic)
        ]
        connection.create_oracle(
            "topic", lambda t: [str(topic[int(s.split()[-1])]) for s in t], ["VARCHAR"], "VARCHAR"
        )
        connection.create_oracle(
            "far", lambda ids: [float(1 - made.score[i]) for i in ids], ["BIGINT"], "DOUBLE"
        )
        table = {
            "id": np.arange(N),
            "score": made.score,
            "text": text,
            "guess": guess,
            "sure": sure,
        }
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
        "ACCURACY TARGET .9 ASSUMING NORMALITY BUDGET 3 SECONDS",
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


def slow_topic(world: World, pause: float = 0.002, stop: int = 10**9) -> list[int]:
    """An oracle of topics that takes its time, and the ids it was asked.

    After `stop` of them the user presses Ctrl-C.
    """
    asked: list[int] = []

    def answer(texts: list[str]) -> list[str]:
        time.sleep(pause * len(texts))
        ids = [int(text.split()[-1]) for text in texts]
        asked.extend(ids)
        if len(asked) - len(ids) < stop <= len(asked):
            signal.raise_signal(signal.SIGINT)
        return [str(world.topic[i]) for i in ids]

    world.connection.create_oracle("slow_topic", answer, ["VARCHAR"], "VARCHAR", version="1")
    return asked


def agreement(world: World, sql: str) -> tuple[float, thresher.Certificate, list[object]]:
    """Return the share of labels that are the oracle's, the certificate and the labels."""
    cursor = world.connection.execute(sql)
    rows = cursor.fetchall()
    assert len(rows) == N
    assert cursor.certificate is not None
    checked = cursor.certificate.verify()
    assert checked.ok, str(checked)
    truth = [world.topic[row[0]] for row in rows]
    share = np.mean([row[1] == t for row, t in zip(rows, truth, strict=True)])
    assert share >= (cursor.certificate.bounds.accuracy or 0)
    return float(share), cursor.certificate, [row[1] for row in rows]


TOPICS = "SELECT id, slow_topic(text) AS topic FROM t ORDER BY id"


def test_a_budget_in_seconds_beside_an_accuracy_target(world: World) -> None:
    slow(world)
    ids, certificate = world.run(
        "SELECT id FROM t WHERE slow(id) USING score ACCURACY TARGET 99% BUDGET 1 SECONDS"
    )
    label = np.zeros(N, dtype=bool)
    label[ids] = True
    assert certificate.bounds.accuracy is not None
    assert (label == world.truth).mean() >= certificate.bounds.accuracy
    assert certificate.bounds.accuracy >= certificate.n_labels / N - 1e-9
    assert not certificate.met
    assert certificate.note is not None
    assert certificate.note.startswith("stopped by BUDGET 1 SECONDS: accuracy >= 0.99 is not")
    assert 0 < certificate.n_labels < N
    checked = certificate.verify()
    assert checked.ok, str(checked)


def test_labels_of_many_classes_within_seconds(world: World) -> None:
    asked = slow_topic(world)
    share, certificate, labels = agreement(
        world, f"{TOPICS} USING guess, sure ACCURACY TARGET 99% BUDGET 1 SECONDS"
    )
    assert 0 < len(asked) == certificate.n_labels < N
    assert all(labels[i] == world.topic[i] for i in asked)
    assert not certificate.met
    assert certificate.bounds.accuracy is not None
    assert certificate.bounds.accuracy >= certificate.n_labels / N - 1e-9
    assert share > 0.5


@pytest.fixture
def ctrl_c(world: World) -> Iterator[None]:
    """Ctrl-C asks for an answer; a shell starts processes in the background with it ignored."""
    world.connection.execute("SET thresher_on_interrupt = 'ANSWER'")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("stop", [1, 90, 400])
def test_trained_proxies_interrupted(world: World, stop: int) -> None:
    asked = slow_topic(world, 0.0, stop)
    share, certificate, labels = agreement(world, f"{TOPICS} ACCURACY TARGET 100%")
    assert stop <= len(asked) == certificate.n_labels < stop + 100
    assert all(labels[i] == world.topic[i] for i in asked)
    assert certificate.bounds.accuracy is not None
    assert certificate.bounds.accuracy >= len(asked) / N - 1e-9
    if stop == 400:
        assert share > 0.9
        assert certificate.bounds.accuracy > 0.7


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("stop", [1, 50, 700])
def test_conditions_interrupted(world: World, stop: int) -> None:
    asked: list[int] = []

    def answer(ids: list[int]) -> list[bool]:
        asked.extend(ids)
        if len(asked) - len(ids) < stop <= len(asked):
            signal.raise_signal(signal.SIGINT)
        return [bool(world.truth[i]) for i in ids]

    world.connection.create_oracle("stops", answer, args=["BIGINT"], returns="BOOLEAN")
    ids, certificate = world.run(
        "SELECT id FROM t WHERE stops(id) USING score ACCURACY TARGET 100%"
    )
    label = np.zeros(N, dtype=bool)
    label[ids] = True
    assert (label == world.truth)[asked].all()
    assert certificate.bounds.accuracy is not None
    assert (label == world.truth).mean() >= certificate.bounds.accuracy >= len(asked) / N - 1e-9
    assert stop <= len(asked) < stop + 100
    assert stop < 700 or certificate.bounds.accuracy > 0.8
    assert certificate.verify().ok


@pytest.mark.parametrize("using", [" USING guess, sure", ""])
def test_labels_that_stop_before_they_begin(world: World, using: str) -> None:
    asked = slow_topic(world)
    sql = f"{TOPICS}{using} ACCURACY TARGET 99% BUDGET 0.000001 SECONDS"
    share, certificate, labels = agreement(world, sql)
    assert not asked
    assert certificate.bounds.accuracy == 0.0
    assert labels[0] is None or using
    agreement(world, f"{TOPICS}{using} ACCURACY TARGET 30% ORACLE LIMIT 300 ON SHORTFALL RETURN")
    known = set(asked)
    assert known
    again, certificate, labels = agreement(world, f"{sql} SEED 3")
    assert set(asked) == known  # what is known is used, though nothing may be asked
    assert all(labels[i] == world.topic[i] for i in known)
    assert certificate.bounds.accuracy == pytest.approx(len(known) / N)
    assert again >= share


def test_an_accuracy_target_that_is_met_in_time(world: World) -> None:
    ids, certificate = world.run(f"{ASK} ACCURACY TARGET 90% BUDGET 1000 SECONDS, 1000 USD")
    label = np.zeros(N, dtype=bool)
    label[ids] = True
    assert certificate.met
    assert certificate.note is None
    assert (label == world.truth).mean() >= 0.9
    assert certificate.n_labels < 0.6 * N
    assert "looks" in certificate.algorithm
    assert certificate.verify().ok


def test_a_shortfall_within_seconds_may_be_an_error(world: World) -> None:
    slow(world)
    with pytest.raises(thresher.ShortfallError, match=r"^stopped by BUDGET 0\.3 SECONDS: acc"):
        world.run(
            "SELECT id FROM t WHERE slow(id) USING score ACCURACY TARGET 99% BUDGET .3 SECONDS "
            "ON SHORTFALL FAIL"
        )


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    ("assuming", "target"),
    [
        ("CALIBRATION", "RECALL"),
        ("PROXY QUALITY", "PRECISION"),
        ("CORE SET CLOSURE OF 200", "RECALL"),
        ("NORMALITY", "RECALL"),
        ("NORMALITY", "PRECISION"),
    ],
)
def test_a_sample_of_one_size_that_is_interrupted_is_no_answer(
    world: World, assuming: str, target: str
) -> None:
    asked: list[int] = []

    def answer(ids: list[int]) -> list[bool]:
        if not asked:
            signal.raise_signal(signal.SIGINT)
        asked.extend(ids)
        return [bool(world.truth[i]) for i in ids]

    world.connection.create_oracle("stops", answer, args=["BIGINT"], returns="BOOLEAN")
    sql = (
        f"SELECT id FROM t WHERE stops(id) USING score {target} TARGET 80% ORACLE LIMIT 400 "
        f"ASSUMING {assuming}"
    )
    with pytest.raises(thresher.OperationalError, match=r"^interrupted: ASSUMING") as caught:
        world.run(sql)
    assert caught.value.offset == sql.index("ASSUMING")
    assert caught.value.spent == len(asked) > 0
    before = list(asked)
    _, certificate = world.run(sql)
    assert certificate.note is None or "interrupted" not in certificate.note
    assert len(set(asked)) == len(asked) > len(before)


@pytest.mark.usefixtures("ctrl_c")
def test_interrupted_labels_go_on_where_they_stopped(world: World) -> None:
    """The same statement draws the same rows: what was bought is not bought again."""
    asked = slow_topic(world, 0.0, 100)
    sql = f"{TOPICS} USING guess, sure ACCURACY TARGET 80% ORACLE LIMIT {N} SEED 1"
    _, first, _ = agreement(world, sql)
    assert first.note is not None
    assert first.note.startswith("interrupted: accuracy >= 0.8 is not certified yet; what")
    assert "Run it again" in first.note
    assert not first.met
    bought = list(asked)
    assert 0 < len(bought) < N
    asked = slow_topic(world, 0.0)
    share, second, _ = agreement(world, sql)
    assert second.met
    assert share >= 0.8
    assert not set(bought) & set(asked)
    assert second.n_labels == len(asked)
    assert second.bounds.accuracy is not None
    assert first.bounds.accuracy is not None
    assert second.bounds.accuracy >= first.bounds.accuracy
    for one, two in zip(first.tests, second.tests, strict=False):  # the looks were the same
        assert one == two


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
