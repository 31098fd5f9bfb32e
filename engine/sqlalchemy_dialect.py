"""SQLAlchemy 2 on thresher: ``create_engine("thresher:///films.duckdb")``.

The dialect is that of duckdb-sqlalchemy (types, reflection, DDL) over connections of this driver,
so that every statement may be one of thresher's. SQLAlchemy finds it by its entry point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import duckdb
import duckdb_sqlalchemy
from sqlalchemy import pool

import thresher
from thresher import errors
from thresher.settings import SETTINGS
from thresher.typeobjects import Exceptions

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, CursorResult
    from sqlalchemy.engine.interfaces import DBAPIConnection

    from thresher.certificate import Certificate
    from thresher.dbapi import Connection
    from thresher.plan import OptionValue

__all__ = ["ThresherDialect", "certificates"]

_WORDS = {"true": True, "yes": True, "on": True, "1": True}
_WORDS |= {"false": False, "no": False, "off": False, "0": False}
_NUMBER = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?|\.\d+")
_OF_THE_POOL = ("duckdb_sqlalchemy_pool", "pool")


def certificates(result: CursorResult[Any]) -> tuple[Certificate, ...]:
    """Return what an answer promises: `Cursor.certificates` of the statement behind a result.

    Parameters
    ----------
    result : sqlalchemy.CursorResult
        Of ``connection.execute`` or ``exec_driver_sql``; its rows may have been fetched.

    Returns
    -------
    tuple of Certificate
        One for each query block of thresher, the outermost last; empty for plain SQL, and for
        results of other databases.
    """
    return tuple(getattr(result.context, "certificates", ()))


class _Driver(Exceptions):
    """What SQLAlchemy asks of a driver's module, with numbered parameters.

    With them one value that a statement names twice is one parameter, as in a SELECT list and in
    GROUP BY, where DuckDB must see that both are the same.
    """

    paramstyle = "numeric_dollar"
    apilevel, threadsafety = thresher.apilevel, thresher.threadsafety
    Binary = staticmethod(thresher.Binary)


class _Connection:
    """A connection of ours as SQLAlchemy uses it: transactions begin by a call.

    Attributes
    ----------
    driver : Connection
        The connection beneath.
    autocommit : bool
        Whether each statement is a transaction of its own.
    """

    autocommit = False
    notices: Sequence[str] = ()

    def __init__(self, driver: Connection) -> None:
        self.driver = driver

    def cursor(self) -> _Cursor:
        return _Cursor(self)

    def begin(self) -> None:
        if not self.autocommit:
            self.driver.execute("BEGIN TRANSACTION")

    def commit(self) -> None:
        self.driver.commit()

    def rollback(self) -> None:
        self.driver.rollback()

    def close(self) -> None:
        self.driver.close()

    def register(self, name: str, data: object) -> None:
        """Make rows of Python a view, as bulk inserts do."""
        self.driver.connection.register(name, data)

    def unregister(self, name: str) -> None:
        self.driver.connection.unregister(name)


class _Cursor:
    """A cursor of ours as SQLAlchemy uses it; what is not here is `thresher.Cursor`'s."""

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection
        self._cursor = connection.driver.cursor()
        self._kept: Iterator[tuple[Any, ...]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str, parameters: Any = None) -> None:
        self._kept = None
        if sql.strip(" \n;").lower() == "commit":  # tools write it where nothing was begun, too
            self.connection.commit()
            return
        self._cursor.execute(sql, parameters or None)

    def executemany(self, sql: str, parameters: Sequence[Any]) -> None:
        self._kept = None
        self._cursor.executemany(sql, parameters)

    def keep_rows(self) -> int:
        """Take all rows into memory and return how many they are."""
        rows = self._cursor.fetchall()
        self._kept = iter(rows)
        return len(rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        if self._kept is None:
            return self._cursor.fetchmany(size)
        return list(islice(self._kept, self._cursor.arraysize if size is None else size))

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._cursor.fetchall() if self._kept is None else list(self._kept)

    @property
    def description(self) -> list[tuple[Any, ...]] | None:
        """Columns with the names of their types: a type of DuckDB's may have no hash."""
        columns = self._cursor.description
        return None if columns is None else [(c[0], str(c[1]), *c[2:]) for c in columns]


class _Context(duckdb_sqlalchemy.DuckDBExecutionContext):
    """One statement; it keeps the certificates of its answer."""

    certificates: tuple[Certificate, ...] = ()

    def post_exec(self) -> None:
        self.certificates = self.cursor.certificates
        with suppress(NotImplementedError):  # the first statements of an engine run without a pool
            self.root_connection.info["thresher_certificates"] = self.certificates

    def _setup_result_proxy(self) -> Any:
        changes = self.isinsert or self.isupdate or self.isdelete
        kept = getattr(self, "_insertmanyvalues_rows", None)
        if changes and getattr(self.compiled, "returning", None):
            # The unit of work counts the rows that come back, and DuckDB does not say how many.
            self._rowcount = self.cursor.keep_rows() if kept is None else len(kept)
        beyond: Any = super(duckdb_sqlalchemy.DuckDBExecutionContext, self)
        return beyond._setup_result_proxy()


class ThresherDialect(duckdb_sqlalchemy.Dialect):
    """The dialect behind ``thresher:///file.duckdb``.

    To SQLAlchemy, and to tools that ask for it, the name of its SQL is ``duckdb``: what they know
    of DuckDB (types, sequences, migrations) holds. `driver` is ``thresher``.

    Notes
    -----
    Query of the URL: ``labels`` (a path, or ``none``), ``read_only``, ``pool`` (``queue``,
    ``singleton``, ``null``), settings of thresher with or without ``thresher_``, and settings of
    DuckDB. Keyword arguments of `thresher.connect` may be given as ``connect_args``.
    """

    driver = "thresher"
    supports_statement_cache = True
    supports_sane_multi_rowcount = True  # `Cursor.executemany` counts the rows of all
    execution_ctx_cls = _Context
    duckdb_copy_threshold = 1000  # rows; our front reads each placeholder of less

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return what stands for the driver's module."""
        return _Driver

    def create_connect_args(self, url: URL) -> tuple[tuple[()], dict[str, Any]]:
        """Return the arguments of `connect` that a URL asks for."""
        _refuse_host(url)
        given = {name: value for name, value in url.query.items() if name not in _OF_THE_POOL}
        found: dict[str, Any] = {"database": url.database or ":memory:"}
        if (labels := given.pop("labels", None)) is not None:
            found["labels"] = None if labels == "none" else labels
        read_only = given.pop("read_only", None)
        if str(given.get("access_mode", "")).lower() == "read_only":
            del given["access_mode"]
            read_only = "true"
        if read_only is not None:
            found["read_only"] = _flag("read_only", read_only)
        found["url_config"] = {name: _value(name, value) for name, value in given.items()}
        return (), found

    def connect(self, *_: Any, **arguments: Any) -> DBAPIConnection:
        """Open a connection; see `thresher.connect` for its arguments."""
        config: Mapping[str, OptionValue] = arguments.pop("config", None) or {}
        arguments["config"] = {**arguments.pop("url_config", {}), **config}
        made: Any = _Connection(thresher.connect(**arguments))
        return made  # type: ignore[no-any-return]

    def get_driver_connection(self, connection: Any) -> Any:
        """Return the `thresher.Connection` beneath a connection of the pool."""
        return connection.driver

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Undo the transaction, where there is one."""
        dbapi_connection.rollback()

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ask whether a connection answers; it raises where it does not."""
        dbapi_connection.driver.execute("SELECT 1")
        return True

    def is_disconnect(self, e: Exception, connection: Any, cursor: Any) -> bool:  # noqa: ARG002
        """Whether an error means that the connection is lost.

        One of a model server, or of a file that cannot be read, does not.
        """
        lost = (duckdb.ConnectionException, duckdb.FatalException)
        closed = isinstance(e, errors.InterfaceError) and "connection is closed" in str(e)
        return closed or isinstance(e.__cause__, lost)

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        """Return the pool of a URL: one connection a thread in memory, a queue for files."""
        found: type[pool.Pool] = super().get_pool_class(url)
        return found


def _refuse_host(url: URL) -> None:
    """Refuse a file that stands where URLs have a host, as after two slashes."""
    known = (url.username, url.password, url.host, url.port)
    if any(part is not None for part in known):
        file = "/".join(part for part in (url.host, url.database) if part) or "films.duckdb"
        raise errors.InterfaceError(
            f"{url.drivername}:// names no server, and {file} stands where its name would: write "
            f"{url.drivername}:///{file} (three slashes), or four for an absolute path."
        )


def _flag(name: str, value: object) -> bool:
    found = _WORDS.get(str(value).lower())
    if found is None:
        raise errors.ProgrammingError(f"{name} cannot be {value!r}: write true or false.")
    return found


def _value(name: str, value: object) -> Any:
    """Read a value of a URL: our settings take numbers as such, and DuckDB all as text."""
    ours = name.startswith("thresher_") or name in SETTINGS
    if ours and isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if re.search(r"[.eE]", value) else int(value)
    return value
