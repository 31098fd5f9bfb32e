"""Proxy ``openai``: how probable a small model behind a URL finds a yes."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import OracleError
from thresher.oracles.answers import describe_row
from thresher.oracles.chat import RefusedError, Reply
from thresher.oracles.chat_answers import AnswerFormat, answer_format, first_token_odds
from thresher.oracles.chat_asking import LETTERS_PER_TOKEN, Asker, Line
from thresher.oracles.chat_options import SERVER_OPTIONS, terms_of
from thresher.oracles.context import Context
from thresher.oracles.options import Option, Options
from thresher.oracles.prompts import Prompt, parse_prompt, system_prompt
from thresher.oracles.protocols import Signature, Usage
from thresher.oracles.remembered_scores import RememberedScores
from thresher.oracles.versions import digest

__all__ = ["OPTIONS", "ChatProxy", "create_proxy"]

OPTIONS = {**SERVER_OPTIONS, "cache": Option("boolean")}
_TOKENS, _TOP = 3, 20
_NO_LOGPROBS = (
    "the server gives no log-probabilities of tokens (logprobs, top_logprobs), which a score is"
    " made of. Take a server that does (vLLM, llama.cpp, OpenAI), or another proxy"
)


class ChatProxy:
    """The probability of yes against no at the first token of a model's reply.

    Parameters
    ----------
    options : Options
        Checked options of ``USING openai``.
    signature : Signature
        That of the oracle it is for.

    Notes
    -----
    One request a row, of three tokens at most, whose 20 likeliest tokens are looked at.
    """

    def __init__(self, options: Options, signature: Signature) -> None:
        terms = terms_of(options)
        names = [argument.name for argument in signature.arguments]
        self._who, self._url, self._model = options.who, terms.url, options.text("model") or ""
        self._system = system_prompt(options)
        self._prompt: Prompt = parse_prompt(options.text("prompt") or "", names, options)
        self._format: AnswerFormat = answer_format(options, pa.bool_())
        self._asker = Asker(self._who, terms)
        self._length_option = "max_tokens"
        self._paid: dict[str, float] = {}
        self._usd_per_token = terms.usd_per_token

    @property
    def version(self) -> str:
        """Hash (hex) of the URL, the model's name and all that is sent with a row."""
        return digest(
            ("openai proxy", self._url, self._model, self._system, self._format.choices),
            (self._prompt.literals, self._prompt.fields),
        )

    @property
    def batch_size(self) -> int:
        """Rows passed at once: some seconds of work, once the pace is known."""
        return self._asker.batch_jobs

    def settled(self) -> Usage:
        """Return what the requests took since this was last called, by the server's count."""
        return self._asker.settled()

    def about(self, batch: pa.Table) -> Usage:
        """Return about what a request takes: a token for four letters, mean of a batch."""
        texts = [self._text(self._prompt.render(row)) for row in self._prompt.rows(batch)]
        n_letters = sum(map(len, texts)) / max(1, len(texts)) + len(self._system or "")
        n_in = round(n_letters / LETTERS_PER_TOKEN)
        price = self._usd_per_token or (0.0, 0.0)
        return Usage(1, (n_in, _TOKENS), price[0] * n_in + price[1] * _TOKENS)

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Score a batch: shape (n,), in [0, 1].

        Raises
        ------
        InterfaceError
            If the environment variable with the key is not set.
        OracleError
            If the server refuses a request, gives no log-probabilities or no usable reply.
        """
        prompts = [self._prompt.render(row) for row in self._prompt.rows(batch)]
        first = {prompt: row for row, prompt in reversed(list(enumerate(prompts)))}
        jobs = [
            partial(self._ask, prompt=prompt, row=row, batch=batch)
            for prompt, row in sorted(first.items(), key=lambda pair: pair[1])
            if prompt not in self._paid
        ]
        self._asker.work_off(jobs)
        scores = np.array([self._paid[prompt] for prompt in prompts])
        self._paid = {}
        return scores

    async def _ask(self, line: Line, prompt: str, row: int, batch: pa.Table) -> None:
        try:
            self._paid[prompt] = await self._asked(line, prompt)
        except (OracleError, RefusedError) as error:
            reason = str(error)
            if isinstance(error, RefusedError) and "logprobs" in error.message:
                reason = f"{reason}: {_NO_LOGPROBS}"
            place = f"row {row} of the batch ({describe_row(batch, row)})"
            raise OracleError(f"{self._who}: {place}: {reason}.") from None

    async def _asked(self, line: Line, prompt: str) -> float:
        try:
            return await line.ask(lambda _: self._body(prompt), _TOKENS, self._read)
        except RefusedError as refusal:
            newer = "max_completion_tokens"
            if newer not in refusal.message or newer in self._body(prompt):
                raise
            self._length_option = newer
        return await line.ask(lambda _: self._body(prompt), _TOKENS, self._read)

    def _text(self, prompt: str) -> str:
        return f"{prompt}\n\n{self._format.instruction(structured=False)}"

    def _body(self, prompt: str) -> dict[str, object]:
        system = [] if self._system is None else [{"role": "system", "content": self._system}]
        return {
            "model": self._model,
            "messages": [*system, {"role": "user", "content": self._text(prompt)}],
            "temperature": 0.0,
            self._length_option: _TOKENS,
            "logprobs": True,
            "top_logprobs": _TOP,
        }

    def _read(self, reply: Reply) -> float:
        yes, no = self._format.choices
        odds = first_token_odds(reply.tokens, yes, no)
        if odds is None:
            raise OracleError(_NO_LOGPROBS)
        return odds


def create_proxy(
    _name: str, signature: Signature, options: Options, _context: Context
) -> RememberedScores:
    """Make the proxy of ``USING openai``; the server is asked with the first score."""
    return RememberedScores(ChatProxy(options, signature), options.boolean("cache", True))
