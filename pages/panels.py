"""The numbers behind the pictures of a certificate."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from thresher.certificate import Certificate
    from thresher.sampling.sufficient import Kind
    from thresher.traces import LabelBin, ScoreTrace, SpendPoint

__all__ = ["Curve", "Observed", "Spent", "course", "label_curve", "observed"]

Floats = npt.NDArray[np.float64]
_LEVEL = 0.95  # of each interval of the calibration, for itself
_TARGETS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
_FACTORS = (4.0, 2.0, 1.0, 0.5, 0.25)  # of the width of an interval
_MOST_ROWS = 1 << 21  # that a forecast is made for
_AROUND = ("read", "answer")  # stages of a run that mostly buy no label for its rows
_LEAST_LABELS = 100  # that limits of an estimate take


@dataclass(frozen=True, slots=True)
class Observed:
    """Share of positives among labelled rows of like scores, with limits at 95 % each."""

    score: float
    share: float
    low: float
    high: float
    n_rows: int


def observed(bins: tuple[LabelBin, ...]) -> list[Observed]:
    """Return the shares that labels show, with Clopper and Pearson's intervals.

    Notes
    -----
    The rows of a bin have like scores, so that they were labelled with about the same probability:
    within a bin no weights are needed. The intervals hold one by one, for rows drawn uniformly in
    each bin, and no promise rests on them.

    Examples
    --------
    >>> from thresher.traces import LabelBin
    >>> [round(v, 3) for v in (lambda o: (o.low, o.share, o.high))(
    ...     observed((LabelBin(0.1, 0.2, 0.15, 20, 4),))[0])]
    [0.057, 0.2, 0.437]
    """
    from scipy.stats import beta

    half, found = (1 - _LEVEL) / 2, []
    for one in bins:
        n, k = one.n_rows, one.n_positive
        low = float(beta.ppf(half, k, n - k + 1)) if k else 0.0
        high = float(beta.ppf(1 - half, k + 1, n - k)) if k < n else 1.0
        found.append(Observed(one.mean, k / n, low, high, n))
    return found


@dataclass(frozen=True, slots=True)
class Curve:
    """Labels that other targets are forecast to take.

    Parameters
    ----------
    targets, labels : tuple
        In order of the targets.
    ranges : tuple of (int, int)
        How far each may be off, where the odds of a positive are half or twice as high.
    own : float
        What was asked for.
    what, goal : str
        What the targets are of, and what the labels do.
    falling : bool
        Whether a larger target takes fewer labels, as a width does.
    """

    targets: tuple[float, ...]
    labels: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...]
    own: float
    what: str
    goal: str
    falling: bool = False


def label_curve(certificate: Certificate) -> Curve | str:
    """Return what other targets would take, or why that is not known.

    Notes
    -----
    For selections the planner forecasts it (`thresher.sampling.sufficient_labels`) from the scores,
    read as the shares that the labels of this query show. For aggregates labels go with the inverse
    square of the width, up to all rows. Nothing of it is proved.
    """
    targets = certificate.targets
    kind = targets.kind
    if certificate.grade == "exact" and not certificate.n_returned and not certificate.n_labels:
        return "no label was needed"
    if kind == "estimate":
        return _width_curve(certificate)
    if kind not in ("recall", "precision", "joint", "accuracy"):
        return "the statement has no target that could be another one"
    if certificate.assumption is not None:
        return "nothing is forecast for a declared assumption"
    trace = None if certificate.trace is None else certificate.trace.scores
    if trace is None:
        return "no scores are kept of it"
    if certificate.n_rows > _MOST_ROWS:
        return f"it is forecast for {_MOST_ROWS:,} rows at most"
    if not trace.bins:
        return "too few rows were labelled to say what the scores mean"
    return _target_curve(certificate, kind, _shares(trace, certificate.n_rows))


def _target_curve(certificate: Certificate, kind: Kind, shares: Floats) -> Curve:
    from thresher.sampling import sufficient_labels

    targets = certificate.targets
    own = {
        "recall": targets.recall,
        "precision": targets.precision,
        "joint": targets.recall,
        "accuracy": targets.accuracy,
    }[kind]
    own = 1.0 if own is None else own
    asked = tuple(sorted({*_TARGETS, own}))
    share, goal = _goal(certificate)
    found = [
        sufficient_labels(
            kind, shares, delta=targets.delta, target=target,
            precision=targets.precision or 1.0, share=share,
        )
        for target in asked
    ]  # fmt: skip
    labels = tuple(one.expected for one in found)
    ranges = tuple((one.low, one.high) for one in found)
    return Curve(asked, labels, ranges, own, "recall" if kind == "joint" else kind, goal)


def _goal(certificate: Certificate) -> tuple[float, str]:
    """Return what the answer was able to do, which the labels for other targets are to do too."""
    targets, bounds = certificate.targets, certificate.bounds
    if targets.kind == "recall":
        left_out = 1 - certificate.n_returned / max(1, certificate.n_rows)
        share = left_out if 0.01 < left_out < 1 else 0.5
        return share, f"to leave out {share:.0%} of the rows"
    if targets.kind == "precision":
        found = bounds.recall_estimate
        share = found if found is not None and 0.01 < found < 1 else 0.5
        return share, f"to return {share:.0%} of the positive rows"
    if targets.kind == "joint":
        return 0.5, f"with precision >= {targets.precision:.4g}"
    return 0.5, "for a label of every row"


def _shares(trace: ScoreTrace, n_rows: int) -> Floats:
    """Return the share of positives that labels show at the score of every row, best first."""
    from sklearn.isotonic import isotonic_regression

    share, score = np.array(trace.sketch).T
    ranked = np.interp((np.arange(n_rows) + 0.5) / n_rows, share, score)
    n = np.array([one.n_rows for one in trace.bins], dtype=np.float64)
    k = np.array([one.n_positive for one in trace.bins], dtype=np.float64)
    rising = (isotonic_regression(k / n, sample_weight=n) * n + 0.5) / (n + 1)
    means = np.array([one.mean for one in trace.bins])
    return np.asarray(np.interp(ranked, means, rising), dtype=np.float64)


def _width_curve(certificate: Certificate) -> Curve | str:
    """Return the labels that wider and narrower limits of the widest estimate would take."""
    if certificate.grade == "exact":
        return "the aggregates are exact"
    sized = [
        (one.high - one.low) / 2
        for one in certificate.intervals
        if one.low is not None and one.high is not None and one.high > one.low
    ]
    bought, n_rows = certificate.n_labels + certificate.n_reused, certificate.n_rows
    if not sized or not 0 < bought < n_rows:
        return "no estimate has limits on both sides"
    own = max(sized)
    endless = bought / (1 - bought / n_rows)
    widths = tuple(sorted(own * factor for factor in _FACTORS))
    wanted = [endless * (own / width) ** 2 for width in widths]
    labels = tuple(
        min(n_rows, max(_LEAST_LABELS, round(each / (1 + each / n_rows)))) for each in wanted
    )
    ranges = tuple((n, n) for n in labels)
    what, goal = "half width of the limits", "for the widest estimate"
    return Curve(widths, labels, ranges, own, what, goal, falling=True)


@dataclass(frozen=True, slots=True)
class Spent:
    """A stage of a run: when it began, and what was bought in it."""

    stage: str
    began_s: float
    n_labels: int
    cost_usd: float


def course(certificate: Certificate) -> list[Spent]:
    """Return the stages of a run in order; those of the sampling where its labels tell them."""
    points = () if certificate.trace is None else certificate.trace.spending
    if not points:
        return []
    ends = list(accumulate(one.n_rows for one in certificate.stages))
    told = bool(ends) and ends[-1] == points[-1].n_labels > 0

    def stage(step: tuple[SpendPoint, SpendPoint]) -> str:
        at, then = step
        if not told or (at.stage in _AROUND and then.n_labels == at.n_labels):
            return at.stage
        # Labels are bought in the order of the stages: so many are bought, and these come next.
        return certificate.stages[min(bisect_right(ends, at.n_labels), len(ends) - 1)].stage

    steps = pairwise([*points, points[-1]])
    begins = [(name, next(group)[0]) for name, group in groupby(steps, stage)]
    return [
        Spent(name, at.elapsed_s, then.n_labels - at.n_labels, then.cost_usd - at.cost_usd)
        for (name, at), (_, then) in pairwise([*begins, ("", points[-1])])
    ]
