"""The SELECT list and what follows WHERE, made fit to run over the returned rows.

Row columns that the sources add must not be seen by the user: each star leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thresher.plan import Answer, Leaf
from thresher.sql.blocks import Block, is_star, query_at
from thresher.sql.relations import ROW_PREFIX
from thresher.sql.row_limits import read_row_limit
from thresher.sql.tokens import Source

__all__ = [
    "AGGREGATES",
    "aggregate_at",
    "first_aggregate",
    "has_window",
    "limit_sql",
    "names_row",
    "outer_tokens",
    "rewrite_answer",
]

_NAMES = """
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null
    arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin array_agg avg bit_and
    bit_or bit_xor bitstring_agg bool_and bool_or corr count count_if count_star countif covar_pop
    covar_samp entropy favg first fsum geomean geometric_mean group_concat histogram
    histogram_exact json_group_array json_group_object json_group_structure kahan_sum kurtosis
    kurtosis_pop last list listagg mad max max_by mean median min min_by mode product quantile
    quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope
    regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness stddev stddev_pop stddev_samp
    string_agg sum sum_no_overflow sumkahan var_pop var_samp variance wavg weighted_avg
    percentile_cont percentile_disc
"""
AGGREGATES = frozenset(_NAMES.split())
_GROUPING = (
    ("group", "GROUP BY"),
    ("having", "HAVING"),
    ("window", "WINDOW"),
    ("qualify", "QUALIFY"),
)


def outer_tokens(source: Source, first: int, last: int) -> list[int]:
    """Return the tokens of a range that belong to the block itself, not to a subquery in it."""
    kept, i = [], first
    while i < last:
        if source.mark(i, "(") and query_at(source, i + 1):
            i = source.skip(i)
            continue
        kept.append(i)
        i += 1
    return kept


def first_aggregate(source: Source, block: Block) -> int | None:
    """Return the token where the block first aggregates, or None."""
    for section in ("group", "having"):
        if section in block.sections:
            return block.sections[section][0] - (2 if section == "group" else 1)
    for section in ("select", "order", "qualify"):
        for i in outer_tokens(source, *block.range(section)):
            if aggregate_at(source, i):
                return i
    return None


def aggregate_at(source: Source, i: int) -> bool:
    """Whether the call of an aggregate, and no window function, begins at a token."""
    called = source.word(i) in AGGREGATES and source.mark(i + 1, "(")
    return called and not source.mark(i - 1, ".") and not _is_window(source, i)


def has_window(source: Source, first: int, last: int) -> bool:
    """Whether a window function stands in tokens ``first:last``, outside subqueries."""
    return any(
        source.word(i) == "over" and source.mark(i - 1, ")")
        for i in outer_tokens(source, first, last)
    )


def _is_window(source: Source, i: int) -> bool:
    """Whether the function at a token is followed by OVER."""
    i = source.skip(i + 1)
    if source.words(i, "within", "group"):
        i = source.skip(i + 2)
    if source.word(i) == "filter":
        i = source.skip(i + 1)
    return source.word(i) == "over"


def rewrite_answer(
    source: Source,
    block: Block,
    leaves: Sequence[Leaf],
    labels: Mapping[tuple[int, int], str] | None = None,
    hidden_columns: Sequence[str] = (),
) -> Answer:
    """Return the rest of a block, to be run over the returned rows.

    Parameters
    ----------
    source : Source
        The statement.
    block : Block
        Its sections.
    leaves : sequence of Leaf
        The relations of FROM.
    labels : mapping, optional
        Token ranges of oracle calls, and the columns that take their places.
    hidden_columns : sequence of str
        Columns besides the row columns that no star may show.

    Raises
    ------
    NotSupportedError
        A ``COLUMNS(...)`` over a join that cannot leave out the row columns.
    """
    start, end = block.range("select")
    calls = dict(labels or {})
    hidden = len(leaves) == 1 and _sees_row(source, block, leaves[0])
    if hidden and calls:
        raise source.refuse(
            "COLUMNS(...) and whole rows beside an oracle call in the SELECT list are not "
            "supported. Write the columns out.", start, end,
        )  # fmt: skip
    excluded = [*(leaf.row for leaf in leaves), *hidden_columns]
    swaps = {} if hidden else _stars(source, start, end, leaves, excluded)
    if "select" in block.sections:
        select = "SELECT " + source.text(start, end, swaps | calls)
    else:
        select = f"SELECT * EXCLUDE ({', '.join(excluded)})"
    first, last = block.range("order")
    aggregates = first_aggregate(source, block) is not None
    by_row = not aggregates and source.word(start) != "distinct" and source.word(first) != "all"
    grouping = [
        f"{words} {source.text(*block.range(name), calls)}"
        for name, words in _GROUPING
        if name in block.sections
    ]
    return Answer(
        select=select,
        grouping=" ".join(grouping),
        order=f"ORDER BY {source.text(first, last, calls)}" if first < last else "",
        limit=limit_sql(source, block),
        by_row=by_row,
        hidden=hidden,
        aggregates=aggregates,
        row_limit=read_row_limit(source, block),
    )


def limit_sql(source: Source, block: Block) -> str:
    """Write LIMIT, OFFSET and FETCH of a block, in the order in which they stand."""
    found = sorted(
        (block.sections[name], name)
        for name in ("limit", "offset", "fetch")
        if name in block.sections
    )
    return " ".join(f"{name.upper()} {source.text(*tokens)}" for tokens, name in found)


def _sees_row(source: Source, block: Block, leaf: Leaf) -> bool:
    """Whether the block can see all columns otherwise than by a star that can leave some out."""
    for section in ("select", "having", "qualify", "order"):
        for i in outer_tokens(source, *block.range(section)):
            token = source.tokens[i]
            if token.word == "columns" and source.mark(i + 1, "("):
                star = source.partner[i + 1] - 1 == i + 2 and is_star(source, i + 2)
                if not star or section != "select":
                    return True
            if token.is_name and token.name.lower() == leaf.alias.lower() and names_row(source, i):
                return True
    return False


def names_row(source: Source, i: int) -> bool:
    """Whether the alias of a relation, as it stands at a token, can mean its whole row."""
    after = source.tokens[i + 1].text if i + 1 < len(source.tokens) else ""
    return not source.mark(i - 1, ".") and after not in (".", "(", ":", ":=", "=>")


def _stars(
    source: Source, first: int, last: int, leaves: Sequence[Leaf], excluded: Sequence[str]
) -> dict[tuple[int, int], str]:
    swaps: dict[tuple[int, int], str] = {}
    for i in outer_tokens(source, first, last):
        if source.word(i) == "columns" and source.mark(i + 1, "("):
            swaps |= _columns(source, i)
        elif source.tokens[i].text == "*" and is_star(source, i):
            swaps |= _one_star(source, i, leaves, excluded)
    return swaps


def _one_star(
    source: Source, i: int, leaves: Sequence[Leaf], excluded: Sequence[str]
) -> dict[tuple[int, int], str]:
    before = i
    if source.mark(i - 1, "."):
        name = source.tokens[i - 2].name.lower()
        excluded = [leaf.row for leaf in leaves if leaf.alias.lower() == name]
        before = i - 2
    # count(*) and count(t.*) take rows, not columns; COLUMNS(*) takes columns.
    if not excluded or (source.mark(before - 1, "(") and source.word(before - 2) != "columns"):
        return {}
    rows = ", ".join(excluded)
    if source.word(i + 1) != "exclude":
        return {(i, i + 1): f"* EXCLUDE ({rows})"}
    if source.mark(i + 2, "("):
        return {(i + 2, i + 3): f"({rows}, "}
    end = i + 5 if source.mark(i + 3, ".") else i + 3
    return {(i + 2, end): f"({rows}, {source.text(i + 2, end)})"}


def _columns(source: Source, i: int) -> dict[tuple[int, int], str]:
    """Let ``COLUMNS('pattern')`` and ``COLUMNS(c -> ...)`` leave out the row columns."""
    first, last = i + 2, source.partner[i + 1]
    if source.tokens[first].text in ("*", "[") or source.mark(first + 1, "."):
        return {}
    named = source.word(last + 1) == "as"
    if last == first + 1 and source.tokens[first].kind == "string" and not named:
        pattern = source.tokens[first].text
        return {
            (first, last): f"lambda c: regexp_matches(c, {pattern}) "
            f"AND NOT starts_with(c, '{ROW_PREFIX}')"
        }
    at = first + 1 if source.word(first) == "lambda" else first
    if source.tokens[at].is_name and source.tokens[at + 1].text in ("->", ":"):
        body = source.text(at + 2, last)
        name = source.tokens[at].text
        return {(at + 2, last): f"({body}) AND NOT starts_with({name}, '{ROW_PREFIX}')"}
    raise source.refuse(
        "this COLUMNS(...) over a join is not supported beside an oracle call. "
        "Write COLUMNS(c -> condition), or put the join into a subquery.",
        i,
        last + 1,
    )
