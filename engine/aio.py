"""Connections for asyncio: ``await thresher.aio.connect(...)``.

Each connection has one thread, in which DuckDB and the label store are used; the event loop never
waits for them. A task that is cancelled stops its statement before the next batch of labels: those
it has bought are kept, and when the task ends the connection can be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from thresher import cursor as drivers
from thresher import dbapi, opening
from thresher.certificate import Certificate
from thresher.errors import InterfaceError
from thresher.progress import ProgressEvent
from thresher.row_values import Row
from thresher.scope import frames_of
from thresher.session import Parameters

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["Connection", "Cursor", "connect"]

T = TypeVar("T")
Progress = Callable[[ProgressEvent], object] | None

_WAKE_S = 0.25  # in a kernel of Jupyter, a signal is heard when the event loop wakes up
_AGAIN_S = 0.05  # a statement of DuckDB that is about to begin hears the next call


class Opening:
    """A connection that is about to be opened: to be awaited, or the head of ``async with``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._args, self._options = args, options
        self._made: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        self._made = await self._open()
        return self._made

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._made is not None:
            await self._made.__aexit__(kind, error, trace)

    async def _open(self) -> Connection:
        worker = _Worker()
        try:
            made = await worker.run(
                lambda: opening.connect(*self._args, **self._options), dbapi.Connection.close
            )
        except BaseException:
            worker.end()
            raise
        worker.driver = made
        return Connection(made, worker)


def connect(*args: Any, **options: Any) -> Opening:
    """Open a DuckDB database for approximate queries; see `thresher.connect` for the parameters.

    Examples
    --------
    >>> import asyncio, thresher
    >>> async def main():
    ...     async with thresher.aio.connect() as con:
    ...         cursor = await con.execute("SELECT i FROM range(3) r(i)")
    ...         return [row async for row in cursor]
    >>> asyncio.run(main())
    [(0,), (1,), (2,)]
    """
    return Opening(*args, **options)


class _Worker:
    """The thread of a connection, which does one thing after another."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "thresher-aio")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self.ended = False
        self.driver: dbapi.Connection | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing runs, and nothing waits for its turn."""
        return not self._turn.locked()

    async def run(self, job: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        """Run a function in the thread; where the task is cancelled it is stopped, and awaited.

        One that could not be stopped is undone, before anything else runs.
        """
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._loop, self._turn = loop, asyncio.Lock()  # a lock belongs to a loop
        async with self._turn:
            if self.ended:
                raise InterfaceError("the connection is closed; open another with connect()")
            done = self._pool.submit(_generators_kept, job)
            waiting = _awaited(done)
            try:
                while not waiting.done():
                    await asyncio.wait([waiting], timeout=_WAKE_S)
                return waiting.result()
            except asyncio.CancelledError:
                done.cancel()
                await _outlasted(done, self._stop)
                if undo is not None and not done.cancelled() and done.exception() is None:
                    await _outlasted(self._pool.submit(undo, done.result()))
                raise

    def at_once(self, job: Callable[[], T]) -> T | None:
        """Run a function in the thread while the event loop waits; None where the thread works."""
        return self._pool.submit(job).result() if self.idle else None

    def _stop(self) -> None:
        if self.driver is not None:
            self.driver._session.interrupts.cancel()

    def end(self) -> None:
        """Let the thread end."""
        self.ended = True
        self._pool.shutdown(wait=False)


def _generators_kept(job: Callable[[], T]) -> T:
    try:
        return job()
    except StopIteration as error:  # no future can hold it
        raise RuntimeError("a generator has ended") from error


def _awaited(done: Future[T]) -> asyncio.Future[T]:
    """Return a future of the event loop, which does not log what nobody waits for any more."""
    waiting = asyncio.wrap_future(done)
    waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return waiting


async def _outlasted(done: Future[Any], stop: Callable[[], object] = lambda: None) -> None:
    """Wait until a future is done, however often the task is cancelled."""
    waiting = _awaited(done)
    while not done.done():
        stop()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([waiting], timeout=_AGAIN_S)


class Connection:
    """A connection; made by `connect`. What it awaits is as in `thresher.dbapi.Connection`.

    Attributes
    ----------
    driver : thresher.dbapi.Connection
        What it is made of, to be used in its own thread alone: see `run`.
    """

    def __init__(self, driver: dbapi.Connection, worker: _Worker) -> None:
        self.driver, self._worker = driver, worker

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.driver.closed:
            await self.close()

    async def run(self, job: Callable[[dbapi.Connection], T]) -> T:
        """Return what a function makes of the connection, in the connection's thread.

        For all that has no method here: ``await con.run(lambda c: c.audit(...))``.
        """
        return await self._worker.run(lambda: job(self.driver))

    async def close(self) -> None:
        """Close the connection and the label store."""
        try:
            await self.run(dbapi.Connection.close)
        finally:  # what is cancelled may have closed it
            if self.driver.closed:
                self._worker.end()

    def cursor(self) -> Cursor:
        """Return a cursor; all cursors share this connection, its temporary tables included."""
        return Cursor(self, self._worker)

    def execute(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        on_progress: Progress = None,
        frames: Mapping[str, object] | None = None,
    ) -> Coroutine[Any, Any, Cursor]:
        """Run a statement, or a script of several, and return a cursor over the last result."""
        return self.cursor().execute(sql, parameters, on_progress=on_progress, frames=frames)

    def executemany(
        self, sql: str, parameters: Iterable[Parameters]
    ) -> Coroutine[Any, Any, Cursor]:
        """Run one statement once per set of parameters."""
        return self.cursor().executemany(sql, parameters)

    async def begin(self) -> None:
        """Begin a transaction."""
        await self.run(dbapi.Connection.begin)

    async def commit(self) -> None:
        """Commit the transaction, if one was begun."""
        await self.run(dbapi.Connection.commit)

    async def rollback(self) -> None:
        """Undo the transaction, if one was begun. Labels stay: they are paid for."""
        await self.run(dbapi.Connection.rollback)

    def interrupt(self) -> None:
        """Do what Ctrl-C does to the statement that runs; see `thresher.dbapi.Connection`."""
        self.driver.interrupt()

    async def create_oracle(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        """Declare a function as an oracle, which is called in the connection's thread."""
        await self.run(lambda driver: driver.create_oracle(name, function, **options))

    async def create_proxy(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        """Declare a function as a proxy, which is called in the connection's thread."""
        await self.run(lambda driver: driver.create_proxy(name, function, **options))


class Cursor:
    """A cursor; what it awaits is as in `thresher.cursor.Cursor`."""

    def __init__(self, connection: Connection, worker: _Worker) -> None:
        self._connection, self._worker = connection, worker
        self.driver = connection.driver.cursor()

    @property
    def connection(self) -> Connection:
        """The connection it belongs to."""
        return self._connection

    @property
    def arraysize(self) -> int:
        """Rows that `fetchmany` returns by default."""
        return self.driver.arraysize

    @arraysize.setter
    def arraysize(self, size: int) -> None:
        self.driver.arraysize = size

    @property
    def description(self) -> list[Row] | None:
        """Seven items per column, or None without rows."""
        return self.driver.description

    @property
    def rowcount(self) -> int:
        """Rows that the last statement inserted, updated or deleted; -1 for a query."""
        return self.driver.rowcount

    @property
    def certificate(self) -> Certificate | None:
        """The last of `certificates`, or None."""
        return self.driver.certificate

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """What the last answer promises."""
        return self.driver.certificates

    def __repr__(self) -> str:
        return self._shown(repr).replace("<thresher.Cursor", "<thresher.aio.Cursor", 1)

    def _repr_html_(self) -> str:
        return self._shown(drivers.Cursor._repr_html_)

    def _shown(self, how: Callable[[drivers.Cursor], str]) -> str:
        """Show what the driver's cursor does, in the thread of the connection unless it works."""
        if self._worker.ended:
            return how(self.driver)
        return self._worker.at_once(lambda: how(self.driver)) or "<thresher.Cursor: at work>"

    async def __aenter__(self) -> Cursor:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Row]:
        return self._iterated()

    async def _iterated(self) -> AsyncIterator[Row]:
        while (row := await self.fetchone()) is not None:
            yield row

    async def close(self) -> None:
        """Forget the result; the cursor cannot be used again."""
        if self._worker.ended:
            self.driver.close()  # nothing else can use it
        else:
            await self._worker.run(self.driver.close)

    def execute(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        on_progress: Progress = None,
        frames: Mapping[str, object] | None = None,
    ) -> Coroutine[Any, Any, Cursor]:
        """Run a statement, or a script of several whose last result is kept.

        `on_progress` is called in the connection's thread.
        """
        scope = frames_of(frames)  # of who calls this, not of who awaits it
        return self._ran(lambda: self.driver._execute(sql, parameters, on_progress, scope))

    async def _ran(self, job: Callable[[], drivers.Cursor]) -> Cursor:
        await self._worker.run(job)
        return self

    def executemany(
        self, sql: str, parameters: Iterable[Parameters]
    ) -> Coroutine[Any, Any, Cursor]:
        """Run one statement once per set of parameters."""
        scope = frames_of()
        return self._ran(lambda: self.driver._executemany(sql, parameters, scope))

    async def _read(self, job: Callable[[], T]) -> T:
        """Fetch in the thread; rows that a cancelled task does not get are fetched by the next."""
        again: list[Callable[[], None]] = []

        def reading() -> T:
            with self.driver._recalled() as fetch_again:
                again.append(fetch_again)
                return job()

        return await self._worker.run(reading, lambda _: again[0]())

    async def fetchone(self) -> Row | None:
        """Return the next row, or None after the last."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[Row]:
        """Return the next `size` (by default `arraysize`) rows."""
        wanted = self.arraysize if size is None else size
        if self._worker.idle and (ready := self.driver._ready(wanted)):
            return ready
        return await self._read(lambda: self.driver.fetchmany(wanted))

    async def fetchall(self) -> list[Row]:
        """Return all rows that are left."""
        return await self._read(self.driver.fetchall)

    async def dicts(self) -> list[dict[str, Any]]:
        """Return all rows that are left, each as a dict by column."""
        return await self._read(self.driver.dicts)

    async def df(self) -> pd.DataFrame:
        """Return the rows that are left as a pandas frame."""
        return await self._read(self.driver.df)

    async def pl(self) -> pl.DataFrame:
        """Return the rows that are left as a polars frame."""
        return await self._read(self.driver.pl)

    async def to_arrow_table(self) -> pa.Table:
        """Return the rows that are left as an Arrow table."""
        return await self._read(self.driver.to_arrow_table)

    async def batches(self, rows_per_batch: int = 65_536) -> AsyncIterator[pa.RecordBatch]:
        """Return the rows that are left as Arrow record batches, read as they are asked for."""
        reader = await self._read(lambda: self.driver.to_arrow_reader(rows_per_batch))
        while (batch := await self._read(lambda: next(reader, None))) is not None:
            yield batch
