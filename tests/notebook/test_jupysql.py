"""``%sql`` of jupysql, the real package, over a connection of ours."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests_support_notebook import Shell

MADE = """
import thresher
asked = []
def judge(xs):
    asked.extend(xs)
    return [x % 3 == 0 for x in xs]
con = thresher.connect(config={'seed': 1})
con.create_oracle('judge', judge, args=['BIGINT'])
rows = "SELECT i AS id, 1 - (i % 3) * 0.3 AS score, [i] AS l, {'a': i} AS s FROM range(1000) r(i)"
_ = con.execute(f"CREATE TABLE t AS {rows}")
n = 5
%sql con --alias films
"""
RECALL = "SELECT id FROM t WHERE judge(id) USING score RECALL TARGET 90% ORACLE LIMIT 300"

COUNT = "SELECT count(*) AS n FROM t WHERE judge(id) USING score ORACLE LIMIT 300"


@pytest.fixture
def made(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("PLOOMBER_STATS_ENABLED", "false")
    monkeypatch.chdir(tmp_path)  # it looks for settings in the folders above
    monkeypatch.setenv("HOME", str(tmp_path))
    os.environ.setdefault("MPLBACKEND", "agg")
    with warnings.catch_warnings():  # its own source has wrong escapes
        warnings.simplefilter("ignore")
        shell.ran("%load_ext sql")
    shell.ran("%config SqlMagic.feedback = 0")
    shell.ran(MADE)
    yield shell
    shell.ran("%sql --close films")  # which closes it


def rows(shell: Shell, cell: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in shell.ran(cell).result]


def test_the_dialect_goes_through(made: Shell) -> None:
    for cell in (f"%sql {RECALL}", "%%sql\n" + RECALL.replace(" ", "\n")):
        found = rows(made, cell)
        assert 0.9 * 334 <= len(found) <= 1000
    assert rows(made, "%%sql\nSHOW ORACLES")[0][0] == "judge"
    assert "EXPLAIN" not in str(rows(made, f"%%sql\nEXPLAIN {RECALL}")[0])
    made.ran(f"%%sql found <<\n{COUNT}")
    assert list(made.ran("found").result.keys) == ["n", "n_low", "n_high"]


def test_what_is_left_as_it_is(made: Shell) -> None:
    cell = (
        "%%sql\nSELECT $$it's {n}; :n$$, 5::BIGINT, ':n', '%s', '?', l[1:1], {'a': {'b': 1}}, "
        "7 % 4 FROM t WHERE id = 3"
    )
    assert rows(made, cell) == [("it's {n}; :n", 5, ":n", "%s", "?", [3], {"a": {"b": 1}}, 3)]


def test_statements_without_rows(made: Shell) -> None:
    made.ran("%%sql\nSET thresher_seed = 4")
    made.ran(
        "%%sql\nCREATE ORACLE later(x VARCHAR) RETURNS BOOLEAN USING human "
        "WITH (queue = 'people.queue', question = 'Is it?')"
    )
    cell = "%%sql\nCREATE TABLE u AS SELECT 1 AS x;\nINSERT INTO u VALUES (2);\nFROM u"
    assert rows(made, cell) == [(1,), (2,)]


def test_frames_of_results_buy_nothing_twice(made: Shell) -> None:
    made.ran("%config SqlMagic.autopandas = True")
    try:
        cell = RECALL.replace("300", "{{n * 50}}")
        assert len(made.ran(f"%%sql\n{cell}").result) >= 0.9 * 334
        assert 0 < made.ran("len(asked)").result <= 250
    finally:
        made.ran("%config SqlMagic.autopandas = False")
    assert made.ran("len(asked) == len(set(asked))").result


def test_what_jupysql_takes_for_itself_and_the_way_round(made: Shell) -> None:
    assert rows(made, "%%sql\nSELECT '{{n}}' AS a, {{n}} AS b") == [("5", 5)]
    assert rows(made, "%%sql\nSELECT {% raw %}'{{n}} {%'{% endraw %} AS a") == [("{{n}} {%",)]
    assert not made.ip.run_cell("%%sql\nSELECT 1 << 3").success  # a variable SELECT1, and SQL 3
    made.ran("%%sql eight <<\nSELECT 1 << 3")
    assert rows(made, "eight") == [(8,)]
    failed = made.ip.run_cell("%sql SELECT :n")
    assert "syntax error" in str(failed.error_in_exec)
    assert rows(made, "%thresher --connection con SELECT $n, 1 << 3, '{{n}}'") == [(5, 8, "{{n}}")]


def test_errors_keep_their_place(made: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    failed = made.ip.run_cell("%%sql\nSELECT id FROM t WHERE judge(id)\nRECALL TARGET 95")
    assert "LINE 2: RECALL TARGET 95" in str(failed.error_in_exec)


def test_frames_are_tables_where_callers_are_looked_at(made: Shell) -> None:
    made.ran("import pandas as pd\nframe = pd.DataFrame({'a': [1, 2]})")
    assert not made.ip.run_cell("%sql FROM frame").success
    made.ran("%sql SET python_scan_all_frames = true")
    assert rows(made, "%sql SELECT a FROM frame ORDER BY a") == [(1,), (2,)]


def test_nothing_is_reported_to_anyone(made: Shell) -> None:
    import sys

    assert "posthog" not in sys.modules or sys.modules["posthog"].disabled
