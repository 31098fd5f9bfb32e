"""Counts in every group, with exact limits from stratified samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from thresher.sampling.counts import TWO_TRUTHS, Stratum, worst_limits
from thresher.sampling.draw_plan import Costs, allocate
from thresher.sampling.ledger import rank_rows
from thresher.sampling.measures import CountTest, Measure
from thresher.sampling.strata import forecast, plan_strata
from thresher.sampling.tally import count_by_group
from thresher.sampling.values import ValueLedger

__all__ = ["GroupCounts", "Part", "count_groups", "plan_parts"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_MANY = 8  # groups; with more, two strata in each


@dataclass(frozen=True, slots=True, eq=False)
class GroupCounts:
    """Counts by measure and group, shape (n_measures, n_groups), and what they rest on."""

    estimate: Floats
    low: Floats
    high: Floats
    tests: tuple[CountTest, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One stratum of one group, and the sample of it.

    Parameters
    ----------
    group : int
    stage : str
        ``census``, ``stratum 1``, ...
    members : ndarray of int64, shape (n_rows,)
        Its rows, best score first.
    drawn : ndarray of int64, shape (n_sample,)
        Those to be labelled, a uniform sample without replacement.
    """

    group: int
    stage: str
    members: Integers
    drawn: Integers

    def stratum(
        self, scores: npt.NDArray[np.floating], values: Floats, failed: Integers | None = None
    ) -> Stratum:
        """Return what was found, given one column's value of every labelled row; shape (n,).

        `failed` are the rows without an answer that may count.
        """
        found = int(np.count_nonzero(~np.isnan(values[self.drawn])))
        ends = (float(scores[self.members[0]]), float(scores[self.members[-1]]))
        n_failed = 0 if failed is None else int(np.count_nonzero(np.isin(self.drawn, failed)))
        return Stratum(self.stage, *ends, len(self.members), len(self.drawn), found, n_failed)


def count_groups(
    scores: npt.NDArray[np.floating],
    ledger: ValueLedger,
    measures: list[Measure],
    groups: Integers,
    n_groups: int,
    delta: float,
    rng: np.random.Generator,
) -> GroupCounts:
    """Count the rows that count, in every group and for every measure.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Proxy's chance that a row counts.
    ledger : ValueLedger
        All that it can label for certain is spent.
    measures : list of Measure
        Counts only.
    groups : ndarray of int64, shape (n,)
    n_groups : int
    delta : float
        Failure probability of all limits together.
    rng : numpy.random.Generator
        Source of the samples.

    Returns
    -------
    GroupCounts

    Notes
    -----
    Every group is stratified by score and sampled apart, each of its intervals fails with
    probability at most delta over the number of intervals (G1 in the guarantees of aggregates).
    Rows without an answer count in the upper limits alone (W5).
    """
    columns = [m.column for m in measures]
    base = np.array([_counted(ledger, c, groups, n_groups) for c in columns])
    vain = np.array([np.bincount(groups[ledger.failed(c)], minlength=n_groups) for c in columns])
    sizes = count_by_group(~ledger.known, groups, n_groups)
    level = delta / max(1, len(measures) * int(np.count_nonzero(sizes)))
    if ledger.may_fail:
        level /= TWO_TRUTHS
    most = 3 if np.count_nonzero(sizes) <= _MANY else 2
    parts = plan_parts(scores, ledger, groups, sizes, level, rng, most)
    for stage in sorted({p.stage for p in parts}):
        chosen = [p.drawn for p in parts if p.stage == stage]
        ledger.buy(np.concatenate(chosen), stage)
    estimate, low, high = base.copy(), base.copy(), base + vain
    tests = []
    for g in np.flatnonzero(sizes):
        mine = [p for p in parts if p.group == g]
        for k, column in enumerate(columns):
            failed = ledger.failed(column)
            strata = tuple(p.stratum(scores, ledger.values[column], failed) for p in mine)
            bottom, top = worst_limits(strata, level)
            guess = float(sum(s.n_rows * s.n_found / max(s.n_sample, 1) for s in strata))
            estimate[k, g] += min(max(round(guess), bottom), top)
            low[k, g] += bottom
            high[k, g] += top
            n_known = int(base[k, g]), int(vain[k, g])
            tests.append(CountTest(k, int(g), n_known[0], strata, level, n_known[1]))
    return GroupCounts(estimate, low, high, tuple(tests))


def _counted(ledger: ValueLedger, column: int, groups: Integers, n_groups: int) -> Floats:
    """Return how many known rows count in a column, by group."""
    counted = ledger.known & ~np.isnan(ledger.values[column])
    return np.bincount(groups[counted], minlength=n_groups).astype(np.float64)


def plan_parts(
    scores: npt.NDArray[np.floating],
    ledger: ValueLedger,
    groups: Integers,
    sizes: Integers,
    level: float,
    rng: np.random.Generator,
    most: int,
    *,
    balance: float = 1.0,
    averages: float = 0.0,
) -> list[Part]:
    """Choose the strata of every group and draw their samples, from the scores alone.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Proxy's chance that a row counts.
    ledger : ValueLedger
        Its budget is shared out; nothing is bought.
    groups : ndarray of int64, shape (n,)
    sizes : ndarray of int64, shape (n_groups,)
        Unknown rows of every group.
    level : float
        Failure probability of one interval, for the widths that are predicted.
    rng : numpy.random.Generator
        Source of the samples.
    most : {2, 3, 4}
        Strata that a group may have.
    balance : float
        In (0, 1]: multiplies the chances. Below 1 a row that counts for certain is still worth a
        label, for its value.
    averages : float
        In [0, 1]: share of the measures whose width falls with the number of rows that count.

    Returns
    -------
    list of Part
        In the order of the groups, best scores first.
    """
    rows = ledger.unknown()
    score = np.asarray(scores)[rows]
    ranked = rank_rows(score, rng).astype(np.int64)
    chance = forecast(score[ranked])
    rows = rows[ranked] if len(rows) < len(scores) else ranked
    del score, ranked
    z = -float(ndtri(level / 2))
    if balance != 1.0:
        chance *= balance
    if len(sizes) > 1:
        of = groups[rows]
        order = np.argsort(of, kind="stable")
        of, rows, chance = of[order], rows[order], chance[order]
        costs = _costs(chance, of, sizes, z, averages)
    else:  # one group gets all the labels, whatever they are worth there
        costs = Costs(np.ones(1), np.ones(1))
    samples = allocate(costs, sizes, ledger.remaining, np.minimum(sizes, 1))
    parts, ends = [], np.cumsum(sizes)
    for g in np.flatnonzero(sizes):
        mine = slice(ends[g] - sizes[g], ends[g])
        parts += _cut(int(g), rows[mine], chance[mine], int(samples[g]), z, most, rng)
    return parts


def _costs(chance: Floats, of: Integers, sizes: Integers, z: float, averages: float) -> Costs:
    """Predict what labels are worth in every group."""
    spread = np.bincount(of, weights=np.sqrt(chance * (1 - chance)), minlength=len(sizes))
    marked = np.bincount(of, weights=chance, minlength=len(sizes))
    unit = np.where(sizes > 0, marked, 1.0) ** (2 * averages)
    variance = np.asarray((2 * z * spread) ** 2 / unit, dtype=np.float64)
    return Costs(variance, np.asarray((z * z * sizes) ** 2.0 / unit, dtype=np.float64))


def _cut(
    group: int,
    rows: Integers,
    chance: Floats,
    count: int,
    z: float,
    most: int,
    rng: np.random.Generator,
) -> list[Part]:
    """Cut one group into strata and draw `count` rows of it."""
    if count in (0, len(rows)):
        return [Part(group, "census" if count else "stratum 1", rows, rows[:count])]
    plan = plan_strata(chance, count, z, most)
    parts = []
    for i, size in enumerate(plan.samples):
        members = rows[plan.edges[i] : plan.edges[i + 1]]
        census = size == len(members)
        drawn = members if census else np.sort(rng.choice(members, size, replace=False))
        parts.append(Part(group, "census" if census else f"stratum {i + 1}", members, drawn))
    return parts
