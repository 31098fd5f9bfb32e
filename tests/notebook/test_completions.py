"""Tab completion inside magics, through the shell's own completer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from tests_support_notebook import Shell

from thresher.errors import OperationalError
from thresher.notebook.completions import complete
from thresher.notebook.statement_parts import part_at
from thresher.notebook.vocabulary import Known

MADE = """
con = %thresher
con.create_oracle('is_pos', lambda x: [True] * len(x), args=['VARCHAR'])
con.create_proxy('quick', lambda x: [1.0] * len(x), oracle='is_pos')
_ = con.execute('''
    CREATE TABLE reviews(id INT, text VARCHAR, "My Col" INT);
    CREATE TABLE films(id INT, title VARCHAR);
    CREATE TEMP TABLE scratch(note VARCHAR);
    CREATE SCHEMA sc; CREATE TABLE sc.deep(x1 INT); CREATE VIEW seen AS FROM films''')
import pandas as pd, polars as pl, pyarrow as pa
frame = pd.DataFrame({'fa': [1], 'fb': [2]})
lazy = pl.LazyFrame({'lb': [1]})
arrow = pa.table({'ac': [1]})
values = {'a': 1}
"""
OF = "SELECT * FROM reviews WHERE is_pos(text)"


def completed(shell: Shell, text: str) -> list[str]:
    """Complete at the bar; every completion must begin with what stands there."""
    at = text.index("|")
    code = text.replace("|", "", 1)
    assert shell.ip.Completer is not None
    with provisionalcompleter():
        found = list(shell.ip.Completer.completions(code, at))
    for one in found:
        assert one.text.lower().lstrip('"').startswith(code[one.start : at].lower())
        assert one.end == at
    return [one.text for one in found]


def accepted(shell: Shell, text: str, which: int = 0) -> str:
    """Return the code after a completion at the bar is taken."""
    at = text.index("|")
    code = text.replace("|", "", 1)
    assert shell.ip.Completer is not None
    with provisionalcompleter():
        one = list(shell.ip.Completer.completions(code, at))[which]
    return code[: one.start] + one.text + code[one.end :]


@pytest.fixture(scope="module")
def made(one_shell: Shell) -> Iterator[Shell]:
    one_shell.ran("%load_ext thresher")
    one_shell.ran(MADE)
    yield one_shell
    one_shell.ran("%unload_ext thresher\ncon.close()")


PLACES = [
    ("%thresher SEL|", ["SELECT"]),
    ("x = %thresher sel|", ["select"]),
    ("%%thresher\nSELECT te| FROM reviews", ["text"]),
    ("%%thresher\nSELECT my| FROM reviews", ['"My Col"']),
    ("%%thresher\nSELECT id FROM rev|", ["reviews"]),
    (
        "%%thresher\nSELECT id FROM |",
        ["films", "reviews", "scratch", "seen", "frame", "lazy", "sc"],
    ),
    ("%%thresher\nSELECT * FROM reviews r, |", ["films"]),
    ("%%thresher\nSELECT 1;\nSELECT r.| FROM reviews r; SELECT 2", ["id", "text", '"My Col"']),
    ("%%thresher\nSELECT no| FROM scratch", ["note"]),
    ("%%thresher\nFROM sc.|", ["deep"]),
    ("%%thresher\nSELECT x| FROM sc.deep", ["x1"]),
    ("%%thresher\nSELECT f| FROM frame", ["fa", "fb"]),
    ("%%thresher\nSELECT l| FROM lazy", ["lb"]),
    ("%%thresher\nSELECT a| FROM arrow", ["ac"]),
    ("%%thresher\nSELECT * FROM reviews a JOIN films b ON a.|", ["id", "text"]),
    ("%%thresher\nSELECT * FROM reviews WHERE is|", ["is_pos"]),
    (f"%%thresher x <<\n{OF} rec|", ["recall target"]),
    (f"%%thresher\n{OF}\nRECALL TARGET 90% ORACLE LIMIT 5 |", ["PRECISION TARGET", "SEED"]),
    (f"%%thresher\n{OF} REC|", ["RECALL TARGET"]),
    (f"%%thresher\n{OF} RECALL |", ["TARGET"]),
    (f"%%thresher\n{OF} RECALL T|", ["TARGET"]),
    (f"%%thresher\n{OF} ORACLE L|", ["LIMIT"]),
    (f"%%thresher\n{OF} WITH |", ["PROBABILITY"]),
    (f"%%thresher\n{OF} ERROR W|", ["WITHIN"]),
    (f"%%thresher\n{OF} USING |", ["quick", "PROXY", "id", "text"]),
    (f"%%thresher\n{OF} USING PROXY q|", ["quick"]),
    (f"%%thresher\n{OF} BUDGET 5 |", ["CALLS", "TOKENS", "SECONDS", "USD"]),
    (f"%%thresher\n{OF} ON SHORTFALL |", ["FAIL", "RETURN", "EXACT"]),
    (f"%%thresher\n{OF} ON ORACLE ERROR |", ["FAIL", "WORST CASE"]),
    (f"%%thresher\n{OF} ASSUMING C|", ["CALIBRATION", "CORE SET CLOSURE"]),
    ("%%thresher\nSET thresher_oracle_|", ["thresher_oracle_limit"]),
    ("%%thresher\nset thresher_on_interrupt = |", ["'RAISE'", "'ANSWER'"]),
    ("%%thresher\nSET thresher_reuse_labels = f|", ["false"]),
    ("%%thresher\nRESET thresher_see|", ["thresher_seed"]),
    ("%%thresher\nSHOW or|", ["oracles"]),
    ("%%thresher\nDROP ORACLE |", ["is_pos"]),
    ("%%thresher\nDESCRIBE PROXY q|", ["quick"]),
    ("%%thresher\nCREATE PROXY p FOR |", ["is_pos"]),
    ("%%thresher\nCREATE ORACLE o(t VARCHAR) RETURNS BOOLEAN USING h|", ["huggingface", "human"]),
    ("%%thresher\nCREATE ORACLE o(t VARCHAR) R|", ["RETURNS"]),
    (
        "%%thresher\nCREATE ORACLE o(t INT) RETURNS BOOLEAN USING human WITH (q|",
        ["queue", "question"],
    ),
    (
        "%%thresher\nCREATE PROXY p FOR is_pos USING tfidf TRAINED FROM (SELECT te| FROM reviews)",
        ["text"],
    ),
    ("%%thresher\nCREATE PROXY p FOR is_pos USING tfidf TRAINED FROM rev|", ["reviews"]),
    ("%%thresher\nWITH q AS (FROM films) SELECT * FROM q|", ["q"]),
    ("%%thresher\nSELECT * FROM reviews GROUP |", ["BY"]),
    ("%%thresher\nEXPLAIN AN|", ["ANALYZE"]),
    ("%%thresher --con|\nSELECT 1", ["--connection"]),
    ("%thresher --connection c|", ["con"]),
    ("%thresher --params v|", ["values"]),
]


@pytest.mark.parametrize(("text", "wanted"), PLACES)
def test_places(made: Shell, text: str, wanted: list[str]) -> None:
    found = completed(made, text)
    assert [one for one in found if one in wanted] == wanted
    if "RECALL TARGET 90%" in text:
        assert not {"RECALL TARGET", "ORACLE LIMIT"} & set(found)
    if text.endswith("rev|"):
        assert found == ["reviews"]


SHARES = ["90%", "95%", "99%", "0.9", "0.95"]
NUMBERS = [
    ("RECALL TARGET |", SHARES),
    ("recall target |", SHARES),
    ("RECALL TARGET 9|", ["90%", "95%", "99%"]),
    ("RECALL TARGET 90|", ["90%"]),
    ("RECALL TARGET 0.|", ["0.9", "0.95"]),
    ("RECALL TARGET P|", []),
    ("PRECISION TARGET |", SHARES),
    ("RECALL TARGET 90% WITH PROBABILITY |", ["95%", "99%", "0.95", "0.99"]),
    ("AT CONFIDENCE 9|", ["95%", "99%"]),
    ("RECALL TARGET 90% ORACLE LIMIT |", ["200", "500", "1000", "2000"]),
    ("RECALL TARGET 90% ORACLE LIMIT n|", []),
    ("ERROR WITHIN |", ["5%", "10%", "20%"]),
    ("SEED |", []),
    ("RECALL TARGET 90% SEED |", []),
    ("BUDGET |", []),
    ("BUDGET 5 USD, |", []),
    ("ASSUMING CALIBRATION WITHIN |", []),
    ("LIMIT |", ["10", "100", "1000"]),
    ("LIMIT 5 GAP |", []),
    ("LIMIT 5 OFFSET |", []),
]


@pytest.mark.parametrize(("clauses", "wanted"), NUMBERS)
def test_where_a_number_must_stand_no_names_are_offered(
    made: Shell, clauses: str, wanted: list[str]
) -> None:
    assert completed(made, f"%%thresher\n{OF} {clauses}") == wanted
    assert completed(made, f"%%thresher\n{OF} {clauses}\nSEED 1") == wanted


def test_an_audit_has_its_own_clauses(made: Shell) -> None:
    audit = "%thresher AUDIT CERTIFICATE 'a8'"
    clauses = ["AGAINST", "ORACLE LIMIT", "WITH PROBABILITY", "SEED"]
    assert completed(made, f"{audit} |") == clauses
    assert completed(made, f"{audit} ORACLE LIMIT 5 |") == ["AGAINST", *clauses[2:]]
    assert completed(made, f"{audit} ORACLE |") == ["LIMIT"]
    assert completed(made, f"{audit} WITH P|") == ["PROBABILITY"]
    assert completed(made, f"{audit} WITH PROBABILITY 9|") == ["95%", "99%"]
    assert completed(made, f"{audit} ORACLE LIMIT 5|") == ["500"]


def test_names_like_clauses_are_no_clauses(made: Shell) -> None:
    assert "text" in completed(made, "%%thresher\nSELECT seed, | FROM reviews")
    assert "FROM" in completed(made, "%%thresher\nSELECT budget | FROM reviews")
    assert "DESC" in completed(made, "%%thresher\nFROM reviews ORDER BY text |")


@pytest.fixture
def stored(made: Shell) -> str:
    made.ran("_ = con.execute('SELECT id FROM reviews WHERE is_pos(text) RECALL TARGET 0.9')")
    identity = made.ran("con.execute('SHOW CERTIFICATES').fetchone()[0]").result
    assert isinstance(identity, str)
    return identity


def test_certificates_are_offered_in_quotes(made: Shell, stored: str) -> None:
    for before in ("AUDIT CERTIFICATE '", "SELECT 1; FROM thresher_label_log('"):
        assert f"{stored}'" in completed(made, f"%%thresher\n{before}|")
        assert f"{stored}'" in completed(made, f"%%thresher\n{before}{stored[:3]}|\n;SELECT 'x'")
        assert stored in completed(made, f"%%thresher\n{before}{stored[:2]}|'")
        assert accepted(made, f"%thresher {before}{stored[:6]}|") == f"%thresher {before}{stored}'"
    assert stored in completed(made, f"%thresher AUDIT CERTIFICATE {stored[:3]}|")
    found = accepted(made, "%thresher FROM thresher_label_l|")
    assert completed(made, f"{found}{stored[:6]}|") == [f"{stored}'"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("SET thresher_on_interrupt = '|", ["RAISE'", "ANSWER'"]),
        ("SET thresher_on_interrupt = 'ra|'", ["RAISE"]),
        ("SET thresher_on_oracle_error = 'w|", ["WORST CASE'"]),
        ("SET thresher_seed = '|", []),
        ("SELECT * FROM reviews WHERE text = '|", []),
        ("SELECT * FROM reviews WHERE text IS DISTINCT FROM '|", []),
        ("SELECT regexp_replace('|", []),
    ],
)
def test_quotes_hold_what_stands_there(made: Shell, text: str, wanted: list[str]) -> None:
    assert completed(made, f"%%thresher\n{text}") == wanted


@pytest.fixture
def files(made: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("lines.parquet", "lines.csv", "it's.csv", ".hidden", "deep/inner.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FROM 'lines.par|", ["lines.parquet'"]),
        ("FROM 'lines.par|'", ["lines.parquet"]),
        ("SELECT x FROM reviews, '|", ["deep/", "it''s.csv'", "lines.csv'", "lines.parquet'"]),
        ("FROM reviews JOIN 'd|", ["deep/"]),
        ("FROM 'deep/|", ["deep/inner.csv'"]),
        ("FROM './l|", ["./lines.csv'", "./lines.parquet'"]),
        ("FROM '.h|", [".hidden'"]),
        ("FROM 'nowhere/|", []),
        ("FROM 'https://l|", []),
        ("FROM '*.c|", []),
        ("FROM read_csv('lines.c|", ["lines.csv'"]),
        ("FROM read_csv(['lines.csv', 'deep/|'])", ["deep/inner.csv"]),
        ("FROM read_csv('lines.csv', delim = '|", []),
        ("COPY reviews TO 'l|", ["lines.csv'", "lines.parquet'"]),
        ("COPY (FROM reviews) TO 'lines.p|", ["lines.parquet'"]),
        ("COPY reviews FROM 'lines.c|", ["lines.csv'"]),
        ("COPY reviews TO 'x' (FORMAT '|", []),
        ("ATTACH 'lines.c|", ["lines.csv'"]),
        ("SUMMARIZE 'lines.c|", ["lines.csv'"]),
        ("SET temp_directory = 'd|", ["deep/"]),
        ("CREATE ORACLE o(a INT) RETURNS BOOLEAN USING human WITH (queue = 'd|", ["deep/"]),
        ("CREATE ORACLE o(a INT) RETURNS BOOLEAN USING human WITH (question = '|", []),
    ],
)
def test_files_are_offered_where_one_may_stand(
    made: Shell, files: Path, text: str, wanted: list[str]
) -> None:
    assert completed(made, f"%%thresher\n{text}") == wanted


def test_a_database_file_is_offered_in_quotes(made: Shell, files: Path) -> None:
    assert completed(made, "%thresher --connection 'lines.c|") == ["lines.csv'"]
    assert completed(made, '%%thresher --connection="d|\nSELECT 1') == ["deep/"]


def test_table_functions_are_offered_and_run(made: Shell, stored: str) -> None:
    found = completed(made, "%thresher FROM thresher_|")
    log = "thresher_label_log('"
    assert set(found) == {
        "thresher_labels()", "thresher_spend()", "thresher_certificates()", log
    }  # fmt: skip
    for one in found:
        closing = f"{stored}')" if one == log else ""
        made.names["con"].execute(f"FROM {one}{closing}")
    assert completed(made, "%thresher FROM reviews JOIN thresher_s|") == ["thresher_spend()"]
    assert "read_csv" in completed(made, "%thresher FROM read_|")
    assert completed(made, "%thresher INSERT INTO thresher_|") == []


@pytest.mark.parametrize(
    "text",
    [
        "CREATE ORACLE x(a |",
        "CREATE OR REPLACE TEMP ORACLE x(a INT, b |",
        "CREATE ORACLE x(a VARCHAR) RETURNS |",
        "CREATE TABLE x(a |",
        "SELECT id::| FROM reviews",
    ],
)
def test_types_are_offered(made: Shell, text: str) -> None:
    found = completed(made, f"%thresher {text}")
    assert found[:3] == ["VARCHAR", "BOOLEAN", "DOUBLE"]
    assert not [one for one in found if not one.isupper()]
    for one in found:
        kind = {"STRUCT": "STRUCT(a INT)", "MAP": "MAP(INT, INT)"}.get(one, one)
        made.names["con"].execute(f"SELECT NULL::{kind}")


@pytest.mark.parametrize("text", ["CREATE ORACLE x(|", "CREATE ORACLE x(a I|", "SELECT 1 -- pr|"])
def test_python_is_no_part_of_sql(made: Shell, text: str) -> None:
    found = completed(made, f"%%thresher\n{text}")
    assert all(one in ("INTEGER", "INTERVAL") for one in found)


def test_parameters_are_variables(made: Shell) -> None:
    assert completed(made, "%%thresher\nSELECT $val|") == ["values"]
    assert "frame" in completed(made, f"%%thresher\n{OF} RECALL TARGET $|")
    assert not {"In", "pd", "con"} & set(completed(made, "%%thresher\nSELECT $|"))


def test_a_variable_before_shifts_is_offered(made: Shell) -> None:
    assert completed(made, "%%thresher valu|\nSELECT 1") == ["values"]
    assert completed(made, "%%thresher x|\nSELECT 1") == []
    assert completed(made, "%thresher v|") == ["values"]


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [("sc", ["deep"]), ("temp", ["scratch"]), ("main", ["films", "reviews", "scratch", "seen"])],
)
def test_a_schema_offers_its_own_tables(made: Shell, schema: str, wanted: list[str]) -> None:
    con = made.names["con"]
    assert Known(con, {}).tables(schema) == wanted
    for table in wanted:
        con.execute(f"SELECT count(*) FROM {schema}.{table}")


@pytest.mark.parametrize("text", ["%%thresher\nSELECT 1 -- te|", "%%thresher\nSELECT /* te|"])
def test_comments_are_left_alone(made: Shell, text: str) -> None:
    assert completed(made, text) == []


def test_python_is_left_alone(made: Shell) -> None:
    assert "print" in completed(made, "pri|")
    assert "values" in completed(made, "x = '%thresher SELECT 1'\nval|")
    assert "SELECT" not in completed(made, "SEL|")
    assert completed(made, "%%thresherx\nSELECT te| FROM reviews") == []


def test_stored_certificates_are_offered(made: Shell) -> None:
    made.ran("_ = con.execute('SELECT id FROM reviews WHERE is_pos(text) RECALL TARGET 0.9')")
    (identity,) = made.ran("con.execute('SHOW CERTIFICATES').fetchone()[:1]").result
    assert identity in completed(made, "%thresher AUDIT CERTIFICATE |")


def test_a_store_that_cannot_be_read_offers_nothing(
    made: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def locked() -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(made.names["con"]._store, "certificates", locked)
    completed(made, "%thresher AUDIT CERTIFICATE |")
    assert capsys.readouterr().err == ""


def test_what_is_being_fetched_goes_on_and_an_aborted_transaction_has_no_names(made: Shell) -> None:
    made.ran("_ = con.connection.execute('FROM range(100000)'); first = con.connection.fetchone()")
    assert completed(made, "%%thresher\nSELECT te| FROM reviews")[0] == "text"
    assert made.ran("con.connection.fetchone()").result == (1,)
    made.ran("import thresher; other = thresher.connect()")
    made.ran("_ = other.execute('CREATE TABLE reviews(text VARCHAR)')")
    made.ran("live = other.execute('FROM range(1000000)'); _ = live.fetchone()")
    assert made.names["other"]._session.reading
    assert completed(made, "%%thresher --connection other\nSELECT te| FROM reviews")[0] == "text"
    assert made.names["other"]._session.reading
    assert made.ran("len(live.fetchall())").result == 999_999
    made.names["other"].close()
    made.ran("_ = con.execute('BEGIN')")
    assert not made.ip.run_cell("con.execute(\"SELECT 'a'::INT\")").success
    assert "text" not in completed(made, "%%thresher\nSELECT te| FROM reviews")
    made.ran("con.rollback()")


class NoNames(Known):
    def _read(self, sql: str) -> list[tuple[str, ...]]:
        return []


@given(
    words=st.lists(
        st.sampled_from(
            [*"().,;'\"$?-/*%", "$$", "--", "/*", "*/", "\n", " ", "select", "FROM", "t", "as",
             "join", "on", "using", "where", "oracle", "limit", "create", "proxy", "with", "set",
             "5", "budget", "recall", "target", "audit", "9%", "[", "=", "é", "a.b"]
        )
    ),
    cut=st.integers(0, 100),
)  # fmt: skip
def test_any_text_can_be_completed(words: Sequence[str], cut: int) -> None:
    text = " ".join(words)
    cursor = min(cut, len(text))
    fragment, found = complete(text, cursor, NoNames(None, {}))
    assert text[:cursor].endswith(fragment)
    assert all(one.text.lower().startswith(fragment.lower()) for one in found)
    part_at(text, cursor)
