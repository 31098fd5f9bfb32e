"""Small marks beside numbers: intervals with their targets, and bars of labels; inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from thresher.pages.markup import Markup, element

__all__ = ["RULES", "interval", "share", "stacked"]

RULES = """
.thresher svg.th-mark{display:block;overflow:visible;max-width:100%}
.thresher .th-axis{stroke:var(--th-line);stroke-width:1}
.thresher .th-band{fill:var(--th-band)}
.thresher .th-point{fill:var(--th-accent)}
.thresher .th-target{stroke:var(--th-fg);stroke-width:2}
.thresher .th-part-0{fill:var(--th-accent)}
.thresher .th-part-1{fill:var(--th-band)}
.thresher .th-rest{fill:var(--th-soft);stroke:var(--th-line)}
"""
_WIDTH, _HEIGHT, _EDGE = 180, 18, 5


def _svg(description: str, *parts: Markup, width: int = _WIDTH, height: int = _HEIGHT) -> Markup:
    return element(
        "svg",
        element("title", description),
        *parts,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=description,
        class_="th-mark",
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element(
        "line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind
    )


def _box(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return element(
        "rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{max(width, 0.0):.1f}",
        height=f"{height:.1f}", class_=kind,
    )  # fmt: skip


def interval(
    low: float | None,
    high: float | None,
    estimate: float | None,
    scale: tuple[float, float],
    description: str,
    target: float | None = None,
) -> Markup:
    """Return an interval on a scale, with its estimate and its target.

    Parameters
    ----------
    low, high : float or None
        Ends of the interval; None where it has none on that side.
    estimate, target : float or None
        Drawn as a dot and as a tick.
    scale : tuple of float
        First and last value of the axis.
    description : str
        What people hear who do not see it.
    """
    first, last = scale
    reach = last - first if last > first else 1.0

    def place(value: float) -> float:
        inside = min(max((value - first) / reach, 0.0), 1.0)
        return _EDGE + inside * (_WIDTH - 2 * _EDGE)

    middle = _HEIGHT / 2
    parts = [_line(_EDGE, middle, _WIDTH - _EDGE, middle, "th-axis")]
    parts += [_line(x, 5, x, _HEIGHT - 5, "th-axis") for x in (_EDGE, _WIDTH - _EDGE)]
    if low is not None or high is not None:
        start, end = place(first if low is None else low), place(last if high is None else high)
        parts.append(_box(start, middle - 4, max(end - start, 1.5), 8, "th-band"))
    if estimate is not None and math.isfinite(estimate):
        x = f"{place(estimate):.1f}"
        parts.append(element("circle", cx=x, cy=f"{middle:.1f}", r=4, class_="th-point"))
    if target is not None:
        parts.append(_line(place(target), 1, place(target), _HEIGHT - 1, "th-target"))
    return _svg(description, *parts)


def share(
    bound: float | None, estimate: float | None, target: float | None, description: str
) -> Markup:
    """Return a share with its certified lower bound, between 0 and 1."""
    high = None if bound is None else 1.0
    return interval(bound, high, estimate, (0.0, 1.0), description, target)


def stacked(parts: Sequence[float], total: float, description: str) -> Markup:
    """Return a bar of parts of a total, one after the other."""
    width = 2 * _WIDTH
    drawn = [_box(0.5, 4, width - 1, 10, "th-rest")]
    start = 0.5
    for number, part in enumerate(parts):
        size = min(max(part, 0.0) / total if total > 0 else 0.0, 1.0) * (width - 1)
        size = min(size if part <= 0 else max(size, 1.5), width - 0.5 - start)
        drawn.append(_box(start, 4, size, 10, f"th-part-{number}"))
        start += size
    return _svg(description, *drawn, width=width)
