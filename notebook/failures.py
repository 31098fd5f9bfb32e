"""Failures as a cell shows them: what is wrong and where, without the frames of this package."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from thresher.errors import Error, InternalError, UnansweredError
from thresher.shortfalls import stopped

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["shortened", "show_from", "show_no_more"]

_SHOWN = (Error, KeyboardInterrupt)
_HIDDEN = ("IPython", "duckdb", "sql", "thresher")  # packages; that of jupysql is sql


@contextmanager
def shortened() -> Iterator[None]:
    """Let IPython show the errors of what runs inside in a few lines; they are raised as they are.

    Notes
    -----
    IPython asks an exception for ``_render_traceback_`` before it formats one itself. The cell
    fails with the exception's own type and text, for nbclient and ``except`` alike.
    """
    try:
        yield
    except Error as error:
        lines = [f"{type(error).__name__}: {error}", *_further(error)]
        _render(error, lines)
        raise
    except KeyboardInterrupt as stop:
        _render(stop, [f"KeyboardInterrupt: {stop if stop.args else stopped(0)}"])
        raise


def _render(error: BaseException, lines: list[str]) -> None:
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]


def _further(error: Error) -> list[str]:
    """Return what is said below the error's own text."""
    about = _cause(error)
    if isinstance(error, UnansweredError):
        about = ["", "In this notebook: %thresher label"]
    return [*about, *([error.kept] if error.kept else [])]


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


def show_from(shell: InteractiveShell) -> None:
    """Let a shell show errors of ``con.execute`` in a cell without the frames of this package.

    A shell with a handler of the user's own is left alone.
    """
    if not shell.custom_exceptions:
        shell.set_custom_exc(_SHOWN, _show)  # type: ignore[no-untyped-call]


def show_no_more(shell: InteractiveShell) -> None:
    """Undo `show_from`."""
    if shell.custom_exceptions is _SHOWN:
        shell.set_custom_exc((), None)  # type: ignore[no-untyped-call]


def _show(
    shell: InteractiveShell,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType,
    tb_offset: int | None = None,
) -> None:
    """Show an exception of a cell, as IPython asks a handler of exceptions to."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(trace)]
    ours = any(_is_ours(frame) for frame, _ in frames)
    if ours and not hasattr(error, "_render_traceback_") and not isinstance(error, InternalError):
        lines = _told(shell, error, _outside(trace), tb_offset)
        if isinstance(error, Error):
            lines += _further(error)
        _render(error, lines)
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def _told(
    shell: InteractiveShell, error: BaseException, trace: TracebackType | None, offset: int | None
) -> list[str]:
    """Format an exception as IPython does, without what it was raised from."""
    before = error.__cause__, error.__suppress_context__
    error.__cause__, error.__suppress_context__ = None, True
    try:
        tell = shell.InteractiveTB.structured_traceback
        return [str(line) for line in tell(type(error), error, trace, offset)]
    finally:
        error.__cause__, error.__suppress_context__ = before


def _outside(trace: TracebackType) -> TracebackType | None:
    """Return the beginning of a traceback that lies in the user's code."""
    steps, step = [trace], trace.tb_next  # the first is of IPython, which leaves it out
    while step is not None:
        steps.append(step)
        step = step.tb_next
    kept = [steps[0], *takewhile(lambda one: not _is_hidden(one.tb_frame), steps[1:])]
    made: TracebackType | None = None
    for one in reversed(kept):
        made = TracebackType(made, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return made


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _is_hidden(frame: FrameType) -> bool:
    return _package(frame) in _HIDDEN


def _is_ours(frame: FrameType) -> bool:
    return _package(frame) in ("thresher", "duckdb")
