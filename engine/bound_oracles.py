"""Oracles with their declared names and types."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from thresher.errors import DataError, Error, OracleError
from thresher.labels import Label
from thresher.oracles import Answers, Oracle, Signature

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
    """

    def __init__(
        self, name: str, signature: Signature, oracle: Oracle, returns: pa.DataType
    ) -> None:
        self.name, self.signature, self.oracle, self.returns = name, signature, oracle, returns
        self.version = oracle.version  # once: it may read a whole table, or a model's files

    def ask(self, batch: pa.Table) -> tuple[list[Label], Answers]:
        """Label one batch and check what came back.

        Raises
        ------
        OracleError
            The oracle raised.
        DataError
            It gave too few answers, a NULL, or an answer of another type.
        """
        try:
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
