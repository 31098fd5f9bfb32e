"""Tokens that a local model reads and writes, counted where it does."""

from __future__ import annotations

import threading

__all__ = ["COUNTING_TASKS", "TokenCount"]

COUNTING_TASKS = frozenset({
    "causal-lm", "image-text-to-text", "text-classification", "text-generation", "zero-shot",
})  # fmt: skip
"""Tasks whose rows are tokens; images and sounds are none."""


class TokenCount:
    """Adds up tokens, from any thread.

    Examples
    --------
    >>> count = TokenCount()
    >>> count.add(n_read=120)
    >>> count.add(n_read=80, n_written=3)
    >>> count.settled(), count.settled()
    ((200, 3), (0, 0))
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_read = self._n_written = 0

    def add(self, *, n_read: int = 0, n_written: int = 0) -> None:
        """Count some tokens: without padding, the whole of a prompt for each row that has it."""
        with self._lock:
            self._n_read += n_read
            self._n_written += n_written

    def settled(self) -> tuple[int, int]:
        """Return tokens read and written since this was last called."""
        with self._lock:
            counted = self._n_read, self._n_written
            self._n_read = self._n_written = 0
            return counted
