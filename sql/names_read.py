"""The names that a statement reads rows from, as far as its text tells.

Everything that stands where DuckDB expects a table is found, so that a variable of the name may be
lent to the statement; columns, aliases, functions, qualified names and the statement's own CTEs are
not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from thresher.plan import Place
from thresher.sql.tokens import RESERVED, Source, tokenize

__all__ = ["hidden_by", "names_read"]

_PIVOTS = frozenset(("pivot", "pivot_longer", "pivot_wider", "unpivot"))
_DESCRIBING = frozenset(("describe", "show", "summarize"))
_ENDING = """
    except group having intersect limit offset order qualify returning select set union values where
    window
"""
_ENDS = frozenset(_ENDING.split())
_BEFORE_HEADS = frozenset(
    ("all", "analyze", "as", "except", "explain", "intersect", "name", "union")
)
_BEFORE_COPY = ("analyze", "as", "explain")
_ANY = re.compile(
    r"\b(?:against|copy|desc(?:ribe)?|from|join|(?:un)?pivot\w*|show|summarize|table|using)\b",
    re.IGNORECASE,
)
_OF_VALUES = frozenset(("extract", "overlay", "substring", "trim"))  # f(... FROM value)


@dataclass(slots=True)
class _Level:
    """What is known inside one pair of brackets.

    `wanted`: a table comes next. `listed`: a comma is followed by a table. `using`: the first USING
    is, as in DELETE and MERGE. `of_values`: FROM is not. `defining`: CTEs are being defined, the
    one called `cte` at last.
    """

    wanted: bool = False
    listed: bool = False
    using: bool = False
    of_values: bool = False
    defining: bool = False
    recursive: bool = False
    cte: str = ""
    own: set[str] = field(default_factory=set)

    def begin(self, *, wanted: bool = True, listed: bool = False) -> None:
        """Begin a clause, behind all CTEs."""
        self.wanted, self.listed, self.defining = wanted, listed, False


def names_read(sql: str) -> set[str]:
    """Return the names from which statements may read rows, without quotes, as they are written.

    Parameters
    ----------
    sql : str
        One statement or several.

    Returns
    -------
    set of str

    Examples
    --------
    >>> sorted(names_read("SELECT a, f(b) FROM c, (d JOIN e USING (g)), x.y -- FROM z"))
    ['c', 'd', 'e']
    >>> sorted(names_read("WITH a AS (FROM b) DELETE FROM c USING a WHERE e IN (TABLE d)"))
    ['b', 'd']
    >>> sorted(names_read("COPY a (x) TO 'a.csv'; COPY b FROM 'b.csv'"))
    ['a']
    """
    return _Reading(sql).names() if _ANY.search(sql) else set()


def hidden_by(sql: str) -> tuple[str, Place] | None:
    """Return the kind of a temporary table or a view that a statement makes, and its name's place.

    Where a frame is lent under that name, it stands in the way of the temporary table; a view would
    read itself.

    Parameters
    ----------
    sql : str
        One statement.

    Examples
    --------
    >>> hidden_by("CREATE OR REPLACE TEMP TABLE IF NOT EXISTS a AS FROM b")
    ('temporary table', Place(offset=43, length=1))
    >>> hidden_by("CREATE TABLE a AS FROM b")
    """
    source = Source(sql, tokenize(sql))
    if source.word(0) != "create":
        return None
    at = 3 if source.words(1, "or", "replace") else 1
    temporary = source.word(at) in ("temp", "temporary")
    at += temporary
    at += source.word(at) == "recursive"
    kind = source.word(at)
    if kind not in ("table", "view") or not (temporary or kind == "view"):
        return None
    at += 4 if source.words(at + 1, "if", "not", "exists") else 1
    while source.mark(at + 1, "."):
        at += 2
    if at >= len(source.tokens):
        return None
    return f"{'temporary ' if temporary else ''}{kind}", source.place(at, at + 1)


class _Reading:
    """Goes through the tokens once, with a level for each open bracket."""

    def __init__(self, sql: str) -> None:
        self._source = Source(sql, tokenize(sql))
        self._levels = [_Level()]
        self._statement = 0  # where the one that is read begins
        self._found: set[str] = set()

    def names(self) -> set[str]:
        """Return the names that were found."""
        for i, token in enumerate(self._source.tokens):
            if token.kind == "mark":
                self._mark(i, token.text)
            elif not self._source.mark(i - 1, "."):
                self._word(i)
        return self._found

    def _mark(self, i: int, text: str) -> None:
        level = self._levels[-1]
        if text in ("(", "[", "{"):
            self._open(i, level)
        elif text in (")", "]", "}"):
            self._close(i)
        elif text == ";":
            self._levels, self._statement = [_Level()], i + 1
        elif text == ",":
            level.wanted = level.listed

    def _open(self, i: int, level: _Level) -> None:
        if level.recursive and level.defining and self._is_body(i):
            level.own.add(level.cte)
        wanted, level.wanted = level.wanted, False
        of_values = self._source.word(i - 1) in _OF_VALUES
        self._levels.append(_Level(wanted=wanted, listed=wanted, of_values=of_values))

    def _close(self, i: int) -> None:
        if len(self._levels) > 1:
            self._levels.pop()
        level, opening = self._levels[-1], self._source.partner[i]
        if level.defining and opening >= 0 and self._is_body(opening):
            level.own.add(level.cte)  # its own body may have read a table of the name

    def _is_body(self, opening: int) -> bool:
        return self._source.word(opening - 1) in ("as", "materialized")

    def _word(self, i: int) -> None:
        level, word = self._levels[-1], self._source.word(i)
        if word == "from" and not level.of_values:
            self._from(i, level)
        elif word == "join":
            level.wanted = True
        elif word in _PIVOTS:
            if level.wanted or not level.listed:  # else it works on the table before it
                level.begin()
        elif word in _DESCRIBING or (word in ("desc", "table") and self._is_head(i, level)):
            level.begin()
        elif word == "copy" and (i == self._statement or self._source.word(i - 1) in _BEFORE_COPY):
            self._copy(i + 1)
        elif word == "against" and self._source.words(self._statement, "audit", "certificate"):
            level.begin()
        elif word in ("delete", "merge"):
            level.begin(wanted=False)
            level.using = True
        elif word == "using":
            self._using(i, level)
        elif word in _ENDS:
            level.begin(wanted=False)
        elif word == "with" and self._source.word(i + 1) not in ("ordinality", "time"):
            level.begin(wanted=False)
            level.defining = True
        elif level.wanted:
            self._table(i, level)
        elif level.defining:
            self._define(i, level)

    def _from(self, i: int, level: _Level) -> None:
        before = self._source.word(i - 1)
        if before == "delete":
            level.wanted = False  # a table that is written
        elif before != "distinct" or self._source.word(i - 2) not in ("is", "not"):
            level.begin(listed=True)

    def _using(self, i: int, level: _Level) -> None:
        if level.using:
            level.begin(listed=True)
            level.using = False  # those behind it are of joins
        elif not self._source.mark(i + 1, "("):
            level.begin(wanted=False)

    def _is_head(self, i: int, level: _Level) -> bool:
        """Whether a statement or a query may begin here."""
        if i == 0 or level.wanted or level.defining or self._source.word(i - 1) in _BEFORE_HEADS:
            return True
        return self._source.mark(i - 1, "(") or self._source.mark(i - 1, ";")

    def _copy(self, i: int) -> None:
        """Take the name of a table of which all or some columns are copied into a file."""
        after = self._source.skip(i + 1) if self._source.mark(i + 1, "(") else i + 1
        if self._source.word(after) == "to" and self._source.tokens[i].is_name:
            self._found.add(self._source.tokens[i].name)

    def _table(self, i: int, level: _Level) -> None:
        """Take the name of a table, unless it is something else that stands for one."""
        token = self._source.tokens[i]
        if token.word == "lateral" or self._source.mark(i + 1, ":"):  # an alias
            return
        level.wanted = False
        called = self._source.mark(i + 1, "(") or self._source.mark(i + 1, ".")
        if not token.is_name or token.word in RESERVED or called:
            return
        if not any(token.name.lower() in known.own for known in self._levels):
            self._found.add(token.name)

    def _define(self, i: int, level: _Level) -> None:
        """Take the name of a CTE."""
        before = self._source.word(i - 1)
        if self._source.word(i) == "recursive" and before == "with":
            level.recursive = True
        elif before in ("with", "recursive") or self._source.mark(i - 1, ","):
            level.cte = self._source.tokens[i].name.lower()
