"""Parameters of statements from the user's variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from IPython.core.error import UsageError

from thresher.errors import ProgrammingError, nearest
from thresher.session import Parameters
from thresher.sql.tokens import Token, tokenize

__all__ = ["parameters_of", "values_of"]


def values_of(name: str, namespace: Mapping[str, object]) -> Mapping[str, Any] | Sequence[Any]:
    """Return what the variable of ``--params`` holds.

    Raises
    ------
    UsageError
        There is no such variable, or it holds neither a mapping nor a sequence.
    """
    if name not in namespace:
        raise UsageError(f"--params: there is no variable {name}.{nearest(name, namespace)}")
    values = namespace[name]
    if isinstance(values, str | bytes) or not isinstance(values, Mapping | Sequence):
        raise UsageError(
            f"--params: {name} must be a mapping of names to values, or a list of values, "
            f"got a {type(values).__name__}"
        )
    return values


def parameters_of(
    sql: str,
    values: Mapping[str, Any] | Sequence[Any] | None,
    namespace: Mapping[str, object],
) -> Parameters:
    """Return the values for the parameters that stand in one statement.

    Parameters
    ----------
    sql : str
        The statement.
    values : mapping, sequence or None
        Values that were given; None takes each ``$name`` from the user's variables.
    namespace : mapping of str to object
        The user's variables.

    Raises
    ------
    ProgrammingError
        There is no variable for a parameter.

    Examples
    --------
    >>> parameters_of("SELECT $n, '$text', $$ $x $$", None, {"n": 5, "x": 1})
    {'n': 5}
    >>> parameters_of("SELECT 1", [7], {}) is None
    True
    """
    tokens = tokenize(sql)
    if tokens and tokens[0].word == "prepare":
        return None  # they are for EXECUTE
    found = [token for token in tokens if token.kind == "parameter"]
    if not found:
        return None
    if values is not None and not isinstance(values, Mapping):
        return values
    named = {token.text[1:]: token for token in found if _is_named(token)}
    if values is not None:
        return {name: values[name] for name in named if name in values}
    if not named:
        return None
    for name, token in named.items():
        if name not in namespace:
            raise ProgrammingError(
                f"there is no variable {name} for parameter ${name}.{nearest(name, namespace)}",
                sql=sql,
                offset=token.start,
                length=token.end - token.start,
            )
    return cast(Parameters, {name: namespace[name] for name in named})


def _is_named(token: Token) -> bool:
    return token.text != "?" and not token.text[1:].isdigit()
