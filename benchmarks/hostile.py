"""Populations made to break a guarantee: seeded, with every recipe written down.

Three are the synthetic sets of earlier comparisons. They come from one generator, `default_rng(7)`,
drawn in this order (beta01_1 is drawn and thrown away):

- beta01_1: N = 200,000, s ~ Beta(.01, 1), label ~ Bernoulli(s).
- `beta01_2`: the same with Beta(.01, 2).
- `advA_rare`: N = 100,000, s ~ Beta(.5, 20); rows [0, 100) are positive, and each of them gets a
  new score: Beta(8, 2) with probability .8, else Beta(.5, 20).
- `advB_clump`: N = 100,000, s ~ Beta(.5, 20); rows [0, 1000) are positive, and each of them gets a
  new score: with probability .15 it is 1e-6 U with U ~ Uniform(0, 1), else Beta(8, 2).

The others have a generator of their own, `default_rng([20260103, crc32(name)])`, and 10,000 rows
unless `make` is told otherwise. *Good scores* are: label ~ Bernoulli(.1); score ~ Beta(8, 2) for a
positive, Beta(2, 8) for a negative.

- `constant`: good labels, every score .5.
- `inverted`: good scores s, given as 1 - s.
- `ties`: good scores rounded to the five values 0, .25, .5, .75, 1.
- `all-positive`, `none-positive`: Uniform(0, 1) scores, every label the same.
- `one-positive`: Uniform(0, 1) scores, one positive in a random row.
- `random`: label ~ Bernoulli(.1), Uniform(0, 1) scores that know nothing of it.
- `just-above-1`, `just-above-10`: 501 and 510 good rows, with 500 labels allowed.
- `nan`: good scores; NaN in place of 30 % of the positives' scores and 5 % of the negatives'.
- `too-small`, `too-large`: s ~ Beta(.3, 3), label ~ Bernoulli(s); the score is s / 10, or
  min(1, 10 s).
- `strays`: good scores; 15 % of the positives get a score drawn with replacement from all rows'
  scores, which puts them at uniformly random ranks.

Rows are shuffled afterwards, so that their order says nothing.

For sums and means every set, the real ones too, has values that the oracle gives with its answer:
`values` draws min(100, LogNormal(1, 1)) for each row, independent of all else, seeded by the name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from benchmarks.datasets import Dataset, shuffled

SEED = 20_260_103
N_ROWS = 10_000
MOST_VALUE = 100.0
ALLOWED = 500

Table = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def _good(rng: np.random.Generator, n: int) -> Table:
    labels = rng.random(n) < 0.1
    return np.where(labels, rng.beta(8, 2, n), rng.beta(2, 8, n)), labels


def _constant(rng: np.random.Generator, n: int) -> Table:
    return np.full(n, 0.5), _good(rng, n)[1]


def _inverted(rng: np.random.Generator, n: int) -> Table:
    scores, labels = _good(rng, n)
    return 1 - scores, labels


def _ties(rng: np.random.Generator, n: int) -> Table:
    scores, labels = _good(rng, n)
    return np.round(scores * 4) / 4, labels


def _all_positive(rng: np.random.Generator, n: int) -> Table:
    return rng.random(n), np.ones(n, dtype=np.bool_)


def _none_positive(rng: np.random.Generator, n: int) -> Table:
    return rng.random(n), np.zeros(n, dtype=np.bool_)


def _one_positive(rng: np.random.Generator, n: int) -> Table:
    scores = rng.random(n)
    return scores, np.arange(n) == rng.integers(n)


def _random(rng: np.random.Generator, n: int) -> Table:
    return rng.random(n), rng.random(n) < 0.1


def _nan(rng: np.random.Generator, n: int) -> Table:
    scores, labels = _good(rng, n)
    scores[rng.random(n) < np.where(labels, 0.3, 0.05)] = np.nan
    return scores, labels


def _calibrated(rng: np.random.Generator, n: int) -> Table:
    scores = rng.beta(0.3, 3, n)
    return scores, rng.random(n) < scores


def _too_small(rng: np.random.Generator, n: int) -> Table:
    scores, labels = _calibrated(rng, n)
    return scores / 10, labels


def _too_large(rng: np.random.Generator, n: int) -> Table:
    scores, labels = _calibrated(rng, n)
    return np.minimum(1, 10 * scores), labels


def _strays(rng: np.random.Generator, n: int) -> Table:
    scores, labels = _good(rng, n)
    stray = labels & (rng.random(n) < 0.15)
    scores[stray] = rng.choice(scores, int(stray.sum()))
    return scores, labels


RECIPES: dict[str, tuple[Callable[[np.random.Generator, int], Table], str]] = {
    "constant": (_constant, "every score the same"),
    "inverted": (_inverted, "good scores upside down"),
    "ties": (_ties, "good scores, five distinct values"),
    "all-positive": (_all_positive, "every row positive"),
    "none-positive": (_none_positive, "no row positive"),
    "one-positive": (_one_positive, "one row positive, at a random rank"),
    "random": (_random, "scores that know nothing"),
    "just-above-1": (_good, "good scores, one row more than labels"),
    "just-above-10": (_good, "good scores, ten rows more than labels"),
    "nan": (_nan, "good scores, many missing, mostly those of positives"),
    "too-small": (_too_small, "calibrated scores, divided by ten"),
    "too-large": (_too_large, "calibrated scores, ten times too large"),
    "strays": (_strays, "good scores, 15 % of the positives at random ranks"),
}
PUBLISHED = {
    "beta01_2": "Beta(.01, 2) scores, labels drawn by them",
    "advA_rare": "100 positives in 100,000 rows",
    "advB_clump": "15 % of 1,000 positives at the very bottom of 100,000 rows",
}
NAMES = (*PUBLISHED, *RECIPES)


def make(name: str, n_rows: int | None = None) -> Dataset:
    """Return one population by its name in `NAMES`.

    `n_rows` sets the size of those with a generator of their own; the other three have one size.
    """
    if name in PUBLISHED:
        scores, labels = _published()[name]
        return shuffled(name, scores, labels, PUBLISHED[name])
    recipe, origin = RECIPES[name]
    beyond = {"just-above-1": 1, "just-above-10": 10}.get(name)
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    if beyond is None:
        return shuffled(name, *recipe(rng, n_rows or N_ROWS), origin)
    size = n_rows or ALLOWED + beyond
    return replace(shuffled(name, *recipe(rng, size), origin), budgets=(size - beyond,))


@lru_cache(maxsize=4)
def values(name: str, n_rows: int) -> npt.NDArray[np.float64]:
    """The values of a set's rows, float64 (n_rows,), in [0, MOST_VALUE]."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode()), n_rows])
    return np.minimum(MOST_VALUE, rng.lognormal(1.0, 1.0, n_rows))


def _published() -> dict[str, Table]:
    """Draw the three sets that share one generator."""
    rng = np.random.default_rng(7)
    beta = {}
    for name, b in (("beta01_1", 1), ("beta01_2", 2)):
        scores = rng.beta(0.01, b, 200_000)
        beta[name] = scores, rng.random(200_000) < scores
    rare = rng.beta(0.5, 20, 100_000)
    rare[:100] = np.where(rng.random(100) < 0.8, rng.beta(8, 2, 100), rng.beta(0.5, 20, 100))
    clump = rng.beta(0.5, 20, 100_000)
    low = rng.random(1000) < 0.15
    clump[:1000] = np.where(low, 1e-6 * rng.random(1000), rng.beta(8, 2, 1000))
    first = np.arange(100_000)
    return {
        "beta01_2": beta["beta01_2"],
        "advA_rare": (rare, first < 100),
        "advB_clump": (clump, first < 1000),
    }
