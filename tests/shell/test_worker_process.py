"""The worker as a process: started on demand, killed, interrupted; terminals, permissions."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pexpect
import pytest
from tests_support_shell import (
    end_workers,
    extension,
    feeding,
    open_shell,
    private_folder,
    process_script,
    thresh,
    workers,
)

TABLE = "SELECT range AS i FROM range(100000)"
ROW = "{'i': i}"
EVEN = feeding(TABLE, "{'i': i}", keep="even")


@pytest.fixture(scope="module")
def path() -> Path:
    return extension()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the socket lies; workers that were started there are ended."""
    with private_folder() as made:
        monkeypatch.setenv("THRESHER_SOCKET", str(made / "w.sock"))
        monkeypatch.setenv("THRESHER_PYTHON", str(process_script(made)))
        yield made
        end_workers(made)


def test_a_worker_is_started_once_and_apart(path: Path, folder: Path) -> None:
    with open_shell(path) as con:
        con.execute(EVEN).fetchall()
        (worker,) = workers(folder)
        con.execute(EVEN).fetchall()
        assert workers(folder) == [worker]
        assert os.getsid(worker) == worker
        assert os.readlink(f"/proc/{worker}/fd/0") == "/dev/null"
        log = folder / "w.sock.log"
        assert (
            os.readlink(f"/proc/{worker}/fd/1") == os.readlink(f"/proc/{worker}/fd/2") == str(log)
        )
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_killed_worker_is_replaced(path: Path, folder: Path) -> None:
    with open_shell(path) as con:
        for _ in range(3):
            con.execute(EVEN).fetchall()
            (worker,) = workers(folder)
            os.kill(worker, signal.SIGKILL)
            assert len(con.execute(EVEN).fetchall()) == 50_000
            assert workers(folder) != [worker]


@pytest.mark.parametrize("code", ["F", "D", "G"])
def test_a_worker_that_dies_in_a_query(path: Path, folder: Path, code: str) -> None:
    gone = "thresher: the worker went away. The next query starts another."
    with open_shell(path) as con:
        with pytest.raises(duckdb.InvalidInputException, match=gone):
            con.execute(feeding(TABLE, "{'i': i}", die=code)).fetchall()
        assert len(con.execute(EVEN).fetchall()) == 50_000


def test_a_worker_that_does_not_start(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_shell(path) as con:
        (folder / "ends").write_text(
            '#!/bin/sh\n[ "$3" = thresher.shell.starting ] '
            f'&& exec "{sys.executable}" "$@"\nexit 1\n'
        )
        (folder / "ends").chmod(0o700)
        monkeypatch.setenv("THRESHER_PYTHON", str(folder / "ends"))
        with pytest.raises(
            duckdb.Error, match=r"ended as soon as it was started; .*w.sock.log say"
        ):
            con.execute("FROM thresh('SELECT 1')")
        monkeypatch.setenv("THRESHER_PYTHON", str(folder / "nothing"))
        with pytest.raises(duckdb.Error, match="cannot start the worker: neither"):
            con.execute("FROM thresh('SELECT 1')")
        monkeypatch.delenv("THRESHER_PYTHON")
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(
            duckdb.Error, match="Start the shell with `thresher shell`, or set THRESH"
        ):
            con.execute("FROM thresh('SELECT 1')")
        monkeypatch.setenv("THRESHER_PYTHON", str(folder / "fails"))
        (folder / "fails").write_text("#!/bin/sh\necho 'no module \"thresher\"' >&2\nexit 1\n")
        (folder / "fails").chmod(0o700)
        with pytest.raises(duckdb.Error, match='no module "thresher"'):
            con.execute("FROM thresh('SELECT 1')")


def test_the_folder_of_the_socket_must_be_private(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = "cannot be made, or is not yours alone .mode 0700, no symbolic link"
    with open_shell(path) as con:
        folder.chmod(0o750)
        with pytest.raises(duckdb.Error, match=private):
            con.execute("FROM thresh('SELECT 1')")
        folder.chmod(0o700)
        monkeypatch.setenv("THRESHER_SOCKET", str(folder / "no" / "folder" / "w.sock"))
        with pytest.raises(duckdb.Error, match=private):
            con.execute("FROM thresh('SELECT 1')")
        (folder / "link").symlink_to(folder)
        monkeypatch.setenv("THRESHER_SOCKET", str(folder / "link" / "w.sock"))
        with pytest.raises(duckdb.Error, match=private):
            con.execute("FROM thresh('SELECT 1')")
        monkeypatch.setenv("THRESHER_SOCKET", str(folder / ("long" * 30) / "w.sock"))
        with pytest.raises(duckdb.Error, match="absolute path of less than 108 bytes"):
            con.execute("FROM thresh('SELECT 1')")


def test_the_usual_places(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THRESHER_SOCKET")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with open_shell(path) as con:
        con.execute("FROM thresh('SELECT 1')")
    (made,) = (folder / "thresher").glob("*.sock")
    for worker in workers(made):
        os.kill(worker, signal.SIGKILL)
    assert stat.S_IMODE((folder / "thresher").stat().st_mode) == 0o700


SCRIPT = """
import time, duckdb
con = duckdb.connect(config={{"allow_unsigned_extensions": "true"}})
con.execute("LOAD '{path}'")
con.execute("CREATE TEMP MACRO thresh(q) AS TABLE FROM query(decode(thresh_plan(q, NULL)))")
con.execute("FROM thresh('SELECT 1')")
print("ready", flush=True)
try:
    try:
        con.execute({sql!r}).fetchall()
    except (RuntimeError, duckdb.Error) as error:
        print("stopped:", error, flush=True)
    time.sleep(1)
except KeyboardInterrupt:  # may come before or after DuckDB's error
    print("stopped: by Python", flush=True)
print(con.execute("FROM thresh('SELECT 41 + 1')").fetchone(), flush=True)
"""


def script(path: Path, sql: str) -> list[str]:
    return [sys.executable, "-P", "-c", SCRIPT.format(path=path, sql=sql)]


@pytest.mark.parametrize("at", ["F", "D", "G"])
def test_an_interrupt_while_the_worker_is_busy(path: Path, folder: Path, at: str) -> None:
    wide = "SELECT range AS i, repeat('x', 1000) AS t FROM range(200000)"
    sql = feeding(wide, "{'i': i, 't': t}", sleep=30, at=at)
    with subprocess.Popen(script(path, sql), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.7)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.stdout.read().splitlines()
        assert time.monotonic() - began < 5
        assert said[0].startswith("stopped:")
        assert said[-1] == "(42,)"
        assert process.wait() == 0


def test_the_command_line(path: Path, folder: Path) -> None:
    """Ctrl-C brings the prompt back; progress is a line that goes; the database closes."""
    cli = Path(sys.executable).with_name("duckdb")
    if not cli.exists():
        pytest.skip("the duckdb command line is not installed")
    database = folder / "my.duckdb"
    macro = "CREATE TEMP MACRO thresh(q) AS TABLE FROM query(decode(thresh_plan(q, NULL)))"
    shell = pexpect.spawn(
        str(cli),
        [
            "-unsigned",
            "-cmd",
            f"LOAD '{path}'",
            "-cmd",
            macro,
            "-cmd",
            ".prompt 'ready> '",
            str(database),
        ],
        encoding="utf-8",
        dimensions=(24, 60),
        timeout=30,
    )
    try:
        shell.expect_exact("ready> ")
        shell.send("CREATE TABLE t AS SELECT range AS i FROM range(10);\r")
        shell.expect_exact("ready> ")
        lines = ["step 1 of 2", "x" * 59]
        query = thresh("FROM t", "{'i': i}", progress=lines, pause=0.2, note="certified: yes")
        shell.send(f"SELECT count(*) * 111 AS n FROM {query};\r")
        shell.expect_exact("\r\x1b[Kstep 1 of 2\r\x1b[K" + "x" * 59 + "\r\x1b[Kcertified: yes\r\n")
        shell.expect_exact("1110")
        shell.expect_exact("ready> ")
        shell.send(f"SELECT count(*) FROM {thresh('FROM t', ROW, progress=['busy'], sleep=30)};\r")
        shell.expect_exact("\r\x1b[Kbusy")
        began = time.monotonic()
        shell.sendintr()
        shell.expect_exact("ready> ")
        assert time.monotonic() - began < 3
        shell.send("SELECT 6 * 111 AS answer;\r")
        shell.expect_exact("666")
        shell.send(".exit\r")
        shell.expect(pexpect.EOF)
        shell.wait()
    finally:
        shell.close(force=True)
    assert shell.signalstatus in (None, signal.SIGINT)  # the program's own way after a Ctrl-C


def test_a_database_of_the_command_line_closes(path: Path, folder: Path) -> None:
    cli = Path(sys.executable).with_name("duckdb")
    if not cli.exists():
        pytest.skip("the duckdb command line is not installed")
    sql = f"CREATE TABLE t AS {EVEN}"
    command = [cli, "-unsigned", "-cmd", f"LOAD '{path}'", folder / "my.duckdb", "-c", sql]
    subprocess.run(command, check=True)
    assert (folder / "my.duckdb").exists()
    assert not (folder / "my.duckdb.wal").exists()


def test_threads_and_connections_at_once(path: Path, folder: Path) -> None:
    found: list[int] = []

    def ask(con: duckdb.DuckDBPyConnection) -> None:
        for _ in range(5):
            found.append(len(con.execute(EVEN).fetchall()))  # noqa: PERF401

    with open_shell(path) as con:
        threads = [threading.Thread(target=ask, args=(con.cursor(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [50_000] * 20
    assert len(workers(folder)) == 1


def test_files_stay_few(path: Path, folder: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    with open_shell(path) as con:
        con.execute(EVEN).fetchall()
        before = open_files()
        for _ in range(20):
            con.execute(EVEN).fetchall()
            with pytest.raises(duckdb.Error):
                con.execute(feeding(TABLE, ROW, fail="no", at="G")).fetchall()
        assert open_files() <= before + 1


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check_memory(path: Path, queries: int) -> None:
    with open_shell(path, threads="2") as con:
        con.execute("CREATE TABLE t AS SELECT i, repeat('x', 500) AS s FROM range(5000) r(i)")
        sql = feeding("FROM t", "{'i': i, 's': s, 'l': [s]}", keep="even")
        grown = []  # round by round: what others in this process do may be in one of them
        for _ in range(4):
            before = memory()
            for _ in range(queries):
                con.execute(sql).fetchall()
            grown.append(memory() - before)
        assert min(grown[1:]) < 4 << 20


def test_memory_stays_flat(path: Path, folder: Path) -> None:
    check_memory(path, 20)


@pytest.mark.full
def test_memory_stays_flat_over_a_thousand_queries(path: Path, folder: Path) -> None:
    check_memory(path, 500)


def test_a_worker_of_somebody_else_is_not_spoken_to(path: Path, folder: Path) -> None:
    """A peer that says hello wrongly ends the query, not the shell."""
    replies = {
        "of another version: restart the shell": (b"r", b"of another version: restart the shell"),
        "does not keep to the protocol": (b"o", b"12345"),
        "the worker went away": (b"", b""),
    }
    for text, (code, payload) in replies.items():
        (folder / "w.sock").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(folder / "w.sock"))
            server.listen()

            def answer(
                server: socket.socket = server, code: bytes = code, payload: bytes = payload
            ) -> None:
                while True:
                    try:
                        client, _ = server.accept()
                    except OSError:
                        return
                    with client:
                        if client.recv(1 << 16) and code:
                            size = len(payload).to_bytes(8, "little")
                            client.sendall(code + bytes(7) + size + payload)
                            time.sleep(0.2)

            threading.Thread(target=answer, daemon=True).start()
            with open_shell(path) as con, pytest.raises(duckdb.Error, match=text):
                con.execute("FROM thresh('SELECT 1')")
            server.shutdown(socket.SHUT_RDWR)
