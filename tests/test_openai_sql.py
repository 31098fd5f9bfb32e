"""``CREATE ORACLE ... USING openai``: from SQL to a certificate over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chat_server import Behaviour, ChatServer, Reply, Request, error, said, serve

import thresher
from tests_support import make_table
from thresher.dbapi import Connection
from thresher.errors import OracleError
from thresher.oracles.options import OptionError

__all__ = ["serve"]

Serve = Callable[[Behaviour], ChatServer]
KEY = "sk-test-4711-very-secret"
RECALL = (
    "SELECT id FROM films WHERE is_good(text) USING score RECALL TARGET 80% ORACLE LIMIT 200 SEED 1"
)


def behave(request: Request) -> Reply:
    """One first try in four fails; "good" in the text means yes."""
    if request.attempt == 1 and len(request.text) % 4 == 0:
        return error(429, "slow down", retry_after="0")
    return said("yes" if "good fine" in request.text else "no")


def connect(folder: Path, url: str) -> tuple[Connection, np.ndarray]:
    found, truth = make_table(600, seed=5)
    texts = [f"{text} {i}" for i, text in enumerate(found["text"].to_pylist())]
    found = found.set_column(found.column_names.index("text"), "text", [texts])
    con = thresher.connect(str(folder / "films.duckdb"), labels=str(folder / "labels.sqlite"))
    con.connection.register("arrow_films", found)
    con.execute("CREATE TABLE films AS SELECT * FROM arrow_films")
    con.connection.unregister("arrow_films")
    con.execute(
        f"CREATE ORACLE is_good(text VARCHAR) RETURNS BOOLEAN USING openai WITH (url = '{url}', "
        "model = 'tiny', prompt = 'Good? {text}', usd_per_mtok = 2, api_key_env = 'TEST_KEY', "
        "concurrency = 8, retries = 2)"
    )
    return con, truth


def n_rows_of(server: ChatServer) -> int:
    """Rows that were asked, in whatever words."""
    return len({text.split("\n\n")[0] for text in server.texts})


def test_a_recall_query(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    server = serve(behave)
    con, truth = connect(tmp_path, server.url)
    with con:
        cursor = con.execute(RECALL)
        rows = [row[0] for row in cursor.fetchall()]
        certificate = cursor.certificate
        assert certificate is not None
        assert certificate.verify()
        assert truth[rows].sum() >= 0.8 * truth.sum()
        answered = [r for r in server.requests if r.attempt == 2 or len(r.text) % 4]
        assert 0 < certificate.n_labels == len(answered) <= 200
        assert len({request.text for request in server.requests}) == len(answered)
        assert len(answered) < len(server.requests)
        assert certificate.cost_usd == pytest.approx(len(answered) * 110 * 2 / 1e6, rel=1e-9)
        n_requests = len(server.requests)
        assert [row[0] for row in con.execute(RECALL).fetchall()] == rows
        assert len(server.requests) == n_requests, "labels in the store are not bought again"
        shown = [
            certificate.to_json(),
            json.dumps(con.execute("DESCRIBE ORACLE is_good").fetchall()),
        ]
        assert not [text for text in shown if KEY in text]
    assert all(r.headers["Authorization"] == f"Bearer {KEY}" for r in server.requests)
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(files) >= 2
    assert not [content for content in files if KEY.encode() in content]


def test_a_failure_keeps_the_labels_before_it(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    server = serve(behave)
    server.behave = lambda request: (
        behave(request) if len(server.requests) < 100 else said(f"no idea, {KEY}")
    )
    con, _ = connect(tmp_path, server.url)
    with con:
        with pytest.raises(
            OracleError, match=r"row \d+ of the batch .*'no idea, \[key\]'"
        ) as caught:
            con.execute(RECALL)
        assert KEY not in str(caught.value)
        assert "is_good(text)" in str(caught.value), "the place in the statement is shown"
        stored = con.execute(
            "SELECT count(*), count(*) FILTER (answer = 'true') FROM thresher_labels()"
        )
        n_stored, n_true = stored.fetchall()[0]
        assert caught.value.spent == n_stored > 0
        n_asked = n_rows_of(server)
        server.behave = behave
        certificate = con.execute(RECALL).certificate
        assert certificate is not None
        assert certificate.n_labels + n_stored <= 200
        assert n_rows_of(server) <= max(200, n_asked)


def test_a_key_in_the_statement_is_not_shown(tmp_path: Path) -> None:
    con = thresher.connect()
    with con, pytest.raises(OptionError) as caught:
        con.execute(
            "CREATE ORACLE o(text VARCHAR) RETURNS BOOLEAN USING openai WITH (url = 'http://h/v1', "
            f"model = 'm', prompt = '{{text}}', api_key_env = '{KEY}')"
        )
    assert KEY not in str(caught.value)
