"""What an aggregate statement asks for, and what comes back: values without behaviour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from thresher.sampling.counts import Stratum
from thresher.sampling.selection import Grade

__all__ = [
    "AggregateEstimate",
    "BettingTest",
    "Column",
    "CountTest",
    "ErrorTarget",
    "ExtremeTest",
    "Measure",
    "MeasureEstimate",
    "NormalTest",
    "QuantileTest",
    "ValueStep",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Kind = Literal["count", "sum", "mean", "ratio", "quantile", "min", "max"]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """What is known beforehand of the values with which rows count.

    Parameters
    ----------
    low, high : float or ndarray of float64, shape (n,)
        Bounds of the value of a row if the row counts. Equal for a plain argument; the declared
        range for an argument that the oracle gives; infinite where there is none; NaN for a row
        that never counts.
    prediction : ndarray of float64, shape (n,), optional
        The proxy's prediction of an argument that the oracle gives; NaN where there is none. It
        decides how wide the interval is, never whether it holds.

    Raises
    ------
    ValueError
        If the arrays have more than one dimension or different lengths.
    """

    low: float | Floats
    high: float | Floats
    prediction: Floats | None = None

    def __post_init__(self) -> None:
        shapes = {name: np.shape(getattr(self, name)) for name in ("low", "high")}
        if self.prediction is not None:
            shapes["prediction"] = np.shape(self.prediction)
        arrays = {shape for shape in shapes.values() if shape}
        if len(arrays) > 1 or any(len(shape) > 1 for shape in arrays):
            shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(
                f"the arrays of a column must have one value a row, got shapes {shown}"
            )


@dataclass(frozen=True, slots=True)
class Measure:
    """One aggregate.

    Parameters
    ----------
    kind : {"count", "sum", "mean", "ratio", "quantile", "min", "max"}
        Over the rows that count in `column`. A ratio is sum over sum.
    column : int
        Position of the column.
    denominator : int, optional
        Position of the column below the line, for ``ratio``.
    share : float, optional
        For ``quantile``: q in (0, 1].
    together : bool
        For ``ratio``: a row counts in both columns or in neither, which narrows the interval.

    Raises
    ------
    ValueError
        If there is no such kind.
    """

    kind: Kind
    column: int
    denominator: int | None = None
    share: float | None = None
    together: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            hint = ' Write "mean".' if str(self.kind).lower() in ("avg", "average") else ""
            known = ", ".join(get_args(Kind))
            raise ValueError(f"the kind of a measure is one of {known}, got {self.kind!r}.{hint}")


@dataclass(frozen=True, slots=True)
class ErrorTarget:
    """How near every estimate must be to the truth.

    Parameters
    ----------
    value : float
        Above 0; below 1 if relative.
    relative : bool
        Whether ``|estimate - t| <= value * |t|`` is meant instead of ``|estimate - t| <= value``,
        for every t of the interval.
    """

    value: float
    relative: bool


@dataclass(frozen=True, slots=True, eq=False)
class ValueStep:
    """Labels bought at once.

    Parameters
    ----------
    stage : str
        Why: ``all``, ``extremes``, ``census``, ``stratum 1``, ``pilot``, ``sample 1``, ...
    rows : ndarray of int64, shape (k,)
        Positions in the arrays that were given.
    values : ndarray of float64, shape (k, n_columns)
        What the source said; NaN where a row does not count.
    """

    stage: str
    rows: Integers
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class CountTest:
    """The strata behind the limits of one count; see `count_limits`.

    Parameters
    ----------
    measure, group : int
        What was counted.
    n_known : int
        Rows known beforehand that count.
    strata : tuple of Stratum
        Their samples are independent.
    level : float
        Failure probability of the two limits together.
    n_known_failed : int
        Rows asked beforehand that may count, and have no answer: none of `n_known`.
    """

    measure: int
    group: int
    n_known: int
    strata: tuple[Stratum, ...]
    level: float
    n_known_failed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class BettingTest:
    """The bets behind one interval of a sum, a mean or a ratio.

    Draw t took row ``rows[t]`` with numerator u and denominator v. Under the null m
    Z_t(m) = A_t - m B_t has mean 0, with A_t = (u - control_u[t]) ``scale[t]`` + ``offset_u[t]``
    and B_t likewise (1 for a sum). The fortunes are the running products of 1 + bet_t w(m) Z_t(m),
    w(m) = 1 for a sum, else spread / (spread + abs(m - centre)).

    Parameters
    ----------
    measure, group : int
        What was estimated.
    rows : ndarray of int64, shape (k,)
        Rows drawn, in order.
    scale, offset_u, offset_v, control_u, control_v : ndarray of float64, shape (k,)
        Fixed before each draw.
    bets : ndarray of float64, shape (k, 4)
        Bets on Z > 0 and on Z < 0 for nulls from `centre` downwards, then for nulls from there
        upwards. A sum uses the last two.
    centre, spread : float
        Fixed before the first draw.
    level : float
        A null is refuted when a fortune has reached 2 / level.
    certain : tuple of float
        What the measure lay between for certain before the first draw.
    """

    measure: int
    group: int
    rows: Integers
    scale: Floats
    offset_u: Floats
    offset_v: Floats
    control_u: Floats
    control_v: Floats
    bets: Floats
    centre: float
    spread: float
    level: float
    certain: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True, eq=False)
class QuantileTest:
    """The bets behind one interval of a quantile.

    Parameters
    ----------
    measure, group : int
        What was estimated.
    nodes : ndarray of float64, shape (m,)
        Values that were tested, ascending, fixed before the first draw of `rows`.
    rows : ndarray of int64, shape (k,)
        Rows drawn, in order.
    passed : ndarray of float64, shape (m, 2)
        Largest logarithm of the fortune against "the quantile is at most this node", and against
        "it is at least this node".
    level : float
        A statement is refuted when a fortune has reached 2 / level.
    """

    measure: int
    group: int
    nodes: Floats
    rows: Integers
    passed: Floats
    level: float


@dataclass(frozen=True, slots=True)
class ExtremeTest:
    """How many rows that count may lie beyond the extreme that was found.

    Parameters
    ----------
    measure, group : int
        What was estimated.
    n_beyond : int
        No more than so many, at `level` / 2 (E1 in the guarantees).
    n_counted : float
        At least so many rows count, at `level` / 2.
    level : float
        Failure probability of the two together; 0 where the extreme is certain.
    count : BettingTest or None
        The bets behind `n_counted`.
    """

    measure: int
    group: int
    n_beyond: int
    n_counted: float
    level: float
    count: BettingTest | None = None


@dataclass(frozen=True, slots=True)
class NormalTest:
    """The strata behind one interval by normal approximation.

    Parameters
    ----------
    measure, group : int
        What was estimated.
    strata : tuple of Stratum
        Their samples are independent; `n_found` rows of each count in the measure's column.
    level : float
        Failure probability of the interval, in the limit of many labels.
    """

    measure: int
    group: int
    strata: tuple[Stratum, ...]
    level: float


@dataclass(frozen=True, slots=True, eq=False)
class MeasureEstimate:
    """One aggregate in every group.

    Parameters
    ----------
    estimate : ndarray of float64, shape (n_groups,)
        Within [low, high]; NaN where no row counts for certain.
    low, high : ndarray of float64, shape (n_groups,)
        Limits; infinite where nothing is known.
    beyond : ndarray of float64, shape (n_groups,), or None
        For ``min`` and ``max``: at most this share of the rows that count lies beyond `estimate`.
    """

    estimate: Floats
    low: Floats
    high: Floats
    beyond: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AggregateEstimate:
    """The answer to an aggregate statement.

    Parameters
    ----------
    measures : tuple of MeasureEstimate
        One for each measure asked for; all their limits hold together with probability at least
        1 - delta.
    met : bool
        Whether the error target is kept by every interval; true where none was asked for.
    steps : tuple of ValueStep
        Every label bought, in order.
    tests : tuple
        One record for each interval that is not certain.
    delta : float
        Failure probability of all limits together.
    algorithm : str
        What was done.
    grade : Grade
        What the promise rests on.
    assumption : str or None
        What the grade assumes, in words.
    """

    measures: tuple[MeasureEstimate, ...]
    met: bool
    steps: tuple[ValueStep, ...]
    tests: tuple[CountTest | BettingTest | QuantileTest | ExtremeTest | NormalTest, ...]
    delta: float
    algorithm: str
    grade: Grade = "distribution-free"
    assumption: str | None = None
