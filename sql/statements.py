"""Script to statements, and statement to plan: what is ours is parsed, the rest goes to DuckDB."""

from __future__ import annotations

import re
from dataclasses import dataclass

from thresher.errors import ProgrammingError, nearest
from thresher.plan import Composed, Explain, Passthrough, SelectionQuery, Statement
from thresher.sql.audits import is_audit, parse_audit
from thresher.sql.binder import bind_query
from thresher.sql.call_forms import BEFORE_NAMES, macro_call_at, plain_calls
from thresher.sql.clauses import clause_name, find_clause, find_tail
from thresher.sql.declarations import is_declaration, parse_declaration
from thresher.sql.foreign import is_foreign, may_be_foreign, rewrite, with_notes
from thresher.sql.formula import call_at
from thresher.sql.names import Names
from thresher.sql.nesting import Nesting
from thresher.sql.parameters import Parameters, bind, with_values
from thresher.sql.prepared import parse_prepare
from thresher.sql.tokens import Source, Token, comment_end, tokenize

__all__ = ["Fragment", "parse", "split"]

# What can hide a semicolon; words matter only where they end before a quote.
_EDGES = re.compile(
    r"""--[^\r\n]*|/\*|;|(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"
      |(?<![\w$])\$((?:[^\W\d]\w*)?)\$.*?\$\1\$|['"].*""",
    re.VERBOSE | re.DOTALL,
)
_OURS = """
    thresher_ oracle proxy proxies certificate target probability confidence shortfall within seed
    budget assuming using
"""
_BLOCK = ("select", "from", "with")
_STATEMENTS = """
    select insert update delete create copy merge alter call comment describe summarize pivot
    unpivot explain prepare execute set show values table attach export import
"""
_VERBS = _STATEMENTS.split()
_OVER_QUERIES = ("describe", "desc", "summarize")


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
    comments: list[tuple[int, int]] = []
    start = at = 0
    while match := _EDGES.search(script, at):
        at = match.end()
        piece = match.group()
        if piece == ";":
            fragments.append(_trim(script, start, match.start(), comments))
            start, comments = at, []
        elif piece == "/*":
            at, closed = comment_end(script, match.start())
            comments += [(match.start(), at)] if closed else []
        elif piece.startswith("--"):
            comments.append((match.start(), at))
    fragments.append(_trim(script, start, len(script), comments))
    return [fragment for fragment in fragments if fragment.text]


def _trim(script: str, start: int, end: int, comments: list[tuple[int, int]]) -> Fragment:
    """Take white space and comments off both sides of ``script[start:end]``."""
    for first, last in comments:
        if not script[start:first].strip():
            start = last
    for first, last in reversed(comments):
        if first >= start and not script[last:end].strip():
            end = first
    text = script[start:end].rstrip()
    return Fragment(text.lstrip(), end - len(script[start:end].lstrip()))


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
    try:
        return _parsed(text, names, parameters)
    except RecursionError:
        raise ProgrammingError(
            "the statement is nested too deeply: write fewer brackets or NOTs inside one another",
            sql=text,
            offset=0,
        ) from None


def _parsed(text: str, names: Names, parameters: Parameters) -> Statement:
    oracles = frozenset(name.lower() for name in names.oracle_names())
    if not (_may_be_ours(text, oracles) or may_be_foreign(text, names)):
        return Passthrough(text)
    tokens = tokenize(text)
    if tokens and tokens[-1].kind == "mark" and tokens[-1].text == ";":
        tokens.pop()
    if not tokens or any(token.kind == "broken" for token in tokens):
        return Passthrough(text)
    raw = Source(text, plain_calls(Source(text, tokens), names))
    first, analyze, form = _explained(raw)
    _refuse_macro(raw, oracles)
    if not (_is_ours(raw, first, oracles) or is_foreign(raw, first, names)):
        return Passthrough(text)
    if (prepared := parse_prepare(raw)) is not None:
        if all(token.kind != "parameter" for token in tokens):
            parse(prepared.statement, names)  # a mistake shows now; parameters are bound later
        return prepared
    source = Source(text, bind(text, tokens, parameters))
    source = Source(text, plain_calls(source, names))
    if is_audit(source):
        return parse_audit(source)
    if first == 0 and (made := parse_declaration(source, names)) is not None:
        kept = with_values(text, source.tokens)  # is read again without its parameters
        return made if kept == text else _parsed(kept, names, None)
    source, understood = rewrite(source, first, names)
    query = with_notes(_query(source, first, names, oracles), understood)
    if form not in ("text", "json"):
        at = next(i for i in range(first) if source.words(i, "format"))
        raise source.error(f"EXPLAIN knows FORMAT text and json, not {form}", at + 1)
    return Explain(text, query, analyze, form == "json") if first else query


def _query(
    source: Source, first: int, names: Names, oracles: frozenset[str]
) -> SelectionQuery | Composed:
    """Bind a statement with oracle calls or clauses, and the blocks inside it."""
    nesting = Nesting(source.sql, names)
    outer = Source(source.sql, nesting.statement(_as_relation(source.tokens[first:])))
    found = _left(outer, oracles)
    selects = outer.word(0) in _BLOCK or outer.mark(0, "(")
    if found is not None and not selects:
        if outer.word(0) not in _VERBS:
            written = outer.text(0, 1)
            raise outer.error(f"unknown statement {written}.{nearest(written, _VERBS)}", 0)
        what = clause_name(outer, found) or f"a call of the oracle {outer.tokens[found].name}"
        raise outer.refuse(
            f"{what} in {outer.text(0, 1).upper()} is not supported outside a SELECT. Write it "
            "into a SELECT: INSERT INTO ... SELECT, CREATE TABLE ... AS SELECT, or "
            "WHERE key IN (SELECT key FROM ... WHERE ...).",
            found,
            found + (2 if clause_name(outer, found) else 1),
        )
    bound = bind_query(outer, 0, names) if found is not None else None
    if not nesting.blocks:
        return bound or bind_query(outer, 0, names)
    whole = bound or outer.text(0, len(outer.tokens))
    described = source.word(first) in ("describe", "desc")
    return Composed(source.sql, tuple(nesting.blocks), whole, described)


def _as_relation(tokens: list[Token]) -> list[Token]:
    """Write ``DESCRIBE SELECT ...`` and ``SUMMARIZE SELECT ...`` over the query in brackets."""
    if tokens[0].word not in _OVER_QUERIES or len(tokens) < 2 or tokens[1].word not in _BLOCK:
        return tokens
    at, end = tokens[1].start, tokens[-1].end
    head = [Token("word", word, at, at, word.lower()) for word in ("SELECT", "FROM")]
    head.insert(1, Token("operator", "*", at, at))
    opened, closed = Token("mark", "(", at, at), Token("mark", ")", end, end)
    return [tokens[0], *head, opened, *tokens[1:], closed]


def _left(source: Source, oracles: frozenset[str]) -> int | None:
    """Return the first oracle call or clause of a statement without its inner blocks."""
    n = len(source.tokens)
    call = next(
        (i for i in range(n) if call_at(source, i, oracles) and not _names_it(source, i)), None
    )
    if source.word(0) in _BLOCK or source.mark(0, "("):
        tail = find_tail(source, 0, n, ours=call is not None)
        if tail < n:
            return tail
    return find_clause(source, 0, n) if call is None else call


def _refuse_macro(source: Source, oracles: frozenset[str]) -> None:
    """Refuse a macro that calls an oracle: DuckDB expands it where nothing is labelled."""
    at = macro_call_at(source, oracles)
    if at is None:
        return
    call = source.text(at, source.skip(at + 1))
    raise source.refuse(
        f"a macro cannot call the oracle {source.tokens[at].name}: DuckDB expands a macro after "
        f"oracle calls were answered. Write {call} itself into the query, or make the condition "
        "the oracle's own: CREATE ORACLE ... with another prompt or function.",
        at,
        source.skip(at + 1),
    )


def _may_be_ours(text: str, oracles: frozenset[str]) -> bool:
    """Whether a word of ours occurs at all, maybe in a string; made for statements of megabytes."""
    lowered = text.lower()
    if any(word in lowered for word in _OURS.split()):
        return True
    names = [re.escape(name) for name in oracles if name in lowered]
    calls = rf"(?<![\w$])(?:{'|'.join(names)})\"?\s*(?:\(|--|/\*)"
    return bool(names) and re.search(calls, lowered) is not None


def _explained(source: Source) -> tuple[int, bool, str]:
    """Where the statement under EXPLAIN begins (0 without), whether it is ANALYZE, the format.

    As DuckDB writes it: ``EXPLAIN [ANALYZE]``, ``EXPLAIN (ANALYZE, FORMAT json)``.
    """
    if not source.words(0, "explain"):
        return 0, False, "text"
    analyze = source.word(1) in ("analyze", "analyse")
    at, form = 1 + analyze, "text"
    if source.mark(at, "(") and source.word(at + 1) in ("format", "analyze", "analyse"):
        for a, b in source.split(at + 1, source.partner[at]):
            analyze |= source.word(a) in ("analyze", "analyse") and b == a + 1
            if source.word(a) == "format":
                form = source.tokens[b - 1].text.strip("'").lower()
        at = source.skip(at)
    return at, analyze, form


def _is_ours(source: Source, first: int, oracles: frozenset[str]) -> bool:
    """Whether a statement needs the engine; everything else must reach DuckDB as it is."""
    if first == 0 and (is_declaration(source) or is_audit(source)):
        return True
    n = len(source.tokens)
    call = next((i for i in range(first, n) if call_at(source, i, oracles)), None)
    if source.word(first) in _BLOCK or source.mark(first, "("):
        tail = find_tail(source, first, n, ours=call is not None)
        return call is not None or tail < n or find_clause(source, first, n) is not None
    return find_clause(source, first, n) is not None or (
        call is not None and not _names_it(source, call)
    )


def _names_it(source: Source, i: int) -> bool:
    """Whether a name before parentheses is a table, macro or index rather than a call."""
    return source.word(i - 1) in BEFORE_NAMES
