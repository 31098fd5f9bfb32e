"""Providers by name: the one place where a declared model becomes an object."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import cast

import pyarrow as pa

from thresher.errors import ProgrammingError, nearest
from thresher.oracles.answers import arrow_type
from thresher.oracles.context import Context
from thresher.oracles.options import Option, Options, Value, check_options
from thresher.oracles.protocols import Oracle, Proxy, Signature, TrainableProxy

__all__ = ["PROVIDERS", "create_oracle", "create_proxy", "option_names"]

# provider -> module; none of them imports anything heavy before a model is used
_ORACLES = {
    "column": "thresher.oracles.column",
    "huggingface": "thresher.oracles.huggingface",
    "human": "thresher.oracles.human",
    "openai": "thresher.oracles.openai_api",
    "python": "thresher.oracles.function",
    "pytorch": "thresher.oracles.pytorch",
}
_PROXIES = {
    "column": "thresher.oracles.column",
    "embedding": "thresher.oracles.embedding",
    "huggingface": "thresher.oracles.model_proxies",
    "keywords": "thresher.oracles.keywords",
    "openai": "thresher.oracles.openai_proxy",
    "python": "thresher.oracles.function",
    "pytorch": "thresher.oracles.pytorch",
    "tfidf": "thresher.oracles.proxies",
}

# The range of a number that an oracle returns; limits of sums and means rest on it.
_RANGE = {"minimum": Option("number"), "maximum": Option("number")}
# What every oracle takes; `as_column` is for the parser: the oracle may be written as a column.
_COMMON = {**_RANGE, "as_column": Option("boolean")}

PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "oracle": tuple(sorted(_ORACLES)),
    "proxy": tuple(sorted(_PROXIES)),
}


def option_names(kind: str, provider: str) -> tuple[str, ...]:
    """Return the names of the options that a provider takes in ``WITH (...)``.

    Parameters
    ----------
    kind : str
        ``oracle`` or ``proxy``.
    provider : str
        One of ``PROVIDERS[kind]``, in any case.

    Raises
    ------
    ProgrammingError
        There is no such provider.

    Examples
    --------
    >>> option_names("proxy", "keywords")
    ('words', 'regex', 'weights', 'whole_words', 'ignore_case')
    """
    module = _module(kind, kind, provider)
    return (*module.OPTIONS, *(_COMMON if kind == "oracle" else ()))


def _module(kind: str, who: str, provider: str) -> ModuleType:
    known = _ORACLES if kind == "oracle" else _PROXIES
    if provider.lower() not in known:
        raise ProgrammingError(
            f"{who}: there is no {kind} provider '{provider}'.{nearest(provider, known)}"
            f" Providers: {', '.join(sorted(known))}."
        )
    return importlib.import_module(known[provider.lower()])


def create_oracle(
    provider: str,
    name: str,
    signature: Signature,
    options: Mapping[str, Value],
    context: Context,
) -> Oracle:
    """Make an oracle as declared by ``CREATE ORACLE``, after cheap checks; no weights are loaded.

    Parameters
    ----------
    provider : str
        One of ``PROVIDERS['oracle']``, in any case.
    name : str
        Declared name, for messages and for registered functions.
    signature : Signature
        Declared arguments and return type.
    options : mapping of str to value
        As parsed from ``WITH (...)``.
    context : Context
        Tables, registered functions and the base folder.

    Raises
    ------
    ProgrammingError
        If the provider or an option is unknown, missing or wrong. An `OptionError` names the
        option in ``.option``.
    NotSupportedError
        If the provider cannot return the declared type.
    OperationalError
        If a model file or folder does not exist.
    """
    who = f"oracle {name}"
    module = _module("oracle", who, provider)
    arrow_type(signature.returns)
    if not signature.arguments:
        raise ProgrammingError(f"{who} has no arguments; an oracle needs at least one.")
    checked = check_options(who, provider, options, {**module.OPTIONS, **_COMMON})
    _check_range(checked, signature.returns)
    return cast("Oracle", module.create_oracle(name, signature, checked, context))


def _check_range(options: Options, returns: str) -> None:
    kind = arrow_type(returns)
    given = [name for name in _RANGE if name in options.values]
    if given and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise options.error(
            f"{given[0]} is for answers that are numbers, and it RETURNS {returns}. Leave it out.",
            given[0],
        )
    low, high = (options.number(name, float("nan")) for name in _RANGE)
    if low >= high:
        raise options.error(f"minimum {low:g} must be below maximum {high:g}.", "minimum")


def create_proxy(
    provider: str,
    name: str,
    signature: Signature,
    options: Mapping[str, Value],
    context: Context,
) -> Proxy | TrainableProxy:
    """Make a proxy as declared by ``CREATE PROXY``, after cheap checks; no weights are loaded.

    Parameters
    ----------
    provider : str
        One of ``PROVIDERS['proxy']``, in any case.
    name, options, context
        As for `create_oracle`.
    signature : Signature
        That of the oracle it is for.

    Raises
    ------
    ProgrammingError, OperationalError
        As for `create_oracle`.
    """
    who = f"proxy {name}"
    module = _module("proxy", who, provider)
    checked = check_options(who, provider, options, module.OPTIONS)
    return cast("Proxy | TrainableProxy", module.create_proxy(name, signature, checked, context))
