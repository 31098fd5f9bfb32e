"""The least and the largest value that an expression over an oracle's answer can have."""

from __future__ import annotations

from thresher.sql.formula import call_at
from thresher.sql.names import Names
from thresher.sql.tokens import Source

__all__ = ["value_range"]

Range = tuple[float | None, float | None]


def value_range(source: Source, first: int, last: int, names: Names) -> Range:
    """Return the range of tokens ``first:last``: declared, of a BOOLEAN, or of a clamp round it.

    None stands for an end that is not known.
    """
    while source.mark(first, "(") and source.partner[first] == last - 1:
        first, last = first + 1, last - 1
    if source.word(first) in ("least", "greatest") and source.partner[first + 1] == last - 1:
        return _clamp(source, first, last, names)
    oracles = frozenset(name.lower() for name in names.oracle_names())
    if call_at(source, first, oracles) and source.skip(first + 1) == last:
        declared = names.oracle(source.tokens[first].name.lower())
        if declared is not None:
            return declared.value_range
    return None, None


def _clamp(source: Source, first: int, last: int, names: Names) -> Range:
    """Return the range of ``least(x, b)`` or ``greatest(x, a)``."""
    low: float | None = None
    high: float | None = None
    constants = []
    for a, b in source.split(first + 2, last - 1):
        text = source.text(a, b).replace(" ", "")
        try:
            constants.append(float(text))
        except ValueError:
            low, high = value_range(source, a, b, names)
    if constants and source.word(first) == "least":
        top = min(constants)
        high = top if high is None else min(high, top)
        low = low if low is None else min(low, top)
    elif constants:
        bottom = max(constants)
        low = bottom if low is None else max(low, bottom)
        high = high if high is None else max(high, bottom)
    return low, high
