"""Checks a certificate against its label log, by code that shares nothing with the sampling.

Whoever holds a certificate (the object, or its JSON) and the label log can run this: it counts the
samples again from the log, works out every limit and cut again with scipy, and adds up the levels.
What a log cannot show is said in docs/guarantees-audit.md: that the draws were random, and that the
unlabelled rows of the answer are those above the cut.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from thresher.label_log import KNOWN, SAME_INPUT, log_sha256
from thresher.recheck_answers import GRADES
from thresher.recheck_values import KINDS as VALUE_KINDS
from thresher.recheck_values import check_estimates
from thresher.rechecks import KINDS, RANGES, Check, check_test
from thresher.recounts import Log
from thresher.reports import COSTS

__all__ = ["GRADES", "KINDS", "VALUE_KINDS", "Check", "Verification", "verify"]


_NAMED = 3  # failed checks in the line that stands for all


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out of checking a certificate.

    Parameters
    ----------
    certificate : str
        Its short hash.
    checks : tuple of Check
        Every check, in order.

    Attributes
    ----------
    ok : bool
        Whether every check passed.
    """

    certificate: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.ok)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"<thresher.Verification: certificate {self.certificate} {self._said()}>"

    def _said(self) -> str:
        if self.ok:
            return f"holds: all {len(self.checks)} checks pass"
        names = ", ".join(check.name for check in self.failed[:_NAMED])
        names += ", ..." if len(self.failed) > _NAMED else ""
        return f"DOES NOT HOLD: {len(self.failed)} of {len(self.checks)} checks fail: {names}"

    def __str__(self) -> str:
        result = "holds" if self.ok else f"DOES NOT HOLD: {len(self.failed)} checks fail"
        lines = [f"certificate {self.certificate} {result}", *map(str, self.checks)]
        return "\n".join(lines)


def verify(certificate: Mapping[str, Any], log: pa.Table) -> Verification:
    """Derive every bound of a certificate again from its label log.

    Parameters
    ----------
    certificate : mapping
        ``Certificate.to_dict()``, or what ``json.loads`` makes of ``Certificate.to_json()``.
    log : pyarrow.Table
        Of `thresher.label_log.LOG_SCHEMA`.

    Returns
    -------
    Verification
        With one check for each fact that was recomputed. A claim that is weaker than what the log
        supports passes.

    Raises
    ------
    ValueError
        If the log has not the columns of a label log.
    """
    labels = Log(log)
    tests: Sequence[Mapping[str, Any]] = certificate["tests"]
    checks = [
        _identity(certificate),
        _hash(certificate, log),
        *_rows(certificate, labels),
        _stages(certificate, labels),
        _n_labels(certificate, labels),
        _levels(certificate),
    ]
    grade = str(certificate["grade"])
    if grade not in GRADES:
        text = f"only {', '.join(GRADES)} can be checked"
        checks.append(Check("grade", grade, "unknown", False, text))
    elif certificate["targets"].get("estimated"):
        checks += check_estimates(certificate, labels)
    else:
        for test in tests:
            checks += check_test(test, certificate, labels)
        checks += [*_samples(tests, labels), *GRADES[grade](certificate, labels)]
    return Verification(str(certificate["id"]), tuple(checks))


def _identity(certificate: Mapping[str, Any]) -> Check:
    apart = ("id", "statement", "delta", *COSTS)
    facts = {k: v for k, v in certificate.items() if k not in apart}
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    claimed = certificate["id"]
    same = found == claimed and certificate["delta"] == certificate["targets"]["delta"]
    return Check("identity", claimed, found, same, "hash of all fields but cost and time")


def _hash(certificate: Mapping[str, Any], log: pa.Table) -> Check:
    claimed, found = str(certificate["labels_sha256"]), log_sha256(log)
    text = "hash of the label log"
    return Check("label log", claimed[:12], found[:12], claimed == found, text)


def _rows(certificate: Mapping[str, Any], log: Log) -> list[Check]:
    n_rows, seed = int(certificate["n_rows"]), certificate["seed"]
    within = int(np.count_nonzero((log.row >= 0) & (log.row < n_rows)))
    ordered = bool((np.diff(log.step) >= 0).all())
    asked = log.once
    distinct = len(np.unique(asked))
    text = "no row is labelled twice, so every row was unlabelled before its label"
    facts = bool(np.isin(log.facts, log.row[log.column < 0]).all())
    random = isinstance(seed, int) and seed >= 0
    inside = f"those within the {n_rows:,} rows of the population"
    return [
        Check("log positions", len(log.row), within, within == len(log.row), inside),
        Check("distinct rows", len(asked), distinct, distinct == len(asked), text),
        Check("facts", "known", "known" if facts else "not known", facts, "values of known rows"),
        Check("order", "rising steps", "rising" if ordered else "mixed", ordered, "step numbers"),
        Check("seed", seed, seed, random, "a whole number; the draws are not repeated here"),
    ]


def _stages(certificate: Mapping[str, Any], log: Log) -> Check:
    claimed = [(s["stage"], s["n_rows"], s["n_positive"]) for s in certificate["stages"]]
    found = [s for s in log.steps() if s[0] not in (KNOWN, SAME_INPUT)]
    if certificate["targets"].get("estimated"):
        claimed, found = _added(claimed), _added([*found, *log.value_steps()])
    text = "(stage, rows, positives) of every step"
    return Check("stages", _short(claimed), _short(found), claimed == found, text)


def _added(steps: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Add up the steps of each stage: those of an estimate stand in the log group by group."""
    stages = sorted({s[0] for s in steps if s[1]})
    return [
        (name, sum(s[1] for s in steps if s[0] == name), sum(s[2] for s in steps if s[0] == name))
        for name in stages
    ]


def _short(steps: Sequence[tuple[str, int, int]]) -> str:
    total = sum(s[1] for s in steps), sum(s[2] for s in steps)
    return f"{len(steps)} steps, {total[0]:,} rows, {total[1]:,} positive"


def _n_labels(certificate: Mapping[str, Any], log: Log) -> Check:
    calls = sum(
        len(re.findall(rf"\b{re.escape(name)}\b", certificate["canonical"], re.IGNORECASE))
        for name in certificate["oracles"]
    )
    most = max(1, calls) * len(log.labelled)
    shown = [(int(o["n_labels"]), int(o["n_rows"])) for o in certificate.get("outputs", ())]
    most += sum(n_labels for n_labels, _ in shown) + int(certificate.get("n_unused", 0))
    within = all(0 <= n_labels <= n_rows for n_labels, n_rows in shown)
    within &= all(n_rows <= int(certificate["n_returned"]) for _, n_rows in shown)
    claimed = int(certificate["n_labels"])
    text = "at most one label for each row labelled or shown, and oracle call"
    return Check("labels bought", claimed, f"at most {most}", within and 0 <= claimed <= most, text)


def _levels(certificate: Mapping[str, Any]) -> Check:
    spent = sum((_spent(t) for t in certificate["tests"]), Fraction(0))
    delta = Fraction(float(certificate["targets"]["delta"]))
    text = "the levels of all tests add up to at most delta"
    ok = spent <= delta * (1 + Fraction(1, 10**12))
    return Check("levels", f"{float(delta):.6g}", f"{float(spent):.6g} in all", ok, text)


def _spent(test: Mapping[str, Any]) -> Fraction:
    """Return what a test may fail with: limits of a count for two truths have two ranges (W5)."""
    vain = any(int(s.get("n_failed", 0)) for s in test.get("strata", ()))
    vain |= bool(test.get("n_known_failed", 0))
    return Fraction(float(test["level"])) * (1 + vain * Fraction(repr(RANGES)))


def _samples(tests: Sequence[Mapping[str, Any]], log: Log) -> list[Check]:
    """No label is used twice as a random draw, but by looks at one growing sample (T3, T7)."""
    families: list[list[Mapping[str, Any]]] = []
    for test in tests:
        stages = list(test["stages"])
        seen = list(families[-1][-1]["stages"]) if families else None
        if seen and stages[: len(seen)] == seen:
            families[-1].append(test)
        else:
            families.append([test])
    same = ("n_rows", "target")
    grown = all(a[k] == b[k] for f in families for a, b in pairwise(f) for k in same)
    used = [stage for family in families for stage in family[-1]["stages"]]
    apart = len(set(used)) == len(used)
    whole = all(log.unbroken(t["stages"]) for t in tests)
    text = "no stage serves two tests, but for looks at one growing sample"
    return [
        Check("looks", "one sample", "one" if grown else "several", grown, "of the same rows"),
        Check("samples", "disjoint", "disjoint" if apart else "shared", apart, text),
        Check("draws", "together", "together" if whole else "mixed", whole, "in the log"),
    ]
