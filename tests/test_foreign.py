"""SQL of other systems: what it is read as, and what is left to DuckDB."""

from __future__ import annotations

import decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_support_foreign import DEFAULTS, FOLDER, NAMES, catalog, pairs, words

from tests_support import Names, declared
from thresher.errors import Error
from thresher.plan import Composed, Passthrough, SelectionQuery
from thresher.sql import parse
from thresher.sql.foreign import rewrite
from thresher.sql.tokens import Source, tokenize


def test_every_pair_of_the_file_is_read() -> None:
    assert len(pairs()) == (FOLDER / "foreign.sql").read_text().count("-- ours\n")


@pytest.mark.parametrize(("theirs", "ours"), pairs())
def test_what_it_is_read_as(theirs: str, ours: str) -> None:
    query = parse(theirs, NAMES)
    assert isinstance(query, SelectionQuery)
    assert words(query.canonical) == words(ours)
    again = parse(query.canonical, NAMES)
    assert isinstance(again, SelectionQuery)
    assert (again.canonical, again.understood) == (query.canonical, ())
    for call in query.calls:
        place = call.place
        assert 0 <= place.offset < place.offset + place.length <= len(theirs)


@pytest.mark.parametrize(
    ("sql", "notes"),
    [
        (
            "SELECT AVG(score) FROM video WHERE class = 'x' ERROR_TARGET 10% CONFIDENCE 95%",
            (
                "ERROR_TARGET 10% is read as ERROR WITHIN 10% RELATIVE",
                "the column class is read as class(frame)",
            ),
        ),
        (
            "SELECT * FROM video WHERE judge(a) FNR WITHIN 1% FPR WITHIN .05 BUDGET 70",
            (
                "FNR WITHIN 1% is read as RECALL TARGET 99%: at most 1% of the positive rows are "
                "missing",
                "FPR WITHIN .05 is read as PRECISION TARGET 0.95: at most .05 of the returned rows "
                "are wrong",
                "BUDGET 70 is read as BUDGET 70 CALLS",
            ),
        ),
        (
            "SELECT * FROM t WHERE AI.IF(('a ', b), connection_id => 'us.c', endpoint => 'gem')",
            (
                "AI.IF(...) is read as a call of the oracle judge, of thresher_default_oracle",
                "connection_id of AI.IF is ignored",
                "the model gem of AI.IF is ignored",
            ),
        ),
        (
            "SELECT * FROM t WHERE prompt('a ' || b, model := 'write') = 'x'",
            ("PROMPT(...) is read as a call of the oracle write, which the call names",),
        ),
        (
            "SELECT * FROM t WHERE judge(a, recall := .9)",
            ("recall := .9 is read as RECALL TARGET .9",),
        ),
        ("SELECT * FROM t WHERE judge(a) RECALL TARGET 90% CONFIDENCE 95%", ()),
    ],
)
def test_it_says_how_it_was_understood(sql: str, notes: tuple[str, ...]) -> None:
    query = parse(sql, NAMES)
    assert isinstance(query, SelectionQuery)
    assert query.understood == notes


def test_inner_blocks_are_read_too() -> None:
    sql = (
        "WITH c AS (SELECT * FROM video WHERE class = 'car' RECALL_TARGET 80%) "
        "SELECT * FROM c JOIN (SELECT * FROM t WHERE nlfilter(a, 'x', recall := .7)) USING (id)"
    )
    query = parse(sql, NAMES)
    assert isinstance(query, Composed)
    tails = [block.query.tail.recall for block in query.blocks]
    assert tails == [0.8, 0.7]
    assert query.blocks[0].query.understood[0].startswith("RECALL_TARGET 80% is read as")
    made = parse("CREATE TABLE x AS SELECT * FROM video WHERE class = 'car'", NAMES)
    assert isinstance(made, Composed)
    assert made.blocks[0].query.calls[0].oracle == "class"


@settings(deadline=None)
@given(st.decimals("0", "0.999999", places=6), st.booleans())
def test_one_minus_a_rate_is_exact(rate: decimal.Decimal, percent: bool) -> None:
    written = f"{rate * 100:f}%" if percent else f"{rate:f}"
    query = parse(f"SELECT * FROM t WHERE judge(a) FNR WITHIN {written}", NAMES)
    assert isinstance(query, SelectionQuery)
    assert query.tail.recall == pytest.approx(float(1 - rate), rel=1e-15)
    as_percent = percent and rate <= decimal.Decimal("0.99")  # a target of 0.9% is refused
    share = 100 - rate * 100 if as_percent else 1 - rate
    assert f"RECALL TARGET {share:f}" in query.understood[0]


def test_rates_are_bound_as_parameters() -> None:
    query = parse(
        "SELECT * FROM t WHERE AI_FILTER(?, a) FNR WITHIN ? ERROR_TARGET ?".rpartition(" ERR")[0],
        NAMES,
        ["Is it?", 0.01],
    )
    assert isinstance(query, SelectionQuery)
    assert query.tail.recall == 0.99
    assert query.calls[0].arguments == ("CAST(('Is it? ' || a) AS VARCHAR)",)


@pytest.mark.parametrize(
    "sql",
    [
        "SET max_memory = '1GB'",
        "UPDATE model SET a = 1",
        "DELETE FROM prompt WHERE a = 1",
        "INSERT INTO embedding(a) SELECT 1",
        "SELECT e.embedding FROM prompt AS e",
        "SELECT 1 WHERE 1 = 2",
        "SELECT l[AI:b], ai.x, ml.generate_text(a), cortex.complete(b) FROM t",
        "SELECT class FROM suv WHERE class = 'small'",
        "SELECT s.class FROM suv AS s",
        "SELECT day AS class FROM video ORDER BY class",
        "SELECT day class FROM video",
        "SELECT class.frame FROM video AS class",
        "SELECT * EXCLUDE (class) FROM video",
        "SELECT frame::class FROM video",
        "SELECT * FROM video JOIN copies USING (class)",
        "SELECT * FROM unknown WHERE class = 1",
        "SELECT * FROM notes WHERE class = 1",
        "SELECT * FROM (SELECT 1 AS class, 2 AS frame) WHERE class = 1",
        "WITH class AS (SELECT 1 AS x) SELECT * FROM class",
        "UPDATE video SET score = 1 WHERE class = 'car'",
        "CREATE TABLE class(frame INTEGER)",
        "SELECT prompt FROM t",
        "CREATE TABLE prompt(a INTEGER)",
        "INSERT INTO prompt(a) SELECT 1",
        "SELECT * FROM prompt('x'), ai_query('y')",
        "SELECT * FROM t AS prompt(a), u prompt(b)",
        "WITH prompt(a) AS (SELECT 1) FROM prompt",
        "SELECT t.prompt(1) FROM t",
        "SELECT 'AI_FILTER(x)', \"nlfilter\" FROM t -- prompt(x)",
        "CREATE FUNCTION f(a) AS a + 1",
        "SELECT fcount(*), percentage(a) FROM t",
        "SELECT day, sum(score) FROM video GROUP BY day HAVING sum(score = 1) >= 1",
        "SELECT budget, fnr FROM t",
        "SELECT 1 FROM t WHERE fnr > 5 ORDER BY budget LIMIT 5",
    ],
)
def test_what_duckdb_understands_goes_to_duckdb(sql: str) -> None:
    assert parse(sql, NAMES) == Passthrough(sql)


def test_a_function_that_duckdb_has_stays_duckdbs_until_an_oracle_is_set() -> None:
    names = ("prompt", "ai.if", "llm_filter", "flock_get_metrics", "llm_reduce")
    for sql in (
        "SELECT prompt('Hello') FROM t",
        "SELECT * FROM t WHERE ai.if('x')",
        "SELECT llm_reduce({'a': 1}) FROM t WHERE llm_filter({'model_name': 'm'}, {'prompt': 'x'})",
        "SELECT flock_get_metrics()",
        "CREATE MODEL('m', 'gpt-4o', 'openai')",
    ):
        assert parse(sql, catalog(functions=names)) == Passthrough(sql)
    query = parse("SELECT 1 FROM t WHERE ai.if('x' || a)", catalog(DEFAULTS, functions=names))
    assert isinstance(query, SelectionQuery)
    named = "SELECT 1 FROM t WHERE prompt('x' || a, model := 'judge')"
    assert isinstance(parse(named, catalog(functions=names)), SelectionQuery)


@pytest.mark.parametrize("sql", [s for s in (FOLDER / "shapes.sql").read_text().split(";\n") if s])
def test_our_own_sql_is_left_as_it_is(sql: str) -> None:
    names = Names(
        is_good=declared("BOOLEAN", "VARCHAR"), stars=declared("BIGINT", "VARCHAR", "BIGINT")
    )
    tokens = tokenize(sql)
    source, notes = rewrite(Source(sql, tokens), 0, names)
    assert (source.tokens, notes) == (tokens, ())


HEAD = "SELECT * FROM video WHERE class = 'x' AND "
TAIL = "SELECT * FROM t WHERE AI_FILTER("
SOUP = """
    SELECT FROM WHERE GROUP BY HAVING SUM LIMIT GAP ON AND OR NOT AS WITH USING EXCLUDE ORDER UNION
    class video v . . , , ( ( ) ) [ ] { } : := => = >= 1 0 .5 % 'text' '{0} {7}' * || ? :: -
    AI_FILTER PROMPT AI . IF . GENERATE . result prompt nlfilter NLjoin llm_filter llm_complete
    AI_CLASSIFY AI_COMPLETE ai_query AI_SENTIMENT ai_translate ai_mask ML GENERATE_TEXT labels
    SNOWFLAKE . CORTEX . SENTIMENT EXTRACT_ANSWER answer ARRAY
    CONCAT recall seed model judge look write 'judge' 'prompt'
    FNR FPR WITHIN RECALL_TARGET ERROR_TARGET BUDGET CALLS FCOUNT PERCENTAGE count RECALL TARGET
    CREATE MODEL INSERT INTO EXPLAIN mindsdb frame true
"""


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(SOUP.split()), max_size=30), st.sampled_from(["", HEAD, TAIL]))
def test_any_words_are_read_or_refused(soup: list[str], around: str) -> None:
    sql = f"{around}{' '.join(soup)}{')' if around == TAIL else ''}"
    error = None
    try:
        parse(sql, catalog(DEFAULTS, recall_target=0.9), ["x"] * sql.count("?"))
    except Error as caught:
        error = caught
    offset = error.offset if error else None
    assert offset is None or 0 <= offset <= len(sql)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([theirs for theirs, _ in pairs()]), st.data())
def test_damaged_statements_are_read_or_refused(theirs: str, data: st.DataObject) -> None:
    parts = [token.text for token in tokenize(theirs)]
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(parts) - 1))
        j = data.draw(st.integers(0, len(parts) - 1))
        if data.draw(st.booleans()):
            del parts[i:j]
        else:
            parts.insert(i, parts[j])
    sql = " ".join(parts)
    error = None
    try:
        parse(sql, catalog(DEFAULTS, precision_target=0.9))
    except Error as caught:
        error = caught
    offset = error.offset if error else None
    assert offset is None or 0 <= offset <= len(sql)
