"""Proxies that are trained inside the query, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse, special

from thresher.errors import InterfaceError
from thresher.oracles.context import Context
from thresher.oracles.features import split_inputs
from thresher.oracles.logistic import FittedScores, Matrix, fit_logistic
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import FittedProxy, Signature

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

__all__ = ["OPTIONS", "TfidfProxy", "choose", "create_proxy"]

OPTIONS: dict[str, Option] = {}
_STRENGTHS = (1.0, 4.0, 16.0, 64.0, 256.0)
_MAX_FEATURES = 200_000
_MAX_KEPT = 65_536  # words of a proxy that is kept
_BUCKETS = 2**31 - 1  # of hashed words
_WORDS: Mapping[str, Any] = {
    "ngram_range": (1, 2),
    "strip_accents": "unicode",
    "token_pattern": r"(?u)\b\w+\b",
    "dtype": np.float32,
}


@dataclass(frozen=True, slots=True)
class _Features:
    matrix: Matrix
    scale: npt.NDArray[np.float64]
    vectoriser: TfidfVectorizer | None


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

    @property
    def version(self) -> str:
        """What the features hang on: proxies of another version cannot be used again."""
        return "tfidf 1"

    def featurise(self, batch: pa.Table) -> object:
        """Return the TF-IDF matrix of the whole population."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        inputs = split_inputs(batch)
        if inputs.texts is None:
            return _Features(inputs.numbers, inputs.scale, None)
        vectoriser = TfidfVectorizer(
            sublinear_tf=True,
            min_df=min(2, max(1, len(inputs.texts))),
            max_features=_MAX_FEATURES,
            **_WORDS,
        )
        try:
            words = vectoriser.fit_transform(inputs.texts)
        except ValueError:  # no word, or none that two rows share
            return _Features(sparse.csr_matrix(inputs.numbers), inputs.scale, None)
        matrix = sparse.hstack([sparse.csr_matrix(inputs.numbers), words], format="csr")
        return _Features(matrix.astype(np.float32), inputs.scale, vectoriser)

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

    def freeze(self, features: object, fitted: FittedProxy) -> dict[str, npt.NDArray[Any]] | None:
        """Return what `apply` needs, as arrays; None where nothing was learnt.

        Words are kept as hashes of 31 bits, with their inverse document frequencies and weights:
        those of the labelled rows first, then the most frequent ones, 65,536 at most.
        """
        if not isinstance(features, _Features) or not isinstance(fitted, FittedScores):
            raise InterfaceError("tfidf: freeze takes what featurise and fit returned.")
        if fitted.head is None:
            return None
        n_numbers = len(features.scale)
        weights = fitted.head.spread(features.matrix.shape[1])
        words, idf = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
        if features.vectoriser is not None:
            words = _hashed([[word] for word in features.vectoriser.get_feature_names_out()])
            idf = features.vectoriser.idf_.astype(np.float32)
        of_words = weights[n_numbers:]
        first = np.lexsort((idf, of_words == 0))[:_MAX_KEPT]
        kept, places = np.unique(words[first], return_index=True)
        return {
            "words": kept,
            "idf": idf[first][places],
            "weights": of_words[first][places],
            "numbers": weights[:n_numbers],
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
            The rows have more or fewer numbers than those it was trained on.
        """
        inputs = split_inputs(batch, trained["scale"])
        logits = inputs.numbers @ trained["numbers"].astype(np.float64) + trained["intercept"][0]
        if inputs.texts and len(trained["words"]):  # the hasher takes no empty sequence
            logits += _word_logits(inputs.texts, trained)
        return np.asarray(special.expit(logits), dtype=np.float64)


def _hashed(words: Sequence[Sequence[str]]) -> npt.NDArray[np.int32]:
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(_BUCKETS, input_type="string", alternate_sign=False)
    return np.asarray(hasher.transform(words).indices, dtype=np.int32)


def _word_logits(
    texts: Sequence[str], trained: Mapping[str, npt.NDArray[Any]]
) -> npt.NDArray[np.float64]:
    """Return what the words of each text add to its logit, their TF-IDF vector of length 1."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hasher = HashingVectorizer(n_features=_BUCKETS, alternate_sign=False, norm=None, **_WORDS)
    counts = hasher.transform(texts)
    places = np.searchsorted(trained["words"], counts.indices)
    places = np.minimum(places, len(trained["words"]) - 1)
    known = trained["words"][places] == counts.indices
    rows = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))[known]
    places = places[known]
    values = (1.0 + np.log(counts.data[known].astype(np.float64))) * trained["idf"][places]
    lengths = np.sqrt(np.bincount(rows, values**2, minlength=len(texts)))
    sums = np.bincount(rows, values * trained["weights"][places], minlength=len(texts))
    return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float64)


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
