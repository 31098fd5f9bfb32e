"""Selection under a declared error of the proxy: normal, independent, of known deviation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from thresher.sampling.bounds import Share
from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.poisson_binomial import ERROR, CountLaw, count_law
from thresher.sampling.recall import check_level
from thresher.sampling.selection import Selection

__all__ = [
    "OFFSET",
    "Errors",
    "Target",
    "select_by_error",
    "select_precision_proxy_quality",
    "select_recall_proxy_quality",
]

Floats = npt.NDArray[np.float64]

Errors = Callable[[], Floats]
"""Returns the oracle's distance less the proxy's for the rows that were labelled last."""

OFFSET = 0.3
"""Added to an estimated deviation, as in the code published with the paper."""

_SAMPLE_SHARE, _LEAST_SAMPLE = 0.1, 100  # labels from which the deviation is estimated
_MOST_CHECKS = 60


@dataclass(frozen=True, slots=True)
class Target:
    """A recall or a precision target."""

    kind: str
    share: float


def select_recall_proxy_quality(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    recall: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
    sigma: float | None = None,
) -> Selection:
    """Return rows that hold a share of all positives, if the proxy's error is normal.

    Parameters
    ----------
    scores : ndarray of float32 or float64, shape (n_rows,)
        Proxy scores in [0, 1]; NaN stands for a row that may be positive with certainty.
    labels, recall, delta, rng, known
        As in `select_recall`.
    sigma : float, optional
        The declared standard deviation, at least 0: no label is bought (PQA). Without it a sample
        that prefers high scores estimates it, and `OFFSET` is added (PQE).

    Returns
    -------
    Selection
        Of grade ``proxy quality``.

    Raises
    ------
    ValueError
        If a target, `delta`, `sigma`, a score or the shape of an array is wrong.

    Notes
    -----
    For a truth value the distance is ``1 - score``, the oracle's is 0 or 1, and a row is positive
    if the oracle's distance is within the radius 0.5. The oracle's distance of each row is taken
    to be normal round the proxy's with deviation sigma, independently. Under that model, and over
    its chances, recall is at least the target with probability 1 - delta; counts are exact
    Poisson-binomial. A truth value is never normal, so the model is false in the letter: an answer
    can miss by far. PQA and PQE are from Ding, Amer-Yahia and Lakshmanan, PVLDB 16(4), 2022.

    Examples
    --------
    >>> from thresher.sampling import CountedLabels
    >>> rng = np.random.default_rng(0)
    >>> scores = np.concatenate([np.full(100, 0.9), np.full(900, 0.1)])
    >>> none = CountedLabels(lambda rows: rows < 0, budget=0)
    >>> answer = select_recall_proxy_quality(
    ...     scores, none, recall=0.8, delta=0.05, rng=rng, sigma=0.2)
    >>> int(answer.returned.sum()), len(answer.steps)
    (210, 0)
    """
    target = Target("recall", recall)
    return _select(scores, labels, target, delta, rng, known, sigma)


def select_precision_proxy_quality(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    precision: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
    sigma: float | None = None,
) -> Selection:
    """Return rows of which a share is positive, if the proxy's error is normal.

    Parameters
    ----------
    scores, labels, delta, rng, known, sigma
        As in `select_recall_proxy_quality`; a score of NaN is never returned unlabelled.
    precision : float
        As in `select_precision`.

    Returns
    -------
    Selection
        Of grade ``proxy quality``, or the known positives alone where no prefix keeps the target.

    Raises
    ------
    ValueError
        If a target, `delta`, `sigma`, a score or the shape of an array is wrong.

    Notes
    -----
    The model is that of `select_recall_proxy_quality`: distance ``1 - score``, radius 0.5. The
    answer is a prefix of the ranking whose number of positives suffices with probability 1 - delta.
    """
    target = Target("precision", precision)
    return _select(scores, labels, target, delta, rng, known, sigma)


def _select(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    target: Target,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None,
    sigma: float | None,
) -> Selection:
    """Read scores as distances from a truth value."""
    value = np.asarray(scores)
    if value.dtype.kind == "f" and ((value < 0).any() or (value > 1).any()):
        raise ValueError(
            "this assumption needs scores in [0, 1], where 1 - score is a distance and 0.5 the "
            f"radius, got {np.nanmin(value):g} to {np.nanmax(value):g}. Rescale them to "
            "probabilities."
        )
    Share.beyond(target.share)
    check_level(delta)
    ledger = Ledger(value, labels, rng, known)

    def errors() -> Floats:
        step = ledger.steps[-1]
        return np.asarray((1.0 - step.answers) - (1.0 - value[step.rows]), dtype=np.float64)

    return select_by_error(ledger, 1.0 - value.astype(np.float64), 0.5, target, delta, rng, sigma,
                           errors)  # fmt: skip


def select_by_error(
    ledger: Ledger,
    distance: Floats,
    radius: float,
    target: Target,
    delta: float,
    rng: np.random.Generator,
    sigma: float | None,
    errors: Errors,
) -> Selection:
    """Select by PQA (`sigma` given) or PQE, for distances that fall along the ledger's ranks.

    Parameters
    ----------
    ledger : Ledger
        Its scores fall as `distance` rises.
    distance : ndarray of float64, shape (n_rows,)
        Proxy distance of each row, in the order of the rows.
    radius : float
        A row is positive if its oracle distance is at most this.
    target, delta, rng, sigma, errors
        What is asked, and how the error of the proxy is known.
    """
    if sigma is not None and not (sigma >= 0 and np.isfinite(sigma)):
        raise ValueError(f"sigma must be a finite number of at least 0, got {sigma}")
    name, given = ("PQA", True) if sigma is not None else ("PQE", False)
    if sigma is None:
        if ledger.affords_all:
            ledger.buy_all()
            return ledger.close(0, algorithm="exact")
        sigma = _estimate(ledger, distance, rng, errors)
    chance = _chances(ledger, distance, radius, sigma, target)
    find = _recall_end if target.kind == "recall" else _precision_end
    end = find(ledger, chance, Share.beyond(target.share), delta)
    if not given:
        _spend(ledger, end, target)
    bounds = {f"{target.kind}_bound": target.share}
    answer = ledger.close(end, algorithm=f"{target.kind}: {name}", **bounds)  # type: ignore[arg-type]
    low, high = (0, end) if target.kind == "precision" else (end, ledger.n_rows)
    if not ledger.count(low, high):
        return answer
    assumption = (
        "the oracle's distance of each row is normal round the proxy's with standard deviation "
        f"{sigma:.4g}, independently; a row is positive within {radius:g}"
    )
    return replace(answer, grade="proxy quality", assumption=assumption)


def _estimate(ledger: Ledger, distance: Floats, rng: np.random.Generator, errors: Errors) -> float:
    """Label a sample that prefers near rows; return the error's deviation and the offset."""
    if not ledger.remaining:
        raise ValueError("without sigma at least one label is needed to estimate it")
    pool = ledger.unknown()
    size = min(ledger.remaining, max(_LEAST_SAMPLE, int(_SAMPLE_SHARE * ledger.remaining)))
    near = np.nan_to_num(distance[ledger.rows[pool]], nan=np.inf)
    scale = max(1.0, float(near[np.isfinite(near)].max(initial=1.0)))
    weight = np.maximum(1.0 - near / scale, 0.0)
    if np.count_nonzero(weight) < size:
        weight = np.ones(len(pool))
    sampled = rng.choice(pool, size, replace=False, p=weight / weight.sum())
    ledger.buy(sampled, "sample")
    error = errors()
    return float(np.std(error[~np.isnan(error)])) + OFFSET


def _chances(
    ledger: Ledger, distance: Floats, radius: float, sigma: float, target: Target
) -> Floats:
    """Return the chance of each rank to be positive under the model; 0 or 1 where labelled."""
    gap = radius - distance[ledger.rows]
    chance = ndtr(gap / sigma) if sigma > 0 else np.where(gap >= 0, 1.0, 0.0)
    # A row without a distance may be anything, and stands in the target's way.
    chance[np.isnan(gap)] = 1.0 if target.kind == "recall" else 0.0
    return np.where(ledger.label < 0, chance, (ledger.label > 0).astype(np.float64))


def _spend(ledger: Ledger, end: int, target: Target) -> None:
    """Label rows at the end of the answer (recall) or just below it (precision)."""
    if target.kind == "recall":
        ledger.verify_above(end)
    else:
        ledger.verify_below(end)


def _recall_end(ledger: Ledger, chance: Floats, share: Share, delta: float) -> int:
    """Return the first end whose tail is small enough beside its head, with enough probability."""
    unknown = ledger.label < 0
    found = ledger.n_positive

    def keeps(end: int) -> bool:
        head = count_law(chance[:end][unknown[:end]])
        tail = count_law(chance[end:][unknown[end:]])
        return _tail_fits(head, tail, found, share) - 2 * ERROR >= 1 - delta

    low, high = -1, ledger.n_rows  # leaving out nothing always keeps the target
    step, tried = 1, _first_guess(chance, unknown, found, share, delta)
    while high - low > 1:  # the probability rises with the end: more are kept, fewer left out
        tried = min(max(tried, low + 1), high - 1)
        if keeps(tried):
            high, tried = tried, tried - step
        else:
            low, tried = tried, tried + step
        step *= 2
        if tried >= high or tried <= low:
            tried = (low + high) // 2
    return high


def _first_guess(
    chance: Floats, unknown: npt.NDArray[np.bool_], found: int, share: Share, delta: float
) -> int:
    """Guess the end by a normal approximation; any guess leads to the same answer."""
    p = np.where(unknown, chance, 0.0)
    wrong = share.per_billion * 1e-9
    mean, variance = np.cumsum(p), np.cumsum(p * (1 - p))
    excess = wrong * (found + mean) - (1 - wrong) * (mean[-1:] - mean)
    spread = np.sqrt(wrong**2 * variance + (1 - wrong) ** 2 * (variance[-1:] - variance))
    deviate = np.sqrt(2 * np.log(1 / delta)) if delta < 0.5 else 0.0
    return int(np.searchsorted(excess - 0.8 * deviate * spread, 0.0)) + 1


def _tail_fits(head: CountLaw, tail: CountLaw, found: int, share: Share) -> float:
    """Return the probability that the tail's count is allowed beside the head's and `found`."""
    kept = found + head.first + np.arange(len(head.chances))
    allowed = (share.per_billion * kept) // (10**9 - share.per_billion)
    return float(head.chances @ tail.cdf(allowed))


def _precision_end(ledger: Ledger, chance: Floats, share: Share, delta: float) -> int:
    """Return an end whose prefix, with the known positives, has enough positives."""
    unknown = ledger.label < 0
    found = ledger.n_positive
    p, rows = np.where(unknown, chance, 0.0), np.cumsum(unknown)
    mean, variance = np.cumsum(p), np.cumsum(p * (1 - p))
    wrong = share.per_billion * 1e-9
    negatives = rows - mean
    allowed = np.floor(wrong * (found + rows) + 1e-9)
    with np.errstate(divide="ignore"):
        likely = ndtr((allowed + 0.5 - negatives) / np.sqrt(variance))
    ends = np.flatnonzero((likely >= 1 - delta - 0.05 / (1 + np.sqrt(variance))) & unknown)
    for end in _candidates(ends):
        law = count_law(1 - chance[:end][unknown[:end]])
        if float(law.cdf(share.of(found + int(rows[end - 1])))) - ERROR >= 1 - delta:
            return end
    return 0


def _candidates(ends: Ranks) -> list[int]:
    """Return ends to be tried, longest first and then ever farther apart."""
    places = np.unique(np.round(np.geomspace(1, max(len(ends), 1), _MOST_CHECKS)).astype(np.int64))
    return [int(ends[-k]) + 1 for k in places.tolist() if k <= len(ends)]
