"""Requests to a chat server: sent many at once, and again where a failure may pass."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from thresher.errors import OracleError
from thresher.oracles.chat_answers import BadAnswerError
from thresher.oracles.rate_limit import RateLimit, backoff_s, retry_after_s

if TYPE_CHECKING:
    import httpx

__all__ = ["ChatServer", "RefusedError", "Reply", "run_apart", "shortened", "work_off"]

T = TypeVar("T")
W = TypeVar("W")
_PASSING = frozenset({408, 409, 429})
_LONGEST_HOLD_S = 600.0
_BAD_ANSWERS = 3  # a model that gave so many for one row will hardly do better the next time


class RefusedError(Exception):
    """The server refuses a request for good: `status` and what it says."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(f"the server answers {status}: {message}")


class _PassingError(Exception):
    """A request failed in a way that may pass."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Parameters
    ----------
    content : str
        What the model said.
    tokens : tuple of mapping
        ``token`` and ``logprob`` of its tokens; empty where the server gives none.
    n_input, n_output : int or None
        Tokens of the request and of the reply, as the server counts them.
    cut : bool
        Whether the reply ended because it was too long.
    """

    content: str
    tokens: tuple[Mapping[str, object], ...]
    n_input: int | None
    n_output: int | None
    cut: bool


class ChatServer:
    """A server that speaks the chat completions protocol.

    Parameters
    ----------
    url : str
        Where requests go, ``https://host/v1/chat/completions``.
    limit : RateLimit
        Holds requests back.
    timeout_s : float
        Longest time of one request in seconds, from connecting to the last byte.
    retries : int
        How often a request is sent again.
    """

    def __init__(self, url: str, limit: RateLimit, timeout_s: float, retries: int) -> None:
        self._url, self._limit, self._retries = url, limit, retries
        self._timeout_s = timeout_s
        self._rng = random.Random()

    async def ask(
        self,
        client: httpx.AsyncClient,
        body: Callable[[int], Mapping[str, object]],
        n_tokens: int,
        read: Callable[[Reply], T],
    ) -> T:
        """Return what `read` makes of the reply.

        Parameters
        ----------
        client : httpx.AsyncClient
            With the headers that the server asks for.
        body : callable
            Gives the request after so many bad answers, from 0.
        n_tokens : int
            About how many tokens request and reply have together, for the limit by the minute.
        read : callable
            May raise `BadAnswerError`; then the request is sent again, twice at most.

        Raises
        ------
        RefusedError
            The server refuses the request.
        OracleError
            There was no usable reply in all tries; the text says what came in the last one.
        """
        n_bad = 0
        for n_failures in itertools.count(1):
            try:
                return read(await self._send(client, body(n_bad), n_tokens))
            except BadAnswerError as error:
                failure: Exception = error
                n_bad += 1
                wait_s = 0.0
            except _PassingError as error:
                failure, wait_s = error, backoff_s(n_failures, self._rng)
            if n_failures > self._retries or n_bad == _BAD_ANSWERS:
                tries = f"{n_failures} tries" if n_failures > 1 else "one try"
                raise OracleError(f"no usable answer in {tries}; in the last, {failure}")
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _send(
        self, client: httpx.AsyncClient, body: Mapping[str, object], n_tokens: int
    ) -> Reply:
        """Send a request once."""
        import httpx

        sent = await self._limit.acquire(n_tokens)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await client.post(self._url, json=body)
        except (TimeoutError, httpx.TimeoutException):
            raise _PassingError(f"nothing came within {self._timeout_s:g} seconds") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _PassingError(
                f"the connection failed ({type(error).__name__}: {error})"
            ) from None
        if response.status_code == 429:
            self._limit.forget(sent)
        if response.status_code != 200:
            self._refuse(response)
        reply = _reply(response.text)
        if reply.n_input is not None and reply.n_output is not None:
            sent.n_tokens = reply.n_input + reply.n_output
        return reply

    def _refuse(self, response: httpx.Response) -> None:
        """Raise the error for a status other than 200."""
        status, message = response.status_code, _message(response.text)
        passing = status in _PASSING or status >= 500
        if not passing or "insufficient_quota" in response.text:
            raise RefusedError(status, message)
        seconds = retry_after_s(response.headers)
        if seconds is not None:
            if seconds > _LONGEST_HOLD_S:
                raise RefusedError(status, f"{message} (it asks to wait {seconds:,.0f} seconds)")
            self._limit.hold(seconds)
        raise _PassingError(f"the server answered {status}: {message}")


def shortened(text: str, limit: int = 200) -> str:
    """Return a text in quotes, cut where it is long."""
    shown = repr(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


def _message(text: str) -> str:
    """What the body of an error says."""
    try:
        found = json.loads(text)
        error = found.get("error", found.get("message", found.get("detail")))
        message = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        message = None
    return shortened(message if isinstance(message, str) else text)


def _reply(text: str) -> Reply:
    try:
        found = json.loads(text)
        choice = found["choices"][0]
        content = choice["message"].get("content")
        usage = found.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        tokens = (choice.get("logprobs") or {}).get("content") or ()
        cut = choice.get("finish_reason") == "length"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _PassingError(f"what came is no chat completion: {shortened(text)}") from None
    if not isinstance(content, str):
        content = ""
    n_input, n_output = (n if isinstance(n, int) and n >= 0 else None for n in counts)
    mappings = tuple(token for token in tokens if isinstance(token, dict))
    return Reply(
        content, cast("tuple[Mapping[str, object], ...]", mappings), n_input, n_output, cut
    )


async def work_off(
    jobs: Sequence[Callable[[W], Coroutine[None, None, None]]], workers: Sequence[W]
) -> None:
    """Run jobs in order, one at a time for each worker; after one fails no other begins.

    Parameters
    ----------
    jobs : sequence of callable
        Each gets the worker that is free.
    workers : sequence
        Whatever a job needs one of.

    Raises
    ------
    OracleError
        That of the first job, in their order, that failed; after those that had begun are done.
    """
    waiting = iter(enumerate(jobs))
    failed: list[tuple[int, OracleError]] = []

    async def work(worker: W) -> None:
        for number, job in waiting:
            try:
                await job(worker)
            except OracleError as error:
                failed.append((number, error))
            if failed:
                return

    async with asyncio.TaskGroup() as group:
        for worker in workers[: len(jobs)]:
            group.create_task(work(worker))
    if failed:
        raise min(failed, key=lambda pair: pair[0])[1]


def run_apart(job: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run a coroutine in a thread of its own, since the caller's may have a loop that runs.

    When the caller is interrupted, the coroutine is cancelled.
    """
    stop: Future[None] = Future()
    with ThreadPoolExecutor(1, "thresher-oracle") as pool:
        try:
            return pool.submit(asyncio.run, _until(job(), stop)).result()
        finally:
            stop.cancel()


async def _until(job: Coroutine[None, None, T], stop: Future[None]) -> T:
    """Await a coroutine; cancel it when `stop` is cancelled."""
    task, stopped = asyncio.ensure_future(job), asyncio.wrap_future(stop)
    both: set[asyncio.Future[Any]] = {task, stopped}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        task.cancel()
    return await task
