"""The real DuckDB command line in a pseudo-terminal, with the extension and its worker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
from tests_support_shell import extension, private_folder

SHELL = [sys.executable, "-P", "-m", "thresher", "shell"]
PROMPT = r"(?:^|\n|\x1b\[K)\w+ D $"
_ECHOED = r"\x1b\[\d+C\r\n"  # the line editor leaves its line
_REDRAWN = re.compile(r"^.*\r\x1b\[0?K", re.MULTILINE)  # the 0 is of DuckDB's own progress bar


class Terminal:
    """A shell that was started in a pseudo-terminal.

    Attributes
    ----------
    child : pexpect.spawn
        The process.
    """

    def __init__(self, *arguments: str, width: int = 120) -> None:
        words = [*SHELL[1:], *arguments, "-dark-mode", "-cmd", ".highlight off"]
        self.child = pexpect.spawn(
            SHELL[0],
            words,
            env={**os.environ, "TERM": "xterm"},
            encoding="utf-8",
            timeout=60,
            dimensions=(60, width),
        )
        self.child.expect(PROMPT)

    def run(self, text: str) -> str:
        """Type a statement; return all that is printed until the prompt is there again."""
        self.child.sendline(text)
        self.child.expect(_ECHOED)
        self.child.expect(PROMPT)
        printed = re.sub(r"\r\n", "\n", str(self.child.before))
        return _REDRAWN.sub("", printed)

    def value(self, text: str) -> str:
        """Type a statement of one value; return the value."""
        lines = [line for line in self.run(text).splitlines() if line.startswith("│")]
        assert len(lines) == 3, lines
        return lines[-1].strip("│ ")

    def leave(self) -> None:
        """Type ``.exit``, and wait for the end."""
        self.child.sendline(".exit")
        self.child.expect(pexpect.EOF)
        self.child.close()


def script(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run the shell without a terminal."""
    return subprocess.run(
        [*SHELL, *arguments], input=typed, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def shell_home(**modules: str) -> Iterator[Path]:
    """A folder to start shells in: with Python modules, and a socket for a worker of its own."""
    extension()
    before, folder_before = dict(os.environ), Path.cwd()
    with private_folder() as folder:
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        changed = {
            "THRESHER_SOCKET": str(folder / "w.sock"),
            "THRESHER_IDLE": "2",
            "THRESHER_PYTHON": sys.executable,
            "HOME": str(folder),
            "OMP_NUM_THREADS": "1",
        }
        os.environ.update(changed)
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(folder_before)
            os.environ.clear()
            os.environ.update(before)
