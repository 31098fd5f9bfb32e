"""Runs one bound query: population, labels, decision, certificate, answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import numpy.typing as npt

from thresher.auditing import keys_sha256
from thresher.candidates import FloatArray
from thresher.certificate import Certificate
from thresher.certifying import traced, with_outputs
from thresher.classifying import classify
from thresher.environment import Environment
from thresher.errors import NotSupportedError
from thresher.estimating import estimate
from thresher.finding import find
from thresher.labels import StoredAnswer
from thresher.outputs import check_outputs, show_outputs
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.running import Running
from thresher.selecting import select
from thresher.watching import keep_learnt, watched

__all__ = ["Answered", "run"]


@dataclass(frozen=True, slots=True)
class Answered:
    """What one query gave.

    Parameters
    ----------
    relation : duckdb.DuckDBPyRelation
        The rows, materialised.
    certificate : Certificate
        What they promise; it is in the store too.
    charged : int
        Labels that count against the limit: those bought, and those that an earlier beginning of
        the same run had bought.
    seconds : mapping of str to float
        Time of each stage.
    scores : ndarray of float, shape (k,), or None
        Scores of the rows in the label log, in its order; None where no proxy was used.
    """

    relation: duckdb.DuckDBPyRelation
    certificate: Certificate
    charged: int
    seconds: Mapping[str, float]
    scores: FloatArray | None


def run(env: Environment, query: SelectionQuery) -> Answered:
    """Answer one query.

    Parameters
    ----------
    env : Environment
        Where it runs.
    query : SelectionQuery
        What is asked.

    Raises
    ------
    BudgetError
        The answer would cost more labels than allowed.
    ShortfallError
        The target cannot be certified and ON SHORTFALL says FAIL.
    DataError, OracleError
        An oracle or proxy failed; labels bought before are kept.
    """
    with env.population(query) as population:
        if query.outputs is not None:
            check_outputs(population, query.sql, query.outputs)
        query = _all_rows(query, population)
        running = Running(env, query, population)
        returned: npt.NDArray[np.bool_] | None = None
        with running.told():
            if query.estimation is not None:
                estimates, certificate = estimate(running)
                running.enter("answer")
                relation = population.answering.estimates(estimates, env.into)
            elif running.targets.accuracy is not None:
                returned, labels, certificate = classify(running)
                running.enter("answer")
                shown = {} if query.labelled is None else {query.labelled.column: labels}
                relation = population.answer(returned, shown, env.into)
            else:
                returned, certificate = (find if running.targets.kind == "rows" else select)(
                    running
                )
                relation, certificate = _shown(running, returned, certificate)
            certificate = traced(running, watched(running, certificate))
            keep_learnt(running, certificate)
        answer = None if returned is None else StoredAnswer(keys_sha256(population), returned)
    identity = certificate.id
    env.store.keep_certificate(
        identity,
        certificate.summary,
        certificate.to_dict(),
        certificate.log,
        None if certificate.trace is None else certificate.trace.to_dict(),
    )
    if answer is not None:
        env.store.keep_answer(identity, answer)
    running.enter("done")
    scores = None
    if running.used is not None and certificate.log is not None:
        scores = running.used[np.asarray(certificate.log.column("row"), dtype=np.int64)]
    return Answered(relation, certificate, running.labeller.charged, running.seconds, scores)


def _all_rows(query: SelectionQuery, population: Population) -> SelectionQuery:
    """Seek all positive rows where a macro makes the answer hang on all of them."""
    if query.sought is None or population.answering.one_to_one:
        return query
    if query.sought.target.gap is not None:
        place = query.tail.places["GAP"]
        raise NotSupportedError(
            "GAP needs rows that each give one row of the answer: a macro of this query aggregates "
            "them, or has a window function or unnest(). Select the rows first."
        ).at(query.sql, place.offset, place.length)
    return replace(query, sought=None)


def _shown(
    run: Running, returned: npt.NDArray[np.bool_], certificate: Certificate
) -> tuple[duckdb.DuckDBPyRelation, Certificate]:
    """Ask for what the rows show, and run the user's query over them."""
    outputs, labels = run.query.outputs, {}
    if outputs is not None:
        shown = show_outputs(run, outputs, returned, certificate.note)
        labels = shown.labels
        certificate = with_outputs(run, certificate, shown.reports)
    run.enter("answer")
    return run.population.answer(returned, labels, run.env.into), certificate
