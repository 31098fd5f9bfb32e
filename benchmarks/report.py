"""Tables in Markdown from the figures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

HEADINGS = {
    "recall": "Recall target {target:.0%}: median precision of the answer",
    "precision": "Precision target {target:.0%}: median recall of the answer",
    "both": "Recall and precision target {target:.0%}: median oracle calls",
}
QUALITY = {"recall": "precision", "precision": "recall", "both": "calls"}
LEGEND = """\
A cell is the median over the trials, then the share of trials that missed a target and its exact
95 % binomial interval.

- `▲` the median is better than thresher's in the same row
- `✗` more than delta of the trials failed; `✗✗` the whole interval lies above delta
- `holds` or `fails`: top-n draws nothing at random, so there is one outcome and no promise of it
- `n` is the number of labels allowed (of draws, for SUPG: a row drawn twice is asked once)
- the number of trials stands in brackets where it is not {trials}
"""


def quality_of(record: Record) -> float | None:
    """The figure by which a cell is judged, rounded as it is shown; None where no trial ended."""
    figures = record.get(QUALITY[record["kind"]])
    if figures is None:
        return None
    return round(float(figures["median"]), 0 if record["kind"] == "both" else 3)


def is_ahead(record: Record, ours: Record | None) -> bool:
    """Whether a method's median is better than thresher's, as both are shown."""
    mine = quality_of(record)
    reference = quality_of(ours) if ours is not None else None
    if mine is None or reference is None:
        return False
    return mine < reference if record["kind"] == "both" else mine > reference


def reference_of(record: Record, records: Sequence[Record]) -> Record | None:
    """Thresher's cell for the same question (with both targets it has no budget)."""
    for other in records:
        same = (other["method"], other["dataset"], other["kind"]) == (
            "thresher",
            record["dataset"],
            record["kind"],
        )
        if same and (record["kind"] == "both" or other["budget"] == record["budget"]):
            return other
    return None


def failure_mark(record: Record, delta: float) -> str:
    """`✗✗` where the failure share is surely above delta, `✗` where it is above, else nothing."""
    if record["deterministic"] or record["failure_share"] <= delta:
        return ""
    return "✗✗" if record["failure_low"] > delta else "✗"


def cell_text(record: Record | None, records: Sequence[Record], delta: float, usual: int) -> str:
    """One table cell."""
    if record is None:
        return "-"
    figure = quality_of(record)
    if figure is None:
        return f"none of {record['unfinished']} finished"
    shown = f"{figure:,.0f}" if record["kind"] == "both" else f"{figure:.3f}"
    if is_ahead(record, reference_of(record, records)):
        shown += " ▲"
    if record["deterministic"]:
        return f"{shown}, {'fails' if record['failures'] else 'holds'}"
    low, high = 100 * record["failure_low"], 100 * record["failure_high"]
    shown += f", {100 * record['failure_share']:.1f} % [{low:.1f}, {high:.1f}]"
    mark = failure_mark(record, delta)
    if mark:
        shown += f" {mark}"
    if record["trials"] != usual:
        shown += f" ({record['trials']})"
    if record["unfinished"]:
        shown += f" [{record['unfinished']} not finished]"
    return shown


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _find(records: Sequence[Record], **wanted: object) -> Record | None:
    for record in records:
        if all(record[key] == value for key, value in wanted.items()):
            return record
    return None


def selection_table(run: Mapping[str, Any], kind: str) -> str:
    """One table: a row for each data set and budget, a column for each method."""
    records, delta = run["cells"], run["settings"]["delta"]
    usual, methods = run["settings"]["trials"], run["settings"]["methods"]
    rows = []
    for data in run["datasets"]:
        for k, budget in enumerate(data["budgets"]):
            row = [data["name"] if k == 0 else "", f"{budget:,}"]
            for method in methods:
                # Without a budget the one figure stands in the first line of its data set.
                unlimited = kind == "both" and method in ("thresher", "bargain")
                found = _find(
                    records,
                    dataset=data["name"],
                    kind=kind,
                    method=method,
                    budget=None if unlimited else budget,
                )
                skip = unlimited and k > 0
                row.append("" if skip else cell_text(found, records, delta, usual))
            rows.append(row)
    heading = HEADINGS[kind].format(target=run["settings"]["target"])
    return f"## {heading}\n\n{table(['data', 'n', *methods], rows)}"


def ahead_lines(run: Mapping[str, Any]) -> list[str]:
    """One line for each cell in which another method is ahead of thresher."""
    lines = []
    for record in run["cells"]:
        ours = reference_of(record, run["cells"])
        if record["method"] == "thresher" or ours is None or not is_ahead(record, ours):
            continue
        mine, theirs = quality_of(ours), quality_of(record)
        what = QUALITY[record["kind"]]
        budget = f", n = {record['budget']:,}" if record["budget"] else ""
        share = f"{100 * record['failure_share']:.1f} % of its trials missed the target"
        if record["deterministic"]:
            share = f"no promise, here it {'misses' if record['failures'] else 'meets'} the target"
        lines.append(
            f"- {record['dataset']}, {record['kind']}{budget}: {record['method']} {what} "
            f"{theirs:,g} against {mine:,g}; {share}"
        )
    return lines


def calls_table(run: Mapping[str, Any]) -> str:
    """Median labels bought and CPU seconds for each method, where a budget was given."""
    methods = run["settings"]["methods"]
    rows = []
    for kind in ("recall", "precision"):
        for data in run["datasets"]:
            for budget in data["budgets"]:
                row = [kind, data["name"], f"{budget:,}"]
                for method in methods:
                    found = _find(
                        run["cells"], dataset=data["name"], kind=kind, method=method, budget=budget
                    )
                    if found is None or "calls" not in found:
                        row.append("-")
                        continue
                    calls, seconds = found["calls"]["median"], found["seconds_median"]
                    row.append(f"{calls:,.0f} / {seconds:.3f} s")
                rows.append(row)
    return "## Labels bought and CPU time, medians\n\n" + table(
        ["target", "data", "n", *methods], rows
    )


def markdown(run: Mapping[str, Any]) -> str:
    """The whole report."""
    settings = run["settings"]
    data_rows = [
        [
            data["name"],
            f"{data['n_rows']:,}",
            f"{data['n_positive']:,} ({data['n_positive'] / data['n_rows']:.2%})",
            f"{data['auc']:.3f}",
            data["origin"],
        ]
        for data in run["datasets"]
    ]
    parts = [
        "# Selection at equal labels\n",
        f"Written by `benchmarks/run.py` on {run['machine']['date']}; figures and versions in "
        "`selection.json`.\n",
        f"Targets {settings['target']:.0%}, delta {settings['delta']:g}, "
        f"{settings['trials']} seeded trials a cell, seed {settings['seed']}.\n",
        *[f"- {note}" for note in run["notes"]],
        "",
        LEGEND.format(trials=settings["trials"]),
        "## Data\n",
        table(["name", "rows", "positive", "proxy AUC", "what"], data_rows),
        *[selection_table(run, kind) for kind in settings["kinds"]],
        "## Where another method is ahead\n",
        *(ahead_lines(run) or ["Nowhere in this run."]),
        "",
    ]
    if {"recall", "precision"} <= set(settings["kinds"]):
        parts.append(calls_table(run))
    return "\n".join(parts)
