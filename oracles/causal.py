"""A causal language model asked how probable each answer text is."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import OperationalError
from thresher.oracles.prompts import Prompt
from thresher.oracles.runtime import quiet, run_batches, token_batches

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["AnswerScorer", "Question"]

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
_DEFAULT_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the model; nothing here needs the weights.

    Parameters
    ----------
    who : str
        Name for messages: ``oracle is_positive``.
    prompt : Prompt
        The parsed template.
    answers : tuple of str
        Answer texts, ``(yes, no)`` for BOOLEAN and DOUBLE.
    threshold : float
        Log-odds that a yes must exceed.
    returns : pyarrow.DataType
        Boolean, floating or string.
    max_tokens : int or None
        Longest prompt; None for what the model takes.
    """

    who: str
    prompt: Prompt
    answers: tuple[str, ...]
    threshold: float
    returns: pa.DataType
    max_tokens: int | None


class AnswerScorer:
    """A loaded causal language model that says how probable each answer text is.

    Parameters
    ----------
    tokenizer, model
        From `thresher.oracles.weights.load_causal`.
    question : Question
        Prompt and answers.
    budget : int
        Tokens of one pass, padding counted.

    Raises
    ------
    OperationalError
        If an answer merges with the prompt or begins with another one in the model's tokens.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        question: Question,
        budget: int,
    ) -> None:
        self._tokenizer, self._model = tokenizer, model
        self._question, self._budget = question, budget
        plain = tokenizer("x", add_special_tokens=False)["input_ids"]
        special_too = tokenizer("x")["input_ids"]
        self._start = special_too[: max(0, _find(special_too, plain))]
        answers = self._answer_tokens()
        columns = zip(*answers, strict=False)
        shared = sum(1 for _ in itertools.takewhile(lambda ids: len(set(ids)) == 1, columns))
        self._shared = answers[0][:shared]
        self._answers = [ids[shared:] for ids in answers]
        if not all(self._answers):
            raise OperationalError(
                f"{question.who}: in the model's tokens one answer is the beginning of another:"
                f" {', '.join(map(repr, question.answers))}. Write answers that differ earlier."
            )
        self._limit = self._context_length() - max(len(ids) for ids in answers)
        self._through_model = not self._head_is_linear()

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        with quiet():
            found = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [self._start + list(ids) for ids in found]

    def _answer_tokens(self) -> list[list[int]]:
        """Tokens of each answer as they follow the prompt."""
        example = self._question.prompt.example()
        before, *after = self._tokens([example, *(example + a for a in self._question.answers)])
        for answer, ids in zip(self._question.answers, after, strict=True):
            if ids[: len(before)] != before or len(ids) == len(before):
                raise OperationalError(
                    f"{self._question.who}: the answer {answer!r} merges with the end of the prompt"
                    " into one token. End the prompt without a space and start each answer with one"
                    f" (yes = {' ' + answer.strip()!r})."
                )
        return [ids[len(before) :] for ids in after]

    def _context_length(self) -> int:
        model_limit = getattr(self._model.config, "max_position_embeddings", None)
        known = model_limit if isinstance(model_limit, int) else _DEFAULT_CONTEXT
        return min(known, self._question.max_tokens or known)

    def _head_is_linear(self) -> bool:
        """Whether hidden state times output embedding is what the model itself answers.

        Some models cap or scale their logits afterwards; they take the slower way.
        """
        import torch

        ids = self._tokens([self._question.prompt.example()])
        tokens = torch.tensor(ids, device=self._model.device)
        with torch.inference_mode(), quiet():
            theirs = self._model(input_ids=tokens, use_cache=False).logits[0, -1].float()
            ours = self._project(self._hidden(tokens)[0, -1:], None)[0]
        return bool(ours.shape == theirs.shape) and bool(
            (ours - theirs).abs().max() <= 0.02 * theirs.abs().max()
        )

    def _hidden(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self._model.base_model(
            input_ids=tokens, use_cache=False
        ).last_hidden_state
        return hidden

    def _project(self, hidden: torch.Tensor, vocabulary: torch.Tensor | None) -> torch.Tensor:
        """Logits of some tokens (all when None) from final hidden states, in float32."""
        head: torch.nn.Linear = self._model.get_output_embeddings()  # type: ignore[no-untyped-call]
        weight: torch.Tensor = head.weight
        bias: torch.Tensor | None = getattr(head, "bias", None)
        if vocabulary is not None:
            weight = weight[vocabulary]
            bias = None if bias is None else bias[vocabulary]
        logits = hidden.float() @ weight.float().T
        return logits if bias is None else logits + bias.float()

    def _encode(self, values: list[tuple[str, ...]]) -> list[list[int]]:
        """Tokens of each prompt; where there are too many, arguments are cut and not the prompt."""
        encoded = self._tokens([self._question.prompt.render(row) for row in values])
        for i, ids in enumerate(encoded):
            if len(ids) > self._limit:
                encoded[i] = self._shorten(values[i])
        return [ids + self._shared for ids in encoded]

    def _shorten(self, row: tuple[str, ...]) -> list[int]:
        """Tokens of a prompt whose longest arguments are cut until it just fits."""
        texts = list(row)
        sizes = [len(ids) for ids in self._tokens(texts)]

        def encoded(argument: int, n_characters: int) -> list[int]:
            tried = [t[:n_characters] if i == argument else t for i, t in enumerate(texts)]
            return self._tokens([self._question.prompt.render(tried)])[0]

        def too_long(argument: int, n_characters: int) -> bool:
            return len(encoded(argument, n_characters)) > self._limit

        for longest in sorted(range(len(texts)), key=lambda i: -sizes[i]):
            lengths = range(len(texts[longest]) + 1)
            room = bisect.bisect_right(lengths, False, key=functools.partial(too_long, longest))
            if room:
                return encoded(longest, room - 1)
            texts[longest] = ""
        raise OperationalError(
            f"{self._question.who}: the prompt alone has {len(encoded(0, 0)):,} tokens and the"
            f" model takes {self._limit:,}. Shorten the prompt."
        )

    def score(self, values: list[tuple[str, ...]]) -> Scores:
        """Log-probabilities of the answers up to a constant per row, shape (n, n_answers)."""
        prompts = self._encode(values)
        if all(len(ids) == 1 for ids in self._answers):
            wanted = [ids[0] for ids in self._answers]
            return self._last_logits(prompts, wanted)
        scores = np.zeros((len(prompts), len(self._answers)))
        for k, answer in enumerate(self._answers):
            scores[:, k] = self._text_log_probability(prompts, answer)
        return scores

    def _padded(self, sequences: list[list[int]]) -> torch.Tensor:
        """Token matrix, padded on the right."""
        import torch

        # A causal model cannot look to the right: with the padding there, neither a mask nor
        # position ids are needed, and a row gets the states that it would get alone.

        longest = max(map(len, sequences))
        padded = [ids + [0] * (longest - len(ids)) for ids in sequences]
        return torch.tensor(padded, device=self._model.device)

    def _states(
        self, sequences: list[list[int]], n_last: int, vocabulary: list[int] | None
    ) -> torch.Tensor:
        """Logits at the last `n_last` true positions, shape (n, n_last, n_vocabulary)."""
        import torch

        tokens = self._padded(sequences)
        ends = torch.tensor([len(ids) for ids in sequences], device=tokens.device)
        at = ends[:, None] - n_last + torch.arange(n_last, device=tokens.device)[None, :]
        rows = torch.arange(len(sequences), device=tokens.device)[:, None]
        chosen = None if vocabulary is None else torch.tensor(vocabulary, device=tokens.device)
        if self._through_model:
            every: torch.Tensor = self._model(input_ids=tokens, use_cache=False).logits
            logits = every[rows, at].float()
            return logits if chosen is None else logits[..., chosen]
        return self._project(self._hidden(tokens)[rows, at], chosen)

    def _run(self, sequences: list[list[int]], work: Callable[[Positions], None]) -> None:
        lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
        rope = str(getattr(self._model.config, "rope_parameters", ""))
        # These two kinds of rotary embedding rewrite their own tables in a forward pass.
        parallel = "dynamic" not in rope and "longrope" not in rope
        with quiet():
            batches = token_batches(lengths, self._budget)
            run_batches(work, batches, self._model.device.type, parallel)

    def _last_logits(self, prompts: list[list[int]], vocabulary: list[int]) -> Scores:
        found = np.zeros((len(prompts), len(vocabulary)))

        def work(batch: Positions) -> None:
            logits = self._states([prompts[i] for i in batch], 1, vocabulary)
            found[batch] = logits[:, 0].cpu().double().numpy()

        self._run(prompts, work)
        return found

    def _text_log_probability(self, prompts: list[list[int]], answer: list[int]) -> Scores:
        import torch

        found = np.zeros(len(prompts))
        sequences = [ids + answer[:-1] for ids in prompts]
        wanted = torch.tensor(answer, device=self._model.device)[None, :, None]

        def work(batch: Positions) -> None:
            logits = self._states([sequences[i] for i in batch], len(answer), None)
            log_p = torch.log_softmax(logits, dim=-1)
            chosen = log_p.gather(2, wanted.expand(len(batch), -1, -1))
            found[batch] = chosen.sum(dim=(1, 2)).cpu().double().numpy()

        self._run(sequences, work)
        return found


def _find(ids: list[int], part: list[int]) -> int:
    """Position of a sublist, -1 where it is absent."""
    spans = range(len(ids) - len(part) + 1)
    return next((i for i in spans if ids[i : i + len(part)] == part), -1)
