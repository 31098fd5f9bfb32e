"""PEP 249's constructors, type objects, and exceptions as attributes."""

from __future__ import annotations

import datetime
import time

from thresher import errors

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Date",
    "DateFromTicks",
    "Exceptions",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TypeObject",
]

Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
Binary = bytes


def DateFromTicks(ticks: float) -> datetime.date:  # noqa: N802 - named by PEP 249
    """Return the local date of a Unix time in seconds."""
    return Date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> datetime.time:  # noqa: N802 - named by PEP 249
    """Return the local time of day of a Unix time in seconds."""
    return Time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime.datetime:  # noqa: N802 - named by PEP 249
    """Return the local date and time of a Unix time in seconds."""
    return Timestamp(*time.localtime(ticks)[:6])


class Exceptions:
    """Has PEP 249's exceptions as attributes, for code that is given a connection or a driver."""

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError


class TypeObject:
    """Equal to the type codes of a group of DuckDB types, as they stand in a description.

    Examples
    --------
    >>> import thresher
    >>> cursor = thresher.connect().execute("SELECT 1 AS i, 'a' AS s")
    >>> [column[1] == thresher.NUMBER for column in cursor.description]
    [True, False]
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def __eq__(self, other: object) -> bool:
        return self is other or str(other).partition("(")[0].upper() in self._names

    def __hash__(self) -> int:
        return hash(self._names)


STRING = TypeObject("VARCHAR", "UUID", "ENUM", "JSON", "BIT")
BINARY = TypeObject("BLOB")
NUMBER = TypeObject(
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
    "BIGNUM",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "BOOLEAN",
)
DATETIME = TypeObject(
    "DATE",
    "TIME",
    "TIME_NS",
    "TIME WITH TIME ZONE",
    "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP_S",
    "TIMESTAMP_MS",
    "TIMESTAMP_NS",
    "INTERVAL",
)
ROWID = TypeObject()
