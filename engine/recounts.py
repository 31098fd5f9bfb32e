"""A label log as arrays, and what is counted in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Drawn", "Log"]

_COLUMNS = ("step", "stage", "row", "truth")


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the log says of one sample.

    Parameters
    ----------
    n_sample, n_positive, n_negative : int
        Rows of its stages, and those with either truth; a row with none failed.
    first, last : int
        Its first place in the log, and the one after its last.
    """

    n_sample: int
    n_positive: int
    n_negative: int
    first: int
    last: int


class Log:
    """The columns of a label log.

    Attributes
    ----------
    step, row : ndarray of int64
    truth : ndarray of int8
        1 positive, 0 negative, -1 none.
    """

    def __init__(self, log: pa.Table) -> None:
        missing = [name for name in _COLUMNS if name not in log.column_names]
        if missing:
            raise ValueError(f"a label log has a column {missing[0]!r}, got {log.column_names}")
        self.step = log.column("step").to_numpy().astype(np.int64)
        self.row = log.column("row").to_numpy().astype(np.int64)
        self._stage = np.array(log.column("stage").to_pylist(), dtype=object)
        truth = log.column("truth").cast(pa.int8()).fill_null(-1)
        self.truth: npt.NDArray[np.int8] = truth.to_numpy()

    @property
    def n_positive(self) -> int:
        """Rows that are known to be positive in the end."""
        return int(np.count_nonzero(self.truth == 1))

    @property
    def n_negative(self) -> int:
        """Rows that are known to be negative in the end."""
        return int(np.count_nonzero(self.truth == 0))

    def of(self, stages: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return which rows belong to the stages."""
        return np.asarray(np.isin(self._stage, list(stages)), dtype=np.bool_)

    def steps(self) -> list[tuple[str, int, int]]:
        """Return (stage, rows, positives) of every step."""
        starts = np.flatnonzero(np.diff(self.step, prepend=-1))
        if not len(starts):
            return []
        rows = np.diff(np.append(starts, len(self.step)))
        positive = np.add.reduceat((self.truth == 1).astype(np.int64), starts)
        return [
            (str(self._stage[s]), int(n), int(p))
            for s, n, p in zip(starts, rows, positive, strict=True)
        ]

    def drawn(self, stages: Iterable[str]) -> Drawn:
        """Count a sample."""
        places = np.flatnonzero(self.of(stages))
        first = int(places[0]) if len(places) else len(self.row)
        last = int(places[-1]) + 1 if len(places) else first
        truth = self.truth[places]
        return Drawn(
            len(places),
            int(np.count_nonzero(truth == 1)),
            int(np.count_nonzero(truth == 0)),
            first,
            last,
        )

    def unbroken(self, stages: Sequence[str]) -> bool:
        """Return whether no other label was bought between the rows of a sample."""
        drawn = self.drawn(stages)
        return drawn.last - drawn.first == drawn.n_sample

    def n_of(self, stage: str) -> int:
        """Count the rows of a stage."""
        return int(np.count_nonzero(self.of([stage])))

    def positives_before(self, place: int) -> int:
        """Count the positives that stand in the log before a place."""
        return int(np.count_nonzero(self.truth[: max(0, place)] == 1))

    def negatives_after(self, place: int) -> int:
        """Count the negatives from a place of the log on."""
        return int(np.count_nonzero(self.truth[place:] == 0))
