"""What a chat model is asked to say, and what it said: one of some answers, or a number."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from thresher.oracles.options import Options
from thresher.oracles.prompts import unescape

__all__ = [
    "AnswerFormat",
    "BadAnswerError",
    "answer_format",
    "answer_probability",
    "first_token_odds",
    "plain",
    "without_wrapping",
]

Answer = bool | int | float | str
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_WRAPPING = " \t\r\n\"'`*"


class BadAnswerError(ValueError):
    """What the model said is no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The answers that a model may give.

    Parameters
    ----------
    returns : pyarrow.DataType
        Boolean, integer, floating or string.
    choices : tuple of str
        Answer texts, ``(yes, no)`` for booleans, none for numbers. Case and blanks around them
        do not matter.

    Examples
    --------
    >>> AnswerFormat(pa.bool_(), ("yes", "no")).read("Yes.")
    (True, 'Yes')
    >>> AnswerFormat(pa.float64(), ()).read('{"answer": 3.5}')
    (3.5, '3.5')
    """

    returns: pa.DataType
    choices: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """What an answer must be, as the end of a sentence."""
        if not self.choices:
            return "a whole number" if pa.types.is_integer(self.returns) else "a number"
        return "one of " + ", ".join(map(_quoted, self.choices))

    def instruction(self, structured: bool) -> str:
        """Return the sentence after the prompt that says how to answer."""
        if structured:
            return f'Answer in JSON, {{"answer": ...}}, with {self.wanted}.'
        return f"Answer with {self.wanted} and nothing else."

    def answer_schema(self) -> dict[str, object]:
        """Return the JSON schema of one answer."""
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        return {"type": "integer" if pa.types.is_integer(self.returns) else "number"}

    def schema(self) -> dict[str, object]:
        """Return ``response_format`` of a request whose reply must be such an answer."""
        return self.schema_of({"answer": self.answer_schema()})

    @staticmethod
    def schema_of(answers: Mapping[str, object]) -> dict[str, object]:
        """Return ``response_format`` of a reply that is an object with all these answers."""
        schema = {
            "type": "object",
            "properties": dict(answers),
            "required": list(answers),
            "additionalProperties": False,
        }
        return {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        }

    def read(self, content: str) -> tuple[Answer, str]:
        """Return the answer and its text in what the model said.

        Raises
        ------
        BadAnswerError
            It is none of the choices, or no number of the declared type.

        Notes
        -----
        The whole text must be the answer, or a JSON object with it; thoughts in front, between
        ``<think>`` and ``</think>``, are left out. An answer is never searched for in a sentence.
        """
        said = _unwrapped(content)
        return (self._choice(said) if self.choices else self._number(said)), said

    def _choice(self, said: str) -> Answer:
        for number, choice in enumerate(self.choices):
            if said.casefold() == plain(choice).casefold():
                return number == 0 if pa.types.is_boolean(self.returns) else choice
        raise BadAnswerError(f"it is none of {', '.join(map(_quoted, self.choices))}")

    def _number(self, said: str) -> Answer:
        whole = pa.types.is_integer(self.returns)
        try:
            value = int(said) if whole else float(said)
        except ValueError:
            raise BadAnswerError(f"it is no {'whole ' if whole else ''}number") from None
        try:
            finite = math.isfinite(pa.scalar(value, self.returns).as_py())
        except (OverflowError, pa.ArrowInvalid):
            finite = False
        if not finite:
            raise BadAnswerError(f"it is no finite number of type {self.returns}")
        return value


def plain(text: str) -> str:
    """Return a text without blanks, quotes and stars around it, and without its full stop.

    Examples
    --------
    >>> plain('"Yes."'), plain(".5")
    ('Yes', '.5')
    """
    return text.strip(_WRAPPING).rstrip(".").rstrip(_WRAPPING)


def answer_format(
    options: Options, returns: pa.DataType, *, any_text: bool = False
) -> AnswerFormat:
    """Return what the model may answer, from the return type, ``yes``, ``no`` and ``answers``.

    Parameters
    ----------
    options : Options
        Of the oracle.
    returns : pyarrow.DataType
        Boolean, integer, floating or string.
    any_text : bool
        Whether a string needs no ``answers``: the model then writes what it will.

    Raises
    ------
    OptionError
        If they do not go together, or two answers are the same.
    """
    boolean, text = pa.types.is_boolean(returns), pa.types.is_string(returns)
    fits = {"yes": boolean, "no": boolean, "answers": text, "schema": text}
    for name, fitting in fits.items():
        if name in options.values and not fitting:
            wanted = "VARCHAR" if name in ("answers", "schema") else "BOOLEAN"
            raise options.error(f"option '{name}' goes with RETURNS {wanted}.", name)
    choices: list[str] = []
    if boolean:
        choices = [options.text("yes") or "yes", options.text("no") or "no"]
    elif text:
        choices = [unescape(answer).strip() for answer in options.texts("answers")]
        if len(choices) < 2 and (choices or not any_text):
            none = ", or none for any text" if any_text else ""
            raise options.error(
                f"RETURNS VARCHAR needs two answers or more{none}. Write"
                " answers = ['good', 'bad'].",
                "answers",
            )
    seen: dict[str, str] = {}
    for choice in choices:
        key = plain(choice).casefold()
        if not key or key in seen:
            other = f"is the same as {seen[key]!r}" if key else "is empty"
            raise options.error(
                f"answer {choice!r} {other}, up to case, quotes and a full stop.",
                "answers" if text else None,
            )
        seen[key] = choice
    return AnswerFormat(returns, tuple(choices))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def without_wrapping(content: str) -> str:
    """Return what a model said without its thoughts, and without a code fence around the rest.

    Examples
    --------
    >>> without_wrapping("<think>hm</think> yes")
    'yes'
    """
    text = _THOUGHTS.sub("", content).strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json").strip()
    return text


def _unwrapped(content: str) -> str:
    """The answer's text, out of thoughts, code fences, a JSON object, quotes and a full stop."""
    text = without_wrapping(content)
    if not text.startswith("{"):
        return plain(text)
    try:
        answer = json.loads(text)["answer"]
    except (ValueError, KeyError, RecursionError):
        raise BadAnswerError('it is no JSON object with an "answer"') from None
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if not isinstance(answer, (str, int, float)):
        raise BadAnswerError('its "answer" is neither text nor a number')
    return plain(str(answer))


def answer_probability(said: str, tokens: Sequence[Mapping[str, object]]) -> float | None:
    """Return the probability of the tokens that make up an answer, or None if they are not found.

    Parameters
    ----------
    said : str
        The answer's text.
    tokens : sequence of mapping
        ``token`` and ``logprob`` (nats) of each token of the reply, in order.

    Examples
    --------
    >>> tokens = [{"token": '{"answer":"', "logprob": -9.0}, {"token": "ye", "logprob": 0.0}]
    >>> answer_probability("yes", [*tokens, {"token": "s", "logprob": 0.0}])
    1.0
    """
    pieces = [str(token.get("token", "")) for token in tokens]
    begin = "".join(pieces).rfind(said) if said else -1
    if begin < 0:
        return None
    total, at = 0.0, 0
    for piece, token in zip(pieces, tokens, strict=True):
        if at < begin + len(said) and at + len(piece) > begin:
            logprob = token.get("logprob")
            if not isinstance(logprob, (int, float)) or math.isnan(logprob):
                return None
            total += logprob
        at += len(piece)
    return math.exp(min(total, 0.0))


def first_token_odds(tokens: Sequence[Mapping[str, object]], yes: str, no: str) -> float | None:
    """Return the probability of yes against no at the first token that says something.

    Parameters
    ----------
    tokens : sequence of mapping
        Tokens of the reply in order, each with ``top_logprobs``: a list of mappings with ``token``
        and ``logprob`` (nats).
    yes, no : str
        The two answers.

    Returns
    -------
    float or None
        In [0, 1]; .5 where none of the tokens listed begins one answer and not the other. None
        where the reply has no such lists.

    Notes
    -----
    The probabilities of all listed tokens that begin an answer are added up, whatever their case.

    Examples
    --------
    >>> top = [{"token": t, "logprob": math.log(p)} for t, p in ((" Yes", 0.6), ("n", 0.2))]
    >>> round(first_token_odds([{"token": " Yes", "top_logprobs": top}], "yes", "no"), 3)
    0.75
    """
    for token in tokens:
        top = token.get("top_logprobs")
        if not isinstance(top, list) or not top:
            return None
        if plain(str(token.get("token", ""))):
            break
    else:
        return None
    sums = [0.0, 0.0]
    for entry in top:
        said, logprob = plain(str(entry.get("token", ""))).casefold(), entry.get("logprob")
        begins = [bool(said) and plain(x).casefold().startswith(said) for x in (yes, no)]
        if isinstance(logprob, (int, float)) and sum(begins) == 1:
            sums[begins.index(True)] += math.exp(min(float(logprob), 0.0))
    total = sum(sums)
    return sums[0] / total if total > 0.0 else 0.5
