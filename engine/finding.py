"""LIMIT without a target: so many positive rows, with as few labels as their order allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher import proxy_scores
from thresher.candidates import Candidate
from thresher.certificate import Bounds, Certificate, ProxyReport
from thresher.certifying import certify
from thresher.errors import ProgrammingError, ShortfallError
from thresher.fitting import believed_of
from thresher.plan import Sought
from thresher.running import Running
from thresher.sampling import OutOfLabelsError, Step, Walk
from thresher.scoring import Fitter
from thresher.shortfalls import kept

__all__ = ["find"]

_TO_FIT = 64  # labels that a proxy is first fitted on; fewer still are not worth a fit
_REFIT = 4  # a proxy is fitted again when there are so many times as many labels
_EITHER = 3  # positives and negatives without which nothing can be learnt
_SHARE = 8  # a batch is at most this part of the labels so far, or what is still sought

Rows = npt.NDArray[np.int64]


def find(run: Running) -> tuple[npt.NDArray[np.bool_], Certificate]:
    """Find as many positive rows as a run seeks.

    Returns
    -------
    returned : ndarray of bool, shape (n_rows,)
        The rows found.
    certificate : Certificate

    Raises
    ------
    ShortfallError
        The labels do not suffice and ON SHORTFALL does not say RETURN.
    """
    sought = run.query.sought
    if sought is None:
        raise TypeError("a query without LIMIT seeks no number of rows")
    return _Finding(run, sought).find()


class _Finding:
    """The state of one search."""

    def __init__(self, run: Running, sought: Sought) -> None:
        self.run, self.sought, self.target = run, sought, sought.target
        self.bought: list[tuple[Rows, npt.NDArray[np.bool_]]] = []
        self.fitter: Fitter | None = None
        self.believed = believed_of(run.env, run.query, run.population)
        self.next_fit, self.shuffled, self.n_known = _TO_FIT, False, 0
        gap = self.target.gap
        places = None if gap is None else self._places()
        run.enter("find")
        self.walk = Walk(self._first_order(), run.known, self.target.count, places, gap or 0.0)

    def find(self) -> tuple[npt.NDArray[np.bool_], Certificate]:
        run = self.run
        self._search()
        note = None if self.met else self._shortfall()
        found = self.walk.found
        returned = np.zeros(run.population.n_rows, dtype=np.bool_)
        returned[found] = True
        all_found = self.walk.exhausted and not self.walk.complete and self.target.gap is None
        rows = [row for row, _ in self.bought]
        answers = [answer for _, answer in self.bought]
        steps = [Step("find", np.concatenate(rows), np.concatenate(answers))] if rows else []
        return returned, certify(
            run,
            grade="exact",
            met=self.met,
            note=note,
            n_returned=len(found),
            steps=steps,
            algorithm="search",
            bounds=Bounds(precision=1.0, recall=1.0 if all_found else None),
            tests=(
                {
                    "kind": "rows",
                    "level": 0.0,
                    "stages": [],
                    "rows": found.tolist(),
                    "exhausted": bool(self.walk.exhausted),
                },
            ),
        )

    @property
    def met(self) -> bool:
        """Whether enough rows were found, or there are no more."""
        return self.walk.complete or self.walk.exhausted

    def _search(self) -> None:
        """Label batch by batch until enough rows are found, none is left, or labels run out."""
        walk, labeller = self.walk, self.run.labeller
        while not self.met and not self.run.stopped:
            self._rank()
            rows = walk.batch(self._size())[: max(0, labeller.remaining)]
            if not len(rows):
                return
            try:
                answers = labeller(rows)
            except OutOfLabelsError as stop:
                answers = stop.answers
                rows = rows[: len(answers)]
            self.bought.append((rows, answers))
            walk.learn(rows, answers)

    def _size(self) -> int:
        """Return how many rows to look at next: few rounds, and few labels that come too late."""
        n_bought = sum(len(rows) for rows, _ in self.bought)
        size = max(self.target.count - len(self.walk.found), n_bought // _SHARE)
        if self.fitter is not None and self._n_labelled < self.next_fit:
            size = min(size, self.next_fit - self._n_labelled)
        return size

    @property
    def _labelled(self) -> Rows:
        """Rows with a label."""
        return np.flatnonzero((self.walk.known >= 0) & (self.run.population.free < 0))

    @property
    def _n_labelled(self) -> int:
        return self.n_known + sum(len(rows) for rows, _ in self.bought)

    def _first_order(self) -> Rows:
        """Return the order of ORDER BY, of a score that needs no label, or of the rows."""
        run, population = self.run, self.run.population
        if self.target.ordered:
            return population.in_order()
        self.n_known = int(np.count_nonzero((run.known >= 0) & (population.free < 0)))
        with proxy_scores.placed(run):
            candidates = proxy_scores.candidates(run)
            scores = None
            for candidate in candidates if run.query.proxies else ():
                if (scores := candidate.fixed(population)) is not None:
                    break
        if scores is None:
            return self._fitted_order(candidates)
        run.used = scores
        if len(candidates) > 1:
            self.fitter = Fitter(candidates, population)
        else:
            run.reports += (ProxyReport(candidates[0].name, used=True),)
        return _best_first(np.asarray(scores, dtype=np.float64), run.known)

    def _fitted_order(self, candidates: Sequence[Candidate]) -> Rows:
        """Return the order by a proxy that was trained before, else that of the rows."""
        run, population = self.run, self.run.population
        scores = np.zeros(population.n_rows)
        if candidates:
            self.fitter = run.fitter = Fitter(candidates, population)
            if self.fitter.can_begin:
                found, run.reports = self.fitter.begin()
                run.used, scores = found, np.asarray(found, dtype=np.float64)
        return _best_first(scores, run.known)

    def _rank(self) -> None:
        """Fit a proxy on the labels so far, where the rows still sought are worth it."""
        run, walk = self.run, self.walk
        if self.fitter is None or self._n_labelled < self.next_fit:
            return
        rows = self._labelled
        truth = walk.known[rows] == 1
        n_positive = int(truth.sum())
        ahead = (self.target.count - len(walk.found)) * len(rows) / max(n_positive, 1)
        if ahead < _TO_FIT:
            return
        if min(n_positive, len(rows) - n_positive) < _EITHER:
            if not self.shuffled and not run.query.proxies:
                walk.reorder(run.rng.permutation(len(walk.known)))
                self.shuffled = True
            return
        run.enter("fit proxies")
        with proxy_scores.placed(run):
            scores, run.reports = self.fitter.fit(rows, truth, run.rng, self.believed(rows, truth))
        self.next_fit, run.used = _REFIT * len(rows), scores
        walk.reorder(_best_first(np.asarray(scores, dtype=np.float64), walk.known))
        run.enter("find")

    def _places(self) -> npt.NDArray[np.float64]:
        """Where each row lies, for GAP: a number, or the seconds of a time."""
        population, sql = self.run.population, self.sought.gap_on
        if sql is None:
            keys = population.keys
            single = len(keys) == 1
            return np.asarray(keys[0] if single else np.arange(population.n_rows), dtype=np.float64)
        values = population.column(sql)
        kind = values.type
        times = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_time)
        if any(is_one(kind) for is_one in times):
            unit = pa.time64("us") if pa.types.is_time(kind) else pa.timestamp("us")
            values = values.cast(unit).cast(pa.int64())
            numbers = values.cast(pa.float64(), safe=False)
            return np.asarray(numbers.to_numpy(zero_copy_only=False)) / 1e6
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not (numeric or pa.types.is_decimal(kind)):
            place = self.run.query.tail.places["GAP"]
            raise ProgrammingError(
                f"GAP ... ON {sql} needs a number or a time, got {kind}. Write an expression that "
                "gives one, such as epoch(time)."
            ).at(self.run.query.sql, place.offset, place.length)
        numbers = values.cast(pa.float64(), safe=False)
        return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)

    def _shortfall(self) -> str:
        """Do what ON SHORTFALL says; returns what the reader must know."""
        run = self.run
        policy = run.query.tail.on_shortfall or run.env.settings.get("on_shortfall")
        policy = policy or ("RETURN" if run.stopped else "FAIL")
        if policy == "EXACT":
            run.labeller.raise_limit(run.env.oracle_limit)
            self._search()
            if self.met:
                return f"ON SHORTFALL EXACT: more than {run.limit:,} labels were bought."
            policy = "FAIL"
        why = run.stopped or f"with {run.labeller.charged:,} labels"
        note = (
            f"{why}: {len(self.walk.found):,} of {self.target.count:,} positive rows were found. "
        )
        if policy == "RETURN":
            return note + "The population may have more."
        pay = "Raise ORACLE LIMIT"
        if run.query.tail.oracle_limit is None or run.labeller.charged >= run.env.oracle_limit:
            pay = "SET thresher_oracle_limit higher"
        note += (
            f"{pay} ({kept(run)}), give a better proxy with USING, or write ON SHORTFALL RETURN "
            "for the rows that were found."
        )
        error = ShortfallError(note, spent=run.labeller.n_labels)
        where = run.query.tail.places.get("ON SHORTFALL", self.sought.place)
        raise error.at(run.query.sql, where.offset, where.length)


def _best_first(scores: npt.NDArray[np.float64], known: npt.NDArray[np.int8]) -> Rows:
    """Order rows by score, equal ones by row; what is known to be positive costs nothing."""
    missing = np.where(np.isnan(scores), -np.inf, scores)
    return np.lexsort((np.arange(len(scores)), -missing, known != 1))
