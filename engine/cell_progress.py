"""Progress in a notebook: one display of a cell, updated in place and folded to a line at the end.

IPython's display by an identity works in JupyterLab, Notebook, VS Code and Colab, and needs neither
a widget nor JavaScript. What is kept in the notebook is the line at the end.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Protocol, cast

from thresher.errors import InterruptedQueryError
from thresher.pages.markup import Markup, element
from thresher.progress_texts import amounts, certain, dollars, duration, suggested

if TYPE_CHECKING:
    from thresher.progress import ProgressEvent

__all__ = ["Cell", "CellDisplay", "display_of_cell"]

AFTER_S = 0.5
"""A statement that takes no longer shows nothing."""
EVERY_S = 0.25
"""Least seconds between two updates."""
_TICK_S = 1.0  # the clock goes on between events
_STOP = "Stop: the square in the toolbar, or Esc and I twice. Labels are kept."


class CellDisplay(Protocol):
    """Where displays of a cell go: the publisher of a shell of IPython."""

    def publish(
        self,
        data: dict[str, str],
        metadata: dict[str, str] | None = None,
        *,
        transient: dict[str, str] | None = None,
        update: bool = False,
    ) -> None:
        """Show or update a display."""


def display_of_cell() -> CellDisplay | None:
    """Return where displays go if this runs in a kernel of Jupyter, else None; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = getattr(ipython, "get_ipython", lambda: None)()
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    return cast(CellDisplay, shell.display_pub)


class Cell:
    """A progress sink that is one display of a cell.

    Parameters
    ----------
    display : CellDisplay
        Where it is shown.

    Notes
    -----
    A thread of its own shows what the last event said, four times a second at most and once a
    second at least, so that `update` costs nothing and the clock goes on while an oracle answers.
    """

    def __init__(self, display: CellDisplay) -> None:
        self._display = display
        self._began, self._before = time.monotonic(), sys.exception()
        self._id = uuid.uuid4().hex
        self._event: ProgressEvent | None = None
        self._paid = (0, 0.0)  # labels and dollars of the query blocks that are done
        self._ended = threading.Event()
        self._clock: threading.Thread | None = None
        self._shown = False

    def update(self, event: ProgressEvent) -> None:
        """Take one event."""
        last, self._event = self._event, event
        if last is not None and event.elapsed_s < last.elapsed_s:  # the next query block
            self._paid = _sum(self._paid, last)
        if self._clock is None:
            # What IPython knows of the cell is kept by context.
            run = contextvars.copy_context().run
            self._clock = threading.Thread(target=run, args=(self._watch,), daemon=True)
            self._clock.start()

    def close(self) -> None:
        """Fold what was shown to one line."""
        if self._clock is None:
            return
        self._ended.set()
        self._clock.join()
        self._clock = None
        event, self._event = self._event, None
        failure = sys.exception()
        failure = None if failure is self._before else failure
        if event is not None and (self._shown or (failure is not None and event.n_labels)):
            self._publish(*self._folded(event, failure))
        self._ended.clear()
        self._shown, self._id, self._paid = False, uuid.uuid4().hex, (0, 0.0)
        self._began = time.monotonic()

    def _watch(self) -> None:
        """Show the last event until the statement ends."""
        pause, shown, since = AFTER_S, None, 0.0
        while not self._ended.wait(pause):
            pause = EVERY_S
            event, now = self._event, time.monotonic()
            if event is not None and (event is not shown or now - since >= _TICK_S):
                self._publish(*self._live(event))
                shown, since = event, now

    def _publish(self, text: str, markup: Markup) -> None:
        self._display.publish(
            {"text/plain": text, "text/html": markup},
            transient={"display_id": self._id},
            update=self._shown,
        )
        self._shown = True

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _live(self, event: ProgressEvent) -> tuple[str, Markup]:
        """Write where the statement stands."""
        head, said = event.stage, amounts(event, self._elapsed_s)
        notes = [note for note in (certain(event), suggested(event.indication)) if note]
        text = "\n".join([f"{head}: {said}", *notes, _STOP])
        share: dict[str, int] = {}
        if event.label_limit:
            most = event.label_limit
            share = {"max": most, "value": min(event.n_labels, most)}
        bar = element(
            "progress", aria_label="labels bought", style="width:14em;vertical-align:middle",
            **share,
        )  # fmt: skip
        lines = [
            element("div", element("b", head), " ", bar, " ", said),
            *(element("div", note) for note in notes),
            element("div", element("small", _STOP)),
        ]
        return text, _boxed(*lines)

    def _folded(self, event: ProgressEvent, failure: BaseException | None) -> tuple[str, Markup]:
        """Write the one line that stays."""
        n_labels, usd = _sum(self._paid, event)
        said = f"{n_labels:,} label{'s' * (n_labels != 1)}"
        said += f", {dollars(usd)}" if usd else ""
        said += f", {duration(self._elapsed_s)}"
        if failure is None:
            line = f"done: {said}"
        else:
            line = f"{'stopped' if _is_stop(failure) else 'failed'} after {said}"
            line += "; what was bought is kept" * bool(n_labels)
        return line, _boxed(element("small", line))


def _is_stop(failure: BaseException) -> bool:
    """Whether a person ended the statement; where DuckDB was at work, Ctrl-C is its own error."""
    stopped = isinstance(failure, KeyboardInterrupt | InterruptedQueryError)
    return stopped or str(failure) in ("Query interrupted", "INTERRUPT Error: Interrupted!")


def _boxed(*parts: Markup) -> Markup:
    """Put parts into a box that has the colours of the page."""
    return element(
        "div",
        *parts,
        class_="thresher-progress",
        style="font-variant-numeric:tabular-nums;padding:0 8px",
    )


def _sum(paid: tuple[int, float], event: ProgressEvent) -> tuple[int, float]:
    return paid[0] + event.n_labels, paid[1] + event.cost_usd + event.proxy_cost_usd
