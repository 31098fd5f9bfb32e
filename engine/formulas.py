"""The formula of a query, and what its rows count with, over rows that have labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.answering import fresh
from thresher.duckdb_versions import unregistered
from thresher.plan import SelectionQuery
from thresher.population_columns import measured
from thresher.sql import lowering

__all__ = ["Formulas"]


class Formulas:
    """Evaluates a query over labelled rows, by DuckDB itself.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Where the query runs.
    query : SelectionQuery
        The bound query.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, query: SelectionQuery) -> None:
        self._connection, self._query = connection, query

    def evaluate(self, table: pa.Table, values: Mapping[str, pa.Array]) -> npt.NDArray[np.int8]:
        """Evaluate the formula over labelled rows.

        Parameters
        ----------
        table : pyarrow.Table
            As `Population.inputs` returns it.
        values : mapping of str to pyarrow.Array
            Answers of each call, NULL where unknown.

        Returns
        -------
        ndarray of int8, shape (k,)
            1 true, 0 false, -1 NULL.
        """
        truths = self._over(table, values, lowering.formula_sql)
        column = truths.column("truth").combine_chunks().fill_null(-1)
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int8)

    def measure(self, table: pa.Table, values: Mapping[str, pa.Array]) -> npt.NDArray[np.float64]:
        """Return what labelled rows count with in each `Measured`: shape (k, n_measured).

        `table` and `values` are as for `evaluate`; NaN where a row does not count.
        """
        return measured(self._over(table, values, lowering.values_sql), self._query)

    def _over(
        self,
        table: pa.Table,
        values: Mapping[str, pa.Array],
        written: Callable[[SelectionQuery, str, Sequence[str]], str],
    ) -> pa.Table:
        """Run a statement over labelled rows, in their order."""
        number = "__thresher_number"
        columns = {name: table.column(name) for name, _ in self._query.parts}
        numbers = {number: pa.array(np.arange(table.num_rows))}
        name = fresh("labelled")
        self._connection.register(name, pa.table({**numbers, **columns, **values}))
        try:
            sql = f"{written(self._query, name, [number])} ORDER BY {number}"
            return self._connection.sql(sql).to_arrow_table()
        finally:
            unregistered(self._connection, name)
