"""What a block may not hold beside an oracle call."""

from __future__ import annotations

from collections.abc import Sequence

from thresher.sql.blocks import Block
from thresher.sql.relations import From
from thresher.sql.selections import names_row, outer_tokens
from thresher.sql.tokens import Source

__all__ = ["check_rows", "check_sample"]


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
