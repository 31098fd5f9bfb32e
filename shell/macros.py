"""The names that people type in the shell, as temporary macros over the extension's functions."""

from __future__ import annotations

__all__ = ["CLAUSES", "macros"]

# Named arguments of thresh(), in the order of the clauses that they stand for. PRECISION alone is a
# word of DuckDB's grammar, which no argument may be called by.
CLAUSES = {
    "recall_target": "RECALL TARGET",
    "precision_target": "PRECISION TARGET",
    "accuracy_target": "ACCURACY TARGET",
    "error_within": "ERROR WITHIN",
    "probability": "WITH PROBABILITY",
    "oracle_limit": "ORACLE LIMIT",
    "budget": "BUDGET",
    "seed": "SEED",
}
_LINES = "SELECT {columns} FROM (SELECT unnest(thresh_rows('{text}', 0)) AS r)"


def macros() -> list[str]:
    """Return the statements that make the macros.

    They are temporary, so that the database file stays as it is. ``FROM thresh_certificate()`` is
    what the last statement promised, ``FROM thresh_status()`` the worker and its session.
    """
    names = ", ".join(f'"{name}" := NULL' for name in CLAUSES)
    written = ", ".join(f"'{words} ' || \"{name}\"" for name, words in CLAUSES.items())
    clauses = f"nullif(concat_ws(' ', {written}), '')"
    facts = _LINES.format(text='["show", 0, "{}"]', columns="r[1] AS fact, r[2] AS value")
    return [
        f"thresh(q, {names}) AS TABLE FROM query(thresh_plan(q, {clauses}))",
        f"thresh_explain(q, {names}) AS TABLE FROM query(thresh_plan('EXPLAIN ' || q, {clauses}))",
        f"thresh_certificate() AS TABLE {facts.format('certificate')}",
        f"thresh_status() AS TABLE {facts.format('status')}",
    ]
