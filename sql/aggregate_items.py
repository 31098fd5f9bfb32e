"""One item of a SELECT list as ``constant * aggregate / aggregate``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from thresher.sql.selections import AGGREGATES
from thresher.sql.tokens import Source

__all__ = ["AggregateItem", "ItemReader", "MeasuredCall"]

Kind = Literal["count", "sum", "mean", "quantile", "min", "max", "ratio"]
_KINDS: dict[str, Kind] = {
    "count": "count",
    "count_star": "count",
    "count_if": "count",
    "countif": "count",
    "sum": "sum",
    "avg": "mean",
    "mean": "mean",
    "min": "min",
    "max": "max",
    "median": "quantile",
    "quantile": "quantile",
    "quantile_disc": "quantile",
    "quantile_cont": "quantile",
}
_CASTS = ("double", "float", "real", "decimal", "numeric", "float4", "float8")


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """One call of an aggregate: the tokens of its argument and of its FILTER.

    `values` says whether the argument's value matters, or only that it is not NULL.
    """

    at: int
    value: tuple[int, int] | None
    condition: tuple[int, int] | None
    values: bool


@dataclass(frozen=True, slots=True)
class AggregateItem:
    """``scale * numerator [/ denominator]``."""

    kind: Kind
    numerator: MeasuredCall
    denominator: MeasuredCall | None = None
    share: float | None = None
    scale: float = 1.0
    interpolated: bool = False


class ItemReader:
    """Reads items by recursive descent over products and quotients."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, first: int, last: int) -> AggregateItem | None:
        """Return the aggregate of an item, None for an item without one.

        Raises
        ------
        NotSupportedError
            An expression over aggregates of another form, or an aggregate that is not estimated.
        """
        source = self._source
        if not any(self._is_aggregate(i) for i in range(first, last)):
            return None
        item, end = self._product(first, last)
        if end != last or not isinstance(item, AggregateItem):
            raise source.refuse(
                f"{source.text(first, last)} cannot be estimated: only an aggregate, one count or "
                "sum divided by another, and these times a constant can.",
                first,
                last,
            )
        return item

    def call_ends(self, i: int, last: int) -> int | None:
        """Return the token after the call of an aggregate that begins here; None for no call."""
        source = self._source
        if not self._is_aggregate(i):
            return None
        end = source.skip(i + 1)
        if source.words(end, "within", "group"):
            end = source.skip(end + 2)
        if source.word(end) == "filter":
            end = source.skip(end + 1)
        return min(end, last)

    def _is_aggregate(self, i: int) -> bool:
        source = self._source
        return (
            source.word(i) in AGGREGATES and source.mark(i + 1, "(") and not source.mark(i - 1, ".")
        )

    def _product(self, i: int, last: int) -> tuple[AggregateItem | float | None, int]:
        left, i = self._operand(i, last)
        while left is not None and i < last and self._source.tokens[i].text in ("*", "/"):
            right, end = self._operand(i + 1, last)
            if right is None:
                return None, i
            left, i = self._combine(left, right, i), end
        return left, i

    def _combine(
        self, left: AggregateItem | float, right: AggregateItem | float, i: int
    ) -> AggregateItem | float | None:
        divided = self._source.tokens[i].text == "/"
        if isinstance(right, float):
            if divided and right == 0:
                raise self._source.error("division by zero", i, i + 2)
            factor = 1 / right if divided else right
            return left * factor if isinstance(left, float) else _scaled(left, factor)
        if isinstance(left, float):
            return None if divided else _scaled(right, left)
        simple = ("count", "sum")
        if not divided or left.kind not in simple or right.kind not in simple or not right.scale:
            return None
        return AggregateItem(
            "ratio", left.numerator, right.numerator, scale=left.scale / right.scale
        )

    def _operand(self, i: int, last: int) -> tuple[AggregateItem | float | None, int]:
        source = self._source
        if i >= last:
            return None, i
        found: AggregateItem | float | None = None
        end = i + 1
        if source.tokens[i].kind == "number":
            found = float(source.tokens[i].text.replace("_", ""))
        elif source.mark(i, "("):
            close = source.partner[i]
            found, inner = self._product(i + 1, close)
            found, end = (found if inner == close else None), close + 1
        elif source.word(i) == "cast" and source.mark(i + 1, "("):
            close = source.partner[i + 1]
            found, inner = self._product(i + 2, close)
            if source.word(inner) != "as" or source.word(inner + 1) not in _CASTS:
                found = None
            end = close + 1
        elif self._is_aggregate(i):
            found, end = self._call(i)
        while end + 1 < last and source.tokens[end].text == "::":
            if source.word(end + 1) not in _CASTS:
                return None, end
            end = source.skip(end + 2) if source.mark(end + 2, "(") else end + 2
        return found, end

    def _call(self, i: int) -> tuple[AggregateItem, int]:
        """Read one aggregate with its FILTER."""
        source, name = self._source, self._source.word(i)
        if name not in _KINDS:
            raise source.refuse(
                f"{name} cannot be estimated. Estimated are {', '.join(_KINDS)}; without ERROR "
                "WITHIN, ORACLE LIMIT and BUDGET every aggregate is exact.", i, source.skip(i + 1),
            )  # fmt: skip
        opened, end = i + 1, source.skip(i + 1)
        if source.word(opened + 1) == "distinct":
            raise source.refuse(
                f"{name}(DISTINCT ...) cannot be estimated: a value that the sample misses may be "
                "anywhere. Leave ERROR WITHIN, ORACLE LIMIT and BUDGET out for an exact answer, or "
                "leave DISTINCT out.", i, end,
            )  # fmt: skip
        for k in range(opened + 1, end):
            if source.words(k, "order", "by"):
                raise source.refuse(
                    f"the order of rows does not change {name}: leave ORDER BY out of it", k, k + 2
                )
        pieces = [p for p in source.split(opened + 1, end - 1) if p[0] < p[1]]
        kind = _KINDS[name]
        share = self._share(i, name, pieces) if kind == "quantile" else None
        value, condition = self._argument(i, name, pieces), None
        if source.word(end) == "filter" and source.mark(end + 1, "("):
            close = source.partner[end + 1]
            start = end + 3 if source.word(end + 2) == "where" else end + 2
            condition, end = (start, close), close + 1
        if source.word(end) == "over":
            raise source.refuse("a window function beside an oracle cannot be estimated", i, end)
        if name in ("count_if", "countif"):
            if condition:
                raise source.refuse(f"{name} with FILTER: write count(*) FILTER (WHERE ...)", i)
            value, condition = None, value
        measured = MeasuredCall(i, value, condition, kind != "count")
        between = name in ("median", "quantile_cont")
        return AggregateItem(kind, measured, share=share, interpolated=between), end

    def _argument(self, i: int, name: str, pieces: list[tuple[int, int]]) -> tuple[int, int] | None:
        source = self._source
        whole = _KINDS[name] == "count" and name not in ("count_if", "countif")
        if whole and (not pieces or source.tokens[pieces[0][1] - 1].text == "*"):
            return None
        wanted = 2 if _KINDS[name] == "quantile" and name != "median" else 1
        if len(pieces) != wanted:
            raise source.error(f"{name} takes {wanted} argument{'s' * (wanted > 1)}", i)
        return pieces[0]

    def _share(self, i: int, name: str, pieces: list[tuple[int, int]]) -> float:
        if name == "median":
            return 0.5
        source = self._source
        written = source.text(*pieces[1]) if len(pieces) == 2 else ""
        try:
            share = float(written)
        except ValueError:
            share = -1.0
        if not 0.0 <= share <= 1.0:
            raise source.error(f"{name} needs a share from 0 to 1 as second argument", i)
        return share


def _scaled(item: AggregateItem, factor: float) -> AggregateItem:
    return replace(item, scale=item.scale * factor)
