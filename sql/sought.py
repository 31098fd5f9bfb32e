"""LIMIT and GAP of a query without a target: so many positive rows are enough."""

from __future__ import annotations

from thresher.errors import ProgrammingError
from thresher.plan import Answer, Sought
from thresher.sql.blocks import Block
from thresher.sql.clause_heads import TailClauses
from thresher.sql.row_limits import limit_section
from thresher.sql.selections import first_aggregate, has_window, outer_tokens
from thresher.sql.tokens import Source
from thresher.targets import RowsTarget

__all__ = ["bind_sought"]

_TARGETS = ("RECALL TARGET", "PRECISION TARGET", "ACCURACY TARGET", "ERROR WITHIN")
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
    section, written = limit_section(block), answer.row_limit
    limit = 0 if written is None or written.count is None else written.count
    return Sought(
        target=RowsTarget(
            count=limit + written.offset if written is not None and limit else 0,
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
        "there is no LIMIT": limit_section(block) not in block.sections,
        "LIMIT and OFFSET must be whole numbers": (
            answer.row_limit is None or answer.row_limit.count is None
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
