"""The relations of a FROM clause, and the text round them, as written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from thresher.plan import Leaf
from thresher.sql.tokens import Source, identifier

__all__ = ["From", "parse_from"]

_SIDES = ("inner", "left", "right", "full")
_AFTER = """
    on using join inner left right full cross natural asof semi anti positional tablesample pivot
    unpivot with at where
"""
_AFTER_RELATION = frozenset(_AFTER.split())
_QUERY = ("select", "with", "from", "values", "table", "pivot", "unpivot", "describe", "show",
          "summarize")  # fmt: skip
_ALONE = {
    "asof": "An ASOF JOIN",
    "positional": "A POSITIONAL JOIN",
}


@dataclass(slots=True)
class From:
    """Leaves in order of appearance and what stands between them: one text more than leaves.

    `spans` are the token ranges of the leaves, `natural` says whether a NATURAL JOIN is written.
    """

    leaves: list[Leaf] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    natural: bool = False

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


class _Reader:
    """Walks over a FROM clause."""

    def __init__(self, source: Source, ctes: frozenset[str]) -> None:
        self.source, self.ctes = source, ctes
        self.found = From()

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
        self.found.natural |= "natural" in words
        keyed = "semi" not in words and "anti" not in words
        i = self.factor(i + 1, last, keyed=keyed)
        return self.condition(i, last)

    def condition(self, i: int, last: int) -> int:
        source = self.source
        if source.word(i) == "using" and source.mark(i + 1, "("):
            return source.skip(i + 1)
        if source.word(i) != "on":
            return i
        i += 1
        while i < last and not source.mark(i, ",") and not self.join_at(i):
            i = source.skip(i)
        return i

    def join_at(self, i: int) -> bool:
        """Whether a join begins here, and not a function called left() or right()."""
        source = self.source
        for _ in range(4):
            word = source.word(i)
            if word == "join":
                return True
            if word not in (*_SIDES, "outer", "cross", "natural", "asof", "semi", "anti",
                            "positional"):  # fmt: skip
                return False
            i += 1
        return False

    def factor(self, i: int, last: int, *, keyed: bool = True) -> int:
        """Read one relation with its alias; return the token after it."""
        source, start = self.source, i
        if i >= last:
            raise source.error("a relation is missing in FROM", i - 1)
        if source.mark(i, "(") and self.is_joined(i):
            if keyed:
                self.joined_list(i + 1, source.partner[i])
            return self.alias(source.skip(i), last)[0]
        prefix = ""
        if source.tokens[i].is_name and source.mark(i + 1, ":"):
            prefix = source.tokens[i].name
            i += 2
        lateral = source.word(i) == "lateral"
        i += lateral
        body = i
        i = self.relation(i, last)
        end = i
        if source.words(i, "with", "ordinality"):
            i += 2
        i, alias, columns = self.alias(i, last)
        tail = i
        while source.word(i) in ("tablesample", "pivot", "unpivot") or source.words(i, "at"):
            i = self.suffix(i, last)
        if keyed:
            extra = i > tail or source.words(end, "with", "ordinality")
            self.add(start, i, body, end if not extra else i, alias or prefix, columns,
                     lateral=lateral, extra=bool(extra), named=end)  # fmt: skip
        return i

    def suffix(self, i: int, last: int) -> int:
        """Step over TABLESAMPLE, PIVOT (...) or AT (...), and an alias after it."""
        source = self.source
        word = source.word(i)
        i += 1
        while i < last and not source.mark(i, ",") and not self.join_at(i):
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
        if source.word(first) in _QUERY and not source.mark(first + 1, "."):
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
        i += 1
        while source.mark(i, ".") and i + 1 < last:
            i += 2
        return source.skip(i) if source.mark(i, "(") else i

    def alias(self, i: int, last: int) -> tuple[int, str, tuple[str, ...]]:
        """Read ``[AS] alias [(column, ...)]``."""
        source = self.source
        named = source.word(i) == "as" and i < last
        i += named
        if i >= last or not (
            (source.tokens[i].is_name and (named or source.word(i) not in _AFTER_RELATION))
            or (named and source.tokens[i].kind == "string")
        ):
            return i, "", ()
        alias = source.tokens[i].name.strip("'")
        i += 1
        columns: tuple[str, ...] = ()
        if i < last and source.mark(i, "("):
            pieces = source.split(i + 1, source.partner[i])
            columns = tuple(source.tokens[first].name for first, _ in pieces)
            i = source.skip(i)
        return i, alias, columns

    def add(
        self,
        start: int,
        last: int,
        body: int,
        end: int,
        alias: str,
        columns: tuple[str, ...],
        *,
        lateral: bool,
        extra: bool,
        named: int,
    ) -> None:
        """Record a leaf: tokens ``start:last``, its relation ``body:end``."""
        source, n = self.source, len(self.found.leaves)
        is_name = source.tokens[body].is_name and source.tokens[named - 1].is_name
        parts = tuple(t.name for t in source.tokens[body:named:2]) if is_name else ()
        is_cte = len(parts) == 1 and parts[0].lower() in self.ctes
        if extra:
            end, columns = last, ()
        leaf = Leaf(
            alias=alias or self.default_alias(body, named, n),
            relation=source.text(body, end),
            table=parts if parts and not is_cte and not extra else None,
            columns=columns,
            row=f"__thresher_r{n}",
            lateral=lateral or self.correlated(body, named),
        )
        self.found.leaves.append(leaf)
        self.found.spans.append((start, last))

    def default_alias(self, body: int, end: int, n: int) -> str:
        """Return the name that DuckDB gives a relation without an alias."""
        source = self.source
        token = source.tokens[body]
        if token.kind == "string":
            stem = re.split(r"[\\/]", token.text.strip("'"))[-1]
            return stem.partition(".")[0] or stem
        if not token.is_name or token.word == "values":
            return "unnamed_subquery" if n == 0 else f"unnamed_subquery{n + 1}"
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


def quoted(leaf: Leaf) -> str:
    """Write the alias of a leaf as an identifier."""
    return identifier(leaf.alias)
