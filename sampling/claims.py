"""What an audit returns: limits, verdicts on what was claimed, and everything that was drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from thresher.sampling.selection import Step

__all__ = [
    "Audit",
    "Claim",
    "Limits",
    "Sampled",
    "Verdict",
    "check_delta",
    "judge",
    "limits_around",
]

Verdict = Literal["refuted", "supported", "undecided"]


@dataclass(frozen=True, slots=True)
class Limits:
    """An estimate and its limits.

    Parameters
    ----------
    estimate : float
        Not guaranteed; nan where there is none.
    low, high : float
        Limits that hold with the audit's probability, together with all others of the audit.
    """

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"in [{self.low:.4g}, {self.high:.4g}], estimated {self.estimate:.4g}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim and what became of it.

    Parameters
    ----------
    name : str
        What is claimed: ``recall``, ``precision``, ``count`` or ``mean``.
    low, high : float
        The claim: the truth is within.
    verdict : {"refuted", "supported", "undecided"}
        Refuted: no value within the audit's limits agrees with it. Supported: all of them do.
    """

    name: str
    low: float
    high: float
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.name} in [{self.low:.6g}, {self.high:.6g}]: {self.verdict}"


@dataclass(frozen=True, slots=True)
class Sampled:
    """Rows that were sampled together.

    Parameters
    ----------
    stage : str
        Stage of the step that labelled them.
    returned : bool or None
        Whether they are rows of the answer; None where there is no answer.
    n_rows, n_sample, n_found : int
        Rows unlabelled before, the size of the uniform sample of them without replacement, and
        the positives in it.
    """

    stage: str
    returned: bool | None
    n_rows: int
    n_sample: int
    n_found: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Parameters
    ----------
    limits : tuple of (str, Limits)
        Of ``precision`` and ``recall``, or of ``count`` or ``mean``. They hold all together with
        probability at least 1 - delta, at this sample size, for every population and every answer.
    claims : tuple of Claim
        The verdicts; all of those that are not ``undecided`` are right with the same probability.
    samples : tuple of Sampled
        What was drawn.
    steps : tuple of Step
        Every label bought, in order; none for values.
    n_labels : int
        Labels bought.
    delta : float
        Failure probability of the whole audit.
    algorithm : str
        What was done.
    """

    limits: tuple[tuple[str, Limits], ...]
    claims: tuple[Claim, ...]
    samples: tuple[Sampled, ...]
    steps: tuple[Step, ...]
    n_labels: int
    delta: float
    algorithm: str

    def __getitem__(self, name: str) -> Limits:
        """Return the limits of ``precision``, ``recall``, ``count`` or ``mean``."""
        return dict(self.limits)[name]

    def __str__(self) -> str:
        lines = [f"audit by {self.n_labels:,} labels, probability {1 - self.delta:.4g}"]
        lines += [f"  {name} {limits}" for name, limits in self.limits]
        return "\n".join([*lines, *(f"  claim {claim}" for claim in self.claims)])


def limits_around(estimate: float, low: float | Fraction, high: float | Fraction) -> Limits:
    """Return limits with the estimate brought within them; one that is nan stays."""
    least, most = float(low), float(high)
    if not math.isnan(estimate):
        estimate = min(max(estimate, least), most)
    return Limits(estimate, least, most)


def judge(limits: tuple[Fraction, Fraction], low: Fraction, high: Fraction) -> Verdict:
    """Return the verdict on the claim that the truth is within [low, high].

    Parameters
    ----------
    limits : (Fraction, Fraction)
        What the audit found, the lower limit first.
    low, high : Fraction
        The claim, read as it is written: 0.9 is 9/10.

    Returns
    -------
    {"refuted", "supported", "undecided"}
        Refuted: no value within the limits agrees with the claim. Supported: all of them do. If the
        limits hold, the verdict is right.

    Examples
    --------
    >>> judge((Fraction(1, 2), Fraction(3, 4)), Fraction(4, 5), Fraction(1))
    'refuted'
    """
    if limits[1] < low or limits[0] > high:
        return "refuted"
    return "supported" if low <= limits[0] and limits[1] <= high else "undecided"


def check_delta(delta: float) -> None:
    """Raise ValueError unless `delta` is in (0, 1)."""
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta must be in (0, 1), got {delta}. Write 0.05 for 95 % confidence.")
