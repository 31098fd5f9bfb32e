"""Pictures and reports: each kind of answer has those that make sense, and says why others lack."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests_support_pages import Page, checked

import thresher
from thresher.certificate import Certificate
from thresher.pages import cards, panels, plots, report
from thresher.traces import LabelBin

WHERE = "FROM range(4000) r(i) WHERE is_ninth(i)"
USING = "USING score(i)"
SCORES, WORTH = "Scores of all rows, and which of them have a label", "What the scores were worth"
LABELS = "Labels that other targets would take: a forecast"
SPENT, ESTIMATES = "Labels and money over time", "Estimates with their limits"
ALL = {SCORES, WORTH, LABELS, SPENT}
KINDS = {
    "recall": (f"SELECT i {WHERE} {USING} RECALL TARGET 90% ORACLE LIMIT 600", ALL),
    "precision": (f"SELECT i {WHERE} {USING} PRECISION TARGET 90% ORACLE LIMIT 600", ALL),
    "joint": (f"SELECT i {WHERE} {USING} RECALL TARGET 90% PRECISION TARGET 90%", ALL),
    "accuracy": (f"SELECT i {WHERE} {USING} ACCURACY TARGET 99.5%", ALL),
    "count": (f"SELECT count(*) AS n {WHERE} {USING} ORACLE LIMIT 600", {*ALL, ESTIMATES}),
    "error": (
        f"SELECT avg(i) AS a {WHERE} {USING} ERROR WITHIN 500",
        {*ALL, ESTIMATES},
    ),
    "search": (f"SELECT i {WHERE} LIMIT 200 {USING}", {SCORES, WORTH, SPENT}),
    "exact": (f"SELECT i {WHERE} AND i < 300", {SPENT}),
    "plain": ("SELECT is_ninth(i) FROM range(50) r(i)", {SPENT}),
}


def connect() -> thresher.Connection:
    con = thresher.connect(config={"seed": 1, "reuse_labels": False})
    con.create_oracle("is_ninth", lambda n: [i % 9 == 0 for i in n], args=["BIGINT"])
    con.execute(
        "CREATE MACRO score(i) AS 0.1 + 0.3 * (i % 9 = 0)::INT + ((i * 7919) % 100) / 250.0"
    )
    return con


@pytest.fixture(scope="module")
def made() -> dict[str, Certificate]:
    con = connect()
    found = {}
    for name, (sql, _) in KINDS.items():
        certificate = con.execute(sql).certificate
        assert certificate is not None
        found[name] = certificate
    return found


@pytest.fixture(scope="module")
def reports(made: dict[str, Certificate]) -> dict[str, str]:
    return {kind: report.html(made[kind]) for kind in ("joint", "exact")}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_pictures_that_make_sense(
    made: dict[str, Certificate], kind: str
) -> None:
    found = plots.panels(made[kind])
    assert {panel.title for panel in found if panel.draw is not None} == KINDS[kind][1]
    assert all(len(panel.text) > 20 for panel in found)


@pytest.mark.parametrize("kind", ["joint", "exact"])
def test_reports_need_nothing_else(
    made: dict[str, Certificate], reports: dict[str, str], kind: str
) -> None:
    text = reports[kind]
    page = checked(text)
    assert "http" not in text
    assert text.startswith("<!doctype html>")
    tags = dict(page.tags)
    assert tags["html"]["lang"] == "en"
    assert page.count("h1") == page.count("main") == 1
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(headings))
    assert all(a.get("scope") in ("col", "row") for tag, a in page.tags if tag == "th")
    pictures = [a for tag, a in page.tags if tag == "svg"]
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)
    assert sum(a["class"] == "th-plot" for a in pictures) == len(KINDS[kind][1])
    assert "The certificate holds." in page.text
    assert made[kind].labels_sha256 in page.text
    assert f"seed {made[kind].seed}" in page.text
    assert "letter by letter" in page.text


def test_colours_of_pictures_are_those_of_the_page(reports: dict[str, str]) -> None:
    text = reports["joint"]
    drawn = "".join(re.findall(r'<svg[^>]*class="th-plot".*?</svg>', text, re.DOTALL))
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", drawn)) == set()
    assert "var(--th-accent)" in drawn


def test_the_same_certificate_gives_the_same_bytes(
    made: dict[str, Certificate], reports: dict[str, str], tmp_path: Path
) -> None:
    made["exact"].save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == reports["exact"]


def test_a_log_that_does_not_fit_is_told(made: dict[str, Certificate]) -> None:
    log = made["exact"].log
    assert log is not None
    page = Page(report.html(made["exact"], log.slice(0, log.num_rows - 1)))
    assert "does not hold" in page.text
    assert "FAILS" in page.text
    bare = replace(made["exact"], log=None)
    assert "was not at hand" in Page(report.html(bare)).text


def test_certificates_without_a_trace_say_what_they_lack(made: dict[str, Certificate]) -> None:
    old = replace(made["joint"], trace=None)
    found = plots.panels(old)
    assert all(panel.draw is None for panel in found)
    assert "an earlier version made it" in found[0].text
    page = checked(report.html(old))
    assert "an earlier version made it" in page.text
    assert len(old.plot().axes) == 0


def test_plot_is_a_figure_with_all_pictures(made: dict[str, Certificate]) -> None:
    figure = made["recall"].plot()
    assert len(figure.axes) == 4
    assert figure.axes[2].get_ylabel() == "labels (forecast)"
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_money_has_an_axis_of_its_own(made: dict[str, Certificate]) -> None:
    trace = made["search"].trace
    assert trace is not None
    points = tuple(replace(p, cost_usd=0.01 * p.n_labels) for p in trace.spending)
    paid = replace(made["search"], trace=replace(trace, spending=points))
    assert len(paid.plot().axes) == 4  # three pictures, and the axis of dollars


def test_without_matplotlib_it_says_how_to_get_it(
    made: dict[str, Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "thresher\[jupyter\]"'):
        made["exact"].plot()
    page = checked(report.html(made["exact"]))
    assert 'pip install "thresher[jupyter]"' in page.text
    assert "The certificate holds." in page.text


def test_clopper_pearson_intervals_are_exact() -> None:
    from scipy.stats import binom, binomtest

    bins = (LabelBin(0, 1, 0.5, 20, 0), LabelBin(1, 2, 1.5, 30, 12), LabelBin(2, 3, 2.5, 9, 9))
    for one, found in zip(bins, panels.observed(bins), strict=True):
        limits = binomtest(one.n_positive, one.n_rows).proportion_ci(0.95, "exact")
        assert (found.low, found.high) == pytest.approx((limits.low, limits.high))
    for share in (0.05, 0.3, 0.77):  # covers with at least 95 %, by all outcomes
        each = panels.observed(tuple(LabelBin(0, 1, 0.5, 25, k) for k in range(26)))
        inside = [one.low <= share <= one.high for one in each]
        assert float(binom.pmf(np.arange(26), 25, share)[inside].sum()) >= 0.95


def test_stages_of_the_sampling_are_told_by_their_labels(made: dict[str, Certificate]) -> None:
    for kind in ("recall", "joint", "accuracy", "search", "exact"):
        certificate = made[kind]
        stages = panels.course(certificate)
        assert [one.began_s for one in stages] == sorted(one.began_s for one in stages)
        assert sum(one.n_labels for one in stages) == certificate.n_labels
        names = {one.stage for one in certificate.stages}
        assert {one.stage for one in stages if one.n_labels} <= names
    sampled = {one.stage: one.n_labels for one in panels.course(made["recall"])}
    assert sampled["sample"] == next(
        one.n_rows for one in made["recall"].stages if one.stage == "sample"
    )
    assert panels.course(replace(made["recall"], trace=None)) == []


def test_forecasts_rise_with_the_target(made: dict[str, Certificate]) -> None:
    for kind in ("recall", "accuracy"):
        curve = panels.label_curve(made[kind])
        assert isinstance(curve, panels.Curve)
        assert list(curve.labels) == sorted(curve.labels)
        assert curve.own in curve.targets
        assert all(
            low <= n <= high for n, (low, high) in zip(curve.labels, curve.ranges, strict=True)
        )
    widths = panels.label_curve(made["count"])
    assert isinstance(widths, panels.Curve)
    assert list(widths.labels) == sorted(widths.labels, reverse=True)
    assert dict(zip(widths.targets, widths.labels, strict=True))[widths.own] == 600


def test_cards_say_what_falls_short_and_what_is_assumed(made: dict[str, Certificate]) -> None:
    missed = replace(made["recall"], met=False, note="Only 12 % is certain.")
    page = checked(cards.html(missed))
    assert "not certified" in page.text
    assert "Note: Only 12 % is certain." in page.text
    assert "th-missed" in str(page.tags)
    supposing = replace(made["recall"], assumption="the moon is round", grade="calibrated tail")
    assumed = checked(cards.html(supposing))
    assert "Assumption: the promise supposes that the moon is round." in assumed.text
    assert {p.title for p in plots.panels(supposing) if p.draw is None} == {LABELS}
    assert "th-assumed" in str(assumed.tags)


def test_cards_leave_out_estimates_that_no_label_allows(made: dict[str, Certificate]) -> None:
    bounds = replace(made["joint"].bounds, recall_estimate=None, precision=None)
    certificate = replace(made["joint"], bounds=bounds)
    page = checked(cards.html(certificate))
    assert "unknown" not in page.text
    recall, precision, *_ = (a["aria-label"] for tag, a in page.tags if tag == "svg")
    assert re.fullmatch(r"recall: certified ≥ [\d.]+%, target 90%", recall or "")
    assert re.fullmatch(r"precision: not certified, estimate [\d.]+%, target 90%", precision or "")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_card(made: dict[str, Certificate], kind: str) -> None:
    certificate = made[kind]
    page = checked(certificate._repr_html_())
    assert certificate.statement in page.text
    assert certificate.id in page.text
    marks = [a["aria-label"] for tag, a in page.tags if tag == "svg"]
    assert any("bought" in mark for mark in marks)
    if certificate.targets.recall is not None:
        assert any("recall: certified" in mark and "target 90%" in mark for mark in marks)
    for one in certificate.intervals:
        assert any(one.name in mark for mark in marks)
