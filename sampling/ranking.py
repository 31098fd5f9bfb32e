"""Rows in rank order: one sort in place of packed integers, and little memory besides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from thresher.sampling.arguments import check_rng

__all__ = ["MOST_ROWS", "blocks", "rank_rows"]

MOST_ROWS = 2**32
_BLOCK = 1 << 16  # rows worked on at once: what they need stays in the cache
_ONE = np.uint64(1)

Keys = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.uint32]


def blocks(n: int, size: int = _BLOCK) -> Iterator[slice]:
    """Yield consecutive slices that cover [0, n)."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


class _Shuffle:
    """A bijection of the integers of `width` bits, chosen by a generator, and its inverse."""

    def __init__(self, width: int, rng: np.random.Generator) -> None:
        size = 1 << width
        start, *random = (int(r) for r in rng.integers(MOST_ROWS, size=3))
        odd = [(r | 1) % size for r in random]
        self._mask, self._start = np.uint32(size - 1), np.uint32(start % size)
        # Twice this shift is at least the width, so that x ^ (x >> shift) is its own inverse.
        self._shift = np.uint32((width + 1) // 2)
        self._factors = [np.uint32(f) for f in odd]
        self._inverses = [np.uint32(pow(f, -1, size)) for f in odd]

    def __call__(self, x: Rows) -> Rows:
        """Return the images of `x`."""
        x = x ^ self._start
        for factor in self._factors:
            x *= factor
            x &= self._mask
            x ^= x >> self._shift
        return x

    def undo(self, keys: Keys) -> Rows:
        """Return the integers whose images are the low bits of `keys`."""
        x = keys.astype(np.uint32)
        x &= self._mask
        for factor in self._inverses[::-1]:
            x ^= x >> self._shift
            x *= factor
            x &= self._mask
        x ^= self._start
        return x


def _falling_keys(scores: npt.NDArray[np.floating]) -> Keys:
    """Return integers that fall as the score rises, NaN last; -0.0 and 0.0 are one score.

    A score of 32 bits fills the high half alone.
    """
    single = scores.dtype.itemsize <= 4
    value = np.add(scores, 0.0, dtype=np.float32 if single else np.float64)  # 0.0 for -0.0
    missing = np.isnan(value)
    bits: npt.NDArray[np.unsignedinteger] = value.view(np.uint32 if single else np.uint64)
    one, n_bits = bits.dtype.type(1), 8 * bits.dtype.itemsize
    flip = bits >> bits.dtype.type(n_bits - 1)
    flip -= one  # all ones for a positive score, 0 for a negative one
    flip &= bits.dtype.type(2 ** (n_bits - 1) - 1)
    bits ^= flip
    bits[missing] = ~bits.dtype.type(0)
    key = bits.astype(np.uint64)
    key <<= np.uint64(64 - n_bits)
    return key


def rank_rows(scores: npt.NDArray[np.floating], rng: np.random.Generator) -> Rows:
    """Return the positions of the rows, best score first, NaN last, ties in a shuffled order.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Any values, at most 2**32 of them. Distinct scores of 32 and of 64 bits stay distinct.
    rng : numpy.random.Generator
        Chooses one of many orders for the ties; no label is known to it, so any order is valid.

    Returns
    -------
    ndarray of uint32, shape (n,)

    Raises
    ------
    ValueError
        If there are more rows than an answer can count, or if `rng` is no generator.

    Notes
    -----
    One sort in place of integers that hold the leading bits of the score, at least 32, and the
    position of the row, shuffled. Scores of 64 bits that agree in the leading bits are put right
    afterwards. Beside `scores`, 8 bytes a row are held during the sort and 4 afterwards.
    """
    check_rng(rng)
    n = len(scores)
    if n > MOST_ROWS:
        raise ValueError(f"at most {MOST_ROWS:,} rows can be ranked, got {n:,}")
    width = max(1, (n - 1).bit_length())
    shuffle, low = _Shuffle(width, rng), np.uint64(width)
    keys = np.empty(n, dtype=np.uint64)
    for part in blocks(n):
        block = _falling_keys(scores[part])
        block >>= low
        block <<= low
        block |= shuffle(np.arange(part.start, part.stop, dtype=np.uint32))
        keys[part] = block
    keys.sort()
    if scores.dtype.itemsize > 4:
        _settle(keys, width, scores, shuffle)
    return _unpack(keys, shuffle)


def _settle(keys: Keys, width: int, scores: npt.NDArray[np.floating], shuffle: _Shuffle) -> None:
    """Put in order the keys that agree in the leading bits but whose scores differ."""
    n = len(keys)
    same = np.zeros(n + 1, dtype=np.bool_)  # whether a key agrees with the one before
    for part in blocks(max(0, n - 1)):
        differ = keys[part.start + 1 : part.stop + 1] ^ keys[part]
        same[part.start + 1 : part.stop + 1] = differ < _ONE << np.uint64(width)
    tied = np.flatnonzero(same[1:] | same[:-1])
    exact = _falling_keys(scores[shuffle.undo(keys[tied])])
    if (exact[1:] < exact[:-1]).any():
        keys[tied] = keys[tied][np.argsort(exact, kind="stable")]


def _unpack(keys: Keys, shuffle: _Shuffle) -> Rows:
    """Return the positions that the keys hold, in the memory of the keys."""
    n = len(keys)
    rows = keys.view(np.uint32)
    for part in blocks(n):  # half of what is read is written, and never ahead of the reading
        rows[part] = shuffle.undo(keys[part])
    del rows
    keys.resize((n + 1) // 2, refcheck=False)
    return keys.view(np.uint32)[:n]
