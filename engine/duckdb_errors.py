"""DuckDB's exceptions as ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from thresher import errors
from thresher.sql.names import Names

__all__ = ["stream_errors", "translated"]

_KINDS: tuple[tuple[type[Exception], type[errors.Error]], ...] = (
    (duckdb.IntegrityError, errors.IntegrityError),
    (duckdb.InternalError, errors.InternalError),
    (duckdb.NotSupportedError, errors.NotSupportedError),
    (duckdb.ProgrammingError, errors.ProgrammingError),
    (duckdb.DataError, errors.DataError),
    (duckdb.OperationalError, errors.OperationalError),
)
_OURS = re.compile(r'(, )?"__thresher_\w+"')  # columns that the user does not know
_EXCERPT = re.compile(r"\n+LINE \d+:.*", re.DOTALL)
_NO_FUNCTION = re.compile(r'Function with name "?(\w+)"? does not exist')
_NO_COLUMN = re.compile(r'Referenced column "([^"]+)" not found in FROM clause')
_NO_SETTING = re.compile(r'unrecognized configuration parameter "([^"]+)"')
_GROUPED = (
    "a column or an oracle call stands beside GROUP BY or an aggregate, and is neither grouped by "
    "nor inside an aggregate. Group by it, write max(oracle(x)), or keep the answers first: FROM "
    "(SELECT *, oracle(x) AS answer FROM t)"
)
_UNGROUPED = re.compile(r'ANY_VALUE\("?__thresher_')
_NOT_A_NUMBER = re.compile(
    r"""Could not convert string '("(.*)" is (?:over )?.*)' to DOUBLE""", re.DOTALL
)
_NO_FRAME = re.compile(r'Python Object "(\w+)" of type "\w+" found on line')
_STREAMED = re.compile(r"([A-Za-z]+(?: [A-Za-z]+)*) Error: ")
_UNTOLD = (
    "DuckDB says no more than that it was interrupted. Where nobody did that, the statement failed "
    "in several threads at once, and which error is told was a matter of chance: run it again, or "
    "after SET threads = 1, which tells it for certain."
)
_ALIKE = 0.75  # one letter of four


@contextmanager
def stream_errors() -> Iterator[None]:
    """Turn errors of an Arrow stream, which keep DuckDB's text alone, into `thresher.errors`."""
    with translated():
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            named = _STREAMED.match(str(error))
            name = named[1].title().replace(" ", "") if named else ""
            theirs = getattr(duckdb, f"{name}Exception", None) or duckdb.OperationalError
            raise theirs(str(error)) from None


@contextmanager
def translated(
    sql: str | None = None, names: Names | None = None, *, rewritten: bool = False
) -> Iterator[None]:
    """Turn DuckDB's errors into `thresher.errors` of the same PEP 249 kind.

    Parameters
    ----------
    sql : str, optional
        The statement as the user wrote it.
    names : Names, optional
        What is declared: a function or column that DuckDB does not know may be meant for one.
    rewritten : bool
        Whether DuckDB was given a rewritten one: its excerpt of that text is then left out, and the
        name it complains of is shown in the user's.
    """
    try:
        yield
    except duckdb.InterruptException as error:
        raise errors.OperationalError(_UNTOLD) from error
    except duckdb.Error as error:
        kind = next((ours for theirs, ours in _KINDS if isinstance(error, theirs)), None)
        kind = kind or errors.DatabaseError
        text = _found_inside(str(error))
        meant = _meant(text, sql, names) if sql is not None and names is not None else None
        if meant is not None:
            raise meant from error
        if sql is None or not rewritten:
            raise kind(text) from error
        if (wrong := _NOT_A_NUMBER.search(text)) is not None:
            offset, length = _named(wrong[2], sql) or (None, 1)
            raise errors.ProgrammingError(
                wrong[1].replace(f'"{wrong[2]}"', wrong[2], 1) + ".",
                sql=sql, offset=offset, length=length,
            ) from error  # fmt: skip
        if _UNGROUPED.search(text):
            raise kind(_GROUPED, sql=sql) from error
        message = _OURS.sub("", _EXCERPT.sub("", text)).strip()
        message = message.replace("Candidate bindings: , ", "Candidate bindings: ")
        message = message.removesuffix("Candidate bindings:").strip()
        offset, length = _place(message, sql)
        raise kind(message, sql=sql, offset=offset, length=length) from error


def _found_inside(text: str) -> str:
    """Say of a variable of ours, which DuckDB saw, that there is no table of its name."""
    found = _NO_FRAME.search(text)
    return text if found is None else f"Catalog Error: Table with name {found[1]} does not exist!"


def _meant(text: str, sql: str, names: Names) -> errors.ProgrammingError | None:
    """Return the error for a name that is, or looks like, an oracle's or a proxy's."""
    patterns = (
        (_NO_FUNCTION, names.oracle_names(), _no_function),
        (_NO_COLUMN, names.proxy_names(), _no_column),
        (_NO_SETTING, names.settings(), _no_setting),
    )
    column = _NO_COLUMN.search(text)
    if column is not None and column[1].lower() in names.oracle_names():
        offset, length = _named(column[1], sql) or (None, 1)
        return errors.ProgrammingError(
            _uncalled(column[1], names), sql=sql, offset=offset, length=length
        )
    for pattern, known, message in patterns:
        found = pattern.search(text)
        if found is None:
            continue
        others = re.findall(r'"([^"]+)"', text[found.end() :])  # what DuckDB takes for meant
        alike = difflib.get_close_matches(found[1].lower(), [*known, *others], 1, _ALIKE)
        if not alike or alike[0] not in known:
            return None
        offset, length = _named(found[1], sql) or (None, 1)
        told = message(found[1], alike[0])
        return errors.ProgrammingError(told, sql=sql, offset=offset, length=length)
    return None


def _uncalled(written: str, names: Names) -> str:
    declared = names.oracle(written.lower())
    arguments = [argument.name for argument in declared.signature.arguments] if declared else []
    return f"{written} is an oracle, no column: call it, as in {written}({', '.join(arguments)})"


def _no_column(written: str, name: str) -> str:
    return f"there is no column {written}. Did you mean the proxy {name}?"


def _no_setting(written: str, name: str) -> str:
    return f"DuckDB has no setting {written}. Did you mean thresher_{name}?"


def _no_function(written: str, name: str) -> str:
    where = "An oracle is called in WHERE, the SELECT list or ORDER BY of a SELECT over its rows"
    if written.lower() == name:
        return f"{written} is an oracle, no function of DuckDB, and cannot be called here. {where}."
    return f"there is no function {written}. Did you mean the oracle {name}? {where}."


def _place(message: str, sql: str) -> tuple[int | None, int]:
    """Find the first quoted name of a message in the statement."""
    quoted = re.findall(r'"([^"]+)"', message)
    functions = re.findall(r"(?:[Ff]unction (?:with name )?|name )(\w+)", message)
    for word in [*quoted, *functions]:
        if (found := _named(word, sql)) is not None:
            return found
    return None, 1


def _named(word: str, sql: str) -> tuple[int, int] | None:
    """Find a name in a statement: its offset and length."""
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sql, re.IGNORECASE)
    return None if found is None else (found.start(), len(word))
