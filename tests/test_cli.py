"""The command line as a user meets it; real processes where pipes, signals or locks matter."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import pexpect
import pyarrow.parquet as pq
import pytest
from tests_support_cli import QUERY, SETUP, environment, on_terminal, process, thresher

ORACLE_MODULE = """
import os
import signal

calls = 0


def small(ids):
    global calls
    calls += 1
    if calls == 3 and os.environ.get("INTERRUPT"):
        os.kill(os.getpid(), signal.SIGINT)
    if os.environ.get("FAIL"):
        raise ValueError("the model is down")
    return [i < 500 for i in ids]
"""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database made by the command line itself, with its labels already bought."""
    folder = tmp_path_factory.mktemp("films")
    path, script = folder / "films.duckdb", folder / "setup.sql"
    script.write_text(SETUP)
    (folder / "small_oracle.py").write_text(ORACLE_MODULE)
    done = process("query", "--db", path, "--create", "-f", script)
    assert (done.returncode, done.stderr) == (0, "")
    return path


def query(db: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    return thresher("query", "--db", db, *args)


def test_version_and_help() -> None:
    assert process("--version").stdout.startswith("thresher 0.")
    shown = thresher("--help")
    assert shown.returncode == 0
    assert "thresher query --db films.duckdb" in shown.stdout


def test_importing_it_loads_nothing_heavy() -> None:
    script = "import sys, thresher.cli; print([m for m in ('rich', 'duckdb', 'pyarrow', 'numpy') "
    done = subprocess.run(
        [sys.executable, "-P", "-c", script + "if m in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_small_query_loads_no_more_than_it_needs() -> None:
    script = (
        "import sys, thresher.cli; thresher.cli.main(['query', 'SELECT 42, true, NULL::INT']); "
        "print([m for m in ('scipy', 'sklearn', 'pandas', 'pyarrow.compute', 'pyarrow.dataset', "
        "'httpx', 'thresher.sampling', 'thresher.pages.results') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert "│ true " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "write a COMMAND: 'thresher --help' lists them"),
        (["--vers"], "unrecognized option --vers. Did you mean '--version'?"),
        (["query", "SELECT 1", "-f", "x.sql"], "give SQL or -f FILE.sql, not both"),
        (["query", "--format", "parquet", "SELECT 1"], "name a file, as in -o out.parquet"),
        (["query", "--db", "absent.duckdb", "SELECT 1"], "add --create"),
        (["query", "--create", "SELECT 1"], "need --db FILE"),
        (["query", "-f", "absent.sql"], "cannot read absent.sql: No such file"),
        (["query", "--max-rows", "-3", "SELECT 1"], "a whole number, 0 or more, got '-3'"),
        (["query", "--max-rows", "two", "SELECT 1"], "a whole number, 0 or more, got 'two'"),
        (["query", "--formt", "csv", "SELECT 1"], "--formt. Did you mean '--format'?"),
        (["query", "SELECT", "1"], "unrecognized argument '1': write the SQL in quotes"),
        (["qury", "SELECT 1"], "there is no 'qury'. Did you mean 'query'?"),
        (["xyz"], "there is no 'xyz'. Choose from query, explain, shell, extension, oracles,"),
        (["labels", "gcc"], "there is no 'gcc'. Did you mean 'gc'?"),
        (["query", " -- nothing"], "holds no statement"),
        (["query", "-o", "absent/x.csv", "SELECT 1"], "there is no folder absent"),
        (["query", "--format", "xml", "SELECT 1"], "invalid choice"),
    ],
)
def test_wrong_usage(args: Sequence[str], message: str) -> None:
    done = thresher(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr


def test_a_plan_is_printed_whole(db: Path) -> None:
    shown = query(db, f"EXPLAIN ANALYZE {QUERY}", "--labels", "none", "--max-rows", "2").stdout
    lines = shown.splitlines()
    assert lines[0].startswith("query ")
    assert any(line.startswith("curve ") for line in lines)
    assert any(line.startswith("returned ") for line in lines)
    assert not any("…" in line or "│ explain" in line for line in lines)


@pytest.mark.parametrize("run", [thresher, process])
def test_box_when_piped_has_neither_colour_nor_progress(
    db: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run("query", "--db", db, QUERY, "--max-rows", "6")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["│", "id", "│", "title", "│"]
    assert lines[2].split() == ["│", "bigint", "│", "varchar", "│"]
    assert any("… " in line for line in lines)
    assert lines[-2].endswith("(6 shown)")
    assert lines[-1].startswith("recall >= 0.8 with probability 0.95 | ")
    assert "\x1b" not in done.stdout
    assert not done.stderr


def test_csv_is_clean_and_the_certificate_goes_to_standard_error(db: Path) -> None:
    done = query(db, QUERY, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert set(rows[0]) == {"id", "title"}
    assert f"{len(rows):,} of 2,000 rows" in done.stderr
    with duckdb.connect(str(db), read_only=True) as con:
        good = {str(r[0]) for r in con.sql("SELECT id FROM truth WHERE good").fetchall()}
    assert len(good & {row["id"] for row in rows}) >= 0.8 * len(good)


def test_the_suffix_names_the_format(db: Path, tmp_path: Path) -> None:
    for name in ("out.jsonl", "out.md"):
        done = query(db, "SELECT * FROM films WHERE id < 3 ORDER BY id", "-o", tmp_path / name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["title"] for line in lines] == ["Film 0", "Film 1", "Film 2"]
    assert (tmp_path / "out.md").read_text().startswith("| id | title | score |")


def test_parquet_holds_the_certificate(db: Path, tmp_path: Path) -> None:
    done = query(db, QUERY, "-o", tmp_path / "out.parquet")
    assert done.returncode == 0, done.stderr
    found = pq.read_table(tmp_path / "out.parquet")
    certificate = json.loads(found.schema.metadata[b"thresher.certificate"])
    assert found.num_rows == certificate["n_returned"]
    assert certificate["targets"]["recall"] == 0.8
    assert certificate["id"] in done.stderr


def test_sql_from_standard_input_without_a_database() -> None:
    done = thresher("query", "--format", "json", stdin="SELECT 1 AS a;\n\nSELECT 2 AS a;")
    assert (done.returncode, done.stdout) == (0, '[{"a":2}]\n')


def test_a_script_shows_every_result_in_a_box(tmp_path: Path) -> None:
    script = tmp_path / "x.sql"
    script.write_text("CREATE TABLE t(i INT); SELECT 11 AS a; SELECT ';' AS b;")
    done = thresher("query", "-f", script)
    assert "11" in done.stdout
    assert "│ ;" in done.stdout


def test_a_wrong_clause_is_shown_with_a_caret(db: Path) -> None:
    done = query(db, "SELECT id FROM films\nWHERE is_good(id) RECALL TARGET 95")
    assert done.returncode == 1
    assert done.stderr.startswith("ProgrammingError: RECALL TARGET must be")
    line, caret = done.stderr.splitlines()[-2:]
    assert line == "LINE 2: WHERE is_good(id) RECALL TARGET 95"
    assert line[caret.index("^") :].startswith("95")
    assert "Traceback" not in done.stderr


def test_an_error_in_a_script_is_placed_in_the_script(db: Path, tmp_path: Path) -> None:
    script = tmp_path / "x.sql"
    script.write_text(
        "SELECT 1;\n-- two\nSELECT id FROM films\nWHERE is_god(id) RECALL TARGET 90%;"
    )
    done = query(db, "-f", script)
    assert done.returncode == 1
    line, caret = done.stderr.splitlines()[-2:]
    assert line.startswith("LINE 4: WHERE is_god(id)")
    assert line[caret.index("^") :].startswith("is_god")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT CASE WHEN i > 90000 THEN error('late') END FROM range(100000) r(i)", "late"),
    ],
)
def test_errors_of_duckdb(sql: str, message: str) -> None:
    done = thresher("query", "--format", "csv", sql)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_exit_codes_of_shortfall_and_budget(db: Path) -> None:
    short = QUERY.replace("RECALL TARGET 80%", "RECALL TARGET 99.9% ON SHORTFALL FAIL")
    done = query(db, "--labels", "none", short.replace("600", "9"))
    assert done.returncode == 3
    assert done.stderr.startswith("ShortfallError: ")
    assert "9 labels were bought and are" in done.stderr
    dear = "SET thresher_oracle_limit = 10; SELECT id FROM films WHERE is_good(id)"
    done = query(db, dear, "--labels", "none")
    assert done.returncode == 4
    assert done.stderr.startswith("BudgetError: ")


def declared(db: Path, *args: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run an exact query with the Python oracle."""
    sql = """CREATE OR REPLACE TEMP ORACLE is_small(id BIGINT) RETURNS BOOLEAN
        USING python WITH (function = 'small_oracle:small', batch_size = 64);
        SELECT id FROM films WHERE is_small(id)"""
    return process("query", "--db", db, sql, *args, PYTHONPATH=str(db.parent), **extra)


def test_an_interrupted_query_says_how_many_labels_are_kept(db: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.labels"
    done = declared(db, "--labels", str(store), INTERRUPT="1")
    assert done.returncode == 130
    assert "Interrupted. " in done.stderr
    kept = int(done.stderr.partition("Interrupted. ")[2].split()[0])
    assert kept in (128, 192)
    assert f"kept in {store}" in done.stderr
    assert "Traceback" not in done.stderr
    again = declared(db, "--labels", str(store))
    assert f"{2000 - kept:,} labels bought, {kept} reused" in again.stdout


def test_an_oracle_that_raises(db: Path) -> None:
    done = declared(db, "--labels", "none", FAIL="1")
    assert done.returncode == 1
    assert done.stderr.startswith("OracleError: oracle is_small ")
    assert "ValueError: the model is down" in done.stderr
    assert "Traceback" not in done.stderr


def test_labels_are_paid_for_once(db: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.labels"
    first = query(db, QUERY, "--labels", store)
    second = query(db, QUERY, "--labels", store, "--read-only")
    assert " 600 labels bought, 0 reused " in first.stdout
    assert " 0 labels bought, 600 reused " in second.stdout
    assert store.exists()


def test_a_locked_database(db: Path) -> None:
    with duckdb.connect(str(db)):
        done = process("query", "--db", db, "SELECT 1")
    assert done.returncode == 1
    assert "lock" in done.stderr
    assert done.stderr.count("--read-only") == 1
    assert done.stderr.lower().count("close") == 1
    assert "connect(" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.duckdb").write_text("no database " * 1000)
    done = query(tmp_path / "x.duckdb", "SELECT 1")
    assert done.returncode == 1
    assert "x.duckdb" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_query_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before")
    done = thresher("query", "SELECT 1 AS a; SELEC 2", "-o", out)
    assert done.returncode == 1
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "thresher", "query", "--format", "csv", "FROM range(3000000)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b'"range"\n'
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_a_terminal_gets_colour_and_progress(db: Path) -> None:
    text, code = on_terminal(["query", "--db", str(db), "--labels", "none", QUERY])
    assert code == 0
    assert "\x1b[1m" in text  # a bold header
    assert re.search(r"\d labels?, \d+\.\d s", text)
    assert "━" in text  # the bar
    assert text.index("━") < text.index("╭")
    assert "recall >= 0.8 with probability 0.95" in text


BLOCKS = """WITH a AS (SELECT id FROM films WHERE is_good(id) AND id < 900 USING score
    RECALL TARGET 80% ORACLE LIMIT 100 SEED 1),
  b AS (SELECT id FROM films WHERE is_good(id) AND id > 700 USING score
    RECALL TARGET 99.9% ORACLE LIMIT 20 ON SHORTFALL RETURN SEED 1)
SELECT count(*) AS n_both FROM a JOIN b USING (id)"""


def test_each_block_has_its_certificate(db: Path) -> None:
    done = thresher("query", "--db", db, "--labels", "none", BLOCKS)
    lines = done.stdout.splitlines()
    assert lines[-3].startswith("block 1 of 2: recall >= 0.8 with probability 0.975 | ")
    assert lines[-2].startswith("block 2 of 2: recall >= 0.999 with probability 0.975 | ")
    assert lines[-1].startswith("              note: nothing could be left out")
    text, code = on_terminal(["query", "--db", str(db), "--labels", "none", BLOCKS], NO_COLOR="1")
    assert code == 0
    shown = text[text.index("1 row") :].splitlines()
    assert shown[1].startswith("block 1 of 2: recall >= 0.8 with probability 0.975 | ")
    assert shown[2].startswith("              est. recall")
    assert max(map(len, shown)) <= 100  # COLUMNS
    assert sum("block" in line for line in shown) == 2


def test_no_color_and_no_progress(db: Path) -> None:
    args = ["query", "--db", str(db), "--labels", "none", "--no-progress", QUERY]
    text, code = on_terminal(args, NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in text
    assert "━" not in text


def test_a_terminal_without_sql_gets_help() -> None:
    text, code = on_terminal(["query"])
    assert code == 2
    assert "no SQL" in text


def test_ctrl_c_on_a_terminal() -> None:
    child = pexpect.spawn(
        sys.executable,
        [
            "-P",
            "-m",
            "thresher",
            "query",
            "SELECT 5 AS begun; SELECT count(*) FROM range(9000000) a, range(9000000) b",
        ],
        env=environment(TERM="xterm-256color"),
        encoding="utf-8",
        timeout=60,
    )
    with closing(child):
        child.expect("1 row")
        child.kill(signal.SIGINT)
        child.expect("Interrupted. No label was bought.")
        child.expect(pexpect.EOF)
    assert child.exitstatus == 130
