"""The rows of a query in rank order, and the record of what is labelled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.arguments import check_known
from thresher.sampling.labels import LabelSource, OutOfLabelsError, Unanswered
from thresher.sampling.ranking import blocks, rank_rows
from thresher.sampling.selection import Selection, Step, Test

__all__ = ["Ledger", "Ranks", "rank_rows"]

Ranks = npt.NDArray[np.int64]
_BLOCK = 1 << 12  # ranks whose unlabelled ones are counted together
_BATCHES, _LEAST_BATCH = 16, 64  # of a purchase that may be interrupted


class Ledger:
    """Rows in rank order with their labels, and the labels that were bought.

    Ranks count from 0, the best score. A label is -1 where unknown, else 0 or 1. Beside the
    scores it holds 5 bytes a row, and 8 while it sorts them; no method but `unknown` returns more
    ranks than it is asked for.

    Parameters
    ----------
    scores : ndarray of float, shape (n_rows,)
    labels : LabelSource
    rng : numpy.random.Generator
        Orders the ties.
    known : ndarray of int8, shape (n_rows,), optional
        Labels known before: 1 positive, 0 negative, -1 unknown.
    interruptible : bool
        Whether the label source may stop: purchases are made in batches, and one that is cut short
        is kept as far as it went.
    unanswered : callable, optional
        Rows asked without an answer, some of which may be among `known`. Their label is 0, and
        they are returned.

    Attributes
    ----------
    rows : ndarray of uint32, shape (n_rows,)
        Position of the row at each rank.
    label : ndarray of int8, shape (n_rows,)
        By rank; written by `buy` alone.
    n_unknown, n_positive : int
        Unlabelled rows, and known positives.
    stopped : bool
        Whether the label source has stopped.
    steps : list of Step
        What was bought.
    """

    def __init__(
        self,
        scores: npt.NDArray[np.floating],
        labels: LabelSource,
        rng: np.random.Generator,
        known: npt.NDArray[np.int8] | None = None,
        *,
        interruptible: bool = False,
        unanswered: Unanswered | None = None,
    ) -> None:
        self.scores = np.asarray(scores)
        if self.scores.ndim != 1 or self.scores.dtype.kind != "f":
            raise ValueError(
                f"scores must be a float array of one dimension, got {self.scores.dtype} "
                f"of shape {self.scores.shape}"
            )
        self.n_rows = len(self.scores)
        facts = None if known is None else check_known(known, self.n_rows)
        self._source, self.interruptible, self.stopped = labels, interruptible, False
        self._unanswered = unanswered
        self.rows = rank_rows(self.scores, rng)
        self.label = np.full(self.n_rows, -1, dtype=np.int8)
        if facts is not None and facts.max(initial=-1) >= 0:
            for part in blocks(self.n_rows):
                self.label[part] = facts[self.rows[part]]
        parts = [self.label[part] for part in blocks(self.n_rows, _BLOCK)]
        self._free = np.array([np.count_nonzero(p < 0) for p in parts], dtype=np.int64)
        self.n_unknown = int(self._free.sum())
        self.n_positive = int(np.count_nonzero(self.label > 0))
        self.steps: list[Step] = []

    @property
    def remaining(self) -> int:
        """Unlabelled rows that can be labelled now."""
        return 0 if self.stopped else max(0, min(self._source.remaining, self.n_unknown))

    @property
    def affords_all(self) -> bool:
        """Whether every unlabelled row can be labelled."""
        return self.remaining == self.n_unknown

    @property
    def unanswered(self) -> npt.NDArray[np.int64]:
        """Positions of the rows that were asked without an answer."""
        none = np.zeros(0, dtype=np.int64)
        return none if self._unanswered is None else self._unanswered()

    def failed(self, ranks: Ranks) -> npt.NDArray[np.bool_]:
        """Return which ranks were asked without an answer."""
        return np.asarray(np.isin(self.rows[ranks], self.unanswered), dtype=np.bool_)

    def unknown(self, low: int = 0, high: int | None = None) -> Ranks:
        """Return the unlabelled ranks of [low, high), ascending."""
        return np.flatnonzero(self.label[low:high] < 0) + low

    def count(self, low: int, high: int) -> int:
        """Return how many ranks of [low, high) are unlabelled."""
        first, last = -(-low // _BLOCK), high // _BLOCK
        if first >= last:
            return int(np.count_nonzero(self.label[low:high] < 0))
        ends = self.label[low : first * _BLOCK], self.label[last * _BLOCK : high]
        return int(self._free[first:last].sum() + sum(np.count_nonzero(e < 0) for e in ends))

    def first(self, count: int, low: int = 0) -> Ranks:
        """Return the best `count` unlabelled ranks from `low` on, ascending; all if fewer."""
        start = low // _BLOCK
        reached = np.cumsum(self._free[start:]) - self.count(start * _BLOCK, low)
        end = start + int(np.searchsorted(reached, count)) + 1
        return self.unknown(low, end * _BLOCK)[:count]

    def last(self, count: int, high: int) -> Ranks:
        """Return the lowest `count` unlabelled ranks of [0, high), descending; all if fewer."""
        end = -(-high // _BLOCK)
        beyond = self.count(high, min(end * _BLOCK, self.n_rows))
        reached = np.cumsum(self._free[:end][::-1]) - beyond
        start = max(0, end - int(np.searchsorted(reached, count)) - 1)
        return self.unknown(start * _BLOCK, high)[::-1][:count]

    def buy(self, ranks: Ranks, stage: str) -> npt.NDArray[np.bool_]:
        """Label distinct unlabelled ranks and return the answers.

        If the ledger is interruptible and the label source stops or has no labels left, the
        answers are fewer than the ranks and belong to the first of them.
        """
        size = max(1, len(ranks))
        if self.interruptible:
            size = max(_LEAST_BATCH, -(-len(ranks) // _BATCHES))
        rows = self.rows[ranks].astype(np.int64)
        answers, done = [np.zeros(0, dtype=np.bool_)], 0
        while done < len(ranks):
            batch = ranks[done : done + size]
            if self.interruptible:
                batch = batch[: self.remaining]
            if not len(batch):
                break
            answers.append(self._ask(batch, rows[done : done + len(batch)]))
            done += len(answers[-1])
        bought = np.concatenate(answers)
        if done:
            self.steps.append(Step(stage, rows[:done], bought))
        return bought

    def _ask(self, ranks: Ranks, rows: Ranks) -> npt.NDArray[np.bool_]:
        """Ask the label source once and write down its answers."""
        try:
            answers = np.asarray(self._source(rows))
        except OutOfLabelsError as stop:
            if not self.interruptible:
                raise
            self.stopped, answers = True, stop.answers
            ranks, rows = ranks[: len(answers)], rows[: len(answers)]
        if answers.shape != rows.shape or answers.dtype != np.bool_:
            raise ValueError(
                f"{len(rows)} truth values were asked for, an array of {answers.dtype} "
                f"of shape {answers.shape} came back"
            )
        self.label[ranks] = answers
        self._free -= np.bincount(ranks // _BLOCK, minlength=len(self._free))
        self.n_unknown -= len(ranks)
        self.n_positive += int(answers.sum())
        return answers

    def buy_all(self) -> None:
        """Label every unlabelled row, as far as the labels go."""
        while count := self.remaining:
            self.buy(self.first(count), "all")

    def verify_above(self, cut: int) -> None:
        """Label the unlabelled ranks of [0, cut) from the bottom upwards."""
        while (count := self.remaining) and len(ranks := self.last(count, cut)):
            self.buy(ranks, "verify")

    def verify_below(self, cut: int) -> None:
        """Label the unlabelled ranks from `cut` on, best first: they are no rows of the answer."""
        while (count := self.remaining) and len(ranks := self.first(count, cut)):
            self.buy(ranks, "below")

    def extent(self, end: int) -> tuple[int, int]:
        """Return how many ranks of [0, end) are unlabelled, and the rank after the last of them."""
        count = self.count(0, end)
        return count, int(self.last(1, end)[0]) + 1 if count else 0

    def close(
        self,
        end: int,
        *,
        algorithm: str,
        met: bool = True,
        recall_bound: float | None = None,
        precision_bound: float | None = None,
        recall_estimate: float = float("nan"),
        precision_estimate: float = float("nan"),
        tests: list[Test] | None = None,
    ) -> Selection:
        """Build the answer: all known positives and the unlabelled ranks of [0, end).

        Rows without an answer are returned too; a limit of precision that is given bears them.
        """
        n_free, top = self.extent(end)
        complete, failed = n_free == self.n_unknown, self.unanswered
        pure = not n_free and not len(failed)
        if not n_free and len(failed):
            precision_bound = self.n_positive / (self.n_positive + len(failed))
        returned = self._returned(end)
        returned[failed] = True
        return Selection(
            returned=returned,
            steps=tuple(self.steps),
            cut=float(self.scores[self.rows[top - 1]]) if n_free else float("nan"),
            met=met,
            vacuous=complete and bool(n_free),
            recall_bound=1.0 if complete else recall_bound,
            precision_bound=1.0 if pure else precision_bound,
            recall_estimate=1.0 if complete else recall_estimate,
            precision_estimate=1.0 if pure else precision_estimate,
            algorithm=algorithm,
            tests=tuple(tests or ()),
            grade="distribution-free" if self.n_unknown or len(failed) else "exact",
        )

    def _returned(self, end: int) -> npt.NDArray[np.bool_]:
        """Return by position whether a row is in the answer."""
        returned = np.zeros(self.n_rows, dtype=np.bool_)
        for part in blocks(self.n_rows):
            label, inside = self.label[part], max(0, end - part.start)
            kept = label > 0
            kept[:inside] |= label[:inside] < 0
            returned[self.rows[part][kept]] = True
        return returned
