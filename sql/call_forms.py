"""Calls of oracles in the other forms that DuckDB gives a call, rewritten as ``oracle(x, ...)``.

These are ``x.oracle()``, ``main.oracle(x)`` and ``oracle(name := x)``. A function of DuckDB takes
all of them; everything after this module knows the plain form only.
"""

from __future__ import annotations

from thresher.sql.blocks import operand_ends
from thresher.sql.formula import call_at
from thresher.sql.names import Names
from thresher.sql.tokens import RESERVED, Source, Token

__all__ = ["BEFORE_NAMES", "macro_call_at", "plain_calls"]

_BEFORE = "table into macro function exists view index on references copy type schema"
BEFORE_NAMES = frozenset(_BEFORE.split())
"""Words before a name in parentheses that is no call."""
_RELATION = ("from", "join", "lateral", "update")
_NAMING = (":=", "=>")
_Rewritten = tuple[list[Token], int]  # the tokens of a statement, and from where to read on


def plain_calls(source: Source, names: Names) -> list[Token]:
    """Return the tokens of a statement in which each call of an oracle has its plain form."""
    oracles = frozenset(name.lower() for name in names.oracle_names())
    i = 0
    while i < len(source.tokens):
        found = _dotted(source, i, oracles, names) or _named(source, i, oracles, names)
        if found is None:
            i += 1
            continue
        tokens, i = found
        source = Source(source.sql, tokens)
    return source.tokens


def macro_call_at(source: Source, oracles: frozenset[str]) -> int | None:
    """Return where the expression of a CREATE MACRO calls an oracle, or None."""
    i = 1
    while source.word(i) in ("or", "replace", "temp", "temporary"):
        i += 1
    if source.word(0) != "create" or source.word(i) not in ("macro", "function"):
        return None
    while i < len(source.tokens) and source.word(i) != "as":
        i = source.skip(i)
    if source.word(i + 1) == "table":
        return None
    return next((k for k in range(i + 1, len(source.tokens)) if _calls(source, k, oracles)), None)


def _calls(source: Source, i: int, oracles: frozenset[str]) -> bool:
    """Whether the name of an oracle stands before an opening parenthesis."""
    if i >= len(source.tokens) or not source.mark(i + 1, "(") or source.partner[i + 1] < 0:
        return False
    return source.tokens[i].is_name and source.tokens[i].name.lower() in oracles


def _dotted(source: Source, i: int, oracles: frozenset[str], names: Names) -> _Rewritten | None:
    """Rewrite ``x.oracle(...)`` and ``main.oracle(...)`` at a token; None for anything else."""
    if not source.mark(i - 1, ".") or not _calls(source, i, oracles):
        return None
    first = _operand_start(source, i - 1)
    if first is None or source.word(first - 1) in BEFORE_NAMES | set(_RELATION):
        return None
    declared = names.oracle(source.tokens[i].name.lower())
    n_declared = len(declared.signature.arguments) if declared else 0
    tokens, subject = source.tokens, source.tokens[first : i - 1]
    n_given = len(source.split(i + 2, source.partner[i + 1]))
    if n_given >= n_declared:  # a schema stands before the dot
        main = subject[-1].name.lower() == "main" and len(subject) in (1, 3)
        return ([*tokens[:first], *tokens[i:]], first) if main else None
    comma = [Token("mark", ",", tokens[i + 1].end, tokens[i + 1].end)] if n_given else []
    return [*tokens[:first], *tokens[i : i + 2], *subject, *comma, *tokens[i + 2 :]], first


def _operand_start(source: Source, dot: int) -> int | None:
    """Return the first token of the operand that ends before a dot, as in ``xs[1].f()``."""
    i = dot - 1
    while i >= 0:
        token = source.tokens[i]
        if token.kind == "mark" and token.text in (")", "]"):
            i = source.partner[i]
            if i < 0:
                return None
            if token.text == "]" and operand_ends(source, i - 1):
                i -= 1
                continue
            i -= token.text == ")" and i > 0 and _is_function(source.tokens[i - 1])
        elif token.word in RESERVED or not (token.is_name or token.kind in ("string", "parameter")):
            return None
        if source.mark(i - 1, "."):
            i -= 2
            continue
        return None if source.mark(i - 1, "::") else i
    return None


def _is_function(token: Token) -> bool:
    return token.is_name and token.word not in RESERVED


def _named(source: Source, i: int, oracles: frozenset[str], names: Names) -> _Rewritten | None:
    """Put the arguments of a call that go by their declared names into their positions."""
    if source.mark(i - 1, ".") or not call_at(source, i, oracles) or source.partner[i + 1] < 0:
        return None
    declared = names.oracle(source.tokens[i].name.lower())
    order = [argument.name.lower() for argument in declared.signature.arguments] if declared else []
    close = source.partner[i + 1]
    pieces = source.split(i + 2, close)
    by_name: dict[str, list[Token]] = {}
    placed, others = list[list[Token]](), list[list[Token]]()
    for first, last in pieces:
        naming = last - first > 2 and source.tokens[first + 1].text in _NAMING
        name = source.tokens[first].name.lower()
        if naming and name in order:
            if name in by_name:
                raise source.error(f"the argument {name} is given twice", first, last)
            by_name[name] = source.tokens[first + 2 : last]
        else:
            (others if naming else placed).append(source.tokens[first:last])
    if not by_name or set(by_name) != set(order[len(placed) :]):
        return None
    values = [*placed, *(by_name[name] for name in order[len(placed) :]), *others]
    written: list[Token] = []
    for value in values:
        at = value[0].start if value else source.tokens[i].end
        written += [*([Token("mark", ",", at, at)] if written else []), *value]
    return [*source.tokens[: i + 2], *written, *source.tokens[close:]], i + 1
