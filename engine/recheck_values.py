"""The intervals of an estimate checked against the label log, each by the kind of its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil

import numpy as np

from thresher.recheck_bets import check_betting, check_extreme, check_quantile
from thresher.recheck_cases import CLOSE, ENDS, PLAIN, Case, Record, span
from thresher.rechecks import Check, count_limits
from thresher.recounts import Labelled, Log

__all__ = ["KINDS", "check_estimates"]


def check_estimates(certificate: Record, log: Log) -> list[Check]:
    """Check every interval of a certificate of estimates.

    Parameters
    ----------
    certificate : mapping
        ``Certificate.to_dict()``.
    log : Log
    """
    records, intervals = certificate["tests"], certificate["intervals"]
    numbers = [r.get("interval") for r in records]
    every = numbers == list(range(len(intervals)))
    text = "every interval has one record, in order"
    checks = [Check("intervals", len(intervals), len(numbers), every, text), _met(certificate)]
    checks.append(_grade(certificate))
    if not every:
        return checks
    of_group = {group: log.values(group) for group in {r["group"] for r in records}}
    checks += _columns(certificate, of_group)
    for record in records:
        failed = log.failed(record["group"], record["column"])
        case = Case(record, intervals[record["interval"]], of_group[record["group"]], failed)
        checks += _check(case)
    return checks


def _check(case: Case) -> list[Check]:
    """Check one interval by the function that `KINDS` has for its record."""
    kind = str(case.record["kind"])
    if kind not in KINDS:
        text = f"only {', '.join(KINDS)} can be checked"
        return [case.check("kind of test", kind, "unknown", False, text)]
    estimate, low, high = case.claim
    room = CLOSE * max(abs(estimate), 1.0)
    inside = math.isnan(estimate) or low - room <= estimate <= high + room
    checks = [
        case.check("estimate", estimate, f"in {span(low, high)}", inside, "within its limits")
    ]
    if kind == "Plain":
        return checks + KINDS[kind](case)
    checks.append(_left(case))
    if case.record["n_left"] == 0 or case.record.get("n_farther") == 0:
        return checks + _check_tally(case)
    if kind == "Tally":
        text = "rows left that can change the value, and no test"
        return [*checks, case.check("value", "exact", "unknown", False, text)]
    return checks + KINDS[kind](case)


def _columns(certificate: Record, of_group: Mapping[int, Labelled]) -> list[Check]:
    """Check that every column has the same rows, and that groups are not larger than the table."""
    aligned = all(group.aligned for group in of_group.values())
    sizes = {(r["group"], r["n_rows"]) for r in certificate["tests"]}
    known = sum(len(g.rows) - len(g.bought.rows) for g in of_group.values())
    rows = sum(n for _, n in sizes) + known
    most = int(certificate["n_rows"])
    fits = len(sizes) == len(of_group) and rows <= most
    return [
        Check("columns", "alike", "alike" if aligned else "not alike", aligned, "the same rows"),
        Check("groups", rows, f"at most {most}", fits, "rows that were open or known, in all"),
    ]


def _grade(certificate: Record) -> Check:
    """Check that the grade goes with the kinds of records."""
    grade, kinds = str(certificate["grade"]), {str(r["kind"]) for r in certificate["tests"]}
    normal, sampled = "NormalTest" in kinds, bool(kinds - {"Plain", "Tally"})
    if grade not in ("exact", "distribution-free"):
        text = "the promise rests on an assumption that no log can show; it is named here"
        named = bool(certificate["assumption"])
        return Check("assumption", certificate["assumption"], "not in the log", named, text)
    ok = not (sampled if grade == "exact" else normal)
    found = "limits from samples" if sampled else "all labelled"
    return Check("grade", grade, found, ok, "as the records of its intervals allow")


def _met(certificate: Record) -> Check:
    """Check that the intervals keep the error target, if that is claimed."""
    target, claimed = certificate["targets"].get("error"), bool(certificate["met"])
    if target is None:
        return Check("error target", "none", "none", True, "nothing was asked for")
    kept = all(_keeps(target, i) for i in certificate["intervals"])
    text = "every estimate is within the error of every value of its interval"
    return Check("error target", claimed, kept, kept or not claimed, text)


def _keeps(target: Record, interval: Record) -> bool:
    estimate, low, high = (interval[k] for k in ENDS)
    if estimate is None or low == high:
        return True
    if low is None or high is None:
        return False
    within = float(target["within"])
    return all(
        abs(estimate - end) <= within * (abs(end) if target["relative"] else 1.0) + CLOSE * abs(end)
        for end in (low, high)
    ) and (low * high > 0 or not target["relative"])


def _left(case: Case) -> Check:
    """Check how many rows are left that can count."""
    n_rows, claimed = int(case.record["n_rows"]), int(case.record["n_left"])
    most = n_rows - len(case.group.bought.rows)
    whole = PLAIN not in case.record["ranges"]
    text = "rows of the group less those labelled"
    if not whole:
        text += "; which of them cannot count at all stands in plain values, not in a log"
    ok = claimed == most if whole else 0 <= claimed <= most
    return case.check("rows left", claimed, most if whole else f"at most {most}", ok, text)


def _check_plain(case: Case) -> list[Check]:
    """No label is needed, by the record: labels can only contradict."""
    estimate, low, high = case.claim
    value, kind = case.values(case.group), case.record["aggregate"]
    value = value[~np.isnan(value)]
    ok = low == estimate == high or math.isnan(estimate)
    if kind == "count":
        ok &= estimate >= len(value)
    if kind == "min":
        ok &= not (value < estimate).any()
    if kind == "max":
        ok &= not (value > estimate).any()
    text = "said to rest on plain values alone: no label contradicts, and none can show it"
    return [case.check("value", _exactly(estimate), "no label", bool(ok), text)]


def _exactly(value: float) -> str:
    return f"exactly {value:.6g}"


def _check_tally(case: Case) -> list[Check]:
    """Every row that can change the value is labelled: it must be what the log adds up to."""
    estimate, low, high = case.claim
    found = _tally(case)
    room = CLOSE * max(1.0, abs(found))
    most = found + len(case.failed)
    if len(case.failed):
        ok = case.record["aggregate"] == "count"
        ok &= max(abs(low - found), abs(high - most)) <= room
        text = "every row that can change it was asked: rows without an answer count at the top"
        return [case.check("value", span(low, high), span(found, most), ok, text)]
    if math.isnan(found) or (math.isnan(estimate) and not case.counted):
        ok = math.isnan(estimate)  # SQL has no sum over no rows
    else:
        ok = max(abs(estimate - found), abs(low - found), abs(high - found)) <= room
    text = "every row that can change it is labelled: computed from all labels"
    return [case.check("value", span(low, high), found, ok, text)]


def _tally(case: Case) -> float:
    """Aggregate all labelled values of a group."""
    value = case.values(case.group)
    value, kind = value[~np.isnan(value)], case.record["aggregate"]
    if kind in ("count", "sum"):
        return float(len(value)) if kind == "count" else float(value.sum())
    if kind == "ratio":
        below = float(case.sums(case.group)[1].sum())
        return float(value.sum()) / below if below else math.nan
    if not len(value):
        return math.nan
    if kind == "quantile" and not case.record["interpolated"]:
        rank = ceil(Fraction(repr(float(case.record["share"]))) * len(value))
        return float(np.sort(value)[max(rank, 1) - 1])
    if kind == "quantile":
        return float(np.quantile(value, float(case.record["share"])))
    if kind == "mean":
        return float(value.mean())
    return float(value.min() if kind == "min" else value.max())


def _check_strata(case: Case) -> tuple[list[Check], list[tuple[int, int, int]]]:
    """Count the samples of all strata again, stage by stage."""
    strata, checks = case.record["strata"], []
    for stage in sorted({s["stage"] for s in strata}):
        mine = case.drawn.take(case.drawn.of([stage]))
        counted = int(np.count_nonzero(~np.isnan(case.values(mine))))
        n_failed = int(np.count_nonzero(np.isin(mine.rows, case.failed)))
        found_of = {"n_sample": len(mine.rows), "n_found": counted, "n_failed": n_failed}
        for field, found in found_of.items():
            claimed = sum(int(s.get(field, 0)) for s in strata if s["stage"] == stage)
            text = "counted in the log"
            checks.append(case.check(f"{stage}: {field}", claimed, found, claimed == found, text))
    counts = [(int(s["n_rows"]), int(s["n_sample"]), int(s["n_found"])) for s in strata]
    possible = all(0 <= x <= n <= rows for rows, n, x in counts)
    open_ = [s["stage"] for s in strata if s["n_sample"] < s["n_rows"]]
    apart = possible and len(open_) == len(set(open_))
    shown = "as recorded" if apart else "not possible"
    checks.append(case.check("strata", len(strata), shown, apart, "a sample for each"))
    total, rows = sum(c[0] for c in counts), int(case.record["n_rows"])
    checks.append(case.check("rows", total, rows, total == rows, "rows of all strata"))
    return checks, counts


def _check_count(case: Case) -> list[Check]:
    """G1 with C1 to C4: counts from stratified samples."""
    checks, counts = _check_strata(case)
    n_known = int(np.count_nonzero(~np.isnan(case.values(case.facts))))
    claimed = int(case.record["n_known"])
    checks.append(case.check("n_known", claimed, n_known, claimed == n_known, "known before"))
    low, high = (round(end) - n_known for end in case.claim[1:])
    level = float(case.record["level"])
    found = count_limits(counts, low, high, level)
    if len(case.failed):
        more, vain = _check_failed(case, counts, (low, high), level)
        checks, found = [*checks, vain], more
    return checks + [
        case.check(one.name.removeprefix("count: "), one.claimed, one.recomputed, one.ok,
                   f"{one.explanation}, without those known before")
        for one in found
    ]  # fmt: skip


def _check_failed(
    case: Case, counts: list[tuple[int, int, int]], claim: tuple[int, int], level: float
) -> tuple[list[Check], Check]:
    """W5: the lower limit without the rows that have no answer, the upper one with all of them."""
    strata = case.record["strata"]
    vain = int(np.count_nonzero(~np.isin(case.failed, case.drawn.rows)))
    claimed = int(case.record.get("n_known_failed", 0))
    same = case.check("no answer", claimed, vain, claimed == vain, "asked before, without answer")
    most = [(n, m, x + int(s["n_failed"])) for (n, m, x), s in zip(counts, strata, strict=True)]
    below = count_limits(counts, claim[0], claim[1], level)
    above = count_limits(most, claim[0], claim[1] - vain, level)
    limits = [c for c in below if c.name.endswith("low")]
    return [*limits, *(c for c in above if c.name.endswith("high"))], same


def _check_normal(case: Case) -> list[Check]:
    """Limits by a normal approximation: what was counted, and no more."""
    checks, _ = _check_strata(case)
    text = "the promise rests on an assumption that no log can show: normal limits are not derived"
    return [*checks, case.check("limits", span(*case.claim[1:]), "not derived", True, text)]


KINDS: dict[str, Callable[[Case], list[Check]]] = {
    "Plain": _check_plain,
    "Tally": _check_tally,
    "CountTest": _check_count,
    "BettingTest": check_betting,
    "QuantileTest": check_quantile,
    "ExtremeTest": check_extreme,
    "NormalTest": _check_normal,
}
"""By kind of record, the function that checks an interval of that kind."""
