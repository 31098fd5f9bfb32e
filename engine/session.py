"""One connection's state, and the running of one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from thresher import plan
from thresher.budgets import SessionBudget, parse_budget
from thresher.catalog import Catalog
from thresher.certificate import Certificate
from thresher.declared_beside import declared_beside, take_beside
from thresher.duckdb_errors import translated
from thresher.environment import Environment
from thresher.errors import InterfaceError, ProgrammingError, nearest
from thresher.fed_rows import FedPopulation, FedRows
from thresher.interrupts import Interrupts
from thresher.labels import LabelStore
from thresher.models import Models
from thresher.permits import stops_anywhere
from thresher.population import Population
from thresher.prepared import Prepared
from thresher.progress import ProgressEvent, ProgressSink, Silent, Told, sink_of
from thresher.settings import Settings
from thresher.showing import describe, set_setting, show, show_setting
from thresher.spending import Share, Shares
from thresher.sql import parse
from thresher.sql.nesting import BLOCK_PREFIX
from thresher.sql.shipping import Shipped
from thresher.store_tables import offer_store
from thresher.stored_proxies import forget_trained
from thresher.transactions import in_transaction, transaction

if TYPE_CHECKING:
    from thresher.explain import Explanation
    from thresher.given_answers import GivenAnswer
    from thresher.run import Answered
    from thresher.verdicts import Finding

__all__ = ["Outcome", "Session"]

Parameters = Sequence[Any] | Mapping[str, Any] | None
Reader = Callable[[plan.SelectionQuery], Population]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one statement gave.

    Parameters
    ----------
    relation : duckdb.DuckDBPyRelation or None
        The rows, materialised; None where there are none.
    answered : tuple of Answered
        One for each query of ours in the statement, the last one of the outermost.
    rowcount : int
        Rows inserted, updated or deleted; -1 for everything else.
    """

    relation: duckdb.DuckDBPyRelation | None
    answered: tuple[Answered, ...] = ()
    rowcount: int = -1

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
        self._sink = sink
        self._tell: Callable[[ProgressEvent], object] | None = None
        self.catalog = Catalog(connection, settings)
        self.models = Models(connection, self.catalog, settings, folder)
        self._prepared = Prepared(connection)
        self._shares, self.interrupts = Shares(), Interrupts(connection)
        self._budget: SessionBudget | None = None

    def execute(self, sql: str, parameters: Parameters = None) -> Outcome:
        """Run one statement.

        Raises
        ------
        DatabaseError
            Any failure, as a PEP 249 error of `thresher.errors`.
        """
        with self.interrupts.handled():
            with translated():
                self.catalog.refresh()
                sql, parameters = self._prepared.called(sql, parameters)
                if not sql:
                    return Outcome(None)
                statement = parse(sql, self.catalog, parameters)
                offer_store(self.connection, self.store, sql)
            plain = isinstance(statement, plan.Passthrough)
            with translated(sql, self.catalog, rewritten=not plain):
                if isinstance(statement, plan.Passthrough):
                    return self._duckdb(statement.sql, parameters)
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
                self._budget = None  # begun anew, also where it is set to what it was
            return Outcome(None)
        raise InterfaceError(f"cannot run a {type(statement).__name__}")

    def select(self, query: plan.SelectionQuery) -> Outcome:
        """Answer one of our queries inside one transaction, so that rows stand still."""
        with self._answering([query]) as answer:
            answered = answer(query, "")
        return Outcome(answered.relation, (answered,))

    def compose(self, statement: plan.Composed) -> Outcome:
        """Answer the blocks of a statement, then the statement over their rows."""
        from thresher.composing import block_tables

        outer = statement.outer
        with (
            self._answering(_parts_of(statement)) as answer,
            block_tables(self.connection, statement),
        ):
            blocks = () if statement.described else statement.blocks
            found = [answer(block.query, block.name) for block in blocks]
            if isinstance(outer, str):
                done = self._duckdb(outer, None)
                return Outcome(done.relation, tuple(found), done.rowcount)
            answered = answer(outer, "")
        return Outcome(answered.relation, (*found, answered))

    def answer_fed(
        self,
        sent: Shipped,
        rows: FedRows,
        among: Sequence[plan.SelectionQuery],
        oracle_limit: int | None = None,
    ) -> Answered:
        """Answer one query of a statement over rows that another process has sent.

        Parameters
        ----------
        sent : Shipped
            The query.
        rows : FedRows
            Its rows.
        among : sequence of SelectionQuery
            All queries of the statement, which share its failure probability.
        oracle_limit : int or None
            Most labels that are left for it; None is what ``thresher_oracle_limit`` says.
        """
        with (
            self.interrupts.handled(),
            translated(sent.asked.sql, self.catalog, rewritten=True),
            self._answering(among, self._reader(sent, rows), oracle_limit) as answer,
        ):
            return answer(sent.query, "")

    def explain_fed(
        self, sent: Shipped, rows: FedRows, among: Sequence[plan.SelectionQuery]
    ) -> Explanation:
        """Say how one query of a statement would be answered; see `answer_fed`."""
        sql = sent.asked.sql
        with self.interrupts.handled(), translated(sql, self.catalog, rewritten=True):
            return self._explained(sent.asked, among, self._reader(sent, rows), sent.query)

    def explain_block(
        self, query: plan.SelectionQuery, among: Sequence[plan.SelectionQuery]
    ) -> Explanation:
        """Say how a query over the rows of blocks before it would be answered."""
        with self.interrupts.handled(), translated(query.sql, self.catalog, rewritten=True):
            return self._explained(query, among)

    def _reader(self, sent: Shipped, rows: FedRows) -> Reader:
        return lambda asked: FedPopulation(self.connection, sent, asked, rows)

    @contextmanager
    def _answering(
        self,
        queries: Sequence[plan.SelectionQuery],
        reader: Reader | None = None,
        oracle_limit: int | None = None,
    ) -> Iterator[Callable[[plan.SelectionQuery, str], Answered]]:
        """Hand out what answers the queries of one statement, under one limit of labels."""
        from thresher.run import run  # brings scipy, which plain SQL does not need
        from thresher.running import targets_of

        sink, budget = self._progress(), self._session_budget()
        left = self.settings.count("oracle_limit") if oracle_limit is None else oracle_limit

        def answer(query: plan.SelectionQuery, into: str) -> Answered:
            nonlocal left
            share = self._share(query, queries)
            env = self._environment(query, sink, share, left, reader)
            targets = targets_of(env, query)
            self.interrupts.answers_early = stops_anywhere(query, targets, self.settings)
            answered = run(replace(env, into=into), query)
            left -= answered.charged
            if answered.certificate.grade != "exact":
                self._shares.spend(share)
            return answered

        try:
            with nullcontext() if budget is None else budget.timed(), transaction(self.connection):
                yield answer
        finally:
            sink.close()

    def audit(self, statement: plan.Audit) -> Outcome:
        """Test the promise of a certificate on rows drawn afresh, or against people."""
        from thresher.verdicts import as_table

        findings = self._audit(statement, self.audited(statement))
        return Outcome(self.connection.from_arrow(as_table(findings)))

    def audit_fed(self, statement: plan.Audit, sent: Shipped, rows: FedRows) -> list[Finding]:
        """Test the promise of a certificate over rows that another process has sent."""
        with self.interrupts.handled(), translated(statement.sql, rewritten=True):
            return self._audit(statement, sent.query, self._reader(sent, rows))

    def audited(self, statement: plan.Audit) -> plan.SelectionQuery:
        """Return the query of the certificate that is to be tested.

        Raises
        ------
        ProgrammingError
            There is no such certificate in the label store.
        """
        identity, at = statement.identity, statement.place
        found = self.store.certificate(identity)
        if found is None:
            known = [row[0] for row in self.store.certificates()]
            raise ProgrammingError(
                f"there is no certificate {identity} in the label store."
                f"{nearest(identity, known)} SHOW CERTIFICATES lists them."
            ).at(statement.sql, at.offset, at.length)
        query = parse(str(found["canonical"]), self.catalog.without_settings())
        if not isinstance(query, plan.SelectionQuery):
            raise InterfaceError(f"certificate {identity} is of no query")
        return query

    def _audit(
        self, statement: plan.Audit, query: plan.SelectionQuery, reader: Reader | None = None
    ) -> list[Finding]:
        from thresher.auditing import audit_certificate

        place = statement.places.get("WITH PROBABILITY", statement.place)
        share = self._dealt(statement.probability, statement.sql, place)
        found = self.store.certificate(statement.identity) or {}
        answer = self.store.answer(statement.identity)
        return self._audited(
            query,
            share,
            lambda env: audit_certificate(env, query, statement, found, answer),
            reader,
        )

    def audit_answer(self, sql: str, answer: GivenAnswer) -> list[Finding]:
        """Test an answer that is given by the keys of its rows."""
        from thresher.auditing import audit_answer

        with self.interrupts.handled(), translated(sql, rewritten=True):
            self.catalog.refresh()
            query = parse(sql, self.catalog.without_settings())
            if not isinstance(query, plan.SelectionQuery) or query.estimation or query.labelled:
                raise ProgrammingError(
                    "an audit needs a SELECT whose WHERE calls a declared oracle"
                )
            for target in ("RECALL", "PRECISION", "ACCURACY"):
                if (place := query.tail.places.get(f"{target} TARGET")) is not None:
                    way = f"claim it with {target.lower()}=0.9"
                    if target == "ACCURACY":
                        way = "claim recall= and precision= of the rows that are labelled true"
                    error = ProgrammingError(f"Leave {target} TARGET out of the query; {way}.")
                    raise error.at(sql, place.offset, place.length)
            share = self._dealt(answer.probability)
            return self._audited(query, share, lambda env: audit_answer(env, query, answer))

    def _audited(
        self,
        query: plan.SelectionQuery,
        share: Share,
        audit: Callable[[Environment], list[Finding]],
        reader: Reader | None = None,
    ) -> list[Finding]:
        """Run an audit in one transaction; it spends of the session's delta unless it is exact."""
        sink, budget = self._progress(), self._session_budget()
        try:
            with nullcontext() if budget is None else budget.timed(), transaction(self.connection):
                findings = audit(self._environment(query, sink, share, reader=reader))
        finally:
            sink.close()
        if any(finding.low != finding.high for finding in findings):
            self._shares.spend(share)
        return findings

    def _share(self, query: plan.SelectionQuery, queries: Sequence[plan.SelectionQuery]) -> Share:
        """Find out what failure probability a query, one of a statement's, may spend."""
        sharing = [one for one in queries if one.promises and one.tail.probability is None]
        place = query.tail.places.get("WITH PROBABILITY", plan.Place(0, 0))
        return self._dealt(query.tail.probability, query.sql, place, len(sharing))

    def _dealt(
        self,
        named: float | None,
        sql: str | None = None,
        place: plan.Place | None = None,
        n_sharing: int = 1,
    ) -> Share:
        """Return what a statement may spend; an error stands where it names its probability."""
        session = self.settings.get("session_probability")
        try:
            return self._shares.share(
                named,
                session=session if isinstance(session, float) else None,
                default=float(str(self.settings.get("probability"))),
                n_sharing=n_sharing,
            )
        except ProgrammingError as error:
            if sql is None or place is None:
                raise
            raise error.at(sql, place.offset, place.length) from None

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

    def _environment(
        self,
        query: plan.SelectionQuery,
        sink: ProgressSink,
        share: Share,
        oracle_limit: int | None = None,
        reader: Reader | None = None,
    ) -> Environment:
        entries = self.models.entries(query)
        return Environment(
            connection=self.connection,
            oracles={call.oracle: self.models.bound(call.oracle) for call in query.all_calls},
            population=self._stored_rows if reader is None else reader,
            candidates=lambda population: self.models.candidates(query, entries, population),
            predictors=lambda population: self.models.predictors(query, entries, population),
            proxies=tuple(entry.name for entry in entries),
            settings=self.settings,
            store=self.store,
            progress=sink,
            interrupted=self.interrupts.asked,
            delta=share.delta,
            share=share.text,
            oracle_limit=(
                self.settings.count("oracle_limit") if oracle_limit is None else oracle_limit
            ),
            budget=self._session_budget(),
            check=self.interrupts.check,
            shielded=self.interrupts.shielded,
        )

    def _stored_rows(self, query: plan.SelectionQuery) -> Population:
        """Read the rows of a query from the user's own connection."""
        return Population(self.connection, query, [None] * len(query.calls))

    def _session_budget(self) -> SessionBudget | None:
        """Return what all statements may spend, from the first statement after it was set."""
        text = self.settings.get("session_budget")
        if text is None:
            self._budget = None
        elif self._budget is None:
            self._budget = SessionBudget(parse_budget(str(text)))
        return self._budget

    @contextmanager
    def told(self, tell: Callable[[ProgressEvent], object] | None) -> Iterator[None]:
        """Pass the progress of what runs inside on to a function."""
        before, self._tell = self._tell, tell
        try:
            yield
        finally:
            self._tell = before

    def _progress(self) -> ProgressSink:
        sink = sink_of(self.settings.get("progress")) if self._sink is None else self._sink
        return sink if self._tell is None else Told(sink, self._tell)

    def take_declarations(self, *, keep: bool) -> None:
        """Take the declarations that wait in the label store, into the database if `keep`."""
        waiting = declared_beside(self.store.file)
        for declaration in waiting:
            self.catalog.adopt(*declaration, keep=keep)
        if waiting and keep:
            take_beside(self.store.file, waiting)

    def end_transaction(self, how: str) -> None:
        """COMMIT or ROLLBACK if a transaction was begun."""
        with translated():
            if in_transaction(self.connection):
                self.connection.execute(how)

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

    def _explain(self, statement: plan.Explain) -> duckdb.DuckDBPyRelation:
        from thresher.explain import written  # brings scipy, which plain SQL does not need

        parts = _parts_of(statement.query)
        explained = [self._explained(query, parts) for query in parts]
        if statement.analyze:
            answered = self._ours(statement.query).answered
            explained = [
                replace(one, answered=gave) for one, gave in zip(explained, answered, strict=True)
            ]
        return self._rows({"explain": written(statement, explained)})

    def _explained(
        self,
        query: plan.SelectionQuery,
        parts: Sequence[plan.SelectionQuery],
        reader: Reader | None = None,
        read: plan.SelectionQuery | None = None,
    ) -> Explanation:
        """Say how a query will be answered, without buying a label; `read` is what reads it."""
        from thresher.explain import Explanation
        from thresher.forecasting import forecast
        from thresher.plan_tree import levels_of, most_labels, plan_of
        from thresher.running import targets_of

        env = self._environment(query, Silent(), self._share(query, parts), reader=reader)
        targets, settings, outlook = targets_of(env, query), self.settings, None
        if BLOCK_PREFIX not in query.canonical:
            with transaction(self.connection):
                most = most_labels(query, targets, settings)
                outlook = forecast(env, read or query, targets, most)
        entries = self.models.entries(query)
        left = None if env.budget is None else env.budget.text()
        node = plan_of(query, targets, entries, settings, outlook, env.share, left)
        return Explanation(query, node, outlook, levels_of(query, targets, settings, outlook))

    def _rows(self, columns: Mapping[str, Sequence[str | None]]) -> duckdb.DuckDBPyRelation:
        arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        return self.connection.from_arrow(pa.table(arrays))


def _parts_of(
    statement: plan.SelectionQuery | plan.Composed,
) -> list[plan.SelectionQuery]:
    """Return the queries of ours in a statement, in the order in which they are answered."""
    if isinstance(statement, plan.SelectionQuery):
        return [statement]
    last = [] if isinstance(statement.outer, str) else [statement.outer]
    return [*(block.query for block in statement.blocks), *last]
