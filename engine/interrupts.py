"""Ctrl-C and cancellations: a statement is stopped, or answers early; no paid answer is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any

import duckdb

from thresher.errors import Error, InterruptedQueryError

__all__ = ["Interrupts"]

_AGAIN_S = 0.05


class Interrupts:
    """Stops statements of one connection: from the keyboard, or from another thread.

    DuckDB itself only raises a plain RuntimeError at Ctrl-C and may leave its query running, which
    then blocks whatever comes next. A handler that the user has installed is left alone.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Whose queries are stopped.

    Attributes
    ----------
    answers_early : bool
        Whether what runs now can stop by itself and answer: then the first Ctrl-C only asks it to.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection, self.answers_early = connection, False
        self._asked, self._cancelled = threading.Event(), threading.Event()
        self._depth, self._shields, self._pending, self._struck = 0, 0, False, False
        self._thread = 0
        self._waiter: ThreadPoolExecutor | None = None

    @property
    def running(self) -> bool:
        """Whether a statement runs."""
        return self._depth > 0

    def asked(self) -> bool:
        """Whether what runs now is to stop by itself."""
        return self._asked.is_set()

    def interrupt(self) -> None:
        """Do what Ctrl-C does; from any thread."""
        if self.answers_early and not self._asked.is_set():
            self._asked.set()
        else:
            self.cancel()

    def cancel(self) -> None:
        """Stop what runs now before its next batch of labels; from any thread.

        Where nothing runs nothing happens: the next statement is not concerned.
        """
        if not self._depth:
            return
        self._cancelled.set()
        if threading.get_ident() != self._thread:
            self._connection.interrupt()

    def check(self) -> None:
        """Raise where the statement was cancelled.

        Raises
        ------
        InterruptedQueryError
            It was.
        """
        if self._cancelled.is_set():
            raise InterruptedQueryError(
                "the statement was cancelled. Labels that it had bought are kept: run it again to "
                "go on from them."
            )

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Hold Ctrl-C back for a moment, while paid answers are written down."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
            if self._pending and not self._shields:
                self._pending = False
                raise KeyboardInterrupt

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Begin one statement; one inside another belongs to it."""
        if self._depth:
            yield
            return
        self._asked.clear()
        self._cancelled.clear()
        self.answers_early, self._pending, self._struck = False, False, False
        self._depth, self._thread = 1, threading.get_ident()
        ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if ours:
            signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        except KeyboardInterrupt:
            self.check()  # DuckDB's own part was cancelled
            self._connection.interrupt()
            raise
        except Error as error:
            if self._struck:  # DuckDB makes an error of its own of what stops a call into Python
                raise KeyboardInterrupt from error
            if isinstance(error.__cause__, duckdb.InterruptException):
                self.check()
            raise
        except RuntimeError as error:
            if str(error) != "Query interrupted":
                raise
            self._connection.interrupt()
            raise KeyboardInterrupt from error
        finally:
            self._depth = 0
            if ours:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def apart(self, job: Callable[[], Any]) -> Any:
        """Return what a function returns that waits for DuckDB and does not hear of Ctrl-C itself.

        Another thread runs it, and this one listens. DuckDB forgets an interrupt that comes just
        before it begins, so that it is told until it has ended.

        Raises
        ------
        InterruptedQueryError
            The statement was cancelled.
        KeyboardInterrupt
            At Ctrl-C.
        """
        self.check()
        if self._waiter is None:
            self._waiter = ThreadPoolExecutor(1, "thresher")
        done: Future[Any] | None = None
        try:
            with self.shielded():  # the job, too, begins where no Ctrl-C can leave it behind
                done = self._waiter.submit(job)
                while not done.done():
                    if self._pending or self._cancelled.is_set():
                        self._connection.interrupt()
                    wait([done], _AGAIN_S)
        except KeyboardInterrupt:  # of a handler of the user's, perhaps
            while done is not None and not done.done():
                self._connection.interrupt()
                wait([done], _AGAIN_S)
            raise
        try:
            return done.result()
        except Exception:
            self.check()
            raise

    def close(self) -> None:
        """Let the thread of `apart` end."""
        if self._waiter is not None:
            self._waiter.shutdown(wait=False)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.answers_early and not self._asked.is_set():
            self._asked.set()  # the query stops by itself; a second Ctrl-C ends it
            return
        if self._shields:
            self._pending = True
            return
        self._struck = True
        self._connection.interrupt()
        signal.default_int_handler(number, frame)
