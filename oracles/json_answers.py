"""JSON that a model writes: read strictly, and held against the schema that was asked for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thresher.oracles.chat_answers import BadAnswerError

__all__ = ["check_schema", "read_json"]

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "integer": lambda v: (isinstance(v, int) and not isinstance(v, bool)) or _is_whole(v),
}
_LIMITS: Mapping[str, tuple[tuple[type, ...], Callable[[Any, Any], bool], str]] = {
    "minimum": ((int, float), lambda v, limit: v >= limit, "is below {}"),
    "maximum": ((int, float), lambda v, limit: v <= limit, "is above {}"),
    "exclusiveMinimum": ((int, float), lambda v, limit: v > limit, "is not above {}"),
    "exclusiveMaximum": ((int, float), lambda v, limit: v < limit, "is not below {}"),
    "minLength": ((str,), lambda v, limit: len(v) >= limit, "has fewer than {} characters"),
    "maxLength": ((str,), lambda v, limit: len(v) <= limit, "has more than {} characters"),
    "minItems": ((list,), lambda v, limit: len(v) >= limit, "has fewer than {} items"),
    "maxItems": ((list,), lambda v, limit: len(v) <= limit, "has more than {} items"),
    "pattern": ((str,), lambda v, limit: re.search(limit, v) is not None, "does not match {!r}"),
}
_STRUCTURE = ("type", "enum", "const", "properties", "required", "additionalProperties", "items")
_WORDS = ("title", "description", "default", "examples", "$schema", "$id", "$comment")
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def check_schema(schema: object, place: str = "the schema") -> None:
    """Raise a ValueError unless all of a schema is understood, so that nothing goes unchecked.

    Parameters
    ----------
    schema : object
        A JSON Schema as parsed: its types, ``properties``, ``required``, ``additionalProperties``,
        ``items``, ``enum``, ``const``, limits, lengths and ``pattern``.
    place : str
        Where it stands, for messages.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError(f"{place} is no object")
    known = (*_STRUCTURE, *_LIMITS, *_WORDS)
    for keyword in schema:
        if keyword not in known:
            raise ValueError(f"{place} has the keyword {keyword!r}, which is not checked here")
    types = schema.get("type", [])
    for name in [types] if isinstance(types, str) else types:
        if name not in _TYPES:
            raise ValueError(f"{place} has the type {name!r}; types are {', '.join(_TYPES)}")
    for keyword in _LIMITS:
        wanted: tuple[type, ...] = (str,) if keyword == "pattern" else (int, float)
        if keyword in schema and not isinstance(schema[keyword], wanted):
            raise ValueError(f"{place} has {keyword} = {schema[keyword]!r}")
    try:
        re.compile(schema.get("pattern", ""))
    except re.error as error:
        raise ValueError(f"{place} has a pattern that is no regular expression: {error}") from None
    properties = schema.get("properties", {})
    if not isinstance(properties, dict) or not isinstance(schema.get("required", []), list):
        raise ValueError(f"{place}: properties must be an object and required a list")
    if not isinstance(schema.get("enum", []), list):
        raise ValueError(f"{place}: enum must be a list")
    for name, inner in properties.items():
        check_schema(inner, f"property {name!r}")
    for keyword in ("items", "additionalProperties"):
        check_schema(schema.get(keyword, True), f"{keyword} of {place}")


def read_json(content: str, schema: Mapping[str, object]) -> str:
    """Return, without blanks between its parts, the JSON that is the whole of what a model said.

    Parameters
    ----------
    content : str
        What it said; thoughts in front (between ``<think>`` and ``</think>``) and a code fence
        around it are left out.
    schema : mapping
        One that `check_schema` passed.

    Raises
    ------
    BadAnswerError
        If it is not JSON as a whole, names a key twice, or does not fit the schema.

    Examples
    --------
    >>> read_json('{"year": 1999}', {"properties": {"year": {"type": "integer"}}})
    '{"year":1999}'
    """
    text = _THOUGHTS.sub("", content).strip()
    if text.startswith("```") and text.endswith("```") and len(text) > 6:
        text = text[3:-3].removeprefix("json").strip()
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except BadAnswerError:
        raise
    except (ValueError, RecursionError) as error:
        raise BadAnswerError(f"it is no JSON ({error})") from None
    _check(value, schema, "it")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadAnswerError("it names a key twice")
    return found


def _no_number(text: str) -> object:
    raise BadAnswerError(f"{text} is no JSON")


def _check(value: object, schema: Any, place: str) -> None:
    if isinstance(schema, bool):
        if not schema:
            raise BadAnswerError(f"{place} should not be there")
        return
    types = schema.get("type", [])
    names = [types] if isinstance(types, str) else types
    if names and not any(_TYPES[name](value) for name in names):
        raise BadAnswerError(f"{place} is not of type {' or '.join(names)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadAnswerError(f"{place} is not finite")
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        raise BadAnswerError(f"{place} is none of {json.dumps(schema['enum'])}")
    if "const" in schema and not _same(value, schema["const"]):
        raise BadAnswerError(f"{place} is not {json.dumps(schema['const'])}")
    for keyword, (kinds, holds, fault) in _LIMITS.items():
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if keyword in schema and fits and not holds(value, schema[keyword]):
            raise BadAnswerError(f"{place} {fault.format(schema[keyword])}")
    if isinstance(value, dict):
        _check_object(value, schema, place)
    if isinstance(value, list):
        for i, item in enumerate(value):
            _check(item, schema.get("items", True), f"item {i} of {place}")


def _check_object(value: dict[str, object], schema: Mapping[str, Any], place: str) -> None:
    for name in schema.get("required", []):
        if name not in value:
            raise BadAnswerError(f"{place} lacks {name!r}")
    properties = schema.get("properties", {})
    for name, inner in value.items():
        _check(inner, properties.get(name, schema.get("additionalProperties", True)), repr(name))


def _same(one: object, other: object) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other
