"""DuckDB's exceptions as ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from thresher import errors
from thresher.error_places import found_place, named, without_excerpt
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
        Whether DuckDB was given a rewritten one: its excerpt is then of that text, and the name or
        the value that it complains of is shown in the user's.
    """
    try:
        yield
    except duckdb.InterruptException as error:
        raise errors.OperationalError(_UNTOLD) from error
    except duckdb.Error as error:
        raise _told(error, sql, names, rewritten) from error
    except errors.DatabaseError as error:
        theirs = error.__cause__
        if sql is None or error.sql is not None or not isinstance(theirs, duckdb.Error):
            raise
        if error.message != str(theirs):
            raise  # it says more than DuckDB; that of a stream, which knows no statement, does not
        raise _told(theirs, sql, names, rewritten) from theirs


def _told(
    error: duckdb.Error, sql: str | None, names: Names | None, rewritten: bool
) -> errors.Error:
    """Return what says the same as an error of DuckDB's, at its place in the statement."""
    kind = next((ours for theirs, ours in _KINDS if isinstance(error, theirs)), None)
    kind = kind or errors.DatabaseError
    text = _found_inside(str(error))
    if sql is None:
        return kind(text)
    if names is not None and (meant := _meant(text, sql, names)) is not None:
        return meant
    if not rewritten:
        return _at(kind, without_excerpt(text), text, sql)
    if (wrong := _NOT_A_NUMBER.search(text)) is not None:
        message = wrong[1].replace(f'"{wrong[2]}"', wrong[2], 1) + "."
        return _at_name(message, wrong[2], sql)
    if _UNGROUPED.search(text):
        return kind(_GROUPED, sql=sql)
    message = _OURS.sub("", without_excerpt(text)).strip()
    message = message.replace("Candidate bindings: , ", "Candidate bindings: ")
    message = message.removesuffix("Candidate bindings:").strip()
    return _at(kind, message, message, sql)


def _at(kind: type[errors.Error], message: str, text: str, sql: str) -> errors.Error:
    """Make an error at the place that DuckDB's text tells."""
    place = found_place(text, sql)
    if place is None:
        return kind(message, sql=sql)
    return kind(message, sql=sql, offset=place.offset, length=place.length)


def _at_name(message: str, name: str, sql: str) -> errors.ProgrammingError:
    """Make an error at the first place of a name."""
    place = named(name, sql)
    if place is None:
        return errors.ProgrammingError(message, sql=sql)
    return errors.ProgrammingError(message, sql=sql, offset=place.offset, length=place.length)


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
        return _at_name(_uncalled(column[1], names), column[1], sql)
    for pattern, known, message in patterns:
        found = pattern.search(text)
        if found is None:
            continue
        others = re.findall(r'"([^"]+)"', text[found.end() :])  # what DuckDB takes for meant
        alike = difflib.get_close_matches(found[1].lower(), [*known, *others], 1, _ALIKE)
        if not alike or alike[0] not in known:
            return None
        return _at_name(message(found[1], alike[0]), found[1], sql)
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
