"""Cells in a real kernel: results, live progress, the stop button, notebooks run by nbclient."""

from __future__ import annotations

import time
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tests_support_notebook import Kernel, Reply

MADE = """
import time, thresher
%load_ext thresher
con = %thresher
asked = []
def slow(xs):
    time.sleep(pause)
    asked.extend(xs)
    return [x % 3 == 0 for x in xs]
pause = 0.0
con.create_oracle("slow", slow, args=["BIGINT"], batch_size=20)
rows = "SELECT i AS id, 1 - (i % 3) * 0.3 AS score FROM range(2000) r(i)"
_ = con.execute(f"CREATE TABLE t AS {rows}")
"""
RECALL = "SELECT id FROM t WHERE slow(id) USING score RECALL TARGET 80% ORACLE LIMIT 200"
N_KEPT = "con.execute('SELECT count(*) FROM thresher_labels()').fetchone()[0]"


@pytest.fixture(scope="module")
def made(kernel: Kernel) -> Kernel:
    kernel.ran(MADE)
    return kernel


@pytest.fixture(autouse=True)
def anew(made: Kernel) -> None:
    """Each test asks for rows that no other has asked for."""
    made.ran(
        "%thresher RESET thresher_seed\nasked.clear()\npause = 0.0\n"
        "con.create_oracle('slow', slow, args=['BIGINT'], batch_size=20, version=str(time.time()))"
    )


def results(reply: Reply) -> list[dict[str, Any]]:
    return [one for one in reply.outputs if one["msg_type"] == "execute_result"]


def displays(reply: Reply) -> list[dict[str, Any]]:
    return [o for o in reply.outputs if o["msg_type"] in ("display_data", "update_display_data")]


def test_progress_is_one_display_that_ends_as_a_line(made: Kernel) -> None:
    made.ran("pause = 0.15")
    times: list[float] = []
    reply = made.run(f"%%thresher found <<\n{RECALL}", lambda _: times.append(time.monotonic()))
    assert reply.status == "ok"
    shown = displays(reply)
    assert len(shown) == len(reply.outputs) > 2  # nothing else is printed
    assert shown[0]["msg_type"] == "display_data"
    assert {one["msg_type"] for one in shown[1:]} == {"update_display_data"}
    assert len({one["content"]["transient"]["display_id"] for one in shown}) == 1
    assert len(times) <= 4 * (times[-1] - times[0]) + 3
    live, last = reply.texts()[:-1], reply.texts()[-1]
    assert all("of 200 labels" in text and "Stop: the square" in text for text in live)
    assert any("certain: " in text and "not proved yet: about " in text for text in live)
    assert last.startswith("done: 200 labels, ")
    assert "\n" not in last
    assert "<progress" in shown[1]["content"]["data"]["text/html"]
    assert "<progress" not in shown[-1]["content"]["data"]["text/html"]


def test_plain_python_shows_it_too_and_a_setting_turns_it_off(made: Kernel) -> None:
    made.ran("pause = 0.1")
    code = f"con.execute({RECALL!r})\nNone"
    assert made.ran(code).texts()[-1].startswith("done: ")
    made.ran("asked.clear()\npause = 0.05\ncon.execute(\"SET thresher_progress = 'none'\")")
    made.ran("con.execute('SET thresher_reuse_labels = false')")
    assert made.ran(code).outputs == []
    assert made.value("len(asked)") == 200
    made.ran("con.execute('RESET thresher_progress; RESET thresher_reuse_labels')")


def test_fast_statements_show_nothing(made: Kernel) -> None:
    assert made.ran("for _ in range(5):\n    con.execute('SELECT 42').fetchall()").outputs == []
    assert made.ran(f"con.execute({RECALL!r})\nNone").outputs == []


@pytest.mark.parametrize(
    "code", [f"%%thresher\n{RECALL}", f"con.execute({RECALL!r})", "%thresher {}"]
)
def test_the_stop_button_keeps_labels_and_the_kernel(made: Kernel, code: str) -> None:
    made.ran("pause = 0.15")
    before, sent = made.value(N_KEPT), []
    code = code.replace("{}", "SELECT count(*) AS n FROM t WHERE slow(id) AND id < 1000")

    def stop(message: dict[str, Any]) -> None:
        if not sent and "data" in message["content"]:
            sent.append(time.monotonic())
            made.manager.interrupt_kernel()

    reply = made.run(code, stop)
    assert time.monotonic() - sent[0] < 20
    assert (reply.status, reply.error["ename"]) == ("error", "KeyboardInterrupt")
    kept = made.value(N_KEPT) - before
    assert kept > 0
    last = displays(reply)[-1]["content"]["data"]["text/plain"]
    assert last.startswith(f"stopped after {kept} labels, ")
    assert last.endswith("; what was bought is kept")
    assert not any("dbapi.py" in line for line in reply.error["traceback"])
    if "%thresher" in code:
        assert reply.error["traceback"] == [
            f"KeyboardInterrupt: the statement was stopped. {kept} labels were bought and are "
            "kept while this connection is open: run it again to go on from them."
        ]
    made.ran("pause = 0.0")
    made.ran(code)
    assert made.value("len(asked) == len(set(asked))")  # none was bought twice


def test_the_stop_button_stops_duckdb(made: Kernel) -> None:
    sent: list[bool] = []

    def stop(message: dict[str, Any]) -> None:
        sent.append(True)
        time.sleep(0.3)
        made.manager.interrupt_kernel()

    reply = made.run(
        "print('go', flush=True)\n"
        "%thresher SELECT sum(a.range * b.range % 7) FROM range(1000000) a, range(1000000) b",
        lambda message: sent or stop(message),
    )
    assert reply.error["traceback"] == [
        "KeyboardInterrupt: the statement was stopped. No label had been bought."
    ]
    assert made.value("con.execute('SELECT 42').fetchall()") == [(42,)]


def test_the_stop_button_stops_what_is_awaited(made: Kernel) -> None:
    made.ran("import thresher.aio\nlater = await thresher.aio.connect()\npause = 0.2")
    made.ran("await later.create_oracle('slow', slow, args=['BIGINT'], batch_size=20)")
    sent: list[float] = []

    def stop(message: dict[str, Any]) -> None:
        if not sent:
            sent.append(time.monotonic())
            made.manager.interrupt_kernel()

    code = "await later.execute('SELECT i FROM range(2000) r(i) WHERE slow(i)')"
    reply = made.run(code, stop)
    assert (reply.status, reply.error["ename"]) == ("error", "CancelledError")
    assert displays(reply)[-1]["content"]["data"]["text/plain"].startswith("stopped after ")
    assert 0 < made.value("len(asked)") < 1000
    assert made.value("await (await later.execute('SELECT 42')).fetchall()") == [(42,)]
    made.ran("await later.close()")


def test_a_budget_in_dollars_is_shown(made: Kernel) -> None:
    made.ran("pause = 0.1\ncon.execute(\"SET thresher_session_budget = '2 USD'\")")
    reply = made.ran(f"con.execute({RECALL!r})\nNone")
    made.ran("con.execute('RESET thresher_session_budget')")
    assert all("$0.00 of $2.00" in text for text in reply.texts()[:-1])


def test_a_notebook_runs_and_fails_where_it_must(made: Kernel) -> None:
    def ran(*cells: str) -> Any:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        client = NotebookClient(book, km=made.manager, timeout=120)
        client.kc = made.client
        try:
            client.execute(reset_kc=False)
        finally:
            client.km = None
        return book

    book = ran("pause = 0.1", f"%%thresher\n{RECALL}", "%thresher SET thresher_seed = 1")
    kinds = [output["output_type"] for output in book.cells[1].outputs]
    assert kinds == ["display_data", "execute_result"]
    assert book.cells[1].outputs[0]["data"]["text/plain"].startswith("done: ")
    assert book.cells[2].outputs[0]["text"] == "SET thresher_seed = 1: done\n"
    with pytest.raises(CellExecutionError) as caught:
        ran("%%thresher\nSELECT 1;\nSELECT id FROM t WHERE slow(id) RECALL TARGET 95")
    assert caught.value.ename == "ProgrammingError"
    assert "RECALL TARGET must be in" in caught.value.evalue
    assert "LINE 2" in str(caught.value)
    assert "magics.py" not in str(caught.value)


def test_a_kernel_completes_sql(made: Kernel) -> None:
    code = "%%thresher\nSELECT id FROM t\nWHERE sl"
    found = made.client.complete(code, reply=True, timeout=60)["content"]
    assert found["matches"][0] == "slow"
    assert code[found["cursor_start"] : found["cursor_end"]] == "sl"
    found = made.client.complete(f"%%thresher\n{RECALL} ", reply=True, timeout=60)["content"]
    assert "WITH PROBABILITY" in found["matches"]
    assert found["cursor_start"] == found["cursor_end"]
    code = "%thresher SELECT  FROM t"
    found = made.client.complete(code, cursor_pos=17, reply=True, timeout=60)["content"]
    assert found["matches"][:2] == ["id", "score"]


def test_a_page_answers_a_queue_through_its_comm(made: Kernel) -> None:
    made.ran(
        "from pathlib import Path\nfrom thresher.oracles.human_queue import Queue, Task\n"
        "queue = Queue(Path('people.queue'))\n"
        "queue.ask(Task('v', 'is_fine', 'Fine?', 'boolean'), {'k': {'text': 'a note'}})"
    )
    reply = made.ran("%thresher label people.queue")
    (shown,) = (one["content"]["data"] for one in displays(reply))
    model = shown["application/vnd.jupyter.widget-view+json"]["model_id"]
    said = {"do": "answer", "number": 1, "said": "y"}
    content = {"comm_id": model, "data": {"method": "custom", "content": said}}
    made.client.shell_channel.send(made.client.session.msg("comm_msg", content))
    assert made.value("queue.answers('v', ['k'])") == {"k": True}


@pytest.mark.full
def test_two_hundred_queries_leave_the_memory_as_it_was(made: Kernel) -> None:
    made.ran(
        "import gc, resource\n"
        "def kib():\n"
        "    gc.collect()\n"
        "    with open('/proc/self/statm') as file:\n"
        "        return int(file.read().split()[1]) * resource.getpagesize() // 1024\n"
        f"sql = {RECALL!r}\n"
    )
    made.ran(
        "def ask(seed):\n"
        "    get_ipython().run_line_magic('thresher', f'found << {sql} SEED {seed}')\n"
        "    found._repr_html_()\n"
        "    con.execute(f'{sql} SEED {seed}').fetchall()\n"
        "for seed in range(40):\n    ask(seed)\n"
        "before = kib()"
    )
    made.ran("for seed in range(40, 240):\n    ask(seed)")
    grown = made.value("kib() - before")
    assert grown < 24_000, grown  # 400 queries: 60 KiB each at most
    assert made.value("len([t for t in __import__('threading').enumerate()]) < 20")
