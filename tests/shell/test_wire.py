"""Frames and the texts in them, well formed and not."""

from __future__ import annotations

import json
import socket
import struct
import threading
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.errors import OperationalError
from thresher.run_identity import VERSION
from thresher.shell import wire
from thresher.shell.sessions import Hello
from thresher.shell.worker import PROTOCOL, Worker, _Conversation
from thresher.sql.feeding import PIECE

TEXTS = st.lists(st.none() | st.text(max_size=20), max_size=20)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@given(TEXTS)
def test_texts_round_trip(values: list[str | None]) -> None:
    assert wire.texts(wire.encode_texts(values)) == values


@given(st.lists(TEXTS, max_size=5))
def test_rows_are_json(rows: list[list[str | None]]) -> None:
    assert json.loads(wire.encode_rows(rows)) == rows


@given(st.sets(st.integers(0, 20_000), max_size=70))
def test_bits_come_in_pieces(kept: set[int]) -> None:
    mask = np.zeros(max(kept, default=-1) + 1, np.bool_)
    mask[list(kept)] = True
    found = set()
    for number, bits in wire.kept_rows(mask):
        data = b64decode(bits)
        assert len(data) == PIECE // 8
        found |= {int(number) * PIECE + i for i in range(PIECE) if data[i >> 3] << (i & 7) & 128}
    assert found == kept


@given(st.binary(max_size=60))
def test_any_bytes_are_texts_or_refused(data: bytes) -> None:
    try:
        values = wire.texts(data)
    except wire.ProtocolError:
        return
    assert wire.encode_texts(values) == data


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "4 bytes expected, 0 left"),
        (b"\xff\xff\xff\xff", "announces 4294967295 texts in 0 bytes"),
        (b"\1\0\0\0\5\0\0\0abcd", "5 bytes expected, 4 left"),
        (b"\1\0\0\0\xfe\xff\xff\xff", "4294967294 bytes expected"),
        (b"\1\0\0\0\1\0\0\0\xff", "is no UTF-8"),
        (b"\0\0\0\0x", "1 bytes after its end"),
    ],
)
def test_texts_that_are_none(payload: bytes, message: str) -> None:
    with pytest.raises(wire.ProtocolError, match=message):
        wire.texts(payload)


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_frames_of_any_length(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    data = np.arange(size, dtype=np.uint8)
    parts = [data[start : start + 700].tobytes() for start in range(0, size, 700)]
    thread = threading.Thread(target=wire.send, args=(pair[0], "D", *parts))
    thread.start()
    frame = wire.receive(pair[1])
    thread.join()
    assert frame.type == "D"
    assert bytes(frame.payload) == data.tobytes()
    assert np.frombuffer(frame.payload, np.uint8).ctypes.data % 8 == 0


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (struct.pack("<IIQ", ord("D"), 1, 0), "begins with the numbers 68 and 1"),
        (struct.pack("<IIQ", 7, 0, 0), "begins with the numbers 7 and 0"),
        (struct.pack("<IIQ", ord("D"), 0, wire.MAX_PAYLOAD + 1), "over the limit of 1073741824"),
        (b"\xff" * 16, "begins with the numbers"),
    ],
)
def test_headers_that_are_none(
    pair: tuple[socket.socket, socket.socket], header: bytes, message: str
) -> None:
    pair[0].sendall(header)
    with pytest.raises(wire.ProtocolError, match=message) as caught:
        wire.receive(pair[1])
    assert isinstance(caught.value, OperationalError)


@pytest.mark.parametrize("sent", [b"", b"\1", struct.pack("<IIQ", ord("D"), 0, 5) + b"four"])
def test_a_peer_that_closes(pair: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    pair[0].sendall(sent)
    pair[0].close()
    with pytest.raises(EOFError, match="has closed the connection"):
        wire.receive(pair[1])


def test_a_payload_over_the_limit_is_not_sent(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_PAYLOAD", 10)
    with pytest.raises(ValueError, match="A frame of 11 bytes is over the limit of 10"):
        wire.send(pair[0], "D", b"x" * 6, b"y" * 5)


def _until_it_hangs_up(talk: _Conversation) -> None:
    with pytest.raises(EOFError):
        talk.go_on()


def test_rows_that_nobody_takes_go_with_their_connection(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, theirs = pair
    worker = Worker(str(tmp_path / "unused.sock"))
    talk = _Conversation(worker, theirs)
    talk._session = worker.session(Hello("shell", 0, "", str(tmp_path), [], {}))
    thread = threading.Thread(target=_until_it_hangs_up, args=(talk,))
    thread.start()
    row = b"\x19\2\0\0\0\1\0\0\0n\5\2\0\0\0id\5"  # STRUCT(n BIGINT, id BIGINT)
    for request, payload in (("F", wire.encode_texts(["{}"]) + row), ("W", b"")):
        wire.send(ours, request, payload)
        assert wire.receive(ours).type == "s"
    assert list(worker._feeds) == [1]  # for the thread that goes on
    ours.close()
    thread.join()
    assert not worker._feeds
    talk._session.close()


@pytest.mark.parametrize("started", [True, False])
def test_an_error_that_was_not_foreseen_says_where_the_log_lies(
    pair: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    started: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ours, theirs = pair
    log = tmp_path / "w.sock.log"
    if started:  # as `starting` does: standard error is a file beside the socket
        log.symlink_to("/proc/self/fd/2")
    talk = _Conversation(Worker(tmp_path / "w.sock"), theirs)
    wire.send(ours, "H", wire.encode_texts([PROTOCOL, VERSION, "{}"]))
    _until_it_hangs_up(talk)
    told = wire.receive(ours)
    where = log if started else "the standard error of the worker"
    assert (told.type, bytes(told.payload).decode()) == (
        "r",
        f"thresher: KeyError: 'declared'\nThis was not foreseen: {where} says where it happened.",
    )
    assert "KeyError: 'declared'" in capfd.readouterr().err


def test_who_stops_waiting_stops_nobody_else(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    worker = Worker(tmp_path / "w.sock")
    own = worker.session(Hello("shell", 0, "", str(tmp_path), [], {}))
    begun, asked, told = threading.Event(), threading.Event(), list[str]()
    cancel = own.cancel

    def cancelled(thread: int | None) -> None:
        cancel(thread)
        asked.set()

    def work(name: str) -> bytes:
        with own._using(lambda line: None), own._session.interrupts.handled():
            begun.set()
            asked.wait()
            own._session.interrupts.check()
            told.append(name)
        return b""

    monkeypatch.setattr(own, "cancel", cancelled)
    first = threading.Thread(target=work, args=("first",))
    first.start()
    begun.wait()
    talk = _Conversation(worker, theirs)
    talk._session = own
    ours.close()  # the second client goes while it waits for its turn
    with pytest.raises(EOFError, match="the client has stopped its statement"):
        talk._wait(lambda: work("second"))
    first.join()
    assert told[0] == "first"
    own.close()
