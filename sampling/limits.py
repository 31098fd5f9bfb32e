"""How few labels can suffice, whatever the method. Proofs: the guarantees of limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from thresher.sampling.bounds import Share, hypergeometric_cdf
from thresher.sampling.recall import check_level

__all__ = ["LimitKind", "excludable_rows", "required_labels"]

LimitKind = Literal["recall", "precision", "joint", "accuracy", "count"]
_ROUNDING = 1e-8  # a limit that no method passes is rounded down


def _chance(n_rows: int, n_hidden: int, n_labels: int) -> float:
    """Return the chance that none of `n_hidden` rows is among `n_labels` of `n_rows`."""
    return float(hypergeometric_cdf(0, n_rows, n_hidden, n_labels)[0])


def _fewest(n_rows: int, n_hidden: int, delta: float) -> int:
    """Return the fewest labels of `n_rows` that miss `n_hidden` rows with chance delta at most."""
    if n_hidden > n_rows or delta >= 1:
        return 0
    low, high = -1, n_rows
    while high - low > 1:
        middle = (low + high) // 2
        if _chance(n_rows, n_hidden, middle) <= delta * (1 + _ROUNDING):
            high = middle
        else:
            low = middle
    return high


def required_labels(
    kind: LimitKind,
    *,
    n_rows: int,
    delta: float,
    target: float = 1.0,
    n_positive: int = 0,
    share: float = 1.0,
    precision: float = 1.0,
    n_wrong: int = 0,
    error: int = 0,
) -> int:
    """Return the fewest labels with which a distribution-free method can answer as asked.

    Parameters
    ----------
    kind : {"recall", "precision", "joint", "accuracy", "count"}
    n_rows : int
        Rows that are not known beforehand.
    delta : float
        Failure probability, in (0, 1).
    target : float
        Recall target (``recall``, ``joint``), precision target or accuracy target, in (0, 1].
    n_positive : int
        ``recall``, ``joint``: positives of a table that the method must serve, those that it
        might miss and known ones included. ``count``: positives of the table.
    share : float
        ``recall``: share of the rows that the answer leaves out, labelled or not. ``precision``:
        share of the rows that it holds.
    precision : float
        ``joint``: precision target.
    n_wrong : int
        ``accuracy``: rows on which proxy and oracle disagree.
    error : int
        ``count``: rows by which the count may be off, either way.

    Returns
    -------
    int
        A lower limit: with fewer labels no method of the class can always do it.

    Raises
    ------
    ValueError
        If a target, delta, a share or a number is out of range.

    Notes
    -----
    Theorems M1 to M6 in the limits' guarantees, which also name the class of methods: for
    ``recall``, ``precision`` and ``joint`` those that leave out (return) a stretch of a ranking;
    for ``accuracy`` cascades; for ``count`` every method.

    Examples
    --------
    >>> required_labels(
    ...     "joint", n_rows=50_000, n_positive=50, target=0.9, precision=0.9, delta=0.05
    ... )
    15920
    >>> required_labels("accuracy", n_rows=10_000, target=0.9, delta=0.05)
    29
    """
    check_level(delta)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be in [0, 1], got {share}")
    if min(n_rows, n_positive, n_wrong, error) < 0:
        raise ValueError("numbers of rows must be at least 0")
    wrong = Share.beyond(target)
    rows = int(np.ceil(share * n_rows - 1e-9))
    if kind == "recall":
        return _fewest(rows, wrong.of(n_positive) + 1, delta)
    if kind == "precision":
        return _fewest(rows, wrong.of(rows) + 1, delta)
    if kind == "joint":
        hidden = wrong.of(n_positive) + 1
        seen = max(0, n_positive - hidden)
        held = seen + Share.beyond(precision).room(0, seen)
        return _fewest(max(0, n_rows - held), hidden, 2 * delta)
    if kind == "accuracy":
        allowed = wrong.of(n_rows)
        return max(_fewest(n_rows, allowed + 1, delta), n_wrong - allowed)
    return _fewest(max(0, n_rows - n_positive), 2 * error + 1, 2 * delta)


def excludable_rows(
    n_labels: int,
    *,
    n_rows: int,
    n_positive: int,
    target: float,
    delta: float,
    methods: Literal["ranking", "any"] = "ranking",
) -> int:
    """Return the most rows that a recall query can always leave out with some labels.

    Parameters
    ----------
    n_labels : int
        Labels to buy, at least 0.
    n_rows, n_positive, target, delta
        As in `required_labels`.
    methods : {"ranking", "any"}
        Which methods the limit binds: those that leave out all below a cut of a ranking, or all,
        those included that leave out rows at random.

    Returns
    -------
    int
        Rows left out, whether labelled negative or not labelled.

    Raises
    ------
    ValueError
        If a target, delta or a number is out of range.

    Notes
    -----
    Theorems M1 and M2 in the limits' guarantees.

    Examples
    --------
    Fifty positives in 50,000 rows and 1,000 labels: about 5 % of the table.

    >>> excludable_rows(1000, n_rows=50_000, n_positive=50, target=0.9, delta=0.05)
    2546
    """
    check_level(delta)
    if min(n_labels, n_rows, n_positive) < 0:
        raise ValueError("numbers of rows must be at least 0")
    share = Share.beyond(target)
    hidden = share.of(n_positive) + 1
    n_labels = min(n_labels, n_rows)
    if methods == "any":
        known = max(0, n_positive - hidden)
        negatives = max(n_labels, n_rows - known)
        most = _largest(
            0, negatives - n_labels, lambda z: _spread(z, n_labels, negatives, known, share, delta)
        )
        return min(n_rows, n_labels + most)
    low = min(n_rows, n_labels + hidden - 1)
    bound = delta * (1 + _ROUNDING)
    return _largest(low, n_rows, lambda w: _chance(w, hidden, n_labels) <= bound)


def _largest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the largest number in [low, high] that holds, if `low` and all up to it do."""
    high += 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _spread(
    left_out: int, n_labels: int, negatives: int, known: int, share: Share, delta: float
) -> bool:
    """Return whether hidden positives spread at random over the negatives refute no such method."""
    rest = negatives - n_labels
    hidden = np.unique(np.geomspace(1, max(rest, 1), 400).astype(np.int64))
    unseen = hypergeometric_cdf(0, negatives, n_labels, hidden)
    allowed = share.per_billion * (known + hidden) // 10**9
    missed = 1 - hypergeometric_cdf(allowed, max(rest, 1), min(left_out, rest), hidden)
    return bool((unseen * missed <= delta * (1 + _ROUNDING)).all())
