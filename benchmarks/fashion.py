"""Fashion-MNIST: 70,000 images of clothes, 28 x 28, as the Debian package carries them.

The package `dataset-fashion-mnist` (MIT licence) is used where it is installed. Elsewhere
`apt-get download` fetches it, which needs no root, and its files are unpacked into the cache.
H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", 2017.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.datasets import DatasetUnavailableError, cache_folder

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SIDE = 28
ENDING = "-ubyte.gz"
_SHA256 = {
    "t10k-images-idx3": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    "train-images-idx3": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
}


@dataclass(frozen=True, slots=True)
class Images:
    """Images and what they show.

    `pixels` are uint8 of shape (n, 784), row by row, 0 is the background; `labels` int64 of shape
    (n,), positions in `CLASSES`.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def fashion_mnist() -> tuple[Images, Images]:
    """The 60,000 images to train on, and the 10,000 others."""
    folder = _folder()
    return _read(folder, "train"), _read(folder, "t10k")


def _folder() -> Path:
    """Where the four files lie, fetched first if need be."""
    cached = cache_folder() / PACKAGE
    for folder in (INSTALLED, cached):
        if all(_is_whole(folder / f"{name}{ENDING}", sha) for name, sha in _SHA256.items()):
            return folder
    _fetch(cached)
    return cached


def _is_whole(path: Path, sha: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha


def _fetch(folder: Path) -> None:
    """Download the package and unpack its images into a folder."""
    with tempfile.TemporaryDirectory() as work:
        try:
            _run(["apt-get", "download", "-q", PACKAGE], work)
            [archive] = Path(work).glob("*.deb")
            _run(["dpkg-deb", "-x", str(archive), "unpacked"], work)
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            reason = (str(getattr(error, "stderr", "")) or str(error)).strip().splitlines()
            raise DatasetUnavailableError(
                f"Fashion-MNIST is not in {INSTALLED} and could not be fetched "
                f"({reason[-1] if reason else type(error).__name__}). On Debian and Ubuntu: "
                f"sudo apt-get install {PACKAGE}. Elsewhere put its four files into {folder}"
            ) from error
        folder.mkdir(parents=True, exist_ok=True)
        for name, sha in _SHA256.items():
            found = Path(work) / "unpacked" / INSTALLED.relative_to("/") / f"{name}{ENDING}"
            if not _is_whole(found, sha):
                raise DatasetUnavailableError(
                    f"{PACKAGE} holds another {found.name} than is expected"
                )
            shutil.copy(found, folder / found.name)


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)


def _read(folder: Path, part: str) -> Images:
    """Read the two IDX files of a part: a header of 16 or 8 bytes, then bytes."""
    pixels = gzip.decompress((folder / f"{part}-images-idx3{ENDING}").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1{ENDING}").read_bytes())
    return Images(
        np.frombuffer(pixels, dtype=np.uint8, offset=16).reshape(-1, SIDE * SIDE),
        np.frombuffer(labels, dtype=np.uint8, offset=8).astype(np.int64),
    )
