"""Answers to single inputs: remembered, found in the store, or bought; each committed at once."""

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
from thresher.errors import DataError, Error, OracleError, UnansweredError
from thresher.labels import Label, LabelStore, Run
from thresher.oracles import Answers
from thresher.permits import OnSpent, Permits
from thresher.plan import OracleCall, SelectionQuery
from thresher.sampling import OutOfLabelsError
from thresher.score_costs import ScoreCosts

__all__ = ["Purchases"]

_FEW_FAILURES, _MOST_FAILURES = 10, 0.1  # inputs, and share of those asked, that may fail


class Purchases:
    """Answers of oracles to distinct inputs, and what they took.

    An answer comes from memory, else from the store, else from the oracle: in batches, each of
    which is permitted before and committed before the next. So whatever ends a query, no answer is
    lost and none is paid for twice.

    Parameters
    ----------
    query : SelectionQuery
        Where errors are shown.
    oracles : mapping of str to BoundOracle
        By declared name.
    store : LabelStore
        Where labels are kept.
    run : Run or None
        Place of this query in the store; None when labels of other queries must not be used.
    permits : Permits
        Asked before each batch.
    on_batch : callable
        Called with no argument after each committed batch.
    shielded : callable
        Gives a context in which no interruption comes between an answer and its commit.

    Attributes
    ----------
    n_labels : int
        Distinct inputs that the oracles were asked.
    n_reused : int
        Distinct inputs whose answer came from the store.
    n_requests : int
        Requests that took, one for each label where the oracle is not asked in requests.
    n_unused : int
        Labels of a batch that was not complete when the run stopped: nothing rests on them.
    scores : ScoreCosts
        What scores of proxies took in the same run.
    charged : int
        Labels counted against the limit: those bought now, and those that an earlier run of this
        very query bought.
    cost_usd : float
        Price of the labels bought.
    n_tokens : int or None
        Tokens read and written for them; None where an oracle did not count them.
    worst_case : bool
        Whether an input that an oracle fails on is left without an answer, as ON ORACLE ERROR WORST
        CASE asks; else the query fails.
    n_facts : int
        Rows that labels of the store decided before any was asked for.
    n_asked, asked_s : int, float
        Rows asked for, whether bought or known, and the seconds that took.
    oracle_s : float
        Seconds that the oracles took for the labels bought.
    """

    def __init__(
        self,
        query: SelectionQuery,
        oracles: Mapping[str, BoundOracle],
        store: LabelStore,
        run: Run | None,
        permits: Permits,
        on_batch: Callable[[], None],
        shielded: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._query, self._oracles, self._store, self._run = query, oracles, store, run
        self._permits, self._on_batch, self._shielded = permits, on_batch, shielded
        self._on_spent: OnSpent = "fail"
        self._answers: dict[str, dict[str, Label]] = {}
        self._failed: dict[str, dict[str, str]] = {}  # by version and key: what went wrong
        self.worst_case = False
        self.n_labels = self.n_reused = self.charged = self.n_requests = 0
        self.n_unused = self.n_facts = 0
        self.scores = ScoreCosts()
        self.cost_usd = 0.0
        self.n_tokens: int | None = 0
        self.n_asked, self.asked_s, self.oracle_s = 0, 0.0, 0.0

    @property
    def on_labels(self) -> Spent:
        """What the labels bought by now took, without their time."""
        return Spent(self.n_labels, self.n_tokens or 0, 0.0, self.cost_usd)

    @property
    def spent(self) -> Spent:
        """What the labels and the proxy scores took that were bought by now, without their time."""
        labels, scores = self.on_labels, self.scores.spent
        return Spent(labels.calls, labels.tokens + scores.tokens, 0.0, labels.usd + scores.usd)

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

    @contextmanager
    def _spending(self, how: OnSpent) -> Iterator[None]:
        """Say what is done inside once a budget is spent."""
        self._on_spent = how
        try:
            yield
        finally:
            self._on_spent = "fail"

    def _bound(self, call: OracleCall) -> BoundOracle:
        return self._oracles[call.oracle]

    def _failures(self, call: OracleCall) -> dict[str, str]:
        return self._failed.setdefault(self._bound(call).version, {})

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
        answers = self._bound(call).typed(list(map(self._memory(call).get, keys)))
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
        failed = self._failures(call)
        new = [key for key in first if key not in memory and key not in failed]
        missing = self._not_stored(call, new)
        size = max(1, self._bound(call).oracle.batch_size)
        start = 0
        while start < len(missing):
            batch = missing[start : start + size]
            if start:  # another process may have bought some of them by now
                batch = self._not_stored(call, batch)
            start += size
            while batch:
                n_allowed = self._permitted(call, len(batch))
                if self.worst_case:
                    self._try(call, table, first, batch[:n_allowed])
                else:
                    counted = self._buy(call, table, first, batch[:n_allowed])
                    self._told(call, counted=counted)
                batch = batch[n_allowed:]

    def _try(
        self, call: OracleCall, table: pa.Table, first: Mapping[str, int], keys: Sequence[str]
    ) -> None:
        """Buy what can be had: of a batch that fails every input is asked once more, by itself."""
        try:
            counted = self._buy(call, table, first, keys)
        except UnansweredError:
            raise
        except (OracleError, DataError) as error:
            left = [key for key in keys if key not in self._memory(call)]
            if len(keys) == 1 and left:
                self._failures(call)[keys[0]] = error.message
                self._check_failures(call)
                left = []
            for key in left:
                self._permitted(call, 1)
                self._try(call, table, first, [key])
        else:
            self._told(call, counted=counted)

    def _check_failures(self, call: OracleCall) -> None:
        """End a query of which too many inputs fail: then something else is wrong."""
        failed = self._failures(call)
        n_asked = len(failed) + len(self._memory(call)) + self.n_facts
        if len(failed) <= _FEW_FAILURES or len(failed) <= _MOST_FAILURES * n_asked:
            return
        with self._failing(call):
            raise OracleError(
                f"{len(failed):,} of {n_asked:,} inputs have no answer, more than a tenth: ON "
                "ORACLE ERROR WORST CASE is for few. The last said: "
                f"{failed[next(reversed(failed))]}"
            )

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
    ) -> bool:
        """Ask an oracle and keep what it answers; returns whether it has counted its tokens."""
        bound = self._bound(call)
        batch = self._batch(call, table.take(pa.array([first[key] for key in keys])))
        began = time.perf_counter()
        with self._failing(call):
            try:
                values, answers = bound.ask(batch, lambda: self._permits.waits(self))
            except UnansweredError as error:
                before = self.n_labels
                self._rescue(call, batch, keys, began)
                self._stop_waiting(error, self.n_labels - before)
                raise
            except BaseException:
                self._rescue(call, batch, keys, began)
                raise
        with self._shielded():
            self._keep(call, keys, values, answers, time.perf_counter() - began)
        return answers.tokens is not None

    def _told(self, call: OracleCall, *, counted: bool) -> None:
        """Tell of a batch that was kept; one whose tokens were not counted may end the query."""
        with self._failing(call):
            self._permits.check_counted(self._bound(call).name, counted=counted)
        self._on_batch()

    def _stop_waiting(self, error: UnansweredError, n_unused: int) -> None:
        """Stop a run that can, since people have not answered by now; or say that time is up.

        Those answers of the batch that are there stand for no rows drawn: people may have taken
        the easy ones first.
        """
        if self._on_spent != "fail" and self._permits.give_up("people have not answered yet"):
            self.n_unused += n_unused
            raise OutOfLabelsError from error
        self._permits.calls(self, 1, "fail")

    def _rescue(self, call: OracleCall, batch: pa.Table, keys: Sequence[str], began: float) -> None:
        """Keep what a batch had answered before it broke off: it is paid for."""
        with self._shielded():
            rows, values, answers = self._bound(call).answered(batch)
            done = [keys[row] for row in rows]
            self._keep(call, done, values, answers, time.perf_counter() - began)

    def _keep(
        self,
        call: OracleCall,
        keys: Sequence[str],
        values: Sequence[Label],
        answers: Answers,
        seconds: float,
    ) -> None:
        """Commit answers and count what they took."""
        if not keys:
            return
        bound = self._bound(call)
        sure: Any = [None] * len(keys) if answers.confidence is None else answers.confidence
        confidence = [None if c is None else float(c) for c in sure]
        self._store.put(
            bound.version, bound.name, keys, values, confidence, answers.cost_usd, seconds,
            answers.tokens, answers.requests,
        )  # fmt: skip
        n_tokens = None if answers.tokens is None else sum(answers.tokens)
        self.n_labels += len(keys)
        self.oracle_s += seconds
        self.charged += len(keys)
        self.n_requests += len(keys) if answers.requests is None else answers.requests
        self.cost_usd += answers.cost_usd
        both = self.n_tokens is not None and n_tokens is not None
        self.n_tokens = (self.n_tokens or 0) + (n_tokens or 0) if both else None
        self._permits.pay(Spent(len(keys), n_tokens or 0, 0.0, answers.cost_usd))
        self._memory(call).update(zip(keys, values, strict=True))
