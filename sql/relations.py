"""The relations of a FROM clause, and the text round them, as written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from thresher.errors import ProgrammingError
from thresher.plan import Leaf
from thresher.sql.blocks import query_at
from thresher.sql.tokens import RESERVED, Source, unquoted

__all__ = ["JOIN_SIDES", "NO_RELATION", "ROW_PREFIX", "From", "join_at", "parse_from"]

ROW_PREFIX = "__thresher_r"

JOIN_SIDES = (
    "inner", "left", "right", "full", "outer", "cross", "natural", "semi", "anti", "asof",
    "positional",
)  # fmt: skip
"""Words before JOIN."""
_AFTER = """
    on using join inner left right full cross natural asof semi anti positional tablesample pivot
    unpivot with at where
"""
_AFTER_RELATION = frozenset(_AFTER.split())
NO_RELATION = RESERVED - {"columns", "generated", "map", "struct", "try_cast"}
"""Words that name no relation, and no alias of one, without quotes."""
_ALONE = {
    "asof": "An ASOF JOIN",
    "positional": "A POSITIONAL JOIN",
}


@dataclass(slots=True)
class From:
    """Leaves in order of appearance and what stands between them: one text more than leaves.

    `spans` are the token ranges of the leaves.
    """

    leaves: list[Leaf] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def aliases(self) -> list[str]:
        """Return the names that qualify columns, in lower case."""
        return [leaf.alias.lower() for leaf in self.leaves]


def parse_from(source: Source, first: int, last: int, ctes: frozenset[str]) -> From:
    """Find the relations in tokens ``first:last`` of a FROM clause.

    Parameters
    ----------
    source : Source
        The statement.
    first, last : int
        Token range without the word FROM.
    ctes : frozenset of str
        Lower-case names of the query's CTEs.

    Raises
    ------
    ProgrammingError
        FROM is empty or cannot be read.
    NotSupportedError
        A join whose rows cannot be found again, two relations of one name.
    """
    reader = _Reader(source, ctes)
    reader.joined_list(first, last)
    found = reader.found
    seen: set[str] = set()
    for leaf, (start, end) in zip(found.leaves, found.spans, strict=True):
        if leaf.alias.lower() in seen:
            raise source.refuse(
                f"two relations in FROM are called {leaf.alias}: give each its own alias",
                start,
                end,
            )
        seen.add(leaf.alias.lower())
    return found


def join_at(source: Source, i: int) -> bool:
    """Whether a join begins at a token, and not a function called left() or right()."""
    while source.word(i) in JOIN_SIDES:
        i += 1
    return source.word(i) == "join"


@dataclass(slots=True)
class _Written:
    """Tokens of one relation: all ``start:last``, its name ``body:name_end``.

    `body_end` is set where a suffix such as TABLESAMPLE belongs to the relation.
    """

    start: int
    body: int = 0
    name_end: int = 0
    body_end: int = 0
    last: int = 0
    alias: str = ""
    columns: tuple[str, ...] = ()
    lateral: bool = False


class _Reader:
    """Walks over a FROM clause."""

    def __init__(self, source: Source, ctes: frozenset[str]) -> None:
        self.source, self.ctes = source, ctes
        self.found = From()
        self.n_unnamed = 0

    def joined_list(self, first: int, last: int) -> None:
        """Read relations joined by commas or by JOIN."""
        if first >= last:
            raise self.source.error("FROM names no relation", max(0, first - 1))
        i = self.factor(first, last)
        while i < last:
            i = self.joined(i, last)

    def joined(self, i: int, last: int) -> int:
        """Read one more relation: a comma or a join, the relation, its condition."""
        source = self.source
        if source.mark(i, ","):
            return self.factor(i + 1, last) if i + 1 < last else last
        start = i
        words: list[str] = []
        while source.word(i) and source.word(i) != "join" and i < last:
            words.append(source.word(i))
            i += 1
        if i >= last or source.word(i) != "join":
            raise source.error(f"cannot read FROM at {source.tokens[start].text}", start)
        for word in words:
            if word in _ALONE:
                raise source.refuse(
                    f"{_ALONE[word]} beside an oracle call is not supported: which rows meet can "
                    "change with the rows that are read. Put the join into a subquery: "
                    "FROM (SELECT ... ) AS j.",
                    start,
                    i + 1,
                )
        keyed = "semi" not in words and "anti" not in words
        i = self.factor(i + 1, last, keyed=keyed)
        return self.condition(i, last)

    def condition(self, i: int, last: int) -> int:
        """Step over ON or USING after a join."""
        source = self.source
        if source.word(i) == "using" and source.mark(i + 1, "("):
            return source.skip(i + 1)
        if source.word(i) != "on":
            return i
        i += 1
        while i < last and not source.mark(i, ",") and not join_at(source, i):
            i = source.skip(i)
        return i

    def factor(self, i: int, last: int, *, keyed: bool = True) -> int:
        """Read one relation with its alias; return the token after it."""
        source = self.source
        if i >= last:
            raise source.error("a relation is missing in FROM", i - 1)
        if source.mark(i, "(") and self.is_joined(i):
            return self.parenthesis(i, last, keyed=keyed)
        written = _Written(i)
        if source.tokens[i].is_name and source.mark(i + 1, ":"):
            written.alias = source.tokens[i].name
            i += 2
        written.lateral = source.word(i) == "lateral"
        written.body = i + written.lateral
        i = written.name_end = self.relation(written.body, last)
        if source.words(i, "with", "ordinality"):
            i += 2
        i = self.alias(i, last, written)
        while source.word(i) in ("tablesample", "pivot", "unpivot", "at") and i < last:
            i = written.body_end = self.suffix(i, last)
            i = self.alias(i, last, written)
        if source.words(written.name_end, "with", "ordinality"):
            written.body_end = written.body_end or i
        written.last = i
        if keyed:
            self.add(written)
        return i

    def parenthesis(self, i: int, last: int, *, keyed: bool) -> int:
        """Read joined relations in parentheses."""
        if keyed:
            self.joined_list(i + 1, self.source.partner[i])
        after = self.source.skip(i)
        if self.alias(after, last, _Written(i)) > after:
            raise self.source.refuse(
                "a join in parentheses with an alias is not supported beside an oracle call. "
                "Write FROM (SELECT * FROM ...) AS alias.",
                i,
                after,
            )
        return after

    def suffix(self, i: int, last: int) -> int:
        """Step over TABLESAMPLE, PIVOT (...) or AT (...), and an alias after it."""
        source = self.source
        word = source.word(i)
        if word == "at" and not source.mark(i + 1, "("):
            raise self.keyword(i)
        i += 1
        while i < last and not source.mark(i, ",") and not join_at(source, i):
            if word != "tablesample" and source.mark(i, "("):
                return source.skip(i)
            if source.word(i) in ("on", "using"):
                break
            i = source.skip(i)
        return i

    def is_joined(self, i: int) -> bool:
        """Whether the parenthesis holds joined relations rather than a query."""
        source = self.source
        first, last = i + 1, source.partner[i]
        if query_at(source, first):
            return False
        if not source.mark(first, "("):
            return True
        after = source.skip(first)
        if after >= last:
            return self.is_joined(first)
        return source.word(after) not in ("union", "intersect", "except", "order", "limit")

    def relation(self, i: int, last: int) -> int:
        """Step over a name, a function, a file, a subquery or VALUES."""
        source = self.source
        if source.word(i) == "values":
            i = source.skip(i + 1)
            while source.mark(i, ",") and source.mark(i + 1, "(") and i < last:
                i = source.skip(i + 1)
            return i
        if source.mark(i, "("):
            return source.skip(i)
        if source.tokens[i].kind == "string":
            return i + 1
        if not source.tokens[i].is_name:
            raise source.error(f"cannot read FROM at {source.tokens[i].text}", i)
        if source.word(i) in NO_RELATION and not source.mark(i + 1, "("):
            raise self.keyword(i)
        i += 1
        while source.mark(i, ".") and i + 1 < last:
            i += 2
        return source.skip(i) if source.mark(i, "(") else i

    def keyword(self, i: int) -> ProgrammingError:
        """Make the error for a word that DuckDB's grammar takes for another than a name."""
        word = self.source.tokens[i].text
        return self.source.error(
            f'{word} is a keyword and cannot be a name: write "{word}", in double quotes', i
        )

    def alias(self, i: int, last: int, written: _Written) -> int:
        """Read ``[AS] alias [(column, ...)]``, if it stands here."""
        source = self.source
        named = source.word(i) == "as" and i < last
        i += named
        if i >= last or not source.tokens[i].is_name:
            return i
        if not named and source.word(i) in _AFTER_RELATION:
            return i
        if named and source.word(i) in NO_RELATION:
            raise self.keyword(i)
        written.alias, written.columns = source.tokens[i].name, ()
        i += 1
        if i < last and source.mark(i, "("):
            pieces = source.split(i + 1, source.partner[i])
            written.columns = tuple(source.tokens[first].name for first, _ in pieces)
            i = source.skip(i)
        return i

    def add(self, written: _Written) -> None:
        """Record a leaf."""
        source, body, name_end = self.source, written.body, written.name_end
        is_name = source.tokens[body].is_name and source.tokens[name_end - 1].is_name
        parts = tuple(t.name for t in source.tokens[body:name_end:2]) if is_name else ()
        if len(parts) == 1 and parts[0].lower() in self.ctes:
            parts = ()
        relation = source.text(body, name_end)
        if written.body_end:
            # The alias stands inside, before TABLESAMPLE or PIVOT or after WITH ORDINALITY.
            parts, relation = (), f"(SELECT * FROM {source.text(body, written.body_end)})"
        leaf = Leaf(
            alias=written.alias or self.default_alias(body, name_end),
            relation=relation,
            table=parts or None,
            columns=() if written.body_end else written.columns,
            row=f"{ROW_PREFIX}{len(self.found.leaves)}",
            lateral=written.lateral or self.correlated(body, name_end),
        )
        self.found.leaves.append(leaf)
        self.found.spans.append((written.start, written.last))

    def default_alias(self, body: int, end: int) -> str:
        """Return the name that DuckDB gives a relation without an alias."""
        source = self.source
        token = source.tokens[body]
        if token.kind == "string":
            stem = re.split(r"[\\/]", unquoted(token.text))[-1]
            return stem.partition(".")[0] or stem
        if not token.is_name or token.word == "values":
            self.n_unnamed += 1
            return f"unnamed_subquery{self.n_unnamed if self.n_unnamed > 1 else ''}"
        at = body
        while at + 2 < end and source.mark(at + 1, "."):
            at += 2
        return source.tokens[at].name

    def correlated(self, body: int, end: int) -> bool:
        """Whether a relation refers to relations before it, as ``unnest(t.tags)`` does."""
        source, earlier = self.source, self.found.aliases()
        if not earlier or not source.mark(end - 1, ")"):
            return False
        opened = source.partner[end - 1]
        query = source.mark(body, "(")
        for i in range(opened + 1, end - 1):
            token = source.tokens[i]
            if not token.is_name or source.mark(i - 1, ".") or source.mark(i + 1, "("):
                continue
            if source.mark(i + 1, ".") and token.name.lower() in earlier:
                return True
            if (
                not query
                and token.word not in ("true", "false", "null")
                and source.tokens[i + 1].text not in ("=", ":=", "=>")
            ):
                return True
        return False
