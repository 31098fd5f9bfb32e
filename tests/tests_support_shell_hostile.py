"""Queries against a worker that answers with broken frames: a program, run under sanitizers.

Usage: ``tests_support_shell_hostile.py EXTENSION SOCKET SECONDS SEED PYTHON``; it prints how many
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


def receive(client: socket.socket) -> tuple[str, bytes]:
    header = client.recv(16, socket.MSG_WAITALL)
    if len(header) < 16:
        raise EOFError
    code, _, size = HEADER.unpack(header)
    payload = client.recv(size, socket.MSG_WAITALL) if size else b""
    if len(payload) < size:
        raise EOFError
    return chr(code), payload


def reply(code: str, payload: bytes) -> tuple[str, bytes]:
    """Return what a sound worker would say."""
    if code == "P":
        (size,) = struct.unpack_from("<i", payload, 4)
        return "s", payload[8 : 8 + size]
    if code == "W":
        return "s", struct.pack("<q", 7)
    return "s", '[["0","qqqqqqqq"],["a",null,"é"],[]]'.encode() if code == "G" else b""


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
                if code in "HDC":
                    continue
                kind, said = reply(code, payload)
                chance = generator.random()
                if chance < 0.02:
                    line = generator.randbytes(9)
                    client.sendall(HEADER.pack(ord("p"), 0, len(line)) + line)
                elif chance < 0.05:
                    kind = generator.choice("sroz")
                elif chance < 0.30:
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


ANSWER = """from_json(decode(thresh_feed('x', {row})), '[["VARCHAR"]]')"""
QUERIES = (
    "FROM thresh('SELECT 42')",
    "SELECT " + ANSWER.format(row="{'n': 1::BIGINT}"),
    "WITH f AS MATERIALIZED (SELECT "
    + ANSWER.format(row="{'n': n, 's': [n::VARCHAR, NULL]}")
    + " AS a "
    "FROM t), b AS (SELECT from_base64(r[2])::BIT AS bits FROM (SELECT unnest(a) AS r FROM f)) "
    "SELECT count(*) FROM t, b WHERE get_bit(bits, (n % 48)::INTEGER) = 1",
)


def main(extension: str, path: str, seconds: str, seed: str, python: str) -> None:
    os.environ["THRESHER_SOCKET"] = path
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    threading.Thread(target=serve, args=(server, int(seed)), daemon=True).start()
    os.environ["THRESHER_PYTHON"] = python
    con = duckdb.connect(config={"allow_unsigned_extensions": "true", "threads": "2"})
    con.execute(f"LOAD '{extension}'")
    con.execute("CREATE TEMP MACRO thresh(q) AS TABLE FROM query(decode(thresh_plan(q, NULL)))")
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
