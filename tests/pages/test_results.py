"""Results as tables: types, numbers, NULL, folds, bytes, and how many rows there are."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

import pyarrow as pa
import pytest

import thresher
from thresher.pages import results
from thresher.pages.media import Media, kind_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


class Cells(HTMLParser):
    """The text of every header and cell, and the attributes of every start tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("th", "td"):
            self.cells.append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data


def shown(sql: str, parameters: Sequence[object] = (), more: bool = False) -> str:
    cursor = thresher.connect().execute(sql, list(parameters))
    types = [str(column[1]) for column in cursor.description or ()]
    return results.html(cursor.fetch_arrow_table(), more, types)


def test_values_are_written_as_duckdb_writes_them() -> None:
    page = Cells(
        shown(
            "SELECT 1 AS a, 2.50::DECIMAL(10, 2) AS b, [1, 2] AS c, {'k': 'v'} AS d, "
            "TIMESTAMP '2026-01-02 03:04:05' AS e, NULL AS f, '1011'::BIT AS g, 'x' AS h"
        )
    )
    heads, cells = page.cells[:8], page.cells[8:]
    assert heads[:3] == ["ainteger", "bdecimal(10,2)", "cinteger[]"]
    assert cells == [
        "1", "2.50", "[1, 2]", "{'k': v}", "2026-01-02 03:04:05", "NULL", "1011", "x",
    ]  # fmt: skip


def test_names_and_types_stay_apart_where_styles_are_taken_out() -> None:
    page = shown("SELECT 1 AS a")
    assert '<span>a</span><br><small class="th-type" title="INTEGER">integer</small>' in page


def test_numbers_stand_right() -> None:
    page = Cells(shown("SELECT 1::HUGEINT AS a, 1.5::DECIMAL(10, 2) AS b, 'x' AS c, 1::DOUBLE d"))
    right = [attrs.get("class") == "th-number" for tag, attrs in page.tags if tag == "td"]
    assert right == [True, True, False, True]


def test_long_text_folds_and_is_cut() -> None:
    page = Cells(shown("SELECT repeat('ab', 5000) AS a"))
    assert ("summary", {}) in page.tags
    assert "6,000 more characters" in page.cells[1]
    assert len(page.cells[1]) < 5000


def test_what_a_wide_table_must_not_squeeze() -> None:
    page = Cells(shown("SELECT 'a text of more than a few words' AS a, 'short' AS b, NULL, 1"))
    kinds = [attrs.get("class") for tag, attrs in page.tags if tag == "td"]
    assert kinds == ["th-text", "th-short", "th-number", "th-number"]
    cursor = thresher.connect().execute("SELECT ?::BLOB AS c", [PNG])
    page = Cells(results.html(cursor.fetch_arrow_table(), False, ["BLOB"]))
    assert [attrs.get("class") for tag, attrs in page.tags if tag == "td"] == [None]


@pytest.mark.parametrize(
    ("n_rows", "more", "text"),
    [
        (3, False, "3 rows; 1 column"),
        (50, False, "30 more of 50 rows; 1 column"),
        (20, True, "the first 20 rows, there are more; 1 column"),
    ],
)
def test_it_says_how_many_rows_there_are(n_rows: int, more: bool, text: str) -> None:
    page = shown(f"SELECT i FROM range({n_rows}) r(i)", more=more)
    assert text in page
    assert page.count("<tr>") == 1 + min(n_rows, 20)


def test_a_result_without_rows_or_with_doubled_names() -> None:
    assert "0 rows; 2 columns" in shown("SELECT 1 AS a, 2 AS a WHERE false")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0abc", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"RIFF....WAVEfmt ", "audio/wav"),
        (b"ID3\x04...", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"OggS....", "audio/ogg"),
        (b"fLaC....", "audio/flac"),
        (b"\xff\xfe a text in UTF-16", None),
        (b"<svg onload=alert(1)>", None),
        (b"", None),
    ],
)
def test_files_are_told_by_their_first_bytes(start: bytes, kind: str | None) -> None:
    assert kind_of(start) == kind


def test_images_and_sounds_are_in_the_page() -> None:
    sql = "SELECT ?::BLOB AS a, ?::BLOB AS b, ?::BLOB AS c"
    page = Cells(shown(sql, [PNG, b"fLaC" + bytes(9), b"abc"]))
    sources = {tag: attrs["src"] for tag, attrs in page.tags if "src" in attrs}
    assert str(sources["img"]).startswith("data:image/png;base64,")
    assert str(sources["audio"]).startswith("data:audio/flac;base64,")
    assert page.cells[-1] == "BLOB, 3 bytes"


def test_files_together_have_a_limit() -> None:
    media, file = Media(), PNG + bytes(500_000)
    cells = [media.cell(file) for _ in range(12)]
    assert sum("<img" in cell for cell in cells) == 8
    assert "PNG image, 488.3 KiB" in cells[-1]
    assert "<img" not in Media().cell(PNG + bytes(2_000_000))


def test_the_text_is_a_box_with_the_line_of_the_certificate() -> None:
    con = thresher.connect(config={"seed": 1})
    con.create_oracle("is_even", lambda n: [i % 2 == 0 for i in n], args=["BIGINT"])
    cursor = con.execute("SELECT i FROM range(100) r(i) WHERE is_even(i)")
    certificates = cursor.certificates
    table = cursor.fetch_arrow_table()
    lines = results.text(table, False, ["BIGINT"], certificates, width=60).splitlines()
    assert lines[0] == "╭────────╮"
    assert "the first 20 rows, there are more" in lines
    assert lines[-1].endswith(f"certificate {certificates[0].id}")
    assert max(map(len, lines)) <= 60


def test_the_text_of_no_rows() -> None:
    assert "0 rows" in results.text(pa.table({"a": pa.array([], pa.int64())}), False, ["BIGINT"])


def test_the_text_is_not_shown_by_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    text = results.text(pa.table({"a": [":smile: [b]x[/b]"]}), False, ["VARCHAR"])
    assert ":smile: [b]x[/b]" in text


def test_times_are_those_of_the_zone_of_the_session() -> None:
    con = thresher.connect()
    con.execute("SET TimeZone = 'Asia/Kathmandu'")
    cursor = con.execute("SELECT TIMESTAMPTZ '2026-01-02 03:04:05+00' AS t, [TIME '10:00'] AS u")
    types = [str(column[1]) for column in cursor.description or ()]
    table = cursor.fetch_arrow_table()
    assert Cells(results.html(table, False, types)).cells[2:] == [
        "2026-01-02 08:49:05+05:45",
        "['10:00:00']",
    ]
    assert "08:49:05+05:45" in results.text(table, False, types)


def test_of_many_columns_the_middle_is_left_out() -> None:
    page = Cells(shown(f"SELECT {', '.join(f'{i} AS c{i}' for i in range(100))}"))
    assert len(page.cells) == 80
    assert page.cells[19:21] == ["c19integer", "c80integer"]
    text = shown(f"SELECT {', '.join(f'{i} AS c{i}' for i in range(100))}")
    assert "100 columns, of which the first and the last 20 are shown" in text
