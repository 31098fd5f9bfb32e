"""Rows as bytes: what fits is decoded without a copy, all else is refused, nothing crashes."""

from __future__ import annotations

import random
import struct
import time

import numpy as np
import pyarrow as pa
import pytest

from thresher.errors import NotSupportedError
from thresher.shell import frames

STRUCT, LIST, MAP, ARRAY = 25, 24, 26, 33


def field(name: str, kind: bytes) -> bytes:
    return struct.pack("<I", len(name.encode())) + name.encode() + kind


def record(*fields: bytes) -> bytes:
    return bytes([STRUCT]) + struct.pack("<I", len(fields)) + b"".join(fields)


def fed(*fields: bytes) -> bytes:
    return record(field("n", bytes([5])), *fields)


def pairs(*fields: bytes) -> bytes:
    return bytes([MAP]) + record(*fields)


def layout_of(kind: bytes) -> frames.Layout:
    return frames.decode_type(frames.Reader(kind))


def buffer(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data + bytes(-len(data) % 8)


def ints(code: str, *values: int) -> bytes:
    return buffer(struct.pack(f"<{len(values)}{code}", *values))


def there(*flags: int) -> bytes:
    """Which values are there: a byte each."""
    return buffer(bytes(flags))


def rows(count: int, *buffers: bytes) -> bytes:
    head = struct.pack("<II", count, 0) + there(*[1] * count) * 2
    return head + ints("q", *range(count)) + b"".join(buffers)


NONE, ONE, BOTH = there(), there(1), there(1, 1)
ENUM = bytes([23]) + struct.pack("<I", 2) + b"".join(
    struct.pack("<I", len(word)) + word for word in (b"low", b"high")
)  # fmt: skip
TYPE = fed(
    field("id", bytes([5])),
    field("t", bytes([17])),
    field("l", bytes([LIST, 19, 9, 2])),
    field("m", pairs(field("key", bytes([17])), field("value", bytes([1])))),
    field("a", bytes([ARRAY, 27])),
    field("s", record(field("x y", bytes([15])), field("é", bytes([13])))),
    field("e", ENUM),
)
ROWS = rows(
    2,
    BOTH + ints("q", -1, 2**62),
    there(0, 1) + ints("i", 0, 5) + buffer(b"hello"),
    BOTH + ints("i", 2, 2) + there(1, 0) + ints("i", -150, 7),
    BOTH + ints("i", 1, 1) + ONE + ONE + ints("i", 1) + buffer(b"k") + ONE + buffer(b"\1"),
    BOTH + ints("i", 2, 4) + there(1, 1, 1, 1)
    + ints("Q", 1, 1 << 63, 2, 1 << 63, 3, 1 << 63, 4, 1 << 63),
    there(1, 0)
    + BOTH
    + buffer(struct.pack("<iiqiiq", 1, 2, 3, 0, 0, 0))
    + BOTH
    + ints("i", 0, 1),
    there(1, 0) + buffer(b"\1\0"),
)  # fmt: skip


def test_a_frame_of_many_types() -> None:
    layout = layout_of(TYPE)
    numbers, batch = frames.decode_rows(layout, ROWS)
    assert numbers.tolist() == [0, 1]
    assert batch.schema == layout.schema
    first, second = batch.to_pylist()
    assert (first["id"], first["t"]) == (-1, None)
    assert [str(value) for value in first["l"]] == ["-1.50", "None"]
    assert first["m"] == [("k", True)]
    assert first["a"] == [f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)]
    assert first["s"]["x y"] == pa.MonthDayNano([1, 2, 3000])
    assert (second["id"], second["t"], second["l"], second["m"]) == (2**62, "hello", [], [])
    assert second["s"] is None
    assert (first["e"], second["e"]) == ("high", None)


def test_plain_columns_share_the_payload() -> None:
    layout = layout_of(fed(field("id", bytes([5])), field("t", bytes([17]))))
    values, all_there = [3, 1, 4, 1, 5], there(1, 1, 1, 1, 1)
    texts = ints("i", *range(5, 30, 5)) + buffer(b"x" * 25)
    payload = rows(5, all_there, ints("q", *values), all_there, texts)
    data = np.frombuffer(payload, np.uint8).copy()
    low, high = data.ctypes.data, data.ctypes.data + len(data)
    numbers, batch = frames.decode_rows(layout, data.data)
    assert low <= numbers.ctypes.data < high
    for each in (batch["id"].buffers()[1], batch["t"].buffers()[2]):
        assert low <= each.address < high
    assert batch["id"].null_count == 0
    at = payload.index(ints("q", *values)) + 8
    data[at : at + 8] = 0
    assert batch["id"].to_pylist() == [0, 1, 4, 1, 5]


def test_no_rows() -> None:
    layout = layout_of(fed(field("t", bytes([17]))))
    numbers, batch = frames.decode_rows(layout, rows(0, NONE, NONE, NONE))
    assert (len(numbers), batch.num_rows) == (0, 0)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "1 bytes expected, 0 left"),
        (record(), "announces 0 fields"),
        (record(field("a", bytes([17]))), "does not begin with the number of a row"),
        (record(field("a", bytes([5]))) + b"x", "1 bytes after its end"),
        (record(field("a", bytes([19, 0, 0]))), r"no DECIMAL\(0, 0\)"),
        (record(field("a", bytes([19, 39, 0]))), r"no DECIMAL\(39, 0\)"),
        (record(field("a", bytes([19, 4, 5]))), r"no DECIMAL\(4, 5\)"),
        (record(field("a", bytes([LIST]) * 70 + bytes([5]))), "nested over 64 levels"),
        (record(field("a", pairs(field("k", bytes([5]))))), "A MAP without keys and values"),
        (record(field("a", bytes([MAP, 5]))), "A MAP without keys and values"),
        (bytes([STRUCT]) + b"\xff" * 4, "announces 4294967295 fields"),
        (record(field("a", bytes([23]) + b"\xff" * 4)), "announces 4294967295 words in 0 bytes"),
        (record(struct.pack("<I", 9) + b"a"), "9 bytes expected, 1 left"),
    ],
)
def test_types_that_are_none(payload: bytes, message: str) -> None:
    with pytest.raises(frames.ProtocolError, match=message):
        layout_of(payload)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (bytes([5]), "takes a STRUCT of the columns"),
        (fed(field("odd", bytes([99]))), "column odd has a type .*, that has DuckDB's number 99"),
        (
            fed(field("odd", bytes([LIST, 29]))),
            "column odd has a type that cannot be sent, BIT: ca",
        ),
    ],
)
def test_types_that_cannot_be_sent(payload: bytes, message: str) -> None:
    with pytest.raises(NotSupportedError, match=message):
        layout_of(payload)


INTEGER, TEXT = bytes([5]), bytes([17])
PAIRS = pairs(field("key", INTEGER), field("value", INTEGER))
ODD = ONE + ints("q", 1)


@pytest.mark.parametrize(
    ("kind", "payload", "message"),
    [
        (INTEGER, struct.pack("<II", 65_537, 0), "numbers 65537 and 0"),
        (INTEGER, struct.pack("<II", 0, 9), "numbers 0 and 9"),
        (INTEGER, struct.pack("<II", 1, 0) + ints("q"), "0 bytes instead of 1"),
        (INTEGER, struct.pack("<II", 1, 0) + there(0), "What is fed is NULL"),
        (INTEGER, struct.pack("<II", 1, 0) + ONE + there(0), "A row that is fed has no number"),
        (INTEGER, rows(1, ONE, ints("i", 1)), "4 bytes instead of 8"),
        (INTEGER, rows(1, ONE, ints("q", 1))[:-1], "8 bytes expected, 7 left"),
        (INTEGER, rows(1, ONE, struct.pack("<Q", 2**64 - 1)), "bytes instead of 8"),
        (INTEGER, rows(1, ONE, ints("q", 1), b"x"), "1 bytes after its end"),
        (INTEGER, rows(9, ONE, ints("q", *range(9))), "1 bytes instead of 9"),
        (TEXT, rows(2, BOTH, ints("i", 2, 1), buffer(b"a")), "do not rise from 0"),
        (TEXT, rows(1, ONE, ints("i", -1), NONE), "do not rise from 0"),
        (TEXT, rows(1, ONE, ints("i", 3), buffer(b"ab")), "2 bytes instead of 3"),
        (TEXT, rows(1, ONE, ints("i", 1), buffer(b"\xff")), "cannot be read"),
        (ENUM, rows(1, ONE, buffer(b"\2")), "cannot be read"),
        (bytes([14]), rows(1, ONE, ints("q", -1)), "cannot be read"),
        (bytes([16]), rows(1, ONE, ints("Q", 0, 2**63 - 1)), "cannot be read"),
        (bytes([15]), rows(1, ONE, ints("q", 0, 2**62)), "over 292 years"),
        (PAIRS, rows(1, ONE, ints("i", 1), ONE, there(0), ints("q", 1), ODD), "is NULL"),
        (PAIRS, rows(1, ONE, ints("i", 1), there(0), ONE, ints("q", 1), ODD), "is NULL"),
        (bytes([LIST, 5]), rows(1, ONE, ints("i", 2), BOTH, ints("q", 1)), "instead of 16"),
    ],
)
def test_rows_that_are_none(kind: bytes, payload: bytes, message: str) -> None:
    layout = layout_of(fed(field("v", kind)))
    with pytest.raises(frames.ProtocolError, match=message):
        frames.decode_rows(layout, payload)


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Return bytes with some changed, put in, left out or written twice."""
    made = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 5))):
        at = generator.randrange(len(made) + 1)
        what = generator.randrange(5)
        if what == 0:
            made[at : at + 1] = bytes([generator.randrange(256)])
        elif what == 1:
            made[at : at + 8] = struct.pack("<q", generator.choice((-1, 0, 1, 2**31, 2**40)))
        elif what == 2:
            del made[at : at + generator.randrange(20)]
        elif what == 3:
            made[at:at] = made[at : at + generator.randrange(20)]
        else:
            made[at : at + 4] = struct.pack("<I", generator.choice((0, 2, 255, 65_537, 2**32 - 1)))
    return bytes(made)


def fuzz(seconds: float, seed: int) -> tuple[int, int]:
    """Decode mutated types and rows; return how many were refused and how many could be read."""
    generator = random.Random(seed)
    refused = read = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(50):
            kind, data = TYPE, ROWS
            if generator.random() < 0.3:
                kind = mutated(kind, generator)
            if generator.random() < 0.9:
                data = mutated(data, generator)
            try:
                _, batch = frames.decode_rows(layout_of(kind), data)
            except (frames.ProtocolError, NotSupportedError):
                refused += 1
            else:
                batch.take(np.arange(batch.num_rows)[::-1])
                read += 1
    return refused, read


def test_mutated_frames() -> None:
    refused, read = fuzz(2.0, seed=1)
    assert refused > 100
    assert read > 10


@pytest.mark.full
def test_mutated_frames_for_ten_minutes() -> None:
    refused, read = fuzz(600.0, seed=random.SystemRandom().randrange(2**32))
    assert refused > 10_000
    assert read > 1000
