"""Tables in Markdown from the figures of a measurement of the guarantee."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.guarantee_figures import HALVES, OURS, is_ours, question, verdict
from benchmarks.methods import KINDS, is_better, shown
from benchmarks.report import table

Record = Mapping[str, Any]

SEER = "clairvoyant"
WORST = 12
LEGEND = """\
A cell of a table is the median of the figure over the trials that ended, then the share of trials
in which the answer was false.

- `▲` the median is better than thresher's in the same row; such cases are listed below the tables
- `✗` more than delta of the trials failed; `✗✗` so many that chance explains it in less than 1 of
  1,000 runs of that cell (exact binomial test)
- `(assumption false)`: what the method assumes is not true of the set, so delta is no promise there
- `holds`, `fails`: the method draws nothing at random, so there is one outcome
- `n` labels allowed (draws, for SUPG, which pays for fewer distinct rows and labels more with both
  targets); the number of trials stands in brackets where it is not {trials}
- clairvoyant: what a perfect plan for the same tests comes to when all labels are known; no method
"""


def figure(record: Record) -> float | None:
    """The median by which a cell is compared; None where no trial ended."""
    return float(record["utility"]["median"]) if "utility" in record else None


def text_of(kind: str, value: float) -> str:
    """A figure as tables show it."""
    return f"{shown(kind, value):.3f}" if KINDS[kind].share else f"{shown(kind, value):,.0f}"


def mark(record: Record) -> str:
    """`✗✗` where chance hardly explains the failures, `✗` where they are more than delta."""
    if record.get("p") is None or record["share"] <= record["delta"]:
        return ""
    return " ✗✗" if record["p"] < 1e-3 else " ✗"


def cell_text(record: Record | None, ours: Record | None, usual: int) -> str:
    """One table cell."""
    if record is None:
        return ""
    value = figure(record)
    if value is None:
        return f"none of {record['unfinished']} ended"
    text = text_of(record["kind"], value)
    if record["method"] == SEER:
        return text
    if is_ahead(record, ours):
        text += " ▲"
    if record["deterministic"]:
        return f"{text}, {'fails' if record['failures'] else 'holds'}"
    text += f", {100 * record['share']:.1f} %{mark(record)}"
    text += "" if record["assumption_true"] else " (assumption false)"
    text += f" ({record['trials']})" if record["trials"] != usual else ""
    return text + (f" [{record['unfinished']} not ended]" if record["unfinished"] else "")


def is_ahead(record: Record, ours: Record | None) -> bool:
    """Whether a method's median is better than thresher's; one outcome that misses never is."""
    if ours is None or is_ours(record["method"]) or record["method"] == SEER:
        return False
    mine, value = figure(ours), figure(record)
    if mine is None or value is None or (record["deterministic"] and record["failures"]):
        return False
    return is_better(record["kind"], value, mine)


def reference_of(record: Record, index: Mapping[tuple[Any, ...], Record]) -> Record | None:
    """Thresher's cell for the same question."""
    n = None if record["kind"] == "both" else record["n"]
    return index.get((record["set"], record["kind"], n, record["target"], record["delta"], OURS))


def index_of(cells: Sequence[Record]) -> dict[tuple[Any, ...], Record]:
    """Cells by all that makes them."""
    names = ("set", "kind", "n", "target", "delta", "method")
    return {tuple(cell[name] for name in names): cell for cell in cells}


def main_tables(result: Mapping[str, Any], half: str) -> list[str]:
    """For each kind of question the usual target and delta: a row a set and number of labels."""
    parts = []
    for kind in KINDS.values():
        usual = [
            cell
            for cell in result["cells"]
            if cell["half"] == half and cell["kind"] == kind.name and is_usual(cell, result)
        ]
        if usual:
            methods = list(dict.fromkeys(cell["method"] for cell in usual))
            methods.sort(key=lambda name: (not is_ours(name), name == SEER))
            rows = list(_rows(usual, methods, result))
            parts.append(f"### {kind.heading}: {kind.figure}\n")
            parts.append(table(["data", "n", *methods], rows))
    return parts


def is_usual(cell: Record, result: Mapping[str, Any]) -> bool:
    """Whether a cell stands at the target and the delta at which methods are compared."""
    settings = result["settings"]
    return cell["delta"] == settings["delta"] and cell["target"] in (None, settings["target"])


def _rows(
    usual: Sequence[Record], methods: Sequence[str], result: Mapping[str, Any]
) -> Iterable[list[str]]:
    index, trials = index_of(result["cells"]), result["settings"]["trials"]
    names = list(dict.fromkeys(cell["set"] for cell in usual))
    places = {(cell["set"], cell["n"]) for cell in usual}
    for name, n in sorted(places, key=lambda place: (names.index(place[0]), place[1] or 0)):
        here = {cell["method"]: cell for cell in usual if (cell["set"], cell["n"]) == (name, n)}
        row = [name, f"{n:,}" if n else ""]
        for method in methods:
            record = here.get(method)
            ours = reference_of(record, index) if record is not None else None
            row.append(cell_text(record, ours, trials))
        yield row


def behind(result: Mapping[str, Any], half: str) -> list[str]:
    """One line for each cell in which another method's median is better than thresher's."""
    index, lines = index_of(result["cells"]), []
    for record in result["cells"]:
        ours = reference_of(record, index)
        if record["half"] != half or ours is None or not is_ahead(record, ours):
            continue
        kind = record["kind"]
        kept = f"{100 * record['share']:.1f} % of its trials failed{mark(record)}"
        if record["deterministic"]:
            kept = "promises nothing, meets the target here"
        lines.append(
            f"- {question(record)}: {record['method']} "
            f"{text_of(kind, record['utility']['median'])} against "
            f"{text_of(kind, ours['utility']['median'])}; {kept}"
        )
    return lines


def settings_table(cells: Sequence[Record]) -> str:
    """Thresher's failures by kind, target and delta, over all sets."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for cell in cells:
        if cell["method"] == OURS and cell["trials"]:
            place = (cell["half"], cell["kind"], cell["target"] or 0.0, cell["delta"])
            groups.setdefault(place, []).append(cell)
    rows = []
    for (half, kind, target, delta), group in sorted(groups.items()):
        worst = min(group, key=lambda cell: float(cell["p"]))
        trials = sum(cell["trials"] for cell in group)
        failures = sum(cell["failures"] for cell in group)
        first = (half, kind, f"{target:g}" if target else "", f"{delta:g}", str(len(group)))
        most = max(cell["share"] for cell in group)
        shares = (f"{100 * failures / trials:.2f} %", f"{100 * most:.1f} %")
        rows.append([*first, f"{trials:,}", *shares, f"{worst['p']:.2g}", worst["set"]])
    head = ["half", "kind", "target", "delta", "cells", "trials", "failed", "most in a cell"]
    return table([*head, "smallest p", "where"], rows)


def worst_table(cells: Sequence[Record]) -> str:
    """Thresher's cells with the smallest p-values."""
    judged = [cell for cell in cells if cell["method"] == OURS and cell.get("p") is not None]
    judged.sort(key=lambda cell: float(cell["p"]))
    rows = [
        [
            question(cell),
            cell["half"],
            f"{cell['failures']} of {cell['trials']}",
            f"{cell['p']:.2g}",
        ]
        for cell in judged[:WORST]
    ]
    return table(["question", "half", "failures", "p"], rows)


def summary_table(lines: Sequence[Record]) -> str:
    """All methods that promise something, judged by the same test."""
    rows = [
        [str(line[name]) for name in ("method", "promise", "half")]
        + [f"{line[name]:,.0f}" for name in ("cells", "trials", "failures", "allowed")]
        + [f"{line[name]:.2g}" for name in ("above_delta", "smallest_p", "bonferroni")]
        + [str(line[name]) for name in ("holm_rejects", "unfinished")]
        for line in lines
    ]
    head = ["method", "promise", "half", "cells", "trials", "failures", "delta allows"]
    head += ["cells above delta", "smallest p", "times cells", "rejected by Holm", "not ended"]
    return table(head, rows)


def errors_of(cells: Sequence[Record]) -> list[str]:
    """What trials raised, a line for each method and message."""
    found: dict[tuple[str, str], list[Record]] = {}
    for cell in cells:
        for error in cell["errors"]:
            found.setdefault((cell["method"], error), []).append(cell)
    return [
        f"- {method}: {error} ({len(group)} cells, such as {question(group[0])})"
        for (method, error), group in sorted(found.items())
    ]


def data_table(result: Mapping[str, Any], half: str) -> str:
    """The data sets of a half."""
    rows = []
    for data in result["datasets"]:
        if data["half"] == half:
            counts = (f"{data['n_rows']:,}", f"{data['n_positive']:,}")
            share = f"{data['n_positive'] / data['n_rows']:.2%}"
            rows.append([data["name"], *counts, share, data["origin"]])
    return table(["name", "rows", "positive", "share", "what"], rows)


def markdown(result: Mapping[str, Any]) -> str:
    """The whole report."""
    settings, machine, cells = result["settings"], result["machine"], result["cells"]
    fewer = sum(
        cell["trials"] + cell["unfinished"] < settings["trials"] and not cell["deterministic"]
        for cell in cells
    )
    parts = [
        "# The guarantee, measured\n",
        f"Written by `benchmarks/guarantee.py` on {machine['date']} at commit {machine['commit']}; "
        "every cell stands in `guarantee.json`. How to read and repeat it: "
        "`benchmarks/README.md`.\n",
        f"Grid `{settings['grid']}`, up to {settings['trials']:,} seeded trials a cell; {fewer} of "
        f"{len(cells)} cells have fewer, stopped by their CPU seconds (`--cap`, "
        f"{settings['cap_s']:g} at the last command) or by the clock.\n",
        verdict(result["summary"]) + "\n",
        summary_table(result["summary"]),
        "A trial fails if what its answer says is false. `p` is the chance of so many failures or "
        "more in a cell if each trial failed with probability delta.\n",
        "## thresher's cells with the most failures for their delta\n",
        worst_table(cells),
        "## thresher's failures by target and delta\n",
        settings_table(cells),
        LEGEND.format(trials=settings["trials"]),
    ]
    for half in HALVES:
        if any(data["half"] == half for data in result["datasets"]):
            parts += [f"## {HALF_TITLES[half]}\n", data_table(result, half)]
            parts += main_tables(result, half)
            parts += ["### Where another method is ahead\n"]
            parts += [*(behind(result, half) or ["Nowhere in this run."]), ""]
    raised = errors_of(cells)
    if raised:
        parts += ["## Trials that raised or were cut\n", *raised, ""]
    return "\n".join(parts)


HALF_TITLES = {
    "tuning": "Sets that planners were tuned on",
    "held-out": "Held-out sets",
}
