"""The SELECT list, GROUP BY and ORDER BY of a block whose aggregates are estimated."""

from __future__ import annotations

from thresher.errors import Error
from thresher.plan import Aggregate, Estimation, Measured
from thresher.sql.aggregate_items import AggregateItem, ItemReader, MeasuredCall
from thresher.sql.aggregate_numbers import NOT_A_NUMBER, as_number, is_number
from thresher.sql.blocks import Block, is_star, query_at
from thresher.sql.estimate_columns import ENDS, EstimateColumns
from thresher.sql.expressions import parse_condition
from thresher.sql.formula import Formula, call_at, is_constant
from thresher.sql.items import Item, default_name, item_at
from thresher.sql.names import Names
from thresher.sql.selections import limit_sql
from thresher.sql.tokens import Source, identifier
from thresher.sql.value_ranges import value_range
from thresher.targets import ErrorTarget

__all__ = ["bind_estimation"]

_SETS = ("rollup", "cube", "grouping")


def bind_estimation(
    source: Source,
    block: Block,
    formula: Formula,
    names: Names,
    *,
    limits: bool,
    error: ErrorTarget | None = None,
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
    error : ErrorTarget, optional
        ERROR WITHIN of the block.

    Raises
    ------
    ProgrammingError
        An item is neither an aggregate nor in GROUP BY.
    NotSupportedError
        It makes sense but cannot be estimated.
    """
    return _Binder(source, block, formula, names, error).estimation(limits=limits)


class _Binder:
    """The state of binding one block's aggregates."""

    def __init__(
        self,
        source: Source,
        block: Block,
        formula: Formula,
        names: Names,
        error: ErrorTarget | None,
    ) -> None:
        self.source, self.block, self.formula, self.names = source, block, formula, names
        self.error = error
        self.oracles = frozenset(name.lower() for name in names.oracle_names())
        self.n_conditions = len(formula.calls)
        self.measured: list[Measured] = []
        self.aggregates: list[Aggregate] = []
        self.columns = EstimateColumns(source)
        self._measured_at: dict[tuple[str, str], int] = {}

    def estimation(self, *, limits: bool) -> Estimation:
        source, block = self.source, self.block
        self._check_sections()
        first, last = block.range("select")
        if first >= last or source.words(first, "distinct", "on"):
            raise source.refuse(
                "estimated aggregates need a SELECT list without DISTINCT ON", first, first + 2
            )
        distinct = source.word(first) == "distinct"
        items = [self._item(a, b) for a, b in source.split(first + distinct, last)]
        reader = ItemReader(source)
        found = [reader.read(item.first, item.last) for item in items]
        having = range(*block.range("having"))
        if not any(found) and all(reader.call_ends(i, having.stop) is None for i in having):
            raise source.error(
                "ERROR WITHIN, or ORACLE LIMIT and BUDGET beside GROUP BY, estimate aggregates: "
                "there is none in the SELECT list or HAVING", first, last,
            )  # fmt: skip
        plain = [
            item
            for item, got in zip(items, found, strict=True)
            if got is None and not self._constant(item)
        ]
        groups = self._groups(plain, items)
        select: list[str] = []
        for item, got in zip(items, found, strict=True):
            select += self._selected(item, got, limits=limits)
        kept = self._having(items, reader)
        return Estimation(
            groups=groups,
            measured=tuple(self.measured),
            aggregates=tuple(self.aggregates),
            n_conditions=self.n_conditions,
            select=f"SELECT {'DISTINCT ' * distinct}{', '.join(select)}",
            having=kept,
            order=self.columns.order(block, items),
            limit=limit_sql(source, block),
        )

    def _check_sections(self) -> None:
        for section in ("window", "qualify"):
            if section in self.block.sections:
                raise self.source.refuse(
                    f"{section.upper()} beside estimated aggregates is not supported yet. Keep "
                    "the rows in a table (CREATE TABLE ...) and filter that.",
                    self.block.sections[section][0] - 1,
                )

    def _selected(self, item: Item, got: AggregateItem | None, *, limits: bool) -> list[str]:
        """Write an item of the SELECT list over the columns of the estimates."""
        text = self.source.folded(item.first, item.last)
        if got is None:
            if text not in self.columns.values and not self._constant(item):
                raise self._not_grouped(item)
            written = self.columns.values.setdefault(text, self.source.text(item.first, item.last))
            return [f"{written} AS {identifier(item.name)}"]
        self._aggregate(item, got)
        columns = (self.columns.values[text], *(self.columns.limits[text] if limits else ()))
        return [
            f"{column} AS {identifier(item.name + end)}"
            for column, end in zip(columns, ENDS, strict=False)
        ]

    def _constant(self, item: Item) -> bool:
        source = self.source
        words = source.words(item.first, "interval") or source.mark(item.first, "[")
        if words or query_at(source, item.first + 1):
            return False
        return is_constant(parse_condition(source, item.first, item.last, lambda _: False))

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
            text = self.source.folded(a, b)
            if text not in self.columns.values:
                self.columns.values[text] = f"__thresher_g{len(groups)}"
                groups.append((self.columns.values[text], source.text(a, b)))
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

    def _aggregate(self, item: Item, got: AggregateItem) -> None:
        """Bind an aggregate; the expression round it becomes SQL over its column and limits."""
        column = f"__thresher_a{len(self.aggregates)}"
        inner = got.inner or (item.first, item.last)
        self._check_error(item, got, inner)
        lower = None if got.denominator is None else self._measure(got.denominator)
        self.aggregates.append(
            Aggregate(
                kind=got.kind,
                column=self._measure(got.numerator),
                denominator=lower,
                share=got.share,
                scale=got.scale,
                name=item.name if got.inner is None else default_name(self.source, *got.inner),
                place=self.source.place(item.first, item.last),
                interpolated=got.interpolated,
            )
        )
        text = self.source.folded(item.first, item.last)
        value, *ends = (got.written.format(f"{column}{end}") for end in ENDS)
        low, high = reversed(ends) if got.falling else ends
        self.columns.values[text], self.columns.limits[text] = value, (low, high)

    def _check_error(self, item: Item, got: AggregateItem, inner: tuple[int, int]) -> None:
        """Refuse an error target that would speak of the aggregate, not of what is shown."""
        error = self.error
        if error is None or not (got.shifted if error.relative else got.stretched):
            return
        shown, aggregate = self.source.text(item.first, item.last), self.source.text(*inner)
        target = f"{100 * error.within:g}%" if error.relative else f"{error.within:g} ABSOLUTE"
        what, way = "distance from", "write the factor at the aggregate"
        if error.relative:
            what, way = "share of", "write ERROR WITHIN x ABSOLUTE"
        raise self.source.refuse(
            f"a {what} {shown} is not that {what} {aggregate}: {way}, or reckon with the estimate, "
            f"as in SELECT 1 - m, 1 - m_high, 1 - m_low FROM (SELECT {aggregate} AS m FROM ... "
            f"ERROR WITHIN {target}).",
            item.first, item.last,
        )  # fmt: skip

    def _measure(self, call: MeasuredCall) -> int:
        """Return the number of what an aggregate is over; equal ones share it."""
        value = self.source.folded(*call.value) if call.value else "1"
        condition = self.source.folded(*call.condition) if call.condition else ""
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
        low, high = None, None
        if by_oracle and call.value:
            low, high = value_range(source, *call.value, self.names)
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

    def _having(self, items: list[Item], reader: ItemReader) -> str:
        """Write HAVING over the columns of the estimates; an aggregate only there is one more."""
        source, (first, last) = self.source, self.block.range("having")
        swaps: dict[tuple[int, int], str] = {}
        i = first
        while i < last:
            end = reader.call_ends(i, last)
            if end is not None:
                text = self.source.folded(i, end)
                if text not in self.columns.values:
                    got = reader.read(i, end)
                    if got is None:
                        raise source.error(f"{source.text(i, end)} cannot be estimated", i, end)
                    self._aggregate(Item(i, end, source.text(i, end), aliased=False), got)
                swaps[i, end] = self.columns.values[text]
                i = end
                continue
            self._check_having(i, last)
            column = self.columns.named(i, items)
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
