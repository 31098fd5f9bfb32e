"""The label store in SQL: labels, what they cost, certificates, and label logs."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from thresher.label_batches import SHOWN, shown_labels
from thresher.label_log import LOG_SCHEMA
from thresher.labels import CERTIFICATE_COLUMNS, SPEND_COLUMNS, LabelStore

__all__ = ["offer_store"]

_ARROW = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "VARCHAR": pa.string()}


def offer_store(connection: duckdb.DuckDBPyConnection, store: LabelStore, sql: str) -> None:
    """Define the table functions that a statement uses."""
    if "thresher_labels" in sql.lower():
        _define_labels(connection, store)
    if "thresher_spend" in sql.lower():
        _define(connection, "thresher_spend", SPEND_COLUMNS, store.spend())
    if "thresher_label_log" in sql.lower():
        _define_log(connection, store)
    if "thresher_certificates" in sql.lower():
        _define(connection, "thresher_certificates", CERTIFICATE_COLUMNS, store.certificates())


class _Labels:
    """The labels there are now, read anew by every scan of DuckDB."""

    def __init__(self, store: LabelStore) -> None:
        self._store, self._until = store, store.last()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a stream of batches, by Arrow's PyCapsule interface."""
        batches = shown_labels(self._store.file, self._until)
        return pa.RecordBatchReader.from_batches(SHOWN, batches).__arrow_c_stream__(
            requested_schema
        )


def _define_labels(connection: duckdb.DuckDBPyConnection, store: LabelStore) -> None:
    """Make the table function of labels."""
    connection.register("__thresher_labels", _Labels(store))
    connection.execute(
        "CREATE OR REPLACE TEMP MACRO thresher_labels() AS TABLE SELECT * FROM __thresher_labels"
    )


def _define_log(connection: duckdb.DuckDBPyConnection, store: LabelStore) -> None:
    """Make the table function of label logs."""
    logs = [
        log.add_column(0, "certificate", pa.array([row[0]] * log.num_rows, pa.string()))
        for row in store.certificates()
        if (log := store.certificate_labels(row[0])).num_rows
    ]
    schema = LOG_SCHEMA.insert(0, pa.field("certificate", pa.string()))
    connection.register(
        "__thresher_label_log", pa.concat_tables(logs) if logs else schema.empty_table()
    )
    connection.execute(
        "CREATE OR REPLACE TEMP MACRO thresher_label_log(id) AS TABLE "
        "SELECT * EXCLUDE (certificate) FROM __thresher_label_log WHERE certificate = id"
    )


def _define(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[tuple[object, ...]],
) -> None:
    """Make a table function of rows; Unix times, whose columns end in _at, become UTC timestamps.

    TIMESTAMP and not TIMESTAMPTZ: DuckDB hands the latter to Python through pytz alone.
    """
    arrays = {
        column: pa.array([row[i] for row in rows], _ARROW[kind])
        for i, (column, kind) in enumerate(columns)
    }
    connection.register(f"__{name}", pa.table(arrays))
    items = ", ".join(
        f"make_timestamp(CAST(round({column} * 1000000) AS BIGINT)) AS {column}"
        if column.endswith("_at")
        else column
        for column in arrays
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP MACRO {name}() AS TABLE SELECT {items} FROM __{name}"
    )
