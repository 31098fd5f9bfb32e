"""Task ``causal-lm``: a language model that chooses between answer texts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from thresher.oracles.causal import AnswerScorer, Question
from thresher.oracles.context import Context
from thresher.oracles.decisions import answer_by_odds, check_finite, returned_type
from thresher.oracles.media import require_text
from thresher.oracles.options import Options
from thresher.oracles.prompts import parse_prompt, system_prompt, unescape
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.runtime import Runtime
from thresher.oracles.token_counts import TokenCount
from thresher.oracles.weights import Source, load_model

__all__ = ["ChoosingTask", "choosing_task", "question_facts", "question_of"]


@dataclass(frozen=True, slots=True)
class ChoosingTask:
    """A causal language model whose answer is the more probable of two or more answer texts.

    Parameters
    ----------
    question : Question
        Prompt, answers and return type.

    Notes
    -----
    With answers ``a`` and a prompt ``x`` the model gives ``log P(a | x)``, the sum over the tokens
    of ``a``. Tokens that all answers share in front count for nothing. Where the rest is one token
    each, the difference of the logits is the difference of the log-probabilities, and one
    pass without the vocabulary-wide product gives it; longer answers take one pass each.
    BOOLEAN is ``log P(yes) - log P(no) > threshold`` with confidence ``sigmoid(|difference -
    threshold|)``, DOUBLE is ``sigmoid(difference)``, VARCHAR the best answer (blanks stripped) with
    its softmax as confidence. Arguments too long for the model are cut at their end.

    What stands in front of the first argument is computed once and its keys and values are used
    again for every row, if the model answers the same that way.
    """

    question: Question

    @property
    def name(self) -> str:
        """The value of the option ``task``."""
        return "causal-lm"

    @property
    def returns(self) -> pa.DataType:
        """Arrow type of the answers."""
        return self.question.returns

    @property
    def facts(self) -> tuple[object, ...]:
        """Prompt, answers, threshold, cut and chat."""
        return question_facts(self.question)

    def texts_read(self, batch: pa.Table) -> list[str]:
        """Return what the model reads of each row."""
        return [self.question.prompt.render(row) for row in self.question.prompt.rows(batch)]

    def load(self, source: Source, version: str, runtime: Runtime) -> _Choosing:
        """Load the model and find the answers' tokens."""
        tokenizer, replicas = load_model("causal-lm", source, version, runtime)
        scorer = AnswerScorer(tokenizer, replicas, self.question, runtime.batch_tokens)
        return _Choosing(self.question, scorer)


@dataclass(frozen=True, slots=True)
class _Choosing:
    question: Question
    scorer: AnswerScorer

    @property
    def tokens(self) -> TokenCount:
        return self.scorer.tokens

    def answer(self, batch: pa.Table) -> Answers:
        scores = self.scorer.score(self.question.prompt.rows(batch))
        check_finite(scores, batch, self.question.who)
        names = [answer.strip() for answer in self.question.answers]
        return answer_by_odds(scores, self.question.returns, names, self.question.threshold)


def question_facts(question: Question) -> tuple[object, ...]:
    """Return the plain values that an answer to a question hangs on."""
    return (
        (question.prompt.literals, question.prompt.fields),
        (question.answers, question.threshold, question.max_tokens),
        (question.chat, question.system),
    )


def _answer_texts(returns: pa.DataType, options: Options, blank: str) -> tuple[str, ...]:
    """The answers, checked; `blank` stands before a ``yes`` and ``no`` that are not given."""
    if pa.types.is_string(returns):
        for name in ("yes", "no", "threshold"):
            if name in options.values:
                raise options.error(
                    f"option '{name}' goes with RETURNS BOOLEAN or DOUBLE; RETURNS VARCHAR takes"
                    " answers = ['a', 'b'].",
                    name,
                )
        answers = options.texts("answers")
        if len(answers) < 2:
            raise options.error(
                "RETURNS VARCHAR needs two answers or more. Write answers = [' good', ' bad'].",
                "answers",
            )
    else:
        if "answers" in options.values:
            raise options.error(
                "option 'answers' goes with RETURNS VARCHAR; BOOLEAN and DOUBLE take yes and no.",
                "answers",
            )
        if "threshold" in options.values and not pa.types.is_boolean(returns):
            raise options.error("option 'threshold' goes with RETURNS BOOLEAN.", "threshold")
        answers = [options.text("yes") or f"{blank}yes", options.text("no") or f"{blank}no"]
    texts = tuple(unescape(answer) for answer in answers)
    for one, other in itertools.permutations(texts, 2):
        if not one.strip() or other.strip().startswith(one.strip()):
            raise options.error(
                f"answer {other!r} begins with answer {one!r}; the model could not tell them apart."
            )
    return texts


def question_of(
    options: Options, returns: pa.DataType, arguments: Sequence[str], *, chat: bool
) -> Question:
    """Return the question that the options ask.

    Parameters
    ----------
    options : Options
        ``prompt``, ``system``, ``yes``, ``no``, ``answers``, ``threshold`` and ``max_tokens``.
    returns : pyarrow.DataType
        Boolean, floating or string.
    arguments : sequence of str
        Those that the prompt names.
    chat : bool
        Whether the prompt is a user's turn in the model's chat template.

    Raises
    ------
    OptionError
        If they do not go together, or one answer begins with another.
    """
    return Question(
        who=options.who,
        prompt=parse_prompt(options.text("prompt") or "", arguments, options),
        answers=_answer_texts(returns, options, "" if chat else " "),
        threshold=options.number("threshold", 0.0),
        returns=returns,
        max_tokens=options.count("max_tokens", 0) or None,
        chat=chat,
        system=system_prompt(options, chat=chat),
    )


def choosing_task(signature: Signature, options: Options, _context: Context) -> ChoosingTask:
    """Make the task of ``task = 'causal-lm'`` from checked options."""
    returns = returned_type(signature, options, "causal-lm")
    require_text(signature.arguments, options, "causal-lm")
    names = [argument.name for argument in signature.arguments]
    chat = options.boolean("chat", options.text("system") is not None)
    return ChoosingTask(question_of(options, returns, names, chat=chat))
