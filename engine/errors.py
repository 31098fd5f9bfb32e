"""The PEP 249 exception tree, with the place in the SQL and the figures of the failure attached.

::

    Exception
    ├── Warning
    └── Error
        ├── InterfaceError            wrong use of the Python interface
        └── DatabaseError
            ├── DataError             an oracle or proxy gave an answer that cannot be used
            ├── OperationalError      the machine, the model, the store or the budget
            │   ├── BudgetError       the answer would cost more labels than allowed
            │   ├── InterruptedQueryError  the statement was cancelled
            │   ├── OracleError       the oracle raised
            │   │   └── UnansweredError   people have not answered yet
            │   └── ShortfallError    the target cannot be met within the budget
            ├── IntegrityError
            ├── InternalError
            ├── ProgrammingError      the SQL is wrong
            └── NotSupportedError     the SQL is right but not supported yet
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

__all__ = [
    "BudgetError",
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InterruptedQueryError",
    "NotSupportedError",
    "OperationalError",
    "OracleError",
    "ProgrammingError",
    "ShortfallError",
    "UnansweredError",
    "Warning",
    "columns",
    "nearest",
    "snippet",
]

_WHOLE, _AROUND = 100, 64  # columns of a line that is shown whole; of what is shown of a longer one
_WITHOUT_WIDTH = ("Cf", "Me", "Mn")  # categories of characters that join the one before


def snippet(sql: str, offset: int, length: int = 1) -> tuple[str, int, int]:
    """Show the line of a statement that holds an offset, with carets under the place.

    Of a line that is wider than 100 columns those around the place are shown.

    Parameters
    ----------
    sql : str
        The statement as the user wrote it.
    offset : int
        Character offset of the first wrong character, from 0.
    length : int
        How many characters are wrong; the carets stop at the end of the line.

    Returns
    -------
    text : str
        Two lines: the SQL line and the carets.
    line, column : int
        Position of `offset`, both from 1.
    """
    offset = max(0, min(offset, len(sql)))
    start = sql.rfind("\n", 0, offset) + 1
    end = sql.find("\n", offset)
    end = len(sql) if end < 0 else end
    line, column = sql.count("\n", 0, offset) + 1, offset - start + 1
    first, last = _shown(sql, start, end, offset)
    before, after = "..." if first > start else "", "..." if last < end else ""
    head = f"LINE {line}: {before}"
    pad = "".join("\t" if c == "\t" else " " * columns(c) for c in sql[first:offset])
    carets = "^" * max(1, columns(sql[offset : min(offset + length, last)]))
    text = f"{head}{sql[first:last]}{after}\n{' ' * len(head)}{pad}{carets}"
    return text, line, column


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in _WITHOUT_WIDTH for c in text)


def _shown(sql: str, start: int, end: int, offset: int) -> tuple[int, int]:
    """Return which part of a line is shown: all of it, or what surrounds an offset."""
    if end - start <= _WHOLE and columns(sql[start:end]) <= _WHOLE:
        return start, end
    first = last = offset
    room = _AROUND
    while room > _AROUND // 2 and first > start:
        first, room = first - 1, room - columns(sql[first - 1])
    while room > 0 and last < end:
        last, room = last + 1, room - columns(sql[last])
    while room > 0 and first > start:
        first, room = first - 1, room - columns(sql[first - 1])
    return first, last


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest known word, else an empty string."""
    found = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.6)
    return f" Did you mean '{found[0]}'?" if found else ""


class Warning(Exception):  # noqa: A001, N818 - the name is fixed by PEP 249
    """Something worth knowing that did not stop the statement."""


class Error(Exception):
    """Base of every error that thresher raises.

    Parameters
    ----------
    message : str
        What is wrong, with which value, and what to write instead.
    sql : str, optional
        The statement; with `offset` it is shown with a caret.
    offset : int, optional
        Character offset in `sql`, from 0.
    length : int
        Characters to underline.
    spent : int, optional
        Labels bought before the failure. They stay in the label store.

    Attributes
    ----------
    line, column : int or None
        Position in the statement, from 1.
    spent : int
        As given.
    kept : str
        What became of the labels that were bought, and how to go on from them; empty where none
        was.
    """

    def __init__(
        self,
        message: str,
        *,
        sql: str | None = None,
        offset: int | None = None,
        length: int = 1,
        spent: int = 0,
    ) -> None:
        self.message = message
        self.sql, self.offset, self.length, self.spent = sql, offset, length, spent
        self.line: int | None = None
        self.column: int | None = None
        self.kept = ""
        text = message
        if sql is not None and offset is not None:
            shown, self.line, self.column = snippet(sql, offset, length)
            text = f"{message}\n\n{shown}"
        super().__init__(text)

    def at(self, sql: str, offset: int, length: int = 1) -> Error:
        """Return the same error with its place in the statement, unless it has one."""
        if self.offset is not None:
            return self
        return self._placed(sql, offset, length)

    def within(self, script: str, statement: str, offset: int) -> Error:
        """Return the same error with its place in the script that holds the statement."""
        if self.sql != statement or self.offset is None or statement == script:
            return self
        return self._placed(script, offset + self.offset, self.length)

    def _placed(self, sql: str, offset: int, length: int) -> Error:
        placed = _rebuild(type(self), self.message, sql, offset, length, self.spent)
        placed.__cause__, placed.kept = self.__cause__, self.kept
        return placed

    def __reduce__(self) -> tuple[object, ...]:
        made = (type(self), self.message, self.sql, self.offset, self.length, self.spent)
        return _rebuild, made, self.__dict__


def _rebuild(
    kind: type[Error],
    message: str,
    sql: str | None,
    offset: int | None,
    length: int,
    spent: int,
) -> Error:
    return kind(message, sql=sql, offset=offset, length=length, spent=spent)


class InterfaceError(Error):
    """The Python interface is used wrongly, such as a closed cursor."""


class DatabaseError(Error):
    """Base of all errors that come from a statement."""


class DataError(DatabaseError):
    """An oracle or proxy returned something that cannot be used."""


class OperationalError(DatabaseError):
    """The machine, the model, the label store or the budget stands in the way."""


class IntegrityError(DatabaseError):
    """A constraint of the database is violated."""


class InternalError(DatabaseError):
    """A defect in thresher or DuckDB."""


class ProgrammingError(DatabaseError):
    """The statement is wrong: syntax, names, types, values."""


class NotSupportedError(DatabaseError):
    """The statement makes sense but thresher does not answer it yet."""


class BudgetError(OperationalError):
    """The answer would cost more labels than the statement or the session allows."""


class InterruptedQueryError(OperationalError):
    """The statement was cancelled, as `Cursor.cancel` asks; labels bought before are kept."""


class OracleError(OperationalError):
    """The oracle raised; labels bought before are kept."""


class UnansweredError(OracleError):
    """People have not answered yet; the answers that they have given are kept."""


class ShortfallError(OperationalError):
    """The target cannot be certified within the budget and ON SHORTFALL says FAIL."""
