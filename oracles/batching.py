"""Passes through a model: batches of like length, several at a time, smaller if need be."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Replicas", "ahead", "n_threads", "token_batches"]

Positions = npt.NDArray[np.int64]
Prepared = TypeVar("Prepared")
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Replicas:
    """Copies of one model, one for each device, that share the batches of a call.

    Parameters
    ----------
    models : sequence of PreTrainedModel
        Each on its device, in inference mode.

    Notes
    -----
    On a CPU a thread per physical core (or ``OMP_NUM_THREADS``), each with batches of its own, is
    faster than all cores on one batch: small matrices do not wait for one another at every
    operation, and another busy process slows one batch and not all. The thread count of torch is
    put back afterwards. On accelerators each copy has one thread.

    A batch for which memory does not suffice is cut in halves, and so are all that follow it, also
    in later calls: what did not fit once will not fit the next time.
    """

    def __init__(self, models: Sequence[PreTrainedModel]) -> None:
        self.models = tuple(models)
        self._n_pieces = 1
        rope = str(getattr(getattr(self.model, "config", None), "rope_parameters", ""))
        # These two kinds of rotary embedding rewrite their own tables in a forward pass.
        self._parallel = "dynamic" not in rope and "longrope" not in rope

    @property
    def model(self) -> PreTrainedModel:
        """The first copy, for what is asked of one only."""
        return self.models[0]

    @property
    def on_cpu(self) -> bool:
        """Whether the copies compute on the CPU."""
        return bool(self.model.device.type == "cpu")

    def run(
        self,
        work: Callable[[PreTrainedModel, Positions], None],
        batches: Sequence[Positions],
        parallel: bool = True,
    ) -> None:
        """Do the work for each batch, in inference mode; the last batches first.

        Parameters
        ----------
        work : callable
            ``work(model, batch)``: it may be called again for halves of a batch.
        batches : sequence of ndarray of int64
            From `token_batches`.
        parallel : bool
            Whether one copy may run in several threads at once.

        Raises
        ------
        torch.OutOfMemoryError
            If memory does not suffice for a batch of one.
        """
        import torch

        waiting = deque(batches)
        threads = n_threads() if self.on_cpu else len(self.models)
        n_workers = max(1, min(threads, len(waiting)))
        workers = [self.models[i % len(self.models)] for i in range(n_workers)]
        if not (parallel and self._parallel):
            workers = workers[: len(self.models)]
        before = torch.get_num_threads()
        if self.on_cpu:
            torch.set_num_threads(max(1, threads // len(workers)))  # new threads start with it
        try:
            self._share(work, waiting, workers)
        finally:
            torch.set_num_threads(before)

    def _share(
        self,
        work: Callable[[PreTrainedModel, Positions], None],
        waiting: deque[Positions],
        workers: Sequence[PreTrainedModel],
    ) -> None:
        stopped = threading.Event()

        def serve(model: PreTrainedModel) -> None:
            try:
                while not stopped.is_set() and waiting:
                    try:
                        batch = waiting.pop()
                    except IndexError:  # another thread was faster
                        return
                    self._work_off(work, model, batch)
            except BaseException:
                stopped.set()
                raise

        if len(workers) == 1:
            serve(workers[0])
            return
        pool = ThreadPoolExecutor(len(workers))
        try:
            for done in [pool.submit(serve, model) for model in workers]:
                done.result()
        finally:
            stopped.set()
            pool.shutdown()

    def _work_off(
        self,
        work: Callable[[PreTrainedModel, Positions], None],
        model: PreTrainedModel,
        batch: Positions,
    ) -> None:
        """Do one batch, in as many pieces as fit into memory."""
        n_pieces = self._n_pieces
        pieces = deque(p for p in np.array_split(batch, n_pieces) if len(p))
        while pieces:
            piece = pieces.popleft()
            if _fits(work, model, piece):
                continue
            _free(model)
            pieces.extendleft(reversed(np.array_split(piece, 2)))
            n_pieces = -(-len(batch) // -(-len(piece) // 2))
            self._n_pieces = max(self._n_pieces, n_pieces)


def _fits(
    work: Callable[[PreTrainedModel, Positions], None], model: PreTrainedModel, batch: Positions
) -> bool:
    """Do the work, or say that memory does not suffice; the error, with its tensors, is gone."""
    import torch

    try:
        with torch.inference_mode():
            work(model, batch)
    except RuntimeError as error:
        text = str(error)
        short = isinstance(error, torch.OutOfMemoryError) or any(n in text for n in _NO_MEMORY)
        if not short or len(batch) == 1:
            raise
        return False
    return True


def _free(model: PreTrainedModel) -> None:
    import torch

    if model.device.type == "cuda":
        torch.cuda.empty_cache()


def ahead(
    prepare: Callable[[Positions], Prepared],
    chunks: Sequence[Positions],
    use: Callable[[Positions, Prepared], None],
) -> None:
    """Prepare each chunk in another thread while the one before it is used.

    Parameters
    ----------
    prepare : callable
        Makes of a chunk what `use` needs, such as the tokens of its texts.
    chunks : sequence of ndarray of int64
        In the order in which they are used.
    use : callable
        ``use(chunk, prepared)``, in the caller's thread.
    """
    if len(chunks) == 1:
        use(chunks[0], prepare(chunks[0]))
        return
    with ThreadPoolExecutor(1) as pool:
        following = [pool.submit(prepare, chunk) for chunk in chunks[:1]]
        for i, chunk in enumerate(chunks):
            ready = following.pop().result()
            following = [pool.submit(prepare, later) for later in chunks[i + 1 : i + 2]]
            use(chunk, ready)


def _physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    siblings = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text() if path.exists() else str(cpu))
    return len(siblings) or os.cpu_count() or 1


def n_threads() -> int:
    """Return how many threads may compute at a time: ``OMP_NUM_THREADS``, or physical cores."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else _physical_cores()


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
