"""Parameters of our statements, bound as SQL literals into the token list."""

from __future__ import annotations

import datetime
import decimal
import math
import numbers
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

from thresher.errors import ProgrammingError, nearest
from thresher.sql.tokens import Token

__all__ = ["Parameters", "bind", "literal", "with_values"]

Parameters = Sequence[object] | Mapping[str, object] | None


def bind(sql: str, tokens: list[Token], parameters: Parameters) -> list[Token]:
    """Write every ``?``, ``$1`` and ``$name`` as the literal of its value.

    Raises
    ------
    ProgrammingError
        Styles are mixed, a value is missing or left over, or has a type without a literal.
    """
    used: set[int | str] = set()
    bound: list[Token] = []
    styles = {_style(token) for token in tokens if token.kind == "parameter"}
    if len(styles) > 1:
        first = next(token for token in tokens if token.kind == "parameter")
        raise _error("write all parameters as ?, as $1 or as $name, not mixed", sql, first)
    for token in tokens:
        if token.kind != "parameter":
            bound.append(token)
            continue
        key = _key(token, len(used))
        value = _value(sql, token, key, parameters)
        used.add(key)
        try:
            bound.append(replace(token, text=literal(value), value=value))
        except ValueError as error:
            raise _error(f"parameter {token.text}: {error}", sql, token) from None
    _check_used(used, parameters)
    return bound


def with_values(sql: str, bound: Sequence[Token]) -> str:
    """Return a statement with the literals of its parameters in their places.

    Parameters
    ----------
    sql : str
        The statement.
    bound : sequence of Token
        What `bind` made of its tokens.
    """
    for token in reversed(bound):
        if token.kind == "parameter":
            sql = sql[: token.start] + token.text + sql[token.end :]
    return sql


def _style(token: Token) -> str:
    return "?" if token.text == "?" else "$1" if token.text[1:].isdigit() else "$name"


def _key(token: Token, n_before: int) -> int | str:
    if token.text == "?":
        return n_before
    return int(token.text[1:]) - 1 if token.text[1:].isdigit() else token.text[1:]


def _value(sql: str, token: Token, key: int | str, parameters: Parameters) -> object:
    if isinstance(key, str):
        if isinstance(parameters, Mapping):
            if key in parameters:
                return parameters[key]
            hint = nearest(key, [str(name) for name in parameters])
            raise _error(f"no value is given for parameter {token.text}.{hint}", sql, token)
        raise _error(f"parameter {token.text} needs a mapping of names to values", sql, token)
    if isinstance(parameters, Mapping):
        raise _error(f"parameter {token.text} needs a sequence, a mapping is given", sql, token)
    if parameters is None or not 0 <= key < len(parameters):
        n = 0 if parameters is None else len(parameters)
        given = "1 is given" if n == 1 else f"{n or 'none'} are given"
        raise _error(f"parameter {token.text} needs value {key + 1}, {given}", sql, token)
    return parameters[key]


def _check_used(used: set[int | str], parameters: Parameters) -> None:
    if parameters is None:
        return
    if isinstance(parameters, Mapping):
        left: list[object] = [name for name in parameters if name not in used]
    else:
        left = [i + 1 for i in range(len(parameters)) if i not in used]
    if left:
        shown = ", ".join(str(name) for name in left[:5])
        raise ProgrammingError(
            f"{len(used)} parameters stand in the statement, {len(parameters)} are given "
            f"(not used: {shown})"
        )


def _error(message: str, sql: str, token: Token) -> ProgrammingError:
    return ProgrammingError(message, sql=sql, offset=token.start, length=token.end - token.start)


def literal(value: object) -> str:
    """Write a Python value as a DuckDB literal of the type that DuckDB binds it to.

    Raises
    ------
    ValueError
        There is no literal for the type.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case str():
            return _string(value)
        case pathlib.PurePath():
            return _string(str(value))
        case bytes() | bytearray() | memoryview():
            return "'" + "".join(f"\\x{byte:02X}" for byte in bytes(value)) + "'::BLOB"
        case decimal.Decimal():
            return _decimal(value)
        case uuid.UUID():
            return f"'{value}'::UUID"
        case datetime.datetime() | datetime.date() | datetime.time() | datetime.timedelta():
            return _time(value)
        case list() | tuple():
            return "[" + ", ".join(literal(item) for item in value) + "]"
        case numbers.Integral():
            return str(int(value)) if int(value) >= 0 else f"({int(value)})"
        case numbers.Real():
            return _double(float(value))
    raise ValueError(
        f"a {type(value).__name__} cannot be passed. Pass None, bool, int, float, str, bytes, "
        "Decimal, date, datetime, time, timedelta, UUID, Path or a list of these."
    )


def _string(value: str) -> str:
    quoted = "'" + value.replace("'", "''") + "'"
    return quoted if "\0" not in value else "(" + quoted.replace("\0", "'||chr(0)||'") + ")"


def _double(value: float) -> str:
    if math.isnan(value):
        return "'nan'::DOUBLE"
    if math.isinf(value):
        return "'inf'::DOUBLE" if value > 0 else "'-inf'::DOUBLE"
    return f"'{value!r}'::DOUBLE"


def _decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"Decimal {value} has no literal; pass a float")
    plain = format(value, "f")
    digits = plain.lstrip("-").replace(".", "").lstrip("0")
    scale = len(plain.partition(".")[2])
    width = max(len(digits), scale, 1)
    return f"'{plain}'::DECIMAL({width}, {scale})" if width <= 38 else f"'{plain}'::DOUBLE"


def _time(
    value: datetime.datetime | datetime.date | datetime.time | datetime.timedelta,
) -> str:
    match value:
        case datetime.datetime():
            kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
            return f"'{value.isoformat(' ')}'::{kind}"
        case datetime.time():
            return f"'{value.isoformat()}'::{'TIME' if value.tzinfo is None else 'TIMETZ'}"
        case datetime.date():
            return f"'{value.isoformat()}'::DATE"
        case _:
            return f"to_microseconds({value // datetime.timedelta(microseconds=1)})"
