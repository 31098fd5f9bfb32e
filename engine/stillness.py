"""Whether rows stand still between the statements of a query."""

from __future__ import annotations

import re

import duckdb

from thresher.errors import NotSupportedError
from thresher.plan import Leaf, SelectionQuery

__all__ = ["is_base_table", "refuse_volatile"]

_FUNCTION = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)\s*\(")
_NO_FUNCTION = {"and", "cast", "in", "not", "or"}


def refuse_volatile(connection: duckdb.DuckDBPyConnection, query: SelectionQuery) -> None:
    """Refuse functions that answer otherwise each time: rows are read several times."""
    arguments = [sql for call in query.all_calls for sql in call.arguments]
    texts = [query.plain or "", *query.from_sql, *arguments, *(sql for _, sql in query.parts)]
    if (estimation := query.estimation) is not None:
        texts += [measured.plain_sql or "" for measured in estimation.measured]
        texts += [sql for _, sql in estimation.groups]
    names = {name.lower() for text in texts for name in _FUNCTION.findall(text)} - _NO_FUNCTION
    if not names:
        return
    found = connection.execute(
        "SELECT function_name FROM duckdb_functions() "
        "WHERE stability = 'VOLATILE' AND list_contains(?, function_name) LIMIT 1",
        [sorted(names)],
    ).fetchall()
    if not found:
        return
    ((name,),) = found
    written = re.search(rf"\b{name}\s*\(", query.sql, re.IGNORECASE)
    raise NotSupportedError(
        f"{name}() gives another value each time, so the rows would not stand still. "
        f"Choose them first: FROM (SELECT * FROM ... WHERE {name}() ...) AS t.",
        sql=query.sql,
        offset=written.start() if written else None,
        length=len(name),
    )


def is_base_table(connection: duckdb.DuckDBPyConnection, leaf: Leaf) -> bool:
    """Whether the leaf is a stored table, whose `rowid` names a row within a transaction."""
    if leaf.table is None or leaf.columns:
        return False
    parts = ("table_name", "schema_name", "database_name")
    given = list(zip(parts, reversed(leaf.table), strict=False))
    where = " AND ".join(f"lower({column}) = lower(?)" for column, _ in given)
    found = connection.execute(
        f"SELECT 1 FROM duckdb_tables() WHERE {where} LIMIT 1",
        [value for _, value in given],
    ).fetchall()
    return bool(found) and not _shadowed(connection, leaf)


def _shadowed(connection: duckdb.DuckDBPyConnection, leaf: Leaf) -> bool:
    """Whether the name means something else than the table: then `rowid` does not bind to it."""
    try:
        columns = connection.execute(f"DESCRIBE SELECT * FROM {leaf.relation}").fetchall()
        if any(str(column[0]).lower() == "rowid" for column in columns):
            return True
        connection.sql(f"SELECT rowid FROM {leaf.relation} LIMIT 0")
    except duckdb.BinderException:
        return True
    return False
