"""The words that begin a clause, and what was read of the clauses of a block."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from thresher.plan import Place, Tail
from thresher.sql.tokens import Source
from thresher.targets import Assumption, BudgetUnit, ErrorTarget, OracleErrors, Shortfall

__all__ = ["FIRST_WORDS", "SHORTFALLS", "WRITTEN", "TailClauses", "begun", "head_at", "meant"]

_HEADS: dict[tuple[str, ...], str] = {
    ("on", "oracle", "error"): "ON ORACLE ERROR",
    ("recall", "target"): "RECALL TARGET",
    ("precision", "target"): "PRECISION TARGET",
    ("accuracy", "target"): "ACCURACY TARGET",
    ("with", "probability"): "WITH PROBABILITY",
    ("at", "confidence"): "WITH PROBABILITY",
    ("oracle", "limit"): "ORACLE LIMIT",
    ("on", "shortfall"): "ON SHORTFALL",
    ("error", "within"): "ERROR WITHIN",
    ("confidence",): "WITH PROBABILITY",
    ("seed",): "SEED",
    ("budget",): "BUDGET",
    ("assuming",): "ASSUMING",
    ("using",): "USING",
    ("gap",): "GAP",
}
SHORTFALLS = ("FAIL", "RETURN", "EXACT")
FIRST_WORDS = frozenset(words[0] for words in _HEADS)
WRITTEN = [" ".join(words).upper() for words in _HEADS]


@dataclass(slots=True)
class TailClauses:
    """What was read so far: the checked clauses, the tokens of the items of USING and of GAP ON."""

    values: dict[str, object] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    using: list[tuple[int, int]] = field(default_factory=list)
    gap_on: tuple[int, int] | None = None

    def tail(self) -> Tail:
        """Return the clauses as a plan node."""
        get = self.values.get
        budget = cast(tuple[tuple[float, BudgetUnit], ...], get("BUDGET", ()))
        return Tail(
            recall=cast(float | None, get("RECALL TARGET")),
            precision=cast(float | None, get("PRECISION TARGET")),
            accuracy=cast(float | None, get("ACCURACY TARGET")),
            error=cast(ErrorTarget | None, get("ERROR WITHIN")),
            probability=cast(float | None, get("WITH PROBABILITY")),
            oracle_limit=cast(int | None, get("ORACLE LIMIT")),
            budget=tuple(limit for limit in budget if limit[1] != "CALLS"),
            assuming=cast(Assumption | None, get("ASSUMING")),
            on_shortfall=cast(Shortfall | None, get("ON SHORTFALL")),
            on_oracle_error=cast(OracleErrors | None, get("ON ORACLE ERROR")),
            seed=cast(int | None, get("SEED")),
            places=dict(self.places),
        )


def head_at(source: Source, i: int) -> tuple[str, int]:
    """Return the clause whose words stand at a token, and how many they are; or no name."""
    if source.word(i) not in FIRST_WORDS:
        return "", 0
    for words, clause in _HEADS.items():
        if source.words(i, *words):
            return clause, len(words)
    return "", 0


def begun(source: Source, i: int) -> tuple[str, int] | None:
    """Return the clause that a token begins but does not finish, and the token after its value.

    That is one whose first word stands right before a number, as in ``RECALL 90%``.
    """
    values = ("number", "parameter")
    if i + 1 >= len(source.tokens) or source.tokens[i + 1].kind not in values:
        return None
    found = [words for words in _HEADS if len(words) > 1 and words[0] == source.word(i)]
    if len(found) != 1:
        return None
    end = i + 2
    end += end < len(source.tokens) and source.tokens[end].text == "%"
    return " ".join(found[0]).upper(), end


def meant(written: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that is nearest, or an empty string."""
    found = difflib.get_close_matches(written.upper(), known, n=1, cutoff=0.7)
    return f" Did you mean {found[0]}?" if found else ""
