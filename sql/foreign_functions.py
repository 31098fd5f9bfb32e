"""Functions of other systems, read as calls of a declared oracle.

Each form is read into a `Prompt` and a return type. The oracle is the one declared under the name
of the model that the call names, else the one of ``thresher_default_oracle`` whose answers fit.
"""

from __future__ import annotations

from collections.abc import Callable

from thresher.sql.foreign_arguments import Asked, Call, Form, Range
from thresher.sql.foreign_prompts import Piece, pieces_of, prompt_of, question, string_value

__all__ = ["FORMS"]

_STRUCT_KEYS = ("model_name", "prompt", "context_columns")
_FIELDS = ("struct", "struct_descr", "json_schema", "output_schema")
_TYPES = {
    **dict.fromkeys(("BOOLEAN", "BOOL"), "BOOLEAN"),
    **dict.fromkeys(("VARCHAR", "STRING", "TEXT"), "VARCHAR"),
    **dict.fromkeys(("DOUBLE", "FLOAT", "REAL", "DECIMAL", "INTEGER", "INT", "BIGINT"), "DOUBLE"),
}


def _about(call: Call, returns: str) -> Asked:
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


def _whole(call: Call, returns: str) -> Asked:
    """Read a call whose first argument is the prompt with all that it is about."""
    item = call.take("a prompt", "prompt", "request")
    if call.source.mark(item[0], "["):
        raise call.source.refuse(
            f"{call.name} over a list of messages is not supported: write the prompt as one text, "
            "as in PROMPT('... {0}', text)", *item
        )  # fmt: skip
    for name in _FIELDS:
        if name in call.named:
            raise call.source.refuse(
                f"{call.name} with {name} answers several values, an oracle one. Ask for each "
                "field apart, without it.", *call.named[name]
            )  # fmt: skip
    prompt = call.prompt(item)
    model = call.text("model", "endpoint")
    wanted = call.text("return_type", "returntype")
    if wanted is not None:
        returns = _TYPES.get(wanted.upper().partition("(")[0], returns)
    return Asked(prompt, returns, model, call.rest())


def _model_first(call: Call, returns: str) -> Asked:
    """Read ``ai_query('endpoint', prompt)`` and ``AI_COMPLETE('model', prompt)``."""
    model = string_value(call.tokens(call.take("a model and a prompt", "endpoint", "model")))
    asked = _whole(call, returns)
    return Asked(asked.prompt, asked.returns, model, asked.ignored)


def _filter(call: Call, returns: str) -> Asked:
    """Read ``AI_FILTER(x)``, ``AI_FILTER('predicate', x)`` and ``AI_FILTER(PROMPT(...))``."""
    first = call.take("an input")
    second = call.values[0] if call.values else None
    flag = second is not None and call.source.word(second[0]) in ("true", "false")
    if second is None or flag or string_value(call.tokens(first)) is None:
        return Asked(call.prompt(first), returns, None, call.rest())
    inputs = [("", call.tokens(call.values.pop(0)))]
    return Asked(question(call.source, first, inputs), returns, None, call.rest())


def _classify(call: Call, returns: str) -> Asked:
    """Read ``AI_CLASSIFY(x, ['a', 'b'])`` and ``AI.CLASSIFY(x, categories => [...])``."""
    source = call.source
    item = call.take("an input", "input")
    listed = call.take("a list of categories", "categories")
    texts = call.texts(listed, "categories", "['tech', 'sport']")
    several = [at for at in call.values if "'multi'" in source.text(*at).lower()]
    if several:
        raise source.refuse(
            f"{call.name} with several labels is not supported: an oracle answers one value. Ask "
            "for each label apart, as in AI_FILTER('Is it about sport?', text).", *several[0]
        )  # fmt: skip
    asked = Piece(call.tokens(listed), f"Answer with one of: {', '.join(texts)}. ")
    return _told(call, asked, item, returns)


def _flock(call: Call, returns: str) -> Asked:
    """Read ``llm_filter({'model_name': ...}, {'prompt': ..., 'context_columns': [...]})``."""
    source = call.source
    found: dict[str, Range] = {}
    for item in call.values:
        found |= call.struct(item)
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
            column = call.struct(item)
            if "data" not in column:
                raise source.error("a context column needs 'data'", *item)
            name = string_value(call.tokens(column["name"])) if "name" in column else None
            inputs.append((name or "", call.tokens(column["data"])))
    model = string_value(call.tokens(found["model_name"])) if "model_name" in found else None
    ignored = tuple(key for key in found if key not in _STRUCT_KEYS)
    return Asked(question(source, found["prompt"], inputs), returns, model, ignored + call.rest())


def _told(call: Call, asked: Piece, item: Range, returns: str) -> Asked:
    """Put what is to be done before the text that it is done to."""
    prompt = prompt_of([asked, *pieces_of(call.source, *item)])
    return Asked(prompt, returns, call.text("endpoint", "model"), call.rest())


def _task(instruction: str) -> Callable[[Call, str], Asked]:
    """Read a function of one text that does one thing, such as ``AI_SENTIMENT(x)``."""

    def read(call: Call, returns: str) -> Asked:
        item = call.take("a text", "text", "input", "content")
        return _told(call, Piece(call.tokens(item)[:1], instruction), item, returns)

    return read


def _sentiment(call: Call, returns: str) -> Asked:
    """Read ``AI_SENTIMENT(x)``, of the whole text."""
    if len(call.values) > 1:
        raise call.source.refuse(
            f"{call.name} of several categories is not supported: an oracle answers one value. Ask "
            "for each apart, as in AI_CLASSIFY(PROMPT('What is said of the price? {0}', text), "
            "['positive', 'negative']).", *call.values[1],
        )  # fmt: skip
    kinds = "positive, negative, neutral, mixed"
    return _task(f"Answer with the sentiment, one of: {kinds}. ")(call, returns)


def _summarize(call: Call, returns: str) -> Asked:
    """Read ``ai_summarize(x, 20)``, where a number limits the words."""
    n_words = call.values[1] if len(call.values) == 2 else None
    if n_words is None or call.source.tokens[n_words[0]].kind != "number":
        return _task("Summarize. ")(call, returns)
    call.values.pop()
    return _task(f"Summarize in at most {call.source.text(*n_words)} words. ")(call, returns)


def _translate(call: Call, returns: str) -> Asked:
    """Read ``ai_translate(x, 'de')`` and ``AI_TRANSLATE(x, 'en', 'de')``."""
    item = call.take("a text", "text", "content")
    spans = [call.take("a language", "to_lang"), *call.values[:1]]
    call.values = call.values[1:]
    languages = [string_value(call.tokens(span)) for span in spans]
    if None in languages:
        example = f"{call.name}(text, 'en')"
        raise call.source.error(
            f"{call.name} needs its languages written out: {example}", *spans[0]
        )
    source, target = ["", *languages][-2:]
    told = f"Translate from {source} to {target}. " if source else f"Translate to {target}. "
    return _told(call, Piece(call.tokens(spans[0]), told), item, returns)


def _mask(call: Call, returns: str) -> Asked:
    """Read ``ai_mask(x, ARRAY('person', 'address'))``."""
    item = call.take("a text", "content")
    listed = call.take("what to mask", "labels")
    kinds = call.texts(listed, "labels", "['person', 'address']")
    told = f"Write [MASKED] for each of: {', '.join(kinds)}. "
    return _told(call, Piece(call.tokens(listed), told), item, returns)


def _answer(call: Call, returns: str) -> Asked:
    """Read ``EXTRACT_ANSWER(x, 'Which colour?')``."""
    item = call.take("a text and a question", "source_document")
    asked = call.take("a question", "question")
    return Asked(question(call.source, asked, [("", call.tokens(item))]), returns)


_LABEL = (("label",), ("labels", "0"))
_RESULT = (("result",),)
_CHOICE = (("choices", "0", "messages"),)
_SENTIMENT = (("categories", "0", "sentiment"),)
_SCORE = "Answer with the sentiment as a number, from -1 (negative) to 1 (positive). "
FORMS: dict[str, Form] = {
    "nlfilter": Form("BOOLEAN", _about),
    "nljoin": Form("BOOLEAN", _about),
    "llm_filter": Form("BOOLEAN", _flock),
    "llm_complete": Form("VARCHAR", _flock),
    "ai_filter": Form("BOOLEAN", _filter),
    "ai_classify": Form("VARCHAR", _classify, _LABEL),
    "ai_complete": Form("VARCHAR", _model_first, _CHOICE),
    "ai_sentiment": Form("VARCHAR", _sentiment, _SENTIMENT),
    "ai_summarize": Form("VARCHAR", _summarize),
    "ai_translate": Form("VARCHAR", _translate),
    "ai_redact": Form("VARCHAR", _mask),
    "snowflake.cortex.complete": Form("VARCHAR", _model_first, _CHOICE),
    "snowflake.cortex.try_complete": Form("VARCHAR", _model_first, _CHOICE),
    "snowflake.cortex.classify_text": Form("VARCHAR", _classify, _LABEL),
    "snowflake.cortex.sentiment": Form("DOUBLE", _task(_SCORE)),
    "snowflake.cortex.summarize": Form("VARCHAR", _summarize),
    "snowflake.cortex.translate": Form("VARCHAR", _translate),
    "snowflake.cortex.extract_answer": Form("VARCHAR", _answer, (("0", "answer"),)),
    "ai_query": Form("VARCHAR", _model_first, _RESULT),
    "ai_gen": Form("VARCHAR", _whole),
    "ai_analyze_sentiment": Form("VARCHAR", _sentiment),
    "ai_mask": Form("VARCHAR", _mask),
    "ai_fix_grammar": Form("VARCHAR", _task("Correct the grammar. ")),
    "prompt": Form("VARCHAR", _whole),
    "ai.if": Form("BOOLEAN", _whole),
    "ai.classify": Form("VARCHAR", _classify),
    "ai.score": Form("DOUBLE", _whole),
    "ai.generate": Form("VARCHAR", _whole, _RESULT),
    "ai.generate_bool": Form("BOOLEAN", _whole, _RESULT),
    "ai.generate_double": Form("DOUBLE", _whole, _RESULT),
    "ai.generate_int": Form("DOUBLE", _whole, _RESULT),
}
"""What each function of ThalamusDB, Flock, Snowflake, Databricks, MotherDuck, BigQuery and AlloyDB
is, by its name in lower case."""
