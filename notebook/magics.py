"""``%thresher`` and ``%%thresher``: SQL in a cell."""

from __future__ import annotations

import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from thresher.cursor import Cursor
from thresher.dbapi import Connection
from thresher.errors import Error
from thresher.notebook.arguments import Arguments, read
from thresher.notebook.connections import Connections
from thresher.notebook.failures import shortened
from thresher.notebook.variables import parameters_of, values_of
from thresher.sql import split

if TYPE_CHECKING:
    from IPython.core.completer import MatcherAPIv2
    from IPython.core.interactiveshell import InteractiveShell

    from thresher.notebook.labelling import LabelWidget

__all__ = ["Magics"]

_WIDTH = 60  # of a statement in the line that says what became of it


class Magics:
    """The magics of one shell.

    Parameters
    ----------
    shell : InteractiveShell
        Whose variables the statements see.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self.connections = Connections()
        self.matcher: MatcherAPIv2 | None = None

    def run(
        self, line: str, cell: str | None = None, local: dict[str, object] | None = None
    ) -> Cursor | Connection | LabelWidget | None:
        """Run what a magic holds.

        Parameters
        ----------
        line : str
            What follows the name of the magic.
        cell : str, optional
            The lines below it.
        local : dict, optional
            Variables of the function that holds the magic.

        Returns
        -------
        Cursor, Connection, LabelWidget or None
            The last result; without SQL the current connection; the widget of ``label``. None
            where the result went into a variable, or the last statement returns nothing.

        Raises
        ------
        UsageError
            The options are wrong.
        Error
            A statement has failed.
        """
        asked = read(line, cell)
        namespace = {**self._shell.user_ns, **(local or {})}
        connection = self._connection(asked, namespace)
        if not asked.sql.strip():
            if asked.into or asked.params:
                raise UsageError("there is no SQL to run")
            self.connections.use(connection)
            return connection
        if cell is None and asked.sql.split()[0] == "label":
            with shortened():
                return _labelling(connection, asked.sql)
        with shortened():
            cursor = self._execute(connection, asked, namespace)
        if asked.into:
            self._shell.user_ns[asked.into] = cursor
            return None
        return cursor if cursor.description is not None else None

    def _connection(self, asked: Arguments, namespace: dict[str, object]) -> Connection:
        if asked.connection is None:
            if asked.sql.strip() and self.connections.was_closed:
                raise UsageError(
                    "the connection in use was closed. Name another, as in %thresher --connection "
                    "films.duckdb; %thresher alone takes that of thresher.sql"
                )
            return self.connections.current
        return self.connections.named(asked.connection, namespace)

    def _execute(
        self, connection: Connection, asked: Arguments, namespace: dict[str, object]
    ) -> Cursor:
        """Run the statements one by one; each takes the parameters that stand in it."""
        values = None if asked.params is None else values_of(asked.params, namespace)
        fragments = split(asked.sql)
        cursor = connection.cursor()
        for fragment in fragments:
            try:
                parameters = parameters_of(fragment.text, values, namespace)
                cursor.execute(fragment.text, parameters, frames=namespace)
            except Error as error:
                raise error.within(asked.sql, fragment.text, fragment.offset) from error.__cause__
            is_last = fragment is fragments[-1]
            if not is_last or (cursor.description is None and not asked.into):
                sys.stdout.write(f"{_done(fragment.text, cursor)}\n")
        if not fragments:
            raise UsageError("there is no SQL to run")
        return cursor


def _labelling(connection: Connection, line: str) -> LabelWidget:
    """Return the widget of ``label [oracle or queue]``."""
    from thresher.notebook.labelling import label  # brings anywidget

    usage = "write %thresher label, and the name of an oracle or of a queue's file"
    try:
        words = shlex.split(line)[1:]
    except ValueError as error:
        raise UsageError(f"{usage}: {error}") from error
    if len(words) > 1:
        raise UsageError(usage)
    if words and Path(words[0]).is_file():
        return label(words[0])
    return label(connection, *words)


def _done(sql: str, cursor: Cursor) -> str:
    """Say what became of a statement whose result is not shown."""
    n_rows = cursor.rowcount
    said = "done" if n_rows < 0 else f"{n_rows:,} row{'s' * (n_rows != 1)}"
    if cursor.description is not None:
        said = "not shown; the last result of a cell is"
    return f"{textwrap.shorten(sql, _WIDTH, placeholder=' ...')}: {said}"
