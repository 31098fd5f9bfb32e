"""A query over a server that is stopped while requests are under way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import Behaviour, ChatServer, Reply, Request, said, serve

import thresher
from thresher.errors import InterruptedQueryError

__all__ = ["serve"]

Serve = Callable[[Behaviour], ChatServer]
SQL = "SELECT i FROM range(200) r(i) WHERE judge(i) AND i < 60"


def connect(folder: Path, url: str) -> thresher.Connection:
    con = thresher.connect(str(folder / "d.duckdb"))
    con.execute(
        "CREATE OR REPLACE ORACLE judge(i BIGINT) RETURNS BOOLEAN USING openai WITH ("
        f"url = '{url}', model = 'tiny', prompt = 'Even? {{i}}', "
        "usd_per_mtok = 1000000, concurrency = 4)"
    )
    return con


class Stopping:
    """Answers at once until so many requests came; then it stops the query and takes its time."""

    def __init__(self, stop: Callable[[], object], after: int) -> None:
        self.stop, self.after, self.answered = stop, after, 0
        self.lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        with self.lock:
            self.answered += 1
            number = self.answered
        if number == self.after:
            time.sleep(0.3)  # replies that are on their way come in
            self.stop()
        if number >= self.after:
            time.sleep(1.0)
        return said("yes")


@pytest.mark.parametrize("after", [6, 11])
def test_ctrl_c_keeps_the_replies_that_came(serve: Serve, tmp_path: Path, after: int) -> None:
    behaviour = Stopping(lambda: os.kill(os.getpid(), signal.SIGINT), after)
    server = serve(behaviour)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with connect(tmp_path, server.url) as con, pytest.raises(KeyboardInterrupt):
            con.execute(SQL)
    finally:
        signal.signal(signal.SIGINT, before)
    with connect(tmp_path, server.url) as con:
        found = con.execute("SELECT count(*), sum(cost_usd) FROM thresher_labels()").fetchone()
        assert found is not None
        n_kept, usd = found
        assert n_kept >= after - 1  # at least all that was answered before
        assert usd > 0
        behaviour.after = 10**9
        n_before = behaviour.answered
        assert len(con.execute(SQL).fetchall()) == 60
        # Only what was not answered is asked again.
        assert behaviour.answered - n_before == 60 - n_kept


def test_a_cancelled_query_ends_with_its_batch(serve: Serve, tmp_path: Path) -> None:
    cursors: list[thresher.Cursor] = []
    behaviour = Stopping(lambda: cursors[0].cancel(), 6)
    server = serve(behaviour)
    with connect(tmp_path, server.url) as con:
        cursors.append(con.cursor())
        with pytest.raises(InterruptedQueryError) as caught:
            cursors[0].execute(SQL)
        n_answered = behaviour.answered
        assert caught.value.spent == n_answered < 60
        behaviour.after = 10**9
        assert len(con.execute(SQL).fetchall()) == 60
        assert behaviour.answered == 60
