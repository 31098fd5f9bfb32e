"""Answers of oracles that the rows which come back show, or are ordered by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.certificate import OutputReport
from thresher.errors import BudgetError, Error, ProgrammingError
from thresher.plan import OracleCall, Outputs
from thresher.population import Population
from thresher.reports import counted
from thresher.running import Running
from thresher.shortfalls import kept

__all__ = ["Shown", "Watched", "check_outputs", "show_outputs"]

Rows = npt.NDArray[np.int64]

_FIRST = 64  # rows of WHERE that are labelled before the first count; twice as many each time
_MARGIN = 1.1  # another sample may return some more rows


@dataclass(frozen=True, slots=True)
class Shown:
    """Answers for the rows that come back.

    Parameters
    ----------
    labels : dict of str to pyarrow.Array
        By the column that stands for them: one for each row that is returned, NULL where an input
        is NULL or LIMIT leaves the row out.
    reports : tuple of OutputReport
        What was asked, for the certificate.
    """

    labels: dict[str, pa.Array]
    reports: tuple[OutputReport, ...]


def check_outputs(population: Population, sql: str, outputs: Outputs) -> None:
    """Bind the arguments of the calls before a label is bought.

    Raises
    ------
    ProgrammingError
        An argument is no expression over FROM.
    """
    for call in outputs.calls:
        try:
            population.inputs(np.empty(0, dtype=np.int64), (call,))
        except duckdb.BinderException as error:
            message = str(error).removeprefix("Binder Error: ").splitlines()[0]
            raise ProgrammingError(
                f"{message} The arguments of an oracle are expressions over FROM; an alias of the "
                "SELECT list is none."
            ).at(sql, call.place.offset, call.place.length) from error


def show_outputs(
    run: Running, outputs: Outputs, returned: npt.NDArray[np.bool_], note: str | None = None
) -> Shown:
    """Ask the oracles for the rows that come back.

    Parameters
    ----------
    run : Running
        Its rows are decided.
    outputs : Outputs
        The calls.
    returned : ndarray of bool, shape (n_rows,)
        Rows that WHERE, or the targets, return.
    note : str or None
        What the reader must know of how they were selected, for errors.

    Raises
    ------
    BudgetError
        The answers would cost more labels than may be bought; none of them was.
    """
    run.enter("show")
    return _Asking(run, outputs, returned, note).shown()


class _Asking:
    """Asks the calls of one statement for the rows that come back."""

    def __init__(
        self, run: Running, outputs: Outputs, returned: npt.NDArray[np.bool_], note: str | None
    ) -> None:
        self.run, self.outputs, self.returned, self.note = run, outputs, returned, note
        self.rows = np.flatnonzero(returned)
        self.labels: dict[str, pa.Array] = {}
        self.reports: dict[str, OutputReport] = {}

    def shown(self) -> Shown:
        late = np.array(self.outputs.late)
        if not self.run.population.answering.one_to_one:
            late[:] = False
        self._ask(~late, self.rows, "returned")
        if late.any():
            left = self.run.population.left(self.returned, self.labels)
            self._ask(late, left, "that LIMIT leaves")
        return Shown(self.labels, tuple(self.reports[column] for column in self.outputs.columns))

    def _ask(self, which: npt.NDArray[np.bool_], rows: Rows, what: str) -> None:
        """Ask some of the calls for some of the rows."""
        numbers = np.flatnonzero(which).tolist()
        calls = tuple(self.outputs.calls[i] for i in numbers)
        if not calls:
            return
        table, labeller = self.run.population.inputs(rows, calls), self.run.labeller
        self._afford(calls, table, what)
        places = np.searchsorted(self.rows, rows)
        for i, call in zip(numbers, calls, strict=True):
            before = labeller.n_labels
            found = labeller.values(call, table)
            column, text = self.outputs.columns[i], _written(self.run, call)
            self.reports[column] = OutputReport(text, len(rows), labeller.n_labels - before)
            self.labels[column] = _placed(found, places, len(self.rows))

    def _afford(self, calls: Sequence[OracleCall], table: pa.Table, what: str) -> None:
        """Refuse answers that would take more labels than are left."""
        run = self.run
        needed = run.labeller.price(calls, table)
        if needed <= _allowed(run) - run.labeller.charged:
            return
        dear = [call for call in calls if run.labeller.price((call,), table)]
        what = f"{counted(needed, 'label')} for the {counted(table.num_rows, 'row')} {what}"
        if run.targets.kind not in ("exact", "rows"):
            needed = math.ceil(_MARGIN * needed)
        raise _too_dear(run, dear, what, needed, note=self.note)


def _placed(values: pa.Array, places: Rows, size: int) -> pa.Array:
    """Return values at some places, NULL elsewhere."""
    if len(places) == size:
        return values
    indices = np.full(size, -1, dtype=np.int64)
    indices[places] = np.arange(len(places))
    return values.take(pa.array(indices, mask=indices < 0))


def _allowed(run: Running) -> int:
    """Most labels that the whole statement may be charged for."""
    asked, cap = run.query.tail.oracle_limit, run.env.oracle_limit
    beyond = asked is not None and run.labeller.limit > asked  # as ON SHORTFALL EXACT asks
    return cap if asked is None or beyond else min(asked, cap)


def _written(run: Running, call: OracleCall) -> str:
    """Return a call as the user wrote it."""
    text = run.query.sql[call.place.offset : call.place.offset + call.place.length]
    return " ".join(text.split())


class Watched:
    """Sells the labels of WHERE where every candidate is to be labelled.

    It counts what the rows that come back will take, and stops as soon as the limit of the
    statement cannot do for both: before the first label where WHERE takes all of it.

    Parameters
    ----------
    run : Running
        Whose labels they are.
    outputs : Outputs
        What its rows show.

    Attributes
    ----------
    remaining : int
        Rows that can still be labelled for certain.
    """

    def __init__(self, run: Running, outputs: Outputs) -> None:
        asked = {(call.oracle, call.arguments) for call in run.query.calls}
        self._run, self._labeller = run, run.labeller
        self._allowed = _allowed(run)
        # What WHERE asks of every row anyway, and what only a few rows need, is left out.
        self._calls = tuple(
            call
            for call, late in zip(outputs.calls, outputs.late, strict=True)
            if not late and (call.oracle, call.arguments) not in asked
        )

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain."""
        return self._labeller.remaining

    def __call__(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return whether the formula is true, one truth value per row, in order.

        Raises
        ------
        BudgetError
            WHERE and the rows that come back would take more labels than allowed.
        """
        if self._fits(len(rows)):
            return self._labeller(rows)
        open_ = self._surely(rows)
        found = np.flatnonzero(self._run.known == 1)
        self._check(found, open_, None)
        if open_ and self._labeller.charged + open_ >= self._allowed and self._price(rows):
            raise self._nothing_left(open_)
        answers = [np.zeros(0, dtype=np.bool_)]
        start, size = 0, _FIRST
        while start < len(rows):
            batch, before = rows[start : start + size], self._labeller.charged
            answers.append(self._labeller(batch))
            found = np.concatenate([found, batch[answers[-1]]])
            open_ = max(0, open_ - (self._labeller.charged - before))
            start, size = start + len(batch), 2 * size
            self._check(found, open_, start / len(rows))
        return np.concatenate(answers)

    def _fits(self, n_rows: int) -> bool:
        """Whether the limit does in any case."""
        most = n_rows * len(self._run.query.calls) + self._run.population.n_rows * len(self._calls)
        return not self._calls or self._labeller.charged + most <= self._allowed

    def _surely(self, rows: Rows) -> int:
        """Labels that WHERE takes in any case: of several calls not every one must be asked."""
        calls = self._run.query.calls
        if len(calls) > 1:
            return 0
        return self._labeller.price(calls, self._run.population.inputs(rows))

    def _price(self, rows: Rows) -> int:
        if not len(rows):
            return 0
        return self._labeller.price(self._calls, self._run.population.inputs(rows, self._calls))

    def _check(self, found: Rows, open_: int, share: float | None) -> None:
        """Stop where the rows found, in this share of the candidates, take more than is left."""
        needed, n_known = self._price(found), int(np.count_nonzero(self._run.known == 1))
        if self._labeller.charged + open_ + needed <= self._allowed:
            return
        every = most = needed
        if share is not None and share < 1:
            n_new, each = len(found) - n_known, needed / len(found)
            every = math.ceil(each * (n_known + n_new / share))
            # Twice the deviation of a Poisson count above it, and as much as none can hide.
            most = math.ceil(each * (n_known + (n_new + 2 * math.sqrt(n_new) + 2) / share))
            most = min(most, self._run.population.n_rows * len(self._calls))
        what = f"{counted(needed, 'label')} for the {counted(len(found), 'row')} found so far"
        what += f" and about {every:,} for all" if every > needed else ""
        what += f", besides {open_:,} that WHERE still takes" if open_ else ""
        raise _too_dear(self._run, self._calls, what, most, also=open_)

    def _nothing_left(self, open_: int) -> Error:
        """Say that WHERE takes the whole limit."""
        run, call = self._run, self._calls[0]
        enough = self._labeller.charged + open_
        enough += self._price(np.arange(run.population.n_rows))
        error = BudgetError(
            f"WHERE takes {counted(open_, 'label')}, and {_written(run, call)} one for each row "
            f"that comes back, but {self._allowed:,} may be bought in all. {_pay(run, enough)}, "
            "which is enough in any case; or narrow WHERE with conditions that need no oracle.",
            spent=run.labeller.n_labels,
        )
        return error.at(run.query.sql, call.place.offset, call.place.length)


def _pay(run: Running, total: int) -> str:
    """Say what to write for so many labels in all."""
    asked, cap = run.query.tail.oracle_limit, run.env.oracle_limit
    ways = [f"SET thresher_oracle_limit = {total}"] if cap < total else []
    if asked is not None and asked < total:
        ways.append(f"write ORACLE LIMIT {total}" if ways else f"Write ORACLE LIMIT {total}")
    return " and ".join(ways)


def _too_dear(
    run: Running,
    calls: Sequence[OracleCall],
    what: str,
    needed: int,
    *,
    also: int = 0,
    note: str | None = None,
) -> Error:
    """Say what the answers for the rows returned would cost; `also` is what WHERE still takes."""
    spent, most = run.labeller.charged, _allowed(run)
    total = spent + also + needed
    if run.targets.kind in ("recall", "precision"):
        # A larger limit means a larger sample too: see `thresher.reserving.sample_limit`.
        total = needed + max(min(needed, run.env.settings.count("default_budget")), run.limit)
        rows = run.n_unknown * len(run.query.calls) + run.population.n_rows * len(calls)
        total = min(total, spent + rows)
    ways = [_pay(run, total)]
    ways += ["or narrow WHERE"] if run.query.answer.limit else ["narrow WHERE", "or add LIMIT"]
    error = BudgetError(
        f"{_written(run, calls[0])} needs {what}, but only {max(0, most - spent):,} of {most:,} "
        f"are left. {', '.join(ways)} ({kept(run)}).{f' Why so many: {note}' if note else ''}",
        spent=run.labeller.n_labels,
    )
    place = calls[0].place
    return error.at(run.query.sql, place.offset, place.length)
