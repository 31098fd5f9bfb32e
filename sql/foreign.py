"""SQL of other systems, rewritten into the dialect before it is bound.

The statement stays a list of tokens: what is put in keeps the place of what it stands for, so
that an error points at the text of the user. Nothing is ever printed from a parsed tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from thresher.plan import Composed, SelectionQuery
from thresher.sql.clauses import find_tail
from thresher.sql.default_targets import add_targets, targets_set
from thresher.sql.foreign_aggregates import rewrite_aggregates
from thresher.sql.foreign_blocks import Edit, edited, in_blocks, put, sections
from thresher.sql.foreign_calls import NAMES, Calls
from thresher.sql.foreign_clauses import foreign_clause_at, rewrite_clauses
from thresher.sql.foreign_columns import column_oracles, rewrite_columns
from thresher.sql.foreign_statements import refusal
from thresher.sql.formula import call_at
from thresher.sql.join_conditions import move_conditions
from thresher.sql.names import Names
from thresher.sql.selections import outer_tokens
from thresher.sql.tokens import Source, Token

__all__ = ["is_foreign", "may_be_foreign", "rewrite", "with_notes"]

_WORDS = (
    "nlfilter", "nljoin", "llm_", "sem_", "ai_", "ai.", "ml.", "cortex", "prompt", "fusion_",
    "flock_", "mindsdb", "model", "function", "max_", "vector_", "to_file", "embedding",
)  # fmt: skip
_CALLS = re.compile(
    r"""(?<![\w$]) (?: nlfilter | nljoin | vector_search | to_file | embedding | prompt
                     | (?: llm | ai | sem | fusion | flock ) _\w+
                     | (?: ai | ml | snowflake \. \s* cortex ) \s* \. \s* \w+ )
        \s* (?: \( | -- | /\* )
      | ^ [^'"]{0,40}? \b create \b [^'"]{0,40}? \b (?: model | prompt | function ) \b
      | ^ \s* (?: get | delete | update ) \s+ (?: model | prompt ) s? \b
      | ^ \s* set \s+ max_(?: error | seconds | calls | tokens ) \b
      | (?<![\w$]) mindsdb \s* \.""",
    re.VERBOSE,
)


def may_be_foreign(text: str, names: Names) -> bool:
    """Whether words of other systems occur at all; made for statements of megabytes."""
    lowered = text.lower()
    if any(word in lowered for word in _WORDS) and _CALLS.search(lowered) is not None:
        return True
    return any(name in lowered for name in column_oracles(names))


def is_foreign(source: Source, first: int, names: Names) -> bool:
    """Whether the statement from a token on must be rewritten, or refused, before it is bound."""
    if refusal(source, first, names) is not None:
        return True
    if any(foreign_clause_at(source, i) for i in range(first, len(source.tokens))):
        return True
    found: list[bool] = []
    oracles = column_oracles(names)
    if not any(token.word in NAMES or token.name.lower() in oracles for token in source.tokens):
        return False

    def look(block: Source, ctes: str) -> list[Token]:
        found.append(Calls(block, names, []).found())
        if oracles:
            found.append(rewrite_columns(block, names, oracles, ctes, []) != block.tokens)
        return block.tokens

    in_blocks(source.sql, source.tokens[first:], look)
    return any(found)


def rewrite(source: Source, first: int, names: Names) -> tuple[Source, tuple[str, ...]]:
    """Return a statement in the dialect, and a sentence for each thing that was rewritten.

    Parameters
    ----------
    source : Source
        The statement, with parameters bound.
    first : int
        0, or the token after EXPLAIN.
    names : Names
        What is declared and set.

    Raises
    ------
    ProgrammingError
        Something of another system is wrong, or no oracle can stand for it.
    NotSupportedError
        It has no meaning here; the message names what comes nearest.
    """
    if (refused := refusal(source, first, names)) is not None:
        raise refused
    notes: list[str] = []
    tokens = rewrite_clauses(Source(source.sql, source.tokens[first:]), notes)
    oracles = frozenset(name.lower() for name in names.oracle_names())
    columns, targets = column_oracles(names), targets_set(names)

    def called(block: Source, i: int) -> bool:
        return call_at(block, i, oracles)

    def holds(block: Source, start: int, end: int) -> bool:
        return any(called(block, i) for i in outer_tokens(block, start, end))

    def change(block: Source, ctes: str) -> list[Token]:
        if columns:
            block = Source(block.sql, rewrite_columns(block, names, columns, ctes, notes))
        block = Source(block.sql, Calls(block, names, notes).rewritten())
        block = Source(block.sql, _over_one_row(block, called))
        block = Source(block.sql, move_conditions(block, called, notes))
        block = Source(block.sql, rewrite_aggregates(block, names, holds, notes))
        return add_targets(block, targets, called, notes) if targets else block.tokens

    tokens = in_blocks(source.sql, tokens, change)
    return Source(source.sql, [*source.tokens[:first], *tokens]), tuple(notes)


def with_notes(
    query: SelectionQuery | Composed, understood: tuple[str, ...]
) -> SelectionQuery | Composed:
    """Return a bound statement that carries how it was understood, in its outermost query."""
    if not understood:
        return query
    if isinstance(query, SelectionQuery):
        return replace(query, understood=understood)
    if isinstance(query.outer, SelectionQuery):
        return replace(query, outer=replace(query.outer, understood=understood))
    first = query.blocks[0]
    noted = replace(first, query=replace(first.query, understood=understood))
    return replace(query, blocks=(noted, *query.blocks[1:]))


def _over_one_row(block: Source, called: Callable[[Source, int], bool]) -> list[Token]:
    """Give ``SELECT oracle('some text')`` the one row that it is about."""
    if any(name == "from" for name, _, _ in sections(block)):
        return block.tokens
    end = find_tail(block, 0, len(block.tokens), ours=True)
    found = sections(Source(block.sql, block.tokens[:end]))
    first, last = next(((a, b) for name, a, b in found if name == "select"), (0, 0))
    if not any(called(block, i) for i in outer_tokens(block, first, last)):
        return block.tokens
    at = put("FROM (SELECT 1) AS single_row", block.tokens[last - 1])
    return edited(block, [Edit(last, last, at)])
