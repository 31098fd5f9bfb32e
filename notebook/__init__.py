"""The notebook: magics, live progress, people's labels in a cell.

``%load_ext thresher`` loads it. Nothing here is imported by the rest of the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from IPython.core.magic import needs_local_scope, no_var_expand

from thresher.cursor import Cursor
from thresher.dbapi import Connection
from thresher.notebook.failures import show_from, show_no_more
from thresher.notebook.magics import Magics
from thresher.notebook.matchers import matcher_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from thresher.notebook.labelling import LabelWidget, label

__all__ = ["LabelWidget", "label", "load", "unload"]

_NAME = "thresher"
_LOADED: dict[int, Magics] = {}  # by the identity of the shell


def __getattr__(name: str) -> object:
    """Import the widget, and anywidget with it, on first use."""
    if name in ("LabelWidget", "label"):
        return getattr(import_module("thresher.notebook.labelling"), name)
    raise AttributeError(f"module 'thresher.notebook' has no attribute '{name}'")


def load(shell: InteractiveShell) -> None:
    """Give a shell the magics ``%thresher`` and ``%%thresher``.

    Parameters
    ----------
    shell : InteractiveShell
        A shell of IPython: a kernel's or a terminal's.
    """
    unload(shell)
    magics = _LOADED[id(shell)] = Magics(shell)

    def thresher(
        line: str, cell: str | None = None, local_ns: dict[str, object] | None = None
    ) -> Cursor | Connection | LabelWidget | None:
        """Run SQL of thresher or DuckDB.

        ::

            %thresher SELECT id FROM reviews WHERE is_positive(text) RECALL TARGET 90%
            %%thresher [name <<] [--connection c] [--params values]
            SELECT ...; SELECT ...
            %thresher --connection films.duckdb
            %thresher label [oracle or queue]

        The last result is shown, or goes into the variable before ``<<``. SQL reaches the engine
        as it is written: nothing in braces or after a dollar sign is replaced. ``$name`` is a
        parameter, whose value is the variable of that name, or what ``--params`` holds: a mapping
        of names to values, or a list for ``?`` and ``$1``. Data frames and Arrow tables are tables
        by the names of their variables.

        ``--connection`` names a variable that holds a Connection, or a database file, for this
        cell; without SQL, from now on. ``con = %thresher`` gives the current connection.
        """
        return magics.run(line, cell, local_ns)

    if shell.Completer is not None:
        magics.matcher = matcher_of(shell, magics.connections)
        shell.Completer.custom_matchers.append(magics.matcher)
    show_from(shell)
    no_var_expand(thresher)
    needs_local_scope(thresher)
    shell.magics_manager.register_function(thresher, magic_kind="line_cell", magic_name=_NAME)


def unload(shell: InteractiveShell) -> None:
    """Take the magics away, and close the connections that they opened.

    Parameters
    ----------
    shell : InteractiveShell
        The one that `load` was given.
    """
    magics = _LOADED.pop(id(shell), None)
    if magics is None:
        return
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop(_NAME, None)
    if magics.matcher is not None and shell.Completer is not None:
        shell.Completer.custom_matchers.remove(magics.matcher)
    show_no_more(shell)
    magics.connections.close()
