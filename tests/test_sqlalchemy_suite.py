"""SQLAlchemy's own tests of dialects: what passes with duckdb-sqlalchemy passes with ours."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

_CONFTEST = """\
import pytest
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")
from sqlalchemy.testing.plugin.pytestplugin import *
"""
_SETUP = """\
[tool:pytest]
[sqla_testing]
requirement_cls = duckdb_sqlalchemy.requirements:Requirements
profile_file = profiles.txt
"""


def run(driver: str, folder: Path) -> tuple[set[str], int]:
    """Run the suite; return the names of what fails, and how many tests pass."""
    folder.mkdir()
    (folder / "conftest.py").write_text(_CONFTEST)
    (folder / "test_suite.py").write_text("from sqlalchemy.testing.suite import *\n")
    (folder / "setup.cfg").write_text(_SETUP)
    url = f"duckdb+{driver}:///{folder / 'suite.duckdb'}"
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "pytest", "-q", "--tb=no", "--maxfail=500", "-rfE"),
            *("-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(folder)),
            *("--dburi", url, "test_suite.py"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout + done.stderr
    failed = re.findall(r"^(?:FAILED|ERROR) test_suite.py::(\S+)", done.stdout, re.MULTILINE)
    return {re.sub(r"_duckdb\+[a-z_]+_8_0", "", name) for name in failed}, int(passed[1])


def test_the_suite_of_sqlalchemy(tmp_path: Path) -> None:
    theirs, n_theirs = run("duckdb_sqlalchemy", tmp_path / "theirs")
    ours, n_ours = run("thresher", tmp_path / "ours")
    assert ours <= theirs
    assert n_ours >= n_theirs > 1000
