"""DuckDB's exceptions as ours."""

from __future__ import annotations

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


@contextmanager
def translated(what: str = "") -> Iterator[None]:
    """Turn DuckDB's errors into `thresher.errors` of the same PEP 249 kind.

    Parameters
    ----------
    what : str
        What was being done, kept as the error's ``sql``.
    """
    try:
        yield
    except duckdb.Error as error:
        for theirs, ours in _KINDS:
            if isinstance(error, theirs):
                raise ours(str(error), sql=what) from error
        raise errors.DatabaseError(str(error), sql=what) from error
