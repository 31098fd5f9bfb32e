"""Query blocks inside a statement, taken out of it.

Each inner block that calls an oracle or ends in clauses becomes a query of its own, and the
statement round it reads the table of its rows: ``(SELECT * FROM __thresher_b0)``.
"""

from __future__ import annotations

from collections.abc import Sequence

from thresher.plan import InnerBlock, Place
from thresher.sql.binder import bind_query
from thresher.sql.blocks import query_at, section_at
from thresher.sql.clauses import clause_name, find_tail
from thresher.sql.formula import call_at
from thresher.sql.names import Names
from thresher.sql.query_blocks import QueryBlocks, Scope, Tokens, names_in, word
from thresher.sql.tokens import Source, Token, quoted
from thresher.sql.value_queries import gives_value

__all__ = ["BLOCK_PREFIX", "Nesting"]

BLOCK_PREFIX = "__thresher_b"

_KEPT = ("view", "macro", "function")
_LAST = ("order", "limit", "offset", "fetch")


class Nesting(QueryBlocks):
    """Takes the inner blocks out of a statement.

    Parameters
    ----------
    sql : str
        The statement.
    names : Names
        What is declared.

    Attributes
    ----------
    blocks : list of InnerBlock
        The blocks found so far, in the order in which they must be answered.
    """

    def __init__(self, sql: str, names: Names) -> None:
        super().__init__(sql)
        self.names = names
        self.blocks: list[InnerBlock] = []
        self._whole = self.source([])

    def statement(self, tokens: Tokens) -> Tokens:
        """Return a statement with its inner blocks taken out; the outermost SELECT stays.

        Raises
        ------
        ProgrammingError, NotSupportedError
            As `bind_query`, for each block.
        """
        self._whole = self.source(tokens)
        written = super().statement(tokens)
        self._check_kept(self._whole)
        return written

    def query(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite one query, also behind SUMMARIZE in brackets.

        Raises
        ------
        NotSupportedError
            DESCRIBE in brackets, of a query that would have to be answered.
        """
        source = self.source(tokens)
        about = not scope.outermost and query_at(source, 1) and self._ours(tokens[1:])
        if about and source.word(0) == "summarize":
            return [tokens[0], *super().query(tokens[1:], scope)]
        if about and source.word(0) in ("describe", "desc", "show"):
            raise source.refuse(
                f"{tokens[0].text.upper()} in brackets is not supported over a query with an "
                "oracle call. Write it as a statement of its own, DESCRIBE SELECT ..., which asks "
                "no oracle, and read the rows that it returns.", 0,
            )  # fmt: skip
        return super().query(tokens, scope)

    def block(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Take a block out if it is ours."""
        if scope.outermost or not self._ours(tokens):
            return tokens
        return self._taken_out(tokens, scope)

    def cte(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite ``name AS (...)``."""
        before = len(self.blocks)
        written = super().cte(tokens, scope)
        own = tokens[0].name.lower()
        if scope.recursive and len(self.blocks) > before and own in names_in(tokens[1:]):
            raise self.source(tokens).refuse(
                f"an oracle call in the recursive CTE {tokens[0].text} is not supported: its rows "
                "are not known before it ends. Call the oracle in a SELECT over the CTE.", 0,
            )  # fmt: skip
        shadowed = own in {item[0].name.lower() for item in scope.items}
        if shadowed and len(self.blocks):
            raise self.source(tokens).refuse(
                f"two CTEs are called {tokens[0].text} in a statement with an oracle call: give "
                "each its own name", 0,
            )  # fmt: skip
        return written

    def item(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Rewrite an item of a SELECT list; a subquery that is one keeps the name of its text."""
        source, before = self.source(tokens), len(self.blocks)
        written = super().item(tokens, scope)
        alone = source.mark(0, "(") and source.partner[0] == len(tokens) - 1
        if not alone or len(self.blocks) == before:
            return written
        name, at = quoted(source.text(0, len(tokens))), tokens[-1].end
        return [*written, word("AS", at), Token("quoted", name, at, at)]

    def branches(self, parts: Sequence[Tokens], between: Sequence[Tokens], scope: Scope) -> Tokens:
        """Take the branches of UNION, INTERSECT and EXCEPT out; each is a block of its own."""
        written: Tokens = []
        bare = False
        for part, operation in zip(parts[:-1], between, strict=True):
            bare |= self._call(part) is not None and self._tail(part) == len(part)
            written += [*self.block(part, scope), *operation]
        branch, order, clauses = self._last(parts[-1])
        if clauses and bare and (order or self._call(branch) is None):
            raise self.source(clauses).refuse(
                f"it is not clear which SELECT {clause_name(self.source(clauses), 0)} belongs to. "
                "Put each SELECT with its clauses into brackets: (SELECT ... RECALL TARGET 90%) "
                "UNION ALL (SELECT ... RECALL TARGET 90%) ORDER BY ...", 0, 2,
            )  # fmt: skip
        written += self.block([*branch, *clauses], scope)
        return [*written, *order]

    def _last(self, tokens: Tokens) -> tuple[Tokens, Tokens, Tokens]:
        """Split the last branch from the ORDER BY and LIMIT of the whole, and its clauses."""
        source, n = self.source(tokens), len(tokens)
        tail = self._tail(tokens)
        i = 0
        while i < n and (section_at(source, i) not in _LAST or source.word(i - 1) == "oracle"):
            i = source.skip(i)
        if i <= tail:
            return tokens[:i], tokens[i:tail], tokens[tail:]
        return tokens[:tail], tokens[i:], tokens[tail:i]

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

    def _call(self, tokens: Tokens) -> int | None:
        source = self.source(tokens)
        oracles = frozenset(name.lower() for name in self.names.oracle_names())
        return next((i for i in range(len(tokens)) if call_at(source, i, oracles)), None)

    def _tail(self, tokens: Tokens) -> int:
        ours = self._call(tokens) is not None
        return find_tail(self.source(tokens), 0, len(tokens), ours=ours)

    def _ours(self, tokens: Tokens) -> bool:
        return self._call(tokens) is not None or self._tail(tokens) < len(tokens)

    def _taken_out(self, tokens: Tokens, scope: Scope) -> Tokens:
        """Bind a block and return what reads its rows."""
        source = self.source([*scope.prefix(tokens), *tokens])
        name = f"{BLOCK_PREFIX}{len(self.blocks)}"
        start, end = tokens[0].start, tokens[-1].end
        query = bind_query(source, 0, self.names, for_value=gives_value(self._whole, start))
        self.blocks.append(InnerBlock(name, query, Place(start, end - start)))
        star = Token("operator", "*", start, start)
        return [
            word("SELECT", start), star, word("FROM", start),
            Token("word", name, start, end, name),
        ]  # fmt: skip
