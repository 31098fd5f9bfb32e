"""What a query leaves for pictures: binned once, stored beside the certificate, no part of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thresher
from thresher.certificate import Certificate
from thresher.traces import ScoreTrace, Spending, Trace, trace_scores

QUERY = "SELECT i FROM range(4000) r(i) WHERE is_ninth(i) USING score(i) "


def connect(path: Path | None = None) -> thresher.Connection:
    con = thresher.connect(labels=path, config={"seed": 1})
    con.create_oracle("is_ninth", lambda n: [i % 9 == 0 for i in n], args=["BIGINT"])
    con.execute(
        "CREATE MACRO score(i) AS 0.1 + 0.5 * (i % 9 = 0)::INT + ((i * 7919) % 100) / 300.0"
    )
    return con


def certificate_of(clauses: str, query: str = QUERY, con: object = None) -> Certificate:
    found = (con if isinstance(con, thresher.Connection) else connect()).execute(query + clauses)
    assert found.certificate is not None
    return found.certificate


@given(
    st.lists(
        st.tuples(st.one_of(st.floats(width=32), st.sampled_from([0.25, 0.5])), st.booleans()),
        min_size=1,
        max_size=80,
    ),
)
def test_every_row_is_in_one_bin_in_any_order(rows: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in rows], dtype=np.float32)
    truth = np.array([positive for _, positive in rows])
    place = np.arange(len(rows))
    found = trace_scores(scores, [(place, truth, True)])
    finite = np.isfinite(scores)
    if not finite.any():
        assert found is None
        return
    assert found is not None
    assert sum(found.counts) == finite.sum()
    assert found.n_missing == (~finite).sum()
    assert sum(found.positive) == truth[finite].sum()
    assert sum(found.negative) == (~truth[finite]).sum()
    if finite.sum() >= 12:
        assert sum(one.n_rows for one in found.bins) == finite.sum()
        assert min(one.n_rows for one in found.bins) >= 12
        ends = [end for one in found.bins for end in (one.low, one.high)]
        assert ends == sorted(ends)
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    again = trace_scores(scores[order], [(place, truth[order], True)])
    assert again is not None
    assert again.counts == found.counts
    assert again.positive == found.positive


def test_rows_that_a_proxy_has_learnt_from_are_in_no_bin() -> None:
    rows, truth = np.arange(50), np.arange(50) > 25
    found = trace_scores(rows / 50, [(rows, truth, False)])
    assert found is not None
    assert sum(found.positive) == 24
    assert found.bins == ()


def test_the_sketch_falls_from_the_best_to_the_last() -> None:
    found = trace_scores(np.random.default_rng(0).beta(0.2, 2, 300_000), [])
    assert found is not None
    assert found.n_counted == 150_000  # every other row
    shares, scores = zip(*found.sketch, strict=True)
    assert list(shares) == sorted(shares)
    assert list(scores) == sorted(scores, reverse=True)
    assert scores[shares.index(0.5)] == pytest.approx(
        np.quantile(np.random.default_rng(0).beta(0.2, 2, 300_000), 0.5), rel=0.05
    )


def test_spending_keeps_its_ends_however_long_it_takes() -> None:
    spending = Spending()
    for second in range(100_000):
        spending.note("sample", float(second), second, second * 0.01)
    points = spending.points
    assert len(points) <= 128
    assert (points[0].n_labels, points[-1].n_labels) == (0, 99_999)
    assert [p.n_labels for p in points] == sorted(p.n_labels for p in points)


def test_waiting_takes_no_points() -> None:
    spending = Spending()
    for second in range(1000):
        spending.note("sample", float(second), 7, 0.0)
    assert [p.elapsed_s for p in spending.points] == [0.0, 999.0]


@pytest.mark.parametrize(
    "clauses",
    [
        "RECALL TARGET 90% ORACLE LIMIT 600",
        "RECALL TARGET 90% PRECISION TARGET 90%",
        "ACCURACY TARGET 90%",
    ],
)
def test_a_trace_is_no_part_of_a_certificate(clauses: str) -> None:
    certificate = certificate_of(clauses)
    assert certificate.trace is not None
    bare = replace(certificate, trace=None)
    assert (bare.id, bare.to_json()) == (certificate.id, certificate.to_json())
    assert bare == certificate
    assert certificate.verify().ok
    written = json.loads(json.dumps(certificate.trace.to_dict()))
    assert Trace.from_dict(written) == certificate.trace
    spent = certificate.trace.spending[-1]
    assert spent.n_labels == certificate.n_labels
    assert spent.elapsed_s <= certificate.elapsed_s + 1


def test_a_search_leaves_its_scores_too() -> None:
    certificate = certificate_of("LIMIT 20 USING score(i)", QUERY.partition("USING")[0])
    assert certificate.trace is not None
    assert certificate.trace.scores is not None
    assert sum(certificate.trace.scores.positive) >= 20


def test_labels_of_the_log_are_in_the_bins() -> None:
    certificate = certificate_of("RECALL TARGET 90% ORACLE LIMIT 600")
    trace, log = certificate.trace, certificate.log
    assert trace is not None
    assert log is not None
    scores = trace.scores
    assert isinstance(scores, ScoreTrace)
    assert sum(scores.counts) == 4000
    assert sum(scores.positive) + sum(scores.negative) == log.num_rows
    assert sum(scores.positive) == sum(log.column("truth").to_pylist())
    assert sum(one.n_rows for one in scores.bins) == log.num_rows


def test_a_count_says_which_rows_count() -> None:
    sql = "SELECT count(*) AS n, i % 2 AS g FROM range(4000) r(i) WHERE is_ninth(i) GROUP BY g "
    certificate = certificate_of("USING score(i) ORACLE LIMIT 600", sql)
    assert certificate.trace is not None
    scores = certificate.trace.scores
    assert scores is not None
    assert scores.of == "counts"
    assert sum(scores.positive) + sum(scores.negative) == certificate.n_labels
    assert sum(scores.positive) == sum(stage.n_positive for stage in certificate.stages)


def test_every_labelled_row_of_an_estimate_is_counted_once() -> None:
    con = connect()
    sql = "SELECT count(*) AS n, avg(i) AS a, i % 3 AS g FROM range(4000) r(i) WHERE is_ninth(i) "
    certificate_of("USING score(i) ORACLE LIMIT 300 SEED 1", sql + "GROUP BY g ", con)
    certificate = certificate_of("USING score(i) ORACLE LIMIT 300 SEED 2", sql + "GROUP BY g ", con)
    assert certificate.n_reused > 0
    assert certificate.log is not None
    assert certificate.trace is not None
    scores = certificate.trace.scores
    assert scores is not None
    n_rows = len(set(certificate.log.column("row").to_pylist()))
    assert sum(scores.positive) + sum(scores.negative) == n_rows
    assert sum(one.n_rows for one in scores.bins) == certificate.n_labels


def test_certificates_come_back_from_the_store_with_and_without_a_trace(tmp_path: Path) -> None:
    con = connect(tmp_path / "a.labels")
    certificate = certificate_of("RECALL TARGET 90% ORACLE LIMIT 600", con=con)
    store, identity = con._store, certificate.id
    facts, log = store.certificate(identity), store.certificate_labels(identity)
    assert facts is not None
    again = Certificate.from_dict(facts, log, store.certificate_trace(identity))
    assert again.to_json() == certificate.to_json()
    assert again.trace == certificate.trace
    assert again.verify().ok
    with store.file.writing() as db:  # as a store of an earlier version has it
        db.execute("DELETE FROM certificate_traces")
    assert store.certificate_trace(identity) is None
    old = Certificate.from_dict({k: v for k, v in facts.items() if k != "trained"}, log)
    assert (old.id, old.trace) == (certificate.id, None)


@pytest.mark.parametrize("facts", [{}, {"sql": 1, "what": 2}])
def test_what_is_no_certificate_is_refused(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no facts of a certificate"):
        Certificate.from_dict(facts)


@pytest.mark.parametrize("values", [[-1.5e308, 1.5e308, 0.0], [1e308, 1e308], [-1.7e308, 1.7e308]])
def test_scores_that_lie_too_far_apart_leave_no_bins(values: list[float]) -> None:
    scores = np.array(values)
    found = trace_scores(scores, [(np.arange(1), np.array([True]), True)])
    assert found is None or np.isfinite(found.high)


def test_scores_at_the_ends_of_the_numbers_do_not_end_a_query() -> None:
    query = "SELECT i FROM range(4000) r(i) WHERE is_ninth(i) USING 1.5e308 * (1 - 2 * (i % 2)) "
    found = certificate_of("RECALL TARGET 90% ORACLE LIMIT 300", query)
    assert found.met
    assert found.trace is None or found.trace.scores is None
