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

from thresher.errors import Error, OperationalError
from thresher.run_identity import VERSION
from thresher.shell import frames
from thresher.shell.sessions import Fed, Hello, ShellSession

__all__ = ["PROTOCOL", "Worker", "main"]

PROTOCOL = "1"
_IDLE = 60.0  # seconds without a shell
_TICK = 0.05  # seconds between two looks at a client that waits
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
        # No other worker has given these numbers: what is kept of its runs is not taken for ours.
        self._lock, self._next = threading.Lock(), time.time_ns()

    def serve(self) -> None:
        """Listen until no shell has been alive for a while."""
        with socket.socket(socket.AF_UNIX) as listener:
            self._path.unlink(missing_ok=True)
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            made = self._path.stat().st_ino
            listener.listen(16)
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
            if _peer(client) != os.getuid():
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
        number = self.number()
        with self._lock:
            self._feeds[number] = Fed(text)
        return number

    def number(self) -> int:
        """Return a number that no run has had."""
        with self._lock:
            self._next += 1
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
            self._send("r", _told(error).encode())
        except Exception as error:
            _log(traceback.format_exc())
            self._send("r", f"thresher: {type(error).__name__}: {error}".encode())

    def _hello(self, payload: memoryview) -> None:
        told = frames.texts(payload)
        protocol, version, pid, shell, database, declared, *_, folder, learnt = told
        if (protocol, version) != (PROTOCOL, VERSION):
            raise OperationalError(
                f"this worker is thresher {VERSION}, the extension {version}: install both anew"
            )
        made = [(one["kind"], one["name"], one["sql"]) for one in json.loads(declared or "[]")]
        path = _path(folder, database)
        trained = {one["name"]: b64decode(one["learnt"]) for one in json.loads(learnt or "[]")}
        hello = Hello(str(shell), int(pid or 0), path, folder or "/", made, trained)
        self._session = self._worker.session(hello)
        self._send("o", struct.pack("<I", os.getpid()))

    def _plan(self, payload: memoryview) -> None:
        sql, clauses = frames.texts(payload)
        self._send("s", self._own.plan(sql or "", clauses).encode())

    def _begin(self, payload: memoryview) -> None:
        (text,) = frames.texts(payload)
        self._number = self._worker.begin(text or "")
        self._send("s", struct.pack("<q", self._number))

    def _type(self, payload: memoryview) -> None:
        self._layout = frames.decode_type(payload)

    def _data(self, payload: memoryview) -> None:
        if self._layout is None:
            raise frames.ProtocolError("rows come before their type")
        numbers, batch = frames.decode_rows(self._layout, payload)
        fed = self._worker.feed(self._number)
        fed.numbers.append(numbers)
        fed.batches.append(batch)

    def _written(self, payload: memoryview) -> None:
        del payload
        self._number = 0  # the thread that goes on takes its rows
        self._send("s")

    def _go(self, payload: memoryview) -> None:
        others = [number for (number,) in struct.iter_unpack("<q", payload)]
        number, self._number = self._number, 0
        feds = self._worker.take([number, *others])

        def work() -> bytes:
            for note in self._own.run(number, feds, self._tell):
                self._send("n", _CONTROL.sub(" ", note).encode())
            return b""

        self._wait(work)

    def _kept(self, payload: memoryview) -> None:
        (number,) = struct.unpack("<q", payload)
        self._send("s", frames.encode_bits(self._own.kept(number)))

    def _rows(self, payload: memoryview) -> None:
        (number,) = struct.unpack("<q", payload[:8])
        (text,) = frames.texts(payload[8:])
        fresh = 0 if number else self._worker.number()

        def work() -> bytes:
            return frames.encode_rows(self._own.rows(text or "", number, fresh, self._tell))

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
                self._own.cancel()
                thread.join()
                raise EOFError("the client has stopped its statement")
        if failed:
            raise failed[0]
        self._send("s", *done)

    @property
    def _own(self) -> ShellSession:
        if self._session is None:
            raise frames.ProtocolError("a connection begins with a hello")
        return self._session

    def _tell(self, line: str) -> None:
        self._send("p", _CONTROL.sub(" ", line).encode())

    def _send(self, kind: str, *payload: bytes) -> None:
        with self._sending:
            frames.send(self._client, kind, *payload)


_REQUESTS = {
    "H": "_hello",
    "P": "_plan",
    "F": "_begin",
    "T": "_type",
    "D": "_data",
    "W": "_written",
    "G": "_go",
    "K": "_kept",
    "R": "_rows",
}


def _path(folder: str | None, database: str | None) -> str:
    """Return where a database lies; empty where it is in memory."""
    return str(Path(folder or "/") / database) if database else ""


def _told(error: Error) -> str:
    """Write an error as a shell shows it."""
    return str(error)


def _peer(client: socket.socket) -> int:
    """Return the user at the other end."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)


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
