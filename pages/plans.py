"""How a statement will be answered, as a tree that folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thresher.pages import cards
from thresher.pages.markup import Markup, element
from thresher.pages.style import sheet

if TYPE_CHECKING:
    from thresher.certificate import Certificate

__all__ = ["Plan", "PlanPart", "html"]

_RULES = """
.thresher .th-tree,.thresher .th-tree ul{list-style:none;margin:0;padding:0 0 0 18px}
.thresher .th-tree{padding-left:2px}
.thresher .th-tree ul{border-left:1px solid var(--th-line)}
.thresher .th-tree li{margin:3px 0;overflow-wrap:anywhere;max-width:70em}
.thresher .th-step{font-weight:600;margin-right:.25em}
.thresher .th-plan{margin:8px 0}
.thresher .th-plan>summary{font-weight:600}
"""


@dataclass(frozen=True, slots=True)
class PlanPart:
    """What is said of one query block.

    Parameters
    ----------
    name : str
        What it is called; empty for the only one.
    query : str
        In canonical form.
    understood : tuple of str
        How it was read.
    tree : mapping
        ``step``, ``text`` and ``needs``, a list of as much.
    outlook : tuple of (str, str)
        What is known before it runs, and what is forecast: names and texts.
    measured : tuple of (str, str)
        What it took, with ANALYZE.
    certificate : Certificate or None
        What it promises, with ANALYZE.
    """

    name: str
    query: str
    understood: tuple[str, ...]
    tree: Mapping[str, Any]
    outlook: tuple[tuple[str, str], ...]
    measured: tuple[tuple[str, str], ...] = ()
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What EXPLAIN says of a statement: each of its blocks, and what DuckDB does then."""

    parts: tuple[PlanPart, ...]
    then: str | None = None


def html(plan: Plan) -> str:
    """Return a plan as HTML that runs no script."""
    then = [] if plan.then is None else [_line("then", plan.then)]
    rules = (_RULES, cards.RULES)
    return element("div", sheet(*rules), *map(_part, plan.parts), *then, class_="thresher")


def _part(part: PlanPart) -> Markup:
    return element(
        "details",
        element("summary", part.name or "Plan"),
        element("pre", part.query),
        *(_line("understood", text) for text in part.understood),
        element("ul", _step(part.tree), class_="th-tree"),
        _facts("Forecast" if not part.measured else "Forecast before it ran", part.outlook),
        *([] if part.certificate is None else [cards.card(part.certificate)]),
        _facts("Measured", part.measured),
        class_="th-plan",
        open=True,
    )


def _line(name: str, text: str) -> Markup:
    return element("p", element("b", name, class_="th-step"), " ", text, class_="th-line")


def _step(tree: Mapping[str, Any]) -> Markup:
    """Return a step; one that needs others folds."""
    words = (element("b", str(tree["step"]), class_="th-step"), " ", str(tree["text"]))
    needs: Sequence[Mapping[str, Any]] = tree["needs"]
    if not needs:
        return element("li", *words)
    inner = element("ul", *map(_step, needs))
    return element("li", element("details", element("summary", *words), inner, open=True))


def _facts(title: str, facts: Sequence[tuple[str, str]]) -> Markup:
    if not facts:
        return Markup("")
    rows = [
        element("tr", element("th", name, scope="row"), element("td", text)) for name, text in facts
    ]
    return element("table", element("caption", title), element("tbody", *rows), class_="th-facts")
