"""The rows of a result as people read them: a table in a notebook, a box in a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from thresher import render
from thresher.pages import cards, plans
from thresher.pages.markup import Markup, element, joined, plain
from thresher.pages.media import Media
from thresher.pages.style import sheet
from thresher.reports import counted

if TYPE_CHECKING:
    from thresher.certificate import Certificate
    from thresher.pages.plans import Plan

__all__ = ["html", "lines", "text"]

_ROWS, _COLUMNS = 20, 40  # that are shown
_SHORT, _LONG = 100, 4000  # characters of a value at once, and behind its fold
_NARROW = 26  # characters that need not fold
_NUMBER = re.compile(
    r"U?(?:TINY|SMALL|BIG|HUGE)?INT(?:EGER)?|DOUBLE|FLOAT|BIGNUM|VARINT|DECIMAL\(.*\)"
)


def html(
    table: pa.Table,
    more: bool,
    types: Sequence[str],
    certificates: Sequence[Certificate] = (),
    plan: Plan | None = None,
) -> str:
    """Return rows as HTML, and below them what is promised of them.

    Parameters
    ----------
    table : pyarrow.Table
        The first rows of the result; 20 at most are shown.
    more : bool
        Whether the result has more rows than the table.
    types : sequence of str
        DuckDB's name of each column's type.
    certificates : sequence of Certificate
        What the answer promises, the outermost query last.
    plan : Plan, optional
        What EXPLAIN says, which is shown in place of its lines.

    Returns
    -------
    str
        It holds everything that it shows and runs no script.
    """
    if plan is not None:
        return plans.html(plan)
    shown, kinds = _fitting(table.slice(0, _ROWS), types)
    return element(
        "div",
        sheet(*([cards.RULES] if certificates else [])),
        element(
            "div",
            _table(shown, kinds),
            class_="th-scroll",
            tabindex=0,
            role="region",
            aria_label="Rows of the result",
        ),
        element("p", _counted(table, more), class_="th-more"),
        *map(cards.card, certificates),
        class_="thresher",
    )


def text(
    table: pa.Table,
    more: bool,
    types: Sequence[str],
    certificates: Sequence[Certificate] = (),
    width: int = 100,
) -> str:
    """Return rows as a box of so many columns, and below it a line for each certificate."""
    from rich.console import Console

    sink = io.StringIO()
    console = Console(  # in a notebook it would show what is written to it
        file=sink, width=width, color_system=None, highlight=False, markup=False, emoji=False,
        force_jupyter=False,
    )  # fmt: skip
    more = more or table.num_rows > _ROWS
    rows = table.slice(0, _ROWS)
    render.write_box(rows.to_reader(), console, types=types, max_rows=0, more=more)
    lines = [line for one in certificates for line in render.folded(one.summary, width)]
    notes = [f"note: {one.note}" for one in certificates if one.note]
    return "\n".join([sink.getvalue().rstrip("\n"), *lines, *notes])


def lines(table: pa.Table) -> str:
    """Return what EXPLAIN says as it says it: its rows are lines."""
    return "\n".join(plain(line) for line in table.column(0).to_pylist())


def _counted(table: pa.Table, more: bool) -> str:
    """Say how many rows there are, as far as it is known."""
    n_rows = table.num_rows
    columns = counted(table.num_columns, "column")
    if table.num_columns > _COLUMNS:
        columns += f", of which the first and the last {_COLUMNS // 2} are shown"
    if more:
        return f"the first {counted(min(n_rows, _ROWS), 'row')}, there are more; {columns}"
    if n_rows > _ROWS:
        return f"{n_rows - _ROWS:,} more of {n_rows:,} rows; {columns}"
    return f"{counted(n_rows, 'row')}; {columns}"


def _fitting(table: pa.Table, types: Sequence[str]) -> tuple[pa.Table, Sequence[str]]:
    """Leave out the columns in the middle where there are many."""
    n_columns, half = table.num_columns, _COLUMNS // 2
    if n_columns <= _COLUMNS:
        return table, types
    kept = [*range(half), *range(n_columns - half, n_columns)]
    return table.select(kept), [types[i] for i in kept]


def _table(table: pa.Table, types: Sequence[str]) -> Markup:
    numbers = [bool(_NUMBER.fullmatch(name.upper())) for name in types]
    heads = [
        element(
            "th",
            element("span", name),
            element("br"),
            element("small", _brief(kind), class_="th-type", title=kind),
            scope="col",
            class_="th-number" if number else None,
        )
        for name, kind, number in zip(table.column_names, types, numbers, strict=True)
    ]
    columns = _columns(table, types)
    rows = [
        element(
            "tr",
            *(
                element("td", cell, class_="th-number" if number else _folding(cell), dir="auto")
                for cell, number in zip(row, numbers, strict=True)
            ),
        )
        for row in zip(*columns, strict=True)
    ]
    head, body = element("thead", element("tr", *heads)), element("tbody", *rows)
    return element("table", head, body, class_="th-rows")


def _brief(kind: str) -> str:
    """Return the name of a type without what a long one is made of."""
    short = kind if len(kind) <= _NARROW else f"{kind.partition('(')[0]}(…)"
    return short.lower()


def _folding(cell: Markup) -> str | None:
    """Keep a short value, such as a time, in one line, and a text from becoming a narrow pillar."""
    if len(cell) <= _NARROW:
        return "th-short"
    return None if cell.startswith(("<img", "<audio", "<span")) else "th-text"


def _columns(table: pa.Table, types: Sequence[str]) -> list[list[Markup]]:
    """Return the cells of each column; bytes are never written out."""
    media = Media()
    written = [i for i, field in enumerate(table.schema) if not pa.types.is_binary(field.type)]
    texts = dict(zip(written, render.texts(table.select(written)), strict=True))
    found = []
    for i, kind in enumerate(types):
        if i in texts:
            found.append([_cell(value) for value in texts[i]])
        elif kind.upper() == "BIT":
            found.append([_cell(_bits(value)) for value in table.column(i).to_pylist()])
        else:
            values = table.column(i).to_pylist()
            found.append([_NULL if value is None else media.cell(value) for value in values])
    return found


_NULL = element("span", "NULL", class_="th-null")


def _cell(value: str | None) -> Markup:
    """Return a value; of a long one the beginning, and the rest behind a fold."""
    if value is None:
        return _NULL
    if len(value) <= _SHORT + 20:
        return joined([value])
    rest = value[_SHORT:_LONG]
    if len(value) > _LONG:
        rest += f" … {len(value) - _LONG:,} more characters"
    return element("details", element("summary", value[:_SHORT], "…"), "…", rest)


def _bits(value: bytes | None) -> str | None:
    """Write a BIT: Arrow has DuckDB's own bytes, the first of them the number of padding bits."""
    if not value:
        return None
    return "".join(f"{byte:08b}" for byte in value[1:])[value[0] :]
