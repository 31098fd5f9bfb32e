"""Scores of all rows of a run, by the proxies that its query may use; fitted ones take labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from thresher.candidates import Candidate, FloatArray, Scorer
from thresher.certificate import ProxyReport
from thresher.errors import Error
from thresher.fitting import Fit, Start, believed_of, fit_growing, fit_once
from thresher.keeping import kept_candidates
from thresher.running import FRUGAL, Running
from thresher.sampling import Step, sufficient_labels
from thresher.score_costs import ScoreMeter
from thresher.scoring import Fitter, n_fit
from thresher.trained import Kept

__all__ = ["candidates", "placed", "predictions", "scores"]

_LEAST_TO_FIT = 80  # labels: a smaller budget is better spent on the sample alone
_LEAST_OF_A_KIND = 5  # positive and negative labels, to learn from what is in the store


def scores(run: Running) -> FloatArray:
    """Score all rows; proxies that learn are fitted on the first labels.

    Parameters
    ----------
    run : Running
        Told of the labels that took, of the proxies that were considered and of the scores.

    Returns
    -------
    ndarray of float, shape (n_rows,)
        A higher one makes a row likelier to be positive; NaN where an input is NULL, zeros where
        there is no proxy.

    Raises
    ------
    BudgetError
        A budget is spent on scores and the run cannot answer early.
    DataError, OracleError
        A proxy failed.
    """
    run.probe()
    with placed(run):
        run.used = _computed_or_fitted(run, candidates(run))
        return run.used


def candidates(run: Running) -> list[Candidate]:
    """Return the proxies that the query may use; what their scores take is counted.

    Those that earlier queries have trained come last, and the draws of the run hang on them.
    """
    own = _metered(run, run.env.candidates(run.population))
    before = kept_candidates(run.env, run.query, own, run.population, run.trained_until)
    run.kept = (*(one for one in own if isinstance(one, Kept)), *before)
    if run.kept:
        # What they have learnt may hang on draws of a run with this seed: draw others.
        run.draw_apart([one.sha256 for one in run.kept])
    return [*own, *before]


def _metered(run: Running, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Put a meter on every proxy that asks a model."""
    return [
        replace(one, meter=_meter(run, one)) if isinstance(one, Scorer) and one.metered else one
        for one in candidates
    ]


def _meter(run: Running, scorer: Scorer) -> ScoreMeter:
    return ScoreMeter(
        scorer.name, scorer.proxy.version, run.labeller.scores, run.permits, run.labeller,
        run.env.store, run.report,
    )  # fmt: skip


@contextmanager
def placed(run: Running) -> Iterator[None]:
    """Show an error of a proxy at its place in USING."""
    try:
        yield
    except Error as error:
        if error.offset is None and run.query.proxies:
            terms = [t for t in run.query.proxies if t.text in error.message]
            place = (terms or run.query.proxies)[0].place
            raise error.at(run.query.sql, place.offset, place.length) from error
        raise


def _fit_facts(run: Running) -> npt.NDArray[np.int64]:
    """Known rows to fit proxies on.

    Of several calls those are none: which rows are decided hangs on what was answered, as
    where all that is known of an OR are rows that one call makes true.
    """
    bought = np.flatnonzero((run.known >= 0) & (run.population.free < 0))
    n_positive = int(np.count_nonzero(run.known[bought] > 0))
    one_sided = min(n_positive, len(bought) - n_positive) < _LEAST_OF_A_KIND
    return bought[:0] if len(run.query.calls) > 1 or one_sided else bought


def predictions(run: Running) -> npt.NDArray[np.float64] | None:
    """Return what a proxy predicts for an aggregate's oracle: shape (n_rows,), NaN where it cannot.

    None where no proxy does.
    """
    for candidate in _metered(run, run.env.predictors(run.population)):
        fixed = candidate.fixed(run.population)
        if fixed is not None:
            run.reports += (ProxyReport(candidate.name, used=True),)
            return np.asarray(fixed, dtype=np.float64)
    return None


def _computed_or_fitted(run: Running, candidates: Sequence[Candidate]) -> FloatArray:
    if len(candidates) == 1:
        fixed = candidates[0].fixed(run.population)
        if fixed is not None:
            run.reports += (ProxyReport(candidates[0].name, used=True),)
            return fixed
    budgeted = run.targets.kind not in FRUGAL
    fitter = Fitter(candidates, run.population)
    if not candidates or (budgeted and run.labeller.remaining < _LEAST_TO_FIT):
        if not fitter.can_begin:
            return np.zeros(run.population.n_rows, dtype=np.float32)
        scores, reports = fitter.begin()
        run.reports += reports
        return scores
    run.stage, run.fitter = "fit proxies", fitter
    fit = _fit(run, fitter, budgeted=budgeted)
    run.uniform_rows = fit.rows[: fit.n_uniform]
    if len(fit.rows):
        run.fit_steps += (Step("fit", fit.rows, fit.answers),)
        run.known = run.known_after(run.fit_steps)
    run.reports += fit.reports
    run.report()
    return fit.scores


def _fit(run: Running, fitter: Fitter, *, budgeted: bool) -> Fit:
    """Fit proxies: on more and more labels where a forecast can say what they save."""
    facts, targets = _fit_facts(run), run.targets
    believed = believed_of(run.env, run.query, run.population)
    start = Start(*fitter.begin(), fitter.stands) if fitter.can_begin else None
    if targets.kind != "joint":
        count = n_fit(run.population.n_rows, run.labeller.remaining, budgeted=budgeted)
        return fit_once(fitter, run.labeller, run.known, facts, believed, count, run.rng, start)

    def forecast(scores: FloatArray, known: npt.NDArray[np.int8]) -> int:
        return sufficient_labels(
            "joint", scores, delta=targets.delta, target=targets.recall or 1.0,
            precision=targets.precision or 1.0, known=known,
        ).expected  # fmt: skip

    return fit_growing(fitter, run.labeller, run.known, facts, believed, forecast, run.rng, start)
