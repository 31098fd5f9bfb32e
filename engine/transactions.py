"""The user's transaction, or one of our own: rows stand still while a statement runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

__all__ = ["begun", "in_transaction", "transaction"]


def in_transaction(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a transaction was begun: outside one every statement has an id of its own."""
    ids = [connection.execute("SELECT txid_current()").fetchall() for _ in range(2)]
    return ids[0] == ids[1]


def begun(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a transaction was begun and not ended yet, be it aborted by an error."""
    try:
        return in_transaction(connection)
    except duckdb.TransactionException:
        return True


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run inside the user's transaction, or in one that ends with what runs inside.

    Raises
    ------
    duckdb.TransactionException
        The user's transaction is aborted: only ROLLBACK will work.
    """
    if in_transaction(connection):
        yield
        return
    try:
        connection.execute("BEGIN")  # it has begun even where Ctrl-C is heard as this returns
        yield
        connection.execute("COMMIT")
    except BaseException:
        _undo(connection)
        raise


def _undo(connection: duckdb.DuckDBPyConnection) -> None:
    """End the transaction, if one is open, however often Ctrl-C is pressed meanwhile."""
    while True:
        try:
            connection.execute("ROLLBACK")
        except duckdb.TransactionException:  # none is open
            return
        except (KeyboardInterrupt, duckdb.InterruptException):
            continue
        return
