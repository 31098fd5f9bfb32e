"""The conjuncts of a WHERE that hold oracle calls, as one formula over columns of answers.

`Formula.add` takes the tree of a conjunct and writes it as SQL in which each distinct call is a
column ``__thresher_o<i>`` and each largest piece without a call a column ``__thresher_p<i>``.
"""

from __future__ import annotations

from thresher.errors import nearest
from thresher.plan import OracleCall
from thresher.sql.expressions import Node
from thresher.sql.names import DeclaredOracle, Names
from thresher.sql.tokens import Source

__all__ = ["BOOLEANS", "Formula", "call_at", "conjuncts", "is_constant"]

BOOLEANS = ("BOOLEAN", "BOOL", "LOGICAL")
_CONNECTIVES = ("or", "and", "not", "paren")
_STRICT = (*_CONNECTIVES, "compare", "in", "between", "arithmetic", "minus", "cast", "call")
_FALSE_AFTER = {("=", "false"), ("==", "false"), ("<>", "true"), ("!=", "true")}
_IS_NOT = ("false", "not true")
_TARGETS = ("recall", "precision", "accuracy", "probability", "oracle_limit", "seed")


def call_at(source: Source, i: int, oracles: frozenset[str]) -> bool:
    """Whether a call of a declared oracle begins at a token."""
    if i + 1 >= len(source.tokens) or not source.mark(i + 1, "("):
        return False
    token = source.tokens[i]
    if not token.is_name or token.name.lower() not in oracles:
        return False
    return not source.mark(i - 1, ".") and source.word(i - 1) != "as"


def conjuncts(node: Node) -> list[Node]:
    """Return the parts that AND joins at the top, through parentheses."""
    if node.kind == "and" and node.children:
        return [part for child in node.children for part in conjuncts(child)]
    if node.kind == "paren" and node.children and node.children[0].kind in ("and", "paren"):
        return conjuncts(node.children[0])
    return [node]


class Formula:
    """Builds the formula of one query block.

    Attributes
    ----------
    calls : list of OracleCall
        Distinct calls so far.
    parts : dict of str to str
        SQL of each oracle-free piece, and its column.
    monotone : bool
        As in `SelectionQuery.monotone`.
    """

    def __init__(self, source: Source, names: Names) -> None:
        self._source, self._names = source, names
        self.calls: list[OracleCall] = []
        self.parts: dict[str, str] = {}
        self.monotone = True
        self._known: dict[str, OracleCall] = {}
        self._conjuncts: list[str] = []

    @property
    def sql(self) -> str:
        """The formula over answer columns and parts; TRUE where WHERE holds no call."""
        if not self._conjuncts:
            return "TRUE"
        if len(self._conjuncts) == 1:
            return self._conjuncts[0]
        return " AND ".join(self._conjuncts)

    def add(self, node: Node) -> None:
        """Take one more conjunct that holds a call."""
        self._check_conditions(node)
        self._collect(node, negated=False)
        self.monotone = self.monotone and _monotone(node)
        self._conjuncts.append(self._write(node))

    def expression(self, node: Node, *, value: bool) -> str:
        """Write an expression that stands beside the formula; its calls come after its own."""
        if not value:
            self._check_conditions(node)
        if node.holds:
            self._collect(node, negated=False)
        return self._write(node)

    def _check_conditions(self, node: Node) -> None:
        """Refuse an answer that is no BOOLEAN where a condition must stand."""
        if node.kind in _CONNECTIVES:
            for child in node.children:
                self._check_conditions(child)
        elif node.kind == "call":
            name, returns = self._name(node), self._oracle(node).signature.returns
            if returns.upper() not in BOOLEANS:
                shown = self._source.text(node.first, node.last)
                value = ">= 0.5" if returns.upper() != "VARCHAR" else "= 'yes'"
                raise self._source.error(
                    f"{name} returns {returns}: compare it, as in {shown} {value}",
                    node.first,
                    node.last,
                )

    def _collect(self, node: Node, *, negated: bool) -> None:
        """Register the calls under a node, from left to right."""
        if node.kind == "call":
            self._register(node, negated=negated)
            return
        for child, flip in zip(node.children, _flips(self._source, node), strict=True):
            if child.holds:
                self._collect(child, negated=negated ^ flip)

    def _register(self, node: Node, *, negated: bool) -> None:
        source, name = self._source, self._name(node)
        opened = node.first + 1
        pieces = source.split(opened + 1, source.partner[opened])
        arguments = self._arguments(node, pieces)
        key = source.folded(node.first, node.last)
        if key in self._known:
            return
        value = f"__thresher_o{len(self.calls)}"
        call = OracleCall(
            oracle=name,
            arguments=arguments,
            value=value,
            inputs=tuple(f"{value}_a{i}" for i in range(len(arguments))),
            key=f"{value}_k",
            returns=self._oracle(node).signature.returns,
            place=source.place(node.first, node.last),
            negated=negated,
        )
        self._known[key] = call
        self.calls.append(call)

    def _arguments(self, node: Node, pieces: list[tuple[int, int]]) -> tuple[str, ...]:
        source, name = self._source, self._name(node)
        declared = self._oracle(node).signature.arguments
        self._check_named(name, pieces, [argument.name for argument in declared])
        if len(pieces) != len(declared):
            shown = ", ".join(f"{argument.name} {argument.type}" for argument in declared)
            raise source.error(
                f"{name} takes {_arguments_text(len(declared))}, got {len(pieces)}. "
                f"It is declared as {name}({shown}).",
                node.first,
                node.last,
            )
        for first, last in pieces:
            self._check_argument(name, first, last)
        return tuple(
            f"CAST(({source.text(first, last)}) AS {argument.type})"
            for (first, last), argument in zip(pieces, declared, strict=True)
        )

    def _check_named(self, name: str, pieces: list[tuple[int, int]], declared: list[str]) -> None:
        """Refuse an argument by a name that is not declared, or whose place is taken."""
        source = self._source
        for first, last in pieces:
            if last - first < 2 or source.tokens[first + 1].text not in (":=", "=>"):
                continue
            written = source.tokens[first].name
            if written.lower() in (argument.lower() for argument in declared):
                say = f"{name} takes each of its arguments once, by position or by name"
            else:
                hint = nearest(written, [*declared, *_TARGETS])
                shown = ", ".join(declared) or "none"
                say = f"{name} has no argument {written}; its arguments are {shown}.{hint}"
            raise source.error(say, first, last)

    def _check_argument(self, name: str, first: int, last: int) -> None:
        source, oracles = self._source, frozenset(n.lower() for n in self._names.oracle_names())
        for i in range(first, last):
            if call_at(source, i, oracles):
                raise source.refuse(
                    f"an oracle call as an argument of {name} is not supported. "
                    "Write the two conditions apart, joined by AND.",
                    i,
                    source.skip(i + 1),
                )
        if first == last:
            raise source.error(f"an argument of {name} is empty", first - 1)
        if source.tokens[first].text == "*" or source.word(first) == "distinct":
            raise source.error(f"{name} takes expressions over one row", first, last)

    def _write(self, node: Node) -> str:
        """Write a node with its calls and oracle-free pieces replaced by columns."""
        if node.kind == "call":
            return self._known[self._source.folded(node.first, node.last)].value
        if not node.holds:
            return self._part(node)
        swaps = {(child.first, child.last): self._write(child) for child in node.children}
        return self._source.text(node.first, node.last, swaps)

    def _part(self, node: Node) -> str:
        text = self._source.text(node.first, node.last)
        if is_constant(node):
            return text
        return self.parts.setdefault(text, f"__thresher_p{len(self.parts)}")

    def _name(self, node: Node) -> str:
        return self._source.tokens[node.first].name.lower()

    def _oracle(self, node: Node) -> DeclaredOracle:
        found = self._names.oracle(self._name(node))
        if found is None:
            raise self._source.error(f"there is no oracle {self._name(node)}", node.first)
        return found


def _arguments_text(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}" if count else "no arguments"


def is_constant(node: Node) -> bool:
    """Whether an expression is made of literals alone."""
    if node.kind == "literal":
        return True
    nested = node.kind in ("arithmetic", "minus", "cast", "paren")
    return nested and bool(node.children) and all(is_constant(child) for child in node.children)


def _monotone(node: Node) -> bool:
    """Whether NULL for an unknown answer can only turn into a value, never a value into another."""
    return not node.holds or (node.kind in _STRICT and all(_monotone(c) for c in node.children))


def _flips(source: Source, node: Node) -> list[bool]:
    """For each child: whether a higher value of it makes the node less true."""
    flips = [False] * len(node.children)
    if node.kind in ("not", "minus"):
        return [node.kind == "not" or node.word == "-"]
    if node.kind == "is":
        return [node.word in _IS_NOT, *flips[1:]]
    if node.kind == "arithmetic" and node.word == "-":
        return [False, True]
    if node.kind == "compare":
        left, right = node.children
        words = [
            source.word(side.first) if side.kind == "literal" else "" for side in (left, right)
        ]
        return [
            node.word in ("<", "<=") or (node.word, words[1]) in _FALSE_AFTER,
            node.word in (">", ">=") or (node.word, words[0]) in _FALSE_AFTER,
        ]
    return flips
