"""What a forecast may go by: scores of USING, of a proxy fitted to stored labels, or made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri

from thresher.candidates import Candidate, Expression, Scorer, Trainable
from thresher.environment import Environment
from thresher.estimands import Estimands, error_of, group_codes
from thresher.fitting import checking_labels, first_fit
from thresher.keeping import kept_candidates
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.sampling import LabelForecast
from thresher.sampling.error_forecasts import forecast_error_labels
from thresher.scoring import n_fit
from thresher.targets import Targets
from thresher.trained import Kept

__all__ = ["Basis", "basis_of", "rehearsed"]

Floats = npt.NDArray[np.float64]
_RATE = 0.1  # of positive rows, where nothing is known of them
_AUCS = (0.85, 0.95, 0.75)  # of a proxy that is yet to be fitted: a middling, a good, a weak one
_LEAST_OF_A_KIND = 5  # stored labels from which a query would learn
_MOST_ROWS = 20_000  # rows whose inputs EXPLAIN may read to fit a proxy


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Scores that a forecast may go by.

    Parameters
    ----------
    scores : tuple of ndarray of float64, shape (n_rows,)
        The scores; of proxies that are only supposed a middling, a good and a weak one.
    fitting : int
        Labels that the query buys first, to fit proxies.
    given : str
        What the forecast supposes; empty where nothing.
    """

    scores: tuple[Floats, ...]
    fitting: int = 0
    given: str = ""


def basis_of(
    env: Environment, query: SelectionQuery, targets: Targets, population: Population, limit: int
) -> Basis:
    """Return what a forecast may go by; buys nothing.

    Parameters
    ----------
    env, query, targets, population
        As the query will have them; `population` has learnt what the store knows.
    limit : int
        Most labels that it may buy.
    """
    estimation, known = query.estimation, population.known
    if estimation is not None and not Estimands(estimation, population).decides:
        return Basis((np.ones(population.n_rows),))
    candidates = env.candidates(population)
    bought = np.flatnonzero((known >= 0) & (population.free < 0))
    if len(candidates) == 1 and isinstance(candidates[0], Expression):
        given = "" if len(bought) else "if scores are probabilities"
        return Basis((np.asarray(candidates[0].scores, dtype=np.float64),), given=given)
    budgeted = targets.kind in ("recall", "precision", "estimate")
    fitting = first_fit(len(bought), limit)  # goes on from there as long as it pays
    if targets.kind != "joint":
        first = n_fit(population.n_rows, limit, budgeted=budgeted)
        fitting = max(0, first - len(bought))
    if len(candidates) == 1 and isinstance(candidates[0], Scorer):
        return _supposed(population.n_rows, 0, "that proxy")
    n_positive = int(np.count_nonzero(known[bought] > 0))
    learns = min(n_positive, len(bought) - n_positive) >= _LEAST_OF_A_KIND
    if learns and len(query.calls) == 1 and population.n_rows <= _MOST_ROWS:
        scores = _fitted(candidates, population, bought)
        given = f"by proxies fitted to the {len(bought):,} labels in the store"
        if scores is not None:
            return Basis((scores,), fitting, given)
    before = [one for one in candidates if isinstance(one, Kept)]
    if env.settings.get("reuse_labels"):
        until = env.store.last_trained()
        before += kept_candidates(env, query, candidates, population, until)
    if before and population.n_rows <= _MOST_ROWS:
        best = min(before, key=lambda one: one.trained.log_loss)
        check = 0 if candidates == [best] else min(fitting, checking_labels(limit))
        given = f"by {best.name}, trained on {best.trained.n_labels:,} labels before"
        return Basis((best.fixed(population),), check, given)
    return _supposed(population.n_rows, fitting, "the fitted proxy")


def _fitted(
    candidates: Sequence[Candidate], population: Population, rows: npt.NDArray[np.int64]
) -> Floats | None:
    """Return the scores of a proxy that learns quickly, fitted to known rows; None without one."""
    found = []
    for candidate in candidates:
        if isinstance(candidate, Trainable) and candidate.quick:
            inputs = population.inputs(np.arange(population.n_rows))
            features = candidate.proxy.featurise(inputs.select(list(candidate.inputs)))
            truth, rng = population.known[rows] > 0, np.random.default_rng(0)
            found.append(candidate.proxy.fit(features, rows, truth, rng))
    best = min(found, key=lambda one: one.log_loss, default=None)
    return None if best is None else np.asarray(best.scores, dtype=np.float64)


def _supposed(n_rows: int, fitting: int, name: str) -> Basis:
    """Make up calibrated scores of proxies between a weak and a good one."""
    _, best, worst = _AUCS
    given = (
        f"if {_RATE:.0%} of the rows are positive and {name} has an AUC of {worst:g} to {best:g}"
    )
    return Basis(tuple(_binormal(n_rows, auc) for auc in _AUCS), fitting, given)


def _binormal(n_rows: int, auc: float) -> Floats:
    """Return calibrated scores: those of positives and negatives are normal, apart by the AUC."""
    apart = np.sqrt(2.0) * ndtri(auc)
    n_positive = round(_RATE * n_rows)
    value = np.concatenate([
        apart + ndtri((np.arange(n_positive) + 0.5) / max(n_positive, 1)),
        ndtri((np.arange(n_rows - n_positive) + 0.5) / max(n_rows - n_positive, 1)),
    ])  # fmt: skip
    chance = expit(apart * value - apart**2 / 2 + logit(_RATE))
    return np.random.default_rng(0).permutation(chance)


def rehearsed(
    env: Environment,
    query: SelectionQuery,
    targets: Targets,
    population: Population,
    scores: Floats,
) -> LabelForecast | None:
    """Forecast the labels of an estimation with an error target, on made-up truths.

    None where nothing can be forecast: for extremes, for values without a range, and for an
    absolute error of totals and averages together.
    """
    estimation = query.estimation
    if estimation is None:
        return None
    estimands = Estimands(estimation, population)
    aggregates = [estimation.aggregates[i] for i in estimands.sampled()]
    error = error_of(targets, aggregates) if aggregates else None
    if error is None:
        return None
    prediction = next(
        (p.scores for p in env.predictors(population) if isinstance(p, Expression)), None
    )
    columns = [
        estimands.column(m, None if m.plain is not None else prediction)
        for m in estimation.measured
    ]
    if any(np.isinf(column.low).any() or np.isinf(column.high).any() for column in columns):
        return None
    codes, first = group_codes(population.groups, population.n_rows)
    return forecast_error_labels(
        scores,
        columns,
        [estimands.measure(a) for a in aggregates],
        delta=targets.delta,
        error=error,
        rng=np.random.default_rng(0),
        groups=codes if estimation.groups else None,
        n_groups=max(1, len(first)) if estimation.groups else 1,
        known=population.known,
    )
