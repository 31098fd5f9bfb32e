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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from thresher.label_log import KNOWN, SAME_INPUT, log_sha256
from thresher.rechecks import KINDS, Check, accuracy_limit, check_test, precision_limit
from thresher.recounts import Log

__all__ = ["GRADES", "KINDS", "Check", "Verification", "verify"]

_RECALL = ("ratio", "fixed")


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
    checks: tuple[Check, ...] = field(repr=False)

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
    ]
    for test in tests:
        checks += check_test(test, certificate, labels)
    checks += [_levels(certificate), *_samples(tests, labels)]
    grade = str(certificate["grade"])
    if grade in GRADES:
        checks += GRADES[grade](certificate, labels)
    else:
        text = f"only {', '.join(GRADES)} can be checked"
        checks.append(Check("grade", grade, "unknown", False, text))
    return Verification(str(certificate["id"]), tuple(checks))


def _identity(certificate: Mapping[str, Any]) -> Check:
    apart = ("id", "statement", "delta", "elapsed_s", "cost_usd")
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
    distinct = len(np.unique(log.row))
    text = "no row is labelled twice, so every row was unlabelled before its label"
    random = isinstance(seed, int) and seed >= 0
    return [
        Check("rows of the population", len(log.row), within, within == len(log.row), "positions"),
        Check("distinct rows", len(log.row), distinct, distinct == len(log.row), text),
        Check("order", "rising steps", "rising" if ordered else "mixed", ordered, "step numbers"),
        Check("seed", seed, seed, random, "a whole number; the draws are not repeated here"),
    ]


def _stages(certificate: Mapping[str, Any], log: Log) -> Check:
    claimed = [(s["stage"], s["n_rows"], s["n_positive"]) for s in certificate["stages"]]
    found = [s for s in log.steps() if s[0] not in (KNOWN, SAME_INPUT)]
    text = "(stage, rows, positives) of every step"
    return Check("stages", _short(claimed), _short(found), claimed == found, text)


def _short(steps: Sequence[tuple[str, int, int]]) -> str:
    total = sum(s[1] for s in steps), sum(s[2] for s in steps)
    return f"{len(steps)} steps, {total[0]:,} rows, {total[1]:,} positive"


def _returned(certificate: Mapping[str, Any], log: Log) -> Check:
    returned, n_rows = int(certificate["n_returned"]), int(certificate["n_rows"])
    low, high = log.n_positive, n_rows - log.n_negative
    text = "every known positive is returned, no known negative is"
    return Check("rows returned", returned, f"{low} to {high}", low <= returned <= high, text)


def _n_labels(certificate: Mapping[str, Any], log: Log) -> Check:
    calls = sum(
        len(re.findall(rf"\b{re.escape(name)}\b", certificate["canonical"], re.IGNORECASE))
        for name in certificate["oracles"]
    )
    most = max(1, calls) * int(np.count_nonzero(~log.of([KNOWN, SAME_INPUT])))
    claimed = int(certificate["n_labels"])
    text = "at most one label for each row labelled and oracle call"
    return Check("labels bought", claimed, f"at most {most}", 0 <= claimed <= most, text)


def _levels(certificate: Mapping[str, Any]) -> Check:
    spent = sum((Fraction(float(t["level"])) for t in certificate["tests"]), Fraction(0))
    delta = Fraction(float(certificate["targets"]["delta"]))
    text = "the levels of all tests add up to at most delta"
    ok = spent <= delta * (1 + Fraction(1, 10**12))
    return Check("levels", f"{float(delta):.6g}", f"{float(spent):.6g}", ok, text)


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


def _exact(certificate: Mapping[str, Any], log: Log) -> list[Check]:
    if certificate["targets"].get("estimated"):
        return [_not_covered()]
    if certificate["targets"].get("accuracy") is not None:
        rows, labelled = int(certificate["n_rows"]), log.n_positive + log.n_negative
        return [Check("exact labels", rows, labelled, rows == labelled, "every row is labelled")]
    claimed = f"{certificate['n_returned']} of {certificate['n_rows']}"
    found = f"{log.n_positive} of {log.n_positive + log.n_negative}"
    text = "positives of all rows, each of them labelled"
    return [Check("exact answer", claimed, found, claimed == found, text)]


def _bounds(certificate: Mapping[str, Any], log: Log) -> list[Check]:
    """Check the bounds of an answer that rests on samples, and that they reach the targets."""
    if certificate["targets"].get("estimated"):
        return [_not_covered()]
    met = True
    for name in ("recall", "precision", "accuracy"):
        target, bound = certificate["targets"].get(name), certificate["bounds"].get(name)
        met &= target is None or (bound is not None and bound >= target)
    text = "every bound reaches its target"
    checks = [Check("targets met", certificate["met"], met, met or not certificate["met"], text)]
    if certificate["targets"].get("accuracy") is not None:
        return [*checks, *_accuracy(certificate, log)]
    returned = [_returned(certificate, log)]
    return [*checks, *returned, *_recall(certificate, log), *_precision(certificate, log)]


def _not_covered() -> Check:
    text = "the intervals of aggregates are not derived again yet, only their count tests"
    return Check("intervals", "estimated", "unknown", False, text)


def _accuracy(certificate: Mapping[str, Any], log: Log) -> list[Check]:
    claimed = certificate["bounds"].get("accuracy")
    if claimed is None:
        return []
    wrong, text = accuracy_limit(certificate, log)
    return [_share("accuracy bound", claimed, wrong, int(certificate["n_rows"]), text)]


def _share(name: str, claimed: float, wrong: int, count: int, text: str) -> Check:
    """Check that `wrong` of `count` rows leave the share that is claimed."""
    found = 1 - wrong / count if count else 1.0
    room = (1 - Fraction(repr(float(claimed)))) * count
    return Check(name, claimed, found, wrong <= room + Fraction(1, 10**6), text)


def _recall(certificate: Mapping[str, Any], log: Log) -> list[Check]:
    claimed = certificate["bounds"]["recall"]
    if claimed is None:
        return []
    if int(certificate["n_returned"]) == int(certificate["n_rows"]) - log.n_negative:
        return [Check("recall bound", claimed, 1.0, claimed <= 1, "nothing unlabelled is left out")]
    targets = [float(t["target"]) for t in certificate["tests"] if t["kind"] in _RECALL]
    found = min(targets) if targets else 0.0
    text = "the target of the tests: unlabelled rows are left out"
    return [Check("recall bound", claimed, found, claimed <= found, text)]


def _precision(certificate: Mapping[str, Any], log: Log) -> list[Check]:
    claimed = certificate["bounds"]["precision"]
    if claimed is None:
        return []
    returned = int(certificate["n_returned"])
    if returned == log.n_positive:
        return [Check("precision bound", claimed, 1.0, claimed <= 1, "only known positives")]
    wrong, text = precision_limit(certificate, log)
    return [_share("precision bound", claimed, wrong, returned, text)]


GRADES: dict[str, Callable[[Mapping[str, Any], Log], list[Check]]] = {
    "exact": _exact,
    "distribution-free": _bounds,
}
"""By grade, the function of (certificate, log) that checks what the answer claims."""
