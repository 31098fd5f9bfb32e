"""Bets on every measure in every group: a pilot, a plan, then draws to the budget or the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from thresher.sampling.draw_plan import DrawPlan, Spread, allocate, plan_draws
from thresher.sampling.draws import Batch, GroupDraws
from thresher.sampling.labels import OutOfLabelsError
from thresher.sampling.layout import Layout
from thresher.sampling.measures import BettingTest, ExtremeTest, QuantileTest
from thresher.sampling.tally import count_by_group
from thresher.sampling.value_forecasts import Forecast, doubted, refit
from thresher.sampling.values import ValueLedger

__all__ = ["Bets", "Group", "SequentialRun", "Target", "Watch"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Watch = Callable[[Floats], object]
Missing = Callable[[int, int, float, float, float], float]
_FIRST_ORDERED = 1000  # draws that are put in order at the least
_PILOT = 0.15
_LEAST_PILOT = 40  # fewer labels would teach nothing
_FEW = 4  # labels that every group gets first, as far as they go
_BATCH = 25
_GROWTH = 0.04  # a round is at least this share of the labels so far
_MOST_LAG = 1.2
_FIRST = (100, 15)  # labels of the first round towards an error target, and more for each group
_REFIT = 4  # forecasts are refitted when the labels have grown so many times
_STEP = 0.5  # of the labels that seem to be missing are bought in one round


class Bets(Protocol):
    """The bets on one measure in one group."""

    def begin(self, draws: GroupDraws) -> None:
        """Prepare for draws with new weights and the present forecasts."""

    def follow(self, draws: GroupDraws) -> None:
        """Go on with the same draws, of which more are in order now."""

    def absorb(self, batch: Batch, start: int, n_left: float) -> None:
        """Bet on draws that began at place `start` of the order; `n_left` are planned in all."""

    def limits(self) -> tuple[float, float, float]:
        """Return the estimate and the limits so far."""

    def half_width(self, n_left: float) -> float:
        """Predict the half width after `n_left` further draws."""

    def record(self) -> BettingTest | QuantileTest | ExtremeTest:
        """Return what is needed to recompute the interval."""


class Target(Protocol):
    """One measure, of which every group has its bets."""

    def prepare(self, forecasts: list[Forecast]) -> None:
        """Use these forecasts from now on."""

    def known(self, values: Floats, group: Integers, n_groups: int) -> tuple[Floats, Floats]:
        """Return what labelled rows contribute to the two sums of the measure, by group."""

    def spread(self, rows: Integers, layout: Layout, known: tuple[Floats, Floats]) -> Spread:
        """Return what the measure would like of the draws."""

    def start(
        self,
        place: tuple[int, int],
        rows: Integers,
        known: tuple[float, float],
        guess: tuple[float, float],
        level: float,
    ) -> Bets:
        """Return the bets for one group whose unknown rows are `rows`."""


@dataclass(slots=True, eq=False)
class Group:
    """One group with rows that are not labelled.

    Parameters
    ----------
    place : int
        Its number.
    bets : list of Bets
        One for each measure.
    draws : GroupDraws, optional
        The order in which its rows are drawn.
    """

    place: int
    bets: list[Bets]
    draws: GroupDraws | None = None


class SequentialRun:
    """Draws and bets for the groups that are not known entirely.

    Parameters
    ----------
    ledger : ValueLedger
        What is known, and where more is bought.
    targets : sequence of Target
        The measures.
    forecasts : list of Forecast
        One for each column.
    groups : ndarray of int64, shape (n,)
        Group of every row.
    n_groups : int
    delta : float
        Failure probability of all intervals together.
    rng : numpy.random.Generator
        Source of the draws.

    Attributes
    ----------
    watch : callable or None
        Told of `limits` after each purchase.
    """

    def __init__(
        self,
        ledger: ValueLedger,
        targets: list[Target],
        forecasts: list[Forecast],
        groups: Integers,
        n_groups: int,
        delta: float,
        rng: np.random.Generator,
    ) -> None:
        self.ledger, self.targets, self.rng = ledger, targets, rng
        self.first, self.forecasts = forecasts, [doubted(f, 0) for f in forecasts]
        self.by_group, self.n_groups = groups, n_groups
        self.drawn = np.zeros(n_groups, dtype=np.int64)
        self.groups: list[Group] = []
        active = np.flatnonzero(self._left())
        self.level = delta / max(1, len(targets) * len(active))
        self._active = active
        self._chances: list[tuple[Integers, Floats]] = []
        self.watch: Watch | None = None

    def _left(self) -> Integers:
        """Return how many rows of each group are not known."""
        return count_by_group(~self.ledger.known, self.by_group, self.n_groups)

    def spend(self) -> None:
        """Draw until the budget is spent."""
        budget = self.ledger.remaining
        rows = self._left()
        plan = self._phase(rows.astype(np.float64) * (budget / max(1, int(rows.sum()))))
        few = np.minimum(_FEW, rows)
        totals = allocate(plan.costs, rows, budget, few)
        pilot = int(_PILOT * budget)
        if pilot >= _LEAST_PILOT:
            first = allocate(plan.costs, rows, pilot, np.minimum(few, totals))
            self._buy(first, "pilot", np.maximum(totals, first).astype(np.float64))
            self._refit()
            plan = self._phase((totals - first).astype(np.float64))
            totals = allocate(plan.costs, rows, budget, self.drawn)
        more = np.minimum(totals - self.drawn, self._left())
        self._buy(more, "sample", more.astype(np.float64))

    def until(self, missing: Missing) -> None:
        """Draw until every interval is narrow enough, the budget is spent or the source stops.

        Draws that the source has not sold all of are left out: the limits hold at any number of
        draws, and all of them together, whatever ends the draws.

        `missing(measure, group, estimate, low, high)` returns 0 for an interval that is, else the
        half width that would be.
        """
        with suppress(OutOfLabelsError):
            self._until(missing)

    def _until(self, missing: Missing) -> None:
        rows, budget = self._left(), self.ledger.remaining
        size = min(budget, _FIRST[0] + _FIRST[1] * (len(self._active) - 1))
        plan = self._phase(rows.astype(np.float64) * (size / max(1, int(rows.sum()))))
        first = allocate(plan.costs, rows, size, np.minimum(_FEW, rows))
        self._buy(first, "pilot", 4 * first.astype(np.float64))
        fitted, number = 0, 0
        while self.ledger.remaining:
            wanted = np.array([self._wanted(g, missing) for g in self.groups])
            if not wanted.any():
                return
            if self.drawn.sum() >= _REFIT * fitted:
                fitted = int(self.drawn.sum())
                self._refit()
                self._phase(np.maximum(self._dense(wanted), 1.0))
                wanted = np.array([self._wanted(g, missing) for g in self.groups])
            number += 1
            self._round(self._dense(wanted), f"sample {number}")

    def _dense(self, value: Floats) -> Floats:
        """Spread values of the active groups over all groups."""
        out = np.zeros(self.n_groups)
        out[self._active] = value
        return out

    def _round(self, wanted: Floats, stage: str) -> None:
        """Buy about half of the labels that seem to be missing."""
        left = self._left()
        wanted = _in_turn(wanted, left, self.ledger.remaining)
        step = np.where(wanted > 0, np.maximum(np.ceil(_STEP * wanted), 1.0), 0.0)
        batch = max(_BATCH, _GROWTH * self.drawn.sum())
        if step.sum() < batch:
            step = np.ceil(np.maximum(step, batch * wanted / wanted.sum()))
        step = np.minimum(step, left)
        budget = self.ledger.remaining
        if step.sum() > budget:
            step = np.floor(step * (budget / step.sum()))
            step[np.argmax(wanted)] += min(budget - step.sum(), (left - step)[np.argmax(wanted)])
        if not step.any():
            step[np.argmax(left * (wanted > 0))] = 1.0
        self._buy(step.astype(np.int64), stage, np.maximum(wanted, step))

    def _wanted(self, group: Group, missing: Missing) -> float:
        """Predict how many more draws a group needs; 0 if none."""
        left = group.draws.left if group.draws else 0
        most = 0.0
        for k, bets in enumerate(group.bets):
            estimate, low, high = bets.limits()
            half = missing(k, group.place, estimate, low, high) if left else 0.0
            if half > 0:
                # Limits lag behind their forecast, the more so where rows that count are rare.
                now = bets.half_width(0.0)
                lag = 0.5 * (high - low) / max(now, 1e-300) if math.isfinite(now) else 1.0
                wanted = half / min(max(lag, 1.0), _MOST_LAG)
                most = max(most, _draws_for(bets, wanted, left))
        return most

    def _phase(self, counts: Floats) -> DrawPlan:
        """Plan new draws with the present forecasts, and start the bets if there are none."""
        ledger, n_groups = self.ledger, self.n_groups
        rows, layout = self._laid_out()
        labelled = np.flatnonzero(ledger.known)
        values, of = ledger.values[:, labelled].T, self.by_group[labelled]
        known, spreads = [], []
        for target in self.targets:
            target.prepare(self.forecasts)
            known.append(target.known(values, of, n_groups))
            spreads.append(target.spread(rows, layout, known[-1]))
        plan = plan_draws(spreads, layout, counts, self.level)
        if not self.groups:
            self.groups = [Group(int(g), []) for g in self._active]
        halves = [plan.half_width(k, counts) for k in range(len(self.targets))]
        for item in self.groups:
            g = item.place
            mine = layout.of(g)
            first = _FIRST_ORDERED + 2 * int(counts[g])
            item.draws = GroupDraws(rows[mine], plan.weights[mine], self.rng, first)
            if not item.bets:
                for k, target in enumerate(self.targets):
                    sums = (float(known[k][0][g]), float(known[k][1][g]))
                    guess = (float(spreads[k].centre[g]), float(halves[k][g]))
                    item.bets.append(target.start((k, g), rows[mine], sums, guess, self.level))
            for bets in item.bets:
                bets.begin(item.draws)
        return plan

    def _laid_out(self) -> tuple[Integers, Layout]:
        """Return the rows that are not known, group by group."""
        rows, n_groups = self.ledger.unknown(), self.n_groups
        if n_groups == 1:
            return rows, Layout(np.broadcast_to(np.int64(0), len(rows)), 1)
        group = self.by_group[rows]
        small = group.astype(np.uint16) if n_groups <= 1 << 16 else group  # sorted by its digits
        order = np.argsort(small, kind="stable")
        return rows[order], Layout(group[order], n_groups)

    def _buy(self, counts: Integers, stage: str, n_left: Floats) -> None:
        """Draw so many rows of each group, in one call of the source, and bet on them."""
        places, rows = [], []
        for item in self.groups:
            if item.draws is None:
                continue
            if item.draws.reserve(int(counts[item.place])):
                for bets in item.bets:
                    bets.follow(item.draws)
            part = item.draws.take(int(counts[item.place]))
            if part.stop > part.start:
                places.append((item, item.draws, part))
                rows.append(item.draws.rows[part])
        if not rows:
            return
        values = self.ledger.buy(np.concatenate(rows), stage)
        at = 0
        for item, draws, part in places:
            size = part.stop - part.start
            batch = Batch(
                draws.rows[part], draws.weights[part], draws.totals[part], values[at : at + size]
            )
            at += size
            self.drawn[item.place] += size
            self._chances.append(
                (batch.rows, np.minimum(1.0, size * batch.weights / batch.totals[0]))
            )
            for bets in item.bets:
                bets.absorb(batch, part.start, float(n_left[item.place]))
        if self.watch is not None:
            self.watch(self.limits())

    def limits(self) -> Floats:
        """Return estimates and limits by now, shape (n_targets, 3, n_groups).

        NaN in groups that are known entirely. The limits of all times hold together (B2).
        """
        found = np.full((len(self.targets), 3, self.n_groups), np.nan)
        for item in self.groups:
            for k, bets in enumerate(item.bets):
                found[k, :, item.place] = bets.limits()
        return found

    def _refit(self) -> None:
        """Fit the forecasts to the labels drawn so far."""
        rows = np.concatenate([r for r, _ in self._chances])
        weights = 1 / np.concatenate([c for _, c in self._chances])
        ledger = self.ledger
        self.forecasts = [
            refit(first, ledger.low[c], ledger.high[c], rows, ledger.values[c, rows], weights)
            for c, first in enumerate(self.first)
        ]


def _in_turn(wanted: Floats, left: Integers, budget: int) -> Floats:
    """Return what groups want now: one that only all of its rows would serve lets others go first.

    So it is where no row of it counts and the error is relative. It waits only where the budget
    does not serve all groups, and an equal part of the budget not that one.
    """
    if wanted.sum() <= budget:
        return wanted
    waits = (wanted >= left) & (wanted > budget / np.count_nonzero(wanted))
    others = np.where(waits, 0.0, wanted)
    return others if others.any() else wanted


def _draws_for(bets: Bets, half: float, left: int) -> float:
    """Return how many further draws seem to bring the half width down to `half`."""
    low, high = 0.0, float(left)
    if bets.half_width(high) > half:
        return high
    while high - low > max(1.0, 0.02 * high):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if bets.half_width(middle) <= half else (middle, high)
    return max(high, 1.0)
