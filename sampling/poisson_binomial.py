"""The distribution of a count of independent rows with unequal chances (Poisson binomial)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ERROR", "CountLaw", "count_law"]

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

ERROR = 1e-9
"""Bound of the absolute error of every probability that `CountLaw` returns."""

_POWERS = 20
_DIRECT = 0.1  # chances above this are not expanded while the spread is small
_WIDE = 400.0  # variance from which every chance is expanded
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class CountLaw:
    """Distribution of a count, on the window outside of which it has no mass worth 1e-12.

    Parameters
    ----------
    first : int
        The count of the first entry; at least 0.
    chances : ndarray of float64, shape (w,)
        P(count = first), P(count = first + 1), ...
    """

    first: int
    chances: Floats

    def cdf(self, counts: npt.ArrayLike) -> Floats:
        """Return P(count <= c) for each integer c."""
        total = np.concatenate([[0.0], np.cumsum(self.chances)])
        place = np.asarray(counts, dtype=np.int64) - self.first + 1
        out = total[np.clip(place, 0, len(self.chances))]
        return np.asarray(np.where(place >= len(self.chances), 1.0, np.clip(out, 0.0, 1.0)))

    def at_least(self, count: int) -> float:
        """Return P(count >= `count`)."""
        return 1.0 - float(self.cdf(count - 1))


def count_law(chances: Floats) -> CountLaw:
    """Return the distribution of the number of successes of independent trials.

    Parameters
    ----------
    chances : ndarray of float64, shape (n,)
        Success probabilities in [0, 1].

    Returns
    -------
    CountLaw

    Notes
    -----
    The characteristic function is inverted by one FFT over a window of about 16 standard
    deviations, outside of which Bernstein's inequality leaves less than 1e-12. A chance p above
    one half is replaced by its complement; ``log(1 + p z)`` of small p, and of all p once the
    variance exceeds 400 and only small z matter, is expanded in 20 powers of p that are summed
    over all trials at once. So it takes O(n) time and O(n) memory for any n, and its probabilities
    are exact up to `ERROR`.

    Examples
    --------
    >>> law = count_law(np.array([0.5, 0.5, 1.0]))
    >>> law.cdf([0, 1, 2, 3]).round(6).tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    p = np.asarray(chances, dtype=np.float64)
    likely = p > 0.5
    shift = int(np.count_nonzero(likely))
    mean, variance = float(p.sum()), float((p * (1 - p)).sum())
    reach = 8.0 * np.sqrt(variance) + 45.0
    first = max(0, int(np.floor(mean - reach)))
    last = min(len(p), int(np.ceil(mean + reach)))
    width = 1 << max(3, int(2 * reach + 2).bit_length())
    turn = 2 * np.pi * np.arange(width // 2 + 1) / width
    # Beyond these frequencies the characteristic function is below exp(-40).
    turn = turn[4 * variance * np.sin(turn / 2) ** 2 <= 80.0]
    z = np.exp(1j * turn) - 1
    log = _log_factors(p[~likely], z, variance) + np.conj(_log_factors(1 - p[likely], z, variance))
    spectrum = np.zeros(width // 2 + 1, dtype=np.complex128)
    spectrum[: len(turn)] = np.conj(np.exp(log + 1j * turn * (shift - first)))
    law = np.fft.irfft(spectrum, width)[: last - first + 1]
    return CountLaw(first, np.maximum(law, 0.0))


def _log_factors(p: Floats, z: Complexes, variance: float) -> Complexes:
    """Return the sum over p, each at most one half, of log(1 + p z)."""
    expanded = p if variance > _WIDE else p[p <= _DIRECT]
    total = np.zeros(len(z), dtype=np.complex128)
    power = expanded.copy()
    for j in range(1, _POWERS + 1):
        total += (-1) ** (j + 1) * power.sum() * z**j / j
        power *= expanded
    if variance <= _WIDE:
        direct = p[p > _DIRECT]
        step = max(1, _BLOCK // len(z))
        for start in range(0, len(direct), step):
            total += np.log1p(direct[start : start + step, None] * z).sum(axis=0)
    return total
