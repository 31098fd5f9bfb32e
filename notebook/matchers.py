"""Tab completion of the magics, by the matchers of IPython's completer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import duckdb
from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from thresher.dbapi import Connection
from thresher.errors import Error
from thresher.notebook.arguments import OPTIONS, Arguments, read_begun
from thresher.notebook.candidates import of_kind
from thresher.notebook.completions import complete
from thresher.notebook.quoted_texts import file_names
from thresher.notebook.vocabulary import Known

if TYPE_CHECKING:
    from IPython.core.completer import MatcherAPIv2
    from IPython.core.interactiveshell import InteractiveShell

    from thresher.notebook.connections import Connections

__all__ = ["matcher_of"]

_LINE = re.compile(r"\s*(?:[^\W\d]\w*\s*=\s*)?%thresher[ \t]")
_CELL = re.compile(r"\s*%%thresher(?=[ \t]|\Z)")
_IDENTIFIER = "thresher.sql"


class _Nothing(list[SimpleCompletion]):
    """No completions that still keep other matchers silent, for SQL that Python knows nothing of.

    IPython asks by ``len`` whether a result may suppress others, and then iterates over it.
    """

    def __len__(self) -> int:
        return 1


def matcher_of(shell: InteractiveShell, connections: Connections) -> MatcherAPIv2:
    """Return the matcher of one shell: what it offers inside magics, and nothing elsewhere."""

    def match(context: CompletionContext) -> SimpleMatcherResult:
        found = _located(context)
        if found is None:
            return SimpleMatcherResult(completions=[])
        try:
            return _offered(*found, shell.user_ns, connections)
        except (Error, duckdb.Error):  # a store that is locked, say: Tab is no place to hear of it
            return SimpleMatcherResult(completions=_Nothing(), suppress=True)

    marked = context_matcher(identifier=_IDENTIFIER, priority=100)(match)
    return cast("MatcherAPIv2", marked)


def _located(context: CompletionContext) -> tuple[str, str | None, int] | None:
    """Return the line of the magic, the cell below it, and the cursor in both, as one text."""
    lines = context.full_text.split("\n")
    row, column = context.cursor_line, context.cursor_position
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if magic := _CELL.match(lines[first]):
        if row < first or (row == first and column < magic.end()):
            return None
        head = lines[first][magic.end() :]
        below = lines[first + 1 :]
        if row == first:
            return head, "\n".join(below), column - magic.end()
        at = len(head) + 1 + sum(len(line) + 1 for line in lines[first + 1 : row]) + column
        return head, "\n".join(below), at
    if (magic := _LINE.match(lines[row])) and column >= magic.end():
        return lines[row][magic.end() :], None, column - magic.end()
    return None


def _offered(
    line: str,
    cell: str | None,
    cursor: int,
    namespace: dict[str, object],
    connections: Connections,
) -> SimpleMatcherResult:
    asked, start = read_begun(line)
    if cursor <= len(line) and (found := _options(line[:cursor], start, namespace)) is not None:
        return found
    if cursor < start:
        return SimpleMatcherResult(completions=[])
    text = line if cell is None else f"{line}\n{cell}"
    known = Known(_connection(asked, namespace, connections), namespace)
    fragment, candidates = complete(text[start:], cursor - start, known)
    if cursor <= len(line) and line[start:cursor] == fragment != "":  # maybe the name before <<
        variables = (name for name in known.parameters() if name.startswith(fragment))
        candidates += of_kind("variable", variables)
    completions = [SimpleCompletion(one.text, type=one.kind) for one in candidates]
    return SimpleMatcherResult(
        completions=completions or _Nothing(),
        matched_fragment=fragment,
        ordered=True,
        suppress=True,
    )


def _connection(
    asked: Arguments, namespace: dict[str, object], connections: Connections
) -> Connection | None:
    """Return the connection that is meant, if it is open by now."""
    if asked.connection is None:
        return connections.in_use
    return connections.opened(asked.connection, namespace)


def _options(before: str, start: int, namespace: dict[str, object]) -> SimpleMatcherResult | None:
    """Complete an option or its value; None where the cursor is behind them."""
    begun = re.search(r"(?:\A|\s)--([\w-]*)\Z", before)
    if begun and begun.start(1) - 2 <= start:
        texts = [f"--{name}" for name in OPTIONS if name.startswith(begun[1])]
        fragment, kind = f"--{begun[1]}", "option"
    elif value := re.search(r"--(connection|params)(?:=|\s+)([^\s'\"]*)\Z", before):
        takes: Callable[[object], bool] = _is_connection if value[1] == "connection" else _holds
        texts = [
            name
            for name, held in namespace.items()
            if name.startswith(value[2]) and name[0] != "_" and takes(held)
        ]
        fragment, kind = value[2], "variable"
    elif path := re.search(r"--connection(?:=|\s+)(['\"])([^'\"]*)\Z", before):
        texts = file_names(path[2], path[1])
        fragment, kind = path[2], "path"
    else:
        return None
    return SimpleMatcherResult(
        completions=[SimpleCompletion(text, type=kind) for text in texts],
        matched_fragment=fragment,
        suppress=bool(texts),
    )


def _is_connection(value: object) -> bool:
    return isinstance(value, Connection)


def _holds(value: object) -> bool:
    return isinstance(value, dict | list | tuple)
