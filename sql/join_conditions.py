"""Oracle calls in ON of inner joins, moved to WHERE, where they mean the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from thresher.sql.clauses import find_tail
from thresher.sql.expressions import Node, parse_condition
from thresher.sql.foreign_blocks import Edit, edited, outer_brackets, put, sections
from thresher.sql.formula import conjuncts
from thresher.sql.relations import JOIN_SIDES, join_at
from thresher.sql.selections import outer_tokens
from thresher.sql.tokens import Source, Token

__all__ = ["move_conditions"]

_INNER = ((), ("inner",))
_FILTERS = (*_INNER, ("cross",), ("natural",))
_FULL = ("right", "full")


@dataclass(frozen=True, slots=True)
class _Join:
    """A join of FROM: its words before JOIN, and the tokens of its condition.

    `start` is its first word, `at` the word JOIN, `opened` the bracket that it stands in or -1.
    """

    start: int
    at: int
    on: int
    end: int
    opened: int
    words: tuple[str, ...]


def move_conditions(
    source: Source, called: Callable[[Source, int], bool], notes: list[str]
) -> list[Token]:
    """Return one query block whose joins have no oracle call in ON.

    Parameters
    ----------
    source : Source
        The block.
    called : callable
        Whether an oracle call begins at a token.
    notes : list of str
        Takes what was moved.

    Raises
    ------
    NotSupportedError
        The call stands in ON of an outer, semi or anti join, or of a join inside one.
    """
    if not any(token.word == "join" for token in source.tokens):
        return source.tokens
    n = len(source.tokens)
    end = find_tail(source, 0, n, ours=True)
    found = {name: (a, b) for name, a, b in sections(Source(source.sql, source.tokens[:end]))}
    first, last = found.get("from", (n, n))
    calls = [i for i in outer_tokens(source, first, last) if called(source, i)]
    joins = _joins(source, first + 1, last) if calls else []
    edits: list[Edit] = []
    moved: list[Node] = []
    for join in joins:
        inside = [i for i in calls if join.on < i < join.end]
        if not inside:
            continue
        _check(source, join, joins, inside[0])
        node = parse_condition(source, join.on + 1, join.end, lambda i: called(source, i))
        parts = conjuncts(node)
        moved += [part for part in parts if part.holds]
        edits += _without(source, join, [part for part in parts if not part.holds])
    if not moved:
        return source.tokens
    texts = [source.text(node.first, node.last) for node in moved]
    notes.extend(f"{text} in ON is read as in WHERE" for text in texts)
    return edited(source, [*edits, *_where(source, moved, found.get("where"), last, called)])


def _joins(source: Source, first: int, last: int) -> list[_Join]:
    """Return the joins of FROM with a condition or a side, also those in brackets."""
    around = outer_brackets(source)
    found: list[_Join] = []
    for i in outer_tokens(source, first, last):
        if source.word(i) != "join":
            continue
        start = i
        while start > first and source.word(start - 1) in JOIN_SIDES:
            start -= 1
        words = tuple(source.word(k) for k in range(start, i) if source.word(k) != "outer")
        limit = source.partner[around[i]] if around[i] >= first else last
        on = _next(source, i + 1, limit, "on")
        end = _next(source, on + 1, limit, "")
        found.append(_Join(start, i, on, end, around[i], words))
    return found


def _next(source: Source, i: int, limit: int, word: str) -> int:
    """Return the next ``on``, or where the condition ends: at a comma or another join."""
    while i < limit and not source.mark(i, ",") and not join_at(source, i):
        if word and source.word(i) == word:
            return i
        i = source.skip(i)
    return limit if word else i


def _check(source: Source, join: _Join, joins: Sequence[_Join], call: int) -> None:
    """Refuse a call on which it would hang which rows find no match."""
    barred = [join] if join.words not in _INNER else []
    barred += [
        other
        for other in joins  # those of brackets that open later fill none of these rows
        if other.opened < join.at < other.at and set(other.words) & set(_FULL)
    ]
    if join.opened >= 0:  # the brackets may be the side of another join that is filled with NULL
        barred += [other for other in joins if other.words not in _FILTERS]
    if not barred:
        return
    words = " ".join(word.upper() for word in barred[0].words)
    name = source.tokens[call].name
    raise source.refuse(
        f"a call of the oracle {name} in ON is supported for inner joins only: which rows of a "
        f"{words} JOIN find no match is not known before all pairs are labelled. Find the pairs "
        f"first: WITH pairs AS (SELECT a.id, b.id AS other FROM a JOIN b ON {name}(...)) SELECT "
        f"... FROM a {words} JOIN pairs USING (id).", call, source.skip(call + 1),
    )  # fmt: skip


def _without(source: Source, join: _Join, kept: Sequence[Node]) -> list[Edit]:
    """Take the calls out of a condition; without any other it is a cross join."""
    if kept:
        return [Edit(join.on + 1, join.end, _joined(source, kept, source.tokens[join.on]))]
    cross = put("CROSS JOIN", source.tokens[join.start], source.tokens[join.at])
    return [Edit(join.start, join.at + 1, cross), Edit(join.on, join.end)]


def _where(
    source: Source,
    moved: Sequence[Node],
    where: tuple[int, int] | None,
    last: int,
    called: Callable[[Source, int], bool],
) -> list[Edit]:
    """Add conditions to WHERE."""
    if where is None:
        at = source.tokens[moved[0].first]
        return [Edit(last, last, [*put("WHERE", at), *_joined(source, moved, at)])]
    first, last = where[0] + 1, where[1]
    if first >= last:
        raise source.error("WHERE needs a condition", where[0])
    before, after = source.tokens[first], source.tokens[last - 1]
    written = parse_condition(source, first, last, lambda i: called(source, i))
    added = [*put("AND", after), *_joined(source, moved, after)]
    if written.kind != "or":
        return [Edit(last, last, added)]
    return [Edit(first, first, put("(", before)), Edit(last, last, [*put(")", after), *added])]


def _joined(source: Source, parts: Sequence[Node], at: Token) -> list[Token]:
    """Write conditions joined by AND."""
    written: list[Token] = []
    for part in parts:
        tokens = source.tokens[part.first : part.last]
        if part.kind == "or":
            tokens = [*put("(", tokens[0]), *tokens, *put(")", tokens[-1])]
        written += [*(put("AND", at) if written else []), *tokens]
    return written
