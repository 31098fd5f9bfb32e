"""The items of a SELECT list: their aliases, their names, and what names them."""

from __future__ import annotations

from dataclasses import dataclass

from thresher.sql.blocks import Block, operand_ends
from thresher.sql.tokens import RESERVED, Source

__all__ = ["Item", "default_name", "item_at", "items_of", "named_in"]


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a SELECT list.

    Parameters
    ----------
    first, last : int
        Tokens of its expression, without the alias.
    name : str
        Its alias, or the name that it gets without one.
    aliased : bool
        Whether an alias is written.
    """

    first: int
    last: int
    name: str
    aliased: bool


def items_of(source: Source, block: Block) -> list[Item]:
    """Return the items of the SELECT list, after DISTINCT and what belongs to it."""
    first, last = block.range("select")
    if source.word(first) in ("distinct", "all"):
        first += 1
        if source.word(first) == "on" and source.mark(first + 1, "("):
            first = source.skip(first + 1)
    return [item_at(source, a, b) for a, b in source.split(first, last) if a < b]


def item_at(source: Source, first: int, last: int) -> Item:
    """Take the alias off an item: ``x AS a``, ``x a`` or ``a: x``."""
    if last - first > 2 and source.tokens[first].is_name and source.mark(first + 1, ":"):
        return Item(first + 2, last, source.tokens[first].name, True)
    if last - first > 2 and source.word(last - 2) == "as" and source.tokens[last - 1].is_name:
        return Item(first, last - 2, source.tokens[last - 1].name, True)
    if last - first > 1 and source.tokens[last - 1].is_name and _bare_alias(source, last - 1):
        return Item(first, last - 1, source.tokens[last - 1].name, True)
    return Item(first, last, default_name(source, first, last), False)


def _bare_alias(source: Source, i: int) -> bool:
    """Whether the last token of an item is an alias without AS."""
    before = source.tokens[i - 1]
    if source.word(i) in RESERVED or not operand_ends(source, i - 1):
        return False
    return before.text in (")", "]") or (before.is_name and not source.mark(i - 1, "."))


def default_name(source: Source, first: int, last: int) -> str:
    """Name a column as DuckDB would, as near as text alone allows; as written where it was read."""
    if written := _as_read(source, first, last):
        return written
    if (source.tokens[last - 1].is_name and source.mark(last - 2, ".")) or last == first + 1:
        return source.tokens[last - 1].name
    if source.words(first, "count") and source.text(first + 1, last).replace(" ", "") == "(*)":
        return "count_star()"
    if source.mark(first + 1, "(") and source.partner[first + 1] == last - 1:
        return f"{source.tokens[first].name.lower()}({source.text(first + 2, last - 1)})"
    return source.text(first, last)


def _as_read(source: Source, first: int, last: int) -> str:
    """Return an item as the user wrote it where other tokens stand for it, else nothing."""
    tokens = [token for token in source.tokens[first:last] if token.kind != "parameter"]
    starts = [token.start for token in tokens]
    as_is = all(token.text == source.sql[token.start : token.end] for token in tokens)
    if as_is and starts == sorted(starts):
        return ""
    end = max(token.end for token in tokens)
    return " ".join(source.sql[min(starts) : end].split())


def named_in(source: Source, first: int, last: int) -> set[str]:
    """Return the lower-case names in tokens ``first:last`` that may be aliases."""
    return {
        token.name.lower()
        for i, token in enumerate(source.tokens[first:last], first)
        if token.is_name and not source.mark(i - 1, ".") and not source.mark(i + 1, "(")
    }
