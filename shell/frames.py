"""Rows in frames: the layout that the extension announces, and its buffers as Arrow arrays.

The extension sends DuckDB's vectors in Arrow's physical layout, so that most columns are wrapped
where they lie. Converted are only what is NULL and booleans (bytes to bits), decimals of less than
16 bytes, intervals (microseconds to nanoseconds), UUIDs and the words of an ENUM (to text).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import NotSupportedError
from thresher.shell.wire import (
    Bytes,
    Frame,
    ProtocolError,
    Reader,
    encode_rows,
    encode_texts,
    kept_rows,
    receive,
    send,
    texts,
)

__all__ = [
    "MAX_ROWS",
    "Column",
    "Frame",
    "Layout",
    "ProtocolError",
    "Reader",
    "decode_rows",
    "decode_type",
    "encode_rows",
    "encode_texts",
    "kept_rows",
    "receive",
    "send",
    "texts",
]

MAX_ROWS = 65_536  # rows of one frame
_MAX_DEPTH = 64  # types within types

_BIGINT, _BOOLEAN, _INTERVAL, _VARCHAR, _BLOB, _DECIMAL, _ENUM, _UUID = 5, 1, 15, 17, 18, 19, 23, 27
_LIST, _STRUCT, _MAP, _ARRAY = 24, 25, 26, 33
_REFUSED = {28: "UNION", 29: "BIT", 30: "TIMETZ", 32: "UHUGEINT", 35: "BIGNUM", 36: "NULL"}
_PLAIN = {  # DuckDB's type id: what Arrow calls the same bytes
    2: pa.int8(),
    3: pa.int16(),
    4: pa.int32(),
    5: pa.int64(),
    6: pa.uint8(),
    7: pa.uint16(),
    8: pa.uint32(),
    9: pa.uint64(),
    10: pa.float32(),
    11: pa.float64(),
    12: pa.timestamp("us"),
    13: pa.date32(),
    14: pa.time64("us"),
    16: pa.decimal128(38, 0),
    20: pa.timestamp("s"),
    21: pa.timestamp("ms"),
    22: pa.timestamp("ns"),
    31: pa.timestamp("us", "UTC"),
}
_CONVERTED = {
    _BOOLEAN: pa.bool_(),
    _INTERVAL: pa.month_day_nano_interval(),
    _UUID: pa.string(),
}
_WIDTHS = {_BOOLEAN: 1, _INTERVAL: 16, _UUID: 16}
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), "S2")
_UUID_PLACES = np.array([at for at in range(36) if at not in (8, 13, 18, 23)])


@dataclass(frozen=True, slots=True)
class Column:
    """The type of a column.

    Attributes
    ----------
    type_id : int
        DuckDB's number of the type.
    arrow : pyarrow.DataType
        What it is decoded to.
    children : tuple of Column
        The fields of a STRUCT, the element of a LIST or ARRAY, key and value of a MAP.
    size : int
        Bytes of the values of a DECIMAL or an ENUM; otherwise 0.
    words : pyarrow.StringArray or None
        Of an ENUM.
    """

    type_id: int
    arrow: pa.DataType
    children: tuple[Column, ...] = ()
    size: int = 0
    words: pa.StringArray | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of the rows that are fed.

    Attributes
    ----------
    names : tuple of str
        Names of the fields.
    columns : tuple of Column
        Their types, in the same order.
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches that `decode_rows` returns."""
        pairs = zip(self.names, self.columns, strict=True)
        return pa.schema([pa.field(name, column.arrow) for name, column in pairs])


def decode_type(reader: Reader) -> Layout:
    r"""Decode the type of the struct that is fed; its first field is the number of a row.

    Raises
    ------
    ProtocolError
        A type is unknown, nested over 64 levels, or cut off.
    NotSupportedError
        A column has a type that cannot be sent.

    Examples
    --------
    >>> layout = decode_type(Reader(b"\x19\2\0\0\0\1\0\0\0n\5\2\0\0\0id\5"))
    >>> layout.schema
    id: int64
    """
    if reader.unsigned(1) != _STRUCT:
        raise NotSupportedError(
            "thresh_feed() takes a STRUCT of the columns that the statement reads"
        )
    names, columns = _fields(reader, 0)
    reader.end()
    if columns[0].type_id != _BIGINT:
        raise ProtocolError("What is fed does not begin with the number of a row.")
    return Layout(names[1:], columns[1:])


def _fields(reader: Reader, depth: int) -> tuple[tuple[str, ...], tuple[Column, ...]]:
    """Read the names and types of a struct's fields."""
    count = reader.unsigned(4)
    if not count or count * 5 > reader.left:
        raise ProtocolError(f"A frame announces {count} fields in {reader.left} bytes.")
    names, columns = [], []
    for _ in range(count):
        names.append(reader.text(reader.unsigned(4)))
        columns.append(_column(reader, names[-1], depth + 1))
    return tuple(names), tuple(columns)


def _column(reader: Reader, name: str, depth: int) -> Column:
    """Read one type, of a column or inside of it."""
    if depth > _MAX_DEPTH:
        raise ProtocolError(f"A type is nested over {_MAX_DEPTH} levels.")
    type_id = reader.unsigned(1)
    if type_id in _PLAIN:
        return Column(type_id, _PLAIN[type_id])
    if type_id in _CONVERTED:
        return Column(type_id, _CONVERTED[type_id])
    if type_id in (_VARCHAR, _BLOB):
        return Column(type_id, pa.string() if type_id == _VARCHAR else pa.binary())
    if type_id == _DECIMAL:
        return _decimal(reader.unsigned(1), reader.unsigned(1))
    if type_id == _ENUM:
        return _enum(reader)
    if type_id in (_LIST, _ARRAY, _MAP):
        return _list(type_id, _column(reader, name, depth + 1))
    if type_id == _STRUCT:
        names, columns = _fields(reader, depth)
        fields = [pa.field(*pair) for pair in zip(names, (c.arrow for c in columns), strict=True)]
        return Column(type_id, pa.struct(fields), columns)
    kind = _REFUSED.get(type_id, f"that has DuckDB's number {type_id}")
    raise NotSupportedError(f"column {name} has a type that cannot be sent, {kind}: cast it")


def _enum(reader: Reader) -> Column:
    """Read the words of an ENUM, whose values are their numbers."""
    count = reader.unsigned(4)
    if count * 4 > reader.left:
        raise ProtocolError(f"A frame announces {count} words in {reader.left} bytes.")
    words = pa.array([reader.text(reader.unsigned(4)) for _ in range(count)], pa.string())
    size = 1 if count <= 0xFF else 2 if count <= 0xFFFF else 4
    return Column(_ENUM, pa.string(), size=size, words=words)


def _list(type_id: int, child: Column) -> Column:
    """Return the type of a list; an ARRAY is sent as one, a MAP as one of its entries."""
    if type_id != _MAP:
        return Column(_LIST, pa.list_(child.arrow), (child,))
    if child.type_id != _STRUCT or len(child.children) != 2:
        raise ProtocolError("A MAP without keys and values is none.")
    key, value = child.children
    return Column(_MAP, pa.map_(key.arrow, value.arrow), child.children)


def _decimal(width: int, scale: int) -> Column:
    if not (1 <= width <= 38 and scale <= width):
        raise ProtocolError(f"There is no DECIMAL({width}, {scale}).")
    size = 2 if width <= 4 else 4 if width <= 9 else 8 if width <= 18 else 16
    return Column(_DECIMAL, pa.decimal128(width, scale), size=size)


def decode_rows(layout: Layout, payload: Bytes) -> tuple[npt.NDArray[np.int64], pa.RecordBatch]:
    """Decode rows.

    Parameters
    ----------
    layout : Layout
        What the feed announced.
    payload : bytes-like
        The payload; the arrays keep it and share its memory.

    Returns
    -------
    numbers : ndarray of int64, shape (rows,)
        The number that each row was fed with.
    batch : pyarrow.RecordBatch
        The rows, fully validated.

    Raises
    ------
    ProtocolError
        A length, an offset, a text or a value does not fit its type.
    """
    reader = Reader(payload)
    rows, zero = reader.unsigned(4), reader.unsigned(4)
    if rows > MAX_ROWS or zero:
        raise ProtocolError(f"No frame of rows begins with the numbers {rows} and {zero}.")
    if _validity(reader, rows) is not None:
        raise ProtocolError("What is fed is NULL.")
    if _validity(reader, rows) is not None:
        raise ProtocolError("A row that is fed has no number.")
    numbers = np.frombuffer(_buffer(reader, rows * 8), np.int64)
    arrays = [_array(column, rows, reader) for column in layout.columns]
    reader.end()
    batch = pa.RecordBatch.from_arrays(arrays, schema=layout.schema)
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ProtocolError(f"What is fed cannot be read: {error}") from error
    return numbers, batch


def _buffer(reader: Reader, size: int | None = None) -> memoryview:
    """Take the next buffer, of the size that it must have where that is known."""
    announced = reader.unsigned(8)
    if size is not None and announced != size:
        raise ProtocolError(f"A buffer has {announced} bytes instead of {size}.")
    data = reader.take(announced)
    reader.take(-announced % 8)
    return data


def _validity(reader: Reader, rows: int) -> pa.Buffer | None:
    """Take a byte for each row that tells whether it is there; None: all are."""
    there = np.frombuffer(_buffer(reader, rows), np.bool_)
    return None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))


def _array(column: Column, rows: int, reader: Reader) -> pa.Array:
    """Take the buffers of one column."""
    validity = _validity(reader, rows)
    if column.type_id in (_VARCHAR, _BLOB):
        offsets = _offsets(reader, rows)
        data = pa.py_buffer(_buffer(reader, int(offsets[-1])))
        return pa.Array.from_buffers(column.arrow, rows, [validity, pa.py_buffer(offsets), data])
    if not column.children:
        return _values(column, rows, validity, reader)
    if column.type_id == _STRUCT:
        children = [_array(child, rows, reader) for child in column.children]
        return pa.Array.from_buffers(column.arrow, rows, [validity], children=children)
    offsets = _offsets(reader, rows)
    element = column.children[0]
    if column.type_id == _MAP:
        element = Column(_STRUCT, pa.struct(list(_entries(column.arrow))), column.children)
    children = [_array(element, int(offsets[-1]), reader)]
    if column.type_id == _MAP and (children[0].null_count or children[0].field(0).null_count):
        raise ProtocolError("A MAP in a frame has an entry or a key that is NULL.")  # Arrow aborts
    buffers = [validity, pa.py_buffer(offsets)]
    return pa.Array.from_buffers(column.arrow, rows, buffers, children=children)


def _entries(arrow: pa.MapType) -> tuple[pa.Field, pa.Field]:
    """Return the fields of a map's entries; a key is never NULL."""
    return arrow.key_field, arrow.item_field


def _offsets(reader: Reader, rows: int) -> npt.NDArray[np.int32]:
    """Take where each text or list ends, and put where the first one begins before it."""
    offsets = np.zeros(rows + 1, np.int32)
    offsets[1:] = np.frombuffer(_buffer(reader, rows * 4), np.int32)
    if (offsets[1:] < offsets[:-1]).any():
        raise ProtocolError("Offsets in a frame do not rise from 0.")
    return offsets


def _values(column: Column, rows: int, validity: pa.Buffer | None, reader: Reader) -> pa.Array:
    """Take values of fixed width, and convert those that Arrow lays out otherwise."""
    width = column.size or _WIDTHS.get(column.type_id) or column.arrow.bit_width // 8
    data = _buffer(reader, rows * width)
    if column.type_id == _UUID:
        return _uuids(data, rows, validity)
    if column.words is not None:
        return _chosen(column.words, np.frombuffer(data, f"<u{width}"), validity)
    if column.type_id == _BOOLEAN:
        data = np.packbits(np.frombuffer(data, np.uint8), bitorder="little").data
    elif column.type_id == _INTERVAL:
        data = _intervals(data, rows, validity).data
    elif column.type_id == _DECIMAL and width < 16:
        data = _widened(np.frombuffer(data, f"<i{width}")).data
    return pa.Array.from_buffers(column.arrow, rows, [validity, pa.py_buffer(data)])


def _chosen(
    words: pa.StringArray, numbers: npt.NDArray[np.unsignedinteger], validity: pa.Buffer | None
) -> pa.Array:
    """Return the words of these numbers."""
    indices = pa.Array.from_buffers(
        pa.from_numpy_dtype(numbers.dtype), len(numbers), [validity, pa.py_buffer(numbers)]
    )
    try:
        return words.take(indices)
    except pa.ArrowIndexError as error:
        raise ProtocolError(f"What is fed cannot be read: {error}") from error


def _widened(values: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.int64]:
    """Return integers as pairs of the low and the high eight bytes."""
    wide = np.empty((len(values), 2), np.int64)
    wide[:, 0] = values
    wide[:, 1] = wide[:, 0] >> 63
    return wide.reshape(-1)


def _intervals(data: memoryview, rows: int, validity: pa.Buffer | None) -> npt.NDArray[np.int64]:
    """Return intervals with nanoseconds in place of microseconds."""
    pairs = np.frombuffer(data, np.int64).reshape(rows, 2).copy()
    limit = np.iinfo(np.int64).max // 1000
    over = (pairs[:, 1] > limit) | (pairs[:, 1] < -limit)
    if validity is not None:
        there = np.unpackbits(np.frombuffer(validity, np.uint8), count=rows, bitorder="little")
        over &= there.astype(np.bool_)
    if over.any():
        raise ProtocolError(
            "An INTERVAL of over 292 years in microseconds cannot be read; cast it."
        )
    pairs[:, 1] *= 1000
    return pairs.reshape(-1)


def _uuids(data: memoryview, rows: int, validity: pa.Buffer | None) -> pa.Array:
    """Return UUIDs as text: DuckDB keeps them little-endian, the highest bit turned round."""
    digits = np.frombuffer(data, np.uint8).reshape(rows, 16)[:, ::-1].copy()
    digits[:, 0] ^= 0x80
    text = np.full((rows, 36), ord("-"), np.uint8)
    text[:, _UUID_PLACES] = _HEX[digits].view(np.uint8).reshape(rows, 32)
    offsets = np.arange(0, 36 * rows + 1, 36, dtype=np.int32)
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string(), rows, buffers)
