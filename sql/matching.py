"""Rows of a population that match other rows: labelled inputs, or a relation with keys."""

from __future__ import annotations

from collections.abc import Sequence

from thresher.plan import SelectionQuery
from thresher.sql.lowering import from_sql

__all__ = ["joined_sql", "matches_sql"]


def matches_sql(query: SelectionQuery, sources: Sequence[str], asked: Sequence[str]) -> str:
    """Return the statement that lists the rows whose inputs equal labelled ones.

    Parameters
    ----------
    query, sources
        As for `population_sql`.
    asked : sequence of str
        One relation per call with the columns `OracleCall.inputs`, free of NULL.

    Returns
    -------
    str
        Its columns are the row columns of the rows in which at least one call was answered.
    """
    tests = [
        f"({', '.join(call.arguments)}) IN (SELECT {', '.join(call.inputs)} FROM {relation})"
        for call, relation in zip(query.calls, asked, strict=True)
    ]
    conditions = [f"({query.plain})"] if query.plain else []
    conditions.append(f"({' OR '.join(tests)})")
    rows = ", ".join(f"coalesce({leaf.row}, -1) AS {leaf.row}" for leaf in query.leaves)
    where = " AND ".join(conditions)
    return f"{query.ctes}SELECT {rows} FROM {from_sql(query, sources)} WHERE {where}"


def joined_sql(
    query: SelectionQuery,
    sources: Sequence[str],
    keys: Sequence[tuple[str, str]],
    relation: str,
    value: str,
) -> str:
    """Return the statement that joins the population with another relation.

    Parameters
    ----------
    query, sources
        As for `population_sql`.
    keys : sequence of (str, str)
        SQL over FROM, and the column of `relation` that must be equal.
    relation, value : str
        What to join with, and SQL over it.

    Returns
    -------
    str
        Its columns are the row columns and ``__thresher_value``.
    """
    names = [f"__thresher_j{i}" for i in range(len(keys))]
    rows = [leaf.row for leaf in query.leaves]
    columns = [f"coalesce({row}, -1) AS {row}" for row in rows]
    columns += [f"({sql}) AS {name}" for (sql, _), name in zip(keys, names, strict=True)]
    where = f" WHERE {query.plain}" if query.plain else ""
    candidates = f"SELECT {', '.join(columns)} FROM {from_sql(query, sources)}{where}"
    other = [f"({value}) AS __thresher_value"]
    other += [f"({column}) AS {name}" for (_, column), name in zip(keys, names, strict=True)]
    return (
        f"{query.ctes}SELECT {', '.join(rows)}, __thresher_value FROM ({candidates}) "
        f"JOIN (SELECT {', '.join(other)} FROM {relation}) USING ({', '.join(names)})"
    )
