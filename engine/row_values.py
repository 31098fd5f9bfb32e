"""Rows of Arrow batches as the Python objects, and the frames, that DuckDB makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType

from thresher.sql.tokens import literal, quoted

__all__ = ["RowValues", "fits_arrow"]

Row = tuple[Any, ...]

_PLAIN = re.compile(
    r"(?:BOOLEAN|U?(?:TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE|VARCHAR|BLOB|DATE|TIMESTAMP|JSON"
    r"|DECIMAL\(\d+, ?\d+\))(?:\[\])*"
)
_UNLIKE = re.compile(r"\b(?:BIT|BIGNUM|GEOMETRY|TIME WITH TIME ZONE|UHUGEINT|VARIANT|VARINT)\b")
_NESTED = ("array", "list", "map", "struct", "union")


def fits_arrow(kind: DuckDBPyType) -> bool:
    """Whether values of a DuckDB type come back from Arrow as they were.

    Arrow has no time of day with an offset, for example, and DuckDB writes the largest UHUGEINT
    as -1. A struct without names is taken as Arrow has it, as no type in SQL says what it is: it
    fits where Arrow has the very types of its fields.
    """
    if _UNLIKE.search(str(kind)):
        return False
    return not _unnamed(kind) or all(
        part.id in _NESTED or (_PLAIN.fullmatch(str(part)) and str(part) != "JSON")
        for part in _parts(kind)
    )


class RowValues:
    """Makes of Arrow data what DuckDB would have made of its own rows.

    Parameters
    ----------
    names : sequence of str
        DuckDB's name of each column.
    types : sequence of DuckDBPyType
        Its type.
    beside : callable
        Returns a connection to the same database on which no result of the user's is open.
    """

    def __init__(
        self,
        names: Sequence[str],
        types: Sequence[DuckDBPyType],
        beside: Callable[[], duckdb.DuckDBPyConnection],
    ) -> None:
        self._names, self._types, self._beside = names, types, beside
        self._plain = all(_PLAIN.fullmatch(str(kind)) for kind in types)

    def rows(self, batch: pa.RecordBatch) -> list[Row]:
        """Return the rows of a batch."""
        if self._plain:
            # Python has no year 10000 and no infinite date; DuckDB says what stands for them.
            with suppress(OverflowError, ValueError):
                return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        return self.relation(pa.Table.from_batches([batch])).fetchall()

    def relation(self, table: pa.Table) -> duckdb.DuckDBPyRelation:
        """Return a table as a relation with DuckDB's own types."""
        beside = self._beside()
        zone = next((zone for kind in table.schema.types for zone in _zones(kind)), None)
        if zone is not None:
            beside.execute("SET TimeZone = " + literal(zone))
        columns = [f"c{i}" for i in range(table.num_columns)]
        items = [
            f"{_cast(column, kind)} AS {quoted(name)}"
            for column, kind, name in zip(columns, self._types, self._names, strict=True)
        ]
        return beside.from_arrow(table.rename_columns(columns)).project(", ".join(items))


def _parts(kind: DuckDBPyType) -> Iterator[DuckDBPyType]:
    """Return a type, and those of which it consists."""
    yield kind
    for _, part in kind.children if kind.id in _NESTED else ():
        if isinstance(part, DuckDBPyType):
            yield from _parts(part)


def _unnamed(kind: DuckDBPyType) -> bool:
    """Whether there is a struct without names in a type: SQL has no name for that type."""
    return any(part.id == "struct" and not part.children[0][0] for part in _parts(kind))


def _cast(column: str, kind: DuckDBPyType) -> str:
    return column if _unnamed(kind) else f"CAST({column} AS {kind})"


def _zones(kind: pa.DataType) -> Iterator[str]:
    """Return the time zones in an Arrow type."""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        yield kind.tz
    for i in range(kind.num_fields):
        yield from _zones(kind.field(i).type)
