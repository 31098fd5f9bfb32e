"""Results as text: box, CSV, JSON, Markdown, Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from thresher import boxes, render

AWKWARD = """SELECT 1 AS a, 'x"y|z' AS b, NULL::INTEGER AS c, '' AS d, true AS e, [1, 2] AS f,
    0.1::FLOAT AS g, 'nan'::DOUBLE AS h, date '2020-01-31' AS i, 1.50::DECIMAL(9, 2) AS j,
    {'k': 1} AS k, 'two
lines' AS l, 1 AS a"""


def reader(sql: str, rows_per_batch: int = 7) -> pa.RecordBatchReader:
    return duckdb.connect().sql(sql).to_arrow_reader(rows_per_batch)


def box(sql: str, width: int = 80, **options: object) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, markup=False, highlight=False)
    render.write_box(reader(sql), console, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def text_of(write: object, sql: str, **options: object) -> str:
    sink = io.BytesIO()
    write(reader(sql), sink, **options)  # type: ignore[operator]
    return sink.getvalue().decode()


def test_box_shows_names_types_values_and_null() -> None:
    lines = box("SELECT 7 AS id, 'a' AS name UNION ALL SELECT 1234, NULL ORDER BY id").splitlines()
    assert lines == [
        "╭─────────┬─────────╮",
        "│      id │ name    │",
        "│ integer │ varchar │",
        "├─────────┼─────────┤",
        "│       7 │ a       │",
        "│    1234 │ NULL    │",
        "╰─────────┴─────────╯",
        "2 rows",
    ]


def test_box_of_a_long_result_shows_both_ends() -> None:
    lines = box("SELECT i FROM range(3452) r(i)", max_rows=5).splitlines()
    values = [line.strip("│ ") for line in lines[4:-2]]
    assert values == ["0", "1", "2", "… 3,447 rows", "3450", "3451"]
    assert lines[-1] == "3,452 rows (5 shown)"


@pytest.mark.parametrize("n_rows", [0, 1, 4, 5, 6, 7, 8, 50])
@pytest.mark.parametrize("max_rows", [0, 1, 4, 5])
def test_box_shows_as_many_rows_as_asked(n_rows: int, max_rows: int) -> None:
    text = box(f"SELECT i + 100 AS i FROM range({n_rows}) r(i)", max_rows=max_rows)
    shown = [line.strip("│ ") for line in text.splitlines() if line.strip("│ ").isdigit()]
    every = [str(i + 100) for i in range(n_rows)]
    if max_rows and n_rows > max_rows:
        n_head = (max_rows + 1) // 2
        every = every[:n_head] + every[n_rows - (max_rows - n_head) :]
    assert shown == every


def test_box_folds_long_text_to_the_width() -> None:
    text = box("SELECT 1 AS id, repeat('word ', 40) AS text FROM range(2)", width=50)
    assert all(len(line) == 50 for line in text.splitlines() if line.startswith("│"))
    assert text.count("word") == 80


def test_box_cuts_very_long_text_unless_it_is_the_only_row() -> None:
    assert "…" in box("SELECT repeat('a', 999) AS a FROM range(2)")
    assert box("SELECT repeat('z', 999) AS b").count("z") == 999


def test_box_leaves_out_middle_columns_that_do_not_fit() -> None:
    columns = ", ".join(f"{i} AS column_number_{i}" for i in range(12))
    text = box(f"SELECT {columns}", width=80)
    assert "column_number_0" in text
    assert "column_number_11" in text
    assert "column_number_6" not in text
    assert text.splitlines()[-1].startswith("1 row, 12 columns (")


def test_box_names_types_of_an_empty_result() -> None:
    text = box("SELECT 1 AS a, 'x' AS a, [1] AS b WHERE false")
    assert "integer[]" in text
    assert text.splitlines()[-1] == "0 rows"


def test_box_takes_the_types_it_is_given() -> None:
    assert "uuid" in box("SELECT uuid()::VARCHAR AS id", types=["UUID"])


def test_box_never_passes_on_escape_sequences() -> None:
    text = box("SELECT chr(27) || '[31mred' || chr(7) AS a, chr(27) AS b")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "␛[31mred␇" in text


def test_a_plan_is_printed_without_a_box() -> None:
    text = box("EXPLAIN SELECT 42")
    assert "PROJECTION" in text
    assert "explain_value" not in text


NUMBERS = st.lists(st.integers(-(10**17), 10**17).map(str), min_size=3, max_size=3)
WORDS = st.lists(st.text("wxyz字", min_size=1, max_size=90), min_size=3, max_size=3)


@given(
    st.lists(
        st.builds(
            boxes.Column,
            st.text("ab_é字", min_size=1, max_size=30),
            st.sampled_from(["BIGINT", "TIMESTAMP WITH TIME ZONE", ""]),
            st.booleans(),
            NUMBERS | WORDS,
            st.sampled_from(["", "… 3,447 rows"]),
        ),
        min_size=1,
        max_size=9,
    ),
    st.integers(40, 160),
)
@settings(deadline=None)
def test_no_line_of_a_box_is_wider_than_allowed_and_nothing_is_cut(
    columns: list[boxes.Column], width: int
) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, markup=False, highlight=False)
    shown = boxes.fitting(columns, width)
    console.print(boxes.table(columns, shown, width, 2))
    lines = stream.getvalue().splitlines()
    assert len({cell_len(line) for line in lines}) == 1
    assert cell_len(lines[0]) <= width
    assert all(line[-1] in "╮│┤╯" for line in lines)
    pieces = [line[1:-1].split("│") for line in lines if line[0] == "│"]
    for i, cells in zip(shown, zip(*pieces, strict=True), strict=True):
        if i is not None:
            found = "".join(cell.strip() for cell in cells)
            mark = "" if not columns[0].gap else "…" if i else columns[0].gap
            values = columns[i].cells
            wanted = [columns[i].name, columns[i].type.lower(), *values[:2], mark, *values[2:]]
            assert found.replace(" ", "") == "".join(wanted).replace(" ", "")


def test_texts_are_those_of_duckdb() -> None:
    sql = """SELECT * FROM (VALUES (-127::TINYINT, true, 'é', 18446744073709551615::UBIGINT),
        (NULL, NULL, NULL, NULL), (7, false, '', 0)) t(a, b, c, d)"""
    found = reader(sql).read_all()
    casts = ", ".join(f"{name}::VARCHAR" for name in found.column_names)
    rows = duckdb.sql(f"SELECT {casts} FROM ({sql})").fetchall()
    assert render.texts(found) == [list(column) for column in zip(*rows, strict=True)]
    assert render.texts(found.append_column("e", pa.array([1.5, None, -0.0]))) == [
        *render.texts(found),
        ["1.5", None, "-0.0"],
    ]
    assert render.texts(found.slice(0, 0)) == [[], [], [], []]


@pytest.mark.parametrize("width", [40, 60, 80, 90, 100, 120, 200])
def test_a_box_of_many_kinds_has_its_right_border(width: int) -> None:
    sql = """SELECT 1 AS id, 2 AS year, 3 AS stars, 'a joy' AS text,
        'a joy' AS longer_name_for_text, TIMESTAMPTZ '2026-11-22 15:00:00.123456+00' AS t,
        NULL::TIMESTAMPTZ AS t2"""
    lines = box(sql, width=width).splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1
    assert len(lines[0]) <= width
    assert {line[-1] for line in lines[:-1]} == set("╮│┤╯")


def test_csv_keeps_null_and_empty_apart() -> None:
    text = text_of(render.write_csv, AWKWARD)
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == [*"abcdefghijkl", "a"]
    assert rows[1][:6] == ["1", 'x"y|z', "", "", "true", "[1, 2]"]
    assert rows[1][6:] == ["0.1", "nan", "2020-01-31", "1.50", "{'k': 1}", "two\nlines", "1"]
    assert '"",true' in text  # the empty string
    assert ',,"",' in text  # NULL, then the empty string


def test_csv_of_no_rows_is_a_header() -> None:
    assert text_of(render.write_csv, 'SELECT 1 AS "a""b", 2 AS c WHERE false') == '"a""b","c"\n'


def test_json_is_one_array_without_line_breaks() -> None:
    text = text_of(render.write_json, AWKWARD.replace(", 1 AS a", "") + " FROM range(20)")
    assert text.count("\n") == 1
    rows = json.loads(text)
    assert len(rows) == 20
    assert rows[3] == {
        "a": 1,
        "b": 'x"y|z',
        "c": None,
        "d": "",
        "e": True,
        "f": [1, 2],
        "g": 0.1,
        "h": None,
        "i": "2020-01-31",
        "j": 1.5,
        "k": {"k": 1},
        "l": "two\nlines",
    }


def test_json_lines() -> None:
    text = text_of(render.write_json, "SELECT i FROM range(20) r(i)", lines=True)
    assert [json.loads(line) for line in text.splitlines()] == [{"i": i} for i in range(20)]
    assert text.endswith("}\n")


@pytest.mark.parametrize(("lines", "expected"), [(False, "[]\n"), (True, "")])
def test_json_of_no_rows(lines: bool, expected: str) -> None:
    assert text_of(render.write_json, "SELECT 1 AS a WHERE false", lines=lines) == expected


def test_markdown_escapes_bars_and_line_breaks() -> None:
    text = text_of(render.write_markdown, "SELECT 1 AS n, 'a|b' AS \"x|y\", 'p' || chr(10) || 'q'")
    assert text.splitlines()[0].startswith("| n | x\\|y |")
    assert text.splitlines()[1].startswith("| ---: | --- |")
    assert text.splitlines()[2] == "| 1 | a\\|b | p<br>q |"


def test_parquet_keeps_types_rows_and_metadata() -> None:
    table = reader("SELECT i, [i] AS l, i::VARCHAR AS s FROM range(100) r(i)").read_all()
    table = table.replace_schema_metadata({"note": "kept"})
    sink = io.BytesIO()
    render.write_parquet(table.to_reader(max_chunksize=9), sink)
    sink.seek(0)
    found = pq.read_table(sink)
    assert found.equals(table)
    assert found.schema.metadata[b"note"] == b"kept"


def test_writers_read_a_stream_batch_by_batch() -> None:
    schema = pa.schema([("a", pa.int64())])
    pulled = []

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, 1_000_000, 100_000):
            pulled.append(start)
            yield pa.record_batch([pa.array(range(start, start + 100_000))], schema=schema)

    class Sink(io.RawIOBase):
        after: int | None = None

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            if len(pulled) and self.after is None and len(memoryview(data)) > 100:  # type: ignore[arg-type]
                self.after = len(pulled)
            return len(memoryview(data))  # type: ignore[arg-type]

    sink = Sink()
    render.write_json(pa.RecordBatchReader.from_batches(schema, batches()), sink)  # type: ignore[arg-type]
    assert len(pulled) == 10
    assert sink.after is not None
    assert sink.after < 10


def test_console_is_plain_off_a_terminal_and_under_no_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "61")
    assert render.console_for(io.StringIO()).width == 61
    for stream, no_color, styled in (
        (Terminal(), None, True),
        (Terminal(), "1", False),
        (io.StringIO(), None, False),
    ):
        monkeypatch.setenv("NO_COLOR", no_color) if no_color else None
        render.console_for(stream).print("x", style="bold red")
        assert ("\x1b" in stream.getvalue()) is styled
        monkeypatch.delenv("NO_COLOR", raising=False)
