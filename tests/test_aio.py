"""Connections for asyncio: one thread each, and tasks that are cancelled stop their statements."""

# ruff: noqa: F841 - statements use the variables

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import thresher
from tests_support import make_table
from thresher import aio, opening
from thresher.dbapi import Connection

BATCH = 10


class Slow:
    """A function that remembers what it was asked, and in which thread."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.asked: list[int] = []
        self.threads: set[int] = set()
        self.third = threading.Event()
        self.pause_s = pause_s
        self.truth = make_table(1000, seed=3)[1]

    def __call__(self, ids: list[int]) -> list[bool]:
        self.threads.add(threading.get_ident())
        self.asked += ids
        if len(self.asked) >= 3 * BATCH:
            self.third.set()
        time.sleep(self.pause_s)
        return [bool(self.truth[i]) for i in ids]


async def made(slow: Slow, path: str | Path = ":memory:") -> aio.Connection:
    con = await aio.connect(path, config={"seed": 5})
    rows = make_table(1000, seed=3)[0]
    await con.execute("CREATE TABLE IF NOT EXISTS t AS SELECT * FROM rows")
    await con.create_oracle("slow", slow, args=["BIGINT"], batch_size=BATCH, version="1")
    return con


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 120))


def test_fetching() -> None:
    async def main() -> None:
        df = pd.DataFrame({"x": range(3000)})
        async with aio.connect() as con, con.cursor() as cursor:
            await cursor.execute("SELECT x, x + ? AS y FROM df", [1])
            assert cursor.description is not None
            assert await cursor.fetchone() == (0, 1)
            cursor.arraysize = 2
            assert await cursor.fetchmany() == [(1, 2), (2, 3)]
            rest = [row async for row in cursor]
            assert rest == [(x, x + 1) for x in range(3, 3000)]
            assert await cursor.fetchone() is None
            assert await (await con.execute("SELECT 1 AS a")).dicts() == [{"a": 1}]
            assert (await (await con.execute("FROM df")).df()).equals(df)
            assert (await (await con.execute("FROM df")).pl()).height == 3000
            assert (await (await con.execute("FROM df")).to_arrow_table()).num_rows == 3000
            cursor = await con.execute("FROM df")
            assert [b.num_rows async for b in cursor.batches(2000)] == [2000, 1000]
            await con.begin()
            await con.execute("CREATE TABLE made_here (x BIGINT)")
            assert (await con.executemany("INSERT INTO made_here VALUES (?)", [[1]])).rowcount == 1
            await con.rollback()
            await con.commit()
            with pytest.raises(thresher.ProgrammingError, match="made_here does not exist"):
                await con.execute("FROM made_here")
            assert await con.run(lambda driver: driver.execute("SELECT 7").fetchone()) == (7,)
        assert con.driver.closed
        with pytest.raises(thresher.InterfaceError, match="connection is closed"):
            await con.execute("SELECT 1")

    run(main())


def test_a_cancelled_task_stops_its_statement_and_keeps_its_labels() -> None:
    async def main() -> None:
        slow = Slow(0.02)
        con = await made(slow)
        task = asyncio.create_task(con.execute("SELECT id FROM t WHERE slow(id)"))
        await asyncio.to_thread(slow.third.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        n_asked = len(slow.asked)
        assert 3 * BATCH <= n_asked < 1000
        counted = await con.execute("SELECT count(*) FROM thresher_labels()")
        assert await counted.fetchall() == [(n_asked,)]
        slow.pause_s = 0.0
        found = await (await con.execute("SELECT id FROM t WHERE slow(id)")).fetchall()
        assert len(found) == slow.truth.sum()
        assert len(slow.asked) == len(set(slow.asked)) == 1000
        assert len(slow.threads) == 1
        assert threading.get_ident() not in slow.threads
        await con.close()

    run(main())


@pytest.mark.parametrize("fetching", [False, True])
def test_a_cancelled_task_stops_duckdb(fetching: bool) -> None:
    sql = "SELECT sum(a.range * b.range % 7) FROM range(1000000) a, range(1000000) b"
    if fetching:
        sql = "SELECT * FROM range(100_000_000_000) r(i) WHERE i < 200_000 OR i % 50_000_000 = 7"

    async def main() -> None:
        async with aio.connect() as con:

            async def work() -> None:
                cursor = await con.execute(sql)
                await cursor.fetchall()

            for pause_s in (0.0, 0.3):
                task = asyncio.create_task(work())
                await asyncio.sleep(pause_s)
                began = time.perf_counter()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert time.perf_counter() - began < 20
                assert await (await con.execute("SELECT 42")).fetchall() == [(42,)]

    run(main())


def test_what_a_cancelled_statement_raised_is_not_logged() -> None:
    async def main() -> None:
        logged: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: logged.append(told))
        async with aio.connect() as con:
            task = asyncio.create_task(con.execute("SELECT count(*) FROM range(100_000_000_000)"))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            del task
            await con.execute("SELECT 1")
            gc.collect()
        assert not logged

    run(main())


def test_a_task_that_waits_for_its_turn_is_cancelled_alone() -> None:
    async def main() -> None:
        slow = Slow(0.01)
        con = await made(slow)
        first = asyncio.create_task(con.execute("SELECT id FROM t WHERE slow(id) AND id < 200"))
        await asyncio.to_thread(slow.third.wait)
        second = asyncio.create_task(con.execute("CREATE TABLE never AS SELECT 1"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert len(await (await first).fetchall()) == slow.truth[:200].sum()
        with pytest.raises(thresher.Error, match="never does not exist"):
            await con.execute("FROM never")
        await con.close()

    run(main())


def test_two_connections_work_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        barrier = threading.Barrier(2, timeout=60)

        def judge(ids: list[int]) -> list[bool]:
            barrier.wait()  # each waits until the other is asked too
            return [i % 2 == 0 for i in ids]

        cons = [await aio.connect(tmp_path / f"{n}.duckdb") for n in range(2)]
        for con in cons:
            await con.create_oracle("is_even", judge, args=["BIGINT"])
        sql = "SELECT count(*) FROM range(10) r(i) WHERE is_even(i)"
        cursors = await asyncio.gather(*(con.execute(sql) for con in cons))
        assert [await cursor.fetchall() for cursor in cursors] == [[(5,)], [(5,)]]
        assert all(cursor.certificate is not None for cursor in cursors)
        for con in cons:
            await con.close()

    run(main())


def test_errors_come_through(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(thresher.OperationalError):
            await aio.connect(tmp_path / "no" / "where.duckdb")
        async with aio.connect() as con:
            with pytest.raises(thresher.ProgrammingError) as caught:
                await con.execute("SELECT * FROM nope")
            assert caught.value.message

            def broken(ids: list[int]) -> list[bool]:
                raise ValueError("no model")

            await con.create_oracle("broken", broken, args=["BIGINT"])
            with pytest.raises(thresher.OracleError, match="no model"):
                await con.execute("SELECT i FROM range(3) r(i) WHERE broken(i)")

            def told(event: object) -> None:
                raise StopIteration

            with pytest.raises(RuntimeError, match="a generator has ended"):
                await con.execute("SELECT i FROM range(3) r(i) WHERE broken(i)", on_progress=told)
            with pytest.raises(thresher.InterfaceError, match="execute"):
                await con.cursor().fetchall()
        await con.__aexit__(None, None, None)  # closed already

    run(main())


def test_the_event_loop_goes_on_meanwhile() -> None:
    async def main() -> None:
        con = await made(Slow(0.01))
        n_ticks = 0

        async def tick() -> None:
            nonlocal n_ticks
            while True:
                n_ticks += 1
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        await con.execute("SELECT id FROM t WHERE slow(id) AND id < 300")
        ticking.cancel()
        assert n_ticks > 10
        con.interrupt()  # where nothing runs nothing happens
        await con.close()

    run(main())


def test_a_fetch_that_runs_out_of_time_while_it_waits_takes_nothing() -> None:
    async def main() -> None:
        async with aio.connect() as con:
            cursor = await con.execute("SELECT i FROM range(300_000) r(i)")
            assert await cursor.fetchone() == (0,)
            slow = asyncio.create_task(con.run(lambda driver: time.sleep(0.5)))
            await asyncio.sleep(0.05)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(cursor.fetchmany(5000), 0.1)
            await slow
            assert await cursor.fetchall() == [(i,) for i in range(1, 300_000)]

    run(main())


READ: dict[str, Callable[[aio.Cursor], Coroutine[Any, Any, object]]] = {
    "many": lambda cursor: cursor.fetchmany(70_000),
    "all": lambda cursor: cursor.fetchall(),
    "dicts": lambda cursor: cursor.dicts(),
    "pandas": lambda cursor: cursor.df(),
    "arrow": lambda cursor: cursor.to_arrow_table(),
}


async def cancelled_when_done(job: Coroutine[Any, Any, object], con: aio.Connection) -> None:
    """Cancel a task whose work is done, before the loop can tell it."""
    task = asyncio.create_task(job)
    await asyncio.sleep(0)
    con._worker._pool.submit(lambda: None).result()  # behind the work
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("n_before", [0, 1, 2048])
def test_rows_that_a_cancelled_task_does_not_get_go_to_the_next(kind: str, n_before: int) -> None:
    async def main() -> None:
        async with aio.connect() as con:
            cursor = await con.execute("SELECT i FROM range(80_000) r(i)")
            await cursor.fetchmany(n_before)
            await cancelled_when_done(READ[kind](cursor), con)
            found = await cursor.to_arrow_table()
            assert found["i"].to_pylist() == list(range(n_before, 80_000))
            assert await cursor.fetchone() is None

    run(main())


def test_a_batch_that_a_cancelled_task_does_not_get_goes_to_the_next() -> None:
    async def main() -> None:
        con = await made(Slow())
        for sql in ("SELECT id FROM t WHERE slow(id) ORDER BY id", "SELECT id FROM t ORDER BY id"):
            expected = await (await con.execute(sql)).fetchall()
            cursor = await con.execute(sql)
            await cancelled_when_done(cursor.fetchone(), con)
            reader = await cursor._read(cursor.driver.to_arrow_reader)
            await cancelled_when_done(cursor._read(reader.read_next_batch), con)
            assert await cursor.fetchall() == expected
        await con.close()

    run(main())


def test_what_stops_reading_batches_leaves_the_rows_behind_the_last() -> None:
    async def main() -> None:
        async with aio.connect() as con:
            cursor = await con.execute("SELECT i FROM range(80_000) r(i)")
            batches = cursor.batches(2000)
            assert [(await anext(batches)).num_rows for _ in range(2)] == [2000, 2000]
            await cancelled_when_done(anext(batches), con)
            assert await cursor.fetchall() == [(i,) for i in range(4000, 80_000)]

    run(main())


def test_tasks_share_the_rows_of_a_cursor() -> None:
    async def main() -> None:
        async with aio.connect() as con:
            cursor = await con.execute("SELECT i FROM range(40_000) r(i)")
            found: list[int] = []

            async def take() -> None:
                while (row := await cursor.fetchone()) is not None:
                    found.append(row[0])

            await asyncio.gather(take(), take(), take())
            assert sorted(found) == list(range(40_000))

    run(main())


def test_what_is_closed_says_so() -> None:
    async def main() -> None:
        async with aio.connect() as con:
            cursor = await con.execute("SELECT 1")
            async with con.cursor() as other:
                await other.execute("SELECT 2")
                await con.close()
            waits: list[Callable[[], Awaitable[object]]] = [
                cursor.fetchone, cursor.fetchall, cursor.df, con.close, con.begin, con.commit,
                con.rollback, lambda: con.execute("SELECT 1"), lambda: cursor.execute("SELECT 1"),
                lambda: con.executemany("SELECT ?", [[1]]), lambda: con.run(lambda driver: 1),
            ]  # fmt: skip
            for wait in waits:
                with pytest.raises(thresher.InterfaceError, match="connection is closed"):
                    await wait()
            await cursor.close()
            await cursor.close()
        async with aio.connect() as con:
            cursor = await con.execute("SELECT 1")
            await cursor.close()
            await cursor.close()
            with pytest.raises(thresher.InterfaceError, match="cursor is closed"):
                await cursor.fetchall()
            closing = asyncio.create_task(con.close())
            waiting = asyncio.create_task(con.commit())
            await closing
            with pytest.raises(thresher.InterfaceError, match="connection is closed"):
                await waiting

    run(main())


def test_closing_that_is_cancelled_ends_the_thread() -> None:
    async def main() -> None:
        con = await aio.connect()
        threads = await con.run(lambda driver: threading.current_thread())
        await cancelled_when_done(con.close(), con)
        assert con.driver.closed
        await asyncio.to_thread(threads.join, 20)
        assert not threads.is_alive()

    run(main())


def test_opening_that_is_cancelled_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Connection] = []

    def slowly(path: Path) -> Connection:
        time.sleep(0.2)
        opened.append(connect(path))
        return opened[0]

    connect = opening.connect
    monkeypatch.setattr(opening, "connect", slowly)

    async def main() -> None:
        async def wait() -> None:
            await aio.connect(tmp_path / "some.duckdb")

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [one.closed for one in opened] == [True]

    run(main())


def test_executemany_reads_frames_of_its_caller() -> None:
    async def main() -> None:
        async with aio.connect() as con:
            df = pd.DataFrame({"x": [1, 2]})
            await con.execute("CREATE TABLE sums (x BIGINT)")
            done = await con.executemany("INSERT INTO sums SELECT x + ? FROM df", [[0], [10]])
            assert done.rowcount == 4
            await con.cursor().executemany("INSERT INTO sums SELECT x + ? FROM df", [[20]])
            found = await con.execute("SELECT sum(x) FROM sums")
            assert await found.fetchall() == [(3 + 23 + 43,)]

    run(main())


def test_a_cursor_is_shown_as_the_driver_s() -> None:
    async def main() -> None:
        async with aio.connect() as con:
            cursor = con.cursor()
            assert repr(cursor) == (
                "<thresher.aio.Cursor: there are no rows: execute() a statement first>"
            )
            await cursor.execute("SELECT 42 AS answer")
            assert repr(cursor) == repr(cursor.driver)
            assert "42" in repr(cursor)
            assert "<table" in cursor._repr_html_()
            assert await cursor.fetchall() == [(42,)]
            busy = asyncio.create_task(con.run(lambda driver: time.sleep(0.2)))
            await asyncio.sleep(0.05)
            assert repr(cursor) == "<thresher.aio.Cursor: at work>"
            await busy
            assert repr(cursor) == (
                "<thresher.aio.Cursor: SELECT 42 AS answer: all rows have been fetched>"
            )
        assert "closed" in repr(cursor)

    asyncio.run(main())
