"""The names that people type in the shell, as temporary macros over the extension's functions."""

from __future__ import annotations

__all__ = ["CLAUSES", "macros"]

# The clauses, in their order, and the named arguments of thresh() that stand for each. PRECISION
# alone is a word of DuckDB's grammar, which no argument may be called by.
CLAUSES = {
    "RECALL TARGET": ("recall", "recall_target"),
    "PRECISION TARGET": ("precision_target",),
    "ACCURACY TARGET": ("accuracy", "accuracy_target"),
    "ERROR WITHIN": ("error_within",),
    "WITH PROBABILITY": ("probability",),
    "ORACLE LIMIT": ("oracle_limit",),
    "BUDGET": ("budget",),
    "SEED": ("seed",),
}
_LINES = "SELECT {columns} FROM (SELECT unnest(thresh_rows('{text}', 0)) AS r)"


def macros() -> list[str]:
    """Return the statements that make the macros.

    They are temporary, so that the database file stays as it is. ``FROM thresh_certificate()`` is
    what the last statement promised, ``FROM thresh_status()`` the worker and its session.
    """
    names = ", ".join(f"{name} := NULL" for named in CLAUSES.values() for name in named)
    written = ", ".join(
        f"'{words} ' || coalesce({', '.join(named)})" for words, named in CLAUSES.items()
    )
    clauses = f"nullif(concat_ws(' ', {written}), '')"
    facts = _LINES.format(text='["show", 0, "{}"]', columns="r[1] AS fact, r[2] AS value")
    return [
        f"thresh(q, {names}) AS TABLE FROM query(thresh_plan(q, {clauses}))",
        f"thresh_explain(q, {names}) AS TABLE FROM query(thresh_plan('EXPLAIN ' || q, {clauses}))",
        f"thresh_certificate() AS TABLE {facts.format('certificate')}",
        f"thresh_status() AS TABLE {facts.format('status')}",
    ]
