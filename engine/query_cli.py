"""The command ``thresher query``: its options, and what they may not be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thresher.inputs_cli import add_command, add_json, add_sql, check_database, count, read_sql

__all__ = ["add_query"]

_FORMATS = ("box", "csv", "json", "ndjson", "markdown", "parquet")
_SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "ndjson",
    ".md": "markdown",
    ".ndjson": "ndjson",
    ".parquet": "parquet",
}
_EXAMPLES = """\
  thresher query --db films.duckdb \\
      "SELECT * FROM reviews WHERE is_good(text) RECALL TARGET 90%"
  thresher query --db films.duckdb -f report.sql -o report.parquet
  thresher query --db films.duckdb --json "SHOW CERTIFICATES" | jq .rows
  echo "FROM 'reviews.parquet' LIMIT 5" | thresher query --format csv -
"""
_MORE = """\
Labels are kept in FILE.labels beside the database, so that none is paid for
twice.

exit codes: 0 answered, 1 the query failed, 2 wrong usage, 3 a target cannot be
certified within the budget, 4 the answer would cost more labels than allowed,
130 interrupted, 143 terminated (labels are kept)"""


def add_query(commands: Any) -> None:
    """Add the ``query`` command to a program's commands."""
    query = add_command(
        commands,
        "query",
        "run SQL and print or write the result",
        "Run SQL: one statement or a script, ours or any of DuckDB's.",
        _EXAMPLES,
        _MORE,
    )
    add_sql(query)
    query.add_argument("--db", type=Path, metavar="FILE", help="DuckDB file (default: in memory)")
    query.add_argument("--create", action="store_true", help="make FILE when it is not there")
    query.add_argument("--read-only", action="store_true", help="open FILE without writing to it")
    query.add_argument(
        "--labels",
        metavar="PATH",
        help="label store; 'none' keeps labels in memory (default: FILE.labels)",
    )
    form = query.add_mutually_exclusive_group()
    form.add_argument("--format", choices=_FORMATS, help="default: box, or what OUT ends in")
    add_json(form, "columns, rows and certificates as one JSON document")
    query.add_argument("-o", "--output", type=Path, metavar="OUT", help="write the result here")
    query.add_argument(
        "--max-rows", type=count, default=40, metavar="N", help="rows in a box (40; 0: all)"
    )
    query.add_argument("--no-progress", action="store_true", help="show no progress line")
    query.set_defaults(run=_query)


def _query(args: argparse.Namespace) -> int:
    """Check the options and run the SQL."""
    _check_usage(args)
    sql = read_sql(args)
    from thresher.querying import run

    return run(sql, args)


def _check_usage(args: argparse.Namespace) -> None:
    """Settle the format and refuse options that contradict each other."""
    parser: argparse.ArgumentParser = args.parser
    if args.json:
        args.format = "document"
    if args.format is None:
        suffix = "" if args.output is None else args.output.suffix.lower()
        if args.output is not None and suffix not in _SUFFIXES:
            parser.error(
                f"no format is known by the end of {args.output.name}: "
                f"write one of {', '.join(_SUFFIXES)}, or give --format"
            )
        args.format = _SUFFIXES.get(suffix, "box")
    if args.format == "parquet" and args.output is None:
        parser.error("parquet is no text: name a file, as in -o out.parquet")
    if args.db is None and (args.create or args.read_only):
        parser.error("--create and --read-only need --db FILE")
    if args.output is not None and not args.output.parent.is_dir():
        parser.error(f"there is no folder {args.output.parent}")
    if not args.create:
        check_database(args, " To make a new one, add --create.")
