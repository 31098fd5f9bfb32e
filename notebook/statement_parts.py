"""What surrounds a place in SQL that may be half written: section, relations, the words before."""

from __future__ import annotations

from dataclasses import dataclass, field

from thresher.sql.blocks import operand_ends, section_at
from thresher.sql.clause_heads import head_at
from thresher.sql.tokens import Source, Token, tokenize

__all__ = ["Part", "part_at"]

_RELATION_WORDS = ("from", "join", "into", "update", "table")
_KEYWORDS = """
    on using where join left right full inner cross natural semi anti asof positional group order
    limit having qualify window union intersect except select set values recall precision accuracy
    error with oracle budget seed assuming at confidence tablesample offset fetch gap lateral
"""
_NO_ALIAS = frozenset(_KEYWORDS.split())


@dataclass(frozen=True, slots=True)
class Part:
    """What stands before a place, and what the whole statement names.

    Parameters
    ----------
    before : tuple of str
        Tokens of the statement before the place.
    words : tuple of str
        Those that are words, in lower case.
    depth : int
        Brackets that are open.
    section : str
        ``select``, ``from``, ``where``, ...; ``on``; behind a clause of ours ``using``, ``budget``,
        ``assuming`` or ``clause``; empty outside a query.
    ended : bool
        Whether an expression may end before the place.
    qualifier : str or None
        The name before a dot right before the place.
    relations : dict of str to str
        Relations of the query blocks, by alias or name in lower case.
    ctes : tuple of str
        Names that WITH gives.
    clauses : frozenset of str
        Clauses of ours that the statement has.
    awaited : str
        The clause of ours whose value begins at the place; empty where none does.
    call : str
        The function, in lower case, in whose brackets the place is.
    in_list : bool
        Whether the place is in square brackets.
    """

    before: tuple[str, ...]
    words: tuple[str, ...]
    depth: int = 0
    section: str = ""
    ended: bool = False
    qualifier: str | None = None
    relations: dict[str, str] = field(default_factory=dict)
    ctes: tuple[str, ...] = ()
    clauses: frozenset[str] = frozenset()
    awaited: str = ""
    call: str = ""
    in_list: bool = False

    @property
    def first(self) -> str:
        """The first token as it is written."""
        return self.before[0] if self.before else ""

    @property
    def last_word(self) -> str:
        """The last token in lower case, if it is a word."""
        last = self.before[-1].lower() if self.before else ""
        return last if self.words and self.words[-1] == last else ""

    @property
    def last_two(self) -> tuple[str, ...]:
        """The last two tokens in lower case."""
        return tuple(token.lower() for token in self.before[-2:])

    @property
    def wants_relation(self) -> bool:
        """Whether a relation comes next."""
        return self.last_word in _RELATION_WORDS or (
            self.section == "from" and self.before[-1:] == (",",)
        )

    @property
    def begins_item(self) -> bool:
        """Whether an item of a list in brackets begins."""
        return self.before[-1:] in (("(",), (",",))

    @property
    def after_number(self) -> bool:
        """Whether a number stands right before."""
        return bool(self.before) and self.before[-1][:1].isdigit()


def part_at(sql: str, place: int) -> Part | None:
    """Return what surrounds an offset of a script; None inside a string, quoted name or comment.

    Examples
    --------
    >>> part = part_at("SELECT 1; SELECT  FROM t AS u, v.w WHERE x", 17)
    >>> part.section, part.relations
    ('select', {'u': 't', 'w': 'v.w'})
    """
    tokens = tokenize(sql)
    for token in tokens:
        if token.start < place < token.end or (token.kind == "broken" and token.start < place):
            return None
    if _in_comment(sql, tokens, place):
        return None
    first = last = 0
    for i, token in enumerate(tokens):
        if token.text == ";":
            if token.end > place:
                break
            first = i + 1
        last = i + 1
    source = Source(sql, tokens[first:last])
    n_before = sum(token.end <= place for token in source.tokens)
    return _part(source, n_before)


def _in_comment(sql: str, tokens: list[Token], place: int) -> bool:
    """Whether what lies between the token before a place and the place begins a comment."""
    start = max((token.end for token in tokens if token.end <= place), default=0)
    gap = sql[start:place]
    line = gap.rpartition("\n")[2]
    return "--" in line or gap.count("/*") > gap.count("*/")


def _part(source: Source, n_before: int) -> Part:
    before = source.tokens[:n_before]
    texts = tuple(token.text for token in before)
    opened = [i for i in range(n_before) if texts[i] in ("(", "[", "{")]
    opened = [i for i in opened if not 0 <= source.partner[i] < n_before]
    calls = [i for i in opened if texts[i] == "("]
    start = opened[-1] + 1 if opened else 0
    section = _section(source, start, n_before)
    if not section and opened:  # the arguments of a call stand where the call does
        start = max((i + 1 for i in opened[:-1]), default=0)
        section = _section(source, start, n_before)
    dotted = n_before > 1 and texts[-1] == "."
    return Part(
        before=texts,
        words=tuple(token.word for token in before if token.word),
        depth=len(opened),
        section=section,
        ended=operand_ends(source, n_before - 1) and not dotted,
        qualifier=source.tokens[n_before - 2].name if dotted else None,
        relations=_relations(source),
        ctes=_ctes(source),
        clauses=frozenset(head_at(source, i)[0] for i in range(len(source.tokens))) - {""},
        awaited=_awaited(source, n_before, section),
        call=source.word(calls[-1] - 1) if calls else "",
        in_list=bool(opened) and texts[opened[-1]] == "[",
    )


def _awaited(source: Source, n_before: int, section: str) -> str:
    """Return the clause whose words, all of them, stand right before a place."""
    if section not in ("clause", "budget") and not source.words(0, "audit"):
        return ""
    for n_words in (3, 2, 1):
        first = n_before - n_words
        clause, n_found = head_at(source, first) if first >= 0 else ("", 0)
        if clause and n_found == n_words and operand_ends(source, first - 1):
            return clause
    return ""


def _section(source: Source, first: int, last: int) -> str:
    """Return the section of the block that a place at ``last`` belongs to."""
    section, i, joining = "", first, False
    while i < last:
        found, (clause, n_words) = section_at(source, i), head_at(source, i)
        if found:
            section, joining = found, False
        elif source.word(i) == "join":
            section, joining = "from", True
        elif source.word(i) in ("on", "using") and joining:
            section, joining = "on", False
        elif clause and section not in ("", "select"):
            section = clause.lower() if clause in ("USING", "BUDGET", "ASSUMING") else "clause"
            i += n_words - 1  # the LIMIT of ORACLE LIMIT begins no section
        i = source.skip(i)
    return section


def _relations(source: Source) -> dict[str, str]:
    """Return the relations of all FROM and JOIN, by alias."""
    found: dict[str, str] = {}
    for i, token in enumerate(source.tokens):
        if token.word not in ("from", "join"):
            continue
        at = i + 1
        while at < len(source.tokens):
            at = _relation(source, at, found)
            if token.word == "join" or not source.mark(at, ","):
                break
            at += 1
    return found


def _relation(source: Source, at: int, found: dict[str, str]) -> int:
    """Read one relation with its alias; returns the token after it."""
    token, start, name = source.tokens[at], at, ""
    if source.mark(at, "("):
        at = source.skip(at)
    elif token.kind == "string":
        at += 1
    elif token.is_name and token.word not in _NO_ALIAS:
        name, at = token.name, at + 1
        while source.mark(at, ".") and at + 1 < len(source.tokens):
            name, at = source.tokens[at + 1].name, at + 2
        if source.mark(at, "("):
            at = source.skip(at)
    else:
        return at
    written = source.text(start, at)
    if source.word(at) == "as":
        at += 1
    if at < len(source.tokens):
        alias = source.tokens[at]
        if alias.is_name and alias.word not in _NO_ALIAS:
            name, at = alias.name, at + 1
    if name or token.kind == "string":
        found[name.lower()] = written
    return at


def _ctes(source: Source) -> tuple[str, ...]:
    """Return the names before ``AS (`` of a query that begins with WITH."""
    if source.word(0) != "with":
        return ()
    return tuple(
        source.tokens[i - 1].name
        for i in range(1, len(source.tokens) - 1)
        if source.word(i) == "as" and source.mark(i + 1, "(") and source.tokens[i - 1].is_name
    )
