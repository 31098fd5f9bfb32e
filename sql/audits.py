"""``AUDIT CERTIFICATE id [AGAINST relation] [clauses]``."""

from __future__ import annotations

from thresher.errors import ProgrammingError
from thresher.plan import Audit
from thresher.sql.clause_heads import head_at
from thresher.sql.clauses import parse_tail
from thresher.sql.tokens import Source

__all__ = ["is_audit", "parse_audit"]

_CLAUSES = ("ORACLE LIMIT", "WITH PROBABILITY", "SEED")


def is_audit(source: Source) -> bool:
    """Whether the statement is an audit."""
    return source.words(0, "audit", "certificate")


def parse_audit(source: Source) -> Audit:
    """Parse an audit.

    Raises
    ------
    ProgrammingError
        The identity is missing, or a clause does not belong here.
    """
    n = len(source.tokens)
    example = "AUDIT CERTIFICATE 'id' [AGAINST table] [ORACLE LIMIT n]"
    end = next((i for i in range(2, n) if source.word(i) == "against"), n)
    tail_at = 2
    while tail_at < n and head_at(source, tail_at)[0] in ("", "USING"):
        tail_at = source.skip(tail_at)
    end = min(end, tail_at)
    if end == 2:
        raise source.error(
            f"AUDIT CERTIFICATE needs the identity of a certificate: {example}", 0, 2
        )
    identity = source.text(2, end).replace(" ", "").strip("'\"")
    against = None
    if source.word(end) == "against":
        against = source.text(end + 1, tail_at)
        if not against:
            raise source.error(f"AGAINST needs a table with labels of people: {example}", end)
    clauses = parse_tail(source, tail_at, n)
    for clause, place in clauses.places.items():
        if clause not in _CLAUSES:
            error = ProgrammingError(f"{clause} does not belong into an audit: {example}")
            raise error.at(source.sql, place.offset, place.length)
    tail = clauses.tail()
    return Audit(
        source.sql, identity, against, tail.oracle_limit, tail.probability, tail.seed,
        source.place(2, end),
    )  # fmt: skip
