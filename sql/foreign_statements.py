"""Statements of other systems that are no queries: what to write instead of them."""

from __future__ import annotations

from thresher.errors import NotSupportedError
from thresher.sql.names import Names
from thresher.sql.tokens import Source

__all__ = ["refusal"]

_DECLARING = (
    "{what} declares a model or a prompt of another system: here both are an oracle. Write CREATE "
    "ORACLE name(prompt VARCHAR) RETURNS BOOLEAN USING openai WITH (url = 'http://localhost:8000/"
    "v1', model = '...', prompt = '{{prompt}}'); and SET thresher_default_oracle = 'name'."
)
_MANAGING = (
    "{what} is about models or prompts of Flock: here both are an oracle. Write SHOW ORACLES, "
    "CREATE OR REPLACE ORACLE or DROP ORACLE name."
)
_JOINED = (
    "a model as a joined table is not supported: call it as an oracle. Write CREATE ORACLE "
    "{model}(...) ...; and a condition such as WHERE {model}(text) = 'positive'."
)
_SETTINGS = {
    "max_error": "Write ERROR WITHIN 10% behind the query, or SET thresher_error_target = 10%",
    "max_seconds": "Write BUDGET 30 SECONDS behind the query",
    "max_calls": "Write ORACLE LIMIT 100 behind the query, or SET thresher_oracle_limit = 100",
    "max_tokens": "Write BUDGET 100000 TOKENS behind the query, or SET thresher_oracle_limit = 100",
}
_KEPT = ("model", "prompt")


def refusal(source: Source, first: int, names: Names) -> NotSupportedError | None:
    """Return why the statement from a token on cannot be, None where it is no such statement."""
    for read in (_declared, _managed, _set):
        if found := read(source, first, names):
            message, end = found
            return source.refuse(message, first, end)
    at = _joined_model(source, first)
    if at is None or names.columns(source.text(at, min(at + 3, len(source.tokens))), ""):
        return None
    model = source.tokens[at + 2].name.lower()
    return source.refuse(_JOINED.format(model=model), at, at + 3)


def _declared(source: Source, first: int, names: Names) -> tuple[str, int] | None:
    """Read CREATE MODEL, CREATE PROMPT and CREATE FUNCTION ... TYPE."""
    if source.word(first) != "create":
        return None
    i = first + 1
    while source.word(i) in ("or", "replace", "global", "local"):
        i += 1
    kind = source.word(i)
    function = kind == "function" and source.word(i + 2) == "type"
    if not function and (kind not in _KEPT or names.has_function("llm_filter")):
        return None
    return _DECLARING.format(what=f"CREATE {kind.upper()}"), first + 2


def _managed(source: Source, first: int, names: Names) -> tuple[str, int] | None:
    """Read ``GET MODELS``, ``DELETE PROMPT 'p'`` and ``UPDATE MODEL(...)``."""
    verb, kind, after = source.word(first), source.word(first + 1), first + 2
    quoted = after < len(source.tokens) and source.tokens[after].kind == "string"
    listed = verb == "get" and kind.removesuffix("s") in _KEPT
    changed = verb in ("delete", "update") and kind in _KEPT and (quoted or source.mark(after, "("))
    if not (listed or changed) or names.has_function("llm_filter"):
        return None
    return _MANAGING.format(what=f"{verb} {kind}".upper()), after


def _set(source: Source, first: int, names: Names) -> tuple[str, int] | None:
    """Read ThalamusDB's ``SET max_error = 0.1``."""
    name = source.word(first + 1)
    if source.word(first) != "set" or name not in _SETTINGS or name in names.settings():
        return None
    return f"{name} is a setting of ThalamusDB. {_SETTINGS[name]}.", first + 2


def _joined_model(source: Source, first: int) -> int | None:
    """Return where a model of MindsDB stands as a relation, or None."""
    for i in range(first, len(source.tokens) - 2):
        before = source.word(i - 1) in ("from", "join") or source.mark(i - 1, ",")
        if before and source.word(i) == "mindsdb" and source.mark(i + 1, "."):
            return i
    return None
