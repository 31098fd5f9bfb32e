"""The commands ``thresher shell``, ``thresher extension`` and ``thresher worker``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from thresher.endings import guarded, report, write_json
from thresher.errors import Error
from thresher.inputs_cli import add_command, add_json

__all__ = ["add_shell"]

_USAGE = """usage: thresher shell [FILE] [options of duckdb]

The duckdb command line as it is, with thresh() in it: SQL inside its quotes may
call oracles. 'thresher shell -help' lists the options of duckdb.

"""
_EXAMPLES = """examples:
  thresher shell films.duckdb
  thresher shell films.duckdb -c "FROM thresh('SHOW ORACLES')"
  thresher shell films.duckdb -csv < queries.sql > rows.csv

Everything behind `shell` goes to the duckdb command line. At its prompt:
  FROM thresh($$ FROM reviews WHERE is_praise(text) RECALL TARGET 90% $$);
  FROM thresh_certificate();
"""

_EXTENSION_EXAMPLES = """\
  thresher extension path
  duckdb -unsigned films.duckdb -cmd "$(thresher extension sql)"
"""


def add_shell(commands: Any) -> None:
    """Add the commands to a program's."""
    # No character begins an option here: -c and the like are duckdb's.
    shell = commands.add_parser(
        "shell",
        help="the duckdb command line, with thresh() in it",
        prefix_chars="\0",
        add_help=False,
    )
    shell.add_argument("arguments", nargs="*")
    shell.set_defaults(run=_shell)
    extension = add_command(
        commands,
        "extension",
        "where the DuckDB extension lies, and how to load it",
        "For DuckDB sessions that load the extension themselves: path prints the file, sql the "
        "statements that load it. DuckDB must allow unsigned extensions.",
        _EXTENSION_EXAMPLES,
    )
    extension.add_argument(
        "what", nargs="?", choices=["path", "sql"], help="the file, or the statements"
    )
    add_json(extension, "both as one JSON document")
    extension.set_defaults(run=guarded(_extension), parser=extension)
    # Without help, so that no list shows it: the extension starts it.
    worker = commands.add_parser(
        "worker",
        description="What the extension starts to answer queries: it listens on a socket of the "
        "user alone, and ends by itself.",
        allow_abbrev=False,
    )
    what = worker.add_mutually_exclusive_group(required=True)
    what.add_argument("--socket", metavar="PATH", help="listen there")
    what.add_argument("--start", metavar="VERSION", help="start one if need be, and print where")
    worker.set_defaults(run=_worker)


def _shell(args: argparse.Namespace) -> int:
    from thresher.shell.launcher import shell

    if args.arguments and args.arguments[0] in ("-h", "--help"):
        sys.stdout.write(_USAGE + _EXAMPLES)
        return 0
    try:
        shell(args.arguments)
    except Error as error:
        return report(error)


def _extension(args: argparse.Namespace) -> None:
    if args.what is None and not args.json:
        args.parser.error("write path or sql, or --json for both")
    from thresher.shell.launcher import extension_path, extension_sql

    path = str(extension_path())
    if args.json:
        write_json({"path": path, "sql": extension_sql()})
        return
    lines = [path] if args.what == "path" else [f"{one};" for one in extension_sql()]
    sys.stdout.write("\n".join(lines) + "\n")


def _worker(args: argparse.Namespace) -> int:
    if args.start:
        from thresher.shell import starting

        starting.main(args.start)
    from thresher.shell.worker import main

    return main(args.socket)
