"""Certificates in the label store: their facts, their label logs, the rows they are about."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.label_log import pack_log, unpack_log
from thresher.store_file import StoreFile

__all__ = ["CERTIFICATE_COLUMNS", "StoredAnswer", "StoredCertificates"]

CERTIFICATE_COLUMNS = (
    ("id", "VARCHAR"),
    ("made_at", "DOUBLE"),  # Unix time in seconds
    ("summary", "VARCHAR"),
    ("certificate", "VARCHAR"),  # JSON
)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The rows that a certified query returned.

    Parameters
    ----------
    keys_sha256 : str
        Hash of the keys of all rows, to see whether they are still the same.
    returned : ndarray of bool, shape (n_rows,)
    """

    keys_sha256: str
    returned: npt.NDArray[np.bool_]


class StoredCertificates:
    """Certificates in one file.

    Parameters
    ----------
    file : StoreFile
        Where they are.
    """

    def __init__(self, file: StoreFile) -> None:
        self.file = file

    def keep_certificate(
        self,
        identity: str,
        summary: str,
        facts: Mapping[str, object],
        log: pa.Table | None = None,
        trace: Mapping[str, object] | None = None,
    ) -> None:
        """Store one certificate, the log of its labels and its trace, in one transaction."""
        packed = [] if log is None else pack_log(log)
        text = json.dumps(facts, default=str)
        with self.file.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO certificates (id, made_at, summary, json) "
                "VALUES (?, ?, ?, ?)",
                (identity, time.time(), summary, text),
            )
            db.execute("DELETE FROM certificate_labels WHERE certificate = ?", (identity,))
            db.executemany(
                "INSERT INTO certificate_labels (certificate, step, stage, rows, truth, value) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [(identity, *record) for record in packed],
            )
            db.execute(
                "INSERT OR REPLACE INTO certificate_traces (certificate, json) VALUES (?, ?)",
                (identity, json.dumps(trace)),
            )

    def certificate_labels(self, identity: str) -> pa.Table:
        """Return the log of a certificate (`label_log.LOG_SCHEMA`), empty if there is none."""
        with self.file.using() as db:
            packed = db.execute(
                "SELECT step, stage, rows, truth, value FROM certificate_labels "
                "WHERE certificate = ? ORDER BY step",
                (identity,),
            ).fetchall()
        return unpack_log(packed)

    def certificate_trace(self, identity: str) -> dict[str, Any] | None:
        """Return what a certificate's pictures need (`thresher.traces`), None without."""
        with self.file.using() as db:
            row = db.execute(
                "SELECT json FROM certificate_traces WHERE certificate = ?", (identity,)
            ).fetchone()
        found = None if row is None else json.loads(row[0])
        return None if found is None else dict(found)

    def certificate(self, identity: str) -> dict[str, Any] | None:
        """Return the facts of a certificate, None where there is no such."""
        with self.file.using() as db:
            row = db.execute("SELECT json FROM certificates WHERE id = ?", (identity,)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def certificates(self) -> list[tuple[str, float, str, str]]:
        """Return a row per certificate, oldest first: `CERTIFICATE_COLUMNS`."""
        with self.file.using() as db:
            return db.execute(
                "SELECT id, made_at, summary, json FROM certificates ORDER BY made_at, id"
            ).fetchall()

    def keep_answer(self, identity: str, answer: StoredAnswer) -> None:
        """Store which rows a certificate is about."""
        packed = zlib.compress(np.packbits(answer.returned).tobytes(), 1)
        with self.file.using() as db:
            db.execute(
                "INSERT OR REPLACE INTO answers (certificate, n_rows, keys_sha256, returned) "
                "VALUES (?, ?, ?, ?)",
                (identity, len(answer.returned), answer.keys_sha256, packed),
            )

    def answer(self, identity: str) -> StoredAnswer | None:
        """Return which rows a certificate is about, None where it is about none."""
        with self.file.using() as db:
            row = db.execute(
                "SELECT n_rows, keys_sha256, returned FROM answers WHERE certificate = ?",
                (identity,),
            ).fetchone()
        if row is None:
            return None
        bits = np.unpackbits(np.frombuffer(zlib.decompress(row[2]), np.uint8), count=row[0])
        return StoredAnswer(row[1], bits.astype(np.bool_))
