"""The rows of a query in rank order, and the record of what is labelled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.labels import LabelSource
from thresher.sampling.selection import Selection, Step, Test

__all__ = ["Ledger", "rank_rows"]

Ranks = npt.NDArray[np.int64]
_SIGN = np.uint64(1 << 63)


def rank_rows(scores: npt.NDArray[np.floating], rng: np.random.Generator) -> Ranks:
    """Return the positions of the rows, best score first, NaN last, ties in random order.

    Parameters
    ----------
    scores : ndarray of float32 or float64, shape (n,)
        Any values.
    rng : numpy.random.Generator
        Orders the ties; the order of the rows themselves never matters.

    Returns
    -------
    ndarray of int64, shape (n,)

    Notes
    -----
    One sort of unsigned integers: the leading bits of the score and the place in a random
    permutation. Scores that agree in the leading bits (44 of 64 at a million rows) are ordered by
    a second sort of those rows alone.
    """
    n = len(scores)
    order = rng.permutation(n)
    value = scores[order].astype(np.float64) + 0.0  # -0.0 and 0.0 are one score
    bits = value.view(np.uint64)
    key = np.where(bits & _SIGN, bits, ~(bits | _SIGN))  # falls as the score rises
    key[np.isnan(value)] = ~np.uint64(0)
    width = np.uint64(max(1, (n - 1).bit_length()))
    packed = np.sort((key >> width << width) | np.arange(n, dtype=np.uint64))
    place = (packed & ((np.uint64(1) << width) - np.uint64(1))).astype(np.int64)
    head = packed >> width
    same = head[1:] == head[:-1]
    if same.any():
        tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
        full = key[place[tied]]
        if (full[1:] < full[:-1]).any():
            place[tied] = place[tied][np.argsort(full, kind="stable")]
    return np.asarray(order[place], dtype=np.int64)


class Ledger:
    """Rows in rank order with their labels, and the labels that were bought.

    Ranks count from 0, the best score. A label is -1 where unknown, else 0 or 1.
    """

    def __init__(
        self,
        scores: npt.NDArray[np.floating],
        labels: LabelSource,
        rng: np.random.Generator,
        known: npt.NDArray[np.int8] | None = None,
    ) -> None:
        self.scores = np.asarray(scores)
        if self.scores.ndim != 1 or self.scores.dtype.kind != "f":
            raise ValueError(
                f"scores must be a float array of one dimension, got {self.scores.dtype} "
                f"of shape {self.scores.shape}"
            )
        self.n_rows = len(self.scores)
        if known is not None and np.shape(known) != (self.n_rows,):
            raise ValueError(f"known must have shape ({self.n_rows},), got {np.shape(known)}")
        self._source = labels
        self.rows = rank_rows(self.scores, rng)
        self.label = np.full(self.n_rows, -1, dtype=np.int8)
        if known is not None:
            self.label = np.sign(np.asarray(known)[self.rows]).astype(np.int8)
        self.n_unknown = int(np.count_nonzero(self.label < 0))
        self.n_positive = int(np.count_nonzero(self.label > 0))
        self.steps: list[Step] = []

    @property
    def remaining(self) -> int:
        """Unlabelled rows that can be labelled now."""
        return max(0, min(self._source.remaining, self.n_unknown))

    @property
    def affords_all(self) -> bool:
        """Whether every unlabelled row can be labelled."""
        return self._source.remaining >= self.n_unknown

    def unknown(self, low: int = 0, high: int | None = None) -> Ranks:
        """Return the unlabelled ranks of [low, high), ascending."""
        return np.flatnonzero(self.label[low:high] < 0) + low

    def buy(self, ranks: Ranks, stage: str) -> npt.NDArray[np.bool_]:
        """Label distinct unlabelled ranks and return the answers."""
        if not len(ranks):
            return np.zeros(0, dtype=np.bool_)
        rows = self.rows[ranks]
        answers = np.asarray(self._source(rows))
        if answers.shape != rows.shape:
            raise ValueError(f"{len(rows)} labels were asked for, {answers.shape} came back")
        answers = answers.astype(np.bool_)
        self.label[ranks] = answers
        self.n_unknown -= len(ranks)
        self.n_positive += int(answers.sum())
        self.steps.append(Step(stage, rows, answers))
        return answers

    def buy_all(self) -> None:
        """Label every unlabelled row."""
        while count := self.remaining:
            self.buy(self.unknown()[:count], "all")

    def verify_above(self, cut: int, keep: int = 0) -> None:
        """Label the unlabelled ranks of [0, cut) from the bottom upwards, leaving `keep` labels."""
        while (spare := self.remaining - keep) > 0:
            ranks = self.unknown(0, cut)
            if not len(ranks):
                return
            self.buy(ranks[-spare:][::-1], "verify")

    def close(
        self,
        free: Ranks,
        *,
        algorithm: str,
        met: bool = True,
        recall_bound: float | None = None,
        precision_bound: float | None = None,
        recall_estimate: float = float("nan"),
        precision_estimate: float = float("nan"),
        tests: list[Test] | None = None,
    ) -> Selection:
        """Build the answer: all known positives and the unlabelled ranks `free` (ascending)."""
        returned = np.zeros(self.n_rows, dtype=np.bool_)
        returned[self.rows[self.label > 0]] = True
        returned[self.rows[free]] = True
        complete, pure = len(free) == self.n_unknown, not len(free)
        return Selection(
            returned=returned,
            steps=tuple(self.steps),
            cut=float("nan") if pure else float(self.scores[self.rows[free[-1]]]),
            met=met,
            vacuous=complete and not pure,
            recall_bound=1.0 if complete else recall_bound,
            precision_bound=1.0 if pure else precision_bound,
            recall_estimate=1.0 if complete else recall_estimate,
            precision_estimate=1.0 if pure else precision_estimate,
            algorithm=algorithm,
            tests=tuple(tests or ()),
        )
