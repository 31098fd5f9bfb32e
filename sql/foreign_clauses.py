"""Clauses of AIDB and BlazeIt, read as those of the dialect.

They are found by their words alone, at any depth: ``RECALL_TARGET 80%`` and ``FNR WITHIN 0.01``
can be nothing else in SQL.
"""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Callable

from thresher.sql.blocks import operand_ends, section_at
from thresher.sql.clause_heads import head_at
from thresher.sql.foreign_blocks import Edit, edited, put
from thresher.sql.tokens import Source, Token

__all__ = ["foreign_clause_at", "rewrite_clauses"]

_UNDERSCORED = {
    "error_target": "ERROR WITHIN",
    "recall_target": "RECALL TARGET",
    "precision_target": "PRECISION TARGET",
}
_RATES = {
    "fnr": ("RECALL TARGET", "of the positive rows are missing"),
    "fpr": ("PRECISION TARGET", "of the returned rows are wrong"),
}


def foreign_clause_at(source: Source, i: int) -> bool:
    """Whether a clause of another system begins at a token."""
    return _reader(source, i) is not None


def rewrite_clauses(source: Source, notes: list[str]) -> list[Token]:
    """Return the statement with such clauses in canonical form; `notes` says how each is read.

    Raises
    ------
    ProgrammingError
        A rate is no share.
    """
    edits = []
    for i in range(len(source.tokens)):
        reader = _reader(source, i)
        if reader is not None:
            edit, note = reader(source, i)
            edits.append(edit)
            notes.append(note)
    return edited(source, edits)


def _reader(source: Source, i: int) -> Callable[[Source, int], tuple[Edit, str]] | None:
    word = source.word(i)
    if word not in _UNDERSCORED and word not in _RATES and word != "budget":
        return None
    if source.mark(i - 1, ".") or not operand_ends(source, i - 1):
        return None
    if word in _RATES:
        return _rate if source.word(i + 1) == "within" and _is_value(source, i + 2) else None
    if not _is_value(source, i + 1):
        return None
    if word in _UNDERSCORED:
        return _underscored
    return _budget if _ends(source, _value_end(source, i + 1)) else None


def _is_value(source: Source, i: int) -> bool:
    return i < len(source.tokens) and source.tokens[i].kind in ("number", "parameter")


def _value_end(source: Source, i: int) -> int:
    """Return the token after a number and its percent sign."""
    percent = i + 1 < len(source.tokens) and source.tokens[i + 1].text == "%"
    return i + 1 + (percent or source.word(i + 1) == "percent")


def _ends(source: Source, i: int) -> bool:
    """Whether a clause has ended before a token."""
    if i >= len(source.tokens) or source.mark(i, ")"):
        return True
    return bool(head_at(source, i)[0] or section_at(source, i)) or foreign_clause_at(source, i)


def _underscored(source: Source, i: int) -> tuple[Edit, str]:
    """Read ``ERROR_TARGET 10%``; AIDB's error is a share of the true value."""
    end = _value_end(source, i + 1)
    head = _UNDERSCORED[source.word(i)]
    token, last = source.tokens[i], source.tokens[end - 1]
    value = source.tokens[i + 1 : end]
    relative = head == "ERROR WITHIN" and source.word(end) not in ("relative", "absolute")
    unit = put("RELATIVE", last) if relative else []
    note = f"{_text(source, i, end)} is read as {head} {source.text(i + 1, end)}"
    return Edit(i, end, [*put(head, token), *value, *unit]), note + " RELATIVE" * relative


def _rate(source: Source, i: int) -> tuple[Edit, str]:
    """Read ``FNR WITHIN x`` and ``FPR WITHIN x`` as one minus the rate, without rounding."""
    end = _value_end(source, i + 2)
    percent = end > i + 3
    head, meaning = _RATES[source.word(i)]
    whole, rate = decimal.Decimal(100 if percent else 1), _decimal(source.tokens[i + 2])
    if rate is None or not 0 <= rate < whole:
        raise source.error(
            f"{_text(source, i, i + 2)} must be in [0, 1), got {source.text(i + 2, end)}. "
            "Write a share such as 1% or 0.01.", i + 2, end,
        )  # fmt: skip
    kept = whole - rate
    if percent and kept < 1:  # it is meant, where a target so written would not be
        kept, percent = kept.scaleb(-2), False
    share = f"{kept:f}{'%' if percent else ''}"
    tokens = [
        *put(head, source.tokens[i], source.tokens[i + 1]),
        *put(share, source.tokens[i + 2], source.tokens[end - 1]),
    ]
    rate_text = source.text(i + 2, end)
    note = f"{_text(source, i, end)} is read as {head} {share}: at most {rate_text} {meaning}"
    return Edit(i, end, tokens), note


def _decimal(token: Token) -> decimal.Decimal | None:
    if token.kind == "number":
        return decimal.Decimal(token.text.replace("_", ""))
    if isinstance(token.value, decimal.Decimal):
        return token.value
    number = isinstance(token.value, numbers.Real) and not isinstance(token.value, bool)
    return decimal.Decimal(str(token.value)) if number else None


def _budget(source: Source, i: int) -> tuple[Edit, str]:
    """Read ``BUDGET n`` without a unit as calls."""
    end = _value_end(source, i + 1)
    written = _text(source, i, end)
    unit = put("CALLS", source.tokens[end - 1])
    return Edit(end, end, unit), f"{written} is read as {written} CALLS"


def _text(source: Source, first: int, last: int) -> str:
    return source.text(first, last).upper()
