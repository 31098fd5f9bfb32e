"""The population of a query whose rows another process has sent, and which of them it returns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow.types import is_float64

from thresher.answering import Answering, Keys, fresh
from thresher.duckdb_versions import unregistered
from thresher.fed_rows import FedRows, Numbers
from thresher.plan import Leaf, SelectionQuery
from thresher.population import Population
from thresher.sql.lowering import kept_columns
from thresher.sql.shipping import ORDER, ROW, SENT, Shipped
from thresher.sql.tokens import identifier

__all__ = ["FedPopulation", "unknown_functions"]

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_CALLED = re.compile(r"([^\W\d]\w*)\s*\(")
_WORDS = {"by", "columns", "exclude", "filter", "over", "replace", "try_cast", "unpack", "within"}

_KNOWN = "__thresher_known"
_MOST_HASHED = 8192  # inputs to look for by their hashes


def _among(hashes: npt.NDArray[np.uint32], wanted: npt.NDArray[np.uint32]) -> Numbers:
    """Return where hashes are that are wanted: most are told by half of their bits."""
    halves = np.zeros(1 << 16, dtype=np.bool_)
    halves[wanted >> 16] = True
    some = np.flatnonzero(halves[hashes >> 16])
    return some[np.isin(hashes[some], wanted)]


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
        self._hashed: dict[tuple[str, ...], npt.NDArray[np.uint32]] = {}
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

    def _run_population(
        self,
        facts: Sequence[pa.Table | None],
        null_inputs: bool | None = None,
        sample: str | None = None,
    ) -> pa.Table:
        if null_inputs is False and sample is None and self._scored:
            with self._sample(np.zeros(1, dtype=np.int64)) as one:
                known = super()._run_population(facts, null_inputs, one).column(_KNOWN)
            return self._as_they_came(known)
        return super()._run_population(facts, null_inputs, sample)

    @property
    def _scored(self) -> bool:
        """Whether rows differ, before there are labels, by scores alone that came as numbers."""
        query, table = self._query, self._rows.table
        if not table.num_rows or query.parts or query.estimation or query.labelled:
            return False
        columns = [table.column(sql) for sql in self._scores()]
        return all(is_float64(one.type) and not one.null_count for one in columns)

    def _scores(self) -> list[str]:
        """Return the columns with the scores of the expressions in USING."""
        return [term.sql or term.text for term in self._query.proxies if term.name is None]

    def _as_they_came(self, known: pa.ChunkedArray) -> pa.Table:
        """Return the rows, of which the same is known, in the order of `ROW`."""
        rows, names = self._rows, [term.column for term in self._query.proxies if term.name is None]
        n_rows = rows.table.num_rows
        numbers = rows.keys[0] if rows.sent is None else np.arange(n_rows)
        columns = {ROW: numbers, _KNOWN: pa.repeat(known[0], n_rows)}
        for name, sql in zip(names, self._scores(), strict=True):
            columns[name] = rows.in_order(rows.table.column(sql))
        return pa.table(columns)

    def matching(self, asked: Sequence[pa.Table | None]) -> Numbers:
        """Return the rows whose inputs equal labelled ones; see `Population.matching`."""
        pairs = zip(self._query.calls, asked, strict=True)
        given = [(call.arguments, table) for call, table in pairs if table is not None]
        if not given or not all(self._hashed_alike(*one) for one in given):
            return super().matching(asked)
        found = [
            _among(self._hashes(arguments), self._hash(table.column_names, table).to_numpy())
            for arguments, table in given
        ]
        with self._sample(np.unique(np.concatenate(found))):
            return super().matching(asked)

    def _hashed_alike(self, arguments: Sequence[str], asked: pa.Table) -> bool:
        """Whether equal inputs have equal hashes, and few other rows have one of theirs."""
        sent = [self._rows.table.column(name).type for name in arguments]
        return bool(sent) and [*asked.schema.types] == sent and asked.num_rows <= _MOST_HASHED

    def _hashes(self, arguments: tuple[str, ...]) -> npt.NDArray[np.uint32]:
        """Return 32 bits of the hash of the inputs of all rows."""
        if arguments not in self._hashed:
            found = self._hash(arguments, self._rows.table)
            self._hashed[arguments] = self._rows.in_order(found)
        return self._hashed[arguments]

    def _hash(self, columns: Sequence[str], table: pa.Table) -> pa.ChunkedArray:
        """Return 32 bits of DuckDB's hash, which is that of its joins."""
        name = fresh("hashed")
        self._connection.register(name, table)
        try:
            hashed = f"hash({', '.join(map(identifier, columns))})"
            found = self._connection.sql(f"SELECT CAST({hashed} >> 32 AS UINTEGER) FROM {name}")
            return found.to_arrow_table().column(0)
        finally:
            unregistered(self._connection, name)

    def _read_nulls(self, facts: Sequence[pa.Table | None]) -> None:
        inputs = {name for call in self._query.calls for name in call.arguments}
        if any(self._rows.table.column(name).null_count for name in inputs):
            super()._read_nulls(facts)

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
        places = np.sort(rows if self._rows.places is None else self._rows.places.of(rows))
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
