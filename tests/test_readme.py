"""The examples of the README run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import thresher
from thresher import plan
from thresher.sql import parse, split

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for written, text in found if written == language]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models, script = blocks("python")
    (tmp_path / "my_models.py").write_text(models)
    (tmp_path / "first.py").write_text(script)
    return tmp_path


def test_first_query_in_python_and_in_the_shell(folder: Path) -> None:
    certificates = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "first.py"], cwd=folder, capture_output=True, text=True, check=True
        )
        assert "hold at least 90.0% of the positive rows" in done.stdout
        certificates.append(done.stdout)
    assert re.search(r"^labels +500 bought, 0 reused", certificates[0], re.MULTILINE)
    assert re.search(r"^labels +0 bought, 500 reused", certificates[1], re.MULTILINE)
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


def toy(connection: thresher.Connection) -> None:
    """Declare what the first SQL block speaks of, with an oracle that needs no model."""
    connection.execute(
        "CREATE TABLE snippets AS SELECT i AS id, 'a review of some length ' || i AS text "
        "FROM range(3000) r(i); "
        "CREATE TABLE films AS SELECT i AS film, ['art', 'law'][1 + i % 2] AS genre, "
        "i % 90 AS price, 'review ' || i AS review FROM range(3000) r(i); "
        "CREATE TABLE reviews AS SELECT i AS film, 'review ' || i AS text, i % 7 AS stars "
        "FROM range(3000) r(i); "
        "CREATE TABLE mails AS SELECT i AS id, 'mail ' || i AS text, (i % 7) / 6 AS score "
        "FROM range(3000) r(i)"
    )
    for name in ("is_positive", "is_spam"):
        connection.create_oracle(
            name, lambda texts: [int(text.split()[-1]) % 7 > 3 for text in texts], ["VARCHAR"]
        )


def test_the_statements_at_the_top_run() -> None:
    [top] = blocks("sql")
    declared, *queries = [fragment.text for fragment in split(top)]
    with thresher.connect(config={"seed": 1}) as connection:
        statement = parse(declared, connection._session.catalog)
        assert isinstance(statement, plan.CreateOracle)
        assert (statement.name, statement.provider) == ("is_positive", "huggingface")
        toy(connection)
        cursors = [connection.execute(query) for query in queries]
    columns = [[column[0] for column in cursor.description or ()] for cursor in cursors]
    assert columns[0] == ["id", "text"]
    assert columns[1] == ["genre", "n", "n_low", "n_high", "p", "p_low", "p_high"]
    assert columns[2] == ["id", "spam"]
    assert columns[3] == ["genre", "count_star()"]
    assert columns[4] == ["id", "text"]
    for cursor in cursors:
        assert cursor.certificate is not None
        assert cursor.certificate.met
    grades = [cursor.certificate.grade for cursor in cursors if cursor.certificate is not None]
    assert grades == [*["distribution-free"] * 4, "exact"]


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", "\n".join(blocks("")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
