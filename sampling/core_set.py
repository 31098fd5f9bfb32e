"""Selection by core set closure: sample until one of the rows that make a good cut is hit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import SPLIT, Share, hypergeometric_cdf, marked_upper, ratio_cut
from thresher.sampling.head import Head
from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.recall import check_level, estimate_answer
from thresher.sampling.selection import Selection

__all__ = [
    "COUNT_LEVEL",
    "CoreSetDesign",
    "core_set_design",
    "select_precision_core_set",
    "select_recall_core_set",
]

_FEW = 8  # samples tried besides one
_COUNT_LABELS, COUNT_LEVEL = 0.2, 0.2  # shares spent on counting positives (CSE)
_PILOT = 100  # labels from which CSE reads the core set of a precision target
_CANDIDATE_LABELS = 0.5  # most of the labels that the search for a cut may use (CSE)


@dataclass(frozen=True, slots=True)
class CoreSetDesign:
    """Independent uniform samples without replacement that hit a set of rows.

    Parameters
    ----------
    n_samples, size : int
        So many samples of so many rows each.
    n_labels : float
        Expected number of distinct rows.
    miss : float
        Probability that no row of the set is in any sample.
    """

    n_samples: int
    size: int
    n_labels: float
    miss: float


def _miss(n_rows: int, n_core: int, size: int) -> float:
    """Return the chance that one sample holds none of the set, rounded up."""
    return float(hypergeometric_cdf(0, n_rows, n_core, size)[0]) * (1 + 1e-6)


def core_set_design(n_rows: int, n_core: int, delta: float) -> CoreSetDesign:
    """Choose samples that hit one of `n_core` rows and label the fewest rows in expectation.

    Parameters
    ----------
    n_rows : int
        Rows to sample from, at least 1.
    n_core : int
        Rows of which one must be hit, in [1, n_rows].
    delta : float
        Probability of a miss that is allowed, in (0, 1).

    Returns
    -------
    CoreSetDesign

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    m samples of s of D rows label ``D (1 - (1 - s / D)^m)`` distinct rows in expectation and miss
    all K with probability ``(C(D - K, s) / C(D, s))^m``, taken exactly. One sample is never worse
    than several by as much as a row, because the chance of a miss is convex in the number of
    distinct rows; several can only gain by rounding.

    Examples
    --------
    >>> design = core_set_design(10_000, 30, 0.05)
    >>> design.n_samples, design.size, round(design.miss, 4)
    (1, 949, 0.05)
    """
    check_level(delta)
    if not 1 <= n_core <= n_rows:
        raise ValueError(f"n_core must be in [1, {n_rows}], got {n_core}")
    return min(_designs(n_rows, n_core, delta), key=lambda design: design.n_labels)


def _designs(n_rows: int, n_core: int, delta: float) -> list[CoreSetDesign]:
    """Return the smallest sufficient samples for each number of them."""
    designs = []
    for count in range(1, _FEW + 1):
        low, high = 0, n_rows
        while high - low > 1:  # the chance of a miss falls in the size
            size = (low + high) // 2
            enough = _miss(n_rows, n_core, size) ** count <= delta
            low, high = (low, size) if enough else (size, high)
        labels = n_rows * (1 - (1 - high / n_rows) ** count)
        miss = _miss(n_rows, n_core, high) ** count
        designs.append(CoreSetDesign(count, high, labels, miss))
    return designs


def _draw(ledger: Ledger, design: CoreSetDesign, rng: np.random.Generator) -> Ranks:
    """Draw the samples of a design among the unlabelled rows; return the distinct ranks."""
    pool = ledger.unknown()
    draws = [rng.choice(pool, design.size, replace=False) for _ in range(design.n_samples)]
    return np.unique(np.concatenate(draws)).astype(np.int64)


def _affordable(ledger: Ledger, n_core: int, delta: float, labels: int) -> CoreSetDesign | None:
    """Return a design for the unlabelled rows that never needs more than so many labels."""
    if n_core < 1 or not ledger.n_unknown:
        return None
    designs = _designs(ledger.n_unknown, min(n_core, ledger.n_unknown), delta)
    designs = [design for design in designs if design.n_samples * design.size <= labels]
    return min(designs, key=lambda design: design.n_labels, default=None)


def select_recall_core_set(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    recall: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
    n_positive: int | None = None,
) -> Selection:
    """Return all rows down to the lowest-ranked positive of a uniform sample (CSC, CSE).

    Parameters
    ----------
    scores, labels, recall, delta, rng, known
        As in `select_recall`.
    n_positive : int, optional
        The declared number of positives, those of `known` included: there are at least so many
        (CSC). Without it they are counted by a fifth of the labels and a fifth of delta (CSE).

    Returns
    -------
    Selection
        Of grade ``core set closure`` with a declared number. Without it nothing is assumed, and
        the grade is ``distribution-free``. Where the labels do not suffice for the sample every
        unlabelled row is returned.

    Raises
    ------
    ValueError
        If a target, `delta`, `n_positive` or the shape of an array is wrong.

    Notes
    -----
    Any cut at or below one of the ``K = floor((1 - recall) n_positive) + 1`` lowest positives
    keeps the target. The sample is the cheapest that hits one of the K with probability 1 - delta
    (core set closure, Ding, Amer-Yahia and Lakshmanan, PVLDB 16(4), 2022), by the exact chance.
    CSE limits the positives from below by an exact hypergeometric limit. What is left of the
    labels verifies rows above the cut. Where positives are rare K is 1 and nothing can be left out.
    """
    share = Share.beyond(recall)
    check_level(delta)
    ledger = Ledger(scores, labels, rng, known)
    if n_positive is not None and not 0 <= n_positive <= ledger.n_rows:
        raise ValueError(f"n_positive must be in [0, {ledger.n_rows}], got {n_positive}")
    if ledger.affords_all:
        ledger.buy_all()
        return ledger.close(0, algorithm="exact")
    name, level, least = "CSC", delta, n_positive
    if least is None:
        name, level, least = "CSE", (1 - COUNT_LEVEL) * delta, _count(ledger, delta, rng)
    design = _affordable(ledger, share.of(least) + 1, level, ledger.remaining)
    if design is None:
        ledger.verify_above(ledger.n_rows)
        return ledger.close(ledger.n_rows, algorithm=f"recall: all rows ({name})")
    n_rows, before = ledger.n_unknown, ledger.n_positive
    answer, n_sample, found = _cut_at_lowest(ledger, design, recall, name, rng)
    if n_positive is None or not ledger.n_unknown:
        return answer
    return replace(
        answer,
        grade="core set closure",
        assumption=f"at least {n_positive} rows are positive",
        free_recall=_free_recall(n_rows, n_sample, found, before, delta),
    )


def _cut_at_lowest(
    ledger: Ledger, design: CoreSetDesign, recall: float, name: str, rng: np.random.Generator
) -> tuple[Selection, int, int]:
    """Cut at the lowest sampled positive; return the answer, the sample's size and positives."""
    n_rows = ledger.n_unknown
    sampled = _draw(ledger, design, rng)
    found = sampled[ledger.buy(sampled, "sample")]
    cut = int(found.max()) + 1 if len(found) else 0
    ledger.verify_above(cut)
    estimates = estimate_answer(ledger, sampled, cut, cut, n_rows)
    answer = ledger.close(
        cut,
        algorithm=f"recall: cut at the lowest sampled positive ({name})",
        recall_bound=recall,
        recall_estimate=estimates[0],
        precision_estimate=estimates[1],
    )
    return answer, len(sampled), len(found)


def _count(ledger: Ledger, delta: float, rng: np.random.Generator) -> int:
    """Return an exact lower limit of all positives, from a uniform sample."""
    rows, size = ledger.n_unknown, int(_COUNT_LABELS * ledger.remaining)
    before = ledger.n_positive
    answers = ledger.buy(rng.choice(ledger.unknown(), size, replace=False), "count")
    negative = len(answers) - int(answers.sum())
    return before + rows - marked_upper(rows, size, negative, COUNT_LEVEL * delta)


def _free_recall(n_rows: int, size: int, found: int, known: int, delta: float) -> float:
    """Return the greatest target at which the exact test accepts the lowest sampled positive."""
    if not found:
        most = marked_upper(n_rows, size, 0, SPLIT * delta)
        return known / (known + most) if most else 1.0
    low, high = 0, 1000
    while high - low > 1:
        target = (low + high) // 2
        share = Share.beyond(target / 1000)
        accepted = ratio_cut(n_rows, size, found, known, share, delta).cut >= 0
        low, high = (target, high) if accepted else (low, target)
    return low / 1000


def select_precision_core_set(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    *,
    precision: float,
    delta: float,
    rng: np.random.Generator,
    known: npt.NDArray[np.int8] | None = None,
    n_core: int | None = None,
) -> Selection:
    """Return all rows down to the highest-ranked positive of a uniform sample (CSC, CSE).

    Parameters
    ----------
    scores, labels, precision, delta, rng, known
        As in `select_precision`.
    n_core : int, optional
        The declared size of the core set: each of the `n_core` best-ranked positives ends a prefix
        of the ranking that keeps the target (CSC). Without it a pilot guesses it, and the cut is
        returned only if an exact test on a fresh sample accepts it (CSE).

    Returns
    -------
    Selection
        Of grade ``core set closure`` with a declared size, else ``distribution-free``. Where the
        labels do not suffice, or the test refuses, the known positives alone are returned.

    Raises
    ------
    ValueError
        If a target, `delta`, `n_core` or the shape of an array is wrong.

    Notes
    -----
    The sample hits one of the core set with probability 1 - delta, by the exact chance; the best
    sampled positive is then in the core set itself. Its prefix is short on average: labelling the
    best rows often returns more. What is left of the labels verifies rows below the cut.
    """
    Share.beyond(precision)
    check_level(delta)
    ledger = Ledger(scores, labels, rng, known)
    if n_core is not None and not 0 <= n_core <= ledger.n_rows:
        raise ValueError(f"n_core must be in [0, {ledger.n_rows}], got {n_core}")
    if ledger.affords_all:
        ledger.buy_all()
        return ledger.close(0, algorithm="exact")
    if n_core is None:
        return _estimated(ledger, precision, delta, rng)
    # Known positives may all belong to the core set; only the others can be hit.
    design = _affordable(ledger, n_core - ledger.n_positive, delta, ledger.remaining)
    cut = 0 if design is None else _best_hit(ledger, design, rng)
    ledger.verify_below(cut)
    answer = ledger.close(
        cut,
        algorithm="precision: cut at the best sampled positive (CSC)",
        precision_bound=precision,
    )
    if not ledger.count(0, cut):
        return answer
    assumption = (
        f"each of the {n_core} best-ranked positives ends a prefix of the ranking with precision "
        f"at least {precision:g}"
    )
    return replace(answer, grade="core set closure", assumption=assumption)


def _best_hit(ledger: Ledger, design: CoreSetDesign, rng: np.random.Generator) -> int:
    """Label the samples; return the rank of the best positive among them, 0 without one."""
    sampled = _draw(ledger, design, rng)
    found = sampled[ledger.buy(sampled, "sample")]
    return int(found.min()) if len(found) else 0


def _estimated(
    ledger: Ledger, precision: float, delta: float, rng: np.random.Generator
) -> Selection:
    """Guess the core set from a pilot, and test the cut that it leads to (CSE)."""
    rows, size = ledger.n_unknown, min(_PILOT, ledger.remaining // 4)
    pilot = np.sort(rng.choice(ledger.unknown(), size, replace=False))
    right = np.cumsum(ledger.buy(pilot, "pilot"))
    good = right >= precision * np.arange(1, size + 1)
    hits = int(right[good][-1]) if good.any() else 0
    most = int(_CANDIDATE_LABELS * ledger.remaining)
    design = _affordable(ledger, hits * rows // max(size, 1), delta, most)
    head = Head(ledger, precision)
    if design is not None and (cut := _best_hit(ledger, design, rng)):
        head.look(cut, int(_CANDIDATE_LABELS * ledger.remaining), delta, rng)
    inside = head.end if head.tests and head.certified else 0
    ledger.verify_below(inside)
    return ledger.close(
        inside,
        algorithm="precision: cut at the best sampled positive, tested (CSE)",
        precision_bound=head.precision_bound if inside else 1.0,
        tests=head.tests,
    )
