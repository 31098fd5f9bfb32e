"""Declarations made where the database file cannot be written: they wait in the label store.

A DuckDB shell holds the file while its worker declares an oracle. Whoever opens the file next from
Python moves the declaration into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from thresher.store_file import StoreFile

__all__ = ["Declaration", "declared_beside", "keep_beside", "take_beside"]

Declaration = tuple[str, str, str | None]  # kind, name, SQL or None where it was dropped

_TABLE = """
CREATE TABLE IF NOT EXISTS declarations (
    kind TEXT NOT NULL, name TEXT NOT NULL, sql TEXT, PRIMARY KEY (kind, name))
"""
_EXISTS = "SELECT 1 FROM sqlite_master WHERE name = 'declarations'"
_LISTED = "SELECT kind, name, sql FROM declarations ORDER BY rowid"


def declared_beside(file: StoreFile) -> list[Declaration]:
    """Return the declarations that wait, in the order in which they were made."""
    with file.using() as db:
        if db.execute(_EXISTS).fetchone() is None:
            return []
        return db.execute(_LISTED).fetchall()


def keep_beside(file: StoreFile, made: Sequence[Declaration]) -> None:
    """Keep declarations; a later one of the same name replaces an earlier one."""
    with file.writing() as db:
        db.execute(_TABLE)
        db.executemany(
            "DELETE FROM declarations WHERE kind = ? AND name = ?", [m[:2] for m in made]
        )
        db.executemany("INSERT INTO declarations VALUES (?, ?, ?)", made)


def take_beside(file: StoreFile, taken: Sequence[Declaration]) -> None:
    """Forget declarations that stand in the database file now."""
    with file.writing() as db:
        db.executemany("DELETE FROM declarations WHERE kind = ? AND name = ? AND sql IS ?", taken)
