"""Checks of the DuckDB shell: the program, the extension, and the process behind it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from thresher.diagnosis import Diagnosis, output_of, python_command, reason
from thresher.errors import OperationalError
from thresher.shell.build import compiler
from thresher.shell.launcher import duckdb_program, extension_path

__all__ = ["check_extension", "check_program", "check_worker"]

_BUILD = f"{sys.executable} -m thresher.shell.build"
_LOAD = (
    "import duckdb; from thresher.shell.launcher import load; "
    "con = duckdb.connect(config={'allow_unsigned_extensions': True}); load(con); "
)
_ASK = "FROM thresh('SELECT 42 AS n')"


def check_program() -> Diagnosis:
    """Find the duckdb command line, and compare it with DuckDB's Python package."""
    from importlib.metadata import version

    try:
        program = duckdb_program()
    except OperationalError:
        mend = f"{sys.executable} -m pip install 'thresher[shell]'"
        return Diagnosis("duckdb", "warning", "no duckdb program: 'thresher shell' needs it", mend)
    well, told = output_of([program, "--version"])
    if not well:
        text = f"{program} does not run: {reason(told)}"
        mend = f"{sys.executable} -m pip install --force-reinstall 'thresher[shell]'"
        return Diagnosis("duckdb", "error", text, mend)
    found, library = told.split()[0].removeprefix("v"), version("duckdb")
    text = f"{found}, {program}"
    if found.split(".")[:2] != library.split(".")[:2]:
        text += (
            f"; Python has {library}, and a newer one may write files that the older cannot read"
        )
        mend = f"{sys.executable} -m pip install 'duckdb-cli=={library}'"
        return Diagnosis("duckdb", "warning", text, mend)
    return Diagnosis("duckdb", "ok", text)


def check_extension() -> Diagnosis:
    """Load the extension into a DuckDB of a process of its own."""
    try:
        path = extension_path()
    except OperationalError:
        if sys.platform != "linux":
            text = f"the shell runs on Linux, and this is {sys.platform}; all else works"
            return Diagnosis("extension", "ok", text)
        text = "it was not compiled: 'thresher shell' does not work, all else does"
        first = "" if compiler() else "install gcc or clang, then run "
        return Diagnosis("extension", "warning", text, f"{first}{_BUILD}")
    well, told = output_of(python_command(f"{_LOAD}print(duckdb.__version__)"))
    if not well:
        return Diagnosis("extension", "error", f"{path} is not loaded: {reason(told)}", _BUILD)
    return Diagnosis("extension", "ok", f"loaded into DuckDB {told}, {path}")


def check_worker() -> Diagnosis:
    """Ask a question in a shell, or in Python where there is none, with a worker of its own."""
    command = [sys.executable, "-P", "-m", "thresher", "shell", "-csv", "-noheader", "-c", _ASK]
    try:
        extension_path()
    except OperationalError:
        return Diagnosis("worker", "ok", "not asked: there is no extension that would start it")
    try:
        duckdb_program()
    except OperationalError:
        command = python_command(f'{_LOAD}print(con.sql("{_ASK}").fetchall()[0][0])')
    folder = Path(tempfile.mkdtemp(prefix="thr"))  # a short path: a socket's has 107 bytes at most
    try:
        well, told = output_of(command, THRESHER_SOCKET=str(folder / "w.sock"), THRESHER_IDLE="0.5")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if well and told.splitlines()[-1:] == ["42"]:
        return Diagnosis("worker", "ok", "it was started, and it answered")
    text = f"it does not answer: {reason(told)}"
    again = f'{_BUILD} && {sys.executable} -m thresher shell -c "{_ASK}"'
    return Diagnosis("worker", "error", text, again)
