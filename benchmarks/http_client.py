"""Requests a second of the `openai` oracle against a server's own limit, at 50 ms a request.

.venv/bin/python -P benchmarks/run.py --only http
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
LATENCY_S = 0.05
GOAL = 0.9
SLOTS, CONCURRENCY = 8, 16
WINDOW_S = 20.0
WINDOWS = 3
_REPLY = json.dumps(
    {
        "choices": [{"message": {"content": '{"answer": "yes"}'}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 6},
    }
).encode()


@dataclass
class Limits:
    """What the server lets through: so many at once, so many in any window of seconds."""

    concurrency: int
    rpw: int | None = None
    window_s: float = WINDOW_S
    n_refused: int = 0
    served_at: list[float] = field(default_factory=list)
    times: deque[float] = field(default_factory=deque)

    def wait_s(self) -> float:
        """Seconds until one more may come; 0 or less and it is let in."""
        now = time.monotonic()
        while self.times and self.times[0] + self.window_s <= now:
            self.times.popleft()
        if self.rpw is not None and len(self.times) >= self.rpw:
            return self.times[0] + self.window_s - now
        self.times.append(now)
        return 0.0


async def _serve(limits: Limits, pipe: Connection) -> None:
    """Speak as much HTTP as a chat completion needs, until the pipe says stop."""
    slots = asyncio.Semaphore(limits.concurrency)

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                wait = limits.wait_s()
                if wait > 0.0:
                    limits.n_refused += 1
                    status, body = b"429 Too Many Requests", b'{"error": {"message": "slow down"}}'
                    extra = b"retry-after: %.3f\r\n" % wait
                else:
                    async with slots:
                        await asyncio.sleep(LATENCY_S)
                    limits.served_at.append(time.monotonic())
                    status, body, extra = b"200 OK", _REPLY, b""
                head = b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n" % (status, extra, len(body))
                writer.write(head + b"content-type: application/json\r\n\r\n" + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0, backlog=256)
    pipe.send(server.sockets[0].getsockname()[1])
    await asyncio.to_thread(pipe.recv)
    pipe.send((limits.served_at, limits.n_refused))
    server.close()


def _run_server(limits: Limits, pipe: Connection) -> None:
    asyncio.run(_serve(limits, pipe))


@contextlib.contextmanager
def serving(limits: Limits) -> Iterator[tuple[str, dict[str, Any]]]:
    """A server in a process of its own: its URL, and what it did once the block is left."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run_server, args=(limits, theirs), daemon=True
    )
    sys.path.append(str(_ROOT))  # the process imports this module by its name
    try:
        process.start()
    finally:
        sys.path.remove(str(_ROOT))
    theirs.close()  # so that the end of the process is the end of the pipe
    seen: dict[str, Any] = {}
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1", seen
        ours.send("stop")
        seen["served_at"], seen["refused"] = ours.recv()
    finally:
        process.terminate()
        process.join()


def ask(url: str, n_rows: int, **options: object) -> None:
    """Label so many rows, in the batches that the engine makes."""
    import pyarrow as pa

    from thresher.oracles import Argument, Signature
    from thresher.oracles.context import Context
    from thresher.oracles.registry import create_oracle

    given: dict[str, Any] = {"url": url, "model": "m", "prompt": "Good? {text}", **options}
    signature = Signature((Argument("text", "VARCHAR"),), "BOOLEAN")
    oracle = create_oracle("openai", "o", signature, given, Context())
    rows, n_done = pa.table({"text": [f"row {i}" for i in range(n_rows)]}), 0
    while n_done < n_rows:
        batch = rows.slice(n_done, oracle.batch_size)
        if oracle.answer(batch).values.to_pylist() != [True] * batch.num_rows:
            raise RuntimeError("the answers are not the server's")
        n_done += batch.num_rows


def ask_barely(url: str, n_rows: int, concurrency: int) -> None:
    """Send as many requests through bare sockets, and look at no answer."""
    port = int(url.removesuffix("/v1").rpartition(":")[2])
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Good? row 1"}]})
    request = f"POST / HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    left = iter(range(n_rows))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()

    async def everyone() -> None:
        await asyncio.gather(*(worker() for _ in range(concurrency)))

    asyncio.run(everyone())


def at_once(n_rows: int, slots: int = SLOTS, concurrency: int = CONCURRENCY) -> dict[str, Any]:
    """A server that works on so many requests at a time; the first ones warm the client up.

    What bare sockets reach there says how much of the rest is the machine's doing.
    """
    limit = slots / LATENCY_S
    with serving(Limits(slots)) as (url, seen):
        ask_barely(url, n_rows, concurrency)
    bare = _figures(seen, 4 * concurrency, limit)
    with serving(Limits(slots)) as (url, seen):
        ask(url, n_rows, concurrency=concurrency)
    found = _figures(seen, 4 * concurrency, limit)
    return found | {
        "slots": slots,
        "concurrency": concurrency,
        "bare_sockets_share": bare["share"],
        "share_of_bare_sockets": round(found["requests_per_s"] / bare["requests_per_s"], 3),
    }


def by_the_window(per_window: int, told: bool, n_windows: int = WINDOWS) -> dict[str, Any]:
    """A server that takes so many requests in any window of time; the client is `told` or not.

    The first window's worth goes out at once; the rate is that from its last to the very last.
    """
    from thresher.oracles import rate_limit

    options = {"rpm": per_window} if told else {}
    before, rate_limit.WINDOW_S = rate_limit.WINDOW_S, WINDOW_S
    try:
        with serving(Limits(64, per_window, WINDOW_S)) as (url, seen):
            ask(url, per_window * n_windows, concurrency=CONCURRENCY, retries=20, **options)
    finally:
        rate_limit.WINDOW_S = before
    shown = {"per_window": per_window, "window_s": WINDOW_S, "told": told}
    return _figures(seen, per_window, per_window / WINDOW_S) | shown


def _figures(seen: dict[str, Any], n_before: int, limit: float) -> dict[str, Any]:
    """The rate by the server's clock, from one request before to the last."""
    times = seen["served_at"]
    rate = (len(times) - n_before) / (times[-1] - times[n_before - 1])
    return {
        "requests_per_s": round(rate, 1),
        "limit_per_s": round(limit, 1),
        "share": round(rate / limit, 3),
        "n_served": len(times),
        "n_refused": seen["refused"],
    }


def run(out: Path, n_rows: int = 3200) -> dict[str, Any]:
    """Measure all of it and write `http_client.json`."""
    from benchmarks.provenance import machine

    figures = {
        "machine": machine(),
        "latency_s": LATENCY_S,
        "goal_share": GOAL,
        "at_once": at_once(n_rows),
        "by_the_window": by_the_window(n_rows // 8, told=True),
        "by_the_window_untold": by_the_window(n_rows // 8, told=False),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "http_client.json").write_text(json.dumps(figures, indent=1) + "\n")
    for name in ("at_once", "by_the_window", "by_the_window_untold"):
        found = figures[name]
        print(
            f"{name}: {found['requests_per_s']:g} requests/s of {found['limit_per_s']:g}, share"
            f" {found['share']:g} (goal {GOAL:g}), {found['n_refused']} refused",
            flush=True,
        )
    print(f"bare sockets: share {figures['at_once']['bare_sockets_share']:g}", flush=True)
    return figures
