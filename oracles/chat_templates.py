"""A prompt inside the chat template that belongs to a model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from thresher.errors import OperationalError
from thresher.oracles.prompts import Prompt
from thresher.oracles.runtime import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

__all__ = ["chat_prompt"]

_MARK = re.compile("\ue000(\\d+)\ue001")  # of Unicode's private use: no prompt holds them


def chat_prompt(
    templated: PreTrainedTokenizerBase | ProcessorMixin,
    prompt: Prompt,
    system: str | None,
    who: str,
    before: tuple[str, ...] = (),
) -> Prompt:
    """Return the prompt as a user's turn, up to where the model begins to answer.

    Parameters
    ----------
    templated
        Tokenizer or processor of the model.
    prompt : Prompt
        What the user says.
    system : str or None
        What the system says first.
    who : str
        Name for messages.
    before : tuple of str
        Kinds of content that stand before the text: ``("image",)``.

    Raises
    ------
    OperationalError
        If the model has no chat template, or its template refuses a system's turn or changes the
        prompt.

    Notes
    -----
    The template is filled with marks in the places of the arguments: no argument goes through it,
    and what it writes is the same for every row.
    """
    if not templated.chat_template:
        raise OperationalError(
            f"{who}: the model has no chat template. Leave chat and system out, and write the whole"
            " text in prompt."
        )
    marked = prompt.render([f"\ue000{i}\ue001" for i in range(prompt.n_values)])
    content: object = marked
    if before:
        content = [*({"type": kind} for kind in before), {"type": "text", "text": marked}]
    turns: list[Any] = [{"role": "user", "content": content}]
    if system is not None:
        said: object = [{"type": "text", "text": system}] if before else system
        turns.insert(0, {"role": "system", "content": said})
    try:
        with quiet():
            text = str(
                templated.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            )
    except Exception as error:  # jinja's errors, whose module is not ours to import
        raise OperationalError(f"{who}: the model's chat template fails: {error}.") from error
    pieces = _MARK.split(text)
    fields = tuple(int(number) for number in pieces[1::2])
    if fields != prompt.fields:
        raise OperationalError(
            f"{who}: the model's chat template does not hold the prompt once, as it was written."
        )
    return Prompt(tuple(pieces[::2]), fields)
