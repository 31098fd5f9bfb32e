"""Failures as a cell shows them: what is wrong and where, without the frames of this package."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from thresher.errors import Error
from thresher.progress import ProgressEvent

__all__ = ["Bought", "shortened"]


class Bought:
    """Counts the labels that statements have bought, by their progress.

    Examples
    --------
    >>> bought = Bought()
    >>> for n_labels in (10, 30, 0, 5):  # of two query blocks
    ...     bought.take(ProgressEvent("sample", n_labels, None, 0.1))
    >>> bought.n_labels
    35
    """

    def __init__(self) -> None:
        self._before = self._now = 0

    def take(self, event: ProgressEvent) -> None:
        """Take one event of a statement."""
        if event.n_labels < self._now:
            self._before += self._now
        self._now = event.n_labels

    @property
    def n_labels(self) -> int:
        """Labels so far."""
        return self._before + self._now


@contextmanager
def shortened(bought: Bought) -> Iterator[None]:
    """Let IPython show the errors of what runs inside in a few lines; they are raised as they are.

    Parameters
    ----------
    bought : Bought
        What a failure has paid for, which is said as well.

    Notes
    -----
    IPython asks an exception for ``_render_traceback_`` before it formats one itself. The cell
    fails with the exception's own type and text, for nbclient and ``except`` alike.
    """
    try:
        yield
    except Error as error:
        lines = [f"{type(error).__name__}: {error}", *_cause(error), *_kept(bought.n_labels)]
        _render(error, lines)
        raise
    except KeyboardInterrupt as stop:
        kept = _kept(bought.n_labels) or ["No label had been bought."]
        _render(stop, [f"KeyboardInterrupt: the statement was stopped. {kept[0]}"])
        raise


def _render(error: BaseException, lines: list[str]) -> None:
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]


def _kept(n_labels: int) -> list[str]:
    if not n_labels:
        return []
    one = n_labels == 1
    return [
        f"{n_labels:,} label{'' if one else 's'} {'was' if one else 'were'} bought and "
        f"{'is' if one else 'are'} kept: run it again to go on from {'it' if one else 'them'}."
    ]


def _cause(error: Error) -> list[str]:
    """Return where in the user's own code an oracle or proxy has failed."""
    cause: BaseException | None = error
    while isinstance(cause, Error):
        cause = cause.__cause__
    if cause is None:
        return []
    frames = [pair for pair in traceback.walk_tb(cause.__traceback__) if not _is_ours(pair[0])]
    if not frames:
        return []
    told = traceback.StackSummary.extract(iter(frames)).format()
    told += traceback.format_exception_only(cause)
    return ["", "Caused by:", *(line.rstrip("\n") for line in told)]


def _is_ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))
    return name.partition(".")[0] in ("thresher", "duckdb")
