"""Query blocks inside a statement: CTEs, subqueries, branches of UNION, CREATE TABLE AS, INSERT.

Each inner block that calls an oracle or ends in clauses becomes a query of its own, and the
statement round it reads the table of its rows: ``(SELECT * FROM __thresher_b0)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from thresher.plan import InnerBlock, Place
from thresher.sql.binder import bind_query
from thresher.sql.blocks import after_ctes, query_at, section_at, set_operation_at
from thresher.sql.clauses import clause_name, find_tail
from thresher.sql.formula import call_at
from thresher.sql.names import Names
from thresher.sql.tokens import Source, Token, quoted
from thresher.sql.value_queries import gives_value

__all__ = ["BLOCK_PREFIX", "Nesting"]

BLOCK_PREFIX = "__thresher_b"

_END_OF_INSERT = (("returning",), ("on", "conflict"))
_KEPT = ("view", "macro", "function")
_LAST = ("order", "limit", "offset", "fetch")

Tokens = list[Token]


@dataclass(frozen=True, slots=True)
class _Scope:
    """The CTEs that a block may name, each as ``name [(columns)] AS (...)``."""

    items: tuple[tuple[Token, ...], ...] = ()
    recursive: bool = False

    def with_item(self, item: Sequence[Token]) -> _Scope:
        return _Scope((*self.items, tuple(item)), self.recursive)

    def prefix(self, tokens: Sequence[Token]) -> Tokens:
        """Write WITH for those that the tokens name, directly or through another."""
        wanted = _names(tokens)
        kept: list[tuple[Token, ...]] = []
        for item in reversed(self.items):
            if item[0].name.lower() in wanted:
                kept.insert(0, item)
                wanted |= _names(item)
        if not kept:
            return []
        start = kept[0][0].start
        written = [_word("WITH", start)] + ([_word("RECURSIVE", start)] if self.recursive else [])
        for i, item in enumerate(kept):
            comma = [Token("mark", ",", item[0].start, item[0].start)] if i else []
            written += [*comma, *item]
        return written


@dataclass(slots=True)
class Nesting:
    """Takes the inner blocks out of a statement.

    Attributes
    ----------
    sql : str
        The statement.
    names : Names
        What is declared.
    blocks : list of InnerBlock
        The blocks found so far, in the order in which they must be answered.
    """

    sql: str
    names: Names
    blocks: list[InnerBlock] = field(default_factory=list)
    _whole: Source = field(init=False)

    def statement(self, tokens: Tokens) -> Tokens:
        """Return a statement with its inner blocks taken out; the outermost SELECT stays.

        Raises
        ------
        ProgrammingError, NotSupportedError
            As `bind_query`, for each block.
        """
        source = self._whole = self._source(tokens)
        if query_at(source, 0) or source.mark(0, "("):
            return self._query(tokens, _Scope(), outermost=True)
        first, last = _body(source)
        head = self._brackets(tokens[:first], _Scope())
        body = self._query(tokens[first:last], _Scope(), outermost=False) if first < last else []
        rest = self._brackets(tokens[last:], _Scope())
        self._check_kept(source)
        return [*head, *body, *rest]

    def _check_kept(self, source: Source) -> None:
        """Refuse what keeps a query instead of its rows."""
        i = 1
        while source.word(i) in ("or", "replace", "temp", "temporary", "recursive"):
            i += 1
        if self.blocks and source.word(0) == "create" and source.word(i) in _KEPT:
            raise source.refuse(
                f"a {source.word(i)} with an oracle call would ask again whenever it is read. Keep "
                "the rows instead: CREATE TABLE name AS SELECT ...", 0, i + 1,
            )  # fmt: skip

    def _source(self, tokens: Sequence[Token]) -> Source:
        return Source(self.sql, list(tokens))

    def _query(self, tokens: Tokens, scope: _Scope, *, outermost: bool) -> Tokens:
        """Rewrite one query: WITH, and branches joined by UNION, INTERSECT or EXCEPT."""
        source = self._source(tokens)
        start = after_ctes(source, 0, len(tokens))
        head: Tokens = tokens[: start and 1 + source.words(1, "recursive")]
        scope = _Scope(scope.items, scope.recursive or len(head) > 1)
        for i, (a, b) in enumerate(source.split(len(head), start)):
            item = self._cte(tokens[a:b], scope)
            head += [*([tokens[a - 1]] if i else []), *item]
            scope = scope.with_item(item)
        begins = section_at(source, start) or source.mark(start, "(")
        if not begins and source.word(start) not in ("values", "table"):
            return [*head, *self._statement_in(tokens[start:], scope)]
        cuts = _branches(source, start)
        if len(cuts) == 1:
            body = self._branch(tokens[start:], scope)
            if outermost or not self._ours(body):
                return [*head, *body]
            return self._taken_out(body, scope)
        return [*head, *self._set_operation(tokens, cuts, scope)]

    def _statement_in(self, tokens: Tokens, scope: _Scope) -> Tokens:
        """Rewrite what follows ``WITH ...`` where it is INSERT, UPDATE or DELETE."""
        first, last = _body(self._source(tokens))
        body = self._query(tokens[first:last], scope, outermost=False) if first < last else []
        return [
            *self._brackets(tokens[:first], scope), *body, *self._brackets(tokens[last:], scope),
        ]  # fmt: skip

    def _cte(self, tokens: Tokens, scope: _Scope) -> Tokens:
        """Rewrite ``name AS (...)``."""
        before = len(self.blocks)
        written = self._brackets(tokens, scope)
        own = tokens[0].name.lower()
        if scope.recursive and len(self.blocks) > before and own in _names(tokens[1:]):
            raise self._source(tokens).refuse(
                f"an oracle call in the recursive CTE {tokens[0].text} is not supported: its rows "
                "are not known before it ends. Call the oracle in a SELECT over the CTE.", 0,
            )  # fmt: skip
        shadowed = own in {item[0].name.lower() for item in scope.items}
        if shadowed and len(self.blocks):
            raise self._source(tokens).refuse(
                f"two CTEs are called {tokens[0].text} in a statement with an oracle call: give "
                "each its own name", 0,
            )  # fmt: skip
        return written

    def _set_operation(
        self, tokens: Tokens, cuts: Sequence[tuple[int, int]], scope: _Scope
    ) -> Tokens:
        """Rewrite the branches of UNION, INTERSECT and EXCEPT; each is a block of its own."""
        written: Tokens = []
        bare: Token | None = None
        for a, b in cuts[:-1]:
            branch = self._branch(tokens[a:b], scope)
            call = self._call(branch)
            if call is not None and self._tail(branch) == len(branch):
                bare = bare or branch[call]
            written += self._taken_out(branch, scope) if self._ours(branch) else branch
            written += tokens[b : _after_operation(self._source(tokens), b)]
        branch, order, clauses = self._last(self._branch(tokens[cuts[-1][0] :], scope))
        if clauses and bare is not None and (order or self._call(branch) is None):
            raise self._source(clauses).refuse(
                f"it is not clear which SELECT {clause_name(self._source(clauses), 0)} belongs to. "
                "Put each SELECT with its clauses into brackets: (SELECT ... RECALL TARGET 90%) "
                "UNION ALL (SELECT ... RECALL TARGET 90%) ORDER BY ...", 0, 2,
            )  # fmt: skip
        branch = [*branch, *clauses]
        written += self._taken_out(branch, scope) if self._ours(branch) else branch
        return [*written, *order]

    def _last(self, tokens: Tokens) -> tuple[Tokens, Tokens, Tokens]:
        """Split the last branch from the ORDER BY and LIMIT of the whole, and its clauses."""
        source, n = self._source(tokens), len(tokens)
        tail = self._tail(tokens)
        i = 0
        while i < n and (section_at(source, i) not in _LAST or source.word(i - 1) == "oracle"):
            i = source.skip(i)
        if i <= tail:
            return tokens[:i], tokens[i:tail], tokens[tail:]
        return tokens[:tail], tokens[i:], tokens[tail:i]

    def _branch(self, tokens: Tokens, scope: _Scope) -> Tokens:
        """Rewrite one SELECT; a subquery that is a column keeps the name of its text."""
        source = self._source(tokens)
        if source.word(0) != "select":
            return self._brackets(tokens, scope)
        end = 1
        while end < len(tokens) and not section_at(source, end):
            end = source.skip(end)
        written = tokens[:1]
        for a, b in source.split(1, end):
            n_blocks = len(self.blocks)
            written += self._brackets(tokens[a:b], scope)
            if source.mark(a, "(") and source.partner[a] == b - 1 and len(self.blocks) > n_blocks:
                name, at = quoted(source.text(a, b)), tokens[b - 1].end
                written += [_word("AS", at), Token("quoted", name, at, at)]
            written += tokens[b : b + 1] if b < end else []
        return [*written, *self._brackets(tokens[end:], scope)]

    def _brackets(self, tokens: Tokens, scope: _Scope) -> Tokens:
        """Rewrite the queries in brackets."""
        source, written, i = self._source(tokens), [], 0
        while i < len(tokens):
            end = source.partner[i]
            if source.mark(i, "(") and end > i:
                inner = tokens[i + 1 : end]
                nested = _is_query(source, i + 1)
                inner = (
                    self._query(inner, scope, outermost=False)
                    if nested
                    else self._brackets(inner, scope)
                )
                written += [tokens[i], *inner, tokens[end]]
                i = end + 1
                continue
            written.append(tokens[i])
            i += 1
        return written

    def _call(self, tokens: Tokens) -> int | None:
        source = self._source(tokens)
        oracles = frozenset(name.lower() for name in self.names.oracle_names())
        return next((i for i in range(len(tokens)) if call_at(source, i, oracles)), None)

    def _tail(self, tokens: Tokens) -> int:
        ours = self._call(tokens) is not None
        return find_tail(self._source(tokens), 0, len(tokens), ours=ours)

    def _ours(self, tokens: Tokens) -> bool:
        return self._call(tokens) is not None or self._tail(tokens) < len(tokens)

    def _taken_out(self, tokens: Tokens, scope: _Scope) -> Tokens:
        """Bind a block and return what reads its rows."""
        source = self._source([*scope.prefix(tokens), *tokens])
        name = f"{BLOCK_PREFIX}{len(self.blocks)}"
        start, end = tokens[0].start, tokens[-1].end
        query = bind_query(source, 0, self.names, for_value=gives_value(self._whole, start))
        self.blocks.append(InnerBlock(name, query, Place(start, end - start)))
        star = Token("operator", "*", start, start)
        return [
            _word("SELECT", start), star, _word("FROM", start),
            Token("word", name, start, end, name),
        ]  # fmt: skip


def _word(text: str, at: int) -> Token:
    return Token("word", text, at, at, text.lower())


def _names(tokens: Sequence[Token]) -> set[str]:
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
    if kind not in ("create", "insert"):
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
