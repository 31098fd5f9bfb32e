"""Provider ``openai``: a language model behind any URL that speaks OpenAI's chat completions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from thresher.errors import InterfaceError, OracleError
from thresher.oracles.answers import arrow_type, checked_answers, describe_row
from thresher.oracles.chat import ChatServer, RefusedError, Reply, run_apart, shortened, work_off
from thresher.oracles.chat_answers import AnswerFormat, BadAnswerError, answer_probability, plain
from thresher.oracles.context import Context
from thresher.oracles.options import Option, OptionError, Options
from thresher.oracles.prompts import Prompt, parse_prompt, unescape
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.rate_limit import RateLimit
from thresher.oracles.versions import digest

if TYPE_CHECKING:
    import httpx

__all__ = ["OPTIONS", "ChatOracle", "create_oracle"]

OPTIONS = {
    "url": Option("text", required=True),
    "model": Option("text", required=True),
    "prompt": Option("text", required=True),
    "system": Option("text"),
    "yes": Option("text"),
    "no": Option("text"),
    "answers": Option("texts"),
    "structured": Option("text", choices=("auto", "json_schema", "none")),
    "logprobs": Option("boolean"),
    "temperature": Option("number"),
    "max_tokens": Option("count"),
    "rpm": Option("count"),
    "tpm": Option("count"),
    "concurrency": Option("count"),
    "timeout": Option("number"),
    "retries": Option("count"),
    "usd_per_mtok": Option("number"),
    "usd_per_mtok_input": Option("number"),
    "usd_per_mtok_output": Option("number"),
    "api_key_env": Option("text"),
}
_MAX_TOKENS, _CONCURRENCY, _TIMEOUT_S, _RETRIES = 512, 16, 120.0, 6
_BATCHES_OF_CONCURRENCY = 4
_LETTERS_PER_TOKEN = 4.0  # of English text, by the rule of thumb
_REQUEST_FORM = 1  # part of the version: change it with the words around the user's prompt


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of the model: all that an answer hangs on."""

    url: str
    model: str
    system: str | None
    prompt: Prompt
    format: AnswerFormat
    temperature: float
    max_tokens: int
    structured: str


@dataclass(frozen=True, slots=True)
class _Form:
    """How a request is written, as far as servers differ."""

    structured: bool
    length_option: str = "max_tokens"


@dataclass(frozen=True, slots=True)
class _Label:
    """One answer that was paid for, and its probability where the server tells it."""

    answer: bool | int | float | str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class _Terms:
    """What one pays and how fast one may ask; nothing of it changes an answer."""

    concurrency: int
    logprobs: bool
    usd_per_token: tuple[float, float] | None
    key_variable: str | None


class ChatOracle:
    """A language model on a server that gives one answer per row.

    Parameters
    ----------
    options : Options
        Checked options of ``USING openai``.
    signature : Signature
        Declared arguments and return type.

    Notes
    -----
    The version holds the URL, the model's name and the request. What runs behind the URL is not
    seen: a server that serves another model under the same name gives other answers under the
    same version.

    An answer must be the whole of what the model says, up to case, quotes and a full stop. What
    is none is asked for again and is an `OracleError` in the end; it never becomes a label. Where
    a batch fails, the answers of its other rows are kept in memory: asked again, they cost nothing.
    """

    def __init__(self, options: Options, signature: Signature) -> None:
        self._who, self._returns = options.who, signature.returns
        self._question, self._terms = _question(options, signature), _terms(options)
        self._server = ChatServer(
            self._question.url,
            RateLimit(options.count("rpm", 0) or None, options.count("tpm", 0) or None),
            options.number("timeout", _TIMEOUT_S),
            options.count("retries", _RETRIES),
        )
        self._form, self._form_works = _Form(self._question.structured != "none"), False
        self._paid: dict[str, _Label] = {}
        self._owed_usd = 0.0

    @property
    def version(self) -> str:
        """Hash (hex) of the URL, the model's name and all that is sent with a row."""
        asked = self._question
        return digest(
            ("openai", _REQUEST_FORM, asked.url, asked.model, asked.system),
            (asked.prompt.literals, asked.prompt.fields),
            (asked.format.choices, str(asked.format.returns)),
            (asked.temperature, asked.max_tokens, asked.structured),
        )

    @property
    def batch_size(self) -> int:
        """Rows passed at once: a few for each request that may be under way."""
        return _BATCHES_OF_CONCURRENCY * self._terms.concurrency

    def about_tokens(self, batch: pa.Table) -> float:
        """Return about how many tokens a request takes: a quarter of its letters, mean of a batch.

        Nothing is asked. What comes back is not counted, nor what the server puts round messages.
        """
        prompt = self._question.prompt
        texts = [prompt.render(values) for values in prompt.rows(batch)]
        before = len(self._question.system or "")
        return sum(before + len(text) for text in texts) / max(1, len(texts)) / _LETTERS_PER_TOKEN

    def answer(self, batch: pa.Table) -> Answers:
        """Label a batch.

        Raises
        ------
        InterfaceError
            If the environment variable with the key is not set.
        OracleError
            If the server refuses a request, or a row has no usable answer after all tries; the
            message names the row and what came.
        """
        key = self._key()
        prompts = [self._question.prompt.render(row) for row in self._question.prompt.rows(batch)]
        try:
            run_apart(partial(self._ask_all, key, prompts, batch))
        except OracleError as error:
            raise OracleError(_without(key, error.message)) from None
        labels = [self._paid[prompt] for prompt in prompts]
        self._paid = {prompt: self._paid[prompt] for prompt in self._paid.keys() - set(prompts)}
        cost_usd, self._owed_usd = self._owed_usd, 0.0
        values = checked_answers([x.answer for x in labels], batch, self._returns, self._who)
        sure = [x.confidence for x in labels if x.confidence is not None]
        confidence = np.array(sure) if labels and len(sure) == len(labels) else None
        return Answers(values, confidence, cost_usd)

    def _key(self) -> str | None:
        """The key, fresh from the environment."""
        name = self._terms.key_variable
        if name is None:
            return None
        key = os.environ.get(name, "").strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            what = "holds no usable key" if key else "is not set"
            raise InterfaceError(
                f"{self._who}: the environment variable {name} {what}. Set it to the key of"
                f" {self._question.url}, or leave api_key_env out where no key is needed."
            )
        return key

    async def _ask_all(self, key: str | None, prompts: list[str], batch: pa.Table) -> None:
        import httpx

        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        width = self._terms.concurrency
        limits = httpx.Limits(max_connections=width, max_keepalive_connections=width)
        timeout = self._server.timeout_s
        async with httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits) as client:
            jobs: list[Callable[[], Coroutine[None, None, None]]] = [
                partial(self._ask_row, client, prompt, batch, row)
                for row, prompt in enumerate(prompts)
                if prompt not in self._paid
            ]
            await work_off(jobs, width)

    async def _ask_row(
        self, client: httpx.AsyncClient, prompt: str, batch: pa.Table, row: int
    ) -> None:
        try:
            self._paid[prompt] = await self._ask(client, prompt)
        except (OracleError, RefusedError) as error:
            place = f"row {row} of the batch ({describe_row(batch, row)})"
            raise OracleError(f"{self._who}: {place}: {error}.") from None

    async def _ask(self, client: httpx.AsyncClient, prompt: str) -> _Label:
        """Ask in the form that works, or find the one that this server understands."""
        form = self._form
        while True:
            body = self._body(prompt, form)
            # UTF-8 has about three bytes a token or more, in most scripts.
            n_tokens = len(prompt.encode(errors="replace")) // 3 + 1 + self._question.max_tokens
            try:
                label = await self._server.ask(client, body, n_tokens, self._read)
            except RefusedError as refusal:
                other = self._other(form, refusal)
                if other is None:
                    raise
                form = other
                continue
            self._form, self._form_works = form, True
            return label

    def _other(self, form: _Form, refusal: RefusedError) -> _Form | None:
        """The form to try after a refusal, if there is one."""
        if self._form_works and form == self._form:
            return None
        if form.length_option == "max_tokens" and "max_completion_tokens" in refusal.message:
            return replace(form, length_option="max_completion_tokens")
        auto = self._question.structured == "auto"
        if auto and form.structured and refusal.status in (400, 422):
            return replace(form, structured=False)
        return None

    def _body(self, prompt: str, form: _Form) -> dict[str, object]:
        asked = self._question
        text = f"{prompt}\n\n{asked.format.instruction(form.structured)}"
        system = [] if asked.system is None else [{"role": "system", "content": asked.system}]
        return {
            "model": asked.model,
            "messages": [*system, {"role": "user", "content": text}],
            "temperature": asked.temperature,
            form.length_option: asked.max_tokens,
            **({"response_format": asked.format.schema()} if form.structured else {}),
            **({"logprobs": True} if self._terms.logprobs else {}),
        }

    def _read(self, reply: Reply) -> _Label:
        """Count what a reply costs and make a label of it."""
        price = self._terms.usd_per_token
        if price is not None:
            if reply.n_input is None or reply.n_output is None:
                raise OracleError(
                    "the server does not say how many tokens it counted, so that usd_per_mtok gives"
                    " no price. Leave usd_per_mtok out"
                )
            self._owed_usd += price[0] * reply.n_input + price[1] * reply.n_output
        try:
            if reply.cut:
                raise BadAnswerError(
                    f"it was cut off after max_tokens = {self._question.max_tokens}"
                )
            answer, said = self._question.format.read(reply.content)
        except BadAnswerError as error:
            raise BadAnswerError(f"the model said {shortened(reply.content)}: {error}") from None
        sure = answer_probability(said, reply.tokens) if self._question.format.choices else None
        return _Label(answer, sure)


def _without(key: str | None, text: str) -> str:
    """A text that a server may have put the key into, without it."""
    return text if key is None else text.replace(key, "[key]")


class _UnshownError(OptionError):
    """An error about an option that may hold a key: the statement is not shown."""

    def at(self, sql: str, offset: int, length: int = 1) -> OptionError:  # noqa: ARG002
        """Return the error as it is."""
        return self


def _question(options: Options, signature: Signature) -> _Question:
    names = [argument.name for argument in signature.arguments]
    system = options.text("system")
    temperature = options.number("temperature", 0.0)
    if not 0.0 <= temperature <= 2.0:
        raise options.error(f"temperature must be in [0, 2], got {temperature:g}.", "temperature")
    return _Question(
        url=_url(options),
        model=options.text("model") or "",
        system=None if system is None else unescape(system),
        prompt=parse_prompt(options.text("prompt") or "", names, options),
        format=_format(options, signature),
        temperature=temperature,
        max_tokens=options.count("max_tokens", _MAX_TOKENS),
        structured=(options.text("structured") or "auto").lower(),
    )


def _url(options: Options) -> str:
    """Where the requests go."""
    written = options.text("url") or ""
    try:
        parts = urlsplit(written)
        host = parts.hostname if parts.port != 0 else None  # a wrong port is a ValueError
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise options.error(
            f"{written!r} is no URL of a server. Write url = 'http://localhost:8000/v1'.", "url"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        error = _UnshownError(
            f"{options.who}: the url may hold no user, no password and no '?...': they would be"
            " kept with the declaration. Put a key into an environment variable and name it with"
            " api_key_env."
        )
        error.option = "url"
        raise error
    base = written.rstrip("/").removesuffix("/chat/completions")
    return f"{base}/chat/completions"


def _format(options: Options, signature: Signature) -> AnswerFormat:
    returns = arrow_type(signature.returns)
    boolean, text = pa.types.is_boolean(returns), pa.types.is_string(returns)
    for name, fits, wanted in (
        ("yes", boolean, "BOOLEAN"),
        ("no", boolean, "BOOLEAN"),
        ("answers", text, "VARCHAR"),
    ):
        if name in options.values and not fits:
            raise options.error(f"option '{name}' goes with RETURNS {wanted}.", name)
    choices: list[str] = []
    if boolean:
        choices = [options.text("yes") or "yes", options.text("no") or "no"]
    elif text:
        choices = [unescape(answer).strip() for answer in options.texts("answers")]
        if len(choices) < 2:
            raise options.error(
                "RETURNS VARCHAR needs two answers or more. Write answers = ['good', 'bad'].",
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


def _terms(options: Options) -> _Terms:
    for name in ("timeout", "usd_per_mtok", "usd_per_mtok_input", "usd_per_mtok_output"):
        value = options.number(name, 1.0)
        if not 0.0 <= value < float("inf") or (name == "timeout" and value == 0.0):
            raise options.error(f"option '{name}' cannot be {value:g}.", name)
    both = options.number("usd_per_mtok", 0.0)
    prices = [options.number(f"usd_per_mtok_{name}", both) / 1e6 for name in ("input", "output")]
    variable = options.text("api_key_env")
    if variable is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        error = _UnshownError(
            f"{options.who}: api_key_env must be the name of an environment variable, such as"
            " 'OPENAI_API_KEY', and not the key: declarations are kept in the database."
        )
        error.option = "api_key_env"
        raise error
    return _Terms(
        concurrency=options.count("concurrency", _CONCURRENCY),
        logprobs=options.boolean("logprobs", False),
        usd_per_token=(prices[0], prices[1]) if any(prices) else None,
        key_variable=variable,
    )


def create_oracle(
    _name: str, signature: Signature, options: Options, _context: Context
) -> ChatOracle:
    """Make the oracle of ``USING openai``; the server is asked with the first answer."""
    return ChatOracle(options, signature)
