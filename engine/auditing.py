"""Audits: promises tested on rows drawn afresh, and answers held against labels of people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.environment import Environment
from thresher.errors import DataError, NotSupportedError, ProgrammingError
from thresher.estimating import estimate
from thresher.labels import StoredAnswer
from thresher.plan import Audit, SelectionQuery, Tail
from thresher.population import Population
from thresher.running import Running
from thresher.sampling import audit_selection, human_agreement

__all__ = ["Finding", "as_columns", "audit_answer", "audit_certificate", "keys_sha256"]

_LABEL = "label"


@dataclass(frozen=True, slots=True)
class Finding:
    """What an audit found of one promise.

    Parameters
    ----------
    claim : str
        What was promised: ``recall``, ``precision``, ``accuracy``, or the name of an aggregate with
        its group.
    promised_low, promised_high : float or None
        The promise: the truth is within; None where nothing was promised.
    estimate, low, high : float or None
        What the audit's rows say; the limits of all findings hold together.
    verdict : {"refuted", "supported", "undecided", "no claim"}
        Refuted: no value within the audit's limits agrees with the promise. Supported: all do.
    n_labels : int
        Labels that the audit bought.
    """

    claim: str
    promised_low: float | None
    promised_high: float | None
    estimate: float | None
    low: float | None
    high: float | None
    verdict: str
    n_labels: int


def keys_sha256(population: Population) -> str:
    """Return the hash by which an audit knows that rows are still the same."""
    digest = hashlib.sha256()
    for column in population.keys:
        digest.update(np.ascontiguousarray(column).tobytes())
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

    Raises
    ------
    DataError
        The rows of the query are not those that were certified.
    NotSupportedError
        Labels of people against estimates, or an audit of labels in the SELECT list.
    """
    if query.labelled is not None:
        raise NotSupportedError(
            "an audit of labels in the SELECT list is not supported yet: the store keeps which "
            "rows were returned, not their labels. Ask WHERE the oracle's condition holds, with "
            "ACCURACY TARGET, and audit that."
        ).at(statement.sql, statement.place.offset, statement.place.length)
    bounds = certificate["bounds"]
    asked = _asked(query, statement)
    with Population(env.connection, asked, [None] * len(query.calls)) as population:
        if query.estimation is not None:
            if statement.against is not None:
                raise NotSupportedError("AGAINST is not supported for estimates yet")
            return _audit_estimates(env, asked, population, certificate)
        if answer is None or answer.keys_sha256 != keys_sha256(population):
            raise DataError(
                f"the rows of certificate {statement.identity} have changed since: it says nothing "
                "of the rows that are there now. Run the query again and audit that answer."
            )
        if statement.against is not None:
            return _audit_people(env, asked, population, answer.returned, statement.against)
        recall, precision = bounds["recall"], bounds["precision"]
        if bounds.get("accuracy") is not None:
            return _audit_accuracy(env, asked, population, answer.returned, bounds["accuracy"])
        return _audit_rows(env, asked, population, answer.returned, recall, precision)


def audit_answer(
    env: Environment,
    query: SelectionQuery,
    keys: tuple[str, str, str],
    recall: float | None,
    precision: float | None,
) -> list[Finding]:
    """Test an answer of any system, given by the keys of its rows.

    Parameters
    ----------
    env, query
        As for `audit_certificate`; the query has no targets.
    keys : (str, str, str)
        SQL of the key over FROM, the relation with the answer's keys, and its key column.
    recall, precision : float or None
        What is claimed.
    """
    with Population(env.connection, query, [None] * len(query.calls)) as population:
        sql, relation, column = keys
        rows, _ = population.joined([(sql, column)], relation, "TRUE")
        returned = np.zeros(population.n_rows, dtype=np.bool_)
        returned[rows] = True
        return _audit_rows(env, query, population, returned, recall, precision)


def _asked(query: SelectionQuery, statement: Audit) -> SelectionQuery:
    """Return the query with the audit's clauses instead of its own."""
    tail = Tail(
        recall=None if query.estimation else 1.0,
        oracle_limit=statement.oracle_limit,
        seed=statement.seed,
    )
    return replace(query, tail=tail)


def _audit_rows(
    env: Environment,
    query: SelectionQuery,
    population: Population,
    returned: npt.NDArray[np.bool_],
    recall: float | None,
    precision: float | None,
) -> list[Finding]:
    run = Running(env, query, population, purpose="audit")
    run.enter("audit")
    scores = population.scores[0] if population.scores else None
    found = audit_selection(
        returned,
        run.labeller,
        delta=env.delta,
        rng=run.rng,
        recall=recall,
        precision=precision,
        known=run.known,
        scores=scores,
    )
    verdicts = {claim.name: claim for claim in found.claims}
    return [
        Finding(
            name,
            verdicts[name].low if name in verdicts else None,
            verdicts[name].high if name in verdicts else None,
            limits.estimate,
            limits.low,
            limits.high,
            verdicts[name].verdict if name in verdicts else "no claim",
            run.labeller.n_labels,
        )
        for name, limits in found.limits
    ]


class _Agreeing:
    """Sells whether the oracle agrees with an answer."""

    def __init__(self, run: Running, returned: npt.NDArray[np.bool_]) -> None:
        self._run, self._returned = run, returned

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain."""
        return self._run.labeller.remaining

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Label rows and compare."""
        return np.equal(self._run.labeller(rows), self._returned[rows])


def _audit_accuracy(
    env: Environment,
    query: SelectionQuery,
    population: Population,
    returned: npt.NDArray[np.bool_],
    accuracy: float,
) -> list[Finding]:
    """Audit how often rows are labelled as the oracle would: the precision of agreeing."""
    run = Running(env, query, population, purpose="audit")
    run.enter("audit")
    known = np.where(run.known >= 0, (run.known == 1) == returned, -1).astype(np.int8)
    found = audit_selection(
        np.ones(len(returned), dtype=np.bool_),
        _Agreeing(run, returned),
        delta=env.delta,
        rng=run.rng,
        precision=accuracy,
        known=known,
    )
    limits, claim = dict(found.limits)["precision"], found.claims[0]
    return [
        Finding(
            "accuracy", accuracy, 1.0, limits.estimate, limits.low, limits.high, claim.verdict,
            run.labeller.n_labels,
        )
    ]  # fmt: skip


def _audit_estimates(
    env: Environment,
    query: SelectionQuery,
    population: Population,
    certificate: Mapping[str, Any],
) -> list[Finding]:
    """Estimate once more from rows drawn afresh, and compare the limits."""
    run = Running(env, query, population, purpose="audit")
    _, fresh = estimate(run)
    now = {(interval.name, interval.group): interval for interval in fresh.intervals}
    findings = []
    for old in certificate["intervals"]:
        name, group = old["name"], tuple(old["group"])
        interval = now.get((name, group))
        if interval is None:
            raise DataError(f"the group {group} is gone: the rows have changed since")
        low, high = _ends(old["low"], old["high"])
        least, most = _ends(interval.low, interval.high)
        verdict = "undecided"
        if least > high or most < low:
            verdict = "refuted"
        elif low <= least and most <= high:
            verdict = "supported"
        claim = f"{name} [{', '.join(group)}]" if group else name
        findings.append(
            Finding(
                claim, old["low"], old["high"], interval.estimate, interval.low, interval.high,
                verdict, run.labeller.n_labels,
            )
        )  # fmt: skip
    return findings


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def _audit_people(
    env: Environment,
    query: SelectionQuery,
    population: Population,
    returned: npt.NDArray[np.bool_],
    relation: str,
) -> list[Finding]:
    """Hold an answer against labels of people; nothing is bought."""
    names = [row[0] for row in env.connection.execute(f"DESCRIBE FROM {relation}").fetchall()]
    keys = [name for name in names if name.lower() != _LABEL]
    if len(keys) == len(names) or not keys:
        raise ProgrammingError(
            f"AGAINST {relation} needs a BOOLEAN column {_LABEL} and the columns that tell the "
            f"rows, such as (id, {_LABEL}); it has {', '.join(names)}."
        )
    quoted = ['"' + name.replace('"', '""') + '"' for name in keys]
    rows, labels = population.joined(
        [(name, name) for name in quoted], relation, f"CAST({_LABEL} AS BOOLEAN)"
    )
    if len(np.unique(rows)) != len(rows):
        raise DataError(f"{relation} has more than one label for a row; keep one of them.")
    human = np.full(population.n_rows, -1, dtype=np.int8)
    given = labels.is_valid().to_numpy(zero_copy_only=False)
    human[rows[given]] = labels.filter(pa.array(given)).to_numpy(zero_copy_only=False)
    if not given.any():
        raise DataError(f"no row of {relation} is a row of the query")
    run = Running(env, query, population, purpose="audit")
    found = human_agreement(returned, run.known, human, delta=env.delta)
    return [
        Finding(name, None, None, limits.estimate, limits.low, limits.high, "no claim", 0)
        for name, limits in (("recall", found.recall), ("precision", found.precision))
    ]


def as_columns(findings: Sequence[Finding]) -> pa.Table:
    """Return findings as a table."""
    return pa.table(
        {
            name: pa.array([getattr(finding, name) for finding in findings], kind)
            for name, kind in (
                ("claim", pa.string()),
                ("promised_low", pa.float64()),
                ("promised_high", pa.float64()),
                ("estimate", pa.float64()),
                ("low", pa.float64()),
                ("high", pa.float64()),
                ("verdict", pa.string()),
                ("n_labels", pa.int64()),
            )
        }
    )
