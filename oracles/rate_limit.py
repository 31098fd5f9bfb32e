"""Limits of requests and tokens by the minute, and how long to wait after a failure."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["RateLimit", "Sent", "Traffic", "backoff_s", "retry_after_s", "traffic_to"]

WINDOW_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
_JITTER = 1 / 240  # of a window: a request may arrive later than it was sent, and the next at once


@dataclass(slots=True, eq=False)
class Sent:
    """One request that was sent: when (seconds of the clock), and the tokens it counts with."""

    at: float
    n_tokens: int


@dataclass(slots=True)
class Traffic:
    """What was sent to one server lately, by all threads that ask it.

    Parameters
    ----------
    sent : deque of Sent
        In the order of time.
    held_until : float
        Second of the clock before which nothing may be sent.
    lock : threading.Lock
        Held while the two others are read and changed.
    """

    sent: deque[Sent] = field(default_factory=deque)
    held_until: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


def traffic_to(url: str, key: str | None) -> Traffic:
    """Return the traffic of this process to a server, under a key; the same one every time."""
    return _traffic(url, None if key is None else hashlib.sha256(key.encode()).hexdigest())


@functools.lru_cache(maxsize=256)
def _traffic(_url: str, _key_digest: str | None) -> Traffic:
    return Traffic()


class RateLimit:
    """Holds requests back so that no window of a minute has too many of them, or of their tokens.

    Parameters
    ----------
    rpm, tpm : int or None
        Most requests, and most tokens, of a window; None for no limit.
    traffic : Traffic, optional
        What counts against the limits, from `traffic_to`; requests of its own alone when absent.
    window_s : float, optional
        Length of the window in seconds; a minute when absent.
    clock : callable
        Seconds that never run backwards.
    sleep : coroutine function
        Waits so many seconds.

    Notes
    -----
    The window slides: a request is let through when it and all that were let through in the
    `window_s` before it stay within both limits. So every window has at most `rpm` requests,
    wherever it begins; it is taken a quarter of a second in a minute too long, since requests do
    not arrive as regularly as they are sent. Where several share a traffic, each keeps its own
    limits and counts the requests of all. Tokens are counted as estimated until `Sent.n_tokens` is
    set to what the server says. A request that alone has more tokens than `tpm` waits for an empty
    window.
    """

    def __init__(
        self,
        rpm: int | None = None,
        tpm: int | None = None,
        *,
        traffic: Traffic | None = None,
        window_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rpm, self._tpm = rpm, tpm
        self._window_s = WINDOW_S if window_s is None else window_s
        self._clock, self._sleep = clock, sleep
        self._traffic = Traffic() if traffic is None else traffic

    async def acquire(self, n_tokens: int) -> Sent:
        """Wait until a request of about so many tokens may be sent, and count it."""
        while True:
            with self._traffic.lock:
                wait = self._wait_s(n_tokens)
                if wait <= 0.0:
                    sent = Sent(self._clock(), n_tokens)
                    self._traffic.sent.append(sent)
                    return sent
            await self._sleep(wait)

    def forget(self, sent: Sent) -> None:
        """Do not count a request: the server did not take it."""
        with self._traffic.lock:
            if sent in self._traffic.sent:
                self._traffic.sent.remove(sent)

    def hold(self, seconds: float) -> None:
        """Let nothing through for so many seconds: the server has asked for it."""
        with self._traffic.lock:
            until = self._clock() + seconds
            self._traffic.held_until = max(self._traffic.held_until, until)

    def _wait_s(self, n_tokens: int) -> float:
        """Seconds until a request could be sent, by what is known now; 0 or less: now."""
        now, past = self._clock(), self._traffic.sent
        window_s = self._window_s * (1.0 + _JITTER)
        while past and past[0].at + window_s <= now:
            past.popleft()
        wait = self._traffic.held_until - now
        if self._rpm is not None and len(past) >= self._rpm:
            wait = max(wait, past[-self._rpm].at + window_s - now)
        if self._tpm is not None:
            over = sum(sent.n_tokens for sent in past) + n_tokens - self._tpm
            for sent in past:
                if over <= 0:
                    break
                over -= sent.n_tokens
                wait = max(wait, sent.at + window_s - now)
        return wait


def backoff_s(n_failures: int, rng: random.Random) -> float:
    """Return how long to wait after so many failures in a row, in seconds.

    Parameters
    ----------
    n_failures : int
        From 1.
    rng : random.Random
        Spreads the waits, so that requests which failed together do not come back together.

    Examples
    --------
    >>> rng = random.Random(0)
    >>> all(backoff_s(n, rng) <= min(30, 0.5 * 2 ** (n - 1)) for n in range(1, 20))
    True
    """
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(n_failures - 1, 16))
    return longest * rng.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait, or None where it asks for nothing.

    Parameters
    ----------
    headers : mapping of str to str
        Of the reply. ``retry-after-ms`` counts before ``retry-after``, in seconds or a date.
    now : datetime, optional
        With a time zone; the present when absent.

    Examples
    --------
    >>> retry_after_s({"retry-after": "1.5"})
    1.5
    >>> retry_after_s({"retry-after-ms": "250", "retry-after": "1"})
    0.25
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> retry_after_s({"retry-after": "Thu, 01 Jan 2026 12:00:09 GMT"}, noon)
    9.0
    >>> retry_after_s({"retry-after": "soon"}) is None
    True
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        return seconds if 0.0 <= seconds < float("inf") else None
    try:
        until = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
