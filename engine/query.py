"""A query block after binding: frozen values, no behaviour.

Every SQL text in here is DuckDB's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from thresher.calls import Labelled, OracleCall, Outputs, Place, ProxyTerm
from thresher.targets import (
    Assumption,
    BudgetUnit,
    ErrorTarget,
    OracleErrors,
    RowsTarget,
    Shortfall,
)

__all__ = [
    "Aggregate",
    "Answer",
    "Estimation",
    "Labelled",
    "Leaf",
    "Measured",
    "OracleCall",
    "Outputs",
    "Place",
    "ProxyTerm",
    "RowLimit",
    "SelectionQuery",
    "Sought",
    "Tail",
]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One relation in FROM, as written, which the engine turns into a source with a row column.

    Parameters
    ----------
    alias : str
        The name (unquoted) that qualifies its columns in the rest of the query.
    relation : str
        The relation without its alias, as DuckDB SQL: ``main.reviews``, ``(SELECT ...)``,
        ``read_csv('x.csv')``, ``(VALUES (1))``.
    table : tuple of str or None
        ``(name,)``, ``(schema, name)`` or ``(catalog, schema, name)`` when it is a plain name that
        is not a CTE of this query; else None.
    columns : tuple of str
        Column aliases, as in ``t(a, b)``; empty when none are written.
    row : str
        The BIGINT column that identifies a row of it: ``__thresher_r0``, ...
    lateral : bool
        Whether it refers to relations before it, so that it cannot be read on its own.
    """

    alias: str
    relation: str
    table: tuple[str, ...] | None
    columns: tuple[str, ...]
    row: str
    lateral: bool = False


@dataclass(frozen=True, slots=True)
class RowLimit:
    """Whole numbers of LIMIT (or FETCH) and OFFSET; a count of None lets all rows come back."""

    count: int | None = None
    offset: int = 0

    @property
    def needed(self) -> int | None:
        """Rows that are looked at: those that come back, after those that are skipped."""
        return None if self.count is None else self.count + self.offset


@dataclass(frozen=True, slots=True)
class Answer:
    """The rest of a block, run over the returned rows; each text is empty where nothing is written.

    Parameters
    ----------
    select : str
        ``SELECT ...`` with the row columns taken out of every star.
    grouping : str
        GROUP BY, HAVING, WINDOW and QUALIFY.
    order : str
        ``ORDER BY ...``.
    limit : str
        LIMIT, OFFSET and FETCH.
    by_row : bool
        Whether rows may be ordered by their row columns (after `order`): not so in a block with
        DISTINCT, GROUP BY, aggregates or ORDER BY ALL.
    hidden : bool
        Whether the row column must be taken out in FROM, because the SELECT list can name the
        whole row: ``COLUMNS('...')``, ``to_json(t)``. Only in a block over one relation.
    aggregates : bool
        Whether the block aggregates.
    row_limit : RowLimit or None
        What `limit` says; None where it says it otherwise than by whole numbers.
    """

    select: str
    grouping: str = ""
    order: str = ""
    limit: str = ""
    by_row: bool = True
    hidden: bool = False
    aggregates: bool = False
    row_limit: RowLimit | None = RowLimit()


@dataclass(frozen=True, slots=True)
class Measured:
    """What one aggregate aggregates over: the value of each row that counts.

    Parameters
    ----------
    value : str
        Its DOUBLE over `OracleCall.value` columns and parts; ``1`` for ``count(*)``.
    condition : str or None
        FILTER, over the same columns.
    plain : str or None
        ``__thresher_x0``, ...: the population column with the value where it is free of oracle
        calls (NULL: the row never counts); None where an oracle gives it.
    plain_sql : str or None
        SQL of that column over FROM.
    low, high : float or None
        Range of an oracle's value where it is declared; None where it is not.
    text : str
        As written, for messages.
    certain : bool
        Whether no label is needed: no oracle decides which rows count, nor their values.
    """

    value: str
    condition: str | None
    plain: str | None
    plain_sql: str | None
    low: float | None
    high: float | None
    text: str
    place: Place
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One estimated expression of the SELECT list: ``scale * numerator [/ denominator]``.

    Parameters
    ----------
    kind : {"count", "sum", "mean", "quantile", "min", "max", "ratio"}
    column : int
        Number of the `Measured` it aggregates, or of the numerator.
    denominator : int or None
        Number of the `Measured` whose sum it is divided by.
    share : float or None
        Of a quantile, in [0, 1].
    scale : float
        Constant factor.
    interpolated : bool
        Whether a quantile lies between two values where its place does, as in ``quantile_cont``.
    name : str
        Name of its column in the answer; the limits have ``_low`` and ``_high`` after it.
    """

    kind: Literal["count", "sum", "mean", "quantile", "min", "max", "ratio"]
    column: int
    denominator: int | None
    share: float | None
    scale: float
    name: str
    place: Place
    interpolated: bool = False


@dataclass(frozen=True, slots=True)
class Estimation:
    """The aggregates of a block, estimated from a sample.

    Parameters
    ----------
    groups : tuple of (str, str)
        (column, SQL over FROM) of each GROUP BY expression: ``__thresher_g0``, ...
    measured, aggregates
        What is aggregated, and how.
    n_conditions : int
        How many of the query's calls, the first ones, stand in WHERE.
    select : str
        SELECT list over the columns ``__thresher_g<i>``, ``__thresher_a<i>``,
        ``__thresher_a<i>_low`` and ``__thresher_a<i>_high``.
    having, order, limit : str
        HAVING (a condition) and ORDER BY over the same columns, and LIMIT; empty where nothing is
        written.
    """

    groups: tuple[tuple[str, str], ...]
    measured: tuple[Measured, ...]
    aggregates: tuple[Aggregate, ...]
    n_conditions: int
    select: str
    having: str = ""
    order: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Tail:
    """The clauses at the end of a query block; None where a clause is absent.

    `places` maps a clause's name (``RECALL TARGET``, ``ORACLE LIMIT``, ...) to where it stands.
    """

    recall: float | None = None
    precision: float | None = None
    accuracy: float | None = None
    error: ErrorTarget | None = None
    probability: float | None = None
    oracle_limit: int | None = None
    budget: tuple[tuple[float, BudgetUnit], ...] = ()
    assuming: Assumption | None = None
    on_shortfall: Shortfall | None = None
    on_oracle_error: OracleErrors | None = None
    seed: int | None = None
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sought:
    """LIMIT of a query without a target: so many positive rows are sought, and no more labelled.

    Parameters
    ----------
    target : RowsTarget
    gap_on : str or None
        SQL over FROM of the place of a row; None: its number in FROM.
    place : Place
        Where LIMIT stands.
    """

    target: RowsTarget
    gap_on: str | None
    place: Place


@dataclass(frozen=True, slots=True)
class SelectionQuery:
    """One query block that calls oracles, bound to declared oracles and proxies.

    Parameters
    ----------
    sql : str
        The statement as written.
    canonical : str
        The block in canonical form (clauses in fixed order): for EXPLAIN and certificates.
    ctes : str
        ``WITH ...`` in front of the block with a trailing space, or an empty string.
    leaves : tuple of Leaf
        The relations of FROM, in order of appearance.
    from_sql : tuple of str
        What stands in the FROM clause before, between and after the leaves: one text more than
        leaves. `thresher.sql.lowering` puts the sources in.
    plain : str or None
        Conjunction of the conjuncts free of oracle calls; None when there are none.
    formula : str
        The rest of WHERE over `OracleCall.value` columns and `parts` columns.
    parts : tuple of (str, str)
        (column name, SQL over FROM) of each oracle-free piece inside the formula.
    monotone : bool
        Whether the formula is built from AND, OR, NOT and comparisons alone, so that it is decided
        as soon as it is not NULL with unknown answers taken as NULL.
    calls, proxies, tail
        What the block calls, what USING names, and its clauses.
    answer : Answer
        The rest of the block (SELECT list, ORDER BY, LIMIT ...).
    estimation : Estimation or None
        The rest of the block where its aggregates are estimated; `answer` is empty then.
    labelled : Labelled or None
        The call in the SELECT list of a query with ACCURACY TARGET and no call in WHERE.
    understood : tuple of str
        A sentence for each form of another system, and each setting, as it was read.
    outputs : Outputs or None
        The calls whose answers the rows that come back show, or are ordered by.
    sought : Sought or None
        How many positive rows are enough.
    """

    sql: str
    canonical: str
    ctes: str
    leaves: tuple[Leaf, ...]
    from_sql: tuple[str, ...]
    plain: str | None
    formula: str
    parts: tuple[tuple[str, str], ...]
    monotone: bool
    calls: tuple[OracleCall, ...]
    proxies: tuple[ProxyTerm, ...]
    tail: Tail
    answer: Answer
    estimation: Estimation | None = None
    labelled: Labelled | None = None
    understood: tuple[str, ...] = ()
    outputs: Outputs | None = None
    sought: Sought | None = None

    @property
    def all_calls(self) -> tuple[OracleCall, ...]:
        """Calls of the formula, then those of the SELECT list and ORDER BY."""
        return (*self.calls, *(self.outputs.calls if self.outputs else ()))

    @property
    def promises(self) -> bool:
        """Whether its answer can promise anything that may be false, and so spends of delta."""
        tail = self.tail
        targets = (tail.recall, tail.precision, tail.accuracy, tail.error)
        limited = tail.oracle_limit is not None or bool(tail.budget)
        return any(target is not None for target in targets) or (
            self.estimation is not None and limited
        )
