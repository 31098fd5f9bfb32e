"""``PREPARE name AS ...``, ``EXECUTE name(...)`` and ``DEALLOCATE name`` for statements of ours."""

from __future__ import annotations

from dataclasses import dataclass

from thresher.plan import Prepare
from thresher.sql.tokens import Source, tokenize

__all__ = ["Execution", "parse_execution", "parse_prepare"]

_VERBS = ("execute", "deallocate")


@dataclass(frozen=True, slots=True)
class Execution:
    """``EXECUTE name(...)``, or ``DEALLOCATE name``.

    Parameters
    ----------
    name : str
        Of the prepared statement, in lower case.
    arguments : tuple of (str, str)
        Name (empty where it goes by position) and SQL of each value.
    ends : bool
        Whether it is DEALLOCATE.
    """

    name: str
    arguments: tuple[tuple[str, str], ...]
    ends: bool


def parse_prepare(source: Source) -> Prepare | None:
    """Read ``PREPARE name AS statement``; None for every other statement."""
    if not source.words(0, "prepare") or len(source.tokens) < 4:
        return None
    at = source.skip(2) if source.mark(2, "(") else 2
    if source.word(at) != "as" or at + 1 >= len(source.tokens):
        return None
    start = source.tokens[at + 1].start
    return Prepare(source.sql, source.tokens[1].name.lower(), source.sql[start:], start)


def parse_execution(sql: str) -> Execution | None:
    """Read EXECUTE or DEALLOCATE; None for every other statement."""
    if not sql.lstrip()[:10].lower().startswith(_VERBS):
        return None
    source = Source(sql, tokenize(sql))
    at = 2 if source.words(0, "deallocate", "prepare") else 1
    if source.word(0) not in _VERBS or at >= len(source.tokens):
        return None
    name, ends = source.tokens[at].name.lower(), source.word(0) == "deallocate"
    if not source.mark(at + 1, "("):
        return Execution(name, (), ends)
    arguments = []
    for first, last in source.split(at + 2, source.partner[at + 1]):
        named = source.mark(first + 1, ":=")
        text = source.text(first + 2 * named, last)
        arguments.append((source.tokens[first].name if named else "", text))
    return Execution(name, tuple(arguments), ends)
