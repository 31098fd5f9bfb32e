"""Provider ``python``: a function over lists is the oracle or the proxy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import DataError, OperationalError, OracleError
from thresher.oracles.answers import arrow_type, checked_answers, checked_scores, describe_row
from thresher.oracles.context import Context
from thresher.oracles.imports import imported
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.versions import digest, function_version

__all__ = ["OPTIONS", "FunctionOracle", "FunctionProxy", "create_oracle", "create_proxy"]

OPTIONS = {
    "function": Option("text"),
    "version": Option("text"),
    "batch_size": Option("count"),
}
_BATCH_SIZE = 32  # a slow function that fails must not take many paid answers with it

Function = Callable[..., object]


def _version(name: str, function: Function, signature: Signature, version: str | None) -> str:
    types = [argument.type for argument in signature.arguments]
    told = ["hashed", function_version(function)]
    if version is not None:  # it sets apart the versions of one model, not one model from another
        told = ["told", name.lower(), version]
    return digest("python", told, types, signature.returns)


def _raised(who: str, batch: pa.Table, error: Exception) -> str:
    return (
        f"{who} raised {type(error).__name__}: {error} (in a batch of {batch.num_rows:,} rows"
        f" whose first is {describe_row(batch, 0)})."
    )


def _split(values: object, who: str) -> tuple[object, npt.NDArray[np.float64] | None]:
    """Separate answers given as (answer, confidence) into answers and confidences."""
    if not isinstance(values, (list, tuple)) or not any(isinstance(v, tuple) for v in values):
        return values, None
    for row, value in enumerate(values):
        fits = isinstance(value, tuple) and len(value) == 2
        number = fits and isinstance(value[1], (int, float, np.floating))
        if not number or not 0.0 <= float(value[1]) <= 1.0:
            raise DataError(
                f"{who} answered {value!r} for row {row} of the batch; where one answer is"
                " (answer, confidence), all are, with the confidence in [0, 1]."
            )
    confidence = np.array([value[1] for value in values], dtype=np.float64)
    return [value[0] for value in values], confidence


class FunctionOracle:
    """An oracle that is a Python function.

    Parameters
    ----------
    name : str
        Declared name, for messages.
    signature : Signature
        Declared arguments and return type.
    function : callable
        ``function(list, ...)``: one list per argument, a batch long, gives one answer a row as a
        list, a NumPy or an Arrow array. An item of a list may be ``(answer, confidence)``.
    version : str, optional
        Replaces the hash of the code; labels then belong to the declared name and this version.
    batch_size : int
        Rows passed at once.

    Examples
    --------
    >>> from thresher.oracles import Argument
    >>> signature = Signature((Argument("x", "BIGINT"),), "BOOLEAN")
    >>> oracle = FunctionOracle("is_even", signature, lambda xs: [x % 2 == 0 for x in xs])
    >>> oracle.answer(pa.table({"x": [1, 2]})).values.to_pylist()
    [False, True]
    """

    def __init__(
        self,
        name: str,
        signature: Signature,
        function: Function,
        *,
        version: str | None = None,
        batch_size: int = _BATCH_SIZE,
    ) -> None:
        arrow_type(signature.returns)
        self._who, self._signature, self._function = f"oracle {name}", signature, function
        self._version, self._batch_size = _version(name, function, signature, version), batch_size

    @property
    def version(self) -> str:
        """Hash (hex) of the function's code, or of the declared name and the version told."""
        return self._version

    @property
    def batch_size(self) -> int:
        """Rows passed at once."""
        return self._batch_size

    def answer(self, batch: pa.Table) -> Answers:
        """Call the function on a batch.

        Raises
        ------
        OracleError
            If the function raises; the cause is chained.
        DataError
            If an answer is missing or of another type than declared.
        """
        try:
            values = self._function(*(column.to_pylist() for column in batch.columns))
        except Exception as error:
            raise OracleError(_raised(self._who, batch, error)) from error
        values, confidence = _split(values, self._who)
        return Answers(
            checked_answers(values, batch, self._signature.returns, self._who), confidence
        )


class FunctionProxy:
    """A proxy that is a Python function over lists; it returns one finite number a row.

    Parameters
    ----------
    name, signature, function, version
        As for `FunctionOracle`.
    """

    def __init__(
        self, name: str, signature: Signature, function: Function, *, version: str | None = None
    ) -> None:
        self._who, self._function = f"proxy {name}", function
        self._version = _version(name, function, signature, version)

    @property
    def version(self) -> str:
        """Hash (hex) of the function's code, or of the declared name and the version told."""
        return self._version

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Call the function on a batch.

        Raises
        ------
        OperationalError
            If the function raises; the cause is chained.
        DataError
            If a score is missing or not finite.
        """
        try:
            values = self._function(*(column.to_pylist() for column in batch.columns))
        except Exception as error:
            raise OperationalError(_raised(self._who, batch, error)) from error
        return checked_scores(values, batch, self._who)


def _import(place: str, options: Options, context: Context) -> Function:
    found = imported(place, "function", options, context)
    if not callable(found):
        raise options.error(f"{place!r} is not a function: {found!r}.", "function")
    return found


def _find(kind: str, name: str, options: Options, context: Context) -> Function:
    place = options.text("function")
    if place is not None:
        registered = context.functions.get(place)
        return registered or _import(place, options, context)
    if name not in context.functions:
        raise options.error(
            "python needs a function. Write WITH (function = 'package.module:name'), or register"
            f" one in this process: connection.create_{kind}('{name}', function, ...)."
        )
    return context.functions[name]


def create_oracle(
    name: str, signature: Signature, options: Options, context: Context
) -> FunctionOracle:
    """Make the oracle of ``USING python``: a registered function, or one found by import."""
    return FunctionOracle(
        name,
        signature,
        _find("oracle", name, options, context),
        version=options.text("version"),
        batch_size=options.count("batch_size", _BATCH_SIZE),
    )


def create_proxy(
    name: str, signature: Signature, options: Options, context: Context
) -> FunctionProxy:
    """Make the proxy of ``USING python``: a registered function, or one found by import."""
    function = _find("proxy", name, options, context)
    return FunctionProxy(name, signature, function, version=options.text("version"))
