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
    "TrainedReport",
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
class TrainedReport:
    """A proxy that was trained before the query, and how it did here. No promise rests on it.

    Parameters
    ----------
    name, sha256 : str
        What it is called, and the hash (hex) of what it had learnt.
    declared : bool
        Whether ``CREATE PROXY ... TRAINED FROM`` made it.
    n_labels : int
        Labels it was trained on.
    auc, n_measured, cross_validated
        Its AUC then, on how many labels: drawn by chance since, or by cross-validation.
    auc_here, n_here
        Its AUC on the rows of this query, by labels drawn by chance; None where they do not tell.
    shift : float
        Population stability index of its scores, at least 0.
    weaker, shifted : bool
        Whether the AUC is lower, and the scores are shifted, by more than chance explains.
    """

    name: str
    sha256: str
    declared: bool
    n_labels: int
    auc: float
    n_measured: int
    cross_validated: bool
    auc_here: float | None
    n_here: int
    shift: float
    weaker: bool
    shifted: bool

    @property
    def drifted(self) -> bool:
        """Whether it is not what it was when it was trained."""
        return self.weaker or self.shifted

    def __str__(self) -> str:
        how = "cross-validated on" if self.cross_validated else "on"
        drawn = "" if self.cross_validated else " drawn by chance"
        text = f"{self.name}, trained on {counted(self.n_labels, 'label')}: AUC {self.auc:.3f} "
        text += f"{how} {self.n_measured:,}{drawn}"
        if self.auc_here is not None:
            text += f", here {self.auc_here:.3f} on {self.n_here:,}"
        text += f", shift of its scores {self.shift:.2f}"
        if not self.drifted:
            return text
        parts = ["it tells the labels apart less well"] if self.weaker else []
        parts += ["its scores are spread otherwise"] if self.shifted else []
        after = "; train it anew with CREATE OR REPLACE PROXY" if self.declared else ""
        return f"{text}. It has drifted: {' and '.join(parts)}{after}"


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
