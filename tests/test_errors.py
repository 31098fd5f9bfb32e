"""Errors: PEP 249 tree, place in the SQL, pickling."""

from __future__ import annotations

import pickle

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
