"""DuckDB's exceptions as ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from thresher import errors

__all__ = ["translated"]

_KINDS: tuple[tuple[type[Exception], type[errors.Error]], ...] = (
    (duckdb.IntegrityError, errors.IntegrityError),
    (duckdb.InternalError, errors.InternalError),
    (duckdb.NotSupportedError, errors.NotSupportedError),
    (duckdb.ProgrammingError, errors.ProgrammingError),
    (duckdb.DataError, errors.DataError),
    (duckdb.OperationalError, errors.OperationalError),
)
_OURS = re.compile(r'(, )?"__thresher_\w+"')  # columns that the user does not know
_EXCERPT = re.compile(r"\n+LINE \d+:.*", re.DOTALL)


@contextmanager
def translated(sql: str | None = None) -> Iterator[None]:
    """Turn DuckDB's errors into `thresher.errors` of the same PEP 249 kind.

    Parameters
    ----------
    sql : str, optional
        The statement as the user wrote it, when DuckDB was given a rewritten one: DuckDB's excerpt
        of the rewritten text is left out, and the name it complains of is shown in this one.
    """
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except duckdb.Error as error:
        kind = next((ours for theirs, ours in _KINDS if isinstance(error, theirs)), None)
        kind = kind or errors.DatabaseError
        if sql is None:
            raise kind(str(error)) from error
        message = _OURS.sub("", _EXCERPT.sub("", str(error))).strip()
        message = message.removesuffix("Candidate bindings:").strip()
        offset, length = _place(message, sql)
        raise kind(message, sql=sql, offset=offset, length=length) from error


def _place(message: str, sql: str) -> tuple[int | None, int]:
    """Find the first quoted name of a message in the statement."""
    quoted = re.findall(r'"([^"]+)"', message)
    functions = re.findall(r"(?:[Ff]unction (?:with name )?|name )(\w+)", message)
    for word in [*quoted, *functions]:
        found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sql, re.IGNORECASE)
        if found:
            return found.start(), len(word)
    return None, 1
