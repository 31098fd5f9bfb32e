"""One item of a SELECT list: an aggregate or a ratio of two, in arithmetic that keeps its order."""

from __future__ import annotations

import re
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
_INTEGER = re.compile(r"-?\d+")
_ROUNDING = ("round", "floor", "ceil", "ceiling", "trunc")
_DEFAULTS = ("coalesce", "ifnull")
_NEVER_BELOW = ("count", "sum")  # over no rows these are 0 to whoever estimates them
_WHOLE = (
    "int", "integer", "int4", "bigint", "int8", "long", "smallint", "tinyint", "hugeint",
)  # fmt: skip
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
    """``scale * numerator [/ denominator]``, and what is reckoned with it.

    Parameters
    ----------
    written : str
        The expression over the aggregate as SQL with ``{}`` in its place; it never falls where the
        aggregate grows or, if `falling`, never grows.
    falling : bool
        Whether it turns limits round.
    shifted : bool
        Whether a constant is added, so that a share of it is not that share of the aggregate.
    stretched : bool
        Whether a factor stands outside, so that a distance from it is not that distance from the
        aggregate.
    inner : (int, int) or None
        Tokens of the aggregate, where anything stands round it.
    """

    kind: Kind
    numerator: MeasuredCall
    denominator: MeasuredCall | None = None
    share: float | None = None
    scale: float = 1.0
    interpolated: bool = False
    written: str = "{}"
    falling: bool = False
    shifted: bool = False
    stretched: bool = False
    inner: tuple[int, int] | None = None


Operand = AggregateItem | float | None


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
        item, end = self._sum(first, last)
        if end != last or not isinstance(item, AggregateItem):
            raise source.refuse(
                f"{source.text(first, last)} cannot be estimated: only an aggregate or one count "
                "or sum divided by another can, and these times, plus or minus a constant, or "
                "rounded. Estimate the aggregates in a subquery and reckon with them: SELECT "
                "sqrt(n), sqrt(n_low), sqrt(n_high) FROM (SELECT count(*) AS n FROM ... ERROR "
                "WITHIN 10%).",
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

    def _sum(self, first: int, last: int) -> tuple[Operand, int]:
        left, i = self._product(first, last)
        while left is not None and i < last and self._source.tokens[i].text in ("+", "-"):
            right, end = self._product(i + 1, last)
            left = self._added(left, right, (first, i, end))
            i = end
        return left, i

    def _added(self, left: Operand, right: Operand, places: tuple[int, int, int]) -> Operand:
        """Add two operands, of which one is a constant; the sign stands at the second place."""
        first, at, end = places
        sign = self._source.tokens[at].text
        if isinstance(left, float) and isinstance(right, float):
            return left + right if sign == "+" else left - right
        if isinstance(left, AggregateItem) and isinstance(right, float):
            template = f"({left.written} {sign} {_number(right)})"
            return _round(left, template, (first, at), shifted=True)
        if isinstance(left, float) and isinstance(right, AggregateItem):
            template, inner = f"({_number(left)} {sign} {right.written})", (at + 1, end)
            return _round(right, template, inner, shifted=True, falling=sign == "-")
        return None

    def _product(self, first: int, last: int) -> tuple[Operand, int]:
        left, i = self._operand(first, last)
        while left is not None and i < last and self._source.tokens[i].text in ("*", "/"):
            right, end = self._operand(i + 1, last)
            if right is None:
                return None, i
            left, i = self._combine(left, right, (first, i, end)), end
        return left, i

    def _combine(
        self,
        left: AggregateItem | float,
        right: AggregateItem | float,
        places: tuple[int, int, int],
    ) -> Operand:
        """Multiply or divide two operands; the sign stands at the second place."""
        first, i, end = places
        divided = self._source.tokens[i].text == "/"
        if isinstance(right, float):
            if divided and right == 0:
                raise self._source.error("division by zero", i, i + 2)
            factor = 1 / right if divided else right
            return left * factor if isinstance(left, float) else _scaled(left, factor, (first, i))
        if isinstance(left, float):
            return None if divided else _scaled(right, left, (i + 1, end))
        simple = ("count", "sum")
        if not divided or left.kind not in simple or right.kind not in simple or not right.scale:
            return None
        if left.inner or right.inner:
            return None
        return AggregateItem(
            "ratio", left.numerator, right.numerator, scale=left.scale / right.scale
        )

    def _operand(self, i: int, last: int) -> tuple[Operand, int]:
        source = self._source
        if i >= last:
            return None, i
        if source.tokens[i].text in ("+", "-"):
            found, end = self._operand(i + 1, last)
            return (_negative(found, (i + 1, end)) if source.tokens[i].text == "-" else found), end
        found, end = self._unsigned(i)
        while end + 1 < last and source.tokens[end].text == "::":
            kind = source.word(end + 1)
            found = _cast(found, kind, (i, end))
            end = source.skip(end + 2) if source.mark(end + 2, "(") else end + 2
        return found, end

    def _unsigned(self, i: int) -> tuple[Operand, int]:
        """Read a number, brackets, a cast, a rounding or an aggregate; return what comes after."""
        source, found, end = self._source, None, i + 1
        if source.tokens[i].kind == "number":
            return float(source.tokens[i].text.replace("_", "")), end
        if self._is_aggregate(i):
            return self._call(i)
        opened = i if source.mark(i, "(") else i + 1
        if not source.mark(opened, "("):
            return None, end
        close = source.partner[opened]
        found, inner = self._sum(opened + 1, close)
        if opened == i:
            return (found if inner == close else None), close + 1
        if source.word(i) == "cast":
            kind = source.word(inner + 1) if source.word(inner) == "as" else ""
            return _cast(found, kind, (opened + 1, inner)), close + 1
        digits = source.text(inner + 1, close).replace(" ", "") if inner < close else "0"
        if source.word(i) in _DEFAULTS and isinstance(found, AggregateItem):
            kept = found.kind in _NEVER_BELOW and found.inner is None and digits in ("0", "0.0")
            written = f"coalesce({found.written}, {digits})"
            return (_round(found, written, (opened + 1, inner)) if kept else None), close + 1
        named = source.word(i) in _ROUNDING and (inner == close or source.mark(inner, ","))
        if not named or not isinstance(found, AggregateItem) or not _INTEGER.fullmatch(digits):
            return None, close + 1
        arguments = f"{found.written}, {digits}" if inner < close else found.written
        return _round(found, f"{source.word(i)}({arguments})", (opened + 1, inner)), close + 1

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


def _scaled(item: AggregateItem, factor: float, inner: tuple[int, int]) -> Operand:
    """Multiply; a factor below 0 turns the limits round."""
    if item.inner is None and factor >= 0:
        return replace(item, scale=item.scale * factor)
    if not factor:
        return None
    scaled = replace(item, stretched=item.stretched or abs(factor) != 1)
    return _round(scaled, f"({item.written} * {_number(factor)})", inner, falling=factor < 0)


def _round(
    item: AggregateItem,
    written: str,
    inner: tuple[int, int],
    *,
    shifted: bool = False,
    falling: bool = False,
) -> AggregateItem:
    """Put an expression round an item, whose own tokens are `inner` if nothing was round it."""
    return replace(
        item,
        written=written,
        inner=item.inner or inner,
        falling=item.falling ^ falling,
        shifted=item.shifted or shifted,
    )


def _negative(found: Operand, inner: tuple[int, int]) -> Operand:
    if isinstance(found, AggregateItem):
        return _round(found, f"(-{found.written})", inner, falling=True)
    return None if found is None else -found


def _cast(found: Operand, kind: str, inner: tuple[int, int]) -> Operand:
    """Cast: to a number with a fraction changes nothing, to a whole number rounds."""
    if kind in _CASTS:
        return found
    if kind in _WHOLE and isinstance(found, AggregateItem):
        return _round(found, f"CAST({found.written} AS {kind})", inner)
    return None


def _number(value: float) -> str:
    return f"({int(value)})" if value.is_integer() else f"({value!r}::DOUBLE)"
