"""EXPLAIN as a tree that folds: every step of the text is in it, and the text is as it was."""

from __future__ import annotations

import re

import pytest

import thresher
from thresher.pages import plans

WHERE = "FROM range(3000) r(i) WHERE is_ninth(i) USING i / 3000 "
EXACT = "FROM range(3000) r(i) WHERE is_ninth(i)"


@pytest.fixture(scope="module")
def con() -> thresher.Connection:
    con = thresher.connect(config={"seed": 1})
    con.create_oracle("is_ninth", lambda n: [i % 9 == 0 for i in n], args=["BIGINT"])
    return con


def words(page: str) -> list[str]:
    return re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split()


def test_the_tree_has_every_step(con: thresher.Connection) -> None:
    cursor = con.execute(f"EXPLAIN SELECT i {WHERE} RECALL TARGET 90% PRECISION TARGET 90%")
    assert cursor.plan is not None
    page = plans.html(cursor.plan)
    found = words(page)
    steps = (
        "answer",
        "rows",
        "method",
        "delta",
        "score",
        "labels",
        "ask",
        "candidates",
        "forecast",
    )
    assert set(steps) <= set(found)
    assert page.count("<details") == page.count("</details>") > 3
    text = "\n".join(row[0] for row in cursor.fetchall())
    assert text.startswith("query      SELECT i FROM range(3000)")


def test_analyze_brings_the_card_and_what_it_took(con: thresher.Connection) -> None:
    cursor = con.execute(f"EXPLAIN ANALYZE SELECT i {WHERE} RECALL TARGET 90% ORACLE LIMIT 500")
    assert cursor.plan is not None
    part = cursor.plan.parts[0]
    assert part.certificate is not None
    page = plans.html(cursor.plan)
    assert part.certificate.id in page
    assert "Measured" in page
    assert "calibration" in page


def test_blocks_have_names_and_what_follows_is_said(con: thresher.Connection) -> None:
    sql = f"EXPLAIN WITH a AS (SELECT i {EXACT}) SELECT count(*) FROM a"
    plan = con.execute(sql).plan
    assert plan is not None
    assert [part.name for part in plan.parts] == ["block 1, a"]
    assert "SELECT count(*) FROM a" in (plan.then or "")
    assert "block 1, a" in plans.html(plan)


def test_other_statements_have_no_plan(con: thresher.Connection) -> None:
    cursor = con.execute(f"EXPLAIN SELECT i {EXACT}")
    assert cursor.plan is not None
    assert cursor.execute("SELECT 1").plan is None
    assert con.execute(f"EXPLAIN (FORMAT JSON) SELECT i {EXACT}").plan is None
    assert con.execute("EXPLAIN SELECT 1").plan is None


def test_a_cursor_shows_its_plan(con: thresher.Connection) -> None:
    cursor = con.execute(f"EXPLAIN SELECT i {EXACT}")
    assert cursor.plan is not None
    assert cursor._repr_html_() == plans.html(cursor.plan)
    assert repr(cursor).splitlines() == [row[0] for row in cursor.fetchall()]
