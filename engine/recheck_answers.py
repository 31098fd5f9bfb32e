"""What an answer of rows claims, checked against its tests and the label log, by its grade."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from thresher.label_log import SAME_INPUT
from thresher.rechecks import Check, accuracy_limit, precision_limit
from thresher.recompute import (
    COUNTED,
    allowed,
    hits,
    ratio_cut,
    upper_limit,
)
from thresher.recounts import Log

__all__ = ["GRADES"]

Record = Mapping[str, Any]

_RECALL = ("ratio", "fixed")
_COUNT_LEVEL = 0.2  # share of delta that core set closure spends on counting positives
_WHOLE_POOL = 0.1  # share of delta of the limit over all rows that were open (T6b)
_UNSEEN = "the promise rests on an assumption that no log can show"


def _exact(certificate: Record, log: Log) -> list[Check]:
    if certificate["targets"].get("rows") is not None:
        return []
    if certificate["targets"].get("accuracy") is not None:
        rows, labelled = int(certificate["n_rows"]), log.n_positive + log.n_negative
        return [Check("exact labels", rows, labelled, rows == labelled, "every row is labelled")]
    claimed = f"{certificate['n_returned']} of {certificate['n_rows']}"
    found = f"{log.n_positive} of {log.n_positive + log.n_negative}"
    text = "positives of all rows, each of them labelled"
    return [Check("exact answer", claimed, found, claimed == found, text)]


def _free(certificate: Record, log: Log) -> list[Check]:
    """Check the bounds of an answer that rests on samples, and that they reach the targets."""
    return [*_met(certificate), *_bounds(certificate, log)]


def _met(certificate: Record) -> list[Check]:
    met = True
    for name in ("recall", "precision", "accuracy"):
        target, bound = certificate["targets"].get(name), certificate["bounds"].get(name)
        met &= target is None or (bound is not None and bound >= target)
    text = "every bound reaches its target"
    return [Check("targets met", certificate["met"], met, met or not certificate["met"], text)]


def _bounds(certificate: Record, log: Log) -> list[Check]:
    if certificate["targets"].get("accuracy") is not None:
        return _accuracy(certificate, log)
    returned = [_returned(certificate, log)]
    return [*returned, *_recall(certificate, log), *_precision(certificate, log)]


def _returned(certificate: Record, log: Log) -> Check:
    returned, n_rows = int(certificate["n_returned"]), int(certificate["n_rows"])
    low, high = log.n_positive, n_rows - log.n_negative
    text = "every known positive is returned, no known negative is"
    if any(test["kind"] in _RECALL for test in certificate["tests"]):
        low += log.n_failed  # W3
    return Check("rows returned", returned, f"{low} to {high}", low <= returned <= high, text)


def _accuracy(certificate: Record, log: Log) -> list[Check]:
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


def _leaves_nothing_out(certificate: Record, log: Log) -> bool:
    return int(certificate["n_returned"]) == int(certificate["n_rows"]) - log.n_negative


def _recall(certificate: Record, log: Log) -> list[Check]:
    claimed = certificate["bounds"]["recall"]
    if claimed is None:
        return []
    if _leaves_nothing_out(certificate, log):
        return [Check("recall bound", claimed, 1.0, claimed <= 1, "nothing unlabelled is left out")]
    targets = [float(t["target"]) for t in certificate["tests"] if t["kind"] in _RECALL]
    if not targets and log.n_of("count"):
        return _counted_core_set(certificate, log)
    if not targets:
        left = int(certificate["n_rows"]) - log.n_negative - int(certificate["n_returned"])
        found = log.n_positive / (log.n_positive + left)
        text = "were all rows without a label that are left out positive (W1)"
        return [Check("recall bound", claimed, found, claimed <= found, text)]
    found = min(targets)
    text = "the target of the tests: unlabelled rows are left out"
    return [Check("recall bound", claimed, found, claimed <= found, text)]


def _counted_core_set(certificate: Record, log: Log) -> list[Check]:
    """S2: the positives are counted from below, then the sample hits one of the lowest."""
    claimed, delta = certificate["bounds"]["recall"], float(certificate["targets"]["delta"])
    target = float(certificate["targets"]["recall"])
    drawn = log.drawn(["count"])
    rows = int(certificate["n_rows"]) - drawn.first
    level = _COUNT_LEVEL * delta
    most = upper_limit(rows, drawn.n_sample, drawn.n_negative, level)
    least = log.positives_before(drawn.first) + rows - most
    enough = _hit(certificate, log, allowed(target, least) + 1, delta - level)
    text = "S2: the target, if the sample is large enough for the positives counted from below"
    found = target if enough.ok else 0.0
    return [enough, Check("recall bound", claimed, found, claimed <= found, text)]


def _hit(certificate: Record, log: Log, n_core: int, level: float) -> Check:
    """Check that the sample hits one of `n_core` unlabelled rows, but for a chance of `level`."""
    drawn = log.drawn(["sample"])
    rows = int(certificate["n_rows"]) - drawn.first
    core = min(n_core, rows)
    ok = core > 0 and hits(rows, core, drawn.n_sample, level)
    text = f"rows of the sample: some design of so many misses {core} of {rows} with <= {level:.4g}"
    return Check("sample", drawn.n_sample, "enough" if ok else "too few", ok, text)


def _precision(certificate: Record, log: Log) -> list[Check]:
    claimed = certificate["bounds"]["precision"]
    if claimed is None:
        return []
    returned = int(certificate["n_returned"])
    if returned == log.n_positive:
        return [Check("precision bound", claimed, 1.0, claimed <= 1, "only known positives")]
    wrong, text = precision_limit(certificate, log)
    return [_share("precision bound", claimed, wrong, returned, text)]


def _assumed(certificate: Record, log: Log) -> list[Check]:
    """Check what follows from the log where the promise rests on an assumption."""
    assumption = certificate["assumption"]
    named = isinstance(assumption, str) and bool(assumption)
    checks = [
        Check("assumption", assumption, "not in the log", named, f"{_UNSEEN}; it is named here"),
        *_met(certificate),
        _returned(certificate, log),
    ]
    tests = certificate["tests"]
    for name, sure, tested in (
        ("recall", _leaves_nothing_out(certificate, log), False),
        (
            "precision",
            int(certificate["n_returned"]) == log.n_positive,
            any(t["kind"] == "negatives" for t in tests),
        ),
    ):
        claimed = certificate["bounds"][name]
        if sure or tested:
            check = _recall if name == "recall" else _precision
            checks += check(certificate, log)
        elif claimed is not None:
            most = certificate["targets"][name] or 0.0
            checks.append(Check(f"{name} bound", claimed, most, claimed <= most, _UNSEEN))
    return checks


def _calibrated(certificate: Record, log: Log) -> list[Check]:
    """T6 under its assumption, and what the whole pool says without it (T6b)."""
    checks = _assumed(certificate, log)
    tried = log.drawn(["refute"])
    seen = Check("refutation", ">= 1", tried.n_sample, tried.n_sample > 0, "rows that tried it")
    claimed = certificate["bounds"]["free_recall"]
    if claimed is None:
        return [*checks, seen]
    rows = int(certificate["n_rows"]) - tried.first
    level = _WHOLE_POOL * float(certificate["targets"]["delta"])
    most = upper_limit(rows, tried.n_sample, tried.n_positive, level)
    before = log.positives_before(tried.first)
    kept = log.n_positive - log.positives_of(SAME_INPUT)
    out = int(certificate["n_rows"]) - log.n_negative - int(certificate["n_returned"])
    missed = max(0, min(most - (kept - before), out))
    found = kept / (kept + missed) if missed else 1.0
    text = (
        "T6b: so much follows from the limit over all rows that were open; limits beyond the other "
        "ranks may give more, but the ranks are not in the log, so more is not derived again"
    )
    shown = Check("recall without it", claimed, found, claimed <= 1, text)
    return [*checks, seen, shown]


_LEAST = re.compile(r"at least (\d+) rows are positive")
_BEST = re.compile(r"each of the (\d+) best-ranked positives")


def _core_set(certificate: Record, log: Log) -> list[Check]:
    """S1 and S3 under their assumption."""
    checks, delta = _assumed(certificate, log), float(certificate["targets"]["delta"])
    before = log.positives_before(log.drawn(["sample"]).first)
    if (found := _LEAST.search(str(certificate["assumption"]))) is not None:
        least, most = int(found[1]), int(certificate["n_rows"]) - log.n_negative
        text = "positives declared: there are as many rows that are not known to be negative"
        checks.append(Check("declared", least, f"<= {most}", least <= most, text))
        n_core = allowed(float(certificate["targets"]["recall"]), least) + 1
        return [*checks, _hit(certificate, log, n_core, delta), *_free_recall(certificate, log)]
    if (found := _BEST.search(str(certificate["assumption"]))) is not None:
        return [*checks, _hit(certificate, log, int(found[1]) - before, delta)]
    return [*checks, Check("declared", "a number", "none", False, "the size of the core set")]


def _free_recall(certificate: Record, log: Log) -> list[Check]:
    """The greatest target, in thousandths, at which T1 accepts the lowest sampled positive."""
    claimed, delta = certificate["bounds"]["free_recall"], float(certificate["targets"]["delta"])
    if claimed is None:
        return []
    drawn = log.drawn(["sample"])
    rows, known = int(certificate["n_rows"]) - drawn.first, log.positives_before(drawn.first)
    bound = upper_limit(rows, drawn.n_sample, drawn.n_positive, COUNTED * delta)
    if drawn.n_positive:
        low, high = 0, 1000
        while high - low > 1:
            middle = (low + high) // 2
            cut = ratio_cut(drawn.n_positive, known, bound, middle / 1000, delta)
            low, high = (middle, high) if cut >= 0 else (low, middle)
        found = low / 1000
    else:
        found = known / (known + bound) if bound else 1.0
    text = "T1 without the assumption"
    return [Check("recall without it", claimed, found, claimed <= found + 1e-12, text)]


GRADES: dict[str, Callable[[Record, Log], list[Check]]] = {
    "exact": _exact,
    "distribution-free": _free,
    "calibrated tail": _calibrated,
    "core set closure": _core_set,
    "proxy quality": _assumed,
    "asymptotic": _assumed,
}
"""By grade, the function of (certificate, log) that checks what the answer claims."""
