"""Statements with query blocks of ours inside: each block is answered into a temporary table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb

from thresher.answering import empty_keep
from thresher.duckdb_versions import unregistered
from thresher.errors import Error, NotSupportedError
from thresher.plan import Composed, InnerBlock, SelectionQuery
from thresher.sql import lowering
from thresher.sql.sources import typed_source

__all__ = ["block_tables"]

_KEEP = "__thresher_keep"
_PIVOT = re.compile(r"\bpivot(_wider)?\b", re.IGNORECASE)
_PIVOT_IN = re.compile(r"\b(on|for)\s+(\w+|\"[^\"]+\")\s+in\s*\(", re.IGNORECASE)


@contextmanager
def block_tables(connection: duckdb.DuckDBPyConnection, statement: Composed) -> Iterator[None]:
    """Make an empty table for the rows of each block, and drop them at the end.

    Every block and the statement round them are bound over no rows first, so that a mistake shows
    before a label is bought; all but a PIVOT, whose columns are values of those rows.

    Raises
    ------
    NotSupportedError
        A block names a column of the query round it.
    """
    made: list[str] = []
    try:
        for block in statement.blocks:
            try:
                with _typed(connection, block.query) as sql:
                    made.append(block.name)
                    connection.execute(
                        f"CREATE OR REPLACE TEMP TABLE {block.name} AS SELECT * FROM ({sql}) "
                        "LIMIT 0"
                    )
            except duckdb.BinderException as error:
                if (named := _correlated(statement, block, str(error))) is None:
                    raise
                raise named from error
        if not _PIVOT.search(statement.sql) or _PIVOT_IN.search(statement.sql):
            _bind_outer(connection, statement.outer)
        yield
    finally:
        with suppress(duckdb.TransactionException):  # aborted: ROLLBACK drops them
            for name in made:
                connection.execute(f"DROP TABLE IF EXISTS temp.{name}")


def _bind_outer(connection: duckdb.DuckDBPyConnection, outer: SelectionQuery | str) -> None:
    """Bind the statement round the blocks over no rows."""
    if isinstance(outer, str):
        connection.execute(f"EXPLAIN {outer}")
        return
    with _typed(connection, outer) as sql:
        connection.execute(f"EXPLAIN {sql}")


@contextmanager
def _typed(connection: duckdb.DuckDBPyConnection, query: SelectionQuery) -> Iterator[str]:
    """Bind a block, and write SQL with the types of its answer over no rows."""
    sources = [typed_source(leaf) for leaf in query.leaves]
    connection.execute(f"EXPLAIN {lowering.population_sql(query, sources)}")
    if query.estimation is not None:
        yield lowering.typed_estimates_sql(query, sources)
        return
    connection.register(_KEEP, empty_keep(query))
    try:
        yield lowering.answer_sql(query, sources, _KEEP)
    finally:
        unregistered(connection, _KEEP)


def _correlated(statement: Composed, block: InnerBlock, message: str) -> Error | None:
    """Return a refusal where a block does not bind because it needs a row of the query round it."""
    missing = re.search(r'Referenced (?:table|column) "(\w+)" not found', message)
    start, end = block.place.offset, block.place.offset + block.place.length
    round_it = f"{statement.sql[:start]} {statement.sql[end:]}"
    if missing is None or not re.search(rf"\b{re.escape(missing[1])}\b", round_it):
        return None
    return NotSupportedError(
        f"this subquery uses {missing[1]} of the query round it, and would have to be answered "
        "anew for each row. Write WHERE key IN (SELECT key FROM ... WHERE oracle(...) ...), or "
        "join: FROM a JOIN b ON ... WHERE oracle(...).",
        sql=statement.sql,
        offset=start,
        length=end - start,
    )
