"""Statements that are thresher's own: declarations of oracles and proxies, settings, SHOW."""

from __future__ import annotations

import decimal
import numbers
import pathlib
from collections.abc import Callable
from typing import Literal, cast

from thresher.errors import nearest
from thresher.plan import (
    CreateOracle,
    CreateProxy,
    Describe,
    Drop,
    OptionValue,
    Place,
    ResetSetting,
    SetSetting,
    Show,
    ShowSetting,
    Statement,
)
from thresher.sql.names import Names
from thresher.sql.tokens import Source, unquoted
from thresher.targets import hundredth, mistaken_share

__all__ = ["is_declaration", "parse_declaration"]

_PREFIX = "thresher_"
_KINDS = ("oracle", "proxy")
_LISTS = ("oracles", "proxies", "certificates")
_SHARES = ("accuracy_target", "precision_target", "probability", "recall_target")


def is_declaration(source: Source) -> bool:
    """Whether the statement is one of ours; cheap, and false for everything that is DuckDB's."""
    return _reader(source) is not None


def parse_declaration(source: Source, names: Names) -> Statement | None:
    """Parse a statement of ours that is no query; None when it is something else.

    Raises
    ------
    ProgrammingError
        It is not complete, has a wrong value, or names a setting that does not exist.
    """
    reader = _reader(source)
    return None if reader is None else reader(_Cursor(source, names))


def _reader(source: Source) -> Callable[[_Cursor], Statement] | None:
    match source.word(0):
        case "create":
            at = _after_create(source)
            if source.word(at) in _KINDS and _name_follows(source, at + 1):
                return _create_oracle if source.word(at) == "oracle" else _create_proxy
        case "drop" if source.word(1) in _KINDS and len(source.tokens) > 2:
            return _drop
        case "show" if source.word(1) in _LISTS and len(source.tokens) == 2:
            return _show
        case "describe" | "desc" if source.word(1) in _KINDS and len(source.tokens) > 2:
            return None if source.mark(2, ".") else _describe
    return _setting_reader(source)


def _setting_reader(source: Source) -> Callable[[_Cursor], Statement] | None:
    at = 2 if source.word(1) in ("session", "global", "local") else 1
    if not source.word(at).startswith(_PREFIX):
        return None
    match source.word(0):
        case "set":
            return _set
        case "reset":
            return _reset
        case "show" if at == 1 and len(source.tokens) == 2:
            return _show_setting
    return None


def _after_create(source: Source) -> int:
    at = 3 if source.words(1, "or", "replace") else 1
    return at + (source.word(at) in ("temp", "temporary"))


def _name_follows(source: Source, i: int) -> bool:
    return i >= len(source.tokens) or source.tokens[i].is_name


class _Cursor:
    """Reads one statement from left to right."""

    def __init__(self, source: Source, names: Names) -> None:
        self.source, self.names = source, names
        self.at = 0
        self.places: dict[str, Place] = {}

    def done(self) -> bool:
        return self.at >= len(self.source.tokens)

    def take(self, *words: str) -> bool:
        """Step over these words if they stand here."""
        found = self.source.words(self.at, *words)
        self.at += len(words) if found else 0
        return found

    def expect(self, what: str, *, taken: bool) -> None:
        if not taken:
            got = "the end" if self.done() else self.source.tokens[self.at].text
            raise self.source.error(f"expected {what}, got {got}", self.at)

    def name(self, what: str) -> str:
        """Read a name: lower case, or as it is in quotes."""
        self.expect(what, taken=not self.done() and self.source.tokens[self.at].is_name)
        token = self.source.tokens[self.at]
        self.places[what] = self.source.place(self.at, self.at + 1)
        self.at += 1
        if self.source.mark(self.at, "."):
            raise self.source.error(f"{what} takes a plain name, without a schema", self.at)
        return token.name if token.kind == "quoted" else token.word

    def end(self, example: str) -> None:
        if not self.done():
            word = self.source.tokens[self.at].text
            raise self.source.error(f"unexpected {word}. Write {example}.", self.at)

    def place(self, what: str) -> Place:
        return self.places[what]


_ORACLE = (
    "CREATE ORACLE name(argument TYPE, ...) RETURNS TYPE USING provider WITH (key = value, ...)"
)
_PROXY = (
    "CREATE PROXY name FOR oracle USING provider WITH (key = value, ...) TRAINED FROM (SELECT ...)"
)


def _create(cursor: _Cursor) -> tuple[bool, bool]:
    """Step over ``CREATE [OR REPLACE] [TEMP] ORACLE|PROXY``: replace, temporary."""
    cursor.take("create")
    replace = cursor.take("or", "replace")
    temporary = cursor.take("temp") or cursor.take("temporary")
    cursor.at += 1
    return replace, temporary


def _create_oracle(cursor: _Cursor) -> CreateOracle:
    replace, temporary = _create(cursor)
    name = cursor.name("name")
    arguments = _arguments(cursor)
    cursor.expect("RETURNS and a type", taken=cursor.take("returns"))
    returns = _type(cursor, "using")
    cursor.expect("USING and a provider", taken=cursor.take("using"))
    provider = cursor.name("provider").lower()
    options = _options(cursor)
    cursor.end(_ORACLE)
    return CreateOracle(
        sql=cursor.source.sql,
        name=name,
        arguments=arguments,
        returns=returns,
        provider=provider,
        options=options,
        replace=replace,
        temporary=temporary,
        places=cursor.places,
    )


def _create_proxy(cursor: _Cursor) -> CreateProxy:
    replace, temporary = _create(cursor)
    name = cursor.name("name")
    cursor.expect("FOR and an oracle", taken=cursor.take("for"))
    oracle = cursor.name("oracle")
    cursor.expect("USING and a provider", taken=cursor.take("using"))
    provider = cursor.name("provider").lower()
    options = _options(cursor)
    trained = _training(cursor)
    cursor.end(_PROXY)
    return CreateProxy(
        sql=cursor.source.sql,
        name=name,
        oracle=oracle,
        provider=provider,
        options=options,
        replace=replace,
        temporary=temporary,
        places=cursor.places,
        trained=trained,
    )


def _training(cursor: _Cursor) -> str | None:
    """Read ``TRAINED FROM`` and the relation behind it, if they stand here."""
    if not cursor.take("trained"):
        return None
    source, what = cursor.source, "FROM and a query in brackets, or the name of a table"
    cursor.expect(what, taken=cursor.take("from"))
    first = cursor.at
    if source.mark(first, "("):
        cursor.expect("a query in brackets", taken=source.partner[first] > first)
        cursor.at = source.skip(first)
    else:
        cursor.expect(what, taken=not cursor.done() and source.tokens[first].is_name)
        cursor.at += 1
        while source.mark(cursor.at, ".") and cursor.at + 1 < len(source.tokens):
            cursor.at += 2
    cursor.places["trained"] = source.place(first, cursor.at)
    return source.text(first, cursor.at)


def _arguments(cursor: _Cursor) -> tuple[tuple[str, str], ...]:
    source = cursor.source
    opened = source.mark(cursor.at, "(") and source.partner[cursor.at] > 0
    cursor.expect("arguments in parentheses, such as (text VARCHAR)", taken=opened)
    pieces = source.split(cursor.at + 1, source.partner[cursor.at])
    after = source.skip(cursor.at)
    seen: set[str] = set()
    arguments = []
    for first, last in pieces:
        if last - first < 2 or not source.tokens[first].is_name:
            shown = source.tokens[first].text if first < last else "nothing"
            raise source.error(
                f"an argument needs a name and a type, such as text VARCHAR, got {shown}",
                first,
                max(first + 1, last),
            )
        token = source.tokens[first]
        name = token.name if token.kind == "quoted" else token.word
        if name.lower() in seen:
            raise source.error(f"argument {name} stands twice", first)
        seen.add(name.lower())
        arguments.append((name, source.text(first + 1, last)))
    cursor.at = after
    return tuple(arguments)


def _type(cursor: _Cursor, until: str) -> str:
    source, first = cursor.source, cursor.at
    while not cursor.done() and source.word(cursor.at) != until:
        cursor.at = source.skip(cursor.at)
    cursor.expect("a type such as BOOLEAN", taken=cursor.at > first)
    return source.text(first, cursor.at)


def _options(cursor: _Cursor) -> dict[str, OptionValue]:
    """Read ``WITH (key = value, ...)`` if it stands here."""
    if not cursor.take("with"):
        return {}
    source = cursor.source
    opened = source.mark(cursor.at, "(") and source.partner[cursor.at] > 0
    cursor.expect("options in parentheses, such as (model = '...')", taken=opened)
    pieces = source.split(cursor.at + 1, source.partner[cursor.at])
    after = source.skip(cursor.at)
    options: dict[str, OptionValue] = {}
    for first, last in pieces:
        if last - first < 3 or source.tokens[first + 1].text != "=":
            raise source.error("an option is written key = value", first, max(first + 1, last))
        token = source.tokens[first]
        key = token.text.strip("'\"").lower()
        if key in options:
            raise source.error(f"option {key} stands twice", first)
        options[key] = _value(source, first + 2, last, f"option {key}")
        cursor.places[f"option {key}"] = source.place(first, last)
    cursor.at = after
    return options


def _value(source: Source, first: int, last: int, what: str) -> OptionValue:
    """Read a string, a number, a truth value, NULL or a list of strings or of numbers."""
    if source.mark(first, "[") and source.partner[first] == last - 1:
        items = [_value(source, a, b, what) for a, b in source.split(first + 1, last - 1)]
        if all(isinstance(item, str) for item in items):
            return cast(list[str], items)
        if all(isinstance(item, int | float) and not isinstance(item, bool) for item in items):
            return cast(list[float], items)
        raise source.error(f"{what}: a list holds strings only, or numbers only", first, last)
    sign = source.tokens[first].text if source.tokens[first].text in ("+", "-") else ""
    at = first + bool(sign)
    token = source.tokens[at] if at < last else None
    percent = at + 1 < last and source.tokens[at + 1].text == "%"
    if token is None or at + 1 + percent != last:
        raise source.error(f"{what}: write one value", first, last)
    if token.kind == "number":
        text = token.text.replace("_", "")
        number: int | float = int(text) if text.isdigit() else float(text)
        number = -number if sign == "-" else number
        return hundredth(number) if percent else number
    if sign or percent:
        raise source.error(f"{what}: a number must stand here", first, last)
    if token.kind == "parameter":
        return _bound(source, at, token.value, what)
    if token.kind == "string":
        return unquoted(token.text)
    constants: dict[str, OptionValue] = {"true": True, "false": False, "null": None}
    if token.word in constants:
        return constants[token.word]
    raise source.error(f"{what}: write text in quotes, as in '{token.text}'", first, last)


def _bound(source: Source, at: int, value: object, what: str) -> OptionValue:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, numbers.Real | decimal.Decimal):
        return float(value)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return [str(item) for item in value]
    raise source.error(f"{what} cannot be a {type(value).__name__}", at)


def _drop(cursor: _Cursor) -> Drop:
    cursor.take("drop")
    kind = _kind(cursor)
    if_exists = cursor.take("if", "exists")
    name = cursor.name("name")
    cursor.end(f"DROP {kind.upper()} IF EXISTS name")
    return Drop(cursor.source.sql, kind, name, if_exists, cursor.place("name"))


def _describe(cursor: _Cursor) -> Describe:
    cursor.at = 1
    kind = _kind(cursor)
    name = cursor.name("name")
    cursor.end(f"DESCRIBE {kind.upper()} name")
    return Describe(cursor.source.sql, kind, name, cursor.place("name"))


def _kind(cursor: _Cursor) -> Literal["oracle", "proxy"]:
    cursor.at += 1
    return "oracle" if cursor.source.word(cursor.at - 1) == "oracle" else "proxy"


def _show(cursor: _Cursor) -> Show:
    what = cast(Literal["oracles", "proxies", "certificates"], cursor.source.word(1))
    return Show(cursor.source.sql, what)


def _setting(cursor: _Cursor, *, scoped: bool) -> tuple[str, Place]:
    """Read the name of a setting, without prefix."""
    source = cursor.source
    cursor.at = 1
    if scoped and source.word(1) in ("session", "global", "local"):
        cursor.at = 2
    name = source.word(cursor.at)[len(_PREFIX) :]
    if name not in cursor.names.settings():
        hint = nearest(name, cursor.names.settings()).replace("'", f"'{_PREFIX}", 1)
        known = ", ".join(_PREFIX + known for known in sorted(cursor.names.settings()))
        raise source.error(
            f"there is no setting {_PREFIX}{name}.{hint or f' Settings: {known}.'}", cursor.at
        )
    cursor.at += 1
    return name, source.place(cursor.at - 1, cursor.at)


def _set(cursor: _Cursor) -> SetSetting:
    source = cursor.source
    name, place = _setting(cursor, scoped=True)
    written = not cursor.done() and source.tokens[cursor.at].text == "="
    cursor.at += written
    cursor.expect("= and a value", taken=(written or cursor.take("to")) and not cursor.done())
    first, last = cursor.at, len(source.tokens)
    word = source.word(first)
    if last == first + 1 and word and word not in ("true", "false", "null"):
        value: OptionValue = {"on": True, "off": False}.get(word, source.tokens[first].text)
    else:
        value = _value(source, first, last, f"{_PREFIX}{name}")
    if name.removeprefix("session_") in _SHARES and source.tokens[last - 1].text == "%":
        sign = -1 if source.tokens[first].text == "-" else 1
        percentage = sign * float(source.tokens[last - 2].text.replace("_", ""))
        if mistaken := mistaken_share(percentage):
            raise source.error(f"{_PREFIX}{name}: {mistaken}", first, last)
    return SetSetting(source.sql, name, value, place)


def _reset(cursor: _Cursor) -> ResetSetting:
    name, place = _setting(cursor, scoped=True)
    cursor.end(f"RESET {_PREFIX}{name}")
    return ResetSetting(cursor.source.sql, name, place)


def _show_setting(cursor: _Cursor) -> ShowSetting:
    name, place = _setting(cursor, scoped=False)
    return ShowSetting(cursor.source.sql, name, place)
