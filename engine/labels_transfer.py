"""Labels as a Parquet file: written by one store, read by another."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.errors import DataError, OperationalError
from thresher.label_batches import EXPORTED, exported_labels
from thresher.labels import LabelStore, oracle_number

__all__ = ["Imported", "export_labels", "import_labels"]

_ANSWERS = ("answer_boolean", "answer_integer", "answer_real", "answer_text")
_BATCH = 50_000  # labels of one transaction
_FIELDS = "oracle, key, answer, confidence, cost_usd, bought_at"


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the labels of a file.

    Parameters
    ----------
    n_new : int
        Labels that the store did not have.
    n_present : int
        Labels that it had, with the same answer.
    n_conflicting : int
        Labels that it had with another answer, which stays as it was.
    """

    n_new: int
    n_present: int
    n_conflicting: int


def export_labels(store: LabelStore, path: str | Path) -> int:
    """Write every label of a store into a Parquet file and return how many they are.

    Parameters
    ----------
    store : LabelStore
        Where they are.
    path : path
        File of `label_batches.EXPORTED`; replaced when it is there, but only by a whole one.

    Raises
    ------
    OperationalError
        The file cannot be written.
    """
    target, n_labels = Path(path), 0
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with pq.ParquetWriter(part, EXPORTED, compression="zstd") as writer:
            for batch in exported_labels(store.file, store.last()):
                writer.write_batch(batch)
                n_labels += batch.num_rows
        part.replace(target)
    except OSError as error:
        raise OperationalError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return n_labels


def import_labels(store: LabelStore, path: str | Path) -> Imported:
    """Take the labels of a Parquet file into a store; an answer that it has stays as it is.

    Parameters
    ----------
    store : LabelStore
        Where they go.
    path : path
        File with the columns of `label_batches.EXPORTED`.

    Raises
    ------
    OperationalError
        The file cannot be read.
    DataError
        It is no file of labels. Those before the first that is none are in the store.

    Notes
    -----
    What was imported is known to queries that begin later. To one that had begun, it is what a
    label of another query is: an answer that need not be paid for again, of a row that it would
    have drawn anyhow. The labels may be those that the same query with the same seed drew in
    another store; therefore the draws of every run that begins after an import hang on what was
    imported as well. `thresher_spend()` counts what was paid through a store, and nothing of this.
    """
    added = found = conflicting = 0
    with store.file.using() as db:
        db.execute(f"CREATE TEMP TABLE IF NOT EXISTS incoming ({_FIELDS})")
    for batch, digest in _read(Path(path)):
        rows = _rows(batch, path)
        with store.file.writing() as db:
            n_new, n_other = _take(db, batch, rows)
            if n_new:
                db.execute(
                    "INSERT OR IGNORE INTO imports (file_sha256, imported_at) VALUES (?, ?)",
                    (digest, time.time()),
                )
        added, conflicting, found = added + n_new, conflicting + n_other, found + len(batch)
    return Imported(added, found - added - conflicting, conflicting)


def _read(path: Path) -> Iterator[tuple[pa.RecordBatch, str]]:
    """Yield the batches of a file, each with the hash of all of it."""
    try:
        with path.open("rb") as source, pq.ParquetFile(source) as file:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
            missing = [name for name in EXPORTED.names if name not in file.schema_arrow.names]
            if missing:
                raise DataError(f"{path} holds no labels: it has no column {missing[0]}.")
            for batch in file.iter_batches(_BATCH, columns=EXPORTED.names):
                yield _typed(batch, path), digest
    except OSError as error:
        raise OperationalError(f"cannot read {path}: {error.strerror or error}") from error
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is no Parquet file: {error}") from error


def _typed(batch: pa.RecordBatch, path: Path) -> pa.RecordBatch:
    """Return a batch with the types of labels and nothing missing."""
    try:
        arrays = [batch.column(field.name).cast(field.type) for field in EXPORTED]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path} holds no labels: {error}") from error
    for field, array in zip(EXPORTED, arrays, strict=True):
        if not field.nullable and array.null_count:
            raise DataError(f"{path}: {field.name} is NULL in {array.null_count} labels.")
    return pa.RecordBatch.from_arrays(arrays, schema=EXPORTED)


def _rows(batch: pa.RecordBatch, path: str | Path) -> list[list[Any]]:
    """Return keys, answers, confidence, prices and times as SQLite takes them."""
    answers: npt.NDArray[Any] = np.empty(batch.num_rows, dtype=object)
    n_answers = np.zeros(batch.num_rows, dtype=np.int64)
    for name in _ANSWERS:
        column = batch.column(name)
        there = column.is_valid().to_numpy(zero_copy_only=False)
        answers[there] = column.drop_null().to_pylist()
        n_answers += there
    if (n_answers != 1).any():
        raise DataError(f"{path}: a label has {n_answers[n_answers != 1][0]} answers, not one.")
    times = batch.column("bought_at").cast(pa.int64()).to_numpy() / 1e6
    key, sure, price = (
        batch.column(name).to_pylist() for name in ("input_sha256", "confidence", "cost_usd")
    )
    return [key, answers.tolist(), sure, price, times.tolist()]


def _take(db: sqlite3.Connection, batch: pa.RecordBatch, rows: list[list[Any]]) -> tuple[int, int]:
    """Add the labels that are not there; return how many were new, and how many contradict."""
    boolean = batch.column("answer_boolean").is_valid()
    oracles = pa.table(
        {"version": batch.column("version"), "oracle": batch.column("oracle"), "boolean": boolean}
    )
    numbers = {
        row["version"]: oracle_number(db, row["version"], row["oracle"], boolean=row["boolean"])
        for row in oracles.group_by(oracles.column_names).aggregate([]).to_pylist()
    }
    versions = batch.column("version").dictionary_encode()
    of_version = np.array([numbers[version] for version in versions.dictionary.to_pylist()])
    oracle = of_version[versions.indices.to_numpy()].tolist()
    labels = zip(oracle, *rows, strict=True)
    db.executemany("INSERT INTO incoming VALUES (?, ?, ?, ?, ?, ?)", labels)
    added = db.execute(
        f"INSERT OR IGNORE INTO labels ({_FIELDS}) SELECT {_FIELDS} FROM incoming ORDER BY rowid"
    )
    contradicting = db.execute(
        "SELECT count(*) FROM incoming i CROSS JOIN labels l "
        "ON l.oracle = i.oracle AND l.key = i.key WHERE l.answer IS NOT i.answer"
    )
    n_new, n_other = added.rowcount, int(contradicting.fetchone()[0])
    db.execute("DELETE FROM incoming")
    return n_new, n_other
