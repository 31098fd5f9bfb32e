"""Where a call of an oracle may stand in a query block, and what is said where none does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from thresher.errors import Error, nearest
from thresher.sql.blocks import Block
from thresher.sql.clauses import clause_name
from thresher.sql.names import Names
from thresher.sql.tokens import Source

__all__ = ["check_calls", "no_call"]

_PLACES = {
    "select": "the SELECT list",
    "from": "FROM",
    "group": "GROUP BY",
    "having": "HAVING",
    "window": "WINDOW",
    "qualify": "QUALIFY",
    "order": "ORDER BY",
    "limit": "LIMIT",
    "offset": "OFFSET",
}
_EXAMPLE = "CREATE ORACLE name(text VARCHAR) RETURNS BOOLEAN USING provider WITH (...)"


def check_calls(
    source: Source, block: Block, calls: Sequence[int], end: int, allowed: Collection[str]
) -> None:
    """Refuse calls where they cannot be answered.

    Parameters
    ----------
    source : Source
        The statement.
    block : Block
        Its sections.
    calls : sequence of int
        The tokens where calls begin.
    end : int
        The token after the block, where its clauses begin.
    allowed : collection of str
        Sections in which calls may stand.

    Raises
    ------
    NotSupportedError
        A call stands elsewhere.
    ProgrammingError
        A call stands in USING.
    """
    for i in calls:
        name, after = source.tokens[i].name, source.skip(i + 1)
        if block.ctes[0] <= i < block.ctes[1]:
            raise source.refuse(
                f"a call of the oracle {name} in WITH is not supported yet. "
                "Call it in the WHERE of the outermost SELECT.", i, after,
            )  # fmt: skip
        for section, (first, last) in block.sections.items():
            if first <= i < last and section not in allowed:
                raise source.refuse(
                    f"a call of the oracle {name} in {_PLACES.get(section, section)} is not "
                    f"supported yet. {_ways_on(section)}", i, after,
                )  # fmt: skip
        if i >= end:
            asked = {source.tokens[k].name.lower() for k in calls if k < end}
            wrong = (
                f"the oracle {name} cannot be its own proxy: USING takes"
                if name.lower() in asked
                else f"USING takes no oracle call, and {name} is an oracle: write"
            )
            raise source.error(
                f"{wrong} a column, an expression without oracle calls, or a declared proxy",
                i, after,
            )  # fmt: skip


def no_call(source: Source, block: Block, names: Names, end: int) -> Error:
    """Say why a statement with clauses has no oracle to ask."""
    first, last = block.range("where")
    known = names.oracle_names()
    for i in range(first, last):
        token = source.tokens[i]
        if token.is_name and source.mark(i + 1, "("):
            hint = nearest(token.name, known)
            if hint or not known:
                hint = hint or f" No oracle is declared: write {_EXAMPLE} first."
                return source.error(f"{token.name} is not a declared oracle.{hint}", i)
    declared = f"Declared: {', '.join(sorted(known))}." if known else f"Write {_EXAMPLE} first."
    what = clause_name(source, end) if end < len(source.tokens) else "the statement"
    return source.error(
        f"{what} needs a call of a declared oracle in WHERE. {declared}",
        min(end, len(source.tokens) - 1),
    )


def _ways_on(section: str) -> str:
    match section:
        case "from":
            return "Call it in WHERE: FROM a, b WHERE is_match(a.x, b.y)."
        case "order":
            return "Order by a column of the answer."
        case "qualify" | "having":
            return "Keep the answers first: FROM (SELECT oracle(x) AS answer FROM t) WHERE answer."
        case _:
            return "Keep the answers first: FROM (SELECT oracle(x) AS answer FROM t)."
