"""The real models that packages carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from thresher.oracles import Argument, Signature
from thresher.oracles.context import Context
from thresher.oracles.registry import create_oracle, create_proxy

pytestmark = pytest.mark.models

POSITIVE = [
    "A warm, funny, deeply moving film.",
    "One of the best films of the year.",
    "Great fun.",
]
NEGATIVE = ["A dull, lifeless mess.", "One of the worst films of the year.", "A waste of time."]


def test_smollm2_tells_praise_from_blame_in_both_number_types(smollm2: Path) -> None:
    signature = Signature((Argument("text", "VARCHAR"),), "DOUBLE")
    options = {"prompt": "Review: {text}\nSentiment:", "yes": " positive", "no": " negative"}
    found = {}
    for dtype in ("float32", "bfloat16"):
        given = {"model": str(smollm2), "dtype": dtype, **options}
        oracle = create_oracle("huggingface", "tone", signature, given, Context())
        batch = pa.table({"text": POSITIVE + NEGATIVE})
        found[dtype] = oracle.answer(batch).values.to_numpy()
        alone = [oracle.answer(batch.slice(i, 1)).values[0].as_py() for i in range(6)]
        assert alone == pytest.approx(found[dtype], abs=0.03)
    assert found["float32"][:3].min() > found["float32"][3:].max()
    assert found["bfloat16"] == pytest.approx(found["float32"], abs=0.03)


def test_minilm_learns_praise_from_a_few_labels(minilm: Path) -> None:
    subjects = ["film", "story", "cast", "ending", "music", "script", "joke", "scene"]
    praise = ["wonderful", "superb", "a delight", "moving", "excellent"]
    blame = ["awful", "boring", "a disaster", "clumsy", "terrible"]
    texts = [f"The {s} is {w}." for s in subjects for w in praise + blame]
    truth = np.array([w in praise for _ in subjects for w in praise + blame])
    signature = Signature((Argument("text", "VARCHAR"),), "BOOLEAN")
    options = {"model": str(minilm), "cache": False}
    proxy = create_proxy("embedding", "meaning", signature, options, Context())
    rows = np.random.default_rng(0).permutation(len(texts))[:40]
    features = proxy.featurise(pa.table({"text": texts}))
    fitted = proxy.fit(features, rows, truth[rows], np.random.default_rng(1))
    rest = np.setdiff1d(np.arange(len(texts)), rows)
    assert ((fitted.scores[rest] > 0.5) == truth[rest]).mean() > 0.9
