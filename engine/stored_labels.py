"""Labels read by the column: a million keys are found without a Python step for each.

SQLite hands rows to Python one by one, which costs more than finding them. So it concatenates the
columns of many rows, and Arrow cuts them up and joins them with the keys that are asked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = [
    "FoundLabels",
    "Label",
    "StoredLabels",
    "as_keys",
    "as_texts",
    "find_confidence",
    "find_labels",
    "hex_of",
    "parsed",
    "read_labels",
]

Label = bool | int | float | str

_KEY = 32  # bytes of a SHA-256
_SEQS = 100_000  # sequence numbers read at once
_PROBE = 10  # finding one key in the index takes as long as reading so many rows in order
_WHERE = "FROM labels NOT INDEXED WHERE oracle = ? AND seq BETWEEN ? AND ?"
_PROBED = (
    "WITH RECURSIVE n (i) AS (SELECT 0 WHERE ?1 > 0 UNION ALL SELECT i + 1 FROM n "
    "WHERE i + 1 < ?1) SELECT i, {} FROM n CROSS JOIN labels "
    f"ON oracle = ?2 AND key = substr(?3, i * {_KEY} + 1, {_KEY})"
)


@dataclass(frozen=True, slots=True)
class StoredLabels:
    """Labels of one oracle version, by the column.

    Parameters
    ----------
    keys : pyarrow.FixedSizeBinaryArray of 32 bytes, length n
        SHA-256 of the inputs.
    column : ndarray of int64, or of object, shape (n,)
        Answers: integers, with booleans as 0 and 1, or numbers and texts.
    seqs : ndarray of int64, shape (n,)
        Sequence numbers.
    """

    keys: pa.Array
    column: npt.NDArray[Any]
    seqs: npt.NDArray[np.int64]

    @property
    def answers(self) -> list[Label]:
        """Return the answers: length n; booleans as 0 and 1."""
        found: list[Label] = self.column.tolist()
        return found

    def hex_keys(self) -> pa.Array:
        """Return the keys in lower-case hex: strings, length n."""
        return hex_of(self.keys)


@dataclass(frozen=True, slots=True)
class FoundLabels:
    """Which of the keys asked for have a label.

    Parameters
    ----------
    places : ndarray of int64, shape (k,)
        Positions among the keys, ascending.
    answers : list of bool, int, float or str, length k
        Their answers; booleans as 0 and 1.
    seqs : ndarray of int64, shape (k,)
        Their sequence numbers.
    """

    places: npt.NDArray[np.int64]
    answers: list[Label]
    seqs: npt.NDArray[np.int64]


def read_labels(db: sqlite3.Connection, oracle: int, until: int) -> StoredLabels:
    """Return the labels of one oracle version up to a sequence number.

    Parameters
    ----------
    db : sqlite3.Connection
        In a transaction, so that no label goes while the columns are read.
    oracle : int
        Number of the version in the table `oracles`.
    until : int
        Last sequence number.
    """
    if _is_rare(db, oracle, until):
        return _read_rows(db, oracle, until)
    parts = [_read_span(db, oracle, at, min(at + _SEQS - 1, until)) for at in _starts(db, until)]
    keys = pa.concat_arrays([part.keys for part in parts])
    column = np.concatenate([part.column for part in parts])
    return StoredLabels(keys, column, np.concatenate([part.seqs for part in parts]))


def find_labels(db: sqlite3.Connection, oracle: int, keys: Sequence[str], last: int) -> FoundLabels:
    """Return the labels of keys.

    Parameters
    ----------
    db : sqlite3.Connection
        In a transaction.
    oracle : int
        Number of the version in the table `oracles`.
    keys : sequence of str
        SHA-256 in hex, each once.
    last : int
        Sequence number of the newest label.

    Notes
    -----
    A few keys are looked up in the index; of many, all labels are read in the order they were
    bought and joined by a hash table, since the index is in another order than the labels.
    """
    import pyarrow.compute as pc  # slow to load, and plain SQL does not need it

    packed = bytes.fromhex("".join(keys))
    if _PROBE * len(keys) < last:
        return _probe(db, oracle, packed)
    stored = read_labels(db, oracle, last)
    at = pc.index_in(as_keys(packed), stored.keys)
    found = at.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    answers: list[Label] = stored.column[found].tolist()
    places = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
    return FoundLabels(places, answers, stored.seqs[found])


def _probe(db: sqlite3.Connection, oracle: int, packed: bytes) -> FoundLabels:
    """Look keys up in the index, all by one statement."""
    asked = (len(packed) // _KEY, oracle, packed)
    rows = db.execute(_PROBED.format("answer, seq"), asked).fetchall()
    places, answers, seqs = zip(*rows, strict=True) if rows else ((), (), ())
    return FoundLabels(np.array(places, dtype=np.int64), list(answers), _integers(seqs))


def find_confidence(
    db: sqlite3.Connection, oracle: int, keys: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return the oracle's confidence in its answer to each key, NaN where it has none: shape (n,).

    `db`, `oracle` and `keys` as in `find_labels`.
    """
    packed, found = bytes.fromhex("".join(keys)), np.full(len(keys), np.nan)
    rows = db.execute(_PROBED.format("confidence"), (len(keys), oracle, packed)).fetchall()
    for place, confidence in rows:
        found[place] = np.nan if confidence is None else confidence
    return found


def _starts(db: sqlite3.Connection, until: int) -> range:
    """First sequence numbers of the spans that hold labels."""
    first = db.execute("SELECT coalesce(min(seq), 1) FROM labels").fetchone()[0]
    return range(first, max(until, first) + 1, _SEQS)


def _is_rare(db: sqlite3.Connection, oracle: int, until: int) -> bool:
    """Whether so few labels are this oracle's that the index finds them sooner."""
    most = until // _PROBE + 1
    counted = "SELECT count(*) FROM (SELECT 1 FROM labels WHERE oracle = ? LIMIT ?)"
    return bool(db.execute(counted, (oracle, most)).fetchone()[0] < most)


def _read_rows(db: sqlite3.Connection, oracle: int, until: int) -> StoredLabels:
    """Read labels through the index."""
    rows = db.execute(
        "SELECT key, answer, seq FROM labels WHERE oracle = ? AND seq <= ?", (oracle, until)
    ).fetchall()
    keys, answers, seqs = zip(*rows, strict=True) if rows else ((), (), ())
    return StoredLabels(as_keys(b"".join(keys)), _objects(answers), _integers(seqs))


def _read_span(db: sqlite3.Connection, oracle: int, first: int, last: int) -> StoredLabels:
    """Read the labels of a span of sequence numbers in their order."""
    span = (oracle, first, last)
    packed, n_labels, low, high, *kinds = db.execute(
        "SELECT CAST(group_concat(key, '') AS BLOB), count(*), min(seq), max(seq), "
        f"min(typeof(answer)), max(typeof(answer)) {_WHERE}",
        span,
    ).fetchone()
    if packed is None:
        return StoredLabels(as_keys(b""), _integers(()), _integers(()))
    if high - low + 1 == n_labels:
        seqs = np.arange(low, high + 1, dtype=np.int64)
    else:
        seqs = parsed(db.execute(f"SELECT group_concat(seq) {_WHERE}", span).fetchone()[0])
    return StoredLabels(as_keys(packed), _read_answers(db, span, kinds), seqs)


def _read_answers(
    db: sqlite3.Connection, span: tuple[int, int, int], kinds: Sequence[str]
) -> npt.NDArray[Any]:
    """Read answers whose types lie between two names of types."""
    if set(kinds) == {"integer"}:
        return parsed(db.execute(f"SELECT group_concat(answer) {_WHERE}", span).fetchone()[0])
    if set(kinds) == {"text"}:
        data, lengths = db.execute(
            "SELECT CAST(group_concat(answer, '') AS BLOB), "
            f"group_concat(length(CAST(answer AS BLOB))) {_WHERE}",
            span,
        ).fetchone()
        return np.asarray(as_texts(data, lengths).to_numpy(zero_copy_only=False), dtype=object)
    rows = db.execute(f"SELECT answer {_WHERE} ORDER BY seq", span).fetchall()
    return _objects([row[0] for row in rows])  # as text, real numbers would lose digits


def _objects(answers: Sequence[Label]) -> npt.NDArray[Any]:
    found = np.empty(len(answers), dtype=object)
    found[:] = answers
    return found


def parsed(text: str) -> npt.NDArray[np.int64]:
    """Read integers between commas."""
    return np.fromstring(text, dtype=np.int64, sep=",")


def _integers(values: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def as_keys(packed: bytes) -> pa.Array:
    """Cut bytes into keys: binary of 32 bytes each."""
    n_keys, rest = divmod(len(packed), _KEY)
    if rest:
        raise ValueError(f"keys have {_KEY} bytes each, got {len(packed)} in all")
    return pa.Array.from_buffers(pa.binary(_KEY), n_keys, [None, pa.py_buffer(packed)])


def as_texts(data: bytes, lengths: str) -> pa.Array:
    """Cut UTF-8 into texts, by their numbers of bytes between commas."""
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(parsed(lengths))])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def hex_of(keys: pa.Array) -> pa.Array:
    """Return keys of 32 bytes in lower-case hex: strings."""
    start = keys.offset * _KEY
    packed = bytes(keys.buffers()[1][start : start + len(keys) * _KEY])
    offsets = np.arange(len(keys) + 1, dtype=np.int64) * (2 * _KEY)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(packed.hex().encode())]
    return pa.Array.from_buffers(pa.large_string(), len(keys), buffers)
