"""The label store: every oracle answer that was paid for, by content.

One SQLite file in WAL mode, so that several processes can read and write it and a killed
process loses nothing that was committed. A label is found by the oracle's version and the SHA-256
of its inputs; what table the inputs came from does not matter.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import OperationalError
from thresher.label_log import pack_log, unpack_log
from thresher.stored_labels import (
    FoundLabels,
    Label,
    StoredLabels,
    find_labels,
    read_labels,
)

__all__ = [
    "CERTIFICATE_COLUMNS",
    "LABEL_COLUMNS",
    "SPEND_COLUMNS",
    "Label",
    "LabelStore",
    "Pace",
    "Run",
    "StoredAnswer",
]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS oracles (
    id INTEGER PRIMARY KEY, version TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS labels (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    oracle INTEGER NOT NULL REFERENCES oracles (id),
    key BLOB NOT NULL,
    answer NOT NULL,
    confidence REAL,
    cost_usd REAL NOT NULL,
    bought_at REAL NOT NULL,
    UNIQUE (oracle, key));
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY,
    seed INTEGER NOT NULL,
    known_until INTEGER NOT NULL,
    begun_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS run_prices (
    run TEXT NOT NULL, version TEXT NOT NULL, price REAL NOT NULL, PRIMARY KEY (run, version));
CREATE TABLE IF NOT EXISTS paces (
    oracle INTEGER PRIMARY KEY REFERENCES oracles (id),
    n_labels INTEGER NOT NULL,
    seconds REAL NOT NULL,
    cost_usd REAL NOT NULL);
CREATE TABLE IF NOT EXISTS certificates (
    id TEXT PRIMARY KEY, made_at REAL NOT NULL, summary TEXT NOT NULL, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS certificate_labels (
    certificate TEXT NOT NULL, step INTEGER NOT NULL, stage TEXT NOT NULL,
    rows BLOB NOT NULL, truth BLOB, value BLOB, PRIMARY KEY (certificate, step));
CREATE TABLE IF NOT EXISTS answers (
    certificate TEXT PRIMARY KEY, n_rows INTEGER NOT NULL, keys_sha256 TEXT NOT NULL,
    returned BLOB NOT NULL);
"""
LABEL_COLUMNS = (
    ("oracle", "VARCHAR"),
    ("version", "VARCHAR"),
    ("input_sha256", "VARCHAR"),
    ("answer", "VARCHAR"),
    ("confidence", "DOUBLE"),
    ("cost_usd", "DOUBLE"),
    ("bought_at", "DOUBLE"),  # Unix time in seconds
)
CERTIFICATE_COLUMNS = (
    ("id", "VARCHAR"),
    ("made_at", "DOUBLE"),  # Unix time in seconds
    ("summary", "VARCHAR"),
    ("certificate", "VARCHAR"),  # JSON
)
SPEND_COLUMNS = (
    ("oracle", "VARCHAR"),
    ("version", "VARCHAR"),
    ("n_labels", "BIGINT"),
    ("seconds", "DOUBLE"),
    ("cost_usd", "DOUBLE"),
    ("first_bought_at", "DOUBLE"),  # Unix time in seconds
    ("last_bought_at", "DOUBLE"),
)
_CACHE_KIB = 65_536  # of SQLite: keys come in random order, and so do the pages of their index


@dataclass(frozen=True, slots=True)
class Run:
    """One query's place in the store.

    Parameters
    ----------
    seed : int
        Seed of its generator; a repeated run gets the first run's.
    known_until : int
        Labels up to this sequence number were there when it first began: they are its facts.
        Later ones are answers it may take from the store instead of paying again.
    prices : mapping of str to float
        What a label of each oracle version cost when it first began, in one unit for all.
    """

    seed: int
    known_until: int
    prices: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pace:
    """What the labels of one oracle version have taken so far.

    Parameters
    ----------
    n_labels : int
        Labels bought.
    seconds : float
        Time that the oracle took for them.
    cost_usd : float
        Their price.
    """

    n_labels: int
    seconds: float
    cost_usd: float


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


class LabelStore:
    """Labels, runs and certificates in one SQLite file or in memory.

    Parameters
    ----------
    path : path or None
        File; made when absent. None keeps everything in memory.

    Raises
    ------
    OperationalError
        The file cannot be opened or is not a label store.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self._lock = threading.RLock()
        self._ids: dict[str, int] = {}
        with self._translated():
            self._db = sqlite3.connect(
                ":memory:" if path is None else str(path),
                timeout=60.0,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._db.executescript(_SCHEMA)
            self._db.execute("SELECT seq, oracle, key, answer FROM labels LIMIT 0")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors into one that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise OperationalError(
                f"the label store {self.path or 'in memory'} fails: {error}. Give another place "
                "with connect(labels='path'), or connect(labels=None) to keep labels in memory."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _oracle_id(self, version: str, name: str) -> int:
        if version not in self._ids:
            self._db.execute(
                "INSERT OR IGNORE INTO oracles (version, name) VALUES (?, ?)", (version, name)
            )
            row = self._db.execute("SELECT id FROM oracles WHERE version = ?", (version,))
            self._ids[version] = row.fetchone()[0]
        return self._ids[version]

    @contextmanager
    def _snapshot(self, version: str) -> Iterator[int]:
        """Read one state of the store; gives the version's number, 0 where it has no label."""
        with self._lock, self._translated():
            self._db.execute("BEGIN")
            try:
                known = self._db.execute("SELECT id FROM oracles WHERE version = ?", (version,))
                row = known.fetchone()
                yield 0 if row is None else row[0]
            finally:
                self._db.execute("COMMIT")

    def get(self, version: str, keys: Sequence[str]) -> dict[str, tuple[Label, int]]:
        """Return the stored answers among `keys` (SHA-256 in hex), with their sequence numbers."""
        found = self.find(version, keys)
        known = zip(found.answers, found.seqs.tolist(), strict=True)
        return dict(zip([keys[place] for place in found.places], known, strict=True))

    def find(self, version: str, keys: Sequence[str]) -> FoundLabels:
        """Return the stored labels among distinct `keys` (SHA-256 in hex), by the column."""
        with self._snapshot(version) as oracle:
            return find_labels(self._db, oracle, keys, self.last())

    def put(
        self,
        version: str,
        name: str,
        keys: Sequence[str],
        answers: Sequence[Label],
        confidence: Iterable[float | None],
        cost_usd: float,
        seconds: float = 0.0,
    ) -> None:
        """Commit one batch of labels; an answer that is there already stays as it is.

        `cost_usd` and `seconds` are what the whole batch took.
        """
        each = cost_usd / max(len(keys), 1)
        now = time.time()
        with self._lock, self._translated():
            oracle = self._oracle_id(version, name)
            rows = [
                (oracle, bytes.fromhex(key), answer, sure, each, now)
                for key, answer, sure in zip(keys, answers, confidence, strict=True)
            ]
            with self._transaction():
                self._db.executemany(
                    "INSERT OR IGNORE INTO labels (oracle, key, answer, confidence, cost_usd, "
                    "bought_at) VALUES (?, ?, ?, ?, ?, ?)",
                    rows,
                )
                self._db.execute(
                    "INSERT INTO paces VALUES (?, ?, ?, ?) ON CONFLICT (oracle) DO UPDATE SET "
                    "n_labels = n_labels + excluded.n_labels, seconds = seconds + "
                    "excluded.seconds, cost_usd = cost_usd + excluded.cost_usd",
                    (oracle, len(keys), seconds, cost_usd),
                )

    def pace(self, version: str) -> Pace | None:
        """Return what labels of an oracle version have taken, None where none was bought."""
        with self._lock, self._translated():
            row = self._db.execute(
                "SELECT n_labels, seconds, cost_usd FROM paces "
                "WHERE oracle = (SELECT id FROM oracles WHERE version = ?)",
                (version,),
            ).fetchone()
        return None if row is None else Pace(*row)

    def facts(self, version: str, known_until: int) -> StoredLabels:
        """Return the labels of one oracle version up to a sequence number."""
        with self._snapshot(version) as oracle:
            return read_labels(self._db, oracle, known_until)

    def last(self) -> int:
        """Return the sequence number of the newest label, 0 when there is none."""
        with self._lock, self._translated():
            return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM labels").fetchone()[0])

    def begin(self, run: str, seed: int, prices: Mapping[str, float]) -> Run:
        """Open a run by its identity; one that began before keeps its seed, facts and prices.

        So a query that was cut off, or is simply repeated, draws the same rows again, finds their
        labels in the store and goes on where it stopped.
        """
        with self._lock, self._translated(), self._transaction():
            begun = self._db.execute(
                "INSERT OR IGNORE INTO runs VALUES (?, ?, "
                "(SELECT coalesce(max(seq), 0) FROM labels), ?)",
                (run, seed, time.time()),
            )
            if begun.rowcount:
                self._db.executemany(
                    "INSERT INTO run_prices VALUES (?, ?, ?)",
                    [(run, version, price) for version, price in prices.items()],
                )
            row = self._db.execute("SELECT seed, known_until FROM runs WHERE id = ?", (run,))
            first_seed, known_until = row.fetchone()
            first_prices = self._db.execute(
                "SELECT version, price FROM run_prices WHERE run = ?", (run,)
            ).fetchall()
        return Run(int(first_seed), int(known_until), dict(first_prices))

    def keep_certificate(
        self,
        identity: str,
        summary: str,
        facts: Mapping[str, object],
        log: pa.Table | None = None,
    ) -> None:
        """Store one certificate, and the log of its labels, in one transaction."""
        packed = [] if log is None else pack_log(log)
        text = json.dumps(facts, default=str)
        with self._lock, self._translated(), self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO certificates VALUES (?, ?, ?, ?)",
                (identity, time.time(), summary, text),
            )
            self._db.execute("DELETE FROM certificate_labels WHERE certificate = ?", (identity,))
            self._db.executemany(
                "INSERT INTO certificate_labels VALUES (?, ?, ?, ?, ?, ?)",
                [(identity, *record) for record in packed],
            )

    def certificate_labels(self, identity: str) -> pa.Table:
        """Return the log of a certificate (`label_log.LOG_SCHEMA`), empty if there is none."""
        with self._lock, self._translated():
            packed = self._db.execute(
                "SELECT step, stage, rows, truth, value FROM certificate_labels "
                "WHERE certificate = ? ORDER BY step",
                (identity,),
            ).fetchall()
        return unpack_log(packed)

    def certificate(self, identity: str) -> dict[str, Any] | None:
        """Return the facts of a certificate, None where there is no such."""
        with self._lock, self._translated():
            row = self._db.execute(
                "SELECT json FROM certificates WHERE id = ?", (identity,)
            ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def keep_answer(self, identity: str, answer: StoredAnswer) -> None:
        """Store which rows a certificate is about."""
        packed = zlib.compress(np.packbits(answer.returned).tobytes(), 1)
        with self._lock, self._translated():
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                (identity, len(answer.returned), answer.keys_sha256, packed),
            )

    def answer(self, identity: str) -> StoredAnswer | None:
        """Return which rows a certificate is about, None where it is about none."""
        with self._lock, self._translated():
            row = self._db.execute(
                "SELECT n_rows, keys_sha256, returned FROM answers WHERE certificate = ?",
                (identity,),
            ).fetchone()
        if row is None:
            return None
        bits = np.unpackbits(np.frombuffer(zlib.decompress(row[2]), np.uint8), count=row[0])
        return StoredAnswer(row[1], bits.astype(np.bool_))

    def certificates(self) -> list[tuple[str, float, str, str]]:
        """Return a row per certificate, oldest first: `CERTIFICATE_COLUMNS`."""
        with self._lock, self._translated():
            return self._db.execute("SELECT * FROM certificates ORDER BY made_at, id").fetchall()

    def labels(self) -> list[tuple[str, str, str, str, float | None, float, float]]:
        """Return a row per label, in the order they were bought: `LABEL_COLUMNS`."""
        with self._lock, self._translated():
            return self._db.execute(
                "SELECT o.name, o.version, lower(hex(l.key)), CAST(l.answer AS TEXT), "
                "l.confidence, l.cost_usd, l.bought_at FROM labels l "
                "JOIN oracles o ON o.id = l.oracle ORDER BY l.seq"
            ).fetchall()

    def spend(self) -> list[tuple[str, str, int, float, float, float | None, float | None]]:
        """Return a row per oracle version that labels were bought of: `SPEND_COLUMNS`."""
        with self._lock, self._translated():
            return self._db.execute(
                "SELECT o.name, o.version, p.n_labels, p.seconds, p.cost_usd, min(l.bought_at), "
                "max(l.bought_at) FROM paces p JOIN oracles o ON o.id = p.oracle "
                "LEFT JOIN labels l ON l.oracle = o.id GROUP BY o.id ORDER BY o.id"
            ).fetchall()
