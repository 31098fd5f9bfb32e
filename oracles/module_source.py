"""PyTorch modules of the user's: made, given their weights, hashed."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from thresher.errors import OperationalError
from thresher.oracles.versions import digest, function_version

if TYPE_CHECKING:
    import torch

__all__ = ["ModuleSource"]


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A module and the function that makes its inputs, not built yet.

    Parameters
    ----------
    made : object
        A ``torch.nn.Module``, or a class or function without arguments that makes one.
    preprocess : callable
        From one list per argument to tensors.
    weights : Path or None
        Safetensors file of the module's state.
    dtype : str or None
        Number type of module and floating inputs; None leaves them as they are.
    file : Path or None
        Source file in which `made` was looked up.
    """

    made: object
    preprocess: Callable[..., object]
    weights: Path | None
    dtype: str | None
    file: Path | None

    def build(self, who: str) -> torch.nn.Module:
        """Make the module, with its weights, for inference.

        Raises
        ------
        OperationalError
            If no module is made, or the weights are not its own.
        """
        import torch

        made = self.made
        if isinstance(made, torch.nn.Module):
            made = copy.deepcopy(made)
        elif callable(made):
            try:
                made = made()
            except Exception as error:
                raise OperationalError(
                    f"{who}: making the module raised {type(error).__name__}: {error}. What module"
                    " names must be a torch.nn.Module, or take no arguments and return one."
                ) from error
        if not isinstance(made, torch.nn.Module):
            raise OperationalError(
                f"{who}: module made {type(made).__name__!r}, not a torch.nn.Module."
            )
        if self.weights is not None:
            self._load(made, self.weights, who)
        if self.dtype is not None:
            made = made.to(getattr(torch, self.dtype))
        return made.eval()

    def _load(self, module: torch.nn.Module, weights: Path, who: str) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            module.load_state_dict(load_file(weights), strict=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise OperationalError(
                f"{who}: {weights} does not hold the weights of this module: {reason}"
            ) from error

    def version(self, module: torch.nn.Module) -> str:
        """Return a hash (hex) of code, weights and number type.

        Notes
        -----
        Hashed: `file`; the source files of what makes the module and of all classes of its parts
        outside torch; how it prints; `preprocess` by `function_version`; the weights file, or
        without one the parameters and buffers themselves. Functions of other files are not seen.
        """
        import torch

        parts: set[object] = {type(part) for part in module.modules()}
        if not isinstance(self.made, torch.nn.Module):
            parts.add(self.made)
        versions = {_code_version(part) for part in parts if not _is_torchs(part)}
        code = sorted(versions)
        state = _file_sha(self.weights) if self.weights else _state_version(module)
        preprocess = function_version(self.preprocess)
        return digest(code, _file_sha(self.file), repr(module), preprocess, state, self.dtype)


def _file_sha(path: Path | None) -> str | None:
    """Hash of a whole file: fine-tuning may have changed a few kilobytes of many."""
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_torchs(item: object) -> bool:
    return str(getattr(item, "__module__", "")).partition(".")[0] == "torch"


def _code_version(item: object) -> str:
    """Name of a class or function, and a hash of its whole source file."""
    name = f"{getattr(item, '__module__', '')}.{getattr(item, '__qualname__', type(item))}"
    try:
        file = inspect.getsourcefile(cast("Any", item))
    except TypeError:
        file = None
    return digest(name, _file_sha(None if file is None else Path(file)))


def _state_version(module: torch.nn.Module) -> str:
    import torch

    state = module.state_dict()
    hashed = []
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        content = tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""
        sha = hashlib.sha256(content).hexdigest()
        hashed.append((name, str(tensor.dtype), list(tensor.shape), sha))
    return digest(hashed)
