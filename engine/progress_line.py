"""Progress on a terminal: one line, drawn over itself by rich, which is loaded for it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.table import Column
from rich.text import Text

from thresher.progress_texts import amounts

if TYPE_CHECKING:
    from thresher.progress import ProgressEvent

__all__ = ["ProgressLine", "fitting"]

_STAGE = 12  # cells: the longest name of a stage has one less
_BAR = 30  # cells at most: it has what the words leave
_LEAST_BAR = 6  # with the spaces around it


class ProgressLine:
    """A stage, what was bought, and a bar; the clock goes on between events.

    Parameters
    ----------
    stream : text stream
        A terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        console = Console(file=stream)
        self._words = _Words(console)
        bar = BarColumn(None, table_column=Column(max_width=_BAR))
        self._progress = Progress(
            SpinnerColumn(), self._words, bar, console=console, transient=True
        )
        self._task = self._progress.add_task("", total=None)

    def update(self, event: ProgressEvent) -> None:
        """Redraw the line."""
        self._words.tell(event)
        self._progress.update(self._task, completed=event.n_labels, total=event.label_limit)
        self._progress.start()

    def close(self) -> None:
        """Clear the line."""
        self._progress.stop()


class _Words(ProgressColumn):
    """What the last event says, as of now."""

    def __init__(self, console: Console) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._console = console
        self._event: ProgressEvent | None = None
        self._told = 0.0

    def tell(self, event: ProgressEvent) -> None:
        """Take the newest event."""
        self._event, self._told = event, time.monotonic()

    def render(self, task: Task) -> Text:  # noqa: ARG002 - the event says more
        """Return the stage, what was bought, and the time that took and will take."""
        event = self._event
        if event is None:
            return Text()
        since = time.monotonic() - self._told
        width = self._console.width - _STAGE - _LEAST_BAR
        return Text.assemble((f"{event.stage:<{_STAGE}}", "bold"), fitting(event, since, width))


def fitting(event: ProgressEvent, since_s: float, width: int) -> str:
    """Say what was bought and the time it took: the most important of it where not all fits.

    Parameters
    ----------
    event : ProgressEvent
    since_s : float
        Seconds since then.
    width : int
        Characters that there are.

    Examples
    --------
    >>> from thresher.progress import ProgressEvent
    >>> event = ProgressEvent("sample", 412, 1000, 9.0, 0.21, n_reused=30, left_s=18.0)
    >>> for width in (70, 60, 45):
    ...     print(fitting(event, 2.0, width))
    412 of 1,000 labels and 30 from before, $0.21, 11 s, about 16 s left
    412 of 1,000 labels, $0.21, 11 s, about 16 s left
    412 of 1,000 labels, 11 s, about 16 s left
    """
    left = None if event.left_s is None else max(0.0, event.left_s - since_s)
    whole = replace(event, left_s=left)
    fewer = replace(whole, n_reused=0)
    least = replace(fewer, cost_usd=0.0, proxy_cost_usd=0.0, usd_limit=None)
    texts = [amounts(one, event.elapsed_s + since_s) for one in (whole, fewer, least)]
    return next((text for text in texts if len(text) <= width), texts[-1])
