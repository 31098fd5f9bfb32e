"""The picture of a measurement: failures against delta, and utility beside the peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.guarantee_figures import OURS, is_ours
from benchmarks.guarantee_report import SEER, figure, index_of, reference_of
from benchmarks.methods import KINDS

Record = Mapping[str, Any]

HALF_COLOURS = {"held-out": "#0b6e6e", "tuning": "#8ab8a8"}
PEERS = {
    "bargain": ("BARGAIN 0.1.3", "o", "#4a6fa5"),
    "supg": ("SUPG (restated)", "s", "#c98a1b"),
    "top-n": ("top-n (no promise)", "^", "#8a8a84"),
    "uniform": ("uniform sample, exact", "D", "#7b5ea7"),
    "ppi++": ("PPI++", "v", "#a0525c"),
}
SURELY = 0.01
ANOTHER = ("P", "#55606a")
RED = "#c0272d"
INK = "#22282e"
PALE = "#6b747c"
GRID = "#e6e8ea"


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Write the picture as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    style: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK}
    style |= {"axes.labelcolor": INK, "ytick.color": INK, "xtick.color": INK}
    ours = [cell for cell in result["cells"] if cell["method"] == OURS and cell["trials"]]
    deltas = sorted({cell["delta"] for cell in ours})
    kinds = compared_kinds(result["cells"])
    with mpl.rc_context(style):
        plot: Any = plt.figure(figsize=(15, 10.6))
        upper, lower = plot.subfigures(2, 1, height_ratios=(1, 1.05))
        _head(upper, "Failures: every cell of thresher, in order, with its exact 95 % interval")
        for axis, delta in zip(_axes(upper, len(deltas)), deltas, strict=True):
            _failures(axis, judged(ours, delta), delta)
        _head(lower, "Utility: thresher against each other method at the same question")
        for axis, kind in zip(_axes(lower, len(kinds)), kinds, strict=True):
            _utility(axis, result["cells"], kind)
        _legend(lower, result["cells"])
        plot.savefig(path, dpi=110, facecolor="white")
        plt.close(plot)


def compared_kinds(cells: Sequence[Record]) -> list[str]:
    """Kinds in which another method can be held against thresher."""
    return [name for name in KINDS if points(cells, name)]


def _head(part: Any, text: str) -> None:
    part.suptitle(text, x=0.012, y=0.985, ha="left", weight="bold", fontsize=12.5)


def _axes(part: Any, count: int) -> list[Any]:
    axes = part.subplots(1, max(count, 1), squeeze=False)[0]
    part.subplots_adjust(left=0.055, right=0.985, top=0.84, bottom=0.17, wspace=0.24)
    for axis in axes:
        axis.tick_params(length=0)
        axis.grid(color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        for side in ("top", "right", "bottom", "left"):
            axis.spines[side].set_visible(False)
    return list(axes)[:count]


def judged(cells: Sequence[Record], delta: float) -> list[Record]:
    """The cells at one delta, those that failed least first."""
    found = [cell for cell in cells if cell["delta"] == delta]
    return sorted(found, key=lambda cell: (cell["share"], cell["high"]))


def _failures(axis: Any, found: Sequence[Record], delta: float) -> None:
    places = np.arange(len(found))
    for half, colour in HALF_COLOURS.items():
        own = [(x, cell) for x, cell in zip(places, found, strict=True) if cell["half"] == half]
        if not own:
            continue
        x = [place for place, _ in own]
        axis.vlines(
            x,
            [100 * cell["low"] for _, cell in own],
            [100 * cell["high"] for _, cell in own],
            color=colour,
            alpha=0.35,
            linewidth=1.4,
        )
        share = [100 * cell["share"] for _, cell in own]
        axis.plot(x, share, ".", color=colour, markersize=5, label=half)
    beyond = [(x, cell) for x, cell in zip(places, found, strict=True) if cell["low"] > delta]
    axis.plot(
        [x for x, _ in beyond],
        [100 * cell["share"] for _, cell in beyond],
        "x",
        color=RED,
        label="interval above delta" if beyond else None,
    )
    axis.axhline(100 * delta, color=RED, linewidth=1.3)
    trials = sum(cell["trials"] for cell in found)
    failed = sum(cell["failures"] for cell in found)
    axis.set_title(
        f"delta = {delta:g}: {failed:,} of {trials:,} trials failed ({failed / trials:.2%})",
        loc="left",
        fontsize=10.5,
    )
    axis.annotate(
        "delta",
        (0, 100 * delta),
        xytext=(0, 3),
        textcoords="offset points",
        color=RED,
        fontsize=9.5,
    )
    # Cells with few trials have long intervals: the axis follows most of them, not all.
    usual = float(np.quantile([cell["high"] for cell in found], 0.95))
    most = max(1.6 * delta, usual, 1.2 * max(cell["share"] for cell in found))
    axis.set_ylim(0, 100 * min(1.0, most))
    axis.set_xlabel(f"{len(found)} cells, ordered by their share of failures", color=PALE)
    axis.set_ylabel("trials that failed, %")
    axis.legend(loc="upper left", frameon=True, edgecolor="none", framealpha=0.9, fontsize=9.5)


def points(cells: Sequence[Record], kind: str) -> dict[str, list[tuple[float, float, bool]]]:
    """For each other method (its figure, thresher's, whether it surely broke its promise)."""
    index = index_of(cells)
    found: dict[str, list[tuple[float, float, bool]]] = {}
    for cell in cells:
        if cell["kind"] != kind or is_ours(cell["method"]) or cell["method"] == SEER:
            continue
        ours = reference_of(cell, index)
        mine, theirs = figure(ours) if ours is not None else None, figure(cell)
        if mine is not None and theirs is not None:
            broke = cell["failures"] > 0 if cell["p"] is None else cell["p"] < SURELY
            found.setdefault(cell["method"], []).append((theirs, mine, broke))
    return found


def _utility(axis: Any, cells: Sequence[Record], kind: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    about = KINDS[kind]
    groups = points(cells, kind)
    for name, group in groups.items():
        _, marker, colour = PEERS.get(name, (name, *ANOTHER))
        for broke in (False, True):
            own = [(x, y) for x, y, failed in group if failed == broke]
            axis.plot(
                [x for x, _ in own],
                [y for _, y in own],
                marker,
                color=colour,
                mfc="none" if broke else colour,
                mec=RED if broke else "white",
                mew=1.5 if broke else 0.6,
                markersize=7.5,
                alpha=0.9,
                zorder=3,
            )
    if about.fewer_is_better:
        axis.set_xscale("log")
        axis.set_yscale("log")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(LogLocator(subs=(1, 3)))
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            side.set_minor_locator(NullLocator())
    values = [v for group in groups.values() for x, y, _ in group for v in (x, y) if v > 0]
    ends = (-0.03, 1.03)
    if about.fewer_is_better and values:
        ends = (min(values) / 1.3, max(values) * 1.3)
    axis.plot(ends, ends, color=PALE, linewidth=1, zorder=1)
    axis.set_xlim(*ends)
    axis.set_ylim(*ends)
    side = "below" if about.fewer_is_better else "above"
    axis.set_title(f"{about.heading}\n{about.figure}", loc="left", fontsize=10.5)
    axis.set_xlabel("other method, median", color=PALE)
    axis.set_ylabel(f"thresher, median ({side} the line is better)")


def _legend(part: Any, cells: Sequence[Record]) -> None:
    from matplotlib.lines import Line2D

    shown = {cell["method"] for cell in cells if not is_ours(cell["method"])}
    handles = [
        Line2D([], [], marker=marker, linestyle="none", color=colour, markersize=7, label=label)
        for name in sorted(shown - {SEER})
        for label, marker, colour in [PEERS.get(name, (name, *ANOTHER))]
    ]
    broken = Line2D([], [], marker="o", linestyle="none", mfc="none", mec=RED, mew=1.5)
    broken.set_label(f"red: failed beyond chance (p < {SURELY:g}), or its one outcome missed")
    part.legend(
        handles=[*handles, broken],
        loc="lower left",
        ncol=len(handles) + 1,
        frameon=False,
        bbox_to_anchor=(0.045, 0.0),
        fontsize=10,
    )
