"""The PEP 249 driver: connections and cursors over one DuckDB connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import duckdb
import pyarrow as pa

from thresher import errors, plan
from thresher.certificate import Certificate
from thresher.duckdb_errors import translated
from thresher.labels import LabelStore
from thresher.progress import ProgressSink
from thresher.session import Outcome, Parameters, Session
from thresher.settings import SETTINGS, Settings
from thresher.sql import split

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["BESIDE", "Connection", "Cursor", "connect"]

BESIDE = "beside the database"
_Config = Mapping[str, plan.OptionValue | ProgressSink]


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
    beneath = _open(str(database), read_only, theirs)
    if labels == BESIDE:
        memory = str(database) in (":memory:", "") or str(database).startswith(":memory:")
        labels = None if memory else f"{database}.labels"
    try:
        return Connection(beneath, LabelStore(labels), settings, sink)
    except BaseException:
        beneath.close()
        raise


def _callable(name: str, function: object) -> None:
    if not callable(function):
        raise errors.InterfaceError(f"the function of {name} must be callable, got {function!r}")


def _open(database: str, read_only: bool, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    try:
        with translated():
            return duckdb.connect(database, read_only=read_only, config=config)
    except errors.OperationalError as error:
        if "lock" not in error.message:
            raise
        raise errors.OperationalError(
            f"{error.message} Another process has it open: close it there, or copy the file. "
            "Several processes can read one file with connect(read_only=True)."
        ) from error


class Connection:
    """A connection; made by `connect`.

    Attributes
    ----------
    connection : duckdb.DuckDBPyConnection
        The DuckDB connection beneath, for everything that is DuckDB's.
    """

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        store: LabelStore,
        settings: Settings,
        sink: ProgressSink | None = None,
    ) -> None:
        self._beneath, self._store, self._closed = connection, store, False
        self._settings = settings
        self._session = Session(connection, store, settings, sink)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB connection beneath."""
        self._check()
        return self._beneath

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and the label store; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._beneath.close()
            self._store.close()

    def cursor(self) -> Cursor:
        """Return a cursor; all cursors share this connection, its temporary tables included."""
        self._check()
        return Cursor(self)

    def execute(self, sql: str, parameters: Parameters = None) -> Cursor:
        """Run a statement, or a script of several, and return a cursor over the last result."""
        return self.cursor().execute(sql, parameters)

    def commit(self) -> None:
        """Commit the transaction, if one was begun."""
        self._check()
        self._session.end_transaction("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if one was begun. Labels stay: they are paid for."""
        self._check()
        self._session.end_transaction("ROLLBACK")

    def create_oracle(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[str] | Mapping[str, str],
        returns: str = "BOOLEAN",
        **options: plan.OptionValue,
    ) -> None:
        """Declare a Python function as an oracle for the life of this connection.

        Parameters
        ----------
        name : str
            Name in SQL; an oracle of this name is replaced.
        function : callable
            ``function(list, ...) -> list``: one list per argument, a batch long. An answer may be
            ``(answer, confidence)`` with a confidence in [0, 1].
        args : sequence of str, or mapping of str to str
            DuckDB types of the arguments, or their names and types.
        returns : str
            DuckDB type of the answers.
        **options
            Options of the provider ``python``, such as ``batch_size`` and ``version``.

        Examples
        --------
        >>> import thresher
        >>> con = thresher.connect()
        >>> con.create_oracle("is_even", lambda n: [i % 2 == 0 for i in n], args=["BIGINT"])
        >>> con.execute("SELECT i FROM range(5) r(i) WHERE is_even(i)").fetchall()
        [(0,), (2,), (4,)]
        """
        self._check()
        _callable(name, function)
        if isinstance(args, str):
            raise errors.InterfaceError(
                f"args of oracle {name} must be a list of types, got {args!r}. Write [{args!r}]."
            )
        if not isinstance(args, Mapping):
            args = {f"a{i}": kind for i, kind in enumerate(args)}
        made = plan.CreateOracle(
            "", name, tuple(args.items()), returns, "python", options, replace=True, temporary=True
        )
        self._session.create(made, function)

    def create_proxy(
        self,
        name: str,
        function: Callable[..., Any],
        oracle: str,
        **options: plan.OptionValue,
    ) -> None:
        """Declare a Python function as a proxy for an oracle, for the life of this connection.

        Parameters
        ----------
        name : str
            Name in SQL; a proxy of this name is replaced.
        function : callable
            ``function(list, ...) -> list`` of floats, best in [0, 1]: one list per argument of the
            oracle, a batch long.
        oracle : str
            The declared oracle that it stands for.
        **options
            Options of the provider ``python``.
        """
        self._check()
        _callable(name, function)
        made = plan.CreateProxy("", name, oracle, "python", options, replace=True, temporary=True)
        self._session.create(made, function)

    def _run(self, sql: str, parameters: Parameters) -> Outcome:
        self._check()
        outcome = Outcome(None)
        fragments = split(sql)
        if not fragments:
            raise errors.ProgrammingError("there is no statement to run")
        for fragment in fragments:
            try:
                outcome = self._session.execute(fragment.text, parameters)
            except errors.Error as error:
                raise error.within(sql, fragment.text, fragment.offset) from error.__cause__
        return outcome

    def _check(self) -> None:
        if self._closed:
            raise errors.InterfaceError("the connection is closed; open another with connect()")


class Cursor:
    """Runs statements and holds the last result.

    Attributes
    ----------
    arraysize : int
        Rows that `fetchmany` returns by default.
    rowcount : int
        Rows that the last statement inserted, updated or deleted; -1 for a query, whose rows are
        only counted when they are fetched.
    certificate : Certificate or None
        What the last answer promises; None when the last statement was plain SQL.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._relation: duckdb.DuckDBPyRelation | None = None
        self._closed = self._fetched = False
        self.rowcount = -1
        self.arraysize = 1
        self.certificate: Certificate | None = None

    @property
    def connection(self) -> Connection:
        """The connection it belongs to."""
        return self._connection

    @property
    def description(self) -> list[tuple[Any, ...]] | None:
        """Seven items per column (name, DuckDB type, five times None), or None without rows."""
        return None if self._relation is None else self._relation.description

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        """Forget the result; the cursor cannot be used again."""
        self._closed, self._relation = True, None

    def execute(self, sql: str, parameters: Parameters = None) -> Cursor:
        """Run a statement, or a script of several whose last result is kept.

        Parameters
        ----------
        sql : str
            Statements of thresher or DuckDB.
        parameters : sequence or mapping, optional
            Values for ``?`` and ``$1``, or for ``$name``.

        Returns
        -------
        Cursor
            Itself.

        Raises
        ------
        DatabaseError
            The statement failed; ``spent`` tells how many labels were bought before.
        """
        self._check()
        self._relation, self.certificate, self.rowcount = None, None, -1
        outcome = self._connection._run(sql, parameters)
        self._relation, self.certificate = outcome.relation, outcome.certificate
        self._fetched, self.rowcount = False, outcome.rowcount
        return self

    def executemany(self, sql: str, parameters: Sequence[Parameters]) -> Cursor:
        """Run one statement once per set of parameters."""
        for values in parameters:
            self.execute(sql, values)
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None after the last."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next `size` (by default `arraysize`) rows."""
        relation = self._result()
        if self._fetched:
            return []
        with translated():
            rows = relation.fetchmany(self.arraysize if size is None else size)
        # A relation that is read past its end would run its query again.
        self._fetched = not rows
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        rows = []
        while more := self.fetchmany(65_536):
            rows += more
        return rows

    def fetch_arrow_table(self) -> pa.Table:
        """Return the whole result as an Arrow table; its metadata holds the certificate."""
        with translated():
            table = self._whole().to_arrow_table()
        return table.replace_schema_metadata(self._metadata(table.schema))

    def _metadata(self, schema: pa.Schema) -> dict[bytes, bytes]:
        found = dict(schema.metadata or {})
        if self.certificate is not None:
            found[b"thresher.certificate"] = self.certificate.to_json().encode()
        return found

    def fetch_record_batch(self, rows_per_batch: int = 65_536) -> pa.RecordBatchReader:
        """Return the result as a reader of Arrow record batches, the certificate in its schema."""
        with translated():
            reader = self._whole().to_arrow_reader(rows_per_batch)
        schema = reader.schema.with_metadata(self._metadata(reader.schema))
        return pa.RecordBatchReader.from_batches(schema, reader)

    def fetchdf(self) -> pd.DataFrame:
        """Return the whole result as a pandas frame."""
        with translated():
            return self._whole().df()

    def pl(self) -> pl.DataFrame:
        """Return the whole result as a polars frame."""
        with translated():
            return self._whole().pl()

    def setinputsizes(self, sizes: object) -> None:
        """Do nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Do nothing, as PEP 249 allows."""

    def _check(self) -> None:
        if self._closed:
            raise errors.InterfaceError("the cursor is closed; make another with cursor()")
        self._connection._check()

    def _whole(self) -> duckdb.DuckDBPyRelation:
        """Hand out the rows in one piece, once."""
        relation = self._result()
        if self._fetched:
            raise errors.InterfaceError(
                "the rows of this result have been fetched; run the statement again"
            )
        self._fetched = True
        return relation

    def _result(self) -> duckdb.DuckDBPyRelation:
        self._check()
        if self._relation is None:
            raise errors.InterfaceError("there are no rows: the last statement returned none")
        return self._relation
