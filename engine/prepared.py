"""Prepared statements of ours: kept as text, bound to their values when they are executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from thresher.plan import Prepare
from thresher.sql.prepared import parse_execution

__all__ = ["Prepared"]

Parameters = Sequence[Any] | Mapping[str, Any] | None


class Prepared:
    """The prepared statements of one connection that hold oracle calls; DuckDB keeps the others.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Evaluates the values that EXECUTE gives.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._statements: dict[str, str] = {}

    def keep(self, statement: Prepare) -> None:
        """Take a statement; one of the same name goes."""
        self._statements[statement.name] = statement.statement

    def called(self, sql: str, parameters: Parameters) -> tuple[str, Parameters]:
        """Return what is to be run in the place of a statement, and its parameters.

        That is the prepared statement with its values for EXECUTE, nothing (an empty text) after a
        DEALLOCATE, and the statement itself for everything that is not ours.
        """
        execution = parse_execution(sql) if self._statements else None
        if execution is None or execution.name not in self._statements:
            return sql, parameters
        if execution.ends:
            del self._statements[execution.name]
            return "", None
        names = [name for name, _ in execution.arguments]
        values: tuple[Any, ...] = ()
        if names:
            items = ", ".join(text for _, text in execution.arguments)
            values = self._connection.execute(f"SELECT {items}", parameters).fetchall()[0]
        given = dict(zip(names, values, strict=True)) if any(names) else list(values)
        return self._statements[execution.name], given
