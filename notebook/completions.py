"""What may stand at a place in SQL: names and words of the dialect, by what stands around it."""

from __future__ import annotations

import re
from typing import get_args

from thresher.budgets import UNITS
from thresher.notebook.candidates import Candidate, Kind, Vocabulary, of_kind
from thresher.notebook.quoted_texts import complete_quoted
from thresher.notebook.statement_parts import Part, part_at
from thresher.sql.tokens import identifier
from thresher.targets import AssumptionName, OracleErrors, Shortfall

__all__ = ["complete"]

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
_VALUES = {  # of clauses that take a number; others have none that is often meant
    "RECALL TARGET": ("90%", "95%", "99%", "0.9", "0.95"),
    "PRECISION TARGET": ("90%", "95%", "99%", "0.9", "0.95"),
    "ACCURACY TARGET": ("90%", "95%", "99%", "0.9", "0.95"),
    "WITH PROBABILITY": ("95%", "99%", "0.95", "0.99"),
    "ERROR WITHIN": ("5%", "10%", "20%"),
    "ORACLE LIMIT": ("200", "500", "1000", "2000"),
}
_NUMBERS: dict[str, tuple[str, ...]] = {  # of sections
    "budget": (),
    "limit": ("10", "100", "1000"),
    "offset": (),
    "fetch": (),
}
_AUDITED = ("AGAINST", "ORACLE LIMIT", "WITH PROBABILITY", "SEED")
_NUMBERED = (*_VALUES, "BUDGET", "SEED", "GAP")
_TYPES = (
    "VARCHAR", "BOOLEAN", "DOUBLE", "INTEGER", "BIGINT", "DATE", "TIMESTAMP", "BLOB", "FLOAT",
    "DECIMAL", "SMALLINT", "TINYINT", "HUGEINT", "UINTEGER", "UBIGINT", "TIME", "TIMESTAMPTZ",
    "INTERVAL", "UUID", "JSON", "VARCHAR[]", "STRUCT", "MAP",
)  # fmt: skip
# What the store shows; the engine makes them where a statement names them.
_STORED = (
    "thresher_labels()", "thresher_spend()", "thresher_certificates()", "thresher_label_log('",
)  # fmt: skip
_QUERIED = ("from", "join", "")  # the word before a relation, or its comma
_FRAGMENT = re.compile(r"(?:(?<![\w$])[^\W\d][\w$]*|(?<![\w$.])(?:\d\w*\.?\d*|\.\d+)%?)\Z")
_PARAMETER = re.compile(r"(?<![\w$])\$((?:[^\W\d]\w*)?)\Z")


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
        Those that begin with it, in any case; none inside comments and quoted names.
    """
    if (quoted := complete_quoted(sql, cursor, names)) is not None:
        return quoted
    if (begun := _PARAMETER.search(sql[:cursor])) and part_at(sql, begun.start()):
        texts = [name for name in names.parameters() if name.startswith(begun[1])]
        return begun[1], of_kind("variable", texts)
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


def _candidates(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    if part.qualifier is not None:
        return _qualified(part, names)
    if not part.words and not part.before:
        return of_kind("keyword", _STATEMENTS)
    if part.awaited in _NUMBERED:
        return of_kind("value", _VALUES.get(part.awaited, ()))
    if part.before == ("label",):  # of %thresher label
        return of_kind("oracle", names.oracles())
    for of_statement in (_of_setting, _of_declaration, _of_listing):
        found = of_statement(part, names)
        if found is not None:
            return found
    return _of_query(part, fragment, names)


def _qualified(part: Part, names: Vocabulary) -> list[Candidate]:
    """Names after a dot."""
    name = part.qualifier or ""
    relation = part.relations.get(name.lower(), name)
    return of_kind("column", names.columns(relation)) or of_kind("table", names.tables(name))


def _of_setting(part: Part, names: Vocabulary) -> list[Candidate] | None:
    words = part.words
    if part.first.lower() not in ("set", "reset"):
        return None
    if len(words) == 1:
        return of_kind("setting", names.settings())
    return of_kind("setting", names.values(words[1].removeprefix("thresher_")))


def _of_declaration(part: Part, names: Vocabulary) -> list[Candidate] | None:
    """``CREATE ORACLE`` and ``CREATE PROXY``."""
    words = [word for word in part.words if word not in ("or", "replace", "temp", "temporary")]
    if words[:1] != ["create"]:
        return None
    kind = words[1] if len(words) > 1 else ""
    if not kind:
        return of_kind(
            "keyword", ("ORACLE", "PROXY", "TABLE", "VIEW", "OR REPLACE", "TEMP", "MACRO")
        )
    if kind not in ("oracle", "proxy"):
        types = of_kind("keyword", _TYPES) if kind == "table" and _awaits_type(part) else []
        return None if "as" in words else types
    if "trained" in words and part.section:
        return None
    last = part.last_word
    if last == "for":
        return of_kind("oracle", names.oracles())
    if last == "returns" or (kind == "oracle" and "returns" not in words and _awaits_type(part)):
        return of_kind("keyword", _TYPES)
    if last == "using":
        return of_kind("keyword", names.providers(kind))
    if "with" in words and part.depth:
        at = words.index("using") + 1 if "using" in words else len(words)
        provider = words[at] if at < len(words) else ""
        return of_kind("setting", names.options(kind, provider)) if part.begins_item else []
    if part.depth or part.begins_item:
        return []
    steps = ("RETURNS", "USING", "WITH") if kind == "oracle" else ("FOR", "USING", "WITH")
    left = [step for step in (*steps, "TRAINED FROM") if step.split()[0].lower() not in words]
    return of_kind("keyword", left if len(words) > 2 else [])


def _awaits_type(part: Part) -> bool:
    """Whether a name has just begun an item of a declaration's brackets."""
    return part.depth == 1 and part.before[-2:-1] in (("(",), (",",)) and not part.begins_item


def _of_listing(part: Part, names: Vocabulary) -> list[Candidate] | None:
    """``SHOW``, ``DESCRIBE``, ``DROP``, ``AUDIT``, ``EXPLAIN`` and their likes."""
    words, n_words = part.words, len(part.words)
    first, last = part.first.lower(), part.last_word
    if first == "show":
        listed = ("ORACLES", "PROXIES", "CERTIFICATES", "TABLES", "ALL TABLES", "DATABASES")
        return (
            of_kind("keyword", listed) + of_kind("setting", names.settings())
            if n_words == 1
            else []
        )
    if first in ("describe", "desc", "drop") and n_words > 1 and words[1] in ("oracle", "proxy"):
        known = names.oracles() if words[1] == "oracle" else names.proxies()
        named = last in ("oracle", "proxy", "exists")
        kind: Kind = "oracle" if words[1] == "oracle" else "proxy"
        return of_kind("keyword", ("IF EXISTS",) * (first == "drop")) + of_kind(kind, known) * named
    if first == "drop":
        if n_words == 1:
            return of_kind("keyword", ("ORACLE", "PROXY", "TABLE", "VIEW", "SCHEMA", "MACRO"))
        return of_kind("keyword", ("IF EXISTS",)) + of_kind("table", names.tables())
    if first in ("describe", "desc", "summarize") and n_words == 1:
        kinds = ("ORACLE", "PROXY", "SELECT") if first != "summarize" else ("SELECT",)
        return of_kind("table", names.tables()) + of_kind("keyword", kinds)
    if first == "audit":
        if last == "certificate":
            return of_kind("setting", names.certificates())
        return of_kind("clause", ("CERTIFICATE",) if n_words == 1 else _of_audit(part))
    if first == "explain" and n_words == 1:
        return of_kind("keyword", ("ANALYZE", "SELECT", "FROM", "WITH"))
    return None


def _of_audit(part: Part) -> tuple[str, ...]:
    """Clauses of an audit that may stand next; a relation after AGAINST is left to the reader."""
    if part.last_word == "against":
        return ()
    if second := _BEGUN.get(part.last_word) or _SECOND_WORDS.get(part.last_two[-1:]):
        return second
    left = tuple(clause for clause in _AUDITED if clause not in part.clauses)
    return left if "against" not in part.words else ()


def _of_query(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    """Places inside a query block."""
    if not part.ended:
        if part.wants_relation:
            return _relations(part, fragment, names)
        if part.section == "using":
            begins = of_kind("keyword", ("PROXY",)) if part.last_word == "using" else []
            return of_kind("proxy", names.proxies()) + begins + _columns(part, fragment, names)
        if part.before[-1:] == ("::",):
            return of_kind("keyword", _TYPES)
        if part.section in _NUMBERS:
            return of_kind("value", _NUMBERS[part.section])
        if part.section == "assuming":
            return of_kind("clause", _SECOND_WORDS["assuming",])
        begun = _BEGUN.get(part.last_word, ()) if len(part.words) > 1 else ()
        return of_kind("clause", begun) + _expression(part, fragment, names)
    if part.section == "assuming" and part.last_word in ("within", "of"):
        return []  # a number
    if part.last_two == ("using", "proxy"):
        return of_kind("proxy", names.proxies())
    second = _SECOND_WORDS.get(part.last_two) or _SECOND_WORDS.get(part.last_two[-1:])
    if second:
        return of_kind("clause", second)
    if part.section == "budget" and part.after_number:
        return of_kind("clause", UNITS)
    clauses = of_kind("clause", (clause for clause in _CLAUSES if clause not in part.clauses))
    if part.section in ("using", "budget", "clause"):
        return clauses
    words = of_kind("keyword", _AFTER_OPERAND.get(part.section, ()))
    if part.section in ("where", "having", "on"):
        words = of_kind("keyword", ("AND", "OR")) + of_kind("keyword", _OPERATORS) + words
    return words + (clauses if part.section not in ("", "select") else [])


def _relations(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    """Relations and functions that return one."""
    functions = names.table_functions() if len(fragment) > 1 else ()
    return [
        *of_kind("table", (*part.ctes, *names.tables())),
        *of_kind("keyword", ("LATERAL", "VALUES")),
        *of_kind("function", (*_STORED, *functions) if part.last_word in _QUERIED else ()),
    ]


def _columns(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    relations = part.relations
    columns = [c for relation in dict.fromkeys(relations.values()) for c in names.columns(relation)]
    if not columns and fragment:
        columns = list(names.every_column())
    return of_kind("column", columns) + of_kind("table", relations if len(relations) > 1 else ())


def _expression(part: Part, fragment: str, names: Vocabulary) -> list[Candidate]:
    begin = ("DISTINCT",) if part.last_word == "select" else ()
    functions = names.functions() if len(fragment) > 1 else ()
    return [
        *_columns(part, fragment, names),
        *of_kind("oracle", names.oracles()),
        *of_kind("keyword", (*begin, *_OPERANDS)),
        *of_kind("function", functions),
    ]
