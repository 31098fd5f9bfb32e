"""The rows of one statement, read once: by the row, as Arrow batches, or looked at beforehand."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import duckdb
import pyarrow as pa

from thresher.duckdb_errors import stream_errors, translated
from thresher.errors import Error, InterfaceError, InterruptedQueryError, OperationalError
from thresher.row_values import Row, RowValues, fits_arrow

__all__ = ["BATCH", "Rows"]

BATCH = 65_536
"""Rows that DuckDB is asked for at a time."""
_SLICE = 2_048  # rows that are made into Python objects at a time
_ASIDE = 2**30  # bytes of a result that are kept while another statement runs

Beside = Callable[[], duckdb.DuckDBPyConnection]
Reading = Callable[[], AbstractContextManager[object]]


class _Alone:
    """Lets one thread at a time look for the next rows, and refuses a second."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise InterfaceError(
                "another thread fetches from this result: threads may share the module and not "
                "connections or cursors. Open another connection with connect(), which may be to "
                "the same file."
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Rows:
    """The rows of one statement.

    A SELECT of DuckDB is read as it is asked for, so that a result may be larger than memory.
    What DuckDB cannot give as Arrow without loss is read at once.

    Parameters
    ----------
    relation : duckdb.DuckDBPyRelation
        The statement; one that was executed has its rows, which are read once.
    beside : callable
        Returns a connection to the same database on which no result of the user's is open.
    stream : bool
        Whether rows are read as they are asked for.
    ahead : bool
        Whether as many of them as may be kept are read at once: when another statement runs there
        is no need to read on.
    read : callable
        Calls a function that waits for DuckDB so that Ctrl-C is heard.

    Attributes
    ----------
    description : list of tuple
        As PEP 249 has it.
    types : list of str
        DuckDB's name of the type of each column.
    reading : callable
        Gives a context in which more rows may be read from DuckDB.
    given : bool
        Whether rows have been handed out.
    """

    def __init__(
        self,
        relation: duckdb.DuckDBPyRelation,
        beside: Beside,
        *,
        stream: bool,
        ahead: bool = False,
        read: Callable[[Callable[[], Any]], Any] = lambda job: job(),
    ) -> None:
        self.description: list[Row] = relation.description
        self.types = [str(kind) for kind in relation.types]
        self.reading: Reading = nullcontext
        self.given = False
        self._wait = read
        self._values = RowValues(relation.columns, relation.types, beside)
        self._ahead: deque[pa.RecordBatch] = deque()
        self._noted: list[pa.RecordBatch] | None = None
        self._made: list[Row] = []  # Python rows of `_batch`, handed out up to `_at`
        self._at = 0
        self._batch: pa.RecordBatch | None = None
        self._source: pa.RecordBatchReader | None = None
        self._streamed = self._held = False
        self._alone, self._handing = _Alone(), threading.Lock()
        self._broken: str | None = None
        self._late: Error | None = None  # comes after the rows that were read before it
        self.ended: Callable[[], object] = lambda: None
        if all(map(fits_arrow, relation.types)):
            self._begin(relation, stream=stream, ahead=ahead)
        else:
            self._made = relation.fetchall()
            self._batch = _inferred(relation.columns, self._made)
            self.schema = self._batch.schema

    def _begin(self, relation: duckdb.DuckDBPyRelation, *, stream: bool, ahead: bool) -> None:
        if not stream:
            table = relation.to_arrow_table()
            self.schema = table.schema
            self._ahead += table.to_batches(BATCH)
            return
        self._source = relation.to_arrow_reader(BATCH)
        self.schema = self._source.schema
        self._read()
        if ahead:
            self._read_ahead()

    @property
    def live(self) -> bool:
        """Whether DuckDB still holds rows of it."""
        return self._source is not None

    def take(self, n: int) -> list[Row]:
        """Return the next `n` rows, or those that are left."""
        found = self.ready(n)
        if len(found) == n:
            return found
        with self._alone, self._at_work():
            while len(found) < n and self._make(n - len(found)):
                found += self.ready(n - len(found))
        return found

    def ready(self, n: int) -> list[Row]:
        """Return as many of the next `n` rows as are Python objects already."""
        if n < 0:
            raise InterfaceError(f"the number of rows to fetch must be at least 0, got {n}")
        self._check()
        self.given = True
        with self._handing:
            found = self._made[self._at : self._at + n]
            self._at += len(found)
        return found

    @property
    def n_ready(self) -> int:
        """How many of the next rows are Python objects already."""
        return len(self._made) - self._at

    @contextmanager
    def recalled(self) -> Iterator[Callable[[], None]]:
        """Give what puts back all rows that are handed out inside; an error puts them back too."""
        before = self._made, self._at, self._batch, self.given, self._streamed
        ahead, noted = [*self._ahead], list[pa.RecordBatch]()

        def put_back() -> None:
            self._made, self._at, self._batch, self.given, self._streamed = before
            self._ahead = deque([*ahead, *noted])

        self._noted = noted
        try:
            yield put_back
        except BaseException:
            put_back()
            raise
        finally:
            self._noted = None

    def batches(self, most: int = BATCH) -> Iterator[pa.RecordBatch]:
        """Return the rows that are left as Arrow batches of at most so many."""
        self.given = self._streamed = True
        while True:
            self._check()
            with self._alone:
                batch = self._next()
                if batch is not None and batch.num_rows > most:
                    self._ahead.appendleft(batch.slice(most))
                    batch = batch.slice(0, most)
            if batch is None:
                return
            yield batch

    def table(self) -> pa.Table:
        """Return the rows that are left as an Arrow table."""
        with self._alone, self._at_work():
            found = list(self.batches())
        return pa.Table.from_batches(found, self.schema)

    def relation(self) -> duckdb.DuckDBPyRelation:
        """Return the rows that are left as a relation with DuckDB's own types."""
        return self._values.relation(self.table())

    def peek(self, limit: int) -> tuple[pa.Table, bool]:
        """Return the next rows, which stay to be read, and whether there are more."""
        if limit < 0:
            raise InterfaceError(f"the number of rows to show must be at least 0, got {limit}")
        self._check()
        with self._alone:
            while self._n_read <= limit and (self.live or self._late is not None):
                self._more()
            left = [self._rest(), *self._ahead]
        table = pa.Table.from_batches([batch for batch in left if batch is not None], self.schema)
        return table.slice(0, limit), table.num_rows > limit

    def set_aside(self, *, reading: bool = True) -> None:
        """Read what DuckDB still holds, as another statement is about to run.

        An error in those rows is not that statement's: it comes when they are fetched. A reader
        that was handed out does not go on after that: its rows were not to be kept.

        Parameters
        ----------
        reading : bool
            Whether rows may be read; otherwise those are gone that were not.
        """
        if reading and not self._streamed:
            try:
                self._read_ahead()
            except InterruptedQueryError:  # it was the statement that is about to run
                raise
            except Error as error:
                self._late, self._broken = error, None
        if self.live:
            self._source = None
            self._broken = (
                "the rest of these rows is gone: another statement has run on this connection"
            )
            if not self._streamed:
                self._broken += ", and they were too many to be kept meanwhile"
            self._broken += ". Read them first, or use a second connection to the same database."

    def _read_ahead(self) -> None:
        """Read what may be kept while another statement runs."""
        n_bytes = sum(int(batch.nbytes) for batch in self._ahead)
        while self.live and n_bytes <= _ASIDE:
            n_bytes += self._read()

    def _check(self) -> None:
        if self._broken is not None:
            raise OperationalError(self._broken)

    @property
    def _n_read(self) -> int:
        return self.n_ready + sum(int(batch.num_rows) for batch in self._ahead)

    def _rest(self) -> pa.RecordBatch | None:
        """Return what was made into Python objects and not handed out."""
        return None if self._batch is None else self._batch.slice(self._at)

    def _next(self) -> pa.RecordBatch | None:
        """Hand out the next batch, None after the last."""
        with self._handing:
            rest, n_rest = self._rest(), self.n_ready
            self._made, self._at, self._batch = [], 0, None
        if n_rest:
            return rest
        if not self._ahead:
            self._more()
        return self._ahead.popleft() if self._ahead else None

    def _make(self, wanted: int) -> bool:
        """Make Python objects of the next rows; return whether there are any."""
        batch = self._next()
        if batch is None:
            return False
        size = max(wanted, _SLICE)
        if batch.num_rows > size:
            self._ahead.appendleft(batch.slice(size))
            batch = batch.slice(0, size)
        with translated():
            made = self._values.rows(batch)
        with self._handing:
            self._batch, self._made, self._at = batch, made, 0
        return True

    def _more(self) -> None:
        """Read a batch more, if there is one."""
        if self._late is not None:
            error, self._late = self._late, None
            self._break(error)
            raise error
        if self.live:
            with self._at_work():
                self._read()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Let what needs several batches be one piece of work, which is cancelled as a whole."""
        if self._held or not self.live:
            yield
            return
        with self.reading():
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def _read(self) -> int:
        """Read on, and return how many bytes were read."""
        try:
            with stream_errors():
                found, ended = self._wait(self._read_on)
        except BaseException as error:
            self._end()
            self._break(error)
            raise
        self._ahead += found
        if self._noted is not None:
            self._noted += found
        if ended:
            self._end()
        return sum(int(batch.nbytes) for batch in found)

    def _break(self, error: BaseException) -> None:
        text = error.message if isinstance(error, Error) else "reading them was stopped"
        self._broken = f"these rows cannot be read further: {text}"

    def _read_on(self) -> tuple[list[pa.RecordBatch], bool]:
        """Read a batch, and the end behind one that is not full: DuckDB has no more to do then."""
        assert self._source is not None
        found = []
        try:
            found.append(self._source.read_next_batch())
            if found[0].num_rows < BATCH:
                found.append(self._source.read_next_batch())
        except StopIteration:
            return found, True
        return found, False

    def _end(self) -> None:
        self._source = None
        self.ended()


def _inferred(names: list[str], rows: list[Row]) -> pa.RecordBatch:
    """Make Arrow columns of Python objects; what Arrow has no type for becomes text."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pa.RecordBatch.from_arrays([_column(values) for values in columns], names=names)


def _column(values: tuple[Any, ...]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
