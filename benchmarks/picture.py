"""The picture of a run: three panels of bars, one group for each data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]

COLOURS = {"thresher": "#0b6e6e", "bargain": "#8fa3b8", "supg": "#d9b26f", "top-n": "#cfcfc9"}
RED = "#c0272d"
INK = "#22282e"
PALE = "#6b747c"
BAR = 0.19
PANELS = (
    ("recall", "precision", "Recall target {target:.0%}", "median precision of the answer"),
    ("precision", "recall", "Precision target {target:.0%}", "median recall of the answer"),
    ("both", "calls", "Both targets {target:.0%}", "median share of the rows sent to the oracle"),
)


def bar_value(record: Record) -> float | None:
    """Length of a bar, in [0, 1]; None where no trial ended."""
    figure = {kind: name for kind, name, _, _ in PANELS}[record["kind"]]
    if figure not in record:
        return None
    median = record[figure]["median"]
    return float(median / record["n_rows"] if figure == "calls" else median)


def pick(
    records: Sequence[Record], data: Mapping[str, Any], kind: str, method: str, which: int
) -> Record | None:
    """The cell at the data set's budget number `which` (or the one without a budget)."""
    for record in records:
        names = (record["dataset"], record["kind"], record["method"])
        if names == (data["name"], kind, method) and record["budget"] in (
            None,
            data["budgets"][which],
        ):
            return record
    return None


def failure_text(record: Record, delta: float) -> str:
    """What is written in red behind a bar; empty where at most delta of the trials failed."""
    if "failure_share" not in record or record["failure_share"] <= delta:
        return ""
    if record["deterministic"]:
        return "misses target"
    return f"fails {record['failure_share']:.0%}"


def surely_failed(record: Record, delta: float) -> bool:
    """Whether the failures are more than chance explains: the whole interval lies above delta."""
    if record["deterministic"]:
        return bool(record["failures"])
    return bool(record["failure_low"] > delta)


def draw(run: Mapping[str, Any], path: Path) -> None:
    """Write the picture as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    style: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK}
    style |= {"axes.labelcolor": INK, "ytick.color": INK, "xtick.color": PALE}
    height = 1.9 + 0.92 * len(run["datasets"])
    with mpl.rc_context(style):
        figure, axes = plt.subplots(1, 3, figsize=(14, height), sharey=True)
        for axis, (kind, _, title, label) in zip(axes, PANELS, strict=True):
            _panel(axis, run, kind)
            axis.set_title(
                title.format(target=run["settings"]["target"]), loc="left", weight="bold", pad=22
            )
            axis.text(0, 1.012, label, transform=axis.transAxes, color=PALE, fontsize=9.5)
        axes[0].set_yticks(range(len(run["datasets"])))
        axes[0].set_yticklabels([_name(data) for data in run["datasets"]], fontsize=10)
        axes[0].invert_yaxis()
        _legend(figure, run)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.62 / height), w_pad=2.5)
        figure.savefig(path, dpi=110, facecolor="white")
        plt.close(figure)


def _name(data: Mapping[str, Any]) -> str:
    share = data["n_positive"] / data["n_rows"]
    return f"{data['name']}\n{data['n_rows']:,} rows\n{share:.1%} positive"


def _panel(axis: Any, run: Mapping[str, Any], kind: str) -> None:
    methods, delta = run["settings"]["methods"], run["settings"]["delta"]
    for place, data in enumerate(run["datasets"]):
        for k, method in enumerate(methods):
            top = place + (k - (len(methods) - 1) / 2) * BAR
            record = pick(run["cells"], data, kind, method, -1)
            if record is None:
                continue
            small = pick(run["cells"], data, kind, method, 0)
            if small is not None and small["budget"] is None:
                small = None
            _bar(axis, record, small, method, top, delta)
    axis.set_xlim(0, 1.2)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    if kind == "both":
        axis.set_xticklabels(["0 %", "25 %", "50 %", "75 %", "100 %"])
    axis.grid(axis="x", color="#e6e8ea", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(length=0)
    for side in ("top", "right", "bottom", "left"):
        axis.spines[side].set_visible(False)


def _bar(
    axis: Any, record: Record, small: Record | None, method: str, top: float, delta: float
) -> None:
    value = bar_value(record)
    if value is None:
        axis.text(0.01, top, "not finished", va="center", fontsize=8, color=PALE)
        return
    bad = failure_text(record, delta)
    surely = bool(bad) and surely_failed(record, delta)
    axis.barh(
        top,
        value,
        height=BAR * 0.9,
        color=COLOURS[method],
        edgecolor=RED if surely else "none",
        hatch="////" if surely else None,
        linewidth=1.1 if surely else 0,
        zorder=2,
    )
    end = _diamond(axis, small, value, top, delta)
    shown = f"{record['calls']['median']:,.0f}" if record["kind"] == "both" else f"{value:.2f}"
    weight = "bold" if method == "thresher" else "normal"
    text = axis.annotate(
        shown,
        (end, top),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        weight=weight,
        zorder=5,
    )
    if bad:
        axis.annotate(
            bad,
            (1, 0.5),
            xycoords=text,
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=RED,
            weight="bold",
        )


def _diamond(axis: Any, small: Record | None, value: float, top: float, delta: float) -> float:
    """Mark the figure at the smaller budget; return where the text may begin."""
    place = bar_value(small) if small is not None else None
    if small is None or place is None:
        return value
    colour = RED if failure_text(small, delta) else INK
    axis.plot(
        [place], [top], marker="D", markersize=4.6, color=colour, mec="white", mew=0.7, zorder=4
    )
    return max(value, place) if value - 0.02 < place < value + 0.16 else value


def _legend(figure: Any, run: Mapping[str, Any]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = {"supg": "SUPG (restated)", "bargain": "BARGAIN 0.1.3", "top-n": "top-n (no promise)"}
    handles: list[Any] = [
        Patch(color=COLOURS[method], label=names.get(method, method))
        for method in run["settings"]["methods"]
    ]
    handles.append(
        Patch(
            facecolor="white",
            edgecolor=RED,
            hatch="////",
            label=f"over {run['settings']['delta']:.0%} of trials missed (hatched: beyond chance)",
        )
    )
    shares = run["settings"]["shares"]
    handles.append(
        Line2D(
            [],
            [],
            marker="D",
            linestyle="none",
            color=INK,
            markersize=4,
            label=f"bar: {shares[-1]:.0%} of the rows labelled; diamond: {shares[0]:.0%}",
        )
    )
    figure.legend(
        handles=handles,
        loc="upper left",
        ncol=len(handles),
        frameon=False,
        fontsize=9.5,
        bbox_to_anchor=(0.005, 1.0),
        handlelength=1.4,
        columnspacing=1.6,
    )
