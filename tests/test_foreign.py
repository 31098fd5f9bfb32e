"""SQL of other systems: what it is read as, what is refused, what is left to DuckDB."""

from __future__ import annotations

import decimal
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thresher
from thresher.errors import Error, NotSupportedError, ProgrammingError
from thresher.plan import Composed, OptionValue, Passthrough, SelectionQuery
from thresher.sql import parse
from thresher.sql.foreign import rewrite
from thresher.sql.tokens import Source, tokenize

FOLDER = Path(__file__).parent / "sql"


@dataclass(frozen=True)
class Argument:
    name: str
    type: str


@dataclass(frozen=True)
class Signature:
    arguments: tuple[Argument, ...]
    returns: str


@dataclass(frozen=True)
class Oracle:
    signature: Signature
    as_column: bool = False
    value_range: tuple[float | None, float | None] = (None, None)


def oracle(returns: str, *arguments: str, as_column: bool = False) -> Oracle:
    declared = tuple(Argument(name, "VARCHAR") for name in arguments)
    return Oracle(Signature(declared, returns), as_column)


COLUMNS: dict[str, Sequence[str]] = {
    "video": ["frame", "timestamp", "day", "score"],
    "suv": ["class", "frame", "price"],
    "notes": ["id", "text"],
    "copies": ["frame", "score"],
    "taipei": ["frame", "timestamp", "day"],
    "sentiment": ["text", "score"],
    "entities00": ["entity_id", "text"],
    "colors02": ["frame"],
}


@dataclass
class Names:
    oracles: dict[str, Oracle]
    values: dict[str, OptionValue] = field(default_factory=dict)
    functions: tuple[str, ...] = ()

    def oracle(self, name: str) -> Oracle | None:
        return self.oracles.get(name)

    def oracle_names(self) -> list[str]:
        return list(self.oracles)

    def proxy(self, name: str) -> None:
        return None

    def proxy_names(self) -> list[str]:
        return []

    def settings(self) -> list[str]:
        return list(self.values)

    def setting(self, name: str) -> OptionValue:
        return self.values[name]

    def has_function(self, name: str) -> bool:
        return name in self.functions

    def columns(self, relation: str, ctes: str) -> Sequence[str]:
        return COLUMNS.get(relation, [])


ORACLES = {
    "class": oracle("VARCHAR", "frame", as_column=True),
    "color": oracle("VARCHAR", "frame", as_column=True),
    "label": oracle("VARCHAR", "text", as_column=True),
    "type": oracle("VARCHAR", "text", as_column=True),
    "fastrcnn": oracle("VARCHAR", "frame"),
    "judge": oracle("BOOLEAN", "prompt"),
    "write": oracle("VARCHAR", "prompt"),
    "rate": oracle("DOUBLE", "prompt"),
    "look": oracle("BOOLEAN", "prompt", "picture"),
}
NAMES = Names(ORACLES, {"default_oracle": "judge, WRITE ,rate"})
BARE = Names(ORACLES)


def words(sql: str) -> str:
    return " ".join(token.text for token in tokenize(sql))


def pairs() -> list[tuple[str, str]]:
    text = (FOLDER / "foreign.sql").read_text()
    return [
        (theirs.strip(), ours.strip())
        for theirs, ours in re.findall(
            r"^-- (?!ours)[^\n]*\n((?!--)[^\n].*?)^-- ours\n(.*?)(?=^\n|\Z)", text, re.S | re.M
        )
    ]


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
    assert f"RECALL TARGET {1 - rate if not percent else 100 - rate * 100:f}" in query.understood[0]


def test_a_call_without_from_is_about_one_row(video: thresher.Connection) -> None:
    video.create_oracle("judge", lambda asked: ["7" in text for text in asked], ["VARCHAR"])
    video.execute("SET thresher_default_oracle = 'judge'")
    assert video.execute("SELECT AI_FILTER('Is it 7?') AS seven, 1 AS one").fetchall() == [
        (True, 1)
    ]
    assert video.execute("SELECT judge('8') WHERE 1 = 1 LIMIT 3").fetchall() == [(False,)]
    assert video.execute("SELECT (SELECT judge('7'))").fetchall() == [(True,)]
    assert video.execute("SELECT judge('7') WHERE 1 = 2").fetchall() == []


def test_rates_are_bound_as_parameters() -> None:
    query = parse(
        "SELECT * FROM t WHERE AI_FILTER(?, a) FNR WITHIN ? ERROR_TARGET ?".rpartition(" ERR")[0],
        NAMES,
        ["Is it?", 0.01],
    )
    assert isinstance(query, SelectionQuery)
    assert query.tail.recall == 0.99
    assert query.calls[0].arguments == ("CAST(('Is it? ' || a) AS VARCHAR)",)


REFUSED = [
    (
        "CREATE MODEL('m','gpt-4o','openai',{\"max_batch_size\":16,\"rate_limit\":30,"
        '"usage_limit":{"total_tokens_limit":50000}})',
        "Write CREATE ORACLE",
        "CREATE",
    ),
    ("CREATE PROMPT('p','...')", "Write CREATE ORACLE", "CREATE PROMPT"),
    ("CREATE GLOBAL MODEL('m')", "Write CREATE ORACLE", "CREATE GLOBAL"),
    ("CREATE FUNCTION f TYPE HuggingFace TASK 'a' MODEL 'b'", "Write CREATE ORACLE", "CREATE"),
    ("set max_error=0.1", "Write ERROR WITHIN 10%", "set max_error"),
    ("set max_seconds=10", "Write BUDGET 30 SECONDS", "set max_seconds"),
    ("SET max_calls = 100", "SET thresher_oracle_limit", "SET max_calls"),
    ("set max_tokens=1000", "Write BUDGET 2 USD", "set max_tokens"),
    ("GET MODELS", "SHOW ORACLES", "GET MODELS"),
    ("DELETE PROMPT 'p'", "DROP ORACLE name", "DELETE PROMPT"),
    ("UPDATE MODEL('m', 'gpt-4o', 'openai')", "CREATE OR REPLACE ORACLE", "UPDATE MODEL"),
    ("SELECT TO_FILE('@s/a.png')", "keep the texts", "TO_FILE"),
    ("SELECT embedding(a) FROM t", "similarities rank", "embedding"),
    ("SELECT a FROM VECTOR_SEARCH(TABLE t, 'a', TABLE q)", "similarities rank", "VECTOR_SEARCH"),
    ("SELECT prompt('x', struct := {a: 'VARCHAR'}) FROM t", "for each field apart", "{a"),
    ("SELECT flock_get_metrics()", "thresher_certificates()", "flock_get_metrics"),
    ("SELECT flock_reset_metrics()", "thresher_labels()", "flock_reset_metrics"),
    ("SELECT llm_embedding({'model_name': 'm'}, {'a': b}) FROM t", "USING embedding", "llm_emb"),
    ("SELECT llm_reduce({'model_name': 'm'}, {'a': b}) FROM t", "row by row", "llm_reduce"),
    ("SELECT llm_reduce_json({'a': 1}, {'a': b}) FROM t", "row by row", "llm_reduce_json"),
    ("SELECT AI_EMBED('m', a) FROM t", "similarities rank", "AI_EMBED"),
    ("SELECT ai_similarity(a, b) FROM t", "similarities rank", "ai_similarity"),
    ("SELECT SNOWFLAKE.CORTEX.EMBED_TEXT_768('m', a) FROM t", "similarities", "SNOWFLAKE.CORTEX"),
    ("SELECT AI_EXTRACT(a, ['b', 'c']) FROM t", "for each field apart", "AI_EXTRACT"),
    ("SELECT AI_COUNT_TOKENS('m', a) FROM t", "thresher_spend()", "AI_COUNT_TOKENS"),
    ("SELECT AI_TRANSCRIBE(a) FROM t", "keep the texts", "AI_TRANSCRIBE"),
    (
        "SELECT * FROM AI.GENERATE_TABLE(MODEL d.m, TABLE t, STRUCT('x VARCHAR' AS y))",
        "row by row over the table",
        "AI.GENERATE_TABLE",
    ),
    (
        "SELECT a FROM ML.GENERATE_TEXT(MODEL `d.m`, (SELECT b AS prompt FROM t), STRUCT(1 AS x))",
        "WHERE AI.IF(",
        "ML.GENERATE_TEXT",
    ),
    ("SELECT AI_SENTIMENT(a, ['price']) FROM t", "of several categories", "['price']"),
    (
        "SELECT AI_CLASSIFY(a, ['b', 'c'], {'output_mode': 'multi'}) FROM t",
        "with several labels",
        "{'output_mode'",
    ),
    ("SELECT AI_CLASSIFY(a, ['b', 'c']):labels[1] FROM t", "has no :labels[1]", "AI_CLASSIFY"),
    ("SELECT AI_CLASSIFY(a, ['b', 'c']):labels FROM t", "has no :labels. Write", "AI_CLASSIFY"),
    ("SELECT AI_COMPLETE('m', [{'role': 'user'}]) FROM t", "a list of messages", "[{'role'"),
    ("SELECT llm_rerank({'model_name': 'm'}, {'a': b}) FROM t", "row by row", "llm_rerank"),
    ("SELECT llm_first({'model_name': 'm'}, {'a': b}) FROM t", "row by row", "llm_first"),
    ("SELECT llm_last({'model_name': 'm'}, {'a': b}) FROM t", "row by row", "llm_last"),
    ("SELECT fusion_rrf(a, b) FROM t", "similarities rank", "fusion_rrf"),
    ("SELECT AI_AGG(a, 'sum it up') FROM t", "row by row", "AI_AGG"),
    ("SELECT AI_SUMMARIZE_AGG(a) FROM t", "row by row", "AI_SUMMARIZE_AGG"),
    ("SELECT AI_SIMILARITY(a, b) FROM t", "similarities rank", "AI_SIMILARITY"),
    ("SELECT id FROM v WHERE ['car'] <@ FastRCNN(frame).labels", "has no field labels", ".labels"),
    ("SELECT t.a, m.sentiment FROM t JOIN mindsdb.m AS m", "WHERE m(text)", "mindsdb.m"),
    ("SELECT * FROM a LEFT JOIN b ON AI_FILTER(PROMPT('{0}', x))", "a LEFT JOIN pairs", "AI_F"),
    (
        "SELECT a, b FROM taipei GROUP BY a, b HAVING SUM(class = 'bus') >= 1 LIMIT 3 GAP 9",
        "GROUP BY with one column",
        "GAP",
    ),
    (
        "SELECT timestamp FROM video GROUP BY timestamp HAVING SUM(class = 'bus') >= 2",
        "WHERE n_cars(frame) >= 2",
        "SUM",
    ),
    (
        "SELECT day, timestamp FROM video GROUP BY timestamp HAVING SUM(class = 'bus') >= 1",
        "not in GROUP BY",
        "SUM",
    ),
    (
        "SELECT day FROM video GROUP BY day HAVING SUM(class = 'bus') >= 1 ORDER BY count(*)",
        "not in GROUP BY",
        "SUM",
    ),
    (
        "SELECT FCOUNT(*), avg(score) FROM video WHERE class = 'car'",
        "beside another aggregate",
        "avg",
    ),
    ("SELECT * FROM t WHERE AI.IF('a').name", "has no .name", "AI.IF"),
    ("SELECT * FROM t WHERE AI_FILTER(llm_complete({'prompt': 'x'}))", "joined by AND", "llm_c"),
]


@pytest.mark.parametrize(("sql", "message", "place"), REFUSED)
def test_what_has_no_meaning_here_is_refused(sql: str, message: str, place: str) -> None:
    with pytest.raises(NotSupportedError, match=re.escape(message)) as caught:
        parse(sql, NAMES)
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(place)


WRONG = [
    ("SELECT * FROM t WHERE judge(a) FNR WITHIN 1", r"must be in \[0, 1\), got 1", "1"),
    ("SELECT * FROM t WHERE judge(a) FPR WITHIN 100%", r"must be in \[0, 1\)", "100%"),
    ("SELECT * FROM t WHERE judge(a) ERROR_TARGET 200%", "ERROR WITHIN", "200%"),
    ("SELECT * FROM t WHERE judge(a) RECALL_TARGET 95", r"must be in \(0, 1\], got 95", "95"),
    ("SELECT * FROM t WHERE judge(a, recall := 95)", r"must be in \(0, 1\], got 95", "95"),
    (
        "SELECT * FROM t WHERE judge(a, recall := .9) RECALL TARGET 80%",
        "RECALL TARGET stands twice",
        "recall",
    ),
    ("SELECT * FROM t WHERE judge(depth := 3)", "judge has no argument depth", "depth := 3"),
    ("SELECT * FROM t WHERE nlfilter(a)", "columns and then a text", "nlfilter(a)"),
    ("SELECT * FROM t WHERE AI_FILTER()", "needs an input", "AI_FILTER()"),
    ("SELECT * FROM t WHERE AI.IF(())", "needs a prompt", "AI.IF(())"),
    (
        "SELECT * FROM t WHERE AI_FILTER(PROMPT('{0} {2}', a, b))",
        r"no value for \{2\}",
        "'{0} {2}'",
    ),
    ("SELECT * FROM t WHERE AI_FILTER(PROMPT(a))", "takes a template", "PROMPT"),
    ("SELECT * FROM t WHERE AI_CLASSIFY(a, b) = 'x'", "categories written out", "b"),
    ("SELECT AI_CLASSIFY(a, []) FROM t", "categories written out", "[]"),
    ("SELECT AI_CLASSIFY(a, ARRAY(b)) FROM t", "categories written out", "ARRAY"),
    ("SELECT ai_mask(a, b) FROM t", "labels written out", "b"),
    ("SELECT ai_translate(a, b) FROM t", "languages written out", "b"),
    ("SELECT ai_translate(a) FROM t", "needs a language", "ai_translate"),
    ("SELECT * FROM t WHERE llm_filter({'model_name': 'm'})", "its prompt written out", "llm_"),
    ("SELECT * FROM t WHERE llm_filter('m')", "takes structs", "'m'"),
    ("SELECT * FROM t WHERE NLjoin(a, b, 'x') AND AI.IF(('a'), endpoint => 'look')", "2 arg", "AI"),
    ("SELECT FCOUNT(*) FROM video ERROR WITHIN .1", "condition in WHERE", "FCOUNT"),
    ("SELECT PERCENTAGE(*) FROM t WHERE judge(a) SEED 5", "takes a condition", "PERCENTAGE"),
    ("SELECT 1 FROM video, copies WHERE class = 'car'", "video.class or copies.class", "class"),
    (
        "SELECT frame FROM video ORDER BY class ACCURACY TARGET 95%",
        "ACCURACY TARGET needs a call of a declared oracle",
        "ACCURACY",
    ),
    ("SELECT * FROM t WHERE AI_FILTER(a) AND nosuch(b) RECALL TARGET 9", "got 9", "9"),
]


@pytest.mark.parametrize(("sql", "message", "place"), WRONG)
def test_what_is_wrong_is_shown_in_the_text_of_the_user(sql: str, message: str, place: str) -> None:
    with pytest.raises(ProgrammingError, match=message) as caught:
        parse(sql, NAMES)
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(place)
    assert caught.value.sql == sql


def test_without_an_oracle_the_error_says_what_to_declare() -> None:
    with pytest.raises(ProgrammingError) as caught:
        parse("SELECT * FROM t WHERE AI.SCORE(('a', b)) > 3", BARE)
    assert caught.value.message == (
        "AI.SCORE needs an oracle that answers it. Write CREATE ORACLE name(prompt VARCHAR) "
        "RETURNS DOUBLE USING provider WITH (...); and SET thresher_default_oracle = 'name'."
    )
    named = Names(ORACLES, {"default_oracle": "judge"})
    with pytest.raises(
        ProgrammingError, match=r"names judge, which returns BOOLEAN.*'judge, name'"
    ):
        parse("SELECT * FROM t WHERE AI.SCORE(('a', b)) > 3", named)
    lost = Names(ORACLES, {"default_oracle": "juge"})
    with pytest.raises(
        ProgrammingError, match=r"juge, which is not declared\. Did you mean 'judge'"
    ):
        parse("SELECT * FROM t WHERE nlfilter(a, 'b')", lost)


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
        assert parse(sql, Names(ORACLES, functions=names)) == Passthrough(sql)
    query = parse("SELECT 1 FROM t WHERE ai.if('x' || a)", Names(ORACLES, NAMES.values, names))
    assert isinstance(query, SelectionQuery)
    named = "SELECT 1 FROM t WHERE prompt('x' || a, model := 'judge')"
    assert isinstance(parse(named, Names(ORACLES, functions=names)), SelectionQuery)


@pytest.mark.parametrize("sql", [s for s in (FOLDER / "shapes.sql").read_text().split(";\n") if s])
def test_our_own_sql_is_left_as_it_is(sql: str) -> None:
    names = Names({"is_good": oracle("BOOLEAN", "text"), "stars": oracle("BIGINT", "text", "n")})
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
        parse(sql, targets(recall_target=0.9), ["x"] * sql.count("?"))
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
        parse(sql, targets(precision_target=0.9))
    except Error as caught:
        error = caught
    offset = error.offset if error else None
    assert offset is None or 0 <= offset <= len(sql)


# Targets of settings


def targets(**values: float) -> Names:
    return Names(ORACLES, {**NAMES.values, **values})


@pytest.mark.parametrize(
    ("sql", "names", "tail"),
    [
        (
            "SELECT * FROM t WHERE judge(a)",
            targets(recall_target=0.95, precision_target=0.9),
            "RECALL TARGET 0.95 PRECISION TARGET 0.9",
        ),
        (
            "SELECT * FROM t WHERE judge(a) ORDER BY a LIMIT 3 ORACLE LIMIT 50",
            targets(recall_target=0.95),
            "RECALL TARGET 0.95 ORACLE LIMIT 50",
        ),
        ("SELECT * FROM t WHERE judge(a)", targets(accuracy_target=1.0), "ACCURACY TARGET 1.0"),
        ("SELECT write(a) FROM t", targets(accuracy_target=0.9, recall_target=0.8),
         "ACCURACY TARGET 0.9"),
        (
            "SELECT count(*) FROM t WHERE judge(a)",
            targets(recall_target=0.95, error_target=0.1),
            "ERROR WITHIN 0.1 RELATIVE",
        ),
        (
            "SELECT count(*) FROM t WHERE judge(a) ORACLE LIMIT 50 ASSUMING NORMALITY",
            targets(error_target=0.1),
            "ORACLE LIMIT 50 ASSUMING NORMALITY",
        ),
        ("SELECT * FROM t WHERE judge(a) RECALL TARGET .5", targets(recall_target=0.9),
         "RECALL TARGET 0.5"),
        ("SELECT * FROM t WHERE judge(a) PRECISION_TARGET .5", targets(recall_target=0.9),
         "PRECISION TARGET 0.5"),
        ("SELECT count(*) FROM t WHERE judge(a)", targets(recall_target=0.9), ""),
        ("SELECT a FROM t WHERE judge(a) GROUP BY a", targets(recall_target=0.9), ""),
    ],
)  # fmt: skip
def test_targets_of_settings(sql: str, names: Names, tail: str) -> None:
    query = parse(sql, names)
    assert isinstance(query, SelectionQuery)
    assert query.canonical.removesuffix(tail) != query.canonical or not tail
    assert ("TARGET" in query.canonical or "ERROR" in query.canonical) == (
        "TARGET" in tail or "ERROR" in tail
    )
    taken = [note for note in query.understood if "is taken from thresher_" in note]
    assert bool(taken) == ("TARGET" not in sql and "_TARGET" not in sql and (
        "TARGET" in tail or "ERROR" in tail
    ))  # fmt: skip


def test_settings_that_contradict_each_other() -> None:
    names = targets(recall_target=0.9, accuracy_target=0.9)
    with pytest.raises(ProgrammingError, match="does not go with thresher_recall_target: RESET"):
        parse("SELECT * FROM t WHERE judge(a)", names)
    assert parse("SELECT 1", names) == Passthrough("SELECT 1")


# Answers, against the truth in a column


@pytest.fixture
def video() -> Iterator[thresher.Connection]:
    with thresher.connect(config={"seed": 1}) as con:
        con.execute(
            "CREATE TABLE video AS SELECT i AS timestamp, i // 2 AS frame, i % 3 AS day, "
            "(i * 37 % 100) / 100 AS score, 'frame {0} ' || i % 10 AS text FROM range(600) AS r(i)"
        )
        con.execute(
            "CREATE TABLE truth AS SELECT DISTINCT frame, CASE WHEN frame % 5 = 0 THEN 'car' "
            "WHEN frame % 7 = 0 THEN 'bus' ELSE 'none' END AS class FROM video"
        )
        con.execute(
            "CREATE ORACLE class(frame BIGINT) RETURNS VARCHAR USING column "
            "WITH (table = 'truth', key = 'frame', value = 'class', as_column = true)"
        )
        yield con


@pytest.mark.parametrize(
    ("theirs", "plain"),
    [
        (
            "SELECT timestamp FROM video WHERE class = 'car' AND day = 1",
            "SELECT timestamp FROM v WHERE class = 'car' AND day = 1",
        ),
        (
            "SELECT v.timestamp FROM video AS v, truth AS u WHERE v.frame = u.frame AND v.class = "
            "'car' AND u.class = 'car'",
            "SELECT timestamp FROM v WHERE class = 'car'",
        ),
        (
            "SELECT frame FROM video WHERE day < 2 GROUP BY frame HAVING SUM(class = 'bus') >= 1 "
            "ORDER BY frame LIMIT 7",
            "SELECT frame FROM v WHERE day < 2 GROUP BY frame HAVING SUM((class = 'bus')::INT) >= "
            "1 ORDER BY frame LIMIT 7",
        ),
        (
            "SELECT FCOUNT(*) FROM video WHERE class = 'car' OR day = 0",
            "SELECT count(*) FILTER (WHERE class = 'car' OR day = 0) / count(*) FROM v",
        ),
        (
            "SELECT day, PERCENTAGE(class = 'car') FROM video WHERE class <> 'bus' GROUP BY day "
            "ORDER BY day",
            "SELECT day, 100 * avg((class = 'car')::INT) FROM v WHERE class <> 'bus' GROUP BY day "
            "ORDER BY day",
        ),
        (
            "SELECT timestamp FROM video WHERE class LIKE 'c%' FNR WITHIN 0 FPR WITHIN 0 "
            "BUDGET 600",
            "SELECT timestamp FROM v WHERE class LIKE 'c%'",
        ),
    ],
)
def test_answers_are_those_of_the_truth(
    video: thresher.Connection, theirs: str, plain: str
) -> None:
    video.execute("CREATE VIEW v AS SELECT * FROM video JOIN truth USING (frame)")
    wanted = video.connection.execute(plain).fetchall()
    rows = video.execute(theirs).fetchall()
    assert [tuple(pytest.approx(value) for value in row) for row in wanted] == rows
    assert wanted


def test_rows_with_a_gap_between_them(video: thresher.Connection) -> None:
    rows = video.execute(
        "SELECT timestamp FROM video GROUP BY timestamp HAVING SUM(class='bus')>=1 LIMIT 4 GAP 50"
    ).fetchall()
    found = sorted(row[0] for row in rows)
    assert all(timestamp // 2 % 7 == 0 and timestamp // 2 % 5 for timestamp in found)
    assert len(found) == 4
    assert all(after - before >= 50 for before, after in itertools.pairwise(found))


def test_prompts_reach_the_oracle_as_text(video: thresher.Connection) -> None:
    asked: list[str] = []

    def judge(prompts: list[str]) -> list[bool]:
        asked.extend(prompts)
        return [prompt.endswith("7!") for prompt in prompts]

    video.create_oracle("judge", judge, ["VARCHAR"], "BOOLEAN")
    sql = (
        "SELECT DISTINCT text FROM video WHERE AI_FILTER(PROMPT('Is {0} right, {{}}? {0}!', text))"
    )
    with pytest.raises(ProgrammingError, match="SET thresher_default_oracle"):
        video.execute(sql)
    video.execute("SET thresher_default_oracle = 'judge'")
    assert video.execute(sql).fetchall() == [("frame {0} 7",)]
    assert "Is frame {0} 3 right, {{}}? frame {0} 3!" in asked


def test_a_prepared_statement_of_another_system(video: thresher.Connection) -> None:
    video.create_oracle("judge", lambda asked: ["7" in text for text in asked], ["VARCHAR"])
    video.execute("SET thresher_default_oracle = 'judge'")
    video.execute(
        "PREPARE q AS SELECT DISTINCT text FROM video "
        "WHERE ai.if(prompt => 'Is it right? ' || text, score)"
    )
    assert video.execute("EXECUTE q").fetchall() == [("frame {0} 7",)]


def test_an_oracle_of_two_arguments_gets_the_prompt_first(video: thresher.Connection) -> None:
    asked: list[tuple[str, int]] = []

    def look(prompts: list[str], pictures: list[int]) -> list[bool]:
        asked.extend(zip(prompts, pictures, strict=True))
        return [picture % 2 == 0 for picture in pictures]

    video.create_oracle("look", look, ["VARCHAR", "BIGINT"], "BOOLEAN")
    video.execute("SET thresher_default_oracle = look")
    rows = video.execute("SELECT timestamp FROM video WHERE nlfilter(timestamp, 'Is it red?')")
    assert len(rows.fetchall()) == 300
    assert ("Is it red?", 4) in asked


def test_a_column_stands_for_the_oracle_only_where_it_is_declared_so(
    video: thresher.Connection,
) -> None:
    declared = (
        "CREATE OR REPLACE ORACLE class(frame BIGINT) RETURNS VARCHAR USING column "
        "WITH (table = 'truth', key = 'frame', value = 'class'{})"
    )
    video.execute(declared.format(""))
    with pytest.raises(ProgrammingError, match="class"):
        video.execute("SELECT * FROM video WHERE class = 'car'")
    with pytest.raises(ProgrammingError, match="option 'as_column' must be true or false"):
        video.execute(declared.format(", as_column = 3"))
    video.execute(declared.format(", as_column = true"))
    assert len(video.execute("SELECT * FROM truth WHERE class = 'car'").fetchall()) == 60


def test_explain_shows_what_was_understood_and_settings_give_targets(
    video: thresher.Connection,
) -> None:
    video.execute("SET thresher_recall_target = 95%")
    sql = "SELECT timestamp FROM video WHERE class = 'car' USING score"
    lines = [line for (line,) in video.execute(f"EXPLAIN {sql}").fetchall()]
    assert lines[:5] == [
        "query      SELECT timestamp FROM video WHERE class(frame) = 'car' USING score",
        "           RECALL TARGET 0.95",
        "understood the column class is read as class(frame)",
        "understood RECALL TARGET 0.95 is taken from thresher_recall_target",
        "plan       answer: SELECT timestamp",
    ]
    cursor = video.execute(f"{sql} ORACLE LIMIT 500 ON SHORTFALL RETURN")
    assert cursor.certificate is not None
    assert "RECALL TARGET 0.95" in cursor.certificate.canonical
    assert cursor.certificate.verify().ok
    exact = video.execute("SELECT count(*) FROM video WHERE class = 'car'")
    assert exact.fetchone() == (120,)
    inner = video.execute(f"EXPLAIN SELECT count(*) FROM ({sql}) AS found").fetchall()
    assert (lines[2],) in inner


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("WITH c AS (SELECT * FROM video) SELECT count(*) FROM c WHERE class = 'car'", 120),
        ("WITH video AS (SELECT 'car' AS class, 1 AS frame) FROM video SELECT count(*) "
         "WHERE class = 'car'", 1),
        ("WITH RECURSIVE c AS (FROM video), d AS (SELECT frame FROM c WHERE class = 'car') "
         "SELECT count(*) FROM d", 120),
        ("WITH c AS (FROM video) SELECT (SELECT count(*) FROM c WHERE class = 'car')", 120),
        ("SELECT count(*) FROM (SELECT * FROM video WHERE day = 0) AS s WHERE class = 'car'", 40),
        ("SELECT count(*) FROM video AS v(a, b) WHERE v.class = 'car'", None),
        ("SELECT count(*) FROM main.video WHERE \"class\" = 'car' AND CLASS <> 'bus'", 120),
        ("SELECT count(*) FROM 'video.parquet' WHERE class = 'car'", 120),
        ("SELECT count(*) FILTER (WHERE class = 'car') FROM video", 120),
        ("SELECT count(*) FROM truth WHERE class = 'car'", 60),
    ],
)  # fmt: skip
def test_which_relations_have_the_column(
    video: thresher.Connection, sql: str, count: int | None, tmp_path: Path
) -> None:
    video.execute(f"COPY video TO '{tmp_path}/video.parquet'")
    sql = sql.replace("'video.parquet'", f"'{tmp_path}/video.parquet'")
    if count is None:
        with pytest.raises(ProgrammingError, match="class"):
            video.execute(sql)
    else:
        assert video.execute(sql).fetchall() == [(count,)]


def test_a_block_that_is_kept_in_a_table(video: thresher.Connection) -> None:
    video.execute(
        "CREATE TABLE cars AS SELECT frame FROM video GROUP BY frame HAVING SUM(class = 'car') >= 1"
    )
    rows = video.execute("SELECT frame FROM cars ORDER BY frame").fetchall()
    assert rows == [(frame,) for frame in range(0, 300, 5)]


def test_an_audit_does_not_take_targets_from_settings(video: thresher.Connection) -> None:
    sql = "SELECT {} FROM video WHERE class(frame) = 'car'"
    exact = video.execute(sql.format("count(*)")).certificate
    assert exact is not None
    rows = video.execute(sql.format("timestamp")).fetchall()
    before = video.execute(f"AUDIT CERTIFICATE '{exact.id}'").fetchall()
    video.execute("SET thresher_recall_target = .9")
    video.execute("SET thresher_error_target = .1")
    assert video.execute(f"AUDIT CERTIFICATE '{exact.id}'").fetchall() == before
    keys = pa.table({"timestamp": [row[0] for row in rows]})
    asked = sql.format("timestamp")
    findings = video.audit(asked, keys, key="timestamp", recall=0.9, limit=600)
    [recall] = [finding for finding in findings if finding.claim == "recall"]
    assert (len(rows), recall.verdict) == (120, "supported")
