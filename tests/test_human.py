"""People as an oracle: the queue, the query that waits, and ``thresher label`` in a terminal."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

import thresher
from thresher.oracles.human_queue import Item, Queue, Task

IS_FINE = (
    "CREATE OR REPLACE ORACLE is_fine(text VARCHAR, n BIGINT) RETURNS BOOLEAN USING human "
    "WITH (queue = '{queue}', question = 'Is this fine?'{more})"
)
TASK = Task("v", "is_fine", "Is this fine?", "boolean")


class Person:
    """Answers whatever waits, in a thread of their own."""

    def __init__(self, path: Path, judge: Callable[[Item], bool | str | int]) -> None:
        self.path, self.judge, self.seen = path, judge, list[Item]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Person:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(0.02):
            if not self.path.exists():
                continue
            queue = Queue(self.path)
            for item in queue.waiting(most=100):
                self.seen.append(item)
                queue.answer(item.number, self.judge(item), "ann")


def connect(folder: Path, more: str = "") -> thresher.Connection:
    con = thresher.connect(folder / "films.duckdb")
    con.execute(
        "CREATE TABLE IF NOT EXISTS notes AS "
        "SELECT 'note ' || i AS text, i AS n FROM range(45) r(i)"
    )
    con.execute(IS_FINE.format(queue=folder / "people.queue", more=more))
    return con


QUERY = "SELECT n FROM notes WHERE is_fine(text, n) ORDER BY n"


def test_a_query_waits_until_people_have_answered(tmp_path: Path) -> None:
    with (
        Person(tmp_path / "people.queue", lambda item: int(item.inputs["n"]) % 3 == 0) as ann,
        connect(tmp_path) as con,
    ):
        rows = con.execute(QUERY).fetchall()
        assert [n for (n,) in rows] == list(range(0, 45, 3))
        assert len(ann.seen) == 45
        first = ann.seen[0].inputs
        assert first == {"text": f"note {first['n']}", "n": first["n"]}
        cursor = con.execute(QUERY)
        assert cursor.fetchall() == rows
        assert cursor.certificate is not None
        assert cursor.certificate.n_labels == 0
    assert Queue(tmp_path / "people.queue").counts() == (45, 45)


def test_a_query_that_does_not_wait_says_what_to_do_and_goes_on_later(tmp_path: Path) -> None:
    path = tmp_path / "people.queue"
    with connect(tmp_path, ", wait = 0, batch_size = 15") as con:
        for round_ in range(3):
            with pytest.raises(
                thresher.OperationalError, match=r"15 items wait in .*people"
            ) as info:
                con.execute(QUERY)
            assert "thresher label" in str(info.value)
            assert Queue(path).counts() == (15 * round_, 15 * (round_ + 1))
            for item in Queue(path).waiting(most=100):
                Queue(path).answer(item.number, int(item.inputs["n"]) < 2)
        assert con.execute(QUERY).fetchall() == [(0,), (1,)]
        cursor = con.execute("SELECT count(*) FROM notes")
        assert cursor.fetchone() == (45,)


def test_an_answer_serves_another_label_store_too(tmp_path: Path) -> None:
    with Person(tmp_path / "people.queue", lambda item: item.inputs["n"] == "7") as ann:
        with connect(tmp_path) as con:
            assert con.execute(QUERY).fetchall() == [(7,)]
        (tmp_path / "films.duckdb.labels").unlink()
        with connect(tmp_path) as con:
            con.execute("CREATE OR REPLACE TABLE notes AS FROM notes")
            assert con.execute(QUERY).fetchall() == [(7,)]
        assert len(ann.seen) == 45


@pytest.mark.parametrize(
    ("returns", "more", "answers"),
    [
        ("VARCHAR", ", labels = ['good', 'bad']", {"1": "bad"}),
        ("INTEGER", "", {"1": 12}),
        ("DOUBLE", "", {"1": 2.5}),
    ],
)
def test_people_answer_with_the_declared_type(
    tmp_path: Path, returns: str, more: str, answers: dict[str, str | int]
) -> None:
    path = tmp_path / "q.queue"
    first = next(iter(answers.values()))
    with Person(path, lambda _: first), thresher.connect() as con:
        con.execute(
            f"CREATE ORACLE says(text VARCHAR) RETURNS {returns} USING human "
            f"WITH (queue = '{path}', question = 'What is it?'{more})"
        )
        value = f"'{first}'" if isinstance(first, str) else first
        found = con.execute(f"SELECT t FROM (VALUES ('a'), ('b')) v(t) WHERE says(t) = {value}")
        assert found.fetchall() == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("options", "returns", "told"),
    [
        ("question = 'q'", "BOOLEAN", "needs the option 'queue'"),
        ("queue = 'x'", "BOOLEAN", "needs the option 'question'"),
        (
            "queue = 'x', question = 'q', labels = ['a', 'b']",
            "BOOLEAN",
            "goes with RETURNS VARCHAR",
        ),
        ("queue = 'x', question = 'q'", "VARCHAR", "2 to 30 different labels"),
        ("queue = 'x', question = 'q', labels = ['a', 'a']", "VARCHAR", "different labels"),
        ("queue = 'x', question = 'q', wait = -1", "BOOLEAN", "0 or more"),
        ("queue = 'x', question = 'q'", "DATE", "DATE"),
    ],
)
def test_a_wrong_declaration_says_what_to_write(options: str, returns: str, told: str) -> None:
    with thresher.connect() as con, pytest.raises(thresher.Error, match=told):
        con.execute(f"CREATE ORACLE o(text VARCHAR) RETURNS {returns} USING human WITH ({options})")


def test_a_file_that_is_no_queue_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "films.txt"
    path.write_text("no database at all, but some text that is long enough" * 20)
    with pytest.raises(thresher.OperationalError, match=r"films\.txt"):
        Queue(path)


def filled(path: Path, n: int = 3) -> Queue:
    queue = Queue(path)
    queue.ask(TASK, {f"k{i}": {"text": f"note {i} \x1b[31mred", "n": str(i)} for i in range(n)})
    return queue


def test_items_that_were_put_off_come_last_and_those_taken_back_first(tmp_path: Path) -> None:
    queue = filled(tmp_path / "q")
    queue.put_off(1)
    assert [item.number for item in queue.waiting(most=9)] == [2, 3, 1]
    queue.put_off(2)
    assert [item.number for item in queue.waiting(most=9)] == [3, 1, 2]
    queue.answer(3, True)
    assert queue.take_back(3)
    assert not queue.take_back(3)
    assert [item.number for item in queue.waiting(most=9)] == [3, 1, 2]
    assert queue.waiting("IS_fine", most=9) == queue.waiting(most=9)
    assert queue.waiting("other") == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_person_labels_in_a_terminal_by_single_keys(tmp_path: Path) -> None:
    path = tmp_path / "people.queue"
    queue = filled(path, 4)
    term = pexpect.spawn(
        sys.executable, ["-P", "-m", "thresher", "label", str(path), "--by", "bo"],
        encoding="utf-8", timeout=60, dimensions=(24, 80),
    )  # fmt: skip
    term.expect("is_fine: 0 of 4 answered")
    term.expect("Is this fine?")
    term.expect("text: note 0 .\\[31mred")
    term.expect(r"\[y\] yes  \[n\] no  \[s\] later  \[u\] undo  \[q\] quit")
    term.send("y")
    term.expect("-> yes")
    term.expect("1 of 4 answered")
    term.send("z")
    term.expect("'z' is none of these")
    term.send("n")
    term.expect("-> no")
    term.expect("n: 2")
    term.send("u")
    term.expect("taken back")
    term.expect("n: 1")
    term.send("y")
    term.expect("n: 2")
    term.send("s")
    term.expect("n: 3")
    term.send("n")
    term.expect("n: 2")
    term.send("n")
    term.expect("Nothing waits now")
    queue.ask(TASK, {"k9": {"text": "a late one"}})
    term.expect("text: a late one")
    term.send("q")
    term.expect("4 of 5 answered")
    term.expect(pexpect.EOF)
    term.close()
    assert term.exitstatus == 0
    assert queue.answers("v", [f"k{i}" for i in range(5)]) == {
        "k0": True, "k1": True, "k2": False, "k3": False,
    }  # fmt: skip


def test_answers_can_be_piped(tmp_path: Path) -> None:
    path = tmp_path / "people.queue"
    queue = Queue(path)
    queue.ask(
        Task("r", "stars", "How many stars?", "integer"), {"a": {"text": "x"}, "b": {"text": "y"}}
    )
    command = [sys.executable, "-P", "-m", "thresher", "label", str(path)]
    done = subprocess.run(command, input="many\n4\n", capture_output=True, text=True, check=True)
    assert "'many' is none of these" in done.stdout
    assert "1 of 2 answered" in done.stdout
    assert queue.answers("r", ["a", "b"]) == {"a": 4}
    missing = subprocess.run(
        [*command[:-1], str(tmp_path / "nothing")], capture_output=True, text=True, check=False
    )
    assert missing.returncode == 2
    assert "there is no queue" in missing.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_waiting_query_and_a_person_meet_in_two_processes(tmp_path: Path) -> None:
    with connect(tmp_path):
        pass
    query = subprocess.Popen(
        [sys.executable, "-P", "-m", "thresher", "query", "--db", str(tmp_path / "films.duckdb"),
         "--format", "csv", f"{QUERY} LIMIT 2"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    path = tmp_path / "people.queue"
    until = time.monotonic() + 60
    while not path.exists() or not Queue(path).waiting():
        assert time.monotonic() < until
        time.sleep(0.1)
    while query.poll() is None:
        assert time.monotonic() < until
        for item in Queue(path).waiting(most=100):
            Queue(path).answer(item.number, int(item.inputs["n"]) > 3)
        time.sleep(0.05)
    assert query.communicate()[0].split() == ['"n"', "4", "5"]
    assert Queue(path).counts()[1] < 45


RECALL = "SELECT n FROM notes WHERE is_fine(text, n) USING -n RECALL TARGET 80%"


class Slow(Person):
    """Answers so many items in all, and then goes home."""

    def __init__(self, path: Path, most: int) -> None:
        self.left = most
        super().__init__(path, self._judge)

    def _judge(self, item: Item) -> bool:
        return int(item.inputs["n"]) < 12

    def _work(self) -> None:
        while not self._stop.wait(0.02):
            for item in Queue(self.path).waiting(most=100) if self.path.exists() else ():
                if self.left:
                    self.left -= 1
                    Queue(self.path).answer(item.number, self._judge(item))


def answered(con: thresher.Connection) -> int:
    (count,) = con.execute("SELECT count(*) FROM thresher_labels()").fetchone() or (0,)
    return int(count)


@pytest.mark.parametrize(
    ("sql", "note"),
    [
        (f"{RECALL} BUDGET 0.8 SECONDS", "stopped by BUDGET 0.8 SECONDS"),
        (f"{RECALL} PRECISION TARGET 80% BUDGET 0.8 SECONDS", "stopped by BUDGET 0.8 SECONDS"),
        (QUERY.replace(" ORDER BY n", "") + " LIMIT 40 BUDGET 0.8 SECONDS", "stopped by BUDGET"),
        (
            "SELECT count(*) AS k FROM notes WHERE is_fine(text, n) USING -n ERROR WITHIN 1% "
            "BUDGET 0.8 SECONDS",
            "stopped by BUDGET 0.8 SECONDS: the limits hold",
        ),
        (f"{RECALL[:-17]}ACCURACY TARGET 99% BUDGET .8 SECONDS", "stopped by BUDGET 0.8 SECONDS"),
    ],
)  # fmt: skip
def test_a_query_that_waits_answers_with_what_is_certified_when_time_is_up(
    tmp_path: Path, sql: str, note: str
) -> None:
    with Slow(tmp_path / "people.queue", 14), connect(tmp_path, ", batch_size = 10") as con:
        cursor = con.execute(sql)
        certificate = cursor.certificate
        assert certificate is not None
        assert note in str(certificate.note)
        assert certificate.verify()
        assert 10 <= answered(con) <= 14  # also those of a batch that is not complete
        assert certificate.n_labels == answered(con)
        rows = {row[0] for row in cursor.fetchall()}
        if "RECALL" in sql:
            assert rows >= set(range(12))  # nothing can be left out yet
        if "count" in sql:
            (interval,) = certificate.intervals
            assert interval.low is not None
            assert interval.high is not None
            assert interval.low <= 12 <= interval.high


def test_what_must_be_complete_fails_when_time_is_up_and_goes_on_later(tmp_path: Path) -> None:
    with connect(tmp_path, ", batch_size = 10") as con:
        with (
            Slow(tmp_path / "people.queue", 14),
            pytest.raises(thresher.OperationalError, match=r"BUDGET 0\.8 SECONDS is spent") as info,
        ):
            con.execute(f"{QUERY} BUDGET 0.8 SECONDS")
        assert "add a target" in str(info.value)
        assert 10 <= answered(con) <= 14
        with Slow(tmp_path / "people.queue", 99):
            assert con.execute(QUERY).fetchall() == [(n,) for n in range(12)]
        assert Queue(tmp_path / "people.queue").counts() == (45, 45)


def test_patience_of_the_oracle_ends_a_query_that_can_answer(tmp_path: Path) -> None:
    with Slow(tmp_path / "people.queue", 14), connect(tmp_path, ", wait = .5") as con:
        with pytest.raises(thresher.UnansweredError, match=r"wait in .*people"):
            con.execute(RECALL)
        con.execute("SET thresher_on_interrupt = 'ANSWER'")
        certificate = con.execute(RECALL).certificate
        assert certificate is not None
        assert "people have not answered yet" in str(certificate.note)
        assert certificate.verify()


def test_a_statement_that_waits_can_be_cancelled_from_another_thread(tmp_path: Path) -> None:
    with Slow(tmp_path / "people.queue", 14), connect(tmp_path) as con:
        cursor = con.cursor()
        timer = threading.Timer(0.6, cursor.cancel)
        timer.start()
        with pytest.raises(thresher.OperationalError, match="was cancelled"):
            cursor.execute(RECALL)
        timer.join()
        assert answered(con) == 14


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_ends_the_wait_for_a_person_at_another_terminal(tmp_path: Path) -> None:
    with connect(tmp_path, ", batch_size = 8"):
        pass
    path = tmp_path / "people.queue"
    script = (
        "import sys, thresher\n"
        f"con = thresher.connect({str(tmp_path / 'films.duckdb')!r}, "
        "config={'on_interrupt': 'ANSWER'})\n"
        f"cursor = con.execute({RECALL!r})\n"
        "print('ROWS', len(cursor.fetchall()), bool(cursor.certificate.verify()))\n"
        "print('NOTE', cursor.certificate.note)\n"
        "print('LABELS', cursor.certificate.n_labels)\n"
    )
    query = pexpect.spawn(
        sys.executable, ["-P", "-c", script], encoding="utf-8", timeout=60, dimensions=(24, 300)
    )
    until = time.monotonic() + 60
    while not path.exists() or not Queue(path).waiting():
        assert time.monotonic() < until
        time.sleep(0.1)
    person = pexpect.spawn(
        sys.executable, ["-P", "-m", "thresher", "label", str(path)],
        encoding="utf-8", timeout=60, dimensions=(24, 80),
    )  # fmt: skip
    for i in range(10):
        person.expect(rf"{i} of \d+ answered")
        person.expect(r"\[q\] quit")
        person.send("n")
        person.expect("-> no")
    person.expect(r"10 of \d+ answered")
    query.sendintr()
    query.expect(r"ROWS (\d+) True")
    n_rows = int(query.match.group(1))  # type: ignore[union-attr]
    query.expect("NOTE interrupted: ")
    query.expect("LABELS 10")
    query.expect(pexpect.EOF)
    query.close()
    assert query.exitstatus == 0
    assert n_rows == 35  # what is known to be negative is gone, and nothing else
    person.send("q")
    person.expect(pexpect.EOF)
    person.close()
