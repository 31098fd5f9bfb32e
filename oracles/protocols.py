"""The seams between the engine and the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = [
    "Answers",
    "Argument",
    "FittedProxy",
    "Meter",
    "Oracle",
    "Proxy",
    "Signature",
    "TrainableProxy",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class Argument:
    """One declared argument: its name and its DuckDB type in SQL text (``VARCHAR``)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Signature:
    """Declared arguments and return type (DuckDB types in SQL text) of an oracle."""

    arguments: tuple[Argument, ...]
    returns: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What an oracle says of one batch.

    Parameters
    ----------
    values : pyarrow.Array
        One answer a row, in input order, no NULL.
    confidence : ndarray of float64, shape (n,), or None
        The oracle's own confidence in each answer, in [0, 1], where it has one. For a BOOLEAN
        oracle it is the probability of the answer given (not of TRUE).
    cost_usd : float
        Price of the batch in US dollars.
    tokens : (int, int) or None
        Tokens that the model read and wrote for the batch, where they were counted.
    requests : int or None
        Requests that were answered for the batch, where the model is asked in requests: fewer than
        rows where several share one, more where some had to be sent again. None: one for each row.
    """

    values: pa.Array
    confidence: npt.NDArray[np.float64] | None = None
    cost_usd: float = 0.0
    tokens: tuple[int, int] | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What some answers or scores took of a model.

    Parameters
    ----------
    requests : int
        Requests that were answered, or inputs where the model is not asked in requests.
    tokens : (int, int) or None
        Tokens read and written; None where not all of them were counted.
    cost_usd : float
        Dollars.
    """

    requests: int = 0
    tokens: tuple[int, int] | None = (0, 0)
    cost_usd: float = 0.0


class Meter(Protocol):
    """Asked before a model scores inputs that are new, and told what that took."""

    @property
    def refused(self) -> bool:
        """Whether it has allowed no more inputs at some time."""

    def before(self, n_inputs: int) -> int:
        """Return how many of the inputs may be scored now; 0 where no more may be."""

    def after(self, n_inputs: int, usage: Usage) -> None:
        """Count what scores took that are there now."""


class Oracle(Protocol):
    """The expensive model whose answer is the truth.

    One with an attribute ``counts_tokens`` that is true says in its answers how many tokens they
    took: budgets of tokens can be kept with it. One with a method ``answered(batch)`` returns,
    after `answer` broke off, the rows of the batch that had their answer by then, and `Answers`.
    One with an attribute ``waits`` that is true waits for people: `answer` takes a function
    besides, which says whether it may go on waiting, and raises `UnansweredError` where it may not.
    """

    @property
    def version(self) -> str:
        """Hash (hex) of all that can change an answer: model, revision, prompt, parameters."""

    @property
    def batch_size(self) -> int:
        """Rows the engine should pass at once: after each batch the labels are committed."""

    def answer(self, batch: pa.Table) -> Answers:
        """Label a batch: one column per declared argument, in order and by name, no NULLs."""


class Proxy(Protocol):
    """A cheap model that scores rows; higher means more likely positive.

    One with an attribute ``metered`` that is true takes a `Meter` as second argument of `score`,
    and gives NaN to the inputs that the meter did not allow; `new_inputs` of it counts distinct
    inputs of a batch that have no score yet, and `about` says what one of them takes.
    """

    @property
    def version(self) -> str:
        """Hash (hex) of all that can change a score."""

    def score(self, batch: pa.Table) -> npt.NDArray[np.float64]:
        """Score a batch (one column per argument): shape (n,), any finite value, best in [0, 1]."""


class FittedProxy(Protocol):
    """A trained proxy bound to the rows it was featurised on."""

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Score of every row of the population, shape (n_rows,), in [0, 1].

        Rows that were used to fit carry their out-of-fold score, so that labels do not leak into
        the plan.
        """

    @property
    def auc(self) -> float:
        """Cross-validated area under the ROC curve on the labels it was fitted on, in [0, 1]."""

    @property
    def log_loss(self) -> float:
        """Cross-validated log loss in nats on the labels it was fitted on."""


class TrainableProxy(Protocol):
    """A proxy that is trained inside the query.

    One with an attribute ``quick`` that is true needs seconds for the features of some ten thousand
    rows, as no model that reads them does: a forecast may fit it before anything is paid.
    """

    @property
    def name(self) -> str:
        """Short name for the certificate, such as ``tfidf`` or ``embedding(all-MiniLM-L6-v2)``."""

    @property
    def version(self) -> str:
        """What the features hang on: what was learnt is of use to proxies of this version only."""

    def featurise(self, batch: pa.Table) -> object:
        """Compute what `fit` needs for the whole population (one column per model input)."""

    def fit(
        self,
        features: object,
        rows: npt.NDArray[np.int64],
        truth: npt.NDArray[np.bool_],
        rng: np.random.Generator,
        belief: npt.NDArray[np.float64] | None = None,
    ) -> FittedProxy:
        """Train on the labelled `rows` (positions) and score the whole population.

        `belief` is the probability of TRUE of each by the oracle's confidence, to be fitted to in
        place of `truth` where it is given.
        """

    def freeze(self, features: object, fitted: FittedProxy) -> dict[str, npt.NDArray[Any]] | None:
        """Return what was learnt as arrays, without the rows; None where that is nothing."""

    def apply(
        self, trained: Mapping[str, npt.NDArray[Any]], batch: pa.Table
    ) -> npt.NDArray[np.float64]:
        """Score rows by what `freeze` returned: probabilities of TRUE, shape (n,)."""
