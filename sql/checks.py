"""What a block may not hold beside an oracle call."""

from __future__ import annotations

from collections.abc import Sequence

from thresher.sql.blocks import Block
from thresher.sql.foreign_blocks import outer_brackets
from thresher.sql.names import Names
from thresher.sql.relations import From
from thresher.sql.selections import aggregate_at, names_row, outer_tokens
from thresher.sql.tokens import Source

__all__ = ["check_aggregates", "check_lambdas", "check_row_ids", "check_rows", "check_sample"]


def check_aggregates(
    source: Source, block: Block, using: Sequence[tuple[int, int]], ordered: Sequence[int]
) -> None:
    """Refuse aggregates where a value of one row is needed, and the order of a single row.

    Parameters
    ----------
    source, block
        The statement and its sections.
    using : sequence of (int, int)
        The items of USING.
    ordered : sequence of int
        The calls in ORDER BY.

    Raises
    ------
    ProgrammingError
        An aggregate in WHERE or USING, or a call in the order of aggregates without GROUP BY.
    """
    places = [("WHERE", block.range("where")), *(("USING", item) for item in using)]
    for place, (first, last) in places:
        for i in (i for i in outer_tokens(source, first, last) if aggregate_at(source, i)):
            call = source.text(i, source.skip(i + 1))
            way = (
                f"Write the value of a row, or {call} OVER (...)"
                if place == "USING"
                else f"Write a condition over {call} into HAVING, or compare with (SELECT ...)"
            )
            raise source.error(
                f"{place} is about single rows, and {call} is over many. {way}.",
                i, source.skip(i + 1),
            )  # fmt: skip
    if "group" in block.sections or not ordered:
        return
    selected = outer_tokens(source, *block.range("select"))
    at = next((i for i in selected if aggregate_at(source, i)), None)
    inside = {
        k
        for i in outer_tokens(source, *block.range("order"))
        if aggregate_at(source, i)
        for k in range(i, source.skip(i + 1))
    }
    for i in ordered:
        if at is not None and i not in inside:
            raise source.error(
                f"{source.text(at, source.skip(at + 1))} without GROUP BY makes one row of all, "
                "which has no order. Leave ORDER BY out, or group by something.",
                i, source.skip(i + 1),
            )  # fmt: skip


def check_lambdas(source: Source, calls: Sequence[int]) -> None:
    """Refuse calls in a lambda or a list comprehension, which are of no row of FROM.

    Raises
    ------
    NotSupportedError
        A call stands in ``x -> ...``, ``lambda x: ...`` or ``[... for x in ...]``.
    """
    if not any(token.text in ("->", "[") or token.word == "lambda" for token in source.tokens):
        return
    around = outer_brackets(source)
    for i in calls:
        k, end, apart = i - 1, source.skip(i + 1), False
        while k >= 0 and (around[k] >= 0 or source.partner[k] > k):  # none stands at depth 0
            if source.partner[k] >= 0 and source.partner[k] < k:
                k = source.partner[k] - 1
                continue
            apart = not source.partner[k] > k and (apart or source.mark(k, ","))
            arrow = source.tokens[k].text == "->" and not apart and _begins_lambda(source, k)
            listed = source.mark(k, "[") and any(
                source.word(j) == "for" for j in range(k, source.partner[k])
            )
            if source.word(k) == "lambda" or arrow or listed:
                call = source.text(i, end)
                raise source.refuse(
                    f"{call} in a lambda or a list comprehension is of no row. Make rows of the "
                    "list first: FROM (SELECT *, unnest(list) AS x FROM t) AS t, and call "
                    f"{source.tokens[i].name}(x) over them.", i, end,
                )  # fmt: skip
            k -= 1


def _begins_lambda(source: Source, arrow: int) -> bool:
    """Whether ``->`` follows the names of a lambda, and takes no field out of JSON."""
    before = arrow - 1
    if source.mark(before, ")"):
        return True
    named = source.tokens[before].is_name
    return named and (source.mark(before - 1, "(") or source.mark(before - 1, ","))


def check_row_ids(source: Source, first: int, last: int, relations: From, names: Names) -> None:
    """Refuse ``rowid``, which a source does not show, unless it is a column of its own.

    Raises
    ------
    NotSupportedError
        It stands in tokens ``first:last``.
    """
    for i in outer_tokens(source, first, last):
        token = source.tokens[i]
        if not token.is_name or token.name.lower() != "rowid" or source.word(i - 1) == "as":
            continue
        tables = [leaf for leaf in relations.leaves if leaf.table]
        columns = [name for leaf in tables for name in names.columns(leaf.relation, "")]
        if not tables or any(name.lower() == "rowid" for name in columns):
            return
        name = tables[0].relation
        raise source.refuse(
            "rowid beside an oracle call is not supported. Make it a column: FROM (SELECT *, "
            f"rowid AS row_id FROM {name}) AS {tables[0].alias}, and write row_id.", i,
        )  # fmt: skip


def check_rows(
    source: Source, block: Block, relations: From, using: Sequence[tuple[int, int]]
) -> None:
    """Refuse what sees all columns of a source: the row columns would be among them.

    Raises
    ------
    NotSupportedError
        ``COLUMNS(...)`` outside the SELECT list, or a name that can mean a whole row.
    """
    ranges = [block.range("where"), *using]
    first, last = block.range("from")
    for start, end in relations.spans:
        ranges.append((first, start))
        first = end
    ranges.append((first, last))
    # range() and unnest() name their column as themselves.
    aliases = {
        leaf.alias.lower()
        for leaf in relations.leaves
        if not leaf.relation.startswith(f"{leaf.alias}(")
    }
    for i in (i for start, end in ranges for i in outer_tokens(source, start, end)):
        token = source.tokens[i]
        if token.word == "columns" and source.mark(i + 1, "("):
            raise source.refuse(
                "COLUMNS(...) outside the SELECT list is not supported beside an oracle call. "
                "Write the columns out.",
                i,
                source.skip(i + 1),
            )
        if token.is_name and token.name.lower() in aliases and names_row(source, i):
            raise source.refuse(
                f"{token.text} can mean the whole row of {token.text}, which is not supported "
                f"here. For a column of that name write {token.text}.{token.text}; "
                "for a row write the columns out, as in to_json({'a': a, 'b': b}).",
                i,
            )


def check_sample(source: Source, first: int, last: int) -> None:
    """Refuse USING SAMPLE, which would draw anew in each statement of a query.

    Raises
    ------
    NotSupportedError
        It stands in tokens ``first:last``.
    """
    i = first
    while i < last:
        if source.words(i, "using", "sample"):
            raise source.refuse(
                "USING SAMPLE beside an oracle call is not supported: each step would draw "
                "anew. Write FROM (SELECT * FROM t USING SAMPLE ...) AS t.",
                i,
                i + 2,
            )
        i = source.skip(i)
