"""The display of a cell: when it is shown, how often, and the line that it ends as."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest
from tests_support_notebook import Shell

import thresher
from thresher import cell_progress, progress
from thresher.cell_progress import Cell
from thresher.progress import Limits, ProgressEvent, Silent, Terminal, sink_of
from thresher.reports import Interval


@dataclass
class Page:
    """A publisher that keeps what it is given."""

    shown: list[tuple[str, str, str, bool]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def publish(
        self,
        data: dict[str, str],
        metadata: dict[str, str] | None = None,
        *,
        transient: dict[str, str] | None = None,
        update: bool = False,
    ) -> None:
        assert transient is not None
        self.shown.append((data["text/plain"], data["text/html"], transient["display_id"], update))
        self.times.append(time.monotonic())

    @property
    def last(self) -> str:
        return self.shown[-1][0]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setattr(cell_progress, "AFTER_S", 0.02)
    return Page()


def event(n_labels: int, elapsed_s: float = 1.0, usd: float = 0.0) -> ProgressEvent:
    return ProgressEvent("sample", n_labels, 100, elapsed_s, usd)


def until(page: Page, n_shown: int) -> None:
    ends = time.monotonic() + 20
    while len(page.shown) < n_shown:
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_many_events_are_few_updates(page: Page) -> None:
    cell, began = Cell(page), time.monotonic()
    while time.monotonic() - began < 0.7:
        cell.update(event(7))
        time.sleep(0.001)
    cell.close()
    seconds = time.monotonic() - began
    assert 2 <= len(page.shown) <= 2 + seconds / cell_progress.EVERY_S
    assert [update for *_, update in page.shown] == [False] + [True] * (len(page.shown) - 1)
    assert page.last.startswith("done: 7 labels, ")
    n_shown = len(page.shown)
    cell.close()  # nothing twice
    assert len(page.shown) == n_shown
    assert not [t for t in threading.enumerate() if getattr(t, "_target", None) == cell._watch]


def test_what_ends_at_once_shows_nothing(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_progress, "AFTER_S", 20.0)
    cell = Cell(page)
    cell.update(event(7))
    cell.close()
    assert page.shown == []


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (KeyboardInterrupt(), "stopped after 7 labels, "),
        (thresher.InterruptedQueryError("cancelled"), "stopped after 7 labels, "),
        (RuntimeError("Query interrupted"), "stopped after 7 labels, "),  # of DuckDB
        (thresher.BudgetError("spent"), "failed after 7 labels, "),
    ],
)
def test_failures_say_what_is_kept(page: Page, failure: BaseException, said: str) -> None:
    cell = Cell(page)

    def fail() -> None:
        try:
            cell.update(event(7))
            raise failure
        finally:
            cell.close()

    with pytest.raises(type(failure)):
        fail()
    assert page.last.startswith(said)
    assert page.last.endswith("; what was bought is kept")


def test_an_error_that_is_handled_outside_is_no_failure(page: Page) -> None:
    try:
        raise ValueError
    except ValueError:
        cell = Cell(page)
        cell.update(event(7))
        until(page, 1)
        cell.close()
    assert page.last.startswith("done: ")


def test_blocks_of_one_statement_are_added_up(page: Page) -> None:
    cell = Cell(page)
    for one in (event(10, 1.0, 0.25), event(30, 2.0, 0.5), event(0, 0.1), event(5, 0.2, 1.0)):
        cell.update(one)
    until(page, 1)
    cell.close()
    assert page.last.startswith("done: 35 labels, $1.50, ")
    first = page.shown[0][2]
    cell.update(event(1))  # a sink may serve the next statement
    until(page, 3)
    cell.close()
    assert page.last.startswith("done: 1 label, ")
    assert page.shown[-1][2] != first
    assert [update for *_, update in page.shown] == [False, True, False, True]


def test_names_from_data_are_escaped(page: Page) -> None:
    cell = Cell(page)
    limits = Limits((Interval("n<b>", ("<script>",), 5.0, 1.0, 9.0),), 0.95)
    cell.update(ProgressEvent("sample", 1, None, 1.0, limits=limits))
    until(page, 1)
    cell.close()
    text, html, *_ = page.shown[0]
    assert "holds with 95 %: n<b> of <script> from 1 to 9" in text
    assert "<script>" not in html
    assert "n&lt;b&gt; of &lt;script&gt; from 1 to 9" in html


def test_the_sink_follows_the_place(monkeypatch: pytest.MonkeyPatch, shell: Shell) -> None:
    for mode in ("none", "notebook", "auto"):
        assert isinstance(sink_of(mode), Silent)
    assert isinstance(sink_of("terminal"), Terminal)
    page = Page()
    monkeypatch.setattr(progress, "display_of_cell", lambda: page)
    assert isinstance(sink_of("none"), Silent)
    assert isinstance(sink_of("notebook"), Cell)
    assert isinstance(sink_of("auto"), Cell)
    assert isinstance(sink_of("terminal"), Terminal)


def test_a_shell_without_a_kernel_is_no_notebook(shell: Shell) -> None:
    code = "from thresher.cell_progress import display_of_cell\ndisplay_of_cell() is None"
    assert shell.ran(code).result is True
