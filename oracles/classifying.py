"""Tasks ``text-``, ``image-`` and ``audio-classification``: models that were trained on labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from thresher.errors import OperationalError
from thresher.oracles.context import Context
from thresher.oracles.decisions import LabelChoice, check_finite, label_choice
from thresher.oracles.logits import ImageLogits, SoundLogits, TextLogits
from thresher.oracles.media import MediaReader, require_text
from thresher.oracles.options import Options
from thresher.oracles.prompts import Prompt, parse_prompt
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.runtime import Runtime
from thresher.oracles.token_counts import TokenCount
from thresher.oracles.weights import Source, load_model

__all__ = [
    "LabelTask",
    "LabelledTask",
    "media_classification",
    "media_reader",
    "text_classification",
    "text_prompt",
]

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelTask:
    """What every task that gives rows labels is asked.

    Parameters
    ----------
    name : str
        The value of the option ``task``.
    choice : LabelChoice
        What is wanted of the labels.
    prompt : Prompt or None
        Text around the arguments; None where there is none, or no text.
    reader : MediaReader or None
        For images and sounds.
    """

    name: str
    choice: LabelChoice
    prompt: Prompt | None = None
    reader: MediaReader | None = None

    @property
    def returns(self) -> pa.DataType:
        """Arrow type of the answers."""
        return self.choice.returns

    @property
    def wanted(self) -> tuple[object, ...]:
        """Plain values: the label, its threshold and the text around the arguments."""
        prompt = None if self.prompt is None else (self.prompt.literals, self.prompt.fields)
        return (self.choice.label, self.choice.threshold, prompt)

    def texts_read(self, batch: pa.Table) -> list[str]:
        """Return what the model reads of each row, pairs as one text."""
        return [" ".join(parts) for parts in zip(*self.texts(batch), strict=True)]

    def texts(self, batch: pa.Table) -> list[list[str]]:
        """Return the texts of the rows, a list for each argument; one where there is a prompt."""
        if self.prompt is None:
            return [column.cast(pa.string()).to_pylist() for column in batch.columns]
        return [[self.prompt.render(row) for row in self.prompt.rows(batch)]]


@dataclass(frozen=True, slots=True)
class _Classifying:
    """A loaded classifier."""

    choice: LabelChoice
    labels: tuple[str, ...]
    kind: str
    score: Callable[[pa.Table], Scores]
    tokens: TokenCount | None = None

    def answer(self, batch: pa.Table) -> Answers:
        logits = self.score(batch)
        check_finite(logits, batch, self.choice.who)
        if self.kind == "regression":
            return Answers(pa.array(logits[:, 0]).cast(self.choice.returns))
        exclusive = self.kind == "single_label_classification"
        probabilities = special.softmax(logits, axis=1) if exclusive else special.expit(logits)
        return self.choice.answer(probabilities, self.labels, exclusive)


@dataclass(frozen=True, slots=True)
class LabelledTask(LabelTask):
    """A classifier whose labels stand in its own configuration.

    Parameters
    ----------
    name, choice, prompt, reader
        As for `LabelTask`; ``text-``, ``image-`` or ``audio-classification``.
    max_tokens : int or None
        Longest text.

    Notes
    -----
    Probabilities are the softmax of the logits; the logistic function of each where the model's
    configuration says that labels do not exclude one another, or has one label; and the number
    itself where it says regression.
    """

    max_tokens: int | None = None

    @property
    def facts(self) -> tuple[object, ...]:
        """Label, threshold, text and cut."""
        return (*self.wanted, self.max_tokens)

    def load(self, source: Source, version: str, runtime: Runtime) -> _Classifying:
        """Load the model and look for the label in its configuration."""
        processor, replicas = load_model(self.name, source, version, runtime)
        config: Any = replicas.model.config
        named = sorted((int(i), str(name)) for i, name in config.id2label.items())
        labels = tuple(name for _, name in named)
        if len(set(labels)) < len(labels):
            raise OperationalError(f"{self.choice.who}: the model has two labels of one name.")
        kind = config.problem_type or (
            "single_label_classification" if len(labels) > 1 else "multi_label_classification"
        )
        if kind == "regression" and (len(labels) > 1 or not pa.types.is_floating(self.returns)):
            raise OperationalError(
                f"{self.choice.who}: the model gives numbers and no labels; declare RETURNS DOUBLE"
                " and compare the number in the query."
            )
        self.choice.column(labels)
        scorer: TextLogits | ImageLogits | SoundLogits
        if self.reader is None:
            scorer = TextLogits(processor, replicas, runtime.batch_tokens, self.max_tokens)
            score = scorer.score
            return _Classifying(
                self.choice, labels, kind, lambda batch: score(*self.texts(batch)), scorer.tokens
            )
        if self.name == "image-classification":
            scorer = ImageLogits(self.reader, processor, replicas, lambda m, x: m(x).logits)
        else:
            scorer = SoundLogits(self.reader, processor, replicas)
        return _Classifying(self.choice, labels, kind, scorer.score)


def text_prompt(signature: Signature, options: Options, most: int) -> Prompt | None:
    """Return the parsed ``prompt``; None where there is none and `most` arguments or fewer.

    Raises
    ------
    OptionError
        If there are more arguments than the model can take apart, or one holds bytes.
    """
    task = str(options.text("task"))
    require_text(signature.arguments, options, task)
    names = [argument.name for argument in signature.arguments]
    template = options.text("prompt")
    if template is not None:
        return parse_prompt(template, names, options)
    if len(names) > most:
        listed = " ".join(f"{{{name}}}" for name in names)
        takes = "one text" if most == 1 else "a text or a pair of texts"
        raise options.error(
            f"task '{task}' takes {takes}, and there are {len(names)} arguments. Write prompt ="
            f" '{listed}' to make one text of them."
        )
    return None


def media_reader(signature: Signature, options: Options, context: Context) -> MediaReader:
    """Return what reads the files that the one argument names or holds.

    Raises
    ------
    OptionError
        If there is another number of arguments.
    """
    if len(signature.arguments) != 1:
        raise options.error(
            f"task '{options.text('task')}' takes one argument, a BLOB or a path, not"
            f" {len(signature.arguments)}."
        )
    return MediaReader(options.who, signature.arguments[0].name, context)


def text_classification(signature: Signature, options: Options, _context: Context) -> LabelledTask:
    """Make the task of ``task = 'text-classification'`` from checked options."""
    return LabelledTask(
        "text-classification",
        label_choice(signature, options, "text-classification"),
        prompt=text_prompt(signature, options, 2),
        max_tokens=options.count("max_tokens", 0) or None,
    )


def media_classification(signature: Signature, options: Options, context: Context) -> LabelledTask:
    """Make the task of ``image-classification`` or ``audio-classification``."""
    task = (options.text("task") or "").lower()
    reader = media_reader(signature, options, context)
    return LabelledTask(task, label_choice(signature, options, task), reader=reader)
