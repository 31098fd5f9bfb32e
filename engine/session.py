"""One connection's state, and the running of one statement."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from thresher import plan
from thresher.catalog import Catalog
from thresher.certificate import Certificate
from thresher.declared_beside import declared_beside, take_beside
from thresher.duckdb_errors import translated
from thresher.duckdb_versions import HOLDS_ROWS, materialised
from thresher.error_places import told_where
from thresher.errors import InterfaceError, ProgrammingError
from thresher.executor import Executor
from thresher.interrupts import Interrupts
from thresher.labels import LabelStore
from thresher.models import Models
from thresher.prepared import Prepared
from thresher.progress import ProgressSink
from thresher.row_values import RowValues
from thresher.rows import Rows
from thresher.scope import Lent, Scope
from thresher.settings import Settings
from thresher.showing import describe, set_setting, show, show_setting
from thresher.sql import parse
from thresher.sql.tokens import tokenize
from thresher.store_tables import offer_store
from thresher.stored_proxies import forget_trained
from thresher.transactions import begun

if TYPE_CHECKING:
    from thresher.pages.plans import Plan
    from thresher.run import Answered

__all__ = ["Outcome", "Session"]

Parameters = Sequence[Any] | Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one statement gave.

    Parameters
    ----------
    relation : duckdb.DuckDBPyRelation or None
        The rows; None where there are none. They are materialised unless `rows` are given.
    answered : tuple of Answered
        One for each query of ours in the statement, the last one of the outermost.
    rowcount : int
        Rows inserted, updated or deleted; -1 for everything else.
    plan : Plan or None
        What EXPLAIN says, for a page.
    rows : Rows or None
        The rows as they are read, where that was asked for.
    """

    relation: duckdb.DuckDBPyRelation | None
    answered: tuple[Answered, ...] = ()
    rowcount: int = -1
    plan: Plan | None = None
    rows: Rows | None = None

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """What they promise."""
        return tuple(one.certificate for one in self.answered)


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
    folder : Path, optional
        Where relative paths and Python modules are looked for; the working directory when absent.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        store: LabelStore,
        settings: Settings,
        sink: ProgressSink | None = None,
        folder: Path | None = None,
    ) -> None:
        self.connection, self.store, self.settings = connection, store, settings
        self.catalog = Catalog(connection, settings)
        self.models = Models(connection, self.catalog, settings, folder)
        self._prepared = Prepared(connection)
        self._lent = Lent(connection)
        self._beside: duckdb.DuckDBPyConnection | None = None
        self._live: weakref.ref[Rows] | None = None
        self._begun = False  # a transaction, by a statement that was seen here
        self.interrupts = Interrupts(connection)
        self.executor = Executor(
            connection, store, settings, self.catalog, self.models, self.interrupts, sink
        )

    def execute(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        read: bool = False,
        stream: bool = False,
        scope: Scope | None = None,
    ) -> Outcome:
        """Run one statement.

        Parameters
        ----------
        sql : str
            The statement.
        parameters : sequence or mapping, optional
            Values for its parameters.
        read : bool
            Whether the rows are to be read through `Outcome.rows`.
        stream : bool
            Whether they may then come from DuckDB as they are read.
        scope : callable, optional
            Finds the user's frames by name.

        Raises
        ------
        DatabaseError
            Any failure, as a PEP 249 error of `thresher.errors`.
        """
        with self.interrupts.handled(), self._lending():
            with translated():
                self.settle()
                self.catalog.refresh()
                sql, parameters = self._prepared.called(sql, parameters)
                if not sql:
                    return Outcome(None)
                self._lent.lend(sql, scope)
                statement = parse(sql, self.catalog, parameters)
                offer_store(self.connection, self.store, sql)
            plain = isinstance(statement, plan.Passthrough)
            with translated(sql, self.catalog, rewritten=not plain):
                if isinstance(statement, plan.Passthrough):
                    outcome = self._duckdb(statement.sql, parameters, lazy=stream)
                else:
                    self._lent.keep_still()
                    outcome = self._ours(statement)
                if read and outcome.relation is not None:
                    streamed = stream and isinstance(statement, plan.Passthrough)
                    rows = self._rows_of(outcome.relation, streamed=streamed)
                    outcome = replace(outcome, rows=rows)
                return outcome

    @contextmanager
    def _lending(self) -> Iterator[None]:
        """Take frames of the user's back when a statement ends, or has its last row read."""
        try:
            yield
        except ProgrammingError as error:
            raise self._lent.explained(error) from error.__cause__
        finally:
            if self._live is None:
                self._lent.take_back()

    def _rows_of(self, relation: duckdb.DuckDBPyRelation, *, streamed: bool) -> Rows:
        rows = Rows(
            relation,
            self.beside,
            stream=streamed,
            ahead=self._begun,  # to read on later might abort what the user has begun
            read=self.interrupts.apart,
        )
        if rows.live:
            self._live, rows.ended = weakref.ref(rows), self._ended
        return rows

    def _ended(self) -> None:
        self._live = None
        self._lent.take_back()

    @property
    def reading(self) -> bool:
        """Whether a result is still being read from DuckDB."""
        return self._live is not None and self._live() is not None

    def settle(self) -> None:
        """Make room for another statement: a result that is still being read is set aside."""
        rows = None if self._live is None else self._live()
        if rows is not None:
            with self.interrupts.handled():
                rows.set_aside(reading=not self._begun)
        self._ended()

    def settled(self) -> duckdb.DuckDBPyConnection:
        """Return the connection, with no result open on it."""
        self.settle()
        return self.connection

    def beside(self) -> duckdb.DuckDBPyConnection:
        """Return a connection to the same database for what must not disturb a result."""
        if self._beside is None:
            self._beside = self.connection.cursor()
        return self._beside

    def close(self) -> None:
        """Close the connections to the database; what was read of a result stays with it."""
        if self._beside is not None:
            self._beside.close()
        self.interrupts.close()
        self.connection.close()

    def _ours(self, statement: plan.Statement) -> Outcome:
        if isinstance(statement, plan.SelectionQuery):
            return self.select(statement)
        if isinstance(statement, plan.Composed):
            return self.compose(statement)
        if isinstance(statement, plan.Audit):
            return self.audit(statement)
        if isinstance(statement, plan.Explain):
            return self._explain(statement)
        if isinstance(statement, plan.CreateOracle | plan.CreateProxy):
            return self.create(statement)
        if isinstance(statement, plan.Drop):
            self._drop(statement)
            return Outcome(None)
        if isinstance(statement, plan.Prepare):
            self._prepared.keep(statement)
            return Outcome(None)
        if isinstance(statement, plan.Show):
            return Outcome(self._rows(show(statement, self.catalog, self.store)))
        if isinstance(statement, plan.Describe):
            shown = describe(statement, self.catalog, self.models, self.store)
            return Outcome(self._rows(shown))
        if isinstance(statement, plan.ShowSetting):
            return Outcome(self._rows(show_setting(statement, self.settings)))
        if isinstance(statement, plan.SetSetting | plan.ResetSetting):
            set_setting(statement, self.settings)
            if statement.name == "session_budget":
                self.executor.begin_budget()  # also where it is set to what it was
            return Outcome(None)
        raise InterfaceError(f"cannot run a {type(statement).__name__}")

    def select(self, query: plan.SelectionQuery) -> Outcome:
        """Answer one of our queries inside one transaction, so that rows stand still."""
        with self.executor.answering([query]) as answer:
            answered = answer(query, "")
        return Outcome(answered.relation, (answered,))

    def compose(self, statement: plan.Composed) -> Outcome:
        """Answer the blocks of a statement, then the statement over their rows."""
        from thresher.composing import block_tables

        outer = statement.outer
        with (
            self.executor.answering(_parts_of(statement)) as answer,
            block_tables(self.connection, statement),
        ):
            blocks = () if statement.described else statement.blocks
            found = [answer(block.query, block.name) for block in blocks]
            if isinstance(outer, str):
                done = self._duckdb(outer, None)
                return Outcome(done.relation, tuple(found), done.rowcount)
            answered = answer(outer, "")
        return Outcome(answered.relation, (*found, answered))

    def audit(self, statement: plan.Audit) -> Outcome:
        """Test the promise of a certificate on rows drawn afresh, or against people."""
        from thresher.verdicts import as_table

        findings = self.executor.audit(statement)
        return Outcome(materialised(self.connection.from_arrow(as_table(findings))))

    def create(
        self,
        made: plan.CreateOracle | plan.CreateProxy,
        function: Callable[..., Any] | None = None,
    ) -> Outcome:
        """Declare an oracle or proxy after checking that its model can be made."""
        self.models.check(made, function)
        learnt = None
        if isinstance(made, plan.CreateProxy) and made.trained is not None:
            learnt = self._train(made)
        self.catalog.create(made, function, learnt)
        self.models.forget(made.name)
        return Outcome(None)

    def _train(self, made: plan.CreateProxy) -> bytes | None:
        """Fit a proxy on the rows that its declaration names, if it can be declared."""
        from thresher.training import train  # brings scipy, which plain SQL does not need

        self.catalog.check(made)
        return train(made, self.connection, self.catalog, self.models, self.store).pack()

    def _drop(self, statement: plan.Drop) -> None:
        """Forget a declaration, and what proxies of its name have learnt inside queries."""
        name, known = statement.name.lower(), self.catalog.proxy_names()
        learnt = statement.kind == "proxy" and forget_trained(self.store.file, name)
        if not learnt or name in known:
            self.catalog.drop(statement)

    def take_declarations(self, *, keep: bool) -> None:
        """Take the declarations that wait in the label store, into the database if `keep`."""
        waiting = declared_beside(self.store.file)
        for declaration in waiting:
            self.catalog.adopt(*declaration, keep=keep)
        if waiting and keep:
            take_beside(self.store.file, waiting)

    def end_transaction(self, how: str) -> None:
        """COMMIT or ROLLBACK if a transaction was begun."""
        if self.reading and not self._begun:
            return  # who reads a result knows of each statement
        with translated():
            self.settle()
            if begun(self.connection):
                self._transact(how)

    def _transact(self, sql: str) -> None:
        try:
            self.connection.execute(sql)
        except duckdb.Error:
            self._begun = begun(self.connection)
            raise
        # To ask DuckDB after BEGIN would fix what the transaction sees before its first statement.
        self._begun = _first_word(sql) in ("begin", "start")

    def _duckdb(self, sql: str, parameters: Parameters, *, lazy: bool = False) -> Outcome:
        self.interrupts.check()
        statements = self.connection.extract_statements(sql)
        last = statements[-1]  # a PIVOT begins with others, or is MULTI
        kinds = set(last.expected_result_type)
        if last.type == duckdb.StatementType.EXECUTE and not HOLDS_ROWS:
            return Outcome(self._executed(sql, parameters))
        gives_rows = kinds == {duckdb.ExpectedResultType.QUERY_RESULT} or last.type.name == "MULTI"
        if gives_rows or _returning(sql):
            relation = self._relation(sql, parameters, again=len(statements) == 1)
            return Outcome(relation if relation is None or lazy else materialised(relation))
        if last.type == duckdb.StatementType.TRANSACTION:
            self._transact(sql)
            return Outcome(None)
        done = self.connection.execute(sql, parameters)
        if done.description is None:
            return Outcome(None)
        rows = done.fetchall()
        if duckdb.ExpectedResultType.CHANGED_ROWS in kinds and rows:
            return Outcome(None, rowcount=int(rows[0][0]))
        return Outcome(None)

    def _relation(
        self, sql: str, parameters: Parameters, *, again: bool
    ) -> duckdb.DuckDBPyRelation | None:
        """Make a relation; what is wrong with a statement that can be planned again has a place."""
        try:
            return self.connection.sql(sql, params=parameters)
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            told = told_where(self.connection, sql, parameters, error) if again else error
            raise told from None

    def _executed(self, sql: str, parameters: Parameters) -> duckdb.DuckDBPyRelation | None:
        """Run EXECUTE, of which DuckDB 1 would write a relation with its rows as constants."""
        done = self.connection.execute(sql, parameters)
        if done.description is None:
            return None
        types = [column[1] for column in done.description]
        table = done.to_arrow_table()
        return RowValues(table.column_names, types, self.beside).relation(table)

    def _explain(self, statement: plan.Explain) -> Outcome:
        from thresher.explain import drawn, written  # brings scipy, which plain SQL does not need

        parts = _parts_of(statement.query)
        explained = [self.executor.explained(query, parts) for query in parts]
        if statement.analyze:
            answered = self._ours(statement.query).answered
            explained = [
                replace(one, answered=gave) for one, gave in zip(explained, answered, strict=True)
            ]
        rows = self._rows({"explain": written(statement, explained)})
        return Outcome(rows, plan=None if statement.as_json else drawn(statement, explained))

    def _rows(self, columns: Mapping[str, Sequence[str | None]]) -> duckdb.DuckDBPyRelation:
        arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        return materialised(self.connection.from_arrow(pa.table(arrays)))


def _first_word(sql: str) -> str | None:
    return next((token.text.lower() for token in tokenize(sql) if token.kind == "word"), None)


def _returning(sql: str) -> bool:
    """Whether a statement that changes rows gives them back."""
    words = (token.text.lower() for token in tokenize(sql) if token.kind == "word")
    return "returning" in words


def _parts_of(
    statement: plan.SelectionQuery | plan.Composed,
) -> list[plan.SelectionQuery]:
    """Return the queries of ours in a statement, in the order in which they are answered."""
    if isinstance(statement, plan.SelectionQuery):
        return [statement]
    last = [] if isinstance(statement.outer, str) else [statement.outer]
    return [*(block.query for block in statement.blocks), *last]
