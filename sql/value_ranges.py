"""The least and the largest value that an expression over an oracle's answer can have."""

from __future__ import annotations

import math

from thresher.sql.formula import call_at
from thresher.sql.names import Names
from thresher.sql.tokens import Source

__all__ = ["value_range"]

Range = tuple[float | None, float | None]
_UNKNOWN: Range = (None, None)
_TRUTH: Range = (0.0, 1.0)
_ROUNDED = 1e-12  # DuckDB may reckon in decimals, and each step here rounds
_COMPARED = ("=", "==", "<>", "!=", "<", "<=", ">", ">=")
_LOGICAL = (
    "and", "or", "not", "is", "isnull", "notnull", "in", "like", "ilike", "similar", "between",
)  # fmt: skip
_WHOLE = (
    "int", "integer", "int4", "signed", "bigint", "int8", "long", "smallint", "int2", "short",
    "tinyint", "int1", "hugeint", "decimal", "numeric", "dec", "float", "float4", "real",
)  # fmt: skip


def value_range(source: Source, first: int, last: int, names: Names) -> Range:
    """Return the range of tokens ``first:last``; None stands for an end that is not known.

    Known are the answers of an oracle that is BOOLEAN or declared with a range, numbers,
    conditions, and what sums, products, casts, roundings, ``least``, ``greatest``, ``coalesce``,
    ``if`` and ``CASE`` make of them. NULL has no value and widens nothing.
    """
    return _Ranges(source, names).whole(first, last)


class _Ranges:
    """Reads an expression by recursive descent; `_Unread` ends it where it is of another form."""

    def __init__(self, source: Source, names: Names) -> None:
        self._source, self._names = source, names
        self._oracles = frozenset(name.lower() for name in names.oracle_names())

    def whole(self, first: int, last: int) -> Range:
        """Return the range of an expression, unknown where it cannot be read."""
        if first >= last:
            return _UNKNOWN
        try:
            if self._is_condition(first, last):
                return _TRUTH
            found, end = self._sum(first, last)
        except _Unread:
            return _UNKNOWN
        return found if end == last else _UNKNOWN

    def _is_condition(self, first: int, last: int) -> bool:
        """Whether a comparison or a logical word stands outside brackets and CASE."""
        source, found, i = self._source, False, first
        while i < last:
            if source.word(i) == "case":
                i = self._case_end(i, last)
                continue
            if source.tokens[i].text in ("->", "->>"):
                return False
            found |= source.tokens[i].text in _COMPARED or source.word(i) in _LOGICAL
            i = source.skip(i)
        return found

    def _case_end(self, i: int, last: int) -> int:
        """Return the token after ``CASE ... END``."""
        source, depth = self._source, 0
        while i < last:
            depth += (source.word(i) == "case") - (source.word(i) == "end")
            i = source.skip(i)
            if depth == 0:
                return i
        raise _Unread

    def _sum(self, i: int, last: int) -> tuple[Range, int]:
        found, i = self._product(i, last)
        while i < last and self._source.tokens[i].text in ("+", "-"):
            minus = self._source.tokens[i].text == "-"
            right, i = self._product(i + 1, last)
            low, high = _negative(right) if minus else right
            found = _wider(_plus(found[0], low), _plus(found[1], high))
        return found, i

    def _product(self, i: int, last: int) -> tuple[Range, int]:
        found, i = self._operand(i, last)
        while i < last and self._source.tokens[i].text in ("*", "/"):
            divided = self._source.tokens[i].text == "/"
            right, i = self._operand(i + 1, last)
            found = _times(found, _inverse(right) if divided else right)
        return found, i

    def _operand(self, i: int, last: int) -> tuple[Range, int]:
        """Read one operand with its sign and its casts, which bind more tightly."""
        source = self._source
        if i >= last:
            raise _Unread
        if source.tokens[i].text in ("+", "-"):
            found, end = self._operand(i + 1, last)
            return (_negative(found) if source.tokens[i].text == "-" else found), end
        found, end = self._bare(i, last)
        while end + 1 < last and source.tokens[end].text == "::":
            found = _cast(found, source.word(end + 1))
            end = source.skip(end + 2) if source.mark(end + 2, "(") else end + 2
        return found, end

    def _bare(self, i: int, last: int) -> tuple[Range, int]:
        source, word = self._source, self._source.word(i)
        if source.tokens[i].kind == "number":
            value = float(source.tokens[i].text.replace("_", ""))
            return (value, value), i + 1
        if word in ("true", "false"):
            return _TRUTH, i + 1
        if word == "case":
            return self._case(i, last)
        opened = i if source.mark(i, "(") else i + 1
        end = source.skip(opened) if source.mark(opened, "(") else last + 1
        if end > last:
            raise _Unread
        if opened == i:
            return self.whole(i + 1, end - 1), end
        return self._call(i, end), end

    def _call(self, i: int, end: int) -> Range:
        """Return the range of a call: of an oracle, a cast, or a function that keeps ranges."""
        source, word = self._source, self._source.word(i)
        if call_at(source, i, self._oracles):
            declared = self._names.oracle(source.tokens[i].name.lower())
            return _UNKNOWN if declared is None else declared.value_range
        if word in ("cast", "try_cast"):
            at = next((k for k in range(i + 2, end) if source.word(k) == "as"), end)
            return _cast(self.whole(i + 2, at), source.word(at + 1)) if at < end else _UNKNOWN
        pieces = source.split(i + 2, end - 1)
        match word:
            case "least" | "greatest":
                return _clamped(self._values(pieces), least=word == "least")
            case "coalesce" | "ifnull":
                return _hull(self._values(pieces))
            case "if" if len(pieces) == 3:
                return _hull(self._values(pieces[1:]))
            case "round" | "floor" | "ceil" | "ceiling" | "trunc" if len(pieces) == 1:
                return _whole(self.whole(*pieces[0]))
        return _UNKNOWN

    def _values(self, pieces: list[tuple[int, int]]) -> list[Range]:
        """Return the ranges of some expressions, of which NULL is none."""
        source = self._source
        return [
            self.whole(first, last)
            for first, last in pieces
            if source.word(first) != "null" or last > first + 1
        ]

    def _case(self, i: int, last: int) -> tuple[Range, int]:
        """Return the hull of what stands after THEN and ELSE."""
        source, end = self._source, self._case_end(i, last)
        pieces: list[tuple[int, int]] = []
        start, k = None, i + 1
        while k < end:
            if source.word(k) == "case":
                k = self._case_end(k, end)
                continue
            if start is not None and source.word(k) in ("when", "else", "end"):
                pieces.append((start, k))
                start = None
            if source.word(k) in ("then", "else"):
                start = k + 1
            k = source.skip(k)
        return _hull(self._values(pieces)), end


class _Unread(Exception):  # noqa: N818
    """An expression of another form."""


def _negative(found: Range) -> Range:
    low, high = found
    return (None if high is None else -high), (None if low is None else -low)


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _wider(low: float | None, high: float | None) -> Range:
    """Leave room for rounding, unless an end is a whole number."""
    room = [_ROUNDED * max(1.0, abs(end or 0.0)) for end in (low, high)]
    return (
        low if low is None or low.is_integer() else low - room[0],
        high if high is None or high.is_integer() else high + room[1],
    )


def _times(one: Range, other: Range) -> Range:
    ends = [end for found in (one, other) for end in found if end is not None]
    if len(ends) < 4:
        return _UNKNOWN
    products = [a * b for a in ends[:2] for b in ends[2:]]
    return _wider(min(products), max(products))


def _inverse(found: Range) -> Range:
    """Return ``1 / x`` for a constant other than 0."""
    low, high = found
    return (1 / low, 1 / low) if low and low == high else _UNKNOWN


def _hull(ranges: list[Range]) -> Range:
    lows = [low for low, _ in ranges if low is not None]
    highs = [high for _, high in ranges if high is not None]
    if not ranges:
        return _UNKNOWN
    return (
        min(lows) if len(lows) == len(ranges) else None,
        max(highs) if len(highs) == len(ranges) else None,
    )


def _clamped(ranges: list[Range], *, least: bool) -> Range:
    """Return the range of ``least(...)`` or ``greatest(...)``, which leave NULL out."""
    # Where all values but one may be NULL, that one is the answer; a number never is.
    if not least:
        return _negative(_clamped([_negative(one) for one in ranges], least=True))
    lowest, highest = _hull(ranges)
    fixed = [high for low, high in ranges if high is not None and low == high]
    return lowest, min(fixed) if fixed else highest


def _whole(found: Range) -> Range:
    low, high = found
    return (
        None if low is None else float(math.floor(low)),
        None if high is None else float(math.ceil(high)),
    )


def _cast(found: Range, kind: str) -> Range:
    """Cast: to a whole number or fewer digits rounds."""
    if kind in ("boolean", "bool", "logical"):
        return _TRUTH
    if kind in ("double", "float8"):
        return found
    return _whole(found) if kind in _WHOLE else _UNKNOWN
