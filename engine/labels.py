"""The label store: every oracle answer that was paid for, by content.

One SQLite file in WAL mode, so that several processes can read and write it and a killed
process loses nothing that was committed. A label is found by the oracle's version and the SHA-256
of its inputs; what table the inputs came from does not matter.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from thresher.store_file import StoreFile
from thresher.stored_certificates import CERTIFICATE_COLUMNS, StoredAnswer, StoredCertificates
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
    "last_label",
    "oracle_number",
]

LABEL_COLUMNS = (
    ("oracle", "VARCHAR"),
    ("version", "VARCHAR"),
    ("input_sha256", "VARCHAR"),
    ("answer", "VARCHAR"),
    ("confidence", "DOUBLE"),
    ("cost_usd", "DOUBLE"),
    ("bought_at", "DOUBLE"),  # Unix time in seconds
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


class LabelStore(StoredCertificates):
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
        super().__init__(StoreFile(path))

    @property
    def path(self) -> Path | None:
        """The file, None in memory."""
        return self.file.path

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    @contextmanager
    def _snapshot(self, version: str) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Read one state of the store; gives the version's number, 0 where it has no label."""
        with self.file.reading() as db:
            row = db.execute("SELECT id FROM oracles WHERE version = ?", (version,)).fetchone()
            yield db, 0 if row is None else row[0]

    def get(self, version: str, keys: Sequence[str]) -> dict[str, tuple[Label, int]]:
        """Return the stored answers among `keys` (SHA-256 in hex), with their sequence numbers."""
        found = self.find(version, keys)
        known = zip(found.answers, found.seqs.tolist(), strict=True)
        return dict(zip([keys[place] for place in found.places], known, strict=True))

    def find(self, version: str, keys: Sequence[str]) -> FoundLabels:
        """Return the stored labels among distinct `keys` (SHA-256 in hex), by the column."""
        with self._snapshot(version) as (db, oracle):
            return find_labels(db, oracle, keys, last_label(db))

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
        packed = [bytes.fromhex(key) for key in keys]
        with self.file.writing() as db:
            oracle = oracle_number(db, version, name)
            rows = [
                (oracle, key, answer, sure, each, now)
                for key, answer, sure in zip(packed, answers, confidence, strict=True)
            ]
            db.executemany(
                "INSERT OR IGNORE INTO labels (oracle, key, answer, confidence, cost_usd, "
                "bought_at) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            db.execute(
                "INSERT INTO paces (oracle, n_labels, seconds, cost_usd) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (oracle) DO UPDATE SET n_labels = n_labels + excluded.n_labels, "
                "seconds = seconds + excluded.seconds, cost_usd = cost_usd + excluded.cost_usd",
                (oracle, len(keys), seconds, cost_usd),
            )

    def pace(self, version: str) -> Pace | None:
        """Return what labels of an oracle version have taken, None where none was bought."""
        with self.file.using() as db:
            row = db.execute(
                "SELECT n_labels, seconds, cost_usd FROM paces "
                "WHERE oracle = (SELECT id FROM oracles WHERE version = ?)",
                (version,),
            ).fetchone()
        return None if row is None else Pace(*row)

    def facts(self, version: str, known_until: int) -> StoredLabels:
        """Return the labels of one oracle version up to a sequence number."""
        with self._snapshot(version) as (db, oracle):
            return read_labels(db, oracle, known_until)

    def last(self) -> int:
        """Return the sequence number of the newest label, 0 when there is none."""
        with self.file.using() as db:
            return last_label(db)

    def begin(self, run: str, seed: int, prices: Mapping[str, float]) -> Run:
        """Open a run by its identity; one that began before keeps its seed, facts and prices.

        So a query that was cut off, or is simply repeated, draws the same rows again, finds their
        labels in the store and goes on where it stopped.
        """
        with self.file.writing() as db:
            begun = db.execute(
                "INSERT OR IGNORE INTO runs (id, seed, known_until, begun_at) VALUES (?, ?, ?, ?)",
                (run, seed, last_label(db), time.time()),
            )
            if begun.rowcount:
                db.executemany(
                    "INSERT INTO run_prices (run, version, price) VALUES (?, ?, ?)",
                    [(run, version, price) for version, price in prices.items()],
                )
            row = db.execute("SELECT seed, known_until FROM runs WHERE id = ?", (run,))
            first_seed, known_until = row.fetchone()
            first_prices = db.execute(
                "SELECT version, price FROM run_prices WHERE run = ?", (run,)
            ).fetchall()
        return Run(int(first_seed), int(known_until), dict(first_prices))

    def labels(self) -> list[tuple[str, str, str, str, float | None, float, float]]:
        """Return a row per label, in the order they were bought: `LABEL_COLUMNS`."""
        with self.file.using() as db:
            return db.execute(
                "SELECT o.name, o.version, lower(hex(l.key)), CAST(l.answer AS TEXT), "
                "l.confidence, l.cost_usd, l.bought_at FROM labels l "
                "JOIN oracles o ON o.id = l.oracle ORDER BY l.seq"
            ).fetchall()

    def spend(self) -> list[tuple[str, str, int, float, float, float | None, float | None]]:
        """Return a row per oracle version that labels were bought of: `SPEND_COLUMNS`."""
        with self.file.using() as db:
            return db.execute(
                "SELECT o.name, o.version, p.n_labels, p.seconds, p.cost_usd, min(l.bought_at), "
                "max(l.bought_at) FROM paces p JOIN oracles o ON o.id = p.oracle "
                "LEFT JOIN labels l ON l.oracle = o.id GROUP BY o.id ORDER BY o.id"
            ).fetchall()


def last_label(db: sqlite3.Connection) -> int:
    """Return the sequence number of the newest label, 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM labels").fetchone()[0])


def oracle_number(db: sqlite3.Connection, version: str, name: str) -> int:
    """Return the number of an oracle version, which gets one where it has none."""
    db.execute("INSERT OR IGNORE INTO oracles (version, name) VALUES (?, ?)", (version, name))
    found = db.execute("SELECT id FROM oracles WHERE version = ?", (version,))
    return int(found.fetchone()[0])
