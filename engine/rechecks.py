"""One test of a certificate checked against the label log, by its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from thresher.label_log import KNOWN, SAME_INPUT
from thresher.recompute import (
    COUNTED,
    CountCheck,
    allowed,
    fixed_cut,
    is_upper_limit,
    ratio_cut,
    upper_limit,
)
from thresher.recounts import Drawn, Log

__all__ = [
    "KINDS",
    "RANGES",
    "Check",
    "accuracy_limit",
    "check_test",
    "count_limits",
    "precision_limit",
]

Record = Mapping[str, Any]

_BELOW = "below"  # stage of rows that a precision query verifies below the head
_ABOVE = 0.6  # share of the level of a count that its upper limit has
RANGES = 0.02
"""Share of the level of a count for the ranges of its strata."""

_ALLOWANCE = 20_000  # places at which a count with three strata is tried


@dataclass(frozen=True, slots=True)
class Check:
    """One fact of a certificate, as it is claimed and as it comes out of the label log.

    Parameters
    ----------
    name : str
        What is checked.
    claimed, recomputed : object
        A number or a few words.
    ok : bool
        Whether the claim is no stronger than what was recomputed.
    explanation : str
        How it was recomputed.
    """

    name: str
    claimed: object
    recomputed: object
    ok: bool
    explanation: str

    def __str__(self) -> str:
        mark = "ok   " if self.ok else "FAILS"
        figures = f"claimed {_text(self.claimed)}, recomputed {_text(self.recomputed)}"
        return f"  {mark} {self.name}: {figures} ({self.explanation})"


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def check_test(test: Record, certificate: Record, log: Log) -> list[Check]:
    """Check one test record by the function that `KINDS` has for its kind."""
    kind = str(test["kind"])
    if kind not in KINDS:
        text = f"only {', '.join(KINDS)} can be checked"
        return [Check("kind of test", kind, "unknown", False, text)]
    return KINDS[kind](test, certificate, log)


def _equal(name: str, test: Record, field: str, found: int, text: str) -> Check:
    return Check(f"{name}: {field}", test[field], found, int(test[field]) == found, text)


def _counts(name: str, test: Record, drawn: Drawn, n_found: int) -> list[Check]:
    """Check what every sample has in common."""
    stages = " and ".join(test["stages"])
    claimed, n_failed = int(test.get("n_failed", 0)), drawn.n_failed
    text = "A3 asks for all; the test bears those that are claimed (W3)"
    return [
        _equal(name, test, "n_sample", drawn.n_sample, f"rows of {stages} in the log"),
        _equal(name, test, "n_found", n_found, f"counted in {stages}"),
        Check(f"{name}: labels without a truth", claimed, n_failed, claimed == n_failed, text),
    ]


def _target(name: str, test: Record, certificate: Record, which: str) -> Check:
    asked = certificate["targets"].get(which)
    text = f"the {which} target of the statement"
    return Check(f"{name}: target", test["target"], asked, test["target"] == asked, text)


def _facts(name: str, test: Record, certificate: Record, n_known: int, free: int) -> list[Check]:
    """Check the numbers of known positives and of rows; under T6 a tail is taken off both."""
    if certificate["grade"] != "calibrated tail":
        return [
            _equal(name, test, "n_known", n_known, "positives in the log before the sample"),
            _equal(name, test, "n_rows", free, "rows unlabelled before the sample"),
        ]
    known, rows, target = int(test["n_known"]), int(test["n_rows"]), float(test["target"])
    keep = Fraction(repr(target))
    tail = floor((n_known - known) * (1 - keep) / keep)
    text = (
        f"positives before the sample, less what pays for {tail} in the tail; that there are no "
        "more is the assumption (T6), which no log can show"
    )
    fewer = "rows unlabelled before the sample, less the tail: their ranks are not in the log"
    return [
        Check(f"{name}: n_known", known, f"<= {n_known}", known <= n_known, text),
        Check(f"{name}: n_rows", rows, f"<= {free}", rows <= free, fewer),
    ]


def _check_recall(test: Record, certificate: Record, log: Log) -> list[Check]:
    """T1 and T2, also under T6."""
    name = f"{test['kind']} test on {', '.join(test['stages'])}"
    drawn = log.drawn(test["stages"])
    n_rows, population = int(test["n_rows"]), int(certificate["n_rows"])
    place = drawn.first if drawn.n_sample else population - n_rows
    n_known = log.positives_before(place)
    free = population - place
    checks = [
        *_counts(name, test, drawn, drawn.n_positive),
        _target(name, test, certificate, "recall"),
        *_facts(name, test, certificate, n_known, free),
    ]
    claim = int(test["cut"]), int(test["bound"])
    target, level = float(test["target"]), float(test["level"])
    size = n_rows, int(test["n_sample"])
    if test["kind"] == "fixed":
        cut = fixed_cut(*size, int(test["n_known"]), target, level)
        if size[0] == size[1]:  # nothing of these rows is missed: the tail alone must be allowed
            room = allowed(target, int(test["n_known"]) + drawn.n_positive)
            cut = size[1] if room >= 0 else -1
        text = "T2, by scipy: the deepest cut such that it and all smaller ones are safe"
        most = max(claim[0], *map(int, test.get("cuts", ())), -1)
        return [*checks, Check(f"{name}: cut", most, cut, most <= cut, text)]
    bound = upper_limit(*size, drawn.n_positive, COUNTED * level)
    stands = is_upper_limit(*size, drawn.n_positive, COUNTED * level, claim[1])
    text = f"exact upper limit of the positives at level {COUNTED * level:.4g}"
    checks.append(Check(f"{name}: bound", claim[1], bound, stands, text))
    cut = ratio_cut(drawn.n_positive, int(test["n_known"]), claim[1], target, level)
    text = "T1, by scipy: the deepest cut that is safe for every number of positives"
    checks.append(Check(f"{name}: cut", claim[0], cut, claim[0] <= cut, text))
    return [*checks, *_other_cuts(name, test, drawn.n_positive)]


def _other_cuts(name: str, test: Record, n_found: int) -> list[Check]:
    """W3: test A for every number of positives among the sampled rows without an answer."""
    cuts = [int(cut) for cut in test.get("cuts", ())]
    if not test.get("n_failed", 0):
        return []
    size, n_known = (int(test["n_rows"]), int(test["n_sample"])), int(test["n_known"])
    target, level = float(test["target"]), float(test["level"])
    found = []
    for k in range(n_found, n_found + int(test["n_failed"]) + 1):
        bound = upper_limit(*size, k, COUNTED * level)
        found.append(ratio_cut(k, n_known, bound, target, level))
    ok = len(cuts) == len(found) and all(a <= b for a, b in zip(cuts, found, strict=True))
    text = "W3: T1 for every number of positives among the rows without an answer"
    return [Check(f"{name}: cuts", cuts, found, ok and cuts[0] == int(test["cut"]), text)]


def _check_limit(test: Record, certificate: Record, log: Log) -> list[Check]:
    """T4: negatives in a head. D2: rows on which proxy and oracle disagree."""
    which = "precision" if test["kind"] == "negatives" else "accuracy"
    name = f"{test['kind']} of {', '.join(test['stages'])}"
    drawn = log.drawn(test["stages"])
    size, level = (int(test["n_rows"]), int(test["n_sample"])), float(test["level"])
    free = int(certificate["n_rows"]) - drawn.first if drawn.n_sample else size[0]
    wrong = drawn.n_negative + drawn.n_failed  # W2: a row without an answer counts as negative
    bound = upper_limit(*size, wrong, level)
    stands = is_upper_limit(*size, wrong, level, int(test["bound"]))
    cut, least = int(test["cut"]), int(test["bound"]) - wrong
    test = {**test, "n_failed": drawn.n_failed}
    return [
        *_counts(name, test, drawn, wrong),
        _target(name, test, certificate, which),
        Check(f"{name}: n_rows", size[0], f"<= {free}", size[0] <= free, "unlabelled before"),
        Check(f"{name}: bound", test["bound"], bound, stands, f"exact upper limit at {level:.4g}"),
        Check(f"{name}: left", cut, least, cut >= least, "the limit less those in the sample"),
    ]


def _check_cut(test: Record, certificate: Record, log: Log) -> list[Check]:
    """D1: a cut among the sampled disagreements that is fixed before the sample."""
    name = f"cut of {', '.join(test['stages'])}"
    drawn = log.drawn(test["stages"])
    n_rows, n_sample, cut = int(test["n_rows"]), int(test["n_sample"]), int(test["cut"])
    free = int(certificate["n_rows"]) - drawn.first if drawn.n_sample else n_rows
    most = allowed(float(test["target"]), int(certificate["n_rows"]))
    safe = cut < 0 or is_upper_limit(n_rows, n_sample, cut, float(test["level"]), cut + most)
    text = "so few sampled disagreements if more than allowed lay below the cut: within the level"
    return [
        *_counts(name, test, drawn, drawn.n_negative),
        _target(name, test, certificate, "accuracy"),
        _equal(name, test, "n_rows", free, "rows unlabelled before the sample"),
        _equal(name, test, "n_allowed", most, "disagreements that the target allows"),
        Check(f"{name}: cut", cut, "safe" if safe else "not safe", safe, text),
    ]


def accuracy_limit(certificate: Record, log: Log) -> tuple[int, str]:
    """Bound how many rows may have another label than the oracle's.

    Truth in the log of an accuracy query is whether the proxy's label is the oracle's.
    """
    n_rows = int(certificate["n_rows"])
    limits = [(n_rows - len(log.row), "rows that the oracle did not label")]
    for test in certificate["tests"]:
        since = log.negatives_after(log.drawn(test["stages"]).last)
        if test["kind"] == "limit":
            limits.append((max(0, int(test["cut"]) - since), "limit, less those found since"))
        elif test["kind"] == "cut" and int(test["cut"]) >= 0:
            limits.append((int(test["n_allowed"]), "what the cut leaves below"))
    return min(limits)


def precision_limit(certificate: Record, log: Log) -> tuple[int, str]:
    """Bound how many rows of the answer may be negative, as the tests and the log have it.

    Rows labelled after a sample of the head lie in it, but for those of the stage below it. Of rows
    whose inputs equal labelled ones the log does not tell; they are taken to lie in the head.
    """
    tests = [t for t in certificate["tests"] if t["kind"] == "negatives" and t["n_sample"]]
    returned = int(certificate["n_returned"])
    n_failed = 0 if certificate["targets"].get("recall") is None else log.n_failed
    free = returned - log.n_positive - n_failed
    if not tests:
        free += n_failed
        return free, "no sample of the unlabelled rows returned: all may be negative"
    limits = []
    for test in tests:
        since = log.negatives_after(log.drawn(test["stages"]).last)
        below = log.drawn([_BELOW])
        limits.append(max(0, int(test["cut"]) - since + below.n_sample - below.n_positive))
    last = tests[-1]
    drawn = log.drawn(last["stages"])
    elsewhere = log.n_of(SAME_INPUT) + log.n_of(_BELOW)
    head = max(0, int(last["n_rows"]) - drawn.n_sample - (len(log.row) - drawn.last - elsewhere))
    text = (
        "limit of the negatives in the head, less those found since, rows beyond the head, and "
        "those without an answer (W4)"
    )
    return min(*limits, head) + max(0, free - head) + n_failed, text


def _check_count(test: Record, certificate: Record, log: Log) -> list[Check]:
    """C1 to C4."""
    strata, n_known = test["strata"], log.positives_before(log.n_of(KNOWN))
    checks = [_equal("count", test, "n_known", n_known, "positives known before the query")]
    rows = int(certificate["n_rows"]) - log.n_of(KNOWN)
    for stratum in strata:
        drawn = log.drawn([stratum["stage"]])
        name = f"count, {stratum['stage']}"
        record = {**stratum, "stages": [stratum["stage"]]}
        checks += _counts(name, record, drawn, drawn.n_positive)
    counts = [(int(s["n_rows"]), int(s["n_sample"]), int(s["n_found"])) for s in strata]
    low, high = int(test["low"]) - n_known, int(test["high"]) - n_known
    if not strata:
        left = int(certificate["n_rows"]) - len(log.row)
        most = log.n_positive - n_known
        ok = low <= most and high >= most + left
        text = "positives in the log, and with all rows that were not labelled"
        return [*checks, Check("count", [low, high], [most, most + left], ok, text)]
    covered = sum(c[0] for c in counts)
    text = "rows of the strata: all that were not known before"
    checks.append(Check("count: rows", covered, rows, covered == rows, text))
    return [*checks, *count_limits(counts, low, high, float(test["level"]))]


def count_limits(
    strata: list[tuple[int, int, int]], low: int, high: int, level: float
) -> list[Check]:
    """Check both limits of the positives that were not known before.

    Parameters
    ----------
    strata : list of (n_rows, n_sample, n_found)
    low, high : int
        The claim.
    level : float
        Failure probability of both together.
    """
    certain = sum(x for n, m, x in strata if m == n)
    open_ = sorted([s for s in strata if s[1] < s[0]], key=lambda s: s[1] - s[0])
    rows = sum(s[0] for s in open_)
    negatives = [(n, m, m - x) for n, m, x in open_]
    if len(open_) < 2 or any(m == 0 for _, m, _ in open_):
        part = level / max(1, len(open_))
        top = sum(upper_limit(*s, _ABOVE * part) for s in open_)
        least = rows - sum(upper_limit(*s, (1 - _ABOVE) * part) for s in negatives)
        return [
            Check("count: high", high, certain + top, high >= certain + top, "exact limits"),
            Check("count: low", low, certain + least, low <= certain + least, "exact limits"),
        ]
    boxed, rest = RANGES * level / (len(open_) - 1), (1 - RANGES) * level
    return [
        _refused("count: high", high, open_, high - certain, _ABOVE * rest, boxed),
        _refused("count: low", low, negatives, rows - (low - certain), (1 - _ABOVE) * rest, boxed),
    ]


def _refused(
    name: str,
    claimed: int,
    strata: list[tuple[int, int, int]],
    limit: int,
    level: float,
    boxed: float,
) -> Check:
    """Check that the next total is refused: its chance of so low an outcome is within the level."""
    chance, complete = CountCheck(strata, level, boxed).worst(limit + 1, _ALLOWANCE)
    where = "for every way" if complete else "for the ways tried (a grid, no proof)"
    text = f"chance of so low an outcome one step beyond the limit, {where} to share it out"
    found = f"{chance:.6g} <= {level:.6g}"
    return Check(name, claimed, found, chance <= level * (1 + 1e-6), text)


def _check_rows(test: Record, certificate: Record, log: Log) -> list[Check]:
    """Check a search: every row found is positive in the log, and why there are no more."""
    found, sought = [int(row) for row in test["rows"]], certificate["targets"]["rows"]
    positive = set(log.row[log.truth == 1].tolist())
    n_found, claimed = len(set(found) & positive), int(certificate["n_returned"])
    text = "rows found that are positive in the log, each once"
    same = n_found == claimed == len(found)
    checks = [Check("rows found", claimed, n_found, same, text)]
    enough = n_found >= int(sought["count"])
    if certificate["met"] and not enough and sought["gap"] is None:
        claimed, known = int(certificate["n_rows"]), log.n_positive + log.n_negative
        complete = claimed == known and n_found == log.n_positive
        text = "fewer rows than sought: every row is labelled, and no other one is positive"
        checks.append(Check("no more", claimed, known, complete, text))
    elif certificate["met"] and not enough:
        text = "fewer rows than sought: the search says that all others lie too near"
        checks.append(Check("no more", True, test["exhausted"], bool(test["exhausted"]), text))
    if not certificate["met"]:
        text = "fewer rows than sought, and the certificate says so"
        checks.append(Check("not met", sought["count"], n_found, not enough, text))
    return checks


KINDS: dict[str, Callable[[Record, Record, Log], list[Check]]] = {
    "ratio": _check_recall,
    "fixed": _check_recall,
    "negatives": _check_limit,
    "limit": _check_limit,
    "cut": _check_cut,
    "count": _check_count,
    "rows": _check_rows,
}
"""By kind of test, the function of (test, certificate, log) that checks a record of it."""
