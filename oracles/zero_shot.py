"""Tasks ``zero-shot`` and ``image-text``: labels that the declaration names, not the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from thresher.errors import OperationalError
from thresher.oracles.batching import Replicas
from thresher.oracles.classifying import LabelTask, media_reader, text_prompt
from thresher.oracles.context import Context
from thresher.oracles.decisions import LabelChoice, check_finite, label_choice
from thresher.oracles.logits import ImageLogits, TextLogits
from thresher.oracles.media import MediaReader
from thresher.oracles.options import Options
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.runtime import Runtime, quiet
from thresher.oracles.token_counts import TokenCount
from thresher.oracles.weights import Source, load_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["ZeroShotTask", "image_text_task", "zero_shot_task"]

_HYPOTHESES = {"zero-shot": "This example is {}.", "image-text": "This is a photo of {}."}


@dataclass(frozen=True, slots=True)
class ZeroShotTask(LabelTask):
    """Labels as sentences that a model holds against a text or an image.

    Parameters
    ----------
    name, choice, prompt, reader
        As for `LabelTask`; ``zero-shot`` or ``image-text``.
    labels : tuple of str
        The labels, in the order of the declaration.
    hypotheses : tuple of str
        A sentence for each.

    Notes
    -----
    ``zero-shot`` asks a model of natural language inference whether the text entails each
    sentence: the softmax of the entailment logits over the labels, or, with one label, that of
    entailment against contradiction (W. Yin, J. Hay and D. Roth, "Benchmarking Zero-shot Text
    Classification", EMNLP 2019). ``image-text`` is the softmax over the labels of an image's
    similarity to the sentences (A. Radford et al., "Learning Transferable Visual Models From
    Natural Language Supervision", ICML 2021); SigLIP's labels do not exclude one another.
    """

    labels: tuple[str, ...] = field(kw_only=True)
    hypotheses: tuple[str, ...] = field(kw_only=True)

    def texts_read(self, batch: pa.Table) -> list[str]:
        """Return what the model reads of the rows: each with every sentence."""
        return [f"{text} {one}" for text in self.texts(batch)[0] for one in self.hypotheses]

    @property
    def facts(self) -> tuple[object, ...]:
        """Labels, their sentences, what is wanted of them, and the text around the arguments."""
        return (self.labels, self.hypotheses, *self.wanted)

    def load(self, source: Source, version: str, runtime: Runtime) -> _Entailing | _Matching:
        """Load the model."""
        if self.reader is not None:
            processor, replicas = load_model("image-text", source, version, runtime)
            return _Matching(self, self.reader, processor, replicas)
        tokenizer, replicas = load_model("text-classification", source, version, runtime)
        scorer = TextLogits(tokenizer, replicas, runtime.batch_tokens, None, "only_first")
        config: Any = replicas.model.config
        named = {str(name).lower(): int(i) for name, i in config.label2id.items()}
        entails = next((i for name, i in named.items() if name.startswith("entail")), None)
        against = next((i for name, i in named.items() if name.startswith("contra")), None)
        if entails is None or (against is None and len(self.labels) == 1):
            listed = ", ".join(sorted(named, key=named.__getitem__))
            raise OperationalError(
                f"{self.choice.who}: the model's labels ({listed}) are not those of"
                " natural language inference: 'entailment' and 'contradiction'. Take another"
                " model, or task = 'text-classification' for this one."
            )
        return _Entailing(self, scorer, entails, against)


@dataclass(frozen=True, slots=True)
class _Entailing:
    task: ZeroShotTask
    scorer: TextLogits
    entails: int
    against: int | None

    @property
    def tokens(self) -> TokenCount:
        return self.scorer.tokens

    def answer(self, batch: pa.Table) -> Answers:
        task, n_labels = self.task, len(self.task.labels)
        texts = task.texts(batch)[0]
        premises = [text for text in texts for _ in range(n_labels)]
        logits = self.scorer.score(premises, list(task.hypotheses) * len(texts))
        check_finite(logits.reshape(len(texts), -1), batch, task.choice.who)
        if n_labels == 1 and self.against is not None:
            probabilities = special.expit(logits[:, [self.entails]] - logits[:, [self.against]])
            return task.choice.answer(probabilities, task.labels, exclusive=False)
        entailed = logits[:, self.entails].reshape(len(texts), n_labels)
        return task.choice.answer(special.softmax(entailed, axis=1), task.labels, exclusive=True)


class _Matching:
    def __init__(
        self, task: ZeroShotTask, reader: MediaReader, processor: Any, replicas: Replicas
    ) -> None:
        self._task = task
        self._exclusive = "siglip" not in str(replicas.model.config.model_type)
        with quiet():
            self._sentences = dict(
                processor.tokenizer(
                    list(task.hypotheses),
                    padding=True if self._exclusive else "max_length",
                    truncation=True,
                    return_tensors="pt",
                )
            )
        images = processor.image_processor
        self._embedded: dict[torch.device, torch.Tensor] = {}
        self._scorer = ImageLogits(reader, images, replicas, self._logits)

    def _logits(self, model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
        """Hold images against the sentences, which are embedded with the first of them only."""
        if (sentences := self._embedded.get(model.device)) is not None:
            return _similar(model, pixels, sentences)
        inputs = {name: ids.to(model.device) for name, ids in self._sentences.items()}
        found = model(pixel_values=pixels, **inputs)
        if model.config.model_type == "clip":
            self._embedded[model.device] = found.text_embeds
        similar: torch.Tensor = found.logits_per_image
        return similar

    def answer(self, batch: pa.Table) -> Answers:
        logits: npt.NDArray[np.float64] = self._scorer.score(batch)
        choice = self._task.choice
        check_finite(logits, batch, choice.who)
        exclusive = self._exclusive
        probabilities = special.softmax(logits, axis=1) if exclusive else special.expit(logits)
        return choice.answer(probabilities, self._task.labels, exclusive)


def _similar(model: Any, pixels: torch.Tensor, sentences: torch.Tensor) -> torch.Tensor:
    """Return the logits of images against embedded sentences, as CLIP's forward does."""
    images: torch.Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    images = images / images.norm(p=2, dim=-1, keepdim=True)
    logits: torch.Tensor = (sentences @ images.t()) * model.logit_scale.exp()
    return logits.t()


def _named(
    signature: Signature, options: Options, task: str
) -> tuple[LabelChoice, tuple[str, ...], tuple[str, ...]]:
    """What is wanted, the labels, and a sentence for each."""
    choice = label_choice(signature, options, task)
    labels = tuple(options.texts("labels"))
    if len({label.casefold() for label in labels}) < len(labels) or not all(labels):
        raise options.error("each label must be there once, and none empty.", "labels")
    if len(labels) < 2 and (task == "image-text" or pa.types.is_string(choice.returns)):
        raise options.error(
            "one label leaves nothing to choose. Write labels = ['a', 'b'].", "labels"
        )
    try:
        choice.column(labels)
    except OperationalError as error:
        raise options.error(error.message.partition(": ")[2], "label") from None
    hypothesis = options.text("hypothesis") or _HYPOTHESES[task]
    if hypothesis.count("{}") != 1:
        raise options.error(
            f"the hypothesis must hold {{}} once, where the label goes, got {hypothesis!r}.",
            "hypothesis",
        )
    return choice, labels, tuple(hypothesis.replace("{}", label) for label in labels)


def zero_shot_task(signature: Signature, options: Options, _context: Context) -> ZeroShotTask:
    """Make the task of ``task = 'zero-shot'`` from checked options."""
    choice, labels, hypotheses = _named(signature, options, "zero-shot")
    prompt = text_prompt(signature, options, 1)
    return ZeroShotTask("zero-shot", choice, prompt, labels=labels, hypotheses=hypotheses)


def image_text_task(signature: Signature, options: Options, context: Context) -> ZeroShotTask:
    """Make the task of ``task = 'image-text'`` from checked options."""
    choice, labels, hypotheses = _named(signature, options, "image-text")
    reader = media_reader(signature, options, context)
    return ZeroShotTask("image-text", choice, reader=reader, labels=labels, hypotheses=hypotheses)
