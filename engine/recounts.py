"""A label log as arrays, and what is counted in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.label_log import KNOWN, SAME_INPUT

__all__ = ["FACTS", "NO_ANSWER", "Drawn", "Labelled", "Log", "value_stage"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FACTS = "facts"
"""Stage of the values of rows that were known before an estimate bought its first label."""

NO_ANSWER = "no answer"
"""Stage of rows that were asked for an estimate in vain: once for each column they may count in."""

_COLUMNS = ("step", "stage", "row", "truth")
_VALUE_STAGE = re.compile(r"(.*?)(?: of group (\d+))? \[(\d+)\]", re.DOTALL)


def value_stage(stage: str, group: int | None, column: int) -> str:
    """Name the stage under which values stand in a log: one for each group and column.

    Examples
    --------
    >>> value_stage("pilot", None, 0), value_stage("pilot", 3, 1)
    ('pilot [0]', 'pilot of group 3 [1]')
    """
    return f"{stage}{'' if group is None else f' of group {group}'} [{column}]"


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """What a log says of the values in one group, in the order of the log.

    Parameters
    ----------
    rows : ndarray of int64, shape (k,)
        Positions in the population.
    values : ndarray of float64, shape (k, n_columns)
        NaN where a row does not count.
    stage : ndarray of str, shape (k,)
        Stages without group and column.
    aligned : bool
        Whether every column has the same rows in the same order.
    """

    rows: Integers
    values: Floats
    stage: npt.NDArray[np.object_]
    aligned: bool

    def of(self, stages: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return which rows belong to the stages."""
        return np.asarray(np.isin(self.stage, list(stages)), dtype=np.bool_)

    def take(self, rows: npt.NDArray[np.bool_]) -> Labelled:
        """Return some of the rows."""
        return Labelled(self.rows[rows], self.values[rows], self.stage[rows], self.aligned)

    @property
    def bought(self) -> Labelled:
        """The rows that were labelled for the estimate."""
        return self.take(~self.of([FACTS]))


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

    @property
    def n_failed(self) -> int:
        """Rows without a truth."""
        return self.n_sample - self.n_positive - self.n_negative


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
        self.step: Integers = log.column("step").to_numpy().astype(np.int64)
        self.row: Integers = log.column("row").to_numpy().astype(np.int64)
        truth = log.column("truth").cast(pa.int8()).fill_null(-1)
        self.truth: npt.NDArray[np.int8] = truth.to_numpy()
        self._value = np.full(len(self.row), np.nan)
        if "value" in log.column_names:
            self._value = log.column("value").cast(pa.float64()).fill_null(np.nan).to_numpy()
        stages = log.column("stage").combine_chunks().dictionary_encode()
        self._read_stages(stages.dictionary.to_pylist(), np.asarray(stages.indices))

    def _read_stages(self, names: list[str], place: npt.NDArray[np.integer]) -> None:
        """Split the names of value stages: base, group and column of every row of the log."""
        found = [_VALUE_STAGE.fullmatch(name) for name in names]
        bases = [name if m is None else m[1] for name, m in zip(names, found, strict=True)]
        group = [-1 if m is None else int(m[2] or 0) for m in found]
        column = [-1 if m is None else int(m[3]) for m in found]
        self._names, self._stage, self._bases = names, place, bases
        self._group = np.array(group, dtype=np.int64)[place]
        self.column: Integers = np.array(column, dtype=np.int64)[place]

    def _based_on(self, stages: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return which rows belong to the stages, of any group and column."""
        wanted = set(stages)
        numbers = [i for i, base in enumerate(self._bases) if base in wanted]
        return np.asarray(np.isin(self._stage, numbers), dtype=np.bool_)

    def _base(self, places: Integers) -> npt.NDArray[np.object_]:
        """Return the stages of some places of the log, without group and column."""
        names = np.array([*self._bases, None], dtype=object)
        return np.asarray(names[self._stage[places]])

    @property
    def groups(self) -> list[int]:
        """Groups that have values in the log."""
        return [int(group) for group in np.unique(self._group[self.column >= 0])]

    @property
    def labelled(self) -> Integers:
        """Distinct rows that were labelled since the query began, of any stage."""
        return np.unique(self.row[~self._based_on([KNOWN, SAME_INPUT, FACTS])])

    def values(self, group: int) -> Labelled:
        """Return the values of a group, a column for each measured value."""
        mine = (self._group == group) & ~self._based_on([NO_ANSWER])
        places = [np.flatnonzero(mine & (self.column == c)) for c in range(self.n_columns)]
        first = places[0] if places else np.zeros(0, dtype=np.int64)
        rows = self.row[first]
        values = np.full((len(rows), len(places)), np.nan)
        aligned = True
        for c, here in enumerate(places):
            same = np.array_equal(self.row[here], rows)
            same = same and np.array_equal(self._base(here), self._base(first))
            aligned &= same
            if same:
                values[:, c] = self._value[here]
        return Labelled(rows, values, self._base(first), aligned)

    def failed(self, group: int, column: int) -> Integers:
        """Return the rows of a group that may count in a column and have no answer."""
        mine = (self._group == group) & (self.column == column)
        return np.asarray(self.row[mine & self._based_on([NO_ANSWER])], dtype=np.int64)

    @property
    def n_columns(self) -> int:
        """Columns of values."""
        return int(self.column.max(initial=-1)) + 1

    def value_steps(self) -> list[tuple[str, int, int]]:
        """Return (stage, rows, rows that count at all) of the labels of estimates, by group."""
        steps = []
        for group in self.groups:
            one = self.values(group).bought
            counted = np.asarray((~np.isnan(one.values)).any(axis=1), dtype=np.bool_)
            for stage in np.unique(one.stage.astype(str)).tolist():
                mine = one.of([stage])
                steps.append((stage, int(mine.sum()), int(counted[mine].sum())))
        return steps

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
        wanted = set(stages)
        numbers = [i for i, name in enumerate(self._names) if name in wanted]
        return np.asarray(np.isin(self._stage, numbers), dtype=np.bool_)

    @property
    def once(self) -> Integers:
        """The row of every label; values of several columns count once, those of facts not."""
        return self.row[(self.column <= 0) & ~self._based_on([FACTS, NO_ANSWER])]

    @property
    def facts(self) -> Integers:
        """Rows whose values stand in the log although no label was bought for them."""
        return self.row[(self.column >= 0) & self._based_on([FACTS])]

    def steps(self) -> list[tuple[str, int, int]]:
        """Return (stage, rows, positives) of every step of truths."""
        starts = np.flatnonzero(np.diff(self.step, prepend=-1))
        if not len(starts):
            return []
        rows = np.diff(np.append(starts, len(self.step)))
        positive = np.add.reduceat((self.truth == 1).astype(np.int64), starts)
        return [
            (self._names[int(self._stage[s])], int(n), int(p))
            for s, n, p in zip(starts, rows, positive, strict=True)
            if self.column[s] < 0
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

    def positives_of(self, stage: str) -> int:
        """Count the positives of a stage."""
        return int(np.count_nonzero(self.truth[self.of([stage])] == 1))

    def positives_before(self, place: int) -> int:
        """Count the positives that stand in the log before a place."""
        return int(np.count_nonzero(self.truth[: max(0, place)] == 1))

    def negatives_after(self, place: int) -> int:
        """Count the rows from a place of the log on that are negative or have no answer."""
        return int(np.count_nonzero((self.truth[place:] != 1) & (self.column[place:] < 0)))

    @property
    def n_failed(self) -> int:
        """Rows that were asked for a truth and gave none."""
        return int(np.count_nonzero((self.truth < 0) & (self.column < 0)))
