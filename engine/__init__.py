"""Approximate SQL over model predictions, with guaranteed recall and precision.

PEP 249 driver: ``thresher.connect("films.duckdb")``. A cheap proxy scores all rows, the expensive
oracle labels a small sample, exact statistics decide which rows to return.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from thresher.errors import (
    BudgetError,
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    InterruptedQueryError,
    NotSupportedError,
    OperationalError,
    OracleError,
    ProgrammingError,
    ShortfallError,
    UnansweredError,
    Warning,  # noqa: A004 - the name is fixed by PEP 249
)
from thresher.typeobjects import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from thresher import aio
    from thresher.certificate import Certificate
    from thresher.cursor import Cursor
    from thresher.dbapi import Connection
    from thresher.given_answers import audit
    from thresher.opening import connect, default_connection, sql
    from thresher.verdicts import Finding
    from thresher.verify import Verification

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "BudgetError",
    "Certificate",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "Finding",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InterruptedQueryError",
    "NotSupportedError",
    "OperationalError",
    "OracleError",
    "ProgrammingError",
    "ShortfallError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "UnansweredError",
    "Verification",
    "Warning",
    "aio",
    "apilevel",
    "audit",
    "connect",
    "default_connection",
    "paramstyle",
    "sql",
    "threadsafety",
]

apilevel = "2.0"
paramstyle = "qmark"
threadsafety = 1

_LAZY = {
    "Certificate": "thresher.certificate",
    "Connection": "thresher.dbapi",
    "Cursor": "thresher.cursor",
    "Finding": "thresher.verdicts",
    "Verification": "thresher.verify",
    "audit": "thresher.given_answers",
    "connect": "thresher.opening",
    "default_connection": "thresher.opening",
}


def __getattr__(name: str) -> object:
    """Import the driver, and DuckDB with it, on first use."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in ("aio", "sql"):
        return import_module(f"thresher.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("thresher")
    raise AttributeError(f"module 'thresher' has no attribute '{name}'")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Load the notebook's part, as ``%load_ext thresher`` asks."""
    import_module("thresher.notebook").load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Undo it, as ``%unload_ext thresher`` asks."""
    import_module("thresher.notebook").unload(shell)


class _Runs(ModuleType):
    """The package `thresher.sql`, which has the name of a function and may be called as it."""

    def __call__(self, *args: Any, **options: Any) -> Cursor:
        """Run statements on a connection in memory; see `thresher.opening.sql`."""
        from thresher.opening import sql

        return sql(*args, **options)


class _Package(ModuleType):
    """The package itself, which learns of `thresher.sql` when that is imported, by whomever."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "sql" and isinstance(value, ModuleType):
            value.__class__ = _Runs
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
