"""SQL of other systems that has no meaning here, or is wrong: what the message says, and where."""

from __future__ import annotations

import re

import pytest
from tests_support_foreign import BARE, NAMES, catalog

from thresher.errors import NotSupportedError, ProgrammingError
from thresher.sql import parse

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
    ("set max_tokens=1000", "Write BUDGET 100000 TOKENS", "set max_tokens"),
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
    ("SELECT a FROM t WHERE sem_filter('kind {a}')", "write AI_FILTER(PROMPT(", "sem_filter"),
    ("SELECT sem_map(a, 'gist') FROM t", "write AI_COMPLETE(", "sem_map"),
    ("SELECT sem_agg(a, 'sum up') FROM t", "row by row", "sem_agg"),
    ("SELECT * FROM AI_FORECAST(TABLE(t), horizon => 9)", "foretells a series", "AI_FORECAST"),
    ("SELECT * FROM AI.FORECAST(TABLE t, data_col => 'n')", "foretells a series", "AI.FORECAST"),
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
    named = catalog("judge")
    with pytest.raises(
        ProgrammingError, match=r"names judge, which returns BOOLEAN.*'judge, name'"
    ):
        parse("SELECT * FROM t WHERE AI.SCORE(('a', b)) > 3", named)
    lost = catalog("juge")
    with pytest.raises(
        ProgrammingError, match=r"juge, which is not declared\. Did you mean 'judge'"
    ):
        parse("SELECT * FROM t WHERE nlfilter(a, 'b')", lost)
