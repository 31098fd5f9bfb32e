"""The command ``thresher query``: its options, and what they may not be."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

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
_QUERY_EXAMPLES = """\
Labels are kept in FILE.labels beside the database, so that none is paid for twice.

exit codes: 0 answered, 1 the query failed, 2 wrong usage, 3 a target cannot be certified within
the budget, 4 the answer would cost more labels than allowed, 130 interrupted, 143 terminated
(labels are kept)
"""


def add_query(commands: Any) -> None:
    """Add the ``query`` command to a program's commands."""
    query = commands.add_parser(
        "query",
        help="run SQL and print or write the result",
        description="Run SQL: one statement or a script, ours or any of DuckDB's.",
        epilog=_QUERY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    query.add_argument("sql", nargs="?", metavar="SQL", help="the statement; '-': standard input")
    query.add_argument("-f", "--file", type=Path, metavar="FILE.sql", help="read the SQL from here")
    query.add_argument("--db", type=Path, metavar="FILE", help="DuckDB file (default: in memory)")
    query.add_argument("--create", action="store_true", help="make FILE when it is not there")
    query.add_argument("--read-only", action="store_true", help="open FILE without writing to it")
    query.add_argument(
        "--labels",
        metavar="PATH",
        help="label store; 'none' keeps labels in memory (default: FILE.labels)",
    )
    query.add_argument("--format", choices=_FORMATS, help="default: box, or what OUT ends in")
    query.add_argument("-o", "--output", type=Path, metavar="OUT", help="write the result here")
    query.add_argument(
        "--max-rows", type=_count, default=40, metavar="N", help="rows in a box (40; 0: all)"
    )
    query.add_argument("--no-progress", action="store_true", help="show no progress line")
    query.set_defaults(run=_query, parser=query)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {number}")
    return number


def _query(args: argparse.Namespace) -> int:
    """Check the options and run the SQL."""
    _check_usage(args)
    sql = _read_sql(args)
    from thresher.querying import run

    return run(sql, args)


def _check_usage(args: argparse.Namespace) -> None:
    """Settle the format and refuse options that contradict each other."""
    parser: argparse.ArgumentParser = args.parser
    if args.sql is not None and args.file is not None:
        parser.error("give SQL or -f FILE.sql, not both")
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
    if args.db is not None and not args.db.exists() and not args.create:
        parser.error(f"there is no database {args.db}. To make a new one, add --create.")


def _read_sql(args: argparse.Namespace) -> str:
    """Return the SQL from the argument, the file or standard input."""
    parser: argparse.ArgumentParser = args.parser
    if args.file is not None:
        try:
            return str(args.file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"cannot read {args.file}: {getattr(error, 'strerror', None) or error}")
    if args.sql not in (None, "-"):
        return str(args.sql)
    if args.sql is None and sys.stdin.isatty():
        parser.error('no SQL. Write thresher query "SELECT ...", or -f FILE.sql, or - for input.')
    return sys.stdin.read()
