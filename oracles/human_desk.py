"""One person who answers the items of a queue, whatever shows them: a terminal or a notebook."""

from __future__ import annotations

import getpass
import math

from thresher.oracles.human_queue import Answer, Item, Queue

__all__ = ["LATER", "QUIT", "UNDO", "Desk", "choices_of", "user_name"]

QUIT, LATER, UNDO = "q", "s", "u"
_KEYS = "123456789abcdefghijklmnoprtvwxz"  # of labels: without q, s, u and y


class Desk:
    """The work of one person.

    Parameters
    ----------
    queue : Queue
        Where the items wait.
    oracle : str or None
        Items of this oracle only.
    by : str or None
        Who answers; None for the user of this process.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from thresher.oracles.human_queue import Task
    >>> folder = tempfile.TemporaryDirectory()
    >>> queue = Queue(Path(folder.name) / "people.queue")
    >>> queue.ask(Task("v1", "is_spam", "Is this spam?", "boolean"), {"k1": {"text": "WINNER!!"}})
    >>> desk = Desk(queue, by="ada")
    >>> desk.answer(desk.next(), "y"), desk.next(), desk.counts()
    ('yes', None, (1, 1))
    >>> desk.undo(), desk.next().inputs
    (True, {'text': 'WINNER!!'})
    >>> folder.cleanup()
    """

    def __init__(self, queue: Queue, oracle: str | None = None, by: str | None = None) -> None:
        self.queue, self.oracle, self.by = queue, oracle, by or user_name()
        self._done: list[int] = []

    @property
    def can_undo(self) -> bool:
        """Whether this person has answered anything."""
        return bool(self._done)

    def next(self) -> Item | None:
        """Return the item that waits the longest; None where nothing waits."""
        items = self.queue.waiting(self.oracle)
        return items[0] if items else None

    def counts(self) -> tuple[int, int]:
        """Return how many items are answered, and how many there are."""
        return self.queue.counts(self.oracle)

    def answer(self, item: Item, said: str) -> str | None:
        """Keep the answer to an item.

        Parameters
        ----------
        item : Item
        said : str
            A key of its `choices_of`, or a number.

        Returns
        -------
        str or None
            The answer as people read it; None where it was none.
        """
        choices = choices_of(item)
        text, answer = choices[said] if said in choices else (said, _number(said, item))
        if answer is None:
            return None
        self.queue.answer(item.number, answer, self.by)
        self._done.append(item.number)
        return text if said in choices else str(answer)

    def undo(self) -> bool:
        """Take this person's last answer back; returns whether there was one."""
        return bool(self._done) and self.queue.take_back(self._done.pop())


def choices_of(item: Item) -> dict[str, tuple[str, Answer]]:
    """Return keys, and what each of them answers; none where a number is typed."""
    if item.task.kind == "boolean":
        return {"y": ("yes", True), "n": ("no", False)}
    if item.task.kind == "label":
        return {key: (text, text) for key, text in zip(_KEYS, item.task.labels, strict=False)}
    return {}


def _number(text: str, item: Item) -> Answer | None:
    """Read a typed number; None where it is none, or not finite."""
    try:
        if item.task.kind == "integer":
            return int(text)
        number = float(text) if item.task.kind == "number" else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def user_name() -> str | None:
    """Return the name of the user of this process; None where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return None
