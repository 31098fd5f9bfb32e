"""The order of a query's rows as DuckDB SQL, and columns over all of its candidates."""

from __future__ import annotations

from collections.abc import Sequence

from thresher.plan import SelectionQuery
from thresher.sql.lowering import from_sql, kept_columns, kept_sql, order_by_row

__all__ = ["column_sql", "order_sql"]


def column_sql(query: SelectionQuery, sources: Sequence[str], sql: str) -> str:
    """Return the statement that evaluates an expression over FROM for every candidate.

    Its columns are the row columns and ``__thresher_value``.
    """
    columns = [f"coalesce({leaf.row}, -1) AS {leaf.row}" for leaf in query.leaves]
    where = f" WHERE {query.plain}" if query.plain else ""
    written = ", ".join([*columns, f"({sql}) AS __thresher_value"])
    return f"{query.ctes}SELECT {written} FROM {from_sql(query, sources)}{where}"


def order_sql(query: SelectionQuery, sources: Sequence[str], keep: str | None = None) -> str:
    """Return the statement that puts rows into the order of the answer.

    Parameters
    ----------
    query : SelectionQuery
        The bound query, without DISTINCT and aggregates.
    sources : sequence of str
        One source per leaf.
    keep : str, optional
        Relation as for `thresher.sql.lowering.answer_sql`: the rows that LIMIT leaves of those in
        it are listed. Without it every candidate is, and LIMIT does not count.

    Returns
    -------
    str
        Its columns are the row columns; nothing of the SELECT list is evaluated but what the order
        hangs on.
    """
    answer = query.answer
    names = [f"__thresher_w{i}" for i in range(len(query.leaves))]
    rows = [
        f"coalesce({leaf.row}, -1) AS {name}"
        for leaf, name in zip(query.leaves, names, strict=True)
    ]
    select = ", ".join([answer.select.rstrip().removesuffix(","), *rows])
    # ORDER BY ALL takes the columns for the rows, which are the last.
    order = order_by_row(query) if answer.by_row else answer.order
    if keep is None:
        inner = [f"{select} FROM {_candidates(query, sources)}", order]
    else:
        inner = [f"{select} FROM {kept_sql(query, sources, keep)}", order, answer.limit]
    outer = [f"{name} AS {leaf.row}" for leaf, name in zip(query.leaves, names, strict=True)]
    return f"{query.ctes}SELECT {', '.join(outer)} FROM ({' '.join(inner)})"


def _candidates(query: SelectionQuery, sources: Sequence[str]) -> str:
    """Write FROM and WHERE for all candidates, with columns in the places of the labels."""
    relation = from_sql(query, sources)
    rows, labels = kept_columns(query)
    if labels:
        columns = [f"NULL AS {name}" for name in rows]
        columns += [f"CAST(NULL AS {kind}) AS {name}" for name, kind in labels.items()]
        relation += f", (SELECT {', '.join(columns)}) AS __thresher_labels"
    return f"{relation} WHERE {query.plain}" if query.plain else relation
