"""The transcript of docs/shell.md is what a terminal shows.

``python -P tests/shell/test_docs.py`` writes it into the page again.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.append(str(ROOT / "tests"))

from tests_support_terminal import Terminal, shell_home  # noqa: E402

from thresher.shell.macros import CLAUSES  # noqa: E402

PAGE = ROOT / "docs" / "shell.md"
BLOCK = re.compile(r"(?<=```text\n)\$ thresher shell licence\.duckdb\n.*?(?=```\n)", re.DOTALL)
JUDGE = """
def is_duty(lines):
    return ["must" in line or "shall" in line for line in lines]
"""
TYPED = (
    "CREATE TABLE lines AS SELECT row_number() OVER () AS line, text\n"
    "FROM (SELECT trim(unnest(string_split(content, chr(10)))) AS text FROM read_text('LICENSE'));",
    "FROM thresh($$ CREATE ORACLE is_duty(text VARCHAR) RETURNS BOOLEAN\n"
    "USING python WITH (function = 'my_models:is_duty') $$);",
    "SELECT line, text FROM thresh($$\n"
    "    SELECT * FROM lines WHERE is_duty(text) AND text > '' ORDER BY line LIMIT 4\n"
    "$$) WHERE text LIKE '%shall%';",
    "CREATE TABLE duties AS FROM thresh($$\n"
    "    SELECT * FROM lines WHERE is_duty(text) AND text > '' USING length(text) / 80\n"
    "    RECALL TARGET 80% ORACLE LIMIT 80 SEED 1\n"
    "$$);",
    "FROM thresh('SELECT count(*) AS n FROM lines WHERE is_duty(text)',\n"
    "    oracle_limit := 40, seed := 1);",
    "FROM thresh_certificate() WHERE fact IN ('promise', 'labels');",
    "FROM thresh('SELECT * FROM lines WHERE is_duty(text) RECALL TARGET 95');",
)


def transcript() -> str:
    """What a terminal shows, without the names of certificates and with one time for all."""
    shown = "$ thresher shell licence.duckdb\n"
    with shell_home(my_models=JUDGE) as folder:
        shutil.copy(ROOT / "LICENSE", folder)
        terminal = Terminal("licence.duckdb", width=100)
        prompt = "licence D "
        for sql in TYPED:
            printed = terminal.run(sql).strip("\n")
            shown += prompt + sql.replace("\n", "\n" + " " * len(prompt)) + "\n"
            shown += f"{printed}\n" if printed else ""
        terminal.leave()
    shown = re.sub(r"certificate [0-9a-f]{12}", "certificate ...", shown)
    shown = re.sub(r"\b\d+\.\d+ s\b", "0.1 s", shown)
    return "".join(f"{line.rstrip()}\n" for line in f"{shown}{prompt}.exit".splitlines())


def test_the_transcript_is_what_a_terminal_shows() -> None:
    (written,) = BLOCK.findall(PAGE.read_text())
    assert transcript() == written


def test_the_page_names_what_there_is() -> None:
    page = PAGE.read_text()
    arguments = [name for named in CLAUSES.values() for name in named]
    assert [name for name in arguments if f"`{name}`" not in page] == []
    for name in ("explain", "status", "certificate"):
        assert f"FROM thresh_{name}(" in page
    for name in ("SOCKET", "PYTHON", "IDLE", "DUCKDB"):
        assert f"`THRESHER_{name}`" in page


if __name__ == "__main__":
    fresh = transcript()
    PAGE.write_text(BLOCK.sub(lambda _: fresh, PAGE.read_text()))
