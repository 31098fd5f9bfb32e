"""Changing the tokens of query blocks: tokens put in keep the place of what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from thresher.sql.blocks import section_at
from thresher.sql.query_blocks import QueryBlocks, Scope, Tokens
from thresher.sql.tokens import Source, Token, tokenize

__all__ = ["Edit", "edited", "in_blocks", "outer_brackets", "put", "sections"]

Change = Callable[[Source, str], list[Token]]


@dataclass(frozen=True, slots=True)
class Edit:
    """Tokens that take the place of tokens ``first:last``; none are taken out if both are equal."""

    first: int
    last: int
    tokens: Sequence[Token] = ()


def put(sql: str, first: Token, last: Token | None = None) -> list[Token]:
    """Cut SQL text into tokens that stand where the user wrote `first` up to `last`.

    Examples
    --------
    >>> from thresher.sql.tokens import tokenize
    >>> [written] = tokenize("RECALL_TARGET")
    >>> [(token.text, token.start, token.end) for token in put("RECALL TARGET", written)]
    [('RECALL', 0, 13), ('TARGET', 0, 13)]
    """
    end = (last or first).end
    return [replace(token, start=first.start, end=end) for token in tokenize(sql)]


def edited(source: Source, edits: Iterable[Edit]) -> list[Token]:
    """Return the tokens with some changed; edits must not overlap."""
    written: list[Token] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.first, edit.last)):
        written += [*source.tokens[at : edit.first], *edit.tokens]
        at = edit.last
    return [*written, *source.tokens[at:]]


def in_blocks(sql: str, tokens: Sequence[Token], change: Change) -> list[Token]:
    """Change every query block of a statement, inner ones first.

    Parameters
    ----------
    sql : str
        The statement as written.
    tokens : sequence of Token
        Its tokens.
    change : callable
        Takes one block, from SELECT or FROM to its clauses and without ``WITH ...`` before it, and
        the CTEs that it names as ``WITH ...``; returns the new tokens of the block.
    """
    return _Changed(sql, change).statement(list(tokens))


class _Changed(QueryBlocks):
    """Changes every block."""

    def __init__(self, sql: str, change: Change) -> None:
        super().__init__(sql)
        self._change = change

    def block(self, tokens: Tokens, scope: Scope) -> Tokens:
        source = self.source(tokens)
        if section_at(source, 0) not in ("select", "from"):
            return tokens
        ctes = self.source(scope.prefix(tokens))
        return self._change(source, f"{ctes.text(0, len(ctes.tokens))} " if ctes.tokens else "")


def sections(source: Source) -> list[tuple[str, int, int]]:
    """Return the sections of a block and their token ranges, keywords included; clauses too."""
    starts: list[tuple[str, int]] = []
    i = 0
    while i < len(source.tokens):
        if found := section_at(source, i):
            starts.append((found, i))
        i = source.skip(i)
    ends = [start for _, start in starts[1:]] + [len(source.tokens)]
    return [(name, start, end) for (name, start), end in zip(starts, ends, strict=True)]


def outer_brackets(source: Source) -> list[int]:
    """Return for each token the index of the innermost bracket round it, -1 at depth 0."""
    around: list[int] = []
    stack = [-1]
    for i, partner in enumerate(source.partner):
        if 0 <= partner < i:
            stack.pop()
        around.append(stack[-1])
        if partner > i:
            stack.append(i)
    return around
