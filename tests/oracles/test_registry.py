"""Providers and options by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from thresher.errors import ProgrammingError
from thresher.oracles import Signature
from thresher.oracles.context import Context
from thresher.oracles.options import OptionError
from thresher.oracles.registry import PROVIDERS, create_oracle, create_proxy


def test_the_providers() -> None:
    assert PROVIDERS == {
        "oracle": ("column", "huggingface", "human", "openai", "python", "pytorch"),
        "proxy": (
            "column",
            "embedding",
            "huggingface",
            "keywords",
            "openai",
            "python",
            "pytorch",
            "tfidf",
        ),
    }


def test_an_unknown_provider_is_an_error_with_the_nearest(text_signature: Signature) -> None:
    with pytest.raises(ProgrammingError, match=r"no oracle provider 'hugingface'\. Did you mean"):
        create_oracle("hugingface", "o", text_signature, {}, Context())
    with pytest.raises(ProgrammingError, match="Providers: column, embedding, huggingface"):
        create_proxy("hugingface", "p", text_signature, {}, Context())


@pytest.mark.parametrize(
    ("options", "message", "option"),
    [
        (
            {"tabel": "t"},
            "no option 'tabel'. Did you mean 'table'.* key, maximum, minimum, table, value",
            "tabel",
        ),
        ({"table": "t", "key": "k"}, "needs the option 'value'", None),
        ({"table": "t", "key": "k", "value": None}, "needs the option 'value'", None),
        ({"table": 3, "key": "k", "value": "v"}, "'table' must be a string, got 3", "table"),
        ({"table": "t", "key": [], "value": "v"}, "'key' must be a string or a list", "key"),
        (
            {"table": "t", "key": "k", "value": "v", "batch_size": 0},
            "'batch_size' must be a positive whole number, got 0",
            "batch_size",
        ),
        (
            {"table": "t", "key": "k", "value": "v", "batch_size": True},
            "positive whole number, got True",
            "batch_size",
        ),
    ],
)
def test_wrong_options(
    text_signature: Signature, options: dict[str, object], message: str, option: str | None
) -> None:
    with pytest.raises(OptionError, match=f"oracle o: .*{message}") as caught:
        create_oracle("column", "o", text_signature, options, Context())
    assert caught.value.option == option


def test_providers_and_options_are_free_of_case(text_signature: Signature) -> None:
    context = Context(functions={"o": len})
    made = create_oracle("PYTHON", "o", text_signature, {"Batch_Size": 5}, context)
    assert made.batch_size == 5


def test_column_needs_tables(text_signature: Signature) -> None:
    options = {"table": "t", "key": "k", "value": "v"}
    with pytest.raises(OptionError, match="needs tables to read"):
        create_oracle("column", "o", text_signature, options, Context())


def test_an_oracle_needs_an_argument() -> None:
    with pytest.raises(ProgrammingError, match="has no arguments"):
        create_oracle("python", "o", Signature((), "BOOLEAN"), {}, Context())


def test_declaring_imports_nothing_heavy() -> None:
    code = """
import sys
from thresher.oracles.registry import create_oracle, create_proxy
from thresher.oracles import Argument, Signature
from thresher.oracles.context import Context
signature = Signature((Argument("text", "VARCHAR"),), "BOOLEAN")
options = {"model": "a/b", "prompt": "{text}"}
create_oracle("huggingface", "o", signature, options, Context())
create_oracle("openai", "o", signature, {**options, "url": "http://localhost/v1"}, Context())
create_proxy("embedding", "p", signature, {"model": "a/b"}, Context())
create_proxy("tfidf", "q", signature, {}, Context())
heavy = {"torch", "transformers", "sklearn", "duckdb", "pandas", "httpx"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
