"""Queries against a worker that answers with broken frames: a program, run under sanitizers.

Usage: ``python tests_support_shell_hostile.py EXTENSION SOCKET SECONDS SEED``; it prints how many
queries were answered and how many were refused. Only the standard library and DuckDB are loaded.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
import threading
import time

import duckdb

HEADER = struct.Struct("<IIQ")
RUN = 7


def receive(client: socket.socket) -> tuple[str, bytes]:
    header = client.recv(16, socket.MSG_WAITALL)
    if len(header) < 16:
        raise EOFError
    code, _, size = HEADER.unpack(header)
    payload = client.recv(size, socket.MSG_WAITALL) if size else b""
    if len(payload) < size:
        raise EOFError
    return chr(code), payload


def texts(*values: bytes | None) -> bytes:
    parts = [struct.pack("<i", -1) if v is None else struct.pack("<i", len(v)) + v for v in values]
    return struct.pack("<I", len(values)) + b"".join(parts)


def reply(code: str, payload: bytes, generator: random.Random) -> tuple[str, bytes]:
    """Return what a sound worker would say."""
    if code == "H":
        return "o", struct.pack("<I", generator.choice((1, 2)))
    if code == "P":
        (size,) = struct.unpack_from("<i", payload, 4)
        return "s", payload[8 : 8 + size]
    if code == "F":
        return "s", struct.pack("<q", generator.choice((RUN, RUN, 2**62)))
    if code == "K":
        rows = generator.choice((0, 1, 63, 64, 5000))
        return "s", struct.pack("<Q", rows) + generator.randbytes((rows + 7) // 8)
    if code == "R":
        rows = [texts(b"a", None, "é".encode() * 9), texts(), texts(*[b"cell"] * 50)]
        return "s", struct.pack("<I", 3) + b"".join(rows)
    return "s", b""


def mutated(data: bytes, generator: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(generator.choice((1, 1, 3))):
        at = generator.randrange(len(made) + 1)
        what = generator.randrange(5)
        if what == 0:
            made[at : at + 1] = generator.randbytes(1)
        elif what == 1:
            value = generator.choice((-1, 0, 1, 2**31, 2**40))
            made[at : at + 8] = struct.pack("<q", value)
        elif what == 2:
            del made[at : at + generator.randrange(20)]
        elif what == 3:
            made[at:at] = generator.randbytes(generator.randrange(20))
        else:
            made[at : at + 4] = struct.pack("<I", generator.choice((0, 2, 255, 2**32 - 1)))
    return bytes(made)


def converse(client: socket.socket, generator: random.Random) -> None:
    with client:
        try:
            while True:
                code, payload = receive(client)
                if code in "TDC":
                    continue
                kind, said = reply(code, payload, generator)
                chance = generator.random()
                if chance < 0.02:
                    line = generator.randbytes(9)
                    client.sendall(HEADER.pack(ord("p"), 0, len(line)) + line)
                elif chance < 0.05:
                    kind = generator.choice("sroz")
                elif chance < 0.15:
                    said = mutated(said, generator)
                frame = HEADER.pack(ord(kind), 0, len(said)) + said
                if chance > 0.97:
                    client.sendall(mutated(frame, generator))
                    return
                if chance > 0.95:
                    client.sendall(frame[: generator.randrange(len(frame))])
                    return
                client.sendall(frame)
        except (EOFError, OSError):
            pass


def serve(server: socket.socket, seed: int) -> None:
    for number in range(1 << 60):
        client = server.accept()[0]
        generator = random.Random(f"{seed} {number}")
        threading.Thread(target=converse, args=(client, generator), daemon=True).start()


QUERIES = (
    "FROM thresh('SELECT 42')",
    "SELECT thresh_rows('x', i) FROM range(3) r(i)",
    "SELECT count(*) FROM range(3000) r(n) WHERE thresh_keep('x', 7 + n // 1000, n)",
    "WITH f AS (SELECT thresh_feed('x', n, {'n': n, 's': [n::VARCHAR, NULL]}) AS run FROM t) "
    "SELECT count(*) FROM t, f WHERE thresh_keep('x', run, n)",
)


def main(extension: str, path: str, seconds: str, seed: str) -> None:
    os.environ["THRESHER_SOCKET"] = path
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    threading.Thread(target=serve, args=(server, int(seed)), daemon=True).start()
    con = duckdb.connect(config={"allow_unsigned_extensions": "true", "threads": "2"})
    con.execute(f"LOAD '{extension}'")
    con.execute("CREATE TEMP MACRO thresh(q) AS TABLE FROM query(thresh_plan(q, NULL))")
    con.execute("CREATE TABLE t AS SELECT n FROM range(5000) r(n)")
    answered = refused = 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for query in QUERIES:
            try:
                con.execute(query).fetchall()
                answered += 1
            except (duckdb.Error, UnicodeDecodeError):
                refused += 1
    con.close()
    sys.stdout.write(f"{answered} {refused}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
