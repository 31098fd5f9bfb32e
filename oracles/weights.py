"""Model weights: where they lie, what they hash to, and how they are loaded without pickle."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.errors import OperationalError
from thresher.oracles.batching import Replicas
from thresher.oracles.cache import cache_folder, published_folder
from thresher.oracles.context import Context
from thresher.oracles.options import Option, Options
from thresher.oracles.runtime import Runtime, quiet
from thresher.oracles.versions import digest, path_version

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["KINDS", "SOURCE_OPTIONS", "Source", "find_source", "load_model", "load_tokenizer"]

# What is loaded: the class of the model, and of what turns rows into its inputs.
KINDS = {
    "encoder": ("AutoModel", "AutoTokenizer"),
    "causal-lm": ("AutoModelForCausalLM", "AutoTokenizer"),
    "text-classification": ("AutoModelForSequenceClassification", "AutoTokenizer"),
    "image-classification": ("AutoModelForImageClassification", "AutoImageProcessor"),
    "audio-classification": ("AutoModelForAudioClassification", "AutoFeatureExtractor"),
    "image-text": ("AutoModel", "AutoProcessor"),
    "image-text-to-text": ("AutoModelForImageTextToText", "AutoProcessor"),
}

SOURCE_OPTIONS = {
    "model": Option("text", required=True),
    "gguf_file": Option("text"),
    "revision": Option("text"),
    "local_files_only": Option("boolean"),
}
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_LOADING_ERRORS = (ImportError, OSError, ValueError, KeyError, TypeError, RuntimeError)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from.

    Parameters
    ----------
    place : str
        Folder, or name on the Hugging Face hub.
    local : bool
        Whether `place` is a folder.
    gguf_file : str or None
        The GGUF file in it that holds the weights; None for safetensors.
    revision : str or None
        Branch, tag or commit on the hub.
    local_files_only : bool
        Whether the hub may not be asked.
    """

    place: str
    local: bool
    gguf_file: str | None = None
    revision: str | None = None
    local_files_only: bool = False

    @property
    def name(self) -> str:
        """Short name: the GGUF file, or the last part of the place that says something."""
        path = Path(self.gguf_file or self.place)
        return path.parent.name if path.name == "model" else path.name.removesuffix(".gguf")

    def version(self) -> str:
        """Return a hash (hex) of the weights: content of local files, or name and commit.

        Raises
        ------
        OperationalError
            If a hub model cannot be found.
        """
        if not self.local:
            return digest("hub", self.place, self.gguf_file, _commit(self))
        folder = Path(self.place)
        return path_version(folder / self.gguf_file if self.gguf_file else folder)

    def pinned(self) -> Source:
        """Return the same with its commit: what is loaded is what the version was made of."""
        return self if self.local else replace(self, revision=_commit(self))


@functools.lru_cache(maxsize=64)
def _commit(source: Source) -> str:
    """Commit of a hub model, asked for once a process."""
    from transformers.utils.hub import cached_file, extract_commit_hash

    file = source.gguf_file or "config.json"
    try:
        with quiet():
            path = cached_file(
                source.place,
                file,
                revision=source.revision or "main",
                local_files_only=source.local_files_only,
            )
    except (OSError, ValueError) as error:
        raise _unloadable(source, error) from error
    return str(extract_commit_hash(path, None) or source.revision or "main")


def _unloadable(source: Source, error: Exception) -> OperationalError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
    if "model.safetensors" in reason:  # what transformers advises then is to read the pickle
        reason = "it holds no safetensors; pickled weights are not read, as they can run any code"
    return OperationalError(
        f"cannot load model {source.place!r}: {reason}."
        " Write model = 'a folder with config.json and *.safetensors (or one .gguf file)', or a"
        " name on the Hugging Face hub whose weights are safetensors."
    )


def _gguf_in(folder: Path, options: Options) -> str | None:
    """The GGUF file to load from a folder, None when it holds safetensors."""
    named = options.text("gguf_file")
    found = sorted(path.name for path in folder.glob("*.gguf"))
    if named is not None:
        if named not in found:
            listed = ", ".join(found) or "none"
            raise OperationalError(
                f"{options.who}: there is no file {named!r} in {folder}; GGUF files: {listed}."
            )
        return named
    if any(folder.glob("*.safetensors")):
        if not (folder / "config.json").is_file():
            raise OperationalError(f"{options.who}: {folder} holds weights but no config.json.")
        return None
    if len(found) > 1:
        raise OperationalError(
            f"{options.who}: {folder} holds several GGUF files. Write gguf_file = one of"
            f" {', '.join(repr(f) for f in found)}."
        )
    if not found:
        _refuse_folder(folder, options)
    return found[0]


def _refuse_folder(folder: Path, options: Options) -> None:
    pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    if pickles:
        raise OperationalError(
            f"{options.who}: {folder} holds its weights as pickle ({pickles[0]}), which can run any"
            " code when it is loaded; thresher reads safetensors and GGUF only. Save the model"
            " again with save_pretrained of a recent transformers."
        )
    raise OperationalError(
        f"{options.who}: {folder} holds no *.safetensors and no .gguf file, so no weights."
    )


def find_source(model: str, options: Options, context: Context) -> Source:
    """Return where a model name points to, after cheap checks; nothing is loaded.

    Parameters
    ----------
    model : str
        Folder, ``.gguf`` file, or name on the Hugging Face hub.
    options : Options
        For ``gguf_file``, ``revision`` and ``local_files_only``.
    context : Context
        For relative paths.

    Raises
    ------
    OperationalError
        If it looks like a path that does not exist, or like a folder without usable weights.
    """
    path = context.resolve(model)
    if path.is_file() and path.suffix == ".gguf":
        return Source(str(path.parent), True, path.name)
    if path.is_dir():
        return Source(str(path), True, _gguf_in(path, options))
    parent_is_here = "/" in model and path.parent.is_dir()
    if parent_is_here or path.is_file() or path.suffix == ".gguf" or not _HUB_NAME.fullmatch(model):
        raise OperationalError(
            f"{options.who}: there is no model folder {str(path)!r}. Write model = a folder with"
            " config.json and *.safetensors, a .gguf file, or a hub name such as"
            " 'HuggingFaceTB/SmolLM2-135M-Instruct'."
        )
    return Source(
        model,
        False,
        options.text("gguf_file"),
        options.text("revision"),
        options.boolean("local_files_only", False),
    )


def _shared(source: Source) -> dict[str, Any]:
    """What tells the transformers library where to look, and what not to run."""
    return {
        "revision": source.revision or "main",
        "local_files_only": source.local_files_only or source.local,
        "trust_remote_code": False,
    }


@functools.lru_cache(maxsize=4)
def load_tokenizer(source: Source) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a model without its weights; None where it cannot be had so."""
    import transformers

    if source.gguf_file:  # it is in the file with the weights
        return None
    try:
        with quiet():
            found: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
                source.place, **_shared(source)
            )
    except _LOADING_ERRORS:
        return None
    return found


def _from_pretrained(kind: str, source: Source, dtype: str) -> tuple[Any, PreTrainedModel]:
    import torch
    import transformers
    from safetensors import SafetensorError

    shared = _shared(source)
    if source.gguf_file:
        shared["gguf_file"] = source.gguf_file
    weights = {} if source.gguf_file else {"use_safetensors": True}
    model_class, processor_class = (getattr(transformers, name) for name in KINDS[kind])
    try:
        with quiet():
            processor = processor_class.from_pretrained(source.place, **shared)
            model = model_class.from_pretrained(
                source.place, dtype=getattr(torch, dtype), **shared, **weights
            )
    except (*_LOADING_ERRORS, SafetensorError) as error:
        raise _unloadable(source, error) from error
    return processor, model.eval()


def _unpacked(kind: str, source: Source, version: str) -> Source:
    """A folder of safetensors with the dequantised weights of a GGUF file.

    Unpacking takes half a minute for 135 million weights, loading the result half a second.
    """
    from safetensors.torch import save_model

    folder = cache_folder("gguf", f"{KINDS[kind][0]}-{version[:32]}")
    if not folder.is_dir():
        # The unpacking draws its own progress bar, which no setting of transformers turns off.
        with contextlib.redirect_stderr(io.StringIO()):
            tokenizer, model = _from_pretrained(kind, source, "float32")
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        with published_folder(folder) as draft, quiet():
            # `save_pretrained` of a model that was read from GGUF raises ValueError.
            save_model(model, str(draft / "model.safetensors"), metadata={"format": "pt"})
            model.config.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
    return Source(str(folder), True)


@functools.lru_cache(maxsize=4)
def _load(
    kind: str, source: Source, version: str, devices: tuple[str, ...], dtype: str
) -> tuple[Any, Replicas]:
    if source.gguf_file:
        source = _unpacked(kind, source, version)
    import torch

    processor, model = _from_pretrained(kind, source, dtype)
    copies = [model, *(copy.deepcopy(model) for _ in devices[1:])]
    for one, device in zip(copies, devices, strict=True):
        torch.nn.Module.to(one, device)
    return processor, Replicas(copies)


def load_model(kind: str, source: Source, version: str, runtime: Runtime) -> tuple[Any, Replicas]:
    """Return what makes a model's inputs, and the model on its devices; the last four are kept.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    source : Source
        From `find_source`.
    version : str
        ``source.version()``: a changed folder is loaded again.
    runtime : Runtime
        Devices and number type.

    Returns
    -------
    tuple
        Tokenizer, image processor, feature extractor or processor; and the copies of the model.

    Raises
    ------
    OperationalError
        If the weights cannot be loaded.
    """
    return _load(kind, source.pinned(), version, runtime.devices, runtime.dtype)
