"""Progress of a running query: events, and the sinks that show them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressEvent", "ProgressSink", "Silent", "Terminal", "terminal_or_silent"]


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """Where a query stands.

    Parameters
    ----------
    stage : str
        ``read``, ``pilot``, ``fit proxies``, ``sample``, ``verify``, ``answer``, ...
    n_labels : int
        Labels bought so far.
    label_limit : int or None
        The most it may buy; None when the query stops by itself.
    elapsed_s : float
        Seconds since the query began.
    """

    stage: str
    n_labels: int
    label_limit: int | None
    elapsed_s: float


class ProgressSink(Protocol):
    """Something that shows events."""

    def update(self, event: ProgressEvent) -> None:
        """Take one event; must be fast and must not raise."""

    def close(self) -> None:
        """Remove what was shown."""


class Silent:
    """A sink that shows nothing."""

    def update(self, event: ProgressEvent) -> None:
        """Drop the event."""

    def close(self) -> None:
        """Do nothing."""


class Terminal:
    """One line on a terminal: stage, labels bought of the limit, time left.

    Parameters
    ----------
    stream : text stream
        Usually standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("labels"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        self._task = progress.add_task("", total=None)
        progress.start()
        return progress

    def update(self, event: ProgressEvent) -> None:
        """Redraw the line."""
        if self._progress is None:
            self._progress = self._start()
        if self._task is not None:
            self._progress.update(
                self._task,
                description=event.stage,
                completed=event.n_labels,
                total=event.label_limit,
            )

    def close(self) -> None:
        """Stop the bar and clear its line."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None


def terminal_or_silent(stream: TextIO | None = None) -> ProgressSink:
    """Return a `Terminal` when the stream (standard error) is one, else `Silent`."""
    stream = sys.stderr if stream is None else stream
    return Terminal(stream) if stream.isatty() else Silent()
