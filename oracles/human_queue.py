"""A queue of items that people label: one SQLite file between the queries and the people."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from thresher.errors import OperationalError

__all__ = ["Answer", "Item", "Queue", "Task"]

Answer = bool | int | float | str

_TABLES = """
CREATE TABLE IF NOT EXISTS tasks (
    version TEXT PRIMARY KEY, oracle TEXT NOT NULL, question TEXT NOT NULL, kind TEXT NOT NULL,
    labels TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY, version TEXT NOT NULL REFERENCES tasks (version), key TEXT NOT NULL,
    inputs TEXT NOT NULL, asked_at REAL NOT NULL, answer TEXT, answered_at REAL, answered_by TEXT,
    skipped INTEGER NOT NULL DEFAULT 0, UNIQUE (version, key));
CREATE TABLE IF NOT EXISTS files (
    version TEXT NOT NULL, key TEXT NOT NULL, input TEXT NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY (version, key, input));
"""
_BUSY_S = 60.0  # wait so long for other processes
_MOST_KEYS = 500  # looked up by one statement


@dataclass(frozen=True, slots=True)
class Task:
    """What people are asked.

    Parameters
    ----------
    version : str
        That of the oracle: answers belong to it.
    oracle : str
        Declared name.
    question : str
        Shown above each item.
    kind : str
        ``boolean``, ``label``, ``integer`` or ``number``.
    labels : tuple of str
        What can be answered, for ``label``.
    """

    version: str
    oracle: str
    question: str
    kind: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One item that waits for an answer: its number, what is asked, and the inputs as text."""

    number: int
    task: Task
    inputs: Mapping[str, str]


class Queue:
    """The items of one file; any number of processes may use it at once.

    Parameters
    ----------
    path : Path
        SQLite file, made when it is not there.

    Raises
    ------
    OperationalError
        The file cannot be opened, or is no queue.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> queue = Queue(Path(folder.name) / "people.queue")
    >>> task = Task("v1", "is_spam", "Is this spam?", "boolean")
    >>> queue.ask(task, {"k1": {"text": "WINNER!!"}})
    >>> [item.inputs for item in queue.waiting()]
    [{'text': 'WINNER!!'}]
    >>> queue.answer(1, True)
    >>> queue.answers("v1", ["k1"])
    {'k1': True}
    >>> folder.cleanup()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as db:
            db.executescript(_TABLES)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction: between answers nobody holds it."""
        try:
            db = sqlite3.connect(self.path, timeout=_BUSY_S)
            try:
                with db:
                    yield db
            finally:
                db.close()
        except sqlite3.Error as error:
            raise OperationalError(f"queue {self.path}: {error}") from error

    def ask(
        self,
        task: Task,
        items: Mapping[str, Mapping[str, str]],
        files: Mapping[str, Mapping[str, bytes]] | None = None,
    ) -> None:
        """Add items; those that are there already stay as they are.

        Parameters
        ----------
        task : Task
            What people are asked.
        items : mapping of str to mapping
            Inputs as text, by key.
        files : mapping of str to mapping, optional
            Inputs that are bytes, such as images, by key and name.
        """
        told = (task.version, task.oracle, task.question, task.kind, json.dumps(task.labels))
        rows = [
            (task.version, key, json.dumps(inputs), time.time()) for key, inputs in items.items()
        ]
        with self._opened() as db:
            db.execute("INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?)", told)
            db.executemany(
                "INSERT OR IGNORE INTO items (version, key, inputs, asked_at) VALUES (?, ?, ?, ?)",
                rows,
            )
            db.executemany(
                "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?)",
                [
                    (task.version, key, name, data)
                    for key, named in (files or {}).items()
                    for name, data in named.items()
                ],
            )

    def files(self, number: int) -> dict[str, bytes]:
        """Return the inputs of one item that are bytes, by name."""
        with self._opened() as db:
            rows = db.execute(
                "SELECT f.input, f.bytes FROM files f JOIN items i USING (version, key) "
                "WHERE i.id = ?",
                (number,),
            )
            return {name: bytes(data) for name, data in rows}

    def answers(self, version: str, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers that some keys have by now."""
        found: dict[str, Answer] = {}
        with self._opened() as db:
            for start in range(0, len(keys), _MOST_KEYS):
                some = keys[start : start + _MOST_KEYS]
                marks = ", ".join("?" * len(some))
                rows = db.execute(
                    "SELECT key, answer FROM items WHERE version = ? AND answer IS NOT NULL "
                    f"AND key IN ({marks})",
                    (version, *some),
                )
                found.update((key, json.loads(answer)) for key, answer in rows)
        return found

    def waiting(self, oracle: str | None = None, most: int = 1) -> list[Item]:
        """Return the items that wait the longest; those put off come last."""
        with self._opened() as db:
            rows = db.execute(
                "SELECT i.id, i.inputs, t.version, t.oracle, t.question, t.kind, t.labels "
                "FROM items i JOIN tasks t USING (version) WHERE i.answer IS NULL "
                "AND (?1 IS NULL OR lower(t.oracle) = lower(?1)) ORDER BY i.skipped, i.id LIMIT ?2",
                (oracle, most),
            ).fetchall()
        return [
            Item(
                number,
                Task(version, name, question, kind, tuple(json.loads(labels))),
                json.loads(inputs),
            )
            for number, inputs, version, name, question, kind, labels in rows
        ]

    def counts(self, oracle: str | None = None) -> tuple[int, int]:
        """Return how many items are answered, and how many there are."""
        with self._opened() as db:
            n_answered, n_items = db.execute(
                "SELECT count(i.answer), count(*) FROM items i JOIN tasks t USING (version) "
                "WHERE ?1 IS NULL OR lower(t.oracle) = lower(?1)",
                (oracle,),
            ).fetchone()
        return int(n_answered), int(n_items)

    def answer(self, number: int, answer: Answer, by: str | None = None) -> None:
        """Keep one answer, and who gave it."""
        with self._opened() as db:
            db.execute(
                "UPDATE items SET answer = ?, answered_at = ?, answered_by = ? WHERE id = ?",
                (json.dumps(answer), time.time(), by, number),
            )

    def put_off(self, number: int) -> None:
        """Ask for one item after all others."""
        with self._opened() as db:
            db.execute(
                "UPDATE items SET skipped = (SELECT max(skipped) + 1 FROM items) WHERE id = ?",
                (number,),
            )

    def take_back(self, number: int) -> bool:
        """Let one item wait again, first of all; returns whether it had an answer.

        A query may have taken the answer already, and keeps it.
        """
        with self._opened() as db:
            changed = db.execute(
                "UPDATE items SET answer = NULL, answered_at = NULL, answered_by = NULL, "
                "skipped = -1 WHERE id = ? AND answer IS NOT NULL",
                (number,),
            )
            return changed.rowcount == 1
