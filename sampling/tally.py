"""Aggregates of values that are all known, group by group."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from thresher.sampling.measures import Measure

__all__ = ["count_by_group", "order_statistic", "tally"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def count_by_group(chosen: npt.NDArray[np.bool_], group: Integers, n_groups: int) -> Integers:
    """Return how many rows of each group are chosen: shape (n_groups,).

    Examples
    --------
    >>> count_by_group(np.array([True, False, True]), np.array([1, 1, 0]), 3).tolist()
    [1, 1, 0]
    """
    if n_groups == 1:
        return np.array([np.count_nonzero(chosen)], dtype=np.int64)
    return np.bincount(group[chosen], minlength=n_groups)


def tally(measure: Measure, values: Floats, group: Integers, n_groups: int) -> Floats:
    """Return a measure of rows whose values are known.

    Parameters
    ----------
    measure : Measure
        What to compute.
    values : ndarray of float64, shape (n_columns, n)
        NaN where a row does not count.
    group : ndarray of int64, shape (n,)
    n_groups : int

    Returns
    -------
    ndarray of float64, shape (n_groups,)
        Counts and sums over no rows are 0, all else over no rows is NaN.

    Examples
    --------
    >>> values = np.array([[1.0, np.nan, 3.0]])
    >>> tally(Measure("mean", 0), values, np.array([0, 0, 0]), 2).tolist()
    [2.0, nan]
    """
    column = values[measure.column]
    counted = ~np.isnan(column)
    number = np.bincount(group[counted], minlength=n_groups).astype(np.float64)
    if measure.kind == "count":
        return number
    if measure.kind in ("quantile", "min", "max"):
        return _ordered(measure, column[counted], group[counted], n_groups)
    total = _totals(column[counted], group[counted], n_groups)
    if measure.kind == "sum":
        return total
    if measure.kind == "ratio":
        under = values[measure.denominator or 0]
        number = _totals(np.nan_to_num(under), group, n_groups)
    return np.where(number == 0, np.nan, total / np.where(number == 0, 1.0, number))


def _totals(value: Floats, group: Integers, n_groups: int) -> Floats:
    return np.bincount(group, weights=value, minlength=n_groups).astype(np.float64)


def _ordered(measure: Measure, column: Floats, group: Integers, n_groups: int) -> Floats:
    """Return an order statistic of every group."""
    out = np.full(n_groups, np.nan)
    order = np.lexsort((column, group))
    column, sizes = column[order], np.bincount(group, minlength=n_groups)
    ends = np.cumsum(sizes)
    for g in np.flatnonzero(sizes):
        out[g] = order_statistic(measure, column[ends[g] - sizes[g] : ends[g]])
    return out


def order_statistic(measure: Measure, ascending: Floats) -> float:
    """Return the minimum, the maximum or the quantile of sorted values, at least one.

    Notes
    -----
    The quantile is the smallest value with at least the share q of the values at or below it: the
    one of rank ceil(q n), which is `quantile_disc` in DuckDB.
    """
    n = len(ascending)
    if measure.kind == "min":
        return float(ascending[0])
    if measure.kind == "max":
        return float(ascending[-1])
    rank = math.ceil((measure.share or 0.0) * n * (1 - 1e-12))
    return float(ascending[min(max(rank, 1), n) - 1])
