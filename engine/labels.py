"""The label store: every oracle answer that was paid for, by content.

One SQLite file in WAL mode, so that several processes can read and write it and a killed
process loses nothing that was committed. A label is found by the oracle's version and the SHA-256
of its inputs; what table the inputs came from does not matter.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from thresher.label_batches import last_label
from thresher.oracles.protocols import Usage
from thresher.seen_inputs import SeenInputs
from thresher.store_file import StoreFile
from thresher.stored_certificates import CERTIFICATE_COLUMNS, StoredAnswer, StoredCertificates
from thresher.stored_labels import (
    FoundLabels,
    Label,
    StoredLabels,
    find_confidence,
    find_labels,
    read_labels,
)
from thresher.stored_proxies import last_trained

__all__ = [
    "CERTIFICATE_COLUMNS",
    "SPEND_COLUMNS",
    "Label",
    "LabelStore",
    "Pace",
    "Run",
    "StoredAnswer",
    "are_boolean",
    "oracle_number",
]

SPEND_COLUMNS = (
    ("oracle", "VARCHAR"),
    ("version", "VARCHAR"),
    ("kind", "VARCHAR"),  # oracle or proxy
    ("n_labels", "BIGINT"),  # of a proxy: inputs that were scored
    ("n_requests", "BIGINT"),
    ("seconds", "DOUBLE"),
    ("cost_usd", "DOUBLE"),
    ("n_tokens_in", "BIGINT"),
    ("n_tokens_out", "BIGINT"),
    ("first_bought_at", "DOUBLE"),  # Unix time in seconds
    ("last_bought_at", "DOUBLE"),
)

_PAY = """
INSERT INTO paces (oracle, n_labels, n_requests_beyond, seconds, cost_usd, n_counted, n_tokens_in,
    n_tokens_out)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (oracle) DO UPDATE SET
    n_labels = n_labels + excluded.n_labels, seconds = seconds + excluded.seconds,
    n_requests_beyond = n_requests_beyond + excluded.n_requests_beyond,
    cost_usd = cost_usd + excluded.cost_usd, n_counted = n_counted + excluded.n_counted,
    n_tokens_in = n_tokens_in + excluded.n_tokens_in,
    n_tokens_out = n_tokens_out + excluded.n_tokens_out
"""

_PAY_SCORES = """
INSERT INTO proxy_paces VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)
ON CONFLICT (version) DO UPDATE SET
    n_scores = n_scores + excluded.n_scores, n_requests = n_requests + excluded.n_requests,
    seconds = seconds + excluded.seconds, cost_usd = cost_usd + excluded.cost_usd,
    n_counted = n_counted + excluded.n_counted, n_tokens_in = n_tokens_in + excluded.n_tokens_in,
    n_tokens_out = n_tokens_out + excluded.n_tokens_out, last_at = excluded.last_at
"""
_SPEND = """
SELECT * FROM (
    SELECT o.name, o.version, 'oracle', p.n_labels, p.n_labels + p.n_requests_beyond, p.seconds,
        p.cost_usd, iif(p.n_counted, p.n_tokens_in, NULL), iif(p.n_counted, p.n_tokens_out, NULL),
        min(l.bought_at), max(l.bought_at)
    FROM paces p JOIN oracles o ON o.id = p.oracle LEFT JOIN labels l ON l.oracle = o.id
    GROUP BY o.id ORDER BY o.id)
UNION ALL SELECT * FROM (
    SELECT name, version, 'proxy', n_scores, n_requests, seconds, cost_usd,
        iif(n_counted, n_tokens_in, NULL), iif(n_counted, n_tokens_out, NULL), first_at, last_at
    FROM proxy_paces ORDER BY first_at)
"""


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
    stream : str
        Hex, to be mixed into the seed: what sets its draws apart from those of the same run in
        another store, from which labels were imported before it first began. Empty without.
    trained_until : int
        Trained proxies up to this sequence number were there when it first began: it may use them.
        Later ones may have learnt from its own sample.
    """

    seed: int
    known_until: int
    prices: Mapping[str, float] = field(default_factory=dict)
    stream: str = ""
    trained_until: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """What the labels of one oracle version, or the scores of a proxy's, have taken so far.

    Parameters
    ----------
    n_labels : int
        Labels bought, or inputs scored.
    seconds : float
        Time that the oracle took for them.
    cost_usd : float
        Their price.
    n_counted : int
        Those of them whose tokens were counted.
    n_tokens_in, n_tokens_out : int
        Tokens read and written for those.
    """

    n_labels: int
    seconds: float
    cost_usd: float
    n_counted: int = 0
    n_tokens_in: int = 0
    n_tokens_out: int = 0


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

    Attributes
    ----------
    seen : SeenInputs
        Inputs that labels were asked for since it was opened; the file has only their hashes.
    n_put : int
        Labels that were bought and written by this object.
    """

    def __init__(self, path: str | Path | None) -> None:
        super().__init__(StoreFile(path))
        self.seen, self.n_put = SeenInputs(), 0

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

    def confidence(self, version: str, keys: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the oracle's confidence in the stored answer of each of distinct keys, else NaN.

        Shape (n,), in [0, 1].
        """
        with self._snapshot(version) as (db, oracle):
            return find_confidence(db, oracle, keys)

    def put(
        self,
        version: str,
        name: str,
        keys: Sequence[str],
        answers: Sequence[Label],
        confidence: Iterable[float | None],
        cost_usd: float,
        seconds: float = 0.0,
        tokens: tuple[int, int] | None = None,
        requests: int | None = None,
    ) -> None:
        """Commit one batch of labels; an answer that is there already stays as it is.

        `cost_usd`, `seconds`, `tokens` (read and written; None: not counted) and `requests` (None:
        one for each label) are what the whole batch took.
        """
        each = cost_usd / max(len(keys), 1)
        now = time.time()
        counted = (0, 0, 0) if tokens is None else (len(keys), *tokens)
        packed = [bytes.fromhex(key) for key in keys]
        with self.file.writing() as db:
            oracle = oracle_number(db, version, name, boolean=are_boolean(answers))
            rows = [
                (oracle, key, answer, sure, each, now)
                for key, answer, sure in zip(packed, answers, confidence, strict=True)
            ]
            db.executemany(
                "INSERT OR IGNORE INTO labels (oracle, key, answer, confidence, cost_usd, "
                "bought_at) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            beyond = 0 if requests is None else requests - len(keys)
            db.execute(_PAY, (oracle, len(keys), beyond, seconds, cost_usd, *counted))
        self.n_put += len(keys)

    def put_scores(
        self, version: str, name: str, n_inputs: int, used: Usage, seconds: float
    ) -> None:
        """Count what scores of a proxy took; the scores themselves are not kept here."""
        counted = (0, 0, 0) if used.tokens is None else (n_inputs, *used.tokens)
        with self.file.writing() as db:
            db.execute(
                _PAY_SCORES,
                (version, name, n_inputs, used.requests, seconds, used.cost_usd, *counted,
                 time.time()),
            )  # fmt: skip

    def score_pace(self, version: str) -> Pace | None:
        """Return what scores of a proxy version have taken, None where none was computed."""
        with self.file.using() as db:
            row = db.execute(
                "SELECT n_scores, seconds, cost_usd, n_counted, n_tokens_in, n_tokens_out "
                "FROM proxy_paces WHERE version = ?",
                (version,),
            ).fetchone()
        return None if row is None else Pace(*row)

    def pace(self, version: str) -> Pace | None:
        """Return what labels of an oracle version have taken, None where none was bought."""
        with self.file.using() as db:
            row = db.execute(
                "SELECT n_labels, seconds, cost_usd, n_counted, n_tokens_in, n_tokens_out "
                "FROM paces WHERE oracle = (SELECT id FROM oracles WHERE version = ?)",
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

    def last_trained(self) -> int:
        """Return the sequence number of the newest trained proxy, 0 when there is none."""
        with self.file.using() as db:
            return last_trained(db)

    def begin(self, run: str, seed: int, prices: Mapping[str, float]) -> Run:
        """Open a run by its identity; one that began before keeps its seed, facts and prices.

        So a query that was cut off, or is simply repeated, draws the same rows again, finds their
        labels in the store and goes on where it stopped.
        """
        with self.file.writing() as db:
            begun = db.execute(
                "INSERT OR IGNORE INTO runs (id, seed, known_until, begun_at, stream, "
                "trained_until) VALUES (?, ?, ?, ?, ?, ?)",
                (run, seed, last_label(db), time.time(), _stream(db), last_trained(db)),
            )
            if begun.rowcount:
                db.executemany(
                    "INSERT INTO run_prices (run, version, price) VALUES (?, ?, ?)",
                    [(run, version, price) for version, price in prices.items()],
                )
            row = db.execute(
                "SELECT seed, known_until, stream, trained_until FROM runs WHERE id = ?", (run,)
            )
            first_seed, known_until, stream, trained_until = row.fetchone()
            first_prices = db.execute(
                "SELECT version, price FROM run_prices WHERE run = ?", (run,)
            ).fetchall()
        return Run(
            int(first_seed), int(known_until), dict(first_prices), str(stream), int(trained_until)
        )

    def spend(self) -> list[tuple[object, ...]]:
        """Return a row per version of oracles and proxies that were paid: `SPEND_COLUMNS`."""
        with self.file.using() as db:
            return db.execute(_SPEND).fetchall()


def are_boolean(answers: Sequence[Label]) -> bool:
    """Return whether answers, all of one type, are true or false."""
    return bool(answers) and isinstance(answers[0], bool)


def oracle_number(db: sqlite3.Connection, version: str, name: str, *, boolean: bool) -> int:
    """Return the number of an oracle version, which gets one where it has none."""
    db.execute(
        "INSERT INTO oracles (version, name, boolean) VALUES (?, ?, ?) ON CONFLICT (version) "
        "DO UPDATE SET boolean = 1 WHERE excluded.boolean AND NOT boolean",
        (version, name, boolean),
    )
    found = db.execute("SELECT id FROM oracles WHERE version = ?", (version,))
    return int(found.fetchone()[0])


def _stream(db: sqlite3.Connection) -> str:
    """Return what sets draws apart from those that chose imported labels; empty without imports."""
    files = db.execute("SELECT file_sha256 FROM imports ORDER BY file_sha256").fetchall()
    return hashlib.sha256("".join(row[0] for row in files).encode()).hexdigest() if files else ""
