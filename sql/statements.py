"""Script to statements, and statement to plan: what is ours is parsed, the rest goes to DuckDB."""

from __future__ import annotations

import re
from dataclasses import dataclass

from thresher.plan import Explain, Passthrough, Statement
from thresher.sql.binder import bind_query
from thresher.sql.clauses import clause_name, find_clause, find_tail
from thresher.sql.declarations import is_declaration, parse_declaration
from thresher.sql.formula import call_at
from thresher.sql.names import Names
from thresher.sql.parameters import Parameters, bind
from thresher.sql.tokens import Source, comment_end, tokenize

__all__ = ["Fragment", "parse", "split"]

# What can hide a semicolon; words matter only where they end before a quote.
_EDGES = re.compile(
    r"""--[^\r\n]*|/\*|;|(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"
      |(?<![\w$])\$((?:[^\W\d]\w*)?)\$.*?\$\1\$|['"].*""",
    re.VERBOSE | re.DOTALL,
)
_OURS = re.compile(
    r"thresher_|oracle|prox(y|ies)|certificates|target|precision|accuracy|probability|confidence"
    r"|shortfall|within|seed|budget|assuming|using",
    re.IGNORECASE,
)
_BLANK = re.compile(r"(?:\s|--[^\r\n]*(?:[\r\n]|\Z))*")
_QUERY = ("select", "from", "with")
_BEFORE_NAMES = "table into macro function exists view index on references copy type schema"


@dataclass(frozen=True, slots=True)
class Fragment:
    """One statement of a script, without its semicolon, and its offset in the script."""

    text: str
    offset: int


def split(script: str) -> list[Fragment]:
    r"""Cut a script at the semicolons outside strings, quoted names and comments.

    Parameters
    ----------
    script : str
        SQL text.

    Returns
    -------
    list of Fragment
        Statements in order, without comments and white space round them; empty ones are dropped.

    Examples
    --------
    >>> [fragment.text for fragment in split("SELECT ';'; -- done;\n SELECT 2;")]
    ["SELECT ';'", 'SELECT 2']
    """
    fragments: list[Fragment] = []
    start = at = last = 0
    while match := _EDGES.search(script, at):
        at = match.end()
        piece = match.group()
        if piece == ";":
            fragments.append(_trim(script, start, match.start()))
            start = at
        elif piece == "/*":
            at, _ = comment_end(script, match.start())
        last = at
    fragments.append(_trim(script, start, max(last, len(script))))
    return [fragment for fragment in fragments if fragment.text]


def _trim(script: str, start: int, end: int) -> Fragment:
    """Take off what says nothing on either side."""
    while start < end:
        blank = _BLANK.match(script, start, end)
        start = blank.end() if blank else start
        if not script.startswith("/*", start, end):
            break
        start = comment_end(script, start)[0]
    if start >= end:
        return Fragment("", end)
    text = script[start:end].rstrip()
    if "--" in text or text.endswith("*/"):
        tokens = tokenize(text)
        text = text if not tokens or tokens[-1].kind == "broken" else text[: tokens[-1].end]
    return Fragment(text, start)


def parse(text: str, names: Names, parameters: Parameters = None) -> Statement:
    """Parse one statement and bind it to what is declared.

    Parameters
    ----------
    text : str
        One statement.
    names : Names
        Declared oracles, proxies and settings.
    parameters : sequence or mapping, optional
        Values of ``?``, ``$1`` or ``$name``.

    Returns
    -------
    Statement
        `Passthrough` for everything that is DuckDB's: that text is not parsed at all.

    Raises
    ------
    ProgrammingError
        A statement of ours is wrong, or its parameters do not fit.
    NotSupportedError
        It makes sense but cannot be answered yet.
    """
    oracles = frozenset(name.lower() for name in names.oracle_names())
    lowered = text.lower()
    if not _OURS.search(text) and not any(name in lowered for name in oracles):
        return Passthrough(text)
    tokens = tokenize(text)
    if tokens and tokens[-1].kind == "mark" and tokens[-1].text == ";":
        tokens.pop()
    if not tokens or any(token.kind == "broken" for token in tokens):
        return Passthrough(text)
    raw = Source(text, tokens)
    first, analyze = _explained(raw)
    if not _is_ours(raw, first, oracles):
        return Passthrough(text)
    source = Source(text, bind(text, tokens, parameters))
    if first == 0 and (made := parse_declaration(source, names)) is not None:
        return made
    query = bind_query(source, first, names)
    return Explain(text, query, analyze) if first else query


def _explained(source: Source) -> tuple[int, bool]:
    """Where the statement under EXPLAIN begins (0 without EXPLAIN), and whether it is ANALYZE."""
    if not source.words(0, "explain"):
        return 0, False
    return (2, True) if source.words(1, "analyze") else (1, False)


def _is_ours(source: Source, first: int, oracles: frozenset[str]) -> bool:
    """Whether a statement needs the engine; everything else must reach DuckDB as it is.

    Raises
    ------
    NotSupportedError
        Oracle calls or clauses in a statement that is no SELECT.
    """
    if first == 0 and is_declaration(source):
        return True
    n = len(source.tokens)
    call = next((i for i in range(first, n) if call_at(source, i, oracles)), None)
    if source.word(first) in _QUERY or source.mark(first, "("):
        tail = find_tail(source, first, n, ours=call is not None)
        return call is not None or tail < n or find_clause(source, first, n) is not None
    found = find_clause(source, first, n)
    if found is None and call is not None and not _names_it(source, call):
        found = call
    if found is None:
        return False
    what = clause_name(source, found) or f"a call of the oracle {source.tokens[found].name}"
    head = source.text(0, min(2, n)).upper()
    raise source.refuse(
        f"{what} in {head} is not supported yet. Run the SELECT on its own and use its rows.",
        found,
        found + (2 if clause_name(source, found) else 1),
    )


def _names_it(source: Source, i: int) -> bool:
    """Whether a name before parentheses is a table, macro or index rather than a call."""
    return source.word(i - 1) in _BEFORE_NAMES.split()
