"""Strata for COUNT, cut and sized from the scores alone. No guarantee rests on any of it.

A few strata of neighbouring ranks, the top one labelled whole where that pays. Cuts and
samples are those with the least predicted width, as if the scores were probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

__all__ = ["StrataPlan", "forecast", "plan_strata"]

Floats = npt.NDArray[np.float64]
_CLIP = 1e-6
_QUANTILES = 11
_OF_BUDGET = (0.15, 0.3, 0.5, 0.75, 1.2, 2.5)
_LEAST = 8  # labels that a stratum must get
_PARTS = 24  # the budget is dealt out in this many parts
_PER_STRATUM = 1.01  # a further stratum must narrow the interval by a hundredth


@dataclass(frozen=True, slots=True)
class StrataPlan:
    """Where the strata begin and how many rows of each are labelled.

    Parameters
    ----------
    edges : tuple of int
        Stratum i holds the unlabelled rows [edges[i], edges[i + 1]) in rank order.
    samples : tuple of int
        Rows to label in each; all of them: a census.
    """

    edges: tuple[int, ...]
    samples: tuple[int, ...]


def forecast(scores: npt.NDArray[np.floating]) -> Floats:
    """Return a guess at the probability of each row, which only the plan depends on.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Any values. Within [0, 1] they are read as probabilities; others keep their order only.

    Returns
    -------
    ndarray of float64, shape (n,)
        Within (0, 1); rows without a score get the mean of the others.
    """
    value = np.asarray(scores, dtype=np.float64)
    missing = np.isnan(value)
    seen = value[~missing] if missing.any() else value
    if not len(seen):
        return np.full(len(value), 0.5)
    if seen.min() < 0.0 or seen.max() > 1.0:
        finite = np.clip(seen, -1e100, 1e100)
        spread = max(float(finite.std()), 1e-300)
        seen = expit(2.0 * (finite - finite.mean()) / spread - 2.0)
    seen = np.clip(seen, _CLIP, 1 - _CLIP)
    if len(seen) == len(value):
        return seen
    out = np.full(len(value), seen.mean())
    out[~missing] = seen
    return out


def _squared(rows: Floats, marked: Floats, sample: Floats, z: float) -> tuple[Floats, Floats]:
    """Return the squared upper and lower deviations that a stratum's score limits would have."""
    sample = np.maximum(sample, 1e-9)
    left = np.maximum(1 - sample / np.maximum(rows, 1e-9), 0.0)
    share = np.clip(marked / np.maximum(rows, 1e-9), 0.0, 1.0)
    rare = np.minimum(share, 1 - share)
    shift = z * z * left / 2
    spread = z * np.sqrt(sample * rare * (1 - rare) * left + (z * left) ** 2 / 4)
    scale = (rows / sample) ** 2
    near, far = scale * (spread - shift) ** 2, scale * (spread + shift) ** 2
    common = share > 0.5
    return np.where(common, near, far), np.where(common, far, near)


def _width(rows: Floats, marked: Floats, sample: Floats, z: float) -> Floats:
    """Return the predicted width of each plan: rows of shape (plans, strata)."""
    upper, lower = _squared(rows, marked, sample, z)
    return np.asarray(np.sqrt(upper.sum(-1)) + np.sqrt(lower.sum(-1)))


def _deal(rows: Floats, marked: Floats, sample: Floats, budget: int, z: float) -> Floats:
    """Deal the rest of the budget out, part by part, to where it narrows the plan most."""
    part = (budget - sample.sum(-1)) / _PARTS
    plans = np.arange(len(rows))
    for _ in range(2 * _PARTS):
        give = np.minimum(part, budget - sample.sum(-1))[:, None]
        more = np.minimum(sample + give, rows)
        if not (give > 1e-9).any():
            break
        upper, lower = _squared(rows, marked, sample, z)
        upper_more, lower_more = _squared(rows, marked, more, z)
        width = np.sqrt(upper.sum(-1, keepdims=True) - upper + upper_more)
        width += np.sqrt(lower.sum(-1, keepdims=True) - lower + lower_more)
        best = np.where(more > sample, width, np.inf).argmin(-1)
        sample[plans, best] = more[plans, best]
    return sample


def _exchange(rows: Floats, marked: Floats, sample: Floats, z: float) -> Floats:
    """Move labels between the strata of one plan while that narrows it."""
    count = len(rows)
    if count == 1:
        return sample
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    width = float(_width(rows, marked, sample, z))
    for part in sample.sum() / np.array([10.0, 30.0, 100.0, 300.0]):
        for _ in range(30):
            moved = np.repeat(sample[None], 2 * len(pairs), axis=0)
            for m, (i, j) in enumerate((*pairs, *pairs)):
                room = rows[j] - sample[j]
                give = min(part if m < len(pairs) else room, room, sample[i])
                if sample[i] - give >= min(_LEAST, rows[i]):
                    moved[m, i] -= give
                    moved[m, j] += give
            widths = _width(rows, marked, moved, z)
            best = int(widths.argmin())
            if widths[best] >= width * (1 - 1e-6):
                break
            sample, width = moved[best], float(widths[best])
    return sample


def _candidates(chance: Floats, budget: int) -> npt.NDArray[np.int64]:
    """Return ranks at which strata may be cut, the two ends included."""
    n = len(chance)
    spread = np.cumsum(np.sqrt(chance * (1 - chance) + _CLIP))
    even = np.searchsorted(spread, spread[-1] * np.arange(1, _QUANTILES) / _QUANTILES)
    near = (budget * np.array(_OF_BUDGET)).astype(np.int64)
    inner = np.concatenate([even, near])
    inner = inner[(inner >= _LEAST) & (inner <= n - _LEAST)]
    return np.unique(np.concatenate([[0], inner, [n]])).astype(np.int64)


def plan_strata(chance: Floats, budget: int, z: float, most: int = 3) -> StrataPlan:
    """Choose strata and samples with the least predicted width.

    Parameters
    ----------
    chance : ndarray of float64, shape (n,)
        Forecast probability of each unlabelled row, in rank order.
    budget : int
        Labels to spend, in [1, n).
    z : float
        Normal deviate of the width that is predicted.
    most : {2, 3, 4}
        Strata that there may be.

    Returns
    -------
    StrataPlan
        One to `most` strata; the samples add up to `budget`, and each has at least one row.
    """
    cuts = _candidates(chance, budget)
    grid = np.meshgrid(*[cuts] * (max(most, 3) - 1), indexing="ij")
    edges = np.stack([a.ravel() for a in grid], axis=1)
    kept = (np.diff(edges, axis=1) >= 0).all(axis=1)
    if most < 3:
        kept &= edges[:, 0] == 0
    if budget < 4 * _LEAST:
        kept &= (edges == 0).all(axis=1)
    edges = edges[kept]
    edges = np.pad(np.pad(edges, ((0, 0), (1, 0))), ((0, 0), (0, 1)), constant_values=len(chance))
    rows = np.diff(edges, axis=1).astype(np.float64)
    total = np.concatenate([[0.0], np.cumsum(chance)])
    marked = np.diff(total[edges], axis=1)
    sample = np.minimum(rows, min(_LEAST, budget))
    census = sample.copy()  # the same plans again, with the top stratum labelled whole
    census[:, 0] = rows[:, 0]
    edges, rows, marked = (np.concatenate([a, a]) for a in (edges, rows, marked))
    sample = np.concatenate([sample, census])
    possible = sample.sum(-1) <= budget
    edges, rows, marked, sample = (a[possible] for a in (edges, rows, marked, sample))
    sample = _deal(rows, marked, sample, budget, z)
    width = _width(rows, marked, sample, z) * _PER_STRATUM ** (rows > 0).sum(-1)
    best = int(width.argmin())
    held = rows[best] > 0
    rows, marked, sample = rows[best][held], marked[best][held], sample[best][held]
    starts = edges[best][:-1][held]
    whole = _whole(_exchange(rows, marked, sample, z), rows.astype(np.int64), budget)
    return StrataPlan((*(int(s) for s in starts), len(chance)), whole)


def _whole(sample: Floats, rows: npt.NDArray[np.int64], budget: int) -> tuple[int, ...]:
    """Round a plan's samples to whole rows that add up to the budget, the rest to the bottom."""
    out = np.minimum(np.maximum(np.floor(sample + 1e-6).astype(np.int64), 1), rows)
    for k in range(len(out))[::-1]:
        out[k] += min(budget - int(out.sum()), int(rows[k] - out[k]))
    return tuple(int(n) for n in out)
