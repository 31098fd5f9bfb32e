"""What models made of texts before: vectors in memory, and on disk in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

__all__ = ["VectorStore"]

_KEY_BYTES = 16
_DISK_LIMIT_BYTES = 2**30


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_KEY_BYTES).digest()


class VectorStore:
    """One vector per text.

    Parameters
    ----------
    folder : Path or None
        Where the vectors also lie on disk, one file per call of `add`; None for memory only. The
        oldest files go when all together take more than a gibibyte.
    dtype : numpy.dtype
        Floating type in which they are kept.
    """

    def __init__(self, folder: Path | None, dtype: npt.DTypeLike = np.float16) -> None:
        self._folder, self._dtype = folder, np.dtype(dtype)
        self._position: dict[bytes, int] = {}
        self._vectors: npt.NDArray[np.floating] = np.zeros((0, 0), dtype=self._dtype)
        files = sorted(folder.glob("*.npz")) if folder and folder.is_dir() else []
        read = [found for found in map(self._read, files) if found is not None]
        if read:
            keys = [key for found, _ in read for key in found]
            self._append(keys, np.concatenate([vectors for _, vectors in read]))

    def _read(self, path: Path) -> tuple[list[bytes], npt.NDArray[np.floating]] | None:
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                keys, vectors = file["keys"], file["vectors"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None  # cut short, or just removed by another process
        if len(keys) != len(vectors) or not len(keys):
            return None
        return [bytes(key) for key in keys], vectors

    def _append(self, keys: Sequence[bytes], vectors: npt.NDArray[np.floating]) -> None:
        start = len(self._vectors)
        self._position.update((key, start + i) for i, key in enumerate(keys))
        known = [self._vectors] if start else []
        self._vectors = np.concatenate([*known, vectors.astype(self._dtype)])

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return the distinct texts without a vector, in order of appearance."""
        return [t for t in dict.fromkeys(texts) if _key(t) not in self._position]

    def add(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Keep vectors of shape (n, width) of distinct texts."""
        if not len(texts):
            return
        keys = [_key(text) for text in texts]
        self._append(keys, vectors)
        if self._folder is not None:
            self._write(self._folder, keys, vectors.astype(self._dtype))

    def _write(self, folder: Path, keys: list[bytes], vectors: npt.NDArray[np.floating]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        packed = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, _KEY_BYTES)
        descriptor, draft = tempfile.mkstemp(suffix=".draft", dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, keys=packed, vectors=vectors)
        name = hashlib.sha256(packed.tobytes()).hexdigest()[:32]
        Path(draft).replace(folder / f"{name}.npz")
        self._trim(folder)

    def _trim(self, folder: Path) -> None:
        files = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in files)
        for path in files[:-1]:
            if total <= _DISK_LIMIT_BYTES:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)

    def get(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors of texts that all have one, shape (n, width)."""
        positions = [self._position[_key(text)] for text in texts]
        return self._vectors[positions].astype(np.float32)
