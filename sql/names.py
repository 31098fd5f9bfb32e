"""What the parser must know of the catalog: a protocol, so that it needs no engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from thresher.plan import OptionValue

__all__ = ["Argument", "DeclaredOracle", "DeclaredProxy", "Names", "Signature"]


class Argument(Protocol):
    """One declared argument."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def type(self) -> str:
        """Its DuckDB type in SQL text."""


class Signature(Protocol):
    """Arguments and return type of an oracle."""

    @property
    def arguments(self) -> Sequence[Argument]:
        """Declared arguments, in order."""

    @property
    def returns(self) -> str:
        """DuckDB type of an answer, in SQL text."""


class DeclaredOracle(Protocol):
    """An oracle in the catalog."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    @property
    def as_column(self) -> bool:
        """Whether it may be written as a column, without its arguments."""

    @property
    def value_range(self) -> tuple[float | None, float | None]:
        """Least and largest value of an answer, None where nothing is declared."""


class DeclaredProxy(Protocol):
    """A proxy in the catalog."""

    @property
    def oracle(self) -> str:
        """Name of the oracle it stands for, in lower case."""


class Names(Protocol):
    """What is declared; names are looked up in lower case."""

    def oracle(self, name: str) -> DeclaredOracle | None:
        """Return a declared oracle, or None."""

    def oracle_names(self) -> list[str]:
        """Return the names of all oracles."""

    def proxy(self, name: str) -> DeclaredProxy | None:
        """Return a declared proxy, or None."""

    def proxy_names(self) -> list[str]:
        """Return the names of all proxies."""

    def settings(self) -> list[str]:
        """Return the names of the session settings, without the prefix ``thresher_``."""

    def setting(self, name: str) -> OptionValue:
        """Return the value of one of these settings; asked for those that it names only."""

    def has_function(self, name: str) -> bool:
        """Whether DuckDB itself has a function; ``ai.if`` is ``if`` in the schema ``ai``."""

    def columns(self, relation: str, ctes: str) -> Sequence[str]:
        """Return the columns of a relation as it stands in FROM; empty where it cannot be read.

        `ctes` is ``WITH ...`` with the CTEs that it may name, or an empty string.
        """
