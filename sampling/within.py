"""Fixed-radius near neighbours: rows whose oracle distance is within a radius."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share
from thresher.sampling.core_set import select_precision_core_set, select_recall_core_set
from thresher.sampling.ledger import Ledger
from thresher.sampling.precision import select_precision
from thresher.sampling.proxy_quality import Target, select_by_error
from thresher.sampling.recall import check_level, select_recall
from thresher.sampling.selection import Selection

__all__ = ["CountedDistances", "DistanceSource", "embedding_distance", "select_within"]

Floats = npt.NDArray[np.float64]
Method = Literal["proxy quality", "core set closure"]
_BLOCK = 1 << 14


class DistanceSource(Protocol):
    """Sells the oracle's distances of rows, up to a budget."""

    @property
    def remaining(self) -> int:
        """Rows whose distance can still be had for certain."""

    def __call__(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Return the distances of distinct rows, at most `remaining` of them, in order."""


class CountedDistances:
    """A source of distances over a plain function, which counts every row asked for.

    Parameters
    ----------
    oracle : callable
        Maps row positions, int64 of shape (k,), to distances of shape (k,).
    budget : int
        Rows that may be asked for, at least 0.

    Attributes
    ----------
    spent : int
        Rows asked for so far.
    """

    def __init__(
        self, oracle: Callable[[npt.NDArray[np.int64]], npt.ArrayLike], budget: int
    ) -> None:
        if budget < 0:
            raise ValueError(f"budget must be at least 0, got {budget}")
        self._oracle, self._budget = oracle, int(budget)
        self.spent = 0

    @property
    def remaining(self) -> int:
        """Rows whose distance can still be had."""
        return self._budget - self.spent

    def __call__(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Return the distances of `rows`, float64 of shape (k,)."""
        if len(rows) > self.remaining:
            raise ValueError(f"asked for {len(rows)} distances, {self.remaining} remain")
        self.spent += len(rows)
        return np.asarray(self._oracle(rows), dtype=np.float64)


class _Within:
    """A label source that compares distances with the radius and remembers the last ones."""

    def __init__(self, source: DistanceSource, radius: float) -> None:
        self._source, self._radius = source, radius
        self.last = np.zeros(0)

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled."""
        return self._source.remaining

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Label `rows`."""
        self.last = np.asarray(self._source(rows), dtype=np.float64)
        if self.last.shape != rows.shape or np.isnan(self.last).any():
            raise ValueError(
                f"{len(rows)} distances were asked for; the oracle returned an array of shape "
                f"{self.last.shape} with {int(np.isnan(self.last).sum())} missing"
            )
        return np.asarray(self.last <= self._radius)


def select_within(
    proxy_distance: npt.NDArray[np.floating],
    source: DistanceSource,
    *,
    radius: float,
    recall: float | None = None,
    precision: float | None = None,
    delta: float,
    rng: np.random.Generator,
    method: Method | None = None,
    sigma: float | None = None,
    n_core: int | None = None,
) -> Selection:
    """Return rows whose oracle distance is within a radius, up to a recall or precision target.

    Parameters
    ----------
    proxy_distance : ndarray of float32 or float64, shape (n_rows,)
        Distance by the proxy; smaller means nearer, NaN ranks last.
    source : DistanceSource
        The oracle's distances; its `remaining` at the start is the budget.
    radius : float
        A row belongs to the true answer if its oracle distance is at most this.
    recall, precision : float, optional
        Exactly one target, in (0, 1].
    delta : float
        Failure probability, in (0, 1).
    rng : numpy.random.Generator
        Every random choice.
    method : {"proxy quality", "core set closure"}, optional
        The assumption to lean on; None assumes nothing and runs `select_recall` or
        `select_precision` on the negated distance.
    sigma : float, optional
        For ``proxy quality``: the declared deviation of the oracle's distance (PQA,
        which buys no label); without it one is estimated (PQE).
    n_core : int, optional
        For ``core set closure``: the declared number of positives for a recall target, of good
        cuts for a precision target (CSC); without it CSE.

    Returns
    -------
    Selection

    Raises
    ------
    ValueError
        If there is not exactly one target, or an argument is wrong or does not go with `method`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> oracle = rng.random(10000)
    >>> proxy = oracle + rng.normal(0, 0.05, 10000)
    >>> answer = select_within(
    ...     proxy, CountedDistances(lambda rows: oracle[rows], 0), radius=0.3, recall=0.9,
    ...     delta=0.05, rng=rng, method="proxy quality", sigma=0.05)
    >>> near = oracle <= 0.3
    >>> bool((answer.returned & near).sum() >= 0.9 * near.sum()), answer.grade
    (True, 'proxy quality')
    """
    if (recall is None) == (precision is None):
        raise ValueError("give exactly one of recall and precision")
    if sigma is not None and method != "proxy quality":
        raise ValueError("sigma goes with method='proxy quality' only")
    if n_core is not None and method != "core set closure":
        raise ValueError("n_core goes with method='core set closure' only")
    if np.isnan(radius):
        raise ValueError("radius must be a number, got nan")
    distance, labels = np.asarray(proxy_distance), _Within(source, radius)
    if method == "proxy quality":
        kind = "recall" if recall is not None else "precision"
        target = Target(kind, recall if recall is not None else precision or 0.0)
        return _by_error(distance, labels, radius, target, delta, rng, sigma)
    if method == "core set closure":
        if recall is not None:
            return select_recall_core_set(
                -distance, labels, recall=recall, delta=delta, rng=rng, n_positive=n_core
            )
        return select_precision_core_set(
            -distance, labels, precision=precision or 0.0, delta=delta, rng=rng, n_core=n_core
        )
    if method is not None:
        raise ValueError(
            f"method must be 'proxy quality', 'core set closure' or None, got {method!r}"
        )
    if recall is not None:
        return select_recall(-distance, labels, recall=recall, delta=delta, rng=rng)
    return select_precision(-distance, labels, precision=precision or 0.0, delta=delta, rng=rng)


def _by_error(
    distance: npt.NDArray[np.floating],
    labels: _Within,
    radius: float,
    target: Target,
    delta: float,
    rng: np.random.Generator,
    sigma: float | None,
) -> Selection:
    Share.beyond(target.share)
    check_level(delta)
    ledger = Ledger(-distance, labels, rng)
    value = distance.astype(np.float64)

    def errors() -> Floats:
        return labels.last - value[ledger.steps[-1].rows]

    return select_by_error(ledger, value, radius, target, delta, rng, sigma, errors)


def embedding_distance(
    embeddings: npt.NDArray[np.floating],
    query: npt.ArrayLike,
    metric: Literal["cosine", "absolute"] = "cosine",
) -> Floats:
    """Return the distance of every embedding to one query object.

    Parameters
    ----------
    embeddings : ndarray of float, shape (n_rows, d) or (n_rows,)
        Read in blocks, so that a memory-mapped file never lies in memory as a whole.
    query : array_like of float, shape (d,) or a number
        The object whose neighbours are sought.
    metric : {"cosine", "absolute"}
        One less the cosine of the angle, in [0, 2] and NaN for a vector of zeros; or the absolute
        difference of numbers.

    Returns
    -------
    ndarray of float64, shape (n_rows,)

    Raises
    ------
    ValueError
        If the shapes do not fit the metric or each other.

    Examples
    --------
    >>> embedding_distance(np.eye(2), [2.0, 0.0]).tolist()
    [0.0, 1.0]
    >>> embedding_distance(np.array([1.0, 4.0]), 3.0, "absolute").tolist()
    [2.0, 1.0]
    """
    centre = np.asarray(query, dtype=np.float64)
    wanted = 2 if metric == "cosine" else 1
    if metric not in ("cosine", "absolute"):
        raise ValueError(f"metric must be 'cosine' or 'absolute', got {metric!r}")
    if embeddings.ndim != wanted or embeddings.shape[1:] != centre.shape:
        raise ValueError(
            f"{metric} distance needs embeddings of {wanted} dimensions that fit the query, got "
            f"shapes {embeddings.shape} and {centre.shape}"
        )
    out = np.empty(len(embeddings))
    with np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, len(out), _BLOCK):
            block = np.asarray(embeddings[start : start + _BLOCK], dtype=np.float64)
            if metric == "absolute":
                out[start : start + _BLOCK] = np.abs(block - centre)
                continue
            norms = np.sqrt(np.einsum("ij,ij->i", block, block)) * np.sqrt(centre @ centre)
            out[start : start + _BLOCK] = np.clip(1.0 - (block @ centre) / norms, 0.0, 2.0)
    return out
