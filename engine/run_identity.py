"""What tells one run from another: a hash of all that decides which rows it draws."""

from __future__ import annotations

import hashlib
from importlib.metadata import version

import numpy as np

from thresher.environment import Environment
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.targets import Targets

__all__ = ["VERSION", "run_identity"]

VERSION = version("thresher")


def run_identity(
    env: Environment,
    population: Population,
    targets: Targets,
    seed: object,
    purpose: str,
) -> str:
    """Return the identity of a run.

    Parameters
    ----------
    env, population, targets
        Where it runs, the rows and what is asked of them.
    seed : object
        As the statement or the session names it; None where neither does.
    purpose : str
        Sets apart runs of one query that must not draw the same rows, such as an audit.

    Returns
    -------
    str
        Hex. Runs of one identity draw the same rows, as long as budgets and interruptions end them
        at the same place.
    """
    facts = hashlib.sha256()
    asked = population.asked
    called = {call.oracle for call in asked.calls}
    named = {name: bound.version for name, bound in env.oracles.items() if name in called}
    settings = [
        env.oracle_limit, *(env.settings.get(name) for name in ("default_budget", "encoder")),
    ]  # fmt: skip
    plain = (VERSION, _question(asked), targets, seed, settings, named)
    facts.update(repr((*plain, env.proxies)).encode())
    facts.update(purpose.encode())
    values = [array for array in population.plain if array is not None]
    for array in [*population.keys, population.known, *population.scores, *values]:
        facts.update(np.ascontiguousarray(array).data)
    return facts.hexdigest()


def _question(query: SelectionQuery) -> str:
    """Write what decides which rows are drawn: neither SELECT list nor ORDER BY nor case."""
    tail = query.tail
    leaves = [(leaf.alias, leaf.relation) for leaf in query.leaves]
    calls = [(call.oracle, call.arguments, call.value) for call in query.calls]
    terms = [term.text for term in query.proxies]
    where = (query.plain, query.formula, query.parts)
    clauses = (tail.oracle_limit, tail.budget, tail.assuming)
    asked: tuple[object, ...] = ()
    if (estimation := query.estimation) is not None:
        measured = [(m.value, m.condition, m.low, m.high) for m in estimation.measured]
        kinds = [(a.kind, a.column, a.denominator, a.share) for a in estimation.aggregates]
        asked = (estimation.groups, measured, kinds)
    if (sought := query.sought) is not None:
        # Names in ORDER BY may stand for items of the SELECT list.
        order = (query.answer.order, query.answer.select) if sought.target.ordered else ()
        asked = (sought.target, sought.gap_on, order)
    text = repr((query.ctes, leaves, query.from_sql, where, clauses, calls, terms, asked))
    return " ".join(text.lower().split())
