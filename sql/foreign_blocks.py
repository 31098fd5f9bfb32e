"""Changing the tokens of query blocks: tokens put in keep the place of what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from thresher.sql.blocks import after_ctes, section_at, set_operation_at
from thresher.sql.tokens import Source, Token, tokenize

__all__ = ["Edit", "edited", "in_blocks", "outer_brackets", "put", "sections"]

Change = Callable[[Source, str], list[Token]]
_BEGINS = ("select", "from", "with")


@dataclass(frozen=True, slots=True)
class Edit:
    """Tokens that take the place of tokens ``first:last``; none are taken out if both are equal."""

    first: int
    last: int
    tokens: Sequence[Token] = ()


def put(sql: str, first: Token, last: Token | None = None) -> list[Token]:
    """Cut SQL text into tokens that stand where the user wrote `first` up to `last`.

    Examples
    --------
    >>> from thresher.sql.tokens import tokenize
    >>> [written] = tokenize("RECALL_TARGET")
    >>> [(token.text, token.start, token.end) for token in put("RECALL TARGET", written)]
    [('RECALL', 0, 13), ('TARGET', 0, 13)]
    """
    end = (last or first).end
    return [replace(token, start=first.start, end=end) for token in tokenize(sql)]


def edited(source: Source, edits: Iterable[Edit]) -> list[Token]:
    """Return the tokens with some changed; edits must not overlap."""
    written: list[Token] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.first, edit.last)):
        written += [*source.tokens[at : edit.first], *edit.tokens]
        at = edit.last
    return [*written, *source.tokens[at:]]


def in_blocks(
    sql: str, tokens: Sequence[Token], change: Change, scope: Sequence[str] = ()
) -> list[Token]:
    """Change every query block of a statement, inner ones first.

    Parameters
    ----------
    sql : str
        The statement as written.
    tokens : sequence of Token
        The statement, or what stands in brackets of it.
    change : callable
        Takes one block, from SELECT or FROM to its clauses and without ``WITH ...`` before it, and
        the CTEs that it may name as ``WITH ...``; returns the new tokens of the block.
    scope : sequence of str
        The CTEs that the tokens may name, each as ``name AS (...)``.
    """
    source = Source(sql, list(tokens))
    items = _ctes(source)
    written: list[Token] = []
    i = 0
    while i < len(source.tokens):
        end = source.partner[i]
        if source.mark(i, "(") and end > i:
            inner = source.tokens[i + 1 : end]
            if any(token.word in _BEGINS for token in inner):  # else no query can be inside
                before = [source.text(a, b) for a, b in items if b <= i]
                inner = in_blocks(sql, inner, change, [*scope, *before])
            written += [source.tokens[i], *inner, source.tokens[end]]
            i = end + 1
            continue
        written.append(source.tokens[i])
        i += 1
    known = [*scope, *(source.text(a, b) for a, b in items)]
    ctes = f"WITH {', '.join(known)} " if known else ""
    source = Source(sql, written)
    edits = []
    for first, last in _branches(source):
        block = Source(sql, source.tokens[first:last])
        if section_at(block, 0) in ("select", "from"):
            edits.append(Edit(first, last, change(block, ctes)))
    return edited(source, edits)


def _ctes(source: Source) -> list[tuple[int, int]]:
    """Return the token ranges of the CTEs of the query at bracket depth 0."""
    start = _query(source)
    if start is None or source.word(start) != "with":
        return []
    first = start + 1 + (source.word(start + 1) == "recursive")
    return source.split(first, after_ctes(source, start, len(source.tokens)))


def _branches(source: Source) -> list[tuple[int, int]]:
    """Return the branches of the query at bracket depth 0, if one stands there."""
    n = len(source.tokens)
    start = _query(source)
    if start is None:
        return []
    start = i = after_ctes(source, start, n)
    cuts: list[tuple[int, int]] = []
    while i < n:
        if set_operation_at(source, i):
            cuts.append((start, i))
            i += 1
            while source.word(i) in ("all", "distinct", "by", "name"):
                i += 1
            start = i
            continue
        i = source.skip(i)
    return [*cuts, (start, n)]


def _query(source: Source) -> int | None:
    """Where the query begins: at once, in brackets, or after CREATE, PREPARE ... AS and INSERT."""
    kind, i = source.word(0), 0
    if kind in _BEGINS or source.mark(0, "("):
        return 0
    if kind not in ("create", "insert", "prepare"):
        return None
    while i < len(source.tokens):
        begins = source.word(i) in _BEGINS and not source.mark(i - 1, ".")
        if begins and (kind == "insert" or source.word(i - 1) == "as"):
            return i
        i = source.skip(i)
    return None


def sections(source: Source) -> list[tuple[str, int, int]]:
    """Return the sections of a block and their token ranges, keywords included; clauses too."""
    starts: list[tuple[str, int]] = []
    i = 0
    while i < len(source.tokens):
        if found := section_at(source, i):
            starts.append((found, i))
        i = source.skip(i)
    ends = [start for _, start in starts[1:]] + [len(source.tokens)]
    return [(name, start, end) for (name, start), end in zip(starts, ends, strict=True)]


def outer_brackets(source: Source) -> list[int]:
    """Return for each token the index of the innermost bracket round it, -1 at depth 0."""
    around: list[int] = []
    stack = [-1]
    for i, partner in enumerate(source.partner):
        if 0 <= partner < i:
            stack.pop()
        around.append(stack[-1])
        if partner > i:
            stack.append(i)
    return around
