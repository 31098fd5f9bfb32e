"""Regularised logistic regression whose strength is chosen by cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse, special, stats

__all__ = ["FittedScores", "Matrix", "cross_entropy", "fit_logistic", "ranking_auc"]

Matrix: TypeAlias = "npt.NDArray[np.float32] | sparse.csr_matrix"
_FOLDS = 5
_CLIP = 1e-6


@dataclass(frozen=True, slots=True)
class FittedScores:
    """Scores of a whole population by a model fitted on a few labelled rows.

    Parameters
    ----------
    scores : ndarray of float32, shape (n_rows,)
        Probability of TRUE in [0, 1]; out-of-fold at the rows that were fitted on.
    auc : float
        Cross-validated area under the ROC curve, in [0, 1].
    log_loss : float
        Cross-validated log loss in nats.
    """

    scores: npt.NDArray[np.float32]
    auc: float
    log_loss: float


def ranking_auc(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve (ties count half); 0.5 for a single class.

    Examples
    --------
    >>> ranking_auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    n_positive = int(truth.sum())
    n_negative = len(truth) - n_positive
    if n_positive == 0 or n_negative == 0:
        return 0.5
    ranks = stats.rankdata(scores)
    above = ranks[truth].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def cross_entropy(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> float:
    """Return the mean log loss in nats of probabilities, which are first kept off 0 and 1."""
    if len(scores) == 0:
        return float(np.log(2.0))
    p = np.clip(np.asarray(scores, dtype=np.float64), _CLIP, 1.0 - _CLIP)
    return float(-np.mean(np.where(truth, np.log(p), np.log1p(-p))))


def _folds(truth: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Fold of each labelled row; each class is dealt out evenly."""
    fold = np.zeros(len(truth), dtype=np.int64)
    dealt = 0
    for value in (True, False):
        members = rng.permutation(np.flatnonzero(truth == value))
        fold[members] = (dealt + np.arange(len(members))) % _FOLDS
        dealt += len(members)
    return fold


def _smoothed(truth: npt.NDArray[np.bool_]) -> float:
    return float((truth.sum() + 1) / (len(truth) + 2))


def _logits(
    train: Matrix,
    truth: npt.NDArray[np.bool_],
    belief: npt.NDArray[np.float64] | None,
    strength: float,
    target: Matrix,
) -> npt.NDArray[np.float64]:
    """Fit once and return the logit of each row of the target matrix."""
    from sklearn.linear_model import LogisticRegression

    if truth.all() or not truth.any() or train.shape[1] == 0:
        return np.full(target.shape[0], special.logit(_smoothed(truth)))
    weight = None
    if belief is not None:  # every row stands for TRUE and for FALSE, as much as it is either
        truth = np.repeat([True, False], len(truth))
        weight = np.concatenate([belief, 1.0 - belief])
        train = sparse.vstack([train, train]) if sparse.issparse(train) else np.vstack([train] * 2)
    model = LogisticRegression(C=strength, max_iter=300)
    with warnings.catch_warnings():  # an optimum to three digits is enough for a proxy
        warnings.simplefilter("ignore")
        model.fit(train, truth, sample_weight=weight)
    weights = np.asarray(model.coef_[0], dtype=np.float64)
    return np.asarray(target @ weights) + float(model.intercept_[0])


def _used_columns(matrix: Matrix, rows: npt.NDArray[np.int64]) -> tuple[Matrix, Matrix]:
    """Training rows, and all rows, over the features that any training row has."""
    train = matrix[rows]
    if not sparse.issparse(matrix):
        return train, matrix
    used = np.unique(sparse.csr_matrix(train).indices)
    return train[:, used], matrix[:, used]


def fit_logistic(
    matrix: Matrix,
    rows: npt.NDArray[np.int64],
    truth: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    strengths: Sequence[float],
    belief: npt.NDArray[np.float64] | None = None,
) -> FittedScores:
    """Fit on the labelled rows and score all rows.

    Parameters
    ----------
    matrix : dense or CSR matrix, shape (n_rows, n_features)
        Features of the population.
    rows : ndarray of int64, shape (n,)
        Positions of the labelled rows.
    truth : ndarray of bool, shape (n,)
        Their labels.
    rng : numpy.random.Generator
        Deals the rows into five folds.
    strengths : sequence of float
        Inverse regularisation strengths to choose from.
    belief : ndarray of float64, shape (n,), optional
        Probability of TRUE by the oracle's own confidence, in [0, 1]: soft labels to fit to. The
        labels themselves still decide on the strength.

    Returns
    -------
    FittedScores
        With a single class among the labels (or none at all) every score is the smoothed rate
        ``(x + 1) / (n + 2)`` and the AUC is 0.5.

    Notes
    -----
    The strength with the lowest cross-validated log loss is kept. The scores of the labelled rows
    come from the fold that left them out; reported AUC and log loss are those of these scores, a
    little optimistic because the strength was chosen on them.
    """
    rate, n_rows = _smoothed(truth), matrix.shape[0]
    if len(truth) == 0 or truth.all() or not truth.any():
        loss = cross_entropy(np.full(len(truth), rate), truth)
        return FittedScores(np.full(n_rows, rate, dtype=np.float32), 0.5, loss)
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # these products are small: threads would wait for one another
        return _fit(matrix, rows, truth, rng, strengths, belief)


def _fit(
    matrix: Matrix,
    rows: npt.NDArray[np.int64],
    truth: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    strengths: Sequence[float],
    belief: npt.NDArray[np.float64] | None,
) -> FittedScores:
    rate = _smoothed(truth)
    train, everything = _used_columns(matrix, rows)
    fold = _folds(truth, rng)
    held_out = np.zeros((len(strengths), len(rows)))
    for k in range(_FOLDS):
        out, kept = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        if len(out) and len(kept):
            for i, strength in enumerate(strengths):
                soft = None if belief is None else belief[kept]
                held_out[i, out] = _logits(train[kept], truth[kept], soft, strength, train[out])
        elif len(out):
            held_out[:, out] = special.logit(rate)
    probabilities = special.expit(held_out)
    losses = [cross_entropy(p, truth) for p in probabilities]
    best = int(np.argmin(losses))
    scores = special.expit(_logits(train, truth, belief, strengths[best], everything))
    scores[rows] = probabilities[best]
    auc = ranking_auc(held_out[best], truth)
    return FittedScores(scores.astype(np.float32), auc, losses[best])
