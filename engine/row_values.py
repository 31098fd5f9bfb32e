"""Rows of Arrow batches as the Python objects, and the frames, that DuckDB makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

__all__ = ["RowValues", "fits_arrow"]

Row = tuple[Any, ...]

_PLAIN = re.compile(
    r"(?:BOOLEAN|U?(?:TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE|VARCHAR|BLOB|DATE|TIMESTAMP|JSON"
    r"|DECIMAL\(\d+, ?\d+\))(?:\[\])*"
)
_UNLIKE = re.compile(r"\b(?:BIT|BIGNUM|GEOMETRY|TIME WITH TIME ZONE|UHUGEINT|VARIANT|VARINT)\b")
_ZONE = re.compile(r"tz=([^\]]+)\]")


def fits_arrow(kind: str) -> bool:
    """Whether values of a DuckDB type come back from Arrow as they were.

    Arrow has no time of day with an offset, for example, and DuckDB writes the largest UHUGEINT
    as -1.
    """
    return _UNLIKE.search(kind) is None


class RowValues:
    """Makes of Arrow data what DuckDB would have made of its own rows.

    Parameters
    ----------
    names, types : sequence of str
        DuckDB's name and type of each column.
    beside : callable
        Returns a connection to the same database on which no result of the user's is open.
    """

    def __init__(
        self,
        names: Sequence[str],
        types: Sequence[str],
        beside: Callable[[], duckdb.DuckDBPyConnection],
    ) -> None:
        self._names, self._types, self._beside = names, types, beside
        self._plain = all(_PLAIN.fullmatch(kind) for kind in types)

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
        zone = _ZONE.search(str(table.schema))
        if zone is not None:
            beside.execute(f"SET TimeZone = '{zone[1]}'")
        columns = [f"c{i}" for i in range(table.num_columns)]
        items = [
            f'CAST({column} AS {kind}) AS "{name.replace(chr(34), chr(34) * 2)}"'
            for column, kind, name in zip(columns, self._types, self._names, strict=True)
        ]
        return beside.from_arrow(table.rename_columns(columns)).project(", ".join(items))
