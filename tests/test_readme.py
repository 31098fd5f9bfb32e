"""The examples of the README run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_models.py").write_text(
        'def is_good(texts):\n    return ["joy" in text for text in texts]\n'
    )
    return tmp_path


def test_first_query_in_python_and_in_the_shell(folder: Path) -> None:
    [python] = blocks("python")
    done = subprocess.run(
        [sys.executable, "-P", "-c", python], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "hold at least 90.0% of the positive rows" in done.stdout
    assert (folder / "films.duckdb.labels").exists()
    [shell] = [block for block in blocks("") if block.startswith("thresher query")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in shell.splitlines():
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "precision >= 0.95" in done.stderr
    csv = (folder / "good.csv").read_text().splitlines()
    assert csv[0].replace('"', "") == "id,year,stars,text"
    assert len(csv) > 1000


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", "\n".join(blocks("")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
