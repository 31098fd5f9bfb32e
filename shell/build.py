"""Compiles the DuckDB extension: ``python -m thresher.shell.build``.

Only a C compiler is needed, no header of DuckDB's. The file is a shared library with DuckDB's
footer of 534 bytes, which names the platform and the version of the C API.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["EXTENSION", "SOURCES", "BuildError", "build", "compiler", "footer", "platform_name"]

EXTENSION = "thresher.duckdb_extension"
SOURCES = Path(__file__).with_name("extension")
_API_VERSION = "v1.2.0"
_FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
_WARNINGS = ("-Wall", "-Wextra", "-Werror")


class BuildError(Exception):
    """The extension cannot be compiled here."""


def compiler() -> str | None:
    """Return the C compiler: ``$CC``, or the first of cc, gcc and clang; None if there is none."""
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def build(target: Path, version: str, *, cc: str | None = None, flags: Sequence[str] = ()) -> Path:
    """Compile the extension and append DuckDB's footer.

    Parameters
    ----------
    target : Path
        File to write; DuckDB wants it called ``thresher.duckdb_extension``.
    version : str
        The version of thresher; extension and worker must agree.
    cc : str, optional
        The compiler, otherwise `compiler`.
    flags : sequence of str
        More flags for the compiler.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    BuildError
        There is no compiler, it fails, or DuckDB has no name for this machine.
    """
    cc = cc or compiler()
    if cc is None:
        raise BuildError("No C compiler was found. Install one (gcc or clang), or set CC.")
    last = footer(platform_name(), version)
    strict = _WARNINGS if os.environ.get("CI") else _WARNINGS[:2]
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "thresher.so"
        define = f'-DTHRESHER_VERSION="{version}"'
        command = [cc, *_FLAGS, *strict, define, *flags, "-o", str(library), *sources]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise BuildError(f"{cc} does not compile the extension:\n{done.stderr.strip()}")
        whole = Path(folder) / EXTENSION
        whole.write_bytes(library.read_bytes() + last)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(whole, partial)
        partial.replace(target)  # a process that has the old file loaded keeps it
    return target


def footer(target: str, version: str) -> bytes:
    """Return the 534 bytes that DuckDB looks for at the end of an extension.

    Parameters
    ----------
    target : str
        The platform, for instance ``linux_amd64``.
    version : str
        The version of the extension.
    """
    fields = ("4", target, _API_VERSION, version, "C_STRUCT", "", "", "")
    section = b"\0\x93\x04\x10duckdb_signature\x80\x04"  # a WebAssembly section of 512 bytes
    return section + b"".join(f.encode().ljust(32, b"\0") for f in reversed(fields)) + bytes(256)


def platform_name() -> str:
    """Return DuckDB's name of this machine, for instance ``linux_amd64``.

    Raises
    ------
    BuildError
        Where the extension does not run.
    """
    machines = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    machine = machines.get(platform.machine().lower())
    if sys.platform != "linux" or machine is None:
        raise BuildError(f"The shell runs on Linux, not on {sys.platform} {platform.machine()}.")
    return f"linux_{machine}"


def main() -> int:
    """Build the extension of this installation in its place."""
    from importlib.metadata import version

    target = Path(__file__).with_name(EXTENSION)
    try:
        build(target, version("thresher"))
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{target}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
