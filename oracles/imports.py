"""Python objects that an option names as ``package.module:name``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from thresher.oracles.context import Context
from thresher.oracles.options import Options

__all__ = ["imported"]


_homes: dict[str, Path] = {}  # modules that were found in a folder of a session, and in which


def _module(name: str, folder: Path) -> ModuleType:
    """Import a module; a folder is searched after all other places.

    One process may serve several folders, each with a module of the same name: what was found in
    another folder does not count here, and stays with those who have it.
    """
    others = [key for key, home in _homes.items() if home != folder and key in sys.modules]
    aside = {key: sys.modules.pop(key) for key in others}
    before = set(sys.modules)
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        found = importlib.import_module(name)
    except BaseException:
        sys.modules.update(aside)
        raise
    finally:
        sys.path.remove(str(folder))
    _homes.update((key, folder) for key in set(sys.modules) - before if _lies_in(key, folder))
    return found


def _lies_in(name: str, folder: Path) -> bool:
    """Whether a module, or the package around it, lies in a folder itself: not in its `.venv`."""
    outer = sys.modules.get(name.partition(".")[0])  # a module may be listed without its package
    places = [*getattr(outer, "__path__", ()), getattr(outer, "__file__", None) or ""]
    return any(Path(place).parent == folder for place in places)


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
        found: object = _module(module_name, folder)
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
