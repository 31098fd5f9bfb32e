"""What may stand at a place in SQL: names and words of the dialect, by what stands around it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from thresher.budgets import UNITS
from thresher.notebook.statement_parts import Part, part_at
from thresher.sql.tokens import identifier
from thresher.targets import AssumptionName, OracleErrors, Shortfall

__all__ = ["Candidate", "Vocabulary", "complete"]

Kind = Literal["column", "table", "oracle", "proxy", "function", "setting", "clause", "keyword"]

_CLAUSES = (
    "RECALL TARGET", "PRECISION TARGET", "ACCURACY TARGET", "ERROR WITHIN", "WITH PROBABILITY",
    "ORACLE LIMIT", "BUDGET", "USING", "ASSUMING", "ON SHORTFALL", "ON ORACLE ERROR", "SEED", "GAP",
)  # fmt: skip
_STATEMENTS = (
    "SELECT", "FROM", "WITH", "CREATE ORACLE", "CREATE OR REPLACE ORACLE", "CREATE PROXY",
    "CREATE OR REPLACE PROXY", "CREATE TABLE", "CREATE OR REPLACE TABLE", "CREATE VIEW",
    "SHOW ORACLES", "SHOW PROXIES", "SHOW CERTIFICATES", "SHOW TABLES", "DESCRIBE",
    "DESCRIBE ORACLE", "DESCRIBE PROXY", "DROP ORACLE", "DROP PROXY", "DROP TABLE", "EXPLAIN",
    "EXPLAIN ANALYZE", "AUDIT CERTIFICATE", "SET", "RESET", "INSERT INTO", "UPDATE", "DELETE FROM",
    "COPY", "ATTACH", "DETACH", "SUMMARIZE", "PIVOT", "UNPIVOT", "PREPARE", "EXECUTE", "BEGIN",
    "COMMIT", "ROLLBACK", "USE", "VALUES",
)  # fmt: skip
_AFTER_OPERAND = {
    "select": ("FROM", "AS"),
    "from": (
        "WHERE", "JOIN", "LEFT JOIN", "INNER JOIN", "CROSS JOIN", "ON", "AS", "GROUP BY",
        "ORDER BY", "LIMIT", "SELECT",
    ),
    "where": ("AND", "OR", "GROUP BY", "ORDER BY", "LIMIT"),
    "group": ("HAVING", "ORDER BY", "LIMIT"),
    "having": ("AND", "OR", "ORDER BY", "LIMIT"),
    "order": ("ASC", "DESC", "NULLS FIRST", "NULLS LAST", "LIMIT"),
    "limit": ("OFFSET",),
}  # fmt: skip
_OPERATORS = ("IN", "NOT IN", "LIKE", "ILIKE", "BETWEEN", "IS NULL", "IS NOT NULL")
_OPERANDS = ("NOT", "CASE", "CAST", "EXISTS", "NULL", "TRUE", "FALSE")
_SECOND_WORDS = {
    ("recall",): ("TARGET",),
    ("precision",): ("TARGET",),
    ("accuracy",): ("TARGET",),
    ("error",): ("WITHIN",),
    ("at",): ("CONFIDENCE",),
    ("oracle",): ("LIMIT",),
    ("group",): ("BY",),
    ("order",): ("BY",),
    ("on", "shortfall"): get_args(Shortfall),
    ("on", "oracle"): ("ERROR",),
    ("oracle", "error"): get_args(OracleErrors),
    ("assuming",): get_args(AssumptionName),
}
_BEGUN = {"with": ("PROBABILITY",), "on": ("SHORTFALL", "ORACLE ERROR")}
_FRAGMENT = re.compile(r"[^\W\d][\w$]*\Z")


class Vocabulary(Protocol):
    """The names that a place may hold."""

    def tables(self, schema: str = "") -> Sequence[str]:
        """Return tables, views and data frames, or those of a schema or database."""

    def columns(self, relation: str) -> Sequence[str]:
        """Return the columns of a relation; none where it is unknown."""

    def every_column(self) -> Sequence[str]:
        """Return the columns of all tables."""

    def oracles(self) -> Sequence[str]:
        """Return declared oracles."""

    def proxies(self) -> Sequence[str]:
        """Return declared proxies."""

    def functions(self) -> Sequence[str]:
        """Return functions and macros of DuckDB."""

    def settings(self) -> Sequence[str]:
        """Return settings, ours first."""

    def values(self, setting: str) -> Sequence[str]:
        """Return what a setting can be, where that is one of a few words."""

    def providers(self, kind: str) -> Sequence[str]:
        """Return what oracles or proxies may be made by."""

    def options(self, kind: str, provider: str) -> Sequence[str]:
        """Return the options of a provider."""

    def certificates(self) -> Sequence[str]:
        """Return the identities of stored certificates, the last first."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that may stand there, and what it is."""

    text: str
    kind: Kind


def complete(sql: str, cursor: int, names: Vocabulary) -> tuple[str, list[Candidate]]:
    """Return what may stand at a cursor, best first.

    Parameters
    ----------
    sql : str
        A statement or script; it need not be complete or right.
    cursor : int
        Offset of the cursor.
    names : Vocabulary
        What is declared.

    Returns
    -------
    fragment : str
        What is written of the word by now.
    candidates : list of Candidate
        Those that begin with it, in any case; none inside strings and comments.
    """
    found = _FRAGMENT.search(sql[:cursor])
    fragment = found[0] if found else ""
    part = part_at(sql, cursor - len(fragment))
    if part is None:
        return fragment, []
    lower = (fragment or part.first).islower()
    seen: dict[str, Candidate] = {}
    for one in _candidates(part, fragment, names):
        text = one.text
        if one.kind in ("clause", "keyword"):
            text = text.lower() if lower else text
        elif one.kind in ("column", "table", "oracle", "proxy"):
            text = identifier(text) if text != text.lower() or not text.isidentifier() else text
        if one.text.lower().startswith(fragment.lower()):
            seen.setdefault(text, Candidate(text, one.kind))
    return fragment, list(seen.values())


def _as(kind: Kind, texts: Iterable[str]) -> list[Candidate]:
    return [Candidate(text, kind) for text in texts]


def _candidates(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    if part.qualifier is not None:
        return _qualified(part, names)
    if not part.words and not part.before:
        return _as("keyword", _STATEMENTS)
    if part.before == ("label",):  # of %thresher label
        return _as("oracle", names.oracles())
    for of_statement in (_of_setting, _of_declaration, _of_listing):
        found = of_statement(part, names)
        if found is not None:
            return found
    return _of_query(part, fragment, names)


def _qualified(part: Part, names: Vocabulary) -> list[Candidate]:
    """Names after a dot."""
    name = part.qualifier or ""
    relation = part.relations.get(name.lower(), name)
    return _as("column", names.columns(relation)) or _as("table", names.tables(name))


def _of_setting(part: Part, names: Vocabulary) -> list[Candidate] | None:
    words = part.words
    if part.first.lower() not in ("set", "reset"):
        return None
    if len(words) == 1:
        return _as("setting", names.settings())
    return _as("setting", names.values(words[1].removeprefix("thresher_")))


def _of_declaration(part: Part, names: Vocabulary) -> list[Candidate] | None:
    """``CREATE ORACLE`` and ``CREATE PROXY``."""
    words = [word for word in part.words if word not in ("or", "replace", "temp", "temporary")]
    if words[:1] != ["create"]:
        return None
    kind = words[1] if len(words) > 1 else ""
    if not kind:
        return _as("keyword", ("ORACLE", "PROXY", "TABLE", "VIEW", "OR REPLACE", "TEMP", "MACRO"))
    if kind not in ("oracle", "proxy"):
        return None if "as" in words else []
    last = part.last_word
    if last == "for":
        return _as("oracle", names.oracles())
    if last == "using":
        return _as("keyword", names.providers(kind))
    if "with" in words and part.depth:
        at = words.index("using") + 1 if "using" in words else len(words)
        provider = words[at] if at < len(words) else ""
        return _as("setting", names.options(kind, provider)) if part.begins_item else []
    if part.depth or part.begins_item:
        return []
    steps = ("RETURNS", "USING", "WITH") if kind == "oracle" else ("FOR", "USING", "WITH")
    left = [step for step in (*steps, "TRAINED FROM") if step.split()[0].lower() not in words]
    return _as("keyword", left if len(words) > 2 else [])


def _of_listing(part: Part, names: Vocabulary) -> list[Candidate] | None:
    """``SHOW``, ``DESCRIBE``, ``DROP``, ``AUDIT``, ``EXPLAIN`` and their likes."""
    words, n_words = part.words, len(part.words)
    first, last = part.first.lower(), part.last_word
    if first == "show":
        listed = ("ORACLES", "PROXIES", "CERTIFICATES", "TABLES", "ALL TABLES", "DATABASES")
        return _as("keyword", listed) + _as("setting", names.settings()) if n_words == 1 else []
    if first in ("describe", "desc", "drop") and n_words > 1 and words[1] in ("oracle", "proxy"):
        known = names.oracles() if words[1] == "oracle" else names.proxies()
        named = last in ("oracle", "proxy", "exists")
        kind: Kind = "oracle" if words[1] == "oracle" else "proxy"
        return _as("keyword", ("IF EXISTS",) * (first == "drop")) + _as(kind, known) * named
    if first == "drop":
        if n_words == 1:
            return _as("keyword", ("ORACLE", "PROXY", "TABLE", "VIEW", "SCHEMA", "MACRO"))
        return _as("keyword", ("IF EXISTS",)) + _as("table", names.tables())
    if first in ("describe", "desc", "summarize") and n_words == 1:
        kinds = ("ORACLE", "PROXY", "SELECT") if first != "summarize" else ("SELECT",)
        return _as("table", names.tables()) + _as("keyword", kinds)
    if first == "audit":
        if last == "certificate":
            return _as("setting", names.certificates())
        return _as("clause", ("CERTIFICATE",) if n_words == 1 else ("ORACLE LIMIT", "ORACLE"))
    if first == "explain" and n_words == 1:
        return _as("keyword", ("ANALYZE", "SELECT", "FROM", "WITH"))
    return None


def _of_query(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    """Places inside a query block."""
    if not part.ended:
        if part.wants_relation:
            ctes = _as("table", part.ctes)
            return ctes + _as("table", names.tables()) + _as("keyword", ("LATERAL", "VALUES"))
        if part.section == "using":
            begins = _as("keyword", ("PROXY",)) if part.last_word == "using" else []
            return _as("proxy", names.proxies()) + begins + _columns(part, fragment, names)
        if part.section == "assuming":
            return _as("clause", _SECOND_WORDS["assuming",])
        begun = _BEGUN.get(part.last_word, ()) if len(part.words) > 1 else ()
        return _as("clause", begun) + _expression(part, fragment, names)
    if part.last_two == ("using", "proxy"):
        return _as("proxy", names.proxies())
    second = _SECOND_WORDS.get(part.last_two) or _SECOND_WORDS.get(part.last_two[-1:])
    if second:
        return _as("clause", second)
    if part.section == "budget" and part.after_number:
        return _as("clause", UNITS)
    clauses = _as("clause", (clause for clause in _CLAUSES if clause not in part.clauses))
    if part.section in ("using", "budget", "clause"):
        return clauses
    words = _as("keyword", _AFTER_OPERAND.get(part.section, ()))
    if part.section in ("where", "having", "on"):
        words = _as("keyword", ("AND", "OR")) + _as("keyword", _OPERATORS) + words
    return words + (clauses if part.section not in ("", "select") else [])


def _columns(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    relations = part.relations
    columns = [c for relation in dict.fromkeys(relations.values()) for c in names.columns(relation)]
    if not columns and fragment:
        columns = list(names.every_column())
    return _as("column", columns) + _as("table", relations if len(relations) > 1 else ())


def _expression(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    begin = ("DISTINCT",) if part.last_word == "select" else ()
    functions = names.functions() if len(fragment) > 1 else ()
    return [
        *_columns(part, fragment, names),
        *_as("oracle", names.oracles()),
        *_as("keyword", (*begin, *_OPERANDS)),
        *_as("function", functions),
    ]
