"""PyTorch modules as oracles: real modules, files and weights, made here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import special

import thresher
from thresher.errors import DataError, OperationalError, OracleError
from thresher.oracles import Argument, Signature
from thresher.oracles.context import Context
from thresher.oracles.options import OptionError
from thresher.oracles.pytorch import ModuleOracle
from thresher.oracles.registry import create_oracle

CODE = """
import torch

class Net(torch.nn.Module):
    def __init__(self, width=1):
        super().__init__()
        self.line = torch.nn.Linear(2, width)

    def forward(self, numbers):
        return self.line(numbers)

def wide():
    return Net(3)

def pairs(x, y):
    return torch.tensor([x, y], dtype=torch.float32).T

def named(x, y):
    return {"numbers": pairs(x, y)}

ready = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
not_a_module = 7
"""
SIGNATURE = (Argument("x", "DOUBLE"), Argument("y", "DOUBLE"))
LABELS = ["cat", "dog", "eel"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "my_net.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_net", None)


def save(path: Path, width: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Write weights, and return them: shapes (width, 2) and (width,)."""
    import torch
    from safetensors.torch import save_file

    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(width, 2)), rng.normal(size=width)
    tensors = {"line.weight": torch.tensor(weight), "line.bias": torch.tensor(bias)}
    save_file({name: one.float() for name, one in tensors.items()}, path)
    return weight, bias


def make(folder: Path, returns: str = "BOOLEAN", **options: object) -> ModuleOracle:
    given = {"module": "my_net:Net", "preprocess": "my_net:pairs", **options}
    given = {name: value for name, value in given.items() if value is not None}
    signature = Signature(SIGNATURE, returns)
    made = create_oracle("pytorch", "net", signature, given, Context(base=folder))
    assert isinstance(made, ModuleOracle)
    return made


@pytest.fixture
def batch() -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table({"x": rng.normal(size=150), "y": rng.normal(size=150)})


def logits(batch: pa.Table, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.column_stack([batch["x"], batch["y"]]) @ weight.T + bias


@pytest.mark.parametrize("preprocess", ["my_net:pairs", "my_net:named"])
def test_one_column(folder: Path, batch: pa.Table, preprocess: str) -> None:
    weight, bias = save(folder / "w.safetensors", 1)
    given = {"weights": "w.safetensors", "preprocess": preprocess, "batch_rows": 16}
    truth = special.expit(logits(batch, weight, bias)[:, 0])
    found = make(folder, **given).answer(batch)
    assert found.values.to_pylist() == (truth > 0.5).tolist()
    assert found.confidence == pytest.approx(np.maximum(truth, 1 - truth), abs=1e-5)
    strict = make(folder, threshold=0.8, **given).answer(batch)
    assert strict.values.to_pylist() == (truth > 0.8).tolist()
    number = make(folder, "DOUBLE", **given).answer(batch)
    assert np.asarray(number.values) == pytest.approx(truth, abs=1e-5)
    value = make(folder, "DOUBLE", output="value", **given).answer(batch)
    assert np.asarray(value.values) == pytest.approx(logits(batch, weight, bias)[:, 0], abs=1e-4)


def test_several_columns(folder: Path, batch: pa.Table) -> None:
    weight, bias = save(folder / "w.safetensors", 3)
    given = {"module": "my_net:wide", "weights": "w.safetensors", "labels": LABELS}
    truth = special.softmax(logits(batch, weight, bias), axis=1)
    best = truth.argmax(axis=1)
    found = make(folder, "VARCHAR", **given).answer(batch)
    assert found.values.to_pylist() == [LABELS[i] for i in best]
    assert found.confidence == pytest.approx(truth.max(axis=1), abs=1e-5)
    dog = make(folder, label="dog", **given).answer(batch)
    assert dog.values.to_pylist() == (best == 1).tolist()
    sure = make(folder, "DOUBLE", label="dog", **given).answer(batch)
    assert np.asarray(sure.values) == pytest.approx(truth[:, 1], abs=1e-5)
    with pytest.raises(OperationalError, match=r"no label 'dug'\. Did you mean 'dog'"):
        make(folder, label="dug", **given)


def test_answers_do_not_hang_on_the_size_of_a_pass(folder: Path, batch: pa.Table) -> None:
    save(folder / "w.safetensors", 1)
    found = [
        np.asarray(
            make(folder, "DOUBLE", weights="w.safetensors", batch_rows=n).answer(batch).values
        )
        for n in (1, 7, 150, 1000)
    ]
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-6)
    assert len(make(folder).answer(batch.slice(0, 0)).values) == 0


def test_the_version_holds_code_weights_and_options(folder: Path) -> None:
    save(folder / "w.safetensors", 1)
    save(folder / "v.safetensors", 1, seed=6)
    given = {"weights": "w.safetensors"}
    first = make(folder, **given).version
    assert first == make(folder, **given, batch_rows=3, device="cpu").version
    changed = [
        {"weights": "v.safetensors"},
        {"weights": None, "module": "my_net:ready"},
        {"threshold": 0.7},
        {"returns": "DOUBLE"},
        {"dtype": "bfloat16"},
        {"output": "probabilities"},
        {"preprocess": "my_net:named"},
    ]
    versions = {make(folder, **{**given, **options}).version for options in changed}
    (folder / "my_net.py").write_text(CODE.replace("self.line(numbers)", "2 * self.line(numbers)"))
    sys.modules.pop("my_net")
    versions.add(make(folder, **given).version)
    assert len(versions | {first}) == len(changed) + 2
    # Without a file, the weights of the module itself count: those drawn at random are others.
    assert make(folder).version != make(folder).version
    ready = {"module": "my_net:ready"}
    assert make(folder, **ready).version == make(folder, **ready).version


@pytest.mark.parametrize(
    ("returns", "options", "error", "message"),
    [
        ("BOOLEAN", {"module": "my_net"}, OptionError, "module = 'my_net' names no object"),
        ("BOOLEAN", {"module": "no_net:Net"}, OptionError, "cannot import 'no_net'"),
        ("BOOLEAN", {"preprocess": "my_net:not_a_module"}, OptionError, "is not a function"),
        ("BOOLEAN", {"weights": "w.pt"}, OptionError, r"a pickle .* can run any code"),
        ("BOOLEAN", {"weights": "w.safetensors"}, OperationalError, "there is no file"),
        ("VARCHAR", {}, OptionError, "needs the names of the output's columns"),
        ("VARCHAR", {"labels": ["a", "a"]}, OptionError, "two different names"),
        ("BOOLEAN", {"labels": LABELS}, OptionError, "take labels and label together"),
        ("BOOLEAN", {"output": "value"}, OptionError, "goes with RETURNS DOUBLE"),
        ("DOUBLE", {"threshold": 0.3}, OptionError, "goes with RETURNS BOOLEAN"),
        ("BOOLEAN", {"threshold": 3}, OptionError, r"must be in \(0, 1\)"),
    ],
)
def test_wrong_options(
    folder: Path, returns: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(folder, returns, **options)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("def Net(): return 7", OperationalError, "module made 'int', not a torch.nn.Module"),
        ("def Net(x): return 7", OperationalError, "making the module raised TypeError"),
        ("def pairs(x, y): return [1]", DataError, "preprocess returned list; it must return a"),
        ("def pairs(x, y): return torch.ones(1)", DataError, r"shape \(1,\) for \d+ rows"),
        ("def pairs(x, y): raise KeyError('z')", OracleError, "raised KeyError: 'z' .*x = 1.5"),
        ("def pairs(x, y): return torch.ones(len(x), 9)", OracleError, "raised RuntimeError: mat1"),
        ("def pairs(x, y): return torch.full((len(x), 2), float('nan'))", DataError, "no finite"),
        ("Net.forward = lambda self, x: x", DataError, r"shape \(3, 2\) .* Write labels ="),
        ("Net.forward = lambda self, x: 'yes'", DataError, "the module returned str"),
    ],
)
def test_what_goes_wrong_is_said(
    folder: Path, code: str, error: type[Exception], message: str
) -> None:
    (folder / "my_net.py").write_text(f"{CODE}\n{code}\n")
    table = pa.table({"x": [1.5, 2.0, 3.0], "y": [1.0, 2.0, 3.0]})
    with pytest.raises(error, match=message):
        make(folder).answer(table)


def test_weights_of_another_module_and_numbers_that_are_no_probabilities(
    folder: Path, batch: pa.Table
) -> None:
    save(folder / "w.safetensors", 3)
    with pytest.raises(OperationalError, match="does not hold the weights of this module"):
        _ = make(folder, weights="w.safetensors").version
    (folder / "v.safetensors").write_bytes(b"nonsense")
    with pytest.raises(OperationalError, match="does not hold the weights"):
        _ = make(folder, weights="v.safetensors").version
    save(folder / "u.safetensors", 1)
    with pytest.raises(DataError, match=r"gave -?\d.* for x = .* Write output = 'logits'"):
        make(folder, weights="u.safetensors", output="probabilities").answer(batch)


def test_a_query(folder: Path) -> None:
    weight, bias = save(folder / "w.safetensors", 1)
    with thresher.connect(str(folder / "t.duckdb")) as con:
        con.execute(
            "CREATE TABLE t AS SELECT i AS id, sin(i)::DOUBLE AS x, cos(3 * i)::DOUBLE AS y"
            " FROM range(2000) r(i)"
        )
        con.execute(
            "CREATE ORACLE net(x DOUBLE, y DOUBLE) RETURNS BOOLEAN USING pytorch WITH (module ="
            " 'my_net:Net', preprocess = 'my_net:pairs', weights = 'w.safetensors', device = 'cpu')"
        )
        every = con.execute("SELECT x, y FROM t").fetch_arrow_table()
        truth = logits(every, weight, bias)[:, 0] > 0
        query = "SELECT count(*) FROM t WHERE net(x, y) USING x"
        assert con.execute(query).fetchall() == [(int(truth.sum()),)]
        found = con.execute(
            "SELECT id FROM t WHERE net(x, y) USING x RECALL TARGET 90% ORACLE LIMIT 800 SEED 3"
        )
        kept = [row[0] for row in found.fetchall()]
        assert truth[kept].sum() >= 0.9 * truth.sum()
        assert found.certificate is not None
        assert found.certificate.n_labels == 0, "the count before has bought all labels"
