"""A local model as an oracle: loaded on the first answer, versioned by its weights and question."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import pyarrow as pa

from thresher.errors import OracleError
from thresher.oracles.options import Options
from thresher.oracles.protocols import Answers
from thresher.oracles.runtime import Runtime, quiet, resolve_runtime
from thresher.oracles.token_counts import COUNTING_TASKS, TokenCount
from thresher.oracles.versions import digest
from thresher.oracles.weights import Source, load_tokenizer

__all__ = ["LoadedTask", "LocalOracle", "Task"]


class LoadedTask(Protocol):
    """A task whose model is in memory; one that counts tokens has them as its `tokens`."""

    def answer(self, batch: pa.Table) -> Answers:
        """Label a batch of one row or more."""


class Task(Protocol):
    """What is asked of a local model; nothing of it needs the weights."""

    @property
    def name(self) -> str:
        """The value of the option ``task``."""

    @property
    def returns(self) -> pa.DataType:
        """Arrow type of the answers."""

    @property
    def facts(self) -> tuple[object, ...]:
        """Plain values: all that an answer hangs on besides weights and number type."""

    def load(self, source: Source, version: str, runtime: Runtime) -> LoadedTask:
        """Load the model, and check what could not be checked without it."""


class LocalOracle:
    """A model on this machine that gives one answer per row.

    Parameters
    ----------
    task : Task
        What is asked.
    source : Source
        Where the weights lie.
    options : Options
        For the devices, the number type and the batch sizes.
    """

    def __init__(self, task: Task, source: Source, options: Options) -> None:
        self._task, self._source, self._options = task, source, options
        self._runtime: Runtime | None = None
        self._weights: str | None = None
        self._loaded: LoadedTask | None = None

    def _resolved(self) -> Runtime:
        if self._runtime is None:
            self._runtime = resolve_runtime(self._options)
        return self._runtime

    def _weights_version(self) -> str:
        if self._weights is None:
            self._weights = self._source.version()
        return self._weights

    @property
    def version(self) -> str:
        """Hash (hex) of weights, number type and all that is asked.

        It hashes local weights (once) and asks torch for the device, which takes seconds.
        """
        task = self._task
        return digest(
            task.name,
            self._weights_version(),
            self._resolved().dtype,
            str(task.returns),
            *task.facts,
        )

    @property
    def counts_tokens(self) -> bool:
        """Whether answers say how many tokens they took: where rows are tokens."""
        return self._task.name in COUNTING_TASKS

    def about_tokens(self, batch: pa.Table) -> float | None:
        """Return how many tokens a row of a batch has with its prompt, by the model's tokenizer.

        No weights are loaded; what a chat puts round it and what is written is not counted. None
        where rows are no tokens, or the tokenizer cannot be had without the weights.
        """
        read = getattr(self._task, "texts_read", None)
        if read is None or not self.counts_tokens or not batch.num_rows:
            return None
        texts: list[str] | None = read(batch)
        tokenizer = load_tokenizer(self._source.pinned()) if texts else None
        if tokenizer is None:
            return None
        with quiet():
            found: list[list[int]] = tokenizer(texts)["input_ids"]
        return float(sum(map(len, found)) / batch.num_rows)

    @property
    def batch_size(self) -> int:
        """Rows passed at once: a second or a few of work."""
        return self._resolved().batch_size

    def answer(self, batch: pa.Table) -> Answers:
        """Label a batch; the weights are loaded on the first call.

        Raises
        ------
        InterfaceError
            If torch or transformers is not installed.
        OperationalError
            If the weights cannot be loaded, or the question does not fit the model; as
            `OracleError` if the model fails on this batch.
        DataError
            If a score is not finite, or an input cannot be read; the message names the row.
        """
        if not batch.num_rows:
            return Answers(pa.array([], self._task.returns))
        if self._loaded is None:
            runtime = self._resolved()
            self._loaded = self._task.load(self._source, self._weights_version(), runtime)
        try:
            with quiet():
                answers = self._loaded.answer(batch)
        except RuntimeError as error:  # torch: out of memory, an operation the device lacks
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
            raise OracleError(
                f"{self._options.who}: the model failed: {reason}. Write a smaller batch_tokens,"
                " or another device or dtype."
            ) from error
        count: TokenCount | None = getattr(self._loaded, "tokens", None)
        return answers if count is None else replace(answers, tokens=count.settled())
