"""Many requests to a chat server under one key: at once, in order of price and limits."""

from __future__ import annotations

import functools
import os
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from thresher.errors import InterfaceError, OracleError
from thresher.oracles.chat import ChatServer, Reply, run_apart, work_off
from thresher.oracles.protocols import Usage
from thresher.oracles.rate_limit import RateLimit, traffic_to

if TYPE_CHECKING:
    import httpx

__all__ = ["LETTERS_PER_TOKEN", "Asker", "Line", "Terms"]

T = TypeVar("T")
LETTERS_PER_TOKEN = 4.0
"""Of English text, by the rule of thumb."""
# Lines stand idle at the end of a batch and are opened anew; what was answered is to be kept soon.
_BATCH_S, _LEAST_ROUNDS, _MOST_ROUNDS = 2.0, 4, 64


@dataclass(frozen=True, slots=True)
class Terms:
    """Where one asks, what one pays and how fast one may ask; only `url` can change an answer.

    Parameters
    ----------
    url : str
        ``https://host/v1/chat/completions``.
    concurrency : int
        Most requests under way.
    rpm, tpm : int or None
        Most requests and tokens of a minute, of all that this process asks under the same key.
    timeout_s : float
        Longest time of one request in seconds.
    retries : int
        How often a request is sent again.
    usd_per_token : (float, float) or None
        Of a request and of a reply; None where nothing is paid.
    key_variable : str or None
        The environment variable that holds the key; None for no key.
    """

    url: str
    concurrency: int
    rpm: int | None
    tpm: int | None
    timeout_s: float
    retries: int
    usd_per_token: tuple[float, float] | None
    key_variable: str | None


@functools.lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted; to read them takes longer than a request."""
    import httpx

    return httpx.create_ssl_context()


class Line:
    """A connection to the server, for one request at a time."""

    def __init__(self, asker: Asker, client: httpx.AsyncClient, server: ChatServer) -> None:
        self._asker, self._client, self._server = asker, client, server

    async def ask(
        self, body: Callable[[int], Mapping[str, object]], n_out: int, read: Callable[[Reply], T]
    ) -> T:
        """Return what `read` makes of the reply; every reply is counted as paid.

        Parameters
        ----------
        body : callable
            Gives the request after so many bad answers, from 0.
        n_out : int
            Most tokens of the reply.
        read : callable
            May raise `BadAnswerError`.

        Raises
        ------
        RefusedError, OracleError
            As for `ChatServer.ask`.
        """
        # UTF-8 has about three bytes a token or more, in most scripts.
        text = str(body(0).get("messages")).encode(errors="replace")

        def paid(reply: Reply) -> T:
            self._asker.count(reply)
            return read(reply)

        return await self._server.ask(self._client, body, len(text) // 3 + 1 + n_out, paid)


Job = Callable[[Line], Coroutine[None, None, None]]


class Asker:
    """Asks a server under one key, and counts what is owed for it.

    Parameters
    ----------
    who : str
        Name for messages.
    terms : Terms
        Where and how.
    """

    def __init__(self, who: str, terms: Terms) -> None:
        self._who, self._terms = who, terms
        self._used, self._jobs_per_s = Usage(), 0.0

    @property
    def batch_jobs(self) -> int:
        """How many jobs are about two seconds of work by the last pace; a few for each line."""
        rounds = _BATCH_S * self._jobs_per_s / self._terms.concurrency
        return int(min(max(rounds, _LEAST_ROUNDS), _MOST_ROUNDS)) * self._terms.concurrency

    def settled(self) -> Usage:
        """Return what the replies since this was last called took."""
        used, self._used = self._used, Usage()
        return used

    def count(self, reply: Reply) -> None:
        """Add a reply to what is owed.

        Raises
        ------
        OracleError
            If there is a price and the server does not count tokens.
        """
        price, used = self._terms.usd_per_token, self._used
        if reply.n_input is None or reply.n_output is None:
            self._used = replace(used, requests=used.requests + 1, tokens=None)
            if price is None:
                return
            raise OracleError(
                "the server does not say how many tokens it counted, so that usd_per_mtok gives"
                " no price. Leave usd_per_mtok out"
            )
        n_in, n_out = reply.n_input, reply.n_output
        self._used = Usage(
            used.requests + 1,
            None if used.tokens is None else (used.tokens[0] + n_in, used.tokens[1] + n_out),
            used.cost_usd + (0.0 if price is None else price[0] * n_in + price[1] * n_out),
        )

    def work_off(self, jobs: Sequence[Job]) -> None:
        """Do jobs, so many at once as the terms allow; after one fails no other begins.

        Raises
        ------
        InterfaceError
            If the environment variable with the key is not set.
        OracleError
            That of the first job that failed; the key is cut out of its text.
        """
        key, began = self._key(), time.monotonic()
        try:
            run_apart(partial(self._work_off, key, jobs))
        except OracleError as error:
            # A server may quote what it was sent.
            text = error.message if key is None else error.message.replace(key, "[key]")
            raise OracleError(text) from None
        self._jobs_per_s = len(jobs) / max(time.monotonic() - began, 1e-3)

    async def _work_off(self, key: str | None, jobs: Sequence[Job]) -> None:
        import httpx

        terms = self._terms
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        limit = RateLimit(terms.rpm, terms.tpm, traffic=traffic_to(terms.url, key))
        server = ChatServer(terms.url, limit, terms.timeout_s, terms.retries)
        async with AsyncExitStack() as stack:
            lines = []
            for _ in range(min(terms.concurrency, len(jobs))):
                # A pool of one: httpx looks at all connections of a pool for every request.
                client = httpx.AsyncClient(
                    headers=headers, timeout=terms.timeout_s, verify=_trusted()
                )
                lines.append(Line(self, await stack.enter_async_context(client), server))
            await work_off(jobs, lines)

    def _key(self) -> str | None:
        """The key, fresh from the environment."""
        name = self._terms.key_variable
        if name is None:
            return None
        key = os.environ.get(name, "").strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            what = "holds no usable key" if key else "is not set"
            raise InterfaceError(
                f"{self._who}: the environment variable {name} {what}. Set it to the key of"
                f" {self._terms.url}, or leave api_key_env out where no key is needed."
            )
        return key
