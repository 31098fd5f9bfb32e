"""Proxies that were trained before a query: what they learnt, of what, and how they score rows."""

from __future__ import annotations

import binascii
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.drift import Histogram, Ranked
from thresher.errors import DataError
from thresher.oracles import TrainableProxy
from thresher.plan import OracleCall
from thresher.population import Population

__all__ = ["Kept", "Trained", "inputs_of", "numbers_of", "sha256_of"]

_CHUNK = 65_536  # rows whose inputs are in memory at once
_DIGITS = 16  # of the SHA-256 of inputs, by which a row that was trained on is known again
_FACTS = ("n_labels", "n_positive", "auc", "log_loss", "error")
_PREFIX = "learnt "
_BROKEN = (zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a proxy has learnt, without the texts that it learnt from.

    Parameters
    ----------
    learnt : mapping of str to ndarray
        As `TrainableProxy.freeze` gives it.
    n_labels, n_positive : int
        Labels it was trained on, and how many were true.
    auc, log_loss : float
        By cross-validation on those labels.
    error : float
        Standard error of that AUC.
    random : Ranked or None
        AUC on labels drawn by chance, which it was not trained on; None where there were none.
    scores : Histogram
        Of the rows that it was made for.
    rows : ndarray of uint64, shape (n_labels,)
        First 64 bits of the SHA-256 of the inputs that it was trained on, ascending.
    held_out : ndarray of float32, shape (n_labels,)
        Scores of those rows by folds that left them out.
    """

    learnt: Mapping[str, npt.NDArray[Any]]
    n_labels: int
    n_positive: int
    auc: float
    log_loss: float
    error: float
    random: Ranked | None
    scores: Histogram
    rows: npt.NDArray[np.uint64]
    held_out: npt.NDArray[np.float32]

    @property
    def quality(self) -> Ranked:
        """Its AUC when it was trained: on labels drawn by chance, else by cross-validation."""
        return self.random or Ranked(self.auc, self.n_labels, self.error)

    def pack(self) -> bytes:
        """Return it as bytes: numpy's ``npz`` of plain arrays, equal for equal values."""
        arrays = {_PREFIX + name: array for name, array in self.learnt.items()}
        arrays["facts"] = np.array([float(getattr(self, name)) for name in _FACTS])
        if self.random is not None:
            found = self.random
            arrays["random"] = np.array([found.auc, found.n_labels, found.error])
        arrays |= {"edges": self.scores.edges, "shares": self.scores.shares}
        arrays |= {"n_rows": np.array([self.scores.n_rows])}
        arrays |= {"rows": self.rows, "held_out": self.held_out}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def unpack(cls, packed: bytes) -> Trained:
        """Return what `pack` wrote.

        Raises
        ------
        DataError
            The bytes are something else.
        """
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            facts = dict(zip(_FACTS, found["facts"].tolist(), strict=True))
            facts |= {name: round(facts[name]) for name in ("n_labels", "n_positive")}
            chance = found["random"].tolist() if "random" in found else None
            return cls(
                learnt={k[len(_PREFIX) :]: v for k, v in found.items() if k.startswith(_PREFIX)},
                random=None if chance is None else Ranked(chance[0], round(chance[1]), chance[2]),
                scores=Histogram(found["edges"], found["shares"], int(found["n_rows"][0])),
                rows=found["rows"],
                held_out=found["held_out"],
                **facts,
            )
        except (*_BROKEN, ValueError, KeyError, OSError, EOFError, IndexError) as error:
            raise DataError(f"what is kept of a trained proxy cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A proxy that was trained before this query.

    Parameters
    ----------
    name : str
        For the certificate.
    proxy : TrainableProxy
        Its kind.
    inputs : tuple of str
        Columns of its inputs.
    calls : tuple of OracleCall
        The calls whose inputs tell the rows that it was trained on.
    trained : Trained
    sha256 : str
        Hash (hex) of what is kept of it.
    declared : bool
        Whether ``CREATE PROXY ... TRAINED FROM`` made it.
    flip : bool
        Whether a higher score makes the formula less likely.
    """

    name: str
    proxy: TrainableProxy
    inputs: tuple[str, ...]
    calls: tuple[OracleCall, ...]
    trained: Trained
    sha256: str
    declared: bool = False
    flip: bool = False
    _scored: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]] = field(
        default_factory=list
    )

    def fixed(self, population: Population) -> npt.NDArray[np.float64]:
        """Score all rows, a chunk at a time; rows it was trained on by folds that left them out.

        Raises
        ------
        InterfaceError
            It was trained on inputs of another shape.
        """
        return self._all(population)[0]

    def seen(self, population: Population) -> npt.NDArray[np.bool_]:
        """Return which rows it was trained on: shape (n_rows,)."""
        return self._all(population)[1]

    def _all(self, population: Population) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        if not self._scored:
            starts = range(0, population.n_rows, _CHUNK)
            parts = [self._chunk(population, start) for start in starts]
            parts.append((np.zeros(0), np.zeros(0, dtype=np.bool_)))
            scores, seen = zip(*parts, strict=True)
            self._scored.append((np.concatenate(scores), np.concatenate(seen)))
        return self._scored[0]

    def _chunk(
        self, population: Population, start: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        rows = np.arange(start, min(start + _CHUNK, population.n_rows))
        table = population.inputs(rows)
        scores = self.proxy.apply(self.trained.learnt, inputs_of(table, self.inputs))
        places, seen = self._places(numbers_of(table, self.calls))
        scores[seen] = self.trained.held_out[places[seen]]
        return 1.0 - scores if self.flip else scores, seen

    def _places(
        self, numbers: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        rows = self.trained.rows
        if not len(rows):
            return np.zeros(len(numbers), dtype=np.int64), np.zeros(len(numbers), dtype=np.bool_)
        places = np.minimum(np.searchsorted(rows, numbers), len(rows) - 1)
        return places, rows[places] == numbers


def inputs_of(table: pa.Table, inputs: tuple[str, ...]) -> pa.Table:
    """Return the columns of a proxy's inputs."""
    return table.select(list(inputs))


def numbers_of(table: pa.Table, calls: tuple[OracleCall, ...]) -> npt.NDArray[np.uint64]:
    """Return 64 bits that tell the inputs of each row from others: shape (n_rows,)."""
    numbers = np.zeros(table.num_rows, dtype=np.uint64)
    for call in calls:
        keys = pc.fill_null(table.column(call.key), "0" * _DIGITS)
        first = pc.utf8_slice_codeunits(keys, 0, _DIGITS).to_numpy().astype(f"S{_DIGITS}")
        bits = np.frombuffer(binascii.unhexlify(first.tobytes()), dtype=">u8")
        numbers = numbers * np.uint64(0x9E3779B97F4A7C15) + bits.astype(np.uint64)
    return numbers


def sha256_of(packed: bytes) -> str:
    """Return the hash (hex) that tells one trained proxy from another."""
    return hashlib.sha256(packed).hexdigest()
