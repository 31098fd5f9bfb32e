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
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
