"""FCOUNT and HAVING of BlazeIt, PERCENTAGE of ABae, read as aggregates and conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thresher.sql.blocks import Block, cut
from thresher.sql.clauses import find_tail
from thresher.sql.foreign_blocks import Edit, edited, put
from thresher.sql.names import Names
from thresher.sql.selections import AGGREGATES, outer_tokens
from thresher.sql.tokens import Source, Token, identifier

__all__ = ["rewrite_aggregates"]

_AT_LEAST_ONE = ((">=", "1"), (">", "0"))


def rewrite_aggregates(
    source: Source, names: Names, holds: Callable[[Source, int, int], bool], notes: list[str]
) -> list[Token]:
    """Return one query block with FCOUNT, PERCENTAGE and HAVING over an oracle in other words.

    Parameters
    ----------
    source : Source
        The block.
    names : Names
        What is declared.
    holds : callable
        Whether an oracle call stands in a token range.
    notes : list of str
        Takes how each was understood.

    Raises
    ------
    ProgrammingError, NotSupportedError
        It cannot be said in the dialect; the message names what comes nearest.
    """
    n = len(source.tokens)
    words = {token.word for token in source.tokens}
    called = holds(source, 0, n)
    end = find_tail(source, 0, n, ours=called)
    if not words & {"fcount", "percentage", "having"} or not (called or end < n):
        return source.tokens
    block = cut(source, 0, end)
    edits = []
    for i in outer_tokens(source, *block.range("select")):
        word = source.word(i)
        if word not in ("fcount", "percentage") or not source.mark(i + 1, "("):
            continue
        if source.mark(i - 1, ".") or names.has_function(word):
            continue
        edits += _fcount(source, block, i, notes) if word == "fcount" else _percentage(
            source, block, i, notes
        )  # fmt: skip
    if "having" in block.sections and holds(source, *block.range("having")):
        edits += _having(source, block, notes)
    return edited(source, edits)


def _fcount(source: Source, block: Block, i: int, notes: list[str]) -> list[Edit]:
    """Read ``FCOUNT(*)``: rows that satisfy WHERE, per row of FROM."""
    close = source.partner[i + 1]
    if close != i + 3 or source.tokens[i + 2].text != "*":
        raise source.error("FCOUNT takes a star: write FCOUNT(*)", i, close + 1)
    if "where" not in block.sections:
        raise source.error("FCOUNT(*) needs a condition in WHERE: it is the share of rows", i)
    for k in outer_tokens(source, *block.range("select")):
        if source.word(k) in AGGREGATES and source.mark(k + 1, "("):
            raise source.refuse(
                "FCOUNT(*) beside another aggregate is not supported: it counts over all rows of "
                "FROM, the other over those that satisfy WHERE. Write two statements, or "
                "count(*) FILTER (WHERE condition) / count(*).", k, source.skip(k + 1),
            )  # fmt: skip
    first, last = block.range("where")
    written = f"count(*) FILTER (WHERE {source.text(first, last)}) / count(*)"
    notes.append(f"FCOUNT(*) is read as {written}, per row of FROM")
    condition = source.tokens[first:last]
    return [
        _item(source, block, i, "count(*) FILTER (WHERE", condition, ") / count(*)"),
        Edit(first - 1, last),
    ]


def _percentage(source: Source, block: Block, i: int, notes: list[str]) -> list[Edit]:
    """Read ``PERCENTAGE(condition)``: 100 times the share of the rows for which it is true."""
    close = source.partner[i + 1]
    if close < i + 3 or source.tokens[i + 2].text == "*":
        raise source.error("PERCENTAGE takes a condition, as in PERCENTAGE(is_red(photo))", i)
    shown = source.text(i + 2, close)
    notes.append(f"PERCENTAGE({shown}) is read as 100 * count(*) FILTER (WHERE {shown}) / count(*)")
    condition = source.tokens[i + 2 : close]
    return [_item(source, block, i, "100.0 * count(*) FILTER (WHERE", condition, ") / count(*)")]


def _item(
    source: Source, block: Block, i: int, before: str, condition: Sequence[Token], after: str
) -> Edit:
    """Put an expression in the place of a call, under the call's name where it has no other."""
    end = source.skip(i + 1)
    first, last = source.tokens[i], source.tokens[end - 1]
    tokens = [*put(f"({before}", first, last), *condition, *put(f"{after})", first, last)]
    if (i, end) in source.split(*block.range("select")):
        written = " ".join(source.sql[source.tokens[i + 1].start : last.end].split())
        tokens += put(f"AS {identifier(source.word(i) + written)}", first, last)
    return Edit(i, end, tokens)


def _having(source: Source, block: Block, notes: list[str]) -> list[Edit]:
    """Read ``GROUP BY k HAVING SUM(condition) >= 1`` as rows that satisfy the condition."""
    first, last = block.range("having")
    opened, close = first + 1, source.partner[first + 1] if first + 1 < last else -1
    summed = source.word(first) == "sum" and source.mark(opened, "(")
    if not summed or close + 3 != last or source.tokens[close + 2].kind != "number":
        return []
    compared = source.tokens[close + 1].text, source.tokens[close + 2].text
    condition = source.text(opened + 1, close)
    if compared not in _AT_LEAST_ONE:
        raise source.refuse(
            f"HAVING SUM({condition}) {' '.join(compared)} counts an oracle's answers in each "
            "group, which is supported for >= 1 only. Write a condition over an oracle that "
            "counts, such as WHERE n_cars(frame) >= 2.", first, last,
        )  # fmt: skip
    grouped = [source.folded(*item) for item in source.split(*block.range("group"))]
    selected = source.split(*block.range("select"))
    sorts = any(source.word(i) in AGGREGATES for i in outer_tokens(source, *block.range("order")))
    if not grouped or sorts or any(source.folded(*item) not in grouped for item in selected):
        raise source.refuse(
            f"HAVING SUM({condition}) >= 1 beside what is not in GROUP BY is not supported. "
            f"Write WHERE {condition} and no GROUP BY, then aggregate over the rows.",
            first, last,
        )  # fmt: skip
    notes.append(
        f"GROUP BY and HAVING SUM({condition}) >= 1 are read as WHERE {condition}, without "
        "repetitions"
    )
    return [*_without_groups(block, first, last), *_filtered(source, block, opened, close),
            *_apart(source, block)]  # fmt: skip


def _without_groups(block: Block, first: int, last: int) -> list[Edit]:
    group = block.range("group")
    return [Edit(group[0] - 2, group[1]), Edit(first - 1, last)]


def _filtered(source: Source, block: Block, opened: int, close: int) -> list[Edit]:
    """Add the condition of a HAVING to WHERE."""
    condition = source.tokens[opened + 1 : close]
    start, end = source.tokens[opened], source.tokens[close]
    if "where" not in block.sections:
        at = block.range("from")[1]
        return [Edit(at, at, [*put("WHERE", start), *condition])]
    first, last = block.range("where")
    before, after = source.tokens[first], source.tokens[last - 1]
    added = [*put(") AND (", after), *condition, *put(")", end)]
    return [Edit(first, first, put("(", before)), Edit(last, last, added)]


def _apart(source: Source, block: Block) -> list[Edit]:
    """Keep the rows of a group apart: by GAP over its key, else by DISTINCT."""
    n = len(source.tokens)
    gap = next((i for i in range(block.last, n) if source.word(i) == "gap"), None)
    if gap is None:
        at = block.range("select")[0]
        word = source.word(at) == "distinct"
        return [] if word else [Edit(at, at, put("DISTINCT", source.tokens[at - 1]))]
    keys = source.split(*block.range("group"))
    if len(keys) != 1:
        raise source.refuse(
            "LIMIT k GAP g keeps rows apart by one column: write GROUP BY with one column", gap
        )
    if source.word(gap + 2) == "on":
        return []
    a, b = keys[0]
    at = min(gap + 2, n)
    return [Edit(at, at, [*put("ON", source.tokens[gap]), *source.tokens[a:b]])]
