"""What may be estimated, or score rows: numbers. Other types are refused before a label."""

from __future__ import annotations

import re

__all__ = ["NOT_A_NUMBER", "as_number", "is_number", "is_numeric"]

_NUMBERS = (
    r"^(U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\([0-9, ]+\)|BOOLEAN|BIGNUM"
    r'|VARINT|"NULL")$'
)
_NO_NUMBERS = ("VARCHAR", "TEXT", "STRING", "CHAR", "DATE", "TIME", "INTERVAL", "UUID", "BLOB")
NOT_A_NUMBER = "only numbers are estimated. Cast it to one, for example epoch(day) or length(text)"
"""What is said of any other argument."""


def is_number(type_name: str) -> bool:
    """Return whether values of a declared type may be numbers.

    Examples
    --------
    >>> is_number("INTEGER"), is_number("varchar(3)")
    (True, False)
    """
    return not type_name.upper().startswith(_NO_NUMBERS)


def is_numeric(type_name: str) -> bool:
    """Return whether DuckDB names a type of numbers, truth values or NULL.

    Examples
    --------
    >>> is_numeric("DECIMAL(2,1)"), is_numeric("BIGINT[]")
    (True, False)
    """
    return re.search(_NUMBERS, type_name) is not None


def as_number(plain: str, written: str) -> str:
    """Write a plain argument as a DOUBLE; DuckDB, which knows its type, refuses what is none.

    The text of its error is one that cannot be converted: `error` is volatile, and rows must stand
    still.

    Parameters
    ----------
    plain : str
        SQL of the argument.
    written : str
        The aggregate as the user wrote it, which the error names.
    """
    named = written.replace("'", "''")
    text = f"""'"{named}" is over ' || typeof({plain}) || ': {NOT_A_NUMBER}'"""
    return (
        f"CASE WHEN regexp_matches(typeof({plain}), '{_NUMBERS}') "
        f"THEN CAST(({plain}) AS DOUBLE) ELSE CAST(({text}) AS DOUBLE) END"
    )
