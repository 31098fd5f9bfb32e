"""``thresher shell``: the `duckdb` command line as it is, with the extension loaded."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from thresher.errors import OperationalError
from thresher.shell.macros import introduction, macros
from thresher.sql.tokens import literal

if TYPE_CHECKING:
    import duckdb

__all__ = ["duckdb_program", "extension_path", "extension_sql", "load", "shell"]

# DuckDB's parser asks no extension of C about what it cannot read: what its error will not say.
_HINT = """\
Queries with oracles go into thresh(); DuckDB alone knows no RECALL TARGET:
  FROM thresh($$ FROM reviews WHERE is_praise(text) RECALL TARGET 90% $$);
"""
_EXTENSION = Path(__file__).with_name("thresher.duckdb_extension")


def extension_path() -> Path:
    """Return where the extension lies.

    Raises
    ------
    OperationalError
        It was not built: there was no C compiler when thresher was installed.
    """
    if not _EXTENSION.is_file():
        raise OperationalError(
            "the DuckDB extension is not there: it is compiled when thresher is installed, and no "
            "C compiler was found then. Install gcc or clang, then run "
            f"{sys.executable} -m thresher.shell.build"
        )
    return _EXTENSION


def extension_sql() -> list[str]:
    """Return the statements that make a DuckDB session a thresher shell."""
    made = [f"CREATE OR REPLACE TEMP MACRO {macro}" for macro in macros()]
    loaded = f"LOAD {literal(str(extension_path()))}"
    return [loaded, *introduction(Path.cwd()), *made]


def load(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the extension into a connection of DuckDB's own Python package.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Made with ``duckdb.connect(..., config={'allow_unsigned_extensions': True})``.

    Raises
    ------
    OperationalError
        The extension was not built.
    duckdb.Error
        It cannot be loaded.
    """
    os.environ.setdefault("THRESHER_PYTHON", sys.executable)
    for statement in extension_sql():
        connection.execute(statement)


def shell(arguments: Sequence[str]) -> NoReturn:
    """Become the `duckdb` command line; this function does not return.

    Parameters
    ----------
    arguments : sequence of str
        For `duckdb`: a database file, ``-c``, ``-csv``, ...

    Raises
    ------
    OperationalError
        There is no `duckdb`, or no extension.
    """
    found = duckdb_program()
    before = [part for statement in extension_sql() for part in ("-cmd", statement)]
    os.environ.setdefault("THRESHER_PYTHON", sys.executable)
    if _is_for_people(arguments):
        sys.stdout.write(_HINT)
    sys.stdout.flush()
    os.execv(found, [found, "-unsigned", *before, *arguments])  # noqa: S606


def _is_for_people(arguments: Sequence[str]) -> bool:
    """Whether `duckdb` will give a prompt, as far as can be told: no option may say otherwise."""
    files = [one for one in arguments if one != "-readonly"]
    plain = len(files) <= 1 and not any(one.startswith("-") for one in files)
    return plain and sys.stdin.isatty() and sys.stdout.isatty()


def duckdb_program() -> str:
    """Return the `duckdb` program: that of the package first, so that its version is known.

    The package's own script waits for the program as a child, and Ctrl-C ends that script: the
    program inside the package is what is wanted.

    Raises
    ------
    OperationalError
        There is none.
    """
    package = importlib.util.find_spec("duckdb_cli")
    inside = Path(package.origin).with_name("duckdb") if package and package.origin else None
    bundled = str(inside) if inside is not None and inside.is_file() else None
    found = os.environ.get("THRESHER_DUCKDB") or bundled or shutil.which("duckdb")
    if not found:
        raise OperationalError(
            "there is no duckdb command line: pip install 'thresher[shell]', or put duckdb on PATH."
        )
    return found
