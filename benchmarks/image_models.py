"""The networks of the image benchmark, trained by it, as modules of `USING pytorch`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.datasets import cache_folder
from benchmarks.fashion import CLASSES, SIDE, Images

SEED = 20_260_101
ROWS = 128


@dataclass(frozen=True, slots=True)
class Trained:
    """Weights of a network, and how they came about."""

    weights: Path
    sha256: str
    seed: int
    epochs: int
    seconds: float


def cnn() -> torch.nn.Module:
    """The oracle: two convolutions and two layers above them."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 7 * 7, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, len(CLASSES)),
    )


def linear() -> torch.nn.Module:
    """The proxy: one layer over the pixels."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE * SIDE, len(CLASSES)))


def from_bytes(images: Sequence[bytes]) -> torch.Tensor:
    """Input of both: images of 784 bytes, a pixel each."""
    return scaled(np.frombuffer(b"".join(images), dtype=np.uint8))


def from_lists(images: Sequence[Sequence[int]]) -> torch.Tensor:
    """Input of both: images as lists of 784 pixels."""
    return scaled(np.array(images, dtype=np.uint8))


def scaled(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Pixels in [0, 1], shape (n, 1, 28, 28)."""
    return torch.from_numpy(pixels.reshape(-1, 1, SIDE, SIDE).astype(np.float32) / 255.0)


def trained(
    make: Callable[[], torch.nn.Module], images: Images, epochs: int, folder: Path | None = None
) -> Trained:
    """Weights of a network after some passes over the images: from the cache, if it has them.

    The cache knows them by network, images, seed, epochs and version of torch.
    """
    folder = folder or cache_folder() / "benchmarks"
    content = hashlib.sha256(images.pixels.tobytes() + images.labels.tobytes())
    facts = (make.__name__, str(make()), content.hexdigest(), SEED, epochs, ROWS)
    key = hashlib.sha256(repr((*facts, torch.__version__)).encode()).hexdigest()[:16]
    path = folder / f"fashion-{make.__name__}-{key}.safetensors"
    note = path.with_suffix(".json")
    if not note.is_file() or _sha256(path) != json.loads(note.read_text())["sha256"]:
        _train(make, images, epochs, path)
    return Trained(path, **json.loads(note.read_text()))


def _train(make: Callable[[], torch.nn.Module], images: Images, epochs: int, path: Path) -> None:
    """Adam with one cycle of the learning rate; weights, and a note with hash and time."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    begun, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices, and the same weights on any machine's cores
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        module = make()
        _fit(module, scaled(images.pixels), torch.from_numpy(images.labels), epochs)
    torch.set_num_threads(threads)
    save_file(module.state_dict(), path)
    took = round(time.perf_counter() - begun, 1)
    note = {"sha256": _sha256(path), "seed": SEED, "epochs": epochs, "seconds": took}
    path.with_suffix(".json").write_text(json.dumps(note))


def _fit(module: torch.nn.Module, inputs: torch.Tensor, wanted: torch.Tensor, epochs: int) -> None:
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    n_steps = epochs * -(-len(inputs) // ROWS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=n_steps)
    module.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(ROWS):
            optimizer.zero_grad()
            loss(module(inputs[rows]), wanted[rows]).backward()
            optimizer.step()
            schedule.step()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
