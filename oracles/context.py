"""What surrounds a model when it is created: tables, registered functions, the base folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

__all__ = ["Context"]


@dataclass(frozen=True, slots=True)
class Context:
    """The outside world as the providers see it.

    Parameters
    ----------
    read_table : callable, optional
        ``read_table(table, columns)`` returns these columns of a table as an Arrow table. It is
        called on first use, never when a model is declared.
    fingerprint : callable, optional
        ``fingerprint(table, columns)`` returns a string that changes when these columns do. Without
        it the columns are read and hashed.
    functions : mapping of str to callable
        Python functions registered by name, for the provider ``python``.
    base : Path, optional
        Folder that relative paths and module names start from; the working directory when absent.
    """

    read_table: Callable[[str, list[str]], pa.Table] | None = None
    fingerprint: Callable[[str, list[str]], str] | None = None
    functions: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    base: Path | None = None

    def resolve(self, path: str) -> Path:
        """Return an absolute path: ``~`` expanded, relative paths counted from `base`."""
        return (self.base or Path.cwd()) / Path(path).expanduser()
