"""Proxy ``embedding``: a frozen encoder, and a logistic head trained inside the query."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from thresher.errors import InterfaceError
from thresher.oracles.batching import token_batches
from thresher.oracles.cache import cache_folder
from thresher.oracles.context import Context
from thresher.oracles.features import split_inputs
from thresher.oracles.logistic import FittedScores, fit_logistic
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import FittedProxy, Signature
from thresher.oracles.runtime import (
    RUNTIME_OPTIONS,
    Runtime,
    quiet,
    require_models,
    resolve_runtime,
)
from thresher.oracles.vectors import VectorStore
from thresher.oracles.versions import digest
from thresher.oracles.weights import SOURCE_OPTIONS, Source, find_source, load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["OPTIONS", "EmbeddingProxy", "create_proxy"]

OPTIONS = {
    **SOURCE_OPTIONS,
    **{name: RUNTIME_OPTIONS[name] for name in ("device", "dtype", "batch_tokens")},
    "model": Option("text"),
    "max_tokens": Option("count"),
    "cache": Option("boolean"),
}
_STRENGTHS = (0.125, 0.5, 2.0, 8.0, 32.0, 128.0)
_MAX_TOKENS = 256
_LARGEST = 6e4  # of float16, in which vectors are kept


@dataclass(frozen=True, slots=True)
class _Features:
    matrix: npt.NDArray[np.float32]
    centre: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float64]


@functools.lru_cache(maxsize=4)
def _store(version: str, on_disk: bool) -> VectorStore:
    return VectorStore(cache_folder("embeddings", version[:32]) if on_disk else None)


def embed(
    source: Source, version: str, runtime: Runtime, max_tokens: int, texts: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Return one vector per text: the mean state after a third, two thirds and all of the layers.

    Parameters
    ----------
    source, version, runtime
        As for `thresher.oracles.weights.load_model`.
    max_tokens : int
        Longer texts are cut at their end.
    texts : sequence of str
        Any texts, empty ones too.

    Returns
    -------
    ndarray of float32, shape (n, 3 * width of the encoder)

    Notes
    -----
    The last layer of an encoder trained for similarity has forgotten what a topic does not need,
    such as tone. With the two layers before it, cross-validated AUC rose from .797 to .821 on film
    reviews and from .990 to .997 on text messages (400 labels, all-MiniLM-L6-v2).
    """
    import torch

    tokenizer, replicas = load_model("encoder", source, version, runtime)
    config = replicas.model.config
    limit = min(max_tokens, int(getattr(config, "max_position_embeddings", max_tokens)))
    with quiet():
        ids = tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    depth = int(config.num_hidden_layers)
    layers = [max(1, round(depth / 3)), max(1, round(2 * depth / 3)), depth]
    found = np.zeros((len(ids), 3 * int(config.hidden_size)), dtype=np.float32)

    def work(model: PreTrainedModel, batch: npt.NDArray[np.int64]) -> None:
        longest = int(lengths[batch].max())
        rows = [list(ids[i]) + [0] * (longest - len(ids[i])) for i in batch]
        tokens = torch.tensor(rows, device=model.device)
        size = torch.tensor(lengths[batch], device=model.device)
        mask = torch.arange(longest, device=model.device)[None, :] < size[:, None]
        states = model(
            input_ids=tokens, attention_mask=mask.long(), output_hidden_states=True
        ).hidden_states
        kept = torch.cat([states[layer] for layer in layers], dim=2).float()
        mean = (kept * mask[..., None]).sum(1) / size.clamp(min=1)[:, None]
        found[batch] = mean.cpu().numpy()

    with quiet():
        replicas.run(work, token_batches(lengths, runtime.batch_tokens))
    # A poor score costs labels, an infinite one would stop the query.
    return np.clip(np.nan_to_num(found), -_LARGEST, _LARGEST)


class EmbeddingProxy:
    """Logistic regression on the embedding of the text.

    Parameters
    ----------
    source : Source
        Where the encoder lies.
    options : Options
        ``device``, ``dtype``, ``batch_tokens``, ``max_tokens`` (256) and ``cache`` (true: vectors
        are also kept on disk).

    Notes
    -----
    A text is embedded once per encoder: vectors stay in memory for the process and on disk in the
    user's cache folder. They are rounded to float16 before their first use, so that scores do not
    hang on whether they were cached. Numeric arguments are features of their own.
    """

    def __init__(self, source: Source, options: Options) -> None:
        self._source, self._options = source, options

    @property
    def name(self) -> str:
        """Short name for the certificate."""
        return f"embedding({self._source.name})"

    def featurise(self, batch: pa.Table) -> object:
        """Return the embeddings of the whole population.

        Raises
        ------
        InterfaceError
            If torch or transformers is not installed.
        OperationalError
            If the encoder cannot be loaded.
        """
        inputs = split_inputs(batch)
        if inputs.texts is None:
            none = np.zeros(0, dtype=np.float32)
            return _Features(inputs.numbers, none, none, inputs.scale)
        vectors = self._vectors(inputs.texts)
        centre = vectors.mean(axis=0)
        vectors -= centre
        # Rows have a length near 1 whatever the encoder, so one set of strengths fits all.
        spread = np.maximum(vectors.std(axis=0), 1e-6) * np.sqrt(vectors.shape[1])
        spread = spread.astype(np.float32)
        vectors /= spread
        return _Features(np.hstack([vectors, inputs.numbers]), centre, spread, inputs.scale)

    @property
    def version(self) -> str:
        """What the features hang on: proxies of another version cannot be used again."""
        runtime, weights = resolve_runtime(self._options), self._source.version()
        max_tokens = self._options.count("max_tokens", _MAX_TOKENS)
        return digest("mean of three layers", weights, runtime.dtype, max_tokens)

    def _vectors(self, texts: list[str]) -> npt.NDArray[np.float32]:
        runtime, weights = resolve_runtime(self._options), self._source.version()
        max_tokens = self._options.count("max_tokens", _MAX_TOKENS)
        store = _store(self.version, self._options.boolean("cache", True))
        missing = store.missing(texts)
        if missing:
            store.add(missing, embed(self._source, weights, runtime, max_tokens, missing))
        return store.get(texts)

    def fit(
        self,
        features: object,
        rows: npt.NDArray[np.int64],
        truth: npt.NDArray[np.bool_],
        rng: np.random.Generator,
        belief: npt.NDArray[np.float64] | None = None,
    ) -> FittedScores:
        """Train the head on the labelled rows and score the whole population.

        Raises
        ------
        InterfaceError
            If `features` do not come from `featurise`.
        """
        if not isinstance(features, _Features):
            raise InterfaceError(f"{self.name}: fit takes what featurise returned.")
        return fit_logistic(features.matrix, rows, truth, rng, _STRENGTHS, belief)

    def freeze(self, features: object, fitted: FittedProxy) -> dict[str, npt.NDArray[Any]] | None:
        """Return what `apply` needs, as arrays; None where nothing was learnt."""
        if not isinstance(features, _Features) or not isinstance(fitted, FittedScores):
            raise InterfaceError(f"{self.name}: freeze takes what featurise and fit returned.")
        if fitted.head is None:
            return None
        return {
            "centre": features.centre,
            "spread": features.spread,
            "weights": fitted.head.spread(features.matrix.shape[1]),
            "scale": features.scale,
            "intercept": np.array([fitted.head.intercept]),
        }

    def apply(
        self, trained: Mapping[str, npt.NDArray[Any]], batch: pa.Table
    ) -> npt.NDArray[np.float64]:
        """Score rows by what `freeze` returned: probabilities, shape (n_rows,).

        Raises
        ------
        InterfaceError
            The rows have more or fewer numbers than those it was trained on, or no text.
        """
        inputs = split_inputs(batch, trained["scale"])
        features = inputs.numbers
        if (inputs.texts is None) != (not len(trained["centre"])):
            raise InterfaceError(f"{self.name} was trained on other inputs.")
        if inputs.texts is not None:
            vectors = (self._vectors(inputs.texts) - trained["centre"]) / trained["spread"]
            features = np.hstack([vectors, features])
        logits = features @ trained["weights"].astype(np.float64) + trained["intercept"][0]
        return np.asarray(special.expit(logits), dtype=np.float64)


def create_proxy(
    _name: str, _signature: Signature, options: Options, context: Context
) -> EmbeddingProxy:
    """Make the proxy of ``USING embedding``; the encoder is loaded on first use."""
    require_models()
    model = options.text("model") or os.environ.get("THRESHER_ENCODER")
    if not model:
        raise options.error(
            "embedding needs an encoder. Write WITH (model = 'a folder or a hub name'), or set the"
            " environment variable THRESHER_ENCODER."
        )
    return EmbeddingProxy(find_source(model, options, context), options)
