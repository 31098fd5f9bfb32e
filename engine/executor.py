"""Queries of one session: answered, explained and audited, within its delta and its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import duckdb

from thresher import plan
from thresher.budgets import SessionBudget, parse_budget
from thresher.catalog import Catalog
from thresher.duckdb_errors import translated
from thresher.errors import InterfaceError, ProgrammingError, nearest
from thresher.interrupts import Interrupts
from thresher.labels import LabelStore
from thresher.models import Models
from thresher.progress import ProgressEvent, ProgressSink, Silent, Told, sink_of
from thresher.settings import Settings
from thresher.spending import Share, Shares
from thresher.sql import parse
from thresher.sql.nesting import BLOCK_PREFIX
from thresher.sql.shipping import Shipped
from thresher.transactions import transaction

if TYPE_CHECKING:
    from thresher.environment import Environment
    from thresher.explain import Explanation
    from thresher.fed_rows import FedRows
    from thresher.given_answers import GivenAnswer
    from thresher.population import Population
    from thresher.run import Answered
    from thresher.verdicts import Finding

    Reader = Callable[[plan.SelectionQuery], Population]

__all__ = ["Executor"]


@dataclass(slots=True)
class Executor:
    """Runs the queries of a session.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Beneath everything.
    store : LabelStore
        Where labels are kept.
    settings, catalog, models, interrupts
        Of the session.
    sink : ProgressSink or None
        Shows progress; None follows the setting ``progress``.
    """

    connection: duckdb.DuckDBPyConnection
    store: LabelStore
    settings: Settings
    catalog: Catalog
    models: Models
    interrupts: Interrupts
    sink: ProgressSink | None = None
    _tell: Callable[[ProgressEvent], object] | None = None
    _shares: Shares = field(default_factory=Shares)
    _budget: SessionBudget | None = None

    @contextmanager
    def answering(
        self,
        queries: Sequence[plan.SelectionQuery],
        reader: Reader | None = None,
        oracle_limit: int | None = None,
    ) -> Iterator[Callable[[plan.SelectionQuery, str], Answered]]:
        """Hand out what answers the queries of one statement, under one limit of labels.

        Parameters
        ----------
        queries : sequence of SelectionQuery
            All of the statement: they share its failure probability and one transaction.
        reader : callable, optional
            Returns the rows of a query; None reads them from the connection.
        oracle_limit : int or None
            Most labels of all; None is what ``thresher_oracle_limit`` says.

        Yields
        ------
        callable
            Takes a query and the name of the table that its rows go into, or an empty string.
        """
        from thresher.permits import stops_anywhere
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

    def explained(
        self,
        query: plan.SelectionQuery,
        parts: Sequence[plan.SelectionQuery],
        reader: Reader | None = None,
        read: plan.SelectionQuery | None = None,
    ) -> Explanation:
        """Say how a query will be answered, without buying a label.

        Parameters
        ----------
        query : SelectionQuery
            As it was asked.
        parts : sequence of SelectionQuery
            All queries of the statement.
        reader : callable, optional
            As for `answering`.
        read : SelectionQuery, optional
            What the reader takes in place of the query.
        """
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
            self.answering(among, self._reader(sent, rows), oracle_limit) as answer,
        ):
            return answer(sent.query, "")

    def explain_fed(
        self, sent: Shipped, rows: FedRows, among: Sequence[plan.SelectionQuery]
    ) -> Explanation:
        """Say how one query of a statement would be answered; see `answer_fed`."""
        sql = sent.asked.sql
        with self.interrupts.handled(), translated(sql, self.catalog, rewritten=True):
            return self.explained(sent.asked, among, self._reader(sent, rows), sent.query)

    def explain_block(
        self, query: plan.SelectionQuery, among: Sequence[plan.SelectionQuery]
    ) -> Explanation:
        """Say how a query over the rows of blocks before it would be answered."""
        with self.interrupts.handled(), translated(query.sql, self.catalog, rewritten=True):
            return self.explained(query, among)

    def _reader(self, sent: Shipped, rows: FedRows) -> Reader:
        from thresher.fed_population import FedPopulation

        return lambda asked: FedPopulation(self.connection, sent, asked, rows)

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

    def audit(self, statement: plan.Audit) -> list[Finding]:
        """Test the promise of a certificate on rows drawn afresh, or against people."""
        return self._audit(statement, self.audited(statement))

    def audit_fed(self, statement: plan.Audit, sent: Shipped, rows: FedRows) -> list[Finding]:
        """Test the promise of a certificate over rows that another process has sent."""
        with self.interrupts.handled(), translated(statement.sql, rewritten=True):
            return self._audit(statement, sent.query, self._reader(sent, rows))

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

    @contextmanager
    def told(self, tell: Callable[[ProgressEvent], object] | None) -> Iterator[None]:
        """Pass the progress of what runs inside on to a function."""
        before, self._tell = self._tell, tell
        try:
            yield
        finally:
            self._tell = before

    def _progress(self) -> ProgressSink:
        sink = sink_of(self.settings.get("progress")) if self.sink is None else self.sink
        return sink if self._tell is None else Told(sink, self._tell)

    def _environment(
        self,
        query: plan.SelectionQuery,
        sink: ProgressSink,
        share: Share,
        oracle_limit: int | None = None,
        reader: Reader | None = None,
    ) -> Environment:
        from thresher.environment import Environment

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
        from thresher.population import Population

        return Population(self.connection, query, [None] * len(query.calls))

    def begin_budget(self) -> None:
        """Forget what the session has spent of its budget, which was set anew."""
        self._budget = None

    def _session_budget(self) -> SessionBudget | None:
        """Return what all statements may spend, from the first statement after it was set."""
        text = self.settings.get("session_budget")
        if text is None:
            self._budget = None
        elif self._budget is None:
            self._budget = SessionBudget(parse_budget(str(text)))
        return self._budget

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
