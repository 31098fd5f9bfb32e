"""Declared models made real: bound oracles, and the proxies that a query may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import duckdb
import pyarrow as pa

from thresher import plan
from thresher.catalog import Catalog, OracleEntry, ProxyEntry
from thresher.errors import Error, ProgrammingError, nearest
from thresher.oracles import Argument, Oracle, Proxy, Signature, TrainableProxy
from thresher.oracles.answers import arrow_type
from thresher.oracles.context import Context
from thresher.oracles.options import OptionError
from thresher.oracles.registry import create_oracle, create_proxy
from thresher.settings import Settings
from thresher.sql.tokens import quoted

if TYPE_CHECKING:
    from thresher.bound_oracles import BoundOracle
    from thresher.candidates import Candidate
    from thresher.population import Population
    from thresher.trained import Kept

__all__ = ["Models"]

Function = Callable[..., Any]
Model = Oracle | Proxy | TrainableProxy


class Models:
    """The models of one session; each is made once and keeps its weights between queries.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        For oracles whose answers lie in a table.
    catalog : Catalog
        What is declared.
    settings : Settings
        For the setting ``encoder``.
    folder : Path, optional
        Where relative paths and Python modules are looked for; the working directory when absent.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        catalog: Catalog,
        settings: Settings,
        folder: Path | None = None,
    ) -> None:
        self._connection, self._catalog, self._settings = connection, catalog, settings
        self._folder = folder
        self._made: dict[tuple[str, str], Model] = {}

    def check(
        self, made: plan.CreateOracle | plan.CreateProxy, function: Function | None = None
    ) -> None:
        """Make sure, without loading weights, that a declaration can become a model.

        Raises
        ------
        ProgrammingError
            Provider or options are wrong; the error shows the place.
        """
        context = self._context(made.name, function)
        with _placed(made):
            if isinstance(made, plan.CreateOracle):
                arguments = tuple(Argument(name, kind) for name, kind in made.arguments)
                signature = Signature(arguments, made.returns)
                self._check_types(made)
                create_oracle(made.provider, made.name, signature, made.options, context)
                return
            oracle = self._catalog.oracle(made.oracle)
            if oracle is not None:
                create_proxy(made.provider, made.name, oracle.signature, made.options, context)

    def _check_types(self, made: plan.CreateOracle) -> None:
        for name, kind in made.arguments:
            try:
                self._connection.execute(f"SELECT CAST(NULL AS {kind})")
            except duckdb.Error as error:
                raise ProgrammingError(
                    f"oracle {made.name}: argument {name} has the unknown type {kind}. Write a "
                    "type of DuckDB, such as VARCHAR, BIGINT or DOUBLE."
                ) from error

    def bound(self, name: str) -> BoundOracle:
        """Return a declared oracle, ready to be asked."""
        from thresher.bound_oracles import BoundOracle  # asks, which plain SQL does not need

        entry = self._catalog.oracle(name)
        if entry is None:
            hint = nearest(name, self._catalog.oracle_names())
            raise ProgrammingError(f"there is no oracle {name}.{hint}")
        model = cast("Oracle", self._model(entry))
        returns = arrow_type(entry.signature.returns)
        return BoundOracle(entry.name, entry.signature, model, returns, entry.value_range)

    def proxy(self, made: plan.CreateProxy) -> Model:
        """Make the model of a proxy that is about to be declared."""
        oracle = self._catalog.oracle(made.oracle)
        if oracle is None:
            hint = nearest(made.oracle, self._catalog.oracle_names())
            raise ProgrammingError(f"there is no oracle {made.oracle}.{hint}")
        context = self._context(made.name, None)
        with _placed(made):
            return create_proxy(made.provider, made.name, oracle.signature, made.options, context)

    def _kept(self, entry: ProxyEntry, model: TrainableProxy, call: plan.OracleCall) -> Kept:
        """Return a proxy that was trained when it was declared."""
        from thresher.trained import Kept, Trained, sha256_of

        learnt = self._catalog.learnt(entry.name)
        if learnt is None:
            raise ProgrammingError(
                f"what proxy {entry.name} has learnt is gone. Train it anew with CREATE OR REPLACE "
                "PROXY ... TRAINED FROM."
            )
        return Kept(
            entry.name, model, call.inputs, (call,), Trained.unpack(learnt), sha256_of(learnt),
            declared=True, flip=call.negated,
        )  # fmt: skip

    def forget(self, name: str) -> None:
        """Make a model anew when it is next used: its declaration, or its code, has changed."""
        self._made = {key: made for key, made in self._made.items() if key[0] != name.lower()}

    def _model(self, entry: OracleEntry | ProxyEntry) -> Model:
        """Make a model once per declaration; weights stay loaded between queries."""
        oracle = entry if isinstance(entry, OracleEntry) else self._catalog.oracle(entry.oracle)
        facts = (type(entry).__name__, entry.provider, sorted(entry.options.items()))
        key = (entry.name, repr((facts, oracle.signature if oracle else None)))
        if key not in self._made or entry.provider == "column":  # its table may have changed
            context = self._context(entry.name, entry.function)
            if isinstance(entry, OracleEntry):
                self._made[key] = create_oracle(
                    entry.provider, entry.name, entry.signature, entry.options, context
                )
            else:
                if oracle is None:
                    raise ProgrammingError(f"proxy {entry.name} has lost oracle {entry.oracle}")
                self._made[key] = create_proxy(
                    entry.provider, entry.name, oracle.signature, entry.options, context
                )
        return self._made[key]

    def _context(self, name: str, function: Callable[..., Any] | None) -> Context:
        functions = {} if function is None else {name: function, name.lower(): function}
        return Context(self._read_table, self._fingerprint, functions, self._folder or Path.cwd())

    def _read_table(self, table: str, columns: list[str]) -> pa.Table:
        names = ", ".join(quoted(column) for column in columns)
        return self._connection.sql(f"SELECT {names} FROM {table}").to_arrow_table()

    def _fingerprint(self, table: str, columns: list[str]) -> str:
        names = ", ".join(quoted(column) for column in columns)
        row = self._connection.execute(
            f"SELECT count(*), bit_xor(hash({names})), sum(hash({names}) % 1000003) FROM {table}"
        ).fetchone()
        return repr(row)

    def entries(self, query: plan.SelectionQuery) -> list[ProxyEntry]:
        """Declared proxies the query may use: those in USING, else all of its oracles."""
        if not query.proxies:
            called = {call.oracle for call in query.calls}
            return [e for oracle in sorted(called) for e in self._catalog.proxies(oracle)]
        entries = []
        for term in query.proxies:
            if term.name is None:
                continue
            entry = self._catalog.proxy(term.name)
            if entry is None or all(call.oracle != entry.oracle for call in query.calls):
                hint = nearest(term.name, self._catalog.proxy_names()) if entry is None else ""
                what = "no proxy" if entry is None else "no call of the oracle of proxy"
                raise ProgrammingError(
                    f"there is {what} {term.name}.{hint}",
                    sql=query.sql,
                    offset=term.place.offset,
                    length=term.place.length,
                )
            entries.append(entry)
        return entries

    def candidates(
        self,
        query: plan.SelectionQuery,
        entries: Sequence[ProxyEntry],
        population: Population,
    ) -> list[Candidate]:
        """Return the proxies a query may use: those of USING, else declared and default ones."""
        return self._all_candidates(query, entries, population)[0]

    def predictors(
        self,
        query: plan.SelectionQuery,
        entries: Sequence[ProxyEntry],
        population: Population,
    ) -> list[Candidate]:
        """Return the proxies that predict a value which an oracle gives to an aggregate.

        They are the declared proxies of oracles that stand in aggregates only; and the SQL
        expression in USING, the last where the first ones score the condition.
        """
        return self._all_candidates(query, entries, population)[1]

    def _all_candidates(
        self,
        query: plan.SelectionQuery,
        entries: Sequence[ProxyEntry],
        population: Population,
    ) -> tuple[list[Candidate], list[Candidate]]:
        """Return the candidates that score rows, and those that predict values."""
        from thresher.candidates import Expression, Trainable

        expressions: list[Candidate] = [
            Expression(term.text, scores)
            for term, scores in zip(
                (term for term in query.proxies if term.name is None),
                population.scores,
                strict=True,
            )
        ]
        estimation, conditions = query.estimation, query.calls
        values = estimation is not None and any(m.plain is None for m in estimation.measured)
        predicting: list[Candidate] = []
        if estimation is not None:
            conditions = query.calls[: estimation.n_conditions]
            if values:
                first = 1 if conditions else 0
                expressions, predicting = expressions[:first], expressions[first:]
        scoring = {call.oracle for call in conditions or (() if values else query.calls)}
        candidates = list(expressions)
        for entry in entries:
            serves = candidates if entry.oracle in scoring else predicting
            serves.append(self._candidate(query, entry))
        if not query.proxies and conditions:
            inputs = tuple(column for call in conditions for column in call.inputs)
            declared = {entry.provider for entry in entries}
            models = self._default_proxies(query, declared)
            candidates += [Trainable(model, inputs) for model in models]
        return candidates, predicting

    def _candidate(self, query: plan.SelectionQuery, entry: ProxyEntry) -> Candidate:
        from thresher.candidates import Scorer, Trainable

        call = next(call for call in query.calls if call.oracle == entry.oracle)
        model: Any = self._model(entry)
        if entry.trained is not None:
            return self._kept(entry, model, call)
        if hasattr(model, "fit"):
            return Trainable(model, call.inputs, entry.name)
        oracle = self._catalog.oracle(entry.oracle)
        arguments = () if oracle is None else tuple(a.name for a in oracle.signature.arguments)
        return Scorer(entry.name, model, call.inputs, arguments, flip=call.negated)

    def _default_proxies(
        self, query: plan.SelectionQuery, declared: AbstractSet[str]
    ) -> list[TrainableProxy]:
        """With no USING: TF-IDF always, an embedding where the setting `encoder` names one.

        A kind that the user has `declared` is taken as declared.
        """
        oracle = self._catalog.oracle(query.calls[0].oracle)
        if oracle is None:
            return []
        wanted: list[tuple[str, dict[str, plan.OptionValue]]] = [("tfidf", {})]
        encoder = self._settings.get("encoder")
        if encoder is not None:
            wanted.append(("embedding", {"model": encoder}))
        models = []
        for provider, options in wanted:
            if provider in declared:
                continue
            sql = repr((provider, options))
            entry = ProxyEntry(provider, oracle.name, provider, options, sql)
            models.append(cast("TrainableProxy", self._model(entry)))
        return models


@contextmanager
def _placed(made: plan.CreateOracle | plan.CreateProxy) -> Iterator[None]:
    """Give an error about a declaration its place in the statement."""
    try:
        yield
    except Error as error:
        option = error.option if isinstance(error, OptionError) else None
        place = made.places.get(f"option {option}") or made.places.get("provider")
        if not made.sql or place is None:
            raise
        raise error.at(made.sql, place.offset, place.length) from error.__cause__
