"""A certificate as a report: one file with everything that there is to say of an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from thresher.pages import cards
from thresher.pages.figures import svg
from thresher.pages.markup import Markup, element, joined
from thresher.pages.plots import Panel, panels
from thresher.pages.style import sheet
from thresher.reports import counted

if TYPE_CHECKING:
    from thresher.certificate import Certificate

__all__ = ["html"]

_RULES = """
body.th-page{margin:0;padding:0}
.thresher.th-report{padding:24px;min-height:100vh}
.thresher.th-report>*{max-width:62em;margin-left:auto;margin-right:auto}
.thresher h1{font-size:24px;line-height:1.25;margin:0 0 4px;font-weight:650}
.thresher h2{font-size:18px;margin:28px 0 6px;padding-top:10px;font-weight:650;\
border-top:1px solid var(--th-line)}
.thresher h3{font-size:14px;margin:14px 0 4px}
.thresher p{max-width:50em}
.thresher .th-plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(22em,1fr));gap:16px}
.thresher .th-plots>div{break-inside:avoid}
.thresher figure{margin:0}
.thresher svg.th-plot{width:100%;height:auto;display:block}
.thresher svg.th-plot text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,\
"DejaVu Sans",sans-serif}
.thresher dl{display:grid;grid-template-columns:max-content 1fr;gap:0 12px;margin:0}
.thresher dt{color:var(--th-muted)}
.thresher dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
@media print{.thresher.th-report{padding:0}.thresher table,.thresher .th-card{break-inside:avoid}\
.thresher details>summary{list-style:none}}
"""
_NUMBER = re.compile(r"[-+]?[\d,]+(?:\.\d+)?(?:e[-+]?\d+)?|unknown|no (?:limit|value)")
_MOST = 200  # rows of a table
_LONG = 160  # characters of an integer list in a table


def html(certificate: Certificate, log: pa.Table | None = None) -> str:
    """Return a report as a page that needs nothing else: no file, no network, no script.

    Parameters
    ----------
    certificate : Certificate
    log : pyarrow.Table, optional
        Its label log; None: the one that it carries. With a log, every bound is derived again.

    Returns
    -------
    str
        HTML in UTF-8, for screens that are light or dark and for paper.
    """
    log = certificate.log if log is None else log
    title = f"Certificate {certificate.id}"
    parts = [
        _head(certificate, title),
        element("div", cards.card(certificate)),
        *_plots(certificate),
        *_asked(certificate),
        *_done(certificate),
        *_verified(certificate, log),
        *_again(certificate),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title}: {certificate.targets}"),
        sheet(cards.RULES, _RULES),
    )
    main = element("main", *parts, class_="thresher th-report")
    body = element("body", main, class_="th-page")
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _section(title: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content)


def _head(certificate: Certificate, title: str) -> Markup:
    versions = ", ".join(f"{name} {version}" for name, version in certificate.versions.items())
    said = f"{title} · {certificate.grade} · {versions}"
    heading = f"{certificate.targets}: {'met' if certificate.met else 'not met'}"
    if certificate.targets.estimated and certificate.targets.error is None:
        heading = f"{counted(len(certificate.intervals), 'estimate')} with limits"
    elif certificate.targets.kind == "exact":
        heading = "exact answer" if certificate.grade == "exact" else "answer without a target"
    return element(
        "header",
        element("h1", heading[:1].upper() + heading[1:]),
        element("p", said, class_="th-muted"),
    )


def _plots(certificate: Certificate) -> list[Markup]:
    """Draw what can be drawn; say why the rest is not."""
    found = panels(certificate)
    try:
        drawn = [_plot(panel, f"p{i}") for i, panel in enumerate(found) if panel.draw is not None]
    except ImportError as error:
        return [_section("Pictures", element("p", str(error)))]
    missing = [
        element("li", f"{panel.title}: {panel.text}") for panel in found if panel.draw is None
    ]
    left_out = [element("ul", *missing, class_="th-muted")] if missing else []
    return [_section("Pictures", element("div", *drawn, class_="th-plots"), *left_out)]


def _plot(panel: Panel, name: str) -> Markup:
    words = element("details", element("summary", "In words"), element("p", panel.text))
    return element("div", element("h3", panel.title), svg(panel, name), words)


def _asked(certificate: Certificate) -> list[Markup]:
    read = [element("li", text) for text in certificate.understood]
    parts = [element("pre", certificate.sql)]
    if certificate.canonical != certificate.sql:
        parts += [element("h3", "As it was understood"), element("pre", certificate.canonical)]
    if read:
        parts.append(element("ul", *read))
    return [_section("The statement", *parts)]


def _done(certificate: Certificate) -> list[Markup]:
    """Return the tables of what was done."""
    stages = [(one.stage, f"{one.n_rows:,}", f"{one.n_positive:,}") for one in certificate.stages]
    proxies = [
        (one.name, "used" if one.used else "not used", _number(one.auc), _number(one.log_loss))
        for one in certificate.proxies
    ]
    trained = [(one.name, str(one)) for one in certificate.trained]
    outputs = [(one.call, f"{one.n_rows:,}", f"{one.n_labels:,}") for one in certificate.outputs]
    tests = [(str(test.get("kind", "")), _test(test)) for test in certificate.tests]
    intervals = [tuple(_interval(asdict(one))) for one in certificate.intervals]
    tables = [
        _table("Estimates", ("estimate", "group", "value", "lowest", "highest"), intervals),
        _table("Labels, stage by stage", ("stage", "rows", "positive"), stages),
        _table("Proxies considered", ("proxy", "", "AUC", "log loss"), proxies),
        _table("Proxies trained before", ("proxy", "how it did"), trained),
        _table("Answers that rows show", ("call", "rows", "labels bought"), outputs),
        _table("Tests on which the promise rests", ("test", "its numbers"), tests),
        _table("Oracles", ("oracle", "version"), list(certificate.oracles.items())),
        _table("Versions", ("of", "version"), list(certificate.versions.items())),
    ]
    return [_section("What was done", *(table for table in tables if table))]


def _interval(one: Mapping[str, Any]) -> list[str]:
    ends = (_number(one["low"], "no limit"), _number(one["high"], "no limit"))
    return [one["name"], ", ".join(one["group"]), _number(one["estimate"], "no value"), *ends]


def _test(test: Mapping[str, Any]) -> Markup:
    """Write the integers and levels of one test; long lists are cut."""
    found = []
    for name, value in test.items():
        if name == "kind" or value is None:
            continue
        text = json.dumps(value, default=str, ensure_ascii=False)
        if len(text) > _LONG:
            text = f"{text[:_LONG]} … of {counted(len(value), 'item')}"
        found += [element("dt", name), element("dd", text)]
    return element("dl", *found)


def _number(value: float | None, none: str = "unknown") -> str:
    return none if value is None else f"{value:,.6g}"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a table; the first cell of each row is its heading. Empty without rows."""
    if not rows:
        return Markup("")
    right = [
        "th-number" if all(_NUMBER.fullmatch(row[i]) for row in rows) else None
        for i in range(len(heads))
    ]
    head = element(
        "tr",
        *(
            element("th", name or "use", scope="col", class_=kind)
            for name, kind in zip(heads, right, strict=True)
        ),
    )
    body = [
        element(
            "tr",
            element("th", row[0], scope="row", class_=right[0]),
            *(element("td", c, class_=k) for c, k in zip(row[1:], right[1:], strict=True)),
        )
        for row in rows[:_MOST]
    ]
    more = len(rows) - _MOST
    table = element("table", element("thead", head), element("tbody", *body))
    left = [element("p", f"{more:,} more", class_="th-more")] if more > 0 else []
    scrolled = element(
        "div", table, class_="th-scroll", tabindex=0, role="region", aria_label=title
    )
    return joined((element("h3", title), scrolled, *left))


def _verified(certificate: Certificate, log: pa.Table | None) -> list[Markup]:
    """Derive every bound again from the log."""
    if log is None:
        text = "The label log was not at hand, so nothing was derived again for this report."
        return [_section("Verification", element("p", text))]
    found = certificate.verify(log)
    said = "holds" if found.ok else f"does not hold: {counted(len(found.failed), 'check')} failed"
    kind = "th-good" if found.ok else "th-bad"
    rows = [
        (check.name, "holds" if check.ok else "FAILS", str(check.claimed), str(check.recomputed),
         check.explanation)
        for check in (*found.failed, *(one for one in found.checks if one.ok))
    ]  # fmt: skip
    heads = ("check", "result", "claimed", "derived again", "how")
    text = (
        f"Every bound was derived again from the {counted(log.num_rows, 'line')} of the label log, "
        "by code that shares nothing with what made the certificate."
    )
    table = _table(counted(len(rows), "check"), heads, rows)
    return [
        _section(
            "Verification",
            element("p", element("strong", f"The certificate {said}. ", class_=kind), text),
            element("details", element("summary", "The checks"), table),
        )
    ]


def _again(certificate: Certificate) -> list[Markup]:
    """Say how others can check it, and do it again."""
    text = (
        "import thresher\n\n"
        'con = thresher.connect("my.duckdb")  # with the label store of the answer\n'
        f'print(con.verify("{certificate.id}"))  # every bound again, from the label log\n'
        f"con.execute(\"AUDIT CERTIFICATE '{certificate.id}' ORACLE LIMIT 300\")  # on fresh rows"
    )
    return [
        _section(
            "How to check it, and how to do it again",
            element("pre", text),
            element(
                "p",
                "The same statement, letter by letter, over the same rows with the same oracles "
                "draws the same rows, finds their labels in the store and gives the same answer. "
                "With other clauses, a SEED too, it draws others. The label log has the hash ",
                element("code", certificate.labels_sha256 or "none"),
                ".",
            ),
        )
    ]
