"""One connection's state, and the running of one statement."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from thresher import plan
from thresher.catalog import Catalog
from thresher.certificate import Certificate
from thresher.duckdb_errors import translated
from thresher.environment import Environment
from thresher.errors import InterfaceError, ProgrammingError, nearest
from thresher.explain import describe, explain, show
from thresher.labels import LabelStore
from thresher.models import Models
from thresher.progress import ProgressSink, Silent, Terminal, terminal_or_silent
from thresher.settings import SETTINGS, Settings
from thresher.spending import Share, Spending
from thresher.sql import parse
from thresher.sql.nesting import BLOCK_PREFIX
from thresher.store_tables import offer_store

if TYPE_CHECKING:
    from thresher.auditing import Finding
    from thresher.run import Answered

__all__ = ["Outcome", "Session"]

Parameters = Sequence[Any] | Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one statement gave.

    Parameters
    ----------
    relation : duckdb.DuckDBPyRelation or None
        The rows, materialised; None where there are none.
    certificates : tuple of Certificate
        One for each query of ours in the statement, the last one of the outermost.
    rowcount : int
        Rows inserted, updated or deleted; -1 for everything else.
    """

    relation: duckdb.DuckDBPyRelation | None
    certificates: tuple[Certificate, ...] = ()
    rowcount: int = -1


class Session:
    """Catalog, settings, label store and models around one DuckDB connection.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Beneath everything.
    store : LabelStore
        Where labels are kept.
    settings : Settings
        Values from ``connect(config=...)``.
    sink : ProgressSink or None
        Shows progress; None follows the setting ``progress``.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        store: LabelStore,
        settings: Settings,
        sink: ProgressSink | None = None,
    ) -> None:
        self.connection, self.store, self.settings = connection, store, settings
        self._sink = sink
        self.catalog = Catalog(connection, settings)
        self.models = Models(connection, self.catalog, settings)
        self._spending: Spending | None = None
        self._interrupted, self._answers_early = threading.Event(), False

    def execute(self, sql: str, parameters: Parameters = None) -> Outcome:
        """Run one statement.

        Raises
        ------
        DatabaseError
            Any failure, as a PEP 249 error of `thresher.errors`.
        """
        self._interrupted.clear()
        self._answers_early = False
        with self._interruptible():
            with translated():
                self.catalog.refresh()
                statement = parse(sql, self.catalog, parameters)
                offer_store(self.connection, self.store, sql)
                if isinstance(statement, plan.Passthrough):
                    return self._duckdb(statement.sql, parameters)
            with translated(sql):
                return self._ours(statement)

    def _ours(self, statement: plan.Statement) -> Outcome:
        if isinstance(statement, plan.SelectionQuery):
            return self.select(statement)
        if isinstance(statement, plan.Composed):
            return self.compose(statement)
        if isinstance(statement, plan.Audit):
            return self.audit(statement)
        if isinstance(statement, plan.Explain):
            return Outcome(self._explain(statement))
        if isinstance(statement, plan.CreateOracle | plan.CreateProxy):
            return self.create(statement)
        if isinstance(statement, plan.Drop):
            self.catalog.drop(statement)
            return Outcome(None)
        if isinstance(statement, plan.Show):
            return Outcome(self._rows(show(statement, self.catalog, self.store)))
        if isinstance(statement, plan.Describe):
            return Outcome(self._rows(describe(statement, self.catalog, self.models)))
        return self._setting(statement)

    def select(self, query: plan.SelectionQuery) -> Outcome:
        """Answer one of our queries inside one transaction, so that rows stand still."""
        with self._answering([query]) as answer:
            answered = answer(query, "")
        return Outcome(answered.relation, (answered.certificate,))

    def compose(self, statement: plan.Composed) -> Outcome:
        """Answer the blocks of a statement, then the statement over their rows."""
        from thresher.composing import block_tables

        outer = statement.outer
        queries = [block.query for block in statement.blocks]
        last = [] if isinstance(outer, str) else [outer]
        with (
            self._answering([*queries, *last]) as answer,
            block_tables(self.connection, statement),
        ):
            found = [answer(block.query, block.name).certificate for block in statement.blocks]
            if isinstance(outer, str):
                done = self._duckdb(outer, None)
                return Outcome(done.relation, tuple(found), done.rowcount)
            answered = answer(outer, "")
        return Outcome(answered.relation, (*found, answered.certificate))

    @contextmanager
    def _answering(
        self, queries: Sequence[plan.SelectionQuery]
    ) -> Iterator[Callable[[plan.SelectionQuery, str], Answered]]:
        """Hand out what answers the queries of one statement, under one limit of labels."""
        from thresher.run import run  # brings scipy, which plain SQL does not need

        sink = self._progress()
        self._answers_early = self.settings.get("on_interrupt") == "ANSWER" or any(
            query.tail.budget for query in queries
        )
        left = self.settings.count("oracle_limit")

        def answer(query: plan.SelectionQuery, into: str) -> Answered:
            nonlocal left
            spending, share = self._share(query, queries)
            env = self._environment(query, sink, share, left)
            answered = run(replace(env, into=into), query)
            left -= answered.charged
            if spending is not None and answered.certificate.grade != "exact":
                spending.spend(share)
            return answered

        try:
            with self._transaction():
                yield answer
        finally:
            sink.close()

    def audit(self, statement: plan.Audit) -> Outcome:
        """Test the promise of a certificate on rows drawn afresh, or against people."""
        from thresher.auditing import as_columns, audit_certificate

        found = self.store.certificate(statement.identity)
        if found is None:
            known = [row[0] for row in self.store.certificates()]
            raise ProgrammingError(
                f"there is no certificate {statement.identity} in the label store."
                f"{nearest(statement.identity, known)} SHOW CERTIFICATES lists them."
            ).at(statement.sql, statement.place.offset, statement.place.length)
        query = parse(str(found["canonical"]), self.catalog.without_settings())
        if not isinstance(query, plan.SelectionQuery):
            raise InterfaceError(f"certificate {statement.identity} is of no query")
        named = statement.probability or self.settings.get("probability")
        sink = self._progress()
        try:
            with self._transaction():
                env = self._environment(query, sink, Share(1.0 - float(str(named))))
                answer = self.store.answer(statement.identity)
                findings = audit_certificate(env, query, statement, found, answer)
        finally:
            sink.close()
        return Outcome(self.connection.from_arrow(as_columns(findings)))

    def audit_answer(
        self,
        sql: str,
        keys: tuple[str, str],
        claims: tuple[float | None, float | None],
        limit: int | None,
        probability: float | None,
        seed: int | None,
    ) -> list[Finding]:
        """Test an answer that is given by the keys of its rows: (column, relation)."""
        from thresher.auditing import audit_answer

        self.catalog.refresh()
        query = parse(sql, self.catalog.without_settings())
        if not isinstance(query, plan.SelectionQuery) or query.estimation or query.labelled:
            raise ProgrammingError("an audit needs a SELECT whose WHERE calls a declared oracle")
        tail = query.tail
        if tail.recall or tail.precision or tail.accuracy:
            raise ProgrammingError(
                "the query of an audit has no targets: claim them with recall= and precision="
            )
        budget = self.settings.count("default_budget") if limit is None else limit
        query = replace(query, tail=plan.Tail(recall=1.0, oracle_limit=budget, seed=seed))
        named = self.settings.get("probability") if probability is None else probability
        sink = self._progress()
        try:
            with translated(sql), self._transaction():
                env = self._environment(query, sink, Share(1.0 - float(str(named))))
                column = '"' + keys[0].replace('"', '""') + '"'
                return audit_answer(env, query, (column, keys[1], column), *claims)
        finally:
            sink.close()

    def _share(
        self, query: plan.SelectionQuery, queries: Sequence[plan.SelectionQuery]
    ) -> tuple[Spending | None, Share]:
        """Find out what failure probability a query, one of a statement's, may spend."""
        named = query.tail.probability
        total = self.settings.get("session_probability")
        if not isinstance(total, float):
            self._spending = None
            if named is not None:
                return None, Share(1.0 - named)
            delta = 1.0 - float(str(self.settings.get("probability")))
            sharing = [one for one in queries if one.promises and one.tail.probability is None]
            if len(sharing) < 2:
                return None, Share(delta)
            text = f"one of {len(sharing)} parts of the statement, which share {delta:.4g}"
            return None, Share(delta / len(sharing), text)
        if self._spending is None or self._spending.total != 1.0 - total:
            self._spending = Spending(1.0 - total)
        try:
            return self._spending, self._spending.share(None if named is None else 1.0 - named)
        except ProgrammingError as error:
            place = query.tail.places.get("WITH PROBABILITY", plan.Place(0, 0))
            raise error.at(query.sql, place.offset, place.length) from None

    def create(
        self,
        made: plan.CreateOracle | plan.CreateProxy,
        function: Callable[..., Any] | None = None,
    ) -> Outcome:
        """Declare an oracle or proxy after checking that its model can be made."""
        self.models.check(made, function)
        self.catalog.create(made, function)
        self.models.forget(made.name)
        return Outcome(None)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl-C stop DuckDB's query first and Python's work second.

        DuckDB itself only raises a plain RuntimeError and may leave its query running, which then
        blocks whatever comes next. A handler that the user has installed is left alone.
        """
        ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if ours:
            signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        except KeyboardInterrupt:
            self.connection.interrupt()
            raise
        except RuntimeError as error:
            if str(error) != "Query interrupted":
                raise
            self.connection.interrupt()
            raise KeyboardInterrupt from error
        finally:
            if ours:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._answers_early and not self._interrupted.is_set():
            self._interrupted.set()  # the query stops by itself; a second Ctrl-C ends it
            return
        self.connection.interrupt()
        signal.default_int_handler(number, frame)

    def _environment(
        self,
        query: plan.SelectionQuery,
        sink: ProgressSink,
        share: Share,
        oracle_limit: int | None = None,
    ) -> Environment:
        entries = self.models.entries(query)
        return Environment(
            connection=self.connection,
            oracles={call.oracle: self.models.bound(call.oracle) for call in query.calls},
            candidates=lambda population: self.models.candidates(query, entries, population),
            predictors=lambda population: self.models.predictors(query, entries, population),
            proxies=tuple(entry.name for entry in entries),
            settings=self.settings,
            store=self.store,
            progress=sink,
            interrupted=self._interrupted.is_set,
            delta=share.delta,
            share=share.text,
            oracle_limit=(
                self.settings.count("oracle_limit") if oracle_limit is None else oracle_limit
            ),
        )

    def _progress(self) -> ProgressSink:
        if self._sink is not None:
            return self._sink
        mode = self.settings.get("progress")
        if mode == "terminal":
            return Terminal(sys.stderr)
        return terminal_or_silent() if mode == "auto" else Silent()

    def end_transaction(self, how: str) -> None:
        """COMMIT or ROLLBACK if a transaction was begun."""
        with translated():
            if self._in_transaction():
                self.connection.execute(how)

    def _in_transaction(self) -> bool:
        """Outside a transaction every statement has an id of its own."""
        ids = [self.connection.execute("SELECT txid_current()").fetchone() for _ in range(2)]
        return ids[0] == ids[1]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run inside the user's transaction, or in one of our own."""
        if self._in_transaction():
            yield
            return
        self.connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def _duckdb(self, sql: str, parameters: Parameters) -> Outcome:
        kinds = [statement.type for statement in self.connection.extract_statements(sql)]
        if kinds == [duckdb.StatementType.SELECT]:
            relation = self.connection.sql(sql, params=parameters)
            if relation is not None:
                relation.execute()
            return Outcome(relation)
        done = self.connection.execute(sql, parameters)
        if done.description is None:
            return Outcome(None)
        table = done.to_arrow_table()
        counted = table.column_names == ["Count"] and table.num_rows == 1
        count = int(table.column(0)[0].as_py()) if counted else -1
        return Outcome(self.connection.from_arrow(table), rowcount=count)

    def _setting(
        self, statement: plan.SetSetting | plan.ResetSetting | plan.ShowSetting | plan.Statement
    ) -> Outcome:
        if isinstance(statement, plan.ShowSetting):
            value = self.settings.get(statement.name)
            columns: dict[str, list[str | None]] = {
                "name": [f"thresher_{statement.name}"],
                "value": [_text(value)],
            }
            columns["meaning"] = [SETTINGS[statement.name].help]
            return Outcome(self._rows(columns))
        if isinstance(statement, plan.SetSetting | plan.ResetSetting):
            try:
                value = statement.value if isinstance(statement, plan.SetSetting) else None
                self.settings.set(statement.name, value)
            except ProgrammingError as error:
                place = statement.place
                raise ProgrammingError(
                    error.message, sql=statement.sql, offset=place.offset, length=place.length
                ) from None
            return Outcome(None)
        raise InterfaceError(f"cannot run a {type(statement).__name__}")

    def _explain(self, statement: plan.Explain) -> duckdb.DuckDBPyRelation:
        asked = statement.query
        composed = isinstance(asked, plan.Composed)
        blocks = asked.blocks if isinstance(asked, plan.Composed) else ()
        outer = asked.outer if isinstance(asked, plan.Composed) else asked
        queries = [block.query for block in blocks]
        queries += [] if isinstance(outer, str) else [outer]
        if statement.analyze:
            certificates = self._ours(asked).certificates
            more = [str(certificate).splitlines() for certificate in certificates]
        else:
            more = [self._forecast(query, queries) for query in queries]
        lines: list[str] = []
        for i, (query, facts) in enumerate(zip(queries, more, strict=True)):
            named = f"into {blocks[i].name}" if i < len(blocks) else "the statement round it"
            lines += [f"block {i + 1}, {named}"] if composed else []
            lines += [*explain(query, self.models.entries(query), self.settings), *facts]
        lines += [f"then       {outer}"] if isinstance(outer, str) else []
        return self._rows({"explain": lines})

    def _forecast(
        self, query: plan.SelectionQuery, queries: Sequence[plan.SelectionQuery]
    ) -> list[str]:
        """Count the candidates and forecast the labels, without buying one."""
        from thresher.forecasting import forecast_lines
        from thresher.running import targets_of

        if BLOCK_PREFIX in query.canonical:
            return ["rows       known once the blocks before are answered"]
        _, share = self._share(query, queries)
        with self._transaction():
            env = self._environment(query, Silent(), share)
            return forecast_lines(env, query, targets_of(env, query))

    def _rows(self, columns: Mapping[str, Sequence[str | None]]) -> duckdb.DuckDBPyRelation:
        arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        return self.connection.from_arrow(pa.table(arrays))


def _text(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
