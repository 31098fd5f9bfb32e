"""What every query needs while it runs: its seed, its facts, its limit, its labels."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import numpy.typing as npt

from thresher.candidates import FloatArray
from thresher.certificate import ProxyReport
from thresher.environment import Environment
from thresher.errors import BudgetError, Error, ProgrammingError
from thresher.failures import bears_failures
from thresher.indicating import Indicating
from thresher.labelling import Labeller, learn
from thresher.labels import Run
from thresher.paces import paces_of, taking
from thresher.permits import Permits, check_tokens, stops_anywhere
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.progress import Indication, Limits, ProgressEvent, Pulse, Silent
from thresher.reserving import sample_limit
from thresher.run_identity import run_identity
from thresher.sampling import Step
from thresher.scoring import Fitter, pilot
from thresher.targets import Targets
from thresher.traces import Spending
from thresher.trained import Kept

__all__ = ["FRUGAL", "Running", "targets_of"]

_PROBED = 16  # rows that tell what a label takes
FRUGAL = ("joint", "accuracy", "rows")
"""Kinds of queries that stop by themselves, as early as they can."""


class Running:
    """The state of one run.

    Parameters
    ----------
    env : Environment
        Where it runs.
    query : SelectionQuery
        What is asked.
    population : Population
        Its rows.
    purpose : str
        Sets apart runs of one query that must not draw the same rows, such as an audit.

    Attributes
    ----------
    targets : Targets
    seed : int
    rng : numpy.random.Generator
    known : ndarray of int8, shape (n_rows,)
        1 or 0 where the truth is known by now, else -1.
    limits : Limits or None
        Limits of aggregates that hold by now, for whoever watches.
    limit : int
        Most labels this run may be charged for.
    labeller : Labeller
    permits : Permits
        What it may buy besides that limit.
    n_facts : int
        Rows known from the store when the run first began.
    fit_steps : tuple of Step
        Labels that proxies were fitted on.
    reports : tuple of ProxyReport
        Proxies that were considered.
    used : ndarray of float, shape (n_rows,), or None
        The scores that rows were chosen by.
    sureness : ndarray of float, shape (n_rows,), or None
        How sure the proxy is of its class of each row, where every row is to have a label.
    fitter : Fitter or None
        What fitted proxies inside the run.
    kept : tuple of Kept
        Proxies that were trained before, among those it began with.
    trained_until : int
        Last sequence number of a proxy, trained by another query, that it may begin with.
    uniform_rows : ndarray of int64, shape (k,)
        Rows among those that proxies were fitted on that were drawn uniformly.
    seconds : dict of str to float
        Time of each stage that has ended.
    spending : Spending
        Where it stood when, for pictures.
    """

    def __init__(
        self, env: Environment, query: SelectionQuery, population: Population, purpose: str = ""
    ) -> None:
        self.env, self.query, self.population = env, query, population
        self.began = self._entered = time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.spending = Spending()
        self._stage = "read"
        self.targets = targets_of(env, query)
        reuse = bool(env.settings.get("reuse_labels"))
        place, mixed = self._begin(purpose, reuse=reuse)
        self.seed, self.rng = place.seed, np.random.default_rng(mixed)
        self.n_facts = self._take_facts(place) if reuse else 0
        self.known = population.known
        self.limit = self._limit()
        self.permits = self._permits(audited=bool(purpose))
        worst_case = bears_failures(query, self.targets, env.settings, audited=bool(purpose))
        self.labeller = Labeller(
            query, env.oracles, population, env.store, place if reuse else None, self.limit,
            self.report, self.permits, place.prices, env.shielded,
        )  # fmt: skip
        self.labeller.counts = not isinstance(env.progress, Silent)
        self.limits: Limits | None = None
        self._pulse, self._indicator = Pulse(), Indicating()
        self.labeller.worst_case, self.labeller.n_facts = worst_case, self.n_facts
        self.fit_steps: tuple[Step, ...] = ()
        self.reports: tuple[ProxyReport, ...] = ()
        self.used: FloatArray | None = None
        self.sureness: FloatArray | None = None
        self.fitter: Fitter | None = None
        self.kept: tuple[Kept, ...] = ()
        self.uniform_rows = np.zeros(0, dtype=np.int64)
        self.trained_until, self._mixed = place.trained_until if reuse else 0, mixed
        self.report()

    def _begin(self, purpose: str, *, reuse: bool) -> tuple[Run, list[int]]:
        """Return the run's place in the store, and what its draws are seeded with."""
        env, asked = self.env, self.query.tail.seed
        seed = asked if asked is not None else env.settings.get("seed")
        first_seed = secrets.randbits(32) if seed is None else int(str(seed))
        place = Run(first_seed, env.store.last(), self._prices() if reuse else {})
        if not reuse:
            return place, [place.seed, *([int.from_bytes(purpose.encode())] if purpose else [])]
        identity = run_identity(env, self.population, self.targets, seed, purpose)
        place = env.store.begin(identity, place.seed, place.prices)
        # The facts may come from a query with the same seed: its draws must not come again.
        mixed = [place.seed, int(identity, 16)]
        return place, [*mixed, int(place.stream, 16)] if place.stream else mixed

    @property
    def stage(self) -> str:
        """What it does now."""
        return self._stage

    @stage.setter
    def stage(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._entered
        self._stage, self._entered = stage, now
        self._note()

    @property
    def interruptible(self) -> bool:
        """Whether it may stop anywhere and answers with what is proved by then."""
        return self.permits.early

    @property
    def stopped(self) -> str:
        """Why it stopped before it was done; empty where it did not."""
        return self.permits.stopped

    def _permits(self, *, audited: bool) -> Permits:
        """Return what says how much may be bought besides the limit of labels."""
        env, query = self.env, self.query
        try:
            check_tokens(env.oracles, query.tail.budget, env.budget)
        except ProgrammingError as error:
            raise self.located(error, "BUDGET") from None
        return Permits(
            query.tail.budget,
            env.budget,
            early=not audited and stops_anywhere(query, self.targets, env.settings),
            batch=max((bound.oracle.batch_size for bound in env.oracles.values()), default=1),
            n_calls=len(query.calls),
            instead=_instead(query),
            interrupted=env.interrupted,
            check=env.check,
        )

    def _prices(self) -> dict[str, float]:
        """What a label of each oracle has cost so far: dollars if any costs money, else seconds.

        In powers of ten, so that the clock hardly ever decides which label is bought first.
        """
        paces = {
            bound.version: pace
            for bound in self.env.oracles.values()
            if (pace := self.env.store.pace(bound.version)) is not None and pace.n_labels
        }
        paid = any(pace.cost_usd > 0.0 for pace in paces.values())
        each = {
            version: (pace.cost_usd if paid else pace.seconds) / pace.n_labels
            for version, pace in paces.items()
        }
        return {
            version: 10.0 ** round(math.log10(price)) for version, price in each.items() if price
        }

    def probe(self) -> None:
        """Label a few rows where a budget needs to know what a label takes."""
        unknown = np.flatnonzero(self.known < 0)
        if not self.permits.forecasts or self.labeller.n_asked or not len(unknown):
            return
        self.stage = "probe"
        rows, answers = pilot(self.labeller, unknown, _PROBED, self.rng)
        if not len(rows):
            return
        self.fit_steps += (Step("probe", rows, answers),)
        self.known = self.known_after(self.fit_steps)

    def draw_apart(self, hashes: Sequence[str]) -> None:
        """Draw other rows than a run with this seed that began without what has these hashes."""
        self.rng = np.random.default_rng([*self._mixed, *(int(one, 16) for one in hashes)])

    def _take_facts(self, place: Run) -> int:
        """Rows whose labels were in the store when this run first began are known at once."""
        before = self.population.known
        env, population = self.env, self.population
        learn(env.store, self.query, env.oracles, population, place.known_until)
        return int(np.count_nonzero(self.population.known != before))

    def _limit(self) -> int:
        """Most labels this run may be charged for."""
        cap = self.env.oracle_limit
        n_most = self.n_unknown * len(self.query.calls)
        asked = self.query.tail.oracle_limit
        kind = self.targets.kind
        exact = kind == "estimate" and asked is None and not self._sampled
        if kind == "exact" or exact:
            allowed = cap if asked is None else min(asked, cap)
            if n_most > allowed:
                raise self.too_dear(n_most)
            return allowed
        budget, n_rows = self.env.settings.count("default_budget"), self.population.n_rows
        if asked is None:
            sampled = min(budget, sample_limit(self.query, n_rows, cap, budget))
            return cap if kind in (*FRUGAL, "estimate") else sampled
        if min(asked, n_most) > cap:
            error = BudgetError(
                f"ORACLE LIMIT {asked} is above thresher_oracle_limit ({cap}). "
                f"Write ORACLE LIMIT {cap}, or SET thresher_oracle_limit = {asked} first."
            )
            raise self.located(error, "ORACLE LIMIT")
        if self.query.outputs is not None and kind in ("recall", "precision"):
            return sample_limit(self.query, n_rows, min(asked, cap), budget)
        return asked

    @property
    def _sampled(self) -> bool:
        """Whether aggregates are estimated from a sample."""
        return bool(self.query.tail.error or self.query.tail.budget)

    @property
    def n_unknown(self) -> int:
        """Rows whose truth is not known now."""
        return int(np.count_nonzero(self.known < 0))

    def too_dear(self, needed: int) -> Error:
        """Say which limit stands in the way of labelling every candidate."""
        cap = self.env.oracle_limit
        asked = self.query.tail.oracle_limit
        pay = []
        if asked is not None and asked < needed:
            pay.append(f"write ORACLE LIMIT {needed}")
        if cap < needed:
            pay.append(f"SET thresher_oracle_limit = {needed}")
        allowed = cap if asked is None else min(asked, cap)
        few = min(1000, allowed)
        sample = "RECALL TARGET 90%" + (f" ORACLE LIMIT {few}" if asked is None else "")
        if self.query.estimation is not None or self.query.answer.aggregates:
            sample = f"ORACLE LIMIT {few}"
        price = taking(paces_of(self.env.store, self.env.oracles), needed)
        error = BudgetError(
            f"to label every candidate would take up to {needed:,} labels{price}, but at most "
            f"{allowed:,} may be bought. Three ways on: add {sample} to label a sample only; "
            f"{' and '.join(pay)} to pay for all; or narrow WHERE with conditions that need no "
            "oracle."
        )
        return self.located(error, "ORACLE LIMIT")

    def located(self, error: Error, clause: str) -> Error:
        """Show an error at a clause, or at the first oracle call where the clause is absent."""
        place = self.query.tail.places.get(clause, self.query.all_calls[0].place)
        return error.at(self.query.sql, place.offset, place.length)

    def enter(self, stage: str) -> None:
        """Begin a stage."""
        self.stage = stage
        self.report()

    def report(self) -> None:
        """Tell the progress sink where the run stands, unless the run was cancelled."""
        self._note()
        try:
            self.env.check()
        except Error as error:
            error.spent = self.labeller.n_labels
            raise
        if self.labeller.counts and self._pulse.due(self.stage):
            self._tell()

    def _note(self) -> None:
        """Keep where the run stands."""
        labeller, elapsed = self.labeller, time.perf_counter() - self.began
        cost = labeller.cost_usd + labeller.scores.cost_usd
        self.spending.note(self._stage, elapsed, labeller.n_labels, cost)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell where the run stands when what is done inside breaks off."""
        try:
            yield
        except BaseException:
            if self.labeller.counts:
                with suppress(Exception):  # what broke off is what the user must hear of
                    self._tell()
            raise

    def _tell(self) -> None:
        limit = None if self.targets.kind in FRUGAL or self.targets.error else self.limit
        labeller, n_calls = self.labeller, len(self.query.all_calls)
        most = None if limit is None else min(limit, self.population.n_rows * n_calls)
        event = ProgressEvent(
            self.stage, labeller.n_labels, most, time.perf_counter() - self.began,
            labeller.cost_usd, labeller.n_tokens, labeller.n_reused + self.n_facts, labeller.found,
            labeller.scores.cost_usd, self._left_s(limit), self.limits,
            self._indication(), self.permits.usd_limit,
        )  # fmt: skip
        self.env.progress.update(event)

    def _indication(self) -> Indication | None:
        """What the labels suggest, for a sink that shows it: that ranks all rows."""
        if not getattr(self.env.progress, "indicates", True):
            return None
        return self._indicator.of(self.used, self.labeller.truth, self.targets)

    def _left_s(self, limit: int | None) -> float | None:
        """About how many seconds the labels take that are still to be bought, where that is known.

        Budgets of seconds end it at the latest.
        """
        labeller = self.labeller
        ends = self.permits.seconds_left()
        if limit is None or not labeller.n_labels:
            return ends
        n_unknown = self.n_unknown if labeller.truth is None else int((labeller.truth < 0).sum())
        n_left = min(max(0, limit - labeller.charged), n_unknown * len(self.query.calls))
        left = n_left * labeller.oracle_s / labeller.n_labels
        return left if ends is None else min(left, ends)

    def known_after(self, steps: Sequence[Step]) -> npt.NDArray[np.int8]:
        """Return what is known once the labels of some steps are."""
        known = self.known.copy()
        for step in steps:
            known[step.rows] = step.answers
        return known

    def label_all_after(self, steps: Sequence[Step]) -> None:
        """Make room to label every candidate once some steps are done, as ON SHORTFALL EXACT asks.

        Raises
        ------
        BudgetError
            That would cost more labels than allowed.
        """
        known = self.known_after(steps)
        n_left = int(np.count_nonzero(known < 0))
        needed = self.labeller.charged + n_left * len(self.query.calls)
        if needed > self.env.oracle_limit:
            raise self.too_dear(needed)
        self.labeller.raise_limit(needed)
        self.fit_steps += tuple(steps)
        self.known = known


def _instead(query: SelectionQuery) -> str:
    """Say how to write a query that answers with what is proved when its budget is spent."""
    if query.outputs is not None:
        return (
            "select the rows first and show the answers afterwards: rows that come back need all "
            "the answers that they show"
        )
    return "add a target: a query with one answers with what is proved by then"


def targets_of(env: Environment, query: SelectionQuery) -> Targets:
    """Return what a query asks for, with the delta it may spend."""
    tail = query.tail
    return Targets(
        recall=tail.recall,
        precision=tail.precision,
        delta=env.delta,
        accuracy=tail.accuracy,
        error=tail.error,
        estimated=query.estimation is not None,
        rows=None if query.sought is None else query.sought.target,
    )
