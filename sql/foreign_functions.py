"""Functions of other systems, read as calls of a declared oracle.

Each form is read into a `Prompt` and a return type. The oracle is the one declared under the name
of the model that the call names, else the one of ``thresher_default_oracle`` whose answers fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from thresher.sql.foreign_prompts import (
    Piece,
    Prompt,
    pieces_of,
    prompt_of,
    question,
    string_value,
)
from thresher.sql.tokens import Source, Token

__all__ = ["FORMS", "REFUSED", "Asked", "Form", "read_call"]

Range = tuple[int, int]
_STRUCT_KEYS = ("model_name", "prompt", "context_columns")
_TYPES = {
    **dict.fromkeys(("BOOLEAN", "BOOL"), "BOOLEAN"),
    **dict.fromkeys(("VARCHAR", "STRING", "TEXT"), "VARCHAR"),
    **dict.fromkeys(("DOUBLE", "FLOAT", "REAL", "DECIMAL", "INTEGER", "INT", "BIGINT"), "DOUBLE"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, read.

    Parameters
    ----------
    prompt : Prompt
        What is asked.
    returns : str
        'BOOLEAN', 'VARCHAR' or 'DOUBLE'.
    model : str or None
        The model or endpoint that the call names.
    ignored : tuple of str
        Arguments that have no meaning here.
    """

    prompt: Prompt
    returns: str
    model: str | None = None
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class _Call:
    """The arguments of a call; what a reader takes is taken out."""

    source: Source
    name: str
    span: Range
    values: list[Range]
    named: dict[str, Range] = field(default_factory=dict)

    def take(self, what: str, *names: str) -> Range:
        """Take the named argument, or the next one without a name."""
        for name in names:
            if name in self.named:
                return self.named.pop(name)
        if not self.values:
            raise self.source.error(f"{self.name} needs {what}", *self.span)
        return self.values.pop(0)

    def text(self, *names: str) -> str | None:
        """Take a named string, if there is one."""
        for name in names:
            if name in self.named:
                return string_value(self.tokens(self.named.pop(name)))
        return None

    def tokens(self, item: Range) -> list[Token]:
        return self.source.tokens[slice(*item)]

    def prompt(self, item: Range) -> Prompt:
        """Read one argument that holds everything; as it is written for an oracle of one."""
        pieces = pieces_of(self.source, *item)
        if not pieces:
            raise self.source.error(f"{self.name} needs a prompt", *self.span)
        made = prompt_of(pieces)
        plain = not self.source.mark(item[0], "(") and self.source.word(item[0]) != "prompt"
        return Prompt(self.tokens(item), made.text, made.inputs) if plain else made

    def rest(self) -> tuple[str, ...]:
        """Name the arguments that nothing has taken."""
        return (*(self.source.text(*item) for item in self.values), *self.named)


@dataclass(frozen=True, slots=True)
class Form:
    """A function: what it returns, how its arguments are read, a field that may follow it."""

    returns: str
    read: Callable[[_Call, str], Asked]
    field: str = ""


def read_call(
    source: Source, name: str, form: Form, span: Range, values: list[Range], named: dict[str, Range]
) -> Asked:
    """Read one call.

    Parameters
    ----------
    source : Source
        The block.
    name : str
        As written.
    form : Form
        What the function is.
    span : (int, int)
        Tokens of the call.
    values, named
        Token ranges of its arguments.

    Raises
    ------
    ProgrammingError
        An argument is missing, or is no constant where a constant is needed.
    """
    return form.read(_Call(source, name, span, values, dict(named)), form.returns)


def _about(call: _Call, returns: str) -> Asked:
    """Read ThalamusDB's ``nlfilter(x, 'text')`` and ``NLjoin(a, b, 'text')``."""
    if len(call.values) < 2:
        raise call.source.error(
            f"{call.name} takes columns and then a text, as in {call.name}(photo, 'it is red')",
            *call.span,
        )
    asked = call.values.pop()
    inputs = [("", call.tokens(item)) for item in call.values]
    call.values.clear()
    return Asked(question(call.source, asked, inputs), returns, None, call.rest())


def _whole(call: _Call, returns: str) -> Asked:
    """Read a call whose first argument is the prompt with all that it is about."""
    prompt = call.prompt(call.take("a prompt", "prompt"))
    model = call.text("model", "endpoint")
    wanted = call.text("return_type", "returntype")
    if wanted is not None:
        returns = _TYPES.get(wanted.upper().partition("(")[0], returns)
    return Asked(prompt, returns, model, call.rest())


def _model_first(call: _Call, returns: str) -> Asked:
    """Read ``ai_query('endpoint', prompt)`` and ``AI_COMPLETE('model', prompt)``."""
    model = string_value(call.tokens(call.take("a model and a prompt", "endpoint", "model")))
    asked = _whole(call, returns)
    return Asked(asked.prompt, asked.returns, model, asked.ignored)


def _filter(call: _Call, returns: str) -> Asked:
    """Read ``AI_FILTER(x)``, ``AI_FILTER('predicate', x)`` and ``AI_FILTER(PROMPT(...))``."""
    first = call.take("an input")
    second = call.values[0] if call.values else None
    flag = second is not None and call.source.word(second[0]) in ("true", "false")
    if second is None or flag or string_value(call.tokens(first)) is None:
        return Asked(call.prompt(first), returns, None, call.rest())
    inputs = [("", call.tokens(call.values.pop(0)))]
    return Asked(question(call.source, first, inputs), returns, None, call.rest())


def _classify(call: _Call, returns: str) -> Asked:
    """Read ``AI_CLASSIFY(x, ['a', 'b'])`` and ``AI.CLASSIFY(x, categories => [...])``."""
    source = call.source
    item = call.take("an input", "input")
    first, last = call.take("a list of categories", "categories")
    listed = source.mark(first, "[") and source.partner[first] == last - 1
    texts = [
        string_value(source.tokens[slice(*part)])
        for part in (source.split(first + 1, last - 1) if listed else [])
    ]
    if not texts or None in texts:
        raise source.error(
            f"{call.name} needs its categories written out, as in ['tech', 'sport']", first, last
        )
    asked = f"Answer with one of: {', '.join(str(text) for text in texts)}. "
    pieces = [Piece(source.tokens[first:last], asked), *pieces_of(source, *item)]
    return Asked(prompt_of(pieces), returns, call.text("endpoint", "model"), call.rest())


def _flock(call: _Call, returns: str) -> Asked:
    """Read ``llm_filter({'model_name': ...}, {'prompt': ..., 'context_columns': [...]})``."""
    source = call.source
    found: dict[str, Range] = {}
    for item in call.values:
        found |= _struct(call, item)
    call.values.clear()
    if "prompt" not in found:
        raise source.error(
            f"{call.name} needs its prompt written out: {{'prompt': '...', 'context_columns': "
            "[{'data': column}]}. Prompts that are kept under a name are Flock's.", *call.span,
        )  # fmt: skip
    inputs = []
    if "context_columns" in found:
        first, last = found["context_columns"]
        if not source.mark(first, "[") or source.partner[first] != last - 1:
            raise source.error("'context_columns' takes a list: [{'data': column}]", first, last)
        for item in source.split(first + 1, last - 1):
            column = _struct(call, item)
            if "data" not in column:
                raise source.error("a context column needs 'data'", *item)
            name = string_value(call.tokens(column["name"])) if "name" in column else None
            inputs.append((name or "", call.tokens(column["data"])))
    model = string_value(call.tokens(found["model_name"])) if "model_name" in found else None
    ignored = tuple(key for key in found if key not in _STRUCT_KEYS)
    return Asked(question(source, found["prompt"], inputs), returns, model, ignored + call.rest())


def _struct(call: _Call, item: Range) -> dict[str, Range]:
    """Read ``{'key': value, ...}`` as the token ranges of its values."""
    source, (first, last) = call.source, item
    if not source.mark(first, "{") or source.partner[first] != last - 1:
        raise source.error(f"{call.name} takes structs, as in {{'prompt': '...'}}", first, last)
    found = {}
    for a, b in source.split(first + 1, last - 1):
        if b - a < 3 or not source.mark(a + 1, ":"):
            raise source.error("a field is written 'key': value", a, b)
        found[(string_value([source.tokens[a]]) or source.tokens[a].name).lower()] = (a + 2, b)
    return found


FORMS: dict[str, Form] = {
    "nlfilter": Form("BOOLEAN", _about),
    "nljoin": Form("BOOLEAN", _about),
    "llm_filter": Form("BOOLEAN", _flock),
    "llm_complete": Form("VARCHAR", _flock),
    "ai_filter": Form("BOOLEAN", _filter),
    "ai_classify": Form("VARCHAR", _classify),
    "ai_complete": Form("VARCHAR", _model_first),
    "ai_query": Form("VARCHAR", _model_first),
    "prompt": Form("VARCHAR", _whole),
    "ai.if": Form("BOOLEAN", _whole),
    "ai.classify": Form("VARCHAR", _classify),
    "ai.score": Form("DOUBLE", _whole),
    "ai.generate": Form("VARCHAR", _whole, "result"),
}
"""What each function of ThalamusDB, Flock, Snowflake, BigQuery, AlloyDB, Databricks and MotherDuck
is, by its name in lower case."""

_BY_ROW = "an oracle answers row by row. Write {0} in WHERE and plain SQL over the rows it returns"
_AGGREGATE = _BY_ROW.format("llm_filter(...) or a declared oracle")
REFUSED: dict[str, str] = {
    **dict.fromkeys(("llm_reduce", "llm_rerank", "llm_first", "llm_last"), _AGGREGATE),
    **dict.fromkeys(("ai_agg", "ai_summarize_agg"), _BY_ROW.format("AI_FILTER(...)")),
    **dict.fromkeys(
        ("llm_embedding", "ai_similarity", "ai_embed", "fusion_rrf", "fusion_combsum"),
        "vectors and similarities rank the rows of a query: declare CREATE PROXY name FOR oracle "
        "USING embedding, or write a similarity of DuckDB after USING",
    ),
    **dict.fromkeys(
        ("flock_get_metrics", "flock_reset_metrics"),
        "what was bought stands in FROM thresher_labels() and FROM thresher_certificates()",
    ),
}
"""Functions of other systems that no oracle can stand for, and what to write."""
