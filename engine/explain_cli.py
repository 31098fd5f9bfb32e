"""The command ``thresher explain``: how a statement will be answered, and what it will cost."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.endings import guarded, write_json
from thresher.errors import Error, ProgrammingError
from thresher.inputs_cli import add_command, add_json, add_sql, open_read_only, read_sql

if TYPE_CHECKING:
    from thresher.dbapi import Connection
    from thresher.sql.statements import Fragment
    from thresher.sql.tokens import Token

__all__ = ["add_explain"]

_EXAMPLES = """\
  thresher explain --db films.duckdb \\
      "SELECT * FROM reviews WHERE is_good(text) RECALL TARGET 90%"
  thresher explain --db films.duckdb -f report.sql
  thresher explain --db films.duckdb --json -f report.sql | jq .blocks
"""
_MORE = """\
Nothing is bought, and nothing is written: the database is opened to be read
only. SET, RESET, USE, LOAD and ATTACH ... (READ_ONLY) before the statement are
run; a value of SET has no brackets.

exit codes: 0 explained, 1 it failed, 2 wrong usage, 130 interrupted"""
_BEFORE = {"set", "reset", "use", "load", "attach"}
_QUERIES = {"select", "from", "with", "values", "table", "pivot", "unpivot"}
_SHOWS = {"describe", "show", "summarize"}
_CHANGES = {"insert", "update", "delete", "merge", "create", "copy", "call", "execute"}
_MODIFIERS = {"or", "replace", "temp", "temporary"}
_TAKEN = (
    "explain takes a query, or INSERT, UPDATE, DELETE, MERGE, COPY or CREATE TABLE ... AS with a "
    "query in it"
)
_NAMES = 11  # columns of the names in front of the text


def add_explain(commands: Any) -> None:
    """Add the ``explain`` command to a program's commands."""
    explain = add_command(
        commands,
        "explain",
        "the plan of a query and its price, before anything is spent",
        "Show how a statement is read, how it will be answered, and the labels it is forecast to "
        "take.",
        _EXAMPLES,
        _MORE,
    )
    add_sql(explain)
    explain.add_argument("--db", type=Path, metavar="FILE", help="DuckDB file (default: in memory)")
    explain.add_argument(
        "--labels", type=Path, metavar="PATH", help="label store (default: FILE.labels)"
    )
    add_json(explain)
    explain.set_defaults(run=guarded(_explain))


def _explain(args: argparse.Namespace) -> None:
    """Run the ``explain`` command."""
    sql = read_sql(args)
    from thresher.sql import split
    from thresher.sql.tokens import tokenize

    fragments = [one for one in split(sql) if one.text.strip()]
    if not fragments:
        args.parser.error("the SQL holds no statement")
    *before, last = fragments
    for one in before:
        if (wrong := _wrong_before(tokenize(one.text))) is not None:
            args.parser.error(wrong)
    if (wrong := _wrong(tokenize(last.text))) is not None:
        args.parser.error(wrong)
    with open_read_only(args) as con:
        for one in before:
            con.execute(one.text)
        found = _explained(con, sql, last, as_json=args.json)
    if args.json:
        write_json(found)
    else:
        _print(str(found))


def _wrong_before(tokens: Sequence[Token]) -> str | None:
    """Say why a statement may not run before the one that is explained, if so."""
    first, words = tokens[0].word, [one.word for one in tokens]
    if first not in _BEFORE:
        return (
            "only SET, RESET, USE, LOAD and ATTACH may stand before the statement: what else "
            "it needs must be in the database"
        )
    if first == "attach":
        at = words.index("read_only") if "read_only" in words else -1
        after = tokens[at + 1].text.lower() if at + 1 < len(tokens) else ""
        if at < 0 or "read_write" in words or after not in (")", ",", "true"):
            return "explain writes nothing: write ATTACH ... (READ_ONLY)"
    elif any(one.text == "(" for one in tokens):
        return f"explain runs no query: a value of {first.upper()} has no brackets here"
    return None


def _wrong(tokens: Sequence[Token]) -> str | None:
    """Say why a statement cannot be explained, if so."""
    words = [one.word for one in tokens]
    inner = next((one for one in tokens if one.text != "("), tokens[0])
    first = words[0]
    if first == "explain":
        return "leave EXPLAIN out: write the statement alone"
    if first in ("analyze", "analyse"):
        return (
            'explain runs nothing: leave ANALYZE out. thresher query "EXPLAIN ANALYZE ..." runs '
            "the statement, buys its labels and says what it took"
        )
    if tokens[0].text == "(":
        known = inner.word in _QUERIES | _SHOWS
        return None if known else "options of EXPLAIN have no place here: write the statement alone"
    if first not in _QUERIES | _SHOWS | _CHANGES:
        return f"{tokens[0].text.upper()} cannot be explained: {_TAKEN}"
    what = next((word for word in words[1:] if word not in _MODIFIERS), "")
    ours = what in ("oracle", "proxy", "oracles", "proxies", "certificates")
    if (first == "create" and what != "table") or (ours and first in ("create", *_SHOWS)):
        return f"{first.upper()} {what.upper()} cannot be explained: {_TAKEN}"
    return None


def _explained(con: Connection, sql: str, fragment: Fragment, *, as_json: bool) -> Any:
    """Return what EXPLAIN says: text, or plain values."""
    prefix = "EXPLAIN (FORMAT json) " if as_json else "EXPLAIN "
    statement = prefix + fragment.text
    try:
        cursor = con.execute(statement)
    except Error as error:
        if 'type "EXPLAIN"' in error.message and "read-only mode" in error.message:
            raise ProgrammingError(
                "DuckDB plans a statement that changes a database only where it may write, and "
                "explain opens the database to be read only: explain the query inside it."
            ) from error
        raise error.within(sql, statement, fragment.offset - len(prefix)) from error.__cause__
    if cursor.description is None:
        raise ProgrammingError("DuckDB has no plan of this statement; a PIVOT needs an IN list.")
    ours = len(cursor.description or ()) == 1  # DuckDB's has a key besides
    text = "\n".join(str(row[-1]) for row in cursor.fetchall())
    if not as_json:
        return text
    return (
        json.loads(text)
        if ours
        else {"blocks": [], "then": fragment.text, "duckdb": json.loads(text)}
    )


def _print(text: str) -> None:
    """Print the text, on a terminal with the names before it in bold."""
    from rich.text import Text

    from thresher.render import console_for

    console = console_for(sys.stdout)
    for line in text.splitlines():
        shown = Text(line)
        if line[:1].isalpha():
            shown.stylize("bold", 0, min(_NAMES, len(line)))
        console.print(shown, soft_wrap=True)
