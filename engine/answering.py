"""The user's SELECT list, ORDER BY and LIMIT over rows that were decided on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.duckdb_versions import materialised, unregistered
from thresher.errors import NotSupportedError
from thresher.oracles.answers import arrow_type
from thresher.plan import SelectionQuery
from thresher.sql import lowering
from thresher.sql.lowering import BITS, BLOCK
from thresher.sql.ordering import order_sql

__all__ = ["Answering", "empty_keep", "fresh"]

Keys = Sequence[npt.NDArray[np.int64]]

_DENSE = 4  # rows in a block of 64 from which on a bit for each is less work than a hash
_names = itertools.count()
_CALLED = re.compile(r'([^\W\d][\w$]*|"(?:[^"]|"")+")\s*\(')
_SEVERAL = re.compile(r"\bover\b|\bunnest\b|\bunlist\b|\bgenerate_subscripts\b", re.IGNORECASE)


def fresh(kind: str) -> str:
    """Name a temporary object; unique within the process."""
    return f"__thresher_{kind}_{next(_names)}"


def empty_keep(query: SelectionQuery) -> pa.Table:
    """Return the relation of kept rows without rows, to bind the answer by."""
    return _keep(query, [np.empty(0, dtype=np.int64)] * len(query.leaves), {})


def _keep(query: SelectionQuery, keys: Keys, labels: Mapping[str, pa.Array]) -> pa.Table:
    """Make the relation of kept rows; a label that is not given is NULL."""
    rows, columns = lowering.kept_columns(query)
    table = dict(zip(rows, map(pa.array, keys), strict=True))
    for name, kind in columns.items():
        none = pa.nulls(len(keys[0]), arrow_type(kind))
        table[name] = labels.get(name, none)
    return pa.table(table)


def _as_bits(keys: npt.NDArray[np.int64]) -> pa.Table | None:
    """Return ascending keys as bits, 64 of them in a row; None where that would not be shorter."""
    blocks = keys >> 6
    first = np.flatnonzero(np.diff(blocks, prepend=-1))
    if len(keys) < _DENSE * len(first) or not len(keys):
        return None
    bits = np.left_shift(np.uint64(1), (keys & 63).astype(np.uint64))
    return pa.table({BLOCK: blocks[first], BITS: np.bitwise_or.reduceat(bits, first)})


def _unquoted(name: str) -> str:
    """Return the name that an identifier writes, in lower case."""
    return (name[1:-1].replace('""', '"') if name.startswith('"') else name).lower()


class Answering:
    """Runs the rest of a query block over rows given by their keys.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        The user's own connection.
    query : SelectionQuery
        The bound query.
    sources : sequence of str
        One source per relation of FROM.

    Attributes
    ----------
    by_row : bool
        Whether each row of the answer is one of the rows, so that they can be put in order.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, query: SelectionQuery, sources: Sequence[str]
    ) -> None:
        self._connection, self._query, self._sources = connection, query, sources
        self.by_row = not query.answer.aggregates
        if query.estimation is not None:
            connection.sql(lowering.typed_estimates_sql(query, sources))
            return
        with self._kept(empty_keep(query)) as keep:
            self._bound(keep)

    def rows(
        self, keys: Keys, labels: Mapping[str, pa.Array], into: str
    ) -> duckdb.DuckDBPyRelation:
        """Run the user's query over the rows with these keys; the result is materialised.

        Parameters
        ----------
        keys : sequence of ndarray of int64, one per relation of FROM
            Keys of the rows.
        labels : mapping of str to pyarrow.Array
            Labels of these rows, by the column that stands for them.
        into : str
            Table that is to hold the rows, which must exist; empty where there is none.
        """
        query, bits = self._query, None
        if len(keys) == 1 and not lowering.kept_columns(query)[1]:
            bits = _as_bits(keys[0])
        with self._kept(_keep(query, keys, labels) if bits is None else bits) as keep:
            return self._materialised(self._bound(keep, bits=bits is not None), into)

    def estimates(self, table: pa.Table, into: str) -> duckdb.DuckDBPyRelation:
        """Run the user's SELECT list, ORDER BY and LIMIT over estimates; see `rows`."""
        with self._kept(table) as keep:
            return self._materialised(lowering.estimates_sql(self._query, keep), into)

    def left(self, keys: Keys, labels: Mapping[str, pa.Array]) -> pa.Table:
        """Return the keys of the rows that LIMIT leaves of those with these keys."""
        with self._kept(_keep(self._query, keys, labels)) as keep:
            sql = order_sql(self._query, self._sources, keep)
            return self._connection.sql(sql).to_arrow_table()

    def in_order(self) -> pa.Table:
        """Return the keys of all candidates in the order of the answer."""
        return self._connection.sql(order_sql(self._query, self._sources)).to_arrow_table()

    @property
    def one_to_one(self) -> bool:
        """Whether each row gives one row of the answer, by itself: also through macros."""
        answer = self._query.answer
        texts = [answer.select, answer.order]
        seen: set[str] = set()
        while texts and self.by_row:
            called = {_unquoted(name) for text in texts for name in _CALLED.findall(text)} - seen
            if not called:
                break
            seen |= called
            found = self._connection.execute(
                "SELECT DISTINCT macro_definition FROM duckdb_functions() "
                "WHERE function_type = 'macro' AND list_contains(?, lower(function_name))",
                [sorted(called)],
            ).fetchall()
            texts = [str(definition) for (definition,) in found]
            if any(_SEVERAL.search(text) for text in texts):
                return False
        return self.by_row

    @contextmanager
    def _kept(self, table: pa.Table) -> Iterator[str]:
        name = fresh("keep")
        self._connection.register(name, table)
        try:
            yield name
        finally:
            unregistered(self._connection, name)

    def _materialised(self, sql: str, into: str) -> duckdb.DuckDBPyRelation:
        if into:
            self._connection.execute(f"INSERT INTO {into} {sql}")
            return self._connection.sql(f"FROM {into}")
        return materialised(self._connection.sql(sql))

    def _bound(self, keep: str, *, bits: bool = False) -> str:
        """Bind the answer; an aggregate hidden in a macro cannot be sorted by row."""
        query, sources = self._query, self._sources
        sql = lowering.answer_sql(query, sources, keep, bits=bits)
        try:
            self._connection.sql(sql)
            return sql
        except duckdb.BinderException as error:
            if "GROUP BY" not in str(error) or not query.answer.by_row:
                raise
        sql = lowering.answer_sql(query, sources, keep, by_row=False, bits=bits)
        self._connection.sql(sql)
        self.by_row = False
        if query.tail.recall is not None or query.tail.precision is not None:
            raise NotSupportedError(
                "a macro of this query aggregates: over rows that meet a target only in part it "
                "would be biased. Leave the target out, or select the rows first.",
                sql=query.sql,
                offset=0,
            )
        return sql
