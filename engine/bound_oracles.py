"""Oracles with their declared names and types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from thresher.errors import DataError, Error, OracleError
from thresher.labels import Label
from thresher.oracles import Answers, Oracle, Signature
from thresher.oracles.answers import describe_row

__all__ = ["BoundOracle"]


class BoundOracle:
    """An oracle with its declared name and types.

    Parameters
    ----------
    name : str
        Declared name.
    signature : Signature
        Declared arguments and return type.
    oracle : Oracle
        The model.
    returns : pyarrow.DataType
        Arrow type of the declared return type.
    value_range : (float or None, float or None)
        Declared least and largest answer of an oracle that returns a number.

    Attributes
    ----------
    counts_tokens : bool
        Whether its answers say how many tokens they took; the model's attribute of that name.
    """

    def __init__(
        self,
        name: str,
        signature: Signature,
        oracle: Oracle,
        returns: pa.DataType,
        value_range: tuple[float | None, float | None] = (None, None),
    ) -> None:
        self._range = value_range
        self.name, self.signature, self.oracle, self.returns = name, signature, oracle, returns
        self.version = oracle.version  # once: it may read a whole table, or a model's files
        self.counts_tokens = bool(getattr(oracle, "counts_tokens", False))

    def ask(
        self, batch: pa.Table, waits: Callable[[], bool] = lambda: True
    ) -> tuple[list[Label], Answers]:
        """Label one batch and check what came back.

        Parameters
        ----------
        batch : pyarrow.Table
            One column per argument.
        waits : callable
            Whether an oracle that waits for people may go on waiting.

        Raises
        ------
        OracleError
            The oracle raised.
        DataError
            It gave too few answers, a NULL, or an answer of another type.
        """
        try:
            if getattr(self.oracle, "waits", False):
                model: Any = self.oracle
                answers: Answers = model.answer(batch, waits)
            else:
                answers = self.oracle.answer(batch)
        except Error:
            raise
        except Exception as error:
            raise OracleError(
                f"oracle {self.name} failed: {type(error).__name__}: {error}"
            ) from error
        if len(answers.values) != batch.num_rows:
            raise DataError(
                f"oracle {self.name} gave {len(answers.values)} answers for {batch.num_rows} rows: "
                "return one answer for each row, in order."
            )
        if answers.values.null_count:
            raise DataError(f"oracle {self.name} gave NULL; every row needs an answer.")
        values: list[Label] = self.typed(answers.values.to_pylist()).to_pylist()
        return values, answers

    def answered(self, batch: pa.Table) -> tuple[list[int], list[Label], Answers]:
        """Return rows of a batch that broke off, their answers, and what those took.

        None where the oracle does not tell: what it may have found out is lost then.
        """
        tell = getattr(self.oracle, "answered", None)
        if tell is None:
            return [], [], Answers(pa.array([], self.returns))
        rows, answers = tell(batch)
        values: list[Label] = self.typed(answers.values.to_pylist()).to_pylist()
        return rows, values, answers

    def typed(self, values: Sequence[Label | None]) -> pa.Array:
        """Return stored or fresh answers as an Arrow array of the declared type."""
        try:
            if pa.types.is_boolean(self.returns):
                return pa.array([None if v is None else bool(v) for v in values], self.returns)
            return pa.array(values, self.returns)
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
            raise DataError(
                f"oracle {self.name} RETURNS {self.signature.returns}, but gave {values[0]!r}: "
                f"{error}"
            ) from error

    def outside(self, answers: pa.Array) -> int | None:
        """Return the place of the first answer outside the declared range, None without one.

        Parameters
        ----------
        answers : pyarrow.Array
            Of the declared type.
        """
        low, high = self._range
        if not len(answers) or pa.types.is_boolean(self.returns) or low is high is None:
            return None
        found = pa.array(np.zeros(len(answers), dtype=np.bool_))
        if low is not None:
            found = pc.or_(found, pc.less(answers, low))
        if high is not None:
            found = pc.or_(found, pc.greater(answers, high))
        place = int(pc.index(found, True).as_py())
        return None if place < 0 else place

    def refused(self, answer: Label, batch: pa.Table) -> DataError:
        """Return the error for an answer outside the range; `batch` has its inputs in a row."""
        low, high = self._range
        ends = (("minimum", low, "at least"), ("maximum", high, "at most"))
        span = " and ".join(f"{word} {end:g}" for _, end, word in ends if end is not None)
        names = " and ".join(name for name, end, _ in ends if end is not None)
        return DataError(
            f"oracle {self.name} answered {answer!r} for {describe_row(batch, 0)}, but is declared "
            f"with answers of {span}. Declare it again with a {names} that every answer keeps to, "
            "or mend the model."
        )
