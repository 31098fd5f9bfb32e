"""Files that are costly to make and safe to lose: the user's cache folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cache_folder", "published_folder"]


def cache_folder(*parts: str) -> Path:
    """Return a folder below ``$XDG_CACHE_HOME/thresher`` (``~/.cache/thresher``); it may not exist.

    Parameters
    ----------
    *parts : str
        Names of folders below it.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    root = Path(home) if home else Path.home() / ".cache"
    return root.joinpath("thresher", *parts)


@contextmanager
def published_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it appears under its name only when it is complete.

    Parameters
    ----------
    folder : Path
        Where it should appear. When another process was faster, its folder stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield draft
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
