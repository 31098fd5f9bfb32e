"""Labels for rows: each distinct input is asked once, paid once and committed at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.bound_oracles import BoundOracle
from thresher.budgets import Spent
from thresher.errors import DataError, Error
from thresher.labels import Label, LabelStore, Run
from thresher.oracles import Answers
from thresher.permits import OnSpent, Permits
from thresher.plan import OracleCall, SelectionQuery
from thresher.population import Population
from thresher.sampling import OutOfLabelsError

__all__ = ["BoundOracle", "Labeller", "learn"]


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
        population.learn(tables)
        _check_known(query, population)


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


class Labeller:
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
    n_labels : int
        Distinct inputs that the oracles were asked.
    n_reused : int
        Distinct inputs whose answer came from the store.
    charged : int
        Labels counted against the limit: those bought now, and those that an earlier run of this
        very query bought.
    cost_usd : float
        Price of the labels bought.
    n_tokens : int or None
        Tokens read and written for them; None where an oracle did not count them.
    n_asked, asked_s : int, float
        Rows asked for, whether bought or known, and the seconds that took.
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
        self._query, self._oracles = query, oracles
        self._population, self._store, self._run = population, store, run
        self._limit, self._on_batch, self._permits = limit, on_batch, permits
        self._shielded = shielded
        self._on_spent: OnSpent = "fail"
        self._answers: dict[str, dict[str, Label]] = {}
        self._prices = prices or {}
        self._asked = {call.value: [0, 0] for call in self._conditions}  # answered, decided alone
        self._seen: list[pa.Table] = []
        self.n_labels = self.n_reused = self.charged = 0
        self.cost_usd, self.n_asked, self.asked_s = 0.0, 0, 0.0
        self.n_tokens: int | None = 0

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
    def spent(self) -> Spent:
        """What the labels bought by now took, without their time."""
        return Spent(self.n_labels, self.n_tokens or 0, 0.0, self.cost_usd)

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

    @contextmanager
    def _spending(self, how: OnSpent) -> Iterator[None]:
        """Say what is done inside once a budget is spent."""
        self._on_spent = how
        try:
            yield
        finally:
            self._on_spent = "fail"

    def _batches(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Cut rows into batches where it may have to stop between them."""
        size = len(rows)
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
        found = [self._bound(call).typed([])]
        for batch in self._batches(rows):
            found.append(self._stoppable(batch)[1][call.value])
        return pa.concat_arrays(found)

    def price(self, calls: Sequence[OracleCall], table: pa.Table) -> int:
        """Return how many labels the calls of some rows would take.

        Parameters
        ----------
        calls : sequence of OracleCall
            Calls, inside the formula or not.
        table : pyarrow.Table
            Their inputs and keys, as `Population.inputs` returns them.
        """
        wanted: dict[tuple[str, str], set[str]] = {}
        for call in calls:
            bound = self._bound(call)
            keys = set(table.column(call.key).to_pylist()) - {None} - set(self._memory(call))
            wanted.setdefault((bound.name, bound.version), set()).update(keys)
        stored = 0
        if self._run is not None:
            stored = sum(
                len(self._store.get(version, list(keys))) for (_, version), keys in wanted.items()
            )
        return sum(map(len, wanted.values())) - stored

    def values(self, call: OracleCall, table: pa.Table) -> pa.Array:
        """Return the answers of one call for rows whose inputs are given; NULL for NULL inputs."""
        return self._values(call, table, np.arange(table.num_rows))

    def measure(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return what rows count with in each `Measured` of an estimation.

        Returns
        -------
        ndarray of float64, shape (k, n_measured)
            NaN where a row does not count.
        """
        if not len(rows):
            return np.empty((0, self._population.values.shape[1]))
        # An estimator asked for these rows together, no more of them than the budgets allow.
        with self._spending("go on"):
            table, values, _ = self._ask(rows)
        return self._population.measure(table, values)

    def _ask(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[pa.Table, dict[str, pa.Array], npt.NDArray[np.int8]]:
        """Ask the calls of rows, in turn and only where they matter: inputs, answers, truth."""
        began = time.perf_counter()
        table = self._population.inputs(np.asarray(rows, dtype=np.int64))
        self._seen.append(table)
        conditions = self._in_order()
        n_conditions = len(conditions)
        truth: npt.NDArray[np.int8] = np.full(len(rows), -1 if n_conditions else 1, dtype=np.int8)
        values = {
            call.value: self._bound(call).typed([None] * len(rows)) for call in self._query.calls
        }
        for number, call in enumerate((*conditions, *self._query.calls[n_conditions:]), 1):
            if number > n_conditions:
                needed = truth != 0
            else:
                needed = (truth < 0) | (not self._query.monotone)
            open_rows = np.flatnonzero(needed)
            if not len(open_rows):
                continue
            values[call.value] = self._values(call, table, open_rows)
            if number <= n_conditions and (self._query.monotone or number == n_conditions):
                truth = self._population.evaluate(table, values)
                if number == n_conditions:
                    truth = np.equal(truth, 1).astype(np.int8)
        self._count(table, values)
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
            alone = self._population.evaluate(table, {**unknown, call.value: values[call.value]})
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
        seen = pa.concat_tables(self._seen)
        asked = []
        for call in self._query.calls:
            memory = self._memory(call)
            known = pa.array([key in memory for key in seen.column(call.key).to_pylist()])
            asked.append(seen.filter(known).select(list(call.inputs)))
        rows = self._population.matching(asked)
        table = self._population.inputs(rows)
        values, settled = {}, np.ones(len(rows), dtype=np.bool_)
        for call in self._query.calls:
            memory, keys = self._memory(call), table.column(call.key).to_pylist()
            values[call.value] = self._bound(call).typed([memory.get(key) for key in keys])
            settled &= np.array([key is None or key in memory for key in keys], dtype=np.bool_)
        truth = self._population.evaluate(table, values)
        truth = np.where(settled & (truth < 0), 0, truth).astype(np.int8)
        if not self._query.monotone:
            truth[~settled] = -1
        return rows, truth

    def _bound(self, call: OracleCall) -> BoundOracle:
        return self._oracles[call.oracle]

    def _memory(self, call: OracleCall) -> dict[str, Label]:
        return self._answers.setdefault(self._bound(call).version, {})

    def _values(self, call: OracleCall, table: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Answers of one call at `rows`, NULL elsewhere and where an input is NULL."""
        column = table.column(call.key).combine_chunks()
        wanted = rows[np.asarray(column.take(pa.array(rows)).is_valid())]
        distinct = column.take(pa.array(wanted)).dictionary_encode()
        keys, codes = distinct.dictionary.to_pylist(), np.asarray(distinct.indices)
        first = np.empty(len(keys), dtype=np.int64)
        first[codes[::-1]] = wanted[::-1]
        self._learn(call, table, dict(zip(keys, first.tolist(), strict=True)))
        answers = self._bound(call).typed(list(map(self._memory(call).__getitem__, keys)))
        if (wrong := self._bound(call).outside(answers)) is not None:
            batch = self._batch(call, table.slice(int(first[wrong]), 1))
            with self._failing(call):
                raise self._bound(call).refused(answers[wrong].as_py(), batch)
        places = np.zeros(table.num_rows, dtype=np.int64)
        places[wanted] = codes
        missing = np.ones(table.num_rows, dtype=np.bool_)
        missing[wanted] = False
        return answers.take(pa.array(places, mask=missing))

    def _learn(self, call: OracleCall, table: pa.Table, first: Mapping[str, int]) -> None:
        """Get the answers of all keys in `first` (key to a row that has it) into memory."""
        memory = self._memory(call)
        missing = self._not_stored(call, [key for key in first if key not in memory])
        size = max(1, self._bound(call).oracle.batch_size)
        start = 0
        while start < len(missing):
            batch = missing[start : start + size]
            if start:  # another process may have bought some of them by now
                batch = self._not_stored(call, batch)
            start += size
            while batch:
                n_allowed = self._permitted(call, len(batch))
                self._buy(call, table, first, batch[:n_allowed])
                batch = batch[n_allowed:]

    def _permitted(self, call: OracleCall, wanted: int) -> int:
        """Return how many answers of a call may be bought at once."""
        with self._failing(call):
            return self._permits.calls(self, wanted, self._on_spent)

    def _not_stored(self, call: OracleCall, keys: Sequence[str]) -> Sequence[str]:
        """Take from the store what it has; return the keys that must be bought."""
        if self._run is None or not keys:
            return keys
        stored = self._store.find(self._bound(call).version, keys)
        known = map(keys.__getitem__, stored.places.tolist())
        self._memory(call).update(zip(known, stored.answers, strict=True))
        self.charged += int(np.count_nonzero(stored.seqs > self._run.known_until))
        self.n_reused += len(stored.answers)
        new = np.ones(len(keys), dtype=np.bool_)
        new[stored.places] = False
        return list(compress(keys, new.tolist()))

    def _batch(self, call: OracleCall, table: pa.Table) -> pa.Table:
        """Return the inputs of one call, named as its oracle names them."""
        names = [argument.name for argument in self._bound(call).signature.arguments]
        return table.select(list(call.inputs)).rename_columns(names)

    @contextmanager
    def _failing(self, call: OracleCall) -> Iterator[None]:
        """Show an error of an oracle at its call, with what was spent."""
        try:
            yield
        except Error as error:
            error.spent = self.n_labels
            raise error.at(self._query.sql, call.place.offset, call.place.length) from error

    def _buy(
        self, call: OracleCall, table: pa.Table, first: Mapping[str, int], keys: Sequence[str]
    ) -> None:
        bound = self._bound(call)
        batch = self._batch(call, table.take(pa.array([first[key] for key in keys])))
        began = time.perf_counter()
        with self._failing(call):
            values, answers = bound.ask(batch)
        with self._shielded():
            self._keep(bound, keys, values, answers, time.perf_counter() - began)
            self._memory(call).update(zip(keys, values, strict=True))
        with self._failing(call):
            counted = answers.tokens is not None
            self._permits.check_counted(bound.name, counted=counted)
        self._on_batch()

    def _keep(
        self,
        bound: BoundOracle,
        keys: Sequence[str],
        values: Sequence[Label],
        answers: Answers,
        seconds: float,
    ) -> None:
        """Commit a batch of answers and count what they took."""
        sure: Any = [None] * len(keys) if answers.confidence is None else answers.confidence
        confidence = [None if c is None else float(c) for c in sure]
        self._store.put(
            bound.version, bound.name, keys, values, confidence, answers.cost_usd, seconds,
            answers.tokens,
        )  # fmt: skip
        n_tokens = None if answers.tokens is None else sum(answers.tokens)
        self.n_labels += len(keys)
        self.charged += len(keys)
        self.cost_usd += answers.cost_usd
        both = self.n_tokens is not None and n_tokens is not None
        self.n_tokens = (self.n_tokens or 0) + (n_tokens or 0) if both else None
        self._permits.pay(Spent(len(keys), n_tokens or 0, 0.0, answers.cost_usd))
