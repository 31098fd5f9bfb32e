"""Task ``image-text-to-text``: an image and a question, answered by the logits of answer texts."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import OperationalError
from thresher.oracles.batching import Replicas
from thresher.oracles.causal import Question
from thresher.oracles.chat_templates import chat_prompt
from thresher.oracles.choosing import question_facts, question_of
from thresher.oracles.context import Context
from thresher.oracles.decisions import answer_by_odds, check_finite, returned_type
from thresher.oracles.media import MediaReader, is_blob, read_image
from thresher.oracles.options import Options
from thresher.oracles.prompt_tokens import answer_tokens, special_texts
from thresher.oracles.protocols import Answers, Argument, Signature
from thresher.oracles.runtime import Runtime, quiet
from thresher.oracles.token_counts import TokenCount
from thresher.oracles.weights import Source, load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ViewingTask", "viewing_task"]

Positions = npt.NDArray[np.int64]
_CPU_IMAGES, _GPU_IMAGES = 2, 16


@dataclass(frozen=True, slots=True)
class ViewingTask:
    """A model that sees an image and reads a question; the more probable answer text is taken.

    Parameters
    ----------
    question : Question
        Prompt, answers and return type.
    reader : MediaReader
        Finds the images of rows.
    texts : tuple of str
        Arguments that the prompt names, in the order of its fields.

    Notes
    -----
    Answers are compared by the first token in which all of them differ; in front of it they must
    be the same. In an argument, the text of a special token gets a blank after its first character,
    so that no row can end its own turn or ask for another image.
    """

    question: Question
    reader: MediaReader
    texts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The value of the option ``task``."""
        return "image-text-to-text"

    @property
    def returns(self) -> pa.DataType:
        """Arrow type of the answers."""
        return self.question.returns

    @property
    def facts(self) -> tuple[object, ...]:
        """Prompt, answers, threshold, chat, and which argument is the image."""
        return (*question_facts(self.question), self.reader.column)

    def load(self, source: Source, version: str, runtime: Runtime) -> _Viewing:
        """Load the model and find the answers' tokens."""
        processor, replicas = load_model("image-text-to-text", source, version, runtime)
        return _Viewing(self, processor, replicas)


class _Viewing:
    def __init__(self, task: ViewingTask, processor: Any, replicas: Replicas) -> None:
        self._task, self._processor, self._replicas = task, processor, replicas
        question, tokenizer = task.question, processor.tokenizer
        self._prompt = question.prompt
        if question.chat:
            self._prompt = chat_prompt(
                processor, question.prompt, question.system, question.who, before=("image",)
            )
        self._lock, self.tokens = threading.Lock(), TokenCount()
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        image_token = getattr(processor, "image_token", None)
        special = special_texts(tokenizer).pattern
        self._special = re.compile(
            f"{special}|{re.escape(image_token)}" if image_token else special
        )

        def of_texts(texts: list[str]) -> list[list[int]]:
            found: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
            return found

        with quiet():
            self._shared, rests = answer_tokens(
                of_texts, self._prompt.example(), question.answers, question.who
            )
        self._wanted = [ids[0] for ids in rests]
        if self._shared or len(set(self._wanted)) < len(self._wanted):
            raise OperationalError(
                f"{question.who}: two answers begin with the same token of the model:"
                f" {', '.join(map(repr, question.answers))}. Write answers that differ at once."
            )

    def answer(self, batch: pa.Table) -> Answers:
        question = self._task.question
        rows = question.prompt.rows(batch.select(list(self._task.texts)))
        texts = [self._prompt.render([self._plain(v) for v in row]) for row in rows]
        texts = texts or [self._prompt.render(())] * batch.num_rows
        found = np.zeros((batch.num_rows, len(question.answers)))

        def work(model: PreTrainedModel, positions: Positions) -> None:
            found[positions] = self._scores(model, batch, texts, positions)

        size = _CPU_IMAGES if self._replicas.on_cpu else _GPU_IMAGES
        by_length = np.argsort([len(text) for text in texts], kind="stable")
        self._replicas.run(work, np.array_split(by_length, -(-batch.num_rows // size)))
        check_finite(found, batch, question.who)
        names = [answer.strip() for answer in question.answers]
        return answer_by_odds(found, question.returns, names, question.threshold)

    def _plain(self, value: str) -> str:
        return self._special.sub(lambda match: f"{match[0][:1]} {match[0][1:]}", value)

    def _scores(
        self, model: PreTrainedModel, batch: pa.Table, texts: list[str], positions: Positions
    ) -> npt.NDArray[np.float64]:
        """Log-probabilities of the answers' first tokens, up to a constant for each row."""
        import torch

        reader = self._task.reader
        images = [[reader.read(batch, int(row), read_image)] for row in positions]
        with self._lock, quiet():  # a tokenizer serves one thread at a time
            inputs = self._processor(
                text=[texts[row] for row in positions],
                images=images,
                padding=True,
                return_tensors="pt",
                add_special_tokens=not self._task.question.chat,
            ).to(model.device)
        given = {
            name: value.to(model.dtype) if value.is_floating_point() else value
            for name, value in inputs.items()
        }
        last = given["attention_mask"].sum(dim=1) - 1
        rows = torch.arange(len(positions), device=last.device)
        logits = model(**given, use_cache=False).logits[rows, last]
        chosen: npt.NDArray[np.float64] = logits[:, self._wanted].float().cpu().double().numpy()
        self.tokens.add(n_read=int(given["attention_mask"].sum()))
        return chosen


def _image_argument(signature: Signature, template: str, options: Options) -> Argument:
    """The argument that holds the image: the only one with bytes, or that the prompt leaves out."""
    blobs = [argument for argument in signature.arguments if is_blob(argument)]
    unnamed = [
        argument
        for argument in signature.arguments
        if not re.search(rf"\{{\s*{re.escape(argument.name)}\s*\}}", template, re.IGNORECASE)
    ]
    for found in (blobs, unnamed):
        if len(found) == 1:
            return found[0]
    raise options.error(
        "one argument must be the image: a BLOB, or a path that the prompt does not name.", "prompt"
    )


def viewing_task(signature: Signature, options: Options, context: Context) -> ViewingTask:
    """Make the task of ``task = 'image-text-to-text'`` from checked options."""
    returns = returned_type(signature, options, "image-text-to-text")
    template = options.text("prompt") or ""
    image = _image_argument(signature, template, options)
    texts = tuple(a.name for a in signature.arguments if a.name != image.name)
    question = question_of(options, returns, texts, chat=options.boolean("chat", True))
    return ViewingTask(question, MediaReader(options.who, image.name, context), texts)
