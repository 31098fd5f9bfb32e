"""What docs/models.md shows can be declared as it stands, and its table names every task."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import thresher
from thresher.oracles.huggingface import OPTIONS
from thresher.sql import split

pytest.importorskip("transformers")
PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text()
EXAMPLES = [
    statement
    for block in re.findall(r"^```sql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for statement in split(block)
]


def test_every_example_is_a_statement_that_is_accepted() -> None:
    con = thresher.connect()
    assert len(EXAMPLES) >= 4
    for statement in EXAMPLES:
        con.execute(statement.text)
    assert con.execute("SHOW ORACLES").fetchall()


def test_the_table_names_every_task_and_option() -> None:
    for task in OPTIONS["task"].choices:
        assert f"`{task}`" in PAGE
    missing = [name for name in OPTIONS if f"`{name}`" not in PAGE and f"`{name} = " not in PAGE]
    assert missing in ([], ["gguf_file"])
