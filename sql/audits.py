"""``AUDIT CERTIFICATE id [AGAINST relation] [clauses]``.

The clauses are ORACLE LIMIT, WITH PROBABILITY and SEED; beside AGAINST, which buys and draws
nothing, WITH PROBABILITY alone.
"""

from __future__ import annotations

from thresher.errors import ProgrammingError
from thresher.plan import Audit
from thresher.sql.clause_heads import TailClauses, head_at
from thresher.sql.clauses import parse_tail
from thresher.sql.tokens import Source

__all__ = ["is_audit", "parse_audit"]

_CLAUSES = ("ORACLE LIMIT", "WITH PROBABILITY", "SEED")
_EXAMPLE = (
    "AUDIT CERTIFICATE 'id' [ORACLE LIMIT n] [WITH PROBABILITY p] [SEED n], or "
    "AUDIT CERTIFICATE 'id' AGAINST table [WITH PROBABILITY p]"
)


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
    tail_at = 2
    while tail_at < n and head_at(source, tail_at)[0] in ("", "USING"):
        tail_at = source.skip(tail_at)
    end = next((i for i in range(2, tail_at) if source.word(i) == "against"), tail_at)
    if end == 2:
        raise source.error(
            f"AUDIT CERTIFICATE needs the identity of a certificate. Write {_EXAMPLE}.", 0, 2
        )
    against = source.text(end + 1, tail_at) if end < tail_at else None
    if against == "":
        raise source.error(f"AGAINST needs a table with labels of people. Write {_EXAMPLE}.", end)
    clauses = parse_tail(source, tail_at, n)
    _check(source, clauses, against)
    places = dict(clauses.places)
    if against is not None:
        places["AGAINST"] = source.place(end, tail_at)
    tail = clauses.tail()
    return Audit(
        source.sql,
        source.text(2, end).replace(" ", "").strip("'\""),
        against,
        tail.oracle_limit,
        tail.probability,
        tail.seed,
        source.place(2, end),
        places,
    )


def _check(source: Source, clauses: TailClauses, against: str | None) -> None:
    """Refuse clauses that an audit does not have, or that would do nothing."""
    for clause, place in clauses.places.items():
        message = ""
        if clause not in _CLAUSES:
            message = f"{clause} does not belong to an audit. Write {_EXAMPLE}."
        elif against is not None and clause != "WITH PROBABILITY":
            message = (
                f"{clause} does not go with AGAINST, which draws no rows and buys no labels: leave "
                "it out."
            )
        if message:
            raise ProgrammingError(message).at(source.sql, place.offset, place.length)
