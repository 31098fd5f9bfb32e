"""Checks of what a model says: one usable answer a row, of the declared type."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import DataError, NotSupportedError

__all__ = ["arrow_type", "checked_answers", "checked_scores", "describe_row", "is_text"]


@dataclass(frozen=True, slots=True)
class _Family:
    """What answers of one family of types may look like."""

    expected: str
    types: tuple[type, ...]
    kinds: str  # numpy dtype kinds
    fits: Callable[[pa.DataType], bool]


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or "view" in str(kind))


_BOOLEAN = _Family("True or False", (bool, np.bool_), "b", pa.types.is_boolean)
_INTEGER = _Family("a whole number", (int, np.integer), "iu", pa.types.is_integer)
_FLOAT = _Family(
    "a number",
    (int, float, np.integer, np.floating),
    "fiu",
    lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
)
_TEXT = _Family("a string", (str,), "U", is_text)

_TYPES: dict[str, tuple[pa.DataType, _Family]] = {
    **dict.fromkeys(("BOOLEAN", "BOOL", "LOGICAL"), (pa.bool_(), _BOOLEAN)),
    **dict.fromkeys(("TINYINT", "INT1"), (pa.int8(), _INTEGER)),
    **dict.fromkeys(("SMALLINT", "INT2", "SHORT"), (pa.int16(), _INTEGER)),
    **dict.fromkeys(("INTEGER", "INT", "INT4", "SIGNED"), (pa.int32(), _INTEGER)),
    **dict.fromkeys(("BIGINT", "INT8", "LONG"), (pa.int64(), _INTEGER)),
    **dict.fromkeys(("FLOAT", "FLOAT4", "REAL"), (pa.float32(), _FLOAT)),
    **dict.fromkeys(("DOUBLE", "FLOAT8", "DOUBLE PRECISION"), (pa.float64(), _FLOAT)),
    **dict.fromkeys(("VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR"), (pa.string(), _TEXT)),
}
_SUPPORTED = "BOOLEAN, TINYINT, SMALLINT, INTEGER, BIGINT, FLOAT, DOUBLE or VARCHAR"


def _lookup(declared: str) -> tuple[pa.DataType, _Family]:
    name = " ".join(re.sub(r"\(.*\)", "", declared).upper().split())
    if name not in _TYPES:
        raise NotSupportedError(
            f"An oracle cannot return {declared}: declare RETURNS {_SUPPORTED}."
        )
    return _TYPES[name]


def arrow_type(declared: str) -> pa.DataType:
    """Return the Arrow type of a declared return type (DuckDB SQL text, aliases included).

    Raises
    ------
    NotSupportedError
        If an oracle cannot return this type.
    """
    return _lookup(declared)[0]


def _short(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def describe_row(batch: pa.Table, row: int) -> str:
    """Show the model inputs of one row, shortened: ``text = 'A fine film', year = 1999``."""
    return ", ".join(f"{name} = {_short(batch[name][row].as_py())}" for name in batch.column_names)


def _refuse(who: str, batch: pa.Table, row: int, said: str, wanted: str) -> DataError:
    place = f"row {row} of the batch ({describe_row(batch, row)})"
    return DataError(f"{who} answered {said} for {place}; expected {wanted}.")


def _first(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.argmax(mask))


def _count(who: str, n_answers: int, n_rows: int) -> None:
    if n_answers != n_rows:
        raise DataError(
            f"{who} gave {n_answers:,} answers for {n_rows:,} rows; it must give one a row,"
            " in the order of the input."
        )


def _from_list(
    values: Iterable[object], family: _Family, kind: pa.DataType, refuse: Callable[..., DataError]
) -> pa.Array:
    checked = list(values)
    for row, value in enumerate(checked):
        wrong = not isinstance(value, family.types)
        if wrong or (isinstance(value, bool) and family is not _BOOLEAN):
            raise refuse(row, f"{_short(value)} ({type(value).__name__})")
        try:
            pa.scalar(value, kind)
        except (OverflowError, pa.ArrowInvalid):
            raise refuse(row, _short(value)) from None
    return pa.array(checked, kind)


def checked_answers(values: object, batch: pa.Table, returns: str, who: str) -> pa.Array:
    """Return answers as an Arrow array of the declared type, one a row and none NULL or NaN.

    Parameters
    ----------
    values : sequence, array-like or pyarrow array
        What the model said.
    batch : pyarrow.Table
        The inputs, for the number of rows and for messages.
    returns : str
        Declared return type in DuckDB SQL text. BOOLEAN takes only booleans (never 0, 1 or
        ``'yes'``), whole-number types no booleans and no fractions, FLOAT and DOUBLE any number.
    who : str
        Name for messages, such as ``oracle is_positive``.

    Raises
    ------
    DataError
        If there is not one answer a row, or one of them is NULL, NaN or of another type; the
        message names the row.
    """
    kind, family = _lookup(returns)
    wanted = f"{family.expected} (RETURNS {returns})"

    def refuse(row: int, said: str) -> DataError:
        return _refuse(who, batch, row, said, wanted)

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array) and hasattr(values, "__array__"):
        values = np.asarray(values)
        _count(who, values.shape[0] if values.ndim == 1 else values.size, batch.num_rows)
        if values.dtype.kind in family.kinds:
            values = pa.array(values)
    if isinstance(values, pa.Array):
        _count(who, len(values), batch.num_rows)
        array = _from_arrow(values, family, kind, refuse)
    elif isinstance(values, Iterable) and not isinstance(values, (str, bytes, dict)):
        answers = list(values)
        _count(who, len(answers), batch.num_rows)
        array = _from_list(answers, family, kind, refuse)
    else:
        raise DataError(
            f"{who} returned {_short(values)} ({type(values).__name__}) for a batch of"
            f" {batch.num_rows:,} rows; it must return a list or an array with one answer a row."
        )
    if family is _FLOAT and (nan := np.isnan(array.to_numpy(zero_copy_only=False))).any():
        raise refuse(_first(nan), "nan")
    return array


def _from_arrow(
    array: pa.Array, family: _Family, kind: pa.DataType, refuse: Callable[..., DataError]
) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count:
        raise refuse(_first(array.is_null().to_numpy(zero_copy_only=False)), "NULL")
    if len(array) and not family.fits(array.type):
        raise refuse(0, f"{_short(array[0].as_py())} ({array.type})")
    try:
        return array.cast(kind)
    except pa.ArrowInvalid:
        return _from_list(array.to_pylist(), family, kind, refuse)


def checked_scores(values: object, batch: pa.Table, who: str) -> npt.NDArray[np.float64]:
    """Return proxy scores as float64, shape (n,), all finite.

    Parameters
    ----------
    values : sequence, array-like or pyarrow array
        What the proxy said; numbers or booleans.
    batch : pyarrow.Table
        The inputs, for the number of rows and for messages.
    who : str
        Name for messages, such as ``proxy fast``.

    Raises
    ------
    DataError
        If there is not one score a row, or a score is missing, not finite or not a number; the
        message counts them and names the first.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        values = values.to_pylist()
    try:
        scores = np.asarray(
            values if hasattr(values, "__array__") else list(values),  # type: ignore[call-overload]
        )
        if scores.dtype.kind in "USM":
            raise TypeError(f"{_short(scores.ravel()[0].item())} is not a number")
        scores = scores.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{who} must return a list or an array of numbers, one a row: {error}."
        ) from error
    _count(who, scores.shape[0] if scores.ndim == 1 else scores.size, batch.num_rows)
    scores = scores.reshape(-1)
    bad = ~np.isfinite(scores)
    if bad.any():
        row = _first(bad)
        said = "no score" if math.isnan(scores[row]) else f"a score of {scores[row]}"
        raise DataError(
            f"{who} gave no finite score for {int(bad.sum()):,} of {batch.num_rows:,} rows; the"
            f" first is row {row} of the batch ({describe_row(batch, row)}), which got {said}."
            " Every row needs a finite number; write 0.0 where there is nothing to say."
        )
    return scores
