"""LIMIT without a target: rows that are surely positive, with few labels."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

import thresher
from tests_support import CountingOracle
from thresher.dbapi import Connection
from thresher.errors import BudgetError, NotSupportedError, ProgrammingError, ShortfallError
from thresher.verify import verify

Films = tuple[Connection, np.ndarray, CountingOracle]
SOME = "SELECT id FROM t WHERE is_pos(id)"


def ids(con: Connection, sql: str) -> list[int]:
    return [row[0] for row in con.execute(sql).fetchall()]


def scores(con: Connection) -> np.ndarray:
    return con.connection.execute("SELECT score FROM t ORDER BY id").fetchnumpy()["score"]


def test_the_best_scores_are_labelled_until_there_are_enough(films: Films) -> None:
    con, truth, oracle = films
    cursor = con.execute(f"{SOME} LIMIT 20 USING score")
    found = [row[0] for row in cursor.fetchall()]
    by_score = np.argsort(-scores(con), kind="stable")
    assert sorted(by_score[truth[by_score]][:20].tolist()) == found
    last = np.flatnonzero(truth[by_score])[19]
    assert last < len(oracle.asked) <= 1.125 * (last + 1)
    certificate = cursor.certificate
    assert certificate is not None
    assert (certificate.grade, certificate.met, certificate.n_returned) == ("exact", True, 20)
    assert certificate.bounds.precision == 1.0
    assert certificate.bounds.recall is None
    assert "20 rows found, each known to be positive" in certificate.statement
    assert certificate.verify()


def test_an_order_is_walked_to_the_last_row_that_counts(films: Films) -> None:
    con, truth, oracle = films
    year = con.connection.execute("SELECT year FROM t ORDER BY id").fetchnumpy()["year"]
    order = np.lexsort((np.arange(2000), -year))
    wanted = order[truth[order]][5:15].tolist()
    cursor = con.execute(f"{SOME} ORDER BY year DESC LIMIT 10 OFFSET 5 USING score")
    assert [row[0] for row in cursor.fetchall()] == wanted
    last = int(np.flatnonzero(truth[order])[14])
    assert set(oracle.asked) >= set(order[: last + 1].tolist())
    assert len(oracle.asked) <= 1.125 * (last + 1)
    assert cursor.certificate is not None
    assert "the first 15 positive rows in the order" in cursor.certificate.statement


def test_without_a_score_rows_are_taken_as_they_come_and_a_proxy_learns(films: Films) -> None:
    con, truth, oracle = films
    assert ids(con, f"{SOME} LIMIT 5") == np.flatnonzero(truth)[:5].tolist()
    assert len(oracle.asked) <= np.flatnonzero(truth)[4] + 5
    oracle.asked.clear()
    con.create_oracle(
        "is_good", lambda texts: [text.startswith(("good", "fine")) for text in texts],
        ["VARCHAR"], "BOOLEAN",
    )  # fmt: skip
    con.execute("CREATE TABLE u AS SELECT id, text || ' ' || id AS text FROM t")
    cursor = con.execute("SELECT id FROM u WHERE is_good(text) LIMIT 200 SEED 3")
    found = [row[0] for row in cursor.fetchall()]
    assert len(found) == 200
    assert truth[found].all()
    assert cursor.certificate is not None
    assert cursor.certificate.n_labels < 300  # one row in five is positive
    assert cursor.certificate.proxies[0].used
    assert cursor.certificate.verify()


def test_a_useless_order_is_left_when_nothing_is_found() -> None:
    with thresher.connect(config={"seed": 5}) as con:
        con.execute("CREATE TABLE t AS SELECT i AS id FROM range(20000) AS r(i)")
        con.create_oracle("late", lambda n: [x >= 19000 for x in n], ["BIGINT"], "BOOLEAN")
        cursor = con.execute("SELECT id FROM t WHERE late(id) LIMIT 4")
        assert len(cursor.fetchall()) == 4
        assert cursor.certificate is not None
        assert cursor.certificate.n_labels < 1000


def test_labels_in_the_store_cost_nothing_and_a_repeated_search_finds_the_same(
    films: Films,
) -> None:
    con, _, oracle = films
    first = ids(con, f"{SOME} LIMIT 20 USING score")
    n_asked = len(oracle.asked)
    assert ids(con, f"{SOME} LIMIT 20 USING score") == first
    assert len(ids(con, f"{SOME} LIMIT 12 USING year")) == 12
    assert len(ids(con, f"{SOME} LIMIT 20 USING 1 - score")) == 20
    assert len(oracle.asked) == n_asked
    more = ids(con, f"{SOME} LIMIT 30 USING score")
    assert set(more) >= set(first)
    con.execute("SET thresher_reuse_labels = false")
    assert ids(con, f"{SOME} LIMIT 20 USING score") == first
    assert len(oracle.asked) >= 2 * n_asked


def test_a_search_that_was_cut_off_goes_on(films: Films) -> None:
    con, truth, oracle = films
    n_calls = 0

    def fails(numbers: list[int]) -> list[bool]:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            raise RuntimeError("no connection")
        return oracle(numbers)

    con.create_oracle("frail", fails, ["BIGINT"], "BOOLEAN", version="1")
    sql = "SELECT id FROM t WHERE frail(id) ORDER BY id LIMIT 20 ORACLE LIMIT 150"
    with pytest.raises(thresher.OracleError, match="no connection"):
        con.execute(sql)
    assert ids(con, sql) == np.flatnonzero(truth)[:20].tolist()
    assert len(oracle.asked) == len(set(oracle.asked))


@pytest.mark.parametrize("gap", [1, 7, 40.5, 300])
@pytest.mark.parametrize("order", ["", "ORDER BY score DESC", "ORDER BY year, id"])
def test_rows_lie_apart(films: Films, gap: float, order: str) -> None:
    con, truth, oracle = films
    by_score = np.argsort(-scores(con), kind="stable")
    year = con.connection.execute("SELECT year FROM t ORDER BY id").fetchnumpy()["year"]
    walked = np.lexsort((np.arange(2000), year)) if "year" in order else by_score
    taken: list[int] = []
    for row in walked.tolist():
        if truth[row] and len(taken) < 12 and all(abs(row - other) >= gap for other in taken):
            taken.append(row)
    cursor = con.execute(f"{SOME} {order} LIMIT 12 GAP {gap} USING score")
    assert sorted(row[0] for row in cursor.fetchall()) == sorted(taken)
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.met
    assert certificate.verify()
    assert f"at least {gap:g} apart" in certificate.statement
    near = {r for t in taken for r in range(2000) if 0 < abs(r - t) < gap}
    assert len(near & set(oracle.asked)) <= len(set(oracle.asked)) - len(taken)
    if len(taken) < 12:
        assert "no other positive row that far from all of them" in certificate.statement


def test_a_place_may_be_any_number_or_time_and_null_is_none(con: Connection) -> None:
    con.execute(
        "CREATE TABLE t AS SELECT i AS id, CASE WHEN i % 10 > 0 THEN TIMESTAMP '2024-01-01' + "
        "INTERVAL (i) SECOND END AS moment, (i / 10)::DECIMAL(8, 2) AS tenth "
        "FROM range(200) AS r(i)"
    )
    con.create_oracle("yes", lambda n: [True for _ in n], ["BIGINT"], "BOOLEAN")
    some = "SELECT id FROM t WHERE yes(id) ORDER BY id LIMIT 5"
    assert ids(con, f"{some} GAP 20 ON moment") == [1, 21, 41, 61, 81]
    assert ids(con, f"{some} GAP 2.5 ON tenth") == [0, 25, 50, 75, 100]
    assert ids(con, f"{some} GAP 2 ON extract(minute FROM moment)") == [1, 121]
    assert ids(con, f"{some} GAP 1 ON moment::DATE") == [1]
    assert ids(con, "SELECT a.id FROM t AS a, t AS b WHERE yes(a.id) AND b.id = a.id "
               "ORDER BY a.id LIMIT 3 GAP 50") == [0, 50, 100]  # fmt: skip
    for place in ("'x'", "[id]", "INTERVAL 1 DAY"):
        with pytest.raises(ProgrammingError, match="needs a number or a time") as caught:
            con.execute(f"{some} GAP 2 ON {place}")
        assert caught.value.offset is not None


def test_duplicates_are_labelled_once(con: Connection) -> None:
    con.execute("CREATE TABLE t AS SELECT i AS id, i // 10 AS k FROM range(500) AS r(i)")
    oracle = CountingOracle(np.arange(50) % 5 == 0)
    con.create_oracle("yes", oracle, ["BIGINT"], "BOOLEAN")
    found = ids(con, "SELECT id FROM t WHERE yes(k) ORDER BY id LIMIT 25")
    assert found == [*range(10), *range(50, 60), *range(100, 105)]
    assert len(oracle.asked) == len(set(oracle.asked)) <= 14


def test_a_population_may_have_fewer(films: Films) -> None:
    con, truth, _ = films
    cursor = con.execute(f"{SOME} AND id < 100 LIMIT 1000 USING score")
    assert [row[0] for row in cursor.fetchall()] == np.flatnonzero(truth[:100]).tolist()
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.met
    assert certificate.bounds.recall == 1.0
    assert "there is no other positive row in the population" in certificate.statement
    assert certificate.verify()
    nothing = con.execute(f"{SOME} LIMIT 0")
    assert nothing.fetchall() == []
    assert nothing.certificate is not None
    assert nothing.certificate.n_labels == 0


def test_a_limit_of_labels_ends_a_search_as_on_shortfall_says(films: Films) -> None:
    con, truth, oracle = films
    short = f"{SOME} ORDER BY id LIMIT 100 ORACLE LIMIT 60"
    with pytest.raises(ShortfallError, match=r"of 100 positive rows were found") as caught:
        con.execute(short)
    assert caught.value.spent == 60
    assert caught.value.offset == short.index("LIMIT 100")
    cursor = con.execute(f"{short} ON SHORTFALL RETURN")
    found = [row[0] for row in cursor.fetchall()]
    assert found == np.flatnonzero(truth)[: len(found)].tolist()
    certificate = cursor.certificate
    assert certificate is not None
    assert not certificate.met
    assert certificate.note is not None
    assert certificate.summary.startswith("NOT COMPLETE")
    assert "the search ended before row 100" in certificate.statement
    assert certificate.verify()
    all_of_them = ids(con, f"{short} ON SHORTFALL EXACT")
    assert all_of_them == np.flatnonzero(truth)[:100].tolist()
    con.execute("SET thresher_oracle_limit = 600")
    with pytest.raises(BudgetError, match="above thresher_oracle_limit"):
        con.execute(f"{SOME} AND id > 500 LIMIT 400 ORACLE LIMIT 700")
    con.execute("SET thresher_oracle_limit = 50")
    with pytest.raises(ShortfallError, match="SET thresher_oracle_limit higher"):
        con.execute(f"{SOME} AND id > 1000 LIMIT 200 USING -score")
    assert len(oracle.asked) == len(set(oracle.asked))


def test_budgets_and_interruptions_leave_what_was_found(films: Films) -> None:
    con, truth, _ = films

    def slow(numbers: list[int]) -> list[bool]:
        time.sleep(0.004 * len(numbers))
        return [bool(truth[i]) for i in numbers]

    con.create_oracle("slow", slow, ["BIGINT"], "BOOLEAN", version="1")
    sql = "SELECT id FROM t WHERE slow(id) ORDER BY id LIMIT 400"
    cursor = con.execute(f"{sql} BUDGET 0.5 SECONDS")
    found = [row[0] for row in cursor.fetchall()]
    assert found == np.flatnonzero(truth)[: len(found)].tolist()
    assert cursor.certificate is not None
    assert str(cursor.certificate.note).startswith("stopped by BUDGET 0.5 SECONDS")
    assert cursor.certificate.verify()
    con.execute("SET thresher_on_interrupt = 'ANSWER'")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.7, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    try:
        cursor = con.execute(sql)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    more = [row[0] for row in cursor.fetchall()]
    assert found <= more == np.flatnonzero(truth)[: len(more)].tolist()
    assert cursor.certificate is not None
    assert str(cursor.certificate.note).startswith("interrupted: ")


def test_a_certificate_that_claims_too_much_is_refused(films: Films) -> None:
    con, truth, _ = films
    certificate = con.execute(f"{SOME} LIMIT 20 USING score").certificate
    assert certificate is not None
    assert certificate.log is not None
    facts = json.loads(certificate.to_json())
    assert verify(facts, certificate.log)
    wrong = int(np.flatnonzero(~truth)[0])
    for rows in ([*facts["tests"][0]["rows"][:-1], wrong], facts["tests"][0]["rows"][:-1]):
        changed = replace(certificate, tests=({**certificate.tests[0], "rows": rows},))
        assert "rows found" in [check.name for check in changed.verify().failed]
    rest = replace(certificate, n_returned=19, tests=(
        {**certificate.tests[0], "rows": facts["tests"][0]["rows"][:-1]},
    ))  # fmt: skip
    assert "no more" in [check.name for check in rest.verify().failed]


def test_a_search_can_be_audited(films: Films) -> None:
    con, _, _ = films
    certificate = con.execute(f"{SOME} LIMIT 20 GAP 3 ON id + 1 USING score").certificate
    assert certificate is not None
    found = con.execute(f"AUDIT CERTIFICATE '{certificate.id}' ORACLE LIMIT 300").fetchall()
    verdicts = {row[0]: row[6] for row in found}
    assert verdicts["precision"] == "supported"


def test_a_search_is_explained(films: Films) -> None:
    con, _, oracle = films

    def explained(sql: str) -> str:
        text = " ".join(row[0] for row in con.execute(f"EXPLAIN {sql}").fetchall())
        return " ".join(text.replace("│", " ").split())

    text = explained(f"{SOME} LIMIT 20 GAP 3 ON year USING score")
    assert "rows: 20 positive rows, 3 apart WHERE is_pos(id)" in text
    assert "in growing batches until so many are found" in text
    assert "order: the best first by score; none nearer than 3 in year to one found" in text
    assert "GAP 3 ON year" in text
    text = explained(f"{SOME} ORDER BY year LIMIT 20")
    assert "order: that of the statement" in text
    assert "labels: as few as it takes" in text
    assert not oracle.asked


ALL = [
    ("", "there is no LIMIT"),
    ("LIMIT 3 RECALL TARGET 90%", "RECALL TARGET asks for a share"),
    ("LIMIT 5%", "whole numbers"),
    ("ORDER BY is_pos(id) LIMIT 5", "hangs on the answers"),
    ("QUALIFY row_number() OVER () < 3 LIMIT 5", "a window function"),
]


@pytest.mark.parametrize(("rest", "why"), ALL)
def test_a_gap_needs_a_search(films: Films, rest: str, why: str) -> None:
    con, _, oracle = films
    sql = f"{SOME} {rest} GAP 3"
    with pytest.raises(ProgrammingError, match=why) as caught:
        con.execute(sql)
    assert caught.value.offset == sql.index("GAP")
    assert "Write SELECT ... FROM t WHERE oracle(x) LIMIT 10 GAP 30" in caught.value.message
    assert not oracle.asked


@pytest.mark.parametrize(
    ("clause", "why", "at"),
    [
        ("GAP 0", "above 0, got 0", "0"),
        ("GAP -1", "above 0, got -1", "-1"),
        ("GAP 5%", "above 0, got 5%", "5%"),
        ("GAP", "GAP needs a value", "GAP"),
        ("GAP 3 ON", "one expression over FROM", "ON"),
        ("GAP 3 ON id, year", "one expression over FROM", "ON"),
        ("GAP 3 GAP 4", "GAP stands twice", "GAP 4"),
    ],
)
def test_a_gap_that_is_wrong_shows_the_place(films: Films, clause: str, why: str, at: str) -> None:
    con, _, _ = films
    sql = f"{SOME} LIMIT 5 {clause}"
    with pytest.raises(ProgrammingError, match=why) as caught:
        con.execute(sql)
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(at)


def test_gap_is_no_keyword(con: Connection) -> None:
    con.execute("CREATE TABLE t AS SELECT 3 AS gap, i AS id FROM range(4) AS r(i)")
    con.create_oracle("yes", lambda n: [True for _ in n], ["BIGINT"], "BOOLEAN")
    for sql in (
        "SELECT gap FROM t WHERE yes(id) ORDER BY gap LIMIT 2",
        "SELECT gap FROM t AS gap WHERE gap.gap = 3 AND yes(id) LIMIT 2 GAP 1 ON gap.gap - gap.id",
        "SELECT gap gap FROM t WHERE yes(id) AND gap = 3 ORDER BY gap LIMIT 2",
        "SELECT gap FROM t LIMIT 2",
    ):
        assert len(con.execute(sql).fetchall()) == 2


def test_a_gap_over_rows_that_a_macro_aggregates_is_refused(films: Films) -> None:
    con, _, oracle = films
    con.execute("CREATE MACRO total(x) AS sum(x)")
    with pytest.raises(NotSupportedError, match="a macro of this query"):
        con.execute("SELECT total(id) FROM t WHERE is_pos(id) LIMIT 3 GAP 2")
    assert not oracle.asked


@pytest.mark.parametrize("name", ["odd", "ODD", '"odd"', '"odd ""rows"', "impair_é", "ödd"])
def test_limit_counts_rows_that_a_macro_leaves_out(films: Films, name: str) -> None:
    con, truth, _ = films
    con.execute(f"CREATE MACRO {name}(x) AS unnest(CASE WHEN x % 2 = 1 THEN [x] ELSE [] END)")
    found = ids(con, f"SELECT {name}(id) AS id FROM t WHERE is_pos(id) LIMIT 5")
    assert found == [i for i in np.flatnonzero(truth).tolist() if i % 2][:5]


def test_parameters_may_say_how_many(films: Films) -> None:
    con, truth, _ = films
    sql = f"{SOME} ORDER BY id LIMIT ? OFFSET ?"
    wanted = np.flatnonzero(truth)[2:5].tolist()
    assert [row[0] for row in con.execute(sql, [3, 2]).fetchall()] == wanted
    fetched = con.execute(f"{SOME} ORDER BY id OFFSET 2 ROWS FETCH NEXT 3 ROWS ONLY")
    assert [row[0] for row in fetched.fetchall()] == wanted
    assert fetched.certificate is not None
    assert fetched.certificate.targets.kind == "rows"
