"""Tab completion inside magics, through the shell's own completer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
             "5", "budget", "recall", "é", "a.b"]
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
