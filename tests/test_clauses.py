"""The clauses at the end of a block: values, places, and what is wrong with them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests_support import Names, declared
from thresher.errors import ProgrammingError
from thresher.plan import SelectionQuery
from thresher.sql import parse
from thresher.targets import Assumption, ErrorTarget

NAMES = Names(
    is_pos=declared("BOOLEAN", "VARCHAR"),
    is_spam=declared("BOOLEAN", "VARCHAR"),
    proxies={"fast": "is_pos", "other": "is_spam"},
)
HEAD = "SELECT * FROM t WHERE is_pos(a)"
COUNT = "SELECT count(*) FROM t WHERE is_pos(a)"


def bind(tail: str, head: str = HEAD) -> SelectionQuery:
    query = parse(f"{head} {tail}", NAMES)
    assert isinstance(query, SelectionQuery)
    return query


@pytest.mark.parametrize("share", ["90%", ".9", "0.9", "9e-1", "90.0%", "+0.9", "90 PERCENT"])
def test_ways_to_write_a_share(share: str) -> None:
    assert bind(f"RECALL TARGET {share}").tail.recall == 0.9
    assert bind(f"precision target {share} SEED 3").tail.precision == 0.9
    assert bind(f"PRECISION TARGET 100% WITH PROBABILITY {share}").tail.probability == 0.9


@pytest.mark.parametrize("words", ["WITH PROBABILITY", "AT CONFIDENCE", "CONFIDENCE"])
def test_ways_to_write_the_probability(words: str) -> None:
    query = bind(f"RECALL TARGET 90% {words} 99%")
    assert query.tail.probability == 0.99
    place = query.tail.places["WITH PROBABILITY"]
    assert query.sql[place.offset : place.offset + place.length] == f"{words} 99%"
    assert query.canonical == f"{HEAD} RECALL TARGET 0.9 WITH PROBABILITY 0.99"


CLAUSES = [
    "USING score, fast",
    "RECALL TARGET 0.9",
    "PRECISION TARGET 0.8",
    "WITH PROBABILITY 0.95",
    "ORACLE LIMIT 1000",
    "ON SHORTFALL RETURN",
    "SEED 7",
]


ORDERS = list(itertools.permutations(CLAUSES))[::97]


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["USING a", "ASSUMING NORMALITY", "ORACLE LIMIT 9"]))
)
def test_clauses_stand_in_any_order_right_after_from(order: tuple[str, ...]) -> None:
    query = bind(" ".join(order), "SELECT count(*) FILTER (WHERE is_pos(a)) FROM t")
    assert (query.leaves[0].alias, query.tail.oracle_limit) == ("t", 9)
    assert query.tail.assuming == Assumption("NORMALITY")
    assert [term.text for term in query.proxies] == ["a"]


@pytest.mark.parametrize("order", ORDERS)
def test_clauses_come_in_any_order(order: tuple[str, ...]) -> None:
    query = bind("\n".join(order))
    assert query.canonical == " ".join([HEAD, *CLAUSES])
    tail = query.tail
    assert (tail.recall, tail.precision, tail.probability) == (0.9, 0.8, 0.95)
    assert (tail.oracle_limit, tail.on_shortfall, tail.seed) == (1000, "RETURN", 7)
    assert [term.name for term in query.proxies] == [None, "fast"]
    for name, place in tail.places.items():
        written = query.sql[place.offset : place.offset + place.length]
        assert written in CLAUSES
        assert written.startswith(name)


@pytest.mark.parametrize(
    ("head", "plain", "answer"),
    [
        ("SELECT * FROM t JOIN u USING (id) WHERE is_pos(a)", None, ""),
        ("SELECT * FROM t WHERE is_pos(a) ORDER BY oracle LIMIT 5", None, "LIMIT 5"),
        ("SELECT * FROM t WHERE is_pos(a) ORDER BY x LIMIT 10%", None, "LIMIT 10%"),
        ("SELECT * FROM t WHERE is_pos(a) AND recall > target", "recall > target", ""),
        ("SELECT * FROM t WHERE is_pos(a) AND seed - 1 > 3", "seed - 1 > 3", ""),
        ("FROM t WHERE is_pos(a) SELECT *", None, ""),
        ("FROM t WHERE is_pos(a) SELECT seed, confidence", None, ""),
    ],
)
def test_clauses_end_every_kind_of_block(head: str, plain: str | None, answer: str) -> None:
    for tail in ("RECALL TARGET 0.9 SEED 4", "SEED 4 RECALL TARGET 90%", "USING q SEED 4"):
        query = bind(tail, head)
        assert query.tail.seed == 4
        assert query.plain == plain
        assert query.answer.limit == answer


@pytest.mark.parametrize(
    ("using", "texts"),
    [
        ("USING score", ["score"]),
        ("USING PROXY score", ["score"]),
        ("USING a + b * 2, f(x, y), (c)", ["a + b * 2", "f(x, y)", "(c)"]),
        ("USING proxy", ["proxy"]),
        ("USING proxy, target", ["proxy", "target"]),
        ("USING proxy * 2", ["proxy * 2"]),
        ("USING proxy.x", ["proxy.x"]),
        ("USING PROXY (a + b)", ["(a + b)"]),
        ("USING PROXY -a", ["-a"]),
        ("USING sample", ["sample"]),
        ("USING CASE WHEN x THEN 1 ELSE 0 END", ["CASE WHEN x THEN 1 ELSE 0 END"]),
        ("USING recall", ["recall"]),
        ("USING seed", ["seed"]),
        ("USING 1 - seed", ["1 - seed"]),
        ('USING "my score"::DOUBLE', ['"my score"::DOUBLE']),
    ],
)
def test_using(using: str, texts: list[str]) -> None:
    for tail in ("", " RECALL TARGET 0.9", " SEED 3", " CONFIDENCE 90% ON SHORTFALL EXACT"):
        query = bind(using + tail)
        assert [term.text for term in query.proxies] == texts
        assert [term.column for term in query.proxies] == [
            f"__thresher_s{i}" for i in range(len(texts))
        ]
        for term in query.proxies:
            place = term.place
            assert query.sql[place.offset : place.offset + place.length] == term.text


def test_using_names_declared_proxies() -> None:
    query = bind("USING FAST, score")
    assert [(term.text, term.name) for term in query.proxies] == [("FAST", "fast"), ("score", None)]


WRONG = [
    ("RECALL TARGET 95", "must be in (0, 1], got 95. Write 95% or 0.95.", "95"),
    ("RECALL TARGET 0", "must be in (0, 1], got 0. Write a share such as 90% or 0.9.", "0"),
    ("PRECISION TARGET 101%", "must be in (0, 1], got 101%", "101%"),
    ("RECALL TARGET -0.5", "must be in (0, 1], got -0.5", "-0.5"),
    ("WITH PROBABILITY 100%", "WITH PROBABILITY must be in [0.5, 1), got 100%", "100%"),
    ("AT CONFIDENCE 95", "AT CONFIDENCE must be in [0.5, 1), got 95. Write 95% or 0.95.", "95"),
    ("CONFIDENCE 0.0", "CONFIDENCE must be in [0.5, 1), got 0.0", "0.0"),
    ("RECALL TARGET 0.9%", "RECALL TARGET: 0.9% is 0.009: write 0.9 or 90%", "0.9%"),
    ("PRECISION TARGET .95 percent", ": 0.95% is 0.0095: write 0.95 or 95%", ".95 percent"),
    ("ACCURACY TARGET .5%", "ACCURACY TARGET: 0.5% is 0.005: write 0.5 or 50%", ".5%"),
    ("WITH PROBABILITY .95%", "WITH PROBABILITY: 0.95% is 0.0095: write 0.95 or 95%", ".95%"),
    (
        "WITH PROBABILITY 5%",
        "WITH PROBABILITY: it must be in [0.5, 1), and the promise would fail with probability "
        "0.95. Write 95%",
        "5%",
    ),
    ("CONFIDENCE 0.1", "fail with probability 0.9. Write 90% for one that fails with 10%", "0.1"),
    ("AT CONFIDENCE 0.01%", "probability 0.9999. Write 99.99% for one that fails with", "0.01%"),
    ("ORACLE LIMIT 0", "ORACLE LIMIT must be at least 1, got 0", "0"),
    ("ORACLE LIMIT -5", "ORACLE LIMIT must be at least 1, got -5", "-5"),
    ("ORACLE LIMIT 2.5", "ORACLE LIMIT must be a whole number, got 2.5", "2.5"),
    ("ORACLE LIMIT 10%", "ORACLE LIMIT must be a whole number, got 10%", "10%"),
    ("SEED 1.5", "SEED must be a whole number, got 1.5", "1.5"),
    ("SEED 99999999999999999999", "SEED must be below 2^63, got 99999999999999999999", "9999"),
    ("SEED 9223372036854775808", "SEED must be below 2^63, got 9223372036854775808", "9223"),
    ("SEED 1e30", "SEED must be below 2^63, got 1e30", "1e30"),
    ("SEED " + "9" * 5000, "SEED must be below 2^63, got 999", "999"),
    ("SEED -" + "9" * 400, "SEED must be at least 0, got -inf", "-9"),
    ("ORACLE LIMIT 9223372036854775808", "ORACLE LIMIT must be below 2^63, got 92", "9223"),
    ("ORACLE LIMIT 1e400", "ORACLE LIMIT must be below 2^63, got 1e400", "1e400"),
    ("RECALL TARGET " + "9" * 400 + "%", "RECALL TARGET must be in (0, 1], got 99", "999"),
    ("SEED 'x'", "SEED needs a whole number such as 1000, got 'x'", "'x'"),
    ("RECALL TARGET '90%'", "RECALL TARGET needs a share such as 90% or 0.9, got '90%'", "'90%'"),
    ("RECALL TARGET", "RECALL TARGET needs a value", "RECALL TARGET"),
    ("RECALL TARGET SEED 4", "RECALL TARGET needs a value", "RECALL TARGET"),
    ("SEED 4 RECALL TARGET", "RECALL TARGET needs a value", "RECALL TARGET"),
    ("ORACLE LIMIT", "ORACLE LIMIT needs a value", "ORACLE LIMIT"),
    ("SEED", "SEED needs a value", "SEED"),
    ("RECALL TARGET >= 90%", "leave >= out: write RECALL TARGET 90%", ">="),
    ("ORACLE LIMIT <= 90 SEED 4", "leave <= out: write ORACLE LIMIT 90", "<="),
    ("RECALL TARGET =", "leave = out: RECALL TARGET needs a share such as 90%", "="),
    ("RECALL 90%", "unknown clause RECALL 90%. Did you mean RECALL TARGET 90%?", "RECALL 90%"),
    ("SEED 4 ACCURACY .9", "Did you mean ACCURACY TARGET .9?", "ACCURACY .9"),
    ("USING a + b PRECISION 90%", "Did you mean PRECISION TARGET 90%?", "PRECISION 90%"),
    ("ORDER BY x ERROR 5%", "Did you mean ERROR WITHIN 5%?", "ERROR 5%"),
    ("LIMIT 4 ORACLE 90", "Did you mean ORACLE LIMIT 90?", "ORACLE 90"),
    ("RECALL TARGET high", "needs a share such as 90% or 0.9, got high", "high"),
    ("ON SHORTFALL", "ON SHORTFALL needs FAIL, RETURN or EXACT", "ON SHORTFALL"),
    ("ON SHORTFALL FALL", "got FALL. Did you mean FAIL?", "FALL"),
    ("ON SHORTFALL IGNORE", "got IGNORE.", "IGNORE"),
    ("USING RECALL TARGET 0.9", "USING needs a column", "USING"),
    ("USING", "USING needs a column", "USING"),
    ("USING a,, b", "USING needs a column", "USING"),
    (
        "RECALL TARGET 0.9 RECALL TARGET 0.8",
        "stands twice; the first is in line 2",
        "RECALL TARGET 0.8",
    ),
    ("CONFIDENCE 0.9 AT CONFIDENCE 0.8", "WITH PROBABILITY stands twice", "AT CONFIDENCE"),
    ("ORACLE LIMIT 5 ORDER BY x", "clauses come last: write ORDER BY before ORACLE LIMIT", "ORDER"),
    ("RECALL TARGET .9 LIMIT 5", "write LIMIT before RECALL TARGET", "LIMIT"),
    ("USING score ORDER BY x", "write ORDER BY before USING", "ORDER"),
    ("SEED 4 GROUP BY a", "write GROUP BY before SEED", "GROUP"),
    ("RECALL TARGT 0.9", "unknown clause RECALL TARGT. Did you mean RECALL TARGET?", "RECALL"),
    ("RECAL TARGET .9", "unknown clause RECAL TARGET. Did you mean RECALL TARGET?", "RECAL"),
    ("RECAL_TARGET 80%", "unknown clause RECAL_TARGET. Did you mean RECALL TARGET?", "RECAL_"),
    ("ORACLE LIMT 5", "unknown clause ORACLE LIMT. Did you mean ORACLE LIMIT?", "ORACLE"),
    ("ORACEL LIMIT 5", "unknown clause ORACEL LIMIT. Did you mean ORACLE LIMIT?", "ORACEL"),
    ("SED 7", "unknown clause SED. Did you mean SEED?", "SED"),
    ("ORDER BY x RECAL TARGET 0.9", "Did you mean RECALL TARGET?", "RECAL"),
    ("LIMIT 5 SEDE 4", "Did you mean SEED?", "SEDE"),
    ("SEED 4 ORACEL LIMIT 5", "Did you mean ORACLE LIMIT?", "ORACEL"),
    ("SEED 4 nonsense", "unexpected nonsense", "nonsense"),
    ("SEED 4 )", "a clause or the end of the statement must stand here", ")"),
    ("USING is_pos(a)", "the oracle is_pos cannot be its own proxy: USING takes a col", "is_pos"),
    ("USING is_spam(a)", "USING takes no oracle call, and is_spam is an oracle: write", "is_spam"),
    ("USING other", "proxy other stands for the oracle is_spam, which this query", "other"),
]


@pytest.mark.parametrize(("tail", "message", "at"), WRONG)
def test_wrong_clauses_show_the_place(tail: str, message: str, at: str) -> None:
    sql = f"{HEAD}\n{tail}"
    with pytest.raises(ProgrammingError) as caught:
        parse(sql, NAMES)
    assert message in str(caught.value)
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(at)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("tail", "field", "value"),
    [
        ("ACCURACY TARGET 95%", "accuracy", 0.95),
        ("RECALL TARGET .9 ASSUMING CALIBRATION", "assuming", Assumption("CALIBRATION")),
        (
            "RECALL TARGET .9 ASSUMING CALIBRATION WITHIN 3",
            "assuming",
            Assumption("CALIBRATION", 3.0),
        ),
        ("RECALL TARGET .9 ASSUMING PROXY QUALITY", "assuming", Assumption("PROXY QUALITY")),
        (
            "RECALL TARGET .9 ASSUMING PROXY QUALITY WITHIN .2",
            "assuming",
            Assumption("PROXY QUALITY", 0.2),
        ),
        (
            "RECALL TARGET .9 ASSUMING CORE SET CLOSURE OF 50",
            "assuming",
            Assumption("CORE SET CLOSURE", 50.0),
        ),
        ("RECALL TARGET 0.9 ASSUMING NORMALITY", "assuming", Assumption("NORMALITY")),
        ("PRECISION TARGET .9 BUDGET 500 CALLS", "oracle_limit", 500),
        ("PRECISION TARGET .9 BUDGET 500 CALLS, 2.5 SECONDS", "budget", ((2.5, "SECONDS"),)),
        ("PRECISION TARGET .9 BUDGET 1e6 TOKENS", "budget", ((1e6, "TOKENS"),)),
        (
            "PRECISION TARGET .9 BUDGET 1 USD, 60 SECONDS",
            "budget",
            ((1.0, "USD"), (60.0, "SECONDS")),
        ),
        ("ON ORACLE ERROR FAIL", "on_oracle_error", "FAIL"),
        ("ON ORACLE ERROR worst case", "on_oracle_error", "WORST CASE"),
    ],
)
def test_clauses_give_checked_values(tail: str, field: str, value: object) -> None:
    assert getattr(bind(tail).tail, field) == value


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("5%", ErrorTarget(0.05, relative=True)),
        ("5% ABSOLUTE", ErrorTarget(0.05, relative=False)),
        ("0.5", ErrorTarget(0.5, relative=False)),
        ("0.5 RELATIVE", ErrorTarget(0.5, relative=True)),
        ("20", ErrorTarget(20.0, relative=False)),
    ],
)
def test_an_error_target_is_relative_where_it_is_a_percentage(
    written: str, error: ErrorTarget
) -> None:
    query = parse(f"{COUNT} ERROR WITHIN {written}", NAMES)
    assert isinstance(query, SelectionQuery)
    assert query.tail.error == error


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("BUDGET 5, 6 USD", "needs CALLS, TOKENS, SECONDS or USD"),
        ("BUDGET 1.5 TOKENS", "a whole number above 0"),
        ("BUDGET 5 SECOND", "Did you mean SECONDS"),
        ("BUDGET 0 CALLS", "a whole number above 0"),
        ("BUDGET 1.5 CALLS", "a whole number above 0"),
        ("BUDGET 5 CALLS, 6 CALLS", "names CALLS twice"),
        ("ORACLE LIMIT 5 BUDGET 5 CALLS", "ORACLE LIMIT n, which stands here already"),
        ("BUDGET 5 CALLS ORACLE LIMIT 5", "stands twice"),
        ("BUDGET -5 USD", "a number above 0"),
        ("ASSUMING NOTHING", "CORE SET CLOSURE, NORMALITY, got NOTHING"),
        ("ASSUMING CALIBRATED", "Did you mean CALIBRATION"),
        ("ASSUMING CALIBRATION WITHIN 0", "must be above 0"),
        ("ON ORACLE ERROR IGNORE", "needs FAIL"),
        ("ERROR WITHIN 5% RECALL TARGET .9", "does not go with RECALL TARGET"),
        ("ACCURACY TARGET .9 PRECISION TARGET .9", "does not go with PRECISION TARGET"),
    ],
)
def test_wrong_budgets_and_assumptions(tail: str, message: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        parse(f"{HEAD} {tail}", NAMES)
    assert message in caught.value.message
    assert caught.value.offset is not None


@pytest.mark.parametrize("written", ["0", "-5%", "100%", "1 RELATIVE", "'x'", ""])
def test_wrong_error_targets(written: str) -> None:
    with pytest.raises(ProgrammingError, match=r"ERROR WITHIN (must be|needs)"):
        parse(f"{COUNT} ERROR WITHIN {written}", NAMES)


def test_a_parameter_past_any_bound_is_refused() -> None:
    for value in (2**63, 10**400, 1e300):
        for clause in ("SEED", "ORACLE LIMIT"):
            with pytest.raises(ProgrammingError, match=rf"{clause} must be below 2\^63, got \d"):
                parse(f"{HEAD} {clause} ?", NAMES, [value])
    with pytest.raises(ProgrammingError, match=r"must be in \(0, 1\], got 1e\+40"):
        parse(f"{HEAD} RECALL TARGET ?", NAMES, [10**400])
    with pytest.raises(ProgrammingError, match="must be a whole number"):
        parse(f"{HEAD} SEED ?", NAMES, [float("nan")])


@pytest.mark.parametrize(
    "order",
    [
        "ORDER BY d + INTERVAL 3 DAY",
        "ORDER BY d - interval 1.5 hours DESC, a",
        "GROUP BY d + INTERVAL 3 DAY, d",
        "QUALIFY max(d) OVER w > d + INTERVAL 3 DAY",
        "ORDER BY interval",
    ],
)
def test_an_interval_is_no_misspelt_clause(order: str) -> None:
    query = bind(order)
    assert order in f"{query.answer.grouping} {query.answer.order}"
    assert bind(f"{order} LIMIT 3 SEED 4").tail.seed == 4


def test_values_out_of_parameters() -> None:
    with pytest.raises(ProgrammingError, match=r"must be in \(0, 1\], got 95. Write 95% or 0.95."):
        parse(f"{HEAD} RECALL TARGET ?", NAMES, [95])
    for value in ("0.9", True, None):
        with pytest.raises(ProgrammingError, match="needs a share"):
            parse(f"{HEAD} RECALL TARGET ?", NAMES, [value])
    with pytest.raises(ProgrammingError, match=r"0\.9% is 0\.009: write 0\.9 or 90%"):
        parse(f"{HEAD} RECALL TARGET ?%", NAMES, [0.9])
    query = parse(f"{HEAD} RECALL TARGET ?% ORACLE LIMIT ?", NAMES, [90, 1000.0])
    assert isinstance(query, SelectionQuery)
    assert (query.tail.recall, query.tail.oracle_limit) == (0.9, 1000)


def test_small_shares_that_may_be_meant_are_taken() -> None:
    assert bind("RECALL TARGET 1% WITH PROBABILITY 50%").tail.recall == 0.01
    assert bind("RECALL TARGET 0.009").tail.recall == 0.009
    assert bind("PRECISION TARGET 0.5 WITH PROBABILITY .5").tail.probability == 0.5
    error = bind("ERROR WITHIN 0.5%", COUNT).tail.error
    assert error is not None
    assert error.within == 0.005


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_any_whole_number_below_2_to_the_63_is_a_seed(seed: int) -> None:
    assert bind(f"SEED {seed}").tail.seed == seed


def test_explain_shows_the_clauses_at_their_places() -> None:
    sql = "EXPLAIN\nSELECT * FROM t WHERE is_pos(a)\n  RECALL TARGET 95"
    with pytest.raises(ProgrammingError) as caught:
        parse(sql, NAMES)
    assert str(caught.value).endswith("LINE 3:   RECALL TARGET 95\n" + " " * 24 + "^^")
    assert (caught.value.line, caught.value.column) == (3, 17)
