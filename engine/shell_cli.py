"""The commands ``thresher shell``, ``thresher extension`` and ``thresher worker``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from thresher.errors import Error

__all__ = ["add_shell"]

_FAILED = 1

_EXAMPLES = """examples:
  thresher shell films.duckdb
  thresher shell films.duckdb -c "FROM thresh('SHOW ORACLES')"
  thresher shell films.duckdb -csv < queries.sql > rows.csv

Everything behind `shell` goes to the duckdb command line. At its prompt:
  FROM thresh($$ SELECT * FROM reviews WHERE is_praise(text) RECALL TARGET 90% $$);
  FROM thresh_certificate();
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
    extension = commands.add_parser(
        "extension",
        help="where the DuckDB extension lies, and how to load it",
        description="For DuckDB sessions that load the extension themselves: path prints the file, "
        "sql the statements that load it. DuckDB must allow unsigned extensions.",
    )
    extension.add_argument("what", choices=["path", "sql"])
    extension.set_defaults(run=_extension)
    worker = commands.add_parser(
        "worker",
        help="what the extension starts to answer queries; ends by itself",
        description="Listens on a socket of the user alone. The extension starts it on demand.",
    )
    worker.add_argument("--socket", required=True, metavar="PATH")
    worker.set_defaults(run=_worker)


def _shell(args: argparse.Namespace) -> int:
    from thresher.shell.launcher import shell

    if args.arguments and args.arguments[0] in ("-h", "--help"):
        sys.stdout.write("usage: thresher shell [FILE] [options of duckdb]\n\n" + _EXAMPLES)
        return 0
    try:
        shell(args.arguments)
    except Error as error:
        return _report(error)


def _extension(args: argparse.Namespace) -> int:
    from thresher.shell.launcher import extension_path, extension_sql

    try:
        lines = [str(extension_path())]
        if args.what == "sql":
            lines = [f"{statement};" for statement in extension_sql()]
    except Error as error:
        return _report(error)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _worker(args: argparse.Namespace) -> int:
    from thresher.shell.worker import main

    return main(args.socket)


def _report(error: Error) -> int:
    sys.stderr.write(f"thresher: {error}\n")
    return _FAILED
