"""Provider ``huggingface``: models of the transformers library that run on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from thresher.oracles.choosing import choosing_task
from thresher.oracles.classifying import media_classification, text_classification
from thresher.oracles.context import Context
from thresher.oracles.generating import writing_task
from thresher.oracles.local_oracles import LocalOracle, Task
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import Signature
from thresher.oracles.runtime import RUNTIME_OPTIONS, require_models
from thresher.oracles.vision_language import viewing_task
from thresher.oracles.weights import SOURCE_OPTIONS, find_source
from thresher.oracles.zero_shot import image_text_task, zero_shot_task

__all__ = ["OPTIONS", "create_oracle"]

_DEFAULT = "causal-lm"
_VIEW = ("yes", "no", "answers", "threshold", "chat", "system")
_CHOICE = (*_VIEW, "max_tokens")
_LABEL = ("label", "threshold")
_WRITING = ("yes", "no", "answers", "schema", "chat", "system", "stop", "max_new_tokens")
# task -> what makes it, the options it takes, and those it needs
_TASKS: Mapping[
    str, tuple[Callable[[Signature, Options, Context], Task], tuple[str, ...], tuple[str, ...]]
] = {
    "audio-classification": (media_classification, _LABEL, ()),
    "causal-lm": (choosing_task, _CHOICE, ("prompt",)),
    "image-classification": (media_classification, _LABEL, ()),
    "image-text": (image_text_task, (*_LABEL, "hypothesis"), ("labels",)),
    "image-text-to-text": (viewing_task, _VIEW, ("prompt",)),
    "text-classification": (text_classification, (*_LABEL, "prompt", "max_tokens"), ()),
    "text-generation": (writing_task, _WRITING, ("prompt",)),
    "zero-shot": (zero_shot_task, (*_LABEL, "prompt", "hypothesis"), ("labels",)),
}
OPTIONS = {
    **SOURCE_OPTIONS,
    **RUNTIME_OPTIONS,
    "task": Option("text", choices=tuple(_TASKS)),
    "prompt": Option("text"),
    "label": Option("text"),
    "labels": Option("texts"),
    "hypothesis": Option("text"),
    "yes": Option("text"),
    "no": Option("text"),
    "answers": Option("texts"),
    "threshold": Option("number"),
    "max_tokens": Option("count"),
    "max_new_tokens": Option("count"),
    "schema": Option("text"),
    "stop": Option("text"),
    "chat": Option("boolean"),
    "system": Option("text"),
}
_OF_ALL_TASKS = frozenset((*SOURCE_OPTIONS, *RUNTIME_OPTIONS, "task", "minimum", "maximum"))


def _check(task: str, options: Options) -> None:
    """See that a task gets the options it needs and no other task's."""
    _, taken, needed = _TASKS[task]
    for name in needed:
        if name not in options.values:
            raise options.error(f"task '{task}' needs the option '{name}'. Write {name} = ...")
    for name in options.values:
        if name in OPTIONS and name not in {*_OF_ALL_TASKS, *taken, *needed}:
            raise options.error(
                f"option '{name}' does not go with task = '{task}'."
                f" Its own options: {', '.join(sorted({*taken, *needed}))}.",
                name,
            )


def create_oracle(
    _name: str, signature: Signature, options: Options, context: Context
) -> LocalOracle:
    """Make the oracle of ``USING huggingface``; the weights are loaded on the first answer."""
    require_models()
    task = (options.text("task") or _DEFAULT).lower()
    _check(task, options)
    made = _TASKS[task][0](signature, options, context)
    source = find_source(options.text("model") or "", options, context)
    return LocalOracle(made, source, options)
