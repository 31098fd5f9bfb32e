"""The pictures of a certificate: what its scores were worth, what it took."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thresher.certificate_texts import interval_name, probability
from thresher.pages.axes import Colours, dress, put_legend, whole_numbers, write_targets
from thresher.pages.markup import plain
from thresher.pages.panels import Spent, course, label_curve, observed
from thresher.reports import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thresher.certificate import Certificate
    from thresher.traces import ScoreTrace

__all__ = ["Panel", "panels"]

_MOST = 16  # estimates that are drawn
_CROWDED = 0.04  # of the width of the axes: names of stages need as much
_NAME = 30  # characters of a name that are drawn
_WORDS = {
    "positive": ("positive", "negative"),
    "agrees": ("right", "wrong"),
    "counts": ("counts", "does not"),
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture, or why there is none.

    Parameters
    ----------
    title : str
        What it shows.
    text : str
        What there is to see, for people who do not see it; or why there is no picture.
    draw : callable or None
        Draws it on axes in some colours; None where there is no picture.
    """

    title: str
    text: str
    draw: Callable[[Axes, Colours], None] | None = None


def panels(certificate: Certificate) -> list[Panel]:
    """Return the pictures that make sense for a certificate, and why others do not.

    Parameters
    ----------
    certificate : Certificate
        With its trace, where it is at hand.
    """
    found = [_estimates(certificate)] if certificate.targets.estimated else []
    if certificate.algorithm != "plain":
        found += [_scores(certificate), _calibration(certificate), _labels(certificate)]
    return [*found, _spending(certificate)]


def _scores(certificate: Certificate) -> Panel:
    title = "Scores of all rows, and which of them have a label"
    trace = _scored(certificate)
    if isinstance(trace, str):
        return Panel(title, trace)
    n_labelled = sum(trace.positive) + sum(trace.negative)
    yes, no = _WORDS[trace.of]
    text = (
        f"Histogram of the scores of {counted(certificate.n_rows, 'row')} from {trace.low:.3g} to "
        f"{trace.high:.3g}; {n_labelled:,} of them have a label, {sum(trace.positive):,} {yes}."
    )
    if certificate.cut is not None:
        text += f" Rows above the cut at {certificate.cut:.4g} come back without a label."
    times = certificate.n_rows / max(1, trace.n_counted)
    edges = np.linspace(trace.low, trace.high, len(trace.counts) + 1)
    known = np.array(trace.positive) + np.array(trace.negative)

    def draw(axes: Axes, colours: Colours) -> None:
        every = np.maximum(np.array(trace.counts) * times, known)
        layers = (
            (every, "soft-band", "all rows"),
            (known, "band", f"labelled: {no}"),
            (np.array(trace.positive), "accent", f"labelled: {yes}"),
        )
        for heights, colour, label in layers:
            axes.stairs(heights, edges, fill=True, color=colours[colour], label=label)
        if certificate.cut is not None:
            cut = min(max(certificate.cut, trace.low), trace.high)
            axes.axvline(cut, color=colours["fg"], linewidth=1.5, linestyle="--", label="cut")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, None)
        whole_numbers(axes)
        axes.set_xlabel("how sure the proxy is" if trace.of == "agrees" else "proxy score")
        axes.set_ylabel("rows")
        put_legend(axes, colours)

    return Panel(title, text, draw)


def _scored(certificate: Certificate) -> ScoreTrace | str:
    """Return the scores of a certificate, or why there are none."""
    if certificate.trace is None:
        return "Nothing is at hand of its scores: an earlier version made it, or it is a copy."
    if certificate.trace.scores is None:
        return "No row was chosen by a score."
    return certificate.trace.scores


def _calibration(certificate: Certificate) -> Panel:
    title = "What the scores were worth"
    trace = _scored(certificate)
    if isinstance(trace, str):
        return Panel(title, trace)
    shares = observed(trace.bins)
    if len(shares) < 2:
        return Panel(title, "Too few rows were labelled to say.")
    yes, _ = _WORDS[trace.of]
    first, last = shares[0], shares[-1]
    n_rows = sum(one.n_rows for one in shares)
    text = (
        f"Share of rows that are {yes} by score, among {n_rows:,} rows that this query labelled "
        f"and no proxy was fitted on: {first.share:.0%} near {first.score:.3g}, {last.share:.0%} "
        f"near {last.score:.3g}. Each bar is a 95 % interval of Clopper and Pearson for itself."
    )

    def draw(axes: Axes, colours: Colours) -> None:
        x, y = [one.score for one in shares], [one.share for one in shares]
        below = [one.share - one.low for one in shares]
        above = [one.high - one.share for one in shares]
        if trace.of != "agrees" and trace.low >= 0 and trace.high <= 1:
            axes.plot([0, 1], [0, 1], color=colours["muted"], linewidth=1, linestyle=":",
                      label="if scores were probabilities")  # fmt: skip
        axes.errorbar(
            x, y, yerr=[below, above], fmt="o", markersize=4, capsize=2, color=colours["accent"],
            ecolor=colours["muted"], label="labelled rows",
        )  # fmt: skip
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("how sure the proxy is" if trace.of == "agrees" else "proxy score")
        axes.set_ylabel(f"share that is {yes}" if trace.of != "counts" else "share that counts")
        put_legend(axes, colours)

    return Panel(title, text, draw)


def _labels(certificate: Certificate) -> Panel:
    title = "Labels that other targets would take: a forecast"
    curve = label_curve(certificate)
    if isinstance(curve, str):
        return Panel(title, f"There is no forecast: {curve}.")
    at = dict(zip(curve.targets, curve.labels, strict=True))
    points = ", ".join(f"{target:.4g}: {n:,}" for target, n in at.items())
    used = certificate.n_labels + certificate.n_reused
    had = f", of which it had {certificate.n_reused:,} before" if certificate.n_reused else ""
    text = (
        f"Labels forecast {curve.goal}, by {curve.what}: {points}. This query used {used:,}{had}. "
        "A forecast after the fact, with no guarantee."
    )

    def draw(axes: Axes, colours: Colours) -> None:
        low, high = zip(*curve.ranges, strict=True)
        axes.fill_between(curve.targets, low, high, color=colours["soft-band"], linewidth=0)
        axes.plot(curve.targets, curve.labels, color=colours["accent"], marker="o", markersize=3,
                  linestyle="--", label="forecast")  # fmt: skip
        axes.plot([curve.own], [used], marker="D", linestyle="none", color=colours["fg"],
                  label=f"this query{had}")  # fmt: skip
        axes.set_yscale("log")
        whole_numbers(axes)
        write_targets(axes, curve)
        axes.set_xlabel(f"{curve.what}, {curve.goal}")
        axes.set_ylabel("labels (forecast)")
        put_legend(axes, colours)

    return Panel(title, text, draw)


def _spending(certificate: Certificate) -> Panel:
    title = "Labels and money over time"
    points = () if certificate.trace is None else certificate.trace.spending
    if len(points) < 2:
        return Panel(
            title, "Nothing is at hand of its course: an earlier version made it, or it is a copy."
        )
    last = points[-1]
    stages = course(certificate)
    bought = (
        f"{one.stage} from {one.began_s:,.2f} s: {counted(one.n_labels, 'label')}"
        + (f", ${one.cost_usd:,.4f}" if one.cost_usd else "")
        for one in stages
    )
    text = (
        f"{counted(last.n_labels, 'label')} and ${last.cost_usd:,.4f} in {last.elapsed_s:,.2f} "
        f"seconds. {'; '.join(bought)}."
    )

    def draw(axes: Axes, colours: Colours) -> None:
        seconds = [point.elapsed_s for point in points]
        axes.plot(seconds, [point.n_labels for point in points], color=colours["accent"],
                  drawstyle="steps-post", label="labels")  # fmt: skip
        _stages(axes, colours, stages, last.elapsed_s)
        axes.set_xlabel("seconds")
        axes.set_ylabel("labels bought")
        axes.set_ylim(0, max(1, last.n_labels) * 1.25)
        if last.cost_usd:
            money = axes.twinx()
            money.plot(seconds, [point.cost_usd for point in points], color=colours["warn"],
                       drawstyle="steps-post", linestyle="--", label="dollars")  # fmt: skip
            money.set_ylabel("dollars (dashed)", color=colours["warn"])
            money.set_ylim(0, last.cost_usd * 1.25)
            dress(money, colours)

    return Panel(title, text, draw)


def _stages(axes: Axes, colours: Colours, stages: Sequence[Spent], whole_s: float) -> None:
    """Name the stages where they began; of those that crowd only the first."""
    shown = -math.inf
    for one in stages:
        axes.axvline(one.began_s, color=colours["line"], linewidth=0.8)
        if one.began_s - shown < _CROWDED * whole_s:
            continue
        shown = one.began_s
        axes.annotate(
            plain(one.stage)[:_NAME], (one.began_s, 1), xycoords=("data", "axes fraction"),
            xytext=(2, -2), textcoords="offset points", rotation=90, va="top", fontsize=7,
            color=colours["muted"], parse_math=False,
        )  # fmt: skip


def _estimates(certificate: Certificate) -> Panel:
    title = "Estimates with their limits"
    shown = [one for one in certificate.intervals if one.estimate is not None][:_MOST]
    if not shown:
        return Panel(title, "There is no estimate with a value.")
    about = "about " if certificate.grade == "asymptotic" else ""
    names = [interval_name(one) for one in shown]
    held = f"{about}{probability(certificate.delta)}"
    text = f"All limits hold together with probability {held}: " + (
        "; ".join(
            f"{name} {one.estimate:.6g}, {_end(one.low)} to {_end(one.high)}"
            for name, one in zip(names, shown, strict=True)
        )
    )

    def draw(axes: Axes, colours: Colours) -> None:
        for place, one in enumerate(shown):
            value = one.estimate or 0.0
            low = value if one.low is None else one.low
            high = value if one.high is None else one.high
            axes.plot([low, high], [place, place], color=colours["band"], linewidth=6,
                      solid_capstyle="butt")  # fmt: skip
            axes.plot([value], [place], marker="o", color=colours["accent"], linestyle="none")
        axes.set_yticks(
            range(len(shown)), [plain(name)[:_NAME] for name in names], parse_math=False
        )
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("value")

    return Panel(title, text, draw)


def _end(value: float | None) -> str:
    return "no limit" if value is None else f"{value:.6g}"
