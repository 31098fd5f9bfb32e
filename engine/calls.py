"""The oracle calls and proxies of a query block after binding: frozen values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Labelled", "OracleCall", "Outputs", "Place", "ProxyTerm"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the statement: character offset from 0, and length."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class OracleCall:
    """One distinct call of an oracle in the formula.

    Parameters
    ----------
    oracle : str
        Declared name.
    arguments : tuple of str
        SQL text of each argument over the columns of FROM, cast to its declared type.
    value : str
        Name of the column that stands for the answer in the formula: ``__thresher_o0``, ...
    inputs : tuple of str
        Names of the columns that hold the arguments: ``__thresher_o0_a0``, ...
    key : str
        Name of the column that holds the SHA-256 (hex) of the arguments: ``__thresher_o0_k``.
    returns : str
        Declared return type.
    place : Place
        The first such call in the statement.
    negated : bool
        Whether a higher answer makes the formula false (an odd number of NOTs above it).
    """

    oracle: str
    arguments: tuple[str, ...]
    value: str
    inputs: tuple[str, ...]
    key: str
    returns: str
    place: Place
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ProxyTerm:
    """One item of USING: the name of a declared proxy, or a SQL expression over FROM.

    Parameters
    ----------
    text : str
        As written (for messages and EXPLAIN), or as DuckDB SQL when it is an expression.
    name : str or None
        The declared proxy it names; None for an expression.
    column : str
        ``__thresher_s0``, ...: the score column that an expression gets in the population.
    place : Place
        Where it stands.
    sql : str
        What the column holds, where that is not `text`.
    """

    text: str
    name: str | None
    column: str
    place: Place
    sql: str = ""


@dataclass(frozen=True, slots=True)
class Labelled:
    """An oracle call in the SELECT list, which gives every row of the population a label.

    Parameters
    ----------
    call : int
        Number of the query's call.
    column : str
        The column that stands for the label in `Answer`: ``__thresher_rl0``.
    rows : tuple of str
        Columns that stand beside it for the rows' numbers, one per leaf: ``__thresher_rk0``, ...
    prediction : str or None
        SQL of the proxy's label over FROM, the first of two items of USING.
    """

    call: int
    column: str
    rows: tuple[str, ...]
    prediction: str | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """Oracle calls in the SELECT list and in ORDER BY, asked for the rows that come back.

    Parameters
    ----------
    calls : tuple of OracleCall
        Distinct calls; their columns are apart from those of `SelectionQuery.calls`.
    columns : tuple of str
        The column that stands for each answer in `Answer`: ``__thresher_rl0``, ...
    rows : tuple of str
        Columns that stand beside them for the rows' numbers, one per leaf: ``__thresher_rk0``, ...
    late : tuple of bool
        For each call whether only rows that LIMIT leaves need it.
    """

    calls: tuple[OracleCall, ...]
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    late: tuple[bool, ...]
