"""Provider ``human``: people who answer one item at a time, through a queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from thresher.errors import NotSupportedError, UnansweredError
from thresher.oracles.answers import arrow_type, checked_answers
from thresher.oracles.context import Context
from thresher.oracles.human_queue import Answer, Queue, Task
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.versions import digest

__all__ = ["OPTIONS", "HumanOracle", "create_oracle"]

OPTIONS = {
    "queue": Option("text", required=True),
    "question": Option("text", required=True),
    "labels": Option("texts"),
    "wait": Option("number"),
    "batch_size": Option("count"),
}
_BATCH_SIZE = 20
_POLL_S = 0.2
_MOST_BYTES = 16 << 20  # of a file in the queue
_MOST_LABELS = 30  # each is a key on the keyboard


class HumanOracle:
    """People, asked through a queue file that ``thresher label`` shows them.

    Parameters
    ----------
    name : str
        Declared name, for messages and for the people.
    signature : Signature
        Declared arguments and return type.
    task : Task
        What they are asked.
    path : Path
        The queue, made on first use.
    wait : float
        Seconds to wait for the answers to one batch; infinite where people may take their time.
    batch_size : int
        Items put into the queue at once.

    Notes
    -----
    An answer stays in the queue, so that none is asked for twice: not by a query that was
    interrupted or gave up waiting, and not where the label store is another one. Whether people
    agree with one another is not looked at: their answer is the truth.
    """

    def __init__(
        self,
        name: str,
        signature: Signature,
        task: Task,
        path: Path,
        *,
        wait: float,
        batch_size: int,
    ) -> None:
        self._name, self._signature, self._task = name, signature, task
        self._path, self._wait, self._batch_size = path, wait, batch_size

    @property
    def version(self) -> str:
        """Hash (hex) of the question, of what can be answered, and of the arguments."""
        return self._task.version

    @property
    def batch_size(self) -> int:
        """Items that wait in the queue at once."""
        return self._batch_size

    @property
    def queue(self) -> Path:
        """The file of its queue."""
        return self._path

    waits = True

    def answer(self, batch: pa.Table, waits: Callable[[], bool] = lambda: True) -> Answers:
        """Put a batch into the queue and wait until people have answered all of it.

        Parameters
        ----------
        batch : pyarrow.Table
            One column per declared argument.
        waits : callable
            Whether it may go on waiting; asked several times a second.

        Raises
        ------
        UnansweredError
            They have not within the time to wait; their answers until then are kept in the queue.
        OperationalError
            The queue cannot be opened.
        """
        given = batch.to_pylist()
        rows = [{name: _shown(value) for name, value in row.items()} for row in given]
        keys = [digest(self.version, row) for row in given]
        files = dict(zip(keys, map(_files, given), strict=True))
        queue = Queue(self._path)
        queue.ask(self._task, dict(zip(keys, rows, strict=True)), files)
        distinct, until = list(dict.fromkeys(keys)), time.monotonic() + self._wait
        while len(found := queue.answers(self.version, distinct)) < len(distinct):
            if time.monotonic() >= until or not waits():
                n_left = len(distinct) - len(found)
                raise UnansweredError(
                    f"oracle {self._name}: {n_left:,} item{'s' * (n_left != 1)} wait in "
                    f"{self._path}. Label them with: thresher label {self._path}, then run the "
                    "query again; it goes on from there."
                )
            time.sleep(_POLL_S)
        return self._answers([found[key] for key in keys], batch)

    def answered(self, batch: pa.Table) -> tuple[list[int], Answers]:
        """Return the rows of a batch that have an answer by now, and the answers."""
        keys = [digest(self.version, row) for row in batch.to_pylist()]
        found = Queue(self._path).answers(self.version, list(dict.fromkeys(keys)))
        rows = [row for row, key in enumerate(keys) if key in found]
        part = batch.take(pa.array(rows, pa.int64()))
        return rows, self._answers([found[keys[row]] for row in rows], part)

    def _answers(self, values: list[Answer], batch: pa.Table) -> Answers:
        """Return checked answers for the rows of a batch."""
        who = f"oracle {self._name}"
        return Answers(checked_answers(values, batch, self._signature.returns, who))


def _files(row: Mapping[str, object]) -> dict[str, bytes]:
    """Return the inputs that are files, as far as people can be shown them."""
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, bytes) and len(value) <= _MOST_BYTES
    }


def _shown(value: object) -> str:
    """Write one input as people read it."""
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    return "" if value is None else str(value)


def create_oracle(
    name: str, signature: Signature, options: Options, context: Context
) -> HumanOracle:
    """Make the oracle of ``USING human``; the queue is made on the first answer.

    Raises
    ------
    OptionError
        `labels` and the return type do not go together, or `wait` is negative.
    NotSupportedError
        People cannot answer with this type.
    """
    kind, labels = _kind(name, signature), tuple(options.texts("labels"))
    if kind == "label" and not 2 <= len(set(labels)) == len(labels) <= _MOST_LABELS:
        raise options.error(
            f"RETURNS VARCHAR needs 2 to {_MOST_LABELS} different labels. Write "
            "labels = ['good', 'bad'].",
            "labels",
        )
    if kind != "label" and labels:
        raise options.error("option 'labels' goes with RETURNS VARCHAR.", "labels")
    wait = options.number("wait", float("inf"))
    if wait < 0:
        raise options.error(f"option 'wait' is seconds, 0 or more, got {wait:g}.", "wait")
    question = options.text("question") or ""
    arguments = [(argument.name, argument.type) for argument in signature.arguments]
    version = digest("human", name.lower(), question, kind, list(labels), arguments)
    return HumanOracle(
        name,
        signature,
        Task(version, name, question, kind, labels),
        context.resolve(options.text("queue") or ""),
        wait=wait,
        batch_size=options.count("batch_size", _BATCH_SIZE),
    )


def _kind(name: str, signature: Signature) -> str:
    """Return how people answer."""
    returns = arrow_type(signature.returns)
    if pa.types.is_boolean(returns):
        return "boolean"
    if pa.types.is_string(returns):
        return "label"
    if pa.types.is_integer(returns):
        return "integer"
    if pa.types.is_floating(returns):
        return "number"
    raise NotSupportedError(
        f"oracle {name}: people answer BOOLEAN, VARCHAR (one of labels), whole numbers or DOUBLE, "
        f"not {signature.returns}."
    )
