"""Oracle calls in the SELECT list and in ORDER BY of a block whose WHERE decides the rows."""

from __future__ import annotations

from collections.abc import Sequence

from thresher.plan import Outputs
from thresher.sql.blocks import Block, is_star
from thresher.sql.expressions import parse_condition
from thresher.sql.formula import Formula, call_at
from thresher.sql.items import Item, items_of, named_in
from thresher.sql.names import Names
from thresher.sql.relations import ROW_PREFIX
from thresher.sql.selections import first_aggregate, has_window
from thresher.sql.tokens import Source, identifier

__all__ = ["OutputCalls", "named"]

_LIMITS = ("limit", "offset", "fetch")
_AFTER_CALL = ("over", "filter", "within", "ignore", "respect")
Swaps = dict[tuple[int, int], str]


class OutputCalls:
    """The calls of a block outside WHERE, and what hangs on them.

    Parameters
    ----------
    source : Source
        The statement.
    block : Block
        Its sections.
    calls : sequence of int
        The tokens where calls begin, all of them outside WHERE and FROM.
    """

    def __init__(self, source: Source, block: Block, calls: Sequence[int]) -> None:
        self._source, self._block, self._calls = source, block, calls
        self._items = items_of(source, block)
        self._of_items = self._dependences()

    def _dependences(self) -> list[set[int]]:
        """For each item the calls on which it hangs, directly or by the alias of another."""
        found = [{i for i in self._calls if item.first <= i < item.last} for item in self._items]
        for _ in self._items:  # an alias may name an alias
            for item, calls in zip(self._items, found, strict=True):
                calls |= self._named(named_in(self._source, item.first, item.last), found)
        return found

    def _named(self, names: set[str], found: list[set[int]]) -> set[int]:
        """Return the calls behind the items with these names."""
        calls: set[int] = set()
        for item, behind in zip(self._items, found, strict=True):
            if item.name.lower() in names:
                calls |= behind
        return calls

    @property
    def ordering(self) -> set[int]:
        """The calls on which the order of the rows hangs; too many rather than too few."""
        source, (first, last) = self._source, self._block.range("order")
        everything = set().union(*self._of_items)
        hidden = any(
            calls and is_star(source, item.first)
            for item, calls in zip(self._items, self._of_items, strict=True)
        )
        ordering = {i for i in self._calls if first <= i < last}
        if first >= last:
            return ordering
        if hidden or source.word(first) == "all":
            return ordering | everything
        ordering |= self._named(named_in(source, first, last), self._of_items)
        for a, _ in source.split(first, last):
            token = source.tokens[a]
            if token.kind in ("number", "parameter"):
                ordering |= self._at_position(token.text, everything)
        return ordering

    def _at_position(self, text: str, everything: set[int]) -> set[int]:
        """Return the calls of the item at a position; all where a star hides which that is."""
        number = int(text) if text.isdigit() else 0
        before = self._items[:number]
        if not 1 <= number <= len(self._items) or any(_expands(self._source, i) for i in before):
            return everything
        return self._of_items[number - 1]

    def check(self, target: str) -> None:
        """Refuse what cannot be answered over the answers of these calls.

        Parameters
        ----------
        target : str
            The target of the query, or an empty string.

        Raises
        ------
        NotSupportedError
            Window functions over rows that meet a target only in part.
        """
        source, block = self._source, self._block
        for i in self._calls:
            if source.word(source.skip(i + 1)) in _AFTER_CALL:
                word = source.word(source.skip(i + 1)).upper()
                raise source.error(f"{source.tokens[i].name} is an oracle: it takes no {word}", i)
        if not target:
            return
        windows = [
            item.first
            for item, calls in zip(self._items, self._of_items, strict=True)
            if calls and has_window(source, item.first, item.last)
        ]
        for section in ("qualify", "window"):
            first, last = block.range(section)
            if first < last and self._named(named_in(source, first, last), self._of_items):
                windows.append(first)
        if windows:
            raise source.refuse(
                f"a window function over an oracle's answers in a query with {target} is not "
                "supported: the returned rows are not all positives, so that it would be biased. "
                "Leave the target out, or keep the rows first: SELECT ... OVER (...) FROM (SELECT "
                "oracle(x) AS answer FROM t WHERE ... RECALL TARGET 90%).",
                windows[0],
            )

    def bind(self, names: Names, n_leaves: int) -> tuple[Outputs, Swaps]:
        """Bind the calls.

        Returns
        -------
        outputs : Outputs
        swaps : dict
            What is to be written in place of the calls.
        """
        source, formula = self._source, Formula(self._source, names)
        oracles = frozenset(name.lower() for name in names.oracle_names())
        values, swaps = {}, {}
        for i in self._calls:
            end = source.skip(i + 1)
            node = parse_condition(source, i, end, lambda k: call_at(source, k, oracles))
            values[i] = formula.expression(node, value=True)
        columns = {call.value: f"{ROW_PREFIX}l{k}" for k, call in enumerate(formula.calls)}
        for i, value in values.items():
            swaps[i, source.skip(i + 1)] = columns[value]
        early = {values[i] for i in (self.ordering if self._limits_rows else self._calls)}
        outputs = Outputs(
            calls=tuple(formula.calls),
            columns=tuple(columns.values()),
            rows=tuple(f"{ROW_PREFIX}k{k}" for k in range(n_leaves)),
            late=tuple(call.value not in early for call in formula.calls),
        )
        return outputs, swaps

    @property
    def _limits_rows(self) -> bool:
        """Whether LIMIT leaves some of the rows, without anything that looks at all of them."""
        source, block = self._source, self._block
        if not any(section in block.sections for section in _LIMITS):
            return False
        if "qualify" in block.sections or source.word(block.range("select")[0]) == "distinct":
            return False
        if first_aggregate(source, block) is not None:
            return False
        return not any(has_window(source, *block.range(name)) for name in ("select", "order"))


def _expands(source: Source, item: Item) -> bool:
    """Whether an item may stand for several columns."""
    for i in range(item.first, item.last):
        columns = source.word(i) == "columns" and source.mark(i + 1, "(")
        if columns or is_star(source, i):
            return True
    return False


def named(source: Source, block: Block, swaps: Swaps) -> Swaps:
    """Give the items of the SELECT list in which something is swapped the names they would have.

    Parameters
    ----------
    source, block
        The statement and its sections.
    swaps : dict
        Token ranges, and what is written in their places.
    """
    written = dict(swaps)
    for item in items_of(source, block):
        inside = [at for at in swaps if item.first <= at[0] < item.last]
        if not inside or item.aliased or _expands(source, item):
            continue
        last = max(inside)
        at = last if last[1] == item.last else (item.last - 1, item.last)
        text = written.get(at, source.tokens[item.last - 1].text)
        written[at] = f"{text} AS {identifier(item.name)}"
    return written
