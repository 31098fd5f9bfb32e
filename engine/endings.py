"""How a command ends: its exit code, the error that it tells, in words or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from thresher.errors import BudgetError, Error, ShortfallError

__all__ = [
    "BROKEN_PIPE",
    "BUDGET",
    "EXIT_CODES",
    "FAILED",
    "INTERRUPTED",
    "SHORTFALL",
    "TERMINATED",
    "exit_code",
    "guarded",
    "report",
    "write_error",
    "write_json",
]

FAILED, SHORTFALL, BUDGET, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 3, 4, 130, 141, 143

EXIT_CODES = "exit codes: 0 done, 1 it failed, 2 wrong usage, 130 interrupted"


def exit_code(error: Error) -> int:
    """Return the exit code of a command that fails like this."""
    if isinstance(error, ShortfallError):
        return SHORTFALL
    return BUDGET if isinstance(error, BudgetError) else FAILED


def report(error: Error, note: str = "", *, as_json: bool = False) -> int:
    """Tell an error with its place in the SQL, and return the exit code.

    Parameters
    ----------
    error : Error
        What went wrong.
    note : str
        What became of the labels that it spent, if it spent any.
    as_json : bool
        As one object on standard output, in place of words on standard error.
    """
    notes = [note] if note and error.spent else []
    message, told = (_in_options(text) for text in (error.message, str(error)))
    code = exit_code(error)
    if as_json:
        place = {"line": error.line, "column": error.column, "spent": error.spent}
        write_error(type(error).__name__, message, code, " ".join(notes), place)
    else:
        sys.stderr.write("\n".join([f"{type(error).__name__}: {told}", *notes]) + "\n")
    return code


def _in_options(text: str) -> str:
    """Return a message with an option in place of Python's argument."""
    return text.replace("connect(read_only=True)", "--read-only")


def write_error(
    kind: str, message: str, code: int, note: str = "", place: dict[str, Any] | None = None
) -> None:
    """Write the object that stands for a failure: always the same fields."""
    empty = {"line": None, "column": None, "spent": 0}
    found = {"type": kind, "message": message, "note": note or None, **empty, **(place or {})}
    write_json({"error": {**found, "exit_code": code}})


def write_json(value: object) -> None:
    """Write one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def guarded(
    action: Callable[[argparse.Namespace], int | None],
) -> Callable[[argparse.Namespace], int]:
    """Return a command that ends with an exit code, whatever comes of it.

    Parameters
    ----------
    action : callable
        Takes the options, `json` among them; may return an exit code of its own.
    """

    def run(args: argparse.Namespace) -> int:
        try:
            return action(args) or 0
        except KeyboardInterrupt:
            if args.json:
                write_error("Interrupted", "interrupted", INTERRUPTED)
            else:
                sys.stderr.write("\nInterrupted.\n")
            return INTERRUPTED
        except Error as error:
            return report(error, as_json=args.json)

    return run
