"""Trained proxies in the label store: the newest of each kind, and how they did since.

A proxy is found by its question: the versions of the oracles, the formula over their answers, and
what its features hang on. At most three of a question are kept and 64 MiB of all, those that were
used last; of how one did, its last 20 checks.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

from thresher.store_file import StoreFile

__all__ = [
    "Check",
    "Shelved",
    "TrainedRecord",
    "checks_of",
    "drop_orphans",
    "find_trained",
    "forget_trained",
    "keep_check",
    "keep_trained",
    "last_trained",
    "shelved",
]

_EACH = 3  # of a question
_MOST_BYTES = 64 * 2**20  # of all
_CHECKS = 20  # of a proxy
_MOST_CHECKS = 2_000  # of all
_ORPHANS = """
seq IN (SELECT t.seq FROM trained_proxies t, json_each(t.oracles) v WHERE NOT EXISTS (
    SELECT 1 FROM oracles o JOIN labels l ON l.oracle = o.id WHERE o.version = v.value))
"""


@dataclass(frozen=True, slots=True)
class TrainedRecord:
    """A trained proxy as it is stored.

    Parameters
    ----------
    question : str
        Hash of what it answers: see the module.
    arguments : str
        The arguments of the oracles as SQL, by which the fittest of several is found.
    name : str
        What SHOW and DROP PROXY call it.
    oracles : mapping of str to str
        Version of each oracle.
    n_labels : int
        Labels it was trained on.
    auc : float
        When it was trained.
    sha256 : str
        Hash of `packed`.
    packed : bytes
        As `Trained.pack` gives it.
    """

    question: str
    arguments: str
    name: str
    oracles: Mapping[str, str]
    n_labels: int
    auc: float
    sha256: str
    packed: bytes


@dataclass(frozen=True, slots=True)
class Check:
    """How a trained proxy did on the rows of one query.

    Parameters
    ----------
    sha256 : str
        Hash of the proxy.
    run : str
        Identity of the certificate.
    n_labels : int
        Labels drawn by chance; 0 where there were none to tell.
    auc : float or None
        On those.
    shift : float
        Population stability index of the scores.
    drifted : bool
    """

    sha256: str
    run: str
    n_labels: int
    auc: float | None
    shift: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class Shelved:
    """One line of SHOW PROXIES about a trained proxy."""

    name: str
    oracles: tuple[str, ...]
    n_labels: int
    auc: float
    sha256: str
    made_at: float


def last_trained(db: sqlite3.Connection) -> int:
    """Return the sequence number of the newest trained proxy, 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM trained_proxies").fetchone()[0])


def find_trained(
    file: StoreFile, question: str, arguments: str, until: int
) -> tuple[str, bytes] | None:
    """Return hash and bytes of the trained proxy for a question, None where there is none.

    One that was trained on the same arguments goes first, then the newest; `until` is the last
    sequence number that counts.
    """
    with file.using() as db:
        found = db.execute(
            "SELECT sha256, model FROM trained_proxies WHERE question = ? AND seq <= ? "
            "ORDER BY arguments = ? DESC, seq DESC LIMIT 1",
            (question, until, arguments),
        ).fetchone()
        if found is None:
            return None
        db.execute(
            "UPDATE trained_proxies SET used_at = ? WHERE sha256 = ?", (time.time(), found[0])
        )
    return str(found[0]), bytes(found[1])


def keep_trained(file: StoreFile, record: TrainedRecord) -> None:
    """Add a trained proxy, unless it is there; what is too much goes."""
    now = time.time()
    with file.writing() as db:
        db.execute(
            "INSERT OR IGNORE INTO trained_proxies (question, arguments, name, oracles, n_labels, "
            "auc, sha256, made_at, used_at, model) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.question, record.arguments, record.name, json.dumps(dict(record.oracles)),
                record.n_labels, record.auc, record.sha256, now, now, record.packed,
            ),
        )  # fmt: skip
        db.execute(
            "DELETE FROM trained_proxies WHERE seq IN (SELECT seq FROM (SELECT seq, row_number() "
            "OVER (PARTITION BY question ORDER BY seq DESC) AS place FROM trained_proxies "
            "WHERE question = ?) WHERE place > ?)",
            (record.question, _EACH),
        )
        db.execute(
            "DELETE FROM trained_proxies WHERE seq IN (SELECT seq FROM (SELECT seq, "
            "sum(length(model)) OVER (ORDER BY used_at DESC, seq DESC) AS so_far "
            "FROM trained_proxies) WHERE so_far > ?)",
            (_MOST_BYTES,),
        )


def keep_check(file: StoreFile, check: Check) -> None:
    """Remember how a trained proxy did; a query that is repeated counts once."""
    with file.writing() as db:
        db.execute(
            "INSERT OR IGNORE INTO proxy_checks (sha256, run, checked_at, n_labels, auc, shift, "
            "drifted) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                check.sha256, check.run, time.time(), check.n_labels, check.auc, check.shift,
                check.drifted,
            ),
        )  # fmt: skip
        db.execute(
            "DELETE FROM proxy_checks WHERE sha256 = ?1 AND rowid NOT IN (SELECT rowid FROM "
            "proxy_checks WHERE sha256 = ?1 ORDER BY rowid DESC LIMIT ?2)",
            (check.sha256, _CHECKS),
        )
        db.execute(
            "DELETE FROM proxy_checks WHERE rowid <= (SELECT max(rowid) FROM proxy_checks) - ?",
            (_MOST_CHECKS,),
        )


def checks_of(file: StoreFile, sha256: str) -> list[Check]:
    """Return how a trained proxy did, the newest first."""
    with file.using() as db:
        rows = db.execute(
            "SELECT sha256, run, n_labels, auc, shift, drifted FROM proxy_checks WHERE sha256 = ? "
            "ORDER BY rowid DESC",
            (sha256,),
        ).fetchall()
    return [
        Check(sha256, run, n_labels, auc, shift, bool(drifted))
        for sha256, run, n_labels, auc, shift, drifted in rows
    ]


def shelved(file: StoreFile) -> list[Shelved]:
    """Return the newest trained proxy of each name and question, by name."""
    with file.using() as db:
        rows = db.execute(
            "SELECT name, oracles, n_labels, auc, sha256, made_at FROM trained_proxies "
            "WHERE seq IN (SELECT max(seq) FROM trained_proxies GROUP BY name, question) "
            "ORDER BY name, seq DESC"
        ).fetchall()
    return [Shelved(row[0], tuple(json.loads(row[1])), *row[2:]) for row in rows]


def forget_trained(file: StoreFile, name: str) -> int:
    """Drop the trained proxies of a name; returns how many there were."""
    with file.writing() as db:
        return _drop(db, "name = ?", (name,))


def drop_orphans(db: sqlite3.Connection) -> int:
    """Drop trained proxies of oracle versions that no label is left of; returns how many."""
    return _drop(db, _ORPHANS, ())


def _drop(db: sqlite3.Connection, where: str, values: tuple[str, ...]) -> int:
    """Drop trained proxies and how they did."""
    chosen = f"SELECT sha256 FROM trained_proxies WHERE {where}"
    db.execute(f"DELETE FROM proxy_checks WHERE sha256 IN ({chosen})", values)
    return int(db.execute(f"DELETE FROM trained_proxies WHERE {where}", values).rowcount)
