"""The command ``thresher label``: a person answers one item of a queue after the other."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.endings import INTERRUPTED, guarded, write_json
from thresher.inputs_cli import add_command, add_json

if TYPE_CHECKING:
    from thresher.oracles.human_queue import Item, Queue

__all__ = ["add_label"]

_POLL_S = 0.5
_EXAMPLES = """\
  thresher label spam.queue
  thresher label spam.queue --oracle is_spam --by ada --no-wait
  thresher label spam.queue --json
"""
_WIDTH = 78


def add_label(commands: Any) -> None:
    """Add the ``label`` command to a program's commands."""
    label = add_command(
        commands,
        "label",
        "answer what queries ask people",
        "Answer the items of a queue, one at a time, as an oracle USING human asks them. A query "
        "that waits goes on as soon as its items are answered.",
        _EXAMPLES,
    )
    label.add_argument("queue", type=Path, metavar="QUEUE", help="the oracle's option 'queue'")
    label.add_argument("--oracle", metavar="NAME", help="items of this oracle only")
    label.add_argument("--by", metavar="WHO", help="who answers (default: your user name)")
    label.add_argument(
        "--no-wait", action="store_true", help="end when nothing waits, on a terminal too"
    )
    add_json(label, "what waits as one JSON document", ", and ask nobody")
    label.set_defaults(run=guarded(_label), parser=label)


def _label(args: argparse.Namespace) -> int | None:
    """Run the ``label`` command."""
    if not args.queue.exists():
        args.parser.error(
            f"there is no queue {args.queue}: a query with an oracle USING human makes it"
        )
    from thresher.oracles.human_queue import Queue

    queue = Queue(args.queue)
    if args.json:
        _write_waiting(queue, args.oracle)
        return None
    try:
        with _keys() as ask:
            _Desk(queue, args, ask).work()
    except KeyboardInterrupt:  # as people end it: nothing more is said
        sys.stdout.write("\n")
        return INTERRUPTED
    return None


def _write_waiting(queue: Queue, oracle: str | None) -> None:
    """Write what waits as JSON."""
    n_answered, n_items = queue.counts(oracle)
    items = [
        {
            "number": item.number,
            "oracle": item.task.oracle,
            "question": item.task.question,
            "kind": item.task.kind,
            "labels": list(item.task.labels),
            "inputs": dict(item.inputs),
        }
        for item in queue.waiting(oracle, n_items)
    ]
    write_json({"n_items": n_items, "n_answered": n_answered, "waiting": items})


class _Desk:
    """One person at work."""

    def __init__(self, queue: Queue, args: argparse.Namespace, ask: Any) -> None:
        from thresher.oracles.human_desk import Desk

        self.desk, self.ask = Desk(queue, args.oracle, args.by), ask
        self.waits = sys.stdin.isatty() and not args.no_wait

    def work(self) -> None:
        """Show item after item until the person ends it, or nothing waits."""
        told = False
        while True:
            item = self.desk.next()
            if item is not None:
                told = False
                if not self._show(item):
                    break
            elif not self.waits:
                break
            else:
                if not told:
                    sys.stdout.write("Nothing waits now; items appear here. Ctrl-C ends.\n")
                    sys.stdout.flush()
                told = True
                time.sleep(_POLL_S)
        n_answered, n_items = self.desk.counts()
        sys.stdout.write(f"{n_answered:,} of {n_items:,} answered.\n")

    def _show(self, item: Item) -> bool:
        """Ask about one item; returns whether the person goes on."""
        from thresher.oracles.human_desk import LATER, QUIT, UNDO, choices_of

        n_answered, n_items = self.desk.counts()
        task = item.task
        sys.stdout.write(f"\n{task.oracle}: {n_answered:,} of {n_items:,} answered\n")
        sys.stdout.write(f"{_folded(task.question)}\n\n")
        for name, value in item.inputs.items():
            sys.stdout.write(f"{_folded(f'{name}: {value}', '  ')}\n")
        choices = choices_of(item)
        shown = [f"[{key}] {text}" for key, (text, _) in choices.items()]
        others = [f"[{LATER}] later", f"[{UNDO}] undo", f"[{QUIT}] quit"]
        number = ["a number"] if not choices else []
        sys.stdout.write(f"\n{_folded('  '.join([*number, *shown, *others]))}\n")
        while True:
            said = self.ask(line=not choices)
            if said in (None, QUIT):
                return False
            if said == LATER:
                self.desk.queue.put_off(item.number)
                return True
            if said == UNDO:
                self._undo()
                return True
            if (answered := self.desk.answer(item, said)) is not None:
                sys.stdout.write(f"-> {answered}\n")
                return True
            sys.stdout.write(f"{said!r} is none of these.\n")
            sys.stdout.flush()

    def _undo(self) -> None:
        """Take the last answer back."""
        if self.desk.undo():
            sys.stdout.write("The last answer is taken back.\n")
        else:
            sys.stdout.write("There is nothing to take back.\n")


def _folded(text: str, indent: str = "") -> str:
    """Fold each line of a text to a terminal's width; what would steer the terminal is masked."""
    folded = []
    for line in text.expandtabs(4).splitlines() or [""]:
        plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        folded.append(textwrap.fill(plain, _WIDTH, initial_indent=indent, subsequent_indent=indent))
    return "\n".join(folded)


@contextmanager
def _keys() -> Iterator[Any]:
    """Give a function that waits for a key, or for a line; None at the end of the input."""
    if not sys.stdin.isatty():
        yield _read_line
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)

    def ask(*, line: bool) -> str | None:
        sys.stdout.flush()
        if line:
            return _read_line(line=True)
        tty.setcbreak(sys.stdin)
        try:
            return sys.stdin.read(1) or None
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    try:
        yield ask
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _read_line(*, line: bool) -> str | None:  # noqa: ARG001 - the same without a terminal
    sys.stdout.flush()
    text = sys.stdin.readline()
    return text.strip() if text else None
