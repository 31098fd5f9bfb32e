"""PEP 249 cursors."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from thresher import errors
from thresher.certificate import Certificate
from thresher.duckdb_errors import translated
from thresher.progress import ProgressEvent
from thresher.row_values import Row
from thresher.rows import BATCH, Rows
from thresher.scope import Scope
from thresher.session import Parameters

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from thresher.dbapi import Connection
    from thresher.pages.plans import Plan

__all__ = ["Cursor"]

_SHOWN = 20  # rows of a result that is shown
_LINES = 10_000  # of a plan that `repr` shows: all
_ALL = 2**62


class Cursor:
    """Runs statements and holds the last result.

    Fetching after a statement without a result, such as SET or CREATE ORACLE, is an
    `InterfaceError`, as PEP 249 asks. What DuckDB answers to its own statements can be fetched: the
    number of rows that INSERT wrote, and no rows after CREATE TABLE.

    The rows of a SELECT of DuckDB come as they are fetched, and need not fit into memory. Where
    another statement runs on the connection before the last of them was fetched, up to 1 GiB of
    them is kept meanwhile; in a transaction `execute` reads them at once, so that what is wrong
    with them is its own error. The rows of a query of thresher are all there when `execute`
    returns.

    Rows are fetched once, in whatever form: after ten rows by `fetchmany`, `df` has the others.
    Whatever reads Arrow's PyCapsule interface, such as ``polars.DataFrame(cursor)`` or
    ``pyarrow.table(cursor)``, reads a cursor.

    Attributes
    ----------
    arraysize : int
        Rows that `fetchmany` returns by default.
    rowcount : int
        Rows that the last statement inserted, updated or deleted; -1 for a query, whose rows are
        only counted when they are fetched.
    lastrowid : None
        DuckDB does not tell it.
    certificates : tuple of Certificate
        What the last answer promises: one for each query block of thresher in the statement, the
        outermost last; empty when the statement was plain SQL.
    plan : Plan or None
        What EXPLAIN says of a statement, as notebooks show it (`thresher.pages.plans`).
    """

    lastrowid = None

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: Rows | None = None
        self._closed = self._fetched = self._failed = False
        self._last: str | None = None  # the beginning of the last statement
        self.rowcount = -1
        self.arraysize = 1
        self.certificates: tuple[Certificate, ...] = ()
        self.plan: Plan | None = None

    @property
    def connection(self) -> Connection:
        """The connection it belongs to."""
        return self._connection

    @property
    def certificate(self) -> Certificate | None:
        """The last of `certificates`, or None."""
        return self.certificates[-1] if self.certificates else None

    @property
    def description(self) -> list[Row] | None:
        """Seven items per column (name, DuckDB type, five times None), or None without rows."""
        return None if self._rows is None else self._rows.description

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        """Forget the result; the cursor cannot be used again."""
        self._closed, self._rows = True, None

    def execute(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        on_progress: Callable[[ProgressEvent], object] | None = None,
        frames: Mapping[str, object] | None = None,
    ) -> Cursor:
        """Run a statement, or a script of several whose last result is kept.

        Parameters
        ----------
        sql : str
            Statements of thresher or DuckDB.
        parameters : sequence or mapping, optional
            Values for ``?`` and ``$1``, or for ``$name``.
        on_progress : callable, optional
            Called with a `thresher.progress.ProgressEvent` when a stage begins and after a batch
            of labels, at most four times a second within a stage, always in the thread that called
            `execute`. What it raises ends the statement, as an interruption does, and is raised by
            `execute`.
        frames : mapping of str to object, optional
            Frames of pandas or polars, Arrow data or relations of DuckDB that the statement may
            read as tables, by name. Variables of the caller are found without it. A table of the
            database goes before a frame of its name.

        Returns
        -------
        Cursor
            Itself.

        Raises
        ------
        DatabaseError
            The statement failed; ``spent`` tells how many labels were bought before.
        InterruptedQueryError
            It was stopped by `cancel`; what it had bought is kept.
        InterfaceError
            The cursor is closed, or the connection is at work.

        Examples
        --------
        >>> import thresher
        >>> cursor = thresher.connect().cursor()
        >>> cursor.execute("SELECT $a + $b AS c", {"a": 1, "b": 2}).dicts()
        [{'c': 3}]
        """
        from thresher.scope import frames_of

        return self._execute(sql, parameters, on_progress, frames_of(frames))

    def _execute(
        self,
        sql: str,
        parameters: Parameters,
        on_progress: Callable[[ProgressEvent], object] | None,
        scope: Scope,
    ) -> Cursor:
        self._begin(sql)
        try:
            outcome = self._connection._run(sql, parameters, on_progress, scope)
        except BaseException:
            self._failed = True
            raise
        self._rows, self.certificates = outcome.rows, outcome.certificates
        self._fetched, self.rowcount, self.plan = False, outcome.rowcount, outcome.plan
        return self

    def _begin(self, sql: str) -> None:
        """Forget the last result, for another statement."""
        self._check()
        self._rows, self.certificates, self.rowcount, self.plan = None, (), -1, None
        self._last, self._failed = textwrap.shorten(str(sql), 40, placeholder=" ..."), False

    def cancel(self) -> None:
        """Stop the statement that runs; to be called from another thread.

        It ends with `InterruptedQueryError` before its next batch of labels: those it has bought
        are kept, its transaction is rolled back unless the user began one, and the connection
        can be used at once. Where nothing runs nothing happens. All cursors of a connection
        share it: what runs is stopped, whichever of them began it.
        """
        self._check()
        self._connection._session.interrupts.cancel()

    def executemany(self, sql: str, parameters: Iterable[Parameters]) -> Cursor:
        """Run one statement once per set of parameters; `rowcount` is of all of them.

        Where there is none nothing is run, and it is 0. Each is committed by itself unless a
        transaction was begun, in which many rows are inserted faster too. For very many, insert
        from a frame: ``INSERT INTO t SELECT * FROM frame``.
        """
        from thresher.scope import frames_of

        return self._executemany(sql, parameters, frames_of())

    def _executemany(self, sql: str, parameters: Iterable[Parameters], scope: Scope) -> Cursor:
        self._begin(sql)
        counts = [self._execute(sql, values, None, scope).rowcount for values in parameters]
        self.rowcount = -1 if min(counts, default=0) < 0 else sum(counts)
        return self

    def fetchone(self) -> Row | None:
        """Return the next row, or None after the last."""
        rows = self._result().take(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Return the next `size` (by default `arraysize`) rows, at least 0."""
        return self._result().take(self.arraysize if size is None else size)

    def _ready(self, size: int) -> list[Row]:
        """Return the next rows where all that are wanted take no work, else none."""
        rows = self._result()
        return rows.ready(size) if rows.n_ready >= size else []

    @contextmanager
    def _recalled(self) -> Iterator[Callable[[], None]]:
        """Give what lets the rows that are fetched inside be fetched again."""
        fetched = self._fetched
        with self._result().recalled() as put_back:

            def fetch_again() -> None:
                self._fetched = fetched
                put_back()

            yield fetch_again

    def fetchall(self) -> list[Row]:
        """Return all rows that are left."""
        return self._result().take(_ALL)

    def dicts(self) -> list[dict[str, Any]]:
        """Return all rows that are left, each as a dict by column.

        Raises
        ------
        InterfaceError
            Two columns have one name.
        """
        names = [column[0] for column in self._result().description]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise errors.InterfaceError(
                f"two columns are called {twice}: give one an alias, as in {twice} AS other"
            )
        return [dict(zip(names, row, strict=True)) for row in self.fetchall()]

    def to_arrow_table(self) -> pa.Table:
        """Return the rows that are left as an Arrow table; its metadata holds the certificate."""
        rows = self._whole()
        table = rows.table()
        return table.replace_schema_metadata(self._metadata(rows.schema))

    fetch_arrow_table = arrow = to_arrow_table

    def to_arrow_reader(self, rows_per_batch: int = BATCH) -> pa.RecordBatchReader:
        """Return the rows that are left as a reader of Arrow record batches.

        Parameters
        ----------
        rows_per_batch : int
            Most rows of a batch, at least 1; larger ones than 65,536 are not made.

        Notes
        -----
        The certificate is in the metadata of its schema. A large result of DuckDB is read as the
        reader is; the next statement on this connection ends it, and what reads it further gets an
        error.
        """
        if rows_per_batch < 1:
            raise errors.InterfaceError(f"rows_per_batch must be at least 1, got {rows_per_batch}")
        rows = self._whole()
        schema = rows.schema.with_metadata(self._metadata(rows.schema))
        return pa.RecordBatchReader.from_batches(schema, rows.batches(rows_per_batch))

    fetch_record_batch = to_arrow_reader

    def __arrow_c_schema__(self) -> object:
        """Return the schema, by Arrow's PyCapsule interface."""
        return self._result().schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows that are left as a stream, by Arrow's PyCapsule interface."""
        return self.to_arrow_reader().__arrow_c_stream__(requested_schema)

    def df(self) -> pd.DataFrame:
        """Return the rows that are left as a pandas frame, as DuckDB makes it."""
        with translated():
            return self._whole().relation().df()

    fetchdf = df

    def pl(self) -> pl.DataFrame:
        """Return the rows that are left as a polars frame."""
        import polars

        found = polars.from_arrow(self._whole().table())
        assert isinstance(found, polars.DataFrame)  # of a table
        return found

    def preview(self, limit: int = _SHOWN) -> tuple[pa.Table, bool]:
        """Return the next rows, which stay to be fetched, and whether there are more of them.

        Parameters
        ----------
        limit : int
            Most rows, at least 0.

        Returns
        -------
        table : pyarrow.Table
        more : bool
        """
        return self._result().peek(limit)

    def _metadata(self, schema: pa.Schema) -> dict[bytes, bytes]:
        found = dict(schema.metadata or {})
        if self.certificate is not None:
            found[b"thresher.certificate"] = self.certificate.to_json().encode()
        return found

    def setinputsizes(self, sizes: object) -> None:
        """Do nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Do nothing, as PEP 249 allows."""

    def __repr__(self) -> str:
        from thresher.pages import results  # what shows things is loaded when they are shown

        said = self._said()
        if said:
            return said
        if self.plan is not None:
            return results.lines(self.preview(_LINES)[0])
        return results.text(*self.preview(), self._result().types, self.certificates)

    def _repr_html_(self) -> str:
        from html import escape

        from thresher.pages import results

        said = self._said()
        if said:
            return f"<p>{escape(said)}</p>"
        types = self._result().types
        return results.html(*self.preview(), types, self.certificates, self.plan)

    def _repr_mimebundle_(
        self,
        include: object = None,  # noqa: ARG002 - the notebook chooses among both
        exclude: object = None,  # noqa: ARG002
    ) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _said(self) -> str:
        """Say in a line what there is to show where it is no rows."""
        try:
            self._check()
            if self._last is not None and self._rows is None:
                counted = f"{self.rowcount:,} rows" if self.rowcount >= 0 else "done"
                said = "failed" if self._failed else counted
                return f"<thresher.Cursor: {self._last}: {said}>"
            if self._result().given and not self.preview(1)[0].num_rows:
                return f"<thresher.Cursor: {self._last}: all rows have been fetched>"
        except errors.Error as error:
            return f"<thresher.Cursor: {error.message}>"
        return ""

    def _check(self) -> None:
        if self._closed:
            raise errors.InterfaceError("the cursor is closed; make another with cursor()")
        self._connection._check()

    def _whole(self) -> Rows:
        """Hand out the rows in one piece, once."""
        rows = self._result()
        if self._fetched:
            raise errors.InterfaceError(
                "the rows of this result have been fetched; run the statement again"
            )
        self._fetched = True
        return rows

    def _result(self) -> Rows:
        self._check()
        if self._rows is None and self._last is None:
            raise errors.InterfaceError("there are no rows: execute() a statement first")
        if self._failed:
            raise errors.InterfaceError(
                f"there are no results to fetch: {self._last} failed. Mend it and run it again"
            )
        if self._rows is None:
            raise errors.InterfaceError(
                f"there are no results to fetch: {self._last} returns none. Fetch after a SELECT; "
                "`description` is None where there is nothing to fetch."
            )
        return self._rows
