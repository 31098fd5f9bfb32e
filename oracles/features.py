"""Model inputs as features: one text a row, and the other arguments as standardised numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.oracles.answers import is_text

__all__ = ["Inputs", "split_inputs"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Model inputs of a population.

    Parameters
    ----------
    texts : list of str or None
        String arguments of each row joined by a newline, NULL as an empty string; None when no
        argument is a string.
    numbers : ndarray of float32, shape (n_rows, n_numbers)
        Numeric, boolean and temporal arguments with mean 0 and standard deviation 1, NULL as 0.
    """

    texts: list[str] | None
    numbers: npt.NDArray[np.float32]


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(column.cast(pa.string()), "")


def _as_number(column: pa.ChunkedArray) -> npt.NDArray[np.float64] | None:
    if pa.types.is_temporal(column.type):
        width = pa.int32() if column.type.bit_width == 32 else pa.int64()
        column = column.cast(width)
    elif not (
        pa.types.is_boolean(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_decimal(column.type)
    ):
        return None
    values = column.cast(pa.float64()) if not pa.types.is_boolean(column.type) else column
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8()).cast(pa.float64())
    return np.asarray(values.to_numpy(), dtype=np.float64)


def _standardised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values), dtype=np.float32)
    centre, spread = values[finite].mean(), values[finite].std()
    scaled = np.where(finite, values - centre, 0.0) / (spread if spread > 0 else 1.0)
    return scaled.astype(np.float32)


def split_inputs(batch: pa.Table) -> Inputs:
    """Separate a table of model inputs into one text and a few numbers a row.

    Parameters
    ----------
    batch : pyarrow.Table
        One column per model input. Strings are text; numbers, booleans, dates and timestamps are
        numbers; other types are left out.
    """
    texts: list[pa.ChunkedArray] = []
    numbers: list[npt.NDArray[np.float32]] = []
    for column in batch.columns:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if is_text(kind):
            texts.append(_as_text(column))
        elif (values := _as_number(column)) is not None:
            numbers.append(_standardised(values))
    empty = np.zeros((batch.num_rows, 0), dtype=np.float32)
    stacked = np.column_stack(numbers) if numbers else empty
    if not texts:
        return Inputs(None, stacked)
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "\n")
    return Inputs(joined.to_pylist(), stacked)
