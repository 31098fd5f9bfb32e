"""Readers of what stands after the words of a clause: shares, counts, budgets, assumptions."""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Callable
from typing import cast

from thresher.errors import ProgrammingError
from thresher.sql.blocks import section_at
from thresher.sql.clause_heads import SHORTFALLS, TailClauses, head_at, meant
from thresher.sql.tokens import Source
from thresher.targets import (
    Assumption,
    AssumptionName,
    BudgetUnit,
    ErrorTarget,
    hundredth,
    mistaken_probability,
    mistaken_share,
)

__all__ = ["READERS", "Reader", "read_gap"]

Reader = Callable[[Source, int, int, int, TailClauses], int]

_TIMES = ("second", "minute", "hour", "day", "week", "month", "year")
_UNITS = ("CALLS", "TOKENS", "SECONDS", "USD")
_ASSUMPTIONS: dict[AssumptionName, tuple[tuple[str, ...], str]] = {
    "CALIBRATION": (("calibration",), "within"),
    "PROXY QUALITY": (("proxy", "quality"), "within"),
    "CORE SET CLOSURE": (("core", "set", "closure"), "of"),
    "NORMALITY": (("normality",), ""),
}
_COMPARISONS = (">=", "=>", "<=", "=", "==", ">", "<", ":=", ":")
_MOST = 2**63 - 1  # of a seed and of labels: what the label store can keep
_PAST_ANY = 10**40  # stands for larger numbers, which need not fit a float


def _number(source: Source, head: int, i: int, last: int, example: str) -> tuple[float, int, bool]:
    """Read a number, maybe with sign and percent sign: value, next token, whether a percentage."""
    name = source.text(head, i).upper()
    negative = i < last and source.tokens[i].text in ("+", "-")
    sign = -1 if negative and source.tokens[i].text == "-" else 1
    at = i + negative
    if at >= last or source.tokens[at].kind not in ("number", "parameter", "string"):
        raise _no_number(source, head, i, last, example)
    token = source.tokens[at]
    value: object = token.value
    if token.kind == "number":
        text = token.text.replace("_", "")
        value = int(text) if text.isdigit() and len(text) <= 40 else float(text)
    if isinstance(value, bool) or not isinstance(value, numbers.Real | decimal.Decimal):
        got = repr(value) if token.kind == "parameter" else token.text
        raise source.error(f"{name} needs {example}, got {got}", at)
    percent = at + 1 < last and source.tokens[at + 1].text == "%"
    percent = percent or source.word(at + 1) == "percent"
    if isinstance(value, numbers.Integral):
        return sign * max(-_PAST_ANY, min(int(value), _PAST_ANY)), at + 1 + percent, percent
    exact = float(value)
    return sign * exact, at + 1 + percent, percent


def _no_number(source: Source, head: int, i: int, last: int, example: str) -> ProgrammingError:
    """Make the error for what stands in a number's place."""
    name = source.text(head, i).upper()
    if i >= last:
        return source.error(f"{name} needs a value: write {example}", head, i)
    got = source.tokens[i].text
    if got in _COMPARISONS:
        end = next((k for k in range(i + 1, last) if head_at(source, k)[0]), last)
        value = source.text(i + 1, end)
        way = f"write {name} {value}" if value else f"{name} needs {example}"
        return source.error(f"leave {got} out: {way}", i)
    if source.word(i) and not head_at(source, i)[0] and not section_at(source, i):
        return source.error(f"{name} needs {example}, got {got}", i)
    return source.error(f"{name} needs a value: write {example}", head, i)


def _share(closed: bool) -> Reader:
    """Make the reader of a share in (0, 1], or of a probability in [0.5, 1) when not `closed`."""

    def read(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
        name = source.text(head, i).upper()
        interval = "(0, 1]" if closed else "[0.5, 1)"
        value, end, percent = _number(source, head, i, last, "a share such as 90% or 0.9")
        share = hundredth(value) if percent else value
        if not (0 < share < 1 or (closed and share == 1)):
            hint = "Write a share such as 90% or 0.9."
            if not percent and 1 < value < 100:
                hint = f"Write {value:g}% or {value / 100:g}."
            got = source.text(i, end) if source.tokens[i].kind != "parameter" else f"{value:g}"
            raise source.error(f"{name} must be in {interval}, got {got}. {hint}", i, end)
        mistaken = mistaken_share(float(value)) if percent else ""
        unlikely = "" if closed else mistaken_probability(float(share))
        if unlikely and (not mistaken or value < 0.5):
            mistaken = f"it must be in {interval}, and {unlikely}"
        if mistaken:
            raise source.error(f"{name}: {mistaken}", i, end)
        clauses.values[head_at(source, head)[0]] = float(share)
        return end

    return read


def _whole(least: int) -> Reader:
    """Make the reader of a whole number from `least` up."""

    def read(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
        name = source.text(head, i).upper()
        value, end, percent = _number(source, head, i, last, "a whole number such as 1000")
        if percent or value != value or (abs(value) < _MOST and value % 1):
            raise source.error(f"{name} must be a whole number, got {source.text(i, end)}", i, end)
        if value < least:
            raise source.error(f"{name} must be at least {least}, got {value:g}", i, end)
        if value > _MOST:
            got = source.text(i, end) if source.tokens[i].kind != "parameter" else f"{value:g}"
            raise source.error(f"{name} must be below 2^63, got {got}", i, end)
        clauses.values[head_at(source, head)[0]] = int(value)
        return end

    return read


def _shortfall(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    word = source.word(i).upper() if i < last else ""
    if word not in SHORTFALLS:
        at, got = (i, f", got {source.tokens[i].text}") if i < last else (head, "")
        hint = meant(word, SHORTFALLS)
        raise source.error(f"ON SHORTFALL needs FAIL, RETURN or EXACT{got}.{hint}", at)
    clauses.values["ON SHORTFALL"] = word
    return i + 1


def _error(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    """Read ``x[%] [RELATIVE | ABSOLUTE]``; a percentage is relative unless it says otherwise."""
    example = "a distance such as 5% or 0.5 ABSOLUTE"
    value, end, percent = _number(source, head, i, last, example)
    within, written = hundredth(value) if percent else float(value), source.text(i, end)
    relative = percent
    if end < last and source.word(end) in ("relative", "absolute"):
        relative, end = source.word(end) == "relative", end + 1
    if not 0 < within < float("inf") or (relative and within >= 1):
        room = "in (0, 1)" if relative else "above 0"
        raise source.error(f"ERROR WITHIN must be {room}, got {written}. Write {example}.", i, end)
    clauses.values["ERROR WITHIN"] = ErrorTarget(within, relative)
    return end


def _budget(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    """Read ``n CALLS | TOKENS | SECONDS | USD [, ...]``."""
    budget: list[tuple[float, BudgetUnit]] = []
    while True:
        value, end, percent = _number(source, head, i, last, "an amount such as 60 SECONDS")
        unit = source.word(end).upper() if end < last else ""
        if unit not in _UNITS:
            at = end if end < last else end - 1
            hint = meant(unit, _UNITS)
            known = "CALLS, TOKENS, SECONDS or USD"
            raise source.error(f"BUDGET needs {known} after the amount.{hint}", at)
        counted = unit in ("CALLS", "TOKENS")
        if percent or not 0 < value < float("inf") or (counted and value % 1):
            what = "a whole number above 0" if counted else "a number above 0"
            raise source.error(f"BUDGET {unit} must be {what}, got {source.text(i, end)}", i, end)
        if any(unit == known for _, known in budget):
            raise source.error(f"BUDGET names {unit} twice", end)
        if unit == "CALLS":
            _count_calls(source, head, end, int(value), clauses)
        budget.append((float(value), cast(BudgetUnit, unit)))
        i = end + 1
        if i >= last or not source.mark(i, ","):
            clauses.values["BUDGET"] = tuple(budget)
            return i
        i += 1


def _count_calls(source: Source, head: int, unit: int, count: int, clauses: TailClauses) -> None:
    """Take BUDGET n CALLS for what it is: ORACLE LIMIT n."""
    if "ORACLE LIMIT" in clauses.values:
        raise source.error("BUDGET n CALLS is ORACLE LIMIT n, which stands here already", head)
    clauses.values["ORACLE LIMIT"] = count
    clauses.places["ORACLE LIMIT"] = source.place(head, unit + 1)


def _assuming(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    """Read the name of an assumption and its number, if it takes one."""
    for name, (words, joint) in _ASSUMPTIONS.items():
        if not source.words(i, *words):
            continue
        end, value = i + len(words), None
        if joint and end < last and source.word(end) == joint:
            value, end, percent = _number(source, head, end + 1, last, "a number such as 10")
            if percent or not 0 < value < float("inf"):
                raise source.error(f"ASSUMING {name} {joint.upper()} must be above 0", end - 1)
        clauses.values["ASSUMING"] = Assumption(name, value)
        return end
    known = ", ".join(_ASSUMPTIONS)
    at, got = (i, f", got {source.tokens[i].text}") if i < last else (head, "")
    hint = meant(source.text(i, min(i + 2, last)), _ASSUMPTIONS) if i < last else ""
    raise source.error(f"ASSUMING needs one of {known}{got}.{hint}", at)


def _oracle_error(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    if i < last and source.words(i, "worst", "case"):
        clauses.values["ON ORACLE ERROR"] = "WORST CASE"
        return i + 2
    if i >= last or source.word(i) != "fail":
        raise source.error("ON ORACLE ERROR needs FAIL or WORST CASE", i if i < last else head)
    clauses.values["ON ORACLE ERROR"] = "FAIL"
    return i + 1


def read_gap(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    """Read the distance of GAP.

    Raises
    ------
    ProgrammingError
        It is no number, not above 0, or followed by a unit.
    """
    if source.word(i) == "interval" and i < last:
        raise source.error(
            "GAP needs a distance such as 30, without INTERVAL. For a day between rows write GAP "
            "86400 ON epoch(column).",
            i,
            last,
        )
    value, end, percent = _number(source, head, i, last, "a distance such as 30")
    if percent or not 0 < value < float("inf"):
        raise source.error(f"GAP must be a number above 0, got {source.text(i, end)}", i, end)
    if end < last and source.word(end).rstrip("s") in _TIMES:
        raise source.error(
            f"GAP is a number without {source.text(end, end + 1)}. For a day between rows write "
            "GAP 86400 ON epoch(column).",
            end,
        )
    clauses.values["GAP"] = float(value)
    return end


READERS: dict[str, Reader] = {
    "RECALL TARGET": _share(closed=True),
    "PRECISION TARGET": _share(closed=True),
    "ACCURACY TARGET": _share(closed=True),
    "ERROR WITHIN": _error,
    "WITH PROBABILITY": _share(closed=False),
    "ORACLE LIMIT": _whole(1),
    "BUDGET": _budget,
    "ASSUMING": _assuming,
    "ON SHORTFALL": _shortfall,
    "ON ORACLE ERROR": _oracle_error,
    "SEED": _whole(0),
}
"""How to read each clause: (source, its first word, the token after its words, end, clauses)."""
