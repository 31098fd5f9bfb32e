"""What a model behind a URL says that is no answer: no label, no false, nothing in the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import Behaviour, ChatServer, Reply, Request, error, said, serve

import thresher
from thresher.errors import OracleError

__all__ = ["serve"]

Serve = Callable[[Behaviour], ChatServer]
BAD = ["perhaps", "", "yes and no", '{"answer": null}', '{"verdict": "no"}', "I can't say.", None]


def about_seven(request: Request, reply: Reply) -> Reply:
    """This reply where film 7 is asked about, alone or with others; else the right answers."""
    lines = [json.loads(x) for x in request.text.split("\n") if x.startswith('{"id"')]
    if "film 7?" in request.text and not lines:
        return reply
    answers = {x["id"]: "yes" for x in lines if "film 7?" not in x["request"]}
    return said(json.dumps(answers or {"answer": "yes"}))


@pytest.mark.parametrize("rows_per_prompt", [1, 4])
@pytest.mark.parametrize("reply", [*map(said, BAD), error(500, "down"), Reply(body="{}")])
def test_a_bad_answer_is_never_stored_and_never_a_no(
    serve: Serve, tmp_path: Path, reply: Reply, rows_per_prompt: int
) -> None:
    server = serve(lambda request: about_seven(request, reply))
    with thresher.connect(str(tmp_path / "t.duckdb")) as con:
        con.execute(
            "CREATE TABLE films AS SELECT i AS id, 'film ' || i AS text FROM range(12) r(i)"
        )
        con.execute(
            f"CREATE ORACLE good(text VARCHAR) RETURNS BOOLEAN USING openai WITH (url ="
            f" '{server.url}', model = 'm', prompt = 'Is it good, {{text}}?', concurrency = 1,"
            f" retries = 1, rows_per_prompt = {rows_per_prompt})"
        )
        query = "SELECT id FROM films WHERE NOT good(text)"
        with pytest.raises(OracleError, match=r"film 7'.*no usable answer"):
            con.execute(query)
        stored = con.execute("SELECT count(*), count(DISTINCT answer) FROM thresher_labels()")
        n_stored, n_answers = stored.fetchall()[0]
        assert n_stored <= 11
        assert n_answers <= 1, "all others are a yes"
        server.behave = lambda request: about_seven(request, said('{"answer": "no"}'))
        assert con.execute(query).fetchall() == [(7,)]
        labels = con.execute("SELECT count(*) FROM thresher_labels() GROUP BY answer ORDER BY 1")
        assert labels.fetchall() == [(1,), (11,)]
