"""LIMIT and GAP of a query without a target: so many positive rows are enough."""

from __future__ import annotations

from thresher.errors import ProgrammingError
from thresher.plan import Answer, Sought
from thresher.sql.blocks import Block
from thresher.sql.clause_heads import TailClauses
from thresher.sql.selections import first_aggregate, has_window, outer_tokens
from thresher.sql.tokens import Source
from thresher.targets import RowsTarget

__all__ = ["bind_sought"]

_TARGETS = ("RECALL TARGET", "PRECISION TARGET", "ACCURACY TARGET", "ERROR WITHIN")
_MOST = 2**63
_MULTIPLY = ("unnest", "unlist", "generate_subscripts")


def bind_sought(
    source: Source,
    block: Block,
    clauses: TailClauses,
    answer: Answer,
    *,
    called: bool,
    by_answers: bool,
) -> Sought | None:
    """Return how many positive rows are enough, None where all must be known.

    Parameters
    ----------
    source : Source
        The statement.
    block : Block
        Its sections.
    clauses : TailClauses
        What was read of its clauses.
    answer : Answer
        The rest of the block.
    called : bool
        Whether WHERE calls an oracle.
    by_answers : bool
        Whether the order of the rows hangs on an oracle's answers.

    Raises
    ------
    ProgrammingError
        GAP stands where all rows must be known.
    """
    why = _why_all(source, block, clauses, answer, called=called, by_answers=by_answers)
    gap = clauses.values.get("GAP")
    if why:
        if gap is None:
            return None
        place = clauses.places["GAP"]
        raise ProgrammingError(
            f"GAP needs LIMIT k, and a condition of which k rows are to be found; {why}. Write "
            "SELECT ... FROM t WHERE oracle(x) LIMIT 10 GAP 30."
        ).at(source.sql, place.offset, place.length)
    section = _limit(block)
    limit, offset = _count(source, block, section) or 0, _count(source, block, "offset") or 0
    return Sought(
        target=RowsTarget(
            count=limit + offset if limit else 0,
            ordered=bool(answer.order),
            gap=float(str(gap)) if gap is not None else None,
        ),
        gap_on=None if clauses.gap_on is None else source.text(*clauses.gap_on),
        place=source.place(block.sections[section][0] - 1, block.sections[section][1]),
    )


def _why_all(
    source: Source,
    block: Block,
    clauses: TailClauses,
    answer: Answer,
    *,
    called: bool,
    by_answers: bool,
) -> str:
    """Say why all positive rows must be known, if they must."""
    target = next((name for name in _TARGETS if name in clauses.values), None)
    select = block.range("select")
    ranges = [select, block.range("order")]
    multiplied = any(
        source.word(i) in _MULTIPLY and source.mark(i + 1, "(")
        for tokens in ranges
        for i in outer_tokens(source, *tokens)
    )
    reasons = {
        f"{target} asks for a share of all rows": target is not None,
        "WHERE calls no oracle": not called,
        "there is no LIMIT": _limit(block) not in block.sections,
        "LIMIT and OFFSET must be whole numbers": (
            _count(source, block, _limit(block)) is None
            or ("offset" in block.sections and _count(source, block, "offset") is None)
        ),
        "DISTINCT hangs on all rows": source.word(select[0]) == "distinct",
        "an aggregate hangs on all rows": first_aggregate(source, block) is not None,
        "a window function hangs on all rows": (
            "qualify" in block.sections or any(has_window(source, *tokens) for tokens in ranges)
        ),
        "unnest() makes several rows of one": multiplied,
        "ORDER BY hangs on the answers of an oracle": by_answers,
        "ORDER BY beside COLUMNS(...) or a whole row is not followed": (
            bool(answer.order) and answer.hidden
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _limit(block: Block) -> str:
    """Return the section that says how many rows come back."""
    return "fetch" if "fetch" in block.sections else "limit"


def _count(source: Source, block: Block, section: str) -> int | None:
    """Return the whole number of LIMIT, FETCH or OFFSET, None where there is none."""
    first, last = block.range(section)
    if section == "fetch" and source.word(first) in ("first", "next") and last == first + 4:
        first, last = first + 1, first + 2
    if section == "offset" and source.word(last - 1) in ("row", "rows"):
        last -= 1
    value, end = _sum(source, first, last)
    return value if end == last and value is not None and 0 <= value < _MOST else None


def _sum(source: Source, i: int, last: int) -> tuple[int | None, int]:
    """Reckon whole numbers with ``+``, ``-`` and ``*``; return the token after them."""
    value, i = _product(source, i, last)
    while value is not None and i < last and source.tokens[i].text in ("+", "-"):
        other, end = _product(source, i + 1, last)
        sign = 1 if source.tokens[i].text == "+" else -1
        value, i = (None if other is None else value + sign * other), end
    return value, i


def _product(source: Source, i: int, last: int) -> tuple[int | None, int]:
    value, i = _whole(source, i, last)
    while value is not None and i < last and source.tokens[i].text == "*":
        other, i = _whole(source, i + 1, last)
        value = None if other is None else value * other
    return value, i


def _whole(source: Source, i: int, last: int) -> tuple[int | None, int]:
    """Read a whole number, a parameter or brackets."""
    if i >= last:
        return None, i
    if source.mark(i, "("):
        value, end = _sum(source, i + 1, source.partner[i])
        return (value if end == source.partner[i] else None), source.skip(i)
    token = source.tokens[i]
    if token.kind == "parameter":
        whole = isinstance(token.value, int) and not isinstance(token.value, bool)
        return (int(str(token.value)) if whole else None), i + 1
    text = token.text.replace("_", "")
    whole = token.kind == "number" and text.isdigit() and len(text) < 19
    return (int(text) if whole else None), i + 1
