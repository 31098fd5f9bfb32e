"""How well scores tell labels apart, and whether a proxy still does what it did when trained.

Nothing here is part of a guarantee: it says when a proxy has become a poor one, which costs labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Drift", "Histogram", "Ranked", "histogram_of", "ranked", "shift_of"]

Floats = npt.NDArray[np.float64]
_QUANTILES = np.arange(1, 10) / 10  # ten parts of the scores, equally many rows in each
_TIED = 0.05  # of the rows
_LEAST = 50  # rows: the law of the index is one of many
_SHIFTED = 0.25  # of the index: by custom a shift that matters
_CERTAIN = 0.999  # and more than chance gives in one of so many
_SAME = 1e-5  # scores of one row that are computed in other batches differ by less
_DEVIATES = 2.33  # standard errors that an AUC falls by chance in one of a hundred


@dataclass(frozen=True, slots=True)
class Ranked:
    """An area under the ROC curve, as labels show it.

    Parameters
    ----------
    auc : float
        Share of the pairs of a positive and a negative row in which the positive has the higher
        score, ties counted half; in [0, 1].
    n_labels : int
        Labels that it was measured on.
    error : float
        Its standard error.
    """

    auc: float
    n_labels: int
    error: float

    def is_below(self, other: Ranked, deviates: float = _DEVIATES) -> bool:
        """Whether it is lower than another one by more standard errors than that."""
        return self.auc < other.auc - deviates * math.hypot(self.error, other.error)


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How scores were distributed.

    Parameters
    ----------
    edges : ndarray of float64, shape (k,)
        Ends of the parts within, ascending; a score on an edge belongs to the part above it.
    shares : ndarray of float64, shape (k + 1,)
        Share of the rows in each part.
    n_rows : int
    """

    edges: Floats
    shares: Floats
    n_rows: int


@dataclass(frozen=True, slots=True)
class Drift:
    """A trained proxy held against the rows of a query.

    Parameters
    ----------
    then : Ranked
        When it was trained.
    now : Ranked or None
        On labels of this query that were drawn by chance; None where they say nothing.
    shift : float
        Population stability index of its scores, at least 0.
    shifted : bool
        Whether that is more than chance and custom allow.
    """

    then: Ranked
    now: Ranked | None
    shift: float
    shifted: bool

    @property
    def weaker(self) -> bool:
        """Whether it tells the labels apart less well than when it was trained."""
        return self.now is not None and self.now.is_below(self.then)

    @property
    def drifted(self) -> bool:
        """Whether either is so."""
        return self.weaker or self.shifted


def ranked(
    scores: Floats, truth: npt.NDArray[np.bool_], weights: Floats | None = None
) -> Ranked | None:
    """Measure an AUC on labelled rows; None where they are all of one kind.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)
        No NaN.
    truth : ndarray of bool, shape (n,)
    weights : ndarray of float64, shape (n,), optional
        Rows of the population that each stands for; None: as many each.

    Notes
    -----
    The standard error is that of J. A. Hanley and B. J. McNeil, Radiology 143, 1982, with the
    effective numbers of weighted rows.

    Examples
    --------
    >>> found = ranked(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    >>> found.auc, found.n_labels
    (0.875, 4)
    """
    weights = np.ones(len(scores)) if weights is None else weights
    if truth.all() or not truth.any():
        return None
    _, places = np.unique(scores, return_inverse=True)
    positive = np.bincount(places, weights * truth)
    negative = np.bincount(places, weights * ~truth)
    below = np.cumsum(negative) - negative / 2
    auc = float(positive @ below / (positive.sum() * negative.sum()))
    n_positive, n_negative = _effective(weights[truth]), _effective(weights[~truth])
    return Ranked(auc, len(scores), _error(auc, n_positive, n_negative))


def _effective(weights: Floats) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum())


def _error(auc: float, n_positive: float, n_negative: float) -> float:
    pairs = n_positive * n_negative
    area = (auc * pairs + 0.5) / (pairs + 1)  # one that is 1 on few labels is not known to be 1
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = (n_positive - 1) * (first - area**2) + (n_negative - 1) * (second - area**2)
    return math.sqrt(max(area * (1 - area) + spread, 0.0) / pairs)


def histogram_of(scores: Floats) -> Histogram:
    """Describe scores by ten parts that hold about equally many rows, and what lies beyond them.

    A score that a twentieth of the rows have, or nearly so, has a part of its own.
    """
    edges = np.zeros(0)
    if len(scores):
        ordered = np.sort(scores)
        cuts = ordered[np.searchsorted(ordered, np.quantile(ordered, _QUANTILES))]
        below, above = cuts - 2 * _near(cuts), cuts + 2 * _near(cuts)
        alike = np.searchsorted(ordered, above) - np.searchsorted(ordered, below)
        tied = alike >= np.maximum(_TIED * len(scores), 2)
        ends = ordered[0] - 2 * _near(ordered[0]), ordered[-1] + 2 * _near(ordered[-1])
        edges = np.unique([*cuts[~tied], *below[tied], *above[tied], *ends])
    return Histogram(edges, _shares(_below(edges, scores), len(scores)), len(scores))


def _near(scores: Floats | np.float64) -> Floats:
    """How far a score may be from what it would be in another batch."""
    return np.asarray(_SAME * np.maximum(np.abs(scores), 1.0), dtype=np.float64)


def _below(edges: Floats, scores: Floats) -> Floats:
    """Count the scores below each edge."""
    places = np.searchsorted(edges, scores, side="right")
    return np.cumsum(np.bincount(places, minlength=len(edges) + 1))[:-1].astype(np.float64)


def _shares(below: Floats, n_rows: int) -> Floats:
    """Share of each part, with half a row more in each, so that none is 0."""
    counts = np.diff(below, prepend=0.0, append=float(n_rows))
    return np.asarray((counts + 0.5) / (n_rows + 0.5 * len(counts)), dtype=np.float64)


def _nearest(then: Histogram, scores: Floats) -> Floats:
    """Share of the scores in each part, those at an edge on the side that makes them most alike.

    A proxy that is sure gives most rows one of two scores, and the edges lie there: rounding alone
    would carry all of them over.
    """
    near = _near(then.edges)
    counts = then.shares * (then.n_rows + 0.5 * len(then.shares)) - 0.5
    wanted = np.cumsum(counts)[:-1] / then.n_rows * len(scores)
    least, most = _below(then.edges - near, scores), _below(then.edges + near, scores)
    return _shares(np.clip(wanted, least, most), len(scores))


def shift_of(then: Histogram, scores: Floats) -> tuple[float, bool]:
    """Return the population stability index of scores, and whether it matters.

    Notes
    -----
    Where nothing has changed the index is distributed like chi-squared times ``1/n + 1/m`` (B.
    Yurdakul, *Statistical properties of population stability index*, 2018). It matters above 0.25,
    and above what that distribution exceeds once in a thousand. Scores within 1e-5 of an edge count
    on either side of it, as the index is least. Fewer than 50 rows show no shift.

    Examples
    --------
    >>> scores = np.linspace(0.0, 1.0, 1000)
    >>> shift_of(histogram_of(scores), scores)[1], shift_of(histogram_of(scores), scores**3)[1]
    (False, True)
    """
    if not len(scores) or not then.n_rows:
        return 0.0, False
    enough = min(len(scores), then.n_rows) >= _LEAST
    now = _nearest(then, scores)
    index = float(((now - then.shares) * np.log(now / then.shares)).sum())
    # The quantile as scipy.stats.chi2 works it out; to load that takes as long as many a query.
    from scipy.special import gammaincinv  # scipy is not needed to keep what was learnt

    certain = 2 * gammaincinv(max(len(then.edges), 1) / 2, _CERTAIN)
    chance = certain * (1 / then.n_rows + 1 / len(scores))
    return index, bool(enough and index > max(_SHIFTED, chance))
