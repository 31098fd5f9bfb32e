"""What an estimation asks for, as the arrays that `thresher.sampling` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.plan import Aggregate, Estimation, Measured
from thresher.population import Population
from thresher.sampling import Column, ErrorTarget, Measure
from thresher.targets import Targets

__all__ = ["Estimands", "error_of", "group_codes"]

Floats = npt.NDArray[np.float64]
_DENSE = 4  # codes for each row, up to which those that occur are found without a sort


def group_codes(
    groups: pa.Table, n_rows: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the groups: the group of every row, and a row of every group."""
    codes, n_groups = np.zeros(n_rows, dtype=np.int64), min(1, n_rows)
    for column in groups.columns:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        n_values = len(encoded.dictionary)
        pairs = codes * n_values + np.asarray(encoded.indices)
        codes, n_groups = _ranks(pairs, n_groups * n_values)
    first = np.empty(n_groups, dtype=np.int64)
    first[codes[::-1]] = np.arange(n_rows)[::-1]  # of equal codes the last one is kept
    return codes, first


def _ranks(codes: npt.NDArray[np.int64], n_codes: int) -> tuple[npt.NDArray[np.int64], int]:
    """Number the codes that occur, in their order, and count them."""
    if n_codes > _DENSE * len(codes):
        found, ranks = np.unique(codes, return_inverse=True)
        return ranks, len(found)
    occurs = np.bincount(codes, minlength=n_codes) > 0
    n_found = int(np.count_nonzero(occurs))
    return (codes if n_found == n_codes else (np.cumsum(occurs) - 1)[codes]), n_found


def error_of(targets: Targets, aggregates: Sequence[Aggregate]) -> ErrorTarget | None:
    """Return the error target in units of the measures, which have no constant factor."""
    error = targets.error
    if error is None:
        return None
    scale = max(abs(a.scale) for a in aggregates)
    within = error.within if error.relative else error.within / max(scale, 1e-300)
    return ErrorTarget(within, error.relative)


@dataclass(frozen=True, slots=True)
class Estimands:
    """The columns and measures of an estimation over one population.

    Parameters
    ----------
    estimation : Estimation
    population : Population
    """

    estimation: Estimation
    population: Population

    def sampled(self) -> tuple[int, ...]:
        """Numbers of the aggregates that hang on what an oracle says."""
        return tuple(i for i, one in enumerate(self.estimation.aggregates) if not self.certain(one))

    def certain(self, aggregate: Aggregate) -> bool:
        """Whether no label can change it."""
        numbers = {aggregate.column, aggregate.denominator} - {None}
        return all(self.estimation.measured[i].certain for i in numbers if i is not None)

    @property
    def decides(self) -> bool:
        """Whether an oracle decides which rows count."""
        estimation = self.estimation
        return bool(estimation.n_conditions) or any(m.condition for m in estimation.measured)

    def column(self, measured: Measured, prediction: Floats | None) -> Column:
        """Return what is known beforehand of the values of a column."""
        if measured.plain is not None:
            plain = self.population.plain[self.estimation.measured.index(measured)]
            if plain is None:
                raise TypeError(f"{measured.text} was not read with the population")
            return Column(plain, plain)
        low = -np.inf if measured.low is None else measured.low
        high = np.inf if measured.high is None else measured.high
        return Column(low, high, prediction)

    def measure(self, aggregate: Aggregate) -> Measure:
        """Return what is asked of the columns."""
        together = False
        if aggregate.denominator is not None:
            above = self.estimation.measured[aggregate.column]
            below = self.estimation.measured[aggregate.denominator]
            together = above.condition == below.condition and self._whole(above, below)
        return Measure(
            aggregate.kind, aggregate.column, aggregate.denominator, aggregate.share, together
        )

    def _whole(self, *measured: Measured) -> bool:
        """Whether no value is missing, so that a row counts in all of them or in none."""
        numbers = [self.estimation.measured.index(m) for m in measured]
        arrays = [self.population.plain[number] for number in numbers]
        return all(array is not None and not np.isnan(array).any() for array in arrays)
