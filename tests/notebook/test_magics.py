"""``%thresher`` and ``%%thresher`` in a shell: options, variables, results and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.error import UsageError
from tests_support_notebook import Shell

import thresher
from thresher.cursor import Cursor
from thresher.dbapi import Connection
from thresher.notebook import arguments, variables


def rows(result: object) -> list[tuple[object, ...]]:
    assert isinstance(result, Cursor)
    return result.fetchall()


HOSTILE = (
    "SELECT '{n}', '%s', ':n', '?', '$n', $$it's {n} $n$$, 7 % 4, 5::BIGINT, {'a': 1}, 'a' || 'b'"
)
HOSTILE_ROW = ("{n}", "%s", ":n", "?", "$n", "it's {n} $n", 3, 5, {"a": 1}, "ab")


@pytest.mark.parametrize("form", ["%thresher {}", "%%thresher\n{}", "%%thresher {}\n-- that is it"])
def test_sql_reaches_the_engine_as_it_is_written(shell: Shell, form: str) -> None:
    shell.names["n"] = "replaced"
    assert rows(shell.ran(form.replace("{}", HOSTILE)).result) == [HOSTILE_ROW]


def test_a_cell_of_several_statements_shows_the_last(shell: Shell) -> None:
    cell = "%%thresher\nCREATE TABLE t AS SELECT 1 AS x; -- a ; comment\nSELECT ';';\nFROM t;\n"
    assert rows(shell.ran(cell).result) == [(1,)]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%thresher SET thresher_seed = 3", "SET thresher_seed = 3: done\n"),
        (
            "%%thresher\nCREATE TABLE t(x INT);\nINSERT INTO t VALUES (1), (2);",
            "(1), (2): 2 rows\n",
        ),
        ("%thresher INSERT INTO t VALUES (1)", "VALUES (1): 1 row\n"),
    ],
)
def test_a_statement_that_returns_nothing_says_so_in_a_line(
    shell: Shell, capsys: pytest.CaptureFixture[str], cell: str, said: str
) -> None:
    shell.ran("%thresher create or replace table t(x INT)")
    capsys.readouterr()
    if "CREATE" in cell:
        shell.ran("%thresher DROP TABLE t")
        capsys.readouterr()
    assert shell.ran(cell).result is None
    out = capsys.readouterr().out
    assert out.endswith(said)
    assert out.count("\n") == max(1, cell.count(";"))


def test_each_statement_of_a_cell_says_what_became_of_it(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = (
        "%%thresher{}\nCREATE OR REPLACE TABLE t AS SELECT range AS x FROM range(9);\n"
        "SET thresher_seed = 3; FROM t; DELETE FROM t WHERE x < 2;{}"
    )
    lines = [
        "CREATE OR REPLACE TABLE t AS SELECT range AS x FROM range(9): 9 rows",
        "SET thresher_seed = 3: done",
        "FROM t: not shown; the last result of a cell is",
        "DELETE FROM t WHERE x < 2: 2 rows",
    ]
    assert shell.ran(cell.format("", "")).result is None
    assert capsys.readouterr().out.splitlines() == lines
    assert rows(shell.ran(cell.format("", "FROM t LIMIT 1")).result) == [(2,)]
    assert capsys.readouterr().out.splitlines()[:4] == lines
    shell.ran(cell.format(" found <<", ""))
    assert capsys.readouterr().out.splitlines() == lines[:3]
    failed = shell.ip.run_cell("%%thresher\nSET thresher_seed = 3;\nCREATE TABLE t(x INT)")
    assert "already exists" in str(failed.error_in_exec)
    assert capsys.readouterr().out.startswith("SET thresher_seed = 3: done\n")


def test_a_result_goes_into_a_variable(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.ran("%%thresher found << SELECT 1\nUNION ALL SELECT 2").result is None
    assert rows(shell.names["found"]) == [(1,), (2,)]
    assert shell.ran("%thresher none << SET thresher_seed = 3").result is None
    assert shell.names["none"].description is None
    assert capsys.readouterr().out == ""
    shell.ran("again = %thresher SELECT 3")
    assert rows(shell.names["again"]) == [(3,)]


@pytest.mark.parametrize(
    "sql", ["SELECT 1 << 2", "(SELECT 1 << 2)", "/* a << */ SELECT 4", "VALUES(1 << 2)"]
)
def test_sql_may_shift_bits(shell: Shell, sql: str) -> None:
    assert rows(shell.ran(f"%%thresher {sql}\n-- on").result) == [(4,)]
    shell.ran(f"%thresher found << {sql}")
    assert rows(shell.names["found"]) == [(4,)]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT 5,\n  nope\nFROM t;", "LINE 4:   nope\n          ^^^^"),
        ("SELECT 5 FORM t;", "LINE 3: SELECT 5 FORM t;"),
    ],
)
def test_a_statement_that_duckdb_refuses_is_shown_at_its_line_of_the_cell(
    shell: Shell, capsys: pytest.CaptureFixture[str], statement: str, told: str
) -> None:
    shell.ran("%thresher CREATE OR REPLACE TABLE t AS SELECT 1 AS x")
    error = shell.ip.run_cell(f"%%thresher\nSELECT 1 AS a;\n\n{statement}").error_in_exec
    assert isinstance(error, thresher.Error)
    assert error.line == int(told.split(":")[0].removeprefix("LINE "))
    assert told in capsys.readouterr().out


def test_variables_are_parameters(shell: Shell) -> None:
    shell.names.update(n=5, text="it's", values={"n": 6, "more": 1}, ordered=[7, 8])
    assert rows(shell.ran("%thresher SELECT $n, $text").result) == [(5, "it's")]
    cell = "%%thresher {}\nCREATE OR REPLACE TABLE p AS SELECT $n AS x;\nFROM p"
    assert rows(shell.ran(cell.format("")).result) == [(5,)]
    assert rows(shell.ran(cell.format("--params values")).result) == [(6,)]
    assert rows(shell.ran("%thresher --params ordered SELECT $2, $1").result) == [(8, 7)]
    assert rows(shell.ran("%%thresher --params ordered\nSELECT ?, ?\n").result) == [(7, 8)]
    shell.ran("def inner(n):\n    %thresher got << SELECT $n\n    return got.fetchall()")
    assert shell.ran("inner(9)").result == [(9,)]
    cell = "%%thresher\nPREPARE p AS SELECT $n + 1;\nEXECUTE p(n := 1)"
    assert rows(shell.ran(cell).result) == [(2,)]


def test_frames_are_tables(shell: Shell) -> None:
    shell.ran("import pandas as pd, polars as pl, pyarrow as pa")
    shell.ran("people = pd.DataFrame({'n': [1, 2]}); more = pl.DataFrame({'n': [3]})")
    shell.ran("arrow = pa.table({'n': [4]}); lazy = more.lazy()")
    union = " UNION ALL ".join(f"FROM {name}" for name in ("people", "more", "arrow", "lazy"))
    assert sorted(rows(shell.ran(f"%thresher {union}").result)) == [(1,), (2,), (3,), (3,), (4,)]
    frame = "people = pd.DataFrame({'n': [9]})"
    shell.ran(f"def inner():\n    {frame}\n    %thresher got << FROM people\ninner()")
    assert rows(shell.names["got"]) == [(9,)]
    con = shell.ran("con = %thresher\ncon").result
    con.create_oracle("big", lambda xs: [x > 1 for x in xs], args=["BIGINT"])
    assert rows(shell.ran("%thresher SELECT n FROM people WHERE big(n)").result) == [(2,)]
    con.execute("CREATE TABLE people AS SELECT 7 AS n")
    assert rows(shell.ran("%thresher FROM people").result) == [(7,)]  # a table goes first
    failed = shell.ip.run_cell("number = 5\n%thresher FROM number")
    assert "the frame number is an int" in str(failed.error_in_exec)


def test_variables_stand_in_oracle_queries(shell: Shell) -> None:
    con = shell.ran("con = %thresher\ncon").result
    con.create_oracle("is_even", lambda xs: [x % 2 == 0 for x in xs], args=["BIGINT"])
    shell.names["most"] = 5
    found = shell.ran(
        "%thresher SELECT i FROM range(10) r(i) WHERE is_even(i) AND i < $most"
    ).result
    assert rows(found) == [(0,), (2,), (4,)]
    assert found.certificate.grade == "exact"


def test_the_first_connection_is_that_of_the_process(shell: Shell) -> None:
    con = shell.ran("import thresher\ncon = %thresher\ncon").result
    assert repr(con) == "<thresher.Connection: :memory:>"
    thresher.sql("CREATE TABLE shared AS SELECT 3 AS x")
    assert rows(shell.ran("%thresher FROM shared").result) == [(3,)]
    con.execute("SET thresher_progress = 'none'")
    shell.ran("%reload_ext thresher")
    assert rows(shell.ran("%thresher FROM shared").result) == [(3,)]  # it outlives the extension
    assert con._session.settings.get("progress") == "none"


def test_connections_by_variable_and_by_file(shell: Shell, tmp_path: Path) -> None:
    with thresher.connect() as mine:
        mine.execute("CREATE TABLE only_here AS SELECT 42 AS x")
        shell.names["mine"] = mine
        assert rows(shell.ran("%thresher --connection mine FROM only_here").result) == [(42,)]
        failed = shell.ip.run_cell("%thresher FROM only_here")  # for that statement alone
        assert isinstance(failed.error_in_exec, thresher.ProgrammingError)
        assert shell.ran("%thresher --connection mine").result is mine
        assert rows(shell.ran("%thresher FROM only_here").result) == [(42,)]
    closed = shell.ip.run_cell("%thresher CREATE TABLE elsewhere AS SELECT 1")
    with pytest.raises(UsageError, match="the connection in use was closed"):
        closed.raise_error()
    assert isinstance(shell.ran("%thresher").result, Connection)  # another, where it was closed
    assert rows(shell.ran("%thresher SELECT 1").result) == [(1,)]
    path = tmp_path / "my films.duckdb"
    shown = shell.ran(f'%thresher --connection="{path}"').result
    assert repr(shown) == f"<thresher.Connection: {path}>"
    shell.ran("%%thresher\nCREATE TABLE t AS SELECT 7 AS x")
    assert path.exists()
    shell.names["path"] = path
    assert rows(shell.ran("%thresher --connection path FROM t").result) == [(7,)]
    first = shell.ran("%thresher").result
    shell.ran("%reload_ext thresher")
    assert first._closed
    with thresher.connect(path) as again:  # nobody holds it
        assert again.execute("FROM t").fetchall() == [(7,)]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%thresher --conection c SELECT 1", "no option --conection. Did you mean 'connection'?"),
        ("%thresher --connection", "--connection needs a value"),
        ("%thresher --connection a --connection b", "--connection stands there twice"),
        ("%thresher --connection nothing", "there is no variable nothing and no such file"),
        ("%thresher --connection five", "five is a int, no connection of thresher"),
        ("%thresher --params nothing SELECT ?", "there is no variable nothing"),
        (
            "%thresher --params five SELECT ?",
            "five must be a mapping of names to values, or a list",
        ),
        ("%thresher x <<", "there is no SQL to run"),
        ("%thresher -- only a comment", "there is no SQL to run"),
        ("%%thresher a b <<\nSELECT 1", "one variable name stands before <<, and a b are 2"),
        ("%thresher 1x << SELECT 1", "and 1x is none, since it begins with a digit"),
        ("%thresher df['a'] << SELECT 1", "df['a'] is none: a name has letters, digits and _"),
        ("%%thresher << \nSELECT 1", "and none stands there. Write found << SELECT"),
        ("%thresher class << SELECT 1", "and class is a word of Python itself"),
        ('%thresher label "x', "write %thresher label, and the name of an oracle"),
    ],
)
def test_wrong_use_is_told_in_a_line(
    shell: Shell, capsys: pytest.CaptureFixture[str], cell: str, said: str
) -> None:
    shell.names["five"] = 5
    result = shell.ip.run_cell(cell)
    assert isinstance(result.error_in_exec, UsageError)
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in out + err


def test_a_closed_connection_is_told(shell: Shell) -> None:
    shell.names["mine"] = thresher.connect()
    shell.names["mine"].close()
    result = shell.ip.run_cell("%thresher --connection mine SELECT 1")
    with pytest.raises(UsageError, match="connection mine is closed"):
        result.raise_error()


def test_errors_are_short_and_point_into_the_cell(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    result = shell.ip.run_cell("%%thresher\nSELECT 1;\n\nSELECT 2\n  RECALL TARGET 95\n")
    assert isinstance(result.error_in_exec, thresher.ProgrammingError)
    out, err = capsys.readouterr()
    assert "LINE 4:   RECALL TARGET 95" in out
    assert "magics.py" not in out + err
    result = shell.ip.run_cell("%thresher SELECT $lenght, $length", store_history=False)
    out, _ = capsys.readouterr()
    assert "there is no variable lenght for parameter $lenght" in out
    assert out.count("\n") < 6


def test_an_oracle_that_raises_shows_the_users_lines(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.ran("con = %thresher\ndef judge(xs):\n    return [60 / (x - 30) > 1 for x in xs]\n")
    shell.ran("con.create_oracle('judge', judge, args=['BIGINT'], batch_size=10)")
    capsys.readouterr()
    result = shell.ip.run_cell("%thresher SELECT i FROM range(100) r(i) WHERE judge(i) ORDER BY i")
    assert isinstance(result.error_in_exec, thresher.OracleError)
    out, _ = capsys.readouterr()
    assert "return [60 / (x - 30) > 1 for x in xs]" in out
    assert "ZeroDivisionError: division by zero" in out
    assert "oracles/function.py" not in out
    bought = shell.names["con"].execute("SELECT count(*) FROM thresher_labels()").fetchone()[0]
    assert (f"{bought} labels were bought and are kept" in out) == (bought > 0)


def test_errors_of_plain_python_show_the_users_lines_alone(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = "con = %thresher\ndef ask(sql):\n    return con.execute(sql)\nask('SELECT nothing')"
    result = shell.ip.run_cell(cell)
    assert isinstance(result.error_in_exec, thresher.ProgrammingError)
    assert result.error_in_exec.__cause__ is not None
    out, _ = capsys.readouterr()
    assert "return con.execute(sql)" in out
    assert "ask('SELECT nothing')" in out
    assert "dbapi.py" not in out
    assert out.count("ProgrammingError") <= 2
    shell.ip.run_cell("ask('SELECT 1 RECALL TARGET 95')")
    out, _ = capsys.readouterr()
    assert "LINE 1: SELECT 1 RECALL TARGET 95" in out
    assert "clauses.py" not in out
    shell.ran("def bad(xs):\n    raise KeyError('mine')")
    shell.ran("con.create_oracle('bad', bad, args=['BIGINT'])")
    shell.ip.run_cell("con.execute('SELECT i FROM range(3) r(i) WHERE bad(i)')")
    out, _ = capsys.readouterr()
    assert "raise KeyError('mine')" in out
    assert "function.py" not in out
    for cell in ("1 / 0", "raise KeyboardInterrupt"):  # as they were
        assert not shell.ip.run_cell(cell).success
        assert cell in capsys.readouterr().out


def test_a_handler_of_the_users_own_stays(shell: Shell) -> None:
    shell.ran("%unload_ext thresher")
    seen: list[object] = []
    shell.ip.set_custom_exc((ValueError,), lambda *given, **more: seen.append(given))
    shell.ran("%load_ext thresher")
    shell.ip.run_cell("raise ValueError")
    shell.ran("%unload_ext thresher")
    shell.ip.run_cell("raise ValueError")
    shell.ip.set_custom_exc((), None)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("line", "cell", "found"),
    [
        ("", "SELECT 1\n", ("SELECT 1\n", None, None, None)),
        ("a << --params=p SELECT 1 << 2", None, ("SELECT 1 << 2", "a", None, "p")),
        ("--connection 'a b.duckdb' é<<", "SELECT 1", ("SELECT 1", "é", "a b.duckdb", None)),
        ("SELECT --connection c\n", None, ("SELECT --connection c\n", None, None, None)),
        ("-- remark\t", "SELECT 1", ("-- remark\t\nSELECT 1", None, None, None)),
    ],
)
def test_arguments(line: str, cell: str | None, found: tuple[str | None, ...]) -> None:
    assert arguments.read(line, cell) == arguments.Arguments(*found)  # type: ignore[arg-type]


def test_parameters_come_from_outside_strings_and_comments() -> None:
    sql = "SELECT $a /* $b */, '$c', $$ $d $$, \"$e\" -- $f"
    assert variables.parameters_of(sql, None, {"a": 1}) == {"a": 1}
    assert variables.parameters_of("SELECT ?", None, {}) is None
    with pytest.raises(thresher.ProgrammingError, match="Did you mean 'limit'"):
        variables.parameters_of("SELECT $limti", None, {"limit": 1})
