"""Selection by importance sampling and normal approximation (SUPG): asymptotic promises."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share
from thresher.sampling.calibrated import check_scores
from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.recall import check_level
from thresher.sampling.selection import Selection

__all__ = ["select_joint_normal", "select_precision_normal", "select_recall_normal"]

Floats = npt.NDArray[np.float64]

_UNIFORM = 0.1  # share of the weights that does not follow the scores
_STEP = 100  # draws between the cuts that a precision target tries
_JOINT_DRAWS = 1000
_ASSUMPTION = (
    "the means of the weighted sample are normal with the deviation seen in the sample, as they "
    "are in the limit of many labels"
)


class _Weights:
    """Draws of ranks with replacement: in proportion to the square root of the score, in part."""

    def __init__(self, ledger: Ledger) -> None:
        value = ledger.scores[ledger.rows].astype(np.float64)
        root = np.sqrt(np.where(np.isnan(value), 0.0, value))
        total = root.sum()
        even = 1.0 / max(ledger.n_rows, 1)
        root = root / total if total > 0 else np.full(ledger.n_rows, even)
        self.of_rank: Floats = (1 - _UNIFORM) * root + _UNIFORM * even

    def draw(self, end: int, count: int, rng: np.random.Generator) -> Ranks:
        """Draw among the ranks of [0, end); best score first."""
        weights = self.of_rank[:end] / self.of_rank[:end].sum()
        return np.sort(rng.choice(end, size=count, replace=True, p=weights))


def _ask(ledger: Ledger, ranks: Ranks) -> npt.NDArray[np.bool_]:
    """Return the labels of ranks drawn with replacement; a row is paid for once."""
    fresh = np.unique(ranks)
    ledger.buy(fresh[ledger.label[fresh] < 0], "sample")
    return np.asarray(ledger.label[ranks] > 0)


def _bounds(values: Floats, delta: float) -> tuple[float, float]:
    """Return SUPG's bounds of a mean: the sample's own deviation stands for the true one."""
    half = math.sqrt(max(0.0, 2 * math.log(1 / (2 * delta)))) * float(values.std())
    half /= math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def _recall_cut(
    ledger: Ledger, recall: float, delta: float, draws: int, rng: np.random.Generator
) -> int:
    """Cut at a recall that is inflated until the estimate's own error is covered."""
    weights = _Weights(ledger)
    ranks = weights.draw(ledger.n_rows, draws, rng)
    mass = _ask(ledger, ranks) / (ledger.n_rows * weights.of_rank[ranks])
    total = float(mass.sum())
    if not total:
        return ledger.n_rows
    cumulative = np.cumsum(mass)
    head = np.arange(draws) <= int(np.searchsorted(cumulative, recall * total))
    upper = _bounds(mass * head, delta / 2)[1]
    lower = _bounds(mass * ~head, delta / 2)[0]
    inflated = upper / (upper + lower)
    if inflated >= 1:
        return ledger.n_rows
    last = min(int(np.searchsorted(cumulative, inflated * total)), draws - 1)
    return int(ranks[last]) + 1


def _flag(answer: Selection, leans: int) -> Selection:
    """Say what the promise rests on, where unlabelled rows hang on it."""
    return replace(answer, grade="asymptotic", assumption=_ASSUMPTION) if leans else answer


def select_recall_normal(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    recall: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
) -> Selection:
    """Return rows that hold a share of all positives, by a normal approximation.

    Parameters
    ----------
    scores : ndarray of float32 or float64, shape (n_rows,)
        Proxy scores in [0, 1]; NaN ranks last.
    labels, recall, delta, rng, known
        As in `select_recall`.

    Returns
    -------
    Selection
        Of grade ``asymptotic``, unless nothing is left out.

    Raises
    ------
    ValueError
        If a target, `delta`, a score or the shape of an array is wrong.

    Notes
    -----
    The importance-sampling selector of SUPG (Kang et al., PVLDB 13(11), 2020): as many draws with
    replacement as there are labels, weights ``0.9 sqrt(score) + 0.1 uniform``, and bounds that put
    the sample's own deviation in the place of the true one. A tail in which no positive was drawn
    costs nothing, and the promise fails at finite samples: see the failures that were measured.
    Beside SUPG's, known negatives are dropped, a row that is drawn twice is paid for once, what is
    left verifies rows above the cut, and a sample without a positive leaves nothing out.

    Examples
    --------
    >>> from thresher.sampling import CountedLabels
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.random(5000)
    >>> truth = scores > 0.6
    >>> labels = CountedLabels(lambda rows: truth[rows], budget=500)
    >>> answer = select_recall_normal(scores, labels, recall=0.9, delta=0.05, rng=rng)
    >>> answer.grade, answer.vacuous
    ('asymptotic', False)
    """
    Share.beyond(recall)
    check_level(delta)
    check_scores(scores)
    ledger = Ledger(scores, labels, rng, known)
    if ledger.affords_all:
        ledger.buy_all()
        return ledger.close(0, algorithm="exact")
    draws, cut = ledger.remaining, ledger.n_rows
    if draws:
        cut = _recall_cut(ledger, recall, delta, draws, rng)
    ledger.verify_above(cut)
    answer = ledger.close(cut, algorithm="recall: importance sample (SUPG)", recall_bound=recall)
    return _flag(answer, ledger.count(cut, ledger.n_rows))


def select_precision_normal(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    precision: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
) -> Selection:
    """Return rows of which a share is positive, by a normal approximation.

    Parameters
    ----------
    scores, labels, delta, rng, known
        As in `select_recall_normal`.
    precision : float
        As in `select_precision`.

    Returns
    -------
    Selection
        Of grade ``asymptotic``, unless the known positives alone are returned.

    Raises
    ------
    ValueError
        If a target, `delta`, a score or the shape of an array is wrong.

    Notes
    -----
    SUPG's two stages: half of the draws bound the positives and with them the longest prefix worth
    a thought, the other half samples that prefix, and a cut is tried at every hundredth draw, with
    delta shared by all. So it never returns an unlabelled row on 200 labels or fewer. What is
    left of the labels verifies the rows just below the cut.
    """
    Share.beyond(precision)
    check_level(delta)
    check_scores(scores)
    ledger = Ledger(scores, labels, rng, known)
    if ledger.affords_all:
        ledger.buy_all()
        return ledger.close(0, algorithm="exact")
    cut = _precision_cut(ledger, precision, delta, rng)
    ledger.verify_below(cut)
    answer = ledger.close(cut, algorithm="precision: importance sample in two stages (SUPG)",
        precision_bound=precision,
    )  # fmt: skip
    return _flag(answer, ledger.count(0, cut))


def _precision_cut(ledger: Ledger, precision: float, delta: float, rng: np.random.Generator) -> int:
    budget, n_rows = ledger.remaining, ledger.n_rows
    if budget // 2 <= _STEP:
        return 0
    level = delta / (1 + 2 * (budget - _STEP) // _STEP)
    weights = _Weights(ledger)
    first = weights.draw(n_rows, budget // 2, rng)
    mass = _ask(ledger, first) / (n_rows * weights.of_rank[first])
    most = _bounds(mass, level)[1]
    prefix = min(math.ceil(most * n_rows / precision), n_rows)
    cut = 0
    if prefix:
        ranks = weights.draw(prefix, min(budget - budget // 2, prefix), rng)
        positive = _ask(ledger, ranks)
        total = np.cumsum(weights.of_rank[:prefix])
        for k in range(_STEP, len(ranks) - 1, _STEP):
            size = int(ranks[k]) + 1
            ratio = total[size - 1] / (size * weights.of_rank[ranks[: k + 1]])
            if _bounds(positive[: k + 1] * ratio, level)[0] > precision:
                cut = int(ranks[k])
    return cut


def select_joint_normal(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    recall: float,
    precision: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
) -> Selection:
    """Return rows that meet both targets: the answer of a recall query, all of it labelled.

    Parameters
    ----------
    scores, labels, delta, rng, known
        As in `select_recall_normal`.
    recall, precision : float
        Targets in (0, 1].

    Returns
    -------
    Selection
        Of grade ``asymptotic``; precision is certain. Where the labels do not suffice for the rows
        above the cut, `met` is false and no bound of the precision is given.

    Raises
    ------
    ValueError
        If a target, `delta`, a score or the shape of an array is wrong.

    Notes
    -----
    The joint query of SUPG: 1,000 draws, or half of the labels if those are fewer, set the cut.
    """
    Share.beyond(recall)
    Share.beyond(precision)
    check_level(delta)
    check_scores(scores)
    ledger = Ledger(scores, labels, rng, known)
    draws, cut = min(_JOINT_DRAWS, ledger.remaining // 2), ledger.n_rows
    if draws:
        cut = _recall_cut(ledger, recall, delta, draws, rng)
    ledger.verify_above(cut)
    answer = ledger.close(
        cut,
        algorithm="joint: importance sample (SUPG), then all labelled",
        met=not ledger.count(0, cut),
        recall_bound=recall,
    )
    return _flag(answer, ledger.count(cut, ledger.n_rows))
