"""Images whose proxy is EfficientNet-lite0 and whose oracle is lite2, both trained by others.

The images are those of Fashion-MNIST's test half, inverted (dark clothes on white, as in shops), as
PNG files. What the two networks say of each is computed once and kept as parquet in the cache, some
rows at a time, so that a run that was cut off goes on.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.datasets import cache_folder
from benchmarks.fashion import SIDE

ROWS_OF_A_PART = 200
PASS = 25
Floats = npt.NDArray[np.float32]


def png(pixels: npt.NDArray[np.uint8]) -> list[bytes]:
    """Images, shape (n, 784), as PNG files, inverted."""
    from PIL import Image

    files = []
    for row in 255 - pixels.reshape(-1, SIDE, SIDE):
        file = io.BytesIO()
        Image.fromarray(row).save(file, "PNG")
        files.append(file.getvalue())
    return files


def logits(name: str, files: Sequence[bytes], folder: Path | None = None) -> Floats:
    """What a network says of 1,000 classes, shape (n, 1000), from the cache as far as it goes."""
    folder = folder or cache_folder() / "benchmarks"
    run: Callable[[Sequence[bytes]], Floats] | None = None
    found = []
    for first in range(0, len(files), ROWS_OF_A_PART):
        chosen = files[first : first + ROWS_OF_A_PART]
        path = folder / f"efficientnet-{name}-fashion-{first:05d}-{len(chosen)}.parquet"
        if not path.is_file():
            run = run or _network(name)
            print(f"{name}: images {first:,} to {first + len(chosen):,}", flush=True)
            _keep(run(chosen), path)
        column = pq.read_table(path)["logits"].combine_chunks()
        found.append(np.asarray(column.flatten(), dtype=np.float32).reshape(len(chosen), -1))
    return np.concatenate(found)


def _keep(made: Floats, path: Path) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), made.shape[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    pq.write_table(pa.table({"logits": values}), draft)
    draft.replace(path)


def _network(name: str) -> Callable[[Sequence[bytes]], Floats]:
    """A network as the modules of `USING pytorch` have it, up to its 1,000 classes."""
    import torch
    from safetensors.torch import load_file

    from benchmarks import efficientnet

    module = {"lite0": efficientnet.lite0, "lite2": efficientnet.lite2}[name]().eval()
    module.load_state_dict(load_file(efficientnet.weights(name)))
    prepare = {"lite0": efficientnet.for_lite0, "lite2": efficientnet.for_lite2}[name]
    net = module.net

    def run(files: Sequence[bytes]) -> Floats:
        parts = []
        with torch.inference_mode():
            for first in range(0, len(files), PASS):
                inputs = prepare(files[first : first + PASS])
                parts.append(net(inputs.contiguous(memory_format=torch.channels_last)).numpy())
        return np.concatenate(parts)

    return run


def probabilities(name: str, files: Sequence[bytes]) -> npt.NDArray[np.float64]:
    """What a network says of the groups of classes and the rest, shape (n, 4)."""
    import torch

    from benchmarks.efficientnet import grouped

    said = torch.from_numpy(logits(name, files)).double()
    found: npt.NDArray[np.float64] = grouped(said).softmax(dim=1).numpy()
    return found
