"""The file of a label store: opened by many processes at once, brought to today's tables.

One SQLite file in WAL mode: several processes read and write it, and a killed process loses nothing
that was committed.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from thresher.errors import OperationalError

__all__ = ["StoreFile"]

# What a file of the first version has; `_ADDED` brings every file, old or new, from there to today.
_TABLES = """
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
CREATE TABLE IF NOT EXISTS proxy_paces (
    version TEXT PRIMARY KEY, name TEXT NOT NULL, n_scores INTEGER NOT NULL,
    n_requests INTEGER NOT NULL, seconds REAL NOT NULL, cost_usd REAL NOT NULL,
    n_counted INTEGER NOT NULL, n_tokens_in INTEGER NOT NULL, n_tokens_out INTEGER NOT NULL,
    first_at REAL NOT NULL, last_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS certificates (
    id TEXT PRIMARY KEY, made_at REAL NOT NULL, summary TEXT NOT NULL, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS certificate_labels (
    certificate TEXT NOT NULL, step INTEGER NOT NULL, stage TEXT NOT NULL,
    rows BLOB NOT NULL, truth BLOB, value BLOB, PRIMARY KEY (certificate, step));
CREATE TABLE IF NOT EXISTS certificate_traces (
    certificate TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    certificate TEXT PRIMARY KEY, n_rows INTEGER NOT NULL, keys_sha256 TEXT NOT NULL,
    returned BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS trained_proxies (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, question TEXT NOT NULL, arguments TEXT NOT NULL,
    name TEXT NOT NULL, oracles TEXT NOT NULL, n_labels INTEGER NOT NULL, auc REAL NOT NULL,
    sha256 TEXT NOT NULL, made_at REAL NOT NULL, used_at REAL NOT NULL, model BLOB NOT NULL,
    UNIQUE (question, sha256));
CREATE TABLE IF NOT EXISTS proxy_checks (
    sha256 TEXT NOT NULL, run TEXT NOT NULL, checked_at REAL NOT NULL, n_labels INTEGER NOT NULL,
    auc REAL, shift REAL NOT NULL, drifted INTEGER NOT NULL, UNIQUE (sha256, run));
CREATE TABLE IF NOT EXISTS imports (
    file_sha256 TEXT PRIMARY KEY, imported_at REAL NOT NULL)
"""
_ADDED = (
    ("oracles", "boolean", "INTEGER NOT NULL DEFAULT 0"),  # whether answers 0 and 1 are truths
    ("paces", "n_counted", "INTEGER NOT NULL DEFAULT 0"),  # labels whose tokens were counted
    ("paces", "n_tokens_in", "INTEGER NOT NULL DEFAULT 0"),
    ("paces", "n_tokens_out", "INTEGER NOT NULL DEFAULT 0"),
    ("paces", "n_requests_beyond", "INTEGER NOT NULL DEFAULT 0"),  # requests less labels
    ("runs", "stream", "TEXT NOT NULL DEFAULT ''"),  # what sets its draws apart besides its seed
    ("runs", "trained_until", "INTEGER NOT NULL DEFAULT 0"),  # proxies that it may begin with
)
_FORM = 5  # of the tables: count it up with every change of `_TABLES` or `_ADDED`
_BUSY_S = 60.0  # wait so long for other processes
_CACHE_KIB = 65_536  # of SQLite: keys come in random order, and so do the pages of their index


class StoreFile:
    """One SQLite file, or as much in memory.

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
        with self._translated():
            self._db = sqlite3.connect(
                ":memory:" if path is None else str(path),
                timeout=_BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        """Set the file up; only the first process of several that open a new file writes to it."""
        _into_wal(self._db)
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if self._form() < _FORM:
            with self._transaction("IMMEDIATE"):
                if self._form() < _FORM:
                    self._bring_up()
        self._db.execute("SELECT seq, oracle, key, answer FROM labels LIMIT 0")

    def _form(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _bring_up(self) -> None:
        """Make the tables and columns that are not there yet."""
        for statement in _TABLES.split(";"):
            self._db.execute(statement)
        for table, column, kind in _ADDED:
            there = [row[1] for row in self._db.execute(f"PRAGMA table_info ({table})")]
            if column not in there:
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self._db.execute(f"PRAGMA user_version = {_FORM}")

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
    def _transaction(self, kind: str) -> Iterator[None]:
        """Commit what is done inside, or nothing of it."""
        try:
            self._db.execute(f"BEGIN {kind}")  # it has begun even where Ctrl-C is heard right after
            yield
            self._db.execute("COMMIT")
        except BaseException:
            while self._db.in_transaction:
                with suppress(KeyboardInterrupt):
                    self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one statement; other threads wait."""
        with self._lock, self._translated():
            yield self._db

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for statements that see one state of the file."""
        with self._lock, self._translated(), self._transaction("DEFERRED"):
            yield self._db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for statements that are committed together or not at all."""
        with self._lock, self._translated(), self._transaction("IMMEDIATE"):
            yield self._db

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _into_wal(db: sqlite3.Connection) -> None:
    """Put a file into WAL mode.

    SQLite reads the mode before it changes it. Where another process is about to write by then, as
    when several open a new file, waiting with the read lock could block both for ever, so it
    refuses at once whatever the time-out is. Who is refused must let go and come again.
    """
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        else:
            return
        time.sleep((1 + secrets.randbelow(20)) / 1000)
