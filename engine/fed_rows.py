"""The rows of a query as another process has sent them, and the order that they have there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.sql.shipping import ORDER, ROW, Shipped

__all__ = ["FedRows", "Numbers", "Places", "fed_rows"]

_CHUNK_BITS = 11  # rows of which DuckDB's threads take all or none: 2,048
_LEAST = 16  # rows in a run, on average, from which on a run is copied as a whole

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Places:
    """Where rows stand that came in another order: the runs in which they came.

    Parameters
    ----------
    starts : ndarray of int64, shape (n_runs,)
        Where each run begins, in the order of the rows.
    ends : ndarray of int64, shape (n_runs,)
        How many rows there are up to the end of each run.

    Examples
    --------
    >>> places = Places(np.array([2, 0]), np.array([3, 5]))
    >>> places.arranged(pa.chunked_array([[40, 50, 10], [20, 30]])), places.of(np.array([0, 4]))
    (array([10, 20, 30, 40, 50]), array([2, 1]))
    """

    starts: Numbers
    ends: Numbers

    def of(self, rows: Numbers) -> Numbers:
        """Return where rows stand."""
        run = np.searchsorted(self.ends, rows, side="right")
        return self.starts[run] + rows - self._before()[run]

    def arranged(self, values: pa.ChunkedArray) -> npt.NDArray[Any]:
        """Return values, one for each row, in the order of the rows."""
        lengths = self.ends - self._before()
        if len(values) < _LEAST * len(lengths):
            return np.asarray(values.to_numpy())[self.of(np.arange(len(values)))]
        pairs = zip(self.starts.tolist(), lengths.tolist(), strict=True)
        runs = [chunk for pair in pairs for chunk in values.slice(*pair).chunks]
        return np.asarray(pa.chunked_array(runs, values.type).to_numpy())

    def _before(self) -> Numbers:
        """Return how many rows there are before each run."""
        return np.append(0, self.ends)[:-1]


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
    places : Places or None
        Where each row stands in `table`, in the order of `ROW`; None where that is its order.
    """

    table: pa.Table
    keys: list[Numbers]
    sent: Numbers | None
    places: Places | None

    def numbers(self, rows: Numbers) -> Numbers:
        """Return under which numbers rows were sent."""
        return rows if self.sent is None else self.sent[rows]

    def in_order(self, column: pa.ChunkedArray) -> npt.NDArray[Any]:
        """Return a column of `table` without NULL, in the order of `ROW`."""
        if self.places is None:
            return np.asarray(column.to_numpy())
        return self.places.arranged(column)


def fed_rows(shipped: Shipped, numbers: Sequence[Numbers], table: pa.Table) -> FedRows:
    """Number the rows of a query as the query over its own relations would.

    Parameters
    ----------
    shipped : Shipped
        The query, and what was to be sent of its rows.
    numbers : sequence of ndarray of int64, n_rows in all
        Under which each row was sent; distinct, in any order.
    table : pyarrow.Table, n_rows rows
        The row keys and the columns of `shipped`.
    """
    leaves = shipped.asked.leaves
    wanted = [name for name, _ in shipped.columns] + ([ORDER] if shipped.ordered else [])
    columns = {name: table.column(name) for name in wanted}
    if len(leaves) == 1 and not leaves[0].lateral:
        sent = pa.chunked_array([pa.array(some) for some in numbers], pa.int64())
        places = _places(numbers)
        keys = places.arranged(sent)
        if np.any(keys[1:] <= keys[:-1]):
            places = _one_by_one(np.argsort(sent.to_numpy(), kind="stable"))
            keys = places.arranged(sent)
        found = pa.table({ROW: sent, **columns})
        return FedRows(found, [keys], None, places if len(places.starts) > 1 else None)
    keys_of = [np.asarray(table.column(leaf.row).to_numpy(), dtype=np.int64) for leaf in leaves]
    order = np.lexsort(keys_of[::-1])
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    found, all_sent = pa.table({ROW: rank, **columns}), np.concatenate(numbers)
    return FedRows(found, [k[order] for k in keys_of], all_sent[order], _one_by_one(order))


def _places(numbers: Sequence[Numbers]) -> Places:
    """Say where rows stand in the order of their numbers, if DuckDB's threads sent them.

    A thread takes rows by the chunk, so that numbers rise within a few long runs, which are sorted.
    """
    begins, firsts, n_rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for some in numbers:
        at = np.flatnonzero(np.diff(some >> _CHUNK_BITS, prepend=-1))
        begins.append(at + n_rows)
        firsts.append(some[at])
        n_rows += len(some)
    starts = np.concatenate(begins)
    runs = np.argsort(np.concatenate(firsts), kind="stable")
    lengths = np.diff(starts, append=n_rows)[runs]
    starts = starts[runs]
    new = np.flatnonzero(np.insert(starts[:-1] + lengths[:-1] != starts[1:], 0, True)[: len(runs)])
    return Places(starts[new], np.append(np.cumsum(lengths)[new[1:] - 1], n_rows)[: len(new)])


def _one_by_one(order: Numbers) -> Places:
    return Places(order, np.arange(1, len(order) + 1))
