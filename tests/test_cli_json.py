"""Every command as programs meet it: one JSON document on standard output, exit codes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from tests_support_cli import QUERY, SETUP, document, thresher

import thresher as driver
from thresher.oracles.human_queue import Queue, Task
from thresher.stored_proxies import Check, TrainedRecord, keep_check, keep_trained

FAILURE = {"type", "message", "note", "line", "column", "spent", "exit_code"}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with two certificates, a recall target's the first."""
    path = tmp_path_factory.mktemp("films") / "films.duckdb"
    with driver.connect(path) as con:
        con.execute(SETUP)
        con.execute(QUERY)
        con.execute("SELECT id FROM films WHERE is_good(id) AND id < 50")
    return path


def test_query(db: Path) -> None:
    found = document("query", "--db", db, QUERY)
    assert set(found) == {"columns", "rows", "n_changed", "certificates"}
    assert found["columns"] == [
        {"name": "id", "type": "BIGINT"},
        {"name": "title", "type": "VARCHAR"},
    ]
    (certificate,) = found["certificates"]
    assert certificate["n_returned"] == len(found["rows"])
    assert found["rows"][0] == {"id": found["rows"][0]["id"], "title": found["rows"][0]["title"]}
    assert found["n_changed"] is None


def test_query_of_a_script_and_of_changes(tmp_path: Path) -> None:
    found = document("query", "CREATE TABLE t (i INT); INSERT INTO t VALUES (1), (2)")
    assert found == {"columns": [], "rows": [], "n_changed": 2, "certificates": []}
    out = tmp_path / "x.json"
    done = thresher("query", "SELECT 'é' AS a, [1] AS b, NULL AS c", "--json", "-o", out)
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(out.read_text())["rows"] == [{"a": "é", "b": [1], "c": None}]


def test_a_script_tells_the_certificates_of_all_its_statements(db: Path) -> None:
    found = document(
        "query", "--db", db, f"{QUERY}; SELECT id FROM films WHERE is_good(id) AND id < 50"
    )
    assert [one["grade"] for one in found["certificates"]] == ["distribution-free", "exact"]


@pytest.mark.parametrize(
    ("sql", "code", "kind"),
    [
        ("SELECT 1;\nSELECT id FROM films\nWHERE is_god(id)", 1, "ProgrammingError"),
        ("SELECT CASE WHEN i > 90000 THEN error('late') END FROM range(99999) r(i)", 1, None),
        (
            "SELECT id FROM films WHERE is_good(id) USING score RECALL TARGET 99.9% "
            "ORACLE LIMIT 9 ON SHORTFALL FAIL",
            3,
            "ShortfallError",
        ),
        (
            "SET thresher_oracle_limit = 10; SELECT id FROM films WHERE is_good(id)",
            4,
            "BudgetError",
        ),
    ],
)
def test_a_failure_is_a_document_too(db: Path, sql: str, code: int, kind: str | None) -> None:
    found = document("query", "--db", db, "--labels", "none", sql, code=code)
    assert set(found) == {"error"}
    assert set(found["error"]) == FAILURE
    assert found["error"]["exit_code"] == code
    assert kind in (None, found["error"]["type"])
    if kind == "ProgrammingError":
        assert (found["error"]["line"], found["error"]["column"]) == (3, 7)
    if kind == "ShortfallError":
        assert found["error"]["spent"] == 9
        assert "9 labels were bought" in found["error"]["note"]


def test_an_interruption_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stops.py").write_text("def stop(ids):\n    raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    sql = """CREATE TEMP ORACLE stops(id BIGINT) RETURNS BOOLEAN
        USING python WITH (function = 'stops:stop'); SELECT i FROM range(99) r(i) WHERE stops(i)"""
    found = document("query", sql, code=130)["error"]
    assert (found["type"], found["note"]) == ("Interrupted", "No label was bought.")
    monkeypatch.setattr("thresher.demo.run", mock.Mock(side_effect=KeyboardInterrupt))
    assert "goes on from here" in document("demo", code=130)["error"]["note"]
    monkeypatch.setattr("thresher.doctor.examine", mock.Mock(side_effect=KeyboardInterrupt))
    assert document("doctor", code=130)["error"]["exit_code"] == 130


def test_explain(db: Path) -> None:
    sql = """SET thresher_probability = 0.9;
        SELECT id FROM films WHERE is_good(id) USING score RECALL TARGET .8"""
    before = document("certificates", "--db", db)
    (block,) = document("explain", "--db", db, sql)["blocks"]
    assert set(block) >= {"query", "understood", "plan", "delta", "outlook"}
    assert "0.9" in block["plan"]["needs"][0]["text"]
    assert document("certificates", "--db", db) == before
    found = document("explain", "SELECT 1")
    assert (found["blocks"], found["then"]) == ([], "SELECT 1")
    assert found["duckdb"][0]["name"]
    failed = document("explain", "--db", db, "SELECT id\nFROM films WHERE is_god(id)", code=1)
    assert (failed["error"]["line"], failed["error"]["column"]) == (2, 18)


def test_explain_leaves_no_trace(tmp_path: Path) -> None:
    with driver.connect(tmp_path / "x.duckdb", labels=None) as con:
        con.execute(SETUP)
    document("explain", "--db", tmp_path / "x.duckdb", QUERY)
    assert [path.name for path in tmp_path.iterdir()] == ["x.duckdb"]


def test_explain_of_what_writes(db: Path, tmp_path: Path) -> None:
    insert = "INSERT INTO films BY NAME SELECT id FROM films WHERE is_good(id)"
    assert document("explain", "--db", db, insert)["blocks"]
    for sql in ("CREATE TABLE t AS SELECT 1", "DELETE FROM films"):
        failed = document("explain", "--db", db, sql, code=1)["error"]
        assert "explain the query inside it" in failed["message"]
        assert document("explain", f"ATTACH '{db}' AS f (READ_ONLY); FROM f.films")["duckdb"]
    assert document("explain", "((SELECT 1) UNION (SELECT 2))")["duckdb"]
    made = tmp_path / "made.duckdb"
    assert thresher("explain", f"ATTACH '{made}'; SELECT 1").returncode == 2
    assert not made.exists()
    before = document("query", "--db", db, "SELECT sum(n_labels) AS n FROM thresher_spend()")
    assert thresher("explain", "--db", db, f"ANALYZE {QUERY.replace('7', '8')}").returncode == 2
    assert thresher("explain", "--db", db, "(ANALYZE) SELECT is_good(7)").returncode == 2
    after = document("query", "--db", db, "SELECT sum(n_labels) AS n FROM thresher_spend()")
    assert after == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["explain", "CREATE TABLE t (i INT); SELECT 1"], "only SET, RESET, USE"),
        (["explain", "EXPLAIN SELECT 1"], "leave EXPLAIN out"),
        (["explain", "ANALYZE SELECT 1"], "leave ANALYZE out"),
        (["explain", "/* a plan */ analyze SELECT 1"], "leave ANALYZE out"),
        (["explain", "(ANALYZE) SELECT 1"], "options of EXPLAIN have no place here"),
        (["explain", '(FORMAT json, "analyze") SELECT 1'], "options of EXPLAIN"),
        (["explain", "ATTACH 'made.duckdb'; SELECT 1"], "write ATTACH ... (READ_ONLY)"),
        (["explain", "ATTACH 'made.duckdb' (READ_ONLY false); SELECT 1"], "(READ_ONLY)"),
        (["explain", "ATTACH 'made.duckdb' (READ_ONLY, READ_WRITE); SELECT 1"], "(READ_ONLY)"),
        (["explain", "SET VARIABLE v = (SELECT 1); SELECT 1"], "a value of SET has no brackets"),
        (["explain", "CREATE TEMP ORACLE x(i INT) RETURNS INT"], "CREATE ORACLE cannot be expl"),
        (["explain", "SHOW ORACLES"], "SHOW ORACLES cannot be explained: explain takes a query"),
        (["explain", "DROP TABLE t"], "DROP cannot be explained: explain takes a query"),
        (["explain", " "], "holds no statement"),
        (["explain", "--db", "absent.duckdb", "SELECT 1"], "there is no database absent.duckdb"),
        (["query", "--json", "--format", "csv", "SELECT 1"], "not allowed with"),
        (["query", "--no-prog", "SELECT 1"], "unrecognized option --no-prog. Did you mean"),
        (["oracles"], "required: --db"),
        (["certificates", "--db", "absent"], "there is no label store absent.labels"),
        (["certificates", "--labels", __file__, "a", "b"], "write one ID, or: verify ID"),
        (["certificates", "--labels", __file__, ""], "the ID is empty"),
        (["certificates", "--labels", __file__, "verify", ""], "the ID is empty"),
        (["certificates", "--labels", __file__, "9e", "verify"], "verify 9e"),
        (["report", "--db", "absent"], "required: -o/--output"),
        (["report", "--db", "absent", "", "-o", "x.html"], "the ID is empty"),
        (["report", "--db", "absent", "-o", "x.pdf"], "a report is HTML: x.pdf must end in .html"),
        (["extension"], "write path or sql, or --json for both"),
        (["labels", "gc", "--labels", "x", "--older-than", "y"], "a number of days, 0 or more"),
        (["completion", "tcsh"], "invalid choice"),
    ],
)
def test_wrong_usage(args: list[str], message: str) -> None:
    done = thresher(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_oracles(db: Path) -> None:
    found = document("oracles", "--db", db)
    assert found == {
        "oracles": [
            {
                "name": "is_good",
                "kind": "oracle",
                "provider": "column",
                "arguments": [{"name": "id", "type": "BIGINT"}],
                "returns": "BOOLEAN",
                "options": {"table": "truth", "key": "id", "value": "good"},
                "sql": SETUP[SETUP.index("CREATE ORACLE") :].strip().rstrip(";"),
            }
        ],
        "proxies": [],
    }
    one = document("oracles", "--db", db, "IS_GOOD")["oracle"]
    assert {name: one[name] for name in found["oracles"][0]} == found["oracles"][0]
    assert set(one) - set(found["oracles"][0]) == {"version"}
    failed = document("oracles", "--db", db, "is_god", code=1)
    assert "Did you mean 'is_good'?" in failed["error"]["message"]


DECLARED = """
CREATE ORACLE stars(id BIGINT) RETURNS DOUBLE
    USING column WITH (table = 'films', key = 'id', value = 'score', minimum = 0, maximum = 1e999);
CREATE PROXY fast FOR is_good USING column WITH (table = 'films', key = 'id', value = 'score');
"""


def test_proxies_with_their_options_and_what_queries_have_trained(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with driver.connect(path) as con:
        con.execute(SETUP)
        con.execute(DECLARED)
        file = con._session.store.file
        for sha256, auc in (("a", 0.75), ("b", 0.5)):
            made = TrainedRecord("q", "id", "good_tfidf", {"is_good": "v"}, 70, auc, sha256, b"")
            keep_trained(file, made)
        for run, drifted in (("r1", False), ("r2", True)):
            keep_check(file, Check("b", run, 20, None, 0.125, drifted))
    found = document("oracles", "--db", path)
    assert found["oracles"][1]["options"] == {
        "table": "films",
        "key": "id",
        "value": "score",
        "minimum": 0,
        "maximum": "inf",  # which is no number of JSON
    }
    fast, learnt = found["proxies"]
    assert (fast["kind"], fast["oracles"], fast["trained"]) == ("proxy", ["is_good"], None)
    assert fast["sql"].startswith("CREATE PROXY fast")
    assert (learnt["name"], learnt["provider"], learnt["sql"]) == ("good_tfidf", "tfidf", None)
    assert document("oracles", "--db", path, "Good_TFIDF") == {"proxy": learnt}
    trained = learnt["trained"]
    assert datetime.fromisoformat(trained.pop("made_at")).utcoffset() == timedelta(0)
    check = {"n_labels": 20, "auc": None, "shift": 0.125}
    assert trained == {
        "from": None,
        "n_labels": 70,
        "auc": 0.5,
        "checks": [
            {"certificate": "r2", **check, "drifted": True},
            {"certificate": "r1", **check, "drifted": False},
        ],
    }


def test_a_proxy_that_its_declaration_has_trained(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with driver.connect(path) as con:
        con.execute(SETUP)
        con.execute("CREATE TABLE told AS SELECT title, good FROM films JOIN truth USING (id)")
        con.execute(
            "CREATE ORACLE praised(title VARCHAR) RETURNS BOOLEAN "
            "USING column WITH (table = 'told', key = 'title', value = 'good')"
        )
        con.execute("CREATE PROXY words FOR praised USING tfidf TRAINED FROM (FROM told LIMIT 60)")
    (found,) = document("oracles", "--db", path)["proxies"]
    trained = found["trained"]
    assert (found["name"], found["oracles"], trained["made_at"]) == ("words", ["praised"], None)
    assert "FROM told" in trained["from"]
    assert (trained["n_labels"], trained["checks"]) == (60, [])
    assert 0 <= trained["auc"] <= 1


def test_certificates(db: Path) -> None:
    listed = document("certificates", "--db", db)["certificates"]
    assert set(listed[0]) == {
        *("id", "made_at", "summary", "sql", "grade", "met"),
        *("n_rows", "n_returned", "n_labels", "n_reused", "cost_usd"),
    }
    first = listed[0]["id"]
    one = document("certificates", "--db", db, first[:5])["certificate"]
    assert (one["id"], one["targets"]["recall"]) == (first, 0.8)
    assert document("certificates", "--db", db, "last")["certificate"]["id"] == listed[-1]["id"]
    verified = document("certificates", "--db", db, "verify", first)
    assert (verified["id"], verified["ok"]) == (first, True)
    assert set(verified["checks"][0]) == {"name", "claimed", "recomputed", "ok", "explanation"}
    failed = document("certificates", "--db", db, "zzz", code=1)
    assert "thresher certificates" in failed["error"]["message"]


def test_a_certificate_that_claims_too_much_fails(db: Path, tmp_path: Path) -> None:
    from thresher.labels import LabelStore

    with driver.connect(db) as con:
        first = con.execute("SHOW CERTIFICATES").fetchall()[0][0]
    store, other = LabelStore(f"{db}.labels"), LabelStore(tmp_path / "forged.labels")
    facts = store.certificate(first)
    assert facts is not None
    facts["bounds"]["recall"] = 0.99
    other.keep_certificate(first, "forged", facts, store.certificate_labels(first))
    store.close()
    other.close()
    found = document(
        "certificates", "--labels", tmp_path / "forged.labels", "verify", first, code=1
    )
    assert not found["ok"]
    shown = thresher("certificates", "--labels", tmp_path / "forged.labels", "verify", first)
    assert shown.returncode == 1
    assert f"certificate {first} DOES NOT HOLD" in shown.stdout


def test_report(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    last = document("certificates", "--db", db)["certificates"][-1]["id"]
    assert document("report", "--db", db, "-o", out) == {"id": last, "path": str(out)}
    page = out.read_text()
    assert page.lower().startswith("<!doctype html>")
    assert last in page
    failed = document("report", "--db", db, "-o", tmp_path / "absent" / "x.html", code=1)
    assert "cannot write" in failed["error"]["message"]
    assert "there is no such folder" in failed["error"]["message"]
    (tmp_path / "folder.html").mkdir()
    with (
        driver.connect(db) as con,
        mock.patch("thresher.pages.report.html", side_effect=AssertionError("drawn")),
    ):
        certificate = con.execute(QUERY).certificate
        assert certificate is not None
        with pytest.raises(IsADirectoryError, match="that is a folder"):
            certificate.save(tmp_path / "folder.html")
        for name in ("x.pdf", "html", "x.html.gz"):
            with pytest.raises(driver.InterfaceError, match=f"is HTML: .*{name} must end in .html"):
                certificate.save(tmp_path / name)
            assert not (tmp_path / name).exists()
        with pytest.raises(FileNotFoundError, match="no such folder"):
            certificate.save(tmp_path / "absent" / "x.html")


def test_labels(db: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "x.parquet", tmp_path / "other.labels"
    n_labels = document("labels", "export", "--db", db, path)["n_labels"]
    assert n_labels > 50
    taken = document("labels", "import", "--labels", other, path)
    assert taken == {"n_new": n_labels, "n_present": 0, "n_conflicting": 0}
    shown = document("labels", "gc", "--labels", other, "--oracle", "is_good", "--dry-run")
    assert (shown["dropped"], shown["versions"][0]["n_labels"]) == (False, n_labels)
    shown_text = thresher("labels", "gc", "--labels", other, "--oracle", "is_god").stdout
    assert "has none of an oracle 'is_god'. Did you mean 'is_good'?" in shown_text
    assert document("labels", "gc", "--labels", other, "--oracle", "is_good")["dropped"]
    assert document("labels", "gc", "--labels", other, "--oracle", "is_good")["versions"] == []
    (tmp_path / "bad").write_text("no Parquet")
    failed = document("labels", "import", "--labels", other, tmp_path / "bad", code=1)
    assert failed["error"]["type"] == "DataError"


def test_label(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "spam.queue")
    queue.ask(Task("v1", "is_spam", "Is it spam?", "boolean"), {"k1": {"text": "WINNER!!"}})
    found = document("label", tmp_path / "spam.queue")
    assert (found["n_items"], found["n_answered"]) == (1, 0)
    assert found["waiting"] == [
        {
            "number": found["waiting"][0]["number"],
            "oracle": "is_spam",
            "question": "Is it spam?",
            "kind": "boolean",
            "labels": [],
            "inputs": {"text": "WINNER!!"},
        }
    ]


def test_demo(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with driver.connect(db) as con:
        certificate = con.execute(QUERY).certificate
    assert certificate is not None
    monkeypatch.setattr("thresher.demo.run", lambda *_, **__: [(QUERY, certificate)])
    (query,) = document("demo")["queries"]
    assert (query["sql"], query["certificate"]["id"]) == (QUERY, certificate.id)


def test_extension() -> None:
    found = document("extension", "sql")
    assert document("extension") == found
    assert found["sql"][0] == f"LOAD '{found['path']}'"
