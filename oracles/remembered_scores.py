"""Scores that were computed before: one per input and model, in memory and on disk."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.oracles.cache import cache_folder
from thresher.oracles.protocols import Meter, Oracle, Usage
from thresher.oracles.vectors import VectorStore

__all__ = ["AnswerProxy", "PricedProxy", "RememberedScores"]

_CHUNK_ROWS = 1024  # scored before they are put on disk


class PricedProxy(Protocol):
    """A proxy whose scores take time, tokens or money."""

    @property
    def version(self) -> str:
        """Hash (hex) of all that can change a score."""

    @property
    def batch_size(self) -> int:
        """Inputs to score at once: budgets are looked at before each batch."""

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Score a batch: shape (n,)."""

    def settled(self) -> Usage:
        """Return what was taken since this was last called, also by a batch that broke off."""

    def about(self, batch: pa.Table) -> Usage | None:
        """Return about what an input of a batch takes, where that can be told; asks nothing."""


class AnswerProxy:
    """A model that gives numbers, as a proxy.

    Parameters
    ----------
    oracle : Oracle
        Made to return DOUBLE.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle, self._used = oracle, Usage()

    @property
    def version(self) -> str:
        """That of the model."""
        return self._oracle.version

    @property
    def batch_size(self) -> int:
        """That of the model."""
        return self._oracle.batch_size

    def settled(self) -> Usage:
        """Return what was taken since this was last called."""
        used, self._used = self._used, Usage()
        return used

    def about(self, batch: pa.Table) -> Usage | None:
        """Return about what an input takes, by the tokens that the model can tell."""
        tell = getattr(self._oracle, "about_tokens", None)
        n_tokens = None if tell is None else tell(batch)
        return None if n_tokens is None else Usage(1, (round(n_tokens), 0))

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Return the model's numbers, shape (n,)."""
        answers = self._oracle.answer(batch)
        requests = batch.num_rows if answers.requests is None else answers.requests
        self._used = Usage(
            self._used.requests + requests,
            _sum(self._used.tokens, answers.tokens),
            self._used.cost_usd + answers.cost_usd,
        )
        return np.asarray(answers.values, dtype=np.float64)


def _sum(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    """Add tokens read and written; None where either was not counted."""
    return None if one is None or other is None else (one[0] + other[0], one[1] + other[1])


@functools.lru_cache(maxsize=4)
def _store(version: str, on_disk: bool) -> VectorStore:
    folder = cache_folder("scores", version[:32]) if on_disk else None
    return VectorStore(folder, np.float32)


class RememberedScores:
    """A proxy whose inputs are each scored once, also over queries and processes.

    Parameters
    ----------
    proxy : PricedProxy
        What scores the inputs that are new.
    on_disk : bool
        Whether scores are kept in the user's cache folder as well as in memory.

    Notes
    -----
    Scores are kept as float32, and are rounded before their first use: they do not hang on whether
    they were known. Those of every 1,024 rows are on disk before the next rows are scored, and so
    are those of rows before one that fails. What is known costs nothing.
    """

    metered = True

    def __init__(self, proxy: PricedProxy, on_disk: bool) -> None:
        self._proxy, self._on_disk = proxy, on_disk

    @property
    def version(self) -> str:
        """That of the proxy."""
        return self._proxy.version

    def new_inputs(self, batch: pa.Table) -> int:
        """Return how many distinct inputs of a batch have no score yet."""
        return len(_store(self.version, self._on_disk).missing(_keys(batch)))

    def about(self, batch: pa.Table) -> Usage | None:
        """Return about what an input of a batch takes, where that can be told; asks nothing."""
        return self._proxy.about(batch)

    def score(self, batch: pa.Table, meter: Meter | None = None) -> npt.NDArray[np.float64]:
        """Score a batch: shape (n,); NaN where the meter did not allow an input.

        Parameters
        ----------
        batch : pyarrow.Table
            One column per argument.
        meter : Meter, optional
            Asked before each batch of inputs without a score, and told what it took.
        """
        keys, store = _keys(batch), _store(self.version, self._on_disk)
        row_of = {key: row for row, key in reversed(list(enumerate(keys)))}
        missing = store.missing(keys)
        for start in range(0, len(missing), _CHUNK_ROWS):
            chunk = missing[start : start + _CHUNK_ROWS]
            found: list[float] = []
            try:
                self._score_all(batch.take(pa.array([row_of[key] for key in chunk])), meter, found)
            finally:
                scores = np.array(found, dtype=np.float32)
                store.add(chunk[: len(found)], scores[:, None])
            if len(found) < len(chunk):
                break
        left = set(store.missing(keys))
        known = [row for row, key in enumerate(keys) if key not in left]
        scores_of = np.full(len(keys), np.nan)
        if known:
            scores_of[known] = store.get([keys[row] for row in known])[:, 0]
        return scores_of

    def _score_all(self, batch: pa.Table, meter: Meter | None, found: list[float]) -> None:
        """Score new inputs in batches, as many as the meter allows; adds to `found` in order."""
        while len(found) < batch.num_rows:
            size = min(max(1, self._proxy.batch_size), batch.num_rows - len(found))
            size = size if meter is None else meter.before(size)
            if not size:
                return
            before = len(found)
            try:
                found += self._proxy.score(batch.slice(before, size)).tolist()
            finally:
                used = self._proxy.settled()
                if meter is not None:
                    meter.after(len(found) - before, used)


def _keys(batch: pa.Table) -> list[str]:
    """What each row's arguments are known by."""
    columns = [column.to_pylist() for column in batch.columns]
    return [json.dumps(row, default=_plain) for row in zip(*columns, strict=True)]


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return f"{type(value).__name__}:{value}"
