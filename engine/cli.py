"""The command line: ``thresher query``, ``explain``, ``certificates``, ``doctor`` and the others.

Exit codes: 0 done; 1 it failed; 2 wrong usage; 3 a target cannot be certified within the budget;
4 the answer would cost more labels than allowed; 130 interrupted; 141 the reader of a pipe has
gone; 143 terminated. What each command prints is in docs/command-line.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from thresher.certificates_cli import add_certificates, add_report
from thresher.completion_cli import add_completion
from thresher.demo_cli import add_demo
from thresher.doctor_cli import add_doctor
from thresher.endings import BROKEN_PIPE
from thresher.explain_cli import add_explain
from thresher.inputs_cli import Help, Parser
from thresher.labels_cli import add_labels
from thresher.oracles_cli import add_oracles
from thresher.people_cli import add_label
from thresher.query_cli import add_query
from thresher.shell_cli import add_shell

__all__ = ["main"]

_FAMILIES = (
    add_query,
    add_explain,
    add_shell,
    add_oracles,
    add_certificates,
    add_report,
    add_labels,
    add_label,
    add_doctor,
    add_demo,
)
_EXAMPLES = """\
examples:
  thresher demo
      a guaranteed answer over 10,605 real texts with a real local model
  thresher query --db films.duckdb -f good.sql
      a table on the terminal, with the line of its certificate below
  thresher explain --db films.duckdb -f good.sql
      the plan and its price, before anything is spent
  thresher report --db films.duckdb -o report.html
      the last answer's certificate as a page
  thresher doctor
      whether all that is installed works here

'thresher COMMAND --help' shows more of each; most print JSON with --json.

exit codes: 0 done, 1 it failed, 2 wrong usage, 3 a target cannot be certified
within the budget, 4 the answer would cost more labels than allowed,
130 interrupted, 143 terminated
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv[1:]`` when absent.

    Raises
    ------
    SystemExit
        With 2 after wrong usage, with 0 after ``--help`` and ``--version``.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "run"):  # argparse would name what is missing before what is unknown
        parser.error("write a COMMAND: 'thresher --help' lists them")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 must not end a query
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has gone, as `head` does: what Python still holds must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="thresher",
        description="SQL over what a model would say of each row, with guaranteed answers.",
        epilog=_EXAMPLES,
        formatter_class=Help,
        allow_abbrev=False,
    )
    parser._positionals.title = "commands"
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND")
    for add in _FAMILIES:
        add(commands)
    add_completion(commands, parser)
    return parser


class _Version(argparse.Action):
    """Print the version; the package's metadata are read only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"thresher {version('thresher')}\n")
        parser.exit()
