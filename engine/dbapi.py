"""PEP 249 connections, over one DuckDB connection each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import duckdb

from thresher import errors, plan
from thresher.cursor import Cursor
from thresher.duckdb_errors import translated
from thresher.kept import Kept
from thresher.labels import LabelStore
from thresher.progress import ProgressEvent, ProgressSink
from thresher.scope import Scope, frames_of
from thresher.session import Outcome, Parameters, Session
from thresher.settings import Settings
from thresher.shortfalls import left_of, stopped
from thresher.sql import split
from thresher.typeobjects import Exceptions

__all__ = ["Connection", "Cursor"]


def _check_given(sql: object, parameters: object) -> None:
    """Refuse what is no statement, and values that do not stand in a list or a mapping."""
    if not isinstance(sql, str):
        raise errors.InterfaceError(f"a statement is a text, got {sql!r}")
    many = hasattr(parameters, "__getitem__") and hasattr(parameters, "__len__")
    if parameters is not None and (isinstance(parameters, str | bytes) or not many):
        raise errors.InterfaceError(
            "parameters are a list of values, or a mapping of names to values, got "
            f"{parameters!r}. Write [{parameters!r}]."
        )


def _callable(name: str, function: object) -> None:
    if not callable(function):
        raise errors.InterfaceError(f"the function of {name} must be callable, got {function!r}")


class Connection(Kept, Exceptions):
    """A connection; made by `connect`.

    A ``with`` block ends with a closed connection, whether it ended with an error or not. As
    DuckDB has it, each statement is committed by itself unless `begin` was called; what was begun
    and not committed by then is undone. Labels stay in any case: they are paid for.

    A connection does one thing at a time. A second thread that uses it meanwhile, or a function
    that a statement calls, is refused with `InterfaceError`: give each thread a connection of its
    own. Several connections to one file share it within a process.

    Attributes
    ----------
    connection : duckdb.DuckDBPyConnection
        The DuckDB connection beneath, for everything that is DuckDB's. Who has asked for it may
        run statements that are not seen here, so that results are held in memory from then on.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        store: LabelStore,
        settings: Settings,
        sink: ProgressSink | None = None,
        name: str = ":memory:",
    ) -> None:
        self._beneath, self._store, self._closed = connection, store, False
        self._name = name
        self._settings, self._apart = settings, True
        self._lock = threading.Lock()
        self._session = Session(connection, store, settings, sink)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB connection beneath."""
        self._check()
        if self._apart and self._lock.acquire(blocking=False):
            try:
                self._session.settle()
            finally:
                self._lock.release()
        self._apart = False
        return self._beneath

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def __repr__(self) -> str:
        return f"<thresher.Connection: {self._name}{', closed' if self._closed else ''}>"

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._closed:
            self.close()

    def close(self) -> None:
        """Close the connection and the label store.

        Raises
        ------
        InterfaceError
            They are closed, as PEP 249 has it. A ``with`` block may end with a closed connection.
        """
        with self._alone():
            self._closed = True
            self._session.close()
            self._store.close()

    def cursor(self) -> Cursor:
        """Return a cursor; all cursors share this connection, its temporary tables included."""
        self._check()
        return Cursor(self)

    def execute(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        on_progress: Callable[[ProgressEvent], object] | None = None,
        frames: Mapping[str, object] | None = None,
    ) -> Cursor:
        """Run a statement, or a script of several, and return a cursor over the last result.

        See `Cursor.execute`.
        """
        return self.cursor().execute(sql, parameters, on_progress=on_progress, frames=frames)

    def executemany(self, sql: str, parameters: Iterable[Parameters]) -> Cursor:
        """Run one statement once per set of parameters; see `Cursor.executemany`."""
        return self.cursor().executemany(sql, parameters)

    def register(self, name: str, frame: object) -> None:
        """Let statements of this connection read a frame or Arrow data as a table of this name."""
        with self._alone(), translated():
            self._session.settle()
            self._beneath.register(name, frame)

    def unregister(self, name: str) -> None:
        """Forget what was registered under this name, if anything was."""
        with self._alone(), translated():
            self._session.settle()
            self._beneath.unregister(name)

    def interrupt(self) -> None:
        """Do what Ctrl-C does to the statement that runs, from another thread.

        It is stopped, unless it can answer early (``BUDGET``, ``thresher_on_interrupt``) and is
        asked for the first time: then it answers with what is proved by then. Where nothing runs
        nothing happens.
        """
        self._check()
        self._session.interrupts.interrupt()

    def begin(self) -> None:
        """Begin a transaction: statements are committed together, by `commit`, or not at all."""
        with self._alone():
            self._session.execute("BEGIN")

    def commit(self) -> None:
        """Commit the transaction, if one was begun."""
        with self._alone():
            self._session.end_transaction("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if one was begun. Labels stay: they are paid for."""
        with self._alone():
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
        self._create(made, function)

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
        self._create(made, function)

    def _create(
        self, made: plan.CreateOracle | plan.CreateProxy, function: Callable[..., Any]
    ) -> None:
        with self._alone():
            self._session.settle()
            self._session.create(made, function)

    def _run(
        self,
        sql: str,
        parameters: Parameters,
        on_progress: Callable[[ProgressEvent], object] | None = None,
        scope: Scope | None = None,
    ) -> Outcome:
        _check_given(sql, parameters)
        outcome = Outcome(None)
        fragments = split(sql)
        if not fragments:
            raise errors.ProgrammingError("there is no statement to run")
        scope = frames_of() if scope is None else scope
        with self._alone(), self._session.executor.told(on_progress):
            for n, fragment in enumerate(fragments, 1):
                last = n == len(fragments)
                try:
                    outcome = self._session.execute(
                        fragment.text, parameters, scope=scope,
                        read=last, stream=last and self._apart,
                    )  # fmt: skip
                except errors.Error as error:
                    raise error.within(sql, fragment.text, fragment.offset) from error.__cause__
        if outcome.rows is not None:
            outcome.rows.reading = self._reading
        return outcome

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Do one thing at a time."""
        self._check()
        if not self._lock.acquire(blocking=False):
            raise errors.InterfaceError(
                "this connection is at work: another thread uses it, or the statement that runs "
                "has called this function. Threads may share the module and not connections: open "
                "another with connect(), which may be to the same file."
            )
        before = self._store.n_put
        try:
            yield
        except errors.Error as error:
            error.kept = error.kept or left_of(self._store.n_put - before, **self._keeping)
            raise
        except KeyboardInterrupt as stop:
            stop.args = stop.args or (stopped(self._store.n_put - before, **self._keeping),)
            raise
        finally:
            self._lock.release()

    @property
    def _keeping(self) -> dict[str, bool]:
        """How long labels are kept, and whether statements take them from the store."""
        reused = bool(self._settings.get("reuse_labels"))
        return {"lasting": self._store.path is not None, "reused": reused}

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Read more rows of a result, as a statement that can be interrupted."""
        with self._alone(), self._session.interrupts.handled():
            yield

    def _check(self) -> None:
        if self._closed:
            raise errors.InterfaceError("the connection is closed; open another with connect()")
