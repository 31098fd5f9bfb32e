"""Few rows read by their row ids: DuckDB is told to leave out the parts of a table without any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb

__all__ = ["sparse"]

_MOST = 4096  # ids: each part of the table is compared with all of them
_PART = 3000  # rows of a table for each id, so that parts of 2,048 rows often have none
_SETTING, _DEFAULT = "dynamic_or_filter_threshold", "50"


@contextmanager
def sparse(connection: duckdb.DuckDBPyConnection, n_wanted: int, n_rows: int) -> Iterator[None]:
    """Have joins inside hand their ids to the scan of the table, where that saves reading.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Where the join runs.
    n_wanted, n_rows : int
        Ids that are joined with, and rows of the table.

    Notes
    -----
    DuckDB does so by itself for as many ids as a setting of the whole database says, by default
    50. It is raised while this lasts, which changes no result, and only from its default: what
    somebody else has set stays. Another connection sets it, since an error inside may leave a
    transaction in which nothing runs.

    Examples
    --------
    >>> with duckdb.connect() as connection, sparse(connection, 100, 1_000_000):
    ...     connection.sql("SELECT current_setting('dynamic_or_filter_threshold')").fetchone()
    (4096,)
    """
    if n_wanted > min(_MOST, n_rows // _PART):
        yield
        return
    with connection.cursor() as other:
        raised = False
        with suppress(duckdb.Error):  # the configuration is locked, or there is no such setting
            found = other.execute(f"SELECT current_setting('{_SETTING}')").fetchone()
            if found is not None and str(found[0]) == _DEFAULT:
                raised = True
                other.execute(f"SET GLOBAL {_SETTING} = {_MOST}")
        try:
            yield
        finally:
            if raised:
                with suppress(duckdb.Error):
                    other.execute(f"RESET GLOBAL {_SETTING}")
