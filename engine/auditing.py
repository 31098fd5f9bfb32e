"""Audits: promises tested on rows drawn afresh, and answers held against labels of people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.certifying import finite
from thresher.environment import Environment
from thresher.errors import DataError, Error, NotSupportedError, ProgrammingError
from thresher.estimating import estimate
from thresher.given_answers import GivenAnswer, rows_given
from thresher.labels import StoredAnswer
from thresher.plan import Audit, SelectionQuery, Tail
from thresher.population import Population
from thresher.running import Running
from thresher.sampling import Limits, audit_selection, human_agreement
from thresher.sql.nesting import BLOCK_PREFIX
from thresher.verdicts import Finding

__all__ = ["audit_answer", "audit_certificate", "keys_sha256"]

Bits = npt.NDArray[np.bool_]

_LABEL = "label"


def keys_sha256(population: Population) -> str:
    """Return the hash, in hex, by which an audit knows that rows are still the same."""
    digest = hashlib.sha256()
    for column in population.keys:
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def audit_certificate(
    env: Environment,
    query: SelectionQuery,
    statement: Audit,
    certificate: Mapping[str, Any],
    answer: StoredAnswer | None,
) -> list[Finding]:
    """Test what a certificate promises.

    Parameters
    ----------
    env : Environment
        Where it runs; its delta is that of the audit.
    query : SelectionQuery
        The certified query.
    statement : Audit
        What is asked.
    certificate : mapping
        As `Certificate.to_dict` returned it.
    answer : StoredAnswer or None
        The rows that were returned; None for estimates.

    Returns
    -------
    list of Finding
        Recall and precision, or accuracy, or one for every aggregate of every group.

    Raises
    ------
    DataError
        The rows of the query are not those that were certified; or the labels of people hold a row
        twice, or no row of the query.
    ProgrammingError
        The relation with the labels of people has not the columns that it needs.
    NotSupportedError
        Labels of people against estimates, or an audit of labels in the SELECT list.
    """
    _refuse(query, statement)
    asked = _asked(env, query, statement.oracle_limit, statement.seed)
    with env.population(asked) as population:
        run = Running(env, asked, population, purpose=f"audit of {statement.identity}")
        if query.estimation is not None:
            return _estimates(run, certificate["intervals"])
        if answer is None or answer.keys_sha256 != keys_sha256(population):
            raise DataError(
                f"the rows of certificate {statement.identity} have changed since: it says nothing "
                "of the rows that are there now. Run the query again and audit that answer."
            )
        if statement.against is not None:
            return _against_people(run, answer.returned, statement)
        bounds = certificate["bounds"]
        if bounds.get("accuracy") is not None:
            return _accuracy(run, answer.returned, bounds["accuracy"])
        return _rows(run, answer.returned, bounds["recall"], bounds["precision"])


def audit_answer(
    env: Environment,
    query: SelectionQuery,
    answer: GivenAnswer,
) -> list[Finding]:
    """Test an answer of any system, given by the keys of its rows.

    Parameters
    ----------
    env : Environment
        Where it runs; its delta is that of the audit.
    query : SelectionQuery
        What the answer should be.
    answer : GivenAnswer
        Its keys, and what is claimed of it.

    Returns
    -------
    list of Finding
        Recall and precision.

    Raises
    ------
    ProgrammingError
        The key is no column of the answer, or not one column of FROM.
    DataError
        A key of the answer is no row that the query is about.
    """
    asked = _asked(env, query, answer.limit, answer.seed)
    with env.population(asked) as population:
        returned = rows_given(env.connection, population, answer)
        bits = hashlib.sha256(np.packbits(returned).tobytes()).hexdigest()
        run = Running(env, asked, population, purpose=f"audit of {bits}")
        return _rows(run, returned, answer.recall, answer.precision)


def _asked(
    env: Environment, query: SelectionQuery, limit: int | None, seed: int | None
) -> SelectionQuery:
    """Return the query with the audit's clauses instead of its own."""
    if limit is None:
        limit = min(env.settings.count("default_budget"), env.oracle_limit)
    recall = None if query.estimation else 1.0  # every label is spent; nothing is promised by it
    return replace(query, tail=Tail(recall=recall, oracle_limit=limit, seed=seed))


def _refuse(query: SelectionQuery, statement: Audit) -> None:
    """Refuse what the store does not keep enough of."""
    place, message = statement.place, ""
    if BLOCK_PREFIX in query.canonical:
        raise NotSupportedError(
            f"certificate {statement.identity} is of rows that another block of its statement "
            "gave, and those are not kept. Keep them (CREATE TABLE ... AS SELECT ...), run the "
            "query over that table and audit its certificate."
        ).at(statement.sql, statement.place.offset, statement.place.length)
    if query.labelled is not None:
        message = (
            "an audit of labels in the SELECT list is not supported yet: the store keeps which "
            "rows were returned, not their labels. Ask WHERE the oracle's condition holds, with "
            "ACCURACY TARGET, and audit that."
        )
    elif query.estimation is not None and statement.against is not None:
        place = statement.places.get("AGAINST", place)
        message = (
            f"AGAINST holds rows against labels of people, and certificate {statement.identity} is "
            "of estimates. Leave AGAINST out: the audit then estimates once more, from rows drawn "
            "afresh."
        )
    if message:
        error = NotSupportedError(message)
        raise error.at(statement.sql, place.offset, place.length) if statement.sql else error


def _rows(
    run: Running, returned: Bits, recall: float | None, precision: float | None
) -> list[Finding]:
    """Audit which rows are returned."""
    run.enter("audit")
    found = audit_selection(
        returned,
        run.labeller,
        delta=run.env.delta,
        rng=run.rng,
        recall=recall,
        precision=precision,
        known=run.known,
        scores=run.population.scores[0] if run.population.scores else None,
    )
    verdicts = {claim.name: claim.verdict for claim in found.claims}
    return [
        _finding(run, name, claimed, found[name], verdicts.get(name, "no claim"))
        for name, claimed in (("recall", recall), ("precision", precision))
    ]


def _finding(
    run: Running, name: str, claimed: float | None, limits: Limits, verdict: str
) -> Finding:
    bought = run.labeller.n_labels
    return Finding(
        claim=name,
        at_least=claimed,
        at_most=None if claimed is None else 1.0,
        estimate=finite(limits.estimate),
        low=limits.low,
        high=limits.high,
        verdict=verdict,
        n_labels=bought + run.labeller.n_reused,
        n_bought=bought,
    )


class _Agreeing:
    """Sells whether the oracle agrees with an answer."""

    def __init__(self, run: Running, returned: Bits) -> None:
        self._run, self._returned = run, returned

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain."""
        return self._run.labeller.remaining

    def __call__(self, rows: npt.NDArray[np.int64]) -> Bits:
        """Label rows and compare."""
        return np.equal(self._run.labeller(rows), self._returned[rows])


def _accuracy(run: Running, returned: Bits, accuracy: float) -> list[Finding]:
    """Audit how often rows are labelled as the oracle would: the precision of agreeing."""
    run.enter("audit")
    found = audit_selection(
        np.ones(len(returned), dtype=np.bool_),
        _Agreeing(run, returned),
        delta=run.env.delta,
        rng=run.rng,
        precision=accuracy,
        known=np.where(run.known >= 0, (run.known == 1) == returned, -1).astype(np.int8),
    )
    return [_finding(run, "accuracy", accuracy, found["precision"], found.claims[0].verdict)]


def _estimates(run: Running, promised: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Estimate once more from rows drawn afresh, and compare the limits."""
    _, fresh = estimate(run)
    now = {(interval.name, interval.group): interval for interval in fresh.intervals}
    labeller, findings = run.labeller, []
    for old in promised:
        name, group = old["name"], tuple(old["group"])
        interval = now.get((name, group))
        if interval is None:
            raise DataError(f"the group {group} is gone: the rows have changed since")
        findings.append(
            Finding(
                claim=f"{name} [{', '.join(group)}]" if group else name,
                at_least=old["low"],
                at_most=old["high"],
                estimate=interval.estimate,
                low=interval.low,
                high=interval.high,
                verdict=_verdict(
                    _ends(old["low"], old["high"]), _ends(interval.low, interval.high)
                ),
                n_labels=labeller.n_labels + labeller.n_reused,
                n_bought=labeller.n_labels,
            )
        )
    return findings


def _verdict(promised: tuple[float, float], found: tuple[float, float]) -> str:
    if found[0] > promised[1] or found[1] < promised[0]:
        return "refuted"
    within = promised[0] <= found[0] and found[1] <= promised[1]
    return "supported" if within else "undecided"


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def _against_people(run: Running, returned: Bits, statement: Audit) -> list[Finding]:
    """Hold an answer against labels of people; nothing is bought."""
    human = _labels_of_people(run, str(statement.against), statement)
    found = human_agreement(returned, run.known, human, delta=run.env.delta)
    n_labels = int(np.count_nonzero(human >= 0))
    return [
        Finding(
            name, None, None, finite(limits.estimate), limits.low, limits.high, "no claim",
            n_labels, 0,
        )
        for name, limits in (("recall", found.recall), ("precision", found.precision))
    ]  # fmt: skip


def _labels_of_people(run: Running, relation: str, statement: Audit) -> npt.NDArray[np.int8]:
    """Return 1, 0, or -1 where people gave no label, for each row of the query."""
    population, place = run.population, statement.places.get("AGAINST", statement.place)
    described = run.env.connection.execute(f"DESCRIBE FROM {relation}").fetchall()
    names = [str(row[0]) for row in described]
    keys = [name for name in names if name.lower() != _LABEL]
    if len(keys) == len(names) or not keys:
        error: Error = ProgrammingError(
            f"AGAINST {relation} needs a BOOLEAN column {_LABEL} and the columns that tell the "
            f"rows, such as (id, {_LABEL}); it has {', '.join(names)}. Write a query that gives "
            f"them: AGAINST (SELECT id, good AS {_LABEL} FROM {relation})."
        )
        raise error.at(statement.sql, place.offset, place.length)
    quoted = ['"' + name.replace('"', '""') + '"' for name in keys]
    rows, labels = population.joined(
        [(name, name) for name in quoted], relation, f"CAST({_LABEL} AS BOOLEAN)"
    )
    given = labels.is_valid().to_numpy(zero_copy_only=False)
    told = ""
    if len(np.unique(rows)) != len(rows):
        told = f"{relation} has more than one label for a row; keep one of them."
    elif not given.any():
        told = (
            f"no row of {relation} is a row of the query: its {', '.join(keys)} must hold what "
            "FROM holds there."
        )
    if told:
        raise DataError(told).at(statement.sql, place.offset, place.length)
    human = np.full(population.n_rows, -1, dtype=np.int8)
    human[rows[given]] = labels.filter(pa.array(given)).to_numpy(zero_copy_only=False)
    return human
