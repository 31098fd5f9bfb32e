"""How far the points of a large cloud reach in a direction, without a look at all of them again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Farthest", "outer_points"]

Floats = npt.NDArray[np.float64]
_FEW = 2000  # points that are looked at one by one
_CUTS = 5  # directions that a wedge is cut at, its two ends included
_DEPTH = 40
_EXPONENT = 1000


class Farthest:
    """The points that are farthest in some direction of a wedge; narrower wedges keep fewer.

    Parameters
    ----------
    points : ndarray of float64, shape (2, k)
        At least one.
    fan : ndarray of float64, shape (j, 2)
        Directions in the order of their angles, less than 180 degrees between neighbours. They
        span the wedge in which directions are asked for.

    Examples
    --------
    >>> square = np.array([[0.0, 1.0, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0, 0.5]])
    >>> Farthest(square, np.array([[1.0, 0.0], [0.0, 1.0]])).reach(3.0, 1.0)
    4.0
    """

    __slots__ = ("_below", "_fan", "_points", "_tops")

    def __init__(self, points: Floats, fan: Floats) -> None:
        self._points, self._fan = points, fan
        self._tops: Floats | None = None
        self._below: dict[int, Farthest] = {}

    def reach(self, one: float, two: float) -> float:
        """Return the largest one x + two y of the points, where (one, two) is within the wedge."""
        node = self
        for _ in range(_DEPTH):
            if node._points.shape[1] <= _FEW:
                break
            node = node._toward(one, two)
        return float(_along(node._points, (one, two)).max())

    def _toward(self, one: float, two: float) -> Farthest:
        """Return the part of the wedge that a direction lies in."""
        if self._tops is None:
            self._tops = _tops(self._points, self._fan)
        first, last = self._fan[:-1], self._fan[1:]
        turn = np.sign(first[:, 0] * last[:, 1] - first[:, 1] * last[:, 0])
        passed = (first[:, 0] * two - first[:, 1] * one) * turn >= 0
        open_ = np.flatnonzero((turn != 0) & passed)
        k = int(open_[-1]) if len(open_) else 0
        if k not in self._below:
            fan, tops = self._fan[k : k + 2], self._tops[:, k : k + 2]
            points = np.hstack([tops, self._points[:, _above(self._points, tops, fan)]])
            steps = np.linspace(0.0, 1.0, _CUTS)[:, None]
            self._below[k] = Farthest(points, (1 - steps) * fan[:1] + steps * fan[1:])
        return self._below[k]


def outer_points(points: Floats, fan: Floats) -> tuple[Floats, Floats]:
    """Leave out points that are farthest in no direction of a wedge; not all of these go.

    Parameters
    ----------
    points : ndarray of float64, shape (2, k)
        At least one.
    fan : ndarray of float64, shape (j, 2)
        As for `Farthest`.

    Returns
    -------
    ndarray of float64, shape (2, m)
        For the wedge.
    ndarray of float64, shape (2, l)
        For the wedge opposite.
    """
    values = [_along(points, direction) for direction in fan]
    tops = points[:, [int(value.argmax()) for value in values]]
    bottoms = points[:, [int(value.argmin()) for value in values]]
    above, below = _above(points, tops, fan), _above(points, bottoms, -fan)
    return np.hstack([tops, points[:, above]]), np.hstack([bottoms, points[:, below]])


def _along(points: Floats, direction: tuple[float, float] | Floats) -> Floats:
    out = direction[0] * points[0]
    if direction[1]:
        out += direction[1] * points[1]
    return np.asarray(out)


def _tops(points: Floats, fan: Floats) -> Floats:
    """Return the farthest point in every direction of a fan, shape (2, j)."""
    return points[:, [int(_along(points, direction).argmax()) for direction in fan]]


def _above(points: Floats, tops: Floats, fan: Floats) -> npt.NDArray[np.bool_]:
    """Return which points lie beyond the chord between the tops of two neighbours in the fan.

    The normal e of the chord lies between the neighbours, so that a direction d between them is a
    sum of e and one of them, s, with weights >= 0. A point z that is not beyond has e z <= e t,
    and s z <= s t for the top t of s, hence d z <= d t. Both coordinates and all directions are
    scaled to sizes near 1 meanwhile, by powers of two.
    """
    above = np.zeros(points.shape[1], dtype=np.bool_)
    unit = _size(np.abs(points).max(axis=1))  # of each coordinate: what is tiny does not vanish
    fan = fan * unit
    fan = fan / _size(np.abs(fan).max(axis=1))[:, None]
    for k in range(len(fan) - 1):
        chord = (tops[:, k + 1] - tops[:, k]) / unit
        chord = chord / _size(np.abs(chord).max())
        normal = ((fan[k + 1] @ chord) * fan[k] - (fan[k] @ chord) * fan[k + 1]) / unit
        if normal.any():
            above |= _along(points, normal) > _along(tops[:, k : k + 2], normal).max()
    return above


def _size(values: npt.ArrayLike) -> Floats:
    """Return powers of two near magnitudes, which scale without rounding."""
    return np.asarray(np.ldexp(1.0, np.clip(np.frexp(values)[1], -_EXPONENT, _EXPONENT)))
