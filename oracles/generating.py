"""Task ``text-generation``: what a language model writes, read as an answer or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import DataError, OracleError
from thresher.oracles.answers import arrow_type, describe_row
from thresher.oracles.batching import Replicas, token_batches
from thresher.oracles.chat import shortened
from thresher.oracles.chat_answers import AnswerFormat, BadAnswerError, answer_format
from thresher.oracles.chat_templates import chat_prompt
from thresher.oracles.context import Context
from thresher.oracles.json_answers import check_schema, read_json
from thresher.oracles.logits import context_length
from thresher.oracles.media import require_text
from thresher.oracles.options import Options
from thresher.oracles.prompt_tokens import PromptTokens
from thresher.oracles.prompts import Prompt, parse_prompt, system_prompt, unescape
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.runtime import Runtime, quiet
from thresher.oracles.token_counts import TokenCount
from thresher.oracles.weights import Source, load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["WritingTask", "writing_task"]

Positions = npt.NDArray[np.int64]
Answer = bool | int | float | str
_MAX_NEW_TOKENS = 64
_FORM = 1  # part of the version: change it with the words around the user's prompt


@dataclass(frozen=True, slots=True)
class WritingTask:
    """A causal language model that writes its answer, likeliest token by likeliest token.

    Parameters
    ----------
    who : str
        Name for messages.
    prompt : Prompt
        What is asked, with the sentence that says how to answer.
    format : AnswerFormat
        Return type and choices; no choices and a string: any text.
    schema : str or None
        JSON Schema (as text) that an answer must fit.
    chat : bool
        Whether the prompt is a user's turn in the model's chat template.
    system : str or None
        What the system says before it.
    stop : str or None
        Text at which the answer ends.
    max_new_tokens : int
        An answer that is not at its end by then is none.

    Notes
    -----
    What the model writes must be an answer as a whole; one is never searched for in a sentence. A
    row whose text is none fails the batch as an `OracleError` with its name; it never becomes a
    label. The answers of the other rows of the batch are kept in memory.
    """

    who: str
    prompt: Prompt
    format: AnswerFormat
    schema: str | None
    chat: bool
    system: str | None
    stop: str | None
    max_new_tokens: int

    @property
    def name(self) -> str:
        """The value of the option ``task``."""
        return "text-generation"

    @property
    def returns(self) -> pa.DataType:
        """Arrow type of the answers."""
        return self.format.returns

    @property
    def facts(self) -> tuple[object, ...]:
        """All that is asked, and where an answer ends."""
        return (
            (_FORM, self.prompt.literals, self.prompt.fields, self.format.choices, self.schema),
            (self.chat, self.system, self.stop, self.max_new_tokens),
        )

    def texts_read(self, batch: pa.Table) -> list[str]:
        """Return what the model reads of each row."""
        return [self.prompt.render(row) for row in self.prompt.rows(batch)]

    def load(self, source: Source, version: str, runtime: Runtime) -> _Writing:
        """Load the model."""
        tokenizer, replicas = load_model("causal-lm", source, version, runtime)
        return _Writing(self, tokenizer, replicas, runtime.batch_tokens)

    def read(self, said: str) -> Answer:
        """Return the answer in what the model wrote, or raise a BadAnswerError."""
        if self.schema is not None:
            return read_json(said, json.loads(self.schema))
        if self.format.choices or not pa.types.is_string(self.returns):
            return self.format.read(said)[0]
        if not said.strip():
            raise BadAnswerError("it is empty")
        return said.strip()


class _Writing:
    def __init__(
        self,
        task: WritingTask,
        tokenizer: PreTrainedTokenizerBase,
        replicas: Replicas,
        budget: int,
    ) -> None:
        from transformers import GenerationConfig

        self._task, self._tokenizer, self._replicas = task, tokenizer, replicas
        self._budget, self.tokens = budget, TokenCount()
        prompt = task.prompt
        if task.chat:
            prompt = chat_prompt(tokenizer, prompt, task.system, task.who)
        self._tokens = PromptTokens(tokenizer, prompt, begins=not task.chat)
        model = replicas.model
        self._limit = context_length(model.config, tokenizer, None) - task.max_new_tokens
        ends = model.generation_config.eos_token_id  # a chat ends at other tokens than a text
        ends = tokenizer.eos_token_id if ends is None else ends
        self._ends = [ends] if isinstance(ends, int) else list(ends or [])
        pad = tokenizer.pad_token_id
        self._pad = int(pad if pad is not None else (self._ends or [0])[0])
        for one in replicas.models:  # no penalties, temperatures or beams of the model's own
            one.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
                do_sample=False, eos_token_id=self._ends or None, pad_token_id=self._pad
            )
        self._kept: dict[tuple[str, ...], Answer] = {}

    def answer(self, batch: pa.Table) -> Answers:
        rows = self._task.prompt.rows(batch)
        asked = [row for row in dict.fromkeys(rows) if row not in self._kept]
        faults: dict[tuple[str, ...], str] = {}
        for row, (said, ended) in zip(asked, self._write(asked, batch), strict=True):
            try:
                if not ended:
                    raise BadAnswerError(
                        f"it was not at its end after max_new_tokens = {self._task.max_new_tokens}"
                    )
                self._kept[row] = self._task.read(said)
            except BadAnswerError as error:
                faults[row] = f"the model wrote {shortened(said)}: {error}"
        if faults:
            first = next(i for i, row in enumerate(rows) if row in faults)
            raise OracleError(
                f"{self._task.who}: row {first} of the batch ({describe_row(batch, first)}):"
                f" {faults[rows[first]]}."
            )
        values = [self._kept[row] for row in rows]
        self._kept = {row: self._kept[row] for row in self._kept.keys() - set(rows)}
        return Answers(pa.array(values, self._task.returns))

    def _write(self, rows: Sequence[tuple[str, ...]], batch: pa.Table) -> list[tuple[str, bool]]:
        """What the model writes for each row, and whether it came to an end."""
        prompts = self._tokens.of_rows(rows)
        lengths = np.array([len(ids) for ids in prompts], dtype=np.int64)
        if len(rows) and lengths.max() > self._limit:
            longest = self._task.prompt.rows(batch).index(rows[int(lengths.argmax())])
            raise DataError(
                f"{self._task.who}: row {longest} of the batch ({describe_row(batch, longest)}) has"
                f" {lengths.max():,} tokens with its prompt; with max_new_tokens ="
                f" {self._task.max_new_tokens} the model takes {self._limit:,}. Write a part of the"
                " text as argument, such as left(text, 1000)."
            )
        found: dict[int, tuple[str, bool]] = {}

        def work(model: PreTrainedModel, positions: Positions) -> None:
            texts = self._generate(model, [prompts[i] for i in positions])
            found.update(zip(positions.tolist(), texts, strict=True))

        batches = token_batches(lengths + self._task.max_new_tokens, self._budget)
        self._replicas.run(work, batches)
        return [found[i] for i in range(len(rows))]

    def _generate(self, model: PreTrainedModel, prompts: list[list[int]]) -> list[tuple[str, bool]]:
        import torch

        width, n_new = max(map(len, prompts)), self._task.max_new_tokens
        ids = [[self._pad] * (width - len(p)) + p for p in prompts]  # what is written follows it
        mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
        stop: dict[str, Any] = {}
        if self._task.stop is not None:
            stop = {"stop_strings": [self._task.stop], "tokenizer": self._tokenizer}
        generate: Any = model.generate
        with quiet():
            written = generate(
                torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                max_new_tokens=n_new,
                **stop,
            )[:, width:]
        n_written = sum(self._end(row)[1] for row in written.tolist())
        self.tokens.add(n_read=sum(map(len, prompts)), n_written=n_written)
        return [self._ended(row) for row in written.tolist()]

    def _end(self, ids: list[int]) -> tuple[int | None, int]:
        """Where an end stands, if it does; and how many tokens were written up to it."""
        end = next((i for i, token in enumerate(ids) if token in self._ends), None)
        return end, len(ids) if end is None else end + 1

    def _ended(self, ids: list[int]) -> tuple[str, bool]:
        end, _ = self._end(ids)
        text = str(self._tokenizer.decode(ids[:end], skip_special_tokens=True))
        stop = self._task.stop
        if stop is not None and stop in text:
            return text.partition(stop)[0], True
        return text, end is not None


def _schema(options: Options) -> str | None:
    written = options.text("schema")
    if written is None:
        return None
    if "answers" in options.values:
        raise options.error("write either answers or schema.", "schema")
    try:
        parsed = json.loads(written)
        check_schema(parsed)
    except (ValueError, TypeError) as error:
        message = f"schema is no JSON Schema that can be used: {error}."
        raise options.error(message, "schema") from None
    return json.dumps(parsed, ensure_ascii=False)


def writing_task(signature: Signature, options: Options, _context: Context) -> WritingTask:
    """Make the task of ``task = 'text-generation'`` from checked options."""
    require_text(signature.arguments, options, "text-generation")
    returns = arrow_type(signature.returns)
    chat = options.boolean("chat", True)
    system = system_prompt(options, chat=chat)
    form, schema = answer_format(options, returns, any_text=True), _schema(options)
    prompt = parse_prompt(
        options.text("prompt") or "", [a.name for a in signature.arguments], options
    )
    asked = None
    if schema is not None:
        asked = f"Answer in JSON that fits this schema, and nothing else: {schema}"
    elif form.choices or not pa.types.is_string(returns):
        asked = form.instruction(structured=False)
    if chat and asked is not None:
        literals = (*prompt.literals[:-1], f"{prompt.literals[-1]}\n\n{asked}")
        prompt = Prompt(literals, prompt.fields)
    stop = options.text("stop")
    return WritingTask(
        who=options.who,
        prompt=prompt,
        format=form,
        schema=schema,
        chat=chat,
        system=system,
        stop=None if stop is None else unescape(stop),
        max_new_tokens=options.count("max_new_tokens", _MAX_NEW_TOKENS),
    )
