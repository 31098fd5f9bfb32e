"""Provider ``openai``: a language model behind any URL that speaks OpenAI's chat completions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from thresher.errors import OracleError
from thresher.oracles.answers import arrow_type, checked_answers, describe_row
from thresher.oracles.chat import RefusedError, Reply, shortened
from thresher.oracles.chat_answers import (
    AnswerFormat,
    BadAnswerError,
    answer_format,
    answer_probability,
)
from thresher.oracles.chat_asking import LETTERS_PER_TOKEN, Asker, Line
from thresher.oracles.chat_groups import Group, groups_of
from thresher.oracles.chat_options import SERVER_OPTIONS, terms_of
from thresher.oracles.context import Context
from thresher.oracles.options import Option, Options
from thresher.oracles.prompts import Prompt, parse_prompt, system_prompt
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.versions import digest

__all__ = ["OPTIONS", "ChatOracle", "create_oracle"]

OPTIONS = {
    **SERVER_OPTIONS,
    "answers": Option("texts"),
    "structured": Option("text", choices=("auto", "json_schema", "none")),
    "logprobs": Option("boolean"),
    "temperature": Option("number"),
    "max_tokens": Option("count"),
    "rows_per_prompt": Option("count"),
}
_MAX_TOKENS = 512
_GROUPS = 4  # of rows, for each request that may be under way
_REQUEST_FORM = 1  # part of the version: change it with the words around the user's prompt
_TOO_MUCH = frozenset({400, 413, 422})  # a request for several rows may be refused for one of them

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


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
    rows_per_prompt: int


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


class _Request(Protocol[T_co]):
    """Something to ask, in words or with a schema."""

    def text(self, structured: bool) -> str: ...

    def schema(self) -> dict[str, object]: ...

    def read(self, reply: Reply) -> T_co: ...


@dataclass(frozen=True, slots=True)
class _OneRow:
    prompt: str
    question: _Question

    def text(self, structured: bool) -> str:
        return f"{self.prompt}\n\n{self.question.format.instruction(structured)}"

    def schema(self) -> dict[str, object]:
        return self.question.format.schema()

    def read(self, reply: Reply) -> _Label:
        try:
            if reply.cut:
                most = self.question.max_tokens
                raise BadAnswerError(f"it was cut off after max_tokens = {most}")
            answer, said = self.question.format.read(reply.content)
        except BadAnswerError as error:
            raise BadAnswerError(f"the model said {shortened(reply.content)}: {error}") from None
        sure = answer_probability(said, reply.tokens) if self.question.format.choices else None
        return _Label(answer, sure)


@dataclass(frozen=True, slots=True)
class _SomeRows:
    group: Group

    def text(self, structured: bool) -> str:
        return self.group.text(structured)

    def schema(self) -> dict[str, object]:
        return self.group.schema()

    def read(self, reply: Reply) -> dict[int, _Label]:
        found = {} if reply.cut else self.group.read(reply.content)
        return {place: _Label(answer, None) for place, (answer, _) in found.items()}


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

    With ``rows_per_prompt`` above 1, rows for which a reply has no usable answer are asked one by
    one.
    """

    def __init__(self, options: Options, signature: Signature) -> None:
        self._who, self._returns = options.who, signature.returns
        terms = terms_of(options)
        self._question = _question(options, signature, terms.url)
        self._width, self._logprobs = terms.concurrency, options.boolean("logprobs", False)
        self._asker = Asker(self._who, terms)
        self._form, self._form_works = _Form(self._question.structured != "none"), False
        self._paid: dict[str, _Label] = {}

    counts_tokens = True  # where the server does

    @property
    def version(self) -> str:
        """Hash (hex) of the URL, the model's name and all that is sent with a row."""
        asked = self._question
        together = (asked.rows_per_prompt,) if asked.rows_per_prompt > 1 else ()
        return digest(
            ("openai", _REQUEST_FORM, asked.url, asked.model, asked.system),
            (asked.prompt.literals, asked.prompt.fields),
            (asked.format.choices, str(asked.format.returns)),
            (asked.temperature, asked.max_tokens, asked.structured, *together),
        )

    @property
    def batch_size(self) -> int:
        """Rows passed at once: some seconds of work, once the pace is known."""
        n_rows = self._question.rows_per_prompt
        # What stands together must not hang on the pace.
        return self._asker.batch_jobs if n_rows == 1 else _GROUPS * self._width * n_rows

    def about_tokens(self, batch: pa.Table) -> float:
        """Return about how many tokens a request takes: a quarter of its letters, mean of a batch.

        Nothing is asked. What comes back is not counted, nor what the server puts round messages.
        """
        prompt = self._question.prompt
        texts = [prompt.render(values) for values in prompt.rows(batch)]
        before = len(self._question.system or "")
        return sum(before + len(text) for text in texts) / max(1, len(texts)) / LETTERS_PER_TOKEN

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
        prompts = [self._question.prompt.render(row) for row in self._question.prompt.rows(batch)]
        first = {prompt: row for row, prompt in reversed(list(enumerate(prompts)))}
        missing = sorted(row for prompt, row in first.items() if prompt not in self._paid)
        groups = groups_of(missing, self._question.rows_per_prompt)
        self._asker.work_off(
            [partial(self._ask_rows, prompts=prompts, rows=rows, batch=batch) for rows in groups]
        )
        labels = [self._paid[prompt] for prompt in prompts]
        self._paid = {prompt: self._paid[prompt] for prompt in self._paid.keys() - set(prompts)}
        values = checked_answers([x.answer for x in labels], batch, self._returns, self._who)
        sure = [x.confidence for x in labels if x.confidence is not None]
        confidence = np.array(sure) if labels and len(sure) == len(labels) else None
        used = self._asker.settled()
        return Answers(values, confidence, used.cost_usd, used.tokens, used.requests)

    def answered(self, batch: pa.Table) -> tuple[list[int], Answers]:
        """Return the rows of a batch that had an answer when `answer` broke off, and the answers.

        What the other requests cost is counted with the next batch.
        """
        prompts = [self._question.prompt.render(row) for row in self._question.prompt.rows(batch)]
        rows = [row for row, prompt in enumerate(prompts) if prompt in self._paid]
        if not rows:
            return [], Answers(pa.array([], self._question.format.returns))
        return rows, self.answer(batch.take(pa.array(rows)))

    async def _ask_rows(
        self, line: Line, prompts: list[str], rows: tuple[int, ...], batch: pa.Table
    ) -> None:
        """Ask for some rows together, and for those without an answer one by one."""
        if len(rows) > 1:
            await self._ask_together(line, prompts, rows, batch)
        for row in rows:
            if prompts[row] not in self._paid:
                try:
                    request = _OneRow(prompts[row], self._question)
                    self._paid[prompts[row]] = await self._ask(line, request)
                except (OracleError, RefusedError) as error:
                    place = f"row {row} of the batch ({describe_row(batch, row)})"
                    raise OracleError(f"{self._who}: {place}: {error}.") from None

    async def _ask_together(
        self, line: Line, prompts: list[str], rows: tuple[int, ...], batch: pa.Table
    ) -> None:
        group = Group(tuple(prompts[row] for row in rows), self._question.format)
        try:
            found = await self._ask(line, _SomeRows(group))
        except (OracleError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.status in _TOO_MUCH:
                return
            place = f"{len(rows)} rows from row {rows[0]} of the batch on"
            shown = describe_row(batch, rows[0])
            raise OracleError(f"{self._who}: {place} ({shown}): {error}.") from None
        self._paid.update((group.prompts[place], label) for place, label in found.items())

    async def _ask(self, line: Line, request: _Request[T]) -> T:
        """Ask in the form that works, or find the one that this server understands."""
        form = used = self._form

        def body(n_bad: int) -> dict[str, object]:
            nonlocal used
            # Some servers take a schema and do not keep to it.
            in_words = n_bad > 0 and self._question.structured == "auto"
            used = replace(form, structured=False) if in_words else form
            return self._body(request, used)

        while True:
            try:
                found = await line.ask(body, self._question.max_tokens, request.read)
            except RefusedError as refusal:
                other = self._other(form, refusal)
                if other is None:
                    raise
                form = other
                continue
            if form != self._form or not self._form_works:
                self._form, self._form_works = used, True
            return found

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

    def _body(self, request: _Request[object], form: _Form) -> dict[str, object]:
        asked = self._question
        system = [] if asked.system is None else [{"role": "system", "content": asked.system}]
        return {
            "model": asked.model,
            "messages": [*system, {"role": "user", "content": request.text(form.structured)}],
            "temperature": asked.temperature,
            form.length_option: asked.max_tokens,
            **({"response_format": request.schema()} if form.structured else {}),
            **({"logprobs": True} if self._logprobs else {}),
        }


def _question(options: Options, signature: Signature, url: str) -> _Question:
    names = [argument.name for argument in signature.arguments]
    temperature = options.number("temperature", 0.0)
    if not 0.0 <= temperature <= 2.0:
        raise options.error(f"temperature must be in [0, 2], got {temperature:g}.", "temperature")
    rows_per_prompt = options.count("rows_per_prompt", 1)
    if rows_per_prompt > 1 and options.boolean("logprobs", False):
        raise options.error(
            "logprobs goes with one row in a prompt. Leave rows_per_prompt out.", "logprobs"
        )
    return _Question(
        url=url,
        model=options.text("model") or "",
        system=system_prompt(options),
        prompt=parse_prompt(options.text("prompt") or "", names, options),
        format=answer_format(options, arrow_type(signature.returns)),
        temperature=temperature,
        max_tokens=options.count("max_tokens", _MAX_TOKENS),
        structured=(options.text("structured") or "auto").lower(),
        rows_per_prompt=rows_per_prompt,
    )


def create_oracle(
    _name: str, signature: Signature, options: Options, _context: Context
) -> ChatOracle:
    """Make the oracle of ``USING openai``; the server is asked with the first answer."""
    return ChatOracle(options, signature)
