"""LIMIT, OFFSET and FETCH of a block, read as whole numbers."""

from __future__ import annotations

from thresher.plan import RowLimit
from thresher.sql.blocks import Block
from thresher.sql.tokens import Source

__all__ = ["limit_section", "read_row_limit"]

_MOST = 2**63


def limit_section(block: Block) -> str:
    """Return the section that says how many rows come back."""
    return "fetch" if "fetch" in block.sections else "limit"


def read_row_limit(source: Source, block: Block) -> RowLimit | None:
    """Return what LIMIT, OFFSET and FETCH of a block say; None where they say no whole numbers.

    Parameters
    ----------
    source : Source
        The statement.
    block : Block
        Its sections.
    """
    section = limit_section(block)
    count = _count(source, block, section)
    offset = _count(source, block, "offset") if "offset" in block.sections else 0
    if offset is None or (count is None and section in block.sections):
        return None
    return RowLimit(count, offset)


def _count(source: Source, block: Block, section: str) -> int | None:
    """Return the whole number of LIMIT, FETCH or OFFSET, None where there is none."""
    first, last = block.range(section)
    if section == "fetch" and source.word(first) in ("first", "next") and last == first + 4:
        first, last = first + 1, first + 2
    if section == "offset" and source.word(last - 1) in ("row", "rows"):
        last -= 1
    value, end = _sum(source, first, last)
    return value if end == last and value is not None and 0 <= value < _MOST else None


def _sum(source: Source, i: int, last: int) -> tuple[int | None, int]:
    """Reckon whole numbers with ``+``, ``-`` and ``*``; return the token after them."""
    value, i = _product(source, i, last)
    while value is not None and i < last and source.tokens[i].text in ("+", "-"):
        other, end = _product(source, i + 1, last)
        sign = 1 if source.tokens[i].text == "+" else -1
        value, i = (None if other is None else value + sign * other), end
    return value, i


def _product(source: Source, i: int, last: int) -> tuple[int | None, int]:
    value, i = _whole(source, i, last)
    while value is not None and i < last and source.tokens[i].text == "*":
        other, i = _whole(source, i + 1, last)
        value = None if other is None else value * other
    return value, i


def _whole(source: Source, i: int, last: int) -> tuple[int | None, int]:
    """Read a whole number, a parameter or brackets."""
    if i >= last:
        return None, i
    if source.mark(i, "("):
        value, end = _sum(source, i + 1, source.partner[i])
        return (value if end == source.partner[i] else None), source.skip(i)
    token = source.tokens[i]
    if token.kind == "parameter":
        whole = isinstance(token.value, int) and not isinstance(token.value, bool)
        return (int(str(token.value)) if whole else None), i + 1
    text = token.text.replace("_", "")
    whole = token.kind == "number" and text.isdigit() and len(text) < 19
    return (int(text) if whole else None), i + 1
