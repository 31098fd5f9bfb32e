"""Provider ``huggingface``: a local causal language model that chooses between answer texts."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from thresher.errors import DataError, NotSupportedError, OracleError
from thresher.oracles.answers import arrow_type, describe_row
from thresher.oracles.causal import AnswerScorer, Question
from thresher.oracles.context import Context
from thresher.oracles.options import Option, Options
from thresher.oracles.prompts import parse_prompt, unescape
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.runtime import RUNTIME_OPTIONS, Runtime, require_models, resolve_runtime
from thresher.oracles.versions import digest
from thresher.oracles.weights import SOURCE_OPTIONS, Source, find_source, load_causal

__all__ = ["OPTIONS", "CausalOracle", "create_oracle"]

OPTIONS = {
    **SOURCE_OPTIONS,
    **RUNTIME_OPTIONS,
    "task": Option("text", choices=("causal-lm",)),
    "prompt": Option("text", required=True),
    "yes": Option("text"),
    "no": Option("text"),
    "answers": Option("texts"),
    "threshold": Option("number"),
    "max_tokens": Option("count"),
}


class CausalOracle:
    """A causal language model whose answer is the more probable of two or more answer texts.

    Parameters
    ----------
    question : Question
        Prompt, answers and return type.
    source : Source
        Where the weights lie.
    options : Options
        For the device, the number type and the batch sizes.

    Notes
    -----
    With answers ``a`` and a prompt ``x`` the model gives ``log P(a | x)``, the sum over the tokens
    of ``a``. Tokens that all answers share in front count for nothing. Where the rest is one token
    each, the difference of the logits is the difference of the log-probabilities, and one
    pass without the vocabulary-wide product gives it; longer answers take one pass each.
    BOOLEAN is ``log P(yes) - log P(no) > threshold`` with confidence ``sigmoid(|difference -
    threshold|)``, DOUBLE is ``sigmoid(difference)``, VARCHAR the best answer (blanks stripped) with
    its softmax as confidence. Arguments too long for the model are cut at their end.
    """

    def __init__(self, question: Question, source: Source, options: Options) -> None:
        self._question, self._source, self._options = question, source, options
        self._runtime: Runtime | None = None
        self._weights: str | None = None
        self._scorer: AnswerScorer | None = None

    def _resolved(self) -> Runtime:
        if self._runtime is None:
            self._runtime = resolve_runtime(self._options)
        return self._runtime

    def _weights_version(self) -> str:
        if self._weights is None:
            self._weights = self._source.version()
        return self._weights

    @property
    def version(self) -> str:
        """Hash (hex) of weights, prompt, answers, threshold and number type.

        It hashes local weights (once) and asks torch for the device, which takes seconds.
        """
        question = self._question
        return digest(
            "causal-lm",
            self._weights_version(),
            self._resolved().dtype,
            question.prompt.literals,
            question.prompt.fields,
            question.answers,
            question.threshold,
            str(question.returns),
            question.max_tokens,
        )

    @property
    def batch_size(self) -> int:
        """Rows passed at once: a second or a few of work."""
        return self._resolved().batch_size

    def answer(self, batch: pa.Table) -> Answers:
        """Label a batch; the weights are loaded on the first call.

        Raises
        ------
        InterfaceError
            If torch or transformers is not installed.
        OperationalError
            If the weights cannot be loaded, or prompt and answers do not fit the model; as
            `OracleError` if the model fails on this batch.
        DataError
            If a score is not finite.
        """
        if self._scorer is None:
            runtime = self._resolved()
            tokenizer, model = load_causal(self._source, self._weights_version(), runtime)
            self._scorer = AnswerScorer(tokenizer, model, self._question, runtime.batch_tokens)
        values = self._question.prompt.rows(batch)
        if not values:
            return Answers(pa.array([], self._question.returns))
        try:
            scores = self._scorer.score(values)
        except RuntimeError as error:  # torch: out of memory, an operation the device lacks
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
            raise OracleError(
                f"{self._question.who}: the model failed: {reason}. Write a smaller batch_tokens,"
                " or another device or dtype."
            ) from error
        finite = np.asarray(np.isfinite(scores).all(axis=1))
        if not finite.all():
            raise DataError(
                f"{self._question.who}: the model gave no finite score for"
                f" {int((~finite).sum()):,} of {len(finite):,} rows; the first is"
                f" {describe_row(batch, int(np.argmin(finite)))}. Write dtype = 'float32'."
            )
        return self._decide(scores)

    def _decide(self, scores: npt.NDArray[np.float64]) -> Answers:
        question = self._question
        if pa.types.is_string(question.returns):
            best = np.argmax(scores, axis=1)
            names = [answer.strip() for answer in question.answers]
            confidence = special.softmax(scores, axis=1)[np.arange(len(best)), best]
            return Answers(pa.array([names[i] for i in best], question.returns), confidence)
        difference = scores[:, 0] - scores[:, 1]
        if pa.types.is_boolean(question.returns):
            confidence = special.expit(np.abs(difference - question.threshold))
            return Answers(pa.array(difference > question.threshold), confidence)
        return Answers(pa.array(special.expit(difference)).cast(question.returns))


def _answers(returns: pa.DataType, options: Options) -> tuple[str, ...]:
    """The answer texts that the options name, checked against the return type."""
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
        answers = [options.text("yes") or " yes", options.text("no") or " no"]
    texts = tuple(unescape(answer) for answer in answers)
    for one, other in itertools.permutations(texts, 2):
        if not one.strip() or other.strip().startswith(one.strip()):
            raise options.error(
                f"answer {other!r} begins with answer {one!r}; the model could not tell them apart."
            )
    return texts


def create_oracle(
    name: str, signature: Signature, options: Options, context: Context
) -> CausalOracle:
    """Make the oracle of ``USING huggingface``; the weights are loaded on the first answer."""
    require_models()
    returns = arrow_type(signature.returns)
    if not (
        pa.types.is_boolean(returns) or pa.types.is_floating(returns) or pa.types.is_string(returns)
    ):
        raise NotSupportedError(
            f"oracle {name}: causal-lm returns BOOLEAN, DOUBLE (the probability of yes) or VARCHAR"
            f" (one of answers), not {signature.returns}."
        )
    template = options.text("prompt") or ""
    question = Question(
        who=options.who,
        prompt=parse_prompt(template, [a.name for a in signature.arguments], options),
        answers=_answers(returns, options),
        threshold=options.number("threshold", 0.0),
        returns=returns,
        max_tokens=options.count("max_tokens", 0) or None,
    )
    source = find_source(options.text("model") or "", options, context)
    return CausalOracle(question, source, options)
