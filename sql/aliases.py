"""Aliases of the SELECT list in WHERE and in the arguments of oracle calls, as DuckDB takes them.

A name that is no column of FROM but an alias stands for its expression. The expression is put in
its place, so that nothing after this module meets an alias there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thresher.plan import Leaf
from thresher.sql.blocks import Block
from thresher.sql.items import Item, items_of
from thresher.sql.names import Names
from thresher.sql.selections import AGGREGATES, has_window, outer_tokens
from thresher.sql.tokens import Source, Token

__all__ = ["without_aliases"]

_DEEPEST = 8  # aliases of aliases


def without_aliases(
    source: Source, block: Block, leaves: Sequence[Leaf], calls: Sequence[int], names: Names
) -> list[Token] | None:
    """Return the tokens of a statement with expressions in the places of aliases.

    Parameters
    ----------
    source, block
        The statement and its sections.
    leaves : sequence of Leaf
        The relations of FROM: a name that is a column of one is no alias.
    calls : sequence of int
        The tokens where calls of oracles begin.
    names : Names
        Tells the columns.

    Returns
    -------
    list of Token or None
        None where no alias is used.
    """
    items = {item.name.lower(): item for item in items_of(source, block) if item.aliased}
    items = {name: item for name, item in items.items() if _may_stand(source, item)}
    places = set(outer_tokens(source, *block.range("where")))
    for i in calls:
        places |= set(range(i + 2, source.skip(i + 1) - 1))
    found = {i for i in places if _names_alias(source, i, items)}
    if not found:
        return None
    ctes = f"{source.text(*block.ctes)} " if block.ctes[0] < block.ctes[1] else ""
    columns: set[str] = set()
    for leaf in leaves:
        shown = names.columns(leaf.relation, ctes)
        if not shown:
            return None
        columns |= {name.lower() for name in (*shown, *leaf.columns)}
    items = {name: item for name, item in items.items() if name not in columns}
    found = {i for i in found if source.tokens[i].name.lower() in items}
    if not found:
        return None
    written: list[Token] = []
    for i, token in enumerate(source.tokens):
        written += _expression(source, token, items, _DEEPEST) if i in found else [token]
    return written


def _may_stand(source: Source, item: Item) -> bool:
    """Whether an expression is of one row."""
    aggregates = any(
        source.word(i) in AGGREGATES and source.mark(i + 1, "(")
        for i in range(item.first, item.last)
    )
    return not aggregates and not has_window(source, item.first, item.last)


def _names_alias(source: Source, i: int, items: dict[str, Item]) -> bool:
    token = source.tokens[i]
    if not token.is_name or token.name.lower() not in items:
        return False
    after = source.tokens[i + 1].text if i + 1 < len(source.tokens) else ""
    return not source.mark(i - 1, ".") and after not in (".", "(", ":=", "=>")


def _expression(source: Source, name: Token, items: dict[str, Item], depth: int) -> list[Token]:
    """Write the expression of an alias in brackets, all of it in the place of the name."""
    item = items[name.name.lower()]
    inner: list[Token] = []
    for i in range(item.first, item.last):
        token = replace(source.tokens[i], start=name.start, end=name.end)
        again = depth > 0 and _names_alias(source, i, items)
        inner += _expression(source, token, items, depth - 1) if again else [token]
    opened = Token("mark", "(", name.start, name.end)
    return [opened, *inner, replace(opened, text=")")]
