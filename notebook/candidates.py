"""What completion offers, and the names that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Candidate", "Kind", "Vocabulary", "of_kind"]

Kind = Literal[
    "column", "table", "oracle", "proxy", "function", "setting", "clause", "keyword", "value",
    "variable", "path",
]  # fmt: skip


class Vocabulary(Protocol):
    """The names that a place may hold."""

    def tables(self, schema: str = "") -> Sequence[str]:
        """Return tables, views and data frames, or those of a schema or database."""

    def columns(self, relation: str) -> Sequence[str]:
        """Return the columns of a relation; none where it is unknown."""

    def every_column(self) -> Sequence[str]:
        """Return the columns of all tables."""

    def oracles(self) -> Sequence[str]:
        """Return declared oracles."""

    def proxies(self) -> Sequence[str]:
        """Return declared proxies."""

    def functions(self) -> Sequence[str]:
        """Return functions and macros of DuckDB."""

    def table_functions(self) -> Sequence[str]:
        """Return functions and macros of DuckDB that return a table."""

    def settings(self) -> Sequence[str]:
        """Return settings, ours first."""

    def values(self, setting: str) -> Sequence[str]:
        """Return what a setting can be, where that is one of a few words."""

    def providers(self, kind: str) -> Sequence[str]:
        """Return what oracles or proxies may be made by."""

    def options(self, kind: str, provider: str) -> Sequence[str]:
        """Return the options of a provider."""

    def certificates(self) -> Sequence[str]:
        """Return the identities of stored certificates, the last first."""

    def parameters(self) -> Sequence[str]:
        """Return the variables that may be values of parameters."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that may stand there, and what it is."""

    text: str
    kind: Kind


def of_kind(kind: Kind, texts: Iterable[str]) -> list[Candidate]:
    """Return texts as candidates of one kind."""
    return [Candidate(text, kind) for text in texts]
