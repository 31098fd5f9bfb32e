"""Runs one bound query: population, scores, labels, selection, certificate, answer."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.certificate import Bounds, Certificate, ProxyReport, StageReport
from thresher.environment import Environment
from thresher.errors import BudgetError, Error, ShortfallError
from thresher.labelling import Labeller
from thresher.labels import Run
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.progress import ProgressEvent
from thresher.sampling import (
    Selection,
    Step,
    select_exact,
    select_joint,
    select_precision,
    select_recall,
)
from thresher.scoring import Candidate, FloatArray, fit_and_choose, n_fit, pilot
from thresher.targets import Targets

__all__ = ["run"]

VERSION = version("thresher")
_LEAST_TO_FIT = 80  # labels: a smaller budget is better spent on the sample alone


def run(env: Environment, query: SelectionQuery) -> tuple[duckdb.DuckDBPyRelation, Certificate]:
    """Answer one query.

    Parameters
    ----------
    env : Environment
        Where it runs.
    query : SelectionQuery
        What is asked.

    Returns
    -------
    relation : duckdb.DuckDBPyRelation
        The rows, materialised.
    certificate : Certificate
        What they promise; it is in the store too.

    Raises
    ------
    BudgetError
        The answer would cost more labels than allowed.
    ShortfallError
        The target cannot be certified and ON SHORTFALL says FAIL.
    DataError, OracleError
        An oracle or proxy failed; labels bought before are kept.
    """
    with Population(env.connection, query, [None] * len(query.calls)) as population:
        return _Runner(env, query, population).answer()


class _Runner:
    """The state of one run."""

    def __init__(self, env: Environment, query: SelectionQuery, population: Population) -> None:
        self.env, self.query, self.population = env, query, population
        self.began, self.stage = time.perf_counter(), "read"
        tail, settings = query.tail, env.settings
        probability = tail.probability or settings.get("probability")
        self.targets = Targets(tail.recall, tail.precision, 1.0 - float(str(probability)))
        seed = tail.seed if tail.seed is not None else settings.get("seed")
        reuse = bool(settings.get("reuse_labels"))
        place = Run(secrets.randbits(32) if seed is None else int(str(seed)), env.store.last())
        mixed = [place.seed]
        if reuse:
            identity = self._identity(seed)
            place = env.store.begin(identity, place.seed)
            # The facts may come from a query with the same seed: its draws must not come again.
            mixed = [place.seed, int(identity, 16)]
        self.seed, self.rng = place.seed, np.random.default_rng(mixed)
        self.known = population.known
        self.n_facts = 0
        if reuse:
            self._take_facts(place)
        self.limit = self._limit()
        self.labeller = Labeller(
            query,
            env.oracles,
            population,
            env.store,
            place if reuse else None,
            self.limit,
            self._report,
        )
        self.fit_steps: tuple[Step, ...] = ()
        self.reports: tuple[ProxyReport, ...] = ()

    def answer(self) -> tuple[duckdb.DuckDBPyRelation, Certificate]:
        """Decide, run the rewritten query, certify."""
        self._report()
        selection, note = self._selection()
        returned = self._with_duplicates(selection)
        self.stage = "answer"
        self._report()
        relation = self.population.answer(returned)
        certificate = self._certificate(selection, returned, note)
        self.env.store.keep_certificate(certificate.id, certificate.summary, certificate.to_dict())
        return relation, certificate

    def _identity(self, seed: object) -> str:
        """Hash of all that decides which rows this run will draw."""
        facts = hashlib.sha256()
        named = {name: bound.version for name, bound in self.env.oracles.items()}
        settings = [self.env.settings.get(n) for n in ("oracle_limit", "default_budget", "encoder")]
        plain = (VERSION, self._question(), self.targets, seed, settings, named)
        facts.update(repr((*plain, self.env.proxies)).encode())
        arrays = [*self.population.keys, self.population.known, *self.population.scores]
        for array in arrays:
            facts.update(np.ascontiguousarray(array).tobytes())
        return facts.hexdigest()

    def _question(self) -> str:
        """Write what decides which rows are returned: neither SELECT list nor ORDER BY nor case."""
        query = self.query
        leaves = [(leaf.alias, leaf.relation) for leaf in query.leaves]
        calls = [(call.oracle, call.arguments, call.value) for call in query.calls]
        terms = [term.text for term in query.proxies]
        where = (query.plain, query.formula, query.parts, query.tail.oracle_limit)
        text = repr((query.ctes, leaves, query.from_sql, where, calls, terms))
        return " ".join(text.lower().split())

    def _take_facts(self, place: Run) -> None:
        """Rows whose labels were in the store when this run first began are known at once."""
        tables: list[pa.Table | None] = []
        for call in self.query.calls:
            bound = self.env.oracles[call.oracle]
            keys, answers = self.env.store.facts(bound.version, place.known_until)
            values = bound.typed(answers)
            tables.append(
                pa.table({"key": pa.array(keys, pa.string()), "value": values}) if keys else None
            )
        if any(table is not None for table in tables):
            self.known = self.population.known_with(tables)
            self.n_facts = int(np.count_nonzero(self.known != self.population.known))

    def _limit(self) -> int:
        """Most labels this run may be charged for."""
        cap = self.env.settings.count("oracle_limit")
        n_calls = len(self.query.calls)
        n_most = int(np.count_nonzero(self.known < 0)) * n_calls
        asked = self.query.tail.oracle_limit
        kind = self.targets.kind
        if kind == "exact":
            allowed = cap if asked is None else min(asked, cap)
            if n_most > allowed:
                raise self._too_dear(n_most)
            return allowed
        if asked is None:
            budget = self.env.settings.count("default_budget")
            return cap if kind == "joint" else min(budget, cap)
        if min(asked, n_most) > cap:
            error = BudgetError(
                f"ORACLE LIMIT {asked} is above thresher_oracle_limit ({cap}). "
                f"Write ORACLE LIMIT {cap}, or SET thresher_oracle_limit = {asked} first."
            )
            raise self._located(error, "ORACLE LIMIT")
        return asked

    def _too_dear(self, needed: int) -> Error:
        """Say which limit stands in the way of labelling every candidate."""
        cap = self.env.settings.count("oracle_limit")
        asked = self.query.tail.oracle_limit
        pay = []
        if asked is not None and asked < needed:
            pay.append(f"write ORACLE LIMIT {needed}")
        if cap < needed:
            pay.append(f"SET thresher_oracle_limit = {needed}")
        allowed = cap if asked is None else min(asked, cap)
        error = BudgetError(
            f"to label every candidate would take up to {needed:,} labels, but at most "
            f"{allowed:,} may be bought. Three ways on: add RECALL TARGET 90% ORACLE LIMIT "
            f"{min(1000, allowed)} to label a sample only; {' and '.join(pay)} to pay for all; or "
            "narrow WHERE with conditions that need no oracle."
        )
        return self._located(error, "ORACLE LIMIT")

    def _located(self, error: Error, clause: str) -> Error:
        """Show an error at a clause, or at the first oracle call where the clause is absent."""
        place = self.query.tail.places.get(clause, self.query.calls[0].place)
        return error.at(self.query.sql, place.offset, place.length)

    def _report(self) -> None:
        bought = self.labeller.n_labels if hasattr(self, "labeller") else 0
        limit = None if self.targets.kind == "joint" else self.limit
        event = ProgressEvent(self.stage, bought, limit, time.perf_counter() - self.began)
        self.env.progress.update(event)

    def _selection(self) -> tuple[Selection, str | None]:
        """Choose the procedure and carry it out; says what the reader must know besides."""
        n_unknown = int(np.count_nonzero(self.known < 0))
        affordable = n_unknown <= self.labeller.remaining and self.targets.kind != "joint"
        if self.targets.kind == "exact" or affordable:
            return self._exact(), None
        scores = self._scores()
        self.stage = "select"
        selection = self._select(scores)
        nothing_gained = selection.vacuous and self.targets.kind == "recall"
        if selection.met and not nothing_gained:
            return selection, None
        policy = self.query.tail.on_shortfall or self.env.settings.get("on_shortfall")
        policy = policy or ("RETURN" if selection.met else "FAIL")
        note = self._shortfall(selection)
        if policy == "FAIL":
            raise self._located(ShortfallError(note, spent=self.labeller.n_labels), "ON SHORTFALL")
        if policy == "RETURN":
            return selection, note
        cap = self.env.settings.count("oracle_limit")
        n_left = int(np.count_nonzero(self._known_after(selection.steps) < 0))
        needed = self.labeller.charged + n_left * len(self.query.calls)
        if needed > cap:
            raise self._too_dear(needed)
        self.labeller.raise_limit(needed)
        self.fit_steps += selection.steps
        self.known = self._known_after(selection.steps)
        return self._exact(), "ON SHORTFALL EXACT: every candidate was labelled. " + note

    def _exact(self) -> Selection:
        self.stage = "label all"
        unscored = np.zeros(self.population.n_rows, dtype=np.float32)
        return select_exact(unscored, self.labeller, known=self.known)

    def _select(self, scores: FloatArray) -> Selection:
        recall, precision, delta = self.targets.recall, self.targets.precision, self.targets.delta
        labels, known, rng = self.labeller, self.known, self.rng
        if recall is not None and precision is not None:
            return select_joint(
                scores,
                labels,
                recall=recall,
                precision=precision,
                delta=delta,
                rng=rng,
                known=known,
            )
        if recall is not None:
            return select_recall(scores, labels, recall=recall, delta=delta, rng=rng, known=known)
        if precision is not None:
            return select_precision(
                scores, labels, precision=precision, delta=delta, rng=rng, known=known
            )
        raise TypeError("an exact query has no targets to select by")

    def _known_after(self, steps: Sequence[Step]) -> npt.NDArray[np.int8]:
        known = self.known.copy()
        for step in steps:
            known[step.rows] = step.answers
        return known

    def _scores(self) -> FloatArray:
        """Scores of all rows; proxies that learn are fitted on the first labels."""
        try:
            return self._computed_or_fitted(self.env.candidates(self.population))
        except Error as error:
            if error.offset is None and self.query.proxies:
                terms = [t for t in self.query.proxies if t.text in error.message]
                place = (terms or self.query.proxies)[0].place
                raise error.at(self.query.sql, place.offset, place.length) from error
            raise

    def _computed_or_fitted(self, candidates: Sequence[Candidate]) -> FloatArray:
        if len(candidates) == 1:
            fixed = candidates[0].fixed(self.population)
            if fixed is not None:
                self.reports = (ProxyReport(candidates[0].name, used=True),)
                return fixed
        budgeted = self.targets.kind != "joint"
        if not candidates or (budgeted and self.labeller.remaining < _LEAST_TO_FIT):
            return np.zeros(self.population.n_rows, dtype=np.float32)
        self.stage = "fit proxies"
        bought = np.flatnonzero((self.known >= 0) & (self.population.known < 0))
        unknown = np.flatnonzero(self.known < 0)
        wanted = n_fit(self.population.n_rows, self.labeller.remaining, budgeted=budgeted)
        rows, truth = bought, self.known[bought] == 1
        if wanted > len(bought):
            new, answers = pilot(self.labeller, unknown, wanted - len(bought), self.rng)
            self.fit_steps = (Step("fit", new, answers),)
            self.known = self._known_after(self.fit_steps)
            rows, truth = np.concatenate([rows, new]), np.concatenate([truth, answers])
        self._report()
        scores, self.reports = fit_and_choose(candidates, self.population, rows, truth, self.rng)
        return scores

    def _shortfall(self, selection: Selection) -> str:
        """Say what could not be done and what would help."""
        n_bought = self.labeller.n_labels
        if not selection.met:
            bounds = (("recall", selection.recall_bound), ("precision", selection.precision_bound))
            held = " and ".join(f"{name} >= {b:.1%}" for name, b in bounds if b is not None)
            return (
                f"{self.targets} cannot be certified with {self.limit:,} labels"
                f"{f'; what holds is {held}' if held else ''}. Raise ORACLE LIMIT (the "
                f"{n_bought:,} labels bought so far are reused), lower a target, or give a better "
                "proxy with USING."
            )
        needed = self._required(selection) or 0
        more = f" At least {needed:,} labels would be needed." if needed > self.limit else ""
        return (
            f"nothing could be left out safely with {self.limit:,} labels: every row that is not "
            f"known to be negative is returned.{more} {n_bought:,} labels were bought."
        )

    def _required(self, selection: Selection) -> int | None:
        """Labels below which no procedure can leave out a tail of the size that recall allows."""
        share, recall = selection.precision_estimate, self.targets.recall
        if recall is None or not math.isfinite(share):
            return None
        n_positive = share * int(selection.returned.sum())
        n_missable = math.floor((1 - recall) * n_positive) + 1
        rate = float(1 - self.targets.delta ** (1 / n_missable))
        return math.ceil(rate * np.count_nonzero(self.known < 0))

    def _with_duplicates(self, selection: Selection) -> npt.NDArray[np.bool_]:
        """Rows whose inputs equal labelled ones are known too.

        That drops known negatives and adds known positives, so no bound suffers.
        """
        if selection.algorithm == "exact":
            return selection.returned
        rows, truth = self.labeller.duplicates()
        decided = truth >= 0
        returned = selection.returned.copy()
        returned[rows[decided]] = truth[decided] == 1
        return returned

    def _certificate(
        self, selection: Selection, returned: npt.NDArray[np.bool_], note: str | None
    ) -> Certificate:
        exact = selection.algorithm == "exact"
        steps = (*self.fit_steps, *selection.steps)
        labeller = self.labeller
        return Certificate(
            sql=self.query.sql,
            canonical=self.query.canonical,
            targets=self.targets,
            grade="exact" if exact else "distribution-free",
            met=selection.met,
            note=note,
            n_rows=self.population.n_rows,
            n_returned=int(np.count_nonzero(returned)),
            n_labels=labeller.n_labels,
            n_reused=labeller.n_reused + self.n_facts,
            cost_usd=labeller.cost_usd,
            elapsed_s=time.perf_counter() - self.began,
            cut=_finite(selection.cut),
            bounds=Bounds(
                _finite(selection.recall_bound),
                _finite(selection.precision_bound),
                _finite(selection.recall_estimate),
                _finite(selection.precision_estimate),
            ),
            algorithm=selection.algorithm,
            tests=tuple(asdict(test) for test in selection.tests),
            stages=tuple(
                StageReport(s.stage, len(s.rows), int(np.count_nonzero(s.answers))) for s in steps
            ),
            proxies=self.reports,
            seed=self.seed,
            oracles={name: bound.version for name, bound in self.env.oracles.items()},
            versions={
                "thresher": VERSION,
                "duckdb": duckdb.__version__,
                "numpy": np.__version__,
            },
            labels_sha256=labeller.sha256,
        )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
