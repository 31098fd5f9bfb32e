"""What a DuckDB session is told after LOAD: the names that people type, and who it is.

The names are temporary macros over the extension's functions.
"""

from __future__ import annotations

from pathlib import Path

from thresher.sql.feeding import told_sql
from thresher.sql.tokens import literal

__all__ = ["CLAUSES", "introduction", "macros"]

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
# A table that is not there cannot stand in a query: which are is found out first.
_DECLARED = {
    "declarations": "{'kind': kind, 'name': name, 'sql': sql}",
    "trained_proxies": "{'name': name, 'learnt': base64(learnt)}",
}


def introduction(folder: Path) -> list[str]:
    """Return the statements by which a shell says of itself what the worker must know.

    Parameters
    ----------
    folder : Path
        In which the shell was started.
    """
    listed = ", ' || '".join(
        f"{name} := ' || CASE WHEN bool_or(table_name = '{name}') THEN "
        f"{literal(f'(SELECT list({fields}) FROM thresher.{name})')} ELSE '[]' END || '"
        for name, fields in _DECLARED.items()
    )
    found = (
        f"SELECT 'SELECT struct_pack({listed}) AS declared' FROM duckdb_tables() "
        "WHERE database_name = current_database() AND schema_name = 'thresher'"
    )
    path = "(SELECT path FROM duckdb_databases() WHERE database_name = current_database())"
    told = (
        # The time too: after setseed() uuid() gives what it gave elsewhere.
        "to_json(struct_pack(shell := concat(uuid(), '-', epoch_us(now())), "
        f"folder := {literal(str(folder))}, "
        f"database := {path}, declared := declared))"
    )
    return [
        f"SET VARIABLE thresher_declared = ({found})",
        f"SET VARIABLE thresher_declared = (SELECT thresh_plan(NULL, CAST({told} AS VARCHAR)) "
        "FROM query(getvariable('thresher_declared')))",
        "RESET VARIABLE thresher_declared",
    ]


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
    certificate, status = (
        told_sql(f'["show", 0, "{what}"]', ("fact", "value")) for what in ("certificate", "status")
    )
    asked = f"AS TABLE FROM query(decode(thresh_plan({{q}}, {clauses})))"
    return [
        f"thresh(q, {names}) {asked.format(q=_told('q'))}",
        f"thresh_explain(q, {names}) " + asked.format(q=_told("'EXPLAIN ' || q")),
        f"thresh_certificate() AS TABLE {certificate}",
        f"thresh_status() AS TABLE {status}",
    ]


def _told(text: str) -> str:
    """Write a text that is never NULL: with NULL a shell says of itself, as `introduction` does."""
    return f"coalesce({text}, '')"
