"""Where and how tensors are computed: device, number type, threads, batches."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from thresher.errors import InterfaceError, OperationalError
from thresher.oracles.options import Option, Options

__all__ = [
    "RUNTIME_OPTIONS",
    "Runtime",
    "quiet",
    "require_models",
    "resolve_runtime",
    "run_batches",
    "token_batches",
]

RUNTIME_OPTIONS = {
    "device": Option("text"),
    "dtype": Option("text", choices=("auto", "float32", "bfloat16", "float16")),
    "batch_tokens": Option("count"),
    "batch_size": Option("count"),
}
Positions = npt.NDArray[np.int64]
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 512, 32_768
_ROWS_PER_CORE, _GPU_BATCH_SIZE = 64, 1024


@dataclass(frozen=True, slots=True)
class Runtime:
    """A resolved device with its number type.

    Parameters
    ----------
    device : str
        ``cpu``, ``cuda``, ``cuda:1``, ...
    dtype : str
        ``float32``, ``bfloat16`` or ``float16``.
    batch_tokens : int
        Tokens (padding counted) of one pass through the model. On a CPU few of them keep the
        activations in cache.
    batch_size : int
        Rows labelled between two commits.
    """

    device: str
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


def _best_dtype(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"
    return "bfloat16" if device == "cpu" and _has_amx() else "float32"


def resolve_runtime(options: Options) -> Runtime:
    """Return the device and number type that the options and this machine lead to.

    Notes
    -----
    ``dtype = 'auto'`` is bfloat16 (float16 before compute capability 8) on CUDA, bfloat16 on a CPU
    with AMX tiles, float32 elsewhere. The resolved type is part of a model's version, since
    answers near the boundary change with it.

    Raises
    ------
    InterfaceError
        If torch or transformers is not installed.
    OperationalError
        If the device does not exist.
    """
    require_models()
    import torch

    device = (options.text("device", "auto") or "auto").lower()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OperationalError(
            f"{options.who}: device {device!r} cannot be used"
            f" ({str(error).splitlines()[0]}). Write device = 'cpu' or 'auto'."
        ) from error
    dtype = (options.text("dtype", "auto") or "auto").lower()
    on_gpu = device != "cpu"
    return Runtime(
        device,
        _best_dtype(device) if dtype == "auto" else dtype,
        options.count("batch_tokens", _GPU_BATCH_TOKENS if on_gpu else _CPU_BATCH_TOKENS),
        options.count("batch_size", _GPU_BATCH_SIZE if on_gpu else _ROWS_PER_CORE * _threads()),
    )


def _physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    siblings = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text() if path.exists() else str(cpu))
    return len(siblings) or os.cpu_count() or 1


def _threads() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else _physical_cores()


def run_batches(
    work: Callable[[Positions], None], batches: list[Positions], device: str, parallel: bool = True
) -> None:
    """Do the work for each batch, on a CPU several batches at a time.

    Parameters
    ----------
    work : callable
        Takes positions from `token_batches`; it runs in inference mode.
    batches : list of ndarray of int64
        All batches.
    device : str
        As in `Runtime`.
    parallel : bool
        Whether the model may run in several threads at once.

    Notes
    -----
    A thread per physical core (or ``OMP_NUM_THREADS``), each with batches of its own, is faster
    than all cores on one batch: small matrices do not wait for one another at every
    operation, and another busy process slows one batch and not all. The thread count of torch is
    put back afterwards.
    """
    import torch

    def one(batch: Positions) -> None:
        with torch.inference_mode():
            work(batch)

    if device != "cpu":
        for batch in batches:
            one(batch)
        return
    before, threads = torch.get_num_threads(), _threads()
    workers = max(1, min(threads, len(batches))) if parallel else 1
    torch.set_num_threads(max(1, threads // workers))  # new threads start with this count
    pool = ThreadPoolExecutor(workers)
    try:
        for done in [pool.submit(one, batch) for batch in reversed(batches)]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' log lines, warnings and progress bars for a while."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def token_batches(lengths: Positions, budget: int) -> list[Positions]:
    """Return positions in batches of similar length.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Tokens of each sequence.
    budget : int
        Tokens of a batch after padding to its longest sequence; a longer sequence goes alone.

    Examples
    --------
    >>> [batch.tolist() for batch in token_batches(np.array([5, 1, 2, 9]), 8)]
    [[1, 2], [0], [3]]
    """
    order = np.argsort(lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= budget:
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return batches
