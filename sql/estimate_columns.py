"""Where the estimates of a block stand: what names them, and ORDER BY over them."""

from __future__ import annotations

from collections.abc import Sequence

from thresher.sql.blocks import Block
from thresher.sql.items import Item
from thresher.sql.tokens import Source

__all__ = ["ENDS", "EstimateColumns"]

ENDS = ("", "_low", "_high")
"""What an estimate and its limits have behind their name."""


class EstimateColumns:
    """The columns of estimates, limits and groups, by the text of their expressions.

    Parameters
    ----------
    source : Source
        The statement.

    Attributes
    ----------
    values : dict of str to str
        SQL of an estimate or a group.
    limits : dict of str to (str, str)
        SQL of the limits of an estimate.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.values: dict[str, str] = {}
        self.limits: dict[str, tuple[str, str]] = {}

    def named(self, i: int, items: Sequence[Item]) -> str | None:
        """Return the column of the item, limit or group that a single token names."""
        source = self._source
        token = source.tokens[i]
        if not token.is_name or source.mark(i - 1, ".") or source.mark(i + 1, "("):
            return None
        if (text := source.folded(i, i + 1)) in self.values:
            return self.values[text]
        for item in items:
            text = source.folded(item.first, item.last)
            for end, column in zip(ENDS[1:], self.limits.get(text, ()), strict=False):
                if token.name.lower() == f"{item.name}{end}".lower():
                    return column
            if token.name.lower() == item.name.lower():
                return self.values[text]
        return None

    def order(self, block: Block, items: Sequence[Item]) -> str:
        """Write ORDER BY over the columns of the estimates."""
        source, (first, last) = self._source, block.range("order")
        keys = []
        for a, b in source.split(first, last) if first < last else []:
            end = b
            while source.word(end - 1) in ("asc", "desc", "first", "last", "nulls"):
                end -= 1
            keys.append(f"{self._order_key(a, end, items)} {source.text(end, b)}".rstrip())
        return f"ORDER BY {', '.join(keys)}" if keys else ""

    def _order_key(self, a: int, b: int, items: Sequence[Item]) -> str:
        source = self._source
        text = source.folded(a, b)
        if text in self.values:
            return self.values[text]
        if source.word(a) == "all" and b == a + 1:
            return "ALL"
        if b == a + 1:
            token = source.tokens[a]
            if (
                token.kind == "number"
                and token.text.isdigit()
                and 0 < int(token.text) <= len(items)
            ):
                item = items[int(token.text) - 1]
                return self.values[source.folded(item.first, item.last)]
            if (column := self.named(a, items)) is not None:
                return column
        raise source.refuse(
            f"ORDER BY {source.text(a, b)} beside estimated aggregates: name an item of the "
            "SELECT list, or its limits (its name with _low or _high)", a, b,
        )  # fmt: skip
