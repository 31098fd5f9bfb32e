"""Functions of other systems that no oracle can stand for, and what to write instead."""

from __future__ import annotations

__all__ = ["REFUSED", "TABLES"]

_ROWS = (
    "it makes one answer of many rows, an oracle answers row by row. Write {0} in WHERE, or for "
    "each row in the SELECT list, and plain SQL over the rows that come back"
)
_ORDER = (
    "it compares rows, an oracle answers row by row. Order by a rating: ORDER BY rate(text) DESC "
    "LIMIT 10, with an oracle that returns DOUBLE"
)
_VECTORS = (
    "vectors and similarities rank the rows of a query: declare CREATE PROXY name FOR oracle "
    "USING embedding, or write a similarity of DuckDB after USING"
)
_FIELDS = (
    "it answers several values, an oracle one. Ask for each field apart, with an oracle that "
    "returns VARCHAR: colour_of(text) AS colour"
)
_FILES = "an oracle gets the values of columns: keep the texts of the files in a column first"
_SPENT = (
    "what was bought stands in FROM thresher_spend(), FROM thresher_labels() and "
    "FROM thresher_certificates()"
)
_TABLE = (
    "a model as a table function. Call it row by row over the table: SELECT AI.GENERATE(('...', "
    "text)).result FROM t, or WHERE AI.IF(('...', text))"
)

_SERIES = (
    "it foretells a series of numbers, an oracle answers about a row. Compute the series in SQL, "
    "and forecast it in Python"
)

TABLES: dict[str, str] = {"vector_search": _VECTORS, **dict.fromkeys(
    ("ai_forecast", "ai.forecast", "ml.forecast", "ai.detect_anomalies"), _SERIES,
), **dict.fromkeys(
    ("ai.generate_table", "ai.generate_text", "ai.generate_embedding", "ml.generate_text",
     "ml.generate_table", "ml.generate_embedding", "ml.predict"),
    f"it is {_TABLE}",
)}  # fmt: skip
"""Those that stand in FROM."""

REFUSED: dict[str, str] = {
    **dict.fromkeys(("llm_reduce", "llm_reduce_json"), _ROWS.format("llm_filter(...)")),
    **dict.fromkeys(("ai_agg", "ai_summarize_agg"), _ROWS.format("AI_FILTER(...)")),
    "ai.agg": _ROWS.format("AI.IF(...)"),
    "sem_filter": "write AI_FILTER(PROMPT('Is {0} kind?', text)) in WHERE, and targets as clauses",
    "sem_join": "write AI_FILTER(PROMPT('Is {0} about {1}?', a.x, b.y)) in the ON of a join",
    "sem_map": "write AI_COMPLETE('model', 'Say in a word: ' || text) in the SELECT list",
    "sem_extract": _FIELDS,
    "sem_agg": _ROWS.format("AI_FILTER(...)"),
    "sem_topk": _ORDER,
    **dict.fromkeys(("sem_search", "sem_sim_join", "sem_dedup", "sem_cluster_by"), _VECTORS),
    **dict.fromkeys(("llm_rerank", "llm_first", "llm_last"), _ORDER),
    **dict.fromkeys(
        ("llm_embedding", "embedding", "ai_similarity", "ai_embed", "ai.similarity", "ai.embed",
         "fusion_rrf", "fusion_combsum", "snowflake.cortex.embed_text_768",
         "snowflake.cortex.embed_text_1024"),
        _VECTORS,
    ),
    **dict.fromkeys(("ai_extract", "llm_complete_json"), _FIELDS),
    **dict.fromkeys(
        ("ai_parse_document", "ai_transcribe", "to_file", "snowflake.cortex.parse_document"), _FILES
    ),
    **dict.fromkeys(
        ("flock_get_metrics", "flock_reset_metrics", "flock_get_debug_metrics", "ai_count_tokens",
         "snowflake.cortex.count_tokens"),
        _SPENT,
    ),
    **TABLES,
}  # fmt: skip
"""Each by its name in lower case."""
