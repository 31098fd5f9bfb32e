"""What the extension runs where no worker listens: it starts one, and prints where.

``python -m thresher.shell.starting VERSION``. It loads little, because the user waits for it.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import stat
import sys
import time
from contextlib import suppress
from typing import NoReturn

__all__ = ["main", "socket_path", "start"]

_PATIENCE_S, _LOOK_S = 20.0, 0.02
_LONGEST = 107  # bytes of the path of a Unix socket


def socket_path(version: str) -> str:
    """Return the path of the worker's socket: that of ``THRESHER_SOCKET``, or of this user.

    Parameters
    ----------
    version : str
        Of thresher: workers of different versions live side by side.
    """
    given, runtime = os.environ.get("THRESHER_SOCKET"), os.environ.get("XDG_RUNTIME_DIR")
    if given:
        return given
    folder = f"{runtime}/thresher" if runtime else f"/tmp/thresher-{os.geteuid()}"  # noqa: S108
    return f"{folder}/{version}.sock"


def start(path: str) -> str | None:
    """See to it that a worker listens on a socket.

    Parameters
    ----------
    path : str
        Of the socket.

    Returns
    -------
    str or None
        Why there is no worker.
    """
    folder = os.path.dirname(path)
    if not path.startswith("/") or len(os.fsencode(path)) > _LONGEST or folder == "/":
        return (
            "thresher: the worker's socket needs an absolute path of less than "
            f"{_LONGEST + 1} bytes. Set THRESHER_SOCKET to one."
        )
    if not _private(folder):
        return (
            f"thresher: the directory {folder} cannot be made, or is not yours alone "
            "(mode 0700, no symbolic link)"
        )
    log = f"{path}.log"
    # Only one of several that come at once starts a worker: a second one would end the first.
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    worker, locked, end = 0, False, time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and not _listens(path):
        if not locked:
            with suppress(BlockingIOError):
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
                continue  # another may have been faster
        elif not worker:
            worker = _spawn(path, log)
        elif os.waitpid(worker, os.WNOHANG)[0]:
            return f"thresher: the worker ended as soon as it was started; {log} says why"
        if _unread():
            return "interrupted"
        time.sleep(_LOOK_S)
    return None if _listens(path) else f"thresher: the worker does not answer; see {log}"


def _private(folder: str) -> bool:
    """Make a folder, and see that nobody else can put a socket there."""
    try:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        found = os.lstat(folder)
    except OSError:
        return False
    private = not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and private


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(path)
        return True
    return False


def _unread() -> bool:
    """Whether nobody waits for the answer any more."""
    poll = select.poll()
    poll.register(1, 0)
    return bool(poll.poll(0))


def _spawn(path: str, log: str) -> int:
    """Start a worker in a session of its own: Ctrl-C in the terminal does not reach it."""
    python = os.environ.get("THRESHER_PYTHON") or sys.executable
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    arguments = [python, "-P", "-m", "thresher.shell.worker", "--socket", path]
    return os.posix_spawnp(python, arguments, os.environ, file_actions=files, setsid=True)


def main(version: str) -> NoReturn:
    """Start a worker if need be, and print where it listens."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    path = socket_path(version)
    failed = start(path)
    if failed is None:
        sys.stdout.write(f"{path}\n")
    sys.exit(failed)


if __name__ == "__main__":
    main(sys.argv[1])
