"""The rows a query is about: their keys, what is known of them, their scores, their inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import TracebackType

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.answering import Answering, fresh
from thresher.duckdb_versions import unregistered
from thresher.errors import DataError
from thresher.formulas import Formulas
from thresher.plan import Leaf, OracleCall, SelectionQuery
from thresher.population_columns import (
    check_scores,
    doubles,
    integers,
    known,
    measured,
    row_order,
    scores,
)
from thresher.sparse_reads import sparse
from thresher.sql import lowering, matching
from thresher.sql.ordering import column_sql
from thresher.sql.sources import base_source, leaf_materialise_sql, temp_source
from thresher.stillness import is_base_table, refuse_volatile

__all__ = ["Population"]


class Population:
    """Candidate rows of one query, read once and numbered from 0 in the order of their row keys.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        The user's own connection: temporary tables and uncommitted rows are seen.
    query : SelectionQuery
        The bound query.
    facts : sequence of pyarrow.Table or None, one per call
        Answers that are already known (``key``, ``value``); None for a call without any.

    Attributes
    ----------
    known : ndarray of int8, shape (n_rows,)
        1 or 0 where the formula is decided without a label, else -1.
    free : ndarray of int8, shape (n_rows,)
        `known` before any fact of the store was taken.
    scores : list of ndarray of float64, shape (n_rows,)
        One array per SQL expression in USING; NaN where the expression is NULL.
    plain : list of (ndarray of float64, shape (n_rows,), or None)
        One per `Measured` of an estimation: its value where no oracle gives it, NaN where the row
        never counts.
    values : ndarray of float64, shape (n_rows, n_measured)
        What known rows count with in each `Measured`; NaN elsewhere and where they do not count.
    predictions : pyarrow.Array or None
        The proxy's label of every row, where USING has one.
    answering : Answering
        Runs the rest of the query.
    formulas : Formulas
        Evaluates it over rows that have labels.
    groups : pyarrow.Table
        The columns of GROUP BY, a row for each row.

    Raises
    ------
    DataError
        A score is NaN or infinite.
    ProgrammingError
        A score is no number.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        query: SelectionQuery,
        facts: Sequence[pa.Table | None],
    ) -> None:
        self._connection, self._query = connection, query
        self.formulas = Formulas(connection, query)
        self._temporary: list[str] = []
        self.known = self.free = np.empty(0, dtype=np.int8)
        self.values: npt.NDArray[np.float64] = np.empty((0, 0))
        self.groups = pa.table({})
        self.predictions: pa.Array | None = None
        self.scores: list[npt.NDArray[np.float64]] = []
        self.plain: list[npt.NDArray[np.float64] | None] = []
        try:
            refuse_volatile(connection, query)
            self._sources = [self._source(leaf) for leaf in query.leaves]
            # A mistake in the SELECT list must show before a label.
            self.answering = self._answering()
            check_scores(self._connection, self._query, self._sources)
            self._read(facts)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Population:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def asked(self) -> SelectionQuery:
        """The query as it was asked, which tells its run from others."""
        return self._query

    @property
    def n_rows(self) -> int:
        """Number of candidate rows."""
        return len(self.known)

    @property
    def keys(self) -> list[npt.NDArray[np.int64]]:
        """Row keys, one array per relation of FROM."""
        return self._keys

    def close(self) -> None:
        """Drop what was created on the user's connection."""
        with suppress(duckdb.TransactionException):  # aborted: ROLLBACK drops them
            for table in self._temporary:
                self._connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
        self._temporary = []

    def learn(
        self, facts: Sequence[pa.Table | None], asked: Sequence[pa.Table | None] | None = None
    ) -> None:
        """Take facts: `known` and `values` become what they decide (row order unchanged).

        Parameters
        ----------
        facts : sequence of pyarrow.Table or None, one per call
            As for the population.
        asked : sequence of pyarrow.Table or None, one per call, optional
            The inputs of those facts, as for `matching`: only rows that have them are hashed.
        """
        if asked is not None:
            rows = self.matching(asked)
            if len(rows) <= self.n_rows // 2:
                self._learn_of(facts, rows)
                return
        table = self._run_population(facts)
        keys = [integers(table, leaf.row) for leaf in self._query.leaves]
        order = row_order(keys)
        same = all(
            np.array_equal(now[order], before) for now, before in zip(keys, self._keys, strict=True)
        )
        if not same:
            raise DataError("the rows changed while the query ran; run it again")
        self.known = known(table)[order]
        self.values = measured(table, self._query)[order]

    def _learn_of(self, facts: Sequence[pa.Table | None], rows: npt.NDArray[np.int64]) -> None:
        """Take facts that are of these rows alone."""
        if not len(rows):
            return
        with self._sample(rows) as sample:
            table = self._run_population(facts, sample=sample)
        found = self._numbers(table)
        self.known, self.values = self.known.copy(), self.values.copy()
        self.known[found], self.values[found] = known(table), measured(table, self._query)

    @contextmanager
    def _sample(self, rows: npt.NDArray[np.int64]) -> Iterator[str]:
        """Name a relation with the keys of some rows, to which the sources may be cut down."""
        name = fresh("sample")
        leaves = self._query.leaves
        wanted = {leaf.row: keys[rows] for leaf, keys in zip(leaves, self._keys, strict=True)}
        self._connection.register(name, pa.table(wanted))
        try:
            with sparse(self._connection, len(rows), self.n_rows):
                yield name
        finally:
            unregistered(self._connection, name)

    def inputs(
        self, rows: npt.NDArray[np.int64], calls: tuple[OracleCall, ...] | None = None
    ) -> pa.Table:
        """Fetch model inputs, their keys and the formula's other parts.

        Parameters
        ----------
        rows : ndarray of int64, shape (k,)
            Distinct row numbers.
        calls : tuple of OracleCall, optional
            Calls besides the formula, whose inputs are wanted instead.

        Returns
        -------
        pyarrow.Table, k rows, in the order of `rows`
            The `inputs` and `key` columns of each call, and the query's `parts`.
        """
        wanted = [column[rows] for column in self._keys]
        leaves = self._query.leaves
        query = self._query if calls is None else replace(self._query, calls=calls, parts=())
        with self._sample(rows) as sample:
            sql = lowering.inputs_sql(query, self._sources, sample)
            table = self._connection.sql(sql).to_arrow_table()
        if table.num_rows != len(rows):
            raise DataError(
                f"the rows changed while the query ran: {len(rows)} asked, {table.num_rows} found"
            )
        found = [integers(table, leaf.row) for leaf in leaves]
        positions = np.empty(len(rows), dtype=np.int64)
        positions[np.lexsort(wanted[::-1])] = np.lexsort(found[::-1])
        return table.drop_columns([leaf.row for leaf in leaves]).take(pa.array(positions))

    def matching(self, asked: Sequence[pa.Table | None]) -> npt.NDArray[np.int64]:
        """Return the rows whose inputs equal labelled ones.

        Parameters
        ----------
        asked : sequence of pyarrow.Table or None, one per call
            Inputs that were answered, free of NULL: the columns `OracleCall.inputs`. None for a
            call of which none was.

        Returns
        -------
        ndarray of int64, shape (k,)
            Row numbers, ascending.
        """
        pairs = zip(self._query.calls, asked, strict=True)
        given = [(call, table) for call, table in pairs if table is not None]
        if not given:
            return np.zeros(0, dtype=np.int64)
        names = [fresh("asked") for _ in given]
        for name, (_, table) in zip(names, given, strict=True):
            self._connection.register(name, table)
        try:
            query = replace(self._query, calls=tuple(call for call, _ in given))
            sql = matching.matches_sql(query, self._sources, names)
            found = self._connection.sql(sql).to_arrow_table()
        finally:
            for name in names:
                unregistered(self._connection, name)
        return np.sort(self._numbers(found))

    def joined(
        self, keys: Sequence[tuple[str, str]], relation: str, value: str
    ) -> tuple[npt.NDArray[np.int64], pa.Array]:
        """Join the rows with another relation.

        Parameters
        ----------
        keys : sequence of (str, str)
            SQL over FROM, and the column of `relation` that must be equal.
        relation : str
            What to join with.
        value : str
            SQL over `relation`.

        Returns
        -------
        rows : ndarray of int64, shape (k,)
            Row numbers; a row that finds several partners comes several times.
        values : pyarrow.Array, length k
        """
        sql = matching.joined_sql(self._query, self._sources, keys, relation, value)
        table = self._connection.sql(sql).to_arrow_table()
        found = self._numbers(table)
        return found, table.column("__thresher_value").combine_chunks()

    def _numbers(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Return the row numbers of row keys."""
        keys = [integers(table, leaf.row) for leaf in self._query.leaves]
        if len(keys) == 1:
            rows, wanted = self._keys[0], keys[0]
        else:
            rows, wanted = np.rec.fromarrays(self._keys), np.rec.fromarrays(keys)
        places = np.searchsorted(rows, wanted)
        if len(wanted) and (places.max() >= len(rows) or bool(np.any(rows[places] != wanted))):
            raise DataError("the rows changed while the query ran; run it again")
        return np.asarray(places, dtype=np.int64)

    def answer(
        self,
        returned: npt.NDArray[np.bool_],
        labels: Mapping[str, pa.Array] | None = None,
        into: str = "",
    ) -> duckdb.DuckDBPyRelation:
        """Run the user's query over the returned rows; the result is materialised.

        Parameters
        ----------
        returned : ndarray of bool, shape (n_rows,)
        labels : mapping of str to pyarrow.Array, optional
            Labels of the returned rows, by the column that stands for them.
        into : str
            Table that is to hold the rows, if any; it must exist.
        """
        keys = [column[returned] for column in self._keys]
        return self.answering.rows(keys, labels or {}, into)

    def left(
        self, returned: npt.NDArray[np.bool_], labels: Mapping[str, pa.Array]
    ) -> npt.NDArray[np.int64]:
        """Return the rows that LIMIT leaves of the returned ones, whose `labels` are known."""
        keys = [column[returned] for column in self._keys]
        return np.unique(self._numbers(self.answering.left(keys, labels)))

    def in_order(self) -> npt.NDArray[np.int64]:
        """Return all rows in the order of the answer."""
        return self._numbers(self.answering.in_order())

    def column(self, sql: str) -> pa.Array:
        """Evaluate an expression over FROM for all rows: length n_rows."""
        found = self._connection.sql(column_sql(self._query, self._sources, sql))
        table = found.to_arrow_table()
        places = np.argsort(self._numbers(table), kind="stable")
        return table.column("__thresher_value").combine_chunks().take(pa.array(places))

    def _answering(self) -> Answering:
        return Answering(self._connection, self._query, self._sources)

    def _source(self, leaf: Leaf) -> str:
        if is_base_table(self._connection, leaf):
            return base_source(leaf)
        name = fresh("leaf")
        if leaf.lateral:  # depends on the rows before it: numbered in place, not copied
            return temp_source(leaf, name)
        self._connection.execute(leaf_materialise_sql(self._query, leaf, name))
        self._temporary.append(name)
        return temp_source(leaf, name)

    def _run_population(
        self,
        facts: Sequence[pa.Table | None],
        null_inputs: bool | None = None,
        sample: str | None = None,
    ) -> pa.Table:
        names: list[str | None] = []
        for table in facts:
            names.append(None if table is None else fresh("facts"))
            if names[-1] is not None:
                self._connection.register(names[-1], table)
        try:
            stores = names if any(names) else None
            sql = lowering.population_sql(self._query, self._sources, stores, null_inputs, sample)
            return self._connection.sql(sql).to_arrow_table()
        finally:
            for name in names:
                if name is not None:
                    unregistered(self._connection, name)

    def _read(self, facts: Sequence[pa.Table | None]) -> None:
        leaves, calls = self._query.leaves, self._query.calls
        apart = bool(calls) and len(leaves) == 1 and all(fact is None for fact in facts)
        table = self._run_population(facts, null_inputs=False if apart else None)
        keys = [integers(table, leaf.row) for leaf in leaves]
        order = row_order(keys)
        self._keys = [column[order] for column in keys]
        self.known = known(table)[order]
        terms = [term for term in self._query.proxies if term.name is None]
        self.scores = [scores(table, term, self._query)[order] for term in terms]
        self.values = measured(table, self._query)[order]
        if apart:
            self._read_nulls(facts)
        self.free = self.known
        if self._query.labelled is not None and self._query.labelled.prediction is not None:
            column = table.column("__thresher_prediction").combine_chunks()
            self.predictions = column if isinstance(order, slice) else column.take(pa.array(order))
        if (estimation := self._query.estimation) is not None:
            self.plain = [
                None if m.plain is None else doubles(table, m.plain)[order]
                for m in estimation.measured
            ]
            names = [name for name, _ in estimation.groups]
            groups = table.select(names)
            self.groups = groups if isinstance(order, slice) else groups.take(pa.array(order))

    def _read_nulls(self, facts: Sequence[pa.Table | None]) -> None:
        """Put right what is known of rows with a NULL input, which DuckDB often finds unread."""
        table = self._run_population(facts, null_inputs=True)
        if not table.num_rows:
            return
        rows, self.known = self._numbers(table), self.known.copy()
        self.known[rows] = known(table)
        self.values[rows] = measured(table, self._query)
