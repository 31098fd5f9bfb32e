"""Labels that are no longer wanted: counted, dropped, and their room given back.

Only labels go. Certificates keep their own logs and can be verified as before. Runs stay, since a
query that had begun must draw the same rows again: without its run, labels of its own sample would
be facts to it. What was paid stays in `thresher_spend()`. Proxies that queries have trained go once
no label is left of an oracle version that they were trained for.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from thresher.labels import LabelStore
from thresher.stored_proxies import drop_orphans

__all__ = ["Dropped", "Unwanted", "drop_labels", "find_unwanted"]

_WANTED = """
WITH last AS (
    SELECT o.id, o.name, o.version, (SELECT max(seq) FROM labels l WHERE l.oracle = o.id) AS seq
    FROM oracles o),
chosen AS (
    SELECT id FROM last one WHERE (:oracle IS NULL OR name = :oracle)
    AND (:version IS NULL OR substr(version, 1, length(:version)) = :version)
    AND (NOT :superseded OR EXISTS (
        SELECT 1 FROM last two WHERE two.name = one.name AND two.seq > one.seq)))
"""
_WHERE = "oracle IN (SELECT id FROM chosen) AND (:before IS NULL OR bought_at < :before)"
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Which labels may go: those that meet every condition given.

    Parameters
    ----------
    oracle : str or None
        Name of their oracle.
    version : str or None
        Beginning of their oracle's version.
    older_than_days : float or None
        Least age in days.
    superseded : bool
        Only versions of an oracle's name of which another version has newer labels.
    """

    oracle: str | None = None
    version: str | None = None
    older_than_days: float | None = None
    superseded: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no condition is given; then nothing may go."""
        return self == Unwanted()


@dataclass(frozen=True, slots=True)
class Dropped:
    """Labels of one oracle version that go.

    Parameters
    ----------
    oracle, version : str
        Whose.
    n_labels, n_kept : int
        How many go and stay.
    cost_usd : float
        What those that go cost: to have them again would cost as much.
    """

    oracle: str
    version: str
    n_labels: int
    n_kept: int
    cost_usd: float


def find_unwanted(store: LabelStore, unwanted: Unwanted) -> list[Dropped]:
    """Return what `drop_labels` would drop."""
    if unwanted.is_empty:
        return []
    with store.file.reading() as db:
        return _count(db, _values(unwanted))


def drop_labels(store: LabelStore, unwanted: Unwanted) -> list[Dropped]:
    """Drop labels, all or none, and give their room in the file back.

    Returns
    -------
    list of Dropped
        A row per oracle version that lost labels.
    """
    found: list[Dropped] = []
    if not unwanted.is_empty:
        values = _values(unwanted)
        with store.file.writing() as db:
            found = _count(db, values)
            db.execute(f"{_WANTED} DELETE FROM labels WHERE {_WHERE}", values)
    with store.file.writing() as db:
        drop_orphans(db)
    with store.file.using() as db:
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint (TRUNCATE)")
    return found


def _values(unwanted: Unwanted) -> dict[str, object]:
    days = unwanted.older_than_days
    return {
        "oracle": unwanted.oracle,
        "version": unwanted.version,
        "superseded": unwanted.superseded,
        "before": None if days is None else time.time() - days * _DAY_S,
    }


def _count(db: sqlite3.Connection, values: dict[str, object]) -> list[Dropped]:
    """Count the labels that go, by oracle version."""
    rows = db.execute(
        f"{_WANTED} SELECT o.name, o.version, count(*), (SELECT count(*) FROM labels a "
        "WHERE a.oracle = o.id) - count(*), total(l.cost_usd) FROM labels l "
        f"JOIN oracles o ON o.id = l.oracle WHERE {_WHERE} "
        "GROUP BY o.id ORDER BY o.id",
        values,
    ).fetchall()
    return [Dropped(*row) for row in rows]
