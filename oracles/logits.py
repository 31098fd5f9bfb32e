"""Rows through a model that gives every row the same number of logits: texts, images, sounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.oracles.batching import Replicas, ahead, n_threads, token_batches
from thresher.oracles.media import MediaReader, read_image, read_sound
from thresher.oracles.runtime import quiet
from thresher.oracles.token_counts import TokenCount

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ImageLogits", "SoundLogits", "TextLogits", "context_length"]

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
_DEFAULT_CONTEXT = 512
_CPU_IMAGES, _GPU_IMAGES = 8, 64
# Positions of these begin after the padding token's number, so that two of them are never used.
_OFFSET = ("roberta", "camembert", "longformer", "mpnet", "data2vec-text", "xmod", "esm")


def context_length(config: Any, tokenizer: PreTrainedTokenizerBase, most: int | None) -> int:
    """Return how many tokens an encoder takes, special ones counted."""
    known = getattr(config, "max_position_embeddings", None)
    limit = known if isinstance(known, int) and known > 0 else _DEFAULT_CONTEXT
    if any(name in str(getattr(config, "model_type", "")) for name in _OFFSET):
        limit -= 2
    return min(limit, int(min(tokenizer.model_max_length, 2**30)), most or limit)


class TextLogits:
    """Texts, or pairs of texts, through a model with a head for whole sequences.

    Parameters
    ----------
    tokenizer, replicas
        From `thresher.oracles.weights.load_model`.
    budget : int
        Tokens of one pass, padding counted.
    max_tokens : int or None
        Longest sequence; None for what the model takes.
    cut : str
        Which of two texts is cut: ``longest_first`` or ``only_first``.

    Attributes
    ----------
    tokens : TokenCount
        Of the texts that were scored.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        replicas: Replicas,
        budget: int,
        max_tokens: int | None,
        cut: str = "longest_first",
    ) -> None:
        self._tokenizer, self._replicas, self._budget = tokenizer, replicas, budget
        self._cut, self.tokens = cut, TokenCount()
        config = replicas.model.config
        self._limit = context_length(config, tokenizer, max_tokens)
        pad = config.get_text_config().pad_token_id
        if pad is None:
            pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i), 0)
            for model in replicas.models:  # a decoder finds the end of a row by it
                model.config.pad_token_id = pad
        self._pad = int(pad)

    def score(self, texts: Sequence[str], others: Sequence[str] | None = None) -> Scores:
        """Logits, shape (n, n_labels); what a text says of special tokens is plain text."""
        import torch

        with quiet():
            encoded = self._tokenizer(
                list(texts),
                None if others is None else list(others),
                truncation=self._cut,
                max_length=self._limit,
                split_special_tokens=True,
            )
        columns = {k: v for k, v in encoded.items() if k in ("input_ids", "token_type_ids")}
        lengths = np.array([len(ids) for ids in columns["input_ids"]], dtype=np.int64)
        self.tokens.add(n_read=int(lengths.sum()))
        found = np.zeros((len(texts), _n_labels(self._replicas)))

        def work(model: PreTrainedModel, batch: Positions) -> None:
            longest = int(lengths[batch].max())
            mask = np.arange(longest)[None, :] < lengths[batch][:, None]
            given = {"attention_mask": torch.from_numpy(mask.astype(np.int64))}
            for name, rows in columns.items():
                filling = self._pad if name == "input_ids" else 0
                padded = np.full(mask.shape, filling, dtype=np.int64)
                padded[mask] = np.concatenate([rows[i] for i in batch])
                given[name] = torch.from_numpy(padded)
            logits = model(**{k: v.to(model.device) for k, v in given.items()}).logits
            found[batch] = logits.float().cpu().double().numpy()

        with quiet():
            self._replicas.run(work, token_batches(lengths, self._budget))
        return found


class ImageLogits:
    """Images through a model; every core decodes, for an accelerator while it computes.

    Parameters
    ----------
    reader : MediaReader
        Finds the images of rows.
    processor
        Makes ``pixel_values``.
    replicas : Replicas
        The model.
    logits : callable
        ``logits(model, pixel_values)``, shape (n, n_labels).
    """

    def __init__(
        self,
        reader: MediaReader,
        processor: Callable[..., Mapping[str, torch.Tensor]],
        replicas: Replicas,
        logits: Callable[[PreTrainedModel, torch.Tensor], torch.Tensor],
    ) -> None:
        self._reader, self._processor = reader, processor
        self._replicas, self._logits = replicas, logits

    def score(self, batch: pa.Table) -> Scores:
        """Logits, shape (n, n_labels)."""
        if self._replicas.on_cpu:
            return self._on_cpu(batch)
        import torch

        found: list[Scores] = []

        def prepare(rows: Positions) -> torch.Tensor:
            pieces = np.array_split(rows, -(-len(rows) // _CPU_IMAGES))
            return torch.cat(list(pool.map(partial(self._pixels, batch), pieces)))

        def use(_: Positions, pixels: torch.Tensor) -> None:
            found.append(_in_passes(self._replicas, self._logits, pixels, _GPU_IMAGES))

        n_chunks = -(-batch.num_rows // (_GPU_IMAGES * len(self._replicas.models)))
        with ThreadPoolExecutor(n_threads()) as pool:
            ahead(prepare, np.array_split(np.arange(batch.num_rows), n_chunks), use)
        return np.concatenate(found)

    def _pixels(self, batch: pa.Table, rows: Positions) -> torch.Tensor:
        images = [self._reader.read(batch, int(row), read_image) for row in rows]
        with quiet():
            return self._processor(images=images, return_tensors="pt")["pixel_values"]

    def _on_cpu(self, batch: pa.Table) -> Scores:
        """Logits where each thread decodes the images that it computes."""
        found: dict[int, npt.NDArray[np.float64]] = {}

        def work(model: PreTrainedModel, rows: Positions) -> None:
            pixels = self._pixels(batch, rows).to(model.dtype)
            scores = self._logits(model, pixels).float().double().numpy()
            found.update(zip(rows.tolist(), scores, strict=True))

        self._replicas.run(work, _passes(self._replicas, batch.num_rows, _CPU_IMAGES))
        return np.stack([found[row] for row in range(batch.num_rows)])


class SoundLogits:
    """Sounds through a model; those of one length together.

    Parameters
    ----------
    reader : MediaReader
        Finds the sounds of rows.
    extractor
        Makes the inputs; it knows the sampling rate.
    replicas : Replicas
        The model.

    Notes
    -----
    Sounds are not padded to a common length, since padding changes what some models hear.
    """

    def __init__(self, reader: MediaReader, extractor: Any, replicas: Replicas) -> None:
        self._reader, self._extractor, self._replicas = reader, extractor, replicas

    def score(self, batch: pa.Table) -> Scores:
        """Logits, shape (n, n_labels)."""
        rate = int(self._extractor.sampling_rate)
        sounds = [
            self._reader.read(batch, row, lambda data: read_sound(data, rate))
            for row in range(batch.num_rows)
        ]
        lengths = np.array([len(sound) for sound in sounds])
        found = np.zeros((len(sounds), _n_labels(self._replicas)))
        size = _CPU_IMAGES if self._replicas.on_cpu else _GPU_IMAGES
        main = self._replicas.model.main_input_name

        def logits(model: PreTrainedModel, inputs: torch.Tensor) -> torch.Tensor:
            heard: torch.Tensor = model(**{main: inputs}).logits
            return heard

        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            with quiet():
                inputs = self._extractor(
                    [sounds[i] for i in alike], sampling_rate=rate, return_tensors="pt"
                )[main]
            found[alike] = _in_passes(self._replicas, logits, inputs, size)
        return found


def _n_labels(replicas: Replicas) -> int:
    config: Any = replicas.model.config
    return int(config.num_labels)


def _passes(replicas: Replicas, n_rows: int, size: int) -> list[Positions]:
    """Rows in passes of `size` or fewer, one for each core at least."""
    n_workers = min(n_rows, n_threads()) if replicas.on_cpu else 1
    return np.array_split(np.arange(n_rows), max(-(-n_rows // size), n_workers))


def _in_passes(
    replicas: Replicas,
    logits: Callable[[PreTrainedModel, torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    size: int,
) -> Scores:
    """Logits of inputs that are stacked, `size` rows at a time."""
    found: dict[int, npt.NDArray[np.float64]] = {}

    def work(model: PreTrainedModel, rows: Positions) -> None:
        given = inputs[rows].to(model.device, model.dtype)
        scores = logits(model, given).float().cpu().double().numpy()
        found.update(zip(rows.tolist(), scores, strict=True))

    with quiet():
        replicas.run(work, _passes(replicas, len(inputs), size))
    return np.stack([found[row] for row in range(len(inputs))])
