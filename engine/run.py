"""Runs one bound query: population, labels, decision, certificate, answer."""

from __future__ import annotations

import duckdb

from thresher.auditing import keys_sha256
from thresher.certificate import Certificate
from thresher.classifying import classify
from thresher.environment import Environment
from thresher.estimating import estimate
from thresher.labels import StoredAnswer
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.running import Running
from thresher.selecting import select

__all__ = ["run"]


def run(env: Environment, query: SelectionQuery) -> tuple[duckdb.DuckDBPyRelation, Certificate]:
    """Answer one query.

    Parameters
    ----------
    env : Environment
        Where it runs.
    query : SelectionQuery
        What is asked.

    Returns
    -------
    relation : duckdb.DuckDBPyRelation
        The rows, materialised.
    certificate : Certificate
        What they promise; it is in the store too.

    Raises
    ------
    BudgetError
        The answer would cost more labels than allowed.
    ShortfallError
        The target cannot be certified and ON SHORTFALL says FAIL.
    DataError, OracleError
        An oracle or proxy failed; labels bought before are kept.
    """
    with Population(env.connection, query, [None] * len(query.calls)) as population:
        running = Running(env, query, population)
        answer: StoredAnswer | None = None
        if query.estimation is not None:
            estimates, certificate = estimate(running)
            running.enter("answer")
            relation = population.estimates(estimates)
        elif running.targets.accuracy is not None:
            returned, labels, certificate = classify(running)
            running.enter("answer")
            relation = population.answer(returned, labels)
            answer = StoredAnswer(keys_sha256(population), returned)
        else:
            returned, certificate = select(running)
            running.enter("answer")
            relation = population.answer(returned)
            answer = StoredAnswer(keys_sha256(population), returned)
    identity = certificate.id
    env.store.keep_certificate(
        identity, certificate.summary, certificate.to_dict(), certificate.log
    )
    if answer is not None:
        env.store.keep_answer(identity, answer)
    return relation, certificate
