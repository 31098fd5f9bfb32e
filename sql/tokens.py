"""SQL text to tokens with their places, so that every piece of it can be handed on as written.

DuckDB names an unaliased column after the text of its expression and knows syntax that no other
parser knows. The front end therefore never prints a parsed tree: it cuts the user's text at
tokens and puts the pieces together again. For the same reason the tokens are cut by the rules of
DuckDB's own lexer (nested comments, dollar quotes, operators by longest match).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from thresher.errors import NotSupportedError, ProgrammingError
from thresher.plan import Place

__all__ = [
    "RESERVED",
    "Source",
    "Token",
    "comment_end",
    "identifier",
    "literal",
    "quoted",
    "tokenize",
    "unquoted",
]

Kind = Literal["word", "quoted", "string", "number", "parameter", "operator", "mark", "broken"]

_PATTERN = re.compile(
    r"""
    (?P<space>    \s+ | --[^\r\n]* )
  | (?P<comment>  /\* )
  | (?P<string>   [eE]'(?:[^'\\]|\\.|'')*' | (?:[xXbB])?'(?:[^']|'')*'
                | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
  | (?P<quoted>   "(?:[^"]|"")*" )
  | (?P<number>   (?: (?:\d[\d_]*)?\.\d[\d_]* | \d[\d_]*(?:\.(?!\.))? ) (?:[eE][+-]?\d+)? )
  | (?P<word>     [^\W\d][\w$]* )
  | (?P<parameter> \? | \$\w+ )
  | (?P<broken>   ['"].* )
  | (?P<mark>     :: | := | [()\[\]{},;:.#] )
  | (?P<operator> [~!@^&|`+\-*/%<>=]+ )
  | (?P<other>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_MAY_END_IN_SIGN = re.compile(r"[~!@^&|`%]")
_KEYWORDS = """
    all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by
    case cast check collate collation column columns concurrently constraint create cross default
    deferrable desc describe distinct do else end except false fetch for foreign freeze from full
    generated glob group having ilike in initially inner intersect into is isnull join lambda
    lateral leading left like limit map natural not notnull null offset on only or order outer
    overlaps pivot pivot_longer pivot_wider placing positional primary qualify references
    returning right select semi show similar some struct summarize symmetric table tablesample
    then to trailing true try_cast union unique unpack unpivot using variadic verbose when where
    window with
"""
RESERVED = frozenset(_KEYWORDS.split())
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
_WORDLIKE = re.compile(r"[\w$'\"]")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CLOSES = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `text` is what goes into lowered SQL, `start:end` where it stood.

    `word` is the lower-case text of an unquoted word, else empty. `value` is the Python value of
    a bound parameter.
    """

    kind: Kind
    text: str
    start: int
    end: int
    word: str = ""
    value: object = None

    @property
    def name(self) -> str:
        """The identifier that it writes, without quotes."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text

    @property
    def is_name(self) -> bool:
        """Whether it is a word or a quoted identifier."""
        return self.kind in ("word", "quoted")


def tokenize(sql: str) -> list[Token]:
    """Cut SQL text into tokens; text that never ends becomes one ``broken`` token."""
    tokens: list[Token] = []
    at = 0
    while at < len(sql):
        match = _PATTERN.match(sql, at)
        kind, end = (match.lastgroup, match.end()) if match else ("other", at + 1)
        if kind == "comment":
            at, closed = comment_end(sql, at)
            if not closed:
                tokens.append(Token("broken", "/*", len(sql) - 1, len(sql)))
            continue
        if kind != "space":
            tokens.append(_token(sql, at, end, "string" if kind == "tag" else kind))
            end = tokens[-1].end
        at = end
    return tokens


def _token(sql: str, start: int, end: int, kind: str | None) -> Token:
    if kind == "operator":
        end = start + len(_operator(sql[start:end]))
    text = sql[start:end]
    match kind:
        case "word":
            return Token("word", text, start, end, text.lower())
        case "string" | "quoted" | "number" | "parameter" | "operator" | "mark" | "broken":
            return Token(kind, text, start, end)
        case _:
            return Token("mark", text, start, end)


def _operator(run: str) -> str:
    """Cut a run of operator characters as PostgreSQL's lexer does."""
    for comment in ("--", "/*"):
        if (at := run.find(comment)) > 0:
            run = run[:at]
    while len(run) > 1 and run[-1] in "+-" and not _MAY_END_IN_SIGN.search(run):
        run = run[:-1]
    return run


def comment_end(sql: str, start: int) -> tuple[int, bool]:
    """Return where a nested block comment ends, and whether it does."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end(), True
    return len(sql), False


def _between(before: str, after: str) -> str:
    """Keep apart what was apart before one of the two was written anew, as ``)OR`` was."""
    return " " if _WORDLIKE.match(before[-1:]) and _WORDLIKE.match(after) else ""


def identifier(name: str) -> str:
    """Write a name as a SQL identifier, quoted unless it is plain lower case and no keyword."""
    return name if _PLAIN.match(name) and name not in RESERVED else quoted(name)


def quoted(name: str) -> str:
    """Write a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write a text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def unquoted(text: str) -> str:
    r"""Return the value of a string literal.

    Examples
    --------
    >>> [unquoted(text) for text in ("'it''s'", r"E'a\nb'", "$x$as it is$x$")]
    ["it's", 'a\nb', 'as it is']
    """
    if text.startswith("$"):
        edge = text.index("$", 1) + 1
        return text[edge:-edge]
    if text[0] in "eE":
        return _escaped(text[2:-1])
    return text[text.index("'") + 1 : -1].replace("''", "'")


def _escaped(text: str) -> str:
    """Resolve the escapes of ``E'...'``."""
    out, i = [], 0
    while i < len(text):
        if text[i] == "\\" and i + 1 < len(text):
            out.append(_ESCAPES.get(text[i + 1], text[i + 1]))
            i += 2
        else:
            out.append(text[i])
            i += 2 if text.startswith("''", i) else 1
    return "".join(out)


def _partners(tokens: Sequence[Token]) -> list[int]:
    """Return for each token the index of its partner bracket, -1 where it has none."""
    partners, stack = [-1] * len(tokens), []
    for i, token in enumerate(tokens):
        if token.kind != "mark":
            continue
        if token.text in "([{":
            stack.append(i)
        elif token.text in _CLOSES and stack and tokens[stack[-1]].text == _CLOSES[token.text]:
            partners[i] = stack.pop()
            partners[partners[i]] = i
    return partners


class Source:
    """A statement as the user wrote it, cut into tokens.

    Parameters
    ----------
    sql : str
        The text; all places are offsets into it.
    tokens : list of Token
        Its tokens, with parameters bound.
    """

    def __init__(self, sql: str, tokens: list[Token]) -> None:
        self.sql, self.tokens = sql, tokens
        self.partner = _partners(tokens)

    def word(self, i: int) -> str:
        """Return the lower-case word at a token, or an empty string."""
        return self.tokens[i].word if 0 <= i < len(self.tokens) else ""

    def words(self, i: int, *expected: str) -> bool:
        """Whether these words stand at a token."""
        return all(self.word(i + k) == word for k, word in enumerate(expected))

    def mark(self, i: int, text: str) -> bool:
        """Whether this bracket, comma, dot... stands at a token."""
        token = self.tokens[i] if 0 <= i < len(self.tokens) else None
        return token is not None and token.kind == "mark" and token.text == text

    def skip(self, i: int) -> int:
        """Return the token after this one, or after the brackets that open here."""
        return (self.partner[i] if self.partner[i] > i else i) + 1

    def split(self, first: int, last: int, mark: str = ",") -> list[tuple[int, int]]:
        """Cut tokens ``first:last`` at a mark outside brackets; one at the end cuts nothing."""
        pieces, start, i = [], first, first
        while i < last:
            if self.mark(i, mark):
                pieces.append((start, i))
                start = i + 1
            i = self.skip(i)
        return [*pieces, (start, last)] if start < last else pieces

    def text(
        self, first: int, last: int, swaps: Mapping[tuple[int, int], str] | None = None
    ) -> str:
        """Write tokens ``first:last`` as SQL without comments.

        Parameters
        ----------
        first, last : int
            Token indexes, `last` excluded.
        swaps : mapping of (int, int) to str, optional
            What to write instead of tokens ``a:b``; ranges must not overlap.
        """
        starts = {a: (b, text) for (a, b), text in (swaps or {}).items()}
        written: list[str] = []
        i = first
        while i < last:
            end, piece = starts.get(i, (i + 1, self.tokens[i].text))
            if written:
                written.append(self._gap(i - 1, i) or _between(written[-1], piece))
            written.append(piece)
            i = end
        return "".join(written)

    def folded(self, first: int, last: int) -> str:
        """Write tokens ``first:last`` so that equal expressions are written alike."""
        return " ".join(token.word or token.text for token in self.tokens[first:last])

    def place(self, first: int, last: int) -> Place:
        """Return where tokens ``first:last`` stand in the text."""
        if first >= len(self.tokens):
            end = self.tokens[-1].end if self.tokens else 0
            return Place(end, 1)
        start, end = self.tokens[first].start, min(last, len(self.tokens)) - 1
        return Place(start, max(1, self.tokens[max(first, end)].end - start))

    def error(self, message: str, first: int, last: int | None = None) -> ProgrammingError:
        """Make an error with a caret under tokens ``first:last``."""
        place = self.place(first, first + 1 if last is None else last)
        return ProgrammingError(message, sql=self.sql, offset=place.offset, length=place.length)

    def refuse(self, message: str, first: int, last: int | None = None) -> NotSupportedError:
        """Make a refusal with a caret under tokens ``first:last``."""
        place = self.place(first, first + 1 if last is None else last)
        return NotSupportedError(message, sql=self.sql, offset=place.offset, length=place.length)

    def _gap(self, before: int, after: int) -> str:
        """White space between neighbours; a line break stays, it joins ``'a'`` and ``'b'``."""
        one, two = self.tokens[before], self.tokens[after]
        moved = two.start < one.end  # put in for something else, or moved
        if moved or one.start == one.end or two.start == two.end:
            called = moved and one.is_name and two.text == "("
            tight = one.text in ("(", ".") or two.text in (",", ")", ".")
            return "" if tight or called else " "
        gap = self.sql[one.end : two.start]
        return "" if not gap else "\n" if "\n" in gap else " "
