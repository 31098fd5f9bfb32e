"""Every example of docs/python.md runs, in order, as a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_examples_run_in_order(tmp_path: Path) -> None:
    assert len(EXAMPLES) >= 9
    script = tmp_path / "page.py"
    script.write_text("\n".join(EXAMPLES))
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(script)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_public_method_of_a_cursor_that_fetches_is_named() -> None:
    from thresher.cursor import Cursor

    fetching = [
        name for name in vars(Cursor) if re.match(r"fetch|to_|dicts|df|pl$|arrow|pre", name)
    ]
    assert len(fetching) >= 12
    assert not [name for name in fetching if f"`{name}" not in PAGE]
