"""Connections for asyncio: one thread each, and tasks that are cancelled stop their statements."""

# ruff: noqa: F841 - statements use the variables

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import thresher
from tests_support import make_table
from thresher import aio

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
