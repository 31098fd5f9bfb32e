"""The notebooks of `examples/`, each executed in a kernel of its own."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "examples"
# Hashes, numbers and the frames of tables: times and sums of floats vary with the machine.
_VARIES = re.compile(r"\b[0-9a-f]{12,64}\b|\d[\d.,]*|[\u2500-\u257f\s]+")


def executed(name: str) -> tuple[Any, Any]:
    """Return a notebook as it is kept, and as it is after a run."""
    kept = nbformat.read(FOLDER / name, as_version=4)
    fresh = copy.deepcopy(kept)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = nbclient.NotebookClient(
        fresh, timeout=600, coalesce_streams=True, resources={"metadata": {"path": FOLDER}}
    )
    client.execute()
    return kept, fresh


def shown(notebook: Any) -> list[list[str]]:
    """Return what kinds of outputs each cell has, with their words but without their numbers."""
    return [
        [
            " ".join([output.output_type, *sorted(output.get("data", {}))])
            + _VARIES.sub(" ", output.get("text", ""))
            for output in cell.outputs
            if not output.get("data", {}).get("text/plain", "").startswith("done: ")  # took a while
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def texts(notebook: Any) -> str:
    """Return all plain texts of the outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(
        one.get("text") or one.get("data", {}).get("text/plain", "") for one in outputs
    )


@pytest.mark.parametrize(
    ("name", "promises"),
    [
        pytest.param(
            "texts.ipynb",
            [
                r"recall >= 0\.8 with probability 0\.95",
                r"recall >= 0\.7 and precision >= 0\.8 with probability 0\.95",
                "holds",
                r"\d+% of the [\d,]+ reviews returned are positive to people",
            ],
            marks=pytest.mark.full,  # 45 s of a language model
        ),
        (
            "images.ipynb",
            [
                r"recall >= 0\.9 and precision >= 0\.9 with probability 0\.95",
                r"intervals with probability 0\.95",
                r"5 of the first 5 positive rows|5 of 5 positive rows",
            ],
        ),
        (
            "aggregates.ipynb",
            [
                r"error within 0\.15 relative with probability 0\.95",
                r"(?s)product reviews.*film reviews.*editorials.*tweets",
            ],
        ),
    ],
)
def test_example(name: str, promises: list[str]) -> None:
    kept, fresh = executed(name)
    assert shown(fresh) == shown(kept)
    for promise in promises:
        assert re.search(promise, texts(fresh)), promise
        assert re.search(promise, texts(kept)), promise
    if name == "aggregates.ipynb":
        assert texts(fresh).count("True") == 4  # each true count lies inside its limits
        assert "False" not in texts(fresh)
