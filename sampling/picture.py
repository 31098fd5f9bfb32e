"""The planning picture: an estimate of where the positives lie. No guarantee rests on it.

Ranks are cut into about 75 buckets. The density of positives in each comes from the scores,
recalibrated on the labels so far, and is then drawn towards the bucket's own labels. Three
pictures that trust the scores to different degrees are made, and plans are judged by their mean,
in which a picture counts by how well it explains the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.ranking import blocks

__all__ = ["Buckets", "Picture", "draw_pilot", "expected", "make_buckets", "make_pictures"]

Floats = npt.NDArray[np.float64]
_QUANTILES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
_PSEUDO_LABELS = 8.0
_CLIP = 1e-5
_NO_END = 2**62


@dataclass(frozen=True, slots=True)
class Buckets:
    """Rank buckets with what the scores alone say.

    Parameters
    ----------
    edges : ndarray of int64, shape (b + 1,)
        Bucket i holds the ranks [edges[i], edges[i + 1]).
    logits : ndarray of float64, shape (b, 5)
        Score quantiles in each bucket as log odds.
    level, slopes : float, tuple of float
        Standard deviations of the prior of the recalibration's intercept, and of its slope in
        each of the pictures.
    alike : bool
        Whether all pictures count the same, whatever the labels say.
    end : int
        An edge; ranks from it on are left out of the pictures, as if all of them were labelled.
    """

    edges: npt.NDArray[np.int64]
    logits: Floats
    level: float
    slopes: tuple[float, ...]
    alike: bool = False
    end: int = _NO_END

    def place(self, ranks: Ranks) -> npt.NDArray[np.int64]:
        """Return the bucket of each rank."""
        return np.searchsorted(self.edges, ranks, side="right") - 1


def make_buckets(ledger: Ledger, *, alike: bool = False, end: int | None = None) -> Buckets:
    """Cut the ranks of a ledger into buckets, geometric at the top and even below, and at `end`."""
    n = ledger.n_rows
    end = n if end is None else end
    cuts = np.concatenate([[0, end], np.geomspace(min(4, n), n, 44), np.linspace(0, n, 33)])
    edges = np.unique(np.round(cuts).astype(np.int64))
    inner = edges[:-1, None] + (np.diff(edges)[:, None] * _QUANTILES).astype(np.int64)
    value = ledger.scores[ledger.rows[inner]].astype(np.float64)
    lowest, highest = np.nanmin(value, initial=np.inf), np.nanmax(value, initial=-np.inf)
    value = np.where(np.isnan(value), lowest, value)
    if lowest >= 0.0 and highest <= 1.0:
        inside = np.clip(value, _CLIP, 1 - _CLIP)
        return Buckets(
            edges, np.log(inside) - np.log1p(-inside), 1.0, (0.03, 0.15, 0.5), alike, end
        )
    # Not probabilities: keep their order and their shape, trust neither level nor slope.
    weight = np.repeat(np.diff(edges), len(_QUANTILES)).astype(np.float64)
    finite = np.clip(np.nan_to_num(value), -1e100, 1e100)
    mean = np.average(finite.ravel(), weights=weight)
    spread = np.sqrt(np.average((finite.ravel() - mean) ** 2, weights=weight))
    logits = 2.0 * (finite - mean) / max(spread, 1e-300) - 2.0
    return Buckets(edges, logits, 2.0, (0.3, 0.6, 1.0), alike, end)


class Picture:
    """Estimated positives along the ranks, among the rows that are still unlabelled."""

    def __init__(
        self, buckets: Buckets, unlabelled: Floats, density: Floats, known: int, weight: float
    ) -> None:
        self.edges = buckets.edges.astype(np.float64)
        self.rows = np.concatenate([[0.0], np.cumsum(unlabelled)])
        self.positives = np.concatenate([[0.0], np.cumsum(density * unlabelled)])
        self.density = density
        self.known: float = known
        self.weight = weight

    def after_census(self, count: float) -> Picture:
        """Return the picture that labelling the best `count` unlabelled rows would leave."""
        top = self.rank_of_rows(count)
        rows, found = self.above(top)
        other = copy(self)
        other.rows = np.maximum(self.rows - rows, 0.0)
        other.positives = np.maximum(self.positives - found, 0.0)
        other.known = self.known + float(found)
        return other

    def with_deep(self, share: float) -> Picture:
        """Return the picture with a share of all positives more, spread over all ranks alike."""
        other = copy(self)
        other.positives = self.positives + share * self.total * self.rows / max(self.rows[-1], 1.0)
        return other

    @property
    def total(self) -> float:
        """All positives, known ones included."""
        return float(self.known + self.positives[-1])

    def above(self, rank: Floats | float) -> tuple[Floats, Floats]:
        """Return the unlabelled rows and the positives among them above a rank."""
        return (
            np.interp(rank, self.edges, self.rows),
            np.interp(rank, self.edges, self.positives),
        )

    def rank_of_rows(self, count: Floats | float) -> Floats:
        """Return the rank above which that many unlabelled rows lie."""
        return np.asarray(np.interp(count, self.rows, self.edges))

    def rank_of_positives(self, count: Floats | float) -> Floats:
        """Return the rank above which that many unlabelled positives lie."""
        return np.asarray(np.interp(count, self.positives, self.edges))


def expected(pictures: Sequence[Picture], values: Sequence[npt.ArrayLike]) -> Floats:
    """Average a value of each picture by how well the pictures explain the labels."""
    return np.asarray(np.average(np.array(values), axis=0, weights=[p.weight for p in pictures]))


def _recalibrate(x: Floats, n: Floats, positive: Floats, level: float, slopes: Floats) -> Floats:
    """Fit ``log odds = a + b x`` with priors a ~ N(0, level), b ~ N(1, slope).

    Returns a, b and the log evidence of each slope (Laplace's approximation): shape (3, s).
    """
    a, b = np.zeros(len(slopes)), np.ones(len(slopes))
    for _ in range(25):
        p = expit(a[:, None] + b[:, None] * x)
        error, weight = positive - n * p, n * p * (1 - p) + 1e-9
        grad_a = error.sum(1) - a / level**2
        grad_b = error @ x - (b - 1) / slopes**2
        aa = weight.sum(1) + 1 / level**2
        ab = weight @ x
        bb = weight @ (x * x) + 1 / slopes**2
        det = aa * bb - ab * ab
        step_a, step_b = (bb * grad_a - ab * grad_b) / det, (aa * grad_b - ab * grad_a) / det
        scale = np.minimum(1.0, 2.0 / np.maximum(np.abs(step_a), np.abs(step_b) + 1e-9))
        a, b = a + scale * step_a, b + scale * step_b
        if np.max(np.abs(step_a) + np.abs(step_b)) < 1e-6:
            break
    b = np.maximum(b, 0.1)
    z = a[:, None] + b[:, None] * x
    likelihood = (positive * z - n * np.logaddexp(0.0, z)).sum(1)
    prior = -0.5 * (a / level) ** 2 - 0.5 * ((b - 1) / slopes) ** 2 - np.log(slopes)
    return np.stack([a, b, likelihood + prior - 0.5 * np.log(det)])


def _count_cells(ledger: Ledger, buckets: Buckets) -> tuple[Floats, Floats]:
    """Count the labels and the positives in fifths of the buckets.

    Each fifth stands at a score quantile of its own. What is held grows neither with the rows nor
    with the labels.
    """
    size, n_cells = np.diff(buckets.edges), buckets.logits.size
    counts = np.zeros((2, n_cells))
    for part in blocks(min(buckets.end, ledger.n_rows)):
        label = ledger.label[part]
        inside = np.flatnonzero(label >= 0)
        if not len(inside):
            continue
        ranks = inside + part.start
        bucket = buckets.place(ranks)
        fifth = (ranks - buckets.edges[bucket]) * len(_QUANTILES) // size[bucket]
        cell = bucket * len(_QUANTILES) + fifth
        counts[0] += np.bincount(cell, minlength=n_cells)
        counts[1] += np.bincount(cell[label[inside] > 0], minlength=n_cells)
    return counts[0], counts[1]


def make_pictures(ledger: Ledger, buckets: Buckets) -> tuple[Picture, ...]:
    """Estimate the density of positives from the scores and all labels so far, in three ways."""
    n, positive = _count_cells(ledger, buckets)
    seen = n > 0
    from scipy.optimize import isotonic_regression  # what opens a database does without

    x, slopes = buckets.logits.ravel()[seen], np.array(buckets.slopes)
    a, b, evidence = _recalibrate(x, n[seen], positive[seen], buckets.level, slopes)
    n, positive = (
        n.reshape(buckets.logits.shape).sum(1),
        positive.reshape(buckets.logits.shape).sum(1),
    )
    weight = np.ones(len(a)) if buckets.alike else np.exp(evidence - evidence.max())
    size = np.diff(buckets.edges)
    unlabelled = np.where(buckets.edges[:-1] < buckets.end, size - n, 0.0)
    pictures = []
    for one, two, share in zip(a, b, weight / weight.sum(), strict=True):
        prior = expit(one + two * buckets.logits).mean(1)
        mean = (positive + _PSEUDO_LABELS * prior) / (n + _PSEUDO_LABELS)
        density = isotonic_regression(mean, weights=unlabelled + 1e-6, increasing=False).x
        pictures.append(Picture(buckets, unlabelled, density, ledger.n_positive, float(share)))
    return tuple(pictures)


def draw_pilot(ledger: Ledger, buckets: Buckets, count: int, rng: np.random.Generator) -> Ranks:
    """Draw distinct unlabelled ranks, more of them where scores are high."""
    count = min(count, ledger.n_unknown)
    if count <= 0:
        return np.zeros(0, dtype=np.int64)
    size = np.diff(buckets.edges)
    root = size * np.sqrt(expit(buckets.logits)).mean(1)
    top = np.log((buckets.edges[1:] + 0.5) / (buckets.edges[:-1] + 0.5))
    weight = 0.5 * root / root.sum() + 0.3 * top / top.sum() + 0.2 * size / size.sum()
    picked = rng.choice(len(size), 4 * count, p=weight / weight.sum())
    ranks = buckets.edges[picked] + (rng.random(4 * count) * size[picked]).astype(np.int64)
    ranks = ranks[np.sort(np.unique(ranks, return_index=True)[1])]
    ranks = ranks[ledger.label[ranks] < 0][:count]
    if len(ranks) < count:
        rest = np.setdiff1d(ledger.unknown(), ranks, assume_unique=True)
        ranks = np.concatenate([ranks, rng.choice(rest, count - len(ranks), replace=False)])
    return ranks
