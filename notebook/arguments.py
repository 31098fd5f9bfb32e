"""The line of a magic, cut into its options and SQL that stays as it was written."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from IPython.core.error import UsageError

from thresher.errors import nearest

__all__ = ["OPTIONS", "Arguments", "read", "read_begun"]

OPTIONS = {
    "connection": "a Connection by the name of its variable, or a database file",
    "params": "values for the parameters of the SQL: a variable that holds a mapping or sequence",
}
_OPTION = re.compile(r"""--([a-z][\w-]*)(?:(?:=|[ \t]+)('[^']*'|"[^"]*"|[^\s'"-]\S*))?(?=\s|\Z)""")
_INTO_EXAMPLE = "found << SELECT ..., or leave << out"
_STATEMENTS = """
    abort alter analyze analyse attach audit begin call checkpoint cluster comment commit connect
    copy create deallocate delete desc describe detach drop end execute explain export force from
    import insert install load merge pivot pivot_longer pivot_wider pragma prepare refresh reindex
    release reset rollback savepoint select set show start summarize table transaction truncate
    unpivot update use vacuum values with label
"""
_BEGIN_SQL = frozenset(_STATEMENTS.split())
_INTO = re.compile(r"([^\W\d]\w*)\s*<<")


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a magic was asked for.

    Parameters
    ----------
    sql : str
        Statements, as they were written; blank where there are none.
    into : str or None
        The variable that takes the result.
    connection : str or None
        Variable or file of ``--connection``.
    params : str or None
        Variable of ``--params``.
    """

    sql: str
    into: str | None = None
    connection: str | None = None
    params: str | None = None


def read(line: str, cell: str | None = None) -> Arguments:
    r"""Read the line of ``%thresher``, or the first line and the cell of ``%%thresher``.

    Options and ``name <<`` come in any order before the SQL.

    Parameters
    ----------
    line : str
        What follows the name of the magic.
    cell : str, optional
        The lines below it.

    Raises
    ------
    UsageError
        An option is unknown, lacks its value or stands there twice, or what stands before ``<<``
        is no name of a variable.

    Examples
    --------
    >>> read("films << --connection con SELECT '--params p' AS \"{x}\"")
    Arguments(sql='SELECT \'--params p\' AS "{x}"', into='films', connection='con', params=None)
    >>> read("--params=values", "SELECT $n;\n").params
    'values'
    """
    found, at = _options(line)
    for name, value in found:
        _check(name, value)
    _check_into(line[at:])
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{'name <<' if name == 'into' else f'--{name}'} stands there twice")
    rest = line[at:]
    sql = rest if cell is None else f"{rest}\n{cell}" if rest.strip() else cell
    return _arguments(sql, found)


def read_begun(line: str) -> tuple[Arguments, int]:
    """Read a line that is being written: what is there by now, and where its SQL begins."""
    found, at = _options(line)
    return _arguments(line[at:], found), at


def _options(line: str) -> tuple[list[tuple[str, str | None]], int]:
    """Return the options and ``name <<`` in front of SQL, and where that begins."""
    found: list[tuple[str, str | None]] = []
    at = len(line) - len(line.lstrip())
    while option := _OPTION.match(line, at) or _INTO.match(line, at):
        if option.re is _OPTION:
            value = option[2]
            found.append((option[1], value[1:-1] if value and value[0] in "'\"" else value))
        else:
            found.append(("into", option[1]))
        at = option.end()
        at += len(line[at:]) - len(line[at:].lstrip())
    return found, at


def _arguments(sql: str, found: list[tuple[str, str | None]]) -> Arguments:
    given = dict(found)
    return Arguments(sql, given.get("into"), given.get("connection"), given.get("params"))


def _check_into(rest: str) -> None:
    """Refuse what was meant as ``name <<`` and is none; in SQL ``<<`` shifts bits."""
    begun, shifts, _ = rest.partition("<<")
    written = begun.strip()
    first = re.match(r"\w*", written)
    if not shifts or written[:1] in ("(", "-", "/") or (first and first[0].lower() in _BEGIN_SQL):
        return
    if not written:
        wrong = "none stands there"
    elif (n_words := len(written.split())) > 1 and written.replace(" ", "").isidentifier():
        wrong = f"{written} are {n_words}"
    elif written[0].isdigit() and written.isalnum():
        wrong = f"{written} is none, since it begins with a digit"
    else:
        wrong = f"{written} is none: a name has letters, digits and _ only"
    raise UsageError(f"one variable name stands before <<, and {wrong}. Write {_INTO_EXAMPLE}")


def _check(name: str, value: str | None) -> None:
    if name == "into" and value and keyword.iskeyword(value):
        raise UsageError(
            f"one variable name stands before <<, and {value} is a word of Python itself. "
            f"Write {_INTO_EXAMPLE}"
        )
    if name != "into" and name not in OPTIONS:
        known = " and ".join(f"--{option}" for option in OPTIONS)
        raise UsageError(
            f"there is no option --{name}.{nearest(name, OPTIONS)} The options are {known}; "
            "a comment in SQL needs a space after its --"
        )
    if not value:
        raise UsageError(f"--{name} needs a value: {OPTIONS[name]}")
