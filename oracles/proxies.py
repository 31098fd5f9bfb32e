"""Proxies that are trained inside the query, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from thresher.errors import InterfaceError
from thresher.oracles.context import Context
from thresher.oracles.features import split_inputs
from thresher.oracles.logistic import FittedScores, Matrix, fit_logistic
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import FittedProxy, Signature

__all__ = ["OPTIONS", "TfidfProxy", "choose", "create_proxy"]

OPTIONS: dict[str, Option] = {}
_STRENGTHS = (1.0, 4.0, 16.0, 64.0, 256.0)
_MAX_FEATURES = 200_000


@dataclass(frozen=True, slots=True)
class _Features:
    matrix: Matrix


class TfidfProxy:
    """Logistic regression on the words and word pairs of the text, weighted by TF-IDF.

    Words that only one row holds are left out: they can say nothing of another row. Numeric
    arguments, and the places of lists of numbers, are features of their own.
    """

    quick = True

    @property
    def name(self) -> str:
        """Short name for the certificate."""
        return "tfidf"

    def featurise(self, batch: pa.Table) -> object:
        """Return the TF-IDF matrix of the whole population."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        inputs = split_inputs(batch)
        if inputs.texts is None:
            return _Features(inputs.numbers)
        parts = [sparse.csr_matrix(inputs.numbers)]
        vectoriser = TfidfVectorizer(
            ngram_range=(1, 2),
            sublinear_tf=True,
            strip_accents="unicode",
            token_pattern=r"(?u)\b\w+\b",  # noqa: S106 - a pattern, no password
            min_df=min(2, max(1, len(inputs.texts))),
            max_features=_MAX_FEATURES,
            dtype=np.float32,
        )
        try:
            parts.append(vectoriser.fit_transform(inputs.texts))
        except ValueError:  # no word, or none that two rows share
            parts.append(sparse.csr_matrix((batch.num_rows, 0), dtype=np.float32))
        return _Features(sparse.hstack(parts, format="csr", dtype=np.float32))

    def fit(
        self,
        features: object,
        rows: npt.NDArray[np.int64],
        truth: npt.NDArray[np.bool_],
        rng: np.random.Generator,
        belief: npt.NDArray[np.float64] | None = None,
    ) -> FittedScores:
        """Train on the labelled rows and score the whole population.

        Raises
        ------
        InterfaceError
            If `features` do not come from `featurise`.
        """
        if not isinstance(features, _Features):
            raise InterfaceError("tfidf: fit takes what featurise returned.")
        return fit_logistic(features.matrix, rows, truth, rng, _STRENGTHS, belief)


def choose(fitted: Sequence[FittedProxy]) -> int:
    """Return the position of the best fitted proxy: lowest log loss, then highest AUC, then first.

    Raises
    ------
    InterfaceError
        If there is none to choose from.
    """
    if not fitted:
        raise InterfaceError("choose needs at least one fitted proxy.")
    return min(range(len(fitted)), key=lambda i: (fitted[i].log_loss, -fitted[i].auc, i))


def create_proxy(
    _name: str, _signature: Signature, _options: Options, _context: Context
) -> TfidfProxy:
    """Make the proxy of ``USING tfidf``."""
    return TfidfProxy()
