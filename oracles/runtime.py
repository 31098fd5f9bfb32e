"""Where tensors are computed, and in which number type."""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from thresher.errors import InterfaceError, OperationalError
from thresher.oracles.batching import n_threads
from thresher.oracles.options import Option, Options

__all__ = [
    "RUNTIME_OPTIONS",
    "Runtime",
    "quiet",
    "require_models",
    "resolve_runtime",
]

RUNTIME_OPTIONS = {
    "device": Option("text"),
    "dtype": Option("text", choices=("auto", "float32", "bfloat16", "float16")),
    "batch_tokens": Option("count"),
    "batch_size": Option("count"),
}
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 512, 32_768
_ROWS_PER_CORE, _GPU_BATCH_SIZE = 64, 1024


@dataclass(frozen=True, slots=True)
class Runtime:
    """Resolved devices with their number type.

    Parameters
    ----------
    devices : tuple of str
        ``cpu``, ``cuda:1``, ...; each has a copy of the model, and they share the batches.
    dtype : str
        ``float32``, ``bfloat16`` or ``float16``.
    batch_tokens : int
        Tokens (padding counted) of one pass through the model. On a CPU few of them keep the
        activations in cache.
    batch_size : int
        Rows labelled between two commits.
    """

    devices: tuple[str, ...]
    dtype: str
    batch_tokens: int
    batch_size: int


def require_models() -> None:
    """Raise an InterfaceError unless torch and transformers are installed."""
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise InterfaceError(
            f"Local models need {' and '.join(missing)}: pip install 'thresher[models]'"
        )


def _has_amx() -> bool:
    """Whether the CPU multiplies bfloat16 tiles, which is three times as fast as float32."""
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)  # since torch 2.11
    return ask is not None and bool(ask().get("amx_bf16", False))


def _best_dtype(devices: tuple[str, ...]) -> str:
    import torch

    if all(device.startswith("cuda") for device in devices):
        capability = min(torch.cuda.get_device_capability(device) for device in devices)
        return "bfloat16" if capability[0] >= 8 else "float16"
    return "bfloat16" if set(devices) == {"cpu"} and _has_amx() else "float32"


def _devices(named: str, who: str) -> tuple[str, ...]:
    """The devices that the option ``device`` names; ``cuda`` is all there are."""
    import torch

    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    every = tuple(f"cuda:{i}" for i in range(n_cuda))
    if named == "auto":
        return every or ("cpu",)
    devices = every if named == "cuda" and every else tuple(x.strip() for x in named.split(","))
    for device in devices:
        try:
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise OperationalError(
                f"{who}: device {device!r} cannot be used"
                f" ({str(error).splitlines()[0]}). Write device = 'cpu' or 'auto'."
            ) from error
    return devices


def resolve_runtime(options: Options) -> Runtime:
    """Return the devices and the number type that the options and this machine lead to.

    Notes
    -----
    ``device = 'auto'`` is every CUDA device there is, or the CPU; ``'cuda:0,cuda:2'`` names two.
    ``dtype = 'auto'`` is bfloat16 (float16 before compute capability 8) on CUDA, bfloat16 on a CPU
    with AMX tiles, float32 elsewhere. The resolved type is part of a model's version, since
    answers near the boundary change with it.

    Raises
    ------
    InterfaceError
        If torch or transformers is not installed.
    OperationalError
        If a device does not exist.
    """
    require_models()
    devices = _devices((options.text("device", "auto") or "auto").lower(), options.who)
    dtype = (options.text("dtype", "auto") or "auto").lower()
    on_gpu = not devices[0].startswith("cpu")
    rows = _GPU_BATCH_SIZE * len(devices) if on_gpu else _ROWS_PER_CORE * n_threads()
    return Runtime(
        devices,
        _best_dtype(devices) if dtype == "auto" else dtype,
        options.count("batch_tokens", _GPU_BATCH_TOKENS if on_gpu else _CPU_BATCH_TOKENS),
        options.count("batch_size", rows),
    )


class _Quiet:
    """What was set before the first of the blocks that are quiet now, in whatever threads."""

    def __init__(self) -> None:
        self._lock, self._n_inside = threading.Lock(), 0
        self._before = ExitStack()

    def enter(self) -> None:
        from transformers.utils import logging

        with self._lock:
            self._n_inside += 1
            if self._n_inside > 1:
                return
            self._before.callback(logging.set_verbosity, logging.get_verbosity())
            if logging.is_progress_bar_enabled():
                self._before.callback(logging.enable_progress_bar)
            logging.set_verbosity_error()  # type: ignore[no-untyped-call]
            logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            self._before.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")

    def leave(self) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self._before.close()


_QUIET = _Quiet()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' log lines, warnings and progress bars; several threads may at once."""
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()
