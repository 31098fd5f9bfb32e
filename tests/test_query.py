"""Queries through the DB-API: answers, budgets, labels and certificates."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import thresher
from tests_support import CountingOracle, make_table
from thresher.certificate import StageReport
from thresher.dbapi import Connection

Films = tuple[Connection, np.ndarray, CountingOracle]
RECALL = "SELECT id FROM t WHERE is_pos(id) USING score ORACLE LIMIT 300 RECALL TARGET 90% SEED 7"


def ids(rows: Sequence[tuple[int, ...]]) -> np.ndarray:
    return np.array([row[0] for row in rows], dtype=int)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(truth[found].sum() / truth.sum())


def precision(found: np.ndarray, truth: np.ndarray) -> float:
    return float(truth[found].mean())


def test_recall_query(films: Films) -> None:
    con, truth, oracle = films
    cur = con.execute(RECALL)
    found = ids(cur.fetchall())
    certificate = cur.certificate
    assert certificate is not None
    assert recall(found, truth) >= 0.9
    assert len(found) < 1500
    assert certificate.n_labels == len(set(oracle.asked)) == len(oracle.asked) <= 300
    assert certificate.n_rows == 2000
    assert certificate.n_returned == len(found)
    assert certificate.bounds.recall == pytest.approx(0.9)
    assert certificate.grade == "distribution-free"
    assert certificate.met
    assert certificate.seed == 7
    assert certificate.delta == pytest.approx(0.05)
    assert len(set(found)) == len(found)


def test_precision_query(films: Films) -> None:
    con, truth, oracle = films
    cur = con.execute(
        "SELECT id FROM t WHERE is_pos(id) USING score ORACLE LIMIT 200 "
        "PRECISION TARGET 0.8 WITH PROBABILITY 90% SEED 1"
    )
    found = ids(cur.fetchall())
    assert precision(found, truth) >= 0.8
    assert recall(found, truth) > 0.3
    assert cur.certificate is not None
    assert cur.certificate.n_labels == len(oracle.asked) <= 200
    assert cur.certificate.delta == pytest.approx(0.1)


def test_joint_query_stops_by_itself(films: Films) -> None:
    con, truth, oracle = films
    cur = con.execute(
        "SELECT id FROM t WHERE is_pos(id) USING score RECALL TARGET .8 PRECISION TARGET .8 SEED 2"
    )
    found = ids(cur.fetchall())
    assert recall(found, truth) >= 0.8
    assert precision(found, truth) >= 0.8
    assert cur.certificate is not None
    assert cur.certificate.n_labels == len(oracle.asked) < 2000


def test_without_target_every_candidate_is_labelled(films: Films) -> None:
    con, truth, oracle = films
    cur = con.execute("SELECT id FROM t WHERE is_pos(id) AND year >= 2015 ORDER BY id DESC")
    found = ids(cur.fetchall())
    years = con.execute("SELECT year FROM t ORDER BY id").fetchdf()["year"].to_numpy()
    assert found.tolist() == np.flatnonzero(truth & (years >= 2015))[::-1].tolist()
    assert cur.certificate is not None
    assert cur.certificate.grade == "exact"
    assert len(oracle.asked) == int((years >= 2015).sum()) == cur.certificate.n_rows


def test_plain_conditions_run_first(films: Films) -> None:
    con, truth, oracle = films
    cur = con.execute(
        "SELECT id FROM t WHERE year < 2000 AND is_pos(id) USING score "
        "ORACLE LIMIT 200 RECALL TARGET 0.8 SEED 3"
    )
    years = con.execute("SELECT year FROM t ORDER BY id").fetchdf()["year"].to_numpy()
    assert all(years[i] < 2000 for i in oracle.asked)
    assert all(years[i] < 2000 for i in ids(cur.fetchall()))


def test_same_seed_same_bytes(films: Films) -> None:
    con, _, _ = films
    con.execute("SET thresher_reuse_labels = false")
    tables = [con.execute(RECALL).fetch_arrow_table().replace_schema_metadata() for _ in range(2)]
    assert tables[0].equals(tables[1])


def test_no_label_is_paid_for_twice(films: Films) -> None:
    con, _, oracle = films
    first = con.execute(RECALL)
    rows, paid = first.fetchall(), len(oracle.asked)
    again = con.execute(RECALL)
    assert again.fetchall() == rows
    assert again.certificate is not None
    assert again.certificate.n_labels == 0
    assert again.certificate.n_reused == paid == len(oracle.asked)
    higher = con.execute(RECALL.replace("90%", "95%"))
    assert higher.certificate is not None
    assert higher.certificate.n_reused >= paid * 0.9
    assert len(oracle.asked) == len(set(oracle.asked))


def test_trials_do_not_share_labels(films: Films) -> None:
    con, _, oracle = films
    con.execute("SET thresher_reuse_labels = false")
    for seed in (1, 2):
        before = len(oracle.asked)
        cur = con.execute(RECALL.replace("SEED 7", f"SEED {seed}"))
        assert cur.certificate is not None
        assert cur.certificate.n_reused == 0
        assert cur.certificate.n_labels == len(oracle.asked) - before


def test_an_interrupted_query_goes_on_where_it_stopped(tmp_path: Path) -> None:
    table, truth = make_table(2000, seed=3)
    path = tmp_path / "films.duckdb"

    class Failing(CountingOracle):
        limit = 120

        def __call__(self, ids: list[int]) -> list[bool]:
            if len(self.asked) >= self.limit:
                raise KeyboardInterrupt
            return super().__call__(ids)

    oracle = Failing(truth)
    for attempt in range(3):
        with thresher.connect(path) as con:
            con.connection.register("arrow_t", table)
            con.execute("CREATE TABLE IF NOT EXISTS t AS SELECT * FROM arrow_t")
            con.create_oracle("is_pos", oracle, ["BIGINT"], batch_size=20, version="1")
            if attempt < 2:
                with pytest.raises(KeyboardInterrupt):
                    con.execute(RECALL)
                oracle.limit += 60
            else:
                oracle.limit = 10_000
                cur = con.execute(RECALL)
    assert cur.certificate is not None
    assert 120 <= cur.certificate.n_reused == len(oracle.asked) - cur.certificate.n_labels
    assert len(oracle.asked) == len(set(oracle.asked))
    with thresher.connect(path, labels=None) as fresh:
        fresh.create_oracle("is_pos", CountingOracle(truth), ["BIGINT"], version="1")
        expected = fresh.execute(RECALL)
        assert expected.certificate is not None
        assert expected.certificate.n_labels == len(oracle.asked)


def test_equal_inputs_are_asked_once_and_answered_alike(con: Connection) -> None:
    table, truth = make_table(3000, seed=5)
    con.connection.register("arrow_t", table)
    con.execute("CREATE TABLE t AS SELECT id % 500 AS id, id AS row, score FROM arrow_t")
    oracle = CountingOracle(truth)
    con.create_oracle("is_pos", oracle, ["BIGINT"])
    cur = con.execute(
        "SELECT id, row FROM t WHERE is_pos(id) USING score "
        "RECALL TARGET .9 ORACLE LIMIT 200 SEED 1"
    )
    assert cur.certificate is not None
    assert cur.certificate.n_labels == len(oracle.asked) == len(set(oracle.asked))
    returned = {row[1] for row in cur.fetchall()}
    known = set(oracle.asked)
    for row in range(3000):
        if row % 500 in known:
            assert (row in returned) == bool(truth[row % 500])


def test_compound_predicate_is_one_predicate(films: Films) -> None:
    con, truth, oracle = films
    asked: list[str] = []

    def sentiment(texts: list[str]) -> list[str]:
        asked.extend(texts)
        return ["pos" if "good" in text else "neg" for text in texts]

    con.create_oracle("sentiment", sentiment, ["VARCHAR"], returns="VARCHAR")
    cur = con.execute(
        "SELECT id FROM t WHERE (is_pos(id) AND sentiment(text) = 'pos') OR year = 1980 "
        "USING score RECALL TARGET .8 ORACLE LIMIT 500 SEED 1"
    )
    found = ids(cur.fetchall())
    years = con.execute("SELECT year FROM t ORDER BY id").fetchdf()["year"].to_numpy()
    true = truth | (years == 1980)
    assert recall(found, true) >= 0.8
    assert cur.certificate is not None
    assert len(asked) == len(set(asked))
    assert cur.certificate.n_labels == len(oracle.asked) + len(asked) <= 500
    assert set(np.flatnonzero(years == 1980)) <= set(found)
    assert not any(years[i] == 1980 for i in oracle.asked)


def test_null_inputs_cost_nothing_and_are_never_returned(films: Films) -> None:
    con, truth, oracle = films
    con.execute("UPDATE t SET id = NULL WHERE year < 2000")
    cur = con.execute("SELECT id FROM t WHERE is_pos(id)")
    assert all(row[0] is not None for row in cur.fetchall())
    assert len(oracle.asked) == con.execute("SELECT count(id) FROM t").fetchall()[0][0]
    negated = con.execute("SELECT id FROM t WHERE NOT is_pos(id)").fetchall()
    assert all(row[0] is not None for row in negated)


def test_empty_population(films: Films) -> None:
    con, _, oracle = films
    cur = con.execute(
        "SELECT id FROM t WHERE year > 3000 AND is_pos(id) USING score RECALL TARGET .9"
    )
    assert cur.fetchall() == []
    assert cur.certificate is not None
    assert cur.certificate.n_rows == 0
    assert oracle.asked == []


@pytest.mark.parametrize("truth_value", [True, False])
def test_all_or_none_positive(con: Connection, truth_value: bool) -> None:
    con.execute(
        "CREATE TABLE t AS SELECT i AS id, (i * 7919) % 3001 AS score FROM range(3000) r(i)"
    )
    con.create_oracle("is_pos", lambda ids: [truth_value] * len(ids), ["BIGINT"])
    for clause in (
        "RECALL TARGET .9 ORACLE LIMIT 100",
        "PRECISION TARGET .9 ORACLE LIMIT 100",
        "RECALL TARGET .9 PRECISION TARGET .9",
    ):
        cur = con.execute(f"SELECT id FROM t WHERE is_pos(id) USING score {clause} SEED 1")
        n_found = len(cur.fetchall())
        if not truth_value and "PRECISION" in clause:
            assert n_found == 0
        if truth_value and "RECALL" in clause:
            assert n_found >= 2700


def test_budget_above_the_population_is_exact(films: Films) -> None:
    con, truth, oracle = films
    cur = con.execute(RECALL.replace("300", "5000"))
    assert ids(cur.fetchall()).tolist() == np.flatnonzero(truth).tolist()
    assert len(oracle.asked) == 2000
    assert cur.certificate is not None
    assert cur.certificate.grade == "exact"


def test_uncommitted_rows_temporary_tables_and_views(films: Films) -> None:
    con, truth, _ = films
    con.execute("BEGIN")
    con.execute("DELETE FROM t WHERE id >= 100")
    con.execute("CREATE TEMP TABLE recent AS SELECT * FROM t WHERE year > 1990")
    con.execute("CREATE VIEW v AS SELECT id + 0 AS id, year FROM recent")
    found = ids(con.execute("SELECT id FROM v WHERE is_pos(id)").fetchall())
    years = con.execute("SELECT year FROM t ORDER BY id").fetchdf()["year"].to_numpy()
    assert found.tolist() == np.flatnonzero(truth[:100] & (years > 1990)).tolist()
    con.execute("ROLLBACK")
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(2000,)]


def test_join_labels_each_input_once(films: Films) -> None:
    con, truth, oracle = films
    con.execute("CREATE TABLE tags AS SELECT i % 50 AS film, i AS tag FROM range(500) r(i)")
    cur = con.execute(
        "SELECT t.id, g.tag, t.text FROM t JOIN tags AS g ON g.film = t.id "
        "WHERE is_pos(t.id) AND g.tag < 400 ORDER BY g.tag"
    )
    expected = [(i % 50, i) for i in range(400) if truth[i % 50]]
    assert [row[:2] for row in cur.fetchall()] == expected
    assert sorted(oracle.asked) == list(range(50))


def test_order_limit_distinct_and_expressions(films: Films) -> None:
    con, truth, _ = films
    rows = con.execute(
        "SELECT DISTINCT year AS y, year + 1 FROM t WHERE is_pos(id) ORDER BY y LIMIT 3"
    ).fetchall()
    years = con.execute("SELECT year FROM t ORDER BY id").fetchdf()["year"].to_numpy()
    assert rows == [(int(y), int(y) + 1) for y in np.unique(years[truth])[:3]]
    star = con.execute("SELECT * FROM t WHERE is_pos(id) LIMIT 2")
    assert star.description is not None
    assert [column[0] for column in star.description] == ["id", "score", "text", "year"]


def test_parameters(films: Films) -> None:
    con, truth, _ = films
    cur = con.execute(
        "SELECT id FROM t WHERE year > ? AND is_pos(id) USING score "
        "RECALL TARGET ? ORACLE LIMIT ? SEED 5",
        [1985, 0.8, 300],
    )
    assert cur.certificate is not None
    assert cur.certificate.targets.recall == 0.8


def test_python_proxy(films: Films) -> None:
    con, truth, _ = films
    scores = con.execute("SELECT score FROM t ORDER BY id").fetchdf()["score"].to_numpy()
    con.create_proxy("fast", lambda ids: [float(scores[i]) for i in ids], oracle="is_pos")
    con.execute("SET thresher_reuse_labels = false")
    by_name = con.execute(RECALL.replace("USING score", "USING fast"))
    by_column = con.execute(RECALL)
    assert by_name.fetchall() == by_column.fetchall()


def test_no_using_fits_a_proxy(con: Connection) -> None:
    table, truth = make_table(3000, seed=9)
    con.connection.register("arrow_t", table)
    con.execute("CREATE TABLE t AS SELECT * FROM arrow_t")
    con.create_oracle(
        "likes", lambda texts: [text.startswith("good") for text in texts], ["VARCHAR"]
    )
    cur = con.execute("SELECT id FROM t WHERE likes(text) RECALL TARGET .9 ORACLE LIMIT 150 SEED 1")
    found = ids(cur.fetchall())
    assert recall(found, truth) >= 0.9
    assert precision(found, truth) > 0.6
    assert cur.certificate is not None
    assert [proxy.name for proxy in cur.certificate.proxies] == ["tfidf"]
    assert cur.certificate.proxies[0].used


def test_results_in_every_form(films: Films) -> None:
    con, _, _ = films
    rows = con.execute(RECALL).fetchall()
    assert [tuple(r) for r in con.execute(RECALL).fetchdf().itertuples(index=False)] == rows
    assert con.execute(RECALL).pl().rows() == rows
    table = con.execute(RECALL).fetch_arrow_table()
    assert table.column("id").to_pylist() == [row[0] for row in rows]
    assert b"thresher.certificate" in table.schema.metadata
    reader = con.execute(RECALL).fetch_record_batch()
    assert isinstance(reader, pa.RecordBatchReader)
    assert reader.read_all().num_rows == len(rows)
    assert list(con.execute(RECALL)) == rows


def test_certificate_in_every_form(films: Films) -> None:
    con, _, _ = films
    certificate = con.execute(RECALL).certificate
    assert certificate is not None
    assert "recall" in str(certificate)
    assert certificate.id in certificate.to_json()
    steps = (StageReport("pilot", 9, 4), *[StageReport("verify", 495, 1)] * 40)
    again = dataclasses.replace(certificate, stages=(*steps, steps[0]))
    assert "pilot 4/9, verify 40/19,800 in 40 steps, pilot 4/9\n" in str(again)
    assert certificate._repr_html_().startswith('<div class="thresher">')
    shown = con.execute("SHOW CERTIFICATES").fetchall()
    assert shown[-1][0] == certificate.id


def test_an_estimate_that_labels_do_not_allow_is_left_out(films: Films) -> None:
    con, _, _ = films
    certificate = con.execute(RECALL).certificate
    assert certificate is not None

    def told(**known: float | None) -> tuple[str, str]:
        made = dataclasses.replace(
            certificate, bounds=dataclasses.replace(certificate.bounds, **known)
        )
        lines = [line for line in str(made).splitlines() if line.startswith("recall")]
        parts = [part for part in made.summary.split(" | ") if part.startswith("est.")]
        return lines[0].split(maxsplit=1)[1], " ".join(parts)

    both = told(recall_estimate=0.95, precision_estimate=0.5)
    assert both == (">= 90.0%, est. 95.0%", "est. recall 95.0%, precision 50.0%")
    one = told(recall_estimate=None, precision_estimate=0.5)
    assert one == (">= 90.0%", "est. precision 50.0%")
    assert told(recall_estimate=None, precision_estimate=None) == (">= 90.0%", "")
    nothing = told(recall=None, recall_estimate=None, precision_estimate=None)
    assert nothing == ("not certified", "")


@pytest.mark.parametrize(
    ("delta", "text"), [(0.05, "95.0%"), (0.001, "99.9%"), (1e-4, "99.99%"), (0.0125, "98.75%")]
)
def test_a_probability_is_never_rounded_up(films: Films, delta: float, text: str) -> None:
    certificate = films[0].execute(RECALL).certificate
    assert certificate is not None
    targets = dataclasses.replace(certificate.targets, delta=delta)
    made = dataclasses.replace(certificate, targets=targets)
    assert made.statement.startswith(f"With probability at least {text}, the ")
    assert f" with probability {1 - delta:.8g} | " in made.summary
    assert f", probability {1 - delta:.8g}\n" in str(made)


def test_shortfall(con: Connection) -> None:
    con.execute(
        "CREATE TABLE t AS SELECT i AS id, (i * 7919) % 10007 AS score FROM range(9000) r(i)"
    )
    con.create_oracle("rare", lambda ids: [i % 1000 == 0 for i in ids], ["BIGINT"])
    query = "SELECT id FROM t WHERE rare(id) USING score RECALL TARGET .9 ORACLE LIMIT 100 SEED 1"
    cur = con.execute(query)
    assert cur.certificate is not None
    assert "nothing could be left out" in str(cur.certificate.note)
    assert "labels are forecast" in str(cur.certificate.note)
    assert "every row that is not known to be negative is returned" in str(cur.certificate.note)
    with pytest.raises(thresher.ShortfallError, match="nothing could be left out") as caught:
        con.execute(query + " ON SHORTFALL FAIL")
    assert "with 100 labels, so there is no answer. Raise ORACLE LIMIT" in caught.value.message
    assert "Or write ON SHORTFALL RETURN for every row" in caught.value.message
    assert "is returned" not in caught.value.message
    cur = con.execute(query + " ON SHORTFALL EXACT")
    assert cur.certificate is not None
    assert "is returned" not in str(cur.certificate.note)
    assert ids(cur.fetchall()).tolist() == list(range(0, 9000, 1000))
    con.execute("SET thresher_reuse_labels = false")
    con.execute("SET thresher_oracle_limit = 500")
    joint = query.replace("ORACLE LIMIT 100", "PRECISION TARGET .9 ORACLE LIMIT 100")
    with pytest.raises(thresher.ShortfallError, match="cannot be certified") as caught:
        con.execute(joint)
    assert "100 labels bought so far will be bought anew unless" in caught.value.message


def test_a_query_that_is_stopped_says_how_many_labels_it_had(films: Films) -> None:
    con, truth, _ = films

    def slow(rows: list[int]) -> list[bool]:
        time.sleep(0.3)
        return [bool(truth[i]) for i in rows]

    con.create_oracle("slow", slow, args=["BIGINT"])
    cur = con.execute(
        "SELECT id FROM t WHERE slow(id) USING score RECALL TARGET 90% BUDGET 0.1 SECONDS"
    )
    assert cur.certificate is not None
    n_labels = cur.certificate.n_labels
    assert 0 < n_labels < 1000
    assert str(cur.certificate.note).startswith(
        "stopped by BUDGET 0.1 SECONDS: nothing could be left out safely with the "
        f"{n_labels} labels bought by then: every row"
    )
    assert f"Run it again to go on (the {n_labels} labels bought so far are reused)." in str(
        cur.certificate.note
    )
    few = "SELECT id FROM t WHERE slow(id) AND id < 60"
    con.execute(few)
    cur = con.execute(f"{few} USING score RECALL TARGET 90% BUDGET 0.000001 SECONDS")
    assert cur.certificate is not None
    assert (cur.certificate.grade, cur.certificate.note) == ("exact", None)


def test_the_store_is_queryable(films: Films) -> None:
    con, _, oracle = films
    assert con.execute("SELECT count(*) FROM thresher_labels()").fetchall() == [(0,)]
    certificate = con.execute(RECALL).certificate
    assert certificate is not None
    rows = con.execute(
        "SELECT oracle, count(DISTINCT input_sha256) FROM thresher_labels() GROUP BY oracle"
    ).fetchall()
    assert rows == [("is_pos", len(oracle.asked))]
    after = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    names, bought = first_row(con, "thresher_labels()")
    assert (names[0], names[2], names[3]) == ("oracle", "input_sha256", "answer")
    assert (bought[0], len(bought[2]), bought[3] in ("false", "true")) == ("is_pos", 64, True)
    names, made = first_row(con, "thresher_certificates()")
    assert (names[:2], made[0]) == (["id", "made_at"], certificate.id)
    for moment in (bought[-1], made[1]):  # UTC, without a zone
        assert after - dt.timedelta(minutes=5) < moment <= after


def first_row(con: thresher.Connection, table: str) -> tuple[list[str], tuple[Any, ...]]:
    cursor = con.execute(f"FROM {table}")
    row = cursor.fetchone()
    assert row is not None
    return [str(column[0]) for column in cursor.description or ()], row


def test_the_same_seed_does_not_draw_the_same_rows_twice(films: Films) -> None:
    con, _, oracle = films
    con.execute(RECALL)
    first = set(oracle.asked)
    con.execute("SET thresher_reuse_labels = false")
    con.execute(RECALL.replace("90%", "89%"))
    alone = set(oracle.asked[len(first) :])
    con.execute("SET thresher_reuse_labels = true")
    before = len(oracle.asked)
    con.execute(RECALL.replace("90%", "91%"))
    assert not first & set(oracle.asked[before:])
    assert len(first & alone) < 0.6 * len(first)


def test_a_certified_answer_is_no_shortfall(con: Connection) -> None:
    con.execute("CREATE TABLE t AS SELECT i AS id FROM range(3000) r(i)")
    con.create_oracle("yes", lambda ids: [True] * len(ids), ["BIGINT"])
    cur = con.execute(
        "SELECT id FROM t WHERE yes(id) USING id "
        "RECALL TARGET 90% PRECISION TARGET 90% ON SHORTFALL FAIL SEED 1"
    )
    assert cur.certificate is not None
    assert cur.certificate.met


def test_volatile_functions_are_refused(films: Films) -> None:
    con, _, oracle = films
    with pytest.raises(thresher.NotSupportedError, match="rows would not stand still"):
        con.execute("SELECT id FROM t WHERE random() < 0.5 AND is_pos(id)")
    assert oracle.asked == []
    cur = con.execute("SELECT id FROM (SELECT * FROM t WHERE random() < 0.5) t WHERE is_pos(id)")
    assert cur.certificate is not None
    assert cur.certificate.n_rows == len(oracle.asked)


def test_a_declaration_can_be_replaced(con: Connection) -> None:
    con.execute("CREATE TABLE t AS SELECT i AS id FROM range(10) r(i)")
    for least in (5, 8):
        con.create_oracle("big", lambda ids, k=least: [i >= k for i in ids], ["BIGINT"])
        found = con.execute("SELECT id FROM t WHERE big(id)").fetchall()
        assert [row[0] for row in found] == list(range(least, 10))


def test_dropping_a_temporary_oracle_leaves_the_stored_one(tmp_path: Path) -> None:
    with thresher.connect(tmp_path / "f.duckdb") as con:
        con.execute("CREATE TABLE l AS SELECT i AS k, i > 3 AS v FROM range(10) r(i)")
        con.execute(
            "CREATE ORACLE o(k BIGINT) RETURNS BOOLEAN USING column "
            "WITH (table = 'l', key = 'k', value = 'v')"
        )
        con.create_oracle("o", lambda ks: [k == 1 for k in ks], ["BIGINT"])
        assert con.execute("SELECT k FROM l WHERE o(k)").fetchall() == [(1,)]
        con.execute("DROP ORACLE o")
        assert len(con.execute("SELECT k FROM l WHERE o(k)").fetchall()) == 6
    with thresher.connect(tmp_path / "f.duckdb") as con:
        assert con.execute("SHOW ORACLES").fetchall()[0][0] == "o"
        con.execute("BEGIN")
        con.execute("DROP ORACLE o")
        con.execute("ROLLBACK")
        assert len(con.execute("SELECT k FROM l WHERE o(k)").fetchall()) == 6


def test_two_sessions_on_one_store_pay_once(tmp_path: Path) -> None:
    table, truth = make_table(600, seed=1)
    store = tmp_path / "shared.labels"
    sql = "SELECT id FROM t WHERE is_pos(id)"
    asked: list[int] = []
    others: list[Connection] = []

    def answer(ids: list[int]) -> list[bool]:
        asked.extend(ids)
        if others:  # the second session runs to its end during the first one's first batch
            others.pop().execute(sql)
        return [bool(truth[i]) for i in ids]

    with thresher.connect(labels=store) as one, thresher.connect(labels=store) as two:
        for con in (one, two):
            con.connection.register("arrow_t", table)
            con.execute("CREATE TABLE t AS SELECT * FROM arrow_t")
            con.create_oracle("is_pos", answer, ["BIGINT"], batch_size=100, version="1")
        others.append(two)
        one.execute(sql)
    assert len(asked) == 600 + 100  # the batch that both were asking at once


def test_a_statement_without_rows_says_so_when_they_are_fetched(films: Films) -> None:
    con, _, _ = films
    cur = con.cursor()
    with pytest.raises(thresher.InterfaceError, match=r"execute\(\) a statement first"):
        cur.fetchone()
    cur.execute("SET thresher_seed = 3")
    assert (cur.description, cur.rowcount) == (None, -1)
    for fetch in (cur.fetchone, cur.fetchmany, cur.fetchall, cur.fetch_arrow_table, cur.fetchdf):
        with pytest.raises(thresher.InterfaceError, match="SET thresher_seed = 3 returns none"):
            fetch()
    for sql, count in (
        ("CREATE TABLE fresh (i INTEGER)", -1),
        ("INSERT INTO fresh VALUES (1), (2)", 2),
        ("UPDATE fresh SET i = 3 WHERE i = 2", 1),
        ("SET threads = 1", -1),
    ):
        cur.execute(sql)
        assert (cur.description, cur.rowcount) == (None, count)
        with pytest.raises(thresher.InterfaceError, match="returns none"):
            cur.fetchall()
    assert cur.execute("DELETE FROM fresh RETURNING i").fetchall() == [(1,), (3,)]
    cur.executemany("INSERT INTO fresh VALUES (?)", [(1,), (2,), (3,)])
    assert cur.rowcount == 3


def test_rowcount_and_rows_once(films: Films) -> None:
    con, _, _ = films
    cur = con.execute("SELECT id FROM t WHERE is_pos(id)")
    assert cur.rowcount == -1
    assert cur.fetch_arrow_table().num_rows > 0
    assert cur.fetchall() == []
    with pytest.raises(thresher.InterfaceError, match="have been fetched"):
        cur.fetchdf()
    assert con.execute("DELETE FROM t WHERE id < 10").rowcount == 10


def test_an_error_in_a_script_shows_its_line(films: Films) -> None:
    with pytest.raises(thresher.ProgrammingError) as caught:
        films[0].execute("SELECT 1;\nSELECT 2;\nSELECT id FROM t WHERE is_pos(id) RECALL TARGET 95")
    assert caught.value.line == 3


def test_the_database_error_is_not_masked(films: Films) -> None:
    with pytest.raises(thresher.DatabaseError, match="Could not convert string 'x'"):
        films[0].execute(
            "SELECT * FROM (SELECT '7' AS a UNION ALL SELECT 'x') s "
            "WHERE CAST(a AS INTEGER) > 3 AND is_pos(CAST(a AS BIGINT))"
        )


def test_column_oracles_read_their_table_once(films: Films) -> None:
    con, truth, _ = films
    con.execute("CREATE TABLE labels AS SELECT id, id % 3 = 0 AS v FROM t")
    con.execute(
        "CREATE TEMP ORACLE third(id BIGINT) RETURNS BOOLEAN USING column "
        "WITH (table = 'labels', key = 'id', value = 'v')"
    )
    assert len(con.execute("SELECT id FROM t WHERE third(id)").fetchall()) == 667
    con.execute("UPDATE labels SET v = NOT v")
    assert len(con.execute("SELECT id FROM t WHERE third(id)").fetchall()) == 1333


@pytest.mark.parametrize("progress", [5, "sometimes"])
def test_progress_must_be_a_sink_or_a_word(progress: object) -> None:
    with pytest.raises(thresher.ProgrammingError, match="thresher_progress cannot be"):
        thresher.connect(config={"progress": progress})  # type: ignore[dict-item]


def test_an_aggregate_hidden_in_a_macro(films: Films) -> None:
    con, truth, _ = films
    con.execute("CREATE MACRO total(a) AS sum(a)")
    assert con.execute("SELECT total(id) FROM t WHERE is_pos(id)").fetchall() == [
        (int(np.flatnonzero(truth).sum()),)
    ]
    with pytest.raises(thresher.NotSupportedError, match="a macro of this query aggregates"):
        con.execute("SELECT total(id) FROM t WHERE is_pos(id) USING score RECALL TARGET .9")
