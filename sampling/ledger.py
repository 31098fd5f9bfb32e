"""The rows of a query in rank order, and the record of what is labelled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.labels import LabelSource
from thresher.sampling.selection import Selection, Step, Test

__all__ = ["Ledger", "rank_rows"]

Ranks = npt.NDArray[np.int64]
_SIGN, _ONE = np.uint64(63), np.uint64(1)
_MAGNITUDE = np.uint64(2**63 - 1)


def _falling_keys(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.uint64]:
    """Return integers that fall as the score rises, NaN last; -0.0 and 0.0 are one score."""
    value = scores.astype(np.float64)
    value += 0.0
    missing = np.isnan(value)
    key = value.view(np.uint64)
    flip = key >> _SIGN
    flip -= _ONE  # all ones for a positive score, 0 for a negative one
    flip &= _MAGNITUDE
    key ^= flip
    key[missing] = ~np.uint64(0)
    return key


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
    One sort in place of unsigned integers: the leading bits of the score (44 of 64 at a million
    rows), then the position. Rows that agree in the leading bits are put right afterwards.
    """
    n = len(scores)
    width = np.uint64(max(1, (n - 1).bit_length()))
    key = _falling_keys(scores)
    key >>= width
    key <<= width
    key |= np.arange(n, dtype=np.uint64)
    key.sort()
    rows = (key & ((_ONE << width) - _ONE)).astype(np.int64)
    key >>= width
    same = key[1:] == key[:-1]
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        rows[tied] = _settle(rows[tied], scores, rng)
    return rows


def _settle(rows: Ranks, scores: npt.NDArray[np.floating], rng: np.random.Generator) -> Ranks:
    """Order rows that are sorted by their leading bits by the whole score, then at random."""
    key = _falling_keys(scores[rows])
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key)
        rows, key = rows[order], key[order]
    group = np.cumsum(np.append(False, key[1:] != key[:-1])).astype(np.uint64)
    group <<= np.uint64(32)
    group |= rng.permutation(len(rows)).astype(np.uint64)
    return np.asarray(rows[np.argsort(group)], dtype=np.int64)


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
        if answers.shape != rows.shape or answers.dtype != np.bool_:
            raise ValueError(
                f"{len(rows)} truth values were asked for, an array of {answers.dtype} "
                f"of shape {answers.shape} came back"
            )
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
