"""The rows of a query that another process has sent, in the place of what FROM reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.answering import Answering, Keys, fresh
from thresher.duckdb_versions import unregistered
from thresher.plan import Leaf, SelectionQuery
from thresher.population import Population
from thresher.sql.lowering import kept_columns
from thresher.sql.shipping import ORDER, ROW, SENT, Shipped
from thresher.sql.tokens import identifier

__all__ = ["FedPopulation", "FedRows", "fed_rows", "unknown_functions"]

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_CALLED = re.compile(r"([^\W\d]\w*)\s*\(")
_WORDS = {"by", "columns", "exclude", "filter", "over", "replace", "try_cast", "unpack", "within"}

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FedRows:
    """The rows of a query as they came.

    Parameters
    ----------
    table : pyarrow.Table
        The column `ROW`, and those of `thresher.sql.shipping.Shipped`.
    keys : list of ndarray of int64, one per relation of FROM
        Row keys, in the order of `ROW`.
    sent : ndarray of int64, shape (n_rows,), or None
        The number under which each row was sent, in the order of `ROW`; None where it is `ROW`.
    places : ndarray of int64, shape (n_rows,), or None
        Where each row stands in `table`, in the order of `ROW`; None where that is its order.
    """

    table: pa.Table
    keys: list[Numbers]
    sent: Numbers | None
    places: Numbers | None

    def numbers(self, rows: Numbers) -> Numbers:
        """Return under which numbers rows were sent."""
        return rows if self.sent is None else self.sent[rows]


def fed_rows(shipped: Shipped, numbers: Numbers, table: pa.Table) -> FedRows:
    """Number the rows of a query as the query over its own relations would.

    Parameters
    ----------
    shipped : Shipped
        The query, and what was to be sent of its rows.
    numbers : ndarray of int64, shape (n_rows,)
        Under which each row was sent; distinct, in any order.
    table : pyarrow.Table, n_rows rows
        The row keys and the columns of `shipped`.
    """
    leaves = shipped.asked.leaves
    wanted = [name for name, _ in shipped.columns] + ([ORDER] if shipped.ordered else [])
    columns = {name: table.column(name) for name in wanted}
    if len(leaves) == 1 and not leaves[0].lateral:
        found = pa.table({ROW: numbers, **columns})
        if np.all(numbers[1:] > numbers[:-1]):
            return FedRows(found, [numbers], None, None)
        order = np.argsort(numbers, kind="stable")
        return FedRows(found, [numbers[order]], None, order)
    keys = [np.asarray(table.column(leaf.row).to_numpy(), dtype=np.int64) for leaf in leaves]
    order = np.lexsort(keys[::-1])
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    found = pa.table({ROW: places, **columns})
    return FedRows(found, [k[order] for k in keys], numbers[order], order)


class FedPopulation(Population):
    """Candidate rows that were sent; nothing is read from the relations of FROM.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A connection of this process.
    shipped : Shipped
        The query.
    query : SelectionQuery
        `shipped.query`, or it with other clauses.
    rows : FedRows
        Its rows.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        shipped: Shipped,
        query: SelectionQuery,
        rows: FedRows,
    ) -> None:
        self._shipped, self._rows = shipped, rows
        self._batches = rows.table.to_batches()
        self._ends = np.cumsum([batch.num_rows for batch in self._batches])
        connection.register(SENT, rows.table)
        super().__init__(connection, query, [None] * len(query.calls))

    @property
    def asked(self) -> SelectionQuery:
        """The query as it was asked."""
        return self._shipped.asked

    @property
    def keys(self) -> list[Numbers]:
        """Row keys, one array per relation of the query's own FROM."""
        return self._rows.keys

    def close(self) -> None:
        """Let go of the rows."""
        unregistered(self._connection, SENT)

    @contextmanager
    def _sample(self, rows: Numbers) -> Iterator[str]:
        """Name a relation with some rows, which are found by their places; they are the sources."""
        name, sources = fresh("few"), self._sources
        self._connection.register(name, self._few(rows))
        self._sources = [f"{name} AS {identifier(leaf.alias)}" for leaf in self._query.leaves]
        try:
            yield name
        finally:
            self._sources = sources
            unregistered(self._connection, name)

    def _few(self, rows: Numbers) -> pa.Table:
        """Return some rows, in any order."""
        # Table.take would first join the texts of all rows, which may be over 2 GB.
        places = np.sort(rows if self._rows.places is None else self._rows.places[rows])
        cuts = np.searchsorted(places, self._ends)
        taken, first, start = [], 0, 0
        for batch, cut, end in zip(self._batches, cuts, self._ends, strict=True):
            if cut > first:
                taken.append(batch.take(pa.array(places[first:cut] - start)))
            first, start = cut, end
        return pa.Table.from_batches(taken, schema=self._rows.table.schema)

    def _source(self, leaf: Leaf) -> str:
        return f"{SENT} AS {identifier(leaf.alias)}"

    def _answering(self) -> Answering:
        return _FedAnswering(self._connection, self._query, self._rows.table)


class _FedAnswering(Answering):
    """Says which rows are returned; the statement that sent them runs the rest of the query."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, query: SelectionQuery, table: pa.Table
    ) -> None:
        self._connection, self._query, self._table = connection, query, table
        self.by_row = not query.answer.aggregates

    def rows(
        self,
        keys: Keys,
        labels: Mapping[str, pa.Array],
        into: str,  # noqa: ARG002
    ) -> duckdb.DuckDBPyRelation:
        """Return the numbers of the rows, and their labels."""
        _, wanted = kept_columns(self._query)
        shown = {name: labels[name] for name in wanted}
        return self._connection.from_arrow(pa.table({ROW: pa.array(keys[0]), **shown}))

    def estimates(self, table: pa.Table, into: str) -> duckdb.DuckDBPyRelation:  # noqa: ARG002
        """Return the estimates; a group is named by a row of it, in the column `ROW`."""
        estimation = self._query.estimation
        groups = estimation.groups if estimation is not None else ()
        values = [name for name in table.column_names if name not in dict(groups)]
        if not groups:
            return self._connection.from_arrow(
                pa.table({ROW: pa.nulls(table.num_rows, pa.int64())} | _columns(table, values))
            )
        named = ", ".join(f"{column} AS {name}" for name, column in groups)
        same = " AND ".join(f"e.{name} IS NOT DISTINCT FROM p.{name}" for name, _ in groups)
        position = "__thresher_i"
        self._connection.register(
            "__thresher_estimates", table.append_column(position, pa.array(range(table.num_rows)))
        )
        try:
            found = self._connection.sql(
                f"SELECT p.{ROW}, e.* FROM __thresher_estimates AS e JOIN "
                f"(SELECT min({ROW}) AS {ROW}, {named} FROM {SENT} "
                f"GROUP BY {', '.join(column for _, column in groups)}) AS p "
                f"ON {same} ORDER BY {position}"
            ).to_arrow_table()
        finally:
            unregistered(self._connection, "__thresher_estimates")
        return self._connection.from_arrow(found.select([ROW, *values]))

    def left(self, keys: Keys, labels: Mapping[str, pa.Array]) -> pa.Table:  # noqa: ARG002
        """Return the rows that LIMIT leaves of those with these keys."""
        limit = self._query.answer.row_limit
        rows = self._in_order(keys[0])
        if limit is not None:
            rows = rows[limit.offset : limit.needed]
        return pa.table({ROW: rows})

    def in_order(self) -> pa.Table:
        """Return all candidates in the order of the answer."""
        return pa.table({ROW: self._in_order(self._column(ROW))})

    @property
    def one_to_one(self) -> bool:
        """Whether each row gives one row of the answer, by itself.

        The macros of the database are not known here. Where LIMIT would leave rows out that one
        of them may need, none is.
        """
        query = self._query
        if not self.by_row or (query.sought is None and query.outputs is None):
            return self.by_row
        return not unknown_functions(self._connection, query)

    def _in_order(self, rows: Numbers) -> Numbers:
        if ORDER not in self._table.column_names:
            return np.sort(rows)
        numbers, places = self._column(ROW), self._column(ORDER)
        by_number = np.argsort(numbers, kind="stable")
        at = places[by_number[np.searchsorted(numbers[by_number], rows)]]
        return rows[np.argsort(at, kind="stable")]

    def _column(self, name: str) -> Numbers:
        return np.asarray(self._table.column(name).to_numpy(), dtype=np.int64)


def unknown_functions(connection: duckdb.DuckDBPyConnection, query: SelectionQuery) -> list[str]:
    """Return what follows WHERE calls, or lists, that is no function of DuckDB: maybe macros."""
    texts = [_QUOTED.sub(" ", text) for text in (query.answer.select, query.answer.order)]
    called = {name.lower() for text in texts for name in _CALLED.findall(text)}
    found = connection.execute(
        "SELECT function_name FROM duckdb_functions() WHERE list_contains($1, function_name) "
        "UNION SELECT keyword_name FROM duckdb_keywords() WHERE list_contains($1, keyword_name) "
        "AND keyword_category IN ('reserved', 'column_name')",
        [sorted(called)],
    ).fetchall()
    return sorted(called - _WORDS - {name for (name,) in found})


def _columns(table: pa.Table, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    return {name: table.column(name) for name in names}
