"""DuckDB 2 beside DuckDB 1.5: the driver's tests, with the one that is not installed here."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import duckdb
import pytest

from thresher.duckdb_versions import materialised

ROOT = Path(__file__).parent.parent
OTHER = "2.0.0"
CORE = [
    "test_dbapi_compliance", "test_query", "test_passthrough", "test_prepared", "test_nesting",
    "test_fetching", "test_scope", "test_connections", "test_aio", "test_interrupts",
]  # fmt: skip


def test_what_is_materialised_stands_still() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE t AS SELECT 1 AS x")
    relation = materialised(con.sql("FROM t"))
    con.execute("INSERT INTO t VALUES (2)").fetchall()
    assert relation.fetchall() == [(1,)]


@pytest.mark.full
def test_the_driver_s_tests_pass_with_another_version(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", f"duckdb=={OTHER}"],
        capture_output=True, text=True,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"duckdb {OTHER} cannot be installed: {installed.stderr[-200:]}")
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    env = {**os.environ, "PYTHONPATH": str(site)}
    version = subprocess.run(
        [sys.executable, "-P", "-c", "import duckdb; print(duckdb.__version__)"],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert version.stdout.strip() == OTHER
    files = [f"tests/{name}.py" for name in CORE]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *files],
        cwd=ROOT, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
