"""One interval of an estimate: its record, its claim, and what the log says of its group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thresher.rechecks import Check
from thresher.recounts import Labelled

__all__ = ["CLOSE", "ENDS", "PLAIN", "WALKED", "Case", "number", "span"]

Floats = npt.NDArray[np.float64]
Record = Mapping[str, Any]

CLOSE = 1e-9
"""What rounding may do to a number, as a share of it."""

ENDS = ("estimate", "low", "high")
"""The claim of an interval."""

PLAIN = "plain"
"""Range of a value that no oracle gives."""

WALKED = "extremes"
"""Stage of rows labelled by their values, not by chance: facts for the draws that follow."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One record, the interval that it is of, and what the log says of its group.

    Parameters
    ----------
    record : mapping
    interval : mapping
        Of the certificate.
    group : Labelled
        The labels of the group.
    failed : ndarray of int64, shape (k,)
        Rows of the group that may count in the column and have no answer.
    """

    record: Record
    interval: Record
    group: Labelled
    failed: npt.NDArray[np.int64]

    @property
    def name(self) -> str:
        """Column of the answer and its group."""
        of = self.interval["group"]
        return f"{self.interval['name']}{f' [{chr(44).join(of)}]' if of else ''}"

    @property
    def claim(self) -> tuple[float, float, float]:
        """Estimate and limits as claimed, without the constant factor; NaN for no estimate."""
        factor = float(self.record["factor"]) or 1.0
        end = [math.nan if self.interval[k] is None else self.interval[k] for k in ENDS]
        estimate, low, high = (float(e) / factor for e in end)
        if factor < 0:
            low, high = high, low
        low = -math.inf if math.isnan(low) else low
        return estimate, low, math.inf if math.isnan(high) else high

    @property
    def drawn(self) -> Labelled:
        """Rows drawn by chance, in order."""
        bought = self.group.bought
        return bought.take(~bought.of([WALKED]))

    @property
    def facts(self) -> Labelled:
        """Rows that were known before the first draw."""
        return self.group.take(~np.isin(self.group.rows, self.drawn.rows))

    @property
    def range(self) -> tuple[float, float] | None:
        """Declared range of a value; None where values are plain."""
        found = self.record["ranges"][0]
        return None if found == PLAIN else (number(found[0], -math.inf), number(found[1], math.inf))

    @property
    def counted(self) -> bool:
        """Whether some row of the group is known to count."""
        return not bool(np.isnan(self.values(self.group)).all())

    def values(self, group: Labelled) -> Floats:
        """Return the values with which rows count in the column; NaN where they do not."""
        return _column(group, self.record["column"])

    def sums(self, group: Labelled) -> tuple[Floats, Floats]:
        """Return what each row adds above and below the line."""
        value, kind = self.values(group), self.record["aggregate"]
        counted = ~np.isnan(value)
        if kind in ("count", "min", "max"):
            return counted.astype(np.float64), np.zeros(len(value))
        u = np.where(counted, value, 0.0)
        if kind == "ratio":
            return u, np.nan_to_num(_column(group, self.record["denominator"]))
        return u, counted.astype(np.float64) if kind == "mean" else np.zeros(len(value))

    def check(self, what: str, claimed: object, found: object, ok: bool, text: str) -> Check:
        """Return a check of this interval."""
        return Check(f"{self.name}: {what}", claimed, found, bool(ok), text)


def _column(group: Labelled, column: int) -> Floats:
    """Return one column of values, NaN where the log has none."""
    if column >= group.values.shape[1]:
        return np.full(len(group.rows), np.nan)
    return np.asarray(group.values[:, column])


def number(value: float | None, otherwise: float) -> float:
    """Return a number of a record; `otherwise` where it is none."""
    return otherwise if value is None else float(value)


def span(low: float, high: float) -> str:
    """Write an interval."""
    return f"[{low:.6g}, {high:.6g}]"
