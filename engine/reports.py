"""What a certificate is made of: bounds, limits, and reports of what was done."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "COSTS",
    "Bounds",
    "Interval",
    "OutputReport",
    "ProxyCost",
    "ProxyReport",
    "StageReport",
    "counted",
]

COSTS = ("elapsed_s", "cost_usd", "n_tokens", "n_requests", "proxy_cost", "budget")
"""Fields that the identity of a certificate leaves out."""


def counted(count: int, noun: str) -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> counted(1, "label"), counted(2000, "row")
    ('1 label', '2,000 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Certified lower bounds and point estimates of the returned set, each in [0, 1].

    A bound holds with probability 1 - delta; None where nothing is certified. An estimate is a best
    guess and promises nothing; None where there is none. `free_recall` is the bound of the recall
    that holds even if what the statement assumes is false.
    """

    recall: float | None = None
    precision: float | None = None
    recall_estimate: float | None = None
    precision_estimate: float | None = None
    accuracy: float | None = None
    accuracy_estimate: float | None = None
    free_recall: float | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the limits that hold for it, one for each aggregate of each group.

    Parameters
    ----------
    name : str
        Column of the answer.
    group : tuple of str
        Values of the GROUP BY columns, as text; empty without GROUP BY.
    estimate, low, high : float or None
        None where there is no value, as the mean over no rows.
    beyond : float or None
        For min and max: the share of the rows that may lie beyond the estimate.
    """

    name: str
    group: tuple[str, ...]
    estimate: float | None
    low: float | None
    high: float | None
    beyond: float | None = None


@dataclass(frozen=True, slots=True)
class ProxyReport:
    """One proxy that was considered: cross-validated quality on the labels it was fitted on."""

    name: str
    used: bool
    auc: float | None = None
    log_loss: float | None = None


@dataclass(frozen=True, slots=True)
class ProxyCost:
    """What scores took that a model computed for this query; remembered ones cost nothing.

    Parameters
    ----------
    n_inputs, n_requests : int
        Distinct inputs that were scored, and the requests that took (one each for local models).
    n_tokens : int or None
        Tokens read and written; None where they were not counted.
    cost_usd : float
        Dollars.
    """

    n_inputs: int
    n_requests: int
    n_tokens: int | None
    cost_usd: float

    def __str__(self) -> str:
        text = f"${self.cost_usd:.4f}, {counted(self.n_inputs, 'input')} scored"
        if self.n_requests != self.n_inputs:
            text += f" in {counted(self.n_requests, 'request')}"
        return text + (f", {counted(self.n_tokens, 'token')}" if self.n_tokens else "")


@dataclass(frozen=True, slots=True)
class StageReport:
    """Rows labelled in one stage of the run, and how many of them were positive."""

    stage: str
    n_rows: int
    n_positive: int


@dataclass(frozen=True, slots=True)
class OutputReport:
    """One oracle call of the SELECT list or ORDER BY: rows it was asked for, labels they took."""

    call: str
    n_rows: int
    n_labels: int
