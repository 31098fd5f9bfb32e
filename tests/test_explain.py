"""What EXPLAIN says, and that it buys nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

import thresher

SELECT = "SELECT id FROM t JOIN kinds USING (kind) WHERE id % 10 < 9 AND (is_big(id) OR kind = 'c')"


@pytest.fixture
def con() -> Iterator[thresher.Connection]:
    with thresher.connect(config={"seed": 1}) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT id, (id * 7919 % 4000) / 4000 AS s, "
            "['a', 'b', 'c', 'd'][1 + id % 4] AS kind FROM range(4000) r(id)"
        )
        connection.execute("CREATE TABLE kinds AS FROM (VALUES ('a'), ('b'), ('c')) v(kind)")
        connection.create_oracle("is_big", is_big, args=["BIGINT"], returns="BOOLEAN")
        yield connection


def is_big(numbers: list[int]) -> list[bool]:
    time.sleep(0.0005 * len(numbers))
    return [number * 7919 % 4000 > 3300 for number in numbers]


def lines(con: thresher.Connection, sql: str) -> list[str]:
    return [line for (line,) in con.execute(sql).fetchall()]


def of(found: list[str], name: str) -> str:
    (line,) = [line for line in found if line.startswith(f"{name} ")]
    return line


def test_the_plan_is_a_tree_and_nothing_is_bought(con: thresher.Connection) -> None:
    found = lines(con, f"EXPLAIN {SELECT} ORDER BY id LIMIT 3 USING s RECALL TARGET 90%")
    assert found[1:9] == [
        "plan       answer: SELECT id ORDER BY id LIMIT 3",
        "           └─ rows: recall >= 0.9, probability 0.95 WHERE (is_big(id) OR (kind = 'c'))",
        "              ├─ method: a pilot plans; one uniform sample sets the cut (T1), or a census "
        "of the best rows and a sample below it (T2)",
        "              ├─ delta: 0.05: one test",
        "              ├─ score: s",
        "              ├─ labels: at most 1,000 (thresher_default_budget)",
        "              │  └─ ask: is_big(id) -> BOOLEAN",
        "              └─ candidates: FROM t JOIN kinds USING (kind) WHERE id % 10 < 9",
    ]
    assert "decided without one" in of(found, "rows")
    assert "up to 1,000 labels" in of(found, "spends")
    assert "can always leave out at most" in of(found, "limit")
    assert con.execute("SELECT count(*) FROM thresher_labels()").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("tail", "step"),
    [
        ("RECALL TARGET .9 PRECISION TARGET .9", "rows: recall >= 0.9 and precision >= 0.9"),
        ("PRECISION TARGET .9 ORACLE LIMIT 300", "at most 300 (ORACLE LIMIT)"),
        ("RECALL TARGET .9 BUDGET 5 SECONDS", "at most 1,000 (thresher_default_budget), 5 SECONDS"),
        ("RECALL TARGET .9 ASSUMING CALIBRATION WITHIN 5", "assuming CALIBRATION WITHIN 5"),
        ("ACCURACY TARGET .9", "labels of all rows: accuracy >= 0.9"),
        ("ERROR WITHIN 5%", "estimates: error within 0.05 relative"),
        ("WITH PROBABILITY .99 RECALL TARGET .9", "probability 0.99"),
        ("", "one for every candidate, at most 10,000 (thresher_oracle_limit)"),
    ],
)
def test_every_kind_of_statement_is_explained(
    con: thresher.Connection, tail: str, step: str
) -> None:
    what = "count(*)" if "ERROR" in tail else "id"
    using = "USING s" if tail else ""
    found = lines(con, f"EXPLAIN SELECT {what} FROM t WHERE is_big(id) {using} {tail}")
    assert step in "\n".join(found)


def test_time_and_money_are_forecast_once_labels_have_been_bought(
    con: thresher.Connection,
) -> None:
    joint = "SELECT id FROM t WHERE is_big(id) USING s RECALL TARGET .9 PRECISION TARGET .9"
    first = of(lines(con, f"EXPLAIN {joint}"), "forecast")
    assert first.endswith("to meet both targets, if scores are probabilities")
    con.execute("SELECT id FROM t WHERE is_big(id) AND id < 50")
    assert of(lines(con, f"EXPLAIN {joint}"), "forecast").endswith(" s")
    found = json.loads("\n".join(lines(con, f"EXPLAIN (FORMAT json) {joint}")))
    (block,) = found["blocks"]
    pace = block["outlook"]["paces"]["is_big"]
    assert pace["n_labels"] == 50
    assert pace["seconds_per_label"] >= 0.0005
    assert pace["usd_per_label"] == 0.0


def test_the_curve_rises_with_the_target(con: thresher.Connection) -> None:
    joint = "SELECT id FROM t WHERE is_big(id) USING s RECALL TARGET .9 PRECISION TARGET .9"
    (block,) = json.loads("\n".join(lines(con, f"EXPLAIN (FORMAT json) {joint}")))["blocks"]
    labels = [point["labels"] for point in block["outlook"]["curve"]]
    assert labels == sorted(labels)
    assert labels[0] < labels[-1]
    forecast = block["outlook"]["forecast"]["labels"]
    assert forecast["low"] <= forecast["expected"] <= forecast["high"]


def test_analyze_adds_what_it_took(con: thresher.Connection) -> None:
    sql = "SELECT id FROM t WHERE is_big(id) USING s RECALL TARGET .9 ORACLE LIMIT 500"
    found = lines(con, f"EXPLAIN ANALYZE {sql}")
    assert "up to 500 labels" in of(found, "spends")
    assert "4,000 would need a label" in of(found, "rows")  # as it was before
    assert of(found, "labels").endswith("500 bought, 0 reused")
    assert "select " in of(found, "time")
    assert "over 500 labelled rows" in of(found, "proxy AUC")
    assert of(found, "calibration").count(" of 100") == 5
    again = json.loads("\n".join(lines(con, f"EXPLAIN (ANALYZE, FORMAT json) {sql}")))
    (block,) = again["blocks"]
    assert block["certificate"]["n_labels"] == 0
    assert block["proxy"]["auc"] > 0.9
    assert set(block["seconds"]) >= {"read", "select", "answer"}


def test_forms_of_explain(con: thresher.Connection) -> None:
    sql = "SELECT id FROM t WHERE is_big(id)"
    assert lines(con, f"EXPLAIN (FORMAT text) {sql}") == lines(con, f"EXPLAIN {sql}")
    with pytest.raises(thresher.ProgrammingError, match="FORMAT text and json, not html"):
        con.execute(f"EXPLAIN (FORMAT html) {sql}")
    assert "json" not in str(con.execute("EXPLAIN (FORMAT json) SELECT 1").description)


def test_scores_that_say_nothing_of_errors_give_no_forecast_of_accuracy(
    con: thresher.Connection,
) -> None:
    sql = "EXPLAIN SELECT id FROM t WHERE is_big(id) USING {} ACCURACY TARGET .9"
    assert not any(line.startswith("forecast") for line in lines(con, sql.format("s * 100")))
    assert any(line.startswith("forecast") for line in lines(con, sql.format("s")))


@pytest.mark.parametrize("written", ["0.95", "95%", "0.9", "99.9%", "0.99999"])
def test_a_delta_is_the_complement_of_the_decimal_that_was_written(
    con: thresher.Connection, written: str
) -> None:
    sql = f"SELECT id FROM t WHERE is_big(id) USING s RECALL TARGET .9 WITH PROBABILITY {written}"
    certificate = con.execute(sql).certificate
    assert certificate is not None
    assert repr(certificate.delta) == repr(
        {"0.95": 0.05, "95%": 0.05, "0.9": 0.1, "99.9%": 0.001, "0.99999": 0.00001}[written]
    )
