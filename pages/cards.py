"""A certificate as a card: what is promised, what rests on what, what it took."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from thresher import certificate_texts
from thresher.pages import marks
from thresher.pages.markup import Markup, element, joined
from thresher.pages.style import sheet
from thresher.reports import Interval, counted

if TYPE_CHECKING:
    from thresher.certificate import Certificate

__all__ = ["RULES", "card", "html"]

RULES = (
    marks.RULES
    + """
.thresher .th-card{border:1px solid var(--th-line);border-left:4px solid var(--th-accent);\
border-radius:6px;padding:10px 14px;margin:8px 0;background:var(--th-bg);max-width:60em}
.thresher .th-card.th-missed{border-left-color:var(--th-bad)}
.thresher .th-card.th-assumed{border-left-color:var(--th-warn)}
.thresher .th-promise{font-size:15px;font-weight:600;margin:0 0 6px}
.thresher .th-chips{margin:0 0 6px;padding:0}
.thresher .th-chip{display:inline-block;border:1px solid currentColor;border-radius:10px;\
padding:0 8px;margin:0 2px 2px 0;font-size:12px}
.thresher .th-good{color:var(--th-good)}
.thresher .th-bad{color:var(--th-bad)}
.thresher .th-warn{color:var(--th-warn)}
.thresher .th-notice{margin:6px 0;padding:6px 10px;border-radius:4px;background:var(--th-warn-bg);\
color:var(--th-warn)}
.thresher .th-notice.th-alarm{background:var(--th-bad-bg);color:var(--th-bad)}
.thresher .th-notice strong{color:inherit}
.thresher .th-measures{margin:6px 0}
.thresher .th-measures th,.thresher .th-measures td{padding:2px 12px 2px 0;border-bottom:0;\
vertical-align:middle;white-space:nowrap}
.thresher .th-measures thead th{background:var(--th-bg);border-bottom:1px solid var(--th-line);\
color:var(--th-muted);font-weight:400;font-size:12px}
.thresher .th-line{margin:4px 0;font-size:13px}
.thresher .th-facts{font-size:12.5px;margin-top:6px}
.thresher .th-facts td,.thresher .th-facts th{padding:2px 12px 2px 0;border-bottom:0}
.thresher .th-facts td{max-width:60em}
.thresher .th-facts th{font-weight:400;color:var(--th-muted);white-space:nowrap}
"""
)
_MOST = 20  # estimates that a card shows


def html(certificate: Certificate) -> str:
    """Return a certificate as HTML that stands alone in a notebook.

    Parameters
    ----------
    certificate : Certificate

    Returns
    -------
    str
        Style and card, without scripts and without anything that would be loaded.
    """
    return element("div", sheet(RULES), card(certificate), class_="thresher")


def card(certificate: Certificate) -> Markup:
    """Return the card alone; `RULES` style it."""
    kind = "th-card"
    if not certificate.met:
        kind += " th-missed"
    elif certificate.assumption is not None:
        kind += " th-assumed"
    return element(
        "section",
        element("p", certificate.statement, class_="th-promise"),
        _chips(certificate),
        *_notices(certificate),
        _measures(certificate),
        _labels(certificate),
        element("p", _spent(certificate), class_="th-line th-muted"),
        _facts(certificate),
        class_=kind,
        aria_label=f"Certificate {certificate.id}",
    )


def _chips(certificate: Certificate) -> Markup:
    """Say in a few words what kind of promise it is."""
    chips = []
    if not certificate.met:
        met, kind = "not certified", "th-bad"
        if certificate.targets.kind == "rows":
            met = "not complete"
    elif certificate.grade == "exact":
        met, kind = "exact", "th-good"
    else:
        about = "about " if certificate.grade == "asymptotic" else ""
        held = certificate_texts.probability(certificate.delta)
        met, kind = f"certified, probability {about}{held}", "th-good"
    chips.append(element("span", met, class_=f"th-chip {kind}"))
    if certificate.grade != "exact":
        colour = "th-muted" if certificate.assumption is None else "th-warn"
        chips.append(element("span", certificate.grade, class_=f"th-chip {colour}"))
    chips.append(element("span", f"asked for {certificate.targets}", class_="th-chip th-muted"))
    spaced = [part for chip in chips for part in (chip, " ")]  # where styles are taken out
    return element("p", *spaced, class_="th-chips")


def _notices(certificate: Certificate) -> list[Markup]:
    """Put in front of people what they must know besides."""
    found = []
    if certificate.note:
        kind = "th-notice" if certificate.met else "th-notice th-alarm"
        found.append(element("p", element("strong", "Note: "), certificate.note, class_=kind))
    if certificate.assumption is not None:
        text = f"the promise supposes that {certificate.assumption}."
        if certificate.bounds.free_recall is not None:
            free = certificate_texts.floored(certificate.bounds.free_recall)
            text += f" Without that, recall is at least {free}."
        found.append(element("p", element("strong", "Assumption: "), text, class_="th-notice"))
    drifted = [str(one) for one in certificate.trained if one.drifted]
    found += [element("p", element("strong", "Proxy: "), t, class_="th-notice") for t in drifted]
    return found


def _measures(certificate: Certificate) -> Markup:
    """Return what holds of the answer as a table, with a mark for each row; empty without."""
    if certificate.targets.estimated:
        return _estimates(certificate.intervals)
    bounds, targets = certificate.bounds, certificate.targets
    rows = [
        ("recall", bounds.recall, bounds.recall_estimate, targets.recall),
        ("precision", bounds.precision, bounds.precision_estimate, targets.precision),
        ("accuracy", bounds.accuracy, bounds.accuracy_estimate, targets.accuracy),
    ]
    shown = [_measure(*row) for row in rows if any(value is not None for value in row[1:])]
    if not shown:
        return Markup("")
    head = _head("of the rows", "certified", "estimate", "target", "0 % to 100 %")
    return _table(head, shown)


def _measure(
    name: str, bound: float | None, estimate: float | None, target: float | None
) -> Markup:
    certified = "not certified" if bound is None else f"≥ {certificate_texts.floored(bound)}"
    guessed = "" if estimate is None else f"{estimate:.1%}"  # what no label allows is left out
    asked = "none" if target is None else f"{100 * target:.4g}%"
    parts = [certified if bound is None else f"certified {certified}", f"target {asked}"]
    if guessed:
        parts.insert(1, f"estimate {guessed}")
    said = f"{name}: {', '.join(parts)}"
    return element(
        "tr",
        element("th", name, scope="row"),
        element("td", certified, class_="th-number"),
        element("td", guessed, class_="th-number"),
        element("td", asked, class_="th-number"),
        element("td", marks.share(bound, estimate, target, said)),
    )


def _estimates(intervals: Sequence[Interval]) -> Markup:
    """Return the estimates of aggregates; those of one name share a scale."""
    if not intervals:
        return Markup("")
    shown = intervals[:_MOST]
    scales = {
        name: _scale(list(each))
        for name, each in itertools.groupby(sorted(shown, key=_name), _name)
    }
    rows = [_estimate(one, scales[one.name]) for one in shown]
    table = _table(_head("estimate", "value", "lowest", "highest", "limits"), rows)
    if len(intervals) <= _MOST:
        return table
    more = element("p", f"{len(intervals) - _MOST:,} more estimates", class_="th-more")
    return joined((table, more))


def _name(interval: Interval) -> str:
    return interval.name


def _scale(intervals: Sequence[Interval]) -> tuple[float, float]:
    ends = [v for one in intervals for v in (one.low, one.estimate, one.high) if v is not None]
    return min([0.0, *ends]), max([0.0, *ends])


def _estimate(one: Interval, scale: tuple[float, float]) -> Markup:
    name, value, low, high = certificate_texts.interval_name(one), "no value", "", ""
    if one.estimate is not None:
        value = f"{one.estimate:,.6g}"
        low = "no limit" if one.low is None else f"{one.low:,.6g}"
        high = "no limit" if one.high is None else f"{one.high:,.6g}"
    if one.beyond is not None:
        name += f" (at most {one.beyond:.2%} of the rows beyond)"
    said = f"{name}: {value}, from {low or 'nothing'} to {high or 'nothing'}"
    mark = marks.interval(one.low, one.high, one.estimate, scale, said)
    return element(
        "tr",
        element("th", name, scope="row"),
        *(element("td", text, class_="th-number") for text in (value, low, high)),
        element("td", mark),
    )


def _head(*names: str) -> Markup:
    cells = [
        element("th", name, scope="col", class_="th-number" if 0 < i < len(names) - 1 else None)
        for i, name in enumerate(names)
    ]
    return element("thead", element("tr", *cells))


def _table(head: Markup, rows: Sequence[Markup]) -> Markup:
    table = element("table", head, element("tbody", *rows), class_="th-measures")
    return element("div", table, class_="th-scroll")


def _labels(certificate: Certificate) -> Markup:
    """Say how many of the rows have a label."""
    n_rows = certificate.n_rows
    text = f"{counted(certificate.n_labels, 'label')} bought"
    if n_rows and certificate.n_labels <= n_rows:
        text += f" for {counted(n_rows, 'row')} ({certificate.n_labels / n_rows:.1%})"
    if certificate.n_reused:
        text += f", {certificate.n_reused:,} reused"
    bar = marks.stacked((certificate.n_labels, certificate.n_reused), n_rows, text)
    return element("div", bar, element("p", text, class_="th-line"))


def _spent(certificate: Certificate) -> str:
    """Say what it cost, and how to name it."""
    parts = [f"${certificate.cost_usd:,.4f}"]
    if certificate.n_tokens:
        parts.append(counted(certificate.n_tokens, "token"))
    if certificate.proxy_cost is not None and certificate.proxy_cost.cost_usd:
        parts.append(f"${certificate.proxy_cost.cost_usd:,.4f} for proxy scores")
    parts += [f"{certificate.elapsed_s:,.1f} s", f"seed {certificate.seed}"]
    return " · ".join([*parts, f"certificate {certificate.id}"])


def _facts(certificate: Certificate) -> Markup:
    rows = [
        element("tr", element("th", name.strip(), scope="row"), element("td", text))
        for name, text in certificate_texts.facts(certificate)
    ]
    table = element("table", element("tbody", *rows), class_="th-facts")
    return element("details", element("summary", "Everything that was done"), table)
