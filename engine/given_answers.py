"""Answers of any system, given by the keys of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.duckdb_versions import unregistered
from thresher.errors import DataError, ProgrammingError
from thresher.population import Population
from thresher.sql.tokens import quoted

if TYPE_CHECKING:
    from thresher.dbapi import Connection
    from thresher.verdicts import Finding

__all__ = ["GivenAnswer", "audit", "named", "rows_given"]

_ANSWER, _KEYS = "__thresher_answer", "__thresher_answer_keys"


def audit(
    connection: Connection,
    query: str,
    answer: object,
    *,
    key: str,
    recall: float | None = None,
    precision: float | None = None,
    limit: int | None = None,
    probability: float | None = None,
    seed: int | None = None,
) -> list[Finding]:
    """Test how good an answer of any system is, on rows drawn afresh.

    Parameters
    ----------
    connection : Connection
        Where the rows and the oracle are.
    query, answer, key, recall, precision, limit, probability, seed
        As for `Connection.audit`.

    Returns
    -------
    list of Finding
        Limits and a verdict for recall and for precision.

    Raises
    ------
    ProgrammingError, DataError, BudgetError
        As `Connection.audit`.
    """
    return connection.audit(
        query,
        answer,
        key=key,
        recall=recall,
        precision=precision,
        limit=limit,
        probability=probability,
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer of any system, and how it is to be audited.

    Parameters
    ----------
    key : str
        Column of FROM, and of `relation`, that tells the rows.
    relation : str
        SQL of the relation with the answer's keys.
    recall, precision : float or None
        What is claimed, in (0, 1].
    limit : int or None
        Most labels to buy, at least 1; None: the setting ``default_budget``.
    probability : float or None
        With which all findings hold together, in (0, 1); None: as a statement that names none.
    seed : int or None
        Of the draws, at least 0.

    Raises
    ------
    ProgrammingError
        A number is out of its range.
    """

    key: str
    relation: str
    recall: float | None = None
    precision: float | None = None
    limit: int | None = None
    probability: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("recall", "precision", "probability"):
            _check_share(name, getattr(self, name))
        for name, least in (("limit", 1), ("seed", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if value is not None and not (whole and least <= value < 2**63):
                raise ProgrammingError(
                    f"{name}= must be a whole number from {least} up, got {value!r}"
                )


def _check_share(name: str, value: object) -> None:
    """Refuse a share that is none; 1 is one where it is claimed, not where it is a probability."""
    if value is None:
        return
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    share = float(value) if isinstance(value, int | float | np.number) else float("nan")
    if number and (0.0 < share < 1.0 or (share == 1.0 and name != "probability")):
        return
    interval = "(0, 1)" if name == "probability" else "(0, 1]"
    meant = f"{name}={share / 100:g}" if 1.0 < share < 100.0 else f"a share such as {name}=0.9"
    raise ProgrammingError(f"{name}= must be in {interval}, got {value!r}. Write {meant}.")


@contextmanager
def named(connection: duckdb.DuckDBPyConnection, answer: object, key: str) -> Iterator[str]:
    """Give an answer a name in SQL: a text is one, tables and sequences of keys are registered.

    Raises
    ------
    ProgrammingError
        The answer is neither, or its keys are of several types.
    """
    if isinstance(answer, str):
        yield answer
        return
    connection.register(_ANSWER, answer if hasattr(answer, "columns") else _keys(answer, key))
    try:
        yield _ANSWER
    finally:
        unregistered(connection, _ANSWER)


def _keys(answer: object, key: str) -> pa.Table:
    """Make a table of a sequence of keys."""
    if not isinstance(answer, Iterable) or isinstance(answer, bytes | Mapping):
        raise ProgrammingError(
            f"the answer must be SQL of a relation, a table or a sequence of keys, got a "
            f"{type(answer).__name__}"
        )
    try:
        keys = answer if isinstance(answer, np.ndarray) else list(answer)
        return pa.table({key: pa.array(keys)})
    except pa.ArrowException as error:
        raise ProgrammingError(
            f"the keys of an answer must be of one type. Arrow says: {error}"
        ) from error


def rows_given(
    connection: duckdb.DuckDBPyConnection, population: Population, answer: GivenAnswer
) -> npt.NDArray[np.bool_]:
    """Find the rows of an answer by their keys.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Where the answer's relation is.
    population : Population
        The rows that the query is about.
    answer : GivenAnswer
        Its keys.

    Returns
    -------
    ndarray of bool, shape (n_rows,)

    Raises
    ------
    ProgrammingError
        The key is no column of the answer, or not one column of FROM.
    DataError
        A key of the answer is no row that the query is about.
    """
    key, relation = answer.key, answer.relation
    found = connection.sql(f"FROM {relation}").to_arrow_table()
    name = next((n for n in found.column_names if n.lower() == key.lower()), None)
    if name is None:
        raise ProgrammingError(
            f"key={key!r} is no column of the answer, which has {', '.join(found.column_names)}. "
            "It names the column that tells the rows, in the answer and in FROM."
        )
    keys = found.column(name)
    numbered = {"key": keys, "number": pa.array(np.arange(len(keys)))}
    connection.register(_KEYS, pa.table(numbered))
    try:
        rows, numbers = population.joined([(quoted(key), "key")], _KEYS, "number")
    except (duckdb.BinderException, duckdb.ConversionException) as error:
        said = str(error).splitlines()[0]
        raise ProgrammingError(
            f"key={key!r} does not tell the rows of the query's FROM. It must be one column there, "
            f"of the type of the answer's keys ({keys.type}). DuckDB says: {said}"
        ) from error
    finally:
        unregistered(connection, _KEYS)
    _refuse_strangers(key, keys, numbers)
    returned = np.zeros(population.n_rows, dtype=np.bool_)
    returned[rows] = True
    return returned


def _refuse_strangers(key: str, keys: pa.ChunkedArray, numbers: pa.Array) -> None:
    """Refuse an answer with keys that are no rows: to drop them would raise its precision."""
    strange = np.ones(len(keys), dtype=np.bool_)
    strange[np.asarray(numbers)] = False
    n_strange = int(np.count_nonzero(strange))
    if not n_strange:
        return
    one = n_strange == 1
    raise DataError(
        f"{n_strange:,} of the {len(keys):,} keys of the answer {'is' if one else 'are'} no "
        f"{'row' if one else 'rows'} that the query is about, such as {key} = "
        f"{keys[int(np.argmax(strange))].as_py()!r}: FROM has no such row, or a condition without "
        "an oracle call leaves it out. Every such row is wrong in the answer; leave them out to "
        "audit the rest."
    )
