"""What DuckDB's Python client names otherwise from one version to the next."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import duckdb

__all__ = ["HOLDS_ROWS", "materialised", "unregistered"]

HOLDS_ROWS = hasattr(duckdb.DuckDBPyRelation, "materialize")
"""Whether relations can hold what any statement gave, as from DuckDB 2 on."""


def materialised(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Return a relation over the rows that there are now; DuckDB 2 makes it another object."""
    either: Any = relation
    made: duckdb.DuckDBPyRelation = either.materialize() if HOLDS_ROWS else either.execute()
    return made


def unregistered(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Forget what was registered; ROLLBACK does it in a transaction that an error has aborted."""
    with suppress(duckdb.TransactionException):
        connection.unregister(name)
