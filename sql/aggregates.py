"""The SELECT list, GROUP BY and ORDER BY of a block whose aggregates are estimated."""

from __future__ import annotations

from thresher.errors import Error
from thresher.plan import Aggregate, Estimation, Measured
from thresher.sql.aggregate_items import AggregateItem, ItemReader, MeasuredCall
from thresher.sql.aggregate_numbers import NOT_A_NUMBER, as_number, is_number
from thresher.sql.blocks import Block, is_star, query_at
from thresher.sql.expressions import parse_condition
from thresher.sql.formula import Formula, call_at
from thresher.sql.items import Item, item_at
from thresher.sql.names import Names
from thresher.sql.tokens import Source, identifier

__all__ = ["bind_estimation"]

_SETS = ("rollup", "cube", "grouping")


def bind_estimation(
    source: Source, block: Block, formula: Formula, names: Names, *, limits: bool
) -> Estimation:
    """Bind the aggregates of a block.

    Parameters
    ----------
    source : Source
        The statement.
    block : Block
        Its sections.
    formula : Formula
        The calls and parts of WHERE; those of the aggregates are added to it.
    names : Names
        What is declared.
    limits : bool
        Whether the answer has the limits of each aggregate beside it.

    Raises
    ------
    ProgrammingError
        An item is neither an aggregate nor in GROUP BY.
    NotSupportedError
        It makes sense but cannot be estimated.
    """
    return _Binder(source, block, formula, names).estimation(limits=limits)


class _Binder:
    """The state of binding one block's aggregates."""

    def __init__(self, source: Source, block: Block, formula: Formula, names: Names) -> None:
        self.source, self.block, self.formula, self.names = source, block, formula, names
        self.oracles = frozenset(name.lower() for name in names.oracle_names())
        self.n_conditions = len(formula.calls)
        self.measured: list[Measured] = []
        self.aggregates: list[Aggregate] = []
        self.columns: dict[str, str] = {}  # an expression's text to its column in the answer
        self._measured_at: dict[tuple[str, str], int] = {}

    def estimation(self, *, limits: bool) -> Estimation:
        source, block = self.source, self.block
        for section in ("window", "qualify"):
            if section in block.sections:
                raise source.refuse(
                    f"{section.upper()} beside estimated aggregates is not supported yet. Keep "
                    "the rows in a table (CREATE TABLE ...) and filter that.",
                    block.sections[section][0] - 1,
                )
        first, last = block.range("select")
        if first >= last or source.word(first) == "distinct":
            raise source.refuse("estimated aggregates need a SELECT list without DISTINCT", first)
        items = [self._item(a, b) for a, b in source.split(first, last)]
        reader = ItemReader(source)
        found = [reader.read(item.first, item.last) for item in items]
        having = range(*block.range("having"))
        if not any(found) and all(reader.call_ends(i, having.stop) is None for i in having):
            raise source.error(
                "ERROR WITHIN, or ORACLE LIMIT and BUDGET beside GROUP BY, estimate aggregates: "
                "there is none in the SELECT list or HAVING", first, last,
            )  # fmt: skip
        plain = [item for item, got in zip(items, found, strict=True) if got is None]
        groups = self._groups(plain, items)
        select = []
        for item, got in zip(items, found, strict=True):
            text = self._text(item.first, item.last)
            if got is None:
                if text not in self.columns:
                    raise self._not_grouped(item)
                select.append(f"{self.columns[text]} AS {identifier(item.name)}")
                continue
            column = self._aggregate(item, got)
            self.columns[text] = column
            select += [
                f"{column}{limit} AS {identifier(item.name + limit)}"
                for limit in (("", "_low", "_high") if limits else ("",))
            ]
        kept = self._having(items, reader)
        return Estimation(
            groups=groups,
            measured=tuple(self.measured),
            aggregates=tuple(self.aggregates),
            n_conditions=self.n_conditions,
            select=f"SELECT {', '.join(select)}",
            having=kept,
            order=self._order(items),
            limit=self._limit(),
        )

    def _item(self, first: int, last: int) -> Item:
        """Take the alias off an item."""
        source = self.source
        if first == last:
            raise source.error("an item of the SELECT list is empty", first)
        if is_star(source, last - 1):
            raise source.error(
                "a star cannot stand beside aggregates: write the columns of GROUP BY", last - 1
            )
        return item_at(source, first, last)

    def _text(self, first: int, last: int) -> str:
        """Write an expression so that equal ones are written alike."""
        tokens = self.source.tokens[first:last]
        return " ".join(token.word or token.text for token in tokens)

    def _holds(self, first: int, last: int) -> bool:
        return any(call_at(self.source, i, self.oracles) for i in range(first, last))

    def _groups(self, plain: list[Item], items: list[Item]) -> tuple[tuple[str, str], ...]:
        """Bind GROUP BY: expressions, positions, aliases and ALL."""
        source, (first, last) = self.source, self.block.range("group")
        ranges: list[tuple[int, int]] = []
        for a, b in source.split(first, last) if first < last else []:
            if source.word(a) in _SETS or source.mark(a, "("):
                raise source.refuse(
                    "grouping sets are not supported beside estimated aggregates. Run one "
                    "statement for each GROUP BY.", a, b,
                )  # fmt: skip
            if source.word(a) == "all" and b == a + 1:
                ranges += [(item.first, item.last) for item in plain]
            else:
                ranges.append(self._grouped(a, b, items))
        groups: list[tuple[str, str]] = []
        for a, b in ranges:
            if self._holds(a, b):
                raise source.refuse(
                    "GROUP BY over an oracle's answer is not estimated. Count each answer with "
                    "FILTER, or ask for all of them: SELECT answer, count(*) FROM (SELECT "
                    "oracle(x) AS answer FROM t) GROUP BY answer.", a, b,
                )  # fmt: skip
            text = self._text(a, b)
            if text not in self.columns:
                self.columns[text] = f"__thresher_g{len(groups)}"
                groups.append((self.columns[text], source.text(a, b)))
        return tuple(groups)

    def _grouped(self, a: int, b: int, items: list[Item]) -> tuple[int, int]:
        """Return the tokens that an item of GROUP BY stands for."""
        source = self.source
        if b == a + 1:
            token = source.tokens[a]
            if token.kind == "number" and token.text.isdigit():
                if not 1 <= int(token.text) <= len(items):
                    raise source.error(f"there is no item {token.text} in the SELECT list", a)
                item = items[int(token.text) - 1]
                return item.first, item.last
            for item in items:
                if token.is_name and item.aliased and item.name.lower() == token.name.lower():
                    return item.first, item.last
        return a, b

    def _not_grouped(self, item: Item) -> Error:
        written = self.source.text(item.first, item.last)
        return self.source.error(
            f"{written} is neither an aggregate that can be estimated nor in GROUP BY. Estimated "
            "are count, sum, avg, min, max, median, quantile_disc and quantile_cont, one divided "
            f"by another, and times a constant. Add {written} to GROUP BY, or take it out.",
            item.first,
            item.last,
        )

    def _aggregate(self, item: Item, got: AggregateItem) -> str:
        column = f"__thresher_a{len(self.aggregates)}"
        lower = None if got.denominator is None else self._measure(got.denominator)
        self.aggregates.append(
            Aggregate(
                kind=got.kind,
                column=self._measure(got.numerator),
                denominator=lower,
                share=got.share,
                scale=got.scale,
                name=item.name,
                place=self.source.place(item.first, item.last),
                interpolated=got.interpolated,
            )
        )
        return column

    def _measure(self, call: MeasuredCall) -> int:
        """Return the number of what an aggregate is over; equal ones share it."""
        value = self._text(*call.value) if call.value else "1"
        condition = self._text(*call.condition) if call.condition else ""
        key = f"{value}{'' if call.values else ' counted'}", condition
        if key not in self._measured_at:
            self._measured_at[key] = len(self.measured)
            self.measured.append(self._bind(call))
        return self._measured_at[key]

    def _bind(self, call: MeasuredCall) -> Measured:
        source = self.source
        written = source.text(*call.value) if call.value else "*"
        condition = self._written(*call.condition, value=False) if call.condition else None
        value = self._written(*call.value, value=True) if call.value else "1"
        value = (
            f"CAST(({value}) AS DOUBLE)"
            if call.values
            else f"CASE WHEN ({value}) IS NOT NULL THEN 1.0::DOUBLE END"
        )
        by_oracle = bool(call.value) and self._holds(*(call.value or (0, 0)))
        if by_oracle and call.values and call.value:
            self._refuse_text(*call.value)
        plain_sql = None
        if not by_oracle:
            plain_sql = source.text(*call.value) if call.value else "1"
            if call.values:
                end = source.partner[call.at + 1] + 1
                plain_sql = as_number(plain_sql, source.text(call.at, end))
            else:
                plain_sql = f"CASE WHEN ({plain_sql}) IS NOT NULL THEN 1 END"
            if call.condition and not self._holds(*call.condition):
                plain_sql = f"CASE WHEN {source.text(*call.condition)} THEN {plain_sql} END"
        low, high = self._range(*call.value) if by_oracle and call.value else (None, None)
        if by_oracle and not call.values:
            low, high = 1.0, 1.0
        filtered = bool(call.condition) and self._holds(*(call.condition or (0, 0)))
        return Measured(
            value=value,
            condition=condition,
            plain=None if plain_sql is None else f"__thresher_x{len(self.measured)}",
            plain_sql=plain_sql,
            low=low,
            high=high,
            text=written,
            place=source.place(*call.value) if call.value else source.place(call.at, call.at + 1),
            certain=not (self.n_conditions or filtered or by_oracle),
        )

    def _refuse_text(self, first: int, last: int) -> None:
        """Refuse an oracle whose answers are no numbers."""
        source = self.source
        if call_at(source, first, self.oracles) and source.skip(first + 1) == last:
            declared = self.names.oracle(source.tokens[first].name.lower())
            if declared and not is_number(declared.signature.returns):
                returns, written = declared.signature.returns, source.text(first, last)
                raise source.error(f"{written} is {returns}: {NOT_A_NUMBER}.", first, last)

    def _written(self, first: int, last: int, *, value: bool) -> str:
        node = parse_condition(
            self.source, first, last, lambda i: call_at(self.source, i, self.oracles)
        )
        return self.formula.expression(node, value=value)

    def _range(self, first: int, last: int) -> tuple[float | None, float | None]:
        """Range of an oracle's value: declared, or that of a BOOLEAN, or of a clamp round it."""
        source = self.source
        while source.mark(first, "(") and source.partner[first] == last - 1:
            first, last = first + 1, last - 1
        if source.word(first) in ("least", "greatest") and source.partner[first + 1] == last - 1:
            return self._clamp(first, last)
        if call_at(source, first, self.oracles) and source.skip(first + 1) == last:
            declared = self.names.oracle(source.tokens[first].name.lower())
            if declared is not None:
                return declared.value_range
        return None, None

    def _clamp(self, first: int, last: int) -> tuple[float | None, float | None]:
        """Range of ``least(x, b)`` or ``greatest(x, a)``."""
        source, low, high = self.source, None, None
        constants = []
        for a, b in source.split(first + 2, last - 1):
            text = source.text(a, b).replace(" ", "")
            try:
                constants.append(float(text))
            except ValueError:
                low, high = self._range(a, b)
        if constants and source.word(first) == "least":
            top = min(constants)
            high = top if high is None else min(high, top)
            low = low if low is None else min(low, top)
        elif constants:
            bottom = max(constants)
            low = bottom if low is None else max(low, bottom)
            high = high if high is None else max(high, bottom)
        return low, high

    def _having(self, items: list[Item], reader: ItemReader) -> str:
        """Write HAVING over the columns of the estimates; an aggregate only there is one more."""
        source, (first, last) = self.source, self.block.range("having")
        swaps: dict[tuple[int, int], str] = {}
        i = first
        while i < last:
            end = reader.call_ends(i, last)
            if end is not None:
                text = self._text(i, end)
                if text not in self.columns:
                    got = reader.read(i, end)
                    if got is None:
                        raise source.error(f"{source.text(i, end)} cannot be estimated", i, end)
                    name = source.text(i, end)
                    self.columns[text] = self._aggregate(Item(i, end, name, aliased=False), got)
                swaps[i, end] = self.columns[text]
                i = end
                continue
            self._check_having(i, last)
            column = self._named(i, items)
            if column is not None:
                swaps[i, i + 1] = column
            i += 1
        return source.text(first, last, swaps) if first < last else ""

    def _check_having(self, i: int, last: int) -> None:
        """Refuse what cannot stand in HAVING over estimates."""
        source = self.source
        if call_at(source, i, self.oracles):
            raise source.refuse(
                "an oracle call in HAVING stands for no single row of a group. Count rows with "
                "FILTER: HAVING count(*) FILTER (WHERE oracle(x)) > 3.", i, source.skip(i + 1),
            )  # fmt: skip
        if source.mark(i, "(") and query_at(source, i + 1):
            raise source.refuse(
                "a subquery in HAVING beside estimated aggregates is not supported. Keep the "
                "estimates in a table (CREATE TABLE ... AS) and filter that.", i, last,
            )  # fmt: skip

    def _named(self, i: int, items: list[Item]) -> str | None:
        """Return the column of the item, limit or group that a single token names."""
        source = self.source
        token = source.tokens[i]
        if not token.is_name or source.mark(i - 1, ".") or source.mark(i + 1, "("):
            return None
        if (text := self._text(i, i + 1)) in self.columns:
            return self.columns[text]
        for item in items:
            for limit in ("", "_low", "_high"):
                if token.name.lower() == f"{item.name}{limit}".lower():
                    return f"{self.columns[self._text(item.first, item.last)]}{limit}"
        return None

    def _order(self, items: list[Item]) -> str:
        """Write ORDER BY over the columns of the estimates."""
        source, (first, last) = self.source, self.block.range("order")
        keys = []
        for a, b in source.split(first, last) if first < last else []:
            end = b
            while source.word(end - 1) in ("asc", "desc", "first", "last", "nulls"):
                end -= 1
            keys.append(f"{self._order_key(a, end, items)} {source.text(end, b)}".rstrip())
        return f"ORDER BY {', '.join(keys)}" if keys else ""

    def _order_key(self, a: int, b: int, items: list[Item]) -> str:
        source = self.source
        text = self._text(a, b)
        if text in self.columns:
            return self.columns[text]
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
                return self.columns[self._text(item.first, item.last)]
            if (column := self._named(a, items)) is not None:
                return column
        raise source.refuse(
            f"ORDER BY {source.text(a, b)} beside estimated aggregates: name an item of the "
            "SELECT list, or its limits (its name with _low or _high)", a, b,
        )  # fmt: skip

    def _limit(self) -> str:
        source, block = self.source, self.block
        found = sorted(
            (block.sections[name], name)
            for name in ("limit", "offset", "fetch")
            if name in block.sections
        )
        return " ".join(f"{name.upper()} {source.text(*tokens)}" for tokens, name in found)
