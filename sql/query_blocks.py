"""One walk over the query blocks of a statement: CTEs, subqueries, branches, what INSERT takes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from thresher.sql.blocks import after_ctes, query_at, section_at, set_operation_at
from thresher.sql.tokens import Source, Token

__all__ = ["QueryBlocks", "Scope", "Tokens", "names_in", "word"]

_END_OF_INSERT = (("returning",), ("on", "conflict"))
_HOLDING = ("create", "insert", "prepare")

Tokens = list[Token]


@dataclass(frozen=True, slots=True)
class Scope:
    """The CTEs that a block may name, each as ``name [(columns)] AS (...)``.

    `outermost` says that the block is the statement itself.
    """

    items: tuple[tuple[Token, ...], ...] = ()
    recursive: bool = False
    outermost: bool = False

    def with_item(self, item: Sequence[Token]) -> Scope:
        """Return the scope behind one more CTE."""
        return Scope((*self.items, tuple(item)), self.recursive)

    def prefix(self, tokens: Sequence[Token]) -> Tokens:
        """Write WITH for those that the tokens name, directly or through another."""
        wanted = names_in(tokens)
        kept: list[tuple[Token, ...]] = []
        for item in reversed(self.items):
            if item[0].name.lower() in wanted:
                kept.insert(0, item)
                wanted |= names_in(item)
        if not kept:
            return []
        start = kept[0][0].start
        written = [word("WITH", start)] + ([word("RECURSIVE", start)] if self.recursive else [])
        for i, item in enumerate(kept):
            comma = [Token("mark", ",", item[0].start, item[0].start)] if i else []
            written += [*comma, *item]
        return written


class QueryBlocks:
    """Rewrites a statement block by block, inner ones first; what is done to one is `block`.

    Parameters
    ----------
    sql : str
        The statement.
    """

    def __init__(self, sql: str) -> None:
        self.sql = sql

    def block(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite one SELECT whose inner blocks are done."""
        raise NotImplementedError

    def branches(self, parts: Sequence[Tokens], between: Sequence[Tokens], scope: Scope) -> Tokens:
        """Rewrite the SELECTs of a set operation, and put its words between them."""
        written = self.block(parts[0], scope)
        for operation, part in zip(between, parts[1:], strict=True):
            written = [*written, *operation, *self.block(part, scope)]
        return written

    def cte(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite ``name AS (...)``."""
        return self.brackets(tokens, scope)

    def item(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite the queries in one item of a SELECT list."""
        return self.brackets(tokens, scope)

    def statement(self, tokens: Tokens) -> Tokens:
        """Rewrite a statement."""
        source = self.source(tokens)
        if query_at(source, 0) or source.mark(0, "("):
            return self.query(tokens, Scope(outermost=True))
        return self._holding(tokens, Scope())

    def source(self, tokens: Sequence[Token]) -> Source:
        """Return tokens with their brackets matched."""
        return Source(self.sql, list(tokens))

    def query(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite one query: WITH, and branches joined by UNION, INTERSECT or EXCEPT."""
        source = self.source(tokens)
        start = after_ctes(source, 0, len(tokens))
        head: Tokens = tokens[: start and 1 + source.words(1, "recursive")]
        outermost, scope = scope.outermost, Scope(scope.items, scope.recursive or len(head) > 1)
        for i, (a, b) in enumerate(source.split(len(head), start)):
            item = self.cte(tokens[a:b], scope)
            head += [*([tokens[a - 1]] if i else []), *item]
            scope = scope.with_item(item)
        begins = section_at(source, start) or source.mark(start, "(")
        if not begins and source.word(start) not in ("values", "table"):
            return [*head, *self._holding(tokens[start:], scope)]
        cuts = _branches(source, start)
        parts = [self._branch(tokens[a:b], scope) for a, b in cuts]
        if len(parts) == 1:
            return [*head, *self.block(parts[0], replace(scope, outermost=outermost))]
        between = [tokens[one[1] : two[0]] for one, two in itertools.pairwise(cuts)]
        return [*head, *self.branches(parts, between, scope)]

    def brackets(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite the queries in brackets."""
        source, written, i = self.source(tokens), Tokens(), 0
        while i < len(tokens):
            end = source.partner[i]
            if source.mark(i, "(") and end > i:
                inner = tokens[i + 1 : end]
                if _is_query(source, i + 1):
                    inner = self.query(inner, scope)
                elif any(query_at(source, k) for k in range(i + 1, end)):
                    inner = self.brackets(inner, scope)
                written += [tokens[i], *inner, tokens[end]]
                i = end + 1
                continue
            written.append(tokens[i])
            i += 1
        return written

    def _holding(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite a statement that is no query but may hold one: CREATE ... AS, INSERT, DELETE."""
        first, last = _body(self.source(tokens))
        body = self.query(tokens[first:last], scope) if first < last else []
        head, rest = self.brackets(tokens[:first], scope), self.brackets(tokens[last:], scope)
        return [*head, *body, *rest]

    def _branch(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite the inner blocks of one SELECT."""
        source = self.source(tokens)
        if source.word(0) != "select":
            return self.brackets(tokens, scope)
        end = 1
        while end < len(tokens) and not section_at(source, end):
            end = source.skip(end)
        written = tokens[:1]
        for a, b in source.split(1, end):
            written += self.item(tokens[a:b], scope)
            written += tokens[b : b + 1] if b < end else []
        return [*written, *self.brackets(tokens[end:], scope)]


def word(text: str, at: int) -> Token:
    """Return a word that stands at an offset."""
    return Token("word", text, at, at, text.lower())


def names_in(tokens: Sequence[Token]) -> set[str]:
    """Return the names among tokens, in lower case."""
    return {token.name.lower() for token in tokens if token.is_name}


def _is_query(source: Source, i: int) -> bool:
    """Whether brackets hold a query, maybe in brackets of its own before a set operation."""
    if query_at(source, i):
        return True
    if not source.mark(i, "(") or source.partner[i] < 0:
        return False
    return _is_query(source, i + 1) and bool(set_operation_at(source, source.skip(i)))


def _branches(source: Source, first: int) -> list[tuple[int, int]]:
    """Cut a query at UNION, INTERSECT and EXCEPT at depth 0."""
    cuts, start, i = [], first, first
    while i < len(source.tokens):
        if set_operation_at(source, i):
            cuts.append((start, i))
            i = start = _after_operation(source, i)
            continue
        i = source.skip(i)
    return [*cuts, (start, len(source.tokens))]


def _after_operation(source: Source, i: int) -> int:
    """Step over ``UNION [ALL | DISTINCT] [BY NAME]``."""
    i += 1
    i += source.word(i) in ("all", "distinct")
    return i + 2 if source.words(i, "by", "name") else i


def _body(source: Source) -> tuple[int, int]:
    """Tokens of the query that a statement keeps or inserts; an empty range where there is none."""
    n, kind = len(source.tokens), source.word(0)
    if kind not in _HOLDING:
        return n, n
    i = 1
    while i < n:
        begins = query_at(source, i) and source.word(i) not in ("values", "table")
        if begins and (kind == "insert" or source.word(i - 1) in ("as", "table")):
            break
        i = source.skip(i)
    end = i
    while end < n and not any(source.words(end, *words) for words in _END_OF_INSERT):
        end = source.skip(end)
    return i, end
