"""What a statement asks for: targets, confidence, budget; checked values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Shortfall", "Targets"]

Shortfall = Literal["FAIL", "RETURN", "EXACT"]


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of one statement.

    Parameters
    ----------
    recall, precision : float or None
        Share in (0, 1] of the positives that must be returned, and of the returned rows that must
        be positive.
    delta : float
        Failure probability of the whole statement, in (0, 1).
    """

    recall: float | None
    precision: float | None
    delta: float

    def __post_init__(self) -> None:
        for name, value in (("recall", self.recall), ("precision", self.precision)):
            if value is not None and not 0.0 < value <= 1.0:
                raise ValueError(f"{name} target must be in (0, 1], got {value}")
        if not 0.0 < self.delta < 1.0:
            raise ValueError(f"delta must be in (0, 1), got {self.delta}")

    @property
    def kind(self) -> Literal["exact", "recall", "precision", "joint"]:
        """Which selection problem this is."""
        if self.recall is None:
            return "exact" if self.precision is None else "precision"
        return "recall" if self.precision is None else "joint"

    def __str__(self) -> str:
        parts = []
        if self.recall is not None:
            parts.append(f"recall >= {self.recall:.4g}")
        if self.precision is not None:
            parts.append(f"precision >= {self.precision:.4g}")
        return " and ".join(parts) or "exact"
