"""Prompts as tokens of one model, in which what a row holds is data whatever it says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from thresher.errors import OperationalError
from thresher.oracles.prompts import Prompt
from thresher.oracles.runtime import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["PromptTokens", "answer_tokens", "special_texts"]


class PromptTokens:
    """Prompts as tokens of one model, with arguments as plain text whatever they hold.

    Parameters
    ----------
    tokenizer
        Of the model.
    prompt : Prompt
        With the chat template around it, where one is asked for.
    begins : bool
        Whether the tokens that the model wants in front are still missing.

    Notes
    -----
    A special token's text, such as ``<|im_end|>``, is that token in the prompt and plain text in an
    argument: no row can close its own turn. Rows that hold one are split into tokens piece by
    piece, so that the tokens where pieces meet may differ from those of the joined text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, begins: bool) -> None:
        self.prompt = prompt
        self._tokenizer = tokenizer
        self._start: list[int] = []
        if begins:
            plain = self._ids(["x"], add_special_tokens=False)[0]
            with_special = self._ids(["x"])[0]
            self._start = with_special[: max(0, _find(with_special, plain))]
        self._special = special_texts(tokenizer)

    def _ids(self, texts: list[str], **how: bool) -> list[list[int]]:
        with quiet():
            found: list[list[int]] = self._tokenizer(texts, **how)["input_ids"]
        return found

    def of_texts(self, texts: list[str]) -> list[list[int]]:
        """Return the tokens of whole texts, with what the model wants in front."""
        return [self._start + ids for ids in self._ids(texts, add_special_tokens=False)]

    def of_rows(self, rows: Sequence[tuple[str, ...]]) -> list[list[int]]:
        """Return the tokens of the prompt for the arguments of each row."""
        found = self.of_texts([self.prompt.render(row) for row in rows])
        for i, row in enumerate(rows):
            if any(self._special.search(value) for value in row):
                found[i] = self._of_pieces(row)
        return found

    def _of_pieces(self, row: tuple[str, ...]) -> list[int]:
        ids = list(self._start)
        literals, fields = self.prompt.literals, self.prompt.fields
        for literal, field in itertools.zip_longest(literals, fields):
            ids += self._ids([literal], add_special_tokens=False)[0]
            if field is not None:
                how = {"add_special_tokens": False, "split_special_tokens": True}
                ids += self._ids([row[field]], **how)[0]
        return ids


def answer_tokens(
    of_texts: Callable[[list[str]], list[list[int]]],
    example: str,
    answers: Sequence[str],
    who: str,
) -> tuple[list[int], list[list[int]]]:
    """Return the tokens that all answers share in front, and the rest of each.

    Parameters
    ----------
    of_texts : callable
        Tokens of texts.
    example : str
        A prompt: the tokens of an answer are those that it adds.
    answers : sequence of str
        The answer texts.
    who : str
        Name for messages.

    Raises
    ------
    OperationalError
        If an answer merges with the prompt or begins with another one in the model's tokens.
    """
    before, *after = of_texts([example, *(example + answer for answer in answers)])
    for answer, ids in zip(answers, after, strict=True):
        if ids[: len(before)] != before or len(ids) == len(before):
            raise OperationalError(
                f"{who}: the answer {answer!r} merges with the end of the prompt"
                " into one token. End the prompt without a space and start each answer with one"
                f" (yes = {' ' + answer.strip()!r})."
            )
    rests = [ids[len(before) :] for ids in after]
    columns = zip(*rests, strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda ids: len(set(ids)) == 1, columns))
    if any(len(ids) == shared for ids in rests):
        raise OperationalError(
            f"{who}: in the model's tokens one answer is the beginning of another:"
            f" {', '.join(map(repr, answers))}. Write answers that differ earlier."
        )
    return rests[0][:shared], [ids[shared:] for ids in rests]


def special_texts(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return a pattern of the texts that a tokenizer would read as special tokens."""
    added = tokenizer.added_tokens_decoder.values()
    names = {t.content for t in added if t.special} | set(tokenizer.all_special_tokens)
    longest_first = sorted(filter(None, names), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _find(ids: list[int], part: list[int]) -> int:
    """Position of a sublist, -1 where it is absent."""
    spans = range(len(ids) - len(part) + 1)
    return next((i for i in spans if ids[i : i + len(part)] == part), -1)
