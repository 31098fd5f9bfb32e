"""Which code a figure comes from: a hash over the modules that a method reaches by its imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

OURS = ("thresher.", "benchmarks.")
NUMERICS = ("numpy", "scipy")


def version_of(modules: Iterable[str], packages: Iterable[str] = ()) -> str:
    """Hash of the modules, of all of this project's that they import, and of packages' versions.

    Comments and docstrings do not count.
    """
    digest = hashlib.sha256()
    for name, path in sorted(reached(modules).items()):
        digest.update(f"{name}\0{code(path.read_text())}\0".encode())
    for package in (*NUMERICS, *packages):
        digest.update(f"{package} {installed(package)}\0".encode())
    return digest.hexdigest()[:16]


def code(text: str) -> str:
    """What a piece of source does, without its comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def installed(package: str) -> str:
    """Version of a package; "none" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def reached(modules: Iterable[str]) -> dict[str, Path]:
    """Files of the modules and of all that they import, directly or not, from this project.

    Packages themselves are left out: theirs import everything, and nothing runs there.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or path is None:
            continue
        found[name] = path
        waiting += _imported(path)
    return found


def _source(name: str) -> Path | None:
    """File of one of this project's modules; None for a package or a name that is no module."""
    if not name.startswith(OURS):
        return None
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None or spec.submodule_search_locations is not None:
        return None
    return Path(spec.origin)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
