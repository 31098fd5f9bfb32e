"""Options of models behind a URL: the server, the key, the pace, the price."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from thresher.oracles.chat_asking import Terms
from thresher.oracles.options import Option, OptionError, Options

__all__ = ["SERVER_OPTIONS", "server_url", "terms_of"]

SERVER_OPTIONS = {
    "url": Option("text", required=True),
    "model": Option("text", required=True),
    "prompt": Option("text", required=True),
    "system": Option("text"),
    "yes": Option("text"),
    "no": Option("text"),
    "rpm": Option("count"),
    "tpm": Option("count"),
    "concurrency": Option("count"),
    "timeout": Option("number"),
    "retries": Option("count"),
    "usd_per_mtok": Option("number"),
    "usd_per_mtok_input": Option("number"),
    "usd_per_mtok_output": Option("number"),
    "api_key_env": Option("text"),
}
_CONCURRENCY, _TIMEOUT_S, _RETRIES = 16, 120.0, 6


class _UnshownError(OptionError):
    """An error about an option that may hold a key: the statement is not shown."""

    def at(self, sql: str, offset: int, length: int = 1) -> OptionError:  # noqa: ARG002
        """Return the error as it is."""
        return self


def server_url(options: Options) -> str:
    """Return where the requests go.

    Raises
    ------
    OptionError
        If ``url`` is none, or holds what may be a key.
    """
    written = options.text("url") or ""
    try:
        parts = urlsplit(written)
        host = parts.hostname if parts.port != 0 else None  # a wrong port is a ValueError
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise options.error(
            f"{written!r} is no URL of a server. Write url = 'http://localhost:8000/v1'.", "url"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        error = _UnshownError(
            f"{options.who}: the url may hold no user, no password and no '?...': they would be"
            " kept with the declaration. Put a key into an environment variable and name it with"
            " api_key_env."
        )
        error.option = "url"
        raise error
    base = written.rstrip("/").removesuffix("/chat/completions")
    return f"{base}/chat/completions"


def terms_of(options: Options) -> Terms:
    """Return where one asks, at what price and how fast.

    Raises
    ------
    OptionError
        If a number is out of its range, or ``api_key_env`` is no name of a variable.
    """
    for name in ("timeout", "usd_per_mtok", "usd_per_mtok_input", "usd_per_mtok_output"):
        value = options.number(name, 1.0)
        if not 0.0 <= value < float("inf") or (name == "timeout" and value == 0.0):
            raise options.error(f"option '{name}' cannot be {value:g}.", name)
    both = options.number("usd_per_mtok", 0.0)
    prices = [options.number(f"usd_per_mtok_{name}", both) / 1e6 for name in ("input", "output")]
    variable = options.text("api_key_env")
    if variable is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        error = _UnshownError(
            f"{options.who}: api_key_env must be the name of an environment variable, such as"
            " 'OPENAI_API_KEY', and not the key: declarations are kept in the database."
        )
        error.option = "api_key_env"
        raise error
    return Terms(
        url=server_url(options),
        concurrency=options.count("concurrency", _CONCURRENCY),
        rpm=options.count("rpm", 0) or None,
        tpm=options.count("tpm", 0) or None,
        timeout_s=options.number("timeout", _TIMEOUT_S),
        retries=options.count("retries", _RETRIES),
        usd_per_token=(prices[0], prices[1]) if any(prices) else None,
        key_variable=variable,
    )
