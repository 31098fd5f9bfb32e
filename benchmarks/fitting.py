"""What a query with two targets costs where its proxy is fitted inside the query.

Texts and images whose oracle is known; every query runs through the DB-API with a proxy declared
in SQL, and every label counts, those for fitting included. The answer is judged by the whole truth.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import binomtest

import thresher
from benchmarks.datasets import DatasetUnavailableError, data_folder
from benchmarks.provenance import machine
from thresher.assets import MINILM, fetch

TARGET, DELTA = 0.9, 0.05
CLASSES = ("Shirt", "Bag", "Dress")
QUERY = (
    "SELECT place FROM items WHERE positive({column}) USING {proxy} "
    f"RECALL TARGET {TARGET} PRECISION TARGET {TARGET} SEED {{seed}}"
)


@dataclass(frozen=True, slots=True)
class Items:
    """A table whose oracle is known.

    Parameters
    ----------
    name : str
    table : pyarrow.Table
        The column `inputs`, and `stored` with a stored proxy's score where there is one.
    truth : ndarray of bool, shape (n_rows,)
    proxies : sequence of str
        Proxies to compare: providers, or ``stored``.
    """

    name: str
    table: pa.Table
    truth: npt.NDArray[np.bool_]
    proxies: Sequence[str]


def _read(file: str) -> pa.Table:
    path = data_folder() / file
    if not path.exists():
        raise DatasetUnavailableError(f"{path} is not there")
    return pq.read_table(path)


def _texts(name: str, texts: Sequence[str], truth: npt.NDArray[np.bool_]) -> Items:
    return Items(name, pa.table({"inputs": texts}), truth, ("tfidf", "embedding"))


def mails() -> Items:
    """SpamAssassin e-mails: subject and body, is it spam."""
    table = _read("spamassassin_emails.parquet")
    pairs = zip(table["subject"].to_pylist(), table["body"].to_pylist(), strict=True)
    texts = [f"{subject or ''}\n{body or ''}" for subject, body in pairs]
    return _texts("e-mails", texts, np.asarray(table["is_spam"]).astype(bool))


def messages() -> Items:
    """UCI SMS messages: is it spam."""
    table = _read("sms_spam.parquet")
    return _texts("SMS", table["text"].to_pylist(), np.asarray(table["is_spam"]).astype(bool))


def images(category: str) -> Items:
    """Fashion-MNIST's test images as lists of pixels: does a CNN say `category`."""
    table = _read("fashion_mnist_test_scored.parquet")
    pixels = pa.array(np.frombuffer(b"".join(table["pixels"].to_pylist()), dtype=np.uint8))
    columns = {
        "inputs": pa.FixedSizeListArray.from_arrays(pixels, 784),
        "stored": table[f"proxy_p_{category}"],
    }
    truth = np.asarray(table["oracle_class"]) == category
    return Items(f"Fashion-MNIST {category}", pa.table(columns), truth, ("tfidf", "stored"))


LOADERS: Mapping[str, Callable[[], Items]] = {
    "e-mails": mails,
    "SMS": messages,
    **{f"Fashion-MNIST {name}": (lambda name=name: images(name)) for name in CLASSES},
}


def _oracle(items: Items) -> Callable[[Sequence[object]], list[bool]]:
    """Look answers up by the input; equal inputs have one answer, that of the first."""
    answers: dict[object, bool] = {}
    for value, answer in zip(items.table["inputs"].to_pylist(), items.truth, strict=True):
        answers.setdefault(_key(value), bool(answer))
    return lambda batch: [answers[_key(value)] for value in batch]


def _key(value: object) -> object:
    return bytes(value) if isinstance(value, list) else value


def _connect(items: Items, proxy: str, folder: Path) -> Any:
    """Return a connection with the table, the oracle and the proxy."""
    file = folder / "items.parquet"
    places = pa.array(np.arange(len(items.truth)))
    pq.write_table(items.table.append_column("place", places), file)
    kind = "VARCHAR" if pa.types.is_string(items.table["inputs"].type) else "UTINYINT[]"
    con = thresher.connect(config={"reuse_labels": False})
    con.execute(f"CREATE TABLE items AS SELECT * REPLACE (inputs::{kind} AS inputs) FROM '{file}'")
    con.create_oracle("positive", _oracle(items), args=[kind], version="1")
    if proxy != "stored":
        con.execute(f"CREATE PROXY fitted FOR positive USING {proxy} WITH ({_options(proxy)})")
    return con


def _options(proxy: str) -> str:
    if proxy != "embedding":
        return ""
    try:
        return f"model = '{fetch(MINILM)}'"
    except thresher.OperationalError as error:
        raise DatasetUnavailableError(str(error)) from error


def measure(items: Items, proxy: str, n_seeds: int, folder: Path) -> dict[str, Any]:
    """Run the query with seeds 0, 1, ... and judge every answer."""
    truth = items.truth
    known = np.asarray(_oracle(items)(items.table["inputs"].to_pylist()))
    labels, fitting, failures, seconds = [], [], 0, []
    with _connect(items, proxy, folder) as con:
        for seed in range(n_seeds):
            begun = time.perf_counter()
            named = "stored" if proxy == "stored" else "fitted"
            cursor = con.execute(QUERY.format(column="inputs", proxy=named, seed=seed))
            found = np.array([row[0] for row in cursor.fetchall()], dtype=np.int64)
            seconds.append(time.perf_counter() - begun)
            certificate = cursor.certificate
            labels.append(certificate.n_labels)
            fitting.append(sum(s.n_rows for s in certificate.stages if s.stage == "fit"))
            hits = int(known[found].sum())
            missed = hits < TARGET * known.sum() or hits < TARGET * len(found)
            failures += int(missed)
    chance = float(binomtest(failures, n_seeds, DELTA, alternative="greater").pvalue)
    return {
        "items": items.name,
        "n_rows": len(truth),
        "n_positive": int(known.sum()),
        "proxy": proxy,
        "n_seeds": n_seeds,
        "labels": {"median": float(np.median(labels)), "low": min(labels), "high": max(labels)},
        "fitting_median": float(np.median(fitting)),
        "failures": failures,
        "p_value": chance,
        "seconds_median": float(np.median(seconds)),
    }


def run(out: Path, n_seeds: int) -> None:
    """Measure all that can be had here, print a table and write ``fitting.json``."""
    ran_on, cells = machine(), []
    out.mkdir(parents=True, exist_ok=True)
    for name, load in LOADERS.items():
        try:
            items = load()
        except DatasetUnavailableError as reason:
            print(f"skipped {name}: {reason}", flush=True)
            continue
        for proxy in items.proxies:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    cell = measure(items, proxy, n_seeds, Path(folder))
                except DatasetUnavailableError as reason:
                    print(f"skipped {name} by {proxy}: {reason}", flush=True)
                    continue
            cells.append(cell)
            text = json.dumps({"machine": ran_on, "cells": cells}, indent=1)
            (out / "fitting.json").write_text(text + "\n")
            found = cell["labels"]
            print(
                f"{name:24} {proxy:10} {found['median']:7,.0f} labels in the median of {n_seeds} "
                f"({found['low']:,} to {found['high']:,}) of {cell['n_rows']:,} rows; fitting "
                f"{cell['fitting_median']:,.0f}; missed {cell['failures']}; "
                f"{cell['seconds_median']:.1f} s",
                flush=True,
            )
