"""What labels suggest of an answer that is not there yet: no promise, for people who watch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from thresher.candidates import FloatArray
from thresher.progress import Indication
from thresher.sampling.ranking import rank_rows
from thresher.targets import Targets

__all__ = ["Indicating", "Indicator"]

Floats = npt.NDArray[np.float64]
_LEAST = 20  # labels; fewer suggest nothing
_STRATA, _LEAST_IN = 20, 8  # most strata of the scores, and least labels of each


class Indicator:
    """Estimates positive rows, recall and precision from labels, whatever their design.

    Parameters
    ----------
    scores : ndarray of float, shape (n_rows,)
        By which rows were chosen; NaN ranks last.
    targets : Targets
        What the query asks for.

    Notes
    -----
    Rows are cut into strata by their rank, each with some labels, and its rows without one are
    taken to be positive as often as those with one: post-stratification. Labels are bought by
    scores, so that within a stratum the labelled rows are much like the others; nothing proves that
    they are. The range of the positive rows is that of a normal law.
    """

    def __init__(self, scores: FloatArray, targets: Targets) -> None:
        order = rank_rows(np.asarray(scores), np.random.default_rng(0))
        self._rank = np.empty(len(order), dtype=np.int64)
        self._rank[order] = np.arange(len(order))
        self._targets = targets

    def indicate(self, truth: npt.NDArray[np.int8]) -> Indication | None:
        """Return what labels suggest by now; None where they are too few.

        Parameters
        ----------
        truth : ndarray of int8, shape (n_rows,)
            1 or 0 where it is known, -1 elsewhere.
        """
        labelled = np.flatnonzero(truth >= 0)
        if len(labelled) < _LEAST:
            return None
        ranks = np.sort(self._rank[labelled])
        size = max(_LEAST_IN, -(-len(ranks) // _STRATA))
        ends = np.append(ranks[size - 1 : len(ranks) - size + 1 : size] + 1, len(truth))
        stratum = np.searchsorted(ends, self._rank[labelled], side="right")
        n_known = np.bincount(stratum, minlength=len(ends)).astype(np.float64)
        positives = (truth[labelled] > 0).astype(np.float64)
        n_true: Floats = np.bincount(stratum, positives, len(ends)).astype(np.float64)
        n_rows = np.diff(ends, prepend=0).astype(np.float64)
        rate, unknown = n_true / n_known, n_rows - n_known
        positive = n_true + unknown * rate
        doubt = (n_true + 0.5) / (n_known + 1)
        spread = float(np.sqrt((unknown**2 * doubt * (1 - doubt) / n_known).sum()))
        reach = float(ndtri(1 - self._targets.delta / 2)) * spread
        total = float(positive.sum())
        low = max(float(n_true.sum()), total - reach)
        high = min(float(n_true.sum() + unknown.sum()), total + reach)
        return Indication(total, low, high, *self._cut(positive, n_true, n_rows, n_known))

    def _cut(
        self,
        positive: Floats,
        n_true: Floats,
        n_rows: Floats,
        n_known: Floats,
    ) -> tuple[int | None, float | None, float | None]:
        """Rows, recall and precision of the answer if it were cut now, after a whole stratum."""
        kind, total = self._targets.kind, float(positive.sum())
        if kind not in ("recall", "precision", "joint") or not total:
            return None, None, None
        found = n_true.sum() + np.cumsum(positive - n_true)  # positives that are known come back
        back = n_true.sum() + np.cumsum(n_rows - n_known)
        recall, precision = found / total, found / np.maximum(back, 1.0)
        if kind == "precision":
            good = np.flatnonzero(precision >= (self._targets.precision or 1.0))
            at = int(good[-1]) if len(good) else 0
        else:
            at = int(np.argmax(recall >= min(self._targets.recall or 1.0, float(recall[-1]))))
        return round(float(back[at])), float(recall[at]), float(precision[at])


class Indicating:
    """An `Indicator` made anew where the scores are others, only once labels are there."""

    def __init__(self) -> None:
        self._scores: FloatArray | None = None
        self._indicator: Indicator | None = None

    def of(
        self, scores: FloatArray | None, truth: npt.NDArray[np.int8] | None, targets: Targets
    ) -> Indication | None:
        """Return what labels suggest, by the scores that rows are chosen by."""
        if scores is None or truth is None or targets.kind in ("exact", "rows", "accuracy"):
            return None
        if self._indicator is None or scores is not self._scores:
            self._scores, self._indicator = scores, Indicator(scores, targets)
        return self._indicator.indicate(truth)
