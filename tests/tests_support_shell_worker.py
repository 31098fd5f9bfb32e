"""The worker without an engine as a process: of the standard library alone, to start at once.

It takes the statements of tests_support_shell, and looks at nothing of the rows but their numbers.
"""

from __future__ import annotations

import array
import itertools
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from base64 import b64encode

HEADER = struct.Struct("<IIQ")
NUMBERS = itertools.count(time.time_ns())
RUNS: dict[int, dict] = {}


def receive(client: socket.socket) -> tuple[str, bytes]:
    header = client.recv(16, socket.MSG_WAITALL)
    if len(header) < 16:
        raise EOFError
    code, _, size = HEADER.unpack(header)
    parts = []
    while size:
        parts.append(client.recv(min(size, 1 << 20)))
        if not parts[-1]:
            raise EOFError
        size -= len(parts[-1])
    return chr(code), b"".join(parts)


def send(client: socket.socket, code: str, payload: bytes = b"") -> None:
    client.sendall(HEADER.pack(ord(code), 0, len(payload)) + payload)


def first_text(payload: bytes) -> str:
    (size,) = struct.unpack_from("<i", payload, 4)
    return payload[8 : 8 + size].decode()


def perform(client: socket.socket, statement: dict, code: str) -> None:
    """Do what a test wants to happen when this frame comes."""
    if statement.get("die") == code:
        os.kill(os.getpid(), signal.SIGKILL)
    if statement.get("at", "G") == code:
        for line in statement.get("progress", []):
            send(client, "p", f"\r\x1b[K{line}".encode())
            time.sleep(statement.get("pause", 0))
        if "note" in statement:
            send(client, "p", f"\r\x1b[K{statement['note']}\n".encode())
        time.sleep(statement.get("sleep", 0))
        if "fail" in statement:
            raise ValueError(statement["fail"])


def kept(statement: dict, numbers: list[int]) -> bytes:
    step = 2 if statement.get("keep") == "even" else 1
    pieces: dict[int, bytearray] = {}
    for number in numbers:
        if number % step == 0:
            bits = pieces.setdefault(number >> 12, bytearray(512))
            bits[(number & 4095) >> 3] |= 128 >> (number & 7)
    return json.dumps([[str(n), b64encode(bits).decode()] for n, bits in pieces.items()]).encode()


def answer(client: socket.socket, code: str, payload: bytes, run: dict) -> None:
    if code == "P":
        send(client, "s", first_text(payload).encode())
    elif code == "F":
        run |= {"statement": json.loads(first_text(payload)), "numbers": [], "id": next(NUMBERS)}
        RUNS[run["id"]] = run
        perform(client, run["statement"], code)
        send(client, "s")
    elif code == "D":
        perform(client, run["statement"], code)
        rows = int.from_bytes(payload[:4], "little")
        start = 8 + 2 * (8 + (rows + 7) // 8 * 8) + 8  # after which rows and numbers are there
        run["numbers"] += array.array("q", payload[start : start + 8 * rows])
    elif code == "W":
        send(client, "s", struct.pack("<q", run["id"]))
    elif code == "G":
        others = [RUNS[other] for (other,) in struct.iter_unpack("<q", payload)]
        perform(client, run["statement"], code)
        numbers = [number for each in (run, *others) for number in each["numbers"]]
        send(client, "s", kept(run["statement"], numbers))


def converse(client: socket.socket) -> None:
    run: dict = {}
    with client:
        try:
            while True:
                answer(client, *receive(client), run)
        except (EOFError, OSError):
            pass
        except Exception as error:
            send(client, "r", str(error).encode())


def main() -> None:
    os.umask(0o077)
    if os.path.exists(sys.argv[1]):
        os.unlink(sys.argv[1])
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1])
    server.listen(64)
    while True:
        threading.Thread(target=converse, args=(server.accept()[0],), daemon=True).start()


main()
