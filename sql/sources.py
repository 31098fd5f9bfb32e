"""Relations of FROM as sources: each with a column that names its rows."""

from __future__ import annotations

from thresher.plan import Leaf, SelectionQuery
from thresher.sql.tokens import identifier

__all__ = ["base_source", "leaf_materialise_sql", "numbered", "temp_source", "typed_source"]


def base_source(leaf: Leaf) -> str:
    """Return the source of a stored table, whose `rowid` names its rows.

    The table must have no column of its own that is called ``rowid``.
    """
    return f"(SELECT *, rowid AS {leaf.row} FROM {_written(leaf)}) AS {identifier(leaf.alias)}"


def leaf_materialise_sql(query: SelectionQuery, leaf: Leaf, temp_name: str) -> str:
    """Return the statement that copies a relation into a temporary table with row numbers.

    A lateral relation cannot be copied; `temp_source` numbers its rows in place.
    """
    return f"CREATE TEMP TABLE {temp_name} AS {query.ctes}{numbered(leaf)}"


def numbered(leaf: Leaf) -> str:
    """Return the query that numbers the rows of a relation, from 0."""
    return f"SELECT *, row_number() OVER () - 1 AS {leaf.row} FROM {_written(leaf)}"


def temp_source(leaf: Leaf, temp_name: str) -> str:
    """Return the source of a relation that `leaf_materialise_sql` has copied."""
    if leaf.lateral:
        return _lateral_source(leaf)
    return f"{temp_name} AS {identifier(leaf.alias)}"


def typed_source(leaf: Leaf) -> str:
    """Return a source that has the columns of a relation, for binding without its rows."""
    if leaf.lateral:
        return _lateral_source(leaf)
    row = f"CAST(NULL AS BIGINT) AS {leaf.row}"
    return f"(SELECT *, {row} FROM {_written(leaf)}) AS {identifier(leaf.alias)}"


def _lateral_source(leaf: Leaf) -> str:
    """Number the rows of a relation that depends on relations before it."""
    # The numbers must be the same in each statement of a query: they follow the order of the
    # content, or of the list that is unnested.
    alias, relation = identifier(leaf.alias), leaf.relation
    if relation.lower().startswith("unnest("):
        column = identifier(leaf.columns[0]) if leaf.columns else "unnest"
        return f"{relation} WITH ORDINALITY AS {alias}({column}, {leaf.row})"
    columns = f"({', '.join(identifier(name) for name in leaf.columns)})" if leaf.columns else ""
    return (
        f"LATERAL (SELECT *, row_number() OVER (ORDER BY __thresher_q) - 1 AS {leaf.row} "
        f"FROM {relation} AS __thresher_q{columns}) AS {alias}"
    )


def _written(leaf: Leaf) -> str:
    """Write a relation with its alias, as it stands in FROM."""
    if leaf.relation == identifier(leaf.alias) and not leaf.columns:
        return leaf.relation
    columns = f"({', '.join(identifier(name) for name in leaf.columns)})" if leaf.columns else ""
    return f"{leaf.relation} AS {identifier(leaf.alias)}{columns}"
