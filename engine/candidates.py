"""Proxies that a query may use, and the scores of those that need no labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import DataError
from thresher.oracles import Meter, Proxy, TrainableProxy
from thresher.population import Population

__all__ = ["Candidate", "Expression", "FloatArray", "Scorer", "Trainable"]

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
_SCORE_CHUNK = 65_536  # rows whose inputs are in memory at once while a proxy scores them


class Candidate(Protocol):
    """A proxy that this query may use."""

    @property
    def name(self) -> str:
        """For the certificate."""

    def fixed(self, population: Population) -> FloatArray | None:
        """Scores of all rows if they need no labels, else None."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A SQL expression of USING, already computed with the population."""

    name: str
    scores: npt.NDArray[np.float64]

    def fixed(self, population: Population) -> FloatArray | None:  # noqa: ARG002 - the protocol
        """Return the scores."""
        return self.scores


@dataclass(frozen=True, slots=True)
class Scorer:
    """A proxy model that needs no training, with the columns of its inputs.

    `flip` says that a higher score makes the formula less likely; `meter` permits and counts what
    scores take of a proxy that is metered.
    """

    name: str
    proxy: Proxy
    inputs: tuple[str, ...]
    arguments: tuple[str, ...]
    flip: bool = False
    meter: Meter | None = None

    def fixed(self, population: Population) -> FloatArray | None:
        """Score all rows, a chunk at a time; rows with a NULL input get NaN."""
        scores = np.full(population.n_rows, np.nan)
        for start in range(0, population.n_rows, _SCORE_CHUNK):
            rows = np.arange(start, min(start + _SCORE_CHUNK, population.n_rows))
            table = population.inputs(rows).select(list(self.inputs))
            table = table.rename_columns(list(self.arguments))
            whole = np.flatnonzero(_complete(table))
            if len(whole):
                scores[rows[whole]] = self._score(table.take(pa.array(whole)))
        return -scores if self.flip else scores

    @property
    def metered(self) -> bool:
        """Whether what its scores take is counted."""
        return bool(getattr(self.proxy, "metered", False))

    def _score(self, table: pa.Table) -> npt.NDArray[np.float64]:
        given: Any = self.proxy
        found = given.score(table, self.meter) if self.metered else given.score(table)
        scores = np.asarray(found, dtype=np.float64)
        if self.meter is not None and self.meter.refused:
            return scores
        n_bad = int(np.count_nonzero(~np.isfinite(scores)))
        if scores.shape != (table.num_rows,) or n_bad:
            raise DataError(
                f"proxy {self.name} gave {len(scores)} scores for {table.num_rows} rows, {n_bad} "
                "of them NaN or infinite: return one finite number for each row."
            )
        return scores


def _complete(table: pa.Table) -> npt.NDArray[np.bool_]:
    valid = np.ones(table.num_rows, dtype=np.bool_)
    for column in table.columns:
        valid &= np.asarray(column.is_valid().to_numpy(), dtype=np.bool_)
    return valid


@dataclass(frozen=True, slots=True)
class Trainable:
    """A proxy that is trained on labels of this query."""

    proxy: TrainableProxy
    inputs: tuple[str, ...]
    declared: str = ""  # its name, where it has been declared

    @property
    def name(self) -> str:
        """For the certificate."""
        return self.proxy.name

    @property
    def quick(self) -> bool:
        """Whether a forecast may fit it: the kind of the proxy says so."""
        return bool(getattr(self.proxy, "quick", False))

    def fixed(self, population: Population) -> FloatArray | None:  # noqa: ARG002 - the protocol
        """Return None: labels come first."""
        return None
