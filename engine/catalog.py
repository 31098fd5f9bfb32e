"""Declared oracles and proxies: kept as their CREATE statements in the DuckDB file.

The table ``thresher.declarations`` is an ordinary table in the user's database, so that a
declaration is transactional and travels with the file. TEMP declarations and Python functions
live as long as the connection.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from thresher.errors import OperationalError, ProgrammingError, nearest
from thresher.oracles import Argument, Signature
from thresher.plan import CreateOracle, CreateProxy, Drop, OptionValue
from thresher.settings import Settings
from thresher.sql import parse

__all__ = ["Catalog", "OracleEntry", "ProxyEntry"]

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class OracleEntry:
    """A declared oracle."""

    name: str
    signature: Signature
    provider: str
    options: Mapping[str, OptionValue]
    sql: str
    function: Function | None = None

    @property
    def value_range(self) -> tuple[float | None, float | None]:
        """Least and largest value of an answer, None where nothing is declared."""
        if self.signature.returns.upper() in ("BOOLEAN", "BOOL", "LOGICAL"):
            return 0.0, 1.0
        low, high = (self.options.get(name) for name in ("minimum", "maximum"))
        return _number(low), _number(high)

    @property
    def as_column(self) -> bool:
        """Whether it may be written as a column, without its arguments."""
        return self.options.get("as_column") is True


def _number(value: OptionValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True)
class ProxyEntry:
    """A declared proxy and the oracle it stands for."""

    name: str
    oracle: str
    provider: str
    options: Mapping[str, OptionValue]
    sql: str
    function: Function | None = None
    trained: str | None = None  # the relation that it was trained from


Entry = OracleEntry | ProxyEntry
_INTERNAL: dict[frozenset[str], frozenset[str]] = {}  # functions, by the extensions loaded


class Catalog:
    """What is declared on one connection; names are case-insensitive.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        The user's connection.
    settings : Settings
        The session settings, for the parser.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        self._connection, self._settings = connection, settings
        ((name,),) = connection.execute("SELECT current_database()").fetchall()
        database = str(name).replace('"', '""')
        self._schema = f'"{database}".thresher'
        self._temporary: dict[tuple[str, str], Entry] = {}
        self._stored: dict[tuple[str, str], Entry] = {}
        self._learnt: dict[str, bytes] = {}  # by temporary proxies
        self._texts: list[tuple[str, str, str]] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the declarations again: another connection or a ROLLBACK may have changed them."""
        try:
            found = self._connection.sql(  # execute() would abort a transaction of DuckDB 2
                f"SELECT kind, name, sql FROM {self._schema}.declarations"
            ).fetchall()
            texts = sorted(found)  # DuckDB's ORDER BY takes longer than all the rest
        except (duckdb.CatalogException, duckdb.BinderException):  # no such table, or database
            texts = []
        except duckdb.TransactionException:
            return  # the user's transaction is aborted: only ROLLBACK will work
        if texts == self._texts:
            return
        self._texts, self._stored = texts, {}
        for kind, name, sql in texts:
            made = parse(sql, self)
            if isinstance(made, CreateOracle | CreateProxy):
                self._stored[kind, name] = _entry(made)

    def oracle(self, name: str) -> OracleEntry | None:
        """Return a declared oracle, or None."""
        found = self._get("oracle", name)
        return found if isinstance(found, OracleEntry) else None

    def proxy(self, name: str) -> ProxyEntry | None:
        """Return a declared proxy, or None."""
        found = self._get("proxy", name)
        return found if isinstance(found, ProxyEntry) else None

    def oracles(self) -> list[OracleEntry]:
        """Return all oracles by name."""
        return [e for e in self._all() if isinstance(e, OracleEntry)]

    def proxies(self, oracle: str | None = None) -> list[ProxyEntry]:
        """Return all proxies by name, or those of one oracle."""
        found = [e for e in self._all() if isinstance(e, ProxyEntry)]
        return found if oracle is None else [e for e in found if e.oracle == oracle.lower()]

    def oracle_names(self) -> list[str]:
        """Return the names of all oracles."""
        return [entry.name for entry in self.oracles()]

    def proxy_names(self) -> list[str]:
        """Return the names of all proxies."""
        return [entry.name for entry in self.proxies()]

    def settings(self) -> list[str]:
        """Return the names of the session settings, without prefix."""
        return self._settings.names()

    def setting(self, name: str) -> OptionValue:
        """Return the value of a session setting."""
        return self._settings.get(name)

    def without_settings(self) -> Catalog:
        """Return the same declarations with all settings at their defaults.

        SQL that a certificate keeps is complete: what settings gave it stands in it.
        """
        bare = copy.copy(self)
        bare._settings = Settings()
        return bare

    def has_function(self, name: str) -> bool:
        """Whether DuckDB has a function or macro; ``ai.if`` is ``if`` in the schema ``ai``."""
        schema, _, function = name.rpartition(".")
        found = self._connection.execute(
            "SELECT 1 FROM duckdb_functions() WHERE function_name = ? "
            "AND (? = '' OR schema_name = ?) LIMIT 1",
            [function, schema, schema],
        )
        return bool(found.fetchall())

    def columns(self, relation: str, ctes: str) -> list[str]:
        """Return the columns of a relation as it stands in FROM; none where it cannot be read."""
        sql = f"{ctes}SELECT * FROM {relation} LIMIT 0"
        try:
            return list(self._connection.sql(sql).columns)
        except duckdb.Error:
            return []

    def check(self, made: CreateOracle | CreateProxy) -> None:
        """Make sure that an oracle or proxy can be declared.

        Raises
        ------
        ProgrammingError
            The name is taken, or is a DuckDB function's, or the proxy's oracle is not declared.
        """
        entry = _entry(made)
        kind = "oracle" if isinstance(entry, OracleEntry) else "proxy"
        if self._get(kind, entry.name) is not None and not made.replace:
            raise _at(
                made,
                "name",
                f"{kind} {entry.name} exists already. "
                f"Write CREATE OR REPLACE {kind.upper()} to change it.",
            )
        if kind == "oracle" and entry.name in _internal_functions(self._connection):
            raise _at(
                made,
                "name",
                f"{entry.name} is a function of DuckDB: as an oracle it would change every query "
                "that calls it. Choose another name.",
            )
        if isinstance(entry, ProxyEntry) and self.oracle(entry.oracle) is None:
            hint = nearest(entry.oracle, self.oracle_names())
            raise _at(made, "oracle", f"there is no oracle {entry.oracle}.{hint}")

    def create(
        self,
        made: CreateOracle | CreateProxy,
        function: Function | None = None,
        learnt: bytes | None = None,
    ) -> None:
        """Declare an oracle or proxy; one with a Python function is always temporary.

        `learnt` is what a proxy with ``TRAINED FROM`` has learnt.

        Raises
        ------
        ProgrammingError
            The name is taken, or is a DuckDB function's, or the proxy's oracle is not declared.
        OperationalError
            The database is read-only.
        """
        self.check(made)
        entry = _entry(made, function)
        kind = "oracle" if isinstance(entry, OracleEntry) else "proxy"
        passing = isinstance(entry, ProxyEntry) and ("oracle", entry.oracle) in self._temporary
        if made.temporary or function is not None or passing:
            self._temporary[kind, entry.name] = entry
            self._learnt.pop(entry.name, None)
            if learnt is not None:
                self._learnt[entry.name] = learnt
            return
        try:
            self._keep(kind, entry.name, made.sql)
            self._keep_learnt(entry.name, learnt)
        except duckdb.InvalidInputException as error:
            raise OperationalError(
                f"cannot keep {kind} {entry.name} in this database: {error} "
                f"Write CREATE TEMP {kind.upper()} to declare it for this connection."
            ) from error
        self._temporary.pop((kind, entry.name), None)
        self.refresh()

    def _keep(self, kind: str, name: str, sql: str) -> None:
        """Write a declaration into the database; the primary key makes it one statement."""
        self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._schema}.declarations "
            "(kind VARCHAR, name VARCHAR, sql VARCHAR, PRIMARY KEY (kind, name))"
        )
        self._connection.execute(
            f"INSERT OR REPLACE INTO {self._schema}.declarations VALUES (?, ?, ?)",
            [kind, name, sql],
        )

    def _keep_learnt(self, name: str, learnt: bytes | None) -> None:
        """Write what a proxy has learnt beside its declaration."""
        if learnt is None:
            if name in self._stored_learnt():
                self._forget_learnt(name)
            return
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._schema}.trained_proxies "
            "(name VARCHAR PRIMARY KEY, learnt BLOB)"
        )
        self._connection.execute(
            f"INSERT OR REPLACE INTO {self._schema}.trained_proxies VALUES (?, ?)", [name, learnt]
        )

    def learnt(self, name: str) -> bytes | None:
        """Return what a proxy with ``TRAINED FROM`` has learnt; None where there is nothing."""
        if ("proxy", name) in self._temporary:
            return self._learnt.get(name)
        return self._stored_learnt(name).get(name)

    def _stored_learnt(self, name: str = "") -> dict[str, bytes]:
        """What is stored of one proxy; without a name all names, each with nothing."""
        what = "learnt" if name else "''::BLOB"
        try:
            found = self._connection.sql(
                f"SELECT name, {what} FROM {self._schema}.trained_proxies "
                "WHERE ?1 = '' OR name = ?1",
                params=[name],
            ).fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):  # no such table, or database
            return {}
        return {row[0]: bytes(row[1]) for row in found}

    def _forget_learnt(self, name: str) -> None:
        self._connection.execute(
            f"DELETE FROM {self._schema}.trained_proxies WHERE name = ?", [name]
        )

    def drop(self, statement: Drop) -> None:
        """Forget a declaration; the proxies of a dropped oracle go with it.

        A temporary declaration hides a stored one of the same name, and is dropped first.
        """
        kind, name = statement.kind, statement.name.lower()
        if self._get(kind, name) is None:
            if statement.if_exists:
                return
            known = self.oracle_names() if kind == "oracle" else self.proxy_names()
            raise ProgrammingError(
                f"there is no {kind} {name}.{nearest(name, known)}",
                sql=statement.sql,
                offset=statement.place.offset,
                length=statement.place.length,
            )
        hidden = (kind, name) in self._temporary and (kind, name) in self._stored
        doomed = [(kind, name)]
        if kind == "oracle" and not hidden:
            doomed += [("proxy", proxy.name) for proxy in self.proxies(name)]
        for key in doomed:
            if self._temporary.pop(key, None) is None and key in self._stored:
                self._delete(*key)
        self.refresh()

    def stored(self) -> dict[tuple[str, str], str]:
        """Return the SQL of what is declared in the database, by kind and name."""
        return {(kind, name): sql for kind, name, sql in self._texts}

    def adopt(
        self,
        kind: str,
        name: str,
        sql: str | None,
        *,
        keep: bool = True,
        learnt: bytes | None = None,
    ) -> None:
        """Take a declaration as it was made elsewhere; without SQL it was dropped there.

        `keep` writes it into the database, with what a proxy has `learnt`; otherwise it lives as
        long as the connection.
        """
        if keep and sql is not None:
            self._keep(kind, name, sql)
            if kind == "proxy":
                self._keep_learnt(name, learnt)
        elif keep and (kind, name) in self._stored:
            self._delete(kind, name)
        elif sql is not None and isinstance(made := parse(sql, self), CreateOracle | CreateProxy):
            self._temporary[kind, name] = _entry(made)
        self.refresh()

    def _delete(self, kind: str, name: str) -> None:
        self._connection.execute(
            f"DELETE FROM {self._schema}.declarations WHERE kind = ? AND name = ?",
            [kind, name],
        )
        if kind == "proxy" and name in self._stored_learnt():
            self._forget_learnt(name)

    def _get(self, kind: str, name: str) -> Entry | None:
        key = (kind, name.lower())
        return self._temporary.get(key) or self._stored.get(key)

    def _all(self) -> list[Entry]:
        merged = {**self._stored, **self._temporary}
        return [merged[key] for key in sorted(merged)]


def _internal_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Names of DuckDB's own functions; listing them takes longer than a small query."""
    loaded = connection.execute("SELECT extension_name FROM duckdb_extensions() WHERE loaded")
    extensions = frozenset(str(name) for (name,) in loaded.fetchall())
    if extensions not in _INTERNAL:
        found = connection.execute("SELECT function_name FROM duckdb_functions() WHERE internal")
        _INTERNAL[extensions] = frozenset(str(name) for (name,) in found.fetchall())
    return _INTERNAL[extensions]


def _entry(made: CreateOracle | CreateProxy, function: Function | None = None) -> Entry:
    name = made.name.lower()
    if isinstance(made, CreateProxy):
        options = dict(made.options)
        return ProxyEntry(
            name, made.oracle.lower(), made.provider, options, made.sql, function, made.trained
        )
    arguments = tuple(Argument(argument, kind) for argument, kind in made.arguments)
    signature = Signature(arguments, made.returns)
    return OracleEntry(name, signature, made.provider, dict(made.options), made.sql, function)


def _at(made: CreateOracle | CreateProxy, where: str, message: str) -> ProgrammingError:
    place = made.places.get(where)
    if place is None:
        return ProgrammingError(message)
    return ProgrammingError(message, sql=made.sql, offset=place.offset, length=place.length)
