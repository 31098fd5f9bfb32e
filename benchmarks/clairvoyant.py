"""What whoever knew every label would plan: a mark to hold a planner against, not a method.

The clairvoyant uses the same tests as thresher (T1, T2, T4 and T5 of the guarantees) and the whole
of delta, needs no pilot, and chooses the sizes of all samples from a grid with every label known.
Each count that a sample brings is taken as its expectation, rounded: to the nearest for positives
of the recall sample, down for negatives of a head. So its figure is what a perfect plan comes to
in a typical run. A real run pays for the randomness that is left out here and for finding its plan;
a lucky one can come out ahead. It is no bound that holds for every run.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.baselines import Query
from benchmarks.datasets import Dataset
from thresher.sampling.bounds import Share, fixed_cut, marked_upper, ratio_cut
from thresher.sampling.ledger import rank_rows

SEED = 20_260_104
SPLITS = (0.5, 0.75, 0.9, 0.97)


class Ranked:
    """The truth in rank order, as counts: `above(r)` positives stand at ranks [0, r)."""

    def __init__(self, data: Dataset) -> None:
        order = rank_rows(data.scores, np.random.default_rng(SEED))
        truth = data.labels[order]
        self.n_rows = data.n_rows
        self.n_positive = int(truth.sum())
        self._above = np.append(0, np.cumsum(truth))
        self.positive_ranks: npt.NDArray[np.int64] = np.flatnonzero(truth)

    def above(self, rank: float) -> float:
        """Positives at the ranks [0, rank); between two ranks, the share of the row in between."""
        low = int(min(rank, self.n_rows))
        part = min(rank, self.n_rows) - low
        found = float(self._above[low])
        return found + part * float(self._above[low + 1] - found) if part else found


@dataclass(frozen=True, slots=True)
class Sampled:
    """A census of the best `census` rows, then a uniform sample of the others, and the cut it sets.

    Rows at ranks [0, end) are returned or known; of those below `census` the share `open` is
    still unlabelled; `n_known` positives are known.
    """

    census: int
    n_sample: int
    end: int
    open: float
    n_known: int

    @property
    def labels(self) -> int:
        return self.census + self.n_sample

    @property
    def unlabelled(self) -> float:
        """Unlabelled rows above the cut."""
        return self.open * max(self.end - self.census, 0)


def plan(data: Dataset, query: Query) -> float:
    """Return the clairvoyant's figure: precision, recall, or labels bought with both targets."""
    ranked = Ranked(data)
    share = Share.beyond(query.target)
    if query.kind == "recall":
        return best_precision(ranked, share, query.delta, _limit(query, ranked))
    if query.kind == "precision":
        return best_recall(ranked, share, query.delta, _limit(query, ranked))
    return fewest_labels(ranked, share, query.delta)


def _limit(query: Query, ranked: Ranked) -> int:
    return ranked.n_rows if query.budget is None else min(query.budget, ranked.n_rows)


def grid(low: float, high: float, count: int) -> list[int]:
    """Whole numbers from low to high at equal ratios."""
    if high < 1 or high < low:
        return []
    return sorted({round(x) for x in np.geomspace(max(low, 1), high, count)})


def sample(ranked: Ranked, census: int, n_sample: int, share: Share, level: float) -> Sampled:
    """The deeper of the cuts that the two tests set on a typical sample."""
    rest = ranked.n_rows - census
    known = int(ranked.above(census))
    positives = ranked.n_positive - known
    found = round(n_sample * positives / rest) if rest else 0
    ratio = ratio_cut(rest, n_sample, found, known, share, level).cut
    fixed = fixed_cut(rest, n_sample, known, share, level)
    ends = [_end(ranked, ratio, found, positives), _end(ranked, fixed, found, positives)]
    left = 1 - n_sample / rest if rest else 0.0
    return Sampled(census, n_sample, min(ends), left, known + found)


def _end(ranked: Ranked, cut: int, found: int, positives: int) -> int:
    """Where the cut is expected: the (cut + 1)-th lowest of `found` among `positives`."""
    if cut < 0:
        return ranked.n_rows
    if cut >= found:
        return 0
    from_below = min(max(round((cut + 1) * (positives + 1) / (found + 1)), 1), positives)
    return int(ranked.positive_ranks[-from_below]) + 1


def best_precision(ranked: Ranked, share: Share, delta: float, budget: int) -> float:
    """Highest precision of an answer with the recall target, over census and sample sizes."""
    if budget >= ranked.n_rows:
        return 1.0
    best = ranked.n_positive / ranked.n_rows
    for census in (0, *grid(budget / 50, budget * 0.95, 16)):
        for part in np.linspace(0.1, 1.0, 19):
            n_sample = int(part * (budget - census))
            if n_sample:
                drawn = sample(ranked, census, n_sample, share, delta)
                best = max(best, _verified_precision(ranked, drawn, budget - drawn.labels))
    return best


def _verified_precision(ranked: Ranked, drawn: Sampled, spare: int) -> float:
    """Precision once the spare labels have verified the lowest rows above the cut."""
    if drawn.unlabelled <= spare:
        return 1.0
    end = drawn.end - spare / drawn.open
    verified = drawn.open * (ranked.above(drawn.end) - ranked.above(end))
    free = drawn.open * (end - drawn.census)
    right = drawn.open * (ranked.above(end) - ranked.above(drawn.census))
    known = drawn.n_known + verified
    return (known + right) / (known + free)


def best_recall(ranked: Ranked, share: Share, delta: float, budget: int) -> float:
    """Highest recall of an answer with the precision target, over heads and their samples."""
    if budget >= ranked.n_rows or not ranked.n_positive:
        return 1.0
    best = ranked.above(budget)
    for end in grid(10, ranked.n_rows, 70):
        for n_sample in grid(10, min(budget, end), 16):
            best = max(best, _head_positives(ranked, end, n_sample, share, delta, budget))
    return best / ranked.n_positive


def _head_positives(
    ranked: Ranked, end: int, n_sample: int, share: Share, delta: float, budget: int
) -> float:
    """Positives returned with a head of `end` rows; 0 where a typical sample does not certify it.

    The labels left over verify the rows below the head.
    """
    negative = end - ranked.above(end)
    found = int(n_sample * negative / end)
    wrong = marked_upper(end, n_sample, found, delta) - found
    last = min(end + budget - n_sample, ranked.n_rows)
    known = n_sample - found + int(ranked.above(last) - ranked.above(end))
    if not share.allows(wrong, known + end - n_sample):
        return 0.0
    return ranked.above(last + share.room(wrong, known + end - n_sample))


def fewest_labels(ranked: Ranked, share: Share, delta: float) -> float:
    """Fewest labels that meet both targets: all rows, verifying above the cut, or a head."""
    n_rows = ranked.n_rows
    best, census, size = float(n_rows), 0, n_rows
    sizes = [(0, *grid(20, n_rows * 0.9, 16)), grid(20, n_rows, 24)]
    for spread in (0.4, 0.1, 0.03):  # the grid is followed by finer ones around the best so far
        for tried_census in sizes[0]:
            for tried_size in sizes[1]:
                if tried_census + tried_size < min(best, n_rows):
                    drawn = sample(ranked, tried_census, tried_size, share, delta)
                    if drawn.labels + drawn.unlabelled < best:
                        best = drawn.labels + drawn.unlabelled
                        census, size = tried_census, tried_size
        sizes = [_near(census, spread), _near(size, spread)]
    for split in SPLITS:
        for n_sample in grid(20, n_rows, 40):
            if n_sample < best:
                drawn = sample(ranked, 0, n_sample, share, split * delta)
                best = min(best, _with_head(ranked, drawn, share, (1 - split) * delta, best))
    return float(np.ceil(best))


def _near(centre: int, spread: float) -> list[int]:
    """A grid around a value, as far as a share of it."""
    return grid(centre * (1 - spread), centre * (1 + spread), 9) if centre else [0]


def _with_head(ranked: Ranked, drawn: Sampled, share: Share, level: float, best: float) -> float:
    """Labels where a head is certified by a sample and the rows between it and the cut verified."""
    for end in reversed(grid(10, drawn.end, 24)):
        verified = drawn.open * (drawn.end - end)
        spare = int(best - drawn.labels - verified)
        if spare < 1:
            break
        sizes = grid(5, min(spare, int(drawn.open * end)), 24)
        # More of a head's rows sampled make it easier to certify: halve the sizes.
        first = bisect_left(
            sizes,
            True,
            key=lambda n_sample: _certifies(ranked, drawn, end, n_sample, share, level),
        )
        if first < len(sizes):
            best = drawn.labels + verified + sizes[first]
    return best


def _certifies(
    ranked: Ranked, drawn: Sampled, end: int, n_sample: int, share: Share, level: float
) -> bool:
    """Whether a typical sample of the head, with all below it known, meets the precision target."""
    rows = int(drawn.open * end)
    negative = drawn.open * (end - ranked.above(end))
    found = int(n_sample * negative / rows)
    wrong = marked_upper(rows, n_sample, found, level) - found
    verified = int(drawn.open * (ranked.above(drawn.end) - ranked.above(end)))
    return share.allows(wrong, drawn.n_known + verified + rows - found)
