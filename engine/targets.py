"""What a statement asks for: targets, confidence, budget, assumption; checked values."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

__all__ = [
    "CALIBRATION_WITHIN",
    "Assumption",
    "AssumptionName",
    "BudgetUnit",
    "ErrorTarget",
    "OracleErrors",
    "QueryKind",
    "RowsTarget",
    "Shortfall",
    "Targets",
    "complement",
    "hundredth",
    "mistaken_probability",
    "mistaken_share",
    "query_kind",
]

Shortfall = Literal["FAIL", "RETURN", "EXACT"]
OracleErrors = Literal["FAIL", "WORST CASE"]
BudgetUnit = Literal["CALLS", "TOKENS", "SECONDS", "USD"]
AssumptionName = Literal["CALIBRATION", "PROXY QUALITY", "CORE SET CLOSURE", "NORMALITY"]
QueryKind = Literal["exact", "rows", "recall", "precision", "joint", "accuracy", "estimate"]


CALIBRATION_WITHIN = 10.0
"""Factor of ASSUMING CALIBRATION where the statement names none."""


def query_kind(
    recall: float | None,
    precision: float | None,
    accuracy: float | None,
    *,
    estimated: bool,
    rows: bool = False,
) -> QueryKind:
    """Return which problem some targets state."""
    if estimated:
        return "estimate"
    if accuracy is not None:
        return "accuracy"
    if recall is None:
        if precision is not None:
            return "precision"
        return "rows" if rows else "exact"
    return "recall" if precision is None else "joint"


def complement(probability: float) -> float:
    """Return 1 - probability, of the number as it is written in decimals.

    Parameters
    ----------
    probability : float
        In [0, 1].

    Examples
    --------
    >>> complement(0.95), 1 - 0.95
    (0.05, 0.050000000000000044)
    """
    return float(1 - Decimal(repr(float(probability))))


def hundredth(percentage: float) -> float:
    """Return a percentage as a share, of the number as it is written in decimals.

    Examples
    --------
    >>> hundredth(99.9), 99.9 / 100
    (0.999, 0.9990000000000001)
    """
    return float(Decimal(repr(float(percentage))) / 100)


def mistaken_share(percentage: float) -> str:
    """Say what a percentage below 1 % of a target or a probability must have meant.

    Parameters
    ----------
    percentage : float
        As it stands before the percent sign.

    Returns
    -------
    str
        Empty where it may be meant as it is written.

    Examples
    --------
    >>> mistaken_share(0.9)
    '0.9% is 0.009: write 0.9 or 90%'
    >>> mistaken_share(1.0)
    ''
    """
    if not 0 < percentage < 1:
        return ""
    meant = float(100 * Decimal(repr(float(percentage))))
    return (
        f"{percentage:.15g}% is {hundredth(percentage):.15g}: "
        f"write {percentage:.15g} or {meant:.15g}%"
    )


def mistaken_probability(share: float) -> str:
    """Say what a probability must have meant with which a promise fails more often than it holds.

    Parameters
    ----------
    share : float
        In (0, 1).

    Returns
    -------
    str
        Empty from 0.5 on.

    Examples
    --------
    >>> mistaken_probability(0.05)
    'the promise would fail with probability 0.95. Write 95% for one that fails with 5%'
    >>> mistaken_probability(0.5)
    ''
    """
    if share >= 0.5:
        return ""
    holds = complement(share)
    return (
        f"the promise would fail with probability {holds:.15g}. Write "
        f"{float(100 * Decimal(repr(holds))):.15g}% for one that fails with "
        f"{float(100 * Decimal(repr(float(share)))):.15g}%"
    )


@dataclass(frozen=True, slots=True)
class ErrorTarget:
    """How far an estimate may be from the truth.

    Parameters
    ----------
    within : float
        Largest distance, above 0: in units of the aggregate, or as a share of the true value.
    relative : bool
        Whether it is a share of the true value.
    """

    within: float
    relative: bool

    def __post_init__(self) -> None:
        if not self.within > 0.0:
            raise ValueError(f"an error target must be above 0, got {self.within}")
        if self.relative and self.within >= 1.0:
            raise ValueError(f"a relative error target must be below 1, got {self.within}")

    @property
    def clause(self) -> str:
        """What stands after ERROR WITHIN, in canonical form."""
        return f"{self.within:g} {'RELATIVE' if self.relative else 'ABSOLUTE'}"

    def __str__(self) -> str:
        return f"within {self.within:.4g} {'relative' if self.relative else 'absolute'}"


@dataclass(frozen=True, slots=True)
class RowsTarget:
    """How many positive rows are sought.

    Parameters
    ----------
    count : int
        At least 0.
    ordered : bool
        Whether they must be the first ones in the order of the statement.
    gap : float or None
        Least distance between two of them.
    """

    count: int
    ordered: bool = False
    gap: float | None = None

    def __str__(self) -> str:
        rows = f"{self.count:,} positive row{'' if self.count == 1 else 's'}"
        first = f"the first {rows}" if self.ordered else rows
        return first if self.gap is None else f"{first}, {self.gap:g} apart"


@dataclass(frozen=True, slots=True)
class Assumption:
    """What ASSUMING declares.

    Parameters
    ----------
    name : AssumptionName
    value : float or None
        CALIBRATION WITHIN: the factor; PROXY QUALITY WITHIN: the standard deviation of the
        oracle's distance round the proxy's; CORE SET CLOSURE OF: the size of the core set. None
        where it is estimated.
    """

    name: AssumptionName
    value: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        return f"{self.name} {'OF' if self.name == 'CORE SET CLOSURE' else 'WITHIN'} {self.value:g}"


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
    accuracy : float or None
        Share in (0, 1] of the rows whose label must equal the oracle's.
    error : ErrorTarget or None
        How far each aggregate may be from the truth.
    estimated : bool
        Whether aggregates are estimated from a sample, with or without an error target.
    rows : RowsTarget or None
        The positive rows that are sought where no other target is set.
    """

    recall: float | None
    precision: float | None
    delta: float
    accuracy: float | None = None
    error: ErrorTarget | None = None
    estimated: bool = False
    rows: RowsTarget | None = field(default=None, repr=False)  # a run is told apart by `Sought`

    def __post_init__(self) -> None:
        shares = (
            ("recall", self.recall),
            ("precision", self.precision),
            ("accuracy", self.accuracy),
        )
        for name, value in shares:
            if value is not None and not 0.0 < value <= 1.0:
                raise ValueError(f"{name} target must be in (0, 1], got {value}")
        if not 0.0 < self.delta < 1.0:
            raise ValueError(f"delta must be in (0, 1), got {self.delta}")

    @property
    def kind(self) -> QueryKind:
        """Which problem this is."""
        return query_kind(
            self.recall,
            self.precision,
            self.accuracy,
            estimated=self.estimated,
            rows=self.rows is not None,
        )

    def __str__(self) -> str:
        shares = {"recall": self.recall, "precision": self.precision, "accuracy": self.accuracy}
        parts = [f"{name} >= {value:.4g}" for name, value in shares.items() if value is not None]
        if self.estimated:
            parts.append(f"error {self.error}" if self.error else "intervals")
        if self.kind == "rows":
            parts.append(str(self.rows))
        return " and ".join(parts) or "exact"
