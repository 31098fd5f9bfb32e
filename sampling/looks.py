"""Looks: tests at prefixes of one random permutation, with sizes and levels fixed before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from thresher.sampling.bounds import Share, fixed_cut, ratio_cut
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.permutation import Permutation
from thresher.sampling.recall_plan import RecallTest
from thresher.sampling.selection import Test

__all__ = ["Look", "certify_recall", "cut_rank", "early_looks", "take_looks"]

_LEAST = 16  # rows: no look is taken before so many


@dataclass(frozen=True, slots=True)
class Look:
    """A test planned at a prefix of the permutation.

    Parameters
    ----------
    size : int
        Rows of the prefix.
    level : float
        Failure probability of its test.
    """

    size: int
    level: float


def early_looks(size: int, level: float) -> tuple[Look, ...]:
    """Return looks before one at `size`, each at twice the size and the level of the one before.

    Parameters
    ----------
    size : int
        Rows of the look that these come before.
    level : float
        Failure probability of all of them together.

    Returns
    -------
    tuple of Look
        At a half of `size`, a quarter, ..., the smallest first.

    Notes
    -----
    What a test of recall or precision can prove from m rows at level a depends on m / ln(1 / a) in
    the main. To halve the level with the size lowers that by little more than one half, so that
    each look proves nearly as much of its rows as the last does, and the levels of any number of
    looks add up to less than `level`.

    Examples
    --------
    >>> [(look.size, round(look.level, 4)) for look in early_looks(200, 0.01)]
    [(25, 0.0013), (50, 0.0025), (100, 0.005)]
    """
    looks = []
    while size >= 2 * _LEAST:
        size, level = size // 2, level / 2
        looks.append(Look(size, level))
    return tuple(looks[::-1])


def cut_rank(ledger: Ledger, sampled: Ranks, cut: int, cuts: Sequence[int] = ()) -> int:
    """Return the rank below which unlabelled rows are left out: n_rows if none may be.

    With `cuts` some sampled rows have no answer, and it is the deepest rank that any truth of
    theirs gives: of those with j positive ones the truth whose j lie lowest (W3).
    """
    positive = sampled[ledger.label[sampled] > 0]
    if not cuts:
        return _rank(ledger, positive, cut)
    failed = np.sort(sampled[ledger.failed(sampled)])[::-1]
    return max(_rank(ledger, np.append(positive, failed[:j]), c) for j, c in enumerate(cuts))


def _rank(ledger: Ledger, positive: Ranks, cut: int) -> int:
    """Return the rank just below the (cut + 1)-th lowest positive."""
    if cut < 0:
        return ledger.n_rows
    positive = np.sort(positive)
    return 0 if cut >= len(positive) else int(positive[len(positive) - 1 - cut]) + 1


def certify_recall(
    kind: RecallTest,
    stages: tuple[str, ...],
    counts: tuple[int, int, int, int],
    target: float,
    level: float,
    n_failed: int = 0,
) -> Test:
    """Run test A or B on (n_rows, n_sample, n_found, n_known).

    Of the sample `n_failed` rows have no answer: the test is run for every number of positives
    that they may hold (W3).
    """
    n_rows, n_sample, n_found, n_known = counts
    share = Share.beyond(target)
    if kind == "ratio":
        ways = range(n_found, n_found + n_failed + 1)
        results = [ratio_cut(n_rows, n_sample, k, n_known, share, level) for k in ways]
        cuts, bound = tuple(result.cut for result in results), results[0].bound
    else:
        cut = fixed_cut(n_rows, n_sample, n_known, share, level)
        cuts, bound = (cut,) * (n_failed + 1), -1
    return Test(
        kind, stages, *counts, cuts[0], bound, target, level, n_failed, cuts if n_failed else ()
    )


def take_looks(
    ledger: Ledger,
    order: Permutation,
    looks: Sequence[Look],
    kind: RecallTest,
    target: float,
    go_on: Callable[[Ranks, int], bool] | None = None,
) -> tuple[list[Test], Ranks, int]:
    """Test recall at growing prefixes of a permutation and keep the deepest cut (T3, T7).

    Parameters
    ----------
    ledger : Ledger
    order : Permutation
        Of all unlabelled ranks; nothing was taken from it yet.
    looks : sequence of Look
        In order of size.
    kind : {"ratio", "fixed"}
    target : float
        Recall target.
    go_on : callable, optional
        Told the ranks sampled and the cut after each look; whether to take another.

    Returns
    -------
    tests : list of Test
        Of the looks that were completed: it may be empty.
    sampled : ndarray of int64
        The prefix of the last of them.
    cut : int
        Rank below which unlabelled rows may be left out.
    """
    n_rows, known = ledger.n_unknown, ledger.n_positive
    sampled: Ranks = np.zeros(0, dtype=np.int64)
    tests: list[Test] = []
    cut = ledger.n_rows
    for number, look in enumerate(looks):
        if look.size - len(sampled) > ledger.remaining:
            break
        ranks = order.take(look.size - len(sampled))
        stage = "sample" if len(looks) == 1 else f"look {number + 1}"
        if len(ledger.buy(ranks, stage)) < len(ranks):
            break  # cut short: no test may use a size that was not fixed before
        sampled = np.concatenate([sampled, ranks])
        stages = (*tests[-1].stages, stage) if tests else (stage,)
        counts = n_rows, len(sampled), int(np.count_nonzero(ledger.label[sampled] > 0)), known
        n_failed = int(np.count_nonzero(ledger.failed(sampled)))
        test = certify_recall(kind, stages, counts, target, look.level, n_failed)
        tests.append(test)
        cut = min(cut, cut_rank(ledger, sampled, test.cut, test.cuts))
        if go_on is not None and not go_on(sampled, cut):
            break
    return tests, sampled, cut
