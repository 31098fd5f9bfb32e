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
from thresher.oracles.protocols import Oracle
from thresher.oracles.vectors import VectorStore

__all__ = ["AnswerProxy", "PricedProxy", "RememberedScores"]

_CHUNK_ROWS = 1024  # scored before they are put on disk


class PricedProxy(Protocol):
    """A proxy that may cost money."""

    @property
    def version(self) -> str:
        """Hash (hex) of all that can change a score."""

    @property
    def cost_usd(self) -> float:
        """Dollars spent so far."""

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Score a batch: shape (n,)."""


class AnswerProxy:
    """A model that gives numbers, as a proxy.

    Parameters
    ----------
    oracle : Oracle
        Made to return DOUBLE.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle, self._cost_usd = oracle, 0.0

    @property
    def version(self) -> str:
        """That of the model."""
        return self._oracle.version

    @property
    def cost_usd(self) -> float:
        """Dollars spent so far."""
        return self._cost_usd

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Return the model's numbers, shape (n,)."""
        answers = self._oracle.answer(batch)
        self._cost_usd += answers.cost_usd
        return np.asarray(answers.values, dtype=np.float64)


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
    they were known. Those of every 1,024 rows are on disk before the next rows are scored.
    """

    def __init__(self, proxy: PricedProxy, on_disk: bool) -> None:
        self._proxy, self._on_disk = proxy, on_disk

    @property
    def version(self) -> str:
        """That of the proxy."""
        return self._proxy.version

    @property
    def cost_usd(self) -> float:
        """Dollars spent so far; what is known costs nothing."""
        return self._proxy.cost_usd

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Score a batch: shape (n,)."""
        keys, store = _keys(batch), _store(self.version, self._on_disk)
        row_of = {key: row for row, key in reversed(list(enumerate(keys)))}
        missing = store.missing(keys)
        for start in range(0, len(missing), _CHUNK_ROWS):
            chunk = missing[start : start + _CHUNK_ROWS]
            scores = self._proxy.score(batch.take(pa.array([row_of[key] for key in chunk])))
            store.add(chunk, scores.astype(np.float32)[:, None])
        if not keys:
            return np.zeros(0)
        return store.get(keys)[:, 0].astype(np.float64)


def _keys(batch: pa.Table) -> list[str]:
    """What each row's arguments are known by."""
    columns = [column.to_pylist() for column in batch.columns]
    return [json.dumps(row, default=_plain) for row in zip(*columns, strict=True)]


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return f"{type(value).__name__}:{value}"
