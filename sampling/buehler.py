"""Exact limits of a total over strata that were sampled apart: the certified search behind COUNT.

Three strata hold unknown numbers of positives T. A statistic orders the outcomes x of the samples,
and a total is refused only if every T in a box with that total gives outcomes as low as the
observed one a probability of at most the level. That "every" is proved cell by cell, never judged
on a grid: what cannot be proved within the allowance of cells is not refused.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.outcomes import DROP, Bundled, Outcomes, Sample, smaller

__all__ = ["TotalTest", "total_upper"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_SHRINK = 0.9999  # more than makes up for distributions that are scaled to add up to 1
_ROUNDING = 1e-13  # per sampled row, for sums of products that are at most 1
_CELLS = 5000  # allowance for one total
_GRID = 6  # about how many cells each way the box is first cut into
_OPEN = 2  # totals left open before the search ends, once one is refused
_MOST_PAIRS = 2**62  # that are numbered: numbers are sorted faster than pairs
_FINE = 100  # the limit is sought to this fraction of its distance from the estimate


def _statistic_parts(sample: Sample, z: float, x: Integers) -> tuple[Floats, Floats]:
    """Return the estimate of a stratum and its squared upper Wilson deviation for outcomes x."""
    if sample.n_rows == 0:
        return np.zeros(len(x)), np.zeros(len(x))
    share = x / sample.n_sample
    q = z * z * (1 - sample.n_sample / sample.n_rows) / sample.n_sample
    upper = (share + q / 2 + np.sqrt(q * share * (1 - share) + q * q / 4)) / (1 + q)
    return sample.n_rows * share, (sample.n_rows * (upper - share)) ** 2


class TotalTest:
    """Tests totals of three strata against the observed outcome at one level.

    Parameters
    ----------
    samples : list of Sample
        Three; the last may be empty. The first is the one whose positives follow from the total.
    boxes : list of (int, int)
        Range of the positives of each stratum.
    level : float
        Probability at or below which a T is refused.
    z : float
        Normal deviate of the statistic; it shapes the region, no validity rests on it.
    """

    def __init__(
        self, samples: list[Sample], boxes: list[tuple[int, int]], level: float, z: float
    ) -> None:
        self.boxes, self.level = boxes, level
        self.rounding = _ROUNDING * (1 + sum(s.n_sample for s in samples))
        self.free = Outcomes(samples[0], boxes[0], level)
        self.one = Bundled(samples[1], boxes[1], level)
        self.two = Bundled(samples[2], boxes[2], level)
        self.region = self._make_region(samples, z)

    def _make_region(self, samples: list[Sample], z: float) -> npt.NDArray[np.intp]:
        """Return, per pair of blocks, one more than the largest outcome of stratum 0 in the region.

        The region is the smallest lower set that holds every outcome whose statistic is at most
        the observed one, so that rounding can only enlarge it.
        """
        seen = [_statistic_parts(s, z, np.array([s.n_found])) for s in samples]
        limit = sum(float(e[0]) for e, _ in seen) + np.sqrt(sum(float(d[0]) for _, d in seen))
        limit += 1e-9 * limit + 1e-7
        e0, d0 = _statistic_parts(samples[0], z, np.arange(samples[0].n_sample + 1))
        e1, d1 = _statistic_parts(samples[1], z, self.one.starts)
        e2, d2 = _statistic_parts(samples[2], z, self.two.starts)
        e, d = e2[:, None] + e1, d2[:, None] + d1
        low = np.zeros(e.shape, dtype=np.intp)  # outcomes below it are in the region
        high = np.full(e.shape, len(e0), dtype=np.intp)
        while (low < high).any():
            middle = (low + high) // 2
            at = np.minimum(middle, len(e0) - 1)
            inside = (e0[at] + e + np.sqrt(d0[at] + d) <= limit) & (low < high)
            low, high = (
                np.where(inside, middle + 1, low),
                np.where(inside, high, np.minimum(high, middle)),
            )
        for axis in (0, 1):
            low = np.flip(np.maximum.accumulate(np.flip(low, axis), axis), axis)
        return low

    def _cumulated(self, n_marked: int) -> Floats:
        """Return P(X0 < i) for i from 0 to n_sample + 1."""
        low, value = self.free.chances(n_marked)
        out = np.zeros(self.free.n_sample + 2)
        out[low + 1 : low + 1 + len(value)] = np.cumsum(value)
        out[low + 1 + len(value) :] = 1.0
        return out

    def chance(self, marked: tuple[int, int, int]) -> float:
        """Return the probability of the region under T, rounded up past every error."""
        (j, one), (i, two) = self.one.blocks(marked[1]), self.two.blocks(marked[2])
        part = self.region[i : i + len(two), j : j + len(one)]
        value = two @ np.take(self._cumulated(marked[0]), part) @ one
        return float(value) * (1 + 1e-9) + 16 * DROP * self.level

    def _floor(self, least: int, most: int) -> tuple[Floats, Floats]:
        """Bound, for every T0 in [least, most] and by i: P(X0 < i), and the loss at X0 = i - 1."""
        low, value = smaller(self.free.chances(least), self.free.chances(most))
        size = self.free.n_sample
        below, turned = np.zeros((2, size + 2))
        end = low + 1 + len(value)
        below[low + 1 : end] = np.cumsum(value)
        below[end:] = value.sum()
        left = max(self.free.n_rows - least, 1)
        turned[low + 1 : end] = value * (size - np.arange(low, low + len(value))) / left
        return below, turned

    def bounds(self, cells: Integers, total: int) -> Floats:
        """Bound the probability of the region from above for every T of the total in each cell.

        Cells are rows of (least, most) of stratum 1 and (least, most) of stratum 2.
        """
        a1, b1, a2, b2 = cells.T
        first = np.maximum(self.boxes[0][0], total - b1 - b2)
        last = np.minimum(self.boxes[0][1], total - a1 - a2)
        spans, group = _distinct(np.stack([first, last], axis=1))
        one = self._tables(self.one, cells[:, :2])
        two = self._tables(self.two, cells[:, 2:])
        out = np.zeros(len(cells))
        order = np.argsort(group, kind="stable")
        ends = np.cumsum(np.bincount(group))
        for (least, most), members in zip(spans.tolist(), np.split(order, ends[:-1]), strict=True):
            if least <= most:
                lengths = np.stack([b1 - a1, b2 - a2], axis=1)[members]
                steps = total - least - (a1 + a2)[members]
                parts = [t[:, members] for t in (one, two)]
                out[members] = self._group(least, most, parts, lengths, steps)
        return out

    @staticmethod
    def _tables(outcomes: Bundled, spans: Integers) -> Floats:
        """Return the rows of `Bundled.rows` for every cell: shape (3, cells, blocks)."""
        distinct, place = _distinct(spans)
        return np.stack(outcomes.rows(distinct[:, 0], distinct[:, 1]))[:, place]

    def _group(
        self, least: int, most: int, parts: list[Floats], lengths: Integers, steps: Integers
    ) -> Floats:
        """Bound the cells that share the range [least, most] of stratum 0."""
        (p1, q1, w1), (p2, q2, w2) = parts
        value = ((p2 @ np.take(self._cumulated(least), self.region)) * p1).sum(-1)
        value = value * (1 + 1e-9) + 16 * DROP * self.level
        below, turned = (np.take(a, self.region) for a in self._floor(least, most))
        loss = [
            ((q2 @ turned) * q1).sum(-1),
            ((q2 @ below) * w1).sum(-1),
            ((w2 @ below) * q1).sum(-1),
        ]
        losses = _SHRINK * np.maximum(np.stack(loss, axis=1), 0.0)
        room = np.column_stack([np.full(len(steps), most - least), lengths])
        rows = np.arange(len(steps))
        for k in np.argsort(losses, axis=1).T:
            taken = np.minimum(steps, room[rows, k])
            value -= taken * losses[rows, k]
            steps = steps - taken
        return np.asarray(value + self.rounding)

    def _middle(self, cell: Integers, total: int) -> bool:
        """Return whether the middle of a cell is a T that is not refused."""
        a1, b1, a2, b2 = cell.tolist()
        one, two = (a1 + b1) // 2, (a2 + b2) // 2
        rest = min(max(total - one - two, self.boxes[0][0]), self.boxes[0][1])
        one = min(max(total - rest - two, a1), b1)
        two = total - rest - one
        return a2 <= two <= b2 and self.chance((rest, one, two)) > self.level

    def judge(self, total: int) -> str:
        """Return "refused" if every T of the total is proved to be, "reached" if one is not.

        "open": the allowance did not suffice to tell.
        """
        (l1, h1), (l2, h2) = self.boxes[1], self.boxes[2]
        side = 1 << (max(h1 - l1, h2 - l2) // _GRID).bit_length()
        cells, left = _squares(np.array([[l1, h1, l2, h2]]), side), _CELLS
        while (left := left - len(cells)) >= 0:
            value = self.bounds(cells, total)
            held = value > self.level
            if not held.any():
                return "refused"
            if self._middle(cells[value.argmax()], total):
                return "reached"
            if side == 1:
                return "open"
            side //= 2
            cells = _squares(cells[held], side)
        return "open"

    def reached(self, total: int) -> bool:
        """Return whether one of a few T of the total is not refused."""
        (l1, h1), (l2, h2) = self.boxes[1], self.boxes[2]
        for one in np.unique(np.linspace(l1, h1, 6).astype(np.int64)):
            for two in np.unique(np.linspace(l2, h2, 6).astype(np.int64)):
                rest = total - int(one + two)
                inside = self.boxes[0][0] <= rest <= self.boxes[0][1]
                if inside and self.chance((rest, int(one), int(two))) > self.level:
                    return True
        return False


def _distinct(pairs: Integers) -> tuple[Integers, Integers]:
    """Return the distinct rows of an array of two columns, ascending, and the place of each row."""
    if not len(pairs):
        return pairs, np.zeros(0, dtype=np.int64)
    low, high = pairs.min(axis=0), pairs.max(axis=0)
    width = int(high[1]) - int(low[1]) + 1
    if (int(high[0]) - int(low[0]) + 1) * width > _MOST_PAIRS:
        distinct, place = np.unique(pairs, axis=0, return_inverse=True)
        return distinct, place.ravel()
    keys, place = np.unique(
        (pairs[:, 0] - low[0]) * width + pairs[:, 1] - low[1], return_inverse=True
    )
    return np.stack([keys // width + low[0], keys % width + low[1]], axis=1), place


def _squares(cells: Integers, side: int) -> Integers:
    """Cut cells into squares of one side, from their least corner on.

    Equal sides let the squares of a diagonal share the range of the stratum that follows from the
    total, and with it most of the work.
    """
    pieces = []
    for low, high in ((cells[:, 0], cells[:, 1]), (cells[:, 2], cells[:, 3])):
        starts = low[:, None] + side * np.arange(int((high - low).max()) // side + 1)
        pieces.append((starts, np.minimum(starts + side - 1, high[:, None])))
    (a1, b1), (a2, b2) = pieces
    each = [a1[:, :, None], b1[:, :, None], a2[:, None, :], b2[:, None, :]]
    out = np.stack(np.broadcast_arrays(*each), axis=-1).reshape(-1, 4)
    return out[(out[:, 0] <= out[:, 1]) & (out[:, 2] <= out[:, 3])]


def total_upper(samples: list[Sample], boxes: list[tuple[int, int]], level: float, z: float) -> int:
    """Return an upper limit of the positives of two or three strata together.

    Parameters
    ----------
    samples : list of Sample
        Two or three samples, each of fewer rows than its stratum. The first should have the
        widest box.
    boxes : list of (int, int)
        Range of the positives of each stratum: the first certain, the others of any kind.
    level : float
        Probability in (0, 1) of a limit that is too small while the positives are in the boxes.
    z : float
        Normal deviate that shapes the statistic.

    Returns
    -------
    int
        A limit t such that every T of the boxes with total t + 1 (and so with any larger one) is
        refused. Proof: C2 and C3 in the guarantees of COUNT.
    """
    if len(samples) == 2:
        samples, boxes = [*samples, Sample(0, 0, 0)], [*boxes, (0, 0)]
    test = TotalTest(samples, boxes, level, z)
    middle = sum(round(s.n_rows * s.n_found / s.n_sample) for s in samples if s.n_rows)
    least, most = sum(b[0] for b in boxes), sum(b[1] for b in boxes)
    return _search(test, min(max(middle, least), most), most + 1)


def _search(test: TotalTest, low: int, high: int) -> int:
    """Return one less than the smallest total that was proved refused; `high` holds no T."""
    start, top = low, high
    while high - low > 1:  # a guess at the limit from below: whatever it is, nothing is refused
        tried = (low + high) // 2
        low, high = (tried, high) if test.reached(tried) else (low, tried)
    step, n_open, high = max(1, (low - start) // 8), 0, top
    while high - low > max(1, (min(high, low + step) - start) // _FINE) and n_open < _OPEN:
        tried = low + step if low + step < high else (low + high) // 2
        verdict = test.judge(tried)
        if verdict == "refused":
            high = tried
        else:
            low, step = tried, 2 * step
            n_open += verdict == "open" and high < top
    return high - 1
