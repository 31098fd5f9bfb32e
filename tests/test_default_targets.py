"""Targets that settings give to a block which names none."""

from __future__ import annotations

import pytest
from tests_support_foreign import DEFAULTS, catalog

from tests_support import Names
from thresher.errors import ProgrammingError
from thresher.plan import Passthrough, SelectionQuery
from thresher.sql import parse


@pytest.mark.parametrize(
    ("sql", "names", "tail"),
    [
        (
            "SELECT * FROM t WHERE judge(a)",
            catalog(DEFAULTS, recall_target=0.95, precision_target=0.9),
            "RECALL TARGET 0.95 PRECISION TARGET 0.9",
        ),
        (
            "SELECT * FROM t WHERE judge(a) ORDER BY a LIMIT 3 ORACLE LIMIT 50",
            catalog(DEFAULTS, recall_target=0.95),
            "RECALL TARGET 0.95 ORACLE LIMIT 50",
        ),
        ("SELECT * FROM t WHERE judge(a)", catalog(DEFAULTS, accuracy_target=1.0),
         "ACCURACY TARGET 1.0"),
        ("SELECT write(a) FROM t", catalog(DEFAULTS, accuracy_target=0.9, recall_target=0.8),
         "ACCURACY TARGET 0.9"),
        (
            "SELECT count(*) FROM t WHERE judge(a)",
            catalog(DEFAULTS, recall_target=0.95, error_target=0.1),
            "ERROR WITHIN 0.1 RELATIVE",
        ),
        (
            "SELECT count(*) FROM t WHERE judge(a) ORACLE LIMIT 50 ASSUMING NORMALITY",
            catalog(DEFAULTS, error_target=0.1),
            "ORACLE LIMIT 50 ASSUMING NORMALITY",
        ),
        ("SELECT * FROM t WHERE judge(a) RECALL TARGET .5", catalog(DEFAULTS, recall_target=0.9),
         "RECALL TARGET 0.5"),
        ("SELECT * FROM t WHERE judge(a) PRECISION_TARGET .5", catalog(DEFAULTS, recall_target=0.9),
         "PRECISION TARGET 0.5"),
        ("SELECT count(*) FROM t WHERE judge(a)", catalog(DEFAULTS, recall_target=0.9), ""),
        ("SELECT a FROM t WHERE judge(a) GROUP BY a", catalog(DEFAULTS, recall_target=0.9), ""),
    ],
)  # fmt: skip
def test_targets_of_settings(sql: str, names: Names, tail: str) -> None:
    query = parse(sql, names)
    assert isinstance(query, SelectionQuery)
    assert query.canonical.removesuffix(tail) != query.canonical or not tail
    assert ("TARGET" in query.canonical or "ERROR" in query.canonical) == (
        "TARGET" in tail or "ERROR" in tail
    )
    taken = [note for note in query.understood if "is taken from thresher_" in note]
    assert bool(taken) == ("TARGET" not in sql and "_TARGET" not in sql and (
        "TARGET" in tail or "ERROR" in tail
    ))  # fmt: skip


def test_settings_that_contradict_each_other() -> None:
    names = catalog(DEFAULTS, recall_target=0.9, accuracy_target=0.9)
    with pytest.raises(ProgrammingError, match="does not go with thresher_recall_target: RESET"):
        parse("SELECT * FROM t WHERE judge(a)", names)
    assert parse("SELECT 1", names) == Passthrough("SELECT 1")
