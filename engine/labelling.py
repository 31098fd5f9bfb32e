"""Labels for rows: each distinct input is asked once, paid once and committed at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.bound_oracles import BoundOracle
from thresher.errors import DataError
from thresher.labels import LabelStore, Run
from thresher.permits import Permits
from thresher.plan import OracleCall, SelectionQuery
from thresher.population import Population
from thresher.progress import Found
from thresher.purchases import Purchases
from thresher.sampling import OutOfLabelsError

__all__ = ["BoundOracle", "Labeller", "learn"]

_PARTS = 16  # in which rows that are asked for together are told of


def learn(
    store: LabelStore,
    query: SelectionQuery,
    oracles: Mapping[str, BoundOracle],
    population: Population,
    known_until: int,
) -> None:
    """Make known what the labels in the store decide, up to a sequence number."""
    tables: list[pa.Table | None] = []
    for call in query.calls:
        bound = oracles[call.oracle]
        facts = store.facts(bound.version, known_until)
        columns = {"key": facts.hex_keys(), "value": bound.typed(facts.answers)}
        tables.append(pa.table(columns) if facts.answers else None)
    if any(table is not None for table in tables):
        population.learn(tables, _asked(store, query, oracles, population, tables))
        _check_known(query, population)


def _asked(
    store: LabelStore,
    query: SelectionQuery,
    oracles: Mapping[str, BoundOracle],
    population: Population,
    facts: list[pa.Table | None],
) -> list[pa.Table | None] | None:
    """Return the inputs of facts where this process has seen all of them, else None."""
    schema = population.inputs(np.zeros(0, dtype=np.int64)).schema
    asked: list[pa.Table | None] = []
    for call, table in zip(query.calls, facts, strict=True):
        if table is None:
            asked.append(None)
            continue
        types = [schema.field(name).type for name in call.inputs]
        found = store.seen.find(oracles[call.oracle].version, types, table.column("key"))
        if found is None:
            return None
        asked.append(found.rename_columns(list(call.inputs)))
    return asked


def _check_known(query: SelectionQuery, population: Population) -> None:
    """Refuse a value of a stored label outside the range that an oracle is declared with now."""
    for number, measured in enumerate(query.estimation.measured if query.estimation else ()):
        values = population.values[:, number]
        low = -np.inf if measured.low is None else measured.low
        high = np.inf if measured.high is None else measured.high
        outside = np.flatnonzero((values < low) | (values > high))
        if len(outside) and measured.plain is None:
            raise DataError(
                f"a stored label makes {measured.text} {values[outside[0]]:g}, but its oracle is "
                f"declared with values from {low:g} to {high:g}. Declare it again with a minimum "
                "and maximum that every answer keeps to."
            ).at(query.sql, measured.place.offset, measured.place.length)


class Labeller(Purchases):
    """Answers of the oracles for rows of one population, within a limit.

    It is the `LabelSource` of `thresher.sampling`: asked for rows, it fetches their inputs, takes
    what the store or this query already knows, asks the oracles for the rest in batches, commits
    every batch before it asks the next, and has DuckDB evaluate the formula. The calls of a
    formula are asked one after the other, and only for rows that the calls before leave open; the
    call comes first that decides most rows for its price, by the labels seen so far.

    Parameters
    ----------
    query : SelectionQuery
        The bound query.
    oracles : mapping of str to BoundOracle
        By declared name.
    population : Population
        The rows.
    store : LabelStore
        Where labels are kept.
    run : Run or None
        Place of this query in the store; None when labels of other queries must not be used.
    limit : int
        Most labels this query may be charged for.
    on_batch : callable
        Called with no argument after each committed batch.
    permits : Permits
        Asked before each batch what other budgets still allow.
    prices : mapping of str to float, optional
        What a label of each oracle version costs, in one unit for all; equal where it is not known.
    shielded : callable
        Gives a context in which no interruption comes between an answer and its commit.

    Attributes
    ----------
    n_labels, n_reused, charged, cost_usd, n_tokens, n_asked, asked_s
        As of `Purchases`.
    counts : bool
        Whether to keep count of the rows whose truth is known, for `found`.
    """

    def __init__(
        self,
        query: SelectionQuery,
        oracles: Mapping[str, BoundOracle],
        population: Population,
        store: LabelStore,
        run: Run | None,
        limit: int,
        on_batch: Callable[[], None],
        permits: Permits,
        prices: Mapping[str, float] | None = None,
        shielded: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        super().__init__(query, oracles, store, run, permits, on_batch, shielded)
        self._population, self._limit, self._prices = population, limit, prices or {}
        self._asked = {call.value: [0, 0] for call in self._conditions}  # answered, decided alone
        self._seen: list[tuple[npt.NDArray[np.int64], pa.Table]] = []  # rows and their inputs
        self._broken: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._truth: npt.NDArray[np.int8] | None = None
        self._n_known = self._n_positive = 0
        self.counts = False

    @property
    def _conditions(self) -> tuple[OracleCall, ...]:
        """The calls of WHERE; those after them only give values to aggregates."""
        estimation = self._query.estimation
        return self._query.calls[: None if estimation is None else estimation.n_conditions]

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain, were all inputs new; 0 once stopped."""
        left = max(0, self._limit - self.charged) // max(1, len(self._query.calls))
        return self._permits.rows(self, left)

    @property
    def failed(self) -> npt.NDArray[np.int64]:
        """Rows that no oracle could decide, ascending: sold as negative (ON ORACLE ERROR)."""
        return self._broken

    @property
    def found(self) -> Found | None:
        """What is known of the rows by now; None before the first is, and where nothing counts."""
        if self._truth is None:
            return None
        return Found(len(self._truth), self._n_known, self._n_positive)

    @property
    def truth(self) -> npt.NDArray[np.int8] | None:
        """1 or 0 for rows whose truth is known by now, else -1; None where nothing counts."""
        return self._truth

    def _find(self, rows: npt.NDArray[np.int64], truth: npt.NDArray[np.int8]) -> None:
        """Count rows whose truth is known now."""
        if not self.counts or not self._conditions:
            return
        if self._truth is None:
            self._truth = self._population.known.copy()
            self._n_known = int(np.count_nonzero(self._truth >= 0))
            self._n_positive = int(np.count_nonzero(self._truth > 0))
        new = (self._truth[rows] < 0) & (truth >= 0)
        self._truth[rows[new]] = truth[new]
        self._n_known += int(np.count_nonzero(new))
        self._n_positive += int(np.count_nonzero(new & (truth > 0)))

    @property
    def limit(self) -> int:
        """Most labels that it may be charged for."""
        return self._limit

    def raise_limit(self, limit: int) -> None:
        """Allow more labels, as ON SHORTFALL EXACT asks."""
        self._limit = max(limit, self._limit)

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return whether the formula is true, one truth value per row, in order.

        Raises
        ------
        OutOfLabelsError
            It must stop; the error holds the answers until then.
        """
        answers: list[npt.NDArray[np.bool_]] = [np.zeros(0, dtype=np.bool_)]
        for batch in self._batches(rows):
            try:
                answers.append(np.equal(self._stoppable(batch)[2], 1))
            except OutOfLabelsError:
                raise OutOfLabelsError(np.concatenate(answers)) from None
        return np.concatenate(answers)

    def _stoppable(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[pa.Table, dict[str, pa.Array], npt.NDArray[np.int8]]:
        """Ask as `_ask` does; where a budget is spent, the run stops before the next batch."""
        if not self._permits.rows(self, max(1, len(rows))):
            raise OutOfLabelsError
        with self._spending("stop"):
            return self._ask(rows)

    def _batches(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Cut rows into batches where it may have to stop between them, or tells how far it is."""
        size = len(rows)
        if self.counts and len(self._query.calls) == 1:
            batch = max(1, self._bound(self._query.calls[0]).oracle.batch_size)
            size = -(-size // (_PARTS * batch)) * batch
        if self._permits.early:
            size = max(self._bound(call).oracle.batch_size for call in self._query.calls)
        for start in range(0, len(rows), max(size, 1)):
            yield rows[start : start + size]

    def answers(self, rows: npt.NDArray[np.int64], call: OracleCall) -> pa.Array:
        """Return the answers of one call for rows, in order.

        Raises
        ------
        OutOfLabelsError
            It must stop; the labels bought by then are kept.
        """
        found = (self._stoppable(batch)[1][call.value] for batch in self._batches(rows))
        return pa.concat_arrays([self._bound(call).typed([]), *found])

    def measure(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return what rows count with in each `Measured` of an estimation.

        Returns
        -------
        ndarray of float64, shape (k, n_measured)
            NaN where a row does not count, and where it has no answer.
        """
        if not len(rows):
            return np.empty((0, self._population.values.shape[1]))
        # An estimator asked for these rows together, no more of them than the budgets allow.
        with self._spending("go on"):
            table, values, _ = self._ask(rows)
        measured = self._population.formulas.measure(table, values)
        measured[np.isin(rows, self._broken)] = np.nan
        return measured

    def _ask(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[pa.Table, dict[str, pa.Array], npt.NDArray[np.int8]]:
        """Ask the calls of rows, in turn and only where they matter: inputs, answers, truth."""
        began = time.perf_counter()
        rows = np.asarray(rows, dtype=np.int64)
        table = self._population.inputs(rows)
        self._seen.append((rows, table))
        for call in self._query.calls:
            inputs = table.select(list(call.inputs))
            self._store.seen.add(self._bound(call).version, table.column(call.key), inputs)
        conditions = self._in_order()
        n_conditions = len(conditions)
        truth: npt.NDArray[np.int8] = np.full(len(rows), -1 if n_conditions else 1, dtype=np.int8)
        values = {
            call.value: self._bound(call).typed([None] * len(rows)) for call in self._query.calls
        }
        broken = np.zeros(len(rows), dtype=np.bool_)  # an oracle has failed on them
        for number, call in enumerate((*conditions, *self._query.calls[n_conditions:]), 1):
            if number > n_conditions:
                needed = truth != 0
            else:
                needed = (truth < 0) | (not self._query.monotone)
            open_rows = np.flatnonzero(needed)
            if not len(open_rows):
                continue
            values[call.value] = self._values(call, table, open_rows)
            if failures := self._failures(call):
                keys = table.column(call.key).to_pylist()
                broken[open_rows] |= [keys[row] in failures for row in open_rows.tolist()]
            if number <= n_conditions and (self._query.monotone or number == n_conditions):
                truth = self._population.formulas.evaluate(table, values)
                if number == n_conditions:
                    broken &= (truth < 0) | (not self._query.monotone)
                    truth = np.equal(truth, 1).astype(np.int8)
        self._count(table, values)
        if broken.any():
            self._broken = np.union1d(self._broken, rows[broken])
            truth[broken] = 0
        self._find(rows, np.where(broken, -1, truth).astype(np.int8))
        self.n_asked += len(rows)
        self.asked_s += time.perf_counter() - began
        return table, values, truth

    def _in_order(self) -> list[OracleCall]:
        """Order the calls of WHERE: lowest price for each row that one decides alone comes first.

        By the labels seen so far, so that a repeated run asks in the same order.
        """
        prices = [self._prices.get(self._bound(call).version, 0.0) for call in self._conditions]
        known = all(price > 0.0 for price in prices)

        def dearness(numbered: tuple[int, OracleCall]) -> float:
            number, call = numbered
            answered, decided = self._asked[call.value]
            return (prices[number] if known else 1.0) * (answered + 2) / (decided + 1)

        if not self._query.monotone:
            return list(self._conditions)
        return [call for _, call in sorted(enumerate(self._conditions), key=dearness)]

    def _count(self, table: pa.Table, values: Mapping[str, pa.Array]) -> None:
        """Count how many rows each call of WHERE was answered for, and decides alone."""
        if len(self._conditions) < 2 or not self._query.monotone:
            return
        unknown = {
            call.value: self._bound(call).typed([None] * table.num_rows)
            for call in self._query.calls
        }
        for call in self._conditions:
            answered = values[call.value].is_valid().to_numpy(zero_copy_only=False)
            alone = self._population.formulas.evaluate(
                table, {**unknown, call.value: values[call.value]}
            )
            self._asked[call.value][0] += int(np.count_nonzero(answered))
            self._asked[call.value][1] += int(np.count_nonzero(answered & (alone >= 0)))

    def duplicates(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        """Return the rows that this query's answers decide, whether they were asked for or not.

        Returns
        -------
        rows : ndarray of int64, shape (k,)
            Rows in which at least one call has inputs that were answered.
        truth : ndarray of int8, shape (k,)
            1 true, 0 false, -1 still open.
        """
        if not self._seen:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int8)
        seen = pa.concat_tables([table for _, table in self._seen])
        asked = []
        for call in self._query.calls:
            memory = self._memory(call)
            known = pa.array([key in memory for key in seen.column(call.key).to_pylist()])
            asked.append(seen.filter(known).select(list(call.inputs)))
        rows = self._population.matching(asked)
        table = self._keyed(rows)
        values, settled = {}, np.ones(len(rows), dtype=np.bool_)
        for call in self._query.calls:
            memory, keys = self._memory(call), table.column(call.key).to_pylist()
            values[call.value] = self._bound(call).typed([memory.get(key) for key in keys])
            settled &= np.array([key is None or key in memory for key in keys], dtype=np.bool_)
        truth = self._population.formulas.evaluate(table, values)
        truth = np.where(settled & (truth < 0), 0, truth).astype(np.int8)
        if not self._query.monotone:
            truth[~settled] = -1
        return rows, truth

    def _keyed(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Return keys and parts of ascending rows; those asked for before are not read again."""
        names = [call.key for call in self._query.calls] + [name for name, _ in self._query.parts]
        asked, first = np.unique(np.concatenate([r for r, _ in self._seen]), return_index=True)
        known = np.isin(rows, asked, assume_unique=True)
        old, new = rows[known], rows[~known]
        seen = pa.concat_tables([table.select(names) for _, table in self._seen])
        tables = [seen.take(pa.array(first[np.searchsorted(asked, old)]))]
        if len(new):
            tables.append(self._population.inputs(new).select(names))
        order = np.argsort(np.concatenate([old, new]), kind="stable")
        return pa.concat_tables(tables).take(pa.array(order))
