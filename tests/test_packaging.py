"""The package list, the layers' names and what an import costs in modules."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "thresher": "engine",
    "thresher.sql": "sql",
    "thresher.sampling": "sampling",
    "thresher.oracles": "oracles",
    "thresher.notebook": "notebook",
    "thresher.pages": "pages",
    "thresher.shell": "shell",
}


def test_every_folder_with_code_is_packaged() -> None:
    found = set()
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            inner = path.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *inner)))
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found
    assert PROJECT["tool"]["setuptools"]["package-dir"] == FOLDERS


def test_every_module_of_the_root_has_a_layer() -> None:
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    listed = {name.strip() for layer in layers for name in layer.split("|")}
    modules = {path.stem for path in (ROOT / "engine").glob("*.py")} - {"__init__"}
    folders = {package.rpartition(".")[2] for package in FOLDERS if "." in package}
    assert listed == modules | folders


def test_constraints_pin_exact_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all("==" in line for line in lines)
    assert "duckdb==1.5.6" in lines
    assert "torch==2.13.0" in lines


def test_import_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "sklearn", "scipy", "duckdb", "pyarrow", "numpy"]
    script = f"import sys, thresher; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("first", ["thresher", "thresher.sql.tokens", "thresher.session"])
def test_the_front_end_may_be_called(first: str) -> None:
    script = (
        f"import {first}; import thresher.sql as run; rows = thresher.sql('SELECT 40 + ?', "
        "[2]).fetchall(); print(rows, run('SELECT 1').fetchall(), run.split('SELECT 1')[0].text)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", script],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[(42,)] [(1,)] SELECT 1"


def test_the_front_end_imports_nothing_that_the_layers_cannot_see() -> None:
    for path in (ROOT / "sql").glob("*.py"):
        assert "import_module" not in path.read_text(), path.name


def test_connecting_loads_no_model_library() -> None:
    script = (
        "import sys, thresher; thresher.connect().execute('SELECT 1').fetchall(); "
        "heavy = ('torch', 'transformers', 'sklearn', 'pandas', 'sqlalchemy', 'IPython'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "folder", ["engine", "sql", "sampling", "oracles", "shell", "pages", "notebook"]
)
def test_the_architecture_says_what_every_module_is_for(folder: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = [path.stem for path in (ROOT / folder).glob("*.py") if path.stem[0] != "_"]
    assert not [module for module in modules if f"`{module}`" not in text]
