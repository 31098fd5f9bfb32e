"""Batches that are shared by copies of a model, and memory that does not suffice."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from thresher.oracles.batching import Replicas, ahead, token_batches  # noqa: E402


def copies(n: int, kind: str = "cpu") -> Replicas:
    return Replicas([SimpleNamespace(device=SimpleNamespace(type=kind)) for _ in range(n)])


def batches_of(n: int, size: int) -> list[np.ndarray]:
    return np.array_split(np.arange(n), n // size)


class Memory:
    """Work that fits only so many rows at a time."""

    def __init__(self, n_fit: int, error: Exception) -> None:
        self.n_fit, self.error = n_fit, error
        self.done: list[int] = []
        self.tried: list[int] = []

    def __call__(self, model: object, batch: np.ndarray) -> None:
        self.tried.append(len(batch))
        if len(batch) > self.n_fit:
            raise self.error
        self.done += batch.tolist()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("MPS backend out of memory"),
    ],
)
@pytest.mark.parametrize("n_fit", [1, 2, 3, 5, 8])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(error: Exception, n_fit: int) -> None:
    memory = Memory(n_fit, error)
    copies(1, "cuda").run(memory, batches_of(40, 8))
    assert sorted(memory.done) == list(range(40))


def test_what_did_not_fit_once_is_not_tried_again_in_later_batches_and_calls() -> None:
    memory, replicas = Memory(2, torch.OutOfMemoryError("out of memory")), copies(1, "cuda")
    replicas.run(memory, batches_of(40, 8))
    assert memory.tried.count(8) == 1
    memory.tried.clear()
    replicas.run(memory, batches_of(40, 8))
    assert max(memory.tried) == 2
    assert sorted(memory.done) == sorted([*range(40), *range(40)])


def test_one_row_that_does_not_fit_is_the_error() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="Tried"):
        copies(1, "cuda").run(Memory(0, torch.OutOfMemoryError("Tried")), batches_of(4, 4))


def test_other_errors_are_not_tried_again() -> None:
    memory = Memory(1, RuntimeError("expected scalar type Half"))
    with pytest.raises(RuntimeError, match="scalar type Half"):
        copies(1, "cuda").run(memory, batches_of(8, 4))
    assert memory.tried == [4]


def test_each_copy_has_a_thread_and_all_share_the_batches() -> None:
    replicas = copies(3, "cuda")
    seen: list[tuple[int, int]] = []
    rows: list[int] = []
    met: set[int] = set()
    meeting = threading.Barrier(3, timeout=60)

    def work(model: object, batch: np.ndarray) -> None:
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            meeting.wait()  # passes only if three copies work at a time
        seen.append((id(model), threading.get_ident()))
        rows.extend(batch.tolist())
        time.sleep(0.001)

    replicas.run(work, batches_of(60, 2))
    assert sorted(rows) == list(range(60))
    assert {model for model, _ in seen} == {id(model) for model in replicas.models}
    assert len({thread for _, thread in seen}) == 3
    assert len(set(seen)) == 3, "a copy is used by one thread only"


def test_an_error_in_one_copy_stops_the_others() -> None:
    done: list[int] = []

    def work(model: object, batch: np.ndarray) -> None:
        if 399 in batch:
            raise RuntimeError("broken")
        time.sleep(0.001)
        done.extend(batch.tolist())

    with pytest.raises(RuntimeError, match="broken"):
        copies(2, "cuda").run(work, batches_of(400, 1))
    assert len(done) < 400


def test_work_runs_in_inference_mode() -> None:
    modes: list[bool] = []
    for n in (1, 2):
        copies(n).run(
            lambda m, b: modes.append(torch.is_inference_mode_enabled()), batches_of(4, 1)
        )
    assert modes == [True] * 8


def test_the_next_chunk_is_prepared_while_one_is_used() -> None:
    chunks = [np.arange(i, i + 2) for i in range(0, 8, 2)]
    prepared: list[int] = []
    used: list[int] = []
    following = threading.Event()

    def prepare(chunk: np.ndarray) -> int:
        prepared.append(int(chunk[0]))
        if len(prepared) > 1:
            following.set()
        return int(chunk.sum())

    def use(chunk: np.ndarray, total: int) -> None:
        assert following.wait(10), "the second is prepared before the first is done"
        assert len(prepared) <= len(used) + 2, "no more than one is prepared ahead"
        assert total == chunk.sum()
        used.append(int(chunk[0]))

    ahead(prepare, chunks, use)
    assert used == prepared == [0, 2, 4, 6]


def test_batches_hold_every_row_once_within_their_budget() -> None:
    lengths = np.random.default_rng(3).integers(1, 60, 500)
    batches = token_batches(lengths, 128)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= 128
    padding = sum(len(b) * lengths[b].max() for b in batches) / lengths.sum()
    assert padding < 1.05
