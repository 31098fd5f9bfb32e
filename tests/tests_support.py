"""What several test files share: a table with a proxy score, an oracle that counts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


class CountingOracle:
    """Answers from a truth table and remembers every input it was asked."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth
        self.asked: list[int] = []

    def __call__(self, ids: list[int]) -> list[bool]:
        self.asked += ids
        return [bool(self.truth[i]) for i in ids]


def make_table(n_rows: int, seed: int, rate: float = 0.2) -> tuple[pa.Table, np.ndarray]:
    """Return (table of id, score, text, year; truth): the score is informative, not perfect."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n_rows) < rate
    logit = np.where(truth, 1.5, -1.5) + 1.2 * rng.standard_normal(n_rows)
    score = 1 / (1 + np.exp(-logit))
    words = np.where(truth, "good fine lovely", "bad poor dull")
    text = [f"{word} film {i % 97}" for i, word in enumerate(words)]
    year = rng.integers(1980, 2020, n_rows)
    table = pa.table({"id": np.arange(n_rows), "score": score, "text": text, "year": year})
    return table, truth
