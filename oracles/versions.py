"""Versions: hashes that change whenever an answer may change."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from enum import Enum
from pathlib import Path, PurePath

import numpy as np

__all__ = ["digest", "function_version", "path_version"]

_WHOLE_FILE_BYTES = 256 * 2**20
_SAMPLE_BYTES, _SAMPLES = 2**20, 64
_MODEL_SUFFIXES = frozenset({".gguf", ".json", ".model", ".safetensors", ".txt"})
_MUTATORS = frozenset({"add", "append", "extend", "insert", "setdefault", "update"})


def digest(*parts: object) -> str:
    """Return the SHA-256 (hex) of plain values; mappings are order-free.

    Examples
    --------
    >>> digest("model", {"a": 1, "b": 2}) == digest("model", {"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE_FILE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        sha = hashlib.sha256(str(size).encode())
        for i in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * i // (_SAMPLES - 1))
            sha.update(file.read(_SAMPLE_BYTES))
        return sha.hexdigest()


def path_version(path: Path) -> str:
    """Return a hash (hex) of the content of a file, or of the model files at the top of a folder.

    Files above 256 MiB are hashed by their size and 64 pieces of 1 MiB spread over them.
    """
    if path.is_file():
        return _file_digest(path)
    files = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in _MODEL_SUFFIXES)
    return digest([(p.name, _file_digest(p)) for p in files])


def function_version(function: Callable[..., object]) -> str:
    """Return a hash (hex) of a callable that changes when its code or its settings are edited.

    Parameters
    ----------
    function : callable
        Function, lambda, method, partial or object with ``__call__``.

    Notes
    -----
    Hashed: module and qualified name, source text (bytecode and constants where there is no source
    and for lambdas), default arguments, captured variables, and those globals it reads that are
    functions of its own module or constants in upper case. Captured variables that the function
    itself writes to (a counter, a log of calls) are left out. Objects other than plain data,
    arrays, functions and dataclasses count by their type alone: where answers hang on the state of
    such an object, give a version by hand.
    """
    sha = hashlib.sha256()
    for part in _callable(function, set()):
        sha.update(part.encode(errors="surrogatepass"))
        sha.update(b"\0")
    return sha.hexdigest()


def _callable(function: object, seen: set[int]) -> Iterator[str]:
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, functools.partial):
        yield "partial"
        yield from _callable(function.func, seen)
        yield from _value([list(function.args), dict(function.keywords)], seen)
    elif isinstance(function, types.MethodType):
        yield from _callable(function.__func__, seen)
        yield from _state(function.__self__, seen)
    elif isinstance(function, types.FunctionType):
        yield from _function(function, seen)
    elif hasattr(function, "__wrapped__"):
        yield from _callable(function.__wrapped__, seen)
    elif isinstance(function, (type, types.BuiltinFunctionType)):
        yield f"{function.__module__}.{function.__qualname__}"
    else:
        yield from _state(function, seen)


def _state(instance: object, seen: set[int]) -> Iterator[str]:
    kind = instance if isinstance(instance, type) else type(instance)
    yield f"{kind.__module__}.{kind.__qualname__}"
    yield _source(kind) or ""
    if not isinstance(instance, type):
        yield from _value(dict(getattr(instance, "__dict__", {})), seen)


def _source(item: types.FunctionType | type) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(item))
    except (OSError, TypeError):
        return None


def _code(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)


def _function(function: types.FunctionType, seen: set[int]) -> Iterator[str]:
    yield f"{function.__module__}.{function.__qualname__}"
    source = _source(function)
    if source is None or function.__name__ == "<lambda>":
        # Two lambdas may share a line, hence their source.
        yield from _code(function.__code__)
    yield source or ""
    yield from _value([function.__defaults__, function.__kwdefaults__], seen)
    written = _written(source or "")
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name not in written:
            yield name
            try:
                yield from _value(cell.cell_contents, seen)
            except ValueError:  # not filled yet: a function that is still being defined
                continue
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        value = function.__globals__[name]
        ours = getattr(value, "__module__", None) == function.__module__
        if name.isupper() or (isinstance(value, types.FunctionType) and ours):
            yield name
            yield from _value(value, seen)


def _names(code: types.CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*(_names(c) for c in inner))


def _written(source: str) -> set[str]:
    """Names of variables whose content the source changes in place or rebinds."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda cut out of its statement
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Nonlocal):
            found.update(node.names)
        elif isinstance(node, (ast.Subscript, ast.Attribute)):
            stored = isinstance(node.ctx, ast.Store)
            mutated = isinstance(node, ast.Attribute) and node.attr in _MUTATORS
            if (stored or mutated) and isinstance(node.value, ast.Name):
                found.add(node.value.id)
    return found


def _value(value: object, seen: set[int]) -> Iterator[str]:
    if value is None or isinstance(
        value, (bool, int, float, complex, str, bytes, date, timedelta, Enum, PurePath, np.generic)
    ):
        yield f"{type(value).__name__}:{value!r}"
    elif isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
        yield from _callable(value, seen)
    elif isinstance(value, (type, types.ModuleType)):
        yield f"{getattr(value, '__module__', '')}.{value.__name__}"
    elif isinstance(value, np.ndarray) and value.dtype.kind != "O":
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        yield f"{value.dtype}{value.shape}{content}"
    elif id(value) in seen:
        yield "again"
    else:
        yield from _container(value, seen | {id(value)})


def _container(value: object, seen: set[int]) -> Iterator[str]:
    yield f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _value(key, seen)
            yield from _value(item, seen)
    elif isinstance(value, (list, tuple)):
        yield str(len(value))
        for item in value:
            yield from _value(item, seen)
    elif isinstance(value, (set, frozenset)):
        # The order of a set differs from one process to the next.
        yield from sorted("\1".join(_value(item, seen)) for item in value)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _value(getattr(value, field.name), seen)
