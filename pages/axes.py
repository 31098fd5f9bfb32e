"""How axes look: colours of the page, a legend above, numbers written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from thresher.pages.panels import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Colours", "dress", "put_legend", "whole_numbers", "write_targets"]

Colours = Mapping[str, str]


def put_legend(axes: Axes, colours: Colours) -> None:
    """Put the legend above the axes, where nothing is drawn."""
    legend = axes.legend(
        fontsize=7.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4,
        borderaxespad=0.2, columnspacing=1.2, handlelength=1.5,
    )  # fmt: skip
    for label in legend.get_texts():
        label.set_color(colours["fg"])


def dress(axes: Axes, colours: Colours) -> None:
    """Give axes their colours."""
    axes.set_facecolor("none")
    axes.tick_params(colors=colours["muted"], labelsize=8, which="both")
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(colours["fg"])
        label.set_fontsize(8.5)
    for side, spine in axes.spines.items():
        spine.set_color(colours["line"])
        spine.set_visible(side in ("left", "bottom"))


def whole_numbers(axes: Axes) -> None:
    """Write the numbers of a logarithmic axis out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def write_targets(axes: Axes, curve: Curve) -> None:
    """Write shares as percentages, and widths on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    if curve.falling:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        written = [f"{t:,.0f}" if t >= 100 else f"{t:.3g}" for t in curve.targets]
        axes.set_xticks(list(curve.targets), written)
        return
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
