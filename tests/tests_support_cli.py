"""The command line run in this process, in one of its own, and on a pseudo-terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pexpect

from thresher.cli import main

SETUP = """
CREATE TABLE films AS
    SELECT i AS id, 'Film ' || i AS title, (hash(i) % 1000) / 1000.0 AS score FROM range(2000) r(i);
CREATE TABLE truth AS
    SELECT id, score + (hash(id + 7) % 400) / 1000.0 - 0.2 > 0.7 AS good FROM films;
CREATE ORACLE is_good(id BIGINT) RETURNS BOOLEAN
    USING column WITH (table = 'truth', key = 'id', value = 'good');
"""
QUERY = """SELECT id, title FROM films WHERE is_good(id) USING score
RECALL TARGET 80% WITH PROBABILITY 95% ORACLE LIMIT 600 SEED 7"""


_COLUMNS = "100"


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    return {**kept, "COLUMNS": _COLUMNS, **extra}


def thresher(*args: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    words = [str(arg) for arg in args]
    with (
        mock.patch.dict(os.environ, environment(), clear=True),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    shown = []
    for stream in (out, err):
        stream.seek(0)
        shown.append(stream.read())
    return subprocess.CompletedProcess(words, code, *shown)


def process(*args: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "thresher", *map(str, args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        env=environment(**extra),
        timeout=120,
    )


def document(*args: str | Path, code: int = 0, stdin: str = "") -> Any:
    """Run a command with ``--json`` and return the one document on standard output."""
    done = thresher(*args, "--json", stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def seen(*args: str | Path, columns: int = 90, **extra: str) -> str:
    """Run the command line in this process with a pseudo-terminal to write to."""
    ours, theirs = pty.openpty()
    found: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65_536):
                found.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    variables = environment(**{"TERM": "xterm-256color", "COLUMNS": str(columns), **extra})
    with (
        open(theirs, "w", encoding="utf-8") as terminal,
        mock.patch.dict(os.environ, variables, clear=True),
        redirect_stdout(terminal),
        redirect_stderr(terminal),
    ):
        assert main([str(arg) for arg in args]) == 0
    reader.join(20)
    os.close(ours)
    return b"".join(found).decode()


def on_terminal(args: Sequence[str], **extra: str) -> tuple[str, int | None]:
    """Run on a pseudo-terminal of 90 columns; return what it saw, and the exit code."""
    child = pexpect.spawn(
        sys.executable,
        ["-P", "-m", "thresher", *args],
        env=environment(TERM="xterm-256color", **extra),
        dimensions=(40, 90),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    text = str(child.before)
    child.close()
    return text, child.exitstatus
