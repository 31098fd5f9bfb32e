"""What EXPLAIN says, and that it buys nothing."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from typing import Any

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
    """Return a named text with its further lines, as one line."""
    (start,) = [i for i, line in enumerate(found) if line.startswith(f"{name} ")]
    more = itertools.takewhile(lambda line: line.startswith(" "), found[start + 1 :])
    return " ".join([found[start], *(line.strip() for line in more)])


def flat(found: list[str]) -> str:
    """Return the text without its line breaks."""
    return " ".join(" ".join(found).replace("│", " ").split())


def test_the_plan_is_a_tree_and_nothing_is_bought(con: thresher.Connection) -> None:
    found = lines(con, f"EXPLAIN {SELECT} ORDER BY id LIMIT 3 USING s RECALL TARGET 90%")
    assert found[3:13] == [
        "plan       answer: SELECT id ORDER BY id LIMIT 3",
        "           └─ rows: recall >= 0.9, probability 0.95 WHERE (is_big(id) OR (kind",
        "              │   = 'c'))",
        "              ├─ method: a pilot plans; one uniform sample sets the cut (T1),",
        "              │      or a census of the best rows and a sample below it (T2)",
        "              ├─ delta: 0.05: one test of recall",
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
    assert step in flat(found)


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


KINDS = {
    "recall": "SELECT id FROM t WHERE is_big(id) USING s RECALL TARGET .9 ORACLE LIMIT 900",
    "stops": "SELECT id FROM t WHERE is_big(id) USING s RECALL TARGET .9 BUDGET 900 CALLS, 1e6 USD",
    "precision": "SELECT id FROM t WHERE is_big(id) USING s PRECISION TARGET .9 ORACLE LIMIT 900",
    "joint": "SELECT id FROM t WHERE is_big(id) USING s RECALL TARGET .9 PRECISION TARGET .9",
    "accuracy": "SELECT is_big(id) FROM t USING s ACCURACY TARGET .9",
    "groups": "SELECT kind, count(*), avg(id) FROM t WHERE is_big(id) GROUP BY kind USING s "
    "ORACLE LIMIT 900",
}


def spent(levels: list[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    """Yield the least and the most of every level that no other is split from."""
    for level in levels:
        if level.get("parts"):
            yield from spent(level["parts"])
        else:
            yield level["delta"], level.get("at_most", level["delta"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_split_of_delta_is_what_the_tests_spend(con: thresher.Connection, kind: str) -> None:
    (block,) = json.loads("\n".join(lines(con, f"EXPLAIN (FORMAT json) {KINDS[kind]}")))["blocks"]
    levels = block["delta"]
    times = [level.get("times", 1) for level in levels]
    least = sum(n * level["delta"] for n, level in zip(times, levels, strict=True))
    most = sum(
        n * level.get("at_most", level["delta"]) for n, level in zip(times, levels, strict=True)
    )
    assert least <= 0.05 * (1 + 1e-9)
    assert most >= 0.05 * (1 - 1e-9)
    certificate = con.execute(KINDS[kind]).certificate
    assert certificate is not None
    assert certificate.tests
    ends = list(spent(levels))
    for test in certificate.to_dict()["tests"]:
        low, high = 1 - 1e-9, 1 + 1e-9
        level = test["level"]
        if kind == "stops":  # earlier looks share theirs
            assert level <= max(most for _, most in ends) * high
        else:
            assert any(a * low <= level <= b * high for a, b in ends), (level, ends)


def test_the_text_says_the_split_of_delta(con: thresher.Connection) -> None:
    joint = flat(lines(con, f"EXPLAIN {KINDS['joint']}"))
    assert "delta: 0.05 = 0.0375 to 0.046 recall + 0.004 to 0.0125 precision" in joint
    groups = flat(lines(con, f"EXPLAIN {KINDS['groups']}"))
    assert "delta: 0.05 = 4 x 0.00625 count_star() + 4 x 0.00625 avg(id)" in groups
    two = lines(
        con, f"EXPLAIN SELECT * FROM ({KINDS['recall']}) JOIN ({KINDS['recall']}) USING (id)"
    )
    assert "0.025: one test of recall; one of 2 parts of the statement" in flat(two)


def test_blocks_have_the_names_that_the_statement_gives_them(con: thresher.Connection) -> None:
    sql = f"WITH big AS ({KINDS['recall']}), c AS MATERIALIZED ({KINDS['precision']}) "
    sql += f"FROM big JOIN c USING (id) JOIN ({KINDS['stops']}) AS both USING (id)"
    found = lines(con, f"EXPLAIN {sql}")
    titles = [line for line in found if line.startswith("block ")]
    assert titles == ["block 1, big", "block 2, c", "block 3, both"]
    assert "then WITH big AS (block 1), c AS MATERIALIZED (block 2) FROM big" in flat(found)
    inner = f"SELECT id FROM t WHERE is_big(id) AND id IN ({KINDS['recall']}) RECALL TARGET .9"
    for text in (flat(found), flat(lines(con, f"EXPLAIN {inner}"))):
        assert "__thresher" not in text
    parsed = json.loads("\n".join(lines(con, f"EXPLAIN (FORMAT json) {sql}")))
    assert [block["name"] for block in parsed["blocks"]] == ["big", "c", "both"]
    assert "__thresher" not in json.dumps(parsed)


@pytest.mark.parametrize("kind", ["stops", "joint", "groups"])
def test_no_line_is_wider_than_a_terminal(con: thresher.Connection, kind: str) -> None:
    found = lines(con, f"EXPLAIN ANALYZE {KINDS[kind]}")
    assert max(map(len, found)) <= 80, max(found, key=len)
    assert "__thresher" not in flat(found)


def test_an_answer_that_will_be_exact_is_said_to_be(con: thresher.Connection) -> None:
    sql = "SELECT id FROM t WHERE is_big(id) AND id < 800 USING s RECALL TARGET .9"
    found = flat(lines(con, f"EXPLAIN {sql}"))
    assert "every row that is not known is labelled: the limit allows it" in found
    assert "spends up to 800 labels" in found
    certificate = con.execute(sql).certificate
    assert certificate is not None
    assert certificate.grade == "exact"


def test_an_exact_query_above_the_cap_is_refused_as_was_said(con: thresher.Connection) -> None:
    sql = "SELECT id FROM t WHERE is_big(id)"
    assert not any(line.startswith("refused") for line in lines(con, f"EXPLAIN {sql}"))
    con.execute("SET thresher_oracle_limit = 3999")
    found = lines(con, f"EXPLAIN {sql}")
    assert "more than the 3,999 labels allowed (thresher_oracle_limit)" in of(found, "refused")
    with pytest.raises(thresher.BudgetError, match="up to 4,000 labels, but"):
        con.execute(sql)
    assert con.execute("SELECT count(*) FROM thresher_labels()").fetchall() == [(0,)]
    con.execute(f"{sql} AND id < 100")
    con.execute("SET thresher_oracle_limit = 3000")
    price = re.search(r"up to 3,900 labels, (\S+ s)", of(lines(con, f"EXPLAIN {sql}"), "spends"))
    assert price
    with pytest.raises(thresher.BudgetError, match=f"up to 3,900 labels, {price[1]}, but"):
        con.execute(sql)


def test_error_targets_have_a_forecast_and_a_curve(con: thresher.Connection) -> None:
    sql = "SELECT kind, count(*) FROM t WHERE is_big(id) GROUP BY kind USING s ERROR WITHIN 30%"
    found = lines(con, f"EXPLAIN {sql}")
    assert "to keep the error, if scores are probabilities" in of(found, "forecast")
    assert "by target: 60%: " in of(found, "curve")
    (block,) = json.loads("\n".join(lines(con, f"EXPLAIN (FORMAT json) {sql}")))["blocks"]
    labels = block["outlook"]["forecast"]["labels"]
    assert 100 <= labels["low"] <= labels["expected"] <= labels["high"] <= 4000
    curve = [point["labels"] for point in block["outlook"]["curve"]]
    assert curve == sorted(curve)
    assert not any(
        line.startswith("forecast")
        for line in lines(con, "EXPLAIN SELECT max(s) FROM t WHERE is_big(id) ERROR WITHIN 9%")
    )


def test_a_proxy_that_is_fitted_in_the_query_has_a_range(con: thresher.Connection) -> None:
    con.execute("ALTER TABLE t ADD COLUMN note VARCHAR")
    con.execute(
        "UPDATE t SET note = CASE WHEN id * 7919 % 4000 > 3300 THEN 'a good one, ' ELSE "
        "'a bad one, ' END || 'number ' || id"
    )
    con.create_oracle(
        "is_good", lambda texts: ["good" in text for text in texts], ["VARCHAR"], "BOOLEAN"
    )
    sql = "SELECT id FROM t WHERE is_good(note) RECALL TARGET .9 PRECISION TARGET .9"
    supposed = of(lines(con, f"EXPLAIN {sql}"), "forecast")
    assert "if 10% of the rows are positive and the fitted proxy has an AUC" in supposed
    assert "100 or more of them first, to fit proxies" in supposed
    con.execute("SELECT id FROM t WHERE is_good(note) AND id < 300")
    (block,) = json.loads("\n".join(lines(con, f"EXPLAIN (FORMAT json) {sql}")))["blocks"]
    forecast = block["outlook"]["forecast"]
    assert forecast["given"] == "by proxies fitted to the 300 labels in the store"
    assert forecast["fitting"] == 0
    certificate = con.execute(sql).certificate
    assert certificate is not None
    assert 0.5 < forecast["labels"]["expected"] / certificate.n_labels < 2


def test_tokens_are_counted_without_asking(con: thresher.Connection) -> None:
    con.execute(
        "CREATE ORACLE judge(note VARCHAR) RETURNS BOOLEAN USING openai WITH (model = 'm', "
        "url = 'http://localhost:1/v1', system = 'Say yes.', prompt = 'Good? {note}')"
    )
    sql = "SELECT id FROM t WHERE judge(repeat('x', 26)) USING s RECALL TARGET .9 ORACLE LIMIT 100"
    found = lines(con, f"EXPLAIN {sql}")
    assert of(found, "tokens") == (
        "tokens     about 10 for each label of judge, reckoned from inputs: 1,000 for 100 labels"
    )
    (block,) = json.loads("\n".join(lines(con, f"EXPLAIN (FORMAT json) {sql}")))["blocks"]
    assert block["outlook"]["about_tokens_per_label"] == {"judge": 10.0}
    assert not any(line.startswith("tokens") for line in lines(con, f"EXPLAIN {KINDS['joint']}"))


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        ("LIMIT 4 OFFSET 2", 6),
        ("LIMIT 2 * (1 + 2)", 6),
        ("LIMIT ?", 6),
        ("OFFSET 2 FETCH FIRST 4 ROWS ONLY", 6),
        ("LIMIT 10%", 4000),
        ("OFFSET 2", 4000),
        ("", 4000),
    ],
)
def test_rows_that_show_answers_are_reserved_for_by_the_limit_of_the_plan(
    con: thresher.Connection, limit: str, shown: int
) -> None:
    sql = f"SELECT id, is_big(id + 1) AS b FROM t WHERE is_big(id) ORDER BY id {limit}"
    sql += " USING s RECALL TARGET 90% ORACLE LIMIT 2000"
    found = con.execute(f"EXPLAIN (FORMAT JSON) {sql}", [6] if "?" in limit else None)
    outlook = json.loads(str(found.fetchone()[0]))["blocks"][0]["outlook"]  # type: ignore[index]
    assert outlook["shows"] == shown
    assert outlook["spends"] == min(1000, 2000 - min(shown, 1000))


def test_a_proxy_says_itself_that_a_forecast_may_fit_it(
    con: thresher.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thresher.oracles.proxies import TfidfProxy

    con.execute("SELECT id FROM t WHERE is_big(id) AND id < 300")
    asked = "EXPLAIN SELECT id FROM t WHERE is_big(id) RECALL TARGET 90% PRECISION TARGET 90%"
    monkeypatch.setattr(TfidfProxy, "name", "words")
    assert "fitted to the 300 labels in the store" in flat(lines(con, asked))
    monkeypatch.setattr(TfidfProxy, "quick", False)
    assert "the fitted proxy has an AUC of" in flat(lines(con, asked))
