"""Ctrl-C: DuckDB's query is stopped first and Python's work second, or a query answers early."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import duckdb

__all__ = ["Interrupts"]


class Interrupts:
    """Handles Ctrl-C while statements of one connection run.

    DuckDB itself only raises a plain RuntimeError and may leave its query running, which then
    blocks whatever comes next. A handler that the user has installed is left alone.

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
        self._connection, self._asked, self.answers_early = connection, threading.Event(), False

    def asked(self) -> bool:
        """Whether what runs now is to stop by itself."""
        return self._asked.is_set()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Begin one statement."""
        self._asked.clear()
        self.answers_early = False
        ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if ours:
            signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        except KeyboardInterrupt:
            self._connection.interrupt()
            raise
        except RuntimeError as error:
            if str(error) != "Query interrupted":
                raise
            self._connection.interrupt()
            raise KeyboardInterrupt from error
        finally:
            if ours:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.answers_early and not self._asked.is_set():
            self._asked.set()  # the query stops by itself; a second Ctrl-C ends it
            return
        self._connection.interrupt()
        signal.default_int_handler(number, frame)
