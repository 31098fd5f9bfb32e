"""The head of the ranking: rows returned without a label, and the limit of the negatives in it."""

from __future__ import annotations

import numpy as np

from thresher.sampling.bounds import Share, marked_upper
from thresher.sampling.ledger import Ledger, Ranks
from thresher.sampling.looks import Look, early_looks
from thresher.sampling.permutation import Permutation
from thresher.sampling.selection import Test

__all__ = ["Head"]

_LAST_LOOK = 0.8  # share of a look's level that its full sample has, if labels may stop before


class Head:
    """The unlabelled ranks of [0, end) with a limit that holds at the level spent so far (T4).

    Rows of the ledger that have no answer are returned with it and count as negative (W4).

    Parameters
    ----------
    ledger : Ledger
    target : float
        Precision target in (0, 1].
    end : int
        The head is [0, end).

    Attributes
    ----------
    limit : int or None
        Upper limit of the unlabelled negatives in the head; None before the first look.
    tests : list of Test
    n_looks : int
        Fresh samples begun.
    """

    def __init__(self, ledger: Ledger, target: float, end: int = 0) -> None:
        self.ledger, self.target, self.share = ledger, target, Share.beyond(target)
        self.end = end
        self.limit: int | None = None
        self.tests: list[Test] = []
        self.n_looks = 0

    @property
    def n_free(self) -> int:
        """Unlabelled rows in the head."""
        return self.ledger.count(0, self.end)

    @property
    def n_failed(self) -> int:
        """Rows without an answer, all of which are returned."""
        return len(self.ledger.unanswered)

    @property
    def certified(self) -> bool:
        """Whether known positives and the head together keep the target."""
        n_free, n_failed = self.n_free, self.n_failed
        limit = n_free if self.limit is None else self.limit
        return self.share.allows(limit + n_failed, self.ledger.n_positive + n_free + n_failed)

    @property
    def gap(self) -> float:
        """How many more known positives would certify the head; at most 0 if it is certified."""
        n_free, n_failed = self.n_free, self.n_failed
        limit = n_free if self.limit is None else self.limit
        wrong = max(self.share.per_billion * 1e-9, 1e-12)
        return (limit + n_failed) / wrong - self.ledger.n_positive - n_free - n_failed

    @property
    def precision_bound(self) -> float:
        """Lower confidence limit of the precision of known positives with the head."""
        n_free, n_failed = self.n_free, self.n_failed
        limit = n_free if self.limit is None else min(self.limit, n_free)
        returned = self.ledger.n_positive + n_free + n_failed
        bound = 1.0 - (limit + n_failed) / returned if returned else 1.0
        return max(bound, self.target) if self.certified else bound

    def look(self, end: int, count: int, level: float, rng: np.random.Generator) -> None:
        """Sample `count` unlabelled rows of [0, end) uniformly and bound the negatives left.

        After a first look, `end` must not exceed the end before: the older limit then holds for
        the smaller head too, and both hold together at the sum of their levels. Where the labels
        may stop, prefixes of the sample are tested too, until the head is certified (T7).
        """
        if self.limit is not None and end > self.end:
            raise ValueError(f"a head may only shrink, got {end} after {self.end}")
        self.end = end
        self.n_looks += 1
        n_rows, before = self.n_free, len(self.tests)
        order = Permutation(self.ledger, rng, 0, end)
        size = wrong = 0
        for look in self._looks(min(count, n_rows, self.ledger.remaining), level):
            stage = f"head {len(self.tests) + 1}"
            ranks = order.take(look.size - size)
            answers = self.ledger.buy(ranks, stage)
            found = len(answers) - int(answers.sum())
            self._lower(found)
            if len(answers) < len(ranks):
                return
            size, wrong = look.size, wrong + found
            bound = marked_upper(n_rows, size, wrong, look.level)
            stages = (*(t.stages[-1] for t in self.tests[before:]), stage)
            counts = n_rows, size, wrong, 0, bound - wrong, bound
            self.tests.append(Test("negatives", stages, *counts, self.target, look.level))
            self.limit = min(bound - wrong, self.limit if self.limit is not None else bound)
            if self.certified:
                return

    def _looks(self, count: int, level: float) -> tuple[Look, ...]:
        """Fix the prefixes to be tested, and their levels."""
        if not self.ledger.interruptible:
            return (Look(count, level),)
        last = _LAST_LOOK * level
        return (*early_looks(count, level - last), Look(count, last))

    def _lower(self, found: int) -> None:
        """Count negatives of the head that are now labelled."""
        if self.limit is not None:
            self.limit = max(0, min(self.limit - found, self.n_free))

    def verify(self, ranks: Ranks) -> None:
        """Label ranks of the head: each negative found lowers the limit by one."""
        answers = self.ledger.buy(ranks, "verify")
        self._lower(len(answers) - int(answers.sum()))

    def shrink(self, end: int) -> None:
        """Leave the ranks from `end` on to others; the limit holds for what remains."""
        self.end = min(self.end, end)
        if self.limit is not None:
            self.limit = min(self.limit, self.n_free)
