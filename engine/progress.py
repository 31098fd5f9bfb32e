"""Progress of a running query: events, and the sinks that show them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from thresher.cell_progress import Cell, display_of_cell
from thresher.reports import Interval

if TYPE_CHECKING:
    from thresher.progress_line import ProgressLine

__all__ = [
    "Found",
    "Indication",
    "Limits",
    "ProgressEvent",
    "ProgressSink",
    "Pulse",
    "Silent",
    "Terminal",
    "Told",
    "sink_of",
    "terminal_or_silent",
]

EVERY_S = 0.25
"""Least seconds between two events of one stage."""


@dataclass(frozen=True, slots=True)
class Found:
    """What labels say of the positive rows of a query by now.

    Parameters
    ----------
    n_rows : int
        Rows of the population.
    n_known, n_positive : int
        Rows whose truth is known by now, and the positive ones among them.

    Notes
    -----
    `low` and `high` are certain at any time, whatever happens next: known positives are positive,
    and a row that is not known may be either. They need no probability and no assumption, and are
    wide until most rows are labelled. How likely the rows between are positive is not said: labels
    are bought where they help most, so that their share is not that of the population. What a
    design proves of recall and precision before it ends is in the certificate of a query that is
    stopped (``BUDGET``, ``thresher_on_interrupt = ANSWER``), and in no event.
    """

    n_rows: int
    n_known: int
    n_positive: int

    @property
    def low(self) -> int:
        """Least number of positive rows of the population."""
        return self.n_positive

    @property
    def high(self) -> int:
        """Largest number of positive rows of the population."""
        return self.n_positive + self.n_rows - self.n_known


@dataclass(frozen=True, slots=True)
class Indication:
    """What labels suggest by now. Nothing of it is proved: it may be far off, and moves.

    Parameters
    ----------
    n_positive : float
        Estimate of the number of positive rows of the population.
    low, high : float
        About what it may be, by a normal law at the probability of the statement.
    n_returned : int or None
        Rows that would come back if the cut were made now, where the estimate meets the targets;
        None for other queries than selections by recall or precision.
    recall, precision : float or None
        Estimates for that cut, in [0, 1]. They are no bounds.
    """

    n_positive: float
    low: float
    high: float
    n_returned: int | None = None
    recall: float | None = None
    precision: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Estimates of aggregates with the limits that hold now.

    Parameters
    ----------
    intervals : tuple of Interval
        One for each aggregate of each group; None where there is no value yet.
    probability : float
        With at least this probability all limits in all events of the query hold, together with
        those of its answer.

    Notes
    -----
    Of estimates by bets on weighted draws alone: their limits hold at all times at once, by Ville's
    inequality (B2 in the guarantees of aggregates), so that to look costs nothing. A count from
    strata of a fixed size has no limits before its end; `Indication` says something of it.
    """

    intervals: tuple[Interval, ...]
    probability: float


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
    cost_usd : float
        Dollars spent on labels so far.
    n_tokens : int or None
        Tokens spent so far; None where an oracle does not count them.
    n_reused : int
        Labels taken from the store so far.
    found : Found or None
        What is known of the answer by now, for certain; None before the first label.
    proxy_cost_usd : float
        Dollars spent on proxy scores so far.
    left_s : float or None
        About how many seconds are left, by the pace of the labels so far; None where it is not
        known how many labels are still to be bought.
    limits : Limits or None
        Limits of aggregates, which hold; None where nothing is estimated, or not by bets.
    indication : Indication or None
        What the labels suggest, which is no promise; None where they are too few for that.
    usd_limit : float or None
        Most dollars that the query may spend; None where no budget says.
    """

    stage: str
    n_labels: int
    label_limit: int | None
    elapsed_s: float
    cost_usd: float = 0.0
    n_tokens: int | None = None
    n_reused: int = 0
    found: Found | None = None
    proxy_cost_usd: float = 0.0
    left_s: float | None = None
    limits: Limits | None = None
    indication: Indication | None = None
    usd_limit: float | None = None


class Pulse:
    """Says when an event is due: where a stage begins, and a few times a second.

    Examples
    --------
    >>> pulse = Pulse()
    >>> pulse.due("read"), pulse.due("read"), pulse.due("sample")
    (True, False, True)
    """

    def __init__(self) -> None:
        self._stage, self._last = "", 0.0

    def due(self, stage: str) -> bool:
        """Whether an event is due now."""
        now = time.monotonic()
        if stage == self._stage and now - self._last < EVERY_S:
            return False
        self._stage, self._last = stage, now
        return True


class ProgressSink(Protocol):
    """Something that shows events.

    One whose attribute `indicates` is False gets no `ProgressEvent.indication`, which takes a while
    over many rows.
    """

    def update(self, event: ProgressEvent) -> None:
        """Take one event; must be fast. What it raises ends the statement."""

    def close(self) -> None:
        """Remove what was shown."""


class Silent:
    """A sink that shows nothing."""

    indicates = False

    def update(self, event: ProgressEvent) -> None:
        """Drop the event."""

    def close(self) -> None:
        """Do nothing."""


class Told:
    """A sink that passes events on to a function too, which may raise.

    Parameters
    ----------
    sink : ProgressSink
        Shows them.
    tell : callable
        Takes each event.
    """

    def __init__(self, sink: ProgressSink, tell: Callable[[ProgressEvent], object]) -> None:
        self._sink, self._tell = sink, tell

    def update(self, event: ProgressEvent) -> None:
        """Show the event, then pass it on."""
        self._sink.update(event)
        self._tell(event)

    def close(self) -> None:
        """Remove what was shown."""
        self._sink.close()


class Terminal:
    """One line on a terminal: the stage, labels bought of the limit, time taken and left.

    Parameters
    ----------
    stream : text stream
        Usually standard error.
    """

    indicates = False  # the line has no room for it

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line: ProgressLine | None = None

    def update(self, event: ProgressEvent) -> None:
        """Redraw the line."""
        if self._line is None:
            from thresher.progress_line import ProgressLine

            self._line = ProgressLine(self._stream)
        self._line.update(event)

    def close(self) -> None:
        """Stop the bar and clear its line."""
        if self._line is not None:
            self._line.close()
        self._line = None


def sink_of(mode: object) -> ProgressSink:
    """Return the sink of a value of the setting ``progress``."""
    if mode == "terminal":
        return Terminal(sys.stderr)
    if mode == "none":
        return Silent()
    if (display := display_of_cell()) is not None:
        return Cell(display)
    return terminal_or_silent() if mode == "auto" else Silent()


def terminal_or_silent(stream: TextIO | None = None) -> ProgressSink:
    """Return a `Terminal` when the stream (standard error) is one, else `Silent`."""
    stream = sys.stderr if stream is None else stream
    moves = os.environ.get("TERM") != "dumb"  # such a terminal cannot draw over a line
    return Terminal(stream) if moves and stream.isatty() else Silent()
