"""How a command ends: its exit code, and the error that it tells."""

from __future__ import annotations

import sys

from thresher.errors import BudgetError, Error, OperationalError, ShortfallError

__all__ = [
    "BROKEN_PIPE",
    "BUDGET",
    "FAILED",
    "INTERRUPTED",
    "SHORTFALL",
    "TERMINATED",
    "exit_code",
    "report",
]

FAILED, SHORTFALL, BUDGET, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 3, 4, 130, 141, 143


def exit_code(error: Error) -> int:
    """Return the exit code of a command that fails like this."""
    if isinstance(error, ShortfallError):
        return SHORTFALL
    return BUDGET if isinstance(error, BudgetError) else FAILED


def report(error: Error, kept: str = "") -> None:
    """Write an error with its place in the SQL, and what became of the labels it spent."""
    lines = [f"{type(error).__name__}: {error}"]
    if isinstance(error, OperationalError) and "Could not set lock" in error.message:
        lines.append("Close the program that holds it, or open it everywhere with --read-only.")
    if error.spent:
        lines.append(kept)
    sys.stderr.write("\n".join(lines) + "\n")
