"""The line of a magic, cut into its options and SQL that stays as it was written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from IPython.core.error import UsageError

from thresher.errors import nearest

__all__ = ["OPTIONS", "Arguments", "read"]

OPTIONS = {
    "connection": "a Connection by the name of its variable, or a database file",
    "params": "values for the parameters of the SQL: a variable that holds a mapping or sequence",
}
_OPTION = re.compile(r"""--([a-z][\w-]*)(?:(?:=|[ \t]+)('[^']*'|"[^"]*"|[^\s'"-]\S*))?(?=\s|\Z)""")
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
        An option is unknown, lacks its value or stands there twice.

    Examples
    --------
    >>> read("films << --connection con SELECT '--params p' AS \"{x}\"")
    Arguments(sql='SELECT \'--params p\' AS "{x}"', into='films', connection='con', params=None)
    >>> read("--params=values", "SELECT $n;\n").params
    'values'
    """
    found: dict[str, str] = {}
    at = len(line) - len(line.lstrip())
    while True:
        if option := _OPTION.match(line, at):
            name, value = _checked(option[1], option[2])
        elif into := _INTO.match(line, at):
            name, value = "into", into[1]
        else:
            break
        if name in found:
            raise UsageError(f"{_written(name)} stands there twice")
        found[name] = value
        at = (option or into).end()  # type: ignore[union-attr]
        at += len(line[at:]) - len(line[at:].lstrip())
    rest = line[at:]
    sql = rest if cell is None else f"{rest}\n{cell}" if rest.strip() else cell
    return Arguments(sql, found.get("into"), found.get("connection"), found.get("params"))


def _checked(name: str, value: str | None) -> tuple[str, str]:
    if name not in OPTIONS:
        known = " and ".join(f"--{option}" for option in OPTIONS)
        raise UsageError(
            f"there is no option --{name}.{nearest(name, OPTIONS)} The options are {known}; "
            "a comment in SQL needs a space after its --"
        )
    if not value:
        raise UsageError(f"--{name} needs a value: {OPTIONS[name]}")
    return name, value[1:-1] if value[0] in "'\"" else value


def _written(name: str) -> str:
    return "name <<" if name == "into" else f"--{name}"
