"""Columns of a population as arrays, and the scores among them checked."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import DataError, ProgrammingError
from thresher.plan import ProxyTerm, SelectionQuery
from thresher.sql import lowering
from thresher.sql.aggregate_numbers import is_numeric

__all__ = ["check_scores", "doubles", "integers", "known", "measured", "row_order", "scores"]


def check_scores(
    connection: duckdb.DuckDBPyConnection, query: SelectionQuery, sources: Sequence[str]
) -> None:
    """Refuse what USING scores the rows by if it is no number.

    Raises
    ------
    ProgrammingError
        It is none.
    """
    terms = [term for term in query.proxies if term.name is None]
    if not terms:
        return
    sql = f"DESCRIBE {lowering.scores_sql(query, sources)}"
    kinds = [str(row[1]) for row in connection.execute(sql).fetchall()]
    for term, kind in zip(terms, kinds, strict=True):
        if not is_numeric(kind):
            raise ProgrammingError(
                f"{term.text} is {kind}: USING takes a number, higher for rows that are more "
                "likely positive.",
                sql=query.sql, offset=term.place.offset, length=term.place.length,
            )  # fmt: skip


def row_order(keys: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64] | slice:
    """Sort rows by key, so that their numbers do not hang on DuckDB's threads."""
    if len(keys) == 1 and bool(np.all(keys[0][1:] > keys[0][:-1])):
        return slice(None)
    return np.lexsort(keys[::-1])


def integers(table: pa.Table, column: str) -> npt.NDArray[np.int64]:
    """Return a column without NULL, shape (n_rows,)."""
    return np.asarray(table.column(column).to_numpy(), dtype=np.int64)


def doubles(table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    """Return a column, NaN where it is NULL, shape (n_rows,)."""
    return np.asarray(table.column(column).to_numpy(), dtype=np.float64)


def known(table: pa.Table) -> npt.NDArray[np.int8]:
    """Return 1 or 0 where the formula is decided without a label, else -1, shape (n_rows,)."""
    column = table.column("__thresher_known")
    if column.null_count == len(column):
        return np.full(len(column), -1, dtype=np.int8)
    column = column.combine_chunks()
    return np.asarray(column.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int8)


def measured(table: pa.Table, query: SelectionQuery) -> npt.NDArray[np.float64]:
    """Return what rows count with in each `Measured`, NaN where they do not.

    The shape is (n_rows, n_measured).
    """
    estimation = query.estimation
    n_measured = len(estimation.measured) if estimation else 0
    found = np.empty((table.num_rows, n_measured))
    for i in range(n_measured):
        found[:, i] = doubles(table, f"__thresher_v{i}")
    return found


def scores(table: pa.Table, term: ProxyTerm, query: SelectionQuery) -> npt.NDArray[np.float64]:
    """Return the scores of an expression, NaN where it is NULL, shape (n_rows,).

    Raises
    ------
    DataError
        A score is NaN or infinite.
    """
    column = table.column(term.column)
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    n_bad = len(values) - int(np.count_nonzero(np.isfinite(values))) - column.null_count
    if n_bad:
        raise DataError(
            f"the proxy score {term.text} is NaN or infinite on {n_bad:,} of {len(values):,} rows. "
            f"Write an expression that is finite everywhere, or NULL where nothing is known, such "
            f"as CASE WHEN isfinite({term.text}) THEN {term.text} END.",
            sql=query.sql,
            offset=term.place.offset,
            length=term.place.length,
        )
    return values
