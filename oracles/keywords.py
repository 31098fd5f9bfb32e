"""Proxy ``keywords``: how many of some words and patterns a text holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.errors import NotSupportedError
from thresher.oracles.answers import arrow_type, is_text
from thresher.oracles.context import Context
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import Signature
from thresher.oracles.versions import digest

__all__ = ["OPTIONS", "Keyword", "KeywordProxy", "create_proxy"]

OPTIONS = {
    "words": Option("texts"),
    "regex": Option("text"),
    "weights": Option("numbers"),
    "whole_words": Option("boolean"),
    "ignore_case": Option("boolean"),
}
# RE2's \b knows ASCII only: "café" would have no end.
_BEFORE, _AFTER = r"(?:^|[^\p{L}\p{M}\p{N}_])", r"(?:$|[^\p{L}\p{M}\p{N}_])"


@dataclass(frozen=True, slots=True)
class Keyword:
    """A pattern of RE2, and what a text that holds it gains."""

    pattern: str
    weight: float


class KeywordProxy:
    """A score from the keywords that a text holds, however often.

    Parameters
    ----------
    keywords : tuple of Keyword
        At least one, with a weight other than 0.
    ignore_case : bool
        Whether case does not matter.

    Notes
    -----
    The score is the sum of the weights of the keywords found, brought to [0, 1] by the least and
    the largest sum there can be. Text arguments are joined by new lines; others are left out.

    Examples
    --------
    >>> proxy = KeywordProxy((Keyword("refund", 1.0), Keyword("thank", -1.0)), True)
    >>> proxy.score(pa.table({"text": ["Refund me", "hello", "thanks"]})).tolist()
    [1.0, 0.5, 0.0]
    """

    def __init__(self, keywords: tuple[Keyword, ...], ignore_case: bool) -> None:
        self._keywords, self._ignore_case = keywords, ignore_case
        self._least = sum(min(keyword.weight, 0.0) for keyword in keywords)
        self._span = sum(abs(keyword.weight) for keyword in keywords)

    @property
    def version(self) -> str:
        """Hash (hex) of patterns and weights."""
        facts = [(keyword.pattern, keyword.weight) for keyword in self._keywords]
        return digest("keywords", facts, self._ignore_case)

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Score a batch: shape (n,), in [0, 1]."""
        text = _joined(batch)
        total = np.zeros(batch.num_rows)
        for keyword in self._keywords:
            found = pc.match_substring_regex(
                text, keyword.pattern, ignore_case=self._ignore_case
            ).to_numpy()
            total += keyword.weight * found.astype(np.float64)
        return np.clip((total - self._least) / self._span, 0.0, 1.0)


def _joined(batch: pa.Table) -> pa.ChunkedArray:
    """The text arguments of each row as one text."""
    texts = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if is_text(column.type):
            texts.append(pc.fill_null(column.cast(pa.string()), ""))
    return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "\n")


def _word(word: str, whole: bool) -> str:
    """The pattern of a word or phrase; blanks in it are any white space."""
    inner = r"\s+".join(re.escape(part) for part in word.split())
    return f"{_BEFORE}{inner}{_AFTER}" if whole else inner


def _takes_text(signature: Signature) -> bool:
    for argument in signature.arguments:
        try:
            if is_text(arrow_type(argument.type)):
                return True
        except NotSupportedError:  # a type that no oracle returns is no text
            continue
    return False


def _keywords(options: Options) -> tuple[Keyword, ...]:
    words, regex = options.texts("words"), options.text("regex")
    if not words and regex is None:
        raise options.error(
            "keywords needs words or a regex. Write WITH (words = ['refund', 'money back'])."
        )
    if any(not word.strip() for word in words):
        raise options.error("one of words is empty.", "words")
    patterns = [_word(word, options.boolean("whole_words", True)) for word in words]
    if regex is not None:
        try:
            pc.match_substring_regex(pa.array([""]), regex)
        except pa.ArrowInvalid as error:
            raise options.error(f"regex is none that RE2 understands: {error}.", "regex") from None
        patterns.append(regex)
    weights = options.numbers("weights") or [1.0] * len(patterns)
    if len(weights) != len(patterns):
        listed = f"{len(words)} words" + (" and the regex" if regex is not None else "")
        raise options.error(f"there are {len(weights)} weights for {listed}.", "weights")
    if not all(abs(weight) < float("inf") for weight in weights) or not any(weights):
        raise options.error("weights must be finite, and not all 0.", "weights")
    return tuple(Keyword(p, w) for p, w in zip(patterns, weights, strict=True))


def create_proxy(
    _name: str, signature: Signature, options: Options, _context: Context
) -> KeywordProxy:
    """Make the proxy of ``USING keywords``."""
    if not _takes_text(signature):
        raise options.error("keywords reads text, and no argument of its oracle is VARCHAR.")
    return KeywordProxy(_keywords(options), options.boolean("ignore_case", True))
