"""Weights of a hub model, from its cache: which commit, no pickle, no code, no network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from thresher.errors import OperationalError
from thresher.oracles import Argument, Oracle, Signature, weights
from thresher.oracles.context import Context
from thresher.oracles.registry import create_oracle

pytest.importorskip("transformers")

ONE, OTHER = "1" * 40, "2" * 40
Hub = Callable[..., None]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub's cache folder that holds commits of `org/tiny`."""
    folder = tmp_path / "hub" / "models--org--tiny"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder.parent))

    def add(model: Path, commit: str, *names: str) -> None:
        shutil.copytree(model, folder / "snapshots" / commit, dirs_exist_ok=True)
        (folder / "refs").mkdir(exist_ok=True)
        for name in names:
            (folder / "refs" / name).write_text(commit)

    weights._commit.cache_clear()
    yield add
    weights._commit.cache_clear()
    weights._load.cache_clear()


def make(**options: object) -> Oracle:
    given = {"model": "org/tiny", "prompt": "{text}:", "dtype": "float32", "yes": " good"}
    given |= {"no": " bad", "local_files_only": True, **options}
    signature = Signature((Argument("text", "VARCHAR"),), "DOUBLE")
    return create_oracle("huggingface", "tone", signature, given, Context())


def ask(oracle: Oracle) -> np.ndarray:
    return np.array(oracle.answer(pa.table({"text": ["a film", "x"]})).values.to_pylist())


def test_a_hub_model_answers_as_its_folder_does(tiny_llama: Path, hub: Hub) -> None:
    hub(tiny_llama, ONE, "main")
    np.testing.assert_array_equal(ask(make()), ask(make(model=str(tiny_llama))))


def test_the_commit_is_the_version_whatever_name_it_has(tiny_llama: Path, hub: Hub) -> None:
    hub(tiny_llama, ONE, "main", "v1")
    first = make().version
    assert make(revision="v1").version == make(revision=ONE).version == first
    hub(tiny_llama, OTHER, "main")
    assert make().version == first, "looked up once in a process"
    weights._commit.cache_clear()
    assert make(revision="v1").version == first
    assert make().version == make(revision=OTHER).version != first


def test_what_is_loaded_is_the_commit_of_the_version(
    tiny_llama: Path, tiny_gemma: Path, hub: Hub
) -> None:
    hub(tiny_llama, ONE, "main")
    oracle = make()
    version = oracle.version
    expected = ask(make(model=str(tiny_llama)))
    hub(tiny_gemma, OTHER, "main")  # moves before the weights are loaded
    np.testing.assert_array_equal(ask(oracle), expected)
    assert oracle.version == version


def test_pickled_weights_of_a_hub_model_are_refused_with_the_reason(
    tiny_llama: Path, hub: Hub, tmp_path: Path
) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(tiny_llama, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    hub(pickled, ONE, "main")
    with pytest.raises(
        OperationalError, match=r"org/tiny.*holds no safetensors; pickled weights .*any code"
    ):
        ask(make())


def test_code_of_a_model_is_not_run(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "coded"
    shutil.copytree(tiny_llama, folder)
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "c.C", "AutoModelForCausalLM": "c.M"}
    config |= {"model_type": "mine", "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "c.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(OperationalError, match="cannot load model"):
        ask(make(model=str(folder)))
    assert not (tmp_path / "ran").exists()


def test_local_files_only_asks_no_server(
    tiny_llama: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def connect(*arguments: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    hub(tiny_llama, ONE, "main")
    assert ask(make()).shape == (2,)
    with pytest.raises(OperationalError, match="cannot load model 'org/tiny'"):
        ask(make(revision="v9"))
