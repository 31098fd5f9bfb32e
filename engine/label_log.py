"""The label log of a certificate: every label that an answer rests on, in the order of its use.

A certificate with its log can be checked by anybody: the log says which row was labelled when, why
and with what result, and `log_sha256` ties the two together.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = [
    "KNOWN",
    "LOG_SCHEMA",
    "SAME_INPUT",
    "LabelledStep",
    "log_sha256",
    "make_log",
    "pack_log",
    "unpack_log",
]

KNOWN = "known"
"""Stage of the rows whose truth was known before the query began."""

SAME_INPUT = "same input"
"""Stage of rows that were never asked for: their inputs equal those of labelled rows."""

LOG_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int32(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("truth", pa.bool_()),
        pa.field("value", pa.float64()),
    ]
)
"""One row per label: number of the step (0: known before), its stage, position of the row in the
population, its truth (null where the label failed or is a number), its value (null for a truth)."""

_HEAD = b"thresher label log 1\n"
Packed = tuple[int, str, bytes, bytes | None, bytes | None]


class LabelledStep(Protocol):
    """What the log keeps of a step, such as `thresher.sampling.Step`."""

    @property
    def stage(self) -> str:
        """Why the rows were labelled."""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Positions in the population, shape (k,)."""

    @property
    def answers(self) -> npt.NDArray[Any]:
        """Truth (bool, or int8 with -1 for a failed label) or values (float), shape (k,)."""


def make_log(known: npt.NDArray[np.int8], steps: Iterable[LabelledStep]) -> pa.Table:
    """Return the log of a query.

    Parameters
    ----------
    known : ndarray of int8, shape (n_rows,)
        What was known before the first step: 1 positive, 0 negative, -1 unknown.
    steps : iterable of LabelledStep
        Every label used since, in order.

    Returns
    -------
    pyarrow.Table
        Of `LOG_SCHEMA`: the known rows as step 0, then the steps from 1 on.

    Examples
    --------
    >>> from thresher.sampling import Step
    >>> step = Step("sample", np.array([4, 0]), np.array([True, False]))
    >>> make_log(np.array([-1, 1, -1, -1, -1], dtype=np.int8), [step]).to_pylist()[1]
    {'step': 1, 'stage': 'sample', 'row': 4, 'truth': True, 'value': None}
    """
    facts = np.flatnonzero(known >= 0)
    parts = [_part(0, KNOWN, facts, known[facts])] if len(facts) else []
    for number, step in enumerate(steps, 1):
        parts.append(_part(number, step.stage, step.rows, step.answers))
    return pa.concat_tables(parts).combine_chunks() if parts else LOG_SCHEMA.empty_table()


def _part(
    step: int, stage: str, rows: npt.NDArray[np.int64], answers: npt.NDArray[Any]
) -> pa.Table:
    """Return the rows of one step."""
    count = len(rows)
    truth, value = pa.nulls(count, pa.bool_()), pa.nulls(count, pa.float64())
    if answers.dtype.kind == "f":
        value = pa.array(answers, pa.float64(), from_pandas=True)
    else:
        truth = pa.array(answers > 0, mask=answers.astype(np.int8) < 0)
    columns = [
        pa.array(np.full(count, step, dtype=np.int32)),
        pa.repeat(pa.scalar(stage, pa.string()), count),
        pa.array(np.asarray(rows, dtype=np.int64)),
        truth,
        value,
    ]
    return pa.Table.from_arrays(columns, schema=LOG_SCHEMA)


def _truth(log: pa.Table) -> npt.NDArray[np.int8]:
    """Return truth as 1, 0, or -1 where it is null."""
    column = log.column("truth").cast(pa.int8()).fill_null(-1)
    return np.asarray(column.to_numpy(), dtype=np.int8)


def _value(log: pa.Table) -> npt.NDArray[np.float64]:
    """Return values, the canonical NaN where they are null."""
    value = np.array(log.column("value").fill_null(np.nan).to_numpy(), dtype=np.float64)
    value[np.isnan(value)] = np.nan
    return value


def log_sha256(log: pa.Table) -> str:
    """Return the hash that a certificate names its log by, in hex.

    Parameters
    ----------
    log : pyarrow.Table
        Of `LOG_SCHEMA`.

    Notes
    -----
    SHA-256 over the line ``thresher label log 1`` and then the columns one after the other: steps
    as little-endian int32, stages as UTF-8 lines, rows as little-endian int64, truth as one byte
    (0, 1, or 255 for null), values as little-endian float64 (the NaN 0x7ff8000000000000 for null).
    """
    digest = hashlib.sha256(_HEAD)
    digest.update(log.column("step").to_numpy().astype("<i4").tobytes())
    digest.update("".join(f"{stage}\n" for stage in log.column("stage").to_pylist()).encode())
    digest.update(log.column("row").to_numpy().astype("<i8").tobytes())
    digest.update(_truth(log).tobytes())
    digest.update(_value(log).astype("<f8").tobytes())
    return digest.hexdigest()


def pack_log(log: pa.Table) -> list[Packed]:
    """Return the log as a few compressed records, one for each step.

    Returns
    -------
    list of (step, stage, rows, truth, value)
        ``rows`` int64, ``truth`` int8 with -1 for null, ``value`` float64 with NaN for null, all
        little-endian and compressed by zlib; None where the whole step has no truth or no value.

    Raises
    ------
    ValueError
        If the rows of a step do not stand together or have more than one stage.
    """
    steps = log.column("step").to_numpy()
    if not len(steps):
        return []
    stages = log.column("stage").combine_chunks().dictionary_encode()
    codes = stages.indices.to_numpy()
    starts = np.append(0, np.flatnonzero((np.diff(steps) != 0) | (np.diff(codes) != 0)) + 1)
    if len(np.unique(steps)) != len(starts):
        raise ValueError("every step of a label log must be one stage and stand together")
    rows, truth, value = log.column("row").to_numpy(), _truth(log), _value(log)
    packed: list[Packed] = []
    for start, end in zip(starts, np.append(starts[1:], len(steps)), strict=True):
        one, two = truth[start:end], value[start:end]
        packed.append(
            (
                int(steps[start]),
                stages.dictionary[int(codes[start])].as_py(),
                zlib.compress(rows[start:end].astype("<i8").tobytes(), 1),
                zlib.compress(one.tobytes(), 1) if (one >= 0).any() else None,
                zlib.compress(two.astype("<f8").tobytes(), 1) if not np.isnan(two).all() else None,
            )
        )
    return packed


def unpack_log(packed: Sequence[Packed]) -> pa.Table:
    """Return the log that `pack_log` packed."""
    parts = []
    for step, stage, rows, truth, value in packed:
        place = np.frombuffer(zlib.decompress(rows), dtype="<i8").astype(np.int64)
        bits = np.full(len(place), -1, dtype=np.int8)
        numbers = np.full(len(place), np.nan)
        if truth is not None:
            bits = np.frombuffer(zlib.decompress(truth), dtype=np.int8)
        if value is not None:
            numbers = np.frombuffer(zlib.decompress(value), dtype="<f8").astype(np.float64)
        part = _part(step, stage, place, bits)
        parts.append(part.set_column(4, LOG_SCHEMA.field(4), pa.array(numbers, from_pandas=True)))
    return pa.concat_tables(parts).combine_chunks() if parts else LOG_SCHEMA.empty_table()
