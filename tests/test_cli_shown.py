"""Commands as people meet them: help, widths, colours, completion in a shell, the doctor."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from tests_support_cli import QUERY, SETUP, document, environment, seen, thresher
from tests_support_shell import extension

import thresher as driver
from thresher import doctor, doctor_installed, doctor_models, doctor_shell, doctor_storage
from thresher.diagnosis import Diagnosis, diagnosed, output_of
from thresher.render import console_for
from thresher.shell.launcher import shell

COMMANDS = [
    *("query", "explain", "extension", "oracles", "certificates", "report", "labels", "label"),
    *("labels export", "labels import", "labels gc", "doctor", "demo", "completion", "shell"),
]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "films.duckdb"
    with driver.connect(path) as con:
        con.execute(SETUP)
        con.execute(QUERY)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_fits(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests_support_cli._COLUMNS", "80")
    done = thresher(*command.split(), "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert f"thresher {command}" in done.stdout.partition("examples:")[2]
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    if command not in ("shell", "completion"):
        assert "--json" in done.stdout or command == "labels"
        assert "exit codes: 0 " in done.stdout


def test_the_list_of_commands_is_that_of_the_docs() -> None:
    shown = thresher("--help").stdout
    listed = set(re.findall(r"^    ([a-z]+)(?: |$)", shown, re.MULTILINE))
    assert listed == {command.split()[0] for command in COMMANDS}
    text = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text()
    assert not [command for command in COMMANDS if f"`thresher {command}" not in text]


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_a_terminal(db: Path, columns: int) -> None:
    for command in (
        ["certificates"],
        ["certificates", "last"],
        ["oracles"],
        ["oracles", "is_good"],
    ):
        text = seen(*command, "--db", db, columns=columns)
        assert "\x1b[" in text
        assert max(map(len, uncoloured(text).splitlines())) <= columns


@pytest.mark.parametrize("extra", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(db: Path, extra: dict[str, str]) -> None:
    for command in (
        ["certificates", "last"],
        ["explain", QUERY],
        ["certificates", "verify", "last"],
    ):
        assert "\x1b" not in seen(*command, "--db", db, **extra)


def test_a_terminal_that_cannot_move_gets_no_progress_line(db: Path) -> None:
    text = seen("query", "--db", db, "--labels", "none", "--max-rows", "2", QUERY, TERM="dumb")
    assert "recall >= 0.8 with probability 0.95" in text
    assert "\x1b" not in text


def test_explain_in_colour_says_the_same(db: Path) -> None:
    plain, text = thresher("explain", "--db", db, QUERY).stdout, seen("explain", "--db", db, QUERY)
    assert "\x1b[1mquery" in text
    steady = [line for line in plain.splitlines() if " s" not in line]  # times differ
    assert set(steady) <= set(uncoloured(text).splitlines())


def uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_reader_that_has_gone_is_left_to_the_command() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        console_for(Gone()).print("a line")


def test_nothing_to_list(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    driver.connect(path).close()
    assert "declares no oracle" in thresher("oracles", "--db", path).stdout
    assert "holds no certificate" in thresher("certificates", "--db", path).stdout


def test_a_proxy_is_listed_and_described(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with driver.connect(path) as con:
        con.execute(SETUP)
        con.execute(
            "CREATE PROXY fast FOR is_good USING column WITH "
            "(table = 'films', key = 'id', value = 'score')"
        )
    assert "fast" in thresher("oracles", "--db", path).stdout
    assert document("oracles", "--db", path, "fast")["proxy"]["oracles"] == ["is_good"]


BASH = """
source <(cat)
complete -o bashdefault -p thresher > /dev/null || exit 3
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
function=$(complete -p thresher | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function thresher "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("thresher cert", {"certificates"}),
        ("thresher query --fo", {"--format"}),
        ("thresher query --format ''", {"box", "csv", "json", "ndjson", "markdown", "parquet"}),
        ("thresher labels ''", {"export", "import", "gc"}),
        ("thresher completion ''", {"bash", "zsh", "fish"}),
        ("thresher query --db fil", {"films.duckdb"}),
        ("thresher shell fil", {"films.duckdb"}),
    ],
)
def test_bash_completes(words: str, found: set[str], tmp_path: Path) -> None:
    (tmp_path / "films.duckdb").write_text("")
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH.format(words=words)],
        input=thresher("completion", "bash").stdout,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert set(done.stdout.split()) == found, done.stderr


def test_bash_completes_what_is_typed(tmp_path: Path) -> None:
    """A real shell in a pseudo-terminal, with the script sourced as the help says."""
    script = tmp_path / "completion"
    script.write_text(thresher("completion", "bash").stdout)
    (tmp_path / "thresher").write_text("#!/bin/sh\necho RUN $*\n")
    (tmp_path / "thresher").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        env={**environment(), "TERM": "dumb", "PS1": "READY> ", "PATH": path},
        encoding="utf-8",
        timeout=20,
        dimensions=(40, 200),
    )
    shell.expect("READY> ")
    shell.sendline(f"source {script}")
    shell.expect("READY> ")
    shell.send("thresher certi\tverify\r")
    shell.expect("RUN certificates verify")
    shell.send("thresher doctor --no\t\r")
    shell.expect("RUN doctor --no-model")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()


@pytest.mark.parametrize(
    ("program", "check"),
    [("zsh", ["-n"]), ("fish", ["--no-execute"])],
)
def test_other_shells_read_their_script(program: str, check: list[str], tmp_path: Path) -> None:
    script = thresher("completion", program).stdout
    for command in COMMANDS:
        assert command.split()[-1] in script
    if shutil.which(program) is None:
        return  # what they make of it is seen where they are installed
    path = tmp_path / "script"
    path.write_text(script)
    done = subprocess.run([program, *check, str(path)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_doctor_finds_this_installation_well(db: Path) -> None:
    extension()  # as the sources are now
    found = document("doctor", "--db", db, "--no-model")
    named = {one["name"]: one for one in found["findings"]}
    assert not [one for one in found["findings"] if one["level"] == "error"]
    assert found["ok"]
    assert {"python", "libraries", "query", "database", "label store", "file", "gpu"} <= set(named)
    assert {"extra models", "extra shell", "extra jupyter", "extra sqlalchemy"} <= set(named)
    assert named["file"]["text"] == f"{db}: oracles 1, certificates 1"
    assert "model" not in named
    assert set(named["query"]) == {"name", "level", "text", "mend", "seconds"}
    assert sorted(path.name for path in db.parent.iterdir()) == [db.name, f"{db.name}.labels"]


def test_the_doctor_ends_with_an_error_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("check_query", "check_worker", "check_extension", "check_program"):
        monkeypatch.setattr(doctor, name, lambda: Diagnosis("x", "warning", "y " * 99, "z"))
    path = tmp_path / "x.duckdb"
    path.write_text("no database " * 1000)
    done = thresher("doctor", "--db", path, "--no-model")
    assert done.returncode == 1
    assert re.search(r"^error    file ", done.stdout, re.MULTILINE)
    assert "-> close the program" in done.stdout
    assert re.search(r", 4 warnings, 1 error, in \d", done.stdout)
    lines = [line for line in done.stdout.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 100
    absent = doctor_storage.check_file(tmp_path / "absent.duckdb")
    assert (absent.level, "--create" in absent.mend) == ("error", True)


@pytest.mark.full
def test_the_doctor_asks_a_tiny_model() -> None:
    pytest.importorskip("transformers")
    found = doctor_models.check_model()
    assert found.level in ("ok", "warning"), found
    assert "a tiny model answered 3 rows on" in found.text


def test_a_gpu_that_pytorch_does_not_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert doctor_models.check_gpu().text == "NVIDIA H100 80GB HBM3, 81559 MiB"
    said = '{"n_labels": 3, "device": "cpu", "torch": "2.13.0+cpu"}'
    run = output_of
    monkeypatch.setattr(
        doctor_models,
        "output_of",
        lambda command, **more: run(command, **more) if "nvidia-smi" in command else (True, said),
    )
    found = doctor_models.check_model()
    assert (found.level, "does not use it" in found.text) == ("warning", True)
    monkeypatch.setattr(doctor_models, "output_of", lambda *_, **__: (False, "X\nImportError: no"))
    found = doctor_models.check_model()
    assert (found.level, found.text) == ("error", "a tiny model does not answer: ImportError: no")


def test_a_check_that_breaks_is_an_error_that_it_found() -> None:
    def breaks() -> Diagnosis:
        raise ZeroDivisionError("by nothing")

    (found,) = diagnosed({"odd": breaks})
    assert (found.name, found.level, found.text) == (
        "odd",
        "error",
        "ZeroDivisionError: by nothing",
    )
    assert found.mend


def test_programs_that_die_or_hang_are_told() -> None:
    well, told = output_of([sys.executable, "-c", "import os; os.abort()"])
    assert not well
    assert "ended by signal 6" in told
    assert output_of(["absent-program"]) == (False, "absent-program: No such file or directory")
    assert output_of(["sleep", "9"], timeout_s=0.1) == (False, "no answer in 0.1 s")


@pytest.mark.parametrize(
    ("requires", "extra", "level", "words"),
    [
        (["numpy>=1"], None, "ok", "numpy "),
        (["numpy>=99"], None, "error", "of another version: numpy"),
        (["absent-library>=1"], None, "error", "missing: absent-library"),
        (['absent-library; extra == "shell"'], "shell", "ok", "not installed; it is for"),
        (
            ['absent-library; extra == "shell"', 'numpy>=1; extra == "shell"'],
            "shell",
            "warning",
            "missing: absent-library",
        ),
    ],
)
def test_libraries_are_held_against_what_is_asked_for(
    requires: list[str],
    extra: str | None,
    level: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor_installed.metadata, "requires", lambda _: requires)
    doctor_installed._declared.cache_clear()
    try:
        found = (
            doctor_installed.check_libraries()
            if extra is None
            else doctor_installed.check_extra(extra)
        )
    finally:
        doctor_installed._declared.cache_clear()
    assert found.level == level
    assert words in found.text
    assert level == "ok" or "pip install" in found.mend


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert doctor_storage.check_labels(absent).level == "error"
    found = doctor_storage.check_database(absent)
    assert (found.level, "chmod" in found.mend) == ("error", True)
    if os.geteuid():  # root may write everywhere
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        assert doctor_storage.check_labels(tmp_path).level == "error"
        tmp_path.chmod(stat.S_IRWXU)


@pytest.mark.full
def test_the_worker_is_asked_without_the_program_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise driver.OperationalError("there is no duckdb command line")

    extension()
    monkeypatch.setattr(doctor_shell, "duckdb_program", none)
    assert doctor_shell.check_program().level == "warning"
    assert doctor_shell.check_worker().text == "it was started, and it answered"


def test_a_shell_that_is_not_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "thresher.duckdb_extension"
    broken.write_text("no library")
    monkeypatch.setattr("thresher.shell.launcher._EXTENSION", tmp_path / "absent")
    found = doctor_shell.check_extension()
    assert (found.level, "thresher.shell.build" in found.mend) == ("warning", True)
    assert doctor_shell.check_worker().text.startswith("not asked")
    monkeypatch.setenv("THRESHER_DUCKDB", str(tmp_path / "absent"))
    found = doctor_shell.check_program()
    assert (found.level, "does not run" in found.text) == ("error", True)


@pytest.mark.parametrize(
    ("arguments", "terminal", "hinted"),
    [
        ([], True, True),
        (["films.duckdb"], True, True),
        (["-readonly", "films.duckdb"], True, True),
        (["films.duckdb", "SELECT 1"], True, False),
        (["-c", "SELECT 1"], True, False),
        (["films.duckdb", "-csv"], True, False),
        (["films.duckdb"], False, False),
    ],
)
def test_a_shell_for_people_begins_with_an_example(
    arguments: list[str],
    terminal: bool,
    hinted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    executed: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, words: executed.append(words))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setattr("thresher.shell.launcher.extension_sql", lambda: ["SELECT 1"])
    monkeypatch.setenv("THRESHER_DUCKDB", "duckdb")
    monkeypatch.setenv("THRESHER_PYTHON", sys.executable)
    shell(arguments)
    assert executed == [["duckdb", "-unsigned", "-cmd", "SELECT 1", *arguments]]
    assert ("FROM thresh($$ FROM reviews" in capsys.readouterr().out) == hinted


def test_the_checks_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("check_query", "check_worker", "check_extension", "check_program", "check_gpu"):
        monkeypatch.setattr(doctor, name, lambda: Diagnosis("x", "ok", ""))
    names = [one.name for one in doctor.examine(None, models=False)]
    assert names.index("python") == 0
    assert "file" not in names
