"""The command ``thresher explain``: how a statement will be answered, and what it will cost."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.endings import guarded, write_json
from thresher.errors import Error
from thresher.inputs_cli import add_command, add_json, add_sql, open_read_only, read_sql

if TYPE_CHECKING:
    from thresher.dbapi import Connection
    from thresher.sql.statements import Fragment

__all__ = ["add_explain"]

_EXAMPLES = """\
  thresher explain --db films.duckdb \\
      "SELECT * FROM reviews WHERE is_good(text) RECALL TARGET 90%"
  thresher explain --db films.duckdb -f report.sql
  thresher explain --db films.duckdb --json -f report.sql | jq .blocks
"""
_MORE = """\
Nothing is bought, and nothing is written: the database is opened to be read
only. SET, RESET, USE, LOAD and ATTACH before the statement are run.

exit codes: 0 explained, 1 it failed, 2 wrong usage, 130 interrupted"""
_BEFORE = re.compile(r"\s*(SET|RESET|USE|LOAD|ATTACH)\b", re.IGNORECASE)
_EXPLAIN = re.compile(r"\s*EXPLAIN\b", re.IGNORECASE)
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

    fragments = [one for one in split(sql) if one.text.strip()]
    if not fragments:
        args.parser.error("the SQL holds no statement")
    *before, last = fragments
    for one in before:
        if not _BEFORE.match(one.text):
            args.parser.error(
                "only SET, RESET, USE, LOAD and ATTACH may stand before the statement: what else "
                "it needs must be in the database"
            )
    if _EXPLAIN.match(last.text):
        args.parser.error("leave EXPLAIN out: write the statement alone")
    with open_read_only(args) as con:
        for one in before:
            con.execute(one.text)
        found = _explained(con, sql, last, as_json=args.json)
    if args.json:
        write_json(found)
    else:
        _print(str(found))


def _explained(con: Connection, sql: str, fragment: Fragment, *, as_json: bool) -> Any:
    """Return what EXPLAIN says: text, or plain values."""
    prefix = "EXPLAIN (FORMAT json) " if as_json else "EXPLAIN "
    statement = prefix + fragment.text
    try:
        cursor = con.execute(statement)
    except Error as error:
        raise error.within(sql, statement, fragment.offset - len(prefix)) from error.__cause__
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
