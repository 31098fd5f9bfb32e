"""Regularised logistic regression whose strength is chosen by cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse, special, stats

__all__ = [
    "FittedScores",
    "LinearHead",
    "Matrix",
    "cross_entropy",
    "fit_logistic",
    "ranking_auc",
]

Matrix: TypeAlias = "npt.NDArray[np.float32] | sparse.csr_matrix"
_FOLDS = 5
_CLIP = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """What was learnt: the logit of a row is ``matrix[:, columns] @ weights + intercept``.

    Parameters
    ----------
    columns : ndarray of int64, shape (k,)
        Features that have a weight, ascending.
    weights : ndarray of float64, shape (k,)
    intercept : float
    """

    columns: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    intercept: float

    def spread(self, n_features: int) -> npt.NDArray[np.float32]:
        """Return the weight of every feature, 0 where it has none: shape (n_features,)."""
        everywhere = np.zeros(n_features, dtype=np.float32)
        everywhere[self.columns] = self.weights
        return everywhere


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
    head : LinearHead or None
        What the scores of the other rows come from; None where nothing could be learnt.
    """

    scores: npt.NDArray[np.float32]
    auc: float
    log_loss: float
    head: LinearHead | None = None


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


def _weights(
    train: Matrix,
    truth: npt.NDArray[np.bool_],
    belief: npt.NDArray[np.float64] | None,
    strength: float,
) -> tuple[npt.NDArray[np.float64], float]:
    """Fit once and return the weight of each feature, and the intercept."""
    from sklearn.linear_model import LogisticRegression

    if truth.all() or not truth.any() or train.shape[1] == 0:
        return np.zeros(train.shape[1]), float(special.logit(_smoothed(truth)))
    weight = None
    if belief is not None:  # every row stands for TRUE and for FALSE, as much as it is either
        truth = np.repeat([True, False], len(truth))
        weight = np.concatenate([belief, 1.0 - belief])
        train = sparse.vstack([train, train]) if sparse.issparse(train) else np.vstack([train] * 2)
    model = LogisticRegression(C=strength, max_iter=300)
    with warnings.catch_warnings():  # an optimum to three digits is enough for a proxy
        warnings.simplefilter("ignore")
        model.fit(train, truth, sample_weight=weight)
    return np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0])


def _logits(
    target: Matrix, weights: npt.NDArray[np.float64], intercept: float
) -> npt.NDArray[np.float64]:
    return np.asarray(target @ weights) + intercept


def _used_columns(
    matrix: Matrix, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Matrix, Matrix]:
    """Features that any training row has; training rows, and all rows, over them."""
    train = matrix[rows]
    if not sparse.issparse(matrix):
        return np.arange(matrix.shape[1]), train, matrix
    used = np.unique(sparse.csr_matrix(train).indices).astype(np.int64)
    return used, train[:, used], matrix[:, used]


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
    used, train, everything = _used_columns(matrix, rows)
    fold = _folds(truth, rng)
    held_out = np.zeros((len(strengths), len(rows)))
    for k in range(_FOLDS):
        out, kept = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        if len(out) and len(kept):
            for i, strength in enumerate(strengths):
                soft = None if belief is None else belief[kept]
                learnt = _weights(train[kept], truth[kept], soft, strength)
                held_out[i, out] = _logits(train[out], *learnt)
        elif len(out):
            held_out[:, out] = special.logit(rate)
    probabilities = special.expit(held_out)
    losses = [cross_entropy(p, truth) for p in probabilities]
    best = int(np.argmin(losses))
    weights, intercept = _weights(train, truth, belief, strengths[best])
    scores = special.expit(_logits(everything, weights, intercept))
    scores[rows] = probabilities[best]
    auc = ranking_auc(held_out[best], truth)
    head = LinearHead(used, weights, intercept)
    return FittedScores(scores.astype(np.float32), auc, losses[best], head)
