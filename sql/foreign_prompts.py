"""Prompts of other systems as arguments of an oracle: one joined text, or a text and its inputs.

What a column holds is never searched for ``{0}``: a template is filled in here, as SQL, before a
row is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thresher.sql.foreign_blocks import put
from thresher.sql.parameters import literal
from thresher.sql.tokens import Source, Token, unquoted

__all__ = ["Piece", "Prompt", "pieces_of", "prompt_of", "question", "string_value", "template"]

_PLACE = re.compile(r"\{(\d+)\}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a prompt: constant text, or an expression over a row."""

    tokens: Sequence[Token]
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an oracle is asked.

    Parameters
    ----------
    joined : sequence of Token
        One SQL expression that holds everything, for an oracle of one argument.
    text : sequence of Token
        The prompt alone, for an oracle of one argument more than there are inputs.
    inputs : tuple of sequences of Token
        The expressions over a row.
    """

    joined: Sequence[Token]
    text: Sequence[Token]
    inputs: tuple[Sequence[Token], ...]


def string_value(tokens: Sequence[Token]) -> str | None:
    """Return the text of a single string literal or bound string, else None."""
    if len(tokens) != 1:
        return None
    token = tokens[0]
    if token.kind == "parameter":
        return token.value if isinstance(token.value, str) else None
    return unquoted(token.text) if token.kind == "string" else None


def pieces_of(source: Source, first: int, last: int) -> list[Piece]:
    """Cut an expression into pieces: a row of values, CONCAT, PROMPT, or text joined by ``||``."""
    if first >= last:
        return []
    tokens = source.tokens[first:last]
    if source.mark(first, "(") and source.partner[first] == last - 1:
        inner = source.split(first + 1, last - 1)
        return [piece for item in inner for piece in pieces_of(source, *item)]
    called = source.mark(first + 1, "(") and source.partner[first + 1] == last - 1
    if called and source.word(first) == "concat":
        inner = source.split(first + 2, last - 1)
        return [piece for item in inner for piece in pieces_of(source, *item)]
    if called and source.word(first) == "prompt":
        return _filled_call(source, first, last)
    cuts = _concatenated(source, first, last)
    if len(cuts) > 1:
        return [piece for item in cuts for piece in pieces_of(source, *item)]
    return [Piece(tokens, string_value(tokens))]


def _concatenated(source: Source, first: int, last: int) -> list[tuple[int, int]]:
    """Cut at ``||`` outside brackets, unless an operator that binds more loosely stands there."""
    cuts, start, i = [], first, first
    while i < last:
        token = source.tokens[i]
        if token.kind == "operator" and token.text == "||":
            cuts.append((start, i))
            start = i + 1
        elif token.kind == "operator" or (token.word in ("and", "or", "not", "case", "is", "in")):
            return [(first, last)]
        i = source.skip(i)
    return [*cuts, (start, last)]


def _filled_call(source: Source, first: int, last: int) -> list[Piece]:
    """Fill in ``PROMPT('... {0} ...', x, ...)``."""
    items = source.split(first + 2, last - 1)
    if any(a == b for a, b in items):
        raise source.error("an argument of PROMPT is empty", first, last)
    text = string_value(source.tokens[slice(*items[0])]) if items else None
    if text is None:
        raise source.error("PROMPT takes a template in quotes first, as in PROMPT('{0}', x)", first)
    inputs = [source.tokens[a:b] for a, b in items[1:]]
    missing = [m.group() for m in _PLACE.finditer(text) if int(m.group(1)) >= len(inputs)]
    if missing:
        raise source.error(
            f"PROMPT has no value for {missing[0]}: {len(inputs)} follow the template", *items[0]
        )
    return template(text, source.tokens[items[0][0]], inputs)


def template(text: str, at: Token, inputs: Sequence[Sequence[Token]]) -> list[Piece]:
    """Cut a template at ``{0}``, ``{1}``, ... and put the inputs there."""
    pieces: list[Piece] = []
    for k, part in enumerate(_PLACE.split(text)):
        if k % 2:
            pieces.append(Piece(inputs[int(part)]))
        elif part:
            pieces.append(Piece([at], part))
    return pieces


def question(
    source: Source, asked: tuple[int, int], inputs: Sequence[tuple[str, Sequence[Token]]]
) -> Prompt:
    """Make a prompt of a question and what it is about.

    Parameters
    ----------
    source : Source
        The block.
    asked : (int, int)
        Tokens of the question.
    inputs : sequence of (str, sequence of Token)
        A name to show before the input, or an empty string; and the input.
    """
    tokens = source.tokens[slice(*asked)]
    text = string_value(tokens)
    if text is not None and _PLACE.search(text):
        n = len(inputs)
        if all(int(m.group(1)) < n for m in _PLACE.finditer(text)):
            return prompt_of(template(text, tokens[0], [value for _, value in inputs]))
    pieces = [Piece(tokens, text)]
    gap = " " if text is not None and text.rstrip()[-1:] in (".", "?", "!", ":") else ": "
    for name, value in inputs:
        pieces += [Piece(tokens[:1], f"{gap}{name}: " if name else gap), Piece(value)]
        gap = " "
    joined = _joined(pieces)
    return Prompt(joined, tokens, tuple(value for _, value in inputs))


def prompt_of(pieces: Sequence[Piece]) -> Prompt:
    """Make a prompt of pieces in order; in its text ``{0}`` stands for the first input."""
    inputs: list[Sequence[Token]] = []
    marked: list[str] = []
    for piece in pieces:
        if piece.text is None:
            marked.append(f"{{{len(inputs)}}}")
            inputs.append(piece.tokens)
        else:
            marked.append(piece.text)
    at, end = pieces[0].tokens[0], pieces[-1].tokens[-1]
    return Prompt(_joined(pieces), put(literal("".join(marked)), at, end), tuple(inputs))


def _joined(pieces: Iterable[Piece]) -> list[Token]:
    """Write pieces as one expression; neighbouring texts become one."""
    merged: list[Piece] = []
    for piece in pieces:
        before = merged[-1] if merged else None
        if before is not None and before.text is not None and piece.text is not None:
            merged[-1] = Piece(before.tokens, before.text + piece.text)
        else:
            merged.append(piece)
    written: list[Token] = []
    for piece in merged:
        first, last = piece.tokens[0], piece.tokens[-1]
        if written:
            written += put("||", first, last)
        if piece.text is not None:
            written += put(literal(piece.text), first, last)
        elif len(merged) == 1 or _whole(piece.tokens):
            written += piece.tokens
        else:
            written += [*put("(", first), *piece.tokens, *put(")", last)]
    return written


def _whole(tokens: Sequence[Token]) -> bool:
    """Whether an expression binds more tightly than ``||``: a column or one call."""
    depth = 0
    for i, token in enumerate(tokens):
        if token.kind == "mark":
            depth += (token.text in "([{") - (token.text in ")]}")
        after_dot = token.is_name and i > 0 and tokens[i - 1].text == "."
        if depth == 0 and i > 0 and not after_dot and token.text not in (".", ")", "]"):
            return False
    return True
