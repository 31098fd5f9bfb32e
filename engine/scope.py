"""Frames in the caller's variables, found by the names that a statement reads from."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import duckdb
import pyarrow as pa

from thresher.duckdb_versions import unregistered
from thresher.errors import Error, OperationalError, ProgrammingError
from thresher.sql.names_read import hidden_by, names_read
from thresher.sql.tokens import identifier

__all__ = ["Lent", "Scope", "frames_of"]

Found = dict[str, object]
Scope = Callable[[str], tuple[Found, Found, Found]]
"""Returns what a statement may mean, by name: frames given to it, variables, those further out."""

_FRAMES = {
    "duckdb": ("DuckDBPyRelation",),
    "_duckdb": ("DuckDBPyRelation",),
    "pandas": ("DataFrame",),
    "polars": ("DataFrame", "LazyFrame"),
    "pyarrow": ("Dataset", "RecordBatch", "RecordBatchReader", "Scanner", "Table"),
}
_WAYS = (
    "A view keeps no reference to a frame: write CREATE TABLE.",
    "Leave TEMP out, or read the frame by another name: other = {0}, and FROM other.",
)


def frames_of(given: Mapping[str, object] | None = None) -> Scope:
    """Return what finds variables by name: in a mapping, then where a statement is run.

    That is the innermost function outside of this package; then its callers, which are looked at
    only where DuckDB's ``python_scan_all_frames`` is set. Variables are looked up when a statement
    asks for them, so that the function must be running still.
    """
    caller: FrameType | None = sys._getframe(1)
    while caller is not None and _is_ours(caller):
        caller = caller.f_back

    def found(sql: str) -> tuple[Found, Found, Found]:
        names = names_read(sql)
        handed, near, far = _taken(names, given or {}), Found(), Found()
        if caller is not None and names:
            near = _taken(names - handed.keys(), caller.f_locals, caller.f_globals)
            outer, left = caller.f_back, names - handed.keys() - near.keys()
            while outer is not None and left:
                far |= _taken(left, outer.f_locals, outer.f_globals)
                outer, left = outer.f_back, left - far.keys()
        return handed, near, far

    return found


def _taken(names: set[str], *places: Mapping[str, object]) -> dict[str, object]:
    """Return the variables of these names, each from the first place that has one."""
    return {name: place[name] for place in reversed(places) for name in names if name in place}


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "thresher"


def _library(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _is_frame(value: object) -> bool:
    """Whether DuckDB can read a variable as rows."""
    bases = [(_library(base), base.__name__) for base in type(value).__mro__]
    if any(name in _FRAMES.get(library, ()) for library, name in bases):
        return True
    known = any(library in _FRAMES for library, _ in bases)
    return not known and hasattr(value, "__arrow_c_stream__")


class Lent:
    """Frames of the user's that a statement may read as tables.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Whose tables they join.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._names: list[str] = []
        self._readers: dict[str, pa.RecordBatchReader] = {}
        self._unfit: dict[str, tuple[str, str]] = {}

    def lend(self, sql: str, scope: Scope | None) -> None:
        """Register the frames that a statement means, unless the database has tables so called."""
        handed, near, far = ({}, {}, {}) if scope is None else scope(sql)
        self._unfit = {
            name: (what, type(value).__name__)
            for what, found in (("frame", handed), ("variable", near))
            for name, value in found.items()
            if not _is_frame(value)
        }
        frames = {name: one for name, one in (handed | near).items() if name not in self._unfit}
        outer = {name: value for name, value in far.items() if _is_frame(value)}
        if outer and self._is_set("python_scan_all_frames"):
            frames |= outer
        if frames and self._is_set("python_enable_replacements"):
            frames = {name: one for name, one in frames.items() if not self._is_table(name)}
            _check_made(sql, frames)
            for name, value in frames.items():
                with _named("frame" if name in handed else "variable", name, value):
                    self._register(name, value)

    def keep_still(self) -> None:
        """Read what can be read only once, for a statement that reads its rows several times."""
        for name, reader in self._readers.items():
            self._connection.register(name, reader.read_all())
        self._readers = {}

    def take_back(self) -> None:
        """Forget the frames."""
        while self._names:
            unregistered(self._connection, self._names.pop())
        self._readers = {}

    def explained(self, error: ProgrammingError) -> ProgrammingError:
        """Return the error for a table that is missing where a variable has its name."""
        found = re.search(r'Table with name "?([^"\s]+)"? does not exist', error.message)
        if found is None or found[1] not in self._unfit:
            return error
        name, (what, kind) = found[1], self._unfit[found[1]]
        return ProgrammingError(
            f"there is no table {name}, and the {what} {name} is {_an(kind)}: a statement can read "
            "frames of pandas and polars, Arrow data and relations of DuckDB",
            sql=error.sql,
            offset=error.offset,
            length=error.length,
        )

    def _register(self, name: str, value: object) -> None:
        if isinstance(value, duckdb.DuckDBPyRelation):
            value = value.to_arrow_table()  # it may be of this very connection
        elif isinstance(value, pa.RecordBatch):
            value = pa.Table.from_batches([value])
        elif type(value).__name__ == "LazyFrame":
            value = value.collect()  # type: ignore[attr-defined]
        elif _is_stream(value):
            value = self._readers[name] = pa.RecordBatchReader.from_stream(value)
        self._connection.register(name, value)
        self._names.append(name)

    def _is_set(self, setting: str) -> bool:
        """Whether the user lets statements read variables, which DuckDB has settings for."""
        found = self._connection.execute("SELECT current_setting(?)", [setting]).fetchall()
        return bool(found[0][0])

    def _is_table(self, name: str) -> bool:
        try:
            self._connection.table(identifier(name))
        except duckdb.CatalogException:
            return False
        return True


def _check_made(sql: str, frames: Mapping[str, object]) -> None:
    """Refuse a temporary table, or a view, with the name of a frame that it reads."""
    made = hidden_by(sql) if frames else None
    if made is None:
        return
    kind, place = made
    written = sql[place.offset : place.offset + place.length]
    for name in frames:
        if name.lower() == written.strip('"').lower():
            raise ProgrammingError(
                f"{name} is a frame that this statement reads, and cannot be the name of its "
                f"{kind} too. {_WAYS[kind == 'temporary table'].format(name)}",
                sql=sql,
                offset=place.offset,
                length=place.length,
            )


@contextmanager
def _named(what: str, name: str, value: object) -> Iterator[None]:
    """Say which frame or variable it is that cannot be read."""
    try:
        yield
    except (Error, duckdb.InterruptException):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":
            raise
        kind = OperationalError if isinstance(error, OSError) else ProgrammingError
        said = f"the {what} {name}, {_an(type(value).__name__)}, cannot be read as a table"
        raise kind(f"{said}: {error}") from error


def _an(kind: str) -> str:
    return f"an {kind}" if kind[:1].lower() in "aeio" else f"a {kind}"


def _is_stream(value: object) -> bool:
    """Whether it gives its rows once: a reader, or something else that hands out a stream."""
    if isinstance(value, pa.Table) or not hasattr(value, "__arrow_c_stream__"):
        return False
    return not any(_library(base) in ("pandas", "polars") for base in type(value).__mro__)
