"""Model inputs as features: one text a row, and the other arguments as standardised numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.errors import InterfaceError
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
        Numeric, boolean and temporal arguments with mean 0 and standard deviation 1, NULL as 0;
        of a list of numbers, such as the pixels of an image or a vector, each place is one, and
        the whole list has a length near 1.
    scale : ndarray of float64, shape (n_numbers, 2)
        What was subtracted from each number, and what it was divided by.
    """

    texts: list[str] | None
    numbers: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float64]


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


def _as_numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64] | None:
    """Lists of equally many numbers, one row each: shape (n_rows, length); a NULL row is NaN."""
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        return None
    lengths = pc.unique(pc.drop_null(pc.list_value_length(column)))
    if len(lengths) != 1 or not lengths[0].as_py():
        return None
    values = _as_number(pa.chunked_array([pc.list_flatten(column).combine_chunks()]))
    if values is None:
        return None
    numbers = np.full((len(column), lengths[0].as_py()), np.nan)
    numbers[np.asarray(column.is_valid().to_numpy(), dtype=np.bool_)] = values.reshape(
        -1, numbers.shape[1]
    )
    return numbers


def _scale_of(values: npt.NDArray[np.float64], divisor: float) -> npt.NDArray[np.float64]:
    """Mean and spread of each column of finite values, the latter times a divisor."""
    found = np.tile([0.0, divisor], (values.shape[1], 1))
    for column, numbers in enumerate(values.T):
        finite = numbers[np.isfinite(numbers)]
        if len(finite):
            found[column] = finite.mean(), (finite.std() or 1.0) * divisor
    return found


def _scaled(
    values: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    centre, spread = scale.T
    return np.where(np.isfinite(values), (values - centre) / spread, 0.0).astype(np.float32)


def split_inputs(batch: pa.Table, scale: npt.NDArray[np.float64] | None = None) -> Inputs:
    """Separate a table of model inputs into one text and a few numbers a row.

    Parameters
    ----------
    batch : pyarrow.Table
        One column per model input. Strings are text; numbers, booleans, dates, timestamps and
        lists of equally many numbers are numbers; other types are left out.
    scale : ndarray of float64, shape (n_numbers, 2), optional
        `Inputs.scale` of other rows, by which these are to be scaled.

    Raises
    ------
    InterfaceError
        There are more or fewer numbers a row than `scale` is for.
    """
    texts: list[pa.ChunkedArray] = []
    numbers: list[npt.NDArray[np.float64]] = []
    divisors: list[float] = []
    for column in batch.columns:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if is_text(kind):
            texts.append(_as_text(column))
        elif (values := _as_number(column)) is not None:
            numbers.append(values[:, None])
            divisors.append(1.0)
        elif (lists := _as_numbers(column)) is not None:
            numbers.append(lists)
            divisors.append(float(np.sqrt(lists.shape[1])))
    if scale is None:
        found = [_scale_of(v, by) for v, by in zip(numbers, divisors, strict=True)]
        scale = np.concatenate([np.zeros((0, 2)), *found])
    ends = np.cumsum([values.shape[1] for values in numbers], dtype=np.int64)
    if len(scale) != (ends[-1] if len(ends) else 0):
        raise InterfaceError(
            f"the proxy was trained on {len(scale)} numbers a row, and these rows have "
            f"{ends[-1] if len(ends) else 0}."
        )
    parts = [_scaled(v, s) for v, s in zip(numbers, np.split(scale, ends[:-1]), strict=False)]
    empty = np.zeros((batch.num_rows, 0), dtype=np.float32)
    scaled = np.column_stack(parts) if parts else empty
    if not texts:
        return Inputs(None, scaled, scale)
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "\n")
    return Inputs(joined.to_pylist(), scaled, scale)
