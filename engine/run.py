"""Runs one bound query: population, labels, decision, certificate, answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np

from thresher.auditing import keys_sha256
from thresher.certificate import Certificate
from thresher.classifying import classify
from thresher.environment import Environment
from thresher.estimating import estimate
from thresher.labels import StoredAnswer
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.running import Running
from thresher.scoring import FloatArray
from thresher.selecting import select

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
    with Population(env.connection, query, [None] * len(query.calls)) as population:
        running = Running(env, query, population)
        answer: StoredAnswer | None = None
        if query.estimation is not None:
            estimates, certificate = estimate(running)
            running.enter("answer")
            relation = population.estimates(estimates, env.into)
        elif running.targets.accuracy is not None:
            returned, labels, certificate = classify(running)
            running.enter("answer")
            relation = population.answer(returned, labels, env.into)
            answer = StoredAnswer(keys_sha256(population), returned)
        else:
            returned, certificate = select(running)
            running.enter("answer")
            relation = population.answer(returned, into=env.into)
            answer = StoredAnswer(keys_sha256(population), returned)
    identity = certificate.id
    env.store.keep_certificate(
        identity, certificate.summary, certificate.to_dict(), certificate.log
    )
    if answer is not None:
        env.store.keep_answer(identity, answer)
    running.enter("done")
    scores = None
    if running.used is not None and certificate.log is not None:
        scores = running.used[np.asarray(certificate.log.column("row"), dtype=np.int64)]
    return Answered(relation, certificate, running.labeller.charged, running.seconds, scores)
