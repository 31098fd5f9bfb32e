"""Labels as Arrow record batches, in the order they were bought: for SQL and for files.

No more than one batch of them is in memory, and no Python object is made for a label.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.store_file import StoreFile
from thresher.stored_labels import as_keys, as_texts, hex_of, parsed

__all__ = ["EXPORTED", "SHOWN", "exported_labels", "last_label", "shown_labels"]

SHOWN = pa.schema(
    [
        ("oracle", pa.string()),
        ("version", pa.string()),
        ("input_sha256", pa.large_string()),
        ("answer", pa.large_string()),
        ("confidence", pa.float64()),
        ("cost_usd", pa.float64()),
        ("bought_at", pa.timestamp("us")),
    ]
)
"""Of `shown_labels`: keys in hex, answers as texts as DuckDB writes them, times in UTC."""

EXPORTED = pa.schema(
    [
        pa.field("oracle", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("input_sha256", pa.binary(32), nullable=False),
        pa.field("answer_boolean", pa.bool_()),
        pa.field("answer_integer", pa.int64()),
        pa.field("answer_real", pa.float64()),
        pa.field("answer_text", pa.large_string()),
        pa.field("confidence", pa.float64()),
        pa.field("cost_usd", pa.float64(), nullable=False),
        pa.field("bought_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
"""Of `exported_labels`: of the four answers exactly one is not null."""

_SEQS = 100_000  # sequence numbers in a batch
# A batch of puts has one time and one price, so that most columns are one value over and over.
_COLUMNS = """
SELECT count(*), CAST(group_concat(key, '') AS BLOB), min(oracle), max(oracle),
    CAST(group_concat(answer, '') AS BLOB),
    group_concat(length(CAST(answer AS BLOB))), group_concat(substr(typeof(answer), 1, 1), ''),
    min(cost_usd), max(cost_usd), count(confidence), min(confidence), max(confidence)
"""
_WHERE = "FROM labels NOT INDEXED WHERE seq BETWEEN ? AND ?"


def last_label(db: sqlite3.Connection) -> int:
    """Return the sequence number of the newest label, 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM labels").fetchone()[0])


def shown_labels(file: StoreFile, until: int) -> Iterator[pa.RecordBatch]:
    """Yield the labels up to a sequence number for people: batches of `SHOWN`."""
    for batch in _batches(file, until):
        arrays = [
            batch.names(),
            batch.versions(),
            hex_of(batch.keys),
            batch.shown_answers(),
            batch.confidence,
            batch.cost_usd,
            batch.times.view(pa.timestamp("us")),
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=SHOWN)


def exported_labels(file: StoreFile, until: int) -> Iterator[pa.RecordBatch]:
    """Yield the labels up to a sequence number with all they hold: batches of `EXPORTED`."""
    for batch in _batches(file, until):
        whole, boolean = batch.kinds == ord("i"), batch.are_boolean()
        answers = [
            batch.only(whole & boolean).cast(pa.int64()).cast(pa.bool_()),
            batch.only(whole & ~boolean).cast(pa.int64()),
            batch.reals,
            batch.only(batch.kinds == ord("t")),
        ]
        times = batch.times.view(pa.timestamp("us", "UTC"))
        named = [batch.names(), batch.versions(), batch.keys]
        arrays = [*named, *answers, batch.confidence, batch.cost_usd, times]
        yield pa.RecordBatch.from_arrays(arrays, schema=EXPORTED)


class _Batch:
    """The labels of a span of sequence numbers, by the column."""

    def __init__(self, db: sqlite3.Connection, first: int, last: int) -> None:
        self._db, self._span = db, (first, last)
        found = db.execute(f"{_COLUMNS} {_WHERE}", self._span).fetchone()
        self.n_labels: int = found[0]
        if not self.n_labels:
            return
        self.keys = as_keys(found[1])
        self.answers = as_texts(found[4], found[5])
        self.kinds = np.frombuffer(found[6].encode(), dtype=np.uint8)
        self.reals = pa.nulls(self.n_labels, pa.float64())
        if (self.kinds == ord("r")).any():
            self.reals = self._fetched("iif(typeof(answer) = 'real', answer, NULL)")
        self.cost_usd = self._reals("cost_usd", self.n_labels, *found[7:9])
        self.confidence = self._reals("confidence", *found[9:12])
        self.times = pa.array(self._integers("CAST(round(bought_at * 1000000) AS INTEGER)"))
        one = found[2] == found[3]
        number = np.full(self.n_labels, found[2]) if one else self._integers("oracle")
        oracles = db.execute(
            "SELECT id, name, version, boolean FROM oracles ORDER BY id"
        ).fetchall()
        ids, self._names, self._versions, self._boolean = zip(*oracles, strict=True)
        self._place = np.searchsorted(np.array(ids), number)

    def _integers(self, expression: str) -> npt.NDArray[np.int64]:
        """Return a column of integers."""
        query = f"SELECT group_concat({expression}) {_WHERE}"
        return parsed(self._db.execute(query, self._span).fetchone()[0])

    def _reals(self, column: str, n_there: int, low: float, high: float) -> pa.Array:
        """Return a column of real numbers, of which so many are there."""
        if not n_there:
            return pa.nulls(self.n_labels, pa.float64())
        if low == high and n_there == self.n_labels:
            return pa.repeat(pa.scalar(low, pa.float64()), self.n_labels)
        return self._fetched(column)

    def _fetched(self, expression: str) -> pa.Array:
        """Return a column of real numbers row by row: as text they would lose digits."""
        rows = self._db.execute(f"SELECT {expression} {_WHERE} ORDER BY seq", self._span)
        return pa.array([row[0] for row in rows], pa.float64())

    def names(self) -> pa.Array:
        """Return the oracle of each label."""
        return pa.array(self._names, pa.string()).take(pa.array(self._place))

    def versions(self) -> pa.Array:
        """Return the version of each label's oracle."""
        return pa.array(self._versions, pa.string()).take(pa.array(self._place))

    def are_boolean(self) -> npt.NDArray[np.bool_]:
        """Return whether the oracle of each label answers true or false."""
        return np.array(self._boolean, dtype=np.bool_)[self._place]

    def shown_answers(self) -> pa.Array:
        """Return the answers as texts; truths are ``true`` and ``false``, as DuckDB writes them."""
        import pyarrow.compute as pc  # slow to load, and plain SQL does not need it

        truths = (self.kinds == ord("i")) & self.are_boolean()
        if not truths.any():
            return self.answers
        told = self.only(truths).cast(pa.int64()).cast(pa.bool_()).cast(pa.large_string())
        return pc.coalesce(told, self.answers)

    def only(self, wanted: npt.NDArray[np.bool_]) -> pa.Array:
        """Return answers as texts where they are wanted, else NULL."""
        places = pa.array(np.arange(self.n_labels), mask=~wanted)
        return self.answers.take(places)


def _batches(file: StoreFile, until: int) -> Iterator[_Batch]:
    """Yield what is there, span by span; the store is free in between."""
    with file.using() as db:
        first = db.execute("SELECT coalesce(min(seq), 1) FROM labels").fetchone()[0]
    for start in range(first, until + 1, _SEQS):
        with file.reading() as db:
            batch = _Batch(db, start, min(start + _SEQS - 1, until))
        if batch.n_labels:
            yield batch
