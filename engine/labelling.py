"""Labels for rows: each distinct input is asked once, paid once and committed at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import DataError, Error, OracleError
from thresher.labels import Label, LabelStore, Run
from thresher.oracles import Answers, Oracle, Signature
from thresher.plan import OracleCall, SelectionQuery
from thresher.population import Population

__all__ = ["BoundOracle", "Labeller"]


class BoundOracle:
    """An oracle with its declared name and types.

    Parameters
    ----------
    name : str
        Declared name.
    signature : Signature
        Declared arguments and return type.
    oracle : Oracle
        The model.
    returns : pyarrow.DataType
        Arrow type of the declared return type.
    """

    def __init__(
        self, name: str, signature: Signature, oracle: Oracle, returns: pa.DataType
    ) -> None:
        self.name, self.signature, self.oracle, self.returns = name, signature, oracle, returns
        self.version = oracle.version  # once: it may read a whole table, or a model's files

    def ask(self, batch: pa.Table) -> tuple[list[Label], Answers]:
        """Label one batch and check what came back.

        Raises
        ------
        OracleError
            The oracle raised.
        DataError
            It gave too few answers, a NULL, or an answer of another type.
        """
        try:
            answers = self.oracle.answer(batch)
        except Error:
            raise
        except Exception as error:
            raise OracleError(
                f"oracle {self.name} failed: {type(error).__name__}: {error}"
            ) from error
        if len(answers.values) != batch.num_rows:
            raise DataError(
                f"oracle {self.name} gave {len(answers.values)} answers for {batch.num_rows} rows: "
                "return one answer for each row, in order."
            )
        if answers.values.null_count:
            raise DataError(f"oracle {self.name} gave NULL; every row needs an answer.")
        values: list[Label] = self.typed(answers.values.to_pylist()).to_pylist()
        return values, answers

    def typed(self, values: Sequence[Label | None]) -> pa.Array:
        """Return stored or fresh answers as an Arrow array of the declared type."""
        try:
            if pa.types.is_boolean(self.returns):
                return pa.array([None if v is None else bool(v) for v in values], self.returns)
            return pa.array(values, self.returns)
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
            raise DataError(
                f"oracle {self.name} RETURNS {self.signature.returns}, but gave {values[0]!r}: "
                f"{error}"
            ) from error


class Labeller:
    """Answers of the oracles for rows of one population, within a limit.

    It is the `LabelSource` of `thresher.sampling`: asked for rows, it fetches their inputs, takes
    what the store or this query already knows, asks the oracles for the rest in batches, commits
    every batch before it asks the next, and has DuckDB evaluate the formula. The calls of a
    formula are asked one after the other, and only for rows that the calls before leave open.

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
    ) -> None:
        self._query, self._oracles = query, oracles
        self._population, self._store, self._run = population, store, run
        self._limit, self._on_batch = limit, on_batch
        self._answers: dict[str, dict[str, Label]] = {}
        self._seen: list[pa.Table] = []
        self._hash = hashlib.sha256()
        self.n_labels = self.n_reused = self.charged = 0
        self.cost_usd = 0.0

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain, were all their inputs new."""
        return max(0, self._limit - self.charged) // max(1, len(self._query.calls))

    def raise_limit(self, limit: int) -> None:
        """Allow more labels, as ON SHORTFALL EXACT asks."""
        self._limit = max(limit, self._limit)

    @property
    def sha256(self) -> str:
        """Hash over oracle, input key and answer of every label used, in order."""
        return self._hash.hexdigest()

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return whether the formula is true, one truth value per row, in order."""
        if not len(rows):
            return np.zeros(0, dtype=np.bool_)
        table = self._population.inputs(np.asarray(rows, dtype=np.int64))
        self._seen.append(table)
        truth: npt.NDArray[np.int8] = np.full(len(rows), -1, dtype=np.int8)
        values = {
            call.value: self._bound(call).typed([None] * len(rows)) for call in self._query.calls
        }
        for call in self._query.calls:
            open_rows = np.flatnonzero(truth < 0) if self._query.monotone else np.arange(len(rows))
            if not len(open_rows):
                break
            values[call.value] = self._values(call, table, open_rows)
            if self._query.monotone or call is self._query.calls[-1]:
                truth = self._population.evaluate(table, values)
        return np.equal(truth, 1)

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
        keys: list[str | None] = table.column(call.key).to_pylist()
        first: dict[str, int] = {}
        for row in rows.tolist():
            key = keys[row]
            if key is not None:
                first.setdefault(key, row)
        self._learn(call, table, first)
        memory = self._memory(call)
        found: list[Label | None] = [None] * len(keys)
        for row in rows.tolist():
            key = keys[row]
            if key is not None:
                found[row] = memory[key]
        return self._bound(call).typed(found)

    def _learn(self, call: OracleCall, table: pa.Table, first: Mapping[str, int]) -> None:
        """Get the answers of all keys in `first` (key to a row that has it) into memory."""
        memory = self._memory(call)
        missing = self._not_stored(call, [key for key in first if key not in memory])
        size = max(1, self._bound(call).oracle.batch_size)
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            if start:  # another process may have bought some of them by now
                batch = self._not_stored(call, batch)
            if batch:
                self._buy(call, table, first, batch)

    def _not_stored(self, call: OracleCall, keys: Sequence[str]) -> Sequence[str]:
        """Take from the store what it has; return the keys that must be bought."""
        if self._run is None or not keys:
            return keys
        stored = self._store.get(self._bound(call).version, keys)
        for key in keys:
            if key in stored:
                answer, seq = stored[key]
                self._remember(call, key, answer)
                self.charged += seq > self._run.known_until
        self.n_reused += len(stored)
        return [key for key in keys if key not in stored]

    def _buy(
        self, call: OracleCall, table: pa.Table, first: Mapping[str, int], keys: Sequence[str]
    ) -> None:
        bound = self._bound(call)
        names = [argument.name for argument in bound.signature.arguments]
        batch = table.select(list(call.inputs)).rename_columns(names)
        try:
            values, answers = bound.ask(batch.take(pa.array([first[key] for key in keys])))
        except Error as error:
            error.spent = self.n_labels
            raise error.at(self._query.sql, call.place.offset, call.place.length) from error
        sure: Any = [None] * len(keys) if answers.confidence is None else answers.confidence
        confidence = [None if c is None else float(c) for c in sure]
        self._store.put(bound.version, bound.name, keys, values, confidence, answers.cost_usd)
        self.n_labels += len(keys)
        self.charged += len(keys)
        self.cost_usd += answers.cost_usd
        for key, value in zip(keys, values, strict=True):
            self._remember(call, key, value)
        self._on_batch()

    def _remember(self, call: OracleCall, key: str, value: Label) -> None:
        self._memory(call)[key] = value
        self._hash.update(f"{call.oracle} {key} {value!r}\n".encode())
