"""A real server on 127.0.0.1 that speaks chat completions, and fails where a test wants it to."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from thresher.oracles import rate_limit


@dataclass
class Reply:
    """What the server does with one request; `body` as it is sent."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    hang: bool = False


def said(content: str | None, *, usage: bool = True, **choice: object) -> Reply:
    """A completion that says this, of 10 tokens for a request of 100."""
    message = {"role": "assistant", "content": content}
    found: dict[str, Any] = {
        "choices": [{"message": message, "finish_reason": "stop", **choice}],
    }
    if usage:
        found["usage"] = {"prompt_tokens": 100, "completion_tokens": 10}
    return Reply(body=json.dumps(found))


def error(status: int, message: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps({"error": {"message": message}}), named)


@dataclass
class Request:
    """One request; `text` is the user's message and `attempt` counts those with that text."""

    body: dict[str, Any]
    headers: dict[str, str]
    text: str
    attempt: int


Behaviour = Callable[[Request], Reply]


class ChatServer:
    def __init__(self, behave: Behaviour) -> None:
        self.behave, self.requests = behave, list[Request]()
        self.n_running = self.n_most = 0
        self._lock, self._over, self._attempts = threading.Lock(), threading.Event(), Counter[str]()
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                chat.handle(self)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *args: object) -> None:
                pass  # clients that hang up are part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        assert handler.path == "/v1/chat/completions"
        text = body["messages"][-1]["content"]
        with self._lock:
            self._attempts[text] += 1
            request = Request(body, dict(handler.headers), text, self._attempts[text])
            self.requests.append(request)
            self.n_running += 1
            self.n_most = max(self.n_most, self.n_running)
        try:
            self._answer(handler, self.behave(request))
        finally:
            with self._lock:
                self.n_running -= 1

    def _answer(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.hang:
            self._over.wait(60)
        if reply.drop or reply.hang:
            handler.close_connection = True
            return
        sent = reply.body.encode()
        handler.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(sent))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(sent)

    @contextmanager
    def running(self) -> Iterator[ChatServer]:
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    @property
    def texts(self) -> list[str]:
        return [request.text for request in self.requests]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Behaviour], ChatServer]]:
    """Start servers; failed requests are sent again soon."""
    from contextlib import ExitStack

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(rate_limit, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(rate_limit, "LONGEST_WAIT_S", 0.05)
    with ExitStack() as stack:
        yield lambda behave: stack.enter_context(ChatServer(behave).running())
