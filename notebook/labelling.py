"""Labels by people in a cell: a widget over the queue that ``thresher label`` works on too."""

from __future__ import annotations

import base64
import uuid
from importlib.resources import files
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.core.getipython import get_ipython
from IPython.display import publish_display_data

from thresher.dbapi import Connection
from thresher.errors import Error, ProgrammingError, nearest
from thresher.oracles.human import HumanOracle
from thresher.oracles.human_desk import Desk, choices_of
from thresher.oracles.human_queue import Item, Queue
from thresher.pages.markup import element, plain
from thresher.pages.media import kind_of
from thresher.pages.style import sheet

__all__ = ["LabelWidget", "label"]

_VIEW = "application/vnd.jupyter.widget-view+json"
_BEFORE = "pre_run_cell"
_KEPT = "A box to label items was here: run the cell to go on."  # where no widget can be shown
_MOST_BYTES = 16 << 20  # of a file that is shown
_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".gif", ".webp", ".mp3", ".wav", ".ogg", ".flac")
)  # of paths that are looked at
_RULES = """
.thresher.th-label{padding:12px;border:1px solid var(--th-line);border-radius:6px;max-width:60em}
.thresher.th-label:focus-within{border-color:var(--th-accent)}
.thresher .th-question{font-size:15px;font-weight:600;margin:6px 0}
.thresher .th-input{margin:8px 0;white-space:pre-wrap;overflow-wrap:anywhere}
.thresher .th-input>b{color:var(--th-muted);font-weight:400}
.thresher .th-input img{display:block;max-width:100%;max-height:420px;margin:4px 0}
.thresher .th-input audio{width:100%;max-width:420px}
.thresher .th-keys{display:flex;flex-wrap:wrap;gap:8px;margin:10px 0}
.thresher .th-keys button,.thresher .th-keys input{font:inherit;color:var(--th-fg);\
background:var(--th-soft);border:1px solid var(--th-muted);border-radius:4px;padding:4px 12px}
.thresher .th-keys button{cursor:pointer}
.thresher .th-keys button:disabled{cursor:default;opacity:.5}
.thresher .th-keys :focus-visible{outline:2px solid var(--th-accent);outline-offset:2px}
.thresher.th-label:focus-visible{outline:2px solid var(--th-accent);outline-offset:-2px}
.thresher .th-hint{align-self:center;color:var(--th-muted)}
.thresher.th-label:focus-within .th-hint{visibility:hidden}
.thresher kbd{font:12px ui-monospace,Menlo,Consolas,monospace;color:var(--th-accent)}
"""


def _styles() -> str:
    return str(sheet(_RULES)).removeprefix("<style>").removesuffix("</style>")


class LabelWidget(anywidget.AnyWidget):
    """One item of a queue at a time, answered by keys or buttons.

    Parameters
    ----------
    desk : Desk
        The work of the person who looks at it.

    Attributes
    ----------
    shown : dict
        What the page shows: the item that waits, keys and answers, counts, what was said last.

    Notes
    -----
    The page sends what a person did as ``{"do": "answer", "number": 3, "said": "y"}``, ``later``,
    ``undo``, ``done`` or ``look``. An answer to another item than the one that waits is dropped, so
    that a key that is pressed twice answers once. Each but ``look`` is acknowledged by a new
    ``n_heard``. All texts reach the page as texts, never as HTML; no resource is loaded from
    anywhere. A notebook keeps the text of a widget, not its state: ``done`` folds it to a line, and
    so does the next cell that runs when all is answered.
    """

    _esm = (files("thresher.notebook") / "label.js").read_text(encoding="utf-8")
    _css = _styles()
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._item: Item | None = None
        self._display_id, self._n_heard = uuid.uuid4().hex, 0
        self.on_msg(self._on_message)
        self._look("")

    def take(self, done: dict[str, Any]) -> None:
        """Do what a person did on the page."""
        self._n_heard += done.get("do") != "look"
        try:
            self._look(self._did(done))
            if done.get("do") == "done":
                self._fold()
        except Error as error:
            self.shown = {**self.shown, "said": str(error), "n_heard": self._n_heard}

    def _ipython_display_(self, **_: object) -> None:
        """Show it in a way that `done` can replace."""
        bundle, _metadata = self._repr_mimebundle_() or ({}, {})
        self._show(_KEPT, {_VIEW: bundle[_VIEW]})
        if (shell := get_ipython()) is not None:
            shell.events.register(_BEFORE, self._on_cell)

    def _on_cell(self, *_: object) -> None:
        """Fold it where the person has answered all and goes on with another cell."""
        if self._desk.can_undo and self.shown["item"] is None:
            self._fold()

    def _fold(self) -> None:
        """Replace it by a line."""
        n_answered, n_items = self._desk.counts()
        line = f"labels: {n_answered:,} of {n_items:,} answered"
        self._show(line + "; run the cell again to go on" * (n_answered < n_items), update=True)
        shell = get_ipython()
        if shell is not None and self._on_cell in shell.events.callbacks[_BEFORE]:
            shell.events.unregister(_BEFORE, self._on_cell)

    def _show(self, text: str, more: dict[str, Any] | None = None, update: bool = False) -> None:
        publish_display_data(  # type: ignore[no-untyped-call]
            {"text/plain": text, "text/html": element("p", element("small", text)), **(more or {})},
            transient={"display_id": self._display_id},
            update=update,
        )

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        if isinstance(content, dict):
            self.take(content)

    def _did(self, done: dict[str, Any]) -> str:
        """Do it, and return what is said of it."""
        item, what = self._item, done.get("do")
        if what == "undo":
            taken = self._desk.undo()
            return "The last answer is taken back." if taken else "There is nothing to take back."
        if item is None or done.get("number") != item.number:
            return str(self.shown.get("said", ""))
        if what == "later":
            self._desk.queue.put_off(item.number)
            return "Put off."
        if what == "answer":
            said = str(done.get("said"))
            answered = self._desk.answer(item, said)
            return f"{said!r} is none of these." if answered is None else f"Answered: {answered}"
        return str(self.shown.get("said", ""))

    def _look(self, said: str) -> None:
        """Show the item that waits now."""
        self._item = self._desk.next()
        n_answered, n_items = self._desk.counts()
        self.shown = {
            "item": None if self._item is None else self._described(self._item),
            "n_answered": n_answered,
            "n_items": n_items,
            "can_undo": self._desk.can_undo,
            "said": said,
            "n_heard": self._n_heard,
        }

    def _described(self, item: Item) -> dict[str, object]:
        files = self._desk.queue.files(item.number)
        return {
            "number": item.number,
            "oracle": plain(item.task.oracle),
            "question": plain(item.task.question),
            "kind": item.task.kind,
            "choices": [[key, plain(text)] for key, (text, _) in choices_of(item).items()],
            "inputs": [
                {"name": name, "text": plain(text), **_media(files.get(name), text)}
                for name, text in item.inputs.items()
            ],
        }


def _media(data: bytes | None, text: str) -> dict[str, str]:
    """Return an image or a sound as a data URL: the input's bytes, or the file that it names."""
    data = _read(text) if data is None else data
    kind = None if data is None else kind_of(data)
    if data is None or kind is None:
        return {}
    return {"type": kind, "url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}


def _read(text: str) -> bytes | None:
    """Read a file of this machine that a text names, if it can be an image or a sound."""
    if len(text) > 1024 or Path(text).suffix.lower() not in _SUFFIXES:
        return None
    try:
        path = Path(text)
        return path.read_bytes() if path.stat().st_size <= _MOST_BYTES else None
    except (OSError, ValueError):
        return None


def label(
    source: Connection | str | Path, oracle: str | None = None, *, by: str | None = None
) -> LabelWidget:
    """Return a widget in which a person answers what an oracle ``USING human`` asks.

    Parameters
    ----------
    source : Connection, str or Path
        A connection whose oracle it is, or the file of a queue.
    oracle : str, optional
        Items of this oracle only. With a connection it may be left out where one oracle is
        answered by people.
    by : str, optional
        Who answers; the user of this process when absent.

    Raises
    ------
    ProgrammingError
        There is no such oracle, or people do not answer it; or there is no such queue.
    """
    if isinstance(source, Connection):
        path, oracle = _queue_of(source, oracle)
    elif not (path := Path(source)).exists():
        raise ProgrammingError(
            f"there is no queue {path}: a query with an oracle USING human makes it"
        )
    return LabelWidget(Desk(Queue(path), oracle, by))


def _queue_of(connection: Connection, oracle: str | None) -> tuple[Path, str]:
    """Return the queue of an oracle that people answer, and its name."""
    catalog, models = connection._session.catalog, connection._session.models
    human = [entry.name for entry in catalog.oracles() if entry.provider.lower() == "human"]
    if oracle is None and len(human) == 1:
        oracle = human[0]
    listed = f"People answer {', '.join(human)}." if human else "No oracle here is USING human."
    if oracle is None:
        raise ProgrammingError(f"name the oracle that is to be answered. {listed}")
    bound = models.bound(oracle) if oracle.lower() in human else None
    if bound is None or not isinstance(bound.oracle, HumanOracle):
        raise ProgrammingError(
            f"there is no oracle {oracle} that people answer.{nearest(oracle, human)} {listed}"
        )
    return bound.oracle.queue, oracle
