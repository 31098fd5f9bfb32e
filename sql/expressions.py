"""A WHERE condition as a tree over token ranges: enough structure to find what hangs on a call.

Precedences are those of DuckDB's grammar, and a test compares them with DuckDB's own parser.
"""

from __future__ import annotations

from collections.abc import Callable

from thresher.sql.blocks import query_at
from thresher.sql.operands import CONSTANTS, Kind, Node, Operands
from thresher.sql.tokens import Source

__all__ = ["Node", "parse_condition"]

# From DuckDB's grammar, loosest first; NOT, other prefix operators and the sign are 4, 8, 14.
_ARROW, _OR, _AND, _IS, _COMPARE, _LIKE, _OTHER = 1, 2, 3, 5, 6, 7, 8
_ADD, _MULTIPLY, _POWER, _ZONE, _COLLATE = 9, 10, 11, 12, 13
_COMPARISONS = frozenset(("=", "==", "<>", "!=", "<", "<=", ">", ">="))
_BINARY: dict[str, tuple[int, Kind]] = {
    **dict.fromkeys(_COMPARISONS, (_COMPARE, "compare")),
    **dict.fromkeys(("+", "-"), (_ADD, "arithmetic")),
    **dict.fromkeys(("*", "/", "%", "//"), (_MULTIPLY, "arithmetic")),
    **dict.fromkeys(("^", "**"), (_POWER, "arithmetic")),
}
_QUANTIFIERS = ("any", "all", "some")
_MATCHES = ("like", "ilike", "glob")


def parse_condition(source: Source, first: int, last: int, is_call: Callable[[int], bool]) -> Node:
    """Parse tokens ``first:last`` as a condition.

    Parameters
    ----------
    source : Source
        The statement.
    first, last : int
        Token range, not empty.
    is_call : callable
        Whether an oracle call begins at a token.

    Raises
    ------
    ProgrammingError
        The condition is not complete, or words follow it that are no clause.
    NotSupportedError
        An oracle call stands where it cannot be followed, as in a subquery.
    """
    reader = _Reader(source, last, is_call)
    reader.at = first
    node = reader.expression(0)
    if reader.at < last:
        raise reader.unexpected()
    return node


class _Reader(Operands):
    """Precedence climbing over the tokens of one condition."""

    def expression(self, least: int) -> Node:
        left = self.prefix()
        while self.at < self.last:
            found = self.infix(left, least)
            if found is None:
                return left
            left = found
        return left

    def infix(self, left: Node, least: int) -> Node | None:
        """Continue an expression by one operator that binds at least so tightly."""
        token = self.source.tokens[self.at]
        if token.kind == "word":
            return self.infix_word(left, least, token.word)
        if token.kind == "operator":
            return self.infix_operator(left, least, token.text)
        if token.kind == "mark" and token.text == "::":
            return self.postfix_cast(left)
        if token.kind == "mark" and token.text in ("[", "."):
            return self.postfix_access(left)
        return None

    def infix_operator(self, left: Node, least: int, text: str) -> Node | None:
        if text in ("->", "->>"):
            return self.arrow(left, least, text)
        power, kind = _BINARY.get(text, (_OTHER, "other"))
        if power < least:
            return None
        self.at += 1
        if left.holds and self.word() in _QUANTIFIERS and self.source.mark(self.at + 1, "("):
            raise self.source.refuse(
                f"an oracle call left of {self.word().upper()} (...) is not supported. "
                "Write IN and a list of values, or compare with single values.",
                self.at,
            )
        right = self.expression(power + 1)
        return self.node(kind, left.first, (left, right), text)

    def arrow(self, left: Node, least: int, text: str) -> Node | None:
        # In DuckDB's grammar `a AND j->>'x' = 'y'` is `((a AND j)->>'x') = 'y'`.
        if least > _ARROW:
            return None
        if text == "->" or left.kind in ("or", "and", "not", "compare", "is", "in", "between"):
            raise self.source.error(
                f"{text} binds more loosely than AND in DuckDB: write it in parentheses, "
                f"as in (column{text}'key') = 'value'",
                self.at,
            )
        self.at += 1
        right = self.expression(_OTHER + 1)
        return self.node("other", left.first, (left, right), text)

    def infix_word(self, left: Node, least: int, word: str) -> Node | None:
        negated = word == "not"
        word = self.word(1) if negated else word
        if word in ("or", "and") and not negated:
            power = _OR if word == "or" else _AND
            if power < least:
                return None
            self.at += 1
            right = self.expression(power + 1)
            kind: Kind = "or" if word == "or" else "and"
            joined = left.children if left.kind == kind and left.children else (left,)
            return self.node(kind, left.first, (*joined, right))
        if word in ("is", "isnull", "notnull") or (negated and word == "null"):
            return self.infix_is(left) if least <= _IS else None
        if word in ("in", "between", "similar", *_MATCHES):
            if least > _LIKE:
                return None
            self.at += 1 + negated
            return self.infix_match(left, word, negated)
        if word == "collate" and least <= _COLLATE:
            self.at += 2
            return self.node("other", left.first, (left,), word)
        if word == "at" and self.word(1) == "time" and least <= _ZONE:
            self.at += 3
            return self.node("other", left.first, (left, self.expression(_COLLATE)), word)
        return None

    def infix_is(self, left: Node) -> Node:
        word = self.word()
        self.at += 1
        if word in ("isnull", "notnull"):
            return self.node("is", left.first, (left,), word)
        if word == "not":
            self.at += 1
            return self.node("is", left.first, (left,), "not null")
        negated = self.word() == "not"
        self.at += negated
        tested = self.word()
        if tested not in (*CONSTANTS, "unknown", "distinct"):
            raise self.unexpected()
        self.at += 1
        children: tuple[Node, ...] = (left,)
        if tested == "distinct":
            self.expect("from")
            children = (left, self.expression(_COMPARE))
        return self.node("is", left.first, children, "not " * negated + tested)

    def infix_match(self, left: Node, word: str, negated: bool) -> Node:
        if word == "between":
            low = self.expression(_OTHER)
            self.expect("and")
            return self.node("between", left.first, (left, low, self.expression(_OTHER)))
        if word == "in":
            return self.infix_in(left, negated)
        if word == "similar":
            self.expect("to")
        children: tuple[Node, ...] = (left, self.expression(_OTHER))
        if self.word() == "escape":
            self.at += 1
            children = (*children, self.expression(_OTHER))
        return self.node("other", left.first, children, word)

    def infix_in(self, left: Node, negated: bool) -> Node:
        word = "not in" if negated else "in"
        opened = self.at
        if self.mark("(") and not query_at(self.source, opened + 1):
            if left.holds or self.has_call(opened, self.source.skip(opened)):
                items = self.bracketed(opened)
                return self.node("in", left.first, (left, *items), word)
            self.at = self.source.skip(opened)
            return self.node("in", left.first, (left,), word)
        right = self.expression(_OTHER)
        if left.holds:
            raise self.source.refuse(
                "an oracle call left of IN needs a list of values in parentheses, not a subquery "
                "or a list. Write out the values.",
                opened,
                self.at,
            )
        return self.node("other", left.first, (left, right), word)

    def postfix_cast(self, left: Node) -> Node:
        self.at += 1
        self.type_name()
        return self.node("cast", left.first, (left,))

    def postfix_access(self, left: Node) -> Node:
        if self.mark("["):
            self.whole(self.at)
            return self.node("other", left.first, (left,), "[")
        self.at += 2
        if self.mark("("):
            self.whole(self.at)
        return self.node("other", left.first, (left,), ".")

    def type_name(self) -> None:
        """Step over a type: ``DECIMAL(10, 2)[]``, ``TIMESTAMP WITH TIME ZONE``, ``a.b``."""
        if self.at >= self.last or not self.source.tokens[self.at].is_name:
            raise self.unexpected()
        words = (self.word(), self.word(1))
        self.at += 2 if words in (("double", "precision"), ("character", "varying")) else 1
        while self.mark("."):
            self.at += 2
        if self.mark("("):
            self.at = self.source.skip(self.at)
        if self.word() in ("with", "without") and self.word(1) == "time":
            self.at += 3
        while self.mark("["):
            self.at = self.source.skip(self.at)
