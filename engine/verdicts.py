"""What an audit found, and the table in which SQL shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

import pyarrow as pa

__all__ = ["Finding", "as_table"]

_DIGITS = 6  # of a number that is shown; a share, below 1, has four
_ROUNDINGS = {
    "at_least": ROUND_FLOOR,
    "at_most": ROUND_CEILING,
    "estimate": ROUND_HALF_EVEN,
    "low": ROUND_FLOOR,
    "high": ROUND_CEILING,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What an audit found of one promise.

    Parameters
    ----------
    claim : str
        What was promised: ``recall``, ``precision``, ``accuracy``, or the name of an aggregate with
        its group.
    at_least, at_most : float or None
        The promise: the truth is within; None where nothing was promised.
    estimate, low, high : float or None
        What the audit's rows say; the limits of all findings of an audit hold together. None where
        there is no such number.
    verdict : {"refuted", "supported", "undecided", "no claim"}
        Refuted: no value within the audit's limits agrees with the promise. Supported: all do.
    n_labels : int
        Labels that the audit drew, beside what was known before; of people, where they gave them.
    n_bought : int
        Those among them that were bought now. A repeated audit finds its labels in the store.
    """

    claim: str
    at_least: float | None
    at_most: float | None
    estimate: float | None
    low: float | None
    high: float | None
    verdict: str
    n_labels: int
    n_bought: int


def as_table(findings: Sequence[Finding]) -> pa.Table:
    """Return findings as a table of rounded numbers, limits outwards."""
    columns: dict[str, pa.Array] = {}
    for name in (field.name for field in fields(Finding)):
        values = [getattr(finding, name) for finding in findings]
        if name in _ROUNDINGS:
            rounded = [_rounded(value, _ROUNDINGS[name]) for value in values]
            columns[name] = pa.array(rounded, pa.float64())
        else:
            kind = pa.int64() if name.startswith("n_") else pa.string()
            columns[name] = pa.array(values, kind)
    return pa.table(columns)


def _rounded(value: float | None, rounding: str) -> float | None:
    """Keep four digits of a share, six of a larger number, and every digit before the point.

    Examples
    --------
    >>> [_rounded(x, ROUND_CEILING) for x in (0.9, 0.12341, 1234.5671, 12345678.2, 0.0)]
    [0.9, 0.1235, 1234.57, 12345679.0, 0.0]
    """
    if value is None or not math.isfinite(value):
        return value
    exact = Decimal(repr(float(value)))
    digits = 4 if abs(exact) < 1 else max(_DIGITS, exact.adjusted() + 1)
    return float(Context(prec=digits, rounding=rounding).plus(exact))
