"""Bets, nodes and extremes of an estimate checked against the values in the label log."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from thresher.recheck_cases import CLOSE, PLAIN, WALKED, Case, Floats, Record, number, span
from thresher.rechecks import Check
from thresher.recompute_bets import Bets, least_overlooked

__all__ = ["check_betting", "check_extreme", "check_quantile"]

_WHOLE = 1e-6  # a limit of a count may miss a whole number by rounding
_OFFSETS = ("offset_u", "offset_v", "control_u", "control_v")


def _bets(case: Case, record: Record) -> Bets:
    """Return the bets of a record on the rows that the log says were drawn."""
    u, v = case.sums(case.drawn)
    names = ("scale", "offset_u", "offset_v", "control_u", "control_v")
    fixed = [np.array(record[name], dtype=np.float64) for name in names]
    bets = np.array(record["bets"], dtype=np.float64).reshape(-1, 4)
    is_sum = case.record["aggregate"] not in ("mean", "ratio")
    kept = float(record["centre"]), float(record["spread"]), float(record["level"])
    return Bets(u, v, fixed[0], fixed[1], fixed[2], fixed[3], fixed[4], bets, *kept, is_sum)


def check_betting(case: Case) -> list[Check]:
    """B1 to B4: sums, means, ratios, and counts with an error target."""
    _, low, high = case.claim
    return _check_bets(case, case.record, low, high, case.record["aggregate"] == "count")


def _check_bets(case: Case, record: Record, low: float, high: float, whole: bool) -> list[Check]:
    """Check bets of a record, and that [low, high] holds every null that they leave standing."""
    rows = np.array(record["rows"], dtype=np.int64)
    same = np.array_equal(rows, case.drawn.rows)
    lengths = {len(record[k]) for k in ("scale", "bets", *_OFFSETS)}
    whole_record = same and lengths == {len(rows)}
    checks = [
        case.check("draws", len(rows), len(case.drawn.rows), whole_record,
                   "the rows drawn, in the order of the log"),
    ]  # fmt: skip
    certain = number(record["certain"][0], -math.inf), number(record["certain"][1], math.inf)
    bets = _bets(case, record) if whole_record else None
    if bets is None or (bets.is_sum and not np.isfinite(certain).all()):
        return [*checks, case.check("limits", span(low, high), "none", False, "no such bets")]
    checks += [*_check_offsets(case, bets), _check_certain(case, certain)]
    checks.append(_check_factors(case, bets, certain))
    stand = bets.limits(*certain)
    if stand is None:
        text = "every null is refuted, which has a chance within the level: any interval holds"
        return [*checks, case.check("limits", span(low, high), "none", True, text)]
    least, most = stand
    room = CLOSE * sum(abs(end) for end in stand if math.isfinite(end))
    if whole:
        least, most = math.ceil(least - _WHOLE), math.floor(most + _WHOLE)
    text = f"no fortune against it has reached 2 / {bets.level:.4g} at any time (B2, B4)"
    return [
        *checks,
        case.check(
            "low", low, f"at most {least:.6g}", low <= least + room, f"the least null: {text}"
        ),
        case.check(
            "high", high, f"at least {most:.6g}", high >= most - room, f"the last null: {text}"
        ),
    ]


def _check_offsets(case: Case, bets: Bets) -> list[Check]:
    """B1: between draws of one stage an offset moves by what was drawn less its control."""
    stage = case.drawn.stage
    together = stage[1:] == stage[:-1]
    worst = 0.0
    moves = [(bets.offset_u, bets.u, bets.control_u)]
    if not bets.is_sum:
        moves.append((bets.offset_v, bets.v, bets.control_v))
    for offset, value, control in moves:
        size = 1.0 + float(np.abs(offset).max(initial=0.0))
        off = np.abs(np.diff(offset) - (value - control)[:-1])[together]
        worst = max(worst, float(off.max(initial=0.0)) / size)
    if bets.is_sum:
        worst = max(worst, float(np.abs(bets.offset_v - 1).max(initial=0.0)))
    scale = float(bets.scale.min(initial=1.0))
    text = (
        "what was drawn less its control moves them; where forecasts were fitted anew, and for "
        "rows that were never drawn, weights and controls are taken from the record"
    )
    return [
        case.check("offsets", f"within {CLOSE:g}", f"off by {worst:.3g}", worst <= CLOSE, text),
        case.check("scale", "at least 1", scale, scale >= 1 - CLOSE, "no draw is surer than sure"),
    ]


def _check_factors(case: Case, bets: Bets, certain: tuple[float, float]) -> Check:
    """B2: bets are not negative, and no fortune against a null that stands can be lost."""
    signs = bool((bets.bets >= 0).all())
    lost = bets.first_loss(*certain, _corners(case, bets), case.drawn.stage) if signs else 0
    found = "kept" if lost is None else f"may be lost at draw {lost + 1}"
    text = (
        "bets are of one sign, and no fortune against a null that stood would be lost, whichever "
        "row of the stage had been drawn and whatever it had brought; rows that were never drawn, "
        "and that bets were fixed before the label, a log cannot show"
    )
    return case.check("bets", "kept", found, lost is None, text)


def _corners(case: Case, bets: Bets) -> list[tuple[Floats, Floats]]:
    """Return what drawn rows could have brought: points (u, v) whose hull holds it all."""
    zero = np.zeros(len(bets.u))
    corners = [(zero, zero), (bets.u, bets.v)]
    spans = [None if r == PLAIN else r for r in case.record["ranges"]]
    kind = case.record["aggregate"]
    if spans[0] is None or (kind == "ratio" and spans[1] is None):
        return corners
    if kind in ("count", "min", "max"):
        return [*corners, (zero + 1, zero)]
    if kind == "ratio":
        return corners + [(zero + a, zero + b) for a in spans[0] for b in spans[1] or ()]
    return corners + [(zero + end, zero + (kind == "mean")) for end in spans[0]]


def _check_certain(case: Case, certain: tuple[float, float]) -> Check:
    """Check that what labels leave possible lies in the range that is taken for certain."""
    n_left, kind = int(case.record["n_left"]), case.record["aggregate"]
    u, v = (float(a.sum()) for a in case.sums(case.group))
    possible = [u] if kind not in ("mean", "ratio") else [u / v] if v > 0 else []
    text = "what the labels leave possible"
    declared = (1.0, 1.0) if kind in ("count", "min", "max") else case.range
    if kind in ("mean", "ratio"):
        top, below = case.sums(case.drawn)
        possible += (top[below > 0] / below[below > 0]).tolist()
    if declared is None or kind == "ratio":
        text += "; for rows that were not labelled it rests on plain values, not in a log"
    elif n_left and kind == "mean":
        possible += declared
    elif n_left:
        possible += [u + n_left * min(declared[0], 0.0), u + n_left * max(declared[1], 0.0)]
    least, most = min(possible, default=math.inf), max(possible, default=-math.inf)
    room = CLOSE * max([1.0, *map(abs, possible)])
    ok = certain[0] <= least + room and certain[1] >= most - room
    found = f"{'within it' if ok else 'beyond it'}: {span(least, most)}"
    return case.check("certain range", span(*certain), found, ok, text)


def check_quantile(case: Case) -> list[Check]:
    """Q1, from the recorded fortunes."""
    record, drawn = case.record, case.drawn.rows
    rows, nodes = np.array(record["rows"], np.int64), np.array(record["nodes"], np.float64)
    tail = np.array_equal(rows, drawn[len(drawn) - len(rows) :]) and len(rows) <= len(drawn)
    ordered = bool((np.diff(nodes) > 0).all())
    passed = np.array(record["passed"], np.float64).reshape(-1, 2)
    checks = [
        case.check("draws", len(rows), len(drawn), tail, "the last rows drawn, in order"),
        case.check("nodes", "rising", "rising" if ordered else "mixed", ordered, "nodes"),
    ]
    if len(passed) != len(nodes):
        return [*checks, case.check("limits", len(nodes), len(passed), False, "no such fortunes")]
    reach = math.log(2 / float(record["level"]))
    _, low, high = case.claim
    value = case.values(case.group)
    value, declared = value[~np.isnan(value)], case.range
    up = _beyond(nodes, passed[:, 0] >= reach, value, declared)
    mirror = None if declared is None else (-declared[1], -declared[0])
    down = _beyond(-nodes[::-1], passed[::-1, 1] >= reach, -value, mirror)
    down = -down[1], -down[0]
    text = (
        "of the value of rank ceil(q C): beyond the run of nodes that the recorded fortunes refute "
        "(Q1). The fortunes rest on the record: their bets are too many to keep, and are not "
        "derived again"
    )
    return [
        *checks,
        case.check("low", low, f"at most {up[1]:.6g}", low <= up[1], text),
        case.check("high", high, f"at least {down[0]:.6g}", high >= down[0], text),
    ]


def _beyond(
    nodes: Floats,
    refuted: npt.NDArray[np.bool_],
    value: Floats,
    declared: tuple[float, float] | None,
) -> tuple[float, float]:
    """Return the last node of the refuted run, and the largest lower limit that it allows.

    A plain value may be any between a node and the next, as long as no label contradicts.
    """
    run = int(np.argmin(np.append(refuted, False)))
    last = float(nodes[run - 1]) if run else -math.inf
    if declared is not None:
        ends = [declared[0], *value.tolist()]
        return last, last if run else min(ends)
    after = [float(nodes[run])] if run < len(nodes) else []
    return last, min([*after, *value[value > last].tolist()], default=math.inf)


def check_extreme(case: Case) -> list[Check]:
    """E1: how many rows may lie beyond the extreme that was found."""
    record, (_, low, high) = case.record, case.claim
    sign = 1.0 if record["aggregate"] == "max" else -1.0
    value = sign * case.values(case.group)
    best = sign * float(np.nanmax(value)) if (~np.isnan(value)).any() else math.nan
    inner, outer = (low, high) if sign > 0 else (high, low)
    found = inner == -sign * math.inf if math.isnan(best) else _near(inner, best)
    declared = case.range
    end = best if declared is None else declared[1] if sign > 0 else declared[0]
    near = CLOSE * abs(end) if math.isfinite(end) else 0.0
    reaches = math.isnan(end) or sign * outer >= sign * end - near
    text = "what the rows left could be"
    if declared is None:
        text = "at least the extreme found; plain values of rows not labelled are in no log"
    return [
        case.check("extreme", inner, best, found, "the outermost value in the log"),
        case.check("outer limit", outer, end, reaches, text),
        *_check_overlooked(case, sign * best, sign),
    ]


def _near(one: float, two: float) -> bool:
    return abs(one - two) <= CLOSE * max(1.0, abs(two))


def _check_overlooked(case: Case, best: float, sign: float) -> list[Check]:
    """Check the two numbers behind the share of rows beyond."""
    record, drawn = case.record, case.drawn
    n_far, n_left, declared = int(record["n_farther"]), int(record["n_left"]), case.range
    fewest = n_left
    if declared is not None:
        end = declared[1] if sign > 0 else -declared[0]
        fewest = 0 if best >= end else n_left
    exact = n_far == fewest if declared is not None else n_far <= n_left
    n_open = int(record["n_rows"]) - int(np.count_nonzero(case.group.bought.of([WALKED])))
    level = float(record["level"]) / 2
    least = least_overlooked(n_open, len(drawn.rows), level)
    least, claimed = min(n_far, least), int(record["n_beyond"])
    text = (
        "no fewer can be certified by so many draws, whatever their weights; that these weights "
        "allow it rests on the record, which has none of rows that were not drawn (E1)"
    )
    counted, nested = float(record["n_counted"]), record["count"]
    found = int(np.count_nonzero(~np.isnan(case.values(drawn))))
    sure = max(1.0, float(found + claimed))
    share = min(1.0, claimed / counted)
    shown = number(case.interval["beyond"], 0.0)
    half = float(nested["level"]) <= level * (1 + CLOSE)
    farther = fewest if declared is not None else f"at most {n_left}"
    checks = [
        case.check("rows farther", n_far, farther, exact, "rows left that could lie beyond"),
        case.check("rows beyond", claimed, f"at least {least}", claimed >= least, text),
        case.check("beyond", shown, f"at least {share:.6g}", shown >= share - CLOSE,
                   "rows beyond of all"),
        case.check("level of the count", nested["level"], f"at most {level:.6g}", half,
                   "half of that of the extreme"),
    ]  # fmt: skip
    if counted > sure:
        checks += _check_bets(case, nested, counted, math.inf, whole=False)
    return checks
