"""A worker that speaks the shell's protocol and has no engine: it keeps what it is fed.

Statements are JSON: ``{"keep": "even"}``, ``{"rows": [["a", null]]}``, ``{"fail": "text"}``,
``{"die": "F"}`` (end the process at that frame), ``{"sleep": 1.5}``, ``{"progress": ["1", "2"]}``.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.shell import build, frames

SHELL = Path(build.__file__).parent
ANSWER = "from_json(decode({fed}), '[[\"VARCHAR\"]]')"  # the rows of texts that a feed gives
SQL = (
    "WITH __s AS MATERIALIZED (SELECT *, row_number() OVER () - 1 AS __n FROM ({source})), "
    "__f AS MATERIALIZED (SELECT {answer} AS __answer FROM __s), "
    "__b AS MATERIALIZED (SELECT r[1]::BIGINT AS piece, from_base64(r[2])::BIT AS bits "
    "FROM (SELECT unnest(__answer) AS r FROM __f)) "
    "SELECT __s.* EXCLUDE (__n) FROM __s JOIN __b ON piece = __n >> 12 "
    "WHERE get_bit(bits, (__n & 4095)::INTEGER) = 1 ORDER BY __n"
)


def extension() -> Path:
    """The extension as the sources are now."""
    target = SHELL / build.EXTENSION
    newest = max(path.stat().st_mtime for path in [*build.SOURCES.iterdir(), SHELL / "build.py"])
    if not target.exists() or target.stat().st_mtime < newest:
        build.build(target, version("thresher"))
    return target


def feeding(source: str, row: str, **statement: Any) -> str:
    """SQL that feeds a struct of each row of `source`, and returns the rows that are kept."""
    text = json.dumps(statement or {"keep": "even"})
    answer = ANSWER.format(fed=f"thresh_feed($t${text}$t$, {numbered(row)})")
    return SQL.format(source=source, answer=answer)


def numbered(row: str, number: str = "__n") -> str:
    """A struct with the number of the row in front."""
    return f"{{'__n': {number}, {row[1:]}"


def thresh(source: str, row: str, **statement: Any) -> str:
    """The same as a relation, by the macro."""
    return f"thresh($${feeding(source, row, **statement)}$$)"


def open_shell(path: Path, database: str = ":memory:", **config: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the extension and the macro."""
    con = duckdb.connect(database, config={"allow_unsigned_extensions": "true", **config})
    con.execute(f"LOAD '{path}'")
    con.execute(
        "CREATE TEMP MACRO thresh(q, clauses := NULL) AS TABLE "
        "FROM query(decode(thresh_plan(q, clauses)))"
    )
    return con


@contextmanager
def private_folder() -> Iterator[Path]:
    """A short path of mode 0700: a socket's path has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="thr"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Run:
    """What one connection has fed."""

    def __init__(self, text: str) -> None:
        self.statement: dict[str, Any] = json.loads(text)
        self.layout: frames.Layout | None = None
        self.parts: list[tuple[npt.NDArray[np.int64], pa.RecordBatch]] = []
        self.ended = False


class Double:
    """The worker, in threads of this process.

    Attributes
    ----------
    hellos : list of list of str
        What shells have said of themselves.
    fed : list of (ndarray of int64, pyarrow.Table)
        Rows of each query, by rising number.
    states : list of int
        How many connections fed each query.
    """

    def __init__(self, path: Path) -> None:
        self.hellos: list[list[str | None]] = []
        self.fed: list[tuple[npt.NDArray[np.int64], pa.Table]] = []
        self.states: list[int] = []
        self.counts: list[int] = []
        self.cancelled = 0
        self._runs: dict[int, Run] = {}
        self._numbers = itertools.count(time.time_ns())
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)

    def serve(self) -> None:
        """Answer until the server is closed."""
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _converse(self, client: socket.socket) -> None:
        number = 0
        with client:
            try:
                while True:
                    frame = frames.receive(client)
                    if frame.type == "C":
                        self.cancelled += 1
                        return
                    number = self._answer(client, frame, number)
            except (EOFError, OSError):
                pass
            except Exception as error:
                with suppress(OSError):
                    frames.send(client, "r", str(error).encode())
            finally:
                self._runs.get(number, Run("{}")).parts.clear()

    def _answer(self, client: socket.socket, frame: frames.Frame, number: int) -> int:
        payload = frame.payload
        if frame.type == "H":
            self.hellos.append(frames.texts(payload) if payload else [])
        elif frame.type == "P":
            self._plan(client, *frames.texts(payload))
        elif frame.type == "F":
            number = next(self._numbers)
            reader = frames.Reader(payload)
            assert reader.unsigned(4) == 1
            self._runs[number] = Run(reader.text(reader.unsigned(4)))
            self._runs[number].layout = frames.decode_type(reader)
            self._perform(client, self._runs[number].statement, "F")
            frames.send(client, "s")
        elif frame.type == "D":
            self._perform(client, self._runs[number].statement, "D")
            layout = self._runs[number].layout
            assert layout is not None
            self._runs[number].parts.append(frames.decode_rows(layout, payload))
        elif frame.type == "W":
            self._runs[number].ended = True
            frames.send(client, "s", struct.pack("<q", number))
        elif frame.type == "G":
            self._go(client, number, payload)
        return number

    def _plan(self, client: socket.socket, query: str | None, clauses: str | None) -> None:
        if query and query.startswith("{"):
            self._perform(client, json.loads(query), "P")
            query = "SELECT 1 AS one"
        frames.send(client, "s", f"{query} {clauses or ''}".encode())

    def _perform(self, client: socket.socket, statement: dict[str, Any], code: str) -> None:
        """Do what a test wants to happen when this frame comes."""
        if statement.get("die") == code:
            os.kill(os.getpid(), signal.SIGKILL)
        if statement.get("at", "G") != code:
            return
        for line in statement.get("progress", []):
            frames.send(client, "p", f"\r\x1b[K{line}".encode())
            time.sleep(statement.get("pause", 0))
        if "note" in statement:
            frames.send(client, "p", f"\r\x1b[K{statement['note']}\n".encode())
        time.sleep(statement.get("sleep", 0))
        if "fail" in statement:
            raise ValueError(statement["fail"])

    def _go(self, client: socket.socket, number: int, payload: memoryview) -> None:
        run = self._runs[number]
        others = [self._runs[other] for other in struct.unpack(f"<{len(payload) // 8}q", payload)]
        assert all(other.ended for other in others)
        parts = [part for each in (run, *others) for part in each.parts]
        numbers = np.concatenate([part for part, _ in parts])
        self.states.append(1 + len(others))
        self.counts.append(len(numbers))
        self._perform(client, run.statement, "G")
        order = np.argsort(numbers)
        table = pa.Table.from_batches([batch for _, batch in parts])
        self.fed.append((numbers[order], table.take(order)))
        for each in (run, *others):
            each.parts.clear()
        rows = run.statement.get("rows")
        kept = frames.kept_rows(_mask(run.statement.get("keep", "all"), numbers))
        frames.send(client, "s", frames.encode_rows(kept if rows is None else rows))


def _mask(keep: str, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(int(numbers.max()) + 1, np.bool_)
    mask[numbers] = {"all": numbers >= 0, "none": numbers < 0, "even": numbers % 2 == 0}[keep]
    return mask


@contextmanager
def double(folder: Path) -> Iterator[Double]:
    """A double in threads of this process, which THRESHER_SOCKET leads to."""
    path = folder / "w.sock"
    worker = Double(path)
    thread = threading.Thread(target=worker.serve, daemon=True)
    thread.start()
    names = {"THRESHER_SOCKET": str(path), "THRESHER_PYTHON": sys.executable}
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(names)
    try:
        yield worker
    finally:
        for name in names:
            os.environ.pop(name)
        os.environ.update(before)
        worker.close()
        thread.join()


def process_script(folder: Path) -> Path:
    """A program that is started like the worker, and is the double as a process."""
    script = folder / "python"
    worker = Path(__file__).with_name("tests_support_shell_worker.py")
    script.write_text(
        f'#!/bin/sh\ncase "$3" in thresher.shell.starting) exec "{sys.executable}" "$@";; esac\n'
        f'exec "{sys.executable}" -S -I "{worker}" "$5"\n'
    )
    script.chmod(0o700)
    return script


def workers(folder: Path) -> list[int]:
    """Process ids of the workers of this folder's socket, or of a socket."""
    path = folder if folder.suffix == ".sock" else folder / "w.sock"
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(path) in command:
            found.append(int(entry.name))
    return found


def end_workers(folder: Path) -> None:
    """End the workers of this folder's socket."""
    for process in workers(folder):
        os.kill(process, signal.SIGKILL)
