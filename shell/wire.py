"""Frames on the socket between the DuckDB extension and the worker, and texts inside them.

A frame is ``u32 type`` (the code of one character), ``u32 zero``, ``u64 length`` and as many bytes,
all little-endian. Whatever is read is checked against its limits before it is used: a peer that
does not keep to the protocol gets `ProtocolError`, never a crash.
"""

from __future__ import annotations

import json
import socket
import struct
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.errors import OperationalError
from thresher.sql.feeding import PIECE

__all__ = [
    "MAX_PAYLOAD",
    "NO_TEXT",
    "Bytes",
    "Frame",
    "ProtocolError",
    "Reader",
    "encode_rows",
    "encode_texts",
    "kept_rows",
    "receive",
    "send",
    "texts",
]

MAX_PAYLOAD = 1 << 30  # bytes of one frame
NO_TEXT = 0xFFFFFFFF  # the length of a NULL
_HEADER = struct.Struct("<IIQ")
_PARTS = 64  # buffers handed to the kernel at once; POSIX promises 16, Linux and macOS take 1024

Bytes = bytes | bytearray | memoryview


class ProtocolError(OperationalError):
    """The other side of the socket does not keep to the protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes
    ----------
    type : str
        One ASCII character.
    payload : memoryview
        Its bytes, 8-byte aligned in memory; they are the receiver's to keep.
    """

    type: str
    payload: memoryview


class Reader:
    """A cursor over a payload that never passes its end.

    Parameters
    ----------
    payload : bytes-like
        What is read.
    """

    __slots__ = ("_offset", "_payload")

    def __init__(self, payload: Bytes) -> None:
        self._payload, self._offset = memoryview(payload), 0

    @property
    def left(self) -> int:
        """Bytes not yet taken."""
        return len(self._payload) - self._offset

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes, without a copy.

        Raises
        ------
        ProtocolError
            Where fewer are left.
        """
        if size > self.left:
            raise ProtocolError(f"A frame ends early: {size} bytes expected, {self.left} left.")
        start, self._offset = self._offset, self._offset + size
        return self._payload[start : self._offset]

    def unsigned(self, size: int) -> int:
        """Return the next `size` bytes as an unsigned integer."""
        return int.from_bytes(self.take(size), "little")

    def text(self, size: int) -> str:
        """Return the next `size` bytes as UTF-8 text."""
        try:
            return str(self.take(size), "utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError(f"A text in a frame is no UTF-8: {error}") from error

    def end(self) -> None:
        """Check that nothing is left."""
        if self.left:
            raise ProtocolError(f"A frame is too long: {self.left} bytes after its end.")


def receive(sock: socket.socket) -> Frame:
    """Read one frame from a blocking socket.

    Parameters
    ----------
    sock : socket.socket
        A connected stream socket.

    Returns
    -------
    Frame
        Type and payload.

    Raises
    ------
    EOFError
        The other side has closed.
    ProtocolError
        The header is no header, or announces more than `MAX_PAYLOAD` bytes.

    Examples
    --------
    >>> import socket
    >>> ours, theirs = socket.socketpair()
    >>> with ours, theirs:
    ...     send(ours, "P", encode_texts(["SELECT 1", None]))
    ...     frame = receive(theirs)
    >>> frame.type, texts(frame.payload)
    ('P', ['SELECT 1', None])
    """
    code, zero, size = _HEADER.unpack(_read(sock, _HEADER.size))
    if not 32 < code < 127 or zero:
        raise ProtocolError(f"No frame begins with the numbers {code} and {zero}.")
    if size > MAX_PAYLOAD:
        raise ProtocolError(f"A frame of {size} bytes is over the limit of {MAX_PAYLOAD}.")
    return Frame(chr(code), _read(sock, size))


def _read(sock: socket.socket, size: int) -> memoryview:
    """Read exactly so many bytes; numpy's memory is neither cleared nor touched before."""
    view = np.empty(size, np.uint8).data
    done = 0
    while done < size:
        got = sock.recv_into(view[done:], size - done, socket.MSG_WAITALL)
        if not got:
            raise EOFError("The other side has closed the connection.")
        done += got
    return view


def send(sock: socket.socket, code: str, *buffers: Bytes) -> None:
    """Write one frame to a blocking socket.

    Parameters
    ----------
    sock : socket.socket
        A connected stream socket.
    code : str
        The type, one ASCII character.
    *buffers : bytes-like
        The payload in parts; none is copied.

    Raises
    ------
    ValueError
        The payload is longer than `MAX_PAYLOAD`.
    OSError
        As the socket says, for instance `BrokenPipeError`.
    """
    parts = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
    size = sum(len(part) for part in parts)
    if size > MAX_PAYLOAD:
        raise ValueError(f"A frame of {size} bytes is over the limit of {MAX_PAYLOAD}.")
    parts.insert(0, memoryview(_HEADER.pack(ord(code), 0, size)))
    while parts:
        sent = sock.sendmsg(parts[:_PARTS])
        while parts and sent >= len(parts[0]):
            sent -= len(parts.pop(0))
        if sent:
            parts[0] = parts[0][sent:]


def texts(payload: Bytes) -> list[str | None]:
    """Decode texts: ``u32 count``, then ``i32 length`` (-1: NULL) and UTF-8 bytes for each.

    Raises
    ------
    ProtocolError
        A length does not fit, bytes are left over, or a text is no UTF-8.

    Examples
    --------
    >>> texts(encode_texts(["é", None, ""]))
    ['é', None, '']
    """
    reader = Reader(payload)
    found = _texts(reader)
    reader.end()
    return found


def _texts(reader: Reader) -> list[str | None]:
    count = reader.unsigned(4)
    if count * 4 > reader.left:
        raise ProtocolError(f"A frame announces {count} texts in {reader.left} bytes.")
    found: list[str | None] = []
    for _ in range(count):
        size = reader.unsigned(4)
        found.append(None if size == NO_TEXT else reader.text(size))
    return found


def encode_texts(values: Sequence[str | None]) -> bytes:
    """Encode texts as `texts` reads them."""
    parts = [struct.pack("<I", len(values))]
    for value in values:
        data = b"" if value is None else value.encode()
        parts += (struct.pack("<i", -1 if value is None else len(data)), data)
    return b"".join(parts)


def encode_rows(rows: Sequence[Sequence[str | None]]) -> bytes:
    r"""Encode rows of texts as JSON, which the user's statement reads.

    Examples
    --------
    >>> encode_rows([["a"], [None, "é"]])
    b'[["a"],[null,"\xc3\xa9"]]'
    """
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()


def kept_rows(mask: npt.NDArray[np.bool_]) -> list[list[str]]:
    """Return which rows are kept as rows of texts: the number of a piece, and its bits in base64.

    Parameters
    ----------
    mask : ndarray of bool, shape (n,)
        Entry n says whether row n is kept.

    Notes
    -----
    A piece has `PIECE` rows, the first one in the highest bit of the first byte, as DuckDB's BIT
    has them. Pieces of which no row is kept are left out.

    Examples
    --------
    >>> [(number, bits[:4]) for number, bits in kept_rows(np.array([True, False, True]))]
    [('0', 'oAAA')]
    """
    pieces = np.zeros((-(-len(mask) // PIECE), PIECE), np.bool_)
    pieces.reshape(-1)[: len(mask)] = mask
    bits = np.packbits(pieces, axis=1)
    return [[str(i), b64encode(bits[i]).decode()] for i in np.flatnonzero(pieces.any(axis=1))]
