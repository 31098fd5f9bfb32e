"""The connections that magics use: the user's own, and those that they open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from IPython.core.error import UsageError

import thresher
from thresher.dbapi import Connection
from thresher.opening import default_connection
from thresher.settings import SETTINGS

__all__ = ["Connections"]

_SUFFIXES = (".duckdb", ".ddb", ".db")


class Connections:
    """The current connection, and every connection that a magic opened.

    Examples
    --------
    >>> connections = Connections()
    >>> con = connections.named(":memory:", {})
    >>> con is connections.named(":memory:", {}), con is connections.current
    (True, False)
    >>> connections.close()
    """

    def __init__(self) -> None:
        self._current: Connection | None = None
        self._named = False
        self._opened: dict[str, Connection] = {}

    @property
    def current(self) -> Connection:
        """The connection in use; that of `thresher.sql` where none was named, or it was closed."""
        if self._current is None or self._current.closed:
            self._current, self._named = default_connection(), False
            settings = self._current._session.settings
            if settings.get("progress") == SETTINGS["progress"].default:
                settings.set("progress", "auto")
        return self._current

    @property
    def in_use(self) -> Connection | None:
        """The connection in use, None before the first."""
        return None if self._current is None or self._current.closed else self._current

    def use(self, connection: Connection) -> None:
        """Make a connection the current one."""
        self._named = connection is not self._current or self._named
        self._current = connection

    @property
    def was_closed(self) -> bool:
        """Whether the user closed the connection in use, which they had named."""
        return self._named and self._current is not None and self._current.closed

    def named(self, text: str, namespace: Mapping[str, object]) -> Connection:
        """Return the connection of a variable, or of a database file, which is opened once.

        Parameters
        ----------
        text : str
            What the user wrote after ``--connection``.
        namespace : mapping of str to object
            The user's variables.

        Raises
        ------
        UsageError
            It is neither a connection nor looks like a database file.
        OperationalError
            The file cannot be opened.
        """
        value = namespace.get(text)
        if isinstance(value, Connection):
            if value.closed:
                raise UsageError(f"connection {text} is closed; open another with connect()")
            return value
        if value is not None and not isinstance(value, str | Path):
            kind = type(value)
            written = f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"
            raise UsageError(
                f"{text} is a {written.removeprefix('builtins.')}, no connection of thresher. "
                f"Make one: {text} = thresher.connect('films.duckdb')"
            )
        path = text if value is None else str(value)
        if value is None and not _is_database(path):
            raise UsageError(
                f"there is no variable {path} and no such file. Name a connection, or a database "
                "file: --connection films.duckdb"
            )
        return self._open(path)

    def opened(self, text: str, namespace: Mapping[str, object]) -> Connection | None:
        """Return what `named` would, if it is open; opens nothing."""
        value = namespace.get(text, text)
        return value if isinstance(value, Connection) else self._opened.get(_key(str(value)))

    def _open(self, path: str) -> Connection:
        key = _key(path)
        found = self._opened.get(key)
        if found is None or found.closed:
            found = thresher.connect(key, config={"progress": "auto"})
            found._session.catalog.refresh()  # completion shows what the database declares
            self._opened[key] = found
        return found

    def close(self) -> None:
        """Close every connection that a magic opened."""
        for connection in self._opened.values():
            if not connection.closed:
                connection.close()
        self._opened.clear()
        self._current = None


def _key(path: str) -> str:
    return path if path.startswith(":memory:") else str(Path(path).expanduser().resolve())


def _is_database(text: str) -> bool:
    """Whether a text that names no variable can be meant as a database."""
    path = Path(text).expanduser()
    return text.startswith(":memory:") or path.suffix.lower() in _SUFFIXES or path.is_file()
