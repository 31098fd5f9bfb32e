"""Answers of oracles that the rows which come back show, or are ordered by."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.certificate import OutputReport
from thresher.errors import BudgetError, Error, ProgrammingError
from thresher.plan import Outputs
from thresher.population import Population
from thresher.running import Running

__all__ = ["Shown", "check_outputs", "show_outputs"]

Rows = npt.NDArray[np.int64]


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


def show_outputs(run: Running, outputs: Outputs, returned: npt.NDArray[np.bool_]) -> Shown:
    """Ask the oracles for the rows that come back.

    Parameters
    ----------
    run : Running
        Its rows are decided.
    outputs : Outputs
        The calls.
    returned : ndarray of bool, shape (n_rows,)
        Rows that WHERE, or the targets, return.

    Raises
    ------
    BudgetError
        The answers would cost more labels than may be bought; none of them was.
    """
    run.enter("show")
    rows = np.flatnonzero(returned)
    late = np.array(outputs.late)
    if not run.population.answering.one_to_one:
        late[:] = False
    labels: dict[str, pa.Array] = {}
    reports: dict[str, OutputReport] = {}
    _ask(run, outputs, ~late, rows, np.arange(len(rows)), labels, reports)
    if late.any():
        left = run.population.left(returned, labels)
        _ask(run, outputs, late, left, np.searchsorted(rows, left), labels, reports, len(rows))
    return Shown(labels, tuple(reports[column] for column in outputs.columns))


def _ask(
    run: Running,
    outputs: Outputs,
    which: npt.NDArray[np.bool_],
    rows: Rows,
    places: Rows,
    labels: dict[str, pa.Array],
    reports: dict[str, OutputReport],
    n_returned: int | None = None,
) -> None:
    """Ask some of the calls for some of the rows, at these places among the returned ones."""
    numbers = np.flatnonzero(which).tolist()
    calls = tuple(outputs.calls[i] for i in numbers)
    if not calls:
        return
    table = run.population.inputs(rows, calls)
    needed, left = run.labeller.price(calls, table), _left(run)
    if needed > left:
        raise _too_dear(run, needed, left, len(rows))
    for i, call in zip(numbers, calls, strict=True):
        before = run.labeller.n_labels
        found = run.labeller.values(call, table)
        bought = run.labeller.n_labels - before
        column = outputs.columns[i]
        text = run.query.sql[call.place.offset : call.place.offset + call.place.length]
        reports[column] = OutputReport(" ".join(text.split()), len(rows), bought)
        labels[column] = _placed(found, places, len(rows) if n_returned is None else n_returned)


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
    return cap if asked is None else min(asked, cap)


def _left(run: Running) -> int:
    return max(0, _allowed(run) - run.labeller.charged)


def _too_dear(run: Running, needed: int, left: int, n_rows: int) -> Error:
    """Say what the answers for the rows returned would cost."""
    spent, cap, asked = run.labeller.charged, run.env.oracle_limit, run.query.tail.oracle_limit
    # A single target's sample takes thresher_default_budget of a higher limit.
    sampled = run.targets.kind in ("recall", "precision") and asked is not None
    budget = run.env.settings.count("default_budget")
    total = needed + (max(spent, min(budget, run.population.n_rows)) if sampled else spent)
    ways = []
    if asked is not None and asked < total:
        ways.append(f"write ORACLE LIMIT {total}")
    if cap < total:
        ways.append(f"SET thresher_oracle_limit = {total}")
    error = BudgetError(
        f"the oracle calls outside WHERE would take {needed:,} labels for the {n_rows:,} rows "
        f"returned, but only {left:,} of {_allowed(run):,} are left. Three ways on: "
        f"{' and '.join(ways)} (the {run.labeller.n_labels:,} labels bought so far are reused); "
        "narrow WHERE; or leave the calls out of all but a few rows with LIMIT.",
        spent=run.labeller.n_labels,
    )
    place = run.query.all_calls[len(run.query.calls)].place
    return error.at(run.query.sql, place.offset, place.length)
