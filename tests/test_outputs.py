"""Oracle calls in the SELECT list and in ORDER BY: asked for the rows that come back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import thresher
from tests_support import CountingOracle
from thresher.dbapi import Connection
from thresher.errors import BudgetError, NotSupportedError, ProgrammingError, ShortfallError
from thresher.verify import verify

Films = tuple[Connection, np.ndarray, CountingOracle]


class Stars:
    """An oracle of another type, which remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, ids: list[int]) -> list[int]:
        self.asked += ids
        return [7 * i % 11 for i in ids]


@pytest.fixture
def stars(films: Films) -> Stars:
    oracle = Stars()
    films[0].create_oracle("stars", oracle, ["BIGINT"], "INTEGER", version="1")
    return oracle


def test_only_rows_that_come_back_are_asked_for(films: Films, stars: Stars) -> None:
    con, truth, oracle = films
    cursor = con.execute("SELECT id, stars(id) AS s FROM t WHERE is_pos(id) ORDER BY id")
    positive = np.flatnonzero(truth)
    assert cursor.fetchall() == [(i, 7 * i % 11) for i in positive.tolist()]
    assert sorted(stars.asked) == positive.tolist()
    assert len(oracle.asked) == 2000
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.n_labels == 2000 + len(positive)
    assert [(o.call, o.n_rows, o.n_labels) for o in certificate.outputs] == [
        ("stars(id)", len(positive), len(positive))
    ]
    assert "stars(id) of" in str(certificate)
    assert certificate.verify()


def test_rows_that_limit_leaves_out_are_asked_only_where_the_order_needs_them(
    films: Films, stars: Stars
) -> None:
    con, _, oracle = films
    rows = con.execute("SELECT id, stars(id) FROM t WHERE year > 2000 ORDER BY id LIMIT 4 OFFSET 3")
    assert sorted(stars.asked) == sorted(row[0] for row in rows.fetchall())
    n_rows = con.execute("SELECT count(*) FROM t WHERE year > 2000").fetchall()[0][0]
    sql = "SELECT id, is_pos(id) FROM t WHERE year > 2000 ORDER BY stars(id) DESC, id LIMIT 5"
    cursor = con.execute(sql)
    found = cursor.fetchall()
    assert len(stars.asked) == n_rows
    assert sorted(oracle.asked) == sorted(row[0] for row in found)
    assert cursor.certificate is not None
    assert cursor.certificate.statement == (
        f"Plain SQL selects the {n_rows:,} rows; oracles only give what they show, or their order."
    )
    assert f"| {n_rows:,} of {n_rows:,} rows selected, 5 come back" in cursor.certificate.summary
    assert "recall" not in str(cursor.certificate)
    assert cursor.certificate.verify()


@pytest.mark.parametrize(
    "order", ["s", "2", '"S" DESC', "ALL", "u", "s + 1, id", "stars(id)", "-stars(id)"]
)
def test_an_order_may_name_an_answer_in_many_ways(films: Films, stars: Stars, order: str) -> None:
    con, _, _ = films
    con.execute(
        f"SELECT year, stars(id) AS s, s * 2 AS u FROM t WHERE id < 50 ORDER BY {order} LIMIT 3"
    )
    assert len(stars.asked) == 50


@pytest.mark.parametrize("order", ["year", "1", "id % 7, year", "t.id", "lower(text)"])
def test_an_order_without_answers_needs_few(films: Films, stars: Stars, order: str) -> None:
    con, _, _ = films
    con.execute(f"SELECT year, stars(id) AS s FROM t WHERE id < 50 ORDER BY {order} LIMIT 3")
    assert len(stars.asked) == 3


def test_equal_calls_share_their_labels(films: Films) -> None:
    con, truth, oracle = films
    rows = con.execute(
        "SELECT is_pos(id) AS p, IS_POS(id), is_pos(id + 0) FROM t WHERE is_pos(id) AND id < 500"
    ).fetchall()
    assert rows == [(True, True, True)] * int(truth[:500].sum())
    assert len(oracle.asked) == 500
    rows = con.execute("SELECT id, is_pos(id) FROM t WHERE id < 600 ORDER BY id").fetchall()
    assert rows == [(i, bool(truth[i])) for i in range(600)]
    assert len(oracle.asked) == 600


def test_null_inputs_give_null_and_cost_nothing(films: Films, stars: Stars) -> None:
    con, _, _ = films
    rows = con.execute(
        "SELECT id, stars(CASE WHEN id % 2 = 0 THEN id END) FROM t WHERE id < 6 ORDER BY 2, 1"
    ).fetchall()
    assert rows == [(0, 0), (2, 3), (4, 6), (1, None), (3, None), (5, None)]
    assert sorted(stars.asked) == [0, 2, 4]


def test_a_target_decides_the_rows_and_the_rest_shows_them(films: Films, stars: Stars) -> None:
    con, truth, _ = films
    target = "USING score RECALL TARGET 80% SEED 4"
    plain = con.execute(f"SELECT id FROM t WHERE is_pos(id) {target}")
    wanted = [row[0] for row in plain.fetchall()]
    cursor = con.execute(f"SELECT id, stars(id) AS s FROM t WHERE is_pos(id) {target}")
    rows = cursor.fetchall()
    assert rows == [(i, 7 * i % 11) for i in wanted]
    assert sorted(stars.asked) == wanted
    certificate = cursor.certificate
    assert certificate is not None
    assert truth[wanted].sum() >= 0.8 * truth.sum()
    assert certificate.verify()
    assert certificate.log is not None
    facts = json.loads(certificate.to_json())
    assert verify(facts, certificate.log)
    more = replace(certificate, n_labels=certificate.n_labels + 2000)
    assert [check.name for check in more.verify().failed] == ["labels bought"]
    (report,) = certificate.outputs
    wrong = replace(certificate, outputs=(replace(report, n_rows=2000),))
    assert not wrong.verify()


def test_the_price_is_said_before_a_label_is_bought(films: Films, stars: Stars) -> None:
    con, _, oracle = films
    con.execute("SELECT stars(id) FROM t WHERE id < 10")
    stars.asked.clear()
    sql = "SELECT stars(id) AS s FROM t ORDER BY s LIMIT 3 ORACLE LIMIT 100"
    with pytest.raises(BudgetError, match=r"1,990 labels for the 2,000 rows") as caught:
        con.execute(sql)
    assert "Write ORACLE LIMIT 1990, or narrow WHERE (no label was bought)" in caught.value.message
    assert caught.value.offset == sql.index("stars")
    assert not stars.asked
    con.execute("SET thresher_oracle_limit = 50")
    with pytest.raises(BudgetError, match="SET thresher_oracle_limit = 1990"):
        con.execute("SELECT stars(id) FROM t")
    assert len(con.execute("SELECT stars(id) FROM t LIMIT 60").fetchall()) == 60
    con.execute("RESET thresher_oracle_limit")
    assert con.execute("SELECT stars(id) FROM t ORACLE LIMIT 1940").fetchall()


def _written_limit(error: BudgetError) -> int:
    """Read the limit that a message tells to write."""
    return int(error.message.split("rite ORACLE LIMIT ")[1].split(",")[0])


@pytest.mark.parametrize("reuse", [True, False])
def test_the_sample_of_a_target_leaves_half_of_the_limit(
    films: Films, stars: Stars, reuse: bool
) -> None:
    con, truth, oracle = films
    con.execute(f"SET thresher_reuse_labels = {reuse}")
    asked = "SELECT id, stars(id) FROM t WHERE is_pos(id) USING score RECALL TARGET 80%"
    with pytest.raises(BudgetError, match="rows returned, but only 300 of 600 are left") as caught:
        con.execute(f"{asked} SEED 3 ORACLE LIMIT 600")
    message = caught.value.message
    assert caught.value.spent == len(oracle.asked) == 300
    assert caught.value.offset == asked.index("stars")
    assert not stars.asked
    assert ("300 labels bought so far are reused" in message) == reuse
    assert ("bought anew unless thresher_reuse_labels is true" in message) != reuse
    limit = _written_limit(caught.value)
    assert limit > 600
    cursor = con.execute(f"{asked} SEED 3 ORACLE LIMIT {limit}")
    rows = [row[0] for row in cursor.fetchall()]
    assert truth[rows].sum() >= 0.8 * truth.sum()
    assert cursor.certificate is not None
    assert cursor.certificate.n_labels <= limit


@pytest.mark.parametrize("target", ["", "RECALL TARGET 80%", "PRECISION TARGET 80%", "LIMIT 60"])
@pytest.mark.parametrize("limit", [40, 700, 2050])
def test_no_limit_is_ever_passed(films: Films, stars: Stars, target: str, limit: int) -> None:
    con, _, oracle = films
    clauses = f"{target} USING score" if target else ""
    sql = f"SELECT id, stars(id) FROM t WHERE is_pos(id) {clauses} ORACLE LIMIT {limit} SEED 2"
    answered = True
    try:
        certificate = con.execute(sql).certificate
        spent = -1 if certificate is None else certificate.n_labels
    except (BudgetError, ShortfallError) as error:
        answered, spent = False, error.spent
    assert spent == len(oracle.asked) + len(stars.asked) <= limit
    assert answered or not stars.asked


def test_no_candidates_are_said_to_be_none(films: Films) -> None:
    con, _, _ = films
    certificate = con.execute("SELECT id FROM t WHERE is_pos(id) AND id < 0").certificate
    assert certificate is not None
    assert certificate.statement == (
        "There are no candidates: no row meets the conditions without an oracle."
    )


def test_a_few_rows_leave_the_sample_more(films: Films, stars: Stars) -> None:
    con, _, oracle = films
    con.execute(
        "SELECT stars(id) FROM t WHERE is_pos(id) ORDER BY id LIMIT 3 OFFSET 2 USING score "
        "RECALL TARGET 80% ORACLE LIMIT 600"
    )
    assert (len(oracle.asked), len(stars.asked)) == (595, 3)


def test_a_sample_that_leaves_nothing_out_says_why_so_much_is_shown(
    films: Films, stars: Stars
) -> None:
    con, _, _ = films
    with pytest.raises(BudgetError, match="Why so many: nothing could be left out") as caught:
        con.execute(
            "SELECT stars(id) FROM t WHERE is_pos(id) USING 0.5 RECALL TARGET 80% ORACLE LIMIT 80"
        )
    assert _written_limit(caught.value) <= 4000


def test_a_limit_that_where_takes_is_refused_before_a_label(films: Films, stars: Stars) -> None:
    con, truth, oracle = films
    sql = "SELECT id, stars(id) FROM t WHERE is_pos(id) ORACLE LIMIT"
    with pytest.raises(BudgetError, match=r"WHERE takes 2,000 labels, and stars\(id\)") as caught:
        con.execute(f"{sql} 2000")
    assert caught.value.offset == sql.index("stars")
    assert caught.value.spent == len(oracle.asked) == 0
    assert _written_limit(caught.value) == 4000
    same = con.execute("SELECT id, is_pos(id) FROM t WHERE is_pos(id) ORACLE LIMIT 2000")
    assert len(same.fetchall()) == truth.sum()
    assert len(con.execute(f"{sql} 1999").fetchall()) == truth.sum()  # what is known costs nothing


def test_a_limit_that_cannot_do_stops_early(films: Films, stars: Stars) -> None:
    con, truth, oracle = films
    sql = "SELECT id, stars(id) FROM t WHERE is_pos(id) ORACLE LIMIT"
    with pytest.raises(BudgetError, match="found so far and about") as caught:
        con.execute(f"{sql} 2010")
    assert "besides 1,936 that WHERE still takes, but only 1,946 of 2,010" in caught.value.message
    assert caught.value.spent == len(oracle.asked) == 64
    assert not stars.asked
    limit = _written_limit(caught.value)
    assert 2000 + truth.sum() <= limit < 4000
    cursor = con.execute(f"{sql} {limit}")
    assert len(cursor.fetchall()) == truth.sum()
    assert len(oracle.asked) == 2000
    assert cursor.certificate is not None
    assert cursor.certificate.verify()


def test_equal_inputs_are_counted_once(films: Films, stars: Stars) -> None:
    con, truth, oracle = films
    found = con.execute(
        "SELECT id, stars(id % 5) FROM t WHERE is_pos(id // 4) ORACLE LIMIT 2000"
    ).fetchall()
    assert len(found) == 4 * truth[:500].sum()
    assert (len(oracle.asked), len(stars.asked)) == (500, 5)


def test_on_shortfall_exact_may_go_beyond_the_limit(films: Films, stars: Stars) -> None:
    con, truth, _ = films
    rows = con.execute(
        "SELECT id, stars(id) FROM t WHERE is_pos(id) USING 0.5 RECALL TARGET 80% "
        "ON SHORTFALL EXACT ORACLE LIMIT 80"
    ).fetchall()
    assert [row[0] for row in rows] == np.flatnonzero(truth).tolist()


def test_a_search_shows_what_it_finds(films: Films, stars: Stars) -> None:
    con, truth, _ = films
    cursor = con.execute(
        "SELECT id, stars(id) FROM t WHERE is_pos(id) LIMIT 3 OFFSET 2 USING score"
    )
    rows = cursor.fetchall()
    assert truth[[row[0] for row in rows]].all()
    assert sorted(stars.asked) == [row[0] for row in rows]
    assert cursor.certificate is not None
    assert cursor.certificate.targets.kind == "rows"
    assert cursor.certificate.verify()
    by_answer = con.execute("SELECT id FROM t WHERE is_pos(id) ORDER BY stars(id), id LIMIT 3")
    every = sorted(np.flatnonzero(truth).tolist(), key=lambda i: (7 * i % 11, i))
    assert [row[0] for row in by_answer.fetchall()] == every[:3]


def test_names_are_those_that_were_written(films: Films, stars: Stars) -> None:
    con, _, _ = films
    cursor = con.execute(
        "SELECT stars(id), stars(id) + 1, 1 + stars(id), stars(id) AS a, stars(id) b, c: stars(id),"
        ' upper(text), CAST(stars(id) AS VARCHAR), "stars"(id) FROM t WHERE id = 3'
    )
    assert [column[0] for column in cursor.description or ()] == [
        "stars(id)", "stars(id) + 1", "1 + stars(id)", "a", "b", "c", "upper(\"text\")",
        "cast(stars(id) AS VARCHAR)", "stars(id)",
    ]  # fmt: skip
    assert cursor.fetchall()[0][:6] == (10, 11, 11, 10, 10, 10)


def test_calls_of_other_systems_name_their_columns_as_they_are_written(films: Films) -> None:
    con, _, _ = films
    con.create_oracle("write", lambda texts: list(texts), {"prompt": "VARCHAR"}, "VARCHAR")
    con.execute("SET thresher_default_oracle = 'write'")
    written = ["AI_COMPLETE('m',  'Say ' || text)", "upper(ai.generate(text))", "text.write()"]
    cursor = con.execute(f"SELECT {', '.join(written)}, write(prompt := text) AS w FROM t LIMIT 1")
    names = [column[0] for column in cursor.description or ()]
    assert names == ["AI_COMPLETE('m', 'Say ' || text)", *written[1:], "w"]


def test_what_is_shown_is_explained(films: Films, stars: Stars) -> None:
    con, _, oracle = films
    text = "\n".join(
        row[0]
        for row in con.execute(
            "EXPLAIN SELECT is_pos(id) FROM t WHERE year > 1990 ORDER BY stars(id) LIMIT 5"
        ).fetchall()
    )
    text = " ".join(text.replace("│", " ").split())
    assert 'answer: SELECT is_pos(id) AS "is_pos(id)" ORDER BY stars(id) LIMIT 5' in text
    assert "show: is_pos(id) -> BOOLEAN, of each row that LIMIT leaves" in text
    assert "show: stars(id) -> INTEGER, of each row returned" in text
    assert "rows: exact, all candidates, chosen without a label" in text
    assert not oracle.asked
    assert not stars.asked


@pytest.mark.parametrize(
    ("sql", "spends", "shows"),
    [
        ("SELECT stars(id) FROM t LIMIT 5", 0, 5),
        ("SELECT stars(id) FROM t LIMIT 5 OFFSET 2", 0, 7),
        ("SELECT id FROM t WHERE is_pos(id) USING score RECALL TARGET 90% ORACLE LIMIT 60", 60, 0),
        ("SELECT stars(id) FROM t WHERE is_pos(id) LIMIT 9 USING score RECALL TARGET 90% "
         "ORACLE LIMIT 60", 51, 9),
    ],
)  # fmt: skip
def test_explain_counts_what_is_left_for_the_rows_shown(
    films: Films, stars: Stars, sql: str, spends: int, shows: int
) -> None:
    con, _, _ = films
    ((text,),) = con.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall()
    outlook = json.loads(text)["blocks"][0]["outlook"]
    assert (outlook["spends"], outlook["shows"]) == (spends, shows)


WRONG = [
    ("SELECT stars(id) FROM t RECALL TARGET 90%", "WHERE calls no oracle", "RECALL"),
    ("SELECT stars(id) FROM t USING score", "WHERE calls no oracle", "USING"),
    ("SELECT stars(id) FROM t ON SHORTFALL FAIL", "WHERE calls no oracle", "ON SHORTFALL"),
    ("SELECT list_transform([1], x -> stars(x)) FROM t", "is of no row", "stars"),
    ("SELECT stars(is_pos(id)) FROM t", "as an argument of stars", "is_pos"),
    ("SELECT stars(id, 2) FROM t", "takes 1 argument, got 2", "stars"),
    ("SELECT stars(id) OVER () FROM t", "it takes no OVER", "stars"),
]


@pytest.mark.parametrize(("sql", "why", "at"), WRONG)
def test_mistakes_show_the_place(films: Films, stars: Stars, sql: str, why: str, at: str) -> None:
    con, _, oracle = films
    with pytest.raises((ProgrammingError, NotSupportedError), match=why) as caught:
        con.execute(sql)
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(at)
    assert not stars.asked
    assert not oracle.asked


REFUSED = [
    (
        "SELECT rank() OVER (ORDER BY stars(id)) FROM t WHERE is_pos(id) RECALL TARGET .9",
        "a window function over an oracle's answers in a query with RECALL TARGET", "rank",
    ),
    (
        "SELECT stars(id) AS s FROM t WHERE is_pos(id) QUALIFY rank() OVER (ORDER BY s) < 3 "
        "PRECISION TARGET .9",
        "a window function over an oracle's answers in a query with PRECISION TARGET", "rank",
    ),
    (
        "SELECT sum(stars(id)) FROM t WHERE is_pos(id) RECALL TARGET .9",
        "an aggregate", "sum",
    ),
    ("SELECT t, stars(id) FROM t", "Write the columns out", "t,"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "why", "at"), REFUSED)
def test_what_is_not_supported_says_what_to_write(
    films: Films, stars: Stars, sql: str, why: str, at: str
) -> None:
    con, _, oracle = films
    with pytest.raises(NotSupportedError, match=why) as caught:
        con.execute(sql)
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(at)
    assert not stars.asked
    assert not oracle.asked


def test_a_window_over_every_positive_row_may_use_answers(films: Films, stars: Stars) -> None:
    con, truth, _ = films
    rows = con.execute(
        "SELECT id, rank() OVER (ORDER BY stars(id), id) AS place FROM t WHERE is_pos(id) "
        "ORDER BY place LIMIT 4"
    ).fetchall()
    every = sorted(np.flatnonzero(truth).tolist(), key=lambda i: (7 * i % 11, i))
    assert rows == [(row, place) for place, row in enumerate(every[:4], 1)]


def test_answers_can_be_kept_and_grouped(films: Films, stars: Stars) -> None:
    con, _, _ = films
    con.execute("CREATE TABLE kept AS SELECT id, stars(id) AS s FROM t WHERE id < 110")
    found = con.execute("SELECT s, count(*) FROM kept GROUP BY s ORDER BY s").fetchall()
    assert found == [(s, 10) for s in range(11)]
    again = con.execute(
        "SELECT s, count(*) FROM (SELECT stars(id) AS s FROM t WHERE id < 110) "
        "GROUP BY s ORDER BY s"
    )
    assert again.fetchall() == found
    assert len(stars.asked) == 110


ANSWERS = [
    ("SELECT id FROM t WHERE is_pos(id) AND id < 99", "", 99),
    ("SELECT stars(id) FROM t WHERE id < 9 LIMIT 20", "", 9),
    ("SELECT stars(id) FROM t WHERE id < 9 LIMIT 5 OFFSET 2",
     "5 come back after LIMIT and OFFSET", 9),
    ("SELECT stars(id) FROM t WHERE id < 9 OFFSET 8 LIMIT 2",
     "1 comes back after OFFSET and LIMIT", 9),
    ("SELECT stars(id) FROM t WHERE id < 9 OFFSET 2", "7 come back after OFFSET", 9),
    ("SELECT stars(id) FROM t WHERE id < 9 OFFSET 2 ROWS FETCH NEXT 3 ROWS ONLY",
     "3 come back after OFFSET and FETCH", 9),
    ("SELECT stars(id) FROM t WHERE id < 9 LIMIT 50%", "some come back after LIMIT", 9),
    ("SELECT id FROM t WHERE is_pos(id) LIMIT 5 OFFSET 2", "5 come back after LIMIT and OFFSET", 7),
    ("SELECT stars(id), count(*) FROM t WHERE id < 9 GROUP BY 1 HAVING count(*) > 1 LIMIT 1",
     "GROUP BY, HAVING and LIMIT make the answer of them", 9),
    ("SELECT DISTINCT stars(id) FROM t WHERE id < 9", "DISTINCT makes the answer of them", 9),
    ("SELECT count(*) FROM t WHERE is_pos(id)", "aggregates make the answer of them", None),
    ("SELECT unnest([1, stars(id)]) FROM t WHERE id < 9", "unnest makes the answer of them", 9),
    ("SELECT stars(id) FROM t WHERE id < 9 QUALIFY row_number() OVER (ORDER BY id) < 3",
     "QUALIFY makes the answer of them", 9),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "answer", "n_selected"), ANSWERS)
def test_a_certificate_says_what_becomes_of_the_rows_selected(
    films: Films, stars: Stars, sql: str, answer: str, n_selected: int | None
) -> None:
    con, truth, _ = films
    cursor = con.execute(sql)
    certificate = cursor.certificate
    assert certificate is not None
    assert (certificate.answer or "") == answer
    facts = certificate.to_dict()
    assert ("answer" in facts) == bool(answer)
    said = f"selected, {answer} |" if answer else " rows |"
    assert said in certificate.summary
    if answer[:1].isdigit():
        assert int(answer.split()[0]) == len(cursor.fetchall())
    if "is_pos" not in sql or "LIMIT" in sql:
        assert certificate.n_returned == n_selected
    assert certificate.verify()


def test_a_target_speaks_of_the_rows_selected_where_limit_cuts_them(films: Films) -> None:
    con, _, _ = films
    sql = "SELECT id FROM t WHERE is_pos(id) {} USING score RECALL TARGET 80% SEED 1"
    whole = con.execute(sql.format("")).certificate
    assert whole is not None
    assert " rows returned hold at least" in whole.statement
    part = con.execute(sql.format("LIMIT 3")).certificate
    assert part is not None
    assert " rows selected hold at least" in part.statement
    assert "rows; 3 come back after LIMIT" in str(part)
    assert part._repr_html_().count("3 come back after LIMIT") == 1


def test_a_certificate_says_how_a_statement_was_read(films: Films) -> None:
    con, _, _ = films
    con.create_oracle(
        "write", lambda texts: [text.upper() for text in texts], {"prompt": "VARCHAR"}, "VARCHAR"
    )
    con.execute("SET thresher_default_oracle = 'write'")
    certificate = con.execute("SELECT AI_COMPLETE('m', text) AS a FROM t WHERE id < 3").certificate
    assert certificate is not None
    read = "AI_COMPLETE(...) is read as a call of the oracle write, of thresher_default_oracle"
    assert certificate.understood[0] == read
    assert read in str(certificate)
    assert json.loads(certificate.to_json())["understood"][0] == read
    assert certificate.verify()
    plain = con.execute("SELECT write(text) FROM t WHERE id < 3").certificate
    assert plain is not None
    assert "understood" not in plain.to_dict()
    assert "understood" not in str(plain)


def test_a_normal_approximation_says_that_it_is_one(films: Films) -> None:
    con, _, _ = films
    for sql in (
        "SELECT id FROM t WHERE is_pos(id) USING score RECALL TARGET 80% ORACLE LIMIT 400",
        "SELECT count(*) FROM t WHERE is_pos(id) USING score ORACLE LIMIT 400",
    ):
        certificate = con.execute(f"{sql} ASSUMING NORMALITY").certificate
        assert certificate is not None
        assert certificate.grade == "asymptotic"
        assert "With probability about 95" in certificate.statement
        assert "no finite-sample guarantee: with few labels it may fail" in certificate.statement
        assert "with probability about 0.95" in certificate.summary
        free = con.execute(sql).certificate
        assert free is not None
        assert "about 0.95" not in free.summary
        assert "no finite-sample guarantee" not in free.statement


def test_an_audit_needs_a_condition_or_claims_nothing(films: Films, stars: Stars) -> None:
    con, _, _ = films
    certificate = con.execute("SELECT id, stars(id) FROM t WHERE id < 30").certificate
    assert certificate is not None
    found = con.execute(f"AUDIT CERTIFICATE '{certificate.id}'").fetchall()
    assert {row[6] for row in found} == {"no claim"}
    with pytest.raises(thresher.Error):
        con.audit("SELECT stars(id) FROM t", "SELECT 1 AS id", key="id")
