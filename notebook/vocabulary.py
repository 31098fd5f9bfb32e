"""The names that completion offers: of a connection, and of the user's data frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType

import duckdb

from thresher.dbapi import Connection
from thresher.oracles.registry import PROVIDERS, option_names
from thresher.settings import SETTINGS
from thresher.sql.tokens import identifier, literal, tokenize, unquoted

__all__ = ["Known", "columns_of_frame", "is_frame"]

_LIBRARIES = ("pandas", "polars", "pyarrow")
_OURS = "__thresher_"  # views that the store's table functions read
_OF_IPYTHON = ("In", "Out")
_MOST = 2000  # columns of all tables that are looked at


class Known:
    """The names of a connection and of a user's variables, read when they are asked for.

    Parameters
    ----------
    connection : Connection or None
        None where there is none yet.
    namespace : mapping of str to object
        The user's variables.

    Notes
    -----
    Where the connection is busy, or its transaction is aborted, it has no tables. Nothing is
    fetched over a network: the columns of files on other machines stay unknown. Oracles and proxies
    are those that the last statement knew.
    """

    def __init__(self, connection: Connection | None, namespace: Mapping[str, object]) -> None:
        self._connection = connection
        if connection is not None and (connection.closed or connection._session.interrupts.running):
            self._connection = None
        self._namespace = namespace

    def _read(self, sql: str) -> list[tuple[str, ...]]:
        """Return the rows of a query of DuckDB; none where it cannot answer now."""
        if self._connection is None:
            return []
        session = self._connection._session
        # What is still being read must go on; from beside it, temporary tables are not seen.
        source = session.beside() if session.reading else session.connection
        try:
            # A relation: what the user is fetching from the connection itself goes on too.
            return source.sql(sql).fetchall()
        except duckdb.Error:
            return []

    @cached_property
    def _frames(self) -> dict[str, object]:
        names = self._namespace.items()
        return {name: value for name, value in names if name[0] != "_" and is_frame(value)}

    def tables(self, schema: str = "") -> Sequence[str]:
        """Return tables, views and data frames, or the tables of a schema or database."""
        where = f"{literal(schema)} IN (schema_name, database_name)"
        if not schema:
            where = (
                "(schema_name IN (current_schema(), 'main') AND database_name = current_catalog() "
                "OR temporary)"
            )
        where = f"NOT internal AND schema_name <> 'thresher' AND {where}"
        rows = self._read(
            f"SELECT table_name FROM duckdb_tables() WHERE {where} UNION SELECT view_name FROM "
            f"duckdb_views() WHERE {where} AND NOT starts_with(view_name, '{_OURS}') ORDER BY 1"
        )
        found = [row[0] for row in rows]
        if schema:
            return found
        schemas = self._read(
            "SELECT DISTINCT schema_name FROM duckdb_schemas() WHERE NOT internal AND schema_name "
            "NOT IN ('main', 'thresher') ORDER BY 1"
        )
        return [*found, *self._frames, *(row[0] for row in schemas)]

    def columns(self, relation: str) -> Sequence[str]:
        """Return the columns of a relation as it stands in FROM."""
        if (frame := self._frames.get(relation)) is not None:
            return columns_of_frame(frame)
        tokens = tokenize(relation)
        if not tokens or any("://" in token.text for token in tokens):
            return []
        if len(tokens) == 1 and tokens[0].kind == "string":
            relation = literal(unquoted(tokens[0].text))
        elif any(token.text == "(" for token in tokens):
            return []  # a function might do anything
        elif len(tokens) == 1 and tokens[0].kind == "word":
            relation = identifier(relation)
        return [row[0] for row in self._read(f"DESCRIBE FROM {relation}")]

    def every_column(self) -> Sequence[str]:
        """Return the columns of all tables and data frames."""
        rows = self._read(
            "SELECT DISTINCT column_name FROM duckdb_columns() WHERE NOT internal "
            f"AND schema_name <> 'thresher' AND NOT starts_with(table_name, '{_OURS}') "
            f"ORDER BY 1 LIMIT {_MOST}"
        )
        of_frames = [name for frame in self._frames.values() for name in columns_of_frame(frame)]
        return [*(row[0] for row in rows), *of_frames]

    def oracles(self) -> Sequence[str]:
        """Return declared oracles."""
        return self._declared("oracle")

    def proxies(self) -> Sequence[str]:
        """Return declared proxies."""
        return self._declared("proxy")

    def _declared(self, kind: str) -> list[str]:
        if self._connection is None:
            return []
        catalog = self._connection._session.catalog
        return catalog.oracle_names() if kind == "oracle" else catalog.proxy_names()

    def functions(self) -> Sequence[str]:
        """Return functions and macros of DuckDB."""
        rows = self._read(
            "SELECT DISTINCT function_name FROM duckdb_functions() "
            "WHERE regexp_full_match(function_name, '[a-z][a-z0-9_]*') ORDER BY 1"
        )
        return [row[0] for row in rows]

    def table_functions(self) -> Sequence[str]:
        """Return functions and macros of DuckDB that return a table."""
        rows = self._read(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN "
            "('table', 'table_macro') AND regexp_full_match(function_name, '[a-z][a-z0-9_]*') "
            "AND NOT starts_with(function_name, 'thresher_') ORDER BY 1"
        )
        return [row[0] for row in rows]

    def settings(self) -> Sequence[str]:
        """Return settings, ours first."""
        rows = self._read("SELECT name FROM duckdb_settings() ORDER BY 1")
        return [*(f"thresher_{name}" for name in SETTINGS), *(row[0] for row in rows)]

    def values(self, setting: str) -> Sequence[str]:
        """Return what a setting can be, where that is one of a few words."""
        if setting not in SETTINGS:
            return []
        kind, _, words = SETTINGS[setting].check.partition(" ")
        if kind == "flag":
            return ["true", "false"]
        return [literal(word) for word in words.split("|")] if kind == "word" else []

    def providers(self, kind: str) -> Sequence[str]:
        """Return what oracles or proxies may be made by."""
        return PROVIDERS[kind]

    def options(self, kind: str, provider: str) -> Sequence[str]:
        """Return the options of a provider."""
        return option_names(kind, provider) if provider in PROVIDERS[kind] else ()

    def certificates(self) -> Sequence[str]:
        """Return the identities of stored certificates, the last first."""
        if self._connection is None:
            return []
        return [row[0] for row in reversed(self._connection._store.certificates())]

    def parameters(self) -> Sequence[str]:
        """Return the user's variables that hold values or sequences of them."""
        return [
            name
            for name, value in self._namespace.items()
            if name[0] != "_"
            and name not in _OF_IPYTHON
            and not callable(value)
            and not isinstance(value, ModuleType | Connection)
        ]


def is_frame(value: object) -> bool:
    """Whether a value is a data frame or an Arrow table; imports nothing."""
    kind = type(value)
    return kind.__module__.partition(".")[0] in _LIBRARIES and kind.__name__ in (
        "DataFrame", "LazyFrame", "Table", "RecordBatch", "RecordBatchReader",
    )  # fmt: skip


def columns_of_frame(frame: object) -> list[str]:
    """Return the names of the columns of a data frame or Arrow table."""
    return [str(name) for name in _names(frame)]


def _names(frame: object) -> Iterator[object]:
    if type(frame).__name__ == "LazyFrame":
        yield from frame.collect_schema().names()  # type: ignore[attr-defined]
    elif hasattr(frame, "columns") and type(frame).__name__ == "DataFrame":
        yield from frame.columns
    else:
        yield from frame.schema.names  # type: ignore[attr-defined]
