"""Statements after parsing and binding: frozen values, no behaviour.

`thresher.sql` makes them from text, the engine runs them. Every SQL text in here is DuckDB's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from thresher.targets import Shortfall

__all__ = [
    "Answer",
    "CreateOracle",
    "CreateProxy",
    "Describe",
    "Drop",
    "Explain",
    "Leaf",
    "OptionValue",
    "OracleCall",
    "Passthrough",
    "Place",
    "ProxyTerm",
    "ResetSetting",
    "SelectionQuery",
    "SetSetting",
    "Show",
    "ShowSetting",
    "Statement",
    "Tail",
]

OptionValue = str | int | float | bool | list[str] | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the statement: character offset from 0, and length."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Passthrough:
    """A statement that goes to DuckDB as it is."""

    sql: str


@dataclass(frozen=True, slots=True)
class CreateOracle:
    """``CREATE [OR REPLACE] [TEMP] ORACLE name(arg TYPE, ...) RETURNS type USING provider ...``."""

    sql: str
    name: str
    arguments: tuple[tuple[str, str], ...]  # (name, DuckDB type)
    returns: str
    provider: str
    options: Mapping[str, OptionValue]
    replace: bool = False
    temporary: bool = False
    places: Mapping[str, Place] = field(default_factory=dict)  # 'name', 'provider', 'option KEY'


@dataclass(frozen=True, slots=True)
class CreateProxy:
    """``CREATE [OR REPLACE] [TEMP] PROXY name FOR oracle USING provider WITH (...)``."""

    sql: str
    name: str
    oracle: str
    provider: str
    options: Mapping[str, OptionValue]
    replace: bool = False
    temporary: bool = False
    places: Mapping[str, Place] = field(default_factory=dict)  # and 'oracle'


@dataclass(frozen=True, slots=True)
class Drop:
    """``DROP ORACLE|PROXY [IF EXISTS] name``."""

    sql: str
    kind: Literal["oracle", "proxy"]
    name: str
    if_exists: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Show:
    """``SHOW ORACLES|PROXIES|CERTIFICATES``."""

    sql: str
    what: Literal["oracles", "proxies", "certificates"]


@dataclass(frozen=True, slots=True)
class Describe:
    """``DESCRIBE ORACLE|PROXY name``."""

    sql: str
    kind: Literal["oracle", "proxy"]
    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class SetSetting:
    """``SET thresher_<name> = value``; the name is without the prefix, in lower case."""

    sql: str
    name: str
    value: OptionValue
    place: Place


@dataclass(frozen=True, slots=True)
class ResetSetting:
    """``RESET thresher_<name>``."""

    sql: str
    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class ShowSetting:
    """``SHOW thresher_<name>``."""

    sql: str
    name: str
    place: Place


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
    """

    select: str
    grouping: str = ""
    order: str = ""
    limit: str = ""
    by_row: bool = True
    hidden: bool = False


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
    """

    text: str
    name: str | None
    column: str
    place: Place


@dataclass(frozen=True, slots=True)
class Tail:
    """The clauses at the end of a query block; None where a clause is absent.

    `places` maps a clause's name (``RECALL TARGET``, ``ORACLE LIMIT``, ...) to where it stands.
    """

    recall: float | None = None
    precision: float | None = None
    probability: float | None = None
    oracle_limit: int | None = None
    on_shortfall: Shortfall | None = None
    seed: int | None = None
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SelectionQuery:
    """One query block whose WHERE holds oracle calls, bound to declared oracles and proxies.

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


@dataclass(frozen=True, slots=True)
class Explain:
    """``EXPLAIN [ANALYZE]`` of one of our queries."""

    sql: str
    query: SelectionQuery
    analyze: bool


Statement = (
    Passthrough
    | CreateOracle
    | CreateProxy
    | Drop
    | Show
    | Describe
    | SetSetting
    | ResetSetting
    | ShowSetting
    | SelectionQuery
    | Explain
)
