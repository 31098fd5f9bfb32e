"""Databases opened for approximate queries; the one that needs no opening."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import duckdb

from thresher import errors, plan
from thresher.cursor import Cursor
from thresher.dbapi import Connection
from thresher.duckdb_errors import translated
from thresher.labels import LabelStore
from thresher.progress import ProgressEvent, ProgressSink
from thresher.session import Parameters
from thresher.settings import SETTINGS, Settings

__all__ = ["BESIDE", "connect", "default_connection", "sql"]

BESIDE = "beside the database"
_ARGUMENTS = ("labels", "read_only")  # which URLs of SQLAlchemy name as they name settings
_Config = Mapping[str, plan.OptionValue | ProgressSink]
_default: Connection | None = None
_opening = threading.Lock()


def connect(
    database: str | Path = ":memory:",
    labels: str | Path | None = BESIDE,
    *,
    read_only: bool = False,
    config: _Config | None = None,
) -> Connection:
    """Open a DuckDB database for approximate queries.

    Parameters
    ----------
    database : str or path
        A DuckDB file, made when absent, or ``':memory:'``.
    labels : str, path or None
        Where labels are kept. By default in ``<database>.labels`` (in memory when the database
        is); None keeps them in memory.
    read_only : bool
        Open the database without the right to change it.
    config : mapping, optional
        Session settings by name (with or without ``thresher_``); ``progress`` may also be a
        `thresher.progress.ProgressSink`. Other names go to DuckDB.

    Returns
    -------
    Connection

    Raises
    ------
    OperationalError
        The database or the label store cannot be opened, for instance because another process
        holds it.
    ProgrammingError
        A setting has a wrong value.
    """
    ours: dict[str, plan.OptionValue] = {}
    theirs: dict[str, Any] = {}
    sink: ProgressSink | None = None
    for name, value in (config or {}).items():
        short = name.removeprefix("thresher_")
        if short == "progress" and hasattr(value, "update") and hasattr(value, "close"):
            sink = cast("ProgressSink", value)
        elif name.startswith("thresher_") or short in SETTINGS:
            ours[short] = cast("plan.OptionValue", value)
        else:
            theirs[name] = value
    settings = Settings(ours)
    if labels == BESIDE:
        memory = str(database) in (":memory:", "") or str(database).startswith(":memory:")
        labels = None if memory else f"{database}.labels"
    with ExitStack() as opened:
        beneath = _open(str(database), read_only, theirs)
        opened.callback(beneath.close)
        store = LabelStore(labels)
        opened.callback(store.close)
        made = Connection(beneath, store, settings, sink, str(database))
        made._session.take_declarations(keep=not read_only)
        opened.pop_all()
    return made


def default_connection() -> Connection:
    """Return the connection in memory that `sql` uses; a new one where the last was closed."""
    global _default
    with _opening:
        if _default is None or _default.closed:
            _default = connect()
        return _default


def sql(
    query: str,
    parameters: Parameters = None,
    *,
    on_progress: Callable[[ProgressEvent], object] | None = None,
    frames: Mapping[str, object] | None = None,
) -> Cursor:
    """Run statements on a connection in memory that all of the process shares.

    See `Cursor.execute`. Like any connection it does one thing at a time: threads need their own.

    Examples
    --------
    >>> import thresher
    >>> thresher.sql("SELECT 40 + ? AS answer", [2]).fetchall()
    [(42,)]
    """
    cursor = default_connection().cursor()
    return cursor.execute(query, parameters, on_progress=on_progress, frames=frames)


def _open(database: str, read_only: bool, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    try:
        with translated():
            return duckdb.connect(database, read_only=read_only, config=config)
    except errors.ProgrammingError as error:
        raise _unknown_setting(error, config) from error.__cause__
    except errors.OperationalError as error:
        if "lock" not in error.message:
            raise
        raise errors.OperationalError(
            f"{error.message} Another process has it open: close it there, or copy the file. "
            "Several processes can read one file with connect(read_only=True)."
        ) from error


def _unknown_setting(
    error: errors.ProgrammingError, config: Mapping[str, Any]
) -> errors.ProgrammingError:
    """Say which setting was meant by one that neither DuckDB nor thresher has."""
    told = error.message.partition("options were not recognized: ")[2].split(", ")
    name = next((name for name in config if name in told), None)
    if name is None:
        return error
    if name in _ARGUMENTS:
        return errors.ProgrammingError(
            f"{name} is an argument of connect and no setting: write connect(..., {name}=...)"
        )
    with duckdb.connect() as beside:
        theirs = beside.execute("SELECT name FROM duckdb_settings()").fetchall()
    hint = errors.nearest(name, [*SETTINGS, *_ARGUMENTS, *(row[0] for row in theirs)])
    listed = f" Settings of thresher: {', '.join(SETTINGS)}. SELECT * FROM duckdb_settings() "
    return errors.ProgrammingError(
        f"neither thresher nor DuckDB has a setting {name}.{hint or f'{listed}lists the others.'}"
    )
