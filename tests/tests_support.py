"""What several test files share: a table with a proxy score, a counting oracle, declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from thresher.certificate import Certificate
from thresher.dbapi import Connection
from thresher.plan import OptionValue


@dataclass(frozen=True)
class Argument:
    name: str
    type: str


@dataclass(frozen=True)
class Signature:
    arguments: tuple[Argument, ...]
    returns: str


@dataclass(frozen=True)
class DeclaredOracle:
    """What the parser asks of a declared oracle."""

    signature: Signature
    value_range: tuple[float | None, float | None] = (None, None)
    as_column: bool = False


@dataclass(frozen=True)
class DeclaredProxy:
    oracle: str


def declared(returns: str, *kinds: str) -> DeclaredOracle:
    """Return an oracle over arguments x0, x1, ... of these types."""
    arguments = tuple(Argument(f"x{i}", kind) for i, kind in enumerate(kinds))
    return DeclaredOracle(Signature(arguments, returns))


class Names:
    """A catalog of as many oracles, proxies (each with its oracle) and settings as a test wants.

    `values` are settings with a value, `functions` those of DuckDB, `columns` those of relations.
    """

    def __init__(
        self,
        *,
        proxies: Mapping[str, str] | None = None,
        known_settings: Sequence[str] = (),
        values: Mapping[str, OptionValue] | None = None,
        functions: Sequence[str] = (),
        columns: Mapping[str, Sequence[str]] | None = None,
        **oracles: DeclaredOracle,
    ) -> None:
        self.oracles, self._values = oracles, dict(values or {})
        self._settings = [*known_settings, *self._values]
        self._functions, self._columns = functions, columns or {}
        self._proxies = {name: DeclaredProxy(of) for name, of in (proxies or {}).items()}

    def oracle(self, name: str) -> DeclaredOracle | None:
        return self.oracles.get(name)

    def oracle_names(self) -> list[str]:
        return list(self.oracles)

    def proxy(self, name: str) -> DeclaredProxy | None:
        return self._proxies.get(name)

    def proxy_names(self) -> list[str]:
        return list(self._proxies)

    def settings(self) -> list[str]:
        return self._settings

    def setting(self, name: str) -> OptionValue:
        return self._values[name]

    def has_function(self, name: str) -> bool:
        return name in self._functions

    def columns(self, relation: str, ctes: str) -> Sequence[str]:
        return self._columns.get(relation, [])


class CountingOracle:
    """Answers from a truth table and remembers every input it was asked."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth
        self.asked: list[int] = []

    def __call__(self, ids: list[int]) -> list[bool]:
        self.asked += ids
        return [bool(self.truth[i]) for i in ids]


@dataclass
class World:
    """A connection with an oracle is_pos over ids: its truth, scores, and what it was asked."""

    connection: Connection
    truth: np.ndarray
    score: np.ndarray
    topic: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.str_))
    asked: list[int] = field(default_factory=list)

    def run(self, sql: str) -> tuple[np.ndarray, Certificate]:
        """Return the ids and the certificate."""
        cursor = self.connection.execute(sql)
        ids = np.array([row[0] for row in cursor.fetchall()], dtype=int)
        assert cursor.certificate is not None
        return ids, cursor.certificate


def make_world(connection: Connection, rng: np.random.Generator, n_rows: int) -> World:
    """Declare is_pos, true of a row with the probability that is its score."""
    score = 1 / (1 + np.exp(-rng.normal(-2, 3, n_rows)))
    oracle = CountingOracle(rng.random(n_rows) < score)
    connection.create_oracle("is_pos", oracle, args=["BIGINT"], returns="BOOLEAN")
    return World(connection, oracle.truth, score, asked=oracle.asked)


def make_table(n_rows: int, seed: int, rate: float = 0.2) -> tuple[pa.Table, np.ndarray]:
    """Return (table of id, score, text, year; truth): the score is informative, not perfect."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n_rows) < rate
    logit = np.where(truth, 1.5, -1.5) + 1.2 * rng.standard_normal(n_rows)
    score = 1 / (1 + np.exp(-logit))
    words = np.where(truth, "good fine lovely", "bad poor dull")
    text = [f"{word} film {i % 97}" for i, word in enumerate(words)]
    year = rng.integers(1980, 2020, n_rows)
    table = pa.table({"id": np.arange(n_rows), "score": score, "text": text, "year": year})
    return table, truth
