"""Query results as text: a box table for people; CSV, JSON and Parquet for programs.

Every function reads a `pyarrow.RecordBatchReader` once and front to back, so a large result never
lies in memory as a whole. Values become text inside a private DuckDB, never row by row in Python.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, TextIO

import pyarrow as pa

from thresher.boxes import Column, clean, fitting, table
from thresher.reports import counted

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "console_for",
    "folded",
    "texts",
    "write_box",
    "write_csv",
    "write_json",
    "write_markdown",
    "write_parquet",
    "write_plan",
]

_LONGEST_CELL = 280  # characters of a value that the box shows when there are several rows


def console_for(stream: TextIO) -> Console:
    """Return a rich console on a stream: styled on a terminal unless ``NO_COLOR`` is set.

    Parameters
    ----------
    stream : text stream
        Usually standard output. Off a terminal the width is ``COLUMNS``, or 100.
    """
    from rich.console import Console

    class Printed(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the program, with an exit code of its own

    plain = bool(os.environ.get("NO_COLOR")) or not stream.isatty()
    width = None if stream.isatty() else shutil.get_terminal_size((100, 24)).columns
    return Printed(
        file=stream,
        width=width,
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


def folded(summary: str, width: int) -> list[str]:
    """Break a certificate's line between its parts so that each piece fits a width.

    Examples
    --------
    >>> folded("exact | 3 of 5 rows | 5 labels bought, 0 reused", width=30)
    ['exact | 3 of 5 rows', '5 labels bought, 0 reused']
    """
    lines: list[str] = []
    for part in summary.split(" | "):
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] += f" | {part}"
        else:
            lines.append(part)
    return lines


def write_box(
    reader: pa.RecordBatchReader,
    console: Console,
    *,
    types: Sequence[str] | None = None,
    max_rows: int = 40,
    more: bool = False,
) -> int:
    """Print a table with box lines and return the number of rows of the result.

    Parameters
    ----------
    reader : pyarrow.RecordBatchReader
        The result.
    console : rich.console.Console
        Where to print; its width decides how text folds and how many columns are shown.
    types : sequence of str, optional
        DuckDB's name of each column's type; read off the Arrow types when absent. An empty one
        is left out.
    max_rows : int
        Rows to show, half from the start and half from the end; 0 shows all.
    more : bool
        Whether the result has rows after those of the reader.
    """
    ends, n_rows = _ends(reader, max_rows)
    n_shown = ends.num_rows
    gap = "" if n_shown == n_rows else f"… {n_rows - n_shown:,} rows"
    columns = _columns(ends, types, gap)
    if n_rows == 1 and len(columns) <= 2 and "\n" in (columns[-1].cells[0] or ""):
        # A plan or a report: its lines are its layout.
        _write_lines(columns[-1].cells, console)
        return n_rows
    shown = fitting(columns, console.width)
    console.print(table(columns, shown, console.width, (max_rows + 1) // 2))
    n_columns_shown = sum(i is not None for i in shown)
    console.print(_footer(n_rows, n_shown, len(columns), n_columns_shown, more=more), style="dim")
    return n_rows


def write_plan(reader: pa.RecordBatchReader, console: Console) -> None:
    """Print the lines of a plan, all of them and as they are: they lie in the last column."""
    _write_lines(texts(reader.read_all())[-1], console)


def write_csv(reader: pa.RecordBatchReader, sink: BinaryIO) -> None:
    """Write CSV (RFC 4180, UTF-8) with a header; NULL is empty, an empty string is ``""``.

    Numbers, booleans and strings are written as they are; any other value as DuckDB casts it to
    VARCHAR.
    """
    import pyarrow.csv

    names = list(reader.schema.names)
    plain = [_is_plain(field.type) for field in reader.schema]
    items = [f"c{i}" if p else f"c{i}::VARCHAR AS c{i}" for i, p in enumerate(plain)]
    writer: pyarrow.csv.CSVWriter | None = None
    for part in _selected(reader, items):
        named = part.rename_columns(names)
        writer = writer or pyarrow.csv.CSVWriter(sink, named.schema)
        writer.write_table(named)
    if writer is None:
        header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
        sink.write(f"{header}\n".encode())
    else:
        writer.close()


def write_json(reader: pa.RecordBatchReader, sink: BinaryIO, *, lines: bool = False) -> None:
    """Write one JSON array of objects without line breaks, or one object a line.

    Parameters
    ----------
    reader : pyarrow.RecordBatchReader
        The result.
    sink : binary stream
        Takes UTF-8.
    lines : bool
        One object a line (NDJSON) in place of an array.

    Notes
    -----
    JSON has no NaN and no infinity: both are written as null.
    """
    pairs = [
        f"{_quoted(name)}, {_json_item(i, reader.schema.field(i).type)}"
        for i, name in enumerate(reader.schema.names)
    ]
    start, between, end = ("", "\n", "\n") if lines else ("[", ",", "]\n")
    first = True
    sink.write(start.encode())
    for part in _selected(reader, [f"json_object({', '.join(pairs)})::VARCHAR AS row_text"]):
        if part.num_rows:
            text = between.join(part.column(0).to_pylist())
            sink.write((("" if first else between) + text).encode())
            first = False
    sink.write((end if not (lines and first) else "").encode())


def write_markdown(reader: pa.RecordBatchReader, sink: BinaryIO) -> None:
    """Write a Markdown table of all rows; a bar in a value is escaped, a line break is ``<br>``."""
    names = [_bar_free(name) for name in reader.schema.names]
    rules = ["---:" if _is_number(field.type) else "---" for field in reader.schema]
    sink.write(f"| {' | '.join(names)} |\n| {' | '.join(rules)} |\n".encode())
    n_columns = len(names)
    items = [
        f"coalesce(replace(replace(c{i}::VARCHAR, '|', '\\|'), chr(10), '<br>'), 'NULL')"
        for i in range(n_columns)
    ]
    for part in _selected(reader, [f"concat_ws(' | ', {', '.join(items)}) AS row_text"]):
        sink.write("".join(f"| {row} |\n" for row in part.column(0).to_pylist()).encode())


def write_parquet(
    reader: pa.RecordBatchReader, sink: BinaryIO, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a Parquet file (zstd) with the metadata of the schema and those given."""
    import pyarrow.parquet

    schema = reader.schema
    if metadata:
        schema = schema.with_metadata({**(schema.metadata or {}), **metadata})
    with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _write_lines(cells: Sequence[str | None], console: Console) -> None:
    console.print("\n".join(clean(cell or "") for cell in cells), soft_wrap=True)


def _selected(reader: pa.RecordBatchReader, items: Sequence[str]) -> Iterator[pa.Table]:
    """Yield tables of SQL items over the columns, which go by the names c0, c1, ..."""
    import duckdb

    fields = [pa.field(f"c{i}", field.type) for i, field in enumerate(reader.schema)]
    schema = pa.schema(fields)  # by position: a result may hold the same name twice
    sql = f"SELECT {', '.join(items)} FROM batch"
    with duckdb.connect(":memory:", config={"threads": 1}) as con:  # one thread keeps the order
        if (zone := _zone(reader.schema)) is not None:
            con.execute("SET TimeZone = ?", [zone])
        # Batch by batch: DuckDB cannot be interrupted while it waits for another DuckDB's rows.
        for batch in reader:
            con.register("batch", pa.table(batch.columns, schema=schema))
            yield con.sql(sql).to_arrow_table()


def _zone(schema: pa.Schema) -> str | None:
    """Return the time zone of the session that gave the rows, None where no column has it."""
    zones = (field.type.tz for field in schema if pa.types.is_timestamp(field.type))
    return next((zone for zone in zones if zone), None)


def _types(schema: pa.Schema) -> list[str]:
    """Return DuckDB's name of the type of each field."""
    import duckdb

    fields = [pa.field(f"c{i}", field.type) for i, field in enumerate(schema)]
    with duckdb.connect(":memory:") as con:
        con.register("result", pa.schema(fields).empty_table())
        return [str(kind) for kind in con.table("result").types]


def _ends(reader: pa.RecordBatchReader, max_rows: int) -> tuple[pa.Table, int]:
    """Return the first and last rows as one table, and how many rows there were."""
    n_head = (max_rows + 1) // 2
    n_tail = max_rows - n_head
    head: list[pa.RecordBatch] = []
    tail: deque[pa.RecordBatch] = deque()
    n_rows = held = 0
    for batch in reader:
        take = batch.num_rows if not max_rows else max(0, min(batch.num_rows, n_head - n_rows))
        n_rows += batch.num_rows
        head.append(batch.slice(0, take))
        rest = batch.slice(take)
        tail.append(rest)
        held += rest.num_rows
        while tail and held - tail[0].num_rows >= n_tail:
            held -= tail.popleft().num_rows
    table = pa.Table.from_batches([*head, *tail], reader.schema)
    excess = held - n_tail
    if max_rows and excess > 0:
        table = pa.concat_tables([table.slice(0, n_head), table.slice(n_head + excess)])
    return table, n_rows


def texts(found: pa.Table) -> list[list[str | None]]:
    """Return the values of each column as DuckDB writes them; None is NULL."""
    columns = [_exact_texts(column) for column in found.columns]
    if None not in columns:
        return [column for column in columns if column is not None]
    reader = pa.RecordBatchReader.from_batches(found.schema, found.to_batches())
    items = [f"c{i}::VARCHAR" for i in range(found.num_columns)]
    parts = [part for part in _selected(reader, items) if part.num_rows]
    if not parts:
        return [[] for _ in range(found.num_columns)]
    return [column.to_pylist() for column in pa.concat_tables(parts).columns]


def _exact_texts(column: pa.ChunkedArray) -> list[str | None] | None:
    """Return the values as DuckDB writes them where Python does alike: a DuckDB takes 0.3 s."""
    kind = column.type
    if pa.types.is_string(kind):
        found: list[str | None] = column.to_pylist()
        return found
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return [None if value is None else str(value).lower() for value in column.to_pylist()]
    return None


def _columns(found: pa.Table, types: Sequence[str] | None, gap: str) -> list[Column]:
    """Return the columns as text, with long values cut short when there are several rows."""
    cells = texts(found)
    types = types or _types(found.schema)
    keep = _LONGEST_CELL if found.num_rows > 1 else None
    return [
        Column(
            clean(name),
            _short_type(type_name),
            _is_number(found.schema.field(i).type),
            [_shorten(value, keep) for value in cells[i]],
            "" if i else gap,
        )
        for i, (name, type_name) in enumerate(zip(found.column_names, types, strict=True))
    ]


def _footer(
    n_rows: int, n_shown: int, n_columns: int, n_columns_shown: int, *, more: bool = False
) -> str:
    rows = f"the first {counted(n_rows, 'row')}, there are more" if more else counted(n_rows, "row")
    rows += f" ({n_shown:,} shown)" if n_shown < n_rows else ""
    hidden = n_columns_shown < n_columns
    return rows + (f", {n_columns} columns ({n_columns_shown} shown)" if hidden else "")


def _shorten(value: str | None, keep: int | None) -> str | None:
    if value is None or keep is None or len(value) <= keep:
        return value
    return value[: keep - 1].rstrip() + "…"


def _short_type(name: str) -> str:
    return name if len(name) <= 24 else name.partition("(")[0]


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _is_plain(kind: pa.DataType) -> bool:
    """Whether pyarrow's CSV writer prints the type as DuckDB would."""
    integer = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    return bool(integer or pa.types.is_floating(kind) or pa.types.is_string(kind))


def _json_item(index: int, kind: pa.DataType) -> str:
    """Return the SQL of one value inside a JSON object."""
    column = f"c{index}"
    if not pa.types.is_floating(kind):
        return column
    # A FLOAT goes through its text: as a double, 0.1 would print as 0.10000000149011612.
    number = f"{column}::VARCHAR::DOUBLE" if kind == pa.float32() else column
    return f"CASE WHEN isfinite({column}) THEN {number} END"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _bar_free(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
