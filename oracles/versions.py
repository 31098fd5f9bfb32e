"""Versions: hashes that change whenever an answer may change."""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import inspect
import itertools
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
_MODEL_SUFFIXES = frozenset({".gguf", ".jinja", ".json", ".model", ".safetensors", ".txt"})
_CHANGES = """
    add append appendleft clear discard extend extendleft insert pop popitem popleft remove reverse
    setdefault sort subtract update
"""
_MUTATORS = frozenset(_CHANGES.split())
_ON_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL")
_SCALARS = (bool, int, float, complex, str, bytes, date, timedelta, Enum, PurePath, np.generic)


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
    functions of its own module, names in upper case, or plain data (numbers, text, dates, and
    tuples, lists, dictionaries and sets of them). Variables that the function, or one of its
    module that it calls, itself writes to (a counter, a log of calls) are left out, each as a
    whole.

    Not seen: the state of objects other than plain data, arrays, functions and dataclasses, which
    count by their type alone; functions and variables of other modules, and names that are looked
    up in text; lower-case globals that are no plain data, such as arrays and classes; what is
    edited after the hash was taken. Where there is no source, only rebinding and calls such as
    ``log.append(...)`` are known as writing. Where answers hang on what is not seen, give a
    version by hand.
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
    written = _written(function)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name not in written:
            yield name
            try:
                yield from _value(cell.cell_contents, seen)
            except ValueError:  # not filled yet: a function that is still being defined
                continue
    written = _written_globals(function, set())
    for name, value in _globals(function).items():
        called = _is_called(value, function)
        if called or (name not in written and (name.isupper() or _is_plain(value, set()))):
            yield name
            yield from _value(value, seen)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Bytecode of a function and of all that is defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _globals(function: types.FunctionType) -> dict[str, object]:
    """Globals that a function reads, in the order of their names, without ``__name__`` and such."""
    found = sorted(_named(function, "LOAD_GLOBAL", "LOAD_NAME") & function.__globals__.keys())
    return {name: function.__globals__[name] for name in found if not name.startswith("__")}


def _named(function: types.FunctionType, *opcodes: str) -> set[str]:
    """Names on which some instruction with one of these opcodes works."""
    return {
        str(step.argval)
        for code in _codes(function.__code__)
        for step in dis.get_instructions(code)
        if step.opname in opcodes
    }


def _is_called(value: object, function: types.FunctionType) -> bool:
    """Whether a global of a function is a function of the same module."""
    ours = getattr(value, "__module__", None) == function.__module__
    return ours and isinstance(value, types.FunctionType)


def _is_plain(value: object, seen: set[int]) -> bool:
    """Whether a value is plain data, or a container of nothing else."""
    if value is None or isinstance(value, _SCALARS) or id(value) in seen:
        return True
    inner = seen | {id(value)}
    if isinstance(value, dict):
        return all(_is_plain(k, inner) and _is_plain(v, inner) for k, v in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_plain(item, inner) for item in value)
    return False


def _written_globals(function: types.FunctionType, seen: set[int]) -> set[str]:
    """Globals that a function, or one of its module that it calls, writes to."""
    if id(function) in seen:
        return set()
    seen.add(id(function))
    # A local variable that is written to may share its name with a global of another function.
    found = _written(function) & _named(function, *_ON_GLOBALS)
    for value in _globals(function).values():
        if isinstance(value, types.FunctionType) and _is_called(value, function):
            found |= _written_globals(value, seen)
    return found


def _written(function: types.FunctionType) -> set[str]:
    """Names of variables whose content a function changes in place or rebinds."""
    found = _written_in_source(_source(function) or "")
    found |= _named(function, "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF")
    for code in _codes(function.__code__):
        steps = list(dis.get_instructions(code))
        for loaded, step in itertools.pairwise(steps):
            if (
                loaded.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
                and step.opname in ("LOAD_METHOD", "LOAD_ATTR")
                and step.argval in _MUTATORS
            ):
                found.add(str(loaded.argval))
    return found


def _written_in_source(source: str) -> set[str]:
    """Names of variables whose content the source changes in place or rebinds."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda cut out of its statement
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Nonlocal, ast.Global)):
            found.update(node.names)
        elif isinstance(node, (ast.Subscript, ast.Attribute)):
            changed = not isinstance(node.ctx, ast.Load)
            mutated = isinstance(node, ast.Attribute) and node.attr in _MUTATORS
            root: ast.expr = node.value
            while isinstance(root, (ast.Subscript, ast.Attribute)):
                root = root.value
            if (changed or mutated) and isinstance(root, ast.Name):
                found.add(root.id)
    return found


def _value(value: object, seen: set[int]) -> Iterator[str]:
    if value is None or isinstance(value, _SCALARS):
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
