"""Statements after parsing and binding: frozen values, no behaviour.

`thresher.sql` makes them from text, the engine runs them. Every SQL text in here is DuckDB's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from thresher.query import (
    Aggregate,
    Answer,
    Estimation,
    Labelled,
    Leaf,
    Measured,
    OracleCall,
    Outputs,
    Place,
    ProxyTerm,
    RowLimit,
    SelectionQuery,
    Sought,
    Tail,
)

__all__ = [
    "Aggregate",
    "Answer",
    "Audit",
    "Composed",
    "CreateOracle",
    "CreateProxy",
    "Describe",
    "Drop",
    "Estimation",
    "Explain",
    "InnerBlock",
    "Labelled",
    "Leaf",
    "Measured",
    "OptionValue",
    "OracleCall",
    "Outputs",
    "Passthrough",
    "Place",
    "Prepare",
    "ProxyTerm",
    "ResetSetting",
    "RowLimit",
    "SelectionQuery",
    "SetSetting",
    "Show",
    "ShowSetting",
    "Sought",
    "Statement",
    "Tail",
]

OptionValue = str | int | float | bool | list[str] | list[float] | None


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
    """``CREATE [OR REPLACE] [TEMP] PROXY name FOR oracle USING provider WITH (...)``.

    `trained` is the relation of ``TRAINED FROM``: a name, or a query in brackets.
    """

    sql: str
    name: str
    oracle: str
    provider: str
    options: Mapping[str, OptionValue]
    replace: bool = False
    temporary: bool = False
    places: Mapping[str, Place] = field(default_factory=dict)  # and 'oracle', 'trained'
    trained: str | None = None


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
class Audit:
    """``AUDIT CERTIFICATE id``: test an answer's promise on fresh rows, or against people.

    Parameters
    ----------
    identity : str
        Identity of the certificate.
    against : str or None
        Relation with labels of people; its column ``label`` is BOOLEAN, the others tell the rows.
    oracle_limit, probability, seed
        Clauses; None where they are absent.
    place : Place
        Where the identity stands.
    places : mapping of str to Place
        Where AGAINST and the clauses stand.
    """

    sql: str
    identity: str
    against: str | None
    oracle_limit: int | None
    probability: float | None
    seed: int | None
    place: Place
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InnerBlock:
    """A query block inside a statement, answered before it.

    Parameters
    ----------
    name : str
        The temporary table that holds its rows while the statement runs: ``__thresher_b0``, ...
    query : SelectionQuery
        The block; it may read the tables of blocks before it.
    place : Place
        Where it stands in the statement.
    """

    name: str
    query: SelectionQuery
    place: Place


@dataclass(frozen=True, slots=True)
class Composed:
    """A statement with query blocks of ours inside.

    Parameters
    ----------
    sql : str
        The statement as written.
    blocks : tuple of InnerBlock
        In the order in which they are answered.
    outer : SelectionQuery or str
        The statement round them: one more query of ours, or DuckDB's SQL.
    described : bool
        Whether only names and types of columns are asked, so that no block need be answered.
    """

    sql: str
    blocks: tuple[InnerBlock, ...]
    outer: SelectionQuery | str
    described: bool = False


@dataclass(frozen=True, slots=True)
class Prepare:
    """``PREPARE name AS`` one of our statements.

    Parameters
    ----------
    sql : str
        The whole statement.
    name : str
        In lower case.
    statement : str
        What is prepared, as written; it is bound when it is executed.
    offset : int
        Where that begins.
    """

    sql: str
    name: str
    statement: str
    offset: int


@dataclass(frozen=True, slots=True)
class Explain:
    """``EXPLAIN [ANALYZE]`` of one of our statements."""

    sql: str
    query: SelectionQuery | Composed
    analyze: bool
    as_json: bool = False


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
    | Audit
    | SelectionQuery
    | Composed
    | Explain
    | Prepare
)
