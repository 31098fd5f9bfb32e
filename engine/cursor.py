"""PEP 249 cursors."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from thresher import errors
from thresher.certificate import Certificate
from thresher.duckdb_errors import translated
from thresher.progress import ProgressEvent
from thresher.session import Parameters

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from thresher.dbapi import Connection
    from thresher.pages.plans import Plan

__all__ = ["Cursor"]


class Cursor:
    """Runs statements and holds the last result.

    Fetching after a statement without a result, such as SET or CREATE ORACLE, is an
    `InterfaceError`, as PEP 249 asks. What DuckDB answers to its own statements can be fetched: the
    number of rows that INSERT wrote, and no rows after CREATE TABLE.

    Attributes
    ----------
    arraysize : int
        Rows that `fetchmany` returns by default.
    rowcount : int
        Rows that the last statement inserted, updated or deleted; -1 for a query, whose rows are
        only counted when they are fetched.
    certificates : tuple of Certificate
        What the last answer promises: one for each query block of thresher in the statement, the
        outermost last; empty when the statement was plain SQL.
    plan : Plan or None
        What EXPLAIN says of a statement, as notebooks show it (`thresher.pages.plans`).
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._relation: duckdb.DuckDBPyRelation | None = None
        self._closed = self._fetched = False
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

    def execute(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        on_progress: Callable[[ProgressEvent], object] | None = None,
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
        """
        self._check()
        self._relation, self.certificates, self.rowcount = None, (), -1
        self.plan = None
        self._last = textwrap.shorten(sql, 40, placeholder=" ...")
        outcome = self._connection._run(sql, parameters, on_progress)
        self._relation, self.certificates = outcome.relation, outcome.certificates
        self._fetched, self.rowcount, self.plan = False, outcome.rowcount, outcome.plan
        return self

    def cancel(self) -> None:
        """Stop the statement that runs; to be called from another thread.

        It ends with `InterruptedQueryError` before its next batch of labels: those it has bought
        are kept, its transaction is rolled back unless the user began one, and the connection
        can be used at once. Where nothing runs nothing happens. All cursors of a connection
        share it: what runs is stopped, whichever of them began it.
        """
        self._check()
        self._connection._session.interrupts.cancel()

    def executemany(self, sql: str, parameters: Sequence[Parameters]) -> Cursor:
        """Run one statement once per set of parameters; `rowcount` is of all of them."""
        counts = [self.execute(sql, values).rowcount for values in parameters]
        self.rowcount = -1 if not counts or min(counts) < 0 else sum(counts)
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
        if self._relation is None and self._last is None:
            raise errors.InterfaceError("there are no rows: execute() a statement first")
        if self._relation is None:
            raise errors.InterfaceError(
                f"there are no results to fetch: {self._last} returns none. Fetch after a SELECT; "
                "`description` is None where there is nothing to fetch."
            )
        return self._relation
