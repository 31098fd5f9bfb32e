"""Python objects that an option names as ``package.module:name``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thresher.oracles.context import Context
from thresher.oracles.options import Options

__all__ = ["imported"]


@contextmanager
def _searched(folder: Path) -> Iterator[None]:
    """Let imports look into a folder, after all other places."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def imported(place: str, option: str, options: Options, context: Context) -> object:
    """Return the object that the value of an option names.

    Parameters
    ----------
    place : str
        ``package.module:name``; the name may have dots.
    option : str
        Name of the option, for messages.
    options : Options
        For messages.
    context : Context
        For the folder that is searched after ``sys.path``.

    Raises
    ------
    OptionError
        If it names nothing, or the module cannot be imported.
    """
    module_name, colon, path = place.partition(":")
    if not colon or not module_name or not path:
        kind = "function" if option == "function" else "object"
        raise options.error(
            f"{option} = {place!r} names no {kind}. Write 'package.module:name'.", option
        )
    folder = context.base or Path.cwd()
    try:
        with _searched(folder):
            found: object = importlib.import_module(module_name)
    except Exception as error:
        raise options.error(
            f"cannot import {module_name!r} ({type(error).__name__}: {error}). It is looked for on"
            f" sys.path and in {folder}.",
            option,
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise options.error(f"{module_name!r} has no {path!r}.", option)
        found = getattr(found, part)
    return found
