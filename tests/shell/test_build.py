"""The extension compiled: by every compiler at hand, with DuckDB's footer, into wheel and sdist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests_support_shell import end_workers, extension, private_folder, process_script, thresh

from thresher.shell import build

ROOT = Path(__file__).parent.parent.parent


def test_the_footer() -> None:
    footer = build.footer("linux_amd64", "0.1.0")
    assert len(footer) == 534
    assert footer.startswith(b"\0\x93\x04\x10duckdb_signature\x80\x04")
    fields = [footer[22 + 32 * i : 54 + 32 * i].rstrip(b"\0").decode() for i in range(8)]
    assert fields == ["", "", "", "C_STRUCT", "0.1.0", "v1.2.0", "linux_amd64", "4"]
    assert footer[-256:] == bytes(256)


def test_only_stable_slots_of_the_api_are_used() -> None:
    text = (build.SOURCES / "api.h").read_text()
    slots = [int(number) for number in re.findall(r"\bSLOT\((\d+),", text)]
    assert len(slots) == text.count("SLOT(") - 1
    assert slots == sorted(set(slots))
    assert slots[-1] < 404


def test_no_header_of_anybody_else() -> None:
    for path in build.SOURCES.iterdir():
        for name in re.findall(r'#include "(.*)"', path.read_text()):
            assert (build.SOURCES / name).exists()


@pytest.mark.parametrize("name", ["gcc", "clang", "clang-14"])
def test_no_warnings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which(name)
    if compiler is None:
        pytest.skip(f"no {name} here")
    monkeypatch.setenv("CI", "true")  # warnings are errors
    made = build.build(tmp_path / build.EXTENSION, "9.9.9", cc=compiler)
    data = made.read_bytes()
    assert data.startswith(b"\x7fELF")
    assert data.endswith(build.footer(build.platform_name(), "9.9.9"))
    assert b"9.9.9\0" in data[:-534]


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert build.compiler() is None
    with pytest.raises(build.BuildError, match=r"No C compiler was found. Install one"):
        build.build(tmp_path / build.EXTENSION, "1")


def test_on_other_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.sys, "platform", "darwin")
    with pytest.raises(build.BuildError, match="The shell runs on Linux, not on darwin"):
        build.build(tmp_path / build.EXTENSION, "1", cc="cc")


def test_a_compiler_that_fails(tmp_path: Path) -> None:
    with pytest.raises(build.BuildError, match=r"does not compile the extension:\n.*no-such-flag"):
        build.build(tmp_path / build.EXTENSION, "1", flags=["--no-such-flag"])


def backend(folder: Path, call: str, path: str | None = None) -> str:
    """Run the build backend over a copy of what git tracks or would track."""
    source = folder / "source"
    if not source.exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "docs/")):
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, source / name)
    script = f"from setuptools import build_meta as b; print(b.{call}({str(folder)!r}))"
    environment = {} if path is None else {"PATH": path}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=source,
        env=environment or None,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.full
def test_the_wheel_carries_the_extension(tmp_path: Path) -> None:
    name = backend(tmp_path, "build_wheel")
    assert re.fullmatch(r"thresher-.*-py3-none-linux_\w+\.whl", name)
    members = zipfile.ZipFile(tmp_path / name).namelist()
    assert f"thresher/shell/{build.EXTENSION}" in members
    assert "thresher/shell/extension/api.h" in members
    assert "thresher/py.typed" in members


@pytest.mark.full
def test_without_a_compiler_the_wheel_is_built_all_the_same(tmp_path: Path) -> None:
    name = backend(tmp_path, "build_wheel", path="/nowhere")
    assert name.endswith("-py3-none-any.whl")
    members = zipfile.ZipFile(tmp_path / name).namelist()
    assert f"thresher/shell/{build.EXTENSION}" not in members
    assert "thresher/shell/extension/entry.c" in members


@pytest.mark.full
def test_the_sdist_carries_the_sources(tmp_path: Path) -> None:
    name = backend(tmp_path, "build_sdist")
    with tarfile.open(tmp_path / name) as archive:
        members = {member.partition("/")[2] for member in archive.getnames()}
    sources = {f"shell/extension/{path.name}" for path in build.SOURCES.iterdir()}
    assert sources | {"setup.py", "shell/build.py"} <= members
    assert f"shell/{build.EXTENSION}" not in members


VERSIONS = """
import duckdb
con = duckdb.connect(config={{"allow_unsigned_extensions": "true", "threads": "2"}})
con.execute("LOAD '{extension}'")
con.execute("CREATE TEMP MACRO thresh(q) AS TABLE FROM query(decode(thresh_plan(q, NULL)))")
con.execute("CREATE TEMP TABLE t AS SELECT i, 'word ' || i % 3 AS s, [i] AS l "
            "FROM range(200000) r(i)")
query = {query!r}
print(con.execute("SELECT count(*), min(i), max(s) FROM " + query).fetchone())
print(con.execute("SELECT i, l FROM " + query + " LIMIT 2").fetchall())
join = "SELECT a.i FROM " + query + " a JOIN " + query + " b USING (i) WHERE i > 199996"
print(con.execute(join).fetchall())
con.execute("PREPARE p AS SELECT count(*) FROM " + query)
print(con.execute("EXECUTE p").fetchall(), con.execute("EXECUTE p").fetchall())
con.execute("BEGIN; INSERT INTO t VALUES (-2, NULL, NULL)")  # the 200,001st row: kept
print(con.execute("SELECT count(*) FROM " + query).fetchone())
"""
EXPECTED = """\
(100000, 0, 'word 2')
[(0, [0]), (2, [2])]
[(199998,)]
[(100000,)] [(100000,)]
(100001,)
"""


@pytest.mark.full
@pytest.mark.parametrize("version", ["1.4.5", "1.5.6", "2.0.0"])
def test_one_binary_for_several_versions_of_duckdb(version: str, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", f"duckdb=={version}"], check=True)
    query = thresh("FROM t", "{'i': i, 's': s, 'l': l}", keep="even")
    script = VERSIONS.format(extension=extension(), query=query)
    with private_folder() as folder:
        environment = {
            "THRESHER_SOCKET": str(folder / "w.sock"),
            "THRESHER_PYTHON": str(process_script(folder)),
            "PATH": "/usr/bin:/bin",
        }
        done = subprocess.run(
            [python, "-c", script], env=environment, capture_output=True, text=True, timeout=120
        )
        end_workers(folder)
    assert (done.stdout, done.returncode) == (EXPECTED, 0), done.stderr
