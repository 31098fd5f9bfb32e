"""The catalog of tests/sql/foreign.sql, and its pairs of statements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests_support import Argument, DeclaredOracle, Names, Signature
from thresher.sql.tokens import tokenize

FOLDER = Path(__file__).parent / "sql"
DEFAULTS = "judge, WRITE ,rate"
COLUMNS: dict[str, Sequence[str]] = {
    "video": ["frame", "timestamp", "day", "score"],
    "suv": ["class", "frame", "price"],
    "notes": ["id", "text"],
    "copies": ["frame", "score"],
    "taipei": ["frame", "timestamp", "day"],
    "sentiment": ["text", "score"],
    "entities00": ["entity_id", "text"],
    "colors02": ["frame"],
}


def oracle(returns: str, *arguments: str, as_column: bool = False) -> DeclaredOracle:
    """Return an oracle over arguments of these names, all VARCHAR."""
    declared = tuple(Argument(name, "VARCHAR") for name in arguments)
    return DeclaredOracle(Signature(declared, returns), as_column=as_column)


ORACLES = {
    "class": oracle("VARCHAR", "frame", as_column=True),
    "color": oracle("VARCHAR", "frame", as_column=True),
    "label": oracle("VARCHAR", "text", as_column=True),
    "type": oracle("VARCHAR", "text", as_column=True),
    "fastrcnn": oracle("VARCHAR", "frame"),
    "judge": oracle("BOOLEAN", "prompt"),
    "write": oracle("VARCHAR", "prompt"),
    "rate": oracle("DOUBLE", "prompt"),
    "look": oracle("BOOLEAN", "prompt", "picture"),
}


def catalog(default_oracle: str = "", functions: Sequence[str] = (), **targets: float) -> Names:
    """Return these oracles with settings; `functions` are those that DuckDB has."""
    default = {"default_oracle": default_oracle} if default_oracle else {}
    values = {**default, **targets}
    return Names(values=values, functions=functions, columns=COLUMNS, **ORACLES)


NAMES = catalog(DEFAULTS)
BARE = catalog()


def words(sql: str) -> str:
    """Write a statement with one space between its tokens."""
    return " ".join(token.text for token in tokenize(sql))


def pairs() -> list[tuple[str, str]]:
    """Return the statements of other systems, each with what it is read as."""
    text = (FOLDER / "foreign.sql").read_text()
    return [
        (theirs.strip(), ours.strip())
        for theirs, ours in re.findall(
            r"^-- (?!ours)[^\n]*\n((?!--)[^\n].*?)^-- ours\n(.*?)(?=^\n|\Z)", text, re.S | re.M
        )
    ]
