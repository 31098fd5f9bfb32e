"""``CREATE PROXY ... TRAINED FROM``: a proxy that is fitted once, when it is declared."""

from __future__ import annotations

from typing import cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher import plan
from thresher.candidates import Trainable
from thresher.catalog import Catalog, OracleEntry
from thresher.errors import NotSupportedError, ProgrammingError
from thresher.keeping import trained_of
from thresher.labelling import learn
from thresher.labels import LabelStore
from thresher.models import Models
from thresher.oracles import TrainableProxy
from thresher.population import Population
from thresher.scoring import Learnt
from thresher.sql import parse
from thresher.sql.tokens import quoted
from thresher.trained import Trained
from thresher.transactions import transaction

__all__ = ["train"]

_LEAST_OF_A_KIND = 5  # labels, true and false
_LABEL = "__thresher_label"


def train(
    made: plan.CreateProxy,
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    models: Models,
    store: LabelStore,
) -> Trained:
    """Fit a proxy on the rows that its declaration names; buys nothing.

    Parameters
    ----------
    made : CreateProxy
        With `trained`. The relation has one column for each argument of the oracle, in their order,
        and one more for the label; without it the labels are those of the store.
    connection, catalog, models, store
        Of the session.

    Raises
    ------
    ProgrammingError
        The columns are others, or labels of either kind are too few.
    NotSupportedError
        The kind of proxy cannot be trained.
    """
    oracle = catalog.oracle(made.oracle)
    if oracle is None or made.trained is None:
        raise TypeError("a proxy is trained for a declared oracle, from a relation")
    model = models.proxy(made)
    if not hasattr(model, "freeze"):
        kind = f"a proxy of kind {made.provider} learns nothing: leave TRAINED FROM out"
        raise _at(made, NotSupportedError(f"{kind}. tfidf and embedding are trained."))
    with transaction(connection):
        query = _query(made, oracle, connection, catalog)
        with Population(connection, query, [None]) as population:
            rows, truth = _labels(made, query, population, models, store)
            return _fitted(made, cast("TrainableProxy", model), query, population, rows, truth)


def _query(
    made: plan.CreateProxy,
    oracle: OracleEntry,
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
) -> plan.SelectionQuery:
    """Return a query over the relation whose one call has the rows' inputs as arguments."""
    described = connection.execute(f"SELECT * FROM {made.trained} LIMIT 0").description or []
    columns = [column[0] for column in described]
    arguments = [argument.name for argument in oracle.signature.arguments]
    names = arguments if len(columns) == len(arguments) else [*arguments, _LABEL]
    if len(columns) != len(names) or len({column.lower() for column in columns}) < len(columns):
        wanted = ", ".join([*arguments, "label"])
        raise _at(
            made,
            ProgrammingError(
                f"TRAINED FROM needs the columns ({wanted}), in this order, and got "
                f"({', '.join(columns)}). Without the last one labels of the store are taken."
            ),
        )
    chosen = ", ".join(
        f"{quoted(column)} AS {quoted(name)}" for column, name in zip(columns, names, strict=True)
    )
    call = f"{quoted(oracle.name)}({', '.join(quoted(name) for name in arguments)})"
    sql = f"SELECT 1 FROM (SELECT {chosen} FROM {made.trained}) AS examples WHERE {call}"
    query = parse(sql, catalog.without_settings())
    if not isinstance(query, plan.SelectionQuery):
        raise TypeError("a call of an oracle makes a query of ours")
    return query


def _labels(
    made: plan.CreateProxy,
    query: plan.SelectionQuery,
    population: Population,
    models: Models,
    store: LabelStore,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the rows that have a label, and the labels."""
    oracle = query.calls[0].oracle
    if _LABEL not in query.leaves[0].relation:
        bound = models.bound(oracle)
        if not pa.types.is_boolean(bound.returns):
            raise _at(
                made,
                ProgrammingError(
                    f"oracle {oracle} is not BOOLEAN: write the truth that the proxy is to learn "
                    "as the last column."
                ),
            )
        learn(store, query, {oracle: bound}, population, store.last())
        rows = np.flatnonzero((population.known >= 0) & (population.free < 0))
        return rows, population.known[rows] == 1
    labels = population.column(f"CAST({quoted(_LABEL)} AS BOOLEAN)")
    there = np.asarray(labels.is_valid()) & (population.free < 0)
    rows = np.flatnonzero(there)
    return rows, np.asarray(labels.fill_null(fill_value=False), dtype=np.bool_)[rows]


def _fitted(
    made: plan.CreateProxy,
    model: TrainableProxy,
    query: plan.SelectionQuery,
    population: Population,
    rows: npt.NDArray[np.int64],
    truth: npt.NDArray[np.bool_],
) -> Trained:
    n_true = int(truth.sum())
    if min(n_true, len(truth) - n_true) < _LEAST_OF_A_KIND:
        raise _at(
            made,
            ProgrammingError(
                f"{len(rows):,} rows have a label, {n_true:,} of them true: a proxy needs at least "
                f"{_LEAST_OF_A_KIND} of either kind."
            ),
        )
    candidate = Trainable(model, query.calls[0].inputs)
    inputs = population.inputs(np.arange(population.n_rows)).select(list(candidate.inputs))
    features, rng = model.featurise(inputs), np.random.default_rng(0)
    fitted = model.fit(features, rows, truth, rng)
    learnt = Learnt(candidate, features, fitted, rows, truth)
    trained = trained_of(learnt, query, population, None)
    if trained is None:
        raise TypeError("labels of both kinds teach something")
    return trained


def _at(made: plan.CreateProxy, error: ProgrammingError | NotSupportedError) -> Exception:
    place = made.places["trained"]
    return error.at(made.sql, place.offset, place.length)
