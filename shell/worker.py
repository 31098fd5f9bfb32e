"""The process beside the shell: it answers queries over rows that it is sent on a socket."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from thresher.errors import Error, OperationalError, ProgrammingError
from thresher.run_identity import VERSION
from thresher.shell import frames
from thresher.shell.sessions import Fed, Hello, ShellSession
from thresher.shell.wire import NO_TEXT

__all__ = ["PROTOCOL", "Worker", "main"]

PROTOCOL = "2"
_IDLE = 60.0  # seconds without a shell
_TICK = 0.05  # seconds between two looks at a client that waits
_ERASE = b"\r\x1b[K"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Worker:
    """Serves shells of one user.

    Parameters
    ----------
    path : path
        Of the socket, in a directory that nobody else may enter.
    idle : float
        Seconds without a living shell after which it ends.
    """

    def __init__(self, path: str | Path, idle: float = _IDLE) -> None:
        self._path, self._idle = Path(path), idle
        self._sessions: dict[str, ShellSession] = {}
        self._feeds: dict[int, Fed] = {}
        self._lock, self._next = threading.Lock(), 0

    def serve(self) -> None:
        """Listen until no shell has been alive for a while."""
        with socket.socket(socket.AF_UNIX) as listener:
            self._path.unlink(missing_ok=True)
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            made = self._path.stat().st_ino
            listener.listen(128)
            listener.settimeout(min(1.0, self._idle))
            last = time.monotonic()
            while time.monotonic() - last < self._idle:
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    if self._gone(made):
                        return
                    if self._alive():
                        last = time.monotonic()
                    continue
                last = time.monotonic()
                threading.Thread(target=self._handle, args=(client,), daemon=True).start()
            self._path.unlink(missing_ok=True)

    @property
    def log(self) -> str:
        """Where standard error goes: to a file beside the socket, where `starting` has begun it."""
        log = f"{self._path}.log"
        try:
            beside = os.path.samestat(os.fstat(2), os.stat(log))
        except OSError:
            beside = False
        return log if beside else "the standard error of the worker"

    def _gone(self, made: int) -> bool:
        """Whether another worker has taken the socket's place."""
        try:
            return self._path.stat().st_ino != made
        except FileNotFoundError:
            return True

    def _alive(self) -> bool:
        """Close the sessions of shells that have ended; tell whether any is left."""
        with self._lock:
            for shell, session in list(self._sessions.items()):
                if not _runs(session.pid):
                    session.close()
                    del self._sessions[shell]
            return bool(self._sessions)

    def _handle(self, client: socket.socket) -> None:
        """Serve one connection."""
        with client:
            client.setblocking(True)
            if _peer(client)[1] != os.getuid():
                return
            try:
                _Conversation(self, client).go_on()
            except EOFError:
                pass  # it has hung up
            except (OSError, frames.ProtocolError) as error:
                _log(f"a connection ended: {error}")

    def session(self, hello: Hello) -> ShellSession:
        """Return the session of a shell."""
        with self._lock:
            if hello.shell not in self._sessions:
                self._sessions[hello.shell] = ShellSession(hello)
            return self._sessions[hello.shell]

    def begin(self, text: str) -> int:
        """Make room for rows; return their number."""
        with self._lock:
            self._next += 1
            self._feeds[self._next] = Fed(text)
            return self._next

    def feed(self, number: int) -> Fed:
        """Return the room for rows."""
        with self._lock:
            return self._feeds[number]

    def take(self, numbers: list[int]) -> list[Fed]:
        """Take rows out; those of a thread that had none are left out."""
        with self._lock:
            return [self._feeds.pop(number) for number in numbers if number in self._feeds]


class _Conversation:
    """One connection: a hello, then requests."""

    def __init__(self, worker: Worker, client: socket.socket) -> None:
        self._worker, self._client = worker, client
        self._sending = threading.Lock()
        self._session: ShellSession | None = None
        self._number = 0
        self._told = False  # whether a line of progress stands on the terminal
        self._layout: frames.Layout | None = None

    def go_on(self) -> None:
        """Answer requests until the other side closes."""
        try:
            while True:
                frame = frames.receive(self._client)
                if frame.type == "C":
                    return
                if self._session is None and frame.type != "H":
                    raise frames.ProtocolError("a connection begins with a hello")
                self._answer(frame)
        finally:
            if self._number:
                self._worker.take([self._number])

    def _answer(self, frame: frames.Frame) -> None:
        """Answer one request; what goes wrong is told to the user."""
        name = _REQUESTS.get(frame.type)
        if name is None:
            raise frames.ProtocolError(f"there is no request {frame.type!r}")
        try:
            getattr(self, name)(frame.payload)
        except (OSError, EOFError, frames.ProtocolError):
            raise
        except Error as error:
            self._refuse(frame, str(error))
        except Exception as error:
            _log(traceback.format_exc())
            said = f"thresher: {type(error).__name__}: {error}"
            self._refuse(
                frame, f"{said}\nThis was not foreseen: {self._worker.log} says where it happened."
            )

    def _refuse(self, frame: frames.Frame, why: str) -> None:
        self._send("r", why.replace("\0", "?").encode())
        if frame.type == "H":
            raise EOFError("a shell is refused")

    def _hello(self, payload: memoryview) -> None:
        if not payload:
            raise ProgrammingError(
                "this shell has not said who it is: load the extension with the statements that "
                "`thresher extension sql` prints"
            )
        protocol, version, *told = frames.texts(payload)
        if (protocol, version) != (PROTOCOL, VERSION):
            raise OperationalError(
                f"this worker is thresher {VERSION}, the extension {version}: install both anew"
            )
        said = json.loads(told[0] or "{}")
        declared = said["declared"]
        made = [(one["kind"], one["name"], one["sql"]) for one in declared["declarations"] or []]
        learnt = declared["trained_proxies"] or []
        trained = {one["name"]: b64decode(one["learnt"]) for one in learnt}
        path, (process, _) = _path(said["folder"], said["database"]), _peer(self._client)
        hello = Hello(said["shell"], process, path, said["folder"], made, trained)
        self._session = self._worker.session(hello)

    def _plan(self, payload: memoryview) -> None:
        sql, clauses = frames.texts(payload)
        self._send("s", self._own.plan(sql or "", clauses).encode())

    def _begin(self, payload: memoryview) -> None:
        reader = frames.Reader(payload)
        if reader.unsigned(4) != 1:
            raise frames.ProtocolError("what is fed has one text")
        size = reader.unsigned(4)
        if size == NO_TEXT:
            raise ProgrammingError("thresh_feed() takes a statement, not NULL")
        text = reader.text(size)
        self._layout = frames.decode_type(reader)
        self._number = self._worker.begin(text)
        self._send("s")

    def _data(self, payload: memoryview) -> None:
        if self._layout is None:
            raise frames.ProtocolError("rows come before their type")
        numbers, batch = frames.decode_rows(self._layout, payload)
        if (numbers < 0).any():  # the row that is there where no other one is
            there = np.flatnonzero(numbers >= 0)
            numbers = numbers[there]
            batch = batch.take(pa.array(there)) if batch.num_columns else batch
        fed = self._worker.feed(self._number)
        fed.numbers.append(numbers)
        fed.batches.append(batch)

    def _written(self, payload: memoryview) -> None:
        del payload
        # The thread that goes on takes the rows; where it does not, they go with the connection.
        self._send("s", struct.pack("<q", self._number))

    def _go(self, payload: memoryview) -> None:
        others = [number for (number,) in struct.iter_unpack("<q", payload)]
        number, self._number = self._number, 0
        feds = self._worker.take([number, *others])

        def work() -> bytes:
            rows, notes = self._own.run(feds, self._tell)
            self._told = False
            self._send("p", _ERASE, *(f"{_plain(note)}\n".encode() for note in notes))
            return frames.encode_rows(rows)

        self._wait(work)

    def _wait(self, work: Callable[[], bytes]) -> None:
        """Do work while the client waits, and stop it where the client asks for that or goes."""
        done: list[bytes] = []
        failed: list[BaseException] = []

        def do() -> None:
            try:
                done.append(work())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=do, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_TICK)
            if thread.is_alive() and select.select([self._client], [], [], 0)[0]:
                while thread.is_alive():  # a statement that is about to begin hears the next call
                    self._own.cancel(thread.ident)
                    thread.join(_TICK)
                raise EOFError("the client has stopped its statement")
        if failed:
            if self._told:
                self._told = False
                self._send("p", _ERASE)
            raise failed[0]
        self._send("s", *done)

    @property
    def _own(self) -> ShellSession:
        if self._session is None:
            raise frames.ProtocolError("a connection begins with a hello")
        return self._session

    def _tell(self, line: str) -> None:
        """Write progress over the line of the terminal, cut at its edge."""
        self._told = True
        self._send("p", _ERASE, b"\x1b[?7l", _plain(line).encode(), b"\x1b[?7h")

    def _send(self, kind: str, *payload: bytes) -> None:
        with self._sending:
            frames.send(self._client, kind, *payload)


_REQUESTS = {
    "H": "_hello",
    "P": "_plan",
    "F": "_begin",
    "D": "_data",
    "W": "_written",
    "G": "_go",
}


def _path(folder: str | None, database: str | None) -> str:
    """Return where a database lies; empty where it is in memory."""
    return str(Path(folder or "/") / database) if database else ""


def _plain(line: str) -> str:
    """Return a line without control characters."""
    return _CONTROL.sub(" ", line)


def _peer(client: socket.socket) -> tuple[int, int]:
    """Return the process and the user at the other end."""
    size = struct.calcsize("3i")
    told = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    process, user, _ = struct.unpack("3i", told)
    return int(process), int(user)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main(path: str) -> int:
    """Serve on a socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    idle = float(os.environ.get("THRESHER_IDLE", _IDLE))
    Worker(path, idle).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[sys.argv.index("--socket") + 1]))
