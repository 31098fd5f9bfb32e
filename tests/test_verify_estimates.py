"""Every kind of answer, asked in SQL and verified from its log; estimates tampered with."""

from __future__ import annotations

import copy
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import brentq

import thresher
from thresher.label_log import LOG_SCHEMA, log_sha256
from thresher.recompute import hits
from thresher.recompute_bets import Line, least_overlooked, standing
from thresher.recounts import FACTS, Log, value_stage
from thresher.sampling.core_set import core_set_design
from thresher.verify import Verification, verify

N = 1500
RATING = "least(greatest(rating(id), 0), 10)"
Plain = dict[str, Any]


@pytest.fixture(scope="module")
def con() -> Iterator[thresher.Connection]:
    rng = np.random.default_rng(4)
    score = 1 / (1 + np.exp(-rng.normal(-1.5, 2.5, N)))
    truth = rng.random(N) < score
    rare = rng.beta(0.1, 1.0, N)
    rarely = rng.random(N) < rare
    price = np.round(rng.lognormal(0, 1, N), 2)
    rating = np.clip(5 * score + rng.normal(0, 1, N), 0, 10)
    kind = np.array(["a", "b", "c"])[rng.integers(0, 3, N)]
    with thresher.connect(config={"seed": 5}) as made:
        made.create_oracle("is_pos", lambda i: [bool(truth[k]) for k in i], ["BIGINT"], "BOOLEAN")
        made.create_oracle("is_rare", lambda i: [bool(rarely[k]) for k in i], ["BIGINT"], "BOOLEAN")
        made.create_oracle("rating", lambda i: [float(rating[k]) for k in i], ["BIGINT"], "DOUBLE")

        def slow(rows: list[int]) -> list[bool]:
            time.sleep(0.002 * len(rows))
            return [bool(truth[k]) for k in rows]

        made.create_oracle("slow", slow, ["BIGINT"], "BOOLEAN")
        columns = {"score": score, "rare": rare, "price": price, "kind": kind, "guess": 5 * score}
        made.connection.register("source", pa.table({"id": np.arange(N), **columns}))
        made.execute("CREATE TABLE t AS SELECT * FROM source")
        made.execute("SET thresher_reuse_labels = false")
        yield made


def ask(con: thresher.Connection, sql: str) -> thresher.Certificate:
    certificate = con.execute(sql).certificate
    assert certificate is not None
    return certificate


def wrong(plain: Plain, log: pa.Table) -> set[str]:
    """Names of the checks that fail when whoever changed the log has written the new hash."""
    found = verify(plain | {"labels_sha256": log_sha256(log)}, log)
    return {check.name for check in found.failed} - {"identity"}


ESTIMATES = {
    "counts by group": "SELECT kind, count(*) AS n FROM t WHERE is_pos(id) GROUP BY kind "
    "USING score ORACLE LIMIT 60",
    "a mixture to an error": "SELECT avg(price) AS a, sum(price) AS s FROM t WHERE is_pos(id) "
    "USING score ERROR WITHIN 25%",
    "a mixture by group": "SELECT kind, 2 * avg(price) AS a, sum(price) / sum(guess) AS r, "
    "count(*) AS n FROM t WHERE is_pos(id) GROUP BY kind USING score ORACLE LIMIT 300",
    "values of an oracle": f"SELECT avg({RATING}) AS a, sum({RATING}) AS s FROM t USING guess "
    "ORACLE LIMIT 150",
    "two oracles": f"SELECT kind, avg({RATING}) AS a FROM t WHERE is_pos(id) GROUP BY kind "
    "USING score, guess ORACLE LIMIT 200",
    "order statistics": "SELECT median(price) AS m, quantile_disc(price, 0.9) AS q, "
    "max(price) AS x, min(price) AS y FROM t WHERE is_pos(id) USING score ORACLE LIMIT 200",
    "order statistics of an oracle": f"SELECT median({RATING}) AS m, max({RATING}) AS x FROM t "
    "WHERE is_pos(id) USING score ORACLE LIMIT 200",
    "without a proxy": "SELECT count(*) AS n, avg(price) AS a FROM t WHERE is_pos(id) "
    "ORACLE LIMIT 200",
    "what needs no label": "SELECT count(*) AS n, max(price) AS x, sum(price) FILTER (is_pos(id)) "
    "AS s FROM t USING score ORACLE LIMIT 100",
    "everything": "SELECT kind, count(*) AS n, median(price) AS m, min(price) AS y FROM t "
    "WHERE is_pos(id) GROUP BY kind ORACLE LIMIT 1500",
    "an error out of reach": "SELECT avg(price) AS a FROM t WHERE is_pos(id) USING score "
    "ERROR WITHIN 1% ORACLE LIMIT 120 ON SHORTFALL RETURN",
    "one label": "SELECT count(*) AS n, avg(price) AS a FROM t WHERE is_pos(id) USING score "
    "ORACLE LIMIT 1",
    "no time": "SELECT kind, avg(price) AS a FROM t WHERE slow(id) GROUP BY kind USING score "
    "BUDGET 0.3 SECONDS",
    "normal limits": "SELECT kind, avg(price) AS a, count(*) AS n FROM t WHERE is_pos(id) "
    "GROUP BY kind USING score ORACLE LIMIT 200 ASSUMING NORMALITY",
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates_hold(con: thresher.Connection, name: str) -> None:
    certificate = ask(con, ESTIMATES[name])
    found = certificate.verify()
    assert found.ok, str(found)
    assert certificate.log is not None
    assert verify(json.loads(certificate.to_json()), certificate.log).ok
    assert con.verify(certificate.id).ok  # from the label store
    named = {check.name for check in found.checks}
    for interval in certificate.intervals:
        assert any(text.startswith(interval.name) for text in named)


def test_facts_of_an_earlier_query_are_counted(con: thresher.Connection) -> None:
    con.execute("SET thresher_reuse_labels = true")
    sql = "SELECT kind, avg(price) AS a, count(*) AS n FROM t WHERE is_pos(id) GROUP BY kind"
    for limit in (60, 120):
        certificate = ask(con, f"{sql} USING score ORACLE LIMIT {limit}")
        assert certificate.verify().ok, str(certificate.verify())
    con.execute("SET thresher_reuse_labels = false")
    assert certificate.log is not None
    log = Log(certificate.log)
    assert len(log.facts) > 0
    facts = [i for i, s in enumerate(certificate.log.column("stage").to_pylist()) if FACTS in s]
    rows = [i for i in range(len(certificate.log)) if i != facts[0]]
    failed = wrong(certificate.to_dict(), certificate.log.take(pa.array(rows)))
    assert "columns" in failed


@pytest.mark.parametrize("end", ["a signal", "a budget"])
def test_interrupted_answers_hold(con: thresher.Connection, end: str) -> None:
    for select, tail in (
        ("id", "RECALL TARGET .8"),
        ("id", "PRECISION TARGET .8"),
        ("avg(price) AS a", "ORACLE LIMIT 1000"),
    ):
        sql = f"SELECT {select} FROM t WHERE slow(id) USING score {tail}"
        if end == "a budget":
            limit = "" if "LIMIT" in tail else "BUDGET 0.3 SECONDS"
            certificate = ask(con, f"{sql} {limit or 'BUDGET 0.3 SECONDS'}")
        else:
            con.execute("SET thresher_on_interrupt = 'ANSWER'")
            timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
            timer.start()
            limit = "" if "LIMIT" in tail else "ORACLE LIMIT 1000"
            certificate = ask(con, f"{sql} {limit}")
            timer.join()
            con.execute("RESET thresher_on_interrupt")
        assert certificate.verify().ok, str(certificate.verify())


ASSUMED = {
    ("is_rare", "rare", "CALIBRATION", "RECALL"): "calibrated tail",
    ("is_pos", "score", "PROXY QUALITY", "RECALL"): "proxy quality",
    ("is_pos", "score", "PROXY QUALITY WITHIN 0.3", "PRECISION"): "proxy quality",
    ("is_pos", "score", "CORE SET CLOSURE", "RECALL"): "distribution-free",
    ("is_pos", "score", "CORE SET CLOSURE OF 400", "RECALL"): "core set closure",
    ("is_pos", "score", "CORE SET CLOSURE", "PRECISION"): "distribution-free",
    ("is_pos", "score", "CORE SET CLOSURE OF 300", "PRECISION"): "core set closure",
    ("is_pos", "score", "NORMALITY", "RECALL"): "asymptotic",
    ("is_pos", "score", "NORMALITY", "PRECISION"): "asymptotic",
}


def assumed(con: thresher.Connection, case: tuple[str, str, str, str]) -> thresher.Certificate:
    oracle, proxy, assuming, target = case
    limit = {"CALIBRATION": 200, "NORMALITY": 600}.get(assuming, 300)
    return ask(
        con,
        f"SELECT id FROM t WHERE {oracle}(id) USING {proxy} {target} TARGET 80% "
        f"ORACLE LIMIT {limit} ASSUMING {assuming} ON SHORTFALL RETURN",
    )


@pytest.mark.parametrize("case", ASSUMED)
def test_answers_that_rest_on_an_assumption_hold_and_say_so(
    con: thresher.Connection, case: tuple[str, str, str, str]
) -> None:
    certificate = assumed(con, case)
    assert certificate.grade == ASSUMED[case]
    found = certificate.verify()
    assert found.ok, str(found)
    unseen = "rests on an assumption that no log can show"
    assert (unseen in str(found)) == (certificate.grade != "distribution-free")
    plain = certificate.to_dict()
    assert certificate.log is not None
    bound = "recall" if case[3] == "RECALL" else "precision"
    better = plain | {"bounds": plain["bounds"] | {bound: 1.0}}
    if case[2:] != ("CORE SET CLOSURE", "PRECISION"):  # its log allows 1: section 1 of the audits
        assert f"{bound} bound" in wrong(better, certificate.log)
    if certificate.grade != "distribution-free":
        assert "assumption" in wrong(plain | {"assumption": None}, certificate.log)


def test_a_deeper_cut_above_a_calibrated_tail_is_seen(con: thresher.Connection) -> None:
    certificate = assumed(con, ("is_rare", "rare", "CALIBRATION", "RECALL"))
    plain, log = certificate.to_dict(), certificate.log
    assert log is not None
    assert plain["tests"]
    for field, step in (("cut", 1), ("n_known", 10**6), ("n_rows", 10**6), ("n_found", 1)):
        test = plain["tests"][0]
        changed = plain | {"tests": [test | {field: test[field] + step}]}
        assert any(name.endswith(field) for name in wrong(changed, log)), field
    seen = {c.name: c for c in certificate.verify().checks}["recall without it"]
    assert isinstance(seen.recomputed, float)
    assert 0 < seen.recomputed <= 1
    assert "not derived again" in seen.explanation


def test_too_small_a_core_set_sample_is_seen(con: thresher.Connection) -> None:
    case = ("is_pos", "score", "CORE SET CLOSURE OF 400", "RECALL")
    certificate = assumed(con, case)
    plain, log = certificate.to_dict(), certificate.log
    assert log is not None
    fewer = str(plain["assumption"]).replace("400", "40")
    assert "sample" in wrong(plain | {"assumption": fewer}, log)
    more = str(plain["assumption"]).replace("400", "1600")
    assert "declared" in wrong(plain | {"assumption": more}, log)
    surer = plain | {"bounds": plain["bounds"] | {"free_recall": 0.9}}
    assert wrong(surer, log) == {"recall without it"}


@pytest.mark.parametrize("n_core", [1, 3, 30, 200])
def test_samples_of_core_set_closure_are_of_its_designs(n_core: int) -> None:
    for n_rows in (250, 2000):
        for delta in (0.01, 0.05, 0.2):
            design = core_set_design(n_rows, n_core, delta)
            rows = round(design.n_labels)
            assert hits(n_rows, n_core, rows, delta)
            assert not hits(n_rows, n_core, int(0.8 * rows) - 2, delta)


@pytest.mark.parametrize(
    "tail",
    [
        "ACCURACY TARGET 90%",
        "ACCURACY TARGET 99.9% ORACLE LIMIT 200 ON SHORTFALL RETURN",
        "RECALL TARGET 99% ORACLE LIMIT 60 ON SHORTFALL RETURN",
        "PRECISION TARGET 99% ORACLE LIMIT 60 ON SHORTFALL RETURN",
        "RECALL TARGET 95% PRECISION TARGET 95% ORACLE LIMIT 200 ON SHORTFALL RETURN",
        "RECALL TARGET 99% ORACLE LIMIT 60 ON SHORTFALL EXACT",
    ],
)
def test_targets_met_or_not_hold(con: thresher.Connection, tail: str) -> None:
    certificate = ask(con, f"SELECT id FROM t WHERE is_pos(id) USING score {tail}")
    assert certificate.verify().ok, str(certificate.verify())


@pytest.fixture(scope="module")
def bets(con: thresher.Connection) -> thresher.Certificate:
    """A mean, a sum and a count, all with bets on the same draws of two groups."""
    return ask(
        con,
        "SELECT kind = 'a' AS k, avg(price) AS a, sum(price) AS s, count(*) AS n FROM t "
        "WHERE is_pos(id) GROUP BY k USING score ORACLE LIMIT 300",
    )


def column(log: pa.Table, number: int) -> str:
    """The stage of the longest part of the log with values of a column."""
    names = [s for s in log.column("stage").to_pylist() if s.endswith(f"[{number}]")]
    return max(sorted(set(names)), key=names.count)


def with_value(log: pa.Table, place: int, value: float | None) -> pa.Table:
    values = log.column("value").to_pylist()
    values[place] = value
    return log.set_column(4, LOG_SCHEMA.field(4), pa.array(values, pa.float64()))


def test_a_changed_value_is_seen(bets: thresher.Certificate) -> None:
    log, plain = bets.log, bets.to_dict()
    assert log is not None
    stages, values = log.column("stage").to_pylist(), log.column("value").to_pylist()
    stage = column(log, 0)
    places = [i for i, s in enumerate(stages) if s == stage]
    for place in places[:-1:40]:
        was = values[place]
        changed = with_value(log, place, 7.5 if was is None else was + 0.01)
        assert "label log" in {c.name for c in bets.verify(changed).failed}
        failed = wrong(plain, changed)
        assert {name.partition(": ")[2] for name in failed} >= {"offsets"}, failed
    counted = next(i for i in places if values[i] is not None)
    assert "stages" in wrong(plain, with_value(log, counted, None)) or len(plain["tests"]) > 1
    everywhere = log
    row = log.column("row")[counted].as_py()
    for i, other in enumerate(log.column("row").to_pylist()):
        if other == row:
            everywhere = with_value(everywhere, i, None)
    assert "stages" in wrong(plain, everywhere)


def test_a_dropped_repeated_or_swapped_draw_is_seen(bets: thresher.Certificate) -> None:
    log, plain = bets.log, bets.to_dict()
    assert log is not None
    rows, stages = log.column("row").to_pylist(), log.column("stage").to_pylist()
    place = stages.index(column(log, 0)) + 3
    kept = [i for i, row in enumerate(rows) if row != rows[place]]
    failed = wrong(plain, log.take(pa.array(kept)))
    assert "stages" in failed
    assert any(name.endswith("draws") for name in failed)
    one = [i for i in range(len(rows)) if i != place]
    assert "columns" in wrong(plain, log.take(pa.array(one)))
    order = list(range(len(rows)))
    for stage in {s for s in stages if s.partition(" [")[0] == stages[place].partition(" [")[0]}:
        first = stages.index(stage) + 3
        order[first], order[first + 1] = order[first + 1], order[first]
    assert any(n.endswith("draws") for n in wrong(plain, log.take(pa.array(order))))
    twice = pa.concat_tables([log, log.slice(place, 1)])
    assert "distinct rows" in wrong(plain, twice)


def interval(plain: Plain, number: int, **fields: float) -> Plain:
    changed = copy.deepcopy(plain)
    changed["intervals"][number].update(fields)
    return changed


def test_narrower_limits_are_seen_and_wider_ones_pass(bets: thresher.Certificate) -> None:
    log, plain = bets.log, bets.to_dict()
    assert log is not None
    for number, one in enumerate(plain["intervals"]):
        width = one["high"] - one["low"]
        step = max(1.0, 0.02 * width) if one["name"] == "n" else 0.02 * width
        name = f"{one['name']} [{one['group'][0]}]"
        for end, sign in (("low", 1), ("high", -1)):
            narrow = interval(plain, number, **{end: one[end] + sign * step})
            assert wrong(narrow, log) - {f"{name}: estimate"} == {f"{name}: {end}"}
            assert wrong(interval(plain, number, **{end: one[end] - sign * step}), log) == set()


def record(plain: Plain, number: int, **fields: Any) -> Plain:
    changed = copy.deepcopy(plain)
    changed["tests"][number].update(fields)
    return changed


def betting(change: Callable[[Plain], None]) -> Callable[[Plain], Plain]:
    def apply(plain: Plain) -> Plain:
        changed = copy.deepcopy(plain)
        change(changed["tests"][0])
        return changed

    return apply


def scaled(name: str, factor: float) -> Callable[[Plain], Plain]:
    def change(test: Plain) -> None:
        test[name] = (factor * np.array(test[name])).tolist()

    return betting(change)


def with_bet(place: int, number: int, bet: float) -> Callable[[Plain], Plain]:
    def change(test: Plain) -> None:
        test["bets"][place][number] = bet

    return betting(change)


FORGED: dict[str, tuple[Callable[[Plain], Plain], set[str]]] = {
    "a smaller delta": (lambda p: p | {"targets": p["targets"] | {"delta": 0.01}}, {"levels"}),
    "a larger level": (betting(lambda t: t.update(level=0.05)), {"levels"}),
    "smaller bets": (scaled("bets", 0.25), {"low", "high"}),
    "larger bets": (scaled("bets", 20.0), {"bets"}),
    "a negative bet": (with_bet(40, 3, -1e-3), {"bets"}),
    "a bet on the house": (with_bet(40, 2, 1e3), {"bets"}),
    "offsets": (scaled("offset_u", 1.1), {"offsets"}),
    "controls": (scaled("control_u", 1.1), {"offsets"}),
    "scales": (scaled("scale", 1e-3), {"scale"}),
    "one draw fewer": (betting(lambda t: t["rows"].pop()), {"draws"}),
    "no bets at the end": (betting(lambda t: t["bets"].pop()), {"draws"}),
    "another certain range": (betting(lambda t: t.update(certain=[1.0, 1.5])), {"certain range"}),
    "no row left": (betting(lambda t: t.update(n_left=0)), {"value"}),
    "more rows left": (betting(lambda t: t.update(n_left=t["n_left"] + 1)), {"rows left"}),
    "a tally": (betting(lambda t: t.update(kind="Tally", level=0.0)), {"value"}),
    "plain values": (betting(lambda t: t.update(kind="Plain", level=0.0)), {"value"}),
    "another kind": (betting(lambda t: t.update(kind="Hunch")), {"kind of test"}),
    "a factor": (betting(lambda t: t.update(factor=2.0)), {"low", "high"}),
    "no record": (lambda p: p | {"tests": p["tests"][1:]}, {"intervals"}),
    "no records": (lambda p: p | {"tests": []}, {"intervals"}),
    "another grade": (lambda p: p | {"grade": "exact"}, {"grade"}),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_bets_are_seen(bets: thresher.Certificate, name: str) -> None:
    change, expected = FORGED[name]
    forged = change(bets.to_dict())
    assert bets.log is not None
    assert not verify(forged, bets.log).ok  # by the hash of the fields already
    failed = {text.rpartition(": ")[2] for text in wrong(forged, bets.log)}
    assert failed & expected, failed


def test_every_change_of_one_bet_changes_the_identity(bets: thresher.Certificate) -> None:
    assert bets.log is not None
    for place in range(0, len(bets.tests[0]["rows"]), 40):
        forged = with_bet(place, 2, 1e-9)(bets.to_dict())
        assert "identity" in {c.name for c in verify(forged, bets.log).failed}


def test_an_error_target_that_is_not_kept_is_seen(con: thresher.Connection) -> None:
    certificate = ask(con, ESTIMATES["an error out of reach"])
    assert certificate.log is not None
    assert wrong(certificate.to_dict() | {"met": True}, certificate.log) == {"error target"}


@pytest.fixture(scope="module")
def ordered(con: thresher.Connection) -> thresher.Certificate:
    return ask(con, ESTIMATES["order statistics of an oracle"])


def number_of(certificate: thresher.Certificate, kind: str) -> int:
    return next(i for i, t in enumerate(certificate.tests) if t["kind"] == kind)


def test_forged_quantiles_are_seen(ordered: thresher.Certificate) -> None:
    plain, log, k = ordered.to_dict(), ordered.log, number_of(ordered, "QuantileTest")
    assert log is not None
    test, one = plain["tests"][k], plain["intervals"][k]
    step = 0.02 * (one["high"] - one["low"])
    assert wrong(interval(plain, k, low=one["low"] + step), log) == {"m: low"}
    assert wrong(interval(plain, k, high=one["high"] - step), log) == {"m: high"}
    assert wrong(interval(plain, k, high=one["high"] + step), log) == set()
    assert {"m: low", "m: high"} <= wrong(record(plain, k, level=test["level"] / 50), log)
    assert wrong(record(plain, k, rows=test["rows"][:-1]), log) == {"m: draws"}
    assert "m: nodes" in wrong(record(plain, k, nodes=test["nodes"][::-1]), log)
    assert "m: limits" in wrong(record(plain, k, passed=test["passed"][1:]), log)
    text = {c.name: c.explanation for c in ordered.verify().checks}["m: low"]
    assert "not derived again" in text


def test_forged_extremes_are_seen(ordered: thresher.Certificate) -> None:
    plain, log, k = ordered.to_dict(), ordered.log, number_of(ordered, "ExtremeTest")
    assert log is not None
    test, one = plain["tests"][k], plain["intervals"][k]
    assert wrong(interval(plain, k, high=one["high"] - 0.1), log) == {"x: outer limit"}
    assert "x: extreme" in wrong(interval(plain, k, low=one["low"] - 0.1), log)
    assert wrong(interval(plain, k, beyond=one["beyond"] / 2), log) == {"x: beyond"}
    fewer = record(plain, k, n_beyond=5, n_counted=test["n_counted"])
    assert "x: rows beyond" in wrong(fewer, log)
    assert "x: low" in wrong(record(plain, k, n_counted=1.1 * test["n_counted"]), log)
    nearer = record(plain, k, n_farther=test["n_farther"] - 1)
    assert "x: rows farther" in wrong(nearer, log)
    surer = copy.deepcopy(plain)
    surer["tests"][k]["count"]["level"] *= 4
    assert "x: level of the count" in wrong(surer, log)


def test_what_passes_does_not_look_as_if_it_failed(con: thresher.Connection) -> None:
    """Two figures that differ stand only where the second says how: at most, within, ..."""
    for sql in ESTIMATES.values():
        for check in ask(con, sql).verify().checks:
            figures = check.claimed, check.recomputed
            if check.ok and not any(isinstance(figure, str) for figure in figures):
                assert check.claimed == pytest.approx(check.recomputed), str(check)
    lines = str(ask(con, ESTIMATES["values of an oracle"]).verify())
    assert "log positions: claimed" in lines
    assert f"those within the {N:,} rows of the population" in lines
    assert "certain range: claimed [" in lines
    assert "recomputed within it: [" in lines
    assert "offsets: claimed within 1e-09, recomputed off by" in lines


def test_forged_counts_by_group_are_seen(con: thresher.Connection) -> None:
    certificate = ask(con, ESTIMATES["counts by group"])
    plain, log = certificate.to_dict(), certificate.log
    assert log is not None
    name = f"n [{plain['intervals'][0]['group'][0]}]"
    first = plain["tests"][0]["strata"][0]
    found = copy.deepcopy(plain)
    found["tests"][0]["strata"][0]["n_found"] += 1 if first["n_found"] < first["n_sample"] else -1
    assert any("n_found" in text for text in wrong(found, log))
    more = copy.deepcopy(plain)
    more["tests"][0]["strata"][0]["n_rows"] -= 1
    assert f"{name}: rows" in wrong(more, log)
    assert f"{name}: n_known" in wrong(record(plain, 0, n_known=1), log)
    one = plain["intervals"][0]
    for end, sign in (("low", 1), ("high", -1)):
        step = max(2, round(0.1 * (one["high"] - one["low"])))
        narrow = interval(plain, 0, **{end: one[end] + sign * step})
        assert f"{name}: {end}" in wrong(narrow, log)


def test_a_forged_tally_is_seen(con: thresher.Connection) -> None:
    certificate = ask(con, ESTIMATES["everything"])
    plain, log = certificate.to_dict(), certificate.log
    assert log is not None
    for number, one in enumerate(plain["intervals"]):
        other = dict.fromkeys(("estimate", "low", "high"), one["estimate"] + 1)
        failed = wrong(interval(plain, number, **other), log)
        assert failed == {f"{one['name']} [{one['group'][0]}]: value"}


def test_what_needs_no_label_can_only_be_contradicted(con: thresher.Connection) -> None:
    certificate = ask(con, ESTIMATES["what needs no label"])
    plain, log = certificate.to_dict(), certificate.log
    assert log is not None
    few = interval(plain, 0, estimate=50, low=50, high=50)
    assert wrong(few, log) == {"n: value"}
    small = interval(plain, 1, estimate=0.5, low=0.5, high=0.5)
    assert wrong(small, log) == {"x: value"}
    text = {c.name: c.explanation for c in certificate.verify().checks}["n: value"]
    assert "none can show it" in text


def test_standing_nulls_are_those_of_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    for _ in range(15):
        k = int(rng.integers(5, 200))
        x, y = rng.normal(0.3, 1, k), rng.normal(-1, rng.choice([0.2, 1.5]), k)
        up, down = rng.uniform(0, 0.25, (2, k))
        line = Line(x, y, up, down, -1.0, 1.0)
        level = float(rng.choice([0.05, 0.3]))
        reach = np.log(2 / level)
        grid = np.linspace(-1, 1, 801)
        stands = np.array(
            [max(line.gains(p, b).max() for b in (up, -down)) < reach for p in grid]
        )  # fmt: skip
        found = standing(line, level)
        if found is None:
            assert not stands.any()
            continue
        assert ((grid[stands] >= found[0] - 1e-9) & (grid[stands] <= found[1] + 1e-9)).all()
        for end, sign in zip(found, (-1, 1), strict=True):  # and no wider than it must be
            if abs(end) < 1:
                beyond = end + sign * 1e-6
                assert max(line.gains(beyond, b).max() for b in (up, -down)) >= reach - 1e-4


def test_limits_of_a_mean_solve_their_equation() -> None:
    """Constant payoffs have a closed form: n log(1 + b (a - m)) = log(2 / level)."""
    n, b, a, level = 100, 0.4, 0.6, 0.05
    line = Line(np.full(n, a), -np.ones(n), np.full(n, b), np.full(n, b), 0.0, 1.0)
    reach = np.log(2 / level)
    low = brentq(lambda m: n * np.log(1 + b * (a - m)) - reach, 0.0, a)
    high = brentq(lambda m: n * np.log(1 - b * (a - m)) - reach, a, 1.0)
    assert standing(line, level) == pytest.approx((low, high), abs=1e-9)


def test_overlooked_rows_follow_uniform_draws() -> None:
    for n_rows, n_draws, level in ((1000, 100, 0.05), (50, 20, 0.01), (30, 29, 0.2)):
        least = least_overlooked(n_rows, n_draws, level)
        assert (1 - (least + 1) / n_rows) ** n_draws <= level * (1 + 1e-9) or n_draws > n_rows / 2
        assert least == 0 or (1 - least / n_rows) ** n_draws > level
    assert least_overlooked(10, 10, 0.05) == 0
    assert least_overlooked(10, 0, 0.05) == 10


def test_groups_of_a_log_are_told_apart() -> None:
    names = [value_stage("pilot", 0, 0), value_stage("pilot", 12, 0), "pilot", "odd [x]"]
    places = {"step": [1, 2, 3, 4], "stage": names, "row": [5, 6, 7, 8]}
    answers = {"truth": [None, None, True, True], "value": [1.5, None, None, None]}
    log = Log(pa.table(places | answers))
    assert log.groups == [0, 12]
    assert log.values(0).values.tolist() == [[1.5]]
    assert np.isnan(log.values(12).values).all()
    assert log.values(3).rows.tolist() == []
    assert log.value_steps() == [("pilot", 1, 1), ("pilot", 1, 0)]
    assert log.steps() == [("pilot", 1, 1), ("odd [x]", 1, 1)]
    assert isinstance(Verification("x", ()).ok, bool)


@pytest.mark.parametrize("aggregate", ["max", "min"])
def test_an_extreme_may_have_no_end(aggregate: str) -> None:
    with thresher.connect(config={"seed": 3}) as con:
        con.create_oracle("size", lambda n: [i % 7 - 3.5 for i in n], ["BIGINT"], "DOUBLE")
        sql = f"SELECT {aggregate}(size(i)) AS s FROM range(1500) r(i) ORACLE LIMIT 300"
        certificate = con.execute(sql).certificate
    assert certificate is not None
    assert None in (certificate.intervals[0].low, certificate.intervals[0].high)
    assert certificate.verify().ok
