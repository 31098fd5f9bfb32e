"""Which queries in brackets give a value: ``x > (SELECT ...)``, not ``FROM (SELECT ...)``."""

from __future__ import annotations

from thresher.sql.blocks import SET_OPERATIONS, section_at
from thresher.sql.tokens import Source

__all__ = ["gives_value"]

_RELATION = ("from", "join", "lateral", "as", "materialized")
_VALUES = ("on", "set", "values", "returning")


def gives_value(source: Source, start: int) -> bool:
    """Whether the query that begins at an offset stands where an expression stands.

    Parameters
    ----------
    source : Source
        The whole statement.
    start : int
        Offset of the query's first token.
    """
    at = next((i for i, token in enumerate(source.tokens) if token.start >= start), 0)
    opened = _enclosing(source, at)
    while opened >= 0:
        if source.word(opened - 1) in _RELATION:
            return False
        if section := _section_before(source, opened):
            return section != "from" and section not in SET_OPERATIONS
        opened = _enclosing(source, opened)  # brackets of a function, or round brackets
    return False


def _enclosing(source: Source, i: int) -> int:
    """Return the bracket that is open at a token, -1 where none is."""
    while i > 0:
        i -= 1
        if source.partner[i] > i:
            return i
        if source.partner[i] >= 0:
            i = source.partner[i]
    return -1


def _section_before(source: Source, i: int) -> str:
    """Return the section in which a bracket stands; an empty string inside another bracket."""
    i -= 1
    while i >= 0 and source.partner[i] <= i:
        if found := section_at(source, i) or (source.word(i) in _VALUES and source.word(i)):
            return str(found)
        i = source.partner[i] - 1 if source.partner[i] >= 0 else i - 1
    return ""
