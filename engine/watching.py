"""After a query: how the trained proxies that it began with did, and what its own have learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from thresher.candidates import FloatArray
from thresher.certificate import Certificate
from thresher.drift import Drift, Ranked, ranked, shift_of
from thresher.keeping import conditions_of, record_of, trained_of
from thresher.reports import TrainedReport
from thresher.running import Running
from thresher.stored_proxies import Check, keep_check, keep_trained
from thresher.trained import Kept

__all__ = ["keep_learnt", "watched"]

_UNIFORM = ("sample", "look ")  # stages of selections whose rows are drawn uniformly
_LEAST_OF_A_KIND = 5  # labels, true and false, without which nothing is kept


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Labelled rows, with how many rows of the population each stands for."""

    rows: npt.NDArray[np.int64]
    truth: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64]
    drawn: npt.NDArray[np.int64]

    def ranked(self, scores: FloatArray) -> Ranked | None:
        """Measure an AUC of the whole population; None where nothing was drawn by chance."""
        value = np.asarray(scores, dtype=np.float64)[self.rows]
        if not len(self.drawn) or np.isnan(value).any():
            return None
        found = ranked(value, self.truth, self.weights)
        return None if found is None else replace(found, n_labels=len(self.drawn))


def watched(run: Running, certificate: Certificate) -> Certificate:
    """Return the certificate with what its labels say of the trained proxies it began with."""
    if not run.kept:
        return certificate
    sample = _sample(run, certificate)
    reports = tuple(_report(run, one, sample) for one in run.kept if _is_told(run, one))
    return replace(certificate, trained=reports)


def _is_told(run: Running, kept: Kept) -> bool:
    """Whether the truth of this condition is what the proxy was trained on."""
    formula, calls = run.query.formula.strip(), conditions_of(run.query)
    value = calls[0].value if calls else ""
    return not kept.declared or (len(calls) == 1 and formula.lower() in (value, f"not {value}"))


def _report(run: Running, kept: Kept, sample: _Sample) -> TrainedReport:
    scores = kept.fixed(run.population)
    plain = 1.0 - scores if kept.flip else scores
    shift, shifted = shift_of(kept.trained.scores, plain[~kept.seen(run.population)])
    drift = Drift(kept.trained.quality, sample.ranked(scores), shift, shifted)
    now = drift.now
    return TrainedReport(
        name=kept.name,
        sha256=kept.sha256,
        declared=kept.declared,
        n_labels=kept.trained.n_labels,
        auc=drift.then.auc,
        n_measured=drift.then.n_labels,
        cross_validated=kept.trained.random is None,
        auc_here=None if now is None else now.auc,
        n_here=0 if now is None else now.n_labels,
        shift=round(shift, 6),
        weaker=drift.weaker,
        shifted=drift.shifted,
    )


def _sample(run: Running, certificate: Certificate) -> _Sample:
    """Return the labels that were drawn uniformly, with all that were known before the draw.

    Given what was known, the draw is uniform among the other rows: each of those that were known
    stands for itself, and each drawn one for as many of the others as there are to a drawn one.
    """
    candidates = run.population.free < 0
    selects = run.targets.kind in ("recall", "joint") and run.query.tail.assuming is None
    log = certificate.log
    if selects and log is not None:
        steps, rows = np.asarray(log.column("step")), np.asarray(log.column("row"))
        stages = np.asarray(log.column("stage").combine_chunks().to_pylist(), dtype=object)
        drawn = np.array([str(stage).startswith(_UNIFORM) for stage in stages], dtype=np.bool_)
        whole = np.asarray(log.column("truth").is_valid())
        if drawn.any():
            first = steps[drawn].min()
            after = np.flatnonzero((steps >= first) & ~drawn)
            last = steps[after].min() if len(after) else steps.max() + 1
            drawn &= steps < last
            truth = np.asarray(log.column("truth").fill_null(fill_value=False), dtype=np.bool_)
            return _weighted(candidates, rows, truth, whole & (steps < first), drawn & whole)
    rows = run.uniform_rows[~np.isin(run.uniform_rows, run.labeller.failed)]
    known = np.flatnonzero((run.population.known >= 0) & candidates)
    rows = np.concatenate([known, rows])
    before = np.arange(len(rows)) < len(known)
    return _weighted(candidates, rows, run.known[rows] == 1, before, ~before)


def _weighted(
    candidates: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    truth: npt.NDArray[np.bool_],
    before: npt.NDArray[np.bool_],
    drawn: npt.NDArray[np.bool_],
) -> _Sample:
    before, drawn = before & candidates[rows], drawn & candidates[rows]
    n_drawn, n_others = int(drawn.sum()), int(candidates.sum()) - int(before.sum())
    used = before | drawn
    weights = np.where(drawn, n_others / max(n_drawn, 1), 1.0)
    return _Sample(rows[used], truth[used], weights[used], rows[drawn])


def keep_learnt(run: Running, certificate: Certificate) -> None:
    """Keep what the proxies of a run have learnt, and how those did that it began with."""
    store = run.env.store
    for one in certificate.trained:
        check = Check(one.sha256, certificate.id, one.n_here, one.auc_here, one.shift, one.drifted)
        keep_check(store.file, check)
    if run.fitter is None or not run.env.settings.get("reuse_labels"):
        return
    sample = _sample(run, certificate)
    for learnt in run.fitter.learnt():
        n_positive = int(learnt.truth.sum())
        if min(n_positive, len(learnt.truth) - n_positive) < _LEAST_OF_A_KIND:
            continue
        since = not np.isin(sample.drawn, learnt.rows).any()
        random = sample.ranked(learnt.fitted.scores) if since else None
        trained = trained_of(learnt, run.query, run.population, random)
        if trained is not None:
            keep_trained(store.file, record_of(run.env, run.query, learnt.candidate, trained))
