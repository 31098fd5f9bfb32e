"""Where in a statement an error of DuckDB's lies, by its excerpt or by what it complains of."""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from thresher.calls import Place
from thresher.errors import columns
from thresher.sql.tokens import Token, tokenize, unquoted

__all__ = ["found_place", "named", "told_where", "without_excerpt"]

_EXCERPT = re.compile(r"\n+LINE (\d+): ([^\n]*)\n( *)\^\s*\Z")
_ANY_EXCERPT = re.compile(r"\n+LINE \d+:.*", re.DOTALL)
_CANDIDATES = re.compile(r"\n+(?:Did you mean|Candidate)", re.IGNORECASE)
_UNQUOTED = re.compile(r"(?:[Ff]unction (?:with name )?|name |table (?=\w+ has ))(\w+)")
_MISSING = re.compile(r'column (?:with name |name )?"([^"]+)"|column (\w+) not found')
_VALUE = re.compile(r"Could not convert string '(.*)' to ", re.DOTALL)
_COLUMN = re.compile(r"when casting from source column ([^\n]+)")
_EXPLAIN = "EXPLAIN\n"


def found_place(text: str, sql: str) -> Place | None:
    r"""Return where in a statement an error lies.

    Parameters
    ----------
    text : str
        DuckDB's message, which may end in an excerpt: ``LINE n:``, the line or a part of it, and a
        caret below.
    sql : str
        The statement as the user wrote it.

    Returns
    -------
    Place or None
        What the excerpt points at, where it is of this statement and not of one written anew; else
        the value that cannot be converted, or the name that is complained of; None where none of
        them can be found.

    Examples
    --------
    >>> found_place('no table\n\nLINE 1: FROM nowhere\n             ^', "FROM nowhere")
    Place(offset=5, length=7)
    >>> found_place('Referenced column "b" not found', "SELECT a, b")
    Place(offset=10, length=1)
    """
    tokens = tokenize(sql)
    place = _excerpt_place(text, sql, tokens)
    message = without_excerpt(text)
    if place is None and _VALUE.search(message):
        return _conversion_place(message, tokens)
    return place or _name_place(message, sql)


def without_excerpt(text: str) -> str:
    """Return what an error of DuckDB's says, without the lines that show its place."""
    return _ANY_EXCERPT.sub("", text)


def named(word: str, sql: str) -> Place | None:
    """Return where a name, or an expression, stands in a statement first."""
    for token in tokenize(sql):
        if token.is_name and token.name.lower() == word.lower():
            return _place(token, token)
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sql, re.IGNORECASE)
    return None if found is None else Place(found.start(), len(word))


def told_where(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: object, error: duckdb.Error
) -> duckdb.Error:
    """Return the same error with an excerpt of the statement, which relations do not give.

    The statement is planned again, and not run.
    """
    if _ANY_EXCERPT.search(str(error)):
        return error
    try:
        connection.execute(_EXPLAIN + sql, parameters)
    except duckdb.Error as again:
        found = _EXCERPT.search(str(again))
        if found is not None and without_excerpt(str(again)) == str(error):
            numbered = f"LINE {int(found[1]) - 1}: "
            before = len(found[3]) - len(f"LINE {found[1]}: ") + len(numbered)
            return type(error)(f"{error}\n\n{numbered}{found[2]}\n{' ' * before}^")
    return error


def _excerpt_place(text: str, sql: str, tokens: Sequence[Token]) -> Place | None:
    """Return the token that an excerpt points at."""
    found, lines = _EXCERPT.search(text), sql.split("\n")
    if found is None or int(found[1]) > len(lines):
        return None
    above = int(found[1]) - 1
    shown, at = found[2], len(found[3]) - len(f"LINE {found[1]}: ")
    if shown not in lines[above] and shown.startswith("..."):
        shown, at = shown[3:], at - 3
    if shown not in lines[above]:
        shown = shown.removesuffix("...")
    if not shown or lines[above].count(shown) != 1:
        return None
    i = 0
    while i < len(shown) and _width(shown[:i]) < at:
        i += 1
    offset = sum(len(line) + 1 for line in lines[:above]) + lines[above].index(shown) + i
    return next((_place(token, token) for token in tokens if token.start == offset), None)


def _width(text: str) -> int:
    """Return the columns that DuckDB counts: a tab takes none."""
    return columns(text) - sum(letter < " " for letter in text)


def _conversion_place(message: str, tokens: Sequence[Token]) -> Place | None:
    """Return the only cast of the column that a value is of, or the only literal that it is."""
    value, column = _VALUE.search(message), _COLUMN.search(message)
    name = "" if column is None else column[1].rpartition(".")[2].strip('"').lower()
    places = _casts(tokens, name) or [
        _place(token, token)
        for token in tokens
        if token.kind == "string" and value is not None and unquoted(token.text) == value[1]
    ]
    return places[0] if len(places) == 1 else None


def _casts(tokens: Sequence[Token], name: str) -> list[Place]:
    """Return all places where a column is cast: ``name::TYPE`` or ``CAST(name AS TYPE)``."""
    found = []
    for i, token in enumerate(tokens):
        if not token.is_name or token.name.lower() != name:
            continue
        after = tokens[i + 1 : i + 3]
        if len(after) == 2 and after[0].text == "::":
            found.append(_place(token, after[1]))
        elif i >= 2 and tokens[i - 2].word == "cast" and after and after[0].word == "as":
            found.append(_place(token, token))
    return found


def _name_place(message: str, sql: str) -> Place | None:
    """Return where the first name that a message complains of stands."""
    said = _CANDIDATES.split(message, maxsplit=1)[0]
    missing = [one or other for one, other in _MISSING.findall(said)]
    words = [*missing, *re.findall(r'"([^"]+)"', said), *_UNQUOTED.findall(said)]
    return next((place for word in words if (place := named(word, sql)) is not None), None)


def _place(first: Token, last: Token) -> Place:
    return Place(first.start, last.end - first.start)
