"""What one shell has declared, set and asked: a session that outlives its connections."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.certificate import Certificate
from thresher.certificate_texts import facts
from thresher.declared_beside import Declaration, declared_beside, keep_beside
from thresher.errors import ProgrammingError
from thresher.fed_rows import FedRows, fed_rows
from thresher.labels import LabelStore
from thresher.progress import ProgressEvent
from thresher.run import Answered  # scipy loads as a worker starts, not while its first query runs
from thresher.run_identity import VERSION
from thresher.session import Session
from thresher.settings import Settings
from thresher.shell.frames import kept_rows
from thresher.shell.planning import Asked, Part, bound_part, part_of, plan_text, queries_of
from thresher.sql.shipping import ORDER, ROW, Shipped
from thresher.sql.tokens import quoted
from thresher.verdicts import as_table

if TYPE_CHECKING:
    from thresher.explain import Explanation

__all__ = ["Fed", "Hello", "ShellSession", "Texts"]

Texts = Sequence[str | None]
Numbers = npt.NDArray[np.int64]
Tell = Callable[[str], None]

_EVERY_S = 0.1  # between two lines of progress
_PART = re.compile(r'"(?:[^"]|"")+"|[^."]+')  # of a name with dots


@dataclass(frozen=True, slots=True)
class Hello:
    """What a shell says of itself.

    Parameters
    ----------
    shell : str
        Tells this shell from others.
    pid : int
        Its process.
    database : str
        Its file, or an empty string.
    folder : str
        Its working directory.
    declarations : list of Declaration
        Oracles and proxies that its file declares.
    learnt : dict of str to bytes
        What proxies with ``TRAINED FROM`` have learnt, by name.
    """

    shell: str
    pid: int
    database: str
    folder: str
    declarations: list[Declaration]
    learnt: dict[str, bytes]


@dataclass(slots=True)
class Fed:
    """Rows as they come, from one of DuckDB's threads."""

    text: str
    numbers: list[Numbers] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)


def _nowhere(line: str) -> None:
    """Drop a line."""


class Relay:
    """A progress sink that passes lines on to whoever waits now."""

    indicates = False  # lines do not tell

    def __init__(self) -> None:
        self.tell: Tell = _nowhere
        self._told = 0.0

    def update(self, event: ProgressEvent) -> None:
        """Pass an event on as a line, a few times a second."""
        now = time.monotonic()
        if now - self._told < _EVERY_S:
            return
        self._told = now
        limit = "" if event.label_limit is None else f" of {event.label_limit:,}"
        cost = f", ${event.cost_usd:,.2f}" if event.cost_usd else ""
        self.tell(
            f"{event.stage}: {event.n_labels:,}{limit} labels, {event.elapsed_s:,.0f} s{cost}"
        )

    def close(self) -> None:
        """Do nothing: the shell erases the line."""


class ShellSession:
    """The session of one shell; one thread at a time may use it.

    Parameters
    ----------
    hello : Hello
        Of which shell.

    Attributes
    ----------
    certificates : list of Certificate
        Of the last statement that has one.
    """

    def __init__(self, hello: Hello) -> None:
        self.pid = hello.pid
        self._lock, self._relay = threading.Lock(), Relay()
        self._turn, self._at_work = threading.Lock(), 0  # whose turn it is: that of which thread
        store = LabelStore(f"{hello.database}.labels" if hello.database else None)
        folder = Path(hello.folder)
        self._session = Session(duckdb.connect(), store, Settings(), self._relay, folder)
        for declaration in [*hello.declarations, *declared_beside(store.file)]:
            kind, name, _ = declaration
            learnt = hello.learnt.get(name) if kind == "proxy" else None
            self._session.catalog.adopt(*declaration, learnt=learnt)
        self._charged: dict[str, dict[int, int]] = {}
        self._explained: dict[str, dict[int, Explanation]] = {}
        self.certificates: list[Certificate] = []

    def close(self) -> None:
        """Close the label store."""
        self._session.store.close()
        self._session.connection.close()

    def cancel(self, thread: int | None) -> None:
        """Stop what a thread does now; others, which may wait for their turn, are not concerned."""
        with self._turn:
            if thread == self._at_work:
                self._session.interrupts.cancel()

    def plan(self, sql: str, clauses: str | None) -> str:
        """Return the SQL of a statement: see `thresher.shell.planning.plan_text`."""
        with self._lock:
            return plan_text(self._session, sql, clauses)

    def run(self, feds: Sequence[Fed], tell: Tell) -> tuple[Sequence[Texts], list[str]]:
        """Do what rows were sent for.

        Parameters
        ----------
        feds : sequence of Fed
            The rows that each thread has sent, all of one part.
        tell : callable
            Takes lines of progress.

        Returns
        -------
        rows : sequence of Texts
            Rows of texts: answers, estimates, lines, or which of the rows are returned.
        notes : list of str
            What the user is to be told.
        """
        with self._using(tell):
            part = part_of(feds[0].text)
            if part.work == "lines":
                return self._lines(part.sql), []
            if part.work == "show":
                return self._show(part.sql), []
            if part.work == "do":
                return self._do(part.sql), []
            numbers = [some for fed in feds for some in fed.numbers]
            table = pa.Table.from_batches([batch for fed in feds for batch in fed.batches])
            if part.work == "table":
                self._take_in(part.sql, table)
                return [], []
            return self._over_rows(part, numbers, table)

    @contextmanager
    def _using(self, tell: Tell) -> Iterator[None]:
        with self._lock:
            self._relay.tell = tell
            self._give(threading.get_ident())
            try:
                yield
            finally:
                self._give(0)
                self._relay.tell = _nowhere

    def _give(self, thread: int) -> None:
        with self._turn:
            self._at_work = thread

    def _over_rows(
        self, part: Part, numbers: Sequence[Numbers], table: pa.Table
    ) -> tuple[Sequence[Texts], list[str]]:
        """Answer or explain a query over rows that were sent."""
        asked = bound_part(self._session, part)
        sent = asked.sent
        rows = fed_rows(sent, numbers, table if any(map(len, numbers)) else _none(sent))
        if asked.explain is not None:
            self._explain(part, asked, rows)
            return [], []
        if asked.audit is not None:
            findings = as_table(self._session.executor.audit_fed(asked.audit, sent, rows))
            return _all_texts(self._session, findings), []
        answered = self._answer(part, asked, rows)
        found, notes = answered.relation.to_arrow_table(), [answered.certificate.summary]
        query = sent.query
        if query.estimation or query.labelled or query.outputs:
            return _texts(self._session, found, rows), notes
        returned = np.asarray(found.column(ROW).to_numpy(), dtype=np.int64)
        most = max((int(some.max()) for some in numbers if len(some)), default=-1)
        kept = np.zeros(most + 1, dtype=np.bool_)
        kept[rows.numbers(returned)] = True
        return kept_rows(kept), notes

    def _answer(self, part: Part, asked: Asked, rows: FedRows) -> Answered:
        """Answer one query of a statement."""
        executor, left = self._session.executor, self._left(part)
        answered = executor.answer_fed(asked.sent, rows, asked.among, left)
        self._charged[part.sql][part.number] = answered.charged
        if part.number == 0:
            self.certificates = []
        self.certificates.append(answered.certificate)
        return answered

    def _explain(self, part: Part, asked: Asked, rows: FedRows) -> None:
        """Find out what EXPLAIN says of one query."""
        explained = self._session.executor.explain_fed(asked.sent, rows, asked.among)
        if asked.explain is not None and asked.explain.analyze:
            explained = replace(explained, answered=self._answer(part, asked, rows))
        known = self._explained.get(part.sql, {})
        self._explained = {part.sql: {**known, part.number: explained}}

    def _lines(self, sql: str) -> list[Texts]:
        """Return the lines of EXPLAIN, once the queries that need rows are explained."""
        from thresher.explain import written  # brings scipy

        known, self._explained = self._explained.get(sql, {}), {}
        statement = bound_part(self._session, Part("lines", sql)).explain
        if statement is None:
            raise ProgrammingError("the statement has changed its meaning since it was planned")
        among = queries_of(statement)
        every = [
            known[i] if i in known else self._session.executor.explain_block(query, among)
            for i, query in enumerate(among)
        ]
        return [[line] for line in written(statement, every)]

    def _left(self, part: Part) -> int:
        """Return how many labels the queries of a statement before this one have left."""
        before = self._charged.get(part.sql, {})
        if part.number in before or part.number == 0:
            before = {}
        self._charged = {part.sql: before}
        return self._session.settings.count("oracle_limit") - sum(before.values())

    def _take_in(self, name: str, table: pa.Table) -> None:
        """Make a table of labels that an oracle reads."""
        connection = self._session.connection
        _make_room(connection, name)
        connection.register("__thresher_taken", table)
        try:
            connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM __thresher_taken")
        finally:
            connection.unregister("__thresher_taken")

    def _show(self, what: str) -> list[Texts]:
        """Return facts about the session, or about what the last statement promised."""
        if what == "certificate":
            return [fact for one in self.certificates for fact in facts(one)]
        catalog = self._session.catalog
        return [
            ["thresher", VERSION],
            ["worker", str(os.getpid())],
            ["labels", str(self._session.store.path or "in memory")],
            ["oracles", ", ".join(catalog.oracle_names())],
            ["proxies", ", ".join(catalog.proxy_names())],
        ]

    def _do(self, sql: str) -> list[Texts]:
        """Run a statement that needs no row of the shell."""
        before = self._session.catalog.stored()
        relation = self._session.execute(sql).relation
        after = self._session.catalog.stored()
        changed = [(*key, after[key]) for key in after if after[key] != before.get(key)]
        gone = [(*key, None) for key in before if key not in after]
        if changed or gone:
            keep_beside(self._session.store.file, [*changed, *gone])
        if relation is None:
            return [["ok"]]
        return _all_texts(self._session, relation.to_arrow_table())


def _make_room(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Make the database and the schema that a table is named in."""
    *before, _ = _PART.findall(name)
    if len(before) == 2:
        connection.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {before[0]}")
    found = connection.execute("SELECT database_name FROM duckdb_databases()").fetchall()
    if before and before[-1].strip('"') not in [database for (database,) in found]:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {'.'.join(before)}")


def _none(sent: Shipped) -> pa.Table:
    """Return the rows of a query over no rows."""
    names = [leaf.row for leaf in sent.asked.leaves]
    columns = {name: pa.array([], pa.int64()) for name in names}
    columns |= {name: pa.nulls(0) for name, _ in sent.columns}
    if sent.ordered:
        columns[ORDER] = pa.array([], pa.int64())
    return pa.table(columns)


def _texts(session: Session, found: pa.Table, rows: FedRows) -> list[Texts]:
    """Write rows as texts; their first column names rows by the numbers they were sent under."""
    first = found.column(ROW).combine_chunks()
    if first.null_count < len(first):
        numbers = rows.numbers(np.asarray(first.to_numpy(), dtype=np.int64))
        found = found.set_column(0, ROW, pa.array(numbers))
    return _all_texts(session, found)


def _all_texts(session: Session, table: pa.Table) -> list[Texts]:
    """Write rows as texts that DuckDB casts back to what they were."""
    session.connection.register("__thresher_found", table)
    try:
        columns = ", ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in table.column_names)
        found = session.connection.execute(f"SELECT {columns} FROM __thresher_found").fetchall()
    finally:
        session.connection.unregister("__thresher_found")
    return [list(row) for row in found]
