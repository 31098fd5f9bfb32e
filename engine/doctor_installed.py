"""Checks of what is installed: Python, libraries, extras, the terminal."""

from __future__ import annotations

import locale
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from itertools import zip_longest

from thresher.diagnosis import Diagnosis

__all__ = [
    "EXTRAS",
    "check_extra",
    "check_libraries",
    "check_python",
    "check_terminal",
    "has_extra",
]

EXTRAS = {
    "models": "local Hugging Face models, embeddings, PyTorch modules",
    "jupyter": "magics, progress and labels in notebooks",
    "shell": "the duckdb command line, for 'thresher shell'",
    "sqlalchemy": "engines of SQLAlchemy by URL",
}
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?")
_OF_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w.-]+)['\"]")
_BOUND = re.compile(r"(>=|<=|==|!=|~=|<|>)\s*([\w.]+)")


def check_python() -> Diagnosis:
    """Say which Python and thresher run, and where."""
    found = f"thresher {metadata.version('thresher')} on Python {platform.python_version()}"
    text = f"{found}, {platform.system()} {platform.machine()}, {sys.executable}"
    return Diagnosis("python", "ok", text)


def check_libraries() -> Diagnosis:
    """Hold the libraries that thresher always needs against what it asks for."""
    return _checked("libraries", None, "")


def check_extra(extra: str) -> Diagnosis:
    """Hold the libraries of an extra against what it asks for; to have none of them is no fault."""
    return _checked(f"extra {extra}", extra, EXTRAS[extra])


def has_extra(extra: str) -> bool:
    """Whether all libraries of an extra are installed, of whatever version."""
    return all(_version(name) for name, _ in _requirements(extra))


def _checked(name: str, extra: str | None, purpose: str) -> Diagnosis:
    there, missing, wrong = [], [], []
    for library, bounds in _requirements(extra):
        version = _version(library)
        if version is None:
            missing.append(library)
        elif _fits(version, bounds):
            there.append(f"{library} {version}")
        else:
            wrong.append(f"{library} {version} (needs {bounds})")
    target = "thresher" if extra is None else f"thresher[{extra}]"
    mend = f"{sys.executable} -m pip install --upgrade '{target}'"
    if not missing and not wrong:
        return Diagnosis(name, "ok", ", ".join(there))
    if extra is not None and not there and not wrong:
        return Diagnosis(name, "ok", f"not installed; it is for {purpose}", mend)
    parts = [f"missing: {', '.join(missing)}"] if missing else []
    parts += [f"of another version: {', '.join(wrong)}"] if wrong else []
    return Diagnosis(name, "error" if extra is None else "warning", "; ".join(parts), mend)


@cache
def _declared() -> tuple[tuple[str, str, str | None], ...]:
    """Library, bounds and extra of each requirement in the metadata of thresher."""
    found = []
    for text in metadata.requires("thresher") or ():
        if (parts := _REQUIREMENT.match(text)) is not None:
            of = _OF_EXTRA.search(parts[3] or "")
            found.append((parts[1], parts[2].strip(), None if of is None else of[1]))
    return tuple(found)


def _requirements(extra: str | None) -> Iterator[tuple[str, str]]:
    return ((name, bounds) for name, bounds, of in _declared() if of == extra)


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _fits(version: str, bounds: str) -> bool:
    """Whether a version is within bounds such as ``>=1.5,<2``; only numbers count.

    Examples
    --------
    >>> _fits("2.13.0+cpu", ">=2.7"), _fits("1.4.9", ">=1.5,<2"), _fits("2.0.0rc1", "<2")
    (True, False, False)
    """
    found = _numbers(version)
    for sign, text in _BOUND.findall(bounds):
        pairs = list(zip_longest(found, _numbers(text), fillvalue=0))
        ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
        fits = {
            ">=": ours >= theirs,
            "<=": ours <= theirs,
            "==": ours == theirs,
            "!=": ours != theirs,
            "<": ours < theirs,
            ">": ours > theirs,
            "~=": ours >= theirs and ours[:1] == theirs[:1],
        }
        if not fits[sign]:
            return False
    return True


def _numbers(version: str) -> list[int]:
    """Return the numbers at the beginning of a version.

    Examples
    --------
    >>> _numbers("2.13.0+cpu"), _numbers("1.5rc1")
    ([2, 13, 0], [1, 5])
    """
    found: list[int] = []
    for part in version.partition("+")[0].split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        found.append(int(digits[0]))
        if digits[0] != part:
            break
    return found


def check_terminal() -> Diagnosis:
    """Say what the terminal can show."""
    term = os.environ.get("TERM", "")
    encoding = (sys.stdout.encoding or locale.getpreferredencoding()).lower().replace("-", "")
    where = "a terminal" if sys.stdout.isatty() else "no terminal"
    size = shutil.get_terminal_size((100, 24))
    from rich.console import Console

    colours = Console().color_system or "none"
    text = f"{where}, TERM={term or 'unset'}, {size.columns} columns, colours: {colours}"
    text += ", NO_COLOR is set" if os.environ.get("NO_COLOR") else ""
    if encoding not in ("utf8", "utf_8"):
        text += f"; its encoding is {encoding}: the lines of tables are shown as question marks"
        return Diagnosis("terminal", "warning", text, "export LC_ALL=C.UTF-8")
    if size.columns < 60:
        return Diagnosis("terminal", "warning", f"{text}: too narrow for most tables", "widen it")
    return Diagnosis("terminal", "ok", text)
