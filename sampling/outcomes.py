"""Distributions of the positives in a stratum's sample, and what bounds them over a range of T.

T is the unknown number of positives in the stratum; an outcome is the number in the sample.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import marked_upper

__all__ = ["DROP", "Bundled", "Outcomes", "Sample", "smaller", "stratum_box"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DROP = 1e-5  # share of the level that may be lost at each end of a distribution, twice
_BLOCKS = 160  # outcomes of a stratum are bundled into at most this many


class Sample:
    """A uniform sample without replacement: `n_found` of `n_sample` rows of `n_rows` positive."""

    __slots__ = ("n_found", "n_rows", "n_sample")

    def __init__(self, n_rows: int, n_sample: int, n_found: int) -> None:
        self.n_rows, self.n_sample, self.n_found = int(n_rows), int(n_sample), int(n_found)

    def negated(self) -> Sample:
        """Return the same sample with positives and negatives exchanged."""
        return Sample(self.n_rows, self.n_sample, self.n_sample - self.n_found)

    @property
    def certain(self) -> tuple[int, int]:
        """The least and most positives that the stratum can hold after the sample."""
        return self.n_found, self.n_rows - self.n_sample + self.n_found


def stratum_box(sample: Sample, level: float) -> tuple[int, int]:
    """Return limits that the positives of a stratum leave with probability at most `level`."""
    high = marked_upper(sample.n_rows, sample.n_sample, sample.n_found, level / 2)
    other = sample.negated()
    low = sample.n_rows - marked_upper(other.n_rows, other.n_sample, other.n_found, level / 2)
    return low, high


class Outcomes:
    """The distribution of the positives in one stratum's sample, for any T."""

    def __init__(self, sample: Sample, box: tuple[int, int], level: float) -> None:
        self.n_rows, self.n_sample = sample.n_rows, sample.n_sample
        self.level, self.log_drop = level, -np.log(DROP * level)
        self.first = self._window(box[0])[0]
        self.last = self._window(box[1])[1]
        self._kept: dict[int, tuple[int, Floats]] = {}

    def _window(self, n_marked: int) -> tuple[int, int]:
        """Return a range of outcomes beyond which either side has less than the dropped mass."""
        share = n_marked / max(self.n_rows, 1)
        mean = self.n_sample * share
        # Bernstein's inequality, which Hoeffding (1963) extends to draws without replacement.
        third = self.log_drop / 3
        away = third + np.sqrt(third**2 + 2 * self.log_drop * mean * (1 - share)) + 1
        low = max(0, self.n_sample - (self.n_rows - n_marked), int(np.floor(mean - away)))
        high = min(self.n_sample, n_marked, int(np.ceil(mean + away)))
        return low, high

    def chances(self, n_marked: int) -> tuple[int, Floats]:
        """Return the first outcome of the window and the probabilities in it, adding up to 1."""
        if n_marked in self._kept:
            return self._kept[n_marked]
        low, high = self._window(n_marked)
        mode = (self.n_sample + 1) * (n_marked + 1) // (self.n_rows + 2)
        mode = min(max(mode, low), high)
        x = np.arange(low, high, dtype=np.float64)
        spare = self.n_rows - n_marked - self.n_sample + 1
        ratio = (n_marked - x) * (self.n_sample - x) / ((x + 1) * (spare + x))
        value = np.ones(high - low + 1)
        value[mode - low + 1 :] = np.cumprod(ratio[mode - low :])
        value[: mode - low] = np.cumprod(1 / ratio[: mode - low][::-1])[::-1]
        value /= value.sum()
        kept = DROP * self.level
        first = int(np.searchsorted(np.cumsum(value), kept))
        last = len(value) - int(np.searchsorted(np.cumsum(value[::-1]), kept))
        self._kept[n_marked] = low + first, value[first:last]
        return self._kept[n_marked]


class Bundled(Outcomes):
    """As `Outcomes`, with neighbouring outcomes bundled into blocks.

    A block is in the region if its least outcome is, which can only enlarge the region.
    """

    def __init__(self, sample: Sample, box: tuple[int, int], level: float) -> None:
        super().__init__(sample, box, level)
        self.size = -(-(self.last - self.first + 1) // _BLOCKS)
        self.starts = np.arange(self.first, self.last + 1, self.size)
        self._blocks: dict[int, tuple[int, Floats]] = {}

    def blocks(self, n_marked: int) -> tuple[int, Floats]:
        """Return the first block with mass and the probabilities of the blocks from there on."""
        if self.size == 1:
            low, value = self.chances(n_marked)
            return low - self.first, value
        if n_marked not in self._blocks:
            low, value = self.chances(n_marked)
            self._blocks[n_marked] = self._bundle(low, value)
        return self._blocks[n_marked]

    def _bundle(self, low: int, value: Floats) -> tuple[int, Floats]:
        ahead, first = (low - self.first) % self.size, (low - self.first) // self.size
        edges = np.maximum(np.arange(first, -(-(ahead + len(value)) // self.size) + first), first)
        starts = (edges - first) * self.size - ahead
        return first, np.add.reduceat(value, np.maximum(starts, 0))

    def rows(self, least: Integers, most: Integers) -> tuple[Floats, Floats, Floats]:
        """Return, for each span of T, three rows over all blocks.

        The probabilities at its least T; a lower bound of them that holds for every T of the span;
        and weights w such that w @ h, for any h that falls from block to block, bounds from below
        by how much one more positive lowers the mean of h.
        """
        out = np.zeros((3, len(least), len(self.starts)))
        for k, (one, two) in enumerate(zip(least.tolist(), most.tolist(), strict=True)):
            low, blocks = self.blocks(one)
            out[0, k, low : low + len(blocks)] = blocks
            low, blocks, turned = self._floor(one, two)
            out[1, k, low : low + len(blocks)] = blocks
            out[2, k, low : low + len(blocks)] = turned
        out[2, :, -1] = 0.0  # nothing is known beyond the last block
        out[2, :, 1:] -= out[2, :, :-1].copy()
        return out[0], out[1], out[2]

    def _floor(self, least: int, most: int) -> tuple[int, Floats, Floats]:
        """Bound the probabilities of the blocks from below for every T in [least, most].

        The last array is, for each block, the bound for its last outcome times the chance that one
        more positive row would raise that outcome.
        """
        low, value = smaller(self.chances(least), self.chances(most))
        if not len(value):
            return 0, value, value
        x = np.arange(low, low + len(value))
        last = (x - self.first) % self.size == self.size - 1
        turned = np.where(last, value * (self.n_sample - x), 0.0) / max(self.n_rows - least, 1)
        if self.size == 1:
            return low - self.first, value, turned
        first, blocks = self._bundle(low, value)
        return first, blocks, self._bundle(low, turned)[1]


def smaller(one: tuple[int, Floats], two: tuple[int, Floats]) -> tuple[int, Floats]:
    """Return the smaller of two distributions where both have mass."""
    low = max(one[0], two[0])
    high = min(one[0] + len(one[1]), two[0] + len(two[1]))
    if high <= low:
        return low, np.zeros(0)
    return low, np.minimum(
        one[1][low - one[0] : high - one[0]], two[1][low - two[0] : high - two[0]]
    )
