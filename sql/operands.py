"""Operands of a condition as trees over token ranges: literals, columns, calls, CASE, brackets.

Only what stands round an oracle call is taken apart; brackets without a call inside stay whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from thresher.errors import Error
from thresher.sql.blocks import query_at, section_at
from thresher.sql.clauses import unknown_clause
from thresher.sql.tokens import Source

__all__ = ["CONSTANTS", "MINUS", "NOT", "OTHER", "Kind", "Node", "Operands"]

Kind = Literal[
    "or", "and", "not", "compare", "is", "in", "between", "arithmetic", "minus", "cast",
    "paren", "call", "function", "case", "literal", "other",
]  # fmt: skip

# How tightly the prefix operators bind; `thresher.sql.expressions` has the scale.
NOT, OTHER, MINUS = 4, 8, 14
CONSTANTS = ("true", "false", "null")
_NO_OPERAND = """
    and or then else when end from where group order limit as on join is in between like ilike
    similar collate having union
"""
_UNITS = """
    year month day hour minute second millisecond microsecond week quarter decade century
    millennium y m d h s ms us w
"""


@dataclass(frozen=True, slots=True)
class Node:
    """An expression over tokens ``first:last``.

    `word` is the operator or, of an ``is``, what is tested. `holds` says whether an oracle call
    is inside; the children of a node without one are not kept.
    """

    kind: Kind
    first: int
    last: int
    children: tuple[Node, ...] = ()
    word: str = ""
    holds: bool = False


class Operands:
    """Reads operands; `expression` is what stands between them."""

    def __init__(self, source: Source, last: int, is_call: Callable[[int], bool]) -> None:
        self.source, self.last, self.is_call = source, last, is_call
        self.at = 0

    def word(self, k: int = 0) -> str:
        """Return the lower-case word here, or `k` tokens on."""
        return self.source.word(self.at + k) if self.at + k < self.last else ""

    def text(self) -> str:
        """Return the token here as written."""
        return self.source.tokens[self.at].text if self.at < self.last else ""

    def mark(self, text: str) -> bool:
        """Whether this bracket or dot stands here."""
        return self.at < self.last and self.source.mark(self.at, text)

    def has_call(self, first: int, last: int) -> bool:
        """Whether an oracle call begins in a token range."""
        return any(self.is_call(i) for i in range(first, last))

    def node(self, kind: Kind, first: int, children: tuple[Node, ...] = (), word: str = "") -> Node:
        """Make a node that ends here."""
        if self.at > self.last:  # something was stepped over that does not stand there
            self.at = self.last
            raise self.unexpected()
        holds = kind == "call" or any(child.holds for child in children)
        kept = children if holds or kind in ("arithmetic", "minus", "cast", "paren") else ()
        return Node(kind, first, self.at, kept, word, holds)

    def unexpected(self) -> Error:
        """Make the error for a token that cannot stand here."""
        if self.at >= self.last:
            last = self.source.tokens[self.last - 1].text
            return self.source.error(
                f"the condition is not complete: a value or another condition must follow {last}",
                self.last - 1,
            )
        if self.word() and self.at and not section_at(self.source, self.at):
            return unknown_clause(self.source, self.at)
        for k in range(self.at, -1, -1):
            if self.source.partner[k] < 0 and self.source.tokens[k].text in ("(", "[", "{"):
                return self.source.error(
                    f"the bracket {self.source.tokens[k].text} is not closed", k
                )
        return self.source.error(f"unexpected {self.text()} in the condition", self.at)

    def expect(self, word: str) -> None:
        """Step over a keyword."""
        if self.word() != word:
            raise self.unexpected()
        self.at += 1

    def expression(self, least: int) -> Node:
        """Read an expression whose operators bind at least so tightly."""
        raise NotImplementedError

    def prefix(self) -> Node:
        """Read an operand with what stands before it."""
        if self.at >= self.last:
            raise self.unexpected()
        first, token = self.at, self.source.tokens[self.at]
        if token.word == "not":
            self.at += 1
            return self.node("not", first, (self.expression(NOT),))
        if token.kind == "operator":
            return self.prefix_operator(first, token.text)
        if token.kind == "word":
            return self.prefix_word(first, token.word)
        if token.kind == "quoted":
            return self.path(first)
        if token.kind in ("string", "number", "parameter"):
            self.at += 1
            while (
                self.at < self.last and token.kind == self.source.tokens[self.at].kind == "string"
            ):
                self.at += 1
            return self.node("literal", first)
        if token.text == "(":
            return self.parenthesis(first)
        if token.text in ("[", "{"):
            self.whole(first)
            return self.node("other", first)
        if token.text == "#":
            self.at += 2
            return self.node("other", first)
        raise self.unexpected()

    def prefix_operator(self, first: int, text: str) -> Node:
        """Read an operand after a sign or another prefix operator."""
        self.at += 1
        if text in ("-", "+"):
            return self.node("minus", first, (self.expression(MINUS),), text)
        if text == "*":
            raise self.source.refuse("* cannot stand in a condition with an oracle call", first)
        return self.node("other", first, (self.expression(OTHER + 1),), text)

    def prefix_word(self, first: int, word: str) -> Node:
        """Read an operand that begins with a word."""
        if word in CONSTANTS:
            self.at += 1
            return self.node("literal", first)
        if word == "case":
            return self.case(first)
        if word == "interval" and not self.source.mark(first + 1, "."):
            return self.interval(first)
        if word in _NO_OPERAND.split() or section_at(self.source, first):
            raise self.unexpected()
        if (literal := self.typed_literal(first)) is not None:
            return literal
        after = self.source.tokens[first + 1].text if first + 1 < self.last else ""
        if word in ("array", "map") and after in ("[", "{"):
            self.whole(first + 1)
            return self.node("other", first)
        return self.path(first)

    def typed_literal(self, first: int) -> Node | None:
        """Read ``DATE '2024-01-01'`` and ``TIMESTAMP WITH TIME ZONE '...'``."""
        at = first + 4 if self.source.words(first + 1, "with", "time", "zone") else first + 1
        if at >= self.last or self.source.tokens[at].kind != "string":
            return None
        self.at = at + 1
        return self.node("literal", first)

    def interval(self, first: int) -> Node:
        """Read ``INTERVAL 1 DAY``, or a column of that name."""
        self.at += 1
        if self.mark("("):
            self.whole(self.at)
        elif self.at < self.last and self.source.tokens[self.at].kind in (
            "string",
            "number",
            "parameter",
        ):
            self.at += 1
        else:
            self.at = first
            return self.path(first)
        if self.word() and self.word().rstrip("s") in _UNITS.split():
            self.at += 1
            if self.word() == "to":
                self.at += 2
        return self.node("other", first)

    def path(self, first: int) -> Node:
        """Read a column or a function: names with dots, maybe with arguments."""
        is_call = self.is_call(first)
        self.at += 1
        while not is_call and self.mark(".") and self.at + 1 < self.last:
            if not self.source.tokens[self.at + 1].is_name:
                raise self.unexpected()
            self.at += 2
        if not self.mark("("):
            return self.node("other", first)
        if is_call:
            self.at = self.source.skip(self.at)
            self.no_modifier(first)
            return self.node("call", first)
        return self.function(first)

    def function(self, first: int) -> Node:
        """Read the arguments of a function; the name has been read."""
        opened = self.at
        end = self.source.skip(opened)
        children: tuple[Node, ...] = ()
        kind: Kind = "function"
        if self.has_call(opened, end):
            if query_at(self.source, opened + 1):
                self.whole(opened)
            if self.source.word(first) in ("cast", "try_cast"):
                children, kind = (self.cast_argument(opened),), "cast"
            else:
                children = self.bracketed(opened)
            if self.source.word(first) == "try_cast":
                kind = "function"
        self.at = end
        while self.word() in ("filter", "over", "within"):
            self.at += 2 if self.word() == "within" else 1
            self.at = self.source.skip(self.at)
        return self.node(kind, first, children, self.source.word(first))

    def no_modifier(self, first: int) -> None:
        """Refuse OVER and FILTER after an oracle call."""
        if self.word() in ("over", "filter", "within"):
            raise self.source.refuse(
                f"an oracle call takes no {self.word().upper()}", first, self.at + 1
            )

    def cast_argument(self, opened: int) -> Node:
        """Read the expression of ``CAST(expression AS type)``."""
        inner = type(self)(self.source, self.source.partner[opened], self.is_call)
        inner.at = opened + 1
        node = inner.expression(0)
        inner.expect("as")
        return node

    def bracketed(self, opened: int) -> tuple[Node, ...]:
        """Parse expressions in parentheses, separated by commas, and step over them."""
        nodes = []
        for first, last in self.source.split(opened + 1, self.source.partner[opened]):
            inner = type(self)(self.source, last, self.is_call)
            inner.at = first
            nodes.append(inner.expression(0))
            if inner.at < last:
                raise self.source.refuse(
                    "an oracle call cannot be followed into this expression. Write the condition "
                    "with AND, OR, NOT and comparisons.",
                    first,
                    last,
                )
        self.at = self.source.skip(opened)
        return tuple(nodes)

    def parenthesis(self, first: int) -> Node:
        """Read a subquery, a parenthesised expression or a row of them."""
        end = self.source.skip(first)
        if not self.has_call(first, end):
            self.at = end
            literal = end == first + 3 and self.source.tokens[first + 1].kind == "number"
            return self.node("literal" if literal else "other", first)
        if query_at(self.source, first + 1):
            self.whole(first)
        items = self.bracketed(first)
        if len(items) > 1:
            raise self.source.refuse(
                "an oracle call in a row of values is not supported. Compare value by value, "
                "joined by AND.",
                first,
                end,
            )
        return self.node("paren", first, items)

    def whole(self, opened: int) -> None:
        """Step over brackets that must hold no oracle call."""
        end = self.source.skip(opened)
        for i in range(opened, end):
            if self.is_call(i):
                raise self.source.refuse(
                    "an oracle call in a subquery, a list or a struct is not supported yet. "
                    "Call it in the WHERE of the outermost SELECT.",
                    i,
                    self.source.skip(i + 1),
                )
        self.at = end

    def case(self, first: int) -> Node:
        """Read CASE ... END; its pieces are expressions between the keywords."""
        children = []
        self.at += 1
        while self.word() != "end":
            if self.at >= self.last:
                raise self.unexpected()
            if self.word() in ("when", "then", "else"):
                self.at += 1
            children.append(self.expression(0))
        self.at += 1
        return self.node("case", first, tuple(children))
