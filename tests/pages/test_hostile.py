"""Text that wants to be markup stays text, wherever it comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests_support_pages import checked

import thresher
from thresher.certificate import Certificate
from thresher.pages import cards, plans, report, results
from thresher.pages.markup import element, plain
from thresher.reports import Interval, OutputReport, ProxyReport, StageReport, TrainedReport

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "]]><script>alert(1)</script><![CDATA[",
    "<!-- <script>",
    "a\u2028b\u2029c",
    "\u202eright to left\u2066",
    "\x00\x1b[31m\x7f\x9b",
    "\ud800 alone",
    "$\\frac{1}{2$ & <b>",
    "javascript:alert(1)",
    "http://example.com/x.png",
)
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\x00\x1b\x9b"


@pytest.fixture(scope="module")
def con() -> thresher.Connection:
    con = thresher.connect(config={"seed": 1})
    con.create_oracle("is_ninth", lambda n: [i % 9 == 0 for i in n], args=["BIGINT"])
    return con


@pytest.fixture(scope="module")
def certificate(con: thresher.Connection) -> Certificate:
    sql = "SELECT i FROM range(3000) r(i) WHERE is_ninth(i) USING i RECALL TARGET 90%"
    found = con.execute(sql + " ORACLE LIMIT 400 ON SHORTFALL RETURN").certificate
    assert found is not None
    return found


def poisoned(certificate: Certificate, text: str) -> Certificate:
    """A certificate in which every text is hostile."""
    trained = TrainedReport(text, text, True, 9, 0.5, 9, True, None, 0, 0.3, True, True)
    trace = certificate.trace
    assert trace is not None
    points = tuple(replace(point, stage=text) for point in trace.spending)
    return replace(
        certificate,
        sql=text,
        canonical=text + " ",
        grade=text,
        note=text,
        assumption=text,
        algorithm=text,
        tests=({"kind": text, text: text, "list": [text] * 100},),
        stages=(StageReport(text, 3, 1),),
        proxies=(ProxyReport(text, used=True, auc=0.5),),
        oracles={text: text},
        versions={text: text},
        labels_sha256=text,
        intervals=(Interval(text, (text, text), 1.0, 0.5, 2.0),),
        session=text,
        outputs=(OutputReport(text, 1, 1),),
        answer=text,
        understood=(text,),
        budget=text,
        trained=(trained,),
        trace=replace(trace, spending=points),
    )


def shows(page: str, text: str) -> None:
    """Check that a page runs nothing, and that the text is there to be read."""
    read = checked(page)
    assert plain(text).split()[0] in read.text
    assert not set(TURNING) & set(page)
    page.encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_values_and_names_of_columns(con: thresher.Connection, text: str) -> None:
    value = text.encode("utf-8", "replace").decode()
    name = value.replace('"', '""').replace("\x00", "")
    cursor = con.execute(
        f"SELECT ? AS \"{name}\", [?] AS list, {{'k': ?}} AS st, repeat(?, 90) AS long, "
        "?::BLOB AS bytes",
        [value, value, value, value, value.encode()],
    )
    table = cursor.fetch_arrow_table()
    shows(results.html(table, True, [text] * table.num_columns), value)


@pytest.mark.parametrize("text", HOSTILE)
def test_cards(certificate: Certificate, text: str) -> None:
    shows(cards.html(poisoned(certificate, text)), text)
    estimated = replace(certificate.targets, recall=None, estimated=True)
    shows(cards.html(replace(poisoned(certificate, text), targets=estimated)), text)


def test_reports(certificate: Certificate) -> None:
    estimated = replace(certificate.targets, recall=None, estimated=True)
    text = " ".join(HOSTILE)
    bad = poisoned(certificate, text)
    # What a log says of such a certificate is that it does not hold: its identity is another.
    shows(report.html(replace(bad, log=None, targets=estimated)), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_plans(certificate: Certificate, text: str) -> None:
    leaf = {"step": text, "text": text, "needs": []}
    tree = {"step": text, "text": text, "needs": [leaf, leaf]}
    part = plans.PlanPart(
        text, text, (text,), tree, ((text, text),), ((text, text),), poisoned(certificate, text)
    )
    shows(plans.html(plans.Plan((part, part), text)), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_attributes(text: str) -> None:
    page = checked(element("p", text, title=text, class_=text))
    assert page.tags == [("p", {"title": plain(text), "class": plain(text)})]
    assert page.text == plain(text)


def test_sql_of_real_statements(con: thresher.Connection) -> None:
    sql = (
        "SELECT i AS \"<script>x</script>\", '</style><img src=x onerror=y>' AS t "
        "FROM range(500) r(i) WHERE is_ninth(i) AND '<script>' <> 'x' "
        "USING i ORACLE LIMIT 500"
    )
    cursor = con.execute(sql)
    assert cursor.certificate is not None
    table = cursor.fetch_arrow_table()
    shows(results.html(table, False, ["BIGINT", "VARCHAR"], cursor.certificates), "<script>")
    shows(report.html(cursor.certificate), "<script>")
    plan = con.execute("EXPLAIN " + sql).plan
    assert plan is not None
    shows(plans.html(plan), "<script>")
