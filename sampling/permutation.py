"""A random permutation of unlabelled ranks, drawn as far as it is needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.ledger import Ledger

__all__ = ["Permutation"]

Ranks = npt.NDArray[np.int64]
_FIRST, _LARGEST = 1 << 10, 1 << 16  # proposals made at a time: more, the more are needed
_SPARSE = 8  # a range of which less than one part in so many is left is listed


class Permutation:
    """A random permutation of the unlabelled ranks of a range, of which a prefix is drawn.

    Parameters
    ----------
    ledger : Ledger
        Which ranks are unlabelled is read whenever more are taken.
    rng : numpy.random.Generator
        Seeds a stream of this permutation's own.
    low, high : int
        The range is [low, high); by default all ranks.

    Notes
    -----
    Ranks of the range are proposed independently and uniformly, and each is taken unless it is
    labelled or taken already: given all that happened before, the next rank is uniform among those
    left. So what was taken is at any time a uniform sample without replacement in random order of
    the ranks unlabelled when it was begun, provided that ranks are labelled as they are taken and
    no others in between. Once few are left they are listed and shuffled.

    The proposals depend on the stream and the range alone, not on how many ranks are taken at
    once. Permutations of one range from one stream differ only by the ranks that are labelled
    before they are reached, until few are left.

    Examples
    --------
    >>> from thresher.sampling import CountedLabels
    >>> labels = CountedLabels(lambda rows: rows > 5, budget=10)
    >>> ledger = Ledger(np.linspace(1, 0, 10), labels, np.random.default_rng(0))
    >>> Permutation(ledger, np.random.default_rng(1), 0, 4).take(4).tolist()
    [1, 3, 2, 0]
    """

    def __init__(
        self, ledger: Ledger, rng: np.random.Generator, low: int = 0, high: int | None = None
    ) -> None:
        self._ledger, self._low = ledger, low
        self._high = ledger.n_rows if high is None else high
        self._rng = np.random.default_rng(rng.integers(2**63, size=2))
        self._taken = np.zeros(self._high - low, dtype=np.bool_)
        self._ahead: Ranks = np.zeros(0, dtype=np.int64)
        self._size = _FIRST

    def take(self, count: int) -> Ranks:
        """Return the next ranks, which must be labelled before more are taken.

        Parameters
        ----------
        count : int
            At most the unlabelled ranks of the range.

        Returns
        -------
        ndarray of int64, shape (count,)

        Raises
        ------
        ValueError
            If fewer are left.
        """
        left = self._ledger.count(self._low, self._high)
        if count > left:
            raise ValueError(f"asked for {count} of {left} unlabelled rows")
        taken = np.empty(count, dtype=np.int64)
        done = 0
        while done < count:
            if not len(self._ahead):
                self._ahead = self._propose(left - done)
            more = self._accept(count - done)
            taken[done : done + len(more)] = more
            done += len(more)
        return taken

    def _free(self, ranks: Ranks) -> npt.NDArray[np.bool_]:
        """Return which ranks are neither labelled nor taken."""
        return (self._ledger.label[ranks] < 0) & ~self._taken[ranks - self._low]

    def _propose(self, left: int) -> Ranks:
        """Return the next block of proposals; all that is left if that is little."""
        if _SPARSE * left < self._high - self._low:
            rest = self._ledger.unknown(self._low, self._high)
            return self._rng.permutation(rest[self._free(rest)])
        size, self._size = self._size, min(2 * self._size, _LARGEST)
        return self._rng.integers(self._low, self._high, size=size)

    def _accept(self, most: int) -> Ranks:
        """Go through the proposals until `most` are taken; the others stay ahead."""
        places = np.flatnonzero(self._free(self._ahead))
        first = np.sort(np.unique(self._ahead[places], return_index=True)[1])[:most]
        taken = self._ahead[places[first]]
        self._taken[taken - self._low] = True
        end = int(places[first[-1]]) + 1 if len(first) == most else len(self._ahead)
        self._ahead = self._ahead[end:]
        return taken
