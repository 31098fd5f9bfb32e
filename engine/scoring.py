"""Proxies fitted on the first labels of a query, and the best of them.

Nothing here can break a guarantee: whatever is done with the labels bought so far happens before
the certifying sample is drawn, and that sample is drawn from the rows still unlabelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.candidates import Candidate, FloatArray, Trainable
from thresher.certificate import ProxyReport
from thresher.drift import ranked
from thresher.labelling import Labeller
from thresher.oracles import FittedProxy
from thresher.population import Population
from thresher.sampling import OutOfLabelsError
from thresher.trained import Kept

__all__ = ["Fitter", "Learnt", "n_fit", "pilot"]

_LEAST_TO_STACK = 10  # labels of either kind
_REFUTED = 1.64  # standard errors below its AUC when trained: no more than one in twenty by chance


@dataclass(frozen=True, slots=True)
class _Checked:
    """Fixed scores with their quality on the labels at hand."""

    scores: npt.NDArray[np.float32]
    auc: float
    log_loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """A proxy that was fitted, better than one of its kind that was trained before.

    Parameters
    ----------
    candidate : Trainable
    features : object
        Of all rows, as it made them.
    fitted : FittedProxy
        What came of it.
    rows : ndarray of int64, shape (k,)
        Rows that it was fitted on.
    truth : ndarray of bool, shape (k,)
        Their labels.
    """

    candidate: Trainable
    features: object
    fitted: FittedProxy
    rows: npt.NDArray[np.int64]
    truth: npt.NDArray[np.bool_]


def n_fit(n_rows: int, n_remaining: int, *, budgeted: bool) -> int:
    """Return how many labels to spend on fitting proxies, where no forecast says how many pay.

    Notes
    -----
    Some 6 % of the rows; within a fixed budget a quarter of it goes here at most.
    """
    if budgeted:
        return int(min(0.25 * n_remaining, 1000))
    return int(np.clip(0.06 * n_rows, 100, 800))


class Fitter:
    """Fits every candidate, and a stack of all, and keeps the one with the least log loss.

    Parameters
    ----------
    candidates : sequence of Candidate
        At least one.
    population : Population
        The rows to score.

    Notes
    -----
    Features and scores that need no labels are computed once, however often it fits. Scores of
    several proxies that are probabilities are also combined as if each stood for a part of a
    compound predicate: their product (AND) and their noisy-or. The stack is a logistic regression
    on the scores of all candidates and on their products, two by two.

    Proxies that were trained before the query stand until labels refute them: an AUC below that of
    their training by 1.64 standard errors. With fewer than ten labels of either kind one that
    stands is taken as it is. One that an earlier query trained on no more labels than there are
    now gives way to those that are fitted.
    """

    def __init__(self, candidates: Sequence[Candidate], population: Population) -> None:
        self._candidates, self._population = candidates, population
        self._features: dict[int, object] = {}
        self._fixed: dict[int, FloatArray] = {}
        self._kept = {i: one for i, one in enumerate(candidates) if isinstance(one, Kept)}
        self._fitted: dict[int, FittedProxy] = {}
        self._labelled = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)

    @property
    def can_begin(self) -> bool:
        """Whether a proxy was trained before the query."""
        return bool(self._kept)

    def begin(self) -> tuple[FloatArray, tuple[ProxyReport, ...]]:
        """Score all rows without a label, by the best of the proxies that were trained before."""
        best = min(self._kept, key=lambda i: self._kept[i].trained.log_loss)
        reports = tuple(
            ProxyReport(one.name, i == best, one.trained.auc, one.trained.log_loss)
            for i, one in self._kept.items()
        )
        return self._scores(best), reports

    def stands(self, rows: npt.NDArray[np.int64], truth: npt.NDArray[np.bool_]) -> bool:
        """Whether labels leave a proxy standing that was trained before the query."""
        return bool(self._standing(rows, truth))

    def _standing(self, rows: npt.NDArray[np.int64], truth: npt.NDArray[np.bool_]) -> list[int]:
        found = []
        for i, one in self._kept.items():
            now = ranked(np.asarray(self._scores(i)[rows], dtype=np.float64), truth)
            if now is None or not now.is_below(one.trained.quality, _REFUTED):
                found.append(i)
        return found

    def _scores(self, number: int) -> FloatArray:
        """Scores of a candidate that needs no label; computed once."""
        if number not in self._fixed:
            candidate = self._candidates[number]
            scores = candidate.fixed(self._population)
            if scores is None:
                raise TypeError(f"{type(candidate).__name__} has no scores")
            self._fixed[number] = scores
        return self._fixed[number]

    def learnt(self) -> Iterator[Learnt]:
        """Give the proxies that the last fit has trained, but those that older ones surpass."""
        for i, fitted in self._fitted.items():
            candidate = self._candidates[i]
            if not isinstance(candidate, Trainable):
                continue
            rivals = [
                self._fitted[k].log_loss
                for k, one in self._kept.items()
                if k in self._fitted and one.proxy is candidate.proxy
            ]
            if all(fitted.log_loss < rival for rival in rivals):
                yield Learnt(candidate, self._features[i], fitted, *self._labelled)

    def fit(
        self,
        rows: npt.NDArray[np.int64],
        truth: npt.NDArray[np.bool_],
        rng: np.random.Generator,
        belief: npt.NDArray[np.float64] | None = None,
    ) -> tuple[FloatArray, tuple[ProxyReport, ...]]:
        """Fit on labelled rows.

        Parameters
        ----------
        rows : ndarray of int64, shape (k,)
            Labelled rows.
        truth : ndarray of bool, shape (k,)
            Their labels.
        rng : numpy.random.Generator
            Splits the folds.
        belief : ndarray of float64, shape (k,), optional
            Probability of TRUE of each by the oracle's confidence: what proxies that are trained
            are fitted to. All are judged by the labels.

        Returns
        -------
        scores : ndarray of float, shape (n_rows,)
            Scores of the best candidate.
        reports : tuple of ProxyReport
            One per candidate, with its cross-validated quality, and one for the stack.
        """
        from thresher.oracles.proxies import choose  # brings scikit-learn

        enough = min(truth.sum(), len(truth) - truth.sum()) >= _LEAST_TO_STACK
        standing = [] if enough else self._standing(rows, truth)
        outdone = self._outdone(len(rows)) if enough else set()
        numbers = standing or [i for i in range(len(self._candidates)) if i not in outdone]
        candidates = [self._candidates[i] for i in numbers]
        fitted = [self._fit(i, rows, truth, rng, belief) for i in numbers]
        self._fitted, self._labelled = dict(zip(numbers, fitted, strict=True)), (rows, truth)
        names = [candidate.name for candidate in candidates]
        for name, scores in _combined(fitted, candidates):
            names.append(name)
            fitted.append(_checked(scores, rows, truth, rng))
        if len(candidates) > 1 and enough:
            names.append(f"stack of {', '.join(names[: len(candidates)])}")
            fitted.append(_stack(fitted[: len(candidates)], rows, truth, rng))
        best = choose(fitted)
        reports = tuple(
            ProxyReport(name, i == best, float(f.auc), float(f.log_loss))
            for i, (name, f) in enumerate(zip(names, fitted, strict=True))
        )
        return fitted[best].scores, reports

    def _outdone(self, n_labels: int) -> set[int]:
        """Proxies of earlier queries that saw no more labels than there are to fit on now.

        Those labels may be among the ones they would be judged by.
        """
        if not any(isinstance(one, Trainable) for one in self._candidates):
            return set()
        return {
            i
            for i, one in self._kept.items()
            if not one.declared and one.trained.n_labels <= n_labels
        }

    def _fit(
        self,
        number: int,
        rows: npt.NDArray[np.int64],
        truth: npt.NDArray[np.bool_],
        rng: np.random.Generator,
        belief: npt.NDArray[np.float64] | None,
    ) -> FittedProxy:
        candidate, population = self._candidates[number], self._population
        if isinstance(candidate, Trainable):
            if number not in self._features:
                everything = population.inputs(np.arange(population.n_rows))
                columns = everything.select(list(candidate.inputs))
                self._features[number] = candidate.proxy.featurise(columns)
            return candidate.proxy.fit(self._features[number], rows, truth, rng, belief)
        return _checked(self._scores(number), rows, truth, rng)


def _combined(
    fitted: Sequence[FittedProxy], candidates: Sequence[Candidate]
) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Product and noisy-or of the candidates that are probabilities and need no labels."""
    parts, names = [], []
    for candidate, one in zip(candidates, fitted, strict=True):
        scores = np.asarray(one.scores, dtype=np.float64)
        if isinstance(candidate, Trainable | Kept) or np.isnan(scores).any():
            continue
        if scores.min(initial=0.0) >= 0.0 and scores.max(initial=1.0) <= 1.0:
            parts.append(scores)
            names.append(candidate.name)
    if len(parts) < 2:
        return []
    named = ", ".join(names)
    none = np.prod([1.0 - part for part in parts], axis=0)
    return [(f"product of {named}", np.prod(parts, axis=0)), (f"noisy-or of {named}", 1.0 - none)]


def _stack(
    fitted: Sequence[FittedProxy],
    rows: npt.NDArray[np.int64],
    truth: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> FittedProxy:
    """Fit one head on the scores of several proxies; its own scores there are out of fold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    single = [_standardised(np.asarray(one.scores, dtype=np.float64), rows) for one in fitted]
    products = [a * b for i, a in enumerate(single) for b in single[i + 1 :]]
    features = np.column_stack([*single, *products])
    head = LogisticRegression(C=0.3)
    folds = StratifiedKFold(5, shuffle=True, random_state=int(rng.integers(2**31)))
    out_of_fold = cross_val_predict(head, features[rows], truth, cv=folds, method="predict_proba")[
        :, 1
    ]
    scores = head.fit(features[rows], truth).predict_proba(features)[:, 1]
    scores[rows] = out_of_fold
    quality = float(roc_auc_score(truth, out_of_fold)), float(log_loss(truth, out_of_fold))
    return _Checked(scores.astype(np.float32), *quality)


def _standardised(
    scores: npt.NDArray[np.float64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Scores as a head takes them: probabilities as logits, mean 0 and spread 1 on some rows."""
    value = np.where(np.isnan(scores), np.nanmin(scores, initial=0.0), scores)
    if value.min(initial=0.0) >= 0.0 and value.max(initial=1.0) <= 1.0:
        inside = np.clip(value, 1e-4, 1 - 1e-4)
        value = np.log(inside) - np.log1p(-inside)
    seen = value[rows]
    return np.asarray((value - seen.mean()) / (float(seen.std()) or 1.0), dtype=np.float64)


def _checked(
    scores: FloatArray,
    rows: npt.NDArray[np.int64],
    truth: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> FittedProxy:
    """Scores that need no training, with their quality on the labels at hand."""
    auc, log_loss = _quality(np.asarray(scores[rows], dtype=np.float64), truth, rng)
    return _Checked(np.asarray(scores, dtype=np.float32), auc, log_loss)


def _quality(
    scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, float]:
    """AUC and cross-validated log loss of fixed scores after a logistic calibration."""
    n_positive = int(truth.sum())
    rate = (n_positive + 0.5) / (len(truth) + 1)
    base = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    if min(n_positive, len(truth) - n_positive) < 3:
        return 0.5, float(base)
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    seen = np.where(np.isnan(scores), np.nanmin(scores, initial=0.0), scores)
    folds = StratifiedKFold(3, shuffle=True, random_state=int(rng.integers(2**31)))
    predicted = cross_val_predict(
        LogisticRegression(),
        _standardised(seen, np.arange(len(seen)))[:, None],
        truth,
        cv=folds,
        method="predict_proba",
    )[:, 1]
    return float(roc_auc_score(truth, seen)), float(log_loss(truth, predicted))


def pilot(
    labeller: Labeller,
    unknown: npt.NDArray[np.int64],
    n_rows: int,
    rng: np.random.Generator,
    weights: npt.NDArray[np.float64] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Label `n_rows` of `unknown`, drawn without replacement; fewer if it must stop.

    They are drawn uniformly, or one after the other in proportion to the `weights` of those left.
    """
    n_rows = min(n_rows, len(unknown), labeller.remaining)
    odds = None if weights is None else weights / weights.sum()
    rows = np.sort(rng.choice(unknown, size=n_rows, replace=False, p=odds))
    try:
        return rows, labeller(rows)
    except OutOfLabelsError as stop:
        return rows[: len(stop.answers)], stop.answers
