"""Tables with box lines: which columns fit side by side, and how wide each of them is.

The widths are settled here to the cell and not by rich, which widens columns again after it has
made the table fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["Column", "clean", "fitting", "table"]

_NARROWEST = 14  # cells a column of text keeps before whole columns are left out
_FRAME = 3  # cells of a column besides its text: a line and two spaces; one line ends the table
# Texts may hold escape sequences, which a terminal would obey: show them as Unicode's pictures.
_CONTROLS = {c: chr(0x2400 + c) for c in range(32) if c != 10} | {9: " ", 127: "\u2421", 155: "?"}


def clean(value: str) -> str:
    """Return a text that a terminal shows and does not obey; lines stay."""
    return value.translate(_CONTROLS)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name, type : str
        Its name, and what stands below the name, if anything.
    is_number : bool
        Whether its values stand on the right.
    cells : sequence of (str or None)
        The values as text; None is NULL.
    gap : str
        What stands where rows are left out.
    """

    name: str
    type: str
    is_number: bool
    cells: Sequence[str | None]
    gap: str = ""

    @property
    def width(self) -> int:
        """Terminal cells that the column would like."""
        from rich.cells import cell_len

        texts = [self.name, self.type, self.gap, *("NULL" if c is None else c for c in self.cells)]
        return max(cell_len(clean(line)) for text in texts for line in (text.split("\n")))

    @property
    def least(self) -> int:
        """Terminal cells below which it is left out: numbers and names must not fold."""
        from rich.cells import cell_len

        if self.is_number:
            return self.width
        least = max(cell_len(self.name), _NARROWEST if self.width < 60 else 24)
        return min(self.width, max(least, cell_len(self.gap)))


def fitting(columns: Sequence[Column], room: int) -> list[int | None]:
    """Return the columns that fit side by side; None marks where the middle ones are left out.

    Parameters
    ----------
    columns : sequence of Column
        All of them.
    room : int
        Cells of a line.

    Returns
    -------
    list of (int or None)
        Places in `columns`: the first and the last always, though they may have to fold.
    """
    least = [column.least + _FRAME for column in columns]
    if sum(least) + 1 <= room or len(columns) <= 2:
        return list(range(len(columns)))
    left, right = [0], [len(columns) - 1]
    used = least[0] + least[-1] + (1 + _FRAME) + 1  # with the column of the mark
    while left[-1] + 1 < right[0]:
        at = left[-1] + 1 if len(left) <= len(right) else right[0] - 1
        if used + least[at] > room:
            break
        used += least[at]
        if at == left[-1] + 1:
            left.append(at)
        else:
            right.insert(0, at)
    return [*left, None, *right]


def table(columns: Sequence[Column], shown: Sequence[int | None], room: int, n_head: int) -> Table:
    """Return the table of the columns that are shown.

    Parameters
    ----------
    columns : sequence of Column
        All of them.
    shown : sequence of (int or None)
        What `fitting` returned.
    room : int
        Cells of a line.
    n_head : int
        Rows before the gap, where there is one.
    """
    from rich import box
    from rich.table import Table

    found = Table(box=box.ROUNDED, padding=(0, 1))
    present = [columns[i] for i in shown if i is not None]
    widths = iter(_widths(present, room - 1 - (_FRAME + 1) * (None in shown)))
    for i in shown:
        if i is None:
            found.add_column("…", justify="center", style="dim", width=1)
            continue
        found.add_column(
            _head(columns[i]),
            justify="right" if columns[i].is_number else "left",
            overflow="fold",
            width=next(widths),
        )
    for r in range(len(present[0].cells)):
        if r == n_head and present[0].gap:
            found.add_row(present[0].gap, *["…"] * (len(shown) - 1), style="dim")
        found.add_row(*["…" if i is None else _cell(columns[i].cells[r]) for i in shown])
    return found


def _widths(columns: Sequence[Column], room: int) -> list[int]:
    """Return the cells of each column's text: what it wants, the widest ones cut to one width."""
    wanted = [column.width for column in columns]
    least = [column.least for column in columns]
    room -= _FRAME * len(columns)
    if sum(wanted) <= room:
        return wanted
    if sum(least) > room:
        least = [2] * len(columns)  # a character may take two cells
    fits = (cap for cap in range(room + 1) if sum(_capped(wanted, least, cap)) <= room)
    cap = max(fits, default=0)
    found = _capped(wanted, least, cap)
    for i, more in enumerate(_capped(wanted, least, cap + 1)):
        if more > found[i] and sum(found) < room:
            found[i] += 1
    return found


def _capped(wanted: Sequence[int], least: Sequence[int], cap: int) -> list[int]:
    return [max(low, min(high, cap)) for high, low in zip(wanted, least, strict=True)]


def _head(column: Column) -> Text:
    from rich.text import Text

    head = Text(column.name, style="bold")
    if column.type:
        head.append(f"\n{column.type.lower()}", style="not bold dim")
    return head


def _cell(value: str | None) -> Text:
    from rich.text import Text

    return Text("NULL", style="dim") if value is None else Text(clean(value))
