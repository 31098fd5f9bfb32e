"""Errors: PEP 249 tree, place in the SQL, pickling."""

from __future__ import annotations

import pickle

import pytest
from rich.cells import cell_len

import thresher
from thresher.errors import BudgetError, ProgrammingError, nearest, snippet


def test_tree_is_pep_249() -> None:
    assert issubclass(thresher.Error, Exception)
    assert issubclass(thresher.Warning, Exception)
    for name in ("InterfaceError", "DatabaseError"):
        assert issubclass(getattr(thresher, name), thresher.Error)
    for name in (
        "DataError",
        "OperationalError",
        "IntegrityError",
        "InternalError",
        "ProgrammingError",
        "NotSupportedError",
    ):
        assert issubclass(getattr(thresher, name), thresher.DatabaseError)
    for name in ("BudgetError", "OracleError", "ShortfallError"):
        assert issubclass(getattr(thresher, name), thresher.OperationalError)


def test_snippet_points_at_the_place() -> None:
    text, line, column = snippet("SELECT *\n\tFROM t RECALL TARGET 95", 31, 2)
    assert text == "LINE 2: \tFROM t RECALL TARGET 95\n        \t                     ^^"
    assert (line, column) == (2, 23)


@pytest.mark.parametrize("name", ["wrong", "\u60c5\u611f", "e\u0301te\u0301"])
@pytest.mark.parametrize("at", [0, 1, 2, 50, 98, 99])
def test_of_a_long_line_the_place_is_shown(name: str, at: int) -> None:
    words = [f"column_{i:03}" for i in range(100)]
    words[at] = name
    sql = f"SELECT 1;\n{', '.join(words)}\nFROM t"
    text, line, column = snippet(sql, sql.index(name), len(name))
    shown, carets = text.split("\n")
    assert (line, column) == (2, sql.index(name) - 9)
    assert cell_len(shown) <= 78
    assert shown.startswith("LINE 2: ...") == (at > 2)
    assert shown.endswith("...") == (at < 98)
    assert shown[8:].strip(".") in sql
    # The carets stand under the name, column by column.
    before = cell_len(shown[: shown.index(name)])
    assert carets == " " * before + "^" * cell_len(name)


def test_a_long_line_is_cut_within_what_is_wrong() -> None:
    sql = "SELECT " + "x" * 5000
    shown, carets = snippet(sql, 7, 5000)[0].split("\n")
    assert shown == f"LINE 1: SELECT {'x' * 57}..."
    assert carets == " " * 15 + "^" * 57
    assert snippet(sql, len(sql))[0].endswith("x\n" + " " * 75 + "^")


def test_a_line_of_a_hundred_columns_is_whole() -> None:
    for letter, count in (("x", 93), ("\u60c5", 46)):
        sql = f"SELECT {letter * count}"
        assert snippet(sql, 7)[0].startswith(f"LINE 1: {sql}\n")
        assert snippet(sql + letter, 7)[0].split("\n")[0].endswith("...")


def test_carets_stop_at_the_end_of_the_line() -> None:
    text, _, _ = snippet("SELECT a\nFROM t", 7, 100)
    assert text == "LINE 1: SELECT a\n               ^"


def test_errors_survive_pickling() -> None:
    error = ProgrammingError("wrong", sql="SELECT x", offset=7)
    error.spent = 5
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.line, again.column, again.spent) == (str(error), 1, 8, 5)
    assert type(pickle.loads(pickle.dumps(BudgetError("dear")))) is BudgetError


def test_nearest() -> None:
    assert nearest("is_positve", ["is_positive", "other"]) == " Did you mean 'is_positive'?"
    assert nearest("zzz", ["is_positive"]) == ""
