"""The clauses of thresher at the end of a query block: found, checked and taken off.

A clause is found at token level: at bracket depth 0, by its words, and only where its words
cannot be names. So a table called ``oracle`` or a column called ``recall`` still works, and
``ORDER BY oracle LIMIT 5`` holds no clause.
"""

from __future__ import annotations

from typing import get_args

from thresher.errors import Error, ProgrammingError
from thresher.sql.blocks import operand_ends, section_at
from thresher.sql.clause_heads import SHORTFALLS, WRITTEN, TailClauses, begun, head_at, meant
from thresher.sql.clause_values import READERS, read_gap
from thresher.sql.tokens import Source
from thresher.targets import AssumptionName

__all__ = [
    "TailClauses",
    "check_words",
    "clause_name",
    "find_clause",
    "find_tail",
    "parse_tail",
    "unknown_clause",
]

_SAMPLES = ("reservoir", "bernoulli", "system")

_ASSUMED = frozenset(name.split()[0].lower() for name in get_args(AssumptionName))
_BEFORE_NUMBER = (
    "rows",
    "range",
    "preceding",
    "first",
    "next",
    "row",
    "all",
    "nulls",
    "date",
    "interval",
)
_AFTER_WHERE = (
    "where",
    "group",
    "having",
    "window",
    "qualify",
    "order",
    "limit",
    "offset",
    "fetch",
)


def _value_follows(source: Source, i: int) -> bool:
    """Whether a number, a parameter or a string stands at a token, with or without sign."""
    if i < len(source.tokens) and source.tokens[i].text in ("+", "-"):
        i += 1
    return i < len(source.tokens) and source.tokens[i].kind in ("number", "parameter", "string")


def find_tail(source: Source, first: int, last: int, *, ours: bool) -> int:
    """Return the first token of the clauses at the end of a block, `last` if there are none.

    Parameters
    ----------
    source : Source
        The statement.
    first, last : int
        Token range of the block.
    ours : bool
        Whether it is known to call an oracle; words that might be names are then read as clauses.
    """
    section, joining = "", False
    i = first
    while i < last:
        if found := section_at(source, i):
            section, joining = found, False
        elif section == "from" and source.word(i) == "join":
            joining = True
        elif section == "from" and joining and source.word(i) in ("on", "using"):
            joining = False
        elif section and _is_clause(source, i, last, section, ours=ours):
            return i
        i = source.skip(i)
    return last


def _is_clause(source: Source, i: int, last: int, section: str, *, ours: bool) -> bool:
    clause, n_words = head_at(source, i)
    if not clause or source.mark(i - 1, "."):
        return False
    after, ended = section in _AFTER_WHERE, operand_ends(source, i - 1)
    value = _value_follows(source, i + n_words)
    match clause:
        case "USING":
            return ended and not _is_sample(source, i + 1)
        case "ON SHORTFALL" | "ON ORACLE ERROR":
            return ended
        case "ASSUMING":
            return ended and i + 1 < last and (after or source.word(i + 1) in _ASSUMED)
        case "ORACLE LIMIT":
            return ended and (after or ours)
        case "GAP" if source.word(i + 1) == "interval":
            return ended and section in ("limit", "offset", "fetch")
        case _ if n_words == 1:
            signed = i + 1 < last and source.tokens[i + 1].text in ("+", "-")
            unsigned = source.tokens[i - 1].text != "%" or not signed
            if value:
                return ended and unsigned
            return ended and after and (i + 1 == last or bool(head_at(source, i + 1)[0]))
        case _:
            return value or (ended and after)


def _is_sample(source: Source, i: int) -> bool:
    """Whether ``USING SAMPLE 10%`` or ``USING SAMPLE reservoir(10)`` stands there: DuckDB's."""
    if source.word(i) != "sample" or i + 1 >= len(source.tokens):
        return False
    at = i + 1 + (source.word(i + 1) in _SAMPLES)
    at += source.mark(at, "(")
    return at < len(source.tokens) and source.tokens[at].kind in ("number", "parameter")


def find_clause(source: Source, first: int, last: int) -> int | None:
    """Return the first token of a clause at any depth that cannot be anything else, or None."""
    for i in range(first, last):
        clause, n_words = head_at(source, i)
        certain = n_words > 1 and _value_follows(source, i + n_words)
        if clause == "ON SHORTFALL":
            certain = source.word(i + 2).upper() in SHORTFALLS
        if certain and clause != "ORACLE LIMIT" and not source.mark(i - 1, "."):
            return i
    return None


def clause_name(source: Source, i: int) -> str:
    """Return the clause at a token as it is written there."""
    n_words = head_at(source, i)[1]
    return source.text(i, i + n_words).upper()


def parse_tail(source: Source, first: int, last: int) -> TailClauses:
    """Read the clauses in tokens ``first:last``.

    Raises
    ------
    ProgrammingError
        A clause is misspelt, stands twice, has no value or a wrong one, or is not at the end.
    """
    clauses = TailClauses()
    i = first
    while i < last:
        clause, n_words = head_at(source, i)
        if not clause:
            raise _misplaced(source, i, first)
        if clause in clauses.places:
            line = source.sql.count("\n", 0, clauses.places[clause].offset) + 1
            raise source.error(
                f"{clause} stands twice; the first is in line {line}", i, i + n_words
            )
        end = _READERS[clause](source, i, i + n_words, last, clauses)
        clauses.places[clause] = source.place(i, end)
        i = end
    return clauses


def _misplaced(source: Source, i: int, first: int) -> Error:
    word = source.tokens[i].text
    if section := section_at(source, i):
        shown = f"{section.upper()} BY" if section in ("group", "order") else section.upper()
        return source.error(
            f"clauses come last: write {shown} before {clause_name(source, first)}", i
        )
    if source.tokens[i].kind != "word":
        return source.error(f"a clause or the end of the statement must stand here, not {word}", i)
    return unknown_clause(source, i)


def unknown_clause(source: Source, i: int) -> ProgrammingError:
    """Make the error for words that are no clause, with the clause that may be meant."""
    if (found := begun(source, i)) is not None:
        clause, end = found
        written, value = source.text(i, end), source.text(i + 1, end)
        return source.error(f"unknown clause {written}. Did you mean {clause} {value}?", i, end)
    for n_words in (2, 1) if source.word(i + 1) else (1,):
        written = source.text(i, min(i + n_words, len(source.tokens)))
        if hint := meant(written, WRITTEN):
            return source.error(f"unknown clause {written}.{hint}", i, i + n_words)
    return source.error(
        f"unexpected {source.tokens[i].text}. The clauses are USING, RECALL TARGET, PRECISION "
        "TARGET, ACCURACY TARGET, ERROR WITHIN, WITH PROBABILITY, ORACLE LIMIT, BUDGET, ASSUMING, "
        "ON SHORTFALL, ON ORACLE ERROR, SEED and GAP.",
        i,
    )


def check_words(source: Source, first: int, last: int) -> None:
    """Find a misspelt clause after WHERE: a word before a number that SQL does not put there.

    Raises
    ------
    ProgrammingError
        There is one, as in ``ORDER BY x RECAL TARGET 0.9``.
    """
    i = first
    while i < last:
        if source.tokens[i].kind in ("number", "parameter") and operand_ends(source, i - 1):
            start = i - 1
            if source.tokens[start].kind == "word" and source.word(start) not in _BEFORE_NUMBER:
                if begun(source, start) is None:
                    start -= operand_ends(source, start - 1) and bool(source.word(start - 1))
                raise unknown_clause(source, start)
        i = source.skip(i)


def _using(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    """Read ``[PROXY] expression, ...`` up to the next clause."""
    named = source.word(i) == "proxy" and i + 1 < last and not _ends_item(source, i + 1, last)
    i += named
    end = _expressions_end(source, head, i, last)
    items = source.split(i, end)
    if not items or any(a == b for a, b in items):
        raise source.error("USING needs a column, an expression or a proxy's name", head)
    clauses.using = items
    return end


def _expressions_end(source: Source, head: int, i: int, last: int) -> int:
    """Return where the expressions of a clause end: at the next clause."""
    end = i
    while end < last and not _is_clause(source, end, last, "limit", ours=True):
        if section_at(source, end):
            raise _misplaced(source, end, head)
        if end > i and operand_ends(source, end - 1) and begun(source, end) is not None:
            raise unknown_clause(source, end)
        end = source.skip(end)
    return end


def _gap(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    """Read ``g [ON expression]``."""
    end = read_gap(source, head, i, last, clauses)
    if end >= last or source.word(end) != "on" or head_at(source, end)[0]:
        return end
    first = end + 1
    end = _expressions_end(source, head, first, last)
    if len(source.split(first, end)) != 1:
        raise source.error("GAP ... ON needs one expression over FROM", first - 1)
    clauses.gap_on = first, end
    return end


def _ends_item(source: Source, i: int, last: int) -> bool:
    """Whether an item of USING has ended: then the word before was a name, not PROXY."""
    token = source.tokens[i]
    return (
        source.mark(i, ",")
        or source.mark(i, ".")
        or (token.kind == "operator" and token.text not in ("-", "+"))
        or token.text in ("::", "[")
        or _is_clause(source, i, last, "limit", ours=True)
    )


_READERS = {**READERS, "USING": _using, "GAP": _gap}
