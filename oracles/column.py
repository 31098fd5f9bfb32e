"""Provider ``column``: labels or scores that lie in a table, found by key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.errors import DataError
from thresher.oracles.answers import arrow_type, checked_answers, checked_scores, describe_row
from thresher.oracles.context import Context
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.versions import digest

__all__ = ["OPTIONS", "ColumnOracle", "ColumnProxy", "create_oracle", "create_proxy"]

OPTIONS = {
    "table": Option("text", required=True),
    "key": Option("text or texts", required=True),
    "value": Option("text", required=True),
    "batch_size": Option("count"),
}
_BATCH_SIZE = 65_536


def _codes(column: pa.ChunkedArray, known: pa.Array) -> npt.NDArray[np.int64]:
    """Position of each value in `known`, -1 where it is absent."""
    found = pc.fill_null(pc.index_in(column, value_set=known), -1)
    return np.asarray(found.to_numpy(), dtype=np.int64)


def _pairs(
    codes: npt.NDArray[np.int64], column: pa.ChunkedArray, known: pa.Array
) -> npt.NDArray[np.int64]:
    """One integer per code and value beside it, -1 where one of them is unknown."""
    # Codes are below the number of rows of a table, so that the product does not overflow.
    code = _codes(column, known)
    return np.where((codes < 0) | (code < 0), -1, codes * len(known) + code)


def _positions(
    wanted: npt.NDArray[np.int64], values: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Position of each integer in sorted values, -1 where it is absent."""
    if len(values) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.where(values[at] == wanted, at, -1)


@dataclass(frozen=True, slots=True)
class _Index:
    """A table by key: keys are numbered column by column, each number has a row with the value.

    `known` holds the values of each key column, `pairs` the sorted pairs of the number of the
    columns before it with one of them.
    """

    known: list[pa.Array]
    pairs: list[npt.NDArray[np.int64]]
    rows: npt.NDArray[np.int64]
    values: pa.Array
    clashing: npt.NDArray[np.bool_]

    def find(self, columns: list[pa.ChunkedArray]) -> npt.NDArray[np.int64]:
        """Position of each key in `rows`, -1 where it is absent."""
        codes = np.zeros(len(columns[0]), dtype=np.int64)
        for column, known, pairs in zip(columns, self.known, self.pairs, strict=True):
            codes = _positions(_pairs(codes, column, known), pairs)
        return codes

    @classmethod
    def build(cls, table: pa.Table, types: list[pa.DataType], where: str) -> _Index:
        """Index a table whose last column is the value; the others are the key."""
        table = table.filter(pc.is_valid(table.column(table.num_columns - 1)))
        try:
            columns = [table.column(i).cast(kind) for i, kind in enumerate(types)]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"{where}: the key does not fit the argument: {error}") from error
        known = [pc.unique(pc.drop_null(column)) for column in columns]
        codes, pairs = np.zeros(table.num_rows, dtype=np.int64), []
        for column, parts in zip(columns, known, strict=True):
            wanted = _pairs(codes, column, parts)
            pairs.append(np.unique(wanted[wanted >= 0]))
            codes = _positions(wanted, pairs[-1])
        values = table.column(table.num_columns - 1).combine_chunks()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        answer = _codes(values, pc.unique(values))
        order = np.argsort(codes, kind="stable")
        order = order[codes[order] >= 0]
        _, first = np.unique(codes[order], return_index=True)
        if len(first) == 0:
            return cls(known, pairs, order, values, np.zeros(0, dtype=np.bool_))
        sorted_answer = answer[order]
        low = np.minimum.reduceat(sorted_answer, first)
        high = np.maximum.reduceat(sorted_answer, first)
        return cls(known, pairs, order[first], values, low != high)


class _Lookup:
    """Values by key out of a table that is read on first use, and again when it has changed."""

    def __init__(
        self,
        who: str,
        noun: str,
        table: str,
        keys: list[str],
        value: str,
        read_table: Callable[[str, list[str]], pa.Table],
        fingerprint: Callable[[str, list[str]], str] | None,
    ) -> None:
        self.who, self.noun, self._table, self._columns = who, noun, table, [*keys, value]
        self._read_table, self._fingerprint = read_table, fingerprint
        self._seen: str | None = None
        self._index: _Index | None = None

    def version(self, returns: str) -> str:
        """Hash of what is looked up and of the content; forgets rows that have changed."""
        if self._fingerprint is None:
            seen = self._content()
        else:
            seen = self._fingerprint(self._table, list(self._columns))
        if seen != self._seen:
            self._index = None
        self._seen = seen
        return digest("column", self._table, self._columns, returns, seen)

    def _content(self) -> str:
        rows = self._read()
        sink = hashlib.sha256()
        for column in rows.combine_chunks().columns:
            sink.update(str(column.type).encode())
            for text in column.to_pylist():
                sink.update(repr(text).encode(errors="surrogatepass"))
                sink.update(b"\0")
        return sink.hexdigest()

    def _read(self) -> pa.Table:
        return self._read_table(self._table, list(self._columns)).select(self._columns)

    def take(self, batch: pa.Table) -> pa.Array:
        """Values for a batch of keys."""
        if self._index is None:
            self._index = _Index.build(
                self._read(), [c.type for c in batch.columns], f"{self.who}: table {self._table}"
            )
        index = self._index
        at = index.find(batch.columns)
        found = at >= 0
        place = f"{self._columns[-1]} of table {self._table}"
        if not found.all():
            row = int(np.argmin(found))
            raise DataError(
                f"{self.who}: {int((~found).sum()):,} of {len(found):,} keys have no {self.noun} in"
                f" {place}; the first is {describe_row(batch, row)}."
            )
        if index.clashing[at].any():
            row = int(np.argmax(index.clashing[at]))
            raise DataError(
                f"{self.who}: {describe_row(batch, row)} has two different {self.noun}s in {place};"
                " a key must have one."
            )
        return index.values.take(pa.array(index.rows[at]))


class ColumnOracle:
    """An oracle whose answers lie in a table.

    Parameters
    ----------
    lookup : _Lookup
        Where the labels are.
    returns : str
        Declared return type.
    batch_size : int
        Rows passed at once.
    """

    def __init__(self, lookup: _Lookup, returns: str, batch_size: int = _BATCH_SIZE) -> None:
        arrow_type(returns)
        self._lookup, self._returns, self._batch_size = lookup, returns, batch_size

    @property
    def version(self) -> str:
        """Hash (hex) of the table's name and columns and of their content as it is now."""
        return self._lookup.version(self._returns)

    @property
    def batch_size(self) -> int:
        """Rows passed at once."""
        return self._batch_size

    def answer(self, batch: pa.Table) -> Answers:
        """Look the labels up.

        Raises
        ------
        DataError
            If a key has no label or two different ones, or the labels are not of the declared type.
        """
        values = self._lookup.take(batch)
        return Answers(checked_answers(values, batch, self._returns, self._lookup.who))


class ColumnProxy:
    """A proxy whose scores lie in a table.

    Parameters
    ----------
    lookup : _Lookup
        Where the scores are.
    """

    def __init__(self, lookup: _Lookup) -> None:
        self._lookup = lookup

    @property
    def version(self) -> str:
        """Hash (hex) of the table's name and columns and of their content as it is now."""
        return self._lookup.version("score")

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Look the scores up.

        Raises
        ------
        DataError
            If a key has no score or two different ones, or a score is not a finite number.
        """
        return checked_scores(self._lookup.take(batch), batch, self._lookup.who)


def _lookup(
    who: str, noun: str, signature: Signature, options: Options, context: Context
) -> _Lookup:
    keys, names = options.texts("key"), [a.name for a in signature.arguments]
    if len(keys) != len(names):
        raise options.error(
            f"{len(keys)} key column(s) for {len(names)} argument(s) ({', '.join(names)}); name one"
            " key column for each argument, in order.",
            "key",
        )
    if context.read_table is None:
        raise options.error("column needs tables to read, and there are none here.")
    return _Lookup(
        who,
        noun,
        options.text("table") or "",
        keys,
        options.text("value") or "",
        context.read_table,
        context.fingerprint,
    )


def create_oracle(
    name: str, signature: Signature, options: Options, context: Context
) -> ColumnOracle:
    """Make the oracle of ``USING column``; the table is read on first use."""
    lookup = _lookup(f"oracle {name}", "label", signature, options, context)
    return ColumnOracle(lookup, signature.returns, options.count("batch_size", _BATCH_SIZE))


def create_proxy(
    name: str, signature: Signature, options: Options, context: Context
) -> ColumnProxy:
    """Make the proxy of ``USING column``; the table is read on first use."""
    return ColumnProxy(_lookup(f"proxy {name}", "score", signature, options, context))
