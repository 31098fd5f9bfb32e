"""One query block cut into its sections: WITH, SELECT, FROM, WHERE, ... at bracket depth 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thresher.sql.tokens import Source

__all__ = [
    "SECTIONS",
    "SET_OPERATIONS",
    "Block",
    "after_ctes",
    "cut",
    "is_star",
    "operand_ends",
    "query_at",
    "section_at",
    "set_operation_at",
]

SECTIONS = (
    "select",
    "from",
    "where",
    "group",
    "having",
    "window",
    "qualify",
    "order",
    "limit",
    "offset",
    "fetch",
)
_QUERIES = """
    select with from values table pivot pivot_wider unpivot pivot_longer describe desc
    show summarize
"""
_QUERY_WORDS = frozenset(_QUERIES.split())
SET_OPERATIONS = ("union", "intersect", "except")
# After one of these words an expression goes on, so that what follows is no clause.
_OPEN = """
    select distinct from where and or not in is like ilike glob similar to between by having qualify
    on using as case when then else join inner left right full outer cross natural semi anti asof
    positional lateral limit offset escape collate with explain analyze
"""
_OPEN_WORDS = frozenset(_OPEN.split())


@dataclass(frozen=True, slots=True)
class Block:
    """Token ranges of a query block; a section that is not written is absent.

    `ctes` is the range of ``WITH ...``, or an empty one.
    """

    ctes: tuple[int, int]
    sections: Mapping[str, tuple[int, int]]
    last: int

    def range(self, section: str) -> tuple[int, int]:
        """Tokens of a section without its keyword; an empty range when it is not written."""
        return self.sections.get(section, (self.last, self.last))


def section_at(source: Source, i: int) -> str:
    """Return the section or set operation that begins at a token, or an empty string."""
    word = source.word(i)
    if word not in SECTIONS and word not in SET_OPERATIONS:
        return ""
    before = source.word(i - 1)
    if before == "as" or source.mark(i - 1, ".") or (word == "from" and before == "distinct"):
        return ""
    return "" if word in ("group", "order") and source.word(i + 1) != "by" else word


def set_operation_at(source: Source, i: int) -> str:
    """Return the set operation that begins at a token, or an empty string."""
    found = section_at(source, i)
    return found if found in SET_OPERATIONS else ""


def query_at(source: Source, i: int) -> bool:
    """Whether a query begins with this token, where brackets may hold a query or an expression."""
    word = source.word(i)
    return word in _QUERY_WORDS and (word != "values" or source.mark(i + 1, "("))


def operand_ends(source: Source, i: int) -> bool:
    """Whether an expression can end with this token."""
    if i < 0:
        return False
    token = source.tokens[i]
    match token.kind:
        case "word":
            return token.word not in _OPEN_WORDS
        case "mark":
            return token.text in ")]}"
        case "operator":
            percent = token.text == "%" and source.tokens[i - 1].kind == "number"
            return percent or is_star(source, i)
        case _:
            return True


def is_star(source: Source, i: int) -> bool:
    """Whether the token is ``*`` for all columns, not a product."""
    if source.tokens[i].text != "*":
        return False
    before = source.tokens[i - 1] if i else None
    if before is None or before.word in ("select", "distinct", "all"):
        return True
    if before.kind == "mark" and before.text in (",", ".", "("):
        return not (source.word(i + 1) == "columns" and source.mark(i + 2, "("))
    return _after_distinct_on(source, i - 1)


def _after_distinct_on(source: Source, i: int) -> bool:
    opened = source.partner[i]
    return source.mark(i, ")") and source.words(opened - 2, "distinct", "on")


def cut(source: Source, first: int, last: int) -> Block:
    """Cut the tokens ``first:last`` of a query block into sections.

    Raises
    ------
    ProgrammingError
        It is no SELECT, or a section stands twice.
    NotSupportedError
        Several blocks are combined by UNION, INTERSECT or EXCEPT.
    """
    i = start = after_ctes(source, first, last)
    sections: dict[str, tuple[int, int]] = {}
    name, body = "", i
    while i < last:
        found = section_at(source, i)
        if found in SET_OPERATIONS:
            raise source.refuse(
                f"clauses of a query with {found.upper()} belong to one SELECT of it. Put that "
                "SELECT with its clauses into brackets.",
                i,
            )
        if found:
            if found in sections or found == name:
                raise source.error(f"{found.upper()} stands here a second time", i)
            _close(sections, name, body, i)
            name, body = found, i + (2 if found in ("group", "order") else 1)
        i = source.skip(i)
    _close(sections, name, body, last)
    if start == last or section_at(source, start) not in ("select", "from"):
        raise source.refuse(
            "an oracle call or a clause of thresher is supported in a SELECT statement only. "
            "Run the SELECT first and use its rows.",
            min(start, len(source.tokens) - 1),
        )
    return Block((first, start), sections, last)


def _close(sections: dict[str, tuple[int, int]], name: str, body: int, end: int) -> None:
    if name:
        sections[name] = (body, end)


def after_ctes(source: Source, first: int, last: int) -> int:
    """Return where the block itself begins, after ``WITH name AS (...), ...``."""
    if source.word(first) != "with":
        return first
    i = first + 1
    while i < last and not section_at(source, i):
        if source.word(i) in ("insert", "update", "delete", "merge"):
            break
        i = source.skip(i)
    return i
