"""Rows in the order of their groups, worked on block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thresher.sampling.ranking import blocks

__all__ = ["Block", "Layout", "Rows", "compact"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Rows = slice | Integers
_BLOCK = 1 << 14  # rows worked on at once: what they need stays in the cache


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows of a layout.

    Parameters
    ----------
    part : slice
        Where they are.
    groups : ndarray of int64, shape (k,)
        Groups that have rows here.
    starts : ndarray of int64, shape (k,)
        First row of each, counted from the first of the block.
    group : ndarray of int64
        Group of every row.
    """

    part: slice
    groups: Integers
    starts: Integers
    group: Integers

    def add(self, out: Floats, value: Floats) -> None:
        """Add the values of the block's rows to their groups' sums."""
        out[self.groups] += np.add.reduceat(value, self.starts)

    def raise_to(self, out: Floats, value: Floats) -> None:
        """Raise the largest values of the groups to those of the block's rows."""
        out[self.groups] = np.maximum(out[self.groups], np.maximum.reduceat(value, self.starts))

    def each(self, value: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
        """Return the value of each row's group, or that of the only one, which broadcasts."""
        return value[self.groups] if len(self.groups) == 1 else value[self.group]


class Layout:
    """Rows in the order of their groups, cut into blocks.

    Parameters
    ----------
    group : ndarray of int64, shape (n,)
        Group of every row, ascending.
    n_groups : int
    """

    def __init__(self, group: Integers, n_groups: int) -> None:
        self.n_rows, self.n_groups, self._group = len(group), n_groups, group
        counts = np.array([len(group)]) if n_groups == 1 else np.bincount(group, minlength=n_groups)
        self.counts: Integers = counts
        self.ends: Integers = np.cumsum(counts)

    def of(self, group: int) -> slice:
        """Return where the rows of a group are."""
        return slice(int(self.ends[group] - self.counts[group]), int(self.ends[group]))

    def blocks(self) -> Iterator[Block]:
        """Yield blocks that cover the rows."""
        for part in blocks(self.n_rows, _BLOCK):
            first, last = np.searchsorted(self.ends, [part.start, part.stop - 1], "right")
            groups = np.arange(first, last + 1)
            groups = groups[self.counts[groups] > 0]
            starts = np.maximum((self.ends - self.counts)[groups] - part.start, 0)
            yield Block(part, groups, starts, self._group[part])

    def sums(self, value: Floats) -> Floats:
        """Add values up by group."""
        out = np.zeros(self.n_groups)
        for block in self.blocks():
            block.add(out, value[block.part])
        return out

    def tops(self, value: Floats) -> Floats:
        """Return the largest value of every group, at least 0."""
        out = np.zeros(self.n_groups)
        for block in self.blocks():
            block.raise_to(out, value[block.part])
        return out


def compact(rows: Integers) -> Rows:
    """Return row numbers as a slice, if they are consecutive.

    Examples
    --------
    >>> compact(np.array([3, 4, 5])), compact(np.array([3, 5]))
    (slice(3, 6, None), array([3, 5]))
    """
    if not len(rows) or rows[-1] - rows[0] != len(rows) - 1 or (rows[1:] - rows[:-1] != 1).any():
        return rows
    return slice(int(rows[0]), int(rows[-1]) + 1)
