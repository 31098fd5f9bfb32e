"""A causal language model asked how probable each answer text is."""

from __future__ import annotations

import bisect
import copy
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import OperationalError
from thresher.oracles.batching import Replicas, ahead, token_batches
from thresher.oracles.chat_templates import chat_prompt
from thresher.oracles.prompt_tokens import PromptTokens, answer_tokens
from thresher.oracles.prompts import Prompt
from thresher.oracles.runtime import quiet
from thresher.oracles.token_counts import TokenCount

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["AnswerScorer", "Question"]

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Work = Callable[[int, "PreTrainedModel", Positions], None]
_DEFAULT_CONTEXT = 2048
_SHORTEST_PREFIX = 8  # tokens; below it, copying what was computed once costs what it saves
_ROWS_AHEAD = 256
_EXAMPLES = ("x", "7", " the", "\n", "É")


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
    chat : bool
        Whether the prompt is what a user says in the model's chat template.
    system : str or None
        What the system says before it.
    """

    who: str
    prompt: Prompt
    answers: tuple[str, ...]
    threshold: float
    returns: pa.DataType
    max_tokens: int | None
    chat: bool = False
    system: str | None = None


class AnswerScorer:
    """A loaded causal language model that says how probable each answer text is.

    Parameters
    ----------
    tokenizer, replicas
        From `thresher.oracles.weights.load_model`.
    question : Question
        Prompt and answers.
    budget : int
        Tokens of one pass, padding counted.

    Attributes
    ----------
    tokens : TokenCount
        Of the prompts that were scored, what is computed once for all of them counted with each.

    Raises
    ------
    OperationalError
        If an answer merges with the prompt or begins with another one in the model's tokens.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        replicas: Replicas,
        question: Question,
        budget: int,
    ) -> None:
        self._question, self._replicas, self._budget = question, replicas, budget
        self.tokens = TokenCount()
        prompt = question.prompt
        if question.chat:
            prompt = chat_prompt(tokenizer, prompt, question.system, question.who)
        self._tokens = PromptTokens(tokenizer, prompt, begins=not question.chat)
        self._shared, self._answers = answer_tokens(
            self._tokens.of_texts, self._tokens.prompt.example(), question.answers, question.who
        )
        n_longest = len(self._shared) + max(map(len, self._answers))
        self._limit = self._context_length() - n_longest
        self._through_model = not self._head_is_linear()
        self._prefix: list[int] = []
        self._past: dict[int, Any] = {}
        self._compute_prefix()

    def _context_length(self) -> int:
        model_limit = getattr(self._replicas.model.config, "max_position_embeddings", None)
        known = model_limit if isinstance(model_limit, int) else _DEFAULT_CONTEXT
        return min(known, self._question.max_tokens or known)

    def _head_is_linear(self) -> bool:
        """Whether hidden state times output embedding is what the model itself answers.

        Some models cap or scale their logits afterwards; they take the slower way.
        """
        import torch

        model = self._replicas.model
        tokens = torch.tensor(self._example(), device=model.device)[None, :]
        with torch.inference_mode(), quiet():
            theirs = model(input_ids=tokens, use_cache=False).logits[0, -1].float()
            hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
            ours = _project(model, hidden[0, -1:], None)[0]
        return ours.shape == theirs.shape and _nearly_equal(ours, theirs)

    def _example(self) -> list[int]:
        return self._tokens.of_texts([self._tokens.prompt.example()])[0]

    def _compute_prefix(self) -> None:
        """Compute once what the tokens in front of the first argument lead to, where that pays.

        It is used only if the model then answers as it does without.
        """
        import torch

        width = self._tokens.prompt.n_values
        examples = self._tokens.of_rows([(text,) * width for text in _EXAMPLES])
        columns = zip(*examples, strict=False)
        n_shared = sum(1 for _ in itertools.takewhile(lambda ids: len(set(ids)) == 1, columns))
        prefix = examples[0][:n_shared]
        if n_shared < _SHORTEST_PREFIX or n_shared >= self._limit:
            return
        sequence = self._example()
        if len(sequence) == n_shared or sequence[:n_shared] != prefix:
            return
        with torch.inference_mode(), quiet():
            plain = self._logits(0, self._replicas.model, [sequence], 1, None)
            try:
                for model in self._replicas.models:
                    tokens = torch.tensor([prefix], device=model.device)
                    past = model.base_model(input_ids=tokens, use_cache=True).past_key_values
                    self._past[id(model)] = past
                reused = self._logits(n_shared, self._replicas.model, [sequence], 1, None)
            except (AttributeError, NotImplementedError, TypeError, ValueError):
                return  # the model keeps another kind of state
        if _nearly_equal(reused, plain):
            self._prefix = prefix

    def _encode(self, values: Sequence[tuple[str, ...]]) -> list[list[int]]:
        """Tokens of each prompt; where there are too many, arguments are cut and not the prompt."""
        encoded = self._tokens.of_rows(values)
        for i, ids in enumerate(encoded):
            if len(ids) > self._limit:
                encoded[i] = self._shorten(values[i])
        return [ids + self._shared for ids in encoded]

    def _shorten(self, row: tuple[str, ...]) -> list[int]:
        """Tokens of a prompt whose longest arguments are cut until it just fits."""
        texts = list(row)
        sizes = [len(ids) for ids in self._tokens.of_texts(texts)]

        def encoded(argument: int, n_characters: int) -> list[int]:
            tried = [t[:n_characters] if i == argument else t for i, t in enumerate(texts)]
            return self._tokens.of_rows([tuple(tried)])[0]

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

    def score(self, values: Sequence[tuple[str, ...]]) -> Scores:
        """Log-probabilities of the answers up to a constant per row, shape (n, n_answers)."""
        found = np.zeros((len(values), len(self._answers)))
        by_length = np.argsort([sum(map(len, row)) for row in values], kind="stable")
        # On an accelerator the CPU is free to make tokens while it computes.
        n_chunks = 1 if self._replicas.on_cpu else -(-len(values) // _ROWS_AHEAD)

        def prepare(rows: Positions) -> list[list[int]]:
            return self._encode([values[i] for i in rows])

        def use(rows: Positions, prompts: list[list[int]]) -> None:
            self.tokens.add(n_read=sum(map(len, prompts)))
            found[rows] = self._score_tokens(prompts)

        ahead(prepare, np.array_split(by_length, n_chunks), use)
        return found

    def _score_tokens(self, prompts: list[list[int]]) -> Scores:
        if all(len(ids) == 1 for ids in self._answers):
            return self._last_logits(prompts, [ids[0] for ids in self._answers])
        scores = np.zeros((len(prompts), len(self._answers)))
        for k, answer in enumerate(self._answers):
            scores[:, k] = self._text_log_probability(prompts, answer)
        return scores

    def _logits(
        self,
        skip: int,
        model: PreTrainedModel,
        sequences: list[list[int]],
        n_last: int,
        vocabulary: list[int] | None,
    ) -> torch.Tensor:
        """Logits at the last `n_last` true positions, shape (n, n_last, n_vocabulary).

        The first `skip` tokens are those of the prefix, which was computed before.
        """
        import torch

        tokens = _padded([ids[skip:] for ids in sequences], model.device)
        given: dict[str, Any] = {"input_ids": tokens, "use_cache": False}
        if skip:
            past = copy.deepcopy(self._past[id(model)])
            past.batch_repeat_interleave(len(sequences))
            given |= {"past_key_values": past, "use_cache": True}
        ends = torch.tensor([len(ids) - skip for ids in sequences], device=tokens.device)
        at = ends[:, None] - n_last + torch.arange(n_last, device=tokens.device)[None, :]
        rows = torch.arange(len(sequences), device=tokens.device)[:, None]
        chosen = None if vocabulary is None else torch.tensor(vocabulary, device=tokens.device)
        if self._through_model:
            logits: torch.Tensor = model(**given).logits[rows, at].float()
            return logits if chosen is None else logits[..., chosen]
        return _project(model, model.base_model(**given).last_hidden_state[rows, at], chosen)

    def _run(self, sequences: list[list[int]], n_last: int, work: Work) -> None:
        """Do the work in batches, those first that begin with the prefix."""
        lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
        n_prefix = len(self._prefix)
        begins = [ids[:n_prefix] == self._prefix for ids in sequences]
        reuse = np.array(begins) & (lengths - n_last >= n_prefix) & (n_prefix > 0)
        for skip, rows in ((n_prefix, np.flatnonzero(reuse)), (0, np.flatnonzero(~reuse))):
            batches = [rows[batch] for batch in token_batches(lengths[rows] - skip, self._budget)]
            with quiet():
                self._replicas.run(functools.partial(work, skip), batches)

    def _last_logits(self, prompts: list[list[int]], vocabulary: list[int]) -> Scores:
        found = np.zeros((len(prompts), len(vocabulary)))

        def work(skip: int, model: PreTrainedModel, batch: Positions) -> None:
            logits = self._logits(skip, model, [prompts[i] for i in batch], 1, vocabulary)
            found[batch] = logits[:, 0].cpu().double().numpy()

        self._run(prompts, 1, work)
        return found

    def _text_log_probability(self, prompts: list[list[int]], answer: list[int]) -> Scores:
        import torch

        found = np.zeros(len(prompts))
        sequences = [ids + answer[:-1] for ids in prompts]

        def work(skip: int, model: PreTrainedModel, batch: Positions) -> None:
            logits = self._logits(skip, model, [sequences[i] for i in batch], len(answer), None)
            log_p = torch.log_softmax(logits, dim=-1)
            wanted = torch.tensor(answer, device=logits.device)[None, :, None]
            chosen = log_p.gather(2, wanted.expand(len(batch), -1, -1))
            found[batch] = chosen.sum(dim=(1, 2)).cpu().double().numpy()

        self._run(sequences, len(answer), work)
        return found


def _project(
    model: PreTrainedModel, hidden: torch.Tensor, vocabulary: torch.Tensor | None
) -> torch.Tensor:
    """Logits of some tokens (all when None) from final hidden states, in float32."""
    head: torch.nn.Linear = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    weight: torch.Tensor = head.weight
    bias: torch.Tensor | None = getattr(head, "bias", None)
    if vocabulary is not None:
        weight = weight[vocabulary]
        bias = None if bias is None else bias[vocabulary]
    logits = hidden.float() @ weight.float().T
    return logits if bias is None else logits + bias.float()


def _padded(sequences: list[list[int]], device: torch.device) -> torch.Tensor:
    """Token matrix, padded on the right."""
    import torch

    # A causal model cannot look to the right: with the padding there, neither a mask nor
    # position ids are needed, and a row gets the states that it would get alone.
    longest = max(map(len, sequences))
    return torch.tensor([ids + [0] * (longest - len(ids)) for ids in sequences], device=device)


def _nearly_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= 0.02 * other.abs().max())
