"""The oracle of a URL against a server that others wrote: ``transformers serve`` and SmolLM2."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.errors import OracleError
from thresher.oracles import Argument, Signature
from thresher.oracles.context import Context
from thresher.oracles.options import check_options
from thresher.oracles.registry import create_oracle, create_proxy
from thresher.oracles.runtime import RUNTIME_OPTIONS, resolve_runtime
from thresher.oracles.weights import SOURCE_OPTIONS, find_source, load_model

pytestmark = [pytest.mark.full, pytest.mark.models]

SNIPPETS = Path(__file__).parents[3] / "shared" / "data" / "movie_smollm2_vader.parquet"
TEXT = Signature((Argument("text", "VARCHAR"),), "BOOLEAN")
PROMPT = (
    "Review: A delight.\\nAnswer: yes\\n\\nReview: A waste of time.\\nAnswer: no\\n\\n"
    "Review: {text}\\nIs the review positive?"
)
STARTS_WITHIN_S, ASKED_WITHIN_S = 180, 120


@pytest.fixture(scope="module")
def snippets() -> list[str]:
    if not SNIPPETS.is_file():
        pytest.skip(f"there is no {SNIPPETS}")
    texts = pq.read_table(SNIPPETS, columns=["text"])["text"].to_pylist()
    return [text for text in texts if len(text) < 160][:8]


def _saved(folder: Path, gguf: Path) -> None:
    """The weights of a GGUF file as a folder that says its own architecture."""
    known = {**SOURCE_OPTIONS, **RUNTIME_OPTIONS}
    given = {"model": str(gguf), "device": "cpu", "dtype": "float32"}
    options = check_options("server", "huggingface", given, known)
    source = find_source(str(gguf), options, Context())
    runtime = resolve_runtime(options)
    tokenizer, replicas = load_model("causal-lm", source, source.version(), runtime)
    replicas.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Iterator[dict[str, str]]:
    """Where the server listens and what it calls its model."""
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"transformers serve needs {' and '.join(missing)}")
    folder = tmp_path_factory.mktemp("smollm2")
    _saved(folder, smollm2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder)]
    log = folder / "log.txt"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            stdout=out,
            stderr=out,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        try:
            _wait(server, port, log)
            yield {"url": f"http://127.0.0.1:{port}/v1", "model": str(folder)}
        finally:
            server.terminate()
            server.wait(30)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    pytest.fail(f"transformers serve did not start:\n{log.read_text()[-2000:]}")


def test_each_row_has_an_answer_or_an_error_that_shows_what_came(
    served: dict[str, str], snippets: list[str]
) -> None:
    given = {**served, "prompt": PROMPT, "timeout": ASKED_WITHIN_S, "max_tokens": 8}
    options = {**given, "concurrency": 1, "retries": 2, "usd_per_mtok": 1}
    oracle = create_oracle("openai", "tone", TEXT, options, Context())
    n_answered = 0
    for text in snippets:
        try:
            answers = oracle.answer(pa.table({"text": [text]}))
        except OracleError as error:
            assert "the model said" in str(error)  # noqa: PT017 - either will do
            continue
        n_answered += 1
        assert answers.values.to_pylist()[0] in (True, False)
        # The prompt has some 60 tokens, and the server counts them.
        assert answers.cost_usd > 30 / 1e6
    assert n_answered >= len(snippets) / 4


def test_a_server_without_log_probabilities_is_no_proxy(served: dict[str, str]) -> None:
    given = {**served, "prompt": PROMPT, "timeout": ASKED_WITHIN_S, "retries": 1, "cache": False}
    proxy = create_proxy("openai", "p", TEXT, given, Context())
    with pytest.raises(OracleError, match="log-probabilities"):
        proxy.score(pa.table({"text": ["A delight."]}))
